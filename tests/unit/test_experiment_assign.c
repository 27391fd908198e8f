// SPDX-License-Identifier: Apache-2.0
//
// What an experiment may be, and who gets which arm.
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

static int set_up(void **state) {
  (void)state;
  all = rh_experiments_new();
  return all == NULL;
}

static int tear_down(void **state) {
  (void)state;
  rh_experiments_free(all);
  return 0;
}

static rh_status try_add(const char *text, rh_experiment **out, rh_error *error) {
  json_error_t where;
  json_t *definition = json_loads(text, 0, &where);
  if (definition == NULL) fail_msg("%s: %s", text, where.text);
  rh_status status = rh_experiment_add(all, definition, 1, out, error);
  json_decref(definition);
  return status;
}

static rh_experiment *add(const char *text) {
  rh_experiment *out = NULL;
  rh_error error = {0};
  if (try_add(text, &out, &error) != RH_OK) fail_msg("%s: %s", text, error.message);
  return out;
}

#define ARMS "\"arms\":[{\"name\":\"a\",\"model\":\"x\"},{\"name\":\"b\",\"model\":\"y\"}]"
#define WITH(more) "{\"name\":\"e\",\"model\":\"m\"," ARMS more "}"

// --- definitions -----------------------------------------------------------------------------------------------------

static void defaults_are_filled_in(void **state) {
  (void)state;
  json_t *definition = rh_experiment_definition(add(WITH("")));
  assert_string_equal(json_string_value(json_object_get(definition, "kind")), "ab");
  assert_string_equal(json_string_value(json_object_get(definition, "sticky")), "key");
  assert_string_equal(json_string_value(json_object_get(definition, "metric")), "latency");
  assert_int_equal(json_integer_value(json_object_get(definition, "minimum")), 100);
  assert_true(json_real_value(json_object_get(definition, "traffic")) >= 1);
  json_t *guard = json_object_get(definition, "guardrail");
  assert_int_equal(json_integer_value(json_object_get(guard, "minimum")), 50);
  // What is written is read again as the same.
  rh_experiments *others = rh_experiments_new();
  rh_experiment *again = NULL;
  assert_int_equal(rh_experiment_add(others, definition, 1, &again, NULL), RH_OK);
  json_t *second = rh_experiment_definition(again);
  assert_true(json_equal(definition, second));
  json_decref(definition);
  json_decref(second);
  rh_experiments_free(others);
}

static void bad_definitions_name_the_field(void **state) {
  (void)state;
  static const struct {
    const char *text, *param;
  } rows[] = {
      {"[]", ""},
      {"{}", "name"},
      {"{\"name\":\"a b\",\"model\":\"m\"," ARMS "}", "name"},
      {"{\"name\":\"\",\"model\":\"m\"," ARMS "}", "name"},
      {"{\"name\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",\"model\":\"m\"," ARMS "}", "name"},
      {"{\"name\":\"e\"," ARMS "}", "model"},
      {"{\"name\":\"e\",\"model\":\"a b\"," ARMS "}", "model"},
      {"{\"name\":\"e\",\"model\":\"m\"}", "arms"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"}]}", "arms"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"},{\"name\":\"a\",\"model\":\"y\"}]}",
       "arms[1]"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"},{\"name\":\"b\"}]}",
       "arms[1].model"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"},7]}", "arms[1]"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\",\"weight\":0},{\"name\":\"b\","
       "\"model\":\"y\"}]}",
       "arms[0].weight"},
      {"{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\",\"wieght\":1},{\"name\":\"b\","
       "\"model\":\"y\"}]}",
       "arms[0].wieght"},
      {"{\"name\":\"e\",\"model\":\"m\",\"kind\":\"shadow\",\"arms\":[{\"name\":\"a\",\"model\":\"x\",\"weight\":1},"
       "{\"name\":\"b\",\"model\":\"y\"}]}",
       "arms[0]"},
      {WITH(",\"kind\":\"a/b\""), "kind"},
      {WITH(",\"kind\":1"), "kind"},
      {WITH(",\"sticky\":\"user\""), "sticky"},
      {WITH(",\"metric\":\"speed\""), "metric"},
      {WITH(",\"traffic\":1.5"), "traffic"},
      {WITH(",\"trafic\":1"), "trafic"},
      {WITH(",\"minimum\":1"), "minimum"},
      {WITH(",\"alpha\":0.5"), "alpha"},
      {WITH(",\"guardrail\":1"), "guardrail"},
      {WITH(",\"guardrail\":{\"latency\":2}"), "guardrail.latency"},
      {WITH(",\"guardrail\":{\"latency_ratio\":0.5}"), "guardrail.latency_ratio"},
      {WITH(",\"guardrail\":{\"error_rate_max\":2}"), "guardrail.error_rate_max"},
      {WITH(",\"kind\":\"shadow\",\"metric\":\"feedback\""), "metric"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    rh_error error = {0};
    rh_experiment *out = NULL;
    if (try_add(rows[i].text, &out, &error) != RH_INVALID) fail_msg("%s was taken", rows[i].text);
    if (strcmp(error.param, rows[i].param) != 0) fail_msg("%s: \"%s\": %s", rows[i].text, error.param, error.message);
    assert_true(strlen(error.message) > 10);
    assert_null(out);
  }
  assert_int_equal(rh_experiments_count(all), 0);
}

static void a_misspelt_field_is_guessed(void **state) {
  (void)state;
  rh_error error = {0};
  assert_int_equal(try_add(WITH(",\"guardrails\":{}"), NULL, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "did you mean \"guardrail\"?"));
}

static void names_are_taken_once_and_the_number_is_bounded(void **state) {
  (void)state;
  rh_error error = {0};
  add(WITH(""));
  assert_int_equal(try_add(WITH(""), NULL, &error), RH_CONFLICT);
  for (int i = 1; i < RH_EXPERIMENTS_MAX; i++) {
    char text[200];
    (void)snprintf(text, sizeof text, "{\"name\":\"e%d\",\"model\":\"m\"," ARMS "}", i);
    add(text);
  }
  assert_int_equal(try_add("{\"name\":\"last\",\"model\":\"m\"," ARMS "}", NULL, &error), RH_TOO_LARGE);
  rh_experiment_remove(all, rh_experiment_find(all, "e7"));
  assert_null(rh_experiment_find(all, "e7"));
  assert_int_equal(rh_experiments_count(all), RH_EXPERIMENTS_MAX - 1);
  assert_string_equal(rh_experiment_name(rh_experiments_at(all, 7)), "e8");
  assert_null(rh_experiments_at(all, RH_EXPERIMENTS_MAX - 1));
  add("{\"name\":\"last\",\"model\":\"m\"," ARMS "}");
}

// --- assignment --------------------------------------------------------------------------------------------------------

static rh_assignment assign(const char *model, const char *key, const char *session, uint64_t chance) {
  rh_assignment out;
  rh_experiment_assign(all, model, key, session, chance, &out);
  return out;
}

static void the_same_client_gets_the_same_arm_everywhere(void **state) {
  (void)state;
  add(WITH(""));
  // These must never change: daemons of different builds share clients.
  static const char *const keys[] = {"key-1", "key-2", "key-3", "key-4", "key-5", "key-6", "key-7", "key-8"};
  char arms[9] = "";
  for (int i = 0; i < 8; i++) {
    rh_assignment first = assign("m", keys[i], NULL, 1);
    rh_assignment second = assign("m", keys[i], "any", 999);
    assert_int_equal(first.arm, second.arm);
    assert_string_equal(first.model, first.arm == 0 ? "x" : "y");
    arms[i] = first.arm_name[0];
  }
  assert_string_equal(arms, "aaababba");
}

static void stickiness_has_an_order(void **state) {
  (void)state;
  add(WITH(",\"sticky\":\"session\""));
  bool keys_differ = false, sessions_differ = false, chances_differ = false;
  for (uint64_t i = 0; i < 64; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "%d", (int)i);
    keys_differ = keys_differ || assign("m", id, "s", i).arm != assign("m", "k", "s", 0).arm;
    sessions_differ = sessions_differ || assign("m", "k", id, i).arm != assign("m", "k", "s", 0).arm;
    chances_differ = chances_differ || assign("m", NULL, "", i).arm != assign("m", NULL, NULL, 0).arm;
    // Without a session the key decides.
    assert_int_equal(assign("m", id, NULL, i).arm, assign("m", id, NULL, 5).arm);
  }
  assert_false(keys_differ);
  assert_true(sessions_differ);
  assert_true(chances_differ);
}

// Pearson's test; the bounds are those that are passed once in a thousand.
static double chi_square(const int *counts, const double *shares, int cells, int total) {
  double chi = 0;
  for (int i = 0; i < cells; i++) {
    double wanted = shares[i] * total;
    chi += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
  }
  return chi;
}

static void arms_get_their_shares(void **state) {
  (void)state;
  add("{\"name\":\"e\",\"model\":\"m\",\"traffic\":0.5,\"arms\":[{\"name\":\"a\",\"model\":\"x\",\"weight\":6},"
      "{\"name\":\"b\",\"model\":\"y\",\"weight\":3},{\"name\":\"c\",\"model\":\"z\",\"weight\":1}]}");
  static const double shares[] = {0.5, 0.3, 0.15, 0.05};  // nobody's, then the arms'
  for (int by_chance = 0; by_chance < 2; by_chance++) {
    int counts[4] = {0};
    enum { CLIENTS = 40000 };
    for (uint64_t i = 0; i < CLIENTS; i++) {
      char key[32];
      (void)snprintf(key, sizeof key, "rk_%d", (int)i);
      rh_assignment got = assign("m", by_chance ? NULL : key, NULL, i);  // the worst chance: counted upwards
      counts[got.experiment == NULL ? 0 : got.arm + 1]++;
    }
    double chi = chi_square(counts, shares, 4, CLIENTS);
    if (chi > 16.27) fail_msg("chi-square is %g (3 degrees of freedom)", chi);
  }
}

static void experiments_are_independent_of_each_other(void **state) {
  (void)state;
  add("{\"name\":\"one\",\"model\":\"m1\"," ARMS "}");
  add("{\"name\":\"two\",\"model\":\"m2\"," ARMS "}");
  int counts[4] = {0};
  enum { CLIENTS = 20000 };
  for (int i = 0; i < CLIENTS; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "client %d", i);
    counts[assign("m1", key, NULL, 0).arm * 2 + assign("m2", key, NULL, 0).arm]++;
  }
  static const double quarters[] = {0.25, 0.25, 0.25, 0.25};
  double chi = chi_square(counts, quarters, 4, CLIENTS);
  if (chi > 16.27) fail_msg("chi-square is %g (3 degrees of freedom)", chi);
}

static void eight_arms_get_equal_shares(void **state) {
  (void)state;
  char text[512] = "{\"name\":\"e\",\"model\":\"m\",\"arms\":[";
  for (int i = 0; i < 8; i++) {
    size_t length = strlen(text);
    (void)snprintf(text + length, sizeof text - length, "%s{\"name\":\"arm%d\",\"model\":\"x\"}", i > 0 ? "," : "", i);
  }
  (void)strncat(text, "]}", sizeof text - strlen(text) - 1);
  add(text);
  int counts[8] = {0};
  for (int i = 0; i < 20000; i++) {
    char session[32];
    (void)snprintf(session, sizeof session, "%d", i);
    counts[assign("m", NULL, session, 0).arm]++;
  }
  static const double eighths[] = {0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125};
  double chi = chi_square(counts, eighths, 8, 20000);
  if (chi > 24.32) fail_msg("chi-square is %g (7 degrees of freedom)", chi);
}

static void more_traffic_moves_nobody(void **state) {
  (void)state;
  add("{\"name\":\"e\",\"model\":\"m\",\"traffic\":0.2," ARMS "}");
  int before[500], others = 0;
  char key[16];
  for (int i = 0; i < 500; i++) {
    (void)snprintf(key, sizeof key, "%d", i);
    rh_assignment got = assign("m", key, NULL, 0);
    before[i] = got.experiment != NULL ? (int)got.arm : -1;
  }
  rh_experiment_remove(all, rh_experiments_at(all, 0));
  add("{\"name\":\"e\",\"model\":\"m\",\"traffic\":0.8," ARMS "}");
  for (int i = 0; i < 500; i++) {
    (void)snprintf(key, sizeof key, "%d", i);
    rh_assignment got = assign("m", key, NULL, 0);
    if (before[i] < 0) {
      others += got.experiment != NULL ? 1 : 0;
      continue;
    }
    assert_non_null(got.experiment);
    assert_int_equal(got.arm, before[i]);
  }
  assert_true(others > 200);
}

static void the_first_running_experiment_of_the_model_is_taken(void **state) {
  (void)state;
  rh_experiment *first = add(WITH(""));
  rh_experiment *second = add("{\"name\":\"f\",\"model\":\"*\"," ARMS "}");
  assert_ptr_equal(assign("m", "k", NULL, 0).experiment, first);
  assert_ptr_equal(assign("other", "k", NULL, 0).experiment, second);
  assert_ptr_equal(assign(NULL, "k", NULL, 0).experiment, second);
  assert_int_equal(rh_experiment_set_state(first, RH_EXPERIMENT_PAUSED, "lunch", 2), RH_OK);
  assert_ptr_equal(assign("m", "k", NULL, 0).experiment, second);
  assert_int_equal(rh_experiment_set_state(first, RH_EXPERIMENT_RUNNING, NULL, 3), RH_OK);
  assert_ptr_equal(assign("m", "k", NULL, 0).experiment, first);
  assert_int_equal(rh_experiment_set_state(first, RH_EXPERIMENT_STOPPED, "done", 4), RH_OK);
  assert_int_equal(rh_experiment_set_state(first, RH_EXPERIMENT_RUNNING, NULL, 5), RH_CONFLICT);
  assert_int_equal(rh_experiment_state_of(first), RH_EXPERIMENT_STOPPED);
  rh_experiment_remove(all, second);
  assert_null(assign("m", "k", NULL, 0).experiment);
}

static void a_stopped_arms_share_goes_to_the_control(void **state) {
  (void)state;
  add("{\"name\":\"e\",\"model\":\"m\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"},{\"name\":\"b\",\"model\":\"y\"},"
      "{\"name\":\"c\",\"model\":\"z\"}]}");
  int before[200];
  char key[16], why[256] = "";
  for (int i = 0; i < 200; i++) {
    (void)snprintf(key, sizeof key, "%d", i);
    before[i] = (int)assign("m", key, NULL, 0).arm;
  }
  bool stopped = false;
  for (int i = 0; i < 60; i++) {
    stopped = rh_experiment_record(all, "e", "b", &(rh_outcome){.failed = true}, 10, why) || stopped;
  }
  assert_true(stopped);
  for (int i = 0; i < 200; i++) {
    (void)snprintf(key, sizeof key, "%d", i);
    assert_int_equal(assign("m", key, NULL, 0).arm, before[i] == 1 ? 0 : before[i]);
  }
}

static void shadows_get_copies(void **state) {
  (void)state;
  add("{\"name\":\"s\",\"model\":\"m\",\"kind\":\"shadow\",\"traffic\":0.5,\"arms\":[{\"name\":\"a\",\"model\":\"x\"},"
      "{\"name\":\"b\",\"model\":\"y\"},{\"name\":\"c\",\"model\":\"z\"}]}");
  int part = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    rh_assignment got = assign("m", NULL, NULL, i * 77);
    if (got.experiment == NULL) continue;
    part++;
    assert_int_equal(got.arm, 0);
    assert_string_equal(got.model, "x");
    assert_int_equal(got.shadow_count, 2);
    assert_int_equal(got.shadows[0], 1);
    assert_int_equal(got.shadows[1], 2);
  }
  assert_true(part > 420 && part < 580);
  char why[256] = "";
  for (int i = 0; i < 60; i++) (void)rh_experiment_record(all, "s", "b", &(rh_outcome){.failed = true}, 1, why);
  rh_assignment got = {0};
  for (uint64_t i = 0; got.experiment == NULL; i++) got = assign("m", NULL, NULL, i);
  assert_int_equal(got.shadow_count, 1);
  assert_int_equal(got.shadows[0], 2);
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      FRESH(defaults_are_filled_in),
      FRESH(bad_definitions_name_the_field),
      FRESH(a_misspelt_field_is_guessed),
      FRESH(names_are_taken_once_and_the_number_is_bounded),
      FRESH(the_same_client_gets_the_same_arm_everywhere),
      FRESH(stickiness_has_an_order),
      FRESH(arms_get_their_shares),
      FRESH(experiments_are_independent_of_each_other),
      FRESH(eight_arms_get_equal_shares),
      FRESH(more_traffic_moves_nobody),
      FRESH(the_first_running_experiment_of_the_model_is_taken),
      FRESH(a_stopped_arms_share_goes_to_the_control),
      FRESH(shadows_get_copies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
