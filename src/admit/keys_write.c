// SPDX-License-Identifier: Apache-2.0
//
// Making, changing and revoking a key in the state database: one transaction each, with the next generation, after which the
// caller's memory follows. Owns nothing; the keys' thread. Rare, so its statements are not kept.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/keys_private.h"

#define KEEP_REVOKED "2592000"  // seconds; 30 days. Only a full table drops any

static rh_status next_generation(rh_keys *keys, rh_error *error) {
  return rh_database_run(
      keys->database,
      "INSERT INTO state(name, value) VALUES('keys_generation', '1') ON CONFLICT(name) DO UPDATE SET "
      "value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
      error);
}

static rh_status step_once(rh_keys *keys, sqlite3_stmt *statement, const char *name, rh_error *error) {
  int code = sqlite3_step(statement);
  if (code == SQLITE_DONE) return RH_OK;
  if ((code & 0xff) == SQLITE_CONSTRAINT) {
    return rh_fail_param(error, RH_CONFLICT, "name",
                         "there is a key named \"%s\" already; revoke it or take another name", name);
  }
  return rh_database_fail(keys->database, "write a key to", error);
}

// The columns that a definition fills, from parameter 1 on; id and changed are the statement's own affair.
static rh_status bind_definition(sqlite3_stmt *to, const rh_key *key, rh_error *error) {
  char *models = key->models == NULL ? NULL : rh_key_models_text(key);
  if (key->models != NULL && models == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  (void)sqlite3_bind_text(to, 1, key->name, -1, SQLITE_TRANSIENT);
  (void)sqlite3_bind_int64(to, 2, key->scopes);
  (void)sqlite3_bind_text(to, 3, models, -1, free);
  (void)sqlite3_bind_int64(to, 4, key->requests_per_minute);
  (void)sqlite3_bind_int64(to, 5, key->tokens_per_minute);
  (void)sqlite3_bind_int64(to, 6, key->concurrency);
  (void)sqlite3_bind_int(to, 7, key->priority);
  (void)sqlite3_bind_double(to, 8, key->budget_usd);
  (void)sqlite3_bind_int(to, 9, (int)key->period);
  (void)sqlite3_bind_int64(to, 10, key->expires_s);
  (void)sqlite3_bind_int(to, 11, key->local_only);
  return RH_OK;
}

// The database sees to it that no two active keys of its own have one name; the configuration's are not in it.
static rh_status check_name(const rh_keys *keys, const rh_key *key, rh_error *error) {
  for (size_t i = 0; i < keys->count; i++) {
    const rh_key_entry *entry = keys->items[i];
    if (!entry->configured || strcmp(entry->key.name, key->name) != 0) continue;
    return rh_fail_param(error, RH_CONFLICT, "name",
                         "there is a key named \"%s\" already, in the configuration file; take another name",
                         key->name);
  }
  return RH_OK;
}

static rh_status insert(rh_keys *keys, const rh_key *key, const unsigned char hash[RH_KEY_HASH_BYTES],
                        rh_error *error) {
  static const char sql[] =
      "INSERT INTO keys(name, scopes, models, requests_per_minute, tokens_per_minute, concurrency, priority, "
      "budget_usd,"
      " period, expires_s, local_only, id, hash, created_s, revoked_s, last_used_s, changed) VALUES(?1, ?2, ?3, ?4, ?5,"
      " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0,"
      " (SELECT CAST(value AS INTEGER) FROM state WHERE name = 'keys_generation'))";
  sqlite3_stmt *statement = NULL;
  rh_status status = check_name(keys, key, error);
  if (status == RH_OK) status = rh_database_prepare(keys->database, sql, &statement, error);
  if (status == RH_OK) status = bind_definition(statement, key, error);
  if (status == RH_OK) {
    (void)sqlite3_bind_text(statement, 12, key->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(statement, 13, hash, RH_KEY_HASH_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 14, key->created_s);
    status = step_once(keys, statement, key->name, error);
  }
  (void)sqlite3_finalize(statement);
  return status;
}

static rh_status count_rows(rh_keys *keys, int64_t *out, rh_error *error) {
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(keys->database, "SELECT count(*) FROM keys", &statement, error);
  if (status != RH_OK) return status;
  if (sqlite3_step(statement) == SQLITE_ROW) {
    *out = sqlite3_column_int64(statement, 0);
  } else {
    status = rh_database_fail(keys->database, "read the keys in", error);
  }
  (void)sqlite3_finalize(statement);
  return status;
}

// A full table first loses what has long been revoked or expired.
static rh_status make_room(rh_keys *keys, int64_t now_s, rh_error *error) {
  int64_t count = 0;
  rh_status status = count_rows(keys, &count, error);
  if (status != RH_OK || count < RH_KEYS_MAX) return status;
  sqlite3_stmt *statement = NULL;
  status = rh_database_prepare(keys->database,
                               "DELETE FROM keys WHERE (revoked_s > 0 AND revoked_s < ?1 - " KEEP_REVOKED
                               ") OR (expires_s > 0 AND expires_s < ?1 - " KEEP_REVOKED ")",
                               &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_int64(statement, 1, now_s);
  if (sqlite3_step(statement) != SQLITE_DONE) status = rh_database_fail(keys->database, "write a key to", error);
  (void)sqlite3_finalize(statement);
  if (status != RH_OK) return status;
  if (sqlite3_changes(rh_database_handle(keys->database)) == 0) {
    return rh_fail(error, RH_TOO_LARGE, "%d keys are kept, and none of them has been revoked or expired for 30 days",
                   RH_KEYS_MAX);
  }
  return rh_database_run(keys->database,
                         "INSERT INTO state(name, value) VALUES('keys_epoch', '1') ON CONFLICT(name) DO UPDATE SET "
                         "value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
                         error);
}

rh_status rh_keys_write_new(rh_keys *keys, const rh_key *key, const unsigned char hash[RH_KEY_HASH_BYTES],
                            int64_t now_s, rh_error *error) {
  rh_status status = rh_database_begin(keys->database, error);
  if (status != RH_OK) return status;
  status = make_room(keys, now_s, error);
  if (status == RH_OK) status = next_generation(keys, error);
  if (status == RH_OK) status = insert(keys, key, hash, error);
  return rh_database_end(keys->database, status, error);
}

static rh_status store_definition(rh_keys *keys, const rh_key *key, rh_error *error) {
  static const char sql[] =
      "UPDATE keys SET name = ?1, scopes = ?2, models = ?3, requests_per_minute = ?4, tokens_per_minute = ?5,"
      " concurrency = ?6, priority = ?7, budget_usd = ?8, period = ?9, expires_s = ?10, local_only = ?11,"
      " changed = (SELECT CAST(value AS INTEGER) FROM state WHERE name = 'keys_generation') WHERE id = ?12";
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(keys->database, sql, &statement, error);
  if (status == RH_OK) status = bind_definition(statement, key, error);
  if (status == RH_OK) {
    (void)sqlite3_bind_text(statement, 12, key->id, -1, SQLITE_STATIC);
    status = step_once(keys, statement, key->name, error);
  }
  (void)sqlite3_finalize(statement);
  return status;
}

static rh_status store_revocation(rh_keys *keys, const rh_key *key, int64_t now_s, rh_error *error) {
  static const char sql[] =
      "UPDATE keys SET revoked_s = ?2, changed = (SELECT CAST(value AS INTEGER) FROM state WHERE name ="
      " 'keys_generation') WHERE id = ?1";
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(keys->database, sql, &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_text(statement, 1, key->id, -1, SQLITE_STATIC);
  (void)sqlite3_bind_int64(statement, 2, now_s);
  status = step_once(keys, statement, key->name, error);
  (void)sqlite3_finalize(statement);
  return status;
}

// The key's present values with the changes over them.
static rh_status apply(rh_keys *keys, const rh_key *key, const json_t *changes, int64_t now_s, rh_error *error) {
  rh_key next = *key;
  next.name = strdup(key->name);
  next.models = NULL;
  char *models = key->models == NULL ? NULL : rh_key_models_text(key);
  rh_status status = next.name == NULL || (key->models != NULL && models == NULL)
                         ? rh_fail(error, RH_NO_MEMORY, "no memory for a key")
                         : rh_key_models_read(&next, models);
  free(models);
  if (status == RH_OK) status = rh_key_read(&next, changes, "", NULL, now_s, error);
  if (status == RH_OK) status = store_definition(keys, &next, error);
  rh_key_clear(&next);
  return status;
}

rh_status rh_keys_write_change(rh_keys *keys, const char *id, const json_t *changes, bool revoke, int64_t now_s,
                               rh_error *error) {
  char own_id[RH_KEY_ID_SIZE];
  memcpy(own_id, id, strlen(id) + 1);  // `id` may be of an entry that the reading below replaces
  rh_status status = rh_database_begin(keys->database, error);
  if (status != RH_OK) return status;
  // Now nobody else writes: what is read here is what the changes are applied to.
  status = rh_keys_store_load(keys, error);
  const rh_key_entry *entry = rh_keys_by_id(keys, own_id);
  if (status == RH_OK && entry == NULL) status = rh_fail(error, RH_NOT_FOUND, "there is no key \"%s\"", own_id);
  if (status == RH_OK) status = next_generation(keys, error);
  if (status == RH_OK) {
    status =
        revoke ? store_revocation(keys, &entry->key, now_s, error) : apply(keys, &entry->key, changes, now_s, error);
  }
  status = rh_database_end(keys->database, status, error);
  if (status != RH_OK) return status;
  status = rh_keys_store_load(keys, error);
  if (status == RH_OK && keys->spent_seen_ms == 0) status = rh_keys_store_load_spent(keys, 0, now_s, error);
  return status;
}
