// SPDX-License-Identifier: Apache-2.0
//
// admit/cache in memory: finding, ages, the bound by bytes and who leaves first, time to live with and without anybody asking, answers that
// are held while they leave.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cache_fixture.h"
#include "loop_fixture.h"

#define S RH_NS_PER_S

typedef struct fixture {
  rh_loop *loop;
  rh_cache *cache;
} fixture;

static fixture open_cache(uint64_t bytes_max, uint64_t entry_bytes_max, uint64_t ttl_ns) {
  fixture f = {.loop = rh_loop_new()};
  assert_non_null(f.loop);
  f.cache = rh_cache_new(
      f.loop, &(rh_cache_options){
                  .bytes_max = bytes_max, .entry_bytes_max = entry_bytes_max, .ttl_ns = ttl_ns, .prefix = "t:"});
  assert_non_null(f.cache);
  return f;
}

static void close_cache(fixture *f) {
  rh_cache_free(f->cache);
  rh_loop_free(f->loop);
}

static void expect(fixture *f, int number, uint64_t now_ns, const char *text) {
  asked found;
  rh_status status = ask(f->cache, number, false, -1, now_ns, &found);
  assert_int_equal(status, text == NULL ? RH_NOT_FOUND : RH_OK);
  if (text == NULL)
    assert_null(found.recording);
  else
    assert_answer(found.recording, text);
  rh_recording_release(found.recording);
}

static void test_kept_found_replaced_dropped(void **state) {
  (void)state;
  fixture f = open_cache(1 << 20, 0, 60 * S);
  const rh_cache_counts *counts = rh_cache_get_counts(f.cache);
  uint64_t empty = counts->bytes;
  expect(&f, 1, 100, NULL);
  keep(f.cache, 1, false, "one", 100);
  keep(f.cache, 2, false, "two", 100);
  expect(&f, 1, 200, "one");
  expect(&f, 2, 200, "two");
  keep(f.cache, 1, false, "again", 300);
  expect(&f, 1, 400, "again");
  assert_int_equal(counts->entries, 2);
  assert_int_equal(counts->stored, 3);
  assert_int_equal(counts->hits, 3);
  assert_int_equal(counts->misses, 1);
  rh_cache_key key = key_number(1);
  rh_cache_drop(f.cache, &key);
  expect(&f, 1, 500, NULL);
  expect(&f, 2, 500, "two");
  rh_cache_drop(f.cache, NULL);
  expect(&f, 2, 500, NULL);
  assert_int_equal(counts->entries, 0);
  assert_int_equal(counts->bytes, empty);
  rh_cache_note_semantic_hit(f.cache);
  assert_int_equal(counts->semantic_hits, 1);
  close_cache(&f);
}

static void test_ages(void **state) {
  (void)state;
  fixture f = open_cache(1 << 20, 0, 60 * S);
  asked found;
  keep(f.cache, 1, false, "one", 100 * S);
  assert_int_equal(ask(f.cache, 1, false, 10, 110 * S, &found), RH_OK);
  assert_true(found.age_s == 10.0);
  rh_recording_release(found.recording);
  assert_int_equal(ask(f.cache, 1, false, 9.5, 110 * S, &found), RH_NOT_FOUND);
  assert_int_equal(ask(f.cache, 1, false, 0, 100 * S, &found), RH_NOT_FOUND);
  assert_int_equal(ask(f.cache, 1, false, -1, 159 * S, &found), RH_OK);
  rh_recording_release(found.recording);
  assert_int_equal(ask(f.cache, 1, false, -1, 160 * S, &found), RH_NOT_FOUND);
  assert_int_equal(rh_cache_get_counts(f.cache)->expired, 1);
  assert_int_equal(rh_cache_get_counts(f.cache)->entries, 0);
  // A clock that steps back makes nothing older than new.
  keep(f.cache, 1, false, "one", 100 * S);
  assert_int_equal(ask(f.cache, 1, false, 1, 99 * S, &found), RH_OK);
  assert_true(found.age_s == 0.0);
  rh_recording_release(found.recording);
  close_cache(&f);
}

static void test_the_bound_by_bytes_and_by_use(void **state) {
  (void)state;
  enum { BYTES = 32 * 1024 };
  fixture f = open_cache(BYTES, 0, 60 * S);
  const rh_cache_counts *counts = rh_cache_get_counts(f.cache);
  char text[600];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  keep(f.cache, 0, false, text, 1);
  for (int i = 1; i < 200; i++) {
    expect(&f, 0, 1, text);  // in use all the time
    keep(f.cache, i, false, text, 1);
    assert_true(counts->bytes <= BYTES);
  }
  assert_true(counts->entries > 30 && counts->entries < BYTES / 600);
  assert_int_equal(counts->evicted, 200 - counts->entries);
  expect(&f, 0, 1, text);
  expect(&f, 199, 1, text);
  expect(&f, 1, 1, NULL);
  expect(&f, (int)(200 - counts->entries), 1, NULL);
  expect(&f, (int)(200 - counts->entries + 1), 1, text);
  close_cache(&f);
}

static void test_what_is_not_kept(void **state) {
  (void)state;
  fixture f = open_cache(8192, 100, 60 * S);
  char text[200];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  keep(f.cache, 1, false, text, 1);  // larger than an entry may be
  expect(&f, 1, 1, NULL);
  rh_cache_key key = key_number(2);
  rh_recording *half = make_answer("half", false);
  rh_cache_put(f.cache, &key, false, half, 1);
  rh_recording_release(half);
  expect(&f, 2, 1, NULL);
  assert_int_equal(rh_cache_get_counts(f.cache)->stored, 0);
  close_cache(&f);

  f = open_cache(1024, 0, 60 * S);  // larger than the whole cache: and nothing else has to go for it
  keep(f.cache, 1, false, "small", 1);
  memset(text, 'x', sizeof text - 1);
  char *huge = calloc(1, 4000);
  assert_non_null(huge);
  memset(huge, 'y', 3999);
  keep(f.cache, 2, false, huge, 1);
  free(huge);
  expect(&f, 2, 1, NULL);
  expect(&f, 1, 1, "small");
  close_cache(&f);

  f = open_cache(0, 0, 60 * S);  // no memory cache at all
  keep(f.cache, 1, false, "one", 1);
  expect(&f, 1, 1, NULL);
  rh_cache_drop(f.cache, NULL);
  close_cache(&f);

  f = open_cache(1 << 20, 0, 0);  // nothing lives
  keep(f.cache, 1, false, "one", 1);
  expect(&f, 1, 1, NULL);
  close_cache(&f);
}

static void test_a_held_answer_outlives_its_entry(void **state) {
  (void)state;
  fixture f = open_cache(1 << 20, 0, 60 * S);
  asked found;
  keep(f.cache, 1, false, "one", 1);
  assert_int_equal(ask(f.cache, 1, false, -1, 2, &found), RH_OK);
  rh_cache_drop(f.cache, NULL);
  assert_answer(found.recording, "one");
  close_cache(&f);
  assert_answer(found.recording, "one");
  rh_recording_release(found.recording);
}

static bool is_empty(void *ctx) { return rh_cache_get_counts(ctx)->entries == 0; }

static void test_what_nobody_asks_for_leaves_by_itself(void **state) {
  (void)state;
  fixture f = open_cache(4 << 20, 0, 50 * RH_NS_PER_MS);
  for (int i = 0; i < 1000; i++) keep(f.cache, i, false, "one", 5 * S);
  assert_int_equal(rh_cache_get_counts(f.cache)->entries, 1000);
  assert_true(rh_run_until(f.loop, is_empty, f.cache));
  assert_int_equal(rh_cache_get_counts(f.cache)->expired, 1000);
  close_cache(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kept_found_replaced_dropped),
      cmocka_unit_test(test_ages),
      cmocka_unit_test(test_the_bound_by_bytes_and_by_use),
      cmocka_unit_test(test_what_is_not_kept),
      cmocka_unit_test(test_a_held_answer_outlives_its_entry),
      cmocka_unit_test(test_what_nobody_asks_for_leaves_by_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
