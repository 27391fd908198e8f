// SPDX-License-Identifier: Apache-2.0
//
// Old rows of usage: summed up by day, key, provider and model, then removed, some thousand in one transaction, so that other
// writers wait for milliseconds. Feedback of that age goes as well. Owns nothing; the ledger's thread. Several daemons may do
// it at once: what one has summed up is gone for the other.
#include <stddef.h>

#include "ledger/ledger_private.h"
#include "ledger/sums.h"

#define PIECE_ROWS "5000"

// The time up to which a piece of rows goes; RH_NOT_FOUND when none is old enough.
static rh_status find_bound(rh_database *database, int64_t before_ms, int64_t *bound, rh_error *error) {
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(database,
                                         "SELECT (SELECT min(time_ms) FROM usage), (SELECT time_ms FROM usage WHERE "
                                         "time_ms < ?1 ORDER BY time_ms LIMIT 1 OFFSET " PIECE_ROWS ")",
                                         &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_int64(statement, 1, before_ms);
  if (sqlite3_step(statement) != SQLITE_ROW) {
    status = rh_database_fail(database, "read", error);
  } else if (sqlite3_column_type(statement, 0) == SQLITE_NULL || sqlite3_column_int64(statement, 0) >= before_ms) {
    status = RH_NOT_FOUND;
  } else {
    // One more, so that even rows of one single millisecond make progress.
    bool last = sqlite3_column_type(statement, 1) == SQLITE_NULL;
    *bound = last ? before_ms : sqlite3_column_int64(statement, 1) + 1;
  }
  (void)sqlite3_finalize(statement);
  return status;
}

static rh_status run_with(rh_database *database, const char *sql, int64_t bound, rh_error *error) {
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(database, sql, &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_int64(statement, 1, bound);
  if (sqlite3_step(statement) != SQLITE_DONE) status = rh_database_fail(database, "write", error);
  (void)sqlite3_finalize(statement);
  return status;
}

static rh_status move_piece(rh_database *database, int64_t bound, rh_error *error) {
  static const char sum_up[] = "INSERT INTO usage_daily(day, key, provider, model, " RH_SUM_NAMES
                               ") SELECT time_ms / 86400000, key, provider, model, " RH_SUM_OF_USAGE
                               " FROM usage WHERE time_ms < ?1 GROUP BY 1, 2, 3, 4" RH_SUM_UPSERT;
  rh_status status = run_with(database, sum_up, bound, error);
  if (status == RH_OK) status = run_with(database, "DELETE FROM usage WHERE time_ms < ?1", bound, error);
  if (status == RH_OK) status = run_with(database, "DELETE FROM feedback WHERE time_ms < ?1", bound, error);
  return status;
}

rh_status rh_ledger_retain(rh_database *database, int64_t before_ms, bool *more, rh_error *error) {
  *more = false;
  rh_status status = rh_database_begin(database, error);
  if (status != RH_OK) return status;
  int64_t bound = 0;
  status = find_bound(database, before_ms, &bound, error);
  if (status == RH_NOT_FOUND) return rh_database_end(database, RH_OK, error);
  if (status == RH_OK) status = move_piece(database, bound, error);
  *more = bound < before_ms;
  return rh_database_end(database, status, error);
}
