// SPDX-License-Identifier: Apache-2.0
//
// Aliases and what was learned about models.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/clock.h"
#include "store_fixture.h"

static void expect_alias(rh_store *store, const char *alias, const char *target) {
  json_t *aliases;
  rh_error error = {0};
  assert_int_equal(rh_store_aliases(store, &aliases, &error), RH_OK);
  const char *found = json_string_value(json_object_get(aliases, alias));
  if (target == NULL) {
    assert_null(found);
  } else {
    assert_non_null(found);
    assert_string_equal(found, target);
  }
  json_decref(aliases);
}

static void test_aliases_are_set_moved_and_removed(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  expect_alias(f->store, "default", NULL);
  assert_int_equal(rh_store_alias_set(f->store, "default", "m:1", &error), RH_OK);
  assert_int_equal(rh_store_alias_set(f->store, "fast", "org/x", &error), RH_OK);
  assert_int_equal(rh_store_alias_set(f->store, "default", "m:2", &error), RH_OK);
  expect_alias(f->store, "default", "m:2");
  expect_alias(f->store, "fast", "org/x");
  assert_int_equal(rh_store_alias_set(f->store, "default", NULL, &error), RH_OK);
  assert_int_equal(rh_store_alias_set(f->store, "never", NULL, &error), RH_OK);
  expect_alias(f->store, "default", NULL);
  expect_alias(f->store, "fast", "org/x");
  assert_int_equal(rh_store_alias_set(f->store, "a b", "m", &error), RH_INVALID);
  assert_int_equal(rh_store_alias_set(f->store, "a", "../m", &error), RH_INVALID);
}

static void test_a_damaged_file_of_aliases_is_said_and_kept(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  json_t *aliases;
  static const char *const bad[] = {"{\"a\":", "[]", "{\"a\":1}"};
  for (size_t i = 0; i < 3; i++) {
    put_text(in_folder(f->folder, "aliases.json"), bad[i]);
    assert_int_equal(rh_store_aliases(f->store, &aliases, &error), RH_INVALID);
    expect_words(&error, "aliases.json is damaged");
    assert_null(aliases);
    assert_int_equal(rh_store_alias_set(f->store, "x", "y", &error), RH_INVALID);
    expect_text(in_folder(f->folder, "aliases.json"), bad[i]);  // a person may still want what is in it
  }
}

static void note(rh_store *store, const char *key, rh_usage_facts facts) { rh_store_note(store, &key, &facts, 1); }

static rh_usage_facts facts_of(rh_store *store, const char *key) {
  rh_usage_facts facts;
  assert_int_equal(rh_store_facts(store, key, &facts), RH_OK);
  return facts;
}

static void test_facts_are_merged(void **state) {
  fixture *f = *state;
  rh_usage_facts facts;
  assert_int_equal(rh_store_facts(f->store, "m:1", &facts), RH_NOT_FOUND);
  assert_int_equal(facts.ram_bytes, 0);
  note(f->store, "m:1", (rh_usage_facts){.last_used_s = 50, .ram_bytes = 100, .load_ms = 7.5, .options_key = "c4096"});
  facts = facts_of(f->store, "m:1");
  assert_int_equal(facts.last_used_s, 50);
  assert_int_equal(facts.ram_bytes, 100);
  assert_true(facts.load_ms == 7.5);
  assert_string_equal(facts.options_key, "c4096");
  // Nothing new is said by a zero; the latest use and the largest memory of the same options stay.
  note(f->store, "m:1", (rh_usage_facts){.last_used_s = 40, .ram_bytes = 90, .gpu_bytes = 5, .options_key = "c4096"});
  facts = facts_of(f->store, "m:1");
  assert_int_equal(facts.last_used_s, 50);
  assert_int_equal(facts.ram_bytes, 100);
  assert_int_equal(facts.gpu_bytes, 5);
  assert_true(facts.load_ms == 7.5);
  // Other options: the old figures say nothing any more.
  note(f->store, "m:1", (rh_usage_facts){.ram_bytes = 60, .options_key = "c512"});
  facts = facts_of(f->store, "m:1");
  assert_int_equal(facts.ram_bytes, 60);
  assert_int_equal(facts.gpu_bytes, 0);
  assert_string_equal(facts.options_key, "c512");
  assert_int_equal(rh_store_facts(f->store, "m:2", &facts), RH_NOT_FOUND);
}

// `when_s` replaces the time of the last note: no test waits for hours.
static void set_noted(fixture *f, const char *key, int64_t when_s) {
  json_t *file = json_load_file(in_folder(f->folder, "usage.json"), 0, NULL);
  json_t *item = json_object_get(json_object_get(file, "models"), key);
  assert_int_equal(json_object_set_new(item, "noted_s", json_integer(when_s)), 0);
  char *text = json_dumps(file, 0);
  rh_error error = {0};
  assert_int_equal(rh_file_write_atomic(in_folder(f->folder, "usage.json"), text, strlen(text), 0644, &error), RH_OK);
  free(text);
  json_decref(file);
}

static void test_frequency_comes_to_rest_at_the_rate_and_fades(void **state) {
  fixture *f = *state;
  // 60 requests an hour for ten days.
  for (int hour = 0; hour < 240; hour++) {
    note(f->store, "m:1", (rh_usage_facts){.requests = 60});
    set_noted(f, "m:1", rh_clock_wall_s() - 3600);
  }
  double rate = facts_of(f->store, "m:1").frequency;
  assert_true(fabs(rate - 60.0) < 2.0);
  // A day without one.
  set_noted(f, "m:1", rh_clock_wall_s() - 23 * 3600);
  double later = facts_of(f->store, "m:1").frequency;
  assert_true(fabs(later - rate * exp(-22.0 / 24.0)) < 1.0);
  // Two processes that note at once add up, and what they think the average is does not matter.
  rh_store *other;
  assert_int_equal(rh_store_open(f->folder, true, &other, NULL), RH_OK);
  note(f->store, "n:1", (rh_usage_facts){.requests = 24, .frequency = 1000.0});
  note(other, "n:1", (rh_usage_facts){.requests = 48});
  assert_true(fabs(facts_of(f->store, "n:1").frequency - 3.0) < 0.01);
  assert_int_equal(facts_of(f->store, "n:1").requests, 0);
  rh_store_close(other);
}

static void test_damaged_facts_are_forgotten(void **state) {
  fixture *f = *state;
  rh_usage_facts facts;
  put_text(in_folder(f->folder, "usage.json"), "{\"models\":");
  assert_int_equal(rh_store_facts(f->store, "m:1", &facts), RH_NOT_FOUND);
  note(f->store, "m:1", (rh_usage_facts){.last_used_s = 3});
  assert_int_equal(facts_of(f->store, "m:1").last_used_s, 3);
  put_text(in_folder(f->folder, "usage.json"),
           "{\"models\":{\"m:1\":{\"last_used_s\":\"x\",\"ram_bytes\":-5,\"frequency\":1e300,\"options\":7},\"n\":3}}");
  facts = facts_of(f->store, "m:1");
  assert_int_equal(facts.last_used_s, 0);
  assert_int_equal(facts.ram_bytes, 0);
  assert_true(facts.frequency == 0.0);
  assert_int_equal(rh_store_facts(f->store, "n", &facts), RH_NOT_FOUND);
}

static void test_the_oldest_of_too_many_facts_goes(void **state) {
  fixture *f = *state;
  rh_usage_facts facts;
  static char names[4096][16];
  const char *keys[4096];
  static rh_usage_facts many[4096];
  for (size_t i = 0; i < 4096; i++) {
    snprintf(names[i], sizeof names[i], "m:%zu", i);
    keys[i] = names[i];
    many[i].last_used_s = (int64_t)(i == 77 ? 1 : 100 + i);
  }
  rh_store_note(f->store, keys, many, 4096);
  assert_int_equal(facts_of(f->store, "m:77").last_used_s, 1);
  note(f->store, "new", (rh_usage_facts){.last_used_s = 10000});
  assert_int_equal(rh_store_facts(f->store, "m:77", &facts), RH_NOT_FOUND);
  assert_int_equal(facts_of(f->store, "m:0").last_used_s, 100);
  assert_int_equal(facts_of(f->store, "new").last_used_s, 10000);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_aliases_are_set_moved_and_removed),
      CASE(test_a_damaged_file_of_aliases_is_said_and_kept),
      CASE(test_facts_are_merged),
      CASE(test_frequency_comes_to_rest_at_the_rate_and_fades),
      CASE(test_damaged_facts_are_forgotten),
      CASE(test_the_oldest_of_too_many_facts_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
