// SPDX-License-Identifier: Apache-2.0
//
// POST /api/feedback: how good an answer was; and /api/cache: what the response cache holds, and emptying it. Feedback is kept and
// learned from even when its client has left before the answer: the ticket between the two is freed by whoever comes last. Loop
// thread only.
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/operation.h"

// --- feedback ------------------------------------------------------------------------------------------------------

typedef struct ticket {
  rh_operation *operation;  // NULL = the client has left
  bool answered;
} ticket;

static void on_done(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  ticket *given = ctx;
  rh_operation *operation = given->operation;
  given->answered = true;
  if (operation == NULL) {
    free(given);
  } else if (status != RH_OK) {
    rh_operation_fail(operation, error);
  } else {
    // Whose request it was and what it cost are not for everybody who knows its id.
    rh_operation_answer(operation, 200,
                        json_pack("{s:O,s:O,s:O,s:O}", "request_id", json_object_get(answer, "request_id"), "rating",
                                  json_object_get(answer, "rating"), "provider", json_object_get(answer, "provider"),
                                  "model", json_object_get(answer, "model")));
  }
}

static void on_gone(rh_operation *operation) {
  ticket *given = operation->state;
  given->operation = NULL;
  if (given->answered) free(given);
}

static rh_status read_rating(const rh_operation *operation, double *out, rh_error *error) {
  static const struct {
    const char *word;
    double rating;
  } words[] = {{"up", 1},         {"down", -1},       {"thumbs_up", 1}, {"thumbs_down", -1}, {"+1", 1},     {"-1", -1},
               {"\U0001F44D", 1}, {"\U0001F44E", -1}, {"good", 1},      {"bad", -1},         {"neutral", 0}};
  const json_t *value = json_object_get(operation->body, "rating");
  const char *word = json_string_value(value);
  if (value == NULL) return rh_fail_param(error, RH_INVALID, "rating", "\"rating\" is missing");
  if (json_is_number(value)) {
    *out = json_number_value(value);
    if (*out >= -1 && *out <= 1) return RH_OK;
  }
  for (size_t i = 0; word != NULL && i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(word, words[i].word) != 0) continue;
    *out = words[i].rating;
    return RH_OK;
  }
  return rh_fail_param(error, RH_INVALID, "rating", "\"rating\" may be a number from -1 to 1, \"up\" or \"down\"");
}

// Whose requests the caller may rate: a key its own, an administrator's anybody's (NULL); without a key those that had none.
static const char *rated_key(const rh_operation *operation) {
  if (operation->key == NULL) return "";
  return (operation->key->scopes & RH_KEY_ADMIN) != 0 ? NULL : operation->key->id;
}

static rh_status give(rh_operation *operation, rh_error *error) {
  static const char *const fields[] = {"request_id", "rating", "comment", NULL};
  const char *id = NULL, *comment = NULL;
  double rating = 0;
  rh_status status = rh_operation_check_fields(operation, fields, error);
  if (status == RH_OK) status = rh_operation_text(operation, "request_id", true, &id, error);
  if (status == RH_OK) status = read_rating(operation, &rating, error);
  if (status == RH_OK) status = rh_operation_text(operation, "comment", false, &comment, error);
  if (status != RH_OK) return status;
  ticket *given = calloc(1, sizeof *given);
  if (given == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  given->operation = operation;
  status =
      rh_gateway_feedback(operation->daemon->gateway, id, rated_key(operation), rating, comment, on_done, given, error);
  if (status != RH_OK) {
    free(given);
    return status;
  }
  operation->state = given;
  operation->gone = on_gone;
  return RH_OK;
}

static void begin_feedback(rh_operation *operation) {
  rh_error error = {0};
  if (give(operation, &error) != RH_OK) rh_operation_fail(operation, &error);
}

// --- the cache -----------------------------------------------------------------------------------------------------

static json_t *describe_cache(const rh_gateway *gateway) {
  const rh_cache *cache = rh_gateway_cache(gateway);
  const rh_semantic *semantic = rh_gateway_semantic(gateway);
  if (cache == NULL) return json_pack("{s:b}", "on", 0);
  const rh_cache_counts *counts = rh_cache_get_counts(cache);
  return json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "on", 1, "entries", (json_int_t)counts->entries,
                   "bytes", (json_int_t)counts->bytes, "hits", (json_int_t)counts->hits, "misses",
                   (json_int_t)counts->misses, "stored", (json_int_t)counts->stored, "evicted",
                   (json_int_t)counts->evicted, "expired", (json_int_t)counts->expired, "redis_hits",
                   (json_int_t)counts->redis_hits, "redis_failed", (json_int_t)counts->redis_failed, "semantic_hits",
                   (json_int_t)counts->semantic_hits, "semantic_entries",
                   (json_int_t)(semantic != NULL ? rh_semantic_count(semantic) : 0));
}

static void begin_cache(rh_operation *operation) {
  rh_operation_answer(operation, 200, describe_cache(operation->daemon->gateway));
}

static void begin_clear(rh_operation *operation) {
  static const char *const fields[] = {NULL};
  const rh_gateway *gateway = operation->daemon->gateway;
  rh_cache *cache = rh_gateway_cache(gateway);
  rh_error error = {0};
  if (rh_operation_check_fields(operation, fields, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  size_t before = cache != NULL ? rh_cache_get_counts(cache)->entries : 0;
  if (cache != NULL) rh_cache_drop(cache, NULL);
  rh_memos_clear(operation->daemon->memos);
  if (rh_gateway_semantic(gateway) != NULL) rh_semantic_drop(rh_gateway_semantic(gateway), NULL);
  RH_LOG(RH_LOG_INFO, "the cache was emptied", rh_log_int("entries", (int64_t)before),
         rh_log_str("by", operation->key != NULL ? operation->key->id : ""), rh_log_str("request_id", operation->id));
  rh_operation_answer(operation, 200,
                      json_pack("{s:b,s:I}", "on", (int)(cache != NULL), "removed", (json_int_t)before));
}

const rh_operation_route rh_routes_feedback[] = {
    {"POST", "/api/feedback", "feedback", RH_SCOPE_INFERENCE, begin_feedback},
    {"GET", "/api/cache", "cache.show", RH_SCOPE_READ, begin_cache},
    {"DELETE", "/api/cache", "cache.clear", RH_SCOPE_ADMIN, begin_clear},
    {.path = NULL},
};
