// SPDX-License-Identifier: Apache-2.0
//
// Keys that the configuration names: {"name", "key" or "key_env" or "key_file", ...}. They live in memory; the database never sees
// them. Their secrets are chosen by people, so they are hashed at once and appear in no message. Start-up only.
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "admit/keys_private.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

#define CONFIGURED_MAX 1000

static const char *const sources[] = {"key", "key_env", "key_file", NULL};

static rh_status read_file(const char *name, const char *path, rh_dynbuf *secret, rh_error *error) {
  rh_status status = rh_file_read(path, secret, error);
  if (status != RH_OK) {
    char reason[sizeof error->message] = "";
    if (error != NULL) (void)rh_text_copy(reason, sizeof reason, error->message);
    return rh_fail_param(error, status, "keys", "the file of the key \"%.64s\": %.500s", name, reason);
  }
  struct stat info;
  if (stat(path, &info) == 0 && (info.st_mode & 077) != 0) {
    RH_LOG(RH_LOG_WARN, "others may read the file of a key; chmod 600 it", rh_log_str("key", name),
           rh_log_str("path", path));
  }
  while (secret->length > 0 && isspace((unsigned char)secret->data[secret->start + secret->length - 1])) {
    secret->data[secret->start + --secret->length] = '\0';
  }
  return RH_OK;
}

static rh_status read_secret(const json_t *item, const char *path, const char *name, rh_dynbuf *secret,
                             rh_error *error) {
  const char *values[3] = {NULL, NULL, NULL};
  int given = 0;
  for (int i = 0; i < 3; i++) {
    rh_status status = rh_json_get_string(item, path, sources[i], &values[i], error);
    if (status != RH_OK) return status;
    given += values[i] != NULL;
  }
  if (given != 1) {
    return rh_fail_param(error, RH_INVALID, path,
                         "the key \"%.64s\" needs one of \"key_env\" (a variable's name), \"key_file\" (a path) and "
                         "\"key\" (the secret itself)",
                         name);
  }
  if (values[2] != NULL) return read_file(name, values[2], secret, error);
  const char *text = values[0] != NULL ? values[0] : getenv(values[1]);
  if (text == NULL || text[0] == '\0') {
    return rh_fail_param(error, RH_INVALID, path, "the key \"%.64s\": the variable %.80s is not set", name,
                         values[1] != NULL ? values[1] : "(none)");
  }
  return rh_dynbuf_append_text(secret, text) == RH_OK
             ? RH_OK
             : rh_fail_param(error, RH_INVALID, path, "the key \"%.64s\" is longer than %d characters", name,
                             RH_KEY_SECRET_MAX);
}

static rh_status check_secret(const rh_dynbuf *secret, const char *path, const char *name, rh_error *error) {
  const char *text = rh_dynbuf_data(secret);
  bool good = secret->length >= RH_KEY_SECRET_MIN;
  for (size_t i = 0; i < secret->length && good; i++) good = isgraph((unsigned char)text[i]) != 0;
  if (good) return RH_OK;
  return rh_fail_param(error, RH_INVALID, path,
                       "the key \"%.64s\" must be %d to %d printable ASCII characters without blanks; make a good one "
                       "with `roundhouse keys create`",
                       name, RH_KEY_SECRET_MIN, RH_KEY_SECRET_MAX);
}

// The same in every start, and nothing of the secret in it.
static void make_id(char out[RH_KEY_ID_SIZE], const char *name) {
  char text[RH_KEY_NAME_MAX + 32], hex[65];
  (void)snprintf(text, sizeof text, "configured key %s", name);
  rh_sha256_hex(text, strlen(text), hex);
  (void)snprintf(out, RH_KEY_ID_SIZE, "key_%.12s", hex);
}

static rh_status hash_secret(rh_keys *keys, rh_key_entry *entry, const json_t *item, const char *path,
                             rh_error *error) {
  rh_dynbuf secret;
  rh_dynbuf_init(&secret, RH_KEY_SECRET_MAX);
  const char *name = entry->key.name;
  rh_status status = read_secret(item, path, name, &secret, error);
  if (status == RH_OK) status = check_secret(&secret, path, name, error);
  if (status == RH_OK) rh_keys_hash(keys, rh_dynbuf_data(&secret), secret.length, entry->hash);
  if (secret.data != NULL) explicit_bzero(secret.data, secret.capacity);
  rh_dynbuf_free(&secret);
  return status;
}

// A span would begin anew with every start, and so might never end.
static rh_status check_expiry(const json_t *item, const char *path, rh_error *error) {
  const json_t *span = json_object_get(item, "expires_in");
  if (span == NULL || json_is_null(span)) return RH_OK;
  char full[64];
  (void)snprintf(full, sizeof full, "%s.expires_in", path);
  return rh_fail_param(
      error, RH_INVALID, full,
      "a key of the configuration has no \"expires_in\", which would count anew from every start; give "
      "\"expires_at\", a time in seconds since 1970");
}

static rh_status add_one(rh_keys *keys, const json_t *item, size_t index, int64_t now_s, rh_error *error) {
  char path[32];
  (void)snprintf(path, sizeof path, "keys[%zu]", index);
  rh_key_entry *entry = calloc(1, sizeof *entry);
  if (entry == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  entry->configured = true;
  entry->key.scopes = RH_KEY_INFERENCE;
  entry->key.created_s = now_s;
  rh_status status = check_expiry(item, path, error);
  // Any time that it expires at is taken (0: none is too early): the file stays as it is after its keys have expired.
  if (status == RH_OK) status = rh_key_read(&entry->key, item, path, sources, 0, error);
  if (status == RH_OK) status = hash_secret(keys, entry, item, path, error);
  if (status == RH_OK) {
    make_id(entry->key.id, entry->key.name);
    const rh_key_entry *same = rh_keys_by_hash(keys, entry->hash);
    if (same != NULL && !same->configured) {
      // What was set, or revoked, with the commands holds.
      RH_LOG(RH_LOG_INFO, "a key of the configuration is in the database already, which decides",
             rh_log_str("key", entry->key.name));
      rh_key_entry_free(entry);
      return RH_OK;
    }
    if (same != NULL || rh_keys_by_id(keys, entry->key.id) != NULL) {
      status = rh_fail_param(error, RH_INVALID, path, "two keys of the configuration have the same %s: \"%.64s\"",
                             same != NULL ? "secret" : "name", entry->key.name);
    }
  }
  if (status == RH_OK) status = rh_keys_put(keys, entry, error);
  if (status != RH_OK) rh_key_entry_free(entry);
  return status;
}

rh_status rh_keys_add_configured(rh_keys *keys, const json_t *configured, int64_t now_s, rh_error *error) {
  if (!json_is_array(configured) || json_array_size(configured) > CONFIGURED_MAX) {
    return rh_fail_param(error, RH_INVALID, "keys", "keys is a list of at most %d keys", CONFIGURED_MAX);
  }
  rh_status status = RH_OK;
  for (size_t i = 0; i < json_array_size(configured) && status == RH_OK; i++) {
    status = add_one(keys, json_array_get(configured, i), i, now_s, error);
  }
  return status;
}
