// SPDX-License-Identifier: Apache-2.0
//
// admit/cache with Redis behind it, over a fake of the client: what goes there and what never does, answers of another daemon, every way
// Redis can fail (each is a miss), damage, dropping. The real server is in test_admit_cache_redis.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_fixture.h"
#include "fake_redis.h"
#include "loop_fixture.h"

#define S RH_NS_PER_S

typedef struct fixture {
  rh_loop *loop;
  rh_redis redis;
  rh_cache *first, *second;  // two daemons
} fixture;

static rh_cache *make_cache(fixture *f, uint64_t ttl_ns, uint64_t entry_bytes_max) {
  const rh_cache_options options = {.bytes_max = 1 << 20,
                                    .entry_bytes_max = entry_bytes_max,
                                    .ttl_ns = ttl_ns,
                                    .redis = &f->redis,
                                    .prefix = "rh[1]:"};
  rh_cache *cache = rh_cache_new(f->loop, &options);
  assert_non_null(cache);
  return cache;
}

static int open_both(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  f->loop = rh_loop_new();
  fake_redis_open(&f->redis, f->loop);
  f->first = make_cache(f, 60 * S, 10000);
  f->second = make_cache(f, 60 * S, 10000);
  *state = f;
  return 0;
}

static int close_both(void **state) {
  fixture *f = *state;
  rh_cache_free(f->first);
  rh_cache_free(f->second);
  fake_redis_close(&f->redis);
  rh_loop_free(f->loop);
  free(f);
  return 0;
}

// What the second daemon gets; NULL = nothing.
static void expect(fixture *f, int number, const char *text) {
  asked found;
  assert_int_equal(ask(f->second, number, false, -1, 1000 * S, &found), RH_AGAIN);
  assert_int_equal(found.answers, 0);
  assert_true(rh_run_until(f->loop, is_answered, &found));
  assert_int_equal(found.answers, 1);
  if (text == NULL)
    assert_null(found.recording);
  else
    assert_answer(found.recording, text);
  rh_recording_release(found.recording);
}

static const char *first_name = "rh[1]:cache:0100000000000000000000000000000000000000000000000000000000000007";

static void test_another_daemon_finds_it(void **state) {
  fixture *f = *state;
  expect(f, 1, NULL);
  keep(f->first, 1, false, "one", 5);
  fake_value *value = fake_redis_value(&f->redis, first_name);
  assert_non_null(value);
  assert_int_equal(value->ttl_ms, 60000);
  expect(f, 1, "one");
  // From now on it is in its own memory.
  asked found;
  size_t gets = f->redis.gets;
  assert_int_equal(ask(f->second, 1, false, -1, 1001 * S, &found), RH_OK);
  assert_in_range(found.age_s * 1000, 1000, 11000);
  rh_recording_release(found.recording);
  assert_int_equal(f->redis.gets, gets);
  const rh_cache_counts *counts = rh_cache_get_counts(f->second);
  assert_int_equal(counts->hits, 2);
  assert_int_equal(counts->redis_hits, 1);
  assert_int_equal(counts->misses, 1);
  assert_int_equal(counts->redis_failed, 0);
}

static void test_what_is_local_never_goes_there(void **state) {
  fixture *f = *state;
  asked found;
  keep(f->first, 1, true, "secret", 5);
  assert_int_equal(ask(f->first, 2, true, -1, 5, &found), RH_NOT_FOUND);
  assert_int_equal(ask(f->first, 1, true, -1, 5, &found), RH_OK);
  rh_recording_release(found.recording);
  assert_int_equal(f->redis.counts.commands, 0);
}

static void test_age_travels_with_the_answer(void **state) {
  fixture *f = *state;
  keep(f->first, 1, false, "one", 5);
  fake_value *value = fake_redis_value(&f->redis, first_name);
  rh_cache *strict = make_cache(f, RH_NS_PER_MS, 10000);  // keeps a millisecond only
  uint64_t until = rh_clock_now_ns() + 20 * RH_NS_PER_MS;
  while (rh_clock_now_ns() < until) continue;
  asked found;
  assert_int_equal(ask(strict, 1, false, -1, 5, &found), RH_AGAIN);
  assert_true(rh_run_until(f->loop, is_answered, &found));
  assert_null(found.recording);
  assert_int_equal(ask(f->second, 1, false, 0.01, 5, &found), RH_AGAIN);
  assert_true(rh_run_until(f->loop, is_answered, &found));
  assert_null(found.recording);
  assert_int_equal(ask(f->second, 1, false, 0, 5, &found), RH_NOT_FOUND);  // nothing can be young enough
  expect(f, 1, "one");
  assert_non_null(value);
  rh_cache_free(strict);
}

static void test_every_failure_is_a_miss(void **state) {
  fixture *f = *state;
  asked found;
  keep(f->first, 1, false, "one", 5);
  f->redis.away = true;
  assert_int_equal(ask(f->second, 1, false, -1, 5, &found), RH_NOT_FOUND);
  keep(f->second, 2, false, "two", 5);
  assert_int_equal(ask(f->second, 2, false, -1, 5, &found), RH_OK);
  rh_recording_release(found.recording);
  f->redis.away = false;
  f->redis.failing = true;
  expect(f, 1, NULL);
  f->redis.failing = false;
  f->redis.refusing = true;
  expect(f, 1, NULL);
  f->redis.refusing = false;
  assert_int_equal(rh_cache_get_counts(f->second)->redis_failed, 4);
  expect(f, 1, "one");
}

static void test_damage_is_a_miss(void **state) {
  fixture *f = *state;
  keep(f->first, 1, false, "one", 5);
  fake_value *value = fake_redis_value(&f->redis, first_name);
  size_t length = value->length;
  for (size_t i = 0; i < length; i++) {
    value->bytes[i] ^= 4;
    expect(f, 1, NULL);
    value->bytes[i] ^= 4;
  }
  for (value->length = 0; value->length < length; value->length++) expect(f, 1, NULL);
  // Right in itself, but under another name.
  fake_redis_set(&f->redis, "rh[1]:cache:0200000000000000000000000000000000000000000000000000000000000007",
                 value->bytes, length, 1);
  expect(f, 2, NULL);
  rh_cache *narrow = make_cache(f, 60 * S, 5);
  asked found;
  assert_int_equal(ask(narrow, 1, false, -1, 5, &found), RH_AGAIN);
  assert_true(rh_run_until(f->loop, is_answered, &found));
  assert_null(found.recording);
  rh_cache_free(narrow);
  expect(f, 1, "one");
}

static bool is_clean(void *ctx) {
  rh_redis *redis = ctx;
  return redis->request_count == 0;
}

static void test_dropping(void **state) {
  fixture *f = *state;
  for (int i = 1; i <= 5; i++) keep(f->first, i, false, "x", 5);
  fake_redis_set(&f->redis, "rh[1]:limit:a", "1", 1, 0);
  fake_redis_set(&f->redis, "other", "1", 1, 0);
  rh_cache_key key = key_number(3);
  rh_cache_drop(f->first, &key);
  assert_int_equal(f->redis.value_count, 6);
  // Under way while everything is dropped: what comes must not be used.
  asked early, late;
  f->redis.silent = true;
  assert_int_equal(ask(f->first, 9, false, -1, 5, &early), RH_AGAIN);
  fake_redis_set(&f->redis, "rh[1]:cache:0900000000000000000000000000000000000000000000000000000000000007", "x", 1, 0);
  rh_cache_drop(f->first, NULL);
  assert_int_equal(ask(f->first, 1, false, -1, 5, &late), RH_NOT_FOUND);  // it may still be there
  f->redis.silent = false;
  rh_loop_defer(f->loop, &f->redis.turn);
  assert_true(rh_run_until(f->loop, is_answered, &early));
  assert_null(early.recording);
  assert_true(rh_run_until(f->loop, is_clean, &f->redis));
  assert_int_equal(f->redis.value_count, 2);
  assert_true(f->redis.scans > 3);
  assert_non_null(fake_redis_value(&f->redis, "other"));
  assert_non_null(fake_redis_value(&f->redis, "rh[1]:limit:a"));
  expect(f, 1, NULL);
  // Redis fails in the middle: it ends, and questions are asked again.
  keep(f->first, 1, false, "x", 5);
  f->redis.failing = true;
  rh_cache_drop(f->first, NULL);
  assert_true(rh_run_until(f->loop, is_clean, &f->redis));
  f->redis.failing = false;
  expect(f, 1, "x");
}

static void test_questions_can_be_left(void **state) {
  fixture *f = *state;
  asked left, closed;
  keep(f->first, 1, false, "one", 5);
  f->redis.silent = true;
  assert_int_equal(ask(f->second, 1, false, -1, 5, &left), RH_AGAIN);
  assert_int_equal(ask(f->second, 1, false, -1, 5, &closed), RH_AGAIN);
  rh_cache_forget(left.question);
  rh_cache_forget(NULL);
  rh_cache_free(f->second);
  assert_int_equal(f->redis.request_count, 0);
  f->second = make_cache(f, 60 * S, 10000);
  f->redis.silent = false;
  expect(f, 1, "one");
  assert_int_equal(left.answers + closed.answers, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_another_daemon_finds_it, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_what_is_local_never_goes_there, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_age_travels_with_the_answer, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_every_failure_is_a_miss, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_damage_is_a_miss, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_dropping, open_both, close_both),
      cmocka_unit_test_setup_teardown(test_questions_can_be_left, open_both, close_both),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
