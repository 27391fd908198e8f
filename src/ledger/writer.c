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

struct rh_ledger_writer {
  rh_database *database;
  sqlite3_stmt *usage, *spent;
};

static const char insert_usage[] =
    "INSERT INTO usage(request_id, time_ms, key, provider, model, asked, operation, outcome, cache, experiment, arm,"
    " shadow, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost_usd, reference_usd, latency_ms,"
    " first_token_ms, attempts)"
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";

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
  (void)sqlite3_finalize(writer->spent);
  rh_database_close(writer->database);
  free(writer);
}

rh_status rh_ledger_writer_new(const char *folder, rh_ledger_writer **out, rh_error *error) {
  rh_ledger_writer *writer = calloc(1, sizeof *writer);
  if (writer == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the ledger");
  rh_status status = rh_database_open(folder, &writer->database, error);
  if (status == RH_OK) status = rh_database_prepare(writer->database, insert_usage, &writer->usage, error);
  if (status == RH_OK) status = rh_database_prepare(writer->database, add_spent, &writer->spent, error);
  // The index over request ids is written in random places; 16 MiB keep its upper levels at hand.
  if (status == RH_OK) status = rh_database_run(writer->database, "PRAGMA cache_size = -1024", error);
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

static int write_usage(sqlite3_stmt *to, const rh_ledger_record *record) {
  bind_text(to, 1, record->request_id, sizeof record->request_id);
  (void)sqlite3_bind_int64(to, 2, record->time_ms);
  bind_text(to, 3, record->key, sizeof record->key);
  bind_text(to, 4, record->provider, sizeof record->provider);
  bind_text(to, 5, record->model, sizeof record->model);
  bind_text(to, 6, record->asked, sizeof record->asked);
  bind_text(to, 7, record->operation, sizeof record->operation);
  bind_text(to, 8, record->outcome, sizeof record->outcome);
  bind_text(to, 9, record->cache, sizeof record->cache);
  bind_text(to, 10, record->experiment, sizeof record->experiment);
  bind_text(to, 11, record->arm, sizeof record->arm);
  (void)sqlite3_bind_int(to, 12, record->shadow);
  (void)sqlite3_bind_int64(to, 13, record->prompt_tokens);
  (void)sqlite3_bind_int64(to, 14, record->completion_tokens);
  (void)sqlite3_bind_int64(to, 15, record->cached_tokens);
  (void)sqlite3_bind_int64(to, 16, record->reasoning_tokens);
  // SQLite makes NULL of NaN, which the columns refuse; a figure that is none must not stop the batch.
  const double figures[] = {record->cost_usd, record->reference_usd, record->latency_ms, record->first_token_ms};
  for (int i = 0; i < 4; i++) (void)sqlite3_bind_double(to, 17 + i, figures[i] >= 0 ? figures[i] : 0);
  (void)sqlite3_bind_int64(to, 21, record->attempts);
  return step(to);
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

rh_status rh_ledger_writer_records(rh_ledger_writer *writer, const rh_ledger_record *ring, size_t ring_max,
                                   uint64_t first, size_t count, rh_error *error) {
  assert(writer != NULL && count > 0 && count <= ring_max);
  rh_status status = rh_database_begin(writer->database, error);
  if (status != RH_OK) return status;
  int64_t now_ms = rh_ledger_wall_ms();
  for (size_t i = 0; i < count && status == RH_OK; i++) {
    const rh_ledger_record *record = &ring[(first + i) % ring_max];
    if (write_usage(writer->usage, record) != SQLITE_DONE ||
        write_spent(writer->spent, record, now_ms) != SQLITE_DONE) {
      status = rh_database_fail(writer->database, "write", error);
    }
  }
  return rh_database_end(writer->database, status, error);
}
