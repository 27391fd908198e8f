// SPDX-License-Identifier: Apache-2.0
//
// The tables of the state database, as the steps from each version to the next: a new file takes them all, an older one those it
// lacks. Owns nothing; the thread of the handle. A step that has been released is never changed, a new one is put after it.
// It deliberately knows no way back: an older roundhouse refuses a newer file.
#include "ledger/schema.h"

#include <sqlite3.h>
#include <stdio.h>

// Version 1. Times: *_ms and *_s since 1970, `day` in days since 1970, `month` in months since January of year 0.
static const char first[] =
    "CREATE TABLE state(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"

    // keys.changed: the value of the state 'keys_generation' when the row was last changed, so that others read only the news.
    // 'keys_epoch' rises when rows were removed.
    "CREATE TABLE keys(id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, scopes INTEGER NOT NULL,"
    " models TEXT, requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,"
    " concurrency INTEGER NOT NULL, priority INTEGER NOT NULL, budget_usd REAL NOT NULL, period INTEGER NOT NULL,"
    " created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, revoked_s INTEGER NOT NULL,"
    " last_used_s INTEGER NOT NULL, local_only INTEGER NOT NULL, changed INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX keys_by_name ON keys(name) WHERE revoked_s = 0;"
    "CREATE INDEX keys_by_change ON keys(changed);"

    // What each key spent in its newest day and month and ever; changed_ms: wall time of the last change.
    "CREATE TABLE spent(key TEXT PRIMARY KEY, day INTEGER NOT NULL, day_usd REAL NOT NULL, month INTEGER NOT NULL,"
    " month_usd REAL NOT NULL, total_usd REAL NOT NULL, changed_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX spent_by_change ON spent(changed_ms);"

    "CREATE TABLE usage(id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, time_ms INTEGER NOT NULL, key TEXT NOT NULL,"
    " provider TEXT NOT NULL, model TEXT NOT NULL, asked TEXT NOT NULL, operation TEXT NOT NULL,"
    " outcome TEXT NOT NULL, cache TEXT NOT NULL, experiment TEXT NOT NULL, arm TEXT NOT NULL,"
    " shadow INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,"
    " cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,"
    " reference_usd REAL NOT NULL, latency_ms REAL NOT NULL, first_token_ms REAL NOT NULL, attempts INTEGER NOT NULL);"
    "CREATE INDEX usage_by_time ON usage(time_ms);"
    "CREATE INDEX usage_by_request ON usage(request_id);"

    "CREATE TABLE usage_daily(day INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,"
    " requests INTEGER NOT NULL, shadows INTEGER NOT NULL, errors INTEGER NOT NULL, cache_hits INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
    " reasoning_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL, reference_usd REAL NOT NULL, saved_usd REAL NOT NULL,"
    " latency_ms REAL NOT NULL, PRIMARY KEY(day, key, provider, model)) WITHOUT ROWID;"

    "CREATE TABLE feedback(request_id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, rating REAL NOT NULL, comment TEXT,"
    " provider TEXT NOT NULL, model TEXT NOT NULL, experiment TEXT NOT NULL, arm TEXT NOT NULL, key TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE INDEX feedback_by_time ON feedback(time_ms);";

static const char *const steps[] = {first};
#define STEPS ((int)(sizeof steps / sizeof *steps))

int rh_schema_version(void) { return STEPS; }

static rh_status read_number(rh_database *database, const char *sql, int *out, rh_error *error) {
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(database, sql, &statement, error);
  if (status != RH_OK) return status;
  if (sqlite3_step(statement) == SQLITE_ROW) {
    *out = sqlite3_column_int(statement, 0);
  } else {
    status = rh_database_fail(database, "read", error);
  }
  (void)sqlite3_finalize(statement);
  return status;
}

static rh_status check_ours(rh_database *database, int version, rh_error *error) {
  int application = 0, tables = 0;
  rh_status status = read_number(database, "PRAGMA application_id", &application, error);
  if (status == RH_OK) status = read_number(database, "SELECT count(*) FROM sqlite_schema", &tables, error);
  if (status != RH_OK) return status;
  const char *path = rh_database_path(database);
  if (application != RH_SCHEMA_APPLICATION && (application != 0 || version != 0 || tables != 0)) {
    return rh_fail(error, RH_INVALID, "%s is a database of another program; name another folder for the state", path);
  }
  if (version > STEPS) {
    return rh_fail(error, RH_UNSUPPORTED,
                   "%s was written by a newer roundhouse (its schema is %d, this one knows up to %d); use the newer "
                   "one, or name another folder for the state",
                   path, version, STEPS);
  }
  return RH_OK;
}

static rh_status update(rh_database *database, rh_error *error) {
  int version = 0;
  // Read again inside the transaction: another process may have done the work meanwhile.
  rh_status status = read_number(database, "PRAGMA user_version", &version, error);
  if (status == RH_OK) status = check_ours(database, version, error);
  for (int i = version; status == RH_OK && i < STEPS; i++) status = rh_database_run(database, steps[i], error);
  if (status != RH_OK || version == STEPS) return status;
  char pragmas[96];
  (void)snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d", RH_SCHEMA_APPLICATION,
                 STEPS);
  return rh_database_run(database, pragmas, error);
}

rh_status rh_schema_check(rh_database *database, rh_error *error) {
  int version = 0;
  // In one transaction: another process may be making the tables at this moment.
  rh_status status = rh_database_run(database, "BEGIN", error);
  if (status != RH_OK) return status;
  status = read_number(database, "PRAGMA user_version", &version, error);
  if (status == RH_OK) status = check_ours(database, version, error);
  return rh_database_end(database, status, error);
}

rh_status rh_schema_update(rh_database *database, rh_error *error) {
  int version = 0;
  rh_status status = read_number(database, "PRAGMA user_version", &version, error);
  if (status != RH_OK) return status;
  if (version == STEPS || version > STEPS) return check_ours(database, version, error);
  status = rh_database_begin(database, error);
  if (status != RH_OK) return status;
  return rh_database_end(database, update(database, error), error);
}
