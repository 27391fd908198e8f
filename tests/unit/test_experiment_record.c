// SPDX-License-Identifier: Apache-2.0
//
// What becomes of outcomes: figures, the guardrail, reports, and a state that comes back exactly.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "experiment/experiment.h"

static rh_experiments *all;
static uint64_t seed;

static int set_up(void **state) {
  (void)state;
  all = rh_experiments_new();
  seed = 11;
  return all == NULL;
}

static int tear_down(void **state) {
  (void)state;
  rh_experiments_free(all);
  return 0;
}

static double uniform(void) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return ((double)(seed >> 11) + 0.5) * 0x1p-53;
}

static rh_experiment *add(const char *text) {
  json_t *definition = json_loads(text, 0, NULL);
  rh_experiment *out = NULL;
  rh_error error = {0};
  assert_non_null(definition);
  if (rh_experiment_add(all, definition, 100, &out, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(definition);
  return out;
}

#define ARMS "\"arms\":[{\"name\":\"old\",\"model\":\"x\"},{\"name\":\"new\",\"model\":\"p/y|z\"}]"
#define WITH(more) "{\"name\":\"e\",\"model\":\"m\"," ARMS more "}"

static bool feed(const char *arm, int count, double latency, int fail_every, char why[256]) {
  bool stopped = false;
  for (int i = 0; i < count; i++) {
    rh_outcome outcome = {.failed = fail_every > 0 && i % fail_every == 0,
                          .latency_ms = latency * (0.5 + uniform()),
                          .first_token_ms = latency / 10 * (0.5 + uniform()),
                          .cost_usd = 0.001 * uniform(),
                          .tokens = 50 + (int64_t)(100 * uniform())};
    stopped = rh_experiment_record(all, "e", arm, &outcome, 200 + i, why) || stopped;
  }
  return stopped;
}

static const json_t *arm_of(const json_t *report, size_t index) {
  return json_array_get(json_object_get(report, "arms"), index);
}
static double number(const json_t *object, const char *one, const char *two) {
  const json_t *value = json_object_get(object, one);
  return json_number_value(two != NULL ? json_object_get(value, two) : value);
}

static void figures_are_right(void **state) {
  (void)state;
  rh_experiment *e = add(WITH(",\"minimum\":10"));
  char why[256] = "";
  for (int i = 1; i <= 100; i++) {
    rh_outcome outcome = {
        .failed = i > 90, .latency_ms = i, .first_token_ms = i <= 50 ? 1 : 0, .cost_usd = 0.5, .tokens = 2};
    assert_false(rh_experiment_record(all, "e", "old", &outcome, 200, why));
  }
  rh_experiment_feedback(all, "e", "old", 1);
  rh_experiment_feedback(all, "e", "old", 0);
  rh_experiment_feedback(all, "e", "old", NAN);
  json_t *report = rh_experiment_report(e, 300);
  const json_t *arm = arm_of(report, 0);
  assert_int_equal(json_integer_value(json_object_get(arm, "requests")), 100);
  assert_int_equal(json_integer_value(json_object_get(arm, "errors")), 10);
  assert_float_equal(number(arm, "error_rate", "value"), 0.1, 1e-12);
  assert_float_equal(number(arm, "latency_ms", "mean"), 45.5, 1e-9);
  assert_float_equal(number(arm, "latency_ms", "count"), 90, 0);
  assert_float_equal(number(arm, "latency_ms", "p50"), 45, 0.6);
  assert_float_equal(number(arm, "latency_ms", "p95"), 85, 1.2);
  assert_float_equal(number(arm, "latency_ms", "deviation"), sqrt(90 * 91 / 12.0), 1e-9);
  assert_float_equal(number(arm, "first_token_ms", "count"), 50, 0);
  assert_float_equal(number(arm, "cost_usd", "sum"), 50, 1e-9);
  assert_float_equal(number(arm, "tokens", "sum"), 200, 0);
  assert_float_equal(number(arm, "feedback", "mean"), 0.5, 1e-12);
  assert_float_equal(number(arm, "feedback", "count"), 2, 0);
  // The other arm has nothing yet, and nothing is claimed of it.
  assert_null(json_object_get(json_object_get(arm_of(report, 1), "latency_ms"), "mean"));
  const json_t *comparison = json_array_get(json_object_get(report, "comparisons"), 0);
  const json_t *test = json_object_get(comparison, "sequential");
  assert_string_equal(json_string_value(json_object_get(test, "result")), "too few");
  assert_true(json_is_null(json_object_get(test, "low")));
  json_decref(report);
}

static void nonsense_is_left_out(void **state) {
  (void)state;
  rh_experiment *e = add(WITH(""));
  static const rh_outcome odd[] = {{.latency_ms = NAN, .cost_usd = INFINITY, .tokens = -1},
                                   {.latency_ms = -5, .first_token_ms = NAN, .cost_usd = -1, .tokens = INT64_MAX},
                                   {.latency_ms = 1e300, .cost_usd = 1e300, .tokens = INT64_MAX}};
  char why[256] = "";
  for (int i = 0; i < 3; i++) assert_false(rh_experiment_record(all, "e", "old", &odd[i], 200, why));
  assert_false(rh_experiment_record(all, "e", "nobody", &odd[0], 200, why));
  assert_false(rh_experiment_record(all, "none", "old", &odd[0], 200, why));
  assert_false(rh_experiment_record(all, "e", NULL, &odd[0], 200, why));
  rh_experiment_feedback(all, "none", "old", 1);
  rh_experiment_feedback(all, "e", NULL, 1);
  json_t *report = rh_experiment_report(e, 300);
  assert_int_equal(json_integer_value(json_object_get(arm_of(report, 0), "requests")), 3);
  assert_null(json_object_get(json_object_get(arm_of(report, 0), "latency_ms"), "mean"));
  json_decref(report);
  json_t *kept = rh_experiments_to_json(all);
  assert_non_null(kept);
  json_decref(kept);
}

// --- guardrail -----------------------------------------------------------------------------------------------------------

static void nothing_is_judged_before_the_minimum(void **state) {
  (void)state;
  add(WITH(",\"guardrail\":{\"minimum\":80}"));
  char why[256] = "";
  assert_false(feed("new", 79, 100, 1, why));
  assert_string_equal(why, "");
  assert_true(feed("new", 1, 100, 1, why));
  assert_non_null(strstr(why, "arm \"new\" failed 100.0 % of its requests (80 of 80)"));
  assert_non_null(strstr(why, "25.0 %"));
  // It is said once.
  assert_false(feed("new", 10, 100, 1, why));
}

static void the_control_is_never_stopped(void **state) {
  (void)state;
  add(WITH(""));
  char why[256] = "";
  assert_false(feed("old", 500, 100, 1, why));
}

static void more_errors_than_the_control(void **state) {
  (void)state;
  add(WITH(",\"guardrail\":{\"error_rate_max\":0}"));
  char why[256] = "";
  assert_false(feed("old", 400, 100, 50, why));  // 2 %
  assert_true(feed("new", 400, 100, 5, why));    // 20 %
  assert_non_null(strstr(why, "the control 2.0 % (8 of 400)"));
  assert_non_null(strstr(why, "error_rate_ratio 2 times"));
}

static void much_slower_than_the_control(void **state) {
  (void)state;
  add(WITH(",\"guardrail\":{\"latency_ratio\":1.5}"));
  char why[256] = "";
  assert_false(feed("old", 200, 100, 0, why));
  assert_false(feed("new", 49, 400, 0, why));
  assert_true(feed("new", 100, 400, 0, why));
  assert_non_null(strstr(why, "times as long, surely more than latency_ratio 1.5"));
}

static void rules_can_be_switched_off(void **state) {
  (void)state;
  add(WITH(",\"guardrail\":{\"error_rate_max\":0,\"error_rate_ratio\":0,\"latency_ratio\":0}"));
  char why[256] = "";
  assert_false(feed("old", 200, 10, 0, why));
  assert_false(feed("new", 400, 1000, 2, why));
}

// --- results ---------------------------------------------------------------------------------------------------------------

static const json_t *sequential(const json_t *report) {
  return json_object_get(json_array_get(json_object_get(report, "comparisons"), 0), "sequential");
}

static void a_faster_arm_is_better(void **state) {
  (void)state;
  rh_experiment *e = add(WITH(",\"minimum\":50"));
  char why[256] = "";
  (void)feed("old", 200, 100, 0, why);
  (void)feed("new", 49, 60, 0, why);
  json_t *report = rh_experiment_report(e, 300);
  assert_string_equal(json_string_value(json_object_get(sequential(report), "result")), "too few");
  assert_float_equal(number(sequential(report), "p_value", NULL), 1, 0);
  json_decref(report);
  (void)feed("new", 151, 60, 0, why);
  report = rh_experiment_report(e, 300);
  assert_string_equal(json_string_value(json_object_get(sequential(report), "result")), "better");
  assert_float_equal(number(sequential(report), "value", NULL), 0.6, 0.06);
  assert_true(number(sequential(report), "high", NULL) < 1);
  assert_true(number(sequential(report), "p_value", NULL) <= 0.05);
  const json_t *differences = json_object_get(json_array_get(json_object_get(report, "comparisons"), 0), "differences");
  assert_float_equal(number(json_object_get(differences, "latency"), "difference", NULL), -40, 6);
  assert_string_equal(json_string_value(json_object_get(json_object_get(differences, "error"), "method")), "Newcombe");
  json_decref(report);
}

static void better_feedback_is_higher(void **state) {
  (void)state;
  rh_experiment *e = add(WITH(",\"minimum\":50,\"metric\":\"feedback\""));
  for (int i = 0; i < 400; i++) {
    rh_experiment_feedback(all, "e", "old", uniform() < 0.4 ? 1 : 0);
    rh_experiment_feedback(all, "e", "new", uniform() < 0.8 ? 1 : 0);
  }
  json_t *report = rh_experiment_report(e, 300);
  assert_string_equal(json_string_value(json_object_get(sequential(report), "result")), "better");
  assert_float_equal(number(sequential(report), "value", NULL), 0.4, 0.1);
  json_decref(report);
}

static void several_arms_share_alpha(void **state) {
  (void)state;
  rh_experiment *e =
      add("{\"name\":\"e\",\"model\":\"m\",\"alpha\":0.06,\"arms\":[{\"name\":\"a\",\"model\":\"x\"},"
          "{\"name\":\"b\",\"model\":\"y\"},{\"name\":\"c\",\"model\":\"z\"},{\"name\":\"d\",\"model\":\"w\"}]}");
  json_t *report = rh_experiment_report(e, 300);
  assert_int_equal(json_array_size(json_object_get(report, "comparisons")), 3);
  assert_float_equal(number(sequential(report), "alpha", NULL), 0.02, 1e-12);
  json_decref(report);
}

static void the_text_says_what_is_shown(void **state) {
  (void)state;
  rh_experiment *e = add(WITH(",\"minimum\":50"));
  char why[256] = "";
  (void)feed("old", 200, 100, 0, why);
  (void)feed("new", 200, 60, 3, why);
  char *text = rh_experiment_report_text(e, 1700000000);
  assert_non_null(text);
  static const char *const wanted[] = {"# Experiment e\n",
                                       "A/B test, running",
                                       "to 2023-11-14 22:13:20 UTC",
                                       "| old (control) | x |",
                                       "| new (candidate) | p/y\\|z | stopped |",
                                       "The guardrail stopped arm \"new\"",
                                       "is better than the control in latency",
                                       "Johari, Pekelis and Walsh",
                                       "Welch",
                                       "Newcombe",
                                       "Wilson",
                                       "Stopped at "};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    if (strstr(text, wanted[i]) == NULL) fail_msg("\"%s\" is not in:\n%s", wanted[i], text);
  }
  assert_null(strstr(text, "nan"));
  free(text);
}

// --- state -----------------------------------------------------------------------------------------------------------------

static void fill(void) {
  add(WITH(",\"minimum\":50,\"alpha\":0.013"));
  rh_experiment *other = add("{\"name\":\"s\",\"model\":\"*\",\"kind\":\"shadow\",\"metric\":\"cost\"," ARMS "}");
  char why[256] = "";
  (void)feed("old", 333, 100.0 / 3, 0, why);
  (void)feed("new", 222, 200.0 / 7, 3, why);
  rh_experiment_feedback(all, "e", "new", 1.0 / 3);
  assert_int_equal(rh_experiment_set_state(other, RH_EXPERIMENT_PAUSED, "holidays", 77), RH_OK);
}

static void the_state_comes_back_exactly(void **state) {
  (void)state;
  fill();
  json_t *kept = rh_experiments_to_json(all);
  // Over the disk.
  char *text = json_dumps(kept, JSON_COMPACT);
  json_t *read = json_loads(text, 0, NULL);
  rh_experiments *back = rh_experiments_new();
  rh_error error = {0};
  if (rh_experiments_from_json(back, read, &error) != RH_OK) fail_msg("%s", error.message);
  json_t *again = rh_experiments_to_json(back);
  assert_true(json_equal(kept, again));
  for (size_t i = 0; i < 2; i++) {
    json_t *before = rh_experiment_report(rh_experiments_at(all, i), 500);
    json_t *after = rh_experiment_report(rh_experiments_at(back, i), 500);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
  }
  // And goes on as if nothing had been.
  char why[256] = "";
  uint64_t here = seed;
  (void)feed("old", 50, 90, 7, why);
  rh_experiments *first = all;
  all = back;
  seed = here;
  (void)feed("old", 50, 90, 7, why);
  all = first;
  json_decref(kept);
  json_decref(again);
  kept = rh_experiments_to_json(all);
  again = rh_experiments_to_json(back);
  assert_true(json_equal(kept, again));
  json_decref(kept);
  json_decref(again);
  json_decref(read);
  free(text);
  rh_experiments_free(back);
}

// Every value of the state in turn is replaced by something else: it is refused or taken, and never does harm.
static void spoil(json_t *root, json_t *value, int *refused) {
  const char *key = NULL;
  json_t *item = NULL;
  void *next = NULL;
  json_object_foreach_safe(value, next, key, item) {
    static const char *const wrong[] = {"null", "-1", "\"x\"", "[]", "{}", "1e308", "true"};
    json_incref(item);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
      json_object_set_new(value, key, json_loads(wrong[i], JSON_DECODE_ANY, NULL));
      rh_experiments *back = rh_experiments_new();
      rh_error error = {0};
      if (rh_experiments_from_json(back, root, &error) != RH_OK) {
        ++*refused;
        assert_true(strlen(error.message) > 20);
        assert_int_equal(rh_experiments_count(back), 0);
      } else if (rh_experiments_count(back) > 0) {
        json_decref(rh_experiment_report(rh_experiments_at(back, 0), 1));
      }
      rh_experiments_free(back);
    }
    json_object_set_new(value, key, item);
    if (json_is_object(item)) spoil(root, item, refused);
    if (json_is_array(item) && json_is_object(json_array_get(item, 1))) spoil(root, json_array_get(item, 1), refused);
  }
}

static void a_damaged_state_is_refused_whole(void **state) {
  (void)state;
  fill();
  json_t *kept = rh_experiments_to_json(all);
  rh_error error = {0};
  json_object_set_new(json_array_get(json_object_get(kept, "experiments"), 1), "arms", json_array());
  assert_int_equal(rh_experiments_from_json(all, kept, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "arms of s"));
  assert_int_equal(rh_experiments_count(all), 2);
  json_decref(kept);
  kept = rh_experiments_to_json(all);
  int refused = 0;
  spoil(kept, kept, &refused);
  assert_true(refused > 200);
  json_decref(kept);
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      FRESH(figures_are_right),
      FRESH(nonsense_is_left_out),
      FRESH(nothing_is_judged_before_the_minimum),
      FRESH(the_control_is_never_stopped),
      FRESH(more_errors_than_the_control),
      FRESH(much_slower_than_the_control),
      FRESH(rules_can_be_switched_off),
      FRESH(a_faster_arm_is_better),
      FRESH(better_feedback_is_higher),
      FRESH(several_arms_share_alpha),
      FRESH(the_text_says_what_is_shown),
      FRESH(the_state_comes_back_exactly),
      FRESH(a_damaged_state_is_refused_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
