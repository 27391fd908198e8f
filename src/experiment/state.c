// SPDX-License-Identifier: Apache-2.0
//
// Purpose: all experiments with their figures as JSON, and back exactly as they were.
// Data owned: none. Threads: the caller's. The file is our own but may be damaged or edited: everything is checked, and a state
// that is refused changes nothing. Not here: the disk.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "experiment/internal.h"

#define STATE_VERSION 1
// What goes on from a damaged state must not run over and be unreadable then.
#define COUNT_MAX (INT64_C(1) << 53)
#define NUMBER_MAX 1e60

static const char *const state_words[] = {"running", "paused", "stopped", NULL};

// --- out -------------------------------------------------------------------------------------------------------------

static json_t *moments_json(const rh_moments *moments) {
  return json_pack("[I,f,f]", (json_int_t)moments->count, moments->mean, moments->squares);
}

static json_t *sketch_json(const rh_sketch *sketch) {
  json_t *out = json_array();
  for (size_t i = 0; i < RH_SKETCH_BUCKETS; i++) {
    if (sketch->counts[i] == 0) continue;
    if (json_array_append_new(out, json_pack("[I,I]", (json_int_t)i, (json_int_t)sketch->counts[i])) == 0) continue;
    json_decref(out);
    return NULL;
  }
  return out;
}

static json_t *duration_json(const rh_duration *duration) {
  return json_pack("{s:o,s:o,s:o}", "plain", moments_json(&duration->plain), "logs", moments_json(&duration->logs),
                   "sketch", sketch_json(&duration->sketch));
}

static json_t *sequential_json(const rh_sequential *test) {
  return json_pack("{s:f,s:b,s:b,s:I,s:I,s:I}", "p_least", test->p_least, "decided", test->decided, "better",
                   test->better, "decided_s", (json_int_t)test->decided_s, "decided_arm", (json_int_t)test->decided_arm,
                   "decided_control", (json_int_t)test->decided_control);
}

static json_t *arm_json(const rh_arm *arm) {
  return json_pack("{s:b,s:I,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:f,s:o}", "stopped", arm->stopped, "stopped_s",
                   (json_int_t)arm->stopped_s, "why", arm->why, "requests", (json_int_t)arm->requests, "errors",
                   (json_int_t)arm->errors, "latency", duration_json(&arm->latency), "first_token",
                   duration_json(&arm->first_token), "tokens", moments_json(&arm->tokens), "cost",
                   moments_json(&arm->cost), "feedback", moments_json(&arm->feedback), "token_sum",
                   (json_int_t)arm->token_sum, "cost_sum", arm->cost_sum, "sequential",
                   sequential_json(&arm->sequential));
}

static json_t *experiment_json(const rh_experiment *experiment) {
  json_t *arms = json_array();
  for (size_t i = 0; i < experiment->arm_count; i++) {
    if (json_array_append_new(arms, arm_json(&experiment->arms[i])) == 0) continue;
    json_decref(arms);
    return NULL;
  }
  return json_pack("{s:o,s:s,s:s,s:I,s:I,s:I,s:o}", "definition", rh_experiment_define(experiment), "state",
                   rh_experiment_state_name(experiment->state), "why", experiment->why, "created_s",
                   (json_int_t)experiment->created_s, "changed_s", (json_int_t)experiment->changed_s, "seen_s",
                   (json_int_t)experiment->seen_s, "arms", arms);
}

json_t *rh_experiments_to_json(const rh_experiments *experiments) {
  json_t *list = json_array();
  for (size_t i = 0; i < experiments->count; i++) {
    if (json_array_append_new(list, experiment_json(experiments->list[i])) == 0) continue;
    json_decref(list);
    return NULL;
  }
  return json_pack("{s:i,s:o}", "version", STATE_VERSION, "experiments", list);
}

// --- in --------------------------------------------------------------------------------------------------------------

// The first fault stays; what is read after it does not matter.
typedef struct reader {
  rh_status status;
  rh_error *error;
  char where[64];
} reader;

static void refuse(reader *r, const char *what) {
  if (r->status != RH_OK) return;
  r->status = rh_fail(r->error, RH_INVALID, "the saved state of experiments is damaged: %s of %s is wrong", what,
                      r->where[0] != '\0' ? r->where : "the file");
}

static const json_t *get(reader *r, const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (value == NULL) refuse(r, key);
  return value;
}

static int64_t read_integer(reader *r, const json_t *value, const char *key, int64_t least) {
  if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > COUNT_MAX) {
    refuse(r, key);
    return least;
  }
  return json_integer_value(value);
}

static int64_t get_integer(reader *r, const json_t *object, const char *key, int64_t least) {
  return read_integer(r, get(r, object, key), key, least);
}

static uint64_t get_count(reader *r, const json_t *object, const char *key) {
  return (uint64_t)get_integer(r, object, key, 0);
}

static double read_number(reader *r, const json_t *value, const char *key) {
  double number = json_number_value(value);
  if (json_is_number(value) && fabs(number) <= NUMBER_MAX) return number;
  refuse(r, key);
  return 0;
}

static bool get_bool(reader *r, const json_t *object, const char *key) {
  const json_t *value = get(r, object, key);
  if (!json_is_boolean(value)) refuse(r, key);
  return json_is_true(value);
}

static void get_text(reader *r, const json_t *object, const char *key, char *out, size_t size) {
  const char *text = json_string_value(get(r, object, key));
  if (text == NULL || !rh_text_copy(out, size, text)) refuse(r, key);
}

static void get_moments(reader *r, const json_t *object, const char *key, rh_moments *out) {
  const json_t *list = get(r, object, key);
  if (json_array_size(list) != 3) refuse(r, key);
  out->count = (uint64_t)read_integer(r, json_array_get(list, 0), key, 0);
  out->mean = read_number(r, json_array_get(list, 1), key);
  out->squares = read_number(r, json_array_get(list, 2), key);
  if (!(out->squares >= 0)) refuse(r, key);
}

static void get_sketch(reader *r, const json_t *object, rh_sketch *out) {
  const json_t *list = get(r, object, "sketch");
  if (!json_is_array(list)) refuse(r, "sketch");
  size_t index = 0;
  const json_t *pair = NULL;
  json_array_foreach(list, index, pair) {
    int64_t bucket = read_integer(r, json_array_get(pair, 0), "sketch", 0);
    int64_t count = read_integer(r, json_array_get(pair, 1), "sketch", 1);
    if (bucket >= RH_SKETCH_BUCKETS || out->counts[bucket] != 0 || out->total > (uint64_t)COUNT_MAX - (uint64_t)count) {
      refuse(r, "sketch");
      return;
    }
    out->counts[bucket] = (uint64_t)count;
    out->total += (uint64_t)count;
  }
}

static void get_duration(reader *r, const json_t *object, const char *key, rh_duration *out) {
  const json_t *value = get(r, object, key);
  get_moments(r, value, "plain", &out->plain);
  get_moments(r, value, "logs", &out->logs);
  get_sketch(r, value, &out->sketch);
  if (out->plain.count != out->sketch.total || out->logs.count != out->plain.count) refuse(r, key);
}

static void get_sequential(reader *r, const json_t *object, rh_sequential *out) {
  const json_t *value = get(r, object, "sequential");
  out->p_least = read_number(r, get(r, value, "p_least"), "p_least");
  out->decided = get_bool(r, value, "decided");
  out->better = get_bool(r, value, "better");
  out->decided_s = get_integer(r, value, "decided_s", 0);
  out->decided_arm = get_count(r, value, "decided_arm");
  out->decided_control = get_count(r, value, "decided_control");
  if (!(out->p_least >= 0 && out->p_least <= 1)) refuse(r, "p_least");
}

static void get_arm(reader *r, const json_t *value, rh_arm *out) {
  out->stopped = get_bool(r, value, "stopped");
  out->stopped_s = get_integer(r, value, "stopped_s", 0);
  get_text(r, value, "why", out->why, sizeof out->why);
  out->requests = get_count(r, value, "requests");
  out->errors = get_count(r, value, "errors");
  get_duration(r, value, "latency", &out->latency);
  get_duration(r, value, "first_token", &out->first_token);
  get_moments(r, value, "tokens", &out->tokens);
  get_moments(r, value, "cost", &out->cost);
  get_moments(r, value, "feedback", &out->feedback);
  out->token_sum = get_integer(r, value, "token_sum", 0);
  out->cost_sum = read_number(r, get(r, value, "cost_sum"), "cost_sum");
  get_sequential(r, value, &out->sequential);
  if (out->errors > out->requests) refuse(r, "errors");
}

static void get_experiment(reader *r, const json_t *value, rh_experiment *out) {
  char state[16] = "";
  get_text(r, value, "state", state, sizeof state);
  int word = rh_experiment_find_word(state, state_words);
  if (word < 0) refuse(r, "state");
  out->state = word < 0 ? RH_EXPERIMENT_STOPPED : (rh_experiment_state)word;
  get_text(r, value, "why", out->why, sizeof out->why);
  out->created_s = get_integer(r, value, "created_s", 0);
  out->changed_s = get_integer(r, value, "changed_s", 0);
  out->seen_s = get_integer(r, value, "seen_s", 0);
  const json_t *arms = get(r, value, "arms");
  if (json_array_size(arms) != out->arm_count) refuse(r, "arms");
  for (size_t i = 0; i < out->arm_count && r->status == RH_OK; i++) get_arm(r, json_array_get(arms, i), &out->arms[i]);
  if (out->arms[0].stopped) refuse(r, "the control");
}

static rh_status read_all(const json_t *state, rh_experiments *out, rh_error *error) {
  reader r = {.error = error};
  if (get_integer(&r, state, "version", 0) != STATE_VERSION) refuse(&r, "version");
  const json_t *list = get(&r, state, "experiments");
  if (!json_is_array(list)) refuse(&r, "experiments");
  size_t index = 0;
  const json_t *value = NULL;
  json_array_foreach(list, index, value) {
    rh_experiment *made = NULL;
    const json_t *definition = get(&r, value, "definition");
    if (r.status == RH_OK) r.status = rh_experiment_add(out, definition, 0, &made, error);
    if (r.status != RH_OK) return r.status;
    (void)rh_text_copy(r.where, sizeof r.where, rh_experiment_name(made));
    get_experiment(&r, value, made);
  }
  return r.status;
}

rh_status rh_experiments_from_json(rh_experiments *experiments, const json_t *state, rh_error *error) {
  rh_experiments *made = rh_experiments_new();
  if (made == NULL) return rh_fail(error, RH_NO_MEMORY, "there is no memory for the experiments");
  rh_status status = read_all(state, made, error);
  if (status == RH_OK) {
    rh_experiments old = *experiments;
    *experiments = *made;
    *made = old;
  }
  rh_experiments_free(made);
  return status;
}
