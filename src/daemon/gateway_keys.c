// SPDX-License-Identifier: Apache-2.0
//
// /api/keys: keys listed, made, shown, changed and revoked. A key's secret is in the answer that makes it and nowhere else. Owns
// nothing. Loop thread only; a change is one small transaction of the state database.
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/operation.h"

static bool failed(rh_operation *operation, rh_status status, const rh_error *error) {
  if (status == RH_OK) return false;
  rh_operation_fail(operation, error);
  return true;
}

static rh_keys *keys_of(rh_operation *operation) {
  rh_keys *keys = rh_gateway_keys(operation->daemon->gateway);
  rh_error error;
  if (keys != NULL) return keys;
  (void)rh_fail(&error, RH_UNAVAILABLE, "no keys can be kept: the state database cannot be used (see the log)");
  rh_operation_fail(operation, &error);
  return NULL;
}

static void log_change(const rh_operation *operation, const char *what, const rh_key *key) {
  RH_LOG(RH_LOG_INFO, what, rh_log_str("key", key->id), rh_log_str("name", key->name),
         rh_log_str("by", operation->key != NULL ? operation->key->id : ""), rh_log_str("request_id", operation->id));
}

// The key of the path.
static rh_key *find_key(rh_operation *operation, rh_keys *keys) {
  rh_key *key = rh_keys_find(keys, operation->rest);
  rh_error error;
  if (key != NULL) return key;
  (void)rh_fail_param(&error, RH_NOT_FOUND, "key", "there is no key \"%.80s\"; GET /api/keys lists them",
                      operation->rest);
  rh_operation_fail(operation, &error);
  return NULL;
}

static void begin_list(rh_operation *operation) {
  const rh_keys *keys = rh_gateway_keys(operation->daemon->gateway);
  json_t *list = keys != NULL ? rh_keys_json(keys, rh_clock_wall_s()) : json_array();
  rh_operation_answer(operation, 200,
                      json_pack("{s:o,s:b}", "keys", list, "required", (int)rh_gate_needs_key(operation->daemon)));
}

static void begin_create(rh_operation *operation) {
  char secret[RH_KEY_TEXT_SIZE];
  rh_key *key = NULL;
  rh_error error = {0};
  rh_keys *keys = keys_of(operation);
  if (keys == NULL) return;
  int64_t now = rh_clock_wall_s();
  rh_status status = rh_keys_create(keys, operation->body, now, secret, &key, &error);
  if (failed(operation, status, &error)) return;
  log_change(operation, "a key was made", key);
  json_t *answer = rh_key_json(key, now);
  if (answer != NULL) json_object_set_new(answer, "key", json_string(secret));
  explicit_bzero(secret, sizeof secret);
  (void)rh_http_set_header(operation->exchange, "Cache-Control", "no-store");
  rh_operation_answer(operation, 201, answer);
}

static void begin_show(rh_operation *operation) {
  rh_keys *keys = keys_of(operation);
  const rh_key *key = keys != NULL ? find_key(operation, keys) : NULL;
  if (key != NULL) rh_operation_answer(operation, 200, rh_key_json(key, rh_clock_wall_s()));
}

// What a change does to the key of the path, and its answer.
static void change(rh_operation *operation, bool revoke) {
  rh_error error = {0};
  rh_keys *keys = keys_of(operation);
  rh_key *key = keys != NULL ? find_key(operation, keys) : NULL;
  if (key == NULL) return;
  char id[RH_KEY_ID_SIZE];
  rh_text_copy(id, sizeof id, key->id);
  int64_t now = rh_clock_wall_s();
  rh_status status =
      revoke ? rh_keys_revoke(keys, id, now, &error) : rh_keys_update(keys, id, operation->body, now, &error);
  if (failed(operation, status, &error)) return;
  key = rh_keys_find(keys, id);
  if (key == NULL) {
    (void)rh_fail_param(&error, RH_NOT_FOUND, "key", "the key \"%s\" was removed meanwhile", id);
    rh_operation_fail(operation, &error);
    return;
  }
  log_change(operation, revoke ? "a key was revoked" : "a key was changed", key);
  rh_operation_answer(operation, 200, rh_key_json(key, now));
}

static void begin_update(rh_operation *operation) { change(operation, false); }
static void begin_revoke(rh_operation *operation) { change(operation, true); }

const rh_operation_route rh_routes_keys[] = {
    {"GET", "/api/keys", "keys.list", RH_SCOPE_ADMIN, begin_list},
    {"POST", "/api/keys", "keys.create", RH_SCOPE_ADMIN, begin_create},
    {"GET", "/api/keys/", "keys.show", RH_SCOPE_ADMIN, begin_show},
    {"POST", "/api/keys/", "keys.update", RH_SCOPE_ADMIN, begin_update},
    {"DELETE", "/api/keys/", "keys.revoke", RH_SCOPE_ADMIN, begin_revoke},
    {.path = NULL},
};
