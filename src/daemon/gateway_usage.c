// SPDX-License-Identifier: Apache-2.0
//
// GET /api/usage: what was used and what it cost, from the ledger; GET /api/prices: what a token costs. A key without the admin
// scope sees its own usage and nobody else's. The ledger answers later: the operation owns a question that is forgotten when its
// client leaves. Loop thread only.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "daemon/operation.h"

#define DAY_MS INT64_C(86400000)
#define TIME_MAX_S INT64_C(253402300799)  // 9999-12-31
#define LIMIT_MAX 10000

typedef struct asked_usage {
  rh_operation *operation;
  rh_ledger_question *question;
} asked_usage;

// --- the question --------------------------------------------------------------------------------------------------

static const char *query(const rh_operation *operation, const char *name) {
  const char *value = rh_http_query(operation->exchange, name);
  return value != NULL && value[0] != '\0' ? value : NULL;
}

static rh_status read_by(const rh_operation *operation, rh_usage_question *out, rh_error *error) {
  static const char *const words[] = {"day", "key", "provider", "model"};
  bool *const flags[] = {&out->by_day, &out->by_key, &out->by_provider, &out->by_model};
  const char *at = query(operation, "by");
  while (at != NULL && *at != '\0') {
    char word[32];
    size_t length = strcspn(at, ","), found = 4;
    (void)snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), at);
    for (size_t i = 0; i < 4; i++) {
      if (strcmp(word, words[i]) == 0) found = i;
    }
    if (found == 4 && word[0] != '\0') {
      const char *near = rh_text_nearest(word, words, 4);
      return rh_fail_param(error, RH_INVALID, "by",
                           "usage is not kept by \"%s\"; by may be day, key, provider and model, with commas%s%s%s",
                           word, near != NULL ? " (did you mean \"" : "", near != NULL ? near : "",
                           near != NULL ? "\"?)" : "");
    }
    if (found < 4) *flags[found] = true;
    at += length + (at[length] == ',');
  }
  return RH_OK;
}

// "YYYY-MM-DD" (UTC) or seconds since 1970. A date as the end of a span means all of that day.
static rh_status read_time(const rh_operation *operation, const char *name, bool end, int64_t *out_ms,
                           rh_error *error) {
  const char *text = query(operation, name);
  if (text == NULL) return RH_OK;
  struct tm date = {0};
  char *rest = NULL;
  errno = 0;
  long long seconds = strtoll(text, &rest, 10);
  if (isdigit((unsigned char)text[0]) && *rest == '\0' && errno == 0 && seconds <= TIME_MAX_S) {
    *out_ms = (int64_t)seconds * 1000;
    return RH_OK;
  }
  const char *after = strlen(text) == 10 ? strptime(text, "%Y-%m-%d", &date) : NULL;
  struct tm same = date;
  time_t day = after != NULL && *after == '\0' ? timegm(&same) : -1;
  // timegm takes the 31st of June for the 1st of July.
  if (day < 0 || same.tm_mday != date.tm_mday || same.tm_mon != date.tm_mon) {
    return rh_fail_param(error, RH_INVALID, name,
                         "%s is \"%.40s\"; it may be a date like 2026-11-21 (UTC) or seconds "
                         "since 1970",
                         name, text);
  }
  *out_ms = (int64_t)day * 1000 + (end ? DAY_MS : 0);
  return RH_OK;
}

static rh_status read_limit(const rh_operation *operation, int64_t *out, rh_error *error) {
  const char *text = query(operation, "limit");
  if (text == NULL) return RH_OK;
  char *rest = NULL;
  errno = 0;
  long long value = strtoll(text, &rest, 10);
  if (*rest != '\0' || errno != 0 || value < 1 || value > LIMIT_MAX) {
    return rh_fail_param(error, RH_INVALID, "limit", "limit is \"%.40s\"; it may be 1 to %d", text, LIMIT_MAX);
  }
  *out = value;
  return RH_OK;
}

// Whose usage may be seen, and whose is asked for. A key may be named by its id or its name.
static rh_status read_key(const rh_operation *operation, rh_usage_question *out, rh_error *error) {
  rh_keys *keys = rh_gateway_keys(operation->daemon->gateway);
  const char *wanted = query(operation, "key");
  rh_key *found = wanted != NULL && keys != NULL ? rh_keys_find(keys, wanted) : NULL;
  if (found != NULL) wanted = found->id;
  rh_key *key = NULL;
  rh_status status = rh_gate_check(operation->daemon, operation->exchange, RH_KEY_ADMIN, &key, error);
  if (status != RH_OK && operation->key != NULL) {
    if (wanted != NULL && strcmp(wanted, operation->key->id) != 0) {
      return rh_fail_param(error, RH_FORBIDDEN, "key", "other keys' usage can be seen with the scope \"admin\" only");
    }
    wanted = operation->key->id;
    status = RH_OK;
  }
  out->key = wanted;
  return status;
}

static rh_status read_question(const rh_operation *operation, rh_usage_question *out, rh_error *error) {
  *out = (rh_usage_question){.provider = query(operation, "provider"), .model = query(operation, "model")};
  rh_status status = read_key(operation, out, error);
  if (status == RH_OK) status = read_by(operation, out, error);
  if (status == RH_OK) status = read_time(operation, "from", false, &out->from_ms, error);
  if (status == RH_OK) status = read_time(operation, "to", true, &out->to_ms, error);
  if (status == RH_OK) status = read_limit(operation, &out->limit, error);
  if (status == RH_OK && out->to_ms != 0 && out->to_ms <= out->from_ms) {
    status = rh_fail_param(error, RH_INVALID, "to", "the span ends before it begins");
  }
  return status;
}

// --- the answer ----------------------------------------------------------------------------------------------------

// People know their keys by name.
static void add_key_names(rh_keys *keys, json_t *groups) {
  size_t index;
  json_t *group;
  json_array_foreach(groups, index, group) {
    const char *id = json_string_value(json_object_get(group, "key"));
    const rh_key *key = id != NULL && id[0] != '\0' ? rh_keys_find(keys, id) : NULL;
    if (key != NULL) json_object_set_new(group, "key_name", json_string(key->name));
  }
}

static void on_answer(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  asked_usage *asked = ctx;
  rh_operation *operation = asked->operation;
  asked->question = NULL;
  if (status != RH_OK) {
    rh_operation_fail(operation, error);
    return;
  }
  rh_keys *keys = rh_gateway_keys(operation->daemon->gateway);
  json_t *own = json_deep_copy(answer);
  if (keys != NULL) add_key_names(keys, json_object_get(own, "groups"));
  rh_operation_answer(operation, 200, own);
}

static void on_gone(rh_operation *operation) {
  asked_usage *asked = operation->state;
  rh_ledger_forget(asked->question);
  free(asked);
}

static rh_status ask(rh_operation *operation, rh_error *error) {
  rh_usage_question question;
  rh_status status = read_question(operation, &question, error);
  if (status != RH_OK) return status;
  rh_ledger *ledger = rh_gateway_ledger(operation->daemon->gateway);
  if (ledger == NULL) {
    return rh_fail(error, RH_UNAVAILABLE, "no usage is kept: the state database cannot be used (see the log)");
  }
  asked_usage *asked = calloc(1, sizeof *asked);
  if (asked == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  asked->operation = operation;
  operation->state = asked;
  operation->gone = on_gone;
  return rh_ledger_usage(ledger, &question, on_answer, asked, &asked->question, error);
}

static void begin_usage(rh_operation *operation) {
  rh_error error = {0};
  if (ask(operation, &error) != RH_OK) rh_operation_fail(operation, &error);
}

static void begin_prices(rh_operation *operation) {
  rh_operation_answer(operation, 200, rh_prices_json(rh_gateway_prices(operation->daemon->gateway)));
}

const rh_operation_route rh_routes_usage[] = {
    {"GET", "/api/usage", "usage", RH_SCOPE_READ, begin_usage},
    {"GET", "/api/prices", "prices", RH_SCOPE_READ, begin_prices},
    {.path = NULL},
};
