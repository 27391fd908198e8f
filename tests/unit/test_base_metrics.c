// SPDX-License-Identifier: Apache-2.0
//
// base/metrics: samples, the bound on series, and the text as Prometheus reads it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "base/utf8.h"

enum { STARTED, REQUESTS, RUNNING, LATENCY, PLAIN_HISTOGRAM, METRICS };

static const double bounds[] = {0.005, 0.5, 1, 10};

static const rh_metric_def table[METRICS] = {
    [STARTED] = {.name = "t_started_total", .help = "Starts.\nA second \\ line", .type = RH_METRIC_COUNTER},
    [REQUESTS] = {.name = "t_requests_total",
                  .help = "Requests",
                  .type = RH_METRIC_COUNTER,
                  .labels = {"model", "status"}},
    [RUNNING] = {.name = "t_running", .help = "Running now", .type = RH_METRIC_GAUGE, .labels = {"model"}},
    [LATENCY] = {.name = "t_seconds",
                 .help = "Latency",
                 .type = RH_METRIC_HISTOGRAM,
                 .labels = {"model"},
                 .buckets = bounds,
                 .bucket_count = 4},
    [PLAIN_HISTOGRAM] = {.name = "t_plain_seconds",
                         .help = "Latency",
                         .type = RH_METRIC_HISTOGRAM,
                         .buckets = bounds,
                         .bucket_count = 1},
};

static rh_metrics *metrics;

static int set_up(void **state) {
  (void)state;
  metrics = rh_metrics_new(table, METRICS);
  return metrics == NULL ? -1 : 0;
}

static int tear_down(void **state) {
  (void)state;
  rh_metrics_free(metrics);
  return 0;
}

static char *render(void) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, 1u << 22);
  assert_int_equal(rh_metrics_render(metrics, &out), RH_OK);
  char *text = rh_dynbuf_take(&out, NULL);
  assert_non_null(text);
  return text;
}

static void test_what_a_fresh_registry_shows(void **state) {
  (void)state;
  char *text = render();
  assert_string_equal(text,
                      "# HELP t_started_total Starts.\\nA second \\\\ line\n"
                      "# TYPE t_started_total counter\n"
                      "t_started_total 0\n"
                      "# HELP t_requests_total Requests\n"
                      "# TYPE t_requests_total counter\n"
                      "# HELP t_running Running now\n"
                      "# TYPE t_running gauge\n"
                      "# HELP t_seconds Latency\n"
                      "# TYPE t_seconds histogram\n"
                      "# HELP t_plain_seconds Latency\n"
                      "# TYPE t_plain_seconds histogram\n"
                      "t_plain_seconds_bucket{le=\"0.005\"} 0\n"
                      "t_plain_seconds_bucket{le=\"+Inf\"} 0\n"
                      "t_plain_seconds_sum 0\n"
                      "t_plain_seconds_count 0\n");
  free(text);
}

static void test_counters_and_gauges(void **state) {
  (void)state;
  const char *const a_ok[] = {"a", "ok"};
  const char *const a_bad[] = {"a", "bad"};
  const char *const model[] = {"a"};
  rh_metrics_add(metrics, STARTED, NULL, 1);
  rh_metrics_add(metrics, REQUESTS, a_ok, 1);
  rh_metrics_add(metrics, REQUESTS, a_bad, 2);
  rh_metrics_add(metrics, REQUESTS, a_ok, 0.5);
  rh_metrics_set(metrics, RUNNING, model, 7);
  rh_metrics_add(metrics, RUNNING, model, -3);
  assert_true(rh_metrics_get(metrics, STARTED, NULL) == 1);
  assert_true(rh_metrics_get(metrics, REQUESTS, a_ok) == 1.5);
  assert_true(rh_metrics_get(metrics, REQUESTS, a_bad) == 2);
  assert_true(rh_metrics_get(metrics, RUNNING, model) == 4);
  assert_true(rh_metrics_get(metrics, RUNNING, (const char *const[]){"b"}) == 0);
  char *text = render();
  assert_non_null(strstr(text, "\nt_started_total 1\n"));
  assert_non_null(strstr(text,
                         "\nt_requests_total{model=\"a\",status=\"ok\"} 1.5\n"
                         "t_requests_total{model=\"a\",status=\"bad\"} 2\n"));
  assert_non_null(strstr(text, "\nt_running{model=\"a\"} 4\n"));
  free(text);
}

static void test_label_values_keep_their_borders(void **state) {
  (void)state;
  const char *const one[] = {"ab", "c"};
  const char *const two[] = {"a", "bc"};
  const char *const none[] = {NULL, NULL};
  const char *const empty[] = {"", ""};
  rh_metrics_add(metrics, REQUESTS, one, 1);
  rh_metrics_add(metrics, REQUESTS, two, 2);
  rh_metrics_add(metrics, REQUESTS, none, 4);
  assert_true(rh_metrics_get(metrics, REQUESTS, one) == 1);
  assert_true(rh_metrics_get(metrics, REQUESTS, two) == 2);
  assert_true(rh_metrics_get(metrics, REQUESTS, empty) == 4);
}

static void test_histograms_are_cumulative(void **state) {
  (void)state;
  const char *const model[] = {"m"};
  const double values[] = {0.001, 0.005, 0.5, 0.75, 3, 100};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) rh_metrics_observe(metrics, LATENCY, model, values[i]);
  char *text = render();
  assert_non_null(strstr(text,
                         "t_seconds_bucket{model=\"m\",le=\"0.005\"} 2\n"
                         "t_seconds_bucket{model=\"m\",le=\"0.5\"} 3\n"
                         "t_seconds_bucket{model=\"m\",le=\"1\"} 4\n"
                         "t_seconds_bucket{model=\"m\",le=\"10\"} 5\n"
                         "t_seconds_bucket{model=\"m\",le=\"+Inf\"} 6\n"
                         "t_seconds_sum{model=\"m\"} 104.256\n"
                         "t_seconds_count{model=\"m\"} 6\n"));
  free(text);
}

static void test_label_values_are_escaped_and_cut(void **state) {
  (void)state;
  const char *const odd[] = {"q\"b\\n\n\xFF\xC3\xA4"};
  rh_metrics_set(metrics, RUNNING, odd, 1);
  char *text = render();
  assert_non_null(strstr(text, "t_running{model=\"q\\\"b\\\\n\\n\xEF\xBF\xBD\xC3\xA4\"} 1\n"));
  free(text);
  char huge[5000];
  memset(huge, 'h', sizeof huge);
  huge[sizeof huge - 1] = '\0';
  const char *const long_value[] = {huge};
  rh_metrics_set(metrics, RUNNING, long_value, 5);
  assert_true(rh_metrics_get(metrics, RUNNING, long_value) == 5);
  text = render();
  assert_true(strlen(text) < 2000);
  assert_true(rh_utf8_valid(text, strlen(text)));
  free(text);
}

static void test_too_many_series_go_to_other(void **state) {
  (void)state;
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 3 * RH_METRIC_SERIES_MAX; i++) {
      char name[32];
      (void)snprintf(name, sizeof name, "model-%d", i);
      rh_metrics_add(metrics, REQUESTS, (const char *const[]){name, "ok"}, 1);
      rh_metrics_observe(metrics, LATENCY, (const char *const[]){name}, 1);
    }
  }
  double sum = 0;
  for (int i = 0; i < RH_METRIC_SERIES_MAX; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "model-%d", i);
    double value = rh_metrics_get(metrics, REQUESTS, (const char *const[]){name, "ok"});
    assert_true(value == 2);
    sum += value;
  }
  double other = rh_metrics_get(metrics, REQUESTS, (const char *const[]){"other", "other"});
  assert_true(sum + other == 6 * RH_METRIC_SERIES_MAX);  // nothing is lost
  char *text = render();
  size_t series = 0;
  for (const char *at = text; (at = strstr(at, "\nt_requests_total{")) != NULL; at++) series++;
  assert_int_equal(series, RH_METRIC_SERIES_MAX + 1);
  assert_non_null(strstr(text, "t_seconds_count{model=\"other\"} 2048\n"));
  free(text);
}

static void test_a_page_that_does_not_fit(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  assert_int_equal(rh_metrics_render(metrics, &out), RH_TOO_LARGE);
  rh_dynbuf_free(&out);
}

static void test_an_empty_table(void **state) {
  (void)state;
  rh_metrics *none = rh_metrics_new(table, 0);
  assert_non_null(none);
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  assert_int_equal(rh_metrics_render(none, &out), RH_OK);
  assert_int_equal(out.length, 0);
  rh_dynbuf_free(&out);
  rh_metrics_free(none);
  rh_metrics_free(NULL);
}

#define metrics_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      metrics_test(test_what_a_fresh_registry_shows),      metrics_test(test_counters_and_gauges),
      metrics_test(test_label_values_keep_their_borders),  metrics_test(test_histograms_are_cumulative),
      metrics_test(test_label_values_are_escaped_and_cut), metrics_test(test_too_many_series_go_to_other),
      metrics_test(test_a_page_that_does_not_fit),         cmocka_unit_test(test_an_empty_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
