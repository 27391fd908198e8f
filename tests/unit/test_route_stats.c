// SPDX-License-Identifier: Apache-2.0
//
// route/stats and route/breaker: averages, when a breaker opens, for how long, and how it closes.
#include "route_fixture.h"

#define MS 1000000ull
#define S 1000000000ull

static const rh_breaker_options usual = {
    .failures = 3, .failure_rate = 0.5, .window = 10, .open_ns = 10 * S, .open_max_ns = 35 * S, .outlier_factor = 3};

static rh_route_stats fresh(void) {
  rh_route_stats stats;
  rh_route_stats_init(&stats);
  return stats;
}

static void fail_times(rh_route_stats *stats, int times, uint64_t now) {
  for (int i = 0; i < times; i++) rh_route_stats_failure(stats, &usual, 0, now);
}

static void averages_follow_what_is_measured(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  assert_true(isnan(stats.quality));
  rh_route_stats_success(&stats, &usual, 100, 10, S);
  assert_near(stats.first_ms, 100, 1e-9);
  rh_route_stats_success(&stats, &usual, 200, 0, S);  // the mean of two; no token time was told
  assert_near(stats.first_ms, 150, 1e-9);
  assert_near(stats.token_ms, 10, 1e-9);
  for (int i = 0; i < 200; i++) rh_route_stats_success(&stats, &usual, 300, 5, S);
  assert_near(stats.first_ms, 300, 0.1);
  rh_route_stats_success(&stats, &usual, 30, 5, 1000 * S);  // after long, the old says next to nothing
  assert_near(stats.first_ms, 30, 0.1);
}

static void failures_in_a_row_open_it(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  fail_times(&stats, 2, S);
  rh_route_stats_success(&stats, &usual, 1, 1, S);
  fail_times(&stats, 2, S);
  assert_true(rh_breaker_admits(&stats, S));
  fail_times(&stats, 1, S);
  assert_int_equal(stats.state, RH_BREAKER_OPEN);
  assert_false(rh_breaker_admits(&stats, 11 * S - 1));
  assert_true(rh_breaker_would_admit(&stats, 11 * S));
  assert_int_equal(stats.state, RH_BREAKER_OPEN);  // looking changes nothing
  assert_true(rh_breaker_admits(&stats, 11 * S));
  assert_int_equal(stats.state, RH_BREAKER_HALF_OPEN);
}

static void one_probe_at_a_time(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  fail_times(&stats, 3, 0);
  assert_true(rh_breaker_admits(&stats, 10 * S));
  rh_breaker_begin(&stats);
  assert_false(rh_breaker_admits(&stats, 10 * S));
  rh_route_stats_abandoned(&stats);
  assert_true(rh_breaker_admits(&stats, 10 * S));
  rh_breaker_begin(&stats);
  rh_route_stats_success(&stats, &usual, 1, 1, 10 * S);
  assert_int_equal(stats.state, RH_BREAKER_CLOSED);
  fail_times(&stats, 2, 11 * S);  // what was before is forgotten
  assert_int_equal(stats.state, RH_BREAKER_CLOSED);
}

static void open_time_doubles_to_its_most(void **state) {
  (void)state;
  const uint64_t expected[] = {10 * S, 20 * S, 35 * S, 35 * S};
  rh_route_stats stats = fresh();
  uint64_t now = S;
  fail_times(&stats, 3, now);
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(stats.open_until_ns - now, expected[i]);
    now = stats.open_until_ns;
    assert_true(rh_breaker_admits(&stats, now));
    rh_breaker_begin(&stats);
    fail_times(&stats, 1, now);
    assert_int_equal(stats.state, RH_BREAKER_OPEN);
  }
}

static void a_rate_opens_it_without_a_row(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  for (int i = 0; i < 5; i++) {
    assert_int_equal(stats.state, RH_BREAKER_CLOSED);
    rh_route_stats_success(&stats, &usual, 1, 1, S);
    fail_times(&stats, 1, S);
  }
  assert_int_equal(stats.state, RH_BREAKER_OPEN);
}

static void retry_after_is_honoured(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  rh_route_stats_failure(&stats, &usual, 60 * S, S);
  assert_false(rh_breaker_would_admit(&stats, 61 * S - 1));
  assert_true(rh_breaker_would_admit(&stats, 61 * S));
  stats = fresh();
  rh_route_stats_failure(&stats, &usual, 1000 * 3600 * S, S);  // but not for ever
  assert_true(rh_breaker_would_admit(&stats, S + 3600 * S));
}

static void late_answers_do_not_close_it(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  fail_times(&stats, 3, S);
  rh_route_stats_success(&stats, &usual, 1, 1, 2 * S);
  assert_int_equal(stats.state, RH_BREAKER_OPEN);
}

static void outliers_go_but_never_more_than_half(void **state) {
  (void)state;
  rh_route_stats stats[4];
  rh_route_stats *all[4];
  const double first[] = {10, 12, 500, 400};
  for (size_t i = 0; i < 4; i++) {
    stats[i] = fresh();
    all[i] = &stats[i];
    for (int k = 0; k < 6; k++) rh_route_stats_success(&stats[i], &usual, first[i], 1, S);
  }
  stats[0].state = RH_BREAKER_OPEN;
  rh_breaker_eject_outliers(all, 4, &usual, S);
  assert_int_equal(stats[2].state, RH_BREAKER_CLOSED);  // against 12 and 400 its 500 is no outlier
  stats[0].state = RH_BREAKER_CLOSED;
  for (int k = 0; k < 60; k++) rh_route_stats_success(&stats[3], &usual, 11, 1, S);
  rh_breaker_eject_outliers(all, 4, &usual, S);
  assert_true(stats[2].ejected && !rh_breaker_would_admit(&stats[2], S));
  stats[0].state = stats[1].state = RH_BREAKER_OPEN;
  stats[2] = fresh();
  for (int k = 0; k < 6; k++) rh_route_stats_success(&stats[2], &usual, 5000, 1, S);
  rh_breaker_eject_outliers(all, 4, &usual, S);
  assert_int_equal(stats[2].state, RH_BREAKER_CLOSED);  // two of four are out already
}

static void who_is_back_from_ejection_is_judged_anew(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  for (int k = 0; k < 6; k++) rh_route_stats_success(&stats, &usual, 900, 1, S);
  stats.state = RH_BREAKER_OPEN;
  stats.ejected = true;
  stats.open_until_ns = 2 * S;
  assert_true(rh_breaker_admits(&stats, 2 * S));
  rh_breaker_begin(&stats);
  rh_route_stats_success(&stats, &usual, 20, 1, 2 * S);
  assert_near(stats.first_ms, 20, 1e-9);
  assert_int_equal(stats.samples, 1);
  assert_false(stats.ejected);
}

static void feedback_becomes_quality(void **state) {
  (void)state;
  rh_route_stats stats = fresh();
  rh_route_stats_feedback(&stats, 1);
  assert_near(stats.quality, 1, 1e-9);
  rh_route_stats_feedback(&stats, -1);
  assert_near(stats.quality, 0.5, 1e-9);
  rh_route_stats_feedback(&stats, NAN);
  rh_route_stats_feedback(&stats, 1000);
  assert_in_range(stats.quality_samples, 3, 3);
  assert_true(stats.quality <= 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(averages_follow_what_is_measured),
      cmocka_unit_test(failures_in_a_row_open_it),
      cmocka_unit_test(one_probe_at_a_time),
      cmocka_unit_test(open_time_doubles_to_its_most),
      cmocka_unit_test(a_rate_opens_it_without_a_row),
      cmocka_unit_test(retry_after_is_honoured),
      cmocka_unit_test(late_answers_do_not_close_it),
      cmocka_unit_test(outliers_go_but_never_more_than_half),
      cmocka_unit_test(who_is_back_from_ejection_is_judged_anew),
      cmocka_unit_test(feedback_becomes_quality),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
