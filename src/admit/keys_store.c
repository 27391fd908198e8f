// SPDX-License-Identifier: Apache-2.0
//
// Reading the keys from the state database and writing when they were used. Owns the statements for it. The keys' thread.
//
// Every change of a key gets the next generation, kept in the table `state`. The ledger writes to the same file every second, so
// "the file has changed" says little: then one row, the generation, is read, and only if it rose the rows that are newer. Rows
// are removed only when the table is full, which raises the epoch: then all is read.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/keys_private.h"

#define COLUMNS                                                                                                       \
  "SELECT id, name, hash, scopes, models, requests_per_minute, tokens_per_minute, concurrency, priority, budget_usd," \
  " period, created_s, expires_s, revoked_s, last_used_s, local_only FROM keys"

// All of them in the order of the file, which is far quicker than by way of the index over changes.
static const char load_all[] = COLUMNS " NOT INDEXED WHERE changed > ?1";
static const char load_news[] = COLUMNS " WHERE changed > ?1 ORDER BY changed";

rh_status rh_keys_store_open(rh_keys *keys, rh_error *error) {
  static const char versions[] =
      "SELECT ifnull((SELECT CAST(value AS INTEGER) FROM state WHERE name = 'keys_generation'), 0),"
      " ifnull((SELECT CAST(value AS INTEGER) FROM state WHERE name = 'keys_epoch'), 0)";
  static const char spent[] =
      "SELECT key, day, day_usd, month, month_usd, total_usd, changed_ms FROM spent WHERE changed_ms >= ?1";
  static const char touch[] = "UPDATE keys SET last_used_s = max(last_used_s, ?2) WHERE id = ?1";
  rh_status status = rh_database_prepare(keys->database, versions, &keys->versions, error);
  if (status == RH_OK) status = rh_database_prepare(keys->database, load_news, &keys->load, error);
  if (status == RH_OK) status = rh_database_prepare(keys->database, spent, &keys->load_spent, error);
  if (status == RH_OK) status = rh_database_prepare(keys->database, touch, &keys->touch, error);
  return status;
}

void rh_keys_store_close(rh_keys *keys) {
  (void)sqlite3_finalize(keys->versions);
  (void)sqlite3_finalize(keys->load);
  (void)sqlite3_finalize(keys->load_spent);
  (void)sqlite3_finalize(keys->touch);
}

static rh_status read_versions(rh_keys *keys, int64_t *generation, int64_t *epoch, rh_error *error) {
  rh_status status = RH_OK;
  if (sqlite3_step(keys->versions) == SQLITE_ROW) {
    *generation = sqlite3_column_int64(keys->versions, 0);
    *epoch = sqlite3_column_int64(keys->versions, 1);
  } else {
    status = rh_database_fail(keys->database, "read the keys in", error);
  }
  (void)sqlite3_reset(keys->versions);
  return status;
}

static rh_status read_columns(sqlite3_stmt *row, rh_key *key) {
  const char *name = (const char *)sqlite3_column_text(row, 1);
  char *copy = strdup(name == NULL ? "" : name);
  if (copy == NULL) return RH_NO_MEMORY;
  free(key->name);
  key->name = copy;
  key->scopes = (uint32_t)sqlite3_column_int(row, 3);
  rh_status status = rh_key_models_read(key, (const char *)sqlite3_column_text(row, 4));
  key->requests_per_minute = sqlite3_column_int64(row, 5);
  key->tokens_per_minute = sqlite3_column_int64(row, 6);
  key->concurrency = sqlite3_column_int64(row, 7);
  key->priority = sqlite3_column_int(row, 8);
  key->budget_usd = sqlite3_column_double(row, 9);
  int period = sqlite3_column_int(row, 10);
  key->period = period >= RH_BUDGET_NEVER && period <= RH_BUDGET_MONTH ? (rh_budget_period)period : RH_BUDGET_NEVER;
  key->created_s = sqlite3_column_int64(row, 11);
  key->expires_s = sqlite3_column_int64(row, 12);
  key->revoked_s = sqlite3_column_int64(row, 13);
  int64_t used = sqlite3_column_int64(row, 14);
  if (used > key->last_used_s) key->last_used_s = used;
  key->local_only = sqlite3_column_int(row, 15) != 0;
  return status;
}

static rh_status add_entry(rh_keys *keys, sqlite3_stmt *row, const unsigned char *hash, rh_error *error) {
  const char *id = (const char *)sqlite3_column_text(row, 0);
  // Whoever edits the file by hand may break a row, not the daemon.
  if (id == NULL || strlen(id) >= RH_KEY_ID_SIZE || rh_keys_by_id(keys, id) != NULL || keys->count > 2 * RH_KEYS_MAX) {
    return RH_OK;
  }
  rh_key_entry *entry = calloc(1, sizeof *entry);
  if (entry == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the keys");
  memcpy(entry->hash, hash, RH_KEY_HASH_BYTES);
  memcpy(entry->key.id, id, strlen(id) + 1);
  entry->seen = true;
  rh_status status = read_columns(row, &entry->key);
  if (status == RH_OK) status = rh_keys_put(keys, entry, error);
  if (status != RH_OK) rh_key_entry_free(entry);
  return status;
}

// `*other_period`: some key's budget is now of another period, so what it spent must be read again.
static rh_status read_row(rh_keys *keys, sqlite3_stmt *row, bool *other_period, rh_error *error) {
  const unsigned char *hash = sqlite3_column_blob(row, 2);
  if (hash == NULL || sqlite3_column_bytes(row, 2) != RH_KEY_HASH_BYTES) return RH_OK;
  rh_key_entry *entry = rh_keys_by_hash(keys, hash);
  if (entry == NULL) {
    *other_period = true;
    return add_entry(keys, row, hash, error);
  }
  if (entry->configured) return RH_OK;
  rh_budget_period period = entry->key.period;
  entry->seen = true;
  rh_status status = read_columns(row, &entry->key);
  if (status != RH_OK) return rh_fail(error, status, "no memory for the keys");
  if (entry->key.period == period) return RH_OK;
  entry->key.spent_usd = 0;
  entry->key.period_begin_s = 0;
  *other_period = true;
  return RH_OK;
}

static rh_status read_rows(rh_keys *keys, sqlite3_stmt *row, int64_t after, bool *other_period, rh_error *error) {
  rh_status status = RH_OK;
  int code = SQLITE_DONE;
  (void)sqlite3_bind_int64(row, 1, after);
  while (status == RH_OK && (code = sqlite3_step(row)) == SQLITE_ROW) {
    status = read_row(keys, row, other_period, error);
  }
  if (status == RH_OK && code != SQLITE_DONE) status = rh_database_fail(keys->database, "read the keys in", error);
  (void)sqlite3_reset(row);
  return status;
}

static rh_status read_all(rh_keys *keys, bool *other_period, rh_error *error) {
  for (size_t i = 0; i < keys->count; i++) keys->items[i]->seen = false;
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(keys->database, load_all, &row, error);
  if (status == RH_OK) status = read_rows(keys, row, -1, other_period, error);
  (void)sqlite3_finalize(row);
  if (status == RH_OK) rh_keys_sweep(keys);
  return status;
}

rh_status rh_keys_store_load(rh_keys *keys, rh_error *error) {
  int64_t generation = 0, epoch = 0;
  // Read before the rows: what is committed between the two is read now and once more the next time.
  rh_status status = read_versions(keys, &generation, &epoch, error);
  if (status != RH_OK || (generation == keys->generation && epoch == keys->epoch)) return status;
  bool all = epoch != keys->epoch, other_period = false;
  status =
      all ? read_all(keys, &other_period, error) : read_rows(keys, keys->load, keys->generation, &other_period, error);
  if (status == RH_OK) {
    keys->generation = generation;
    keys->epoch = epoch;
    if (other_period) keys->spent_seen_ms = 0;
  }
  // Also after half a reading: a revoked key that was seen is revoked.
  rh_keys_summarize(keys);
  return status;
}

rh_status rh_keys_store_load_spent(rh_keys *keys, int64_t since_ms, int64_t now_s, rh_error *error) {
  sqlite3_stmt *row = keys->load_spent;
  (void)sqlite3_bind_int64(row, 1, since_ms);
  int code;
  while ((code = sqlite3_step(row)) == SQLITE_ROW) {
    const char *id = (const char *)sqlite3_column_text(row, 0);
    rh_key_entry *entry = id == NULL ? NULL : rh_keys_by_id(keys, id);
    int64_t changed = sqlite3_column_int64(row, 6);
    if (changed > keys->spent_seen_ms) keys->spent_seen_ms = changed;
    if (entry == NULL) continue;
    rh_key_spent spent = {.day = sqlite3_column_int64(row, 1),
                          .day_usd = sqlite3_column_double(row, 2),
                          .month = sqlite3_column_int64(row, 3),
                          .month_usd = sqlite3_column_double(row, 4),
                          .total_usd = sqlite3_column_double(row, 5)};
    rh_key_merge_spent(&entry->key, &spent, now_s);
  }
  rh_status status =
      code == SQLITE_DONE ? RH_OK : rh_database_fail(keys->database, "read the keys' spending in", error);
  (void)sqlite3_reset(row);
  return status;
}

rh_status rh_keys_store_touch(rh_keys *keys, size_t max) {
  size_t written = 0;
  rh_status status = RH_OK;
  bool begun = false;
  if (keys->touch_from >= keys->count) keys->touch_from = 0;
  size_t i = keys->touch_from;
  for (; i < keys->count && written < max && status == RH_OK; i++) {
    rh_key_entry *entry = keys->items[i];
    if (!entry->used) continue;
    if (!begun) {
      status = rh_database_begin(keys->database, NULL);
      if (status != RH_OK) return status;
      begun = true;
    }
    (void)sqlite3_bind_text(keys->touch, 1, entry->key.id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(keys->touch, 2, entry->key.last_used_s);
    if (sqlite3_step(keys->touch) != SQLITE_DONE) status = rh_database_fail(keys->database, "write", NULL);
    (void)sqlite3_reset(keys->touch);
    written++;
  }
  if (begun) status = rh_database_end(keys->database, status, NULL);
  // Only what was committed is written: after a failure all of these are tried again.
  if (status != RH_OK) return status;
  for (size_t k = keys->touch_from; k < i; k++) keys->items[k]->used = false;
  keys->touch_from = i < keys->count ? i : 0;
  return i < keys->count ? RH_AGAIN : RH_OK;
}
