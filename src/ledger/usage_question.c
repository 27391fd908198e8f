// SPDX-License-Identifier: Apache-2.0
//
// GET /api/usage: sums over a span of time. Millions of rows take seconds, and new records must be on disk within one, so the rows
// are read in pieces into a temporary table, and what has come meanwhile is written between them. Owns that table; the ledger's
// thread. Rows that another daemon sums up by day at the same moment may be missed; the next answer has them.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ledger/ledger_private.h"
#include "ledger/sums.h"

#define PIECE_ROWS "20000"
#define GROUPS_DEFAULT 100
#define GROUPS_MAX 10000
#define DAY_S INT64_C(86400)

// temp.sums has the names of usage_daily.
static rh_status clear(rh_database *database, rh_error *error) {
  return rh_database_run(
      database,
      "CREATE TEMP TABLE IF NOT EXISTS sums(day INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL,"
      " model TEXT NOT NULL, requests INTEGER, shadows INTEGER, errors INTEGER, cache_hits INTEGER, prompt_tokens"
      " INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, reasoning_tokens INTEGER, cost_usd REAL,"
      " reference_usd REAL, saved_usd REAL, latency_ms REAL, PRIMARY KEY(day, key, provider, model)) WITHOUT ROWID;"
      "DELETE FROM temp.sums",
      error);
}

// The rows of `table` between ?1 and ?2 into temp.sums, grouped as asked.
static rh_status prepare_piece(rh_database *database, const rh_usage_question *question, bool daily, sqlite3_stmt **out,
                               rh_error *error) {
  char sql[2048];
  const char *day = daily ? "day" : "time_ms / 86400000";
  int length =
      snprintf(sql, sizeof sql,
               "INSERT INTO temp.sums(day, key, provider, model, " RH_SUM_NAMES
               ") SELECT %s, %s, %s, %s, %s FROM %s WHERE %s >= ?1 AND %s < ?2%s%s%s GROUP BY 1, 2, 3, "
               "4" RH_SUM_UPSERT,
               question->by_day ? day : "0", question->by_key ? "key" : "''", question->by_provider ? "provider" : "''",
               question->by_model ? "model" : "''", daily ? RH_SUM_OF_SUMS : RH_SUM_OF_USAGE,
               daily ? "main.usage_daily" : "main.usage", daily ? "day" : "time_ms", daily ? "day" : "time_ms",
               question->key != NULL ? " AND key = ?3" : "", question->provider != NULL ? " AND provider = ?4" : "",
               question->model != NULL ? " AND model = ?5" : "");
  assert(length > 0 && (size_t)length < sizeof sql);
  (void)length;
  rh_status status = rh_database_prepare(database, sql, out, error);
  if (status != RH_OK) return status;
  // A parameter that the statement lacks is refused, which is as good as bound.
  if (question->key != NULL) (void)sqlite3_bind_text(*out, 3, question->key, -1, SQLITE_STATIC);
  if (question->provider != NULL) (void)sqlite3_bind_text(*out, 4, question->provider, -1, SQLITE_STATIC);
  if (question->model != NULL) (void)sqlite3_bind_text(*out, 5, question->model, -1, SQLITE_STATIC);
  return RH_OK;
}

static rh_status run_piece(rh_database *database, sqlite3_stmt *piece, int64_t from, int64_t to, rh_error *error) {
  (void)sqlite3_bind_int64(piece, 1, from);
  (void)sqlite3_bind_int64(piece, 2, to);
  int code = sqlite3_step(piece);
  rh_status status = code == SQLITE_DONE ? RH_OK : rh_database_fail(database, "read", error);
  (void)sqlite3_reset(piece);
  return status;
}

// Where the piece that begins at `from` ends: PIECE_ROWS further, at most `to`.
static int64_t end_of_piece(sqlite3_stmt *bound, int64_t from, int64_t to) {
  (void)sqlite3_bind_int64(bound, 1, from);
  (void)sqlite3_bind_int64(bound, 2, to);
  int64_t end = to;
  if (sqlite3_step(bound) == SQLITE_ROW) end = sqlite3_column_int64(bound, 0);
  (void)sqlite3_reset(bound);
  if (end <= from) end = from + 1;  // that many rows of one millisecond
  return end < to ? end : to;
}

static rh_status sum_rows(rh_ledger *ledger, const rh_usage_question *question, rh_error *error) {
  rh_database *database = rh_ledger_writer_database(ledger->writer);
  sqlite3_stmt *piece = NULL, *bound = NULL;
  rh_status status = prepare_piece(database, question, false, &piece, error);
  if (status == RH_OK) {
    status = rh_database_prepare(database,
                                 "SELECT time_ms FROM main.usage WHERE time_ms >= ?1 AND time_ms < ?2 "
                                 "ORDER BY time_ms LIMIT 1 OFFSET " PIECE_ROWS,
                                 &bound, error);
  }
  for (int64_t from = question->from_ms; status == RH_OK && from < question->to_ms;) {
    int64_t to = end_of_piece(bound, from, question->to_ms);
    status = run_piece(database, piece, from, to, error);
    from = to;
    rh_ledger_flush_if_due(ledger);
    if (atomic_load(&ledger->stop)) status = rh_fail(error, RH_UNAVAILABLE, "the ledger is closing");
  }
  (void)sqlite3_finalize(bound);
  (void)sqlite3_finalize(piece);
  return status;
}

// Days of which only a sum is left: counted when they began within the span.
static rh_status sum_days(rh_database *database, const rh_usage_question *question, rh_error *error) {
  sqlite3_stmt *piece = NULL;
  rh_status status = prepare_piece(database, question, true, &piece, error);
  if (status != RH_OK) return status;
  const int64_t day_ms = DAY_S * 1000;
  int64_t from = question->from_ms / day_ms + (question->from_ms % day_ms != 0);
  int64_t to = question->to_ms / day_ms + (question->to_ms % day_ms != 0);
  status = run_piece(database, piece, from, to, error);
  (void)sqlite3_finalize(piece);
  return status;
}

static const char *column_text(sqlite3_stmt *row, int index) { return (const char *)sqlite3_column_text(row, index); }

// The sums of RH_SUM_NAMES from column `first` on.
static json_t *sums_json(sqlite3_stmt *row, int first) {
  static const char *const names[] = {"requests",      "shadows",           "errors",        "cache_hits",
                                      "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens",
                                      "cost_usd",      "reference_usd",     "saved_usd"};
  json_t *object = json_object();
  for (int i = 0; i < 11; i++) {
    json_t *value =
        i < 8 ? json_integer(sqlite3_column_int64(row, first + i)) : json_real(sqlite3_column_double(row, first + i));
    (void)json_object_set_new(object, names[i], value);
  }
  int64_t requests = sqlite3_column_int64(row, first);
  double latency = sqlite3_column_double(row, first + 11);
  (void)json_object_set_new(object, "latency_ms_mean", json_real(requests > 0 ? latency / (double)requests : 0));
  return object;
}

static json_t *group_json(sqlite3_stmt *row, const rh_usage_question *question) {
  json_t *group = sums_json(row, 4);
  if (question->by_day) {
    time_t seconds = (time_t)(sqlite3_column_int64(row, 0) * DAY_S);
    struct tm date;
    char text[32] = "";
    (void)strftime(text, sizeof text, "%Y-%m-%d", gmtime_r(&seconds, &date));
    (void)json_object_set_new(group, "day", json_string(text));
  }
  if (question->by_key) (void)json_object_set_new(group, "key", json_string(column_text(row, 1)));
  if (question->by_provider) (void)json_object_set_new(group, "provider", json_string(column_text(row, 2)));
  if (question->by_model) (void)json_object_set_new(group, "model", json_string(column_text(row, 3)));
  return group;
}

static rh_status read_groups(rh_database *database, const rh_usage_question *question, json_t *groups,
                             rh_error *error) {
  // The dearest first; with days, which are a course of time, the newest day first.
  const char *sql = question->by_day ? "SELECT day, key, provider, model, " RH_SUM_NAMES
                                       " FROM temp.sums ORDER BY day DESC, cost_usd DESC, requests DESC LIMIT ?1"
                                     : "SELECT day, key, provider, model, " RH_SUM_NAMES
                                       " FROM temp.sums ORDER BY cost_usd DESC, requests DESC LIMIT ?1";
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(database, sql, &row, error);
  if (status != RH_OK) return status;
  int64_t limit = question->limit <= 0 ? GROUPS_DEFAULT : question->limit;
  (void)sqlite3_bind_int64(row, 1, limit > GROUPS_MAX ? GROUPS_MAX : limit);
  int code;
  while ((code = sqlite3_step(row)) == SQLITE_ROW) (void)json_array_append_new(groups, group_json(row, question));
  if (code != SQLITE_DONE) status = rh_database_fail(database, "read", error);
  (void)sqlite3_finalize(row);
  return status;
}

static rh_status read_total(rh_database *database, json_t *answer, rh_error *error) {
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(database, "SELECT count(*), " RH_SUM_OF_SUMS " FROM temp.sums", &row, error);
  if (status != RH_OK) return status;
  if (sqlite3_step(row) == SQLITE_ROW) {
    (void)json_object_set_new(answer, "groups_total", json_integer(sqlite3_column_int64(row, 0)));
    (void)json_object_set_new(answer, "total", sums_json(row, 1));
  } else {
    status = rh_database_fail(database, "read", error);
  }
  (void)sqlite3_finalize(row);
  return status;
}

rh_status rh_ledger_answer_usage(rh_ledger *ledger, const rh_usage_question *question, json_t **out, rh_error *error) {
  rh_database *database = rh_ledger_writer_database(ledger->writer);
  rh_usage_question asked = *question;
  if (asked.from_ms < 0) asked.from_ms = 0;
  if (asked.to_ms <= 0) asked.to_ms = rh_ledger_wall_ms() + 1000;  // what came within this very second as well
  rh_status status = clear(database, error);
  if (status == RH_OK) status = sum_days(database, &asked, error);
  if (status == RH_OK) status = sum_rows(ledger, &asked, error);
  if (status != RH_OK) return status;
  json_t *groups = json_array();
  *out = json_pack("{s:I, s:I, s:o, s:I}", "from", (json_int_t)asked.from_ms, "to", (json_int_t)asked.to_ms, "groups",
                   groups, "dropped", (json_int_t)atomic_load(&ledger->dropped));
  if (*out == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for an answer");
  status = read_groups(database, &asked, groups, error);
  if (status == RH_OK) status = read_total(database, *out, error);
  // Thousands of groups need not stay in memory until somebody asks again.
  rh_error ignored = {0};
  if (status == RH_OK) status = clear(database, &ignored);
  return status;
}
