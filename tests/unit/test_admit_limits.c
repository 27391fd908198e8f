// SPDX-License-Identifier: Apache-2.0
//
// Rate limits in memory: what is allowed when, what is told, and that memory stays flat.
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "admit/limits.h"
#include "base/clock.h"

#define START (UINT64_C(1800000000) * RH_NS_PER_S)

static rh_limits *make(size_t buckets_max) {
  rh_limits_options options = {.buckets_max = buckets_max};
  rh_limits *limits = rh_limits_new(NULL, &options);
  assert_non_null(limits);
  return limits;
}

static rh_limit limit(const char *subject, int64_t requests, int64_t tokens) {
  rh_limit out = {.requests_per_minute = requests, .tokens_per_minute = tokens};
  (void)snprintf(out.subject, sizeof out.subject, "%s", subject);
  return out;
}

static rh_status take(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens, uint64_t now_ns,
                      rh_limit_state *state, rh_error *error) {
  return rh_limits_take(limits, wanted, count, tokens, now_ns, state, NULL, NULL, NULL, error);
}

static int take_all(rh_limits *limits, const rh_limit *wanted, uint64_t now_ns) {
  int taken = 0;
  while (taken < 1000000 && take(limits, wanted, 1, 0, now_ns, NULL, NULL) == RH_OK) taken++;
  return taken;
}

static void test_exactly_so_many(void **state) {
  (void)state;
  static const int rates[] = {1, 2, 3, 7, 60, 100, 999, 1000, 7777, 99991, 500000};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    rh_limits *limits = make(0);
    rh_limit wanted = limit("key:a", rates[i], 0);
    assert_int_equal(take_all(limits, &wanted, START), rates[i]);
    // Half a minute brings half of it, a minute everything, an hour no more than that.
    assert_int_equal(take_all(limits, &wanted, START + 30 * RH_NS_PER_S), rates[i] / 2);
    assert_in_range(take_all(limits, &wanted, START + 90 * RH_NS_PER_S), rates[i] - rates[i] % 2, rates[i]);
    assert_int_equal(take_all(limits, &wanted, START + 3600 * RH_NS_PER_S), rates[i]);
    rh_limits_free(limits);
  }
}

static void test_retry_after_is_right(void **state) {
  (void)state;
  static const int rates[] = {1, 7, 60, 600, 5000};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    rh_limits *limits = make(0);
    rh_limit wanted = limit("key:a", rates[i], 0);
    uint64_t now = START;
    (void)take_all(limits, &wanted, now);
    for (int round = 0; round < 20; round++) {
      rh_error error = {0};
      assert_int_equal(take(limits, &wanted, 1, 0, now, NULL, &error), RH_LIMITED);
      assert_int_equal(error.status, RH_LIMITED);
      assert_in_range(error.retry_after_ms, 1, 60000 / rates[i] + 1);
      uint64_t wait = error.retry_after_ms * RH_NS_PER_MS;
      // A moment earlier is too early, then it is right.
      if (error.retry_after_ms > 2)
        assert_int_equal(take(limits, &wanted, 1, 0, now + wait - 2 * RH_NS_PER_MS, NULL, NULL), RH_LIMITED);
      now += wait;
      assert_int_equal(take(limits, &wanted, 1, 0, now, NULL, NULL), RH_OK);
    }
    rh_limits_free(limits);
  }
}

static void test_words(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_error error = {0};
  rh_limit key = limit("key:key_abc", 1, 0);
  assert_int_equal(take(limits, &key, 1, 0, START, NULL, NULL), RH_OK);
  assert_int_equal(take(limits, &key, 1, 0, START, NULL, &error), RH_LIMITED);
  assert_string_equal(error.message, "The limit of 1 requests a minute for this key is used up. Try again in 60 s.");
  assert_int_equal(error.retry_after_ms, 60000);
  rh_limit address = limit("ip:127.0.0.1", 0, 1000);
  assert_int_equal(take(limits, &address, 1, 900, START, NULL, NULL), RH_OK);
  assert_int_equal(take(limits, &address, 1, 400, START, NULL, &error), RH_LIMITED);
  assert_string_equal(error.message,
                      "The limit of 1000 tokens a minute for this address has 100 left, and this request needs about "
                      "400. Try again in 18 s.");
  assert_int_equal(error.retry_after_ms, 18000);
  rh_limits_free(limits);
}

static void test_all_or_nothing(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted[4] = {limit("key:a", 100, 0), limit("ip:1", 3, 0), limit("org:x", 0, 5000), limit("none", 0, 0)};
  rh_limit_state told;
  for (int i = 0; i < 3; i++) assert_int_equal(take(limits, wanted, 4, 1000, START, &told, NULL), RH_OK);
  for (int i = 0; i < 50; i++) assert_int_equal(take(limits, wanted, 4, 1000, START, NULL, NULL), RH_LIMITED);
  assert_int_equal(take_all(limits, &wanted[0], START), 97);  // the refused ones cost it nothing
  rh_error error;
  assert_int_equal(take(limits, &wanted[2], 1, 2001, START, NULL, &error), RH_LIMITED);
  assert_int_equal(take(limits, &wanted[2], 1, 2000, START, NULL, &error), RH_OK);
  rh_limits_free(limits);
}

static void test_the_longest_wait_is_told(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted[2] = {limit("ip:1", 60, 0), limit("key:a", 2, 0)};
  assert_int_equal(take_all(limits, &wanted[0], START), 60);
  assert_int_equal(take_all(limits, &wanted[1], START), 2);
  rh_error error = {0};
  assert_int_equal(take(limits, wanted, 2, 0, START, NULL, &error), RH_LIMITED);
  assert_int_equal(error.retry_after_ms, 30000);
  assert_non_null(strstr(error.message, "this key"));
  rh_limits_free(limits);
}

static void test_state_is_the_tightest(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted[2] = {limit("key:a", 100, 6000), limit("ip:1", 10, 0)};
  rh_limit_state told;
  assert_int_equal(take(limits, wanted, 2, 600, START, &told, NULL), RH_OK);
  assert_true(told.limited[0] && told.limited[1]);
  assert_int_equal(told.limit[0], 10);
  assert_int_equal(told.left[0], 9);
  assert_int_equal(told.limit[1], 6000);
  assert_int_equal(told.left[1], 5400);
  assert_true(told.reset_s[0] > 5.999 && told.reset_s[0] < 6.001);
  assert_true(told.reset_s[1] > 5.999 && told.reset_s[1] < 6.001);
  assert_int_equal(take(limits, NULL, 0, 600, START, &told, NULL), RH_OK);
  assert_false(told.limited[0] || told.limited[1]);
  rh_limits_free(limits);
}

static void test_settle(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted = limit("key:a", 0, 1000);
  rh_limit_state told;
  assert_int_equal(take(limits, &wanted, 1, 800, START, &told, NULL), RH_OK);
  rh_limits_settle(limits, &wanted, 1, -700, START);  // it was 100
  assert_int_equal(take(limits, &wanted, 1, 0, START, &told, NULL), RH_OK);
  assert_int_equal(told.left[1], 900);
  rh_limits_settle(limits, &wanted, 1, 1500, START);  // it was more than there is
  rh_error error = {0};
  assert_int_equal(take(limits, &wanted, 1, 100, START, &told, &error), RH_LIMITED);
  assert_int_equal(told.left[1], 0);
  assert_int_equal(error.retry_after_ms, 42000);          // from -600 to 100
  rh_limits_settle(limits, &wanted, 1, -1000000, START);  // no more than full
  assert_int_equal(take(limits, &wanted, 1, 1000, START, &told, NULL), RH_OK);
  assert_int_equal(take(limits, &wanted, 1, 1, START, &told, NULL), RH_LIMITED);
  rh_limits_free(limits);
}

static void test_larger_than_the_bucket(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted = limit("key:a", 0, 1000);
  // It needs a full bucket and is paid for afterwards: held on average, and never refused for ever.
  assert_int_equal(take(limits, &wanted, 1, 3000, START, NULL, NULL), RH_OK);
  rh_error error = {0};
  assert_int_equal(take(limits, &wanted, 1, 1, START, NULL, &error), RH_LIMITED);
  assert_int_equal(error.retry_after_ms, 120060);
  assert_int_equal(take(limits, &wanted, 1, 3000, START, NULL, &error), RH_LIMITED);
  assert_int_equal(error.retry_after_ms, 180000);
  assert_int_equal(take(limits, &wanted, 1, 3000, START + 180 * RH_NS_PER_S, NULL, &error), RH_OK);
  // Whatever is asked for, a day later all is well.
  rh_limits_settle(limits, &wanted, 1, INT64_MAX, START);
  assert_int_equal(take(limits, &wanted, 1, INT64_MAX, START + 2 * 86400 * RH_NS_PER_S, NULL, &error), RH_OK);
  rh_limits_free(limits);
}

static void test_clock_steps(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted = limit("key:a", 60, 0);
  assert_int_equal(take_all(limits, &wanted, START), 60);
  uint64_t earlier = START - 3600 * RH_NS_PER_S;
  assert_int_equal(take_all(limits, &wanted, earlier), 0);
  assert_int_equal(take_all(limits, &wanted, earlier + 10 * RH_NS_PER_S), 10);  // it goes on as if nothing had been
  assert_int_equal(take_all(limits, &wanted, earlier + 20 * RH_NS_PER_S), 10);
  rh_limits_free(limits);
}

static void test_changed_limits(void **state) {
  (void)state;
  rh_limits *limits = make(0);
  rh_limit wanted = limit("key:a", 10, 0);
  assert_int_equal(take_all(limits, &wanted, START), 10);
  wanted.tokens_per_minute = 500;  // new: its bucket is full
  assert_int_equal(take(limits, &wanted, 1, 500, START, NULL, NULL), RH_LIMITED);
  assert_int_equal(take(limits, &wanted, 1, 500, START + 6 * RH_NS_PER_S, NULL, NULL), RH_OK);
  wanted.requests_per_minute = -1;
  wanted.tokens_per_minute = 0;
  assert_int_equal(take_all(limits, &wanted, START), 1000000);
  rh_limits_free(limits);
}

static void test_a_million_addresses_in_flat_memory(void **state) {
  (void)state;
  rh_limits *limits = make(1000);
  size_t warm = 0;
  for (unsigned i = 0; i < 1000000; i++) {
    rh_limit wanted = limit("", 60, 0);
    (void)snprintf(wanted.subject, sizeof wanted.subject, "ip:10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
    assert_int_equal(take(limits, &wanted, 1, 0, START + i, NULL, NULL), RH_OK);
    if (i == 5000) warm = mallinfo2().uordblks;
    assert_true(rh_limits_get_counts(limits)->buckets <= 1000);
  }
  assert_int_equal(rh_limits_get_counts(limits)->taken, 1000000);
  assert_int_equal(rh_limits_get_counts(limits)->buckets, 1000);
  if (warm > 0) assert_true(mallinfo2().uordblks <= warm + 64 * 1024);
  // A minute later one busy address is enough to clean up behind all the others.
  rh_limit busy = limit("ip:busy", 1000000, 0);
  for (unsigned i = 0; i < 1024; i++)
    assert_int_equal(take(limits, &busy, 1, 0, START + 61 * RH_NS_PER_S, NULL, NULL), RH_OK);
  assert_int_equal(rh_limits_get_counts(limits)->buckets, 1);
  rh_limits_free(limits);
}

static void test_the_least_recently_used_goes(void **state) {
  (void)state;
  rh_limits *limits = make(16);
  rh_limit busy = limit("ip:busy", 100, 0);
  rh_limit idle = limit("ip:idle", 1, 0);
  assert_int_equal(take(limits, &idle, 1, 0, START, NULL, NULL), RH_OK);
  for (unsigned i = 0; i < 50; i++) {
    rh_limit other = limit("", 1, 0);
    (void)snprintf(other.subject, sizeof other.subject, "ip:%u", i);
    assert_int_equal(take(limits, &other, 1, 0, START, NULL, NULL), RH_OK);
    assert_int_equal(take(limits, &busy, 1, 0, START, NULL, NULL), RH_OK);
  }
  assert_int_equal(take_all(limits, &busy, START), 50);
  assert_int_equal(take(limits, &idle, 1, 0, START, NULL, NULL), RH_OK);  // forgotten
  rh_limits_free(limits);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exactly_so_many),
      cmocka_unit_test(test_retry_after_is_right),
      cmocka_unit_test(test_words),
      cmocka_unit_test(test_all_or_nothing),
      cmocka_unit_test(test_the_longest_wait_is_told),
      cmocka_unit_test(test_state_is_the_tightest),
      cmocka_unit_test(test_settle),
      cmocka_unit_test(test_larger_than_the_bucket),
      cmocka_unit_test(test_clock_steps),
      cmocka_unit_test(test_changed_limits),
      cmocka_unit_test(test_a_million_addresses_in_flat_memory),
      cmocka_unit_test(test_the_least_recently_used_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
