// SPDX-License-Identifier: Apache-2.0
//
// The ledger: records, sums, feedback, old rows, and what is asked of a thread that may be slow or closing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "ledger_fixture.h"

static void add_three(ledger_fixture *f) {
  rh_ledger_record record = a_record("req_1");
  rh_ledger_add(f->ledger, &record);
  record = a_record("req_2");
  strcpy(record.model, "small");
  strcpy(record.provider, "local");
  strcpy(record.key, "key_b");
  strcpy(record.cache, "hit");
  record.cost_usd = 0;
  record.latency_ms = 20;
  rh_ledger_add(f->ledger, &record);
  record = a_record("req_3");
  strcpy(record.outcome, "deadline");
  record.cost_usd = 0.25;
  record.reference_usd = 0;
  record.time_ms += 86400000;
  rh_ledger_add(f->ledger, &record);
}

static void expect_total(const json_t *answer, double requests, double errors, double cost, double saved) {
  json_t *total = json_object_get(answer, "total");
  assert_true(ledger_figure(total, "requests") == requests);
  assert_true(ledger_figure(total, "errors") == errors);
  assert_true(ledger_figure(total, "cost_usd") == cost);
  assert_true(ledger_figure(total, "saved_usd") == saved);
}

static void test_sums_include_what_waits(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  add_three(f);
  json_t *answer = ledger_ask_usage(f, &(rh_usage_question){.by_model = true, .by_provider = true});
  expect_total(answer, 3, 1, 0.75, 3.5);
  assert_true(ledger_figure(json_object_get(answer, "total"), "cache_hits") == 1);
  assert_true(ledger_figure(json_object_get(answer, "total"), "latency_ms_mean") == 60);
  json_t *groups = json_object_get(answer, "groups"), *first = json_array_get(groups, 0);
  assert_int_equal(json_array_size(groups), 2);
  assert_string_equal(json_string_value(json_object_get(first, "model")), "gpt-4o");  // the dearest first
  assert_string_equal(json_string_value(json_object_get(first, "provider")), "openai");
  assert_null(json_object_get(first, "key"));
  assert_true(ledger_figure(first, "prompt_tokens") == 200);
}

static void test_only_what_is_asked_for(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  add_three(f);
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.key = "key_b"}), 1, 0, 0, 2);
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.model = "gpt-4o", .provider = "openai"}), 2, 1, 0.75, 1.5);
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.model = "gpt-4o", .provider = "local"}), 0, 0, 0, 0);
  const int64_t from = 1764000000001;
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.from_ms = from}), 1, 1, 0.25, 0);
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.to_ms = from}), 2, 0, 0.5, 3.5);
  json_t *answer = ledger_ask_usage(f, &(rh_usage_question){.by_day = true, .limit = 1});
  assert_int_equal(json_array_size(json_object_get(answer, "groups")), 1);
  assert_true(ledger_figure(answer, "groups_total") == 2);
  expect_total(answer, 3, 1, 0.75, 3.5);  // of all groups
  json_t *day = json_object_get(json_array_get(json_object_get(answer, "groups"), 0), "day");
  assert_string_equal(json_string_value(day), "2025-11-25");
}

static void test_shadows_cost_but_are_no_requests(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  rh_ledger_record record = a_record("req_1");
  rh_ledger_add(f->ledger, &record);
  record.shadow = true;
  record.reference_usd = 0;
  strcpy(record.outcome, "upstream");
  strcpy(record.model, "shadow-model");
  rh_ledger_add(f->ledger, &record);
  json_t *answer = ledger_ask_usage(f, &(rh_usage_question){.limit = 5});
  expect_total(answer, 1, 0, 1, 1.5);
  assert_true(ledger_figure(json_object_get(answer, "total"), "shadows") == 1);
  // Feedback is on what the client saw.
  json_t *found = ledger_feedback(f, "req_1", 1, RH_OK);
  assert_string_equal(json_string_value(json_object_get(found, "model")), "gpt-4o");
}

static void test_feedback(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  rh_ledger_record record = a_record("req_1");
  strcpy(record.experiment, "exp");
  strcpy(record.arm, "b");
  rh_ledger_add(f->ledger, &record);
  json_t *answer = ledger_feedback(f, "req_1", -1, RH_OK);
  assert_string_equal(json_string_value(json_object_get(answer, "experiment")), "exp");
  assert_string_equal(json_string_value(json_object_get(answer, "arm")), "b");
  assert_string_equal(json_string_value(json_object_get(answer, "provider")), "openai");
  assert_null(json_object_get(answer, "previous"));
  answer = ledger_feedback(f, "req_1", 0.5, RH_OK);  // a second thought replaces the first
  assert_true(ledger_figure(answer, "previous") == -1);
  ledger_feedback(f, "req_unknown", 1, RH_NOT_FOUND);
  expect_words(&f->error, "req_unknown");
  rh_ledger_question *asked = NULL;
  rh_error error = {0};
  // Another key's request is as good as none, and keeps its rating; its own key may rate it.
  const struct {
    const char *key;
    rh_status expected;
  } callers[] = {{"key_other", RH_NOT_FOUND}, {"", RH_NOT_FOUND}, {record.key, RH_OK}};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(
        rh_ledger_feedback(f->ledger, "req_1", callers[i].key, 0.5, NULL, ledger_on_answer, f, &asked, &error), RH_OK);
    answer = ledger_wait(f, callers[i].expected);
  }
  assert_true(ledger_figure(answer, "previous") == 0.5);
  assert_int_equal(rh_ledger_feedback(f->ledger, "req_1", NULL, 2, NULL, ledger_on_answer, f, &asked, &error),
                   RH_INVALID);
  assert_string_equal(error.param, "rating");
  assert_int_equal(rh_ledger_quality(f->ledger, ledger_on_answer, f, &asked, &error), RH_OK);
  json_t *quality = json_object_get(ledger_wait(f, RH_OK), "openai/gpt-4o");
  assert_true(ledger_figure(quality, "mean") == 0.5);
  assert_true(ledger_figure(quality, "count") == 1);
}

static void test_spent_by_key(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  add_three(f);
  (void)ledger_ask_usage(f, &(rh_usage_question){0});  // an answer says that all of it is written
  // The running figures that budgets are read from: the newest day, its month, and ever.
  assert_int_equal(ledger_number(f->folder, "SELECT day_usd * 100 FROM spent WHERE key = 'key_a'"), 25);
  assert_int_equal(ledger_number(f->folder, "SELECT month_usd * 100 FROM spent WHERE key = 'key_a'"), 75);
  assert_int_equal(ledger_number(f->folder, "SELECT total_usd * 100 FROM spent WHERE key = 'key_a'"), 75);
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM spent"), 1);  // who spends nothing has no row
}

static bool old_rows_gone(void *ctx) {
  return ledger_number(((ledger_fixture *)ctx)->folder, "SELECT count(*) FROM usage") == 1;
}

static void test_old_days_are_summed_up_and_still_told(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 32768;
  ledger_start(f, &options);
  rh_ledger_record record = a_record("");
  for (int i = 0; i < 12000; i++) {  // more than one piece
    record.time_ms = 1764000000000 + i * 20000;
    snprintf(record.request_id, sizeof record.request_id, "req_%d", i);
    rh_ledger_add(f->ledger, &record);
  }
  record = a_record("req_now");
  record.time_ms = (int64_t)rh_clock_wall_s() * 1000;
  rh_ledger_add(f->ledger, &record);
  json_t *answer = ledger_ask_usage(f, &(rh_usage_question){.by_day = true});
  assert_true(ledger_figure(answer, "groups_total") == 5);
  json_t *before = json_deep_copy(json_object_get(answer, "groups"));
  ledger_end(f);
  options.keep_ns = 24 * 3600 * RH_NS_PER_S;
  ledger_start(f, &options);
  assert_true(rh_run_until(f->loop, old_rows_gone, f));
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM usage_daily"), 4);
  answer = ledger_ask_usage(f, &(rh_usage_question){.by_day = true});
  assert_true(json_equal(json_object_get(answer, "groups"), before));
  json_decref(before);
  // Of a span the days that began in it.
  answer = ledger_ask_usage(f, &(rh_usage_question){.from_ms = 1764028800000, .to_ms = 1764028800000 + 86400000});
  assert_true(ledger_figure(json_object_get(answer, "total"), "requests") == 4320);
}

static void test_a_long_question_reads_in_pieces(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 65536;
  ledger_start(f, &options);
  rh_ledger_record record = a_record("same");
  for (int i = 0; i < 50000; i++) {
    record.time_ms = 1764000000000 + i / 30000;  // more in one millisecond than a piece holds
    rh_ledger_add(f->ledger, &record);
  }
  json_t *answer = ledger_ask_usage(f, &(rh_usage_question){.by_key = true});
  assert_true(ledger_figure(json_object_get(answer, "total"), "requests") == 50000);
  assert_true(ledger_figure(answer, "dropped") == 0);
}

static bool has_room(void *ctx) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(((ledger_fixture *)ctx)->ledger, &counts);
  return counts.waiting < 300;
}

// The ring goes round many times without ever being empty, so that its pieces of memory change their places.
static void test_a_busy_ring_keeps_every_record(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 1500;
  ledger_start(f, &options);
  rh_ledger_record record = a_record("");
  const int count = 20000;
  for (int i = 0; i < count; i++) {
    snprintf(record.request_id, sizeof record.request_id, "req_%d", i);
    record.prompt_tokens = i;
    rh_ledger_add(f->ledger, &record);
    if (i % 1100 == 1099) assert_true(rh_run_until(f->loop, has_room, f));
  }
  rh_ledger_counts counts;
  rh_ledger_get_counts(f->ledger, &counts);
  assert_int_equal(counts.dropped, 0);
  ledger_end(f);
  assert_int_equal(ledger_number(f->folder, "SELECT count(DISTINCT request_id) FROM usage"), count);
  // In the order they came in, each with its own figures.
  const char *wrong =
      "SELECT count(*) FROM usage WHERE prompt_tokens <> id - 1 OR request_id <> 'req_' || prompt_tokens";
  assert_int_equal(ledger_number(f->folder, wrong), 0);
}

static void test_a_full_ring_counts_what_is_lost(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 16;
  ledger_start(f, &options);
  // Another process holds the file, so nothing can be written.
  sqlite3 *other = NULL;
  assert_int_equal(sqlite3_open(in_folder(f->folder, "state.db"), &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  rh_ledger_record record = a_record("x");
  for (int i = 0; i < 40; i++) rh_ledger_add(f->ledger, &record);
  rh_ledger_counts counts;
  rh_ledger_get_counts(f->ledger, &counts);
  assert_int_equal(counts.dropped, 24);
  assert_int_equal(counts.waiting, 16);
  assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(other);
  ledger_end(f);
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM usage"), 16);
}

static void test_nan_does_not_stop_a_batch(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  rh_ledger_record record = a_record("nan");
  record.cost_usd = __builtin_nan("");
  record.latency_ms = -1;
  rh_ledger_add(f->ledger, &record);
  expect_total(ledger_ask_usage(f, &(rh_usage_question){.limit = 1}), 1, 0, 0, 2);
}

static void never_called(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  (void)ctx, (void)status, (void)answer, (void)error;
  fail_msg("a forgotten question was answered");
}

static void test_forgotten_and_unanswered_questions(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  rh_ledger_question *asked = NULL;
  rh_error error = {0};
  assert_int_equal(rh_ledger_quality(f->ledger, never_called, f, &asked, &error), RH_OK);
  rh_ledger_forget(asked);
  assert_int_equal(rh_ledger_quality(f->ledger, ledger_on_answer, f, &asked, &error), RH_OK);
  ledger_end(f);  // whether its answer was ready or not, it hears one
  assert_true(f->answered);
}

static void test_too_many_questions_are_refused(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  ledger_start(f, &options);
  sqlite3 *other = NULL;
  assert_int_equal(sqlite3_open(in_folder(f->folder, "state.db"), &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  rh_ledger_record record = a_record("x");
  rh_ledger_add(f->ledger, &record);  // whose writing holds the thread for a second
  rh_status status = RH_OK;
  rh_error error = {0};
  for (int i = 0; i < 1000 && status == RH_OK; i++) {
    status = rh_ledger_quality(f->ledger, ledger_on_answer, f, NULL, &error);
  }
  assert_int_equal(status, RH_QUEUE_FULL);
  sqlite3_close(other);
}

static void test_a_damaged_database_is_refused(void **state) {
  ledger_fixture *f = *state;
  put_text(in_folder(f->folder, "state.db"),
           "this is no database, and long enough to be sure of that ......................"
           "..................................................................");
  rh_ledger_options options = ledger_options(f);
  rh_error error = {0};
  assert_int_equal(rh_ledger_new(f->loop, &options, &f->ledger, &error), RH_INVALID);
  expect_words(&error, "state.db");
  assert_null(f->ledger);
}

static uint64_t own_time_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * RH_NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool nothing_waits(void *ctx) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(((ledger_fixture *)ctx)->ledger, &counts);
  return counts.waiting == 0;
}

// Printed, not asserted: machines differ.
static void test_cost_of_adding(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 4000;
  ledger_start(f, &options);
  rh_ledger_record record = a_record("x");
  for (int round = 0; round < 3; round++) {  // the first one touches the ring's memory
    uint64_t begin = own_time_ns();
    for (int i = 0; i < 4000; i++) rh_ledger_add(f->ledger, &record);
    printf("adding a record: %.0f ns\n", (double)(own_time_ns() - begin) / 4000);
    assert_true(rh_run_until(f->loop, nothing_waits, f));
  }
  ledger_end(f);
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM usage"), 12000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_sums_include_what_waits, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_only_what_is_asked_for, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_shadows_cost_but_are_no_requests, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_feedback, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_spent_by_key, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_old_days_are_summed_up_and_still_told, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_long_question_reads_in_pieces, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_busy_ring_keeps_every_record, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_full_ring_counts_what_is_lost, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_nan_does_not_stop_a_batch, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_forgotten_and_unanswered_questions, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_too_many_questions_are_refused, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_damaged_database_is_refused, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_cost_of_adding, ledger_make, ledger_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
