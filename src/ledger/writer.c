// SPDX-License-Identifier: Apache-2.0
//
// Records into tables: one transaction for a batch, with prepared statements. Owns the ledger's connection and these statements.
// The ledger's thread. This connection is the one that checkpoints the journal, for all (database.c says why).
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger/ledger_private.h"

#define CHECKPOINT_PAGES 1000
#define DAY_MS INT64_C(86400000)
#define COLUMNS 21
// Rows in one statement: eight save SQLite a seventh of its instructions for a row, more of them hardly more.
#define ROWS 8

struct rh_ledger_writer {
  rh_database *database;
  sqlite3_stmt *usage, *usages, *spent;  // usages: of ROWS rows
};

static const char insert_usage[] =
    "INSERT INTO usage(request_id, time_ms, key, provider, model, asked, operation, outcome, cache, experiment, arm,"
    " shadow, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost_usd, reference_usd, latency_ms,"
    " first_token_ms, attempts) VALUES";
static const char usage_row[] = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

// A record may be of a day or month before the row's: then it counts only for what is still running.
static const char add_spent[] =
    "INSERT INTO spent(key, day, day_usd, month, month_usd, total_usd, changed_ms) VALUES(?1, ?2, ?4, ?3, ?4, ?4, ?5)"
    " ON CONFLICT(key) DO UPDATE SET"
    " day_usd = CASE WHEN excluded.day > day THEN excluded.day_usd WHEN excluded.day = day THEN day_usd +"
    " excluded.day_usd ELSE day_usd END, day = max(day, excluded.day),"
    " month_usd = CASE WHEN excluded.month > month THEN excluded.month_usd WHEN excluded.month = month THEN month_usd +"
    " excluded.month_usd ELSE month_usd END, month = max(month, excluded.month),"
    " total_usd = total_usd + excluded.total_usd, changed_ms = max(changed_ms, excluded.changed_ms)";

rh_database *rh_ledger_writer_database(rh_ledger_writer *writer) { return writer->database; }

void rh_ledger_writer_free(rh_ledger_writer *writer) {
  if (writer == NULL) return;
  (void)sqlite3_finalize(writer->usage);
  (void)sqlite3_finalize(writer->usages);
  (void)sqlite3_finalize(writer->spent);
  rh_database_close(writer->database);
  free(writer);
}

static rh_status prepare_usage(rh_database *database, int rows, sqlite3_stmt **out, rh_error *error) {
  char sql[sizeof insert_usage + ROWS * sizeof usage_row];
  size_t length = sizeof insert_usage - 1;
  memcpy(sql, insert_usage, length);
  for (int i = 0; i < rows; i++) {
    memcpy(sql + length, usage_row, sizeof usage_row - 1);
    length += sizeof usage_row;
    sql[length - 1] = i + 1 < rows ? ',' : '\0';
  }
  return rh_database_prepare(database, sql, out, error);
}

rh_status rh_ledger_writer_new(const char *folder, rh_ledger_writer **out, rh_error *error) {
  rh_ledger_writer *writer = calloc(1, sizeof *writer);
  if (writer == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the ledger");
  rh_status status = rh_database_open(folder, &writer->database, error);
  if (status == RH_OK) status = prepare_usage(writer->database, 1, &writer->usage, error);
  if (status == RH_OK) status = rh_database_prepare(writer->database, add_spent, &writer->spent, error);
  // Rows are added at the end of the table and of both indexes (ids of requests begin with their time), so a batch's own pages
  // are nearly all it touches.
  if (status == RH_OK) status = rh_database_run(writer->database, "PRAGMA cache_size = -256", error);
  if (status != RH_OK) {
    rh_ledger_writer_free(writer);
    return status;
  }
  (void)sqlite3_wal_autocheckpoint(rh_database_handle(writer->database), CHECKPOINT_PAGES);
  *out = writer;
  return RH_OK;
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text, size_t size) {
  // The record outlives the step. A text without its NUL, a programmer's mistake, is at least not read past its end.
  (void)sqlite3_bind_text(statement, index, text, (int)strnlen(text, size), SQLITE_STATIC);
}

static int step(sqlite3_stmt *statement) {
  int code = sqlite3_step(statement);
  (void)sqlite3_reset(statement);
  return code;
}

static void bind_usage(sqlite3_stmt *to, int at, const rh_ledger_record *record) {
  bind_text(to, at, record->request_id, sizeof record->request_id);
  (void)sqlite3_bind_int64(to, at + 1, record->time_ms);
  bind_text(to, at + 2, record->key, sizeof record->key);
  bind_text(to, at + 3, record->provider, sizeof record->provider);
  bind_text(to, at + 4, record->model, sizeof record->model);
  bind_text(to, at + 5, record->asked, sizeof record->asked);
  bind_text(to, at + 6, record->operation, sizeof record->operation);
  bind_text(to, at + 7, record->outcome, sizeof record->outcome);
  bind_text(to, at + 8, record->cache, sizeof record->cache);
  bind_text(to, at + 9, record->experiment, sizeof record->experiment);
  bind_text(to, at + 10, record->arm, sizeof record->arm);
  (void)sqlite3_bind_int(to, at + 11, record->shadow);
  (void)sqlite3_bind_int64(to, at + 12, record->prompt_tokens);
  (void)sqlite3_bind_int64(to, at + 13, record->completion_tokens);
  (void)sqlite3_bind_int64(to, at + 14, record->cached_tokens);
  (void)sqlite3_bind_int64(to, at + 15, record->reasoning_tokens);
  // SQLite makes NULL of NaN, which the columns refuse; a figure that is none must not stop the batch.
  const double figures[] = {record->cost_usd, record->reference_usd, record->latency_ms, record->first_token_ms};
  for (int i = 0; i < 4; i++) (void)sqlite3_bind_double(to, at + 16 + i, figures[i] >= 0 ? figures[i] : 0);
  (void)sqlite3_bind_int64(to, at + 20, record->attempts);
}

static int write_spent(sqlite3_stmt *to, const rh_ledger_record *record, int64_t now_ms) {
  if (record->key[0] == '\0' || !(record->cost_usd > 0)) return SQLITE_DONE;
  time_t seconds = (time_t)(record->time_ms / 1000);
  struct tm date;
  (void)gmtime_r(&seconds, &date);
  bind_text(to, 1, record->key, sizeof record->key);
  (void)sqlite3_bind_int64(to, 2, record->time_ms / DAY_MS);
  (void)sqlite3_bind_int64(to, 3, ((int64_t)date.tm_year + 1900) * 12 + date.tm_mon);
  (void)sqlite3_bind_double(to, 4, record->cost_usd);
  (void)sqlite3_bind_int64(to, 5, now_ms);
  return step(to);
}

// `rows` is 1 or ROWS.
static int write_rows(rh_ledger_writer *writer, const rh_ledger_record *const *records, size_t rows, int64_t now_ms) {
  sqlite3_stmt *to = rows == 1 ? writer->usage : writer->usages;
  for (size_t i = 0; i < rows; i++) bind_usage(to, 1 + COLUMNS * (int)i, records[i]);
  int code = step(to);
  for (size_t i = 0; i < rows && code == SQLITE_DONE; i++) code = write_spent(writer->spent, records[i], now_ms);
  return code;
}

rh_status rh_ledger_writer_records(rh_ledger_writer *writer, const rh_ledger *ledger, unsigned long long first,
                                   size_t count, rh_error *error) {
  assert(writer != NULL && count > 0);
  rh_status status = RH_OK;
  // Some ten thousand bytes that a quiet server does without.
  if (count >= ROWS && writer->usages == NULL) status = prepare_usage(writer->database, ROWS, &writer->usages, error);
  if (status == RH_OK) status = rh_database_begin(writer->database, error);
  if (status != RH_OK) return status;
  int64_t now_ms = rh_ledger_wall_ms();
  for (size_t i = 0, rows; i < count && status == RH_OK; i += rows) {
    const rh_ledger_record *records[ROWS];
    rows = count - i < ROWS ? 1 : ROWS;
    for (size_t j = 0; j < rows; j++) records[j] = rh_ledger_record_at(ledger, first + i + j);
    if (write_rows(writer, records, rows, now_ms) != SQLITE_DONE) {
      status = rh_database_fail(writer->database, "write", error);
    }
  }
  return rh_database_end(writer->database, status, error);
}
