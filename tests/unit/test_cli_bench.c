// SPDX-License-Identifier: Apache-2.0
//
// The benchmark's arithmetic, its levels and its prompts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

static void test_percentile_is_nearest_rank(void **state) {
  (void)state;
  const double ten[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  assert_true(rh_bench_percentile(ten, 10, 50) == 5);
  assert_true(rh_bench_percentile(ten, 10, 95) == 10);
  assert_true(rh_bench_percentile(ten, 10, 10) == 1);
  assert_true(rh_bench_percentile(ten, 10, 100) == 10);
  assert_true(rh_bench_percentile(ten, 1, 99) == 1);
  assert_true(rh_bench_percentile(ten, 0, 50) == 0);
}

static void test_summary(void **state) {
  (void)state;
  rh_bench_sample samples[] = {
      {.first_s = 0.3, .total_s = 3, .tokens_per_s = 10, .prompt_tokens = 5, .tokens = 20},
      {.first_s = 0.1, .total_s = 1, .tokens_per_s = 0, .prompt_tokens = 5, .tokens = 1},
      {.first_s = 0.2, .total_s = 2, .tokens_per_s = 30, .prompt_tokens = 5, .tokens = 19},
  };
  rh_bench_level level = {
      .concurrency = 2, .requests = 4, .wall_s = 4, .samples = samples, .sample_count = 3, .errors = 1};
  rh_bench_summary summary;
  assert_int_equal(rh_bench_summarize(&level, &summary), RH_OK);
  assert_true(summary.first_s.p50 == 0.2 && summary.first_s.p99 == 0.3);
  assert_true(summary.total_s.p50 == 2 && summary.total_s.p95 == 3);
  assert_true(summary.tokens_per_s.p50 == 10);  // the answer of one token has no speed
  assert_true(summary.tokens_per_s_total == 10 && summary.requests_per_s == 0.75);
  assert_int_equal(summary.prompt_tokens, 15);
  level.sample_count = 0;
  assert_int_equal(rh_bench_summarize(&level, &summary), RH_OK);
  assert_true(summary.tokens_per_s_total == 0 && summary.first_s.p50 == 0);
}

static void test_levels(void **state) {
  (void)state;
  int64_t levels[RH_BENCH_LEVELS_MAX];
  size_t count;
  rh_error error = {0};
  assert_int_equal(rh_bench_parse_levels("1,4,16", levels, &count, &error), RH_OK);
  assert_int_equal(count, 3);
  assert_int_equal(levels[2], 16);
  static const char *const wrong[] = {
      "", "0", "1,", ",1", "1,,2", "x", "1x", "-1", "513", "99999999999999999999", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(rh_bench_parse_levels(wrong[i], levels, &count, &error), RH_INVALID);
  }
}

static void test_prompts_differ_from_the_first_words_on(void **state) {
  (void)state;
  char *a = rh_bench_prompt(1, 100), *b = rh_bench_prompt(2, 100), *again = rh_bench_prompt(1, 100);
  assert_non_null(a);
  assert_string_equal(a, again);
  assert_int_not_equal(strncmp(a, b, 12), 0);
  size_t words = 1;
  for (const char *c = a; *c != '\0'; c++) words += *c == ' ';
  assert_int_equal(words, 100);
  free(a);
  free(b);
  free(again);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_percentile_is_nearest_rank),
      cmocka_unit_test(test_summary),
      cmocka_unit_test(test_levels),
      cmocka_unit_test(test_prompts_differ_from_the_first_words_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
