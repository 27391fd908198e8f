// SPDX-License-Identifier: Apache-2.0
//
// Answers from the tables: quality, and feedback, which is stored on the way. Owns nothing between calls; the ledger's
// thread. Usage, the long one, is in usage_question.c.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ledger/ledger_private.h"

static rh_database *database_of(rh_ledger *ledger) { return rh_ledger_writer_database(ledger->writer); }

static const char *column(sqlite3_stmt *row, int index) {
  const unsigned char *text = sqlite3_column_text(row, index);
  return text == NULL ? "" : (const char *)text;
}

static rh_status answer_quality(rh_ledger *ledger, json_t **out, rh_error *error) {
  static const char sql[] = "SELECT provider, model, count(*), avg(rating) FROM feedback GROUP BY provider, model";
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(database_of(ledger), sql, &row, error);
  if (status != RH_OK) return status;
  *out = json_object();
  int code;
  while ((code = sqlite3_step(row)) == SQLITE_ROW) {
    char name[256];
    (void)snprintf(name, sizeof name, "%s/%s", column(row, 0), column(row, 1));
    json_t *value = json_pack("{s:I, s:f}", "count", (json_int_t)sqlite3_column_int64(row, 2), "mean",
                              sqlite3_column_double(row, 3));
    if (value != NULL) (void)json_object_set_new(*out, name, value);
  }
  if (code != SQLITE_DONE) status = rh_database_fail(database_of(ledger), "read", error);
  (void)sqlite3_finalize(row);
  return status;
}

// The request's own row (not a shadow's), with what was said of it before. Another key's request is answered like an unknown one.
static rh_status look_up(rh_database *database, const rh_ledger_question *question, json_t **out, rh_error *error) {
  static const char sql[] =
      "SELECT u.provider, u.model, u.experiment, u.arm, u.key, u.cost_usd, f.rating FROM usage AS u"
      " LEFT JOIN feedback AS f ON f.request_id = u.request_id WHERE u.request_id = ?1 AND (?2 IS NULL OR u.key = ?2)"
      " ORDER BY u.shadow, u.id DESC LIMIT 1";
  const char *id = question->request_id;
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(database, sql, &row, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_text(row, 1, id, -1, SQLITE_STATIC);
  (void)sqlite3_bind_text(row, 2, question->of_anybody ? NULL : question->key, -1, SQLITE_STATIC);
  int code = sqlite3_step(row);
  if (code == SQLITE_ROW) {
    *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f}", "request_id", id, "provider", column(row, 0), "model",
                     column(row, 1), "experiment", column(row, 2), "arm", column(row, 3), "key", column(row, 4),
                     "cost_usd", sqlite3_column_double(row, 5));
    if (*out == NULL) status = rh_fail(error, RH_NO_MEMORY, "no memory for an answer");
    if (*out != NULL && sqlite3_column_type(row, 6) != SQLITE_NULL) {
      (void)json_object_set_new(*out, "previous", json_real(sqlite3_column_double(row, 6)));
    }
  } else if (code == SQLITE_DONE) {
    status = rh_fail_param(error, RH_NOT_FOUND, "request_id",
                           "no request has the id \"%.48s\"; it is in the answer's x-request-id", id);
  } else {
    status = rh_database_fail(database, "read", error);
  }
  (void)sqlite3_finalize(row);
  return status;
}

static rh_status store(rh_database *database, const rh_ledger_question *question, const json_t *found,
                       rh_error *error) {
  static const char sql[] =
      "INSERT OR REPLACE INTO feedback(request_id, time_ms, rating, comment, provider, model, experiment, arm, key)"
      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
  static const char *const copied[] = {"provider", "model", "experiment", "arm", "key"};
  sqlite3_stmt *row = NULL;
  rh_status status = rh_database_prepare(database, sql, &row, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_text(row, 1, question->request_id, -1, SQLITE_STATIC);
  (void)sqlite3_bind_int64(row, 2, rh_ledger_wall_ms());
  (void)sqlite3_bind_double(row, 3, question->rating);
  (void)sqlite3_bind_text(row, 4, question->comment, -1, SQLITE_STATIC);
  for (int i = 0; i < 5; i++) {
    (void)sqlite3_bind_text(row, 5 + i, json_string_value(json_object_get(found, copied[i])), -1, SQLITE_STATIC);
  }
  if (sqlite3_step(row) != SQLITE_DONE) status = rh_database_fail(database, "write", error);
  (void)sqlite3_finalize(row);
  return status;
}

static rh_status answer_feedback(rh_ledger *ledger, rh_ledger_question *question, rh_error *error) {
  rh_database *database = database_of(ledger);
  rh_status status = look_up(database, question, &question->answer, error);
  // Its record could not be written yet: not "not found".
  if (status == RH_NOT_FOUND && ledger->failing) {
    return rh_fail(error, RH_UNAVAILABLE, "the ledger cannot be written at the moment; try again");
  }
  if (status == RH_OK) status = store(database, question, question->answer, error);
  if (status == RH_OK) (void)json_object_set_new(question->answer, "rating", json_real(question->rating));
  return status;
}

void rh_ledger_answer(rh_ledger *ledger, rh_ledger_question *question) {
  rh_error *error = &question->error;
  switch (question->kind) {
    case RH_ASK_USAGE:
      question->status = rh_ledger_answer_usage(ledger, &question->usage, &question->answer, error);
      break;
    case RH_ASK_QUALITY: question->status = answer_quality(ledger, &question->answer, error); break;
    case RH_ASK_FEEDBACK: question->status = answer_feedback(ledger, question, error); break;
  }
  if (question->status == RH_OK) return;
  json_decref(question->answer);
  question->answer = NULL;
}
