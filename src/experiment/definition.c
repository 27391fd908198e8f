// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what an experiment is, from JSON and back. Strict: an unknown key or a value that means nothing is refused with the
// field's name, because a misspelt guardrail would guard nothing.
// Data owned: none. Threads: the caller's. Not here: figures (state.c).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "experiment/internal.h"

static const char *const metric_words[] = {"latency", "first_token", "cost", "error", "feedback", "tokens", NULL};
static const char *const kind_words[] = {"ab", "shadow", NULL};
static const char *const sticky_words[] = {"key", "session", "none", NULL};
static const char *const state_words[] = {"running", "paused", "stopped", NULL};

const char *rh_metric_name(rh_metric metric) { return metric_words[metric]; }
const char *rh_experiment_state_name(rh_experiment_state state) { return state_words[state]; }

int rh_experiment_find_word(const char *word, const char *const *words) {
  for (int i = 0; word != NULL && words[i] != NULL; i++) {
    if (strcmp(word, words[i]) == 0) return i;
  }
  return -1;
}

rh_status rh_experiment_check_keys(const json_t *object, const char *path, const char *const *known, rh_error *error) {
  size_t count = 0;
  while (known[count] != NULL) count++;
  const char *key = NULL;
  json_t *value = NULL;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    if (rh_experiment_find_word(key, known) >= 0) continue;
    char field[64];
    rh_json_join_path(field, sizeof field, path, key);
    const char *near = rh_text_nearest(key, known, count);
    return rh_fail_param(error, RH_INVALID, field, "an experiment has no field \"%.60s\"%s%s%s", field,
                         near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
  }
  return RH_OK;
}

static rh_status read_word(const json_t *object, const char *key, const char *const *words, int *out, rh_error *error) {
  const char *word = NULL;
  rh_status status = rh_json_get_string(object, "", key, &word, error);
  if (status != RH_OK || word == NULL) return status;
  int found = rh_experiment_find_word(word, words);
  if (found < 0) {
    char list[128] = "";
    for (size_t i = 0; words[i] != NULL; i++) {
      size_t length = strlen(list);
      (void)snprintf(list + length, sizeof list - length, "%s\"%s\"", i > 0 ? ", " : "", words[i]);
    }
    return rh_fail_param(error, RH_INVALID, key, "\"%s\" of an experiment is one of %s, not \"%.40s\"", key, list,
                         word);
  }
  *out = found;
  return RH_OK;
}

// Names stand in addresses, headers and tables.
static bool is_plain_name(const char *name) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  size_t length = strlen(name);
  return length > 0 && length <= RH_EXPERIMENT_NAME_MAX && strspn(name, plain) == length;
}

static rh_status read_name(const json_t *object, const char *path, char out[RH_EXPERIMENT_NAME_MAX + 1],
                           rh_error *error) {
  const char *name = NULL;
  char field[64];
  rh_json_join_path(field, sizeof field, path, "name");
  rh_status status = rh_json_get_string(object, path, "name", &name, error);
  if (status != RH_OK) return status;
  if (name == NULL || !is_plain_name(name)) {
    return rh_fail_param(error, RH_INVALID, field,
                         "\"%s\" must be a name of 1 to %d letters, digits, dots, dashes and underscores", field,
                         RH_EXPERIMENT_NAME_MAX);
  }
  (void)rh_text_copy(out, RH_EXPERIMENT_NAME_MAX + 1, name);
  return RH_OK;
}

static rh_status read_model(const json_t *object, const char *path, char out[RH_ARM_MODEL_MAX + 1], rh_error *error) {
  const char *model = NULL;
  char field[64];
  rh_json_join_path(field, sizeof field, path, "model");
  rh_status status = rh_json_get_string(object, path, "model", &model, error);
  if (status != RH_OK) return status;
  size_t length = model != NULL ? strlen(model) : 0;
  bool plain = length > 0 && length <= RH_ARM_MODEL_MAX;
  for (size_t i = 0; plain && i < length; i++) plain = (unsigned char)model[i] > ' ' && model[i] != 0x7f;
  if (!plain) {
    return rh_fail_param(error, RH_INVALID, field, "\"%s\" must name a model (1 to %d bytes, no blanks)", field,
                         RH_ARM_MODEL_MAX);
  }
  (void)rh_text_copy(out, RH_ARM_MODEL_MAX + 1, model);
  return RH_OK;
}

static rh_status read_arm(const json_t *object, const char *path, rh_experiment *out, rh_error *error) {
  static const char *const keys[] = {"name", "model", "weight", NULL};
  rh_arm *arm = &out->arms[out->arm_count];
  if (!json_is_object(object)) {
    return rh_fail_param(error, RH_INVALID, path, "\"%s\" must be an object with \"name\" and \"model\"", path);
  }
  arm->weight = 1;
  rh_status status = rh_experiment_check_keys(object, path, keys, error);
  if (status == RH_OK) status = read_name(object, path, arm->name, error);
  if (status == RH_OK) status = read_model(object, path, arm->model, error);
  if (status == RH_OK) status = rh_json_get_number(object, path, "weight", 1e-6, 1e6, &arm->weight, error);
  if (status != RH_OK) return status;
  if (out->shadow && json_object_get(object, "weight") != NULL) {
    return rh_fail_param(
        error, RH_INVALID, path,
        "arms of a shadow experiment have no weight: the first one answers, the others get copies; the share "
        "of requests that take part is \"traffic\"");
  }
  for (size_t i = 0; i < out->arm_count; i++) {
    if (strcmp(out->arms[i].name, arm->name) != 0) continue;
    return rh_fail_param(error, RH_INVALID, path, "two arms have the name \"%s\"", arm->name);
  }
  out->arm_count++;
  return RH_OK;
}

static rh_status read_arms(const json_t *definition, rh_experiment *out, rh_error *error) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(definition, "", "arms", &list, error);
  if (status != RH_OK) return status;
  size_t count = json_array_size(list);
  if (count < 2 || count > RH_ARMS_MAX) {
    return rh_fail_param(error, RH_INVALID, "arms", "an experiment needs 2 to %d arms; the first one is the control",
                         RH_ARMS_MAX);
  }
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    char path[32];
    (void)snprintf(path, sizeof path, "arms[%zu]", i);
    status = read_arm(json_array_get(list, i), path, out, error);
  }
  return status;
}

static rh_status read_count(const json_t *object, const char *path, uint64_t *out, rh_error *error) {
  int64_t value = (int64_t)*out;
  rh_status status = rh_json_get_int(object, path, "minimum", 10, 1000000000, &value, error);
  *out = (uint64_t)value;
  return status;
}

static rh_status read_guardrail(const json_t *definition, rh_guardrail *out, rh_error *error) {
  static const char *const keys[] = {"error_rate_max", "error_rate_ratio", "latency_ratio", "minimum", NULL};
  json_t *object = NULL;
  *out = (rh_guardrail){.error_rate_max = 0.25, .error_rate_ratio = 2, .latency_ratio = 3, .minimum = 50};
  rh_status status = rh_json_get_object(definition, "", "guardrail", &object, error);
  if (status != RH_OK || object == NULL) return status;
  status = rh_experiment_check_keys(object, "guardrail", keys, error);
  if (status == RH_OK) {
    status = rh_json_get_number(object, "guardrail", "error_rate_max", 0, 1, &out->error_rate_max, error);
  }
  if (status == RH_OK) {
    status = rh_json_get_number(object, "guardrail", "error_rate_ratio", 0, 1000, &out->error_rate_ratio, error);
  }
  if (status == RH_OK) {
    status = rh_json_get_number(object, "guardrail", "latency_ratio", 0, 1000, &out->latency_ratio, error);
  }
  if (status == RH_OK) status = read_count(object, "guardrail", &out->minimum, error);
  const struct {
    const char *name;
    double value;
  } ratios[] = {{"guardrail.error_rate_ratio", out->error_rate_ratio}, {"guardrail.latency_ratio", out->latency_ratio}};
  for (size_t i = 0; status == RH_OK && i < 2; i++) {
    if (ratios[i].value > 0 && ratios[i].value < 1) {
      status =
          rh_fail_param(error, RH_INVALID, ratios[i].name,
                        "\"%s\" is how many times the control's value an arm may have: at least 1, or 0 for no bound",
                        ratios[i].name);
    }
  }
  return status;
}

static rh_status read_numbers(const json_t *definition, rh_experiment *out, rh_error *error) {
  rh_status status = rh_json_get_number(definition, "", "traffic", 0, 1, &out->traffic, error);
  if (status == RH_OK) status = read_count(definition, "", &out->minimum, error);
  if (status == RH_OK) status = rh_json_get_number(definition, "", "alpha", 0.0001, 0.2, &out->alpha, error);
  return status;
}

rh_status rh_experiment_parse(const json_t *definition, rh_experiment *out, rh_error *error) {
  static const char *const keys[] = {"name",    "model",  "kind",  "arms",      "sticky", "traffic",
                                     "minimum", "metric", "alpha", "guardrail", NULL};
  if (!json_is_object(definition)) return rh_fail(error, RH_INVALID, "an experiment must be a JSON object");
  int kind = 0, sticky = 0, metric = 0;
  out->traffic = 1;
  out->minimum = 100;
  out->alpha = 0.05;
  rh_status status = rh_experiment_check_keys(definition, "", keys, error);
  if (status == RH_OK) status = read_name(definition, "", out->name, error);
  if (status == RH_OK) status = read_model(definition, "", out->model, error);
  if (status == RH_OK) status = read_word(definition, "kind", kind_words, &kind, error);
  if (status == RH_OK) status = read_word(definition, "sticky", sticky_words, &sticky, error);
  if (status == RH_OK) status = read_word(definition, "metric", metric_words, &metric, error);
  if (status == RH_OK) status = read_numbers(definition, out, error);
  out->shadow = kind == 1;
  out->sticky = (rh_sticky)sticky;
  out->metric = (rh_metric)metric;
  if (status == RH_OK) status = read_arms(definition, out, error);
  if (status == RH_OK) status = read_guardrail(definition, &out->guardrail, error);
  if (status == RH_OK && out->shadow && out->metric == RH_METRIC_FEEDBACK) {
    status = rh_fail_param(error, RH_INVALID, "metric",
                           "nobody sees the answers of shadow arms, so they get no feedback; choose another metric");
  }
  return status;
}

static json_t *define_arms(const rh_experiment *experiment) {
  json_t *list = json_array();
  for (size_t i = 0; i < experiment->arm_count; i++) {
    const rh_arm *arm = &experiment->arms[i];
    json_t *item = json_pack("{s:s,s:s}", "name", arm->name, "model", arm->model);
    int failed = experiment->shadow ? 0 : json_object_set_new(item, "weight", json_real(arm->weight));
    if (json_array_append_new(list, item) != 0 || failed != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

json_t *rh_experiment_define(const rh_experiment *experiment) {
  const rh_guardrail *guard = &experiment->guardrail;
  return json_pack("{s:s, s:s, s:s, s:o, s:s, s:f, s:I, s:s, s:f, s:{s:f, s:f, s:f, s:I}}", "name", experiment->name,
                   "model", experiment->model, "kind", kind_words[experiment->shadow ? 1 : 0], "arms",
                   define_arms(experiment), "sticky", sticky_words[experiment->sticky], "traffic", experiment->traffic,
                   "minimum", (json_int_t)experiment->minimum, "metric", rh_metric_name(experiment->metric), "alpha",
                   experiment->alpha, "guardrail", "error_rate_max", guard->error_rate_max, "error_rate_ratio",
                   guard->error_rate_ratio, "latency_ratio", guard->latency_ratio, "minimum",
                   (json_int_t)guard->minimum);
}
