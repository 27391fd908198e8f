// SPDX-License-Identifier: Apache-2.0
//
// The keys of two daemons (or a daemon and a command) on one folder.
#ifndef RH_TESTS_KEYS_FIXTURE_H
#define RH_TESTS_KEYS_FIXTURE_H

#include "admit/keys.h"
#include "ledger_fixture.h"

#define NOW INT64_C(1764000000)  // 2025-11-24 16:00 UTC

typedef struct keys_fixture {
  char folder[FOLDER_SIZE];
  rh_database *database, *other_database;
  rh_keys *keys, *other;  // of one daemon and of another, or of a command
} keys_fixture;

static inline rh_database *open_in(const char *folder) {
  rh_database *database = NULL;
  rh_error error = {0};
  if (rh_database_open(folder, &database, &error) != RH_OK) fail_msg("%s", error.message);
  return database;
}

static inline rh_keys *keys_of(rh_database *database, const char *configured) {
  json_t *json = configured == NULL ? NULL : json_loads(configured, 0, NULL);
  rh_keys *keys = NULL;
  rh_error error = {0};
  if (rh_keys_new(database, json, &keys, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(json);
  return keys;
}

static inline int make(void **state) {
  keys_fixture *f = calloc(1, sizeof *f);
  folder_make(f->folder);
  f->database = open_in(f->folder);
  f->other_database = open_in(f->folder);
  f->keys = keys_of(f->database, NULL);
  f->other = keys_of(f->other_database, NULL);
  *state = f;
  return 0;
}

static inline int clean(void **state) {
  keys_fixture *f = *state;
  rh_keys_free(f->keys);
  rh_keys_free(f->other);
  rh_database_close(f->database);
  rh_database_close(f->other_database);
  folder_remove(f->folder);
  free(f);
  return 0;
}

static inline rh_status try_create(rh_keys *keys, const char *definition, char secret[RH_KEY_TEXT_SIZE], rh_key **key,
                                   rh_error *error) {
  json_t *json = json_loads(definition, 0, NULL);
  assert_non_null(json);
  rh_status status = rh_keys_create(keys, json, NOW, secret, key, error);
  json_decref(json);
  return status;
}

static inline rh_key *create(rh_keys *keys, const char *definition, char secret[RH_KEY_TEXT_SIZE]) {
  rh_key *key = NULL;
  rh_error error = {0};
  if (try_create(keys, definition, secret, &key, &error) != RH_OK) fail_msg("%s", error.message);
  return key;
}

static inline rh_status update(rh_keys *keys, const char *id, const char *changes, rh_error *error) {
  json_t *json = json_loads(changes, 0, NULL);
  rh_status status = rh_keys_update(keys, id, json, NOW, error);
  json_decref(json);
  return status;
}

static inline void presented(rh_keys *keys, const char *secret, int64_t now_s, rh_status expected, const char *words) {
  rh_key *key = NULL;
  rh_error error = {0};
  rh_status status = rh_keys_check(keys, secret, now_s, &key, &error);
  if (status != expected) fail_msg("%s: %s", rh_status_name(status), error.message);
  if (words != NULL) expect_words(&error, words);
  if (secret != NULL && secret[0] != '\0' && strstr(error.message, secret) != NULL)
    fail_msg("the message has the secret");
}

#endif
