// SPDX-License-Identifier: Apache-2.0
//
// Where keys come from: the configuration beside the database, and a table that is full.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "keys_fixture.h"

static void test_keys_of_the_configuration(void **state) {
  keys_fixture *f = *state;
  put_text(in_folder(f->folder, "secret"), "secret-of-a-file-1\n");
  setenv("RH_TEST_KEY_VALUE", "secret-of-a-variable", 1);
  char text[1024];
  snprintf(text, sizeof text,
           "[{\"name\": \"plain\", \"key\": \"sk-chosen-by-hand\", \"scopes\": [\"admin\"]},"
           " {\"name\": \"file\", \"key_file\": \"%s\"}, {\"name\": \"variable\", \"key_env\": \"RH_TEST_KEY_VALUE\"}]",
           in_folder(f->folder, "secret"));
  rh_keys_free(f->keys);
  f->keys = keys_of(f->database, text);
  presented(f->keys, "sk-chosen-by-hand", NOW, RH_OK, NULL);
  presented(f->keys, "secret-of-a-file-1", NOW, RH_OK, NULL);
  presented(f->keys, "secret-of-a-variable", NOW, RH_OK, NULL);
  assert_true(rh_keys_any(f->keys));
  assert_int_equal(rh_keys_find(f->keys, "plain")->scopes, RH_KEY_ADMIN);
  char id[RH_KEY_ID_SIZE];
  snprintf(id, sizeof id, "%s", rh_keys_find(f->keys, "plain")->id);
  rh_error error = {0};
  assert_int_equal(rh_keys_revoke(f->keys, "plain", NOW, &error), RH_CONFLICT);
  expect_words(&error, "configuration");
  // They survive what is read from the database, and are the same in the next start, also without one.
  char secret[RH_KEY_TEXT_SIZE];
  create(f->other, "{\"name\": \"made later\"}", secret);
  rh_keys_refresh(f->keys, NOW);
  presented(f->keys, secret, NOW, RH_OK, NULL);
  presented(f->keys, "sk-chosen-by-hand", NOW, RH_OK, NULL);
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM keys"), 1);
  rh_keys *alone = keys_of(NULL, text);
  assert_string_equal(rh_keys_find(alone, "plain")->id, id);
  rh_key *key = NULL;
  assert_int_equal(try_create(alone, "{\"name\": \"x\"}", secret, &key, &error), RH_UNAVAILABLE);
  rh_keys_refresh(alone, NOW);
  rh_keys_free(alone);
}

static void test_mistakes_in_the_configuration(void **state) {
  (void)state;
  static const struct {
    const char *json, *words;
  } cases[] = {
      {"{}", "list"},
      {"[{\"name\": \"a\"}]", "key_env"},
      {"[{\"name\": \"a\", \"key\": \"long-enough\", \"key_env\": \"B\"}]", "one of"},
      {"[{\"name\": \"a\", \"key_env\": \"RH_TEST_NOT_SET\"}]", "RH_TEST_NOT_SET is not set"},
      {"[{\"name\": \"a\", \"key_file\": \"/nonexistent/key\"}]", "/nonexistent/key"},
      {"[{\"name\": \"a\", \"key\": \"short\"}]", "8 to 256"},
      {"[{\"name\": \"a\", \"key\": \"has a blank\"}]", "without blanks"},
      {"[{\"name\": \"a\", \"key\": \"same-same\"}, {\"name\": \"b\", \"key\": \"same-same\"}]", "same secret"},
      {"[{\"name\": \"a\", \"key\": \"same-same\"}, {\"name\": \"a\", \"key\": \"other-other\"}]", "same name"},
      {"[{\"name\": \"a\", \"key\": \"long-enough\", \"model\": []}]", "did you mean \"models\""},
      {"[{\"name\": \"a\", \"kye_env\": \"X\"}]", "did you mean \"key_env\""},
      {"[{\"name\": \"a\", \"key\": \"long-enough\", \"expires_in\": \"1d\"}]", "give \"expires_at\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *json = json_loads(cases[i].json, 0, NULL);
    rh_keys *keys = NULL;
    rh_error error = {0};
    if (rh_keys_new(NULL, json, &keys, &error) == RH_OK) fail_msg("taken: %s", cases[i].json);
    if (strstr(error.message, cases[i].words) == NULL) fail_msg("%s: %s", cases[i].json, error.message);
    if (strstr(error.message, "same-same") != NULL) fail_msg("the message has the secret");
    json_decref(json);
  }
}

static void run_in_file(rh_database *database, const char *sql) {
  rh_error error = {0};
  if (rh_database_run(database, sql, &error) != RH_OK) fail_msg("%s", error.message);
}

static void test_a_list_of_models_with_empty_lines(void **state) {
  keys_fixture *f = *state;
  char some[RH_KEY_TEXT_SIZE], none[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"some\", \"models\": [\"m\"]}", some);
  create(f->keys, "{\"name\": \"none\", \"models\": [\"m\"]}", none);
  run_in_file(f->other_database,
              "UPDATE keys SET models = char(10) || 'a*' || char(10, 10) || 'b' WHERE name = 'some'");
  run_in_file(f->other_database, "UPDATE keys SET models = char(10) WHERE name = 'none'");
  rh_keys *keys = keys_of(f->other_database, NULL);
  const rh_key *key = rh_keys_find(keys, "some");
  assert_true(rh_key_may_use(key, "ax") && rh_key_may_use(key, "b"));
  assert_false(rh_key_may_use(key, "m") || rh_key_may_use(key, ""));
  assert_false(rh_key_may_use(rh_keys_find(keys, "none"), "m"));
  rh_keys_free(keys);
}

static uint64_t own_time_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * RH_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void test_a_hundred_thousand_keys(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE], refused[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"mine\"}", secret);
  run_in_file(f->other_database,
              "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO keys SELECT"
              " 'key_' || i, 'name ' || i, randomblob(32), 1, 'gpt-4o', 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 FROM n;");
  uint64_t begin = own_time_ns();
  rh_keys *keys = keys_of(f->other_database, NULL);
  uint64_t loaded = own_time_ns();
  for (int i = 0; i < 100000; i++) {
    rh_key *key = NULL;
    assert_int_equal(rh_keys_check(keys, secret, NOW, &key, NULL), RH_OK);
  }
  uint64_t checked = own_time_ns();
  printf("100000 keys are loaded in %.0f ms; a check takes %.0f ns\n", rh_ns_to_ms(loaded - begin),
         (double)(checked - loaded) / 1e5);
  // The table is full: only what has long been revoked makes room.
  rh_key *key = NULL;
  rh_error error = {0};
  assert_int_equal(try_create(keys, "{\"name\": \"one more\"}", refused, &key, &error), RH_TOO_LARGE);
  rh_key *old = rh_keys_find(keys, "key_500");
  rh_key_hold(old);
  run_in_file(f->other_database, "UPDATE keys SET revoked_s = 5 WHERE id IN ('key_500', 'key_501')");
  create(keys, "{\"name\": \"one more\"}", refused);
  assert_null(rh_keys_find(keys, "key_501"));
  assert_null(rh_keys_find(keys, "key_500"));
  assert_string_equal(old->id, "key_500");  // held
  rh_key_release(old);
  presented(keys, secret, NOW, RH_OK, NULL);
  presented(keys, refused, NOW, RH_OK, NULL);
  rh_keys_free(keys);
}

static void test_the_ledgers_writing_does_not_reload_keys(void **state) {
  keys_fixture *f = *state;
  char secret[RH_KEY_TEXT_SIZE];
  create(f->keys, "{\"name\": \"a\"}", secret);
  rh_keys_refresh(f->other, NOW);
  // Changed behind the generation's back: were the rows read again, it would be seen.
  run_in_file(f->database, "UPDATE keys SET priority = 9");
  rh_keys_refresh(f->other, NOW);
  assert_int_equal(rh_keys_find(f->other, "a")->priority, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_keys_of_the_configuration, make, clean),
      cmocka_unit_test(test_mistakes_in_the_configuration),
      cmocka_unit_test_setup_teardown(test_a_list_of_models_with_empty_lines, make, clean),
      cmocka_unit_test_setup_teardown(test_a_hundred_thousand_keys, make, clean),
      cmocka_unit_test_setup_teardown(test_the_ledgers_writing_does_not_reload_keys, make, clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
