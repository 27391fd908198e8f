// SPDX-License-Identifier: Apache-2.0
//
// Keys: made, checked, changed, revoked, by this daemon or another; budgets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keys_fixture.h"

static void test_made_and_checked(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  assert_false(rh_keys_any(f->keys));
  assert_false(rh_keys_exist(f->keys));
  rh_key *key = create(f->keys, "{\"name\": \"first\"}", secret);
  assert_int_equal(strlen(secret), 46);
  assert_true(strncmp(secret, "rh-", 3) == 0);
  assert_int_equal(strlen(key->id), 16);
  assert_int_equal(key->scopes, RH_KEY_INFERENCE);
  assert_true(rh_keys_any(f->keys));
  rh_key *found = NULL;
  rh_error error = {0};
  assert_int_equal(rh_keys_check(f->keys, secret, NOW, &found, &error), RH_OK);
  assert_ptr_equal(found, key);
  secret[20] ^= 1;
  presented(f->keys, secret, NOW, RH_UNAUTHENTICATED, "not known");
  presented(f->keys, "", NOW, RH_UNAUTHENTICATED, "no API key");
  presented(f->keys, NULL, NOW, RH_UNAUTHENTICATED, "no API key");
  char endless[5000];
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = '\0';
  presented(f->keys, endless, NOW, RH_UNAUTHENTICATED, "not known");
}

static void test_the_secret_is_nowhere_in_the_files(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  rh_key *key = create(f->keys, "{\"name\": \"first\"}", secret);
  json_t *json = rh_key_json(key, NOW);
  char *text = json_dumps(json, 0);
  assert_null(strstr(text, secret + 3));
  free(text);
  json_decref(json);
  static const char *const names[] = {"state.db", "state.db-wal"};
  for (size_t i = 0; i < 2; i++) {
    rh_dynbuf bytes;
    rh_dynbuf_init(&bytes, 1 << 24);
    assert_int_equal(rh_file_read(in_folder(f->folder, "%s", names[i]), &bytes, NULL), RH_OK);
    assert_null(memmem(rh_dynbuf_data(&bytes), bytes.length, secret + 3, strlen(secret) - 3));
    rh_dynbuf_free(&bytes);
  }
}

static void test_definition_and_json(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  rh_key *key =
      create(f->keys,
             "{\"name\": \"full\", \"scopes\": [\"admin\", \"metrics\"], \"models\": [\"gpt-4o\", \"local/*\"],"
             " \"requests_per_minute\": 60, \"tokens_per_minute\": -1, \"concurrency\": 4, \"priority\": -5,"
             " \"budget_usd\": 12.5, \"budget_period\": \"month\", \"expires_in\": \"30d\", \"local_only\": true}",
             secret);
  json_t *json = rh_key_json(key, NOW);
  json_t *expected = json_loads(
      "{\"name\": \"full\", \"status\": \"active\", \"scopes\": [\"admin\", \"metrics\"], \"models\": [\"gpt-4o\", "
      "\"local/*\"],"
      " \"requests_per_minute\": 60, \"tokens_per_minute\": -1, \"concurrency\": 4, \"priority\": -5, \"budget_usd\": "
      "12.5,"
      " \"budget_period\": \"month\", \"spent_usd\": 0.0, \"running\": 0, \"created_at\": 1764000000, \"expires_at\": "
      "1766592000,"
      " \"revoked_at\": null, \"last_used_at\": null, \"local_only\": true, \"source\": \"database\"}",
      0, NULL);
  json_object_del(json, "id");
  assert_true(json_equal(json, expected));
  json_decref(expected);
  json_decref(json);
  assert_true(rh_key_may_use(key, "gpt-4o"));
  assert_false(rh_key_may_use(key, "gpt-4o-mini"));
  assert_true(rh_key_may_use(key, "local/anything"));
  assert_false(rh_key_may_use(key, "LOCAL/x"));
  json = rh_keys_json(f->keys, NOW);
  assert_int_equal(json_array_size(json), 1);
  json_decref(json);
}

static void test_mistakes_are_named(void **state) {
  keys_fixture *f = *state;
  static const struct {
    const char *json, *words;
  } cases[] = {
      {"{}", "name"},
      {"{\"name\": \"\"}", "name"},
      {"{\"name\": \"key_abc\"}", "name"},
      {"{\"name\": \"a\\nb\"}", "name"},
      {"{\"name\": \"a\", \"scope\": [\"admin\"]}", "did you mean \"scopes\""},
      {"{\"name\": \"a\", \"key\": \"mine\"}", "unknown field"},
      {"{\"name\": \"a\", \"scopes\": [\"root\"]}", "scopes"},
      {"{\"name\": \"a\", \"scopes\": []}", "scopes"},
      {"{\"name\": \"a\", \"models\": []}", "models"},
      {"{\"name\": \"a\", \"models\": [\"a*b\"]}", "models[0]"},
      {"{\"name\": \"a\", \"models\": [1]}", "models[0]"},
      {"{\"name\": \"a\", \"priority\": 101}", "priority"},
      {"{\"name\": \"a\", \"budget_usd\": -1}", "budget_usd"},
      {"{\"name\": \"a\", \"budget_period\": \"week\"}", "budget_period"},
      {"{\"name\": \"a\", \"expires_in\": \"soon\"}", "expires_in"},
      {"{\"name\": \"a\", \"expires_in\": \"999999999999w\"}", "expires_in"},
      {"{\"name\": \"a\", \"expires_at\": 5}", "expires_at"},
      {"{\"name\": \"a\", \"expires_at\": 1864000000, \"expires_in\": \"1d\"}", "not both"},
      {"[]", "object"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char secret[RH_KEY_TEXT_SIZE];
    rh_key *key = NULL;
    rh_error error = {0};
    if (try_create(f->keys, cases[i].json, secret, &key, &error) != RH_INVALID) fail_msg("%s", cases[i].json);
    if (strstr(error.message, cases[i].words) == NULL) fail_msg("%s: %s", cases[i].json, error.message);
  }
  assert_false(rh_keys_exist(f->keys));
}

static void test_expiry(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"short\", \"expires_in\": \"1h\"}", secret);
  presented(f->keys, secret, NOW + 3599, RH_OK, NULL);
  presented(f->keys, secret, NOW + 3600, RH_UNAUTHENTICATED, "expired");
  // By the real clock it expired long ago: none is valid, but there is one, and the server must not open up.
  assert_false(rh_keys_any(f->keys));
  assert_true(rh_keys_exist(f->keys));
}

static void test_another_process_sees_changes(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"first\"}", secret);
  presented(f->other, secret, NOW, RH_UNAUTHENTICATED, NULL);
  rh_keys_refresh(f->other, NOW);
  presented(f->other, secret, NOW, RH_OK, NULL);
  rh_error error = {0};
  rh_key *there = rh_keys_find(f->other, "first");
  rh_key_hold(there);
  there->running = 3;
  assert_int_equal(update(f->keys, "first", "{\"priority\": 7, \"models\": [\"m\"], \"name\": \"renamed\"}", &error),
                   RH_OK);
  rh_keys_refresh(f->other, NOW);
  assert_ptr_equal(rh_keys_find(f->other, "renamed"), there);  // a held key stays where it is
  assert_int_equal(there->priority, 7);
  assert_int_equal(there->running, 3);
  assert_false(rh_key_may_use(there, "n"));
  assert_int_equal(update(f->keys, there->id, "{\"models\": null, \"priority\": null}", &error), RH_OK);
  rh_keys_refresh(f->other, NOW);
  assert_true(rh_key_may_use(there, "n"));
  assert_int_equal(there->priority, 0);
  assert_int_equal(rh_keys_revoke(f->keys, "renamed", NOW, &error), RH_OK);
  presented(f->keys, secret, NOW, RH_UNAUTHENTICATED, "revoked");
  rh_keys_refresh(f->other, NOW);
  presented(f->other, secret, NOW, RH_UNAUTHENTICATED, "revoked");
  rh_key_release(there);
}

static void test_changes_that_are_refused(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE], second[RH_KEY_TEXT_SIZE];
  rh_error error = {0};
  create(f->keys, "{\"name\": \"a\"}", secret);
  create(f->other, "{\"name\": \"b\"}", second);
  rh_key *key = NULL;
  char taken[RH_KEY_TEXT_SIZE] = "untouched";
  assert_int_equal(try_create(f->keys, "{\"name\": \"b\"}", taken, &key, &error), RH_CONFLICT);
  assert_int_equal(taken[0], '\0');
  assert_int_equal(update(f->keys, "a", "{\"name\": \"b\"}", &error), RH_CONFLICT);
  assert_int_equal(update(f->keys, "a", "{\"priority\": 1000}", &error), RH_INVALID);
  assert_int_equal(rh_keys_find(f->keys, "a")->priority, 0);
  assert_int_equal(update(f->keys, "nobody", "{\"priority\": 1}", &error), RH_NOT_FOUND);
  assert_int_equal(rh_keys_revoke(f->keys, "nobody", NOW, &error), RH_NOT_FOUND);
  assert_int_equal(rh_keys_revoke(f->keys, "b", NOW, &error), RH_OK);  // made by the other one: seen all the same
  assert_int_equal(rh_keys_revoke(f->keys, "b", NOW, &error), RH_OK);
  assert_int_equal(update(f->keys, "b", "{\"priority\": 1}", &error), RH_CONFLICT);
  create(f->keys, "{\"name\": \"b\"}", taken);  // a revoked one's name is free
  assert_int_equal(rh_keys_find(f->keys, "b")->revoked_s, 0);
}

static void test_last_used_is_written_once_a_minute(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"a\"}", secret);
  int64_t begin = (int64_t)rh_clock_wall_s();
  presented(f->keys, secret, begin + 5, RH_OK, NULL);
  rh_keys_refresh(f->keys, begin + 6);
  assert_int_equal(ledger_number(f->folder, "SELECT last_used_s FROM keys"), 0);
  rh_keys_refresh(f->keys, begin + 70);
  assert_int_equal(ledger_number(f->folder, "SELECT last_used_s FROM keys"), begin + 5);
  presented(f->keys, secret, begin + 80, RH_OK, NULL);
  rh_keys_refresh(f->keys, begin + 100);
  assert_int_equal(ledger_number(f->folder, "SELECT last_used_s FROM keys"), begin + 5);
  rh_keys_free(f->keys);  // the end writes it too
  f->keys = NULL;
  assert_int_equal(ledger_number(f->folder, "SELECT last_used_s FROM keys"), begin + 80);
}

static void test_budget_periods(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  rh_error error = {0};
  rh_key *day = create(f->keys, "{\"name\": \"day\", \"budget_usd\": 1, \"budget_period\": \"day\"}", secret);
  rh_key *month = create(f->keys, "{\"name\": \"month\", \"budget_usd\": 1, \"budget_period\": \"month\"}", secret);
  rh_key *ever = create(f->keys, "{\"name\": \"ever\", \"budget_usd\": 1}", secret);
  rh_key *none = create(f->keys, "{\"name\": \"none\"}", secret);
  rh_key *all[] = {day, month, ever, none};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(rh_key_check_budget(all[i], NOW, &error), RH_OK);
    rh_key_spend(all[i], 0.6, NOW);
    assert_int_equal(rh_key_check_budget(all[i], NOW, &error), RH_OK);
    rh_key_spend(all[i], 0.6, NOW);
    rh_key_spend(all[i], __builtin_nan(""), NOW);
    rh_key_spend(all[i], -5, NOW);
  }
  assert_int_equal(rh_key_check_budget(none, NOW, &error), RH_OK);
  assert_int_equal(rh_key_check_budget(ever, NOW + 400 * 86400, &error), RH_BUDGET);
  assert_int_equal(rh_key_check_budget(day, NOW, &error), RH_BUDGET);
  expect_words(&error, "$1.2000 of $1.0000");
  expect_words(&error, "2025-11-25T00:00:00Z");
  assert_int_equal(error.retry_after_ms, 8 * 3600 * 1000);
  const int64_t midnight = NOW + 8 * 3600, december = midnight + 6 * 86400;
  assert_int_equal(rh_key_check_budget(day, midnight - 1, &error), RH_BUDGET);
  assert_int_equal(rh_key_check_budget(day, midnight, &error), RH_OK);
  assert_int_equal(rh_key_check_budget(month, december - 1, &error), RH_BUDGET);
  expect_words(&error, "2025-12-01T00:00:00Z");
  assert_int_equal(rh_key_check_budget(month, december, &error), RH_OK);
  // A clock that goes back renews nothing.
  rh_key_spend(month, 2, december);
  assert_int_equal(rh_key_check_budget(month, december - 10, &error), RH_BUDGET);
}

static void test_spending_is_kept_and_shared(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  rh_error error = {0};
  rh_key *key = create(f->keys, "{\"name\": \"a\", \"budget_usd\": 1, \"budget_period\": \"day\"}", secret);
  rh_keys_refresh(f->other, NOW);
  rh_key *there = rh_keys_find(f->other, "a");
  ledger_fixture ledger = {.loop = rh_loop_new()};
  memcpy(ledger.folder, f->folder, sizeof ledger.folder);
  rh_ledger_options options = ledger_options(&ledger);
  ledger_start(&ledger, &options);
  rh_ledger_record record = a_record("req");
  snprintf(record.key, sizeof record.key, "%s", key->id);
  record.time_ms = NOW * 1000;
  record.cost_usd = 0.75;
  rh_ledger_add(ledger.ledger, &record);
  rh_key_spend(key, 0.75, NOW);
  ledger_end(&ledger);
  rh_keys_refresh(f->keys, NOW);
  assert_true(key->spent_usd == 0.75);  // not twice
  rh_keys_refresh(f->other, NOW);
  assert_true(there->spent_usd == 0.75);
  ledger_start(&ledger, &options);
  record.cost_usd = 0.5;
  rh_ledger_add(ledger.ledger, &record);
  ledger_end(&ledger);
  rh_loop_free(ledger.loop);
  rh_keys_refresh(f->other, NOW);
  assert_int_equal(rh_key_check_budget(there, NOW, &error), RH_BUDGET);
  // Another period looks at other days.
  assert_int_equal(update(f->other, "a", "{\"budget_period\": \"month\", \"budget_usd\": 5}", &error), RH_OK);
  assert_true(there->spent_usd == 1.25);
  // A daemon that starts knows it at once; its clock is a day of today, so only what never ends is left.
  assert_int_equal(update(f->other, "a", "{\"budget_period\": \"never\"}", &error), RH_OK);
  rh_keys_free(f->keys);
  f->keys = keys_of(f->database, NULL);
  assert_true(rh_keys_find(f->keys, "a")->spent_usd == 1.25);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_made_and_checked, make, clean),
      cmocka_unit_test_setup_teardown(test_the_secret_is_nowhere_in_the_files, make, clean),
      cmocka_unit_test_setup_teardown(test_definition_and_json, make, clean),
      cmocka_unit_test_setup_teardown(test_mistakes_are_named, make, clean),
      cmocka_unit_test_setup_teardown(test_expiry, make, clean),
      cmocka_unit_test_setup_teardown(test_another_process_sees_changes, make, clean),
      cmocka_unit_test_setup_teardown(test_changes_that_are_refused, make, clean),
      cmocka_unit_test_setup_teardown(test_last_used_is_written_once_a_minute, make, clean),
      cmocka_unit_test_setup_teardown(test_budget_periods, make, clean),
      cmocka_unit_test_setup_teardown(test_spending_is_kept_and_shared, make, clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
