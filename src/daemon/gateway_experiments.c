// SPDX-License-Identifier: Apache-2.0
//
// /api/experiments: tests of models against each other, listed, begun, reported on, paused, stopped and removed. Each change is
// written to the state database at once. Owns nothing. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/operation.h"

static const char *const state_words[] = {
    [RH_EXPERIMENT_RUNNING] = "running", [RH_EXPERIMENT_PAUSED] = "paused", [RH_EXPERIMENT_STOPPED] = "stopped"};

static json_t *describe(const rh_experiment *experiment) {
  json_t *value = rh_experiment_definition(experiment);
  if (value != NULL) {
    json_object_set_new(value, "state", json_string(state_words[rh_experiment_state_of(experiment)]));
  }
  return value;
}

static void log_change(const rh_operation *operation, const char *what, const rh_experiment *experiment) {
  RH_LOG(RH_LOG_INFO, what, rh_log_str("experiment", rh_experiment_name(experiment)),
         rh_log_str("by", operation->key != NULL ? operation->key->id : ""), rh_log_str("request_id", operation->id));
}

// The experiment that the path names, up to its next '/'; *rest is what follows. NULL: answered with an error.
static rh_experiment *find(rh_operation *operation, const char **rest) {
  char name[RH_EXPERIMENT_NAME_MAX + 1];
  const char *slash = strchr(operation->rest, '/');
  size_t length = slash != NULL ? (size_t)(slash - operation->rest) : strlen(operation->rest);
  rh_experiment *found = NULL;
  *rest = slash != NULL ? slash + 1 : "";
  if (length < sizeof name) {
    memcpy(name, operation->rest, length);
    name[length] = '\0';
    found = rh_experiment_find(rh_gateway_experiments(operation->daemon->gateway), name);
  }
  if (found != NULL) return found;
  rh_error error;
  (void)rh_fail_param(&error, RH_NOT_FOUND, "experiment",
                      "there is no experiment \"%.*s\"; GET /api/experiments lists them",
                      (int)(length < sizeof name ? length : sizeof name - 1), operation->rest);
  rh_operation_fail(operation, &error);
  return NULL;
}

// --- looking -------------------------------------------------------------------------------------------------------

static void begin_list(rh_operation *operation) {
  const rh_experiments *all = rh_gateway_experiments(operation->daemon->gateway);
  json_t *list = json_array();
  for (size_t i = 0; i < rh_experiments_count(all); i++) {
    json_array_append_new(list, describe(rh_experiments_at(all, i)));
  }
  rh_operation_answer(operation, 200, json_pack("{s:o}", "experiments", list));
}

static bool wants_text(const rh_operation *operation) {
  const char *format = rh_http_query(operation->exchange, "format");
  const char *accept = rh_http_header(operation->exchange, "Accept");
  if (format != NULL) return strcmp(format, "markdown") == 0 || strcmp(format, "text") == 0;
  return accept != NULL && strstr(accept, "text/markdown") != NULL;
}

static void begin_report(rh_operation *operation) {
  const char *rest = "";
  const rh_experiment *experiment = find(operation, &rest);
  rh_error error;
  if (experiment == NULL) return;
  if (rest[0] != '\0') {
    (void)rh_fail(&error, RH_NOT_FOUND, "there is nothing to get at \"%.40s\" of an experiment", rest);
    rh_operation_fail(operation, &error);
  } else if (wants_text(operation)) {
    char *text = rh_experiment_report_text(experiment, rh_clock_wall_s());
    rh_operation_answer_text(operation, 200, "text/markdown; charset=utf-8", text);
    free(text);
  } else {
    rh_operation_answer(operation, 200, rh_experiment_report(experiment, rh_clock_wall_s()));
  }
}

// --- changing ------------------------------------------------------------------------------------------------------

static void begin_create(rh_operation *operation) {
  rh_gateway *gateway = operation->daemon->gateway;
  rh_experiment *added = NULL;
  rh_error error = {0};
  if (rh_experiment_add(rh_gateway_experiments(gateway), operation->body, rh_clock_wall_s(), &added, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  rh_gateway_keep_experiments(gateway);
  log_change(operation, "an experiment begins", added);
  rh_operation_answer(operation, 201, describe(added));
}

static void begin_change(rh_operation *operation) {
  static const char *const fields[] = {"why", NULL};
  static const struct {
    const char *word;
    rh_experiment_state state;
  } changes[] = {{"pause", RH_EXPERIMENT_PAUSED}, {"resume", RH_EXPERIMENT_RUNNING}, {"stop", RH_EXPERIMENT_STOPPED}};
  const char *word = "", *why = NULL;
  rh_experiment *experiment = find(operation, &word);
  if (experiment == NULL) return;
  rh_error error = {0};
  size_t i = 0;
  while (i < 3 && strcmp(word, changes[i].word) != 0) i++;
  rh_status status = i < 3 ? RH_OK
                           : rh_fail(&error, RH_NOT_FOUND,
                                     "an experiment can be paused, resumed and stopped: POST "
                                     "/api/experiments/NAME/pause, .../resume or .../stop");
  if (status == RH_OK) status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "why", false, &why, &error);
  if (status == RH_OK) {
    status = rh_experiment_set_state(experiment, changes[i].state, why != NULL ? why : "asked for", rh_clock_wall_s());
    if (status != RH_OK) {
      (void)rh_fail(&error, status,
                    "the experiment \"%s\" is stopped, and would mix two times if it ran again; make a "
                    "new one",
                    rh_experiment_name(experiment));
    }
  }
  if (status != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  rh_gateway_keep_experiments(operation->daemon->gateway);
  log_change(operation, "an experiment was changed", experiment);
  rh_operation_answer(operation, 200, describe(experiment));
}

static void begin_remove(rh_operation *operation) {
  const char *rest = "";
  rh_experiment *experiment = find(operation, &rest);
  rh_gateway *gateway = operation->daemon->gateway;
  rh_error error;
  if (experiment == NULL) return;
  if (rest[0] != '\0') {
    (void)rh_fail(&error, RH_NOT_FOUND, "there is nothing to remove at \"%.40s\" of an experiment", rest);
    rh_operation_fail(operation, &error);
    return;
  }
  // Requests that take part in it know it by name, and end without it.
  log_change(operation, "an experiment was removed", experiment);
  json_t *answer = json_pack("{s:s,s:b}", "name", rh_experiment_name(experiment), "removed", 1);
  rh_experiment_remove(rh_gateway_experiments(gateway), experiment);
  rh_gateway_keep_experiments(gateway);
  rh_operation_answer(operation, 200, answer);
}

const rh_operation_route rh_routes_experiments[] = {
    {"GET", "/api/experiments", "experiments.list", RH_SCOPE_READ, begin_list},
    {"POST", "/api/experiments", "experiments.create", RH_SCOPE_ADMIN, begin_create},
    {"GET", "/api/experiments/", "experiments.report", RH_SCOPE_READ, begin_report},
    {"POST", "/api/experiments/", "experiments.change", RH_SCOPE_ADMIN, begin_change},
    {"DELETE", "/api/experiments/", "experiments.remove", RH_SCOPE_ADMIN, begin_remove},
    {.path = NULL},
};
