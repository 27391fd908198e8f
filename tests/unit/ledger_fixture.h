// SPDX-License-Identifier: Apache-2.0
//
// A ledger in a temporary folder with a loop, records to give it, and answers waited for.
#ifndef RH_TESTS_LEDGER_FIXTURE_H
#define RH_TESTS_LEDGER_FIXTURE_H

#include <sqlite3.h>

#include "folder_fixture.h"
#include "ledger/ledger.h"
#include "loop_fixture.h"

typedef struct ledger_fixture {
  char folder[FOLDER_SIZE];
  rh_loop *loop;
  rh_ledger *ledger;
  bool answered;
  rh_status status;
  json_t *answer;
  rh_error error;
} ledger_fixture;

static inline rh_ledger_options ledger_options(const ledger_fixture *f) {
  return (rh_ledger_options){.folder = f->folder, .flush_ns = 50 * RH_NS_PER_MS, .ring_max = 1024};
}

static inline void ledger_start(ledger_fixture *f, const rh_ledger_options *options) {
  rh_error error = {0};
  if (rh_ledger_new(f->loop, options, &f->ledger, &error) != RH_OK) fail_msg("%s", error.message);
}

static inline void ledger_end(ledger_fixture *f) {
  rh_ledger_free(f->ledger);
  f->ledger = NULL;
}

static inline int ledger_make(void **state) {
  ledger_fixture *f = calloc(1, sizeof *f);
  folder_make(f->folder);
  f->loop = rh_loop_new();
  assert_non_null(f->loop);
  *state = f;
  return 0;
}

static inline int ledger_clean(void **state) {
  ledger_fixture *f = *state;
  ledger_end(f);
  json_decref(f->answer);
  rh_loop_free(f->loop);
  folder_remove(f->folder);
  free(f);
  return 0;
}

static inline rh_ledger_record a_record(const char *id) {
  rh_ledger_record record = {.time_ms = 1764000000000,  // 2025-11-24
                             .key = "key_a",
                             .provider = "openai",
                             .model = "gpt-4o",
                             .asked = "auto",
                             .operation = "chat",
                             .outcome = "ok",
                             .cache = "miss",
                             .prompt_tokens = 100,
                             .completion_tokens = 10,
                             .cost_usd = 0.5,
                             .reference_usd = 2,
                             .latency_ms = 80,
                             .attempts = 1};
  snprintf(record.request_id, sizeof record.request_id, "%s", id);
  return record;
}

static inline void ledger_on_answer(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  ledger_fixture *f = ctx;
  f->answered = true;
  f->status = status;
  f->error = *error;
  json_decref(f->answer);
  f->answer = json_incref(answer);
}

static inline bool ledger_has_answer(void *ctx) { return ((ledger_fixture *)ctx)->answered; }

static inline json_t *ledger_wait(ledger_fixture *f, rh_status expected) {
  assert_true(rh_run_until(f->loop, ledger_has_answer, f));
  f->answered = false;
  if (f->status != expected) fail_msg("%s: %s", rh_status_name(f->status), f->error.message);
  return f->answer;
}

static inline json_t *ledger_ask_usage(ledger_fixture *f, const rh_usage_question *question) {
  rh_ledger_question *asked = NULL;
  rh_error error = {0};
  assert_int_equal(rh_ledger_usage(f->ledger, question, ledger_on_answer, f, &asked, &error), RH_OK);
  return ledger_wait(f, RH_OK);
}

static inline json_t *ledger_feedback(ledger_fixture *f, const char *id, double rating, rh_status expected) {
  rh_ledger_question *asked = NULL;
  rh_error error = {0};
  assert_int_equal(rh_ledger_feedback(f->ledger, id, NULL, rating, "fine", ledger_on_answer, f, &asked, &error), RH_OK);
  return ledger_wait(f, expected);
}

// One number from the file, with a connection of its own; -1 when it cannot be read.
static inline int64_t ledger_number(const char *folder, const char *sql) {
  sqlite3 *handle = NULL;
  sqlite3_stmt *row = NULL;
  char path[FOLDER_SIZE + 16];
  snprintf(path, sizeof path, "%s/state.db", folder);
  int64_t number = -1;
  if (sqlite3_open(path, &handle) == SQLITE_OK && sqlite3_prepare_v2(handle, sql, -1, &row, NULL) == SQLITE_OK &&
      sqlite3_step(row) == SQLITE_ROW) {
    number = sqlite3_column_int64(row, 0);
  }
  sqlite3_finalize(row);
  sqlite3_close(handle);
  return number;
}

static inline double ledger_figure(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) fail_msg("no number \"%s\"", key);
  return json_number_value(value);
}

#endif
