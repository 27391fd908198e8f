// SPDX-License-Identifier: Apache-2.0
//
// The scheduler over a real worker: order, bounds, deadlines, cancellation, and the one retry.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "fleet_fixture.h"
#include "sched/sched.h"

typedef struct rh_yard {
  rh_loop *loop;
  rh_member *member;
  rh_sched *sched;
  rh_sched_model *model;
} rh_yard;

static void on_state(void *ctx, rh_member *member, rh_member_state state) {
  (void)member;
  rh_yard *yard = ctx;
  if (yard->model != NULL) rh_sched_member_state(yard->model, state);
}

static void open_yard(rh_yard *yard, const char *path, size_t queue_max) {
  memset(yard, 0, sizeof *yard);
  yard->loop = rh_loop_new();
  rh_member_options options = rh_fake_options(path);
  rh_member_listener listener = {.state = on_state, .ctx = yard};
  assert_int_equal(rh_member_new(yard->loop, &options, &listener, &yard->member, NULL), RH_OK);
  yard->sched = rh_sched_new(yard->loop);
  assert_int_equal(rh_sched_add_model(yard->sched, yard->member, queue_max, NULL, &yard->model), RH_OK);
}

static void close_yard(rh_yard *yard) {
  rh_member_free(yard->member);
  rh_sched_free(yard->sched);
  rh_loop_free(yard->loop);
}

static unsigned finish_counter;

typedef struct rh_client {
  rh_seen seen;
  rh_run run;
  rh_job *job;
  unsigned finished_as;  // 1 = first
} rh_client;

static rh_verdict on_event(void *ctx, const rh_event *event) {
  rh_client *client = ctx;
  if (rh_event_is_final(event)) client->finished_as = ++finish_counter;
  return rh_seen_note(&client->seen, event);
}

static rh_status submit(rh_yard *yard, rh_client *client, const char *text, const rh_job_options *options,
                        rh_error *error) {
  memset(client, 0, sizeof *client);
  client->run = rh_text_run(text);
  rh_sink sink = {.push = on_event, .ctx = client};
  return rh_sched_submit(yard->model, &client->run, options, &sink, &client->job, error);
}

static const rh_job_options plain = {0};

static void test_waiting_jobs_run_by_priority_then_age(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1,load_delay_ms=50", 8);
  rh_client low, normal, normal_later, high;
  finish_counter = 0;
  assert_int_equal(submit(&yard, &low, "a", &(rh_job_options){.priority = -5}, NULL), RH_OK);
  assert_int_equal(submit(&yard, &normal, "b", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &normal_later, "c", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &high, "d", &(rh_job_options){.priority = 5}, NULL), RH_OK);
  assert_int_equal(rh_sched_queued(yard.model), 4);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &low.seen));
  assert_int_equal(high.finished_as, 1);
  assert_int_equal(normal.finished_as, 2);
  assert_int_equal(normal_later.finished_as, 3);
  assert_int_equal(low.finished_as, 4);
  assert_int_equal(rh_sched_model_counts(yard.model)->completed, 4);
  close_yard(&yard);
}

static void test_a_full_queue_refuses(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1,load_delay_ms=50", 2);
  rh_client first, second, third;
  rh_error error = {0};
  assert_int_equal(submit(&yard, &first, "a", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &second, "b", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &third, "c", &plain, &error), RH_QUEUE_FULL);
  assert_non_null(strstr(error.message, "2 requests wait"));
  assert_true(rh_sched_retry_after_s(yard.model) >= 1);
  assert_int_equal(rh_sched_model_counts(yard.model)->refused, 1);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &second.seen));
  assert_int_equal(first.seen.ends, 1);
  close_yard(&yard);
}

static void test_deadlines_end_waiting_and_running_jobs(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1,context=1000000", 8);
  rh_client running, waiting;
  rh_job_options soon = {.deadline_ns = rh_clock_now_ns() + rh_scaled_ns(300 * RH_NS_PER_MS)};
  assert_int_equal(submit(&yard, &running, "[[end=0 delay_ms=2]]", &soon, NULL), RH_OK);
  assert_int_equal(submit(&yard, &waiting, "x", &soon, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &waiting.seen));
  assert_true(rh_run_until(yard.loop, rh_seen_over, &running.seen));
  assert_int_equal(running.seen.error.status, RH_DEADLINE);
  assert_int_equal(waiting.seen.error.status, RH_DEADLINE);
  assert_true(running.seen.deltas > 0);
  assert_int_equal(rh_sched_model_counts(yard.model)->deadline, 2);
  // The slot comes back: the next one runs.
  rh_client next;
  assert_int_equal(submit(&yard, &next, "x", &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &next.seen));
  assert_int_equal(next.seen.ends, 1);
  close_yard(&yard);
}

static bool some_deltas(void *ctx) { return ((rh_client *)ctx)->seen.deltas > 3; }

static void test_cancel_lets_the_next_one_run(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1,context=1000000", 8);
  rh_client running, waiting, last;
  assert_int_equal(submit(&yard, &running, "[[end=0 delay_ms=1]]", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &waiting, "x", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &last, "x", &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, some_deltas, &running));
  rh_sched_cancel(waiting.job);
  rh_sched_cancel(running.job);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &last.seen));
  assert_int_equal(last.seen.ends, 1);
  assert_int_equal(running.seen.ends + running.seen.errors, 0);
  assert_int_equal(waiting.seen.ends + waiting.seen.errors, 0);
  assert_int_equal(rh_sched_model_counts(yard.model)->cancelled, 2);
  close_yard(&yard);
}

static void crash_file(char *out, size_t size) {
  snprintf(out, size, "/tmp/rh-sched-crash-%d", (int)getpid());
  unlink(out);
}

static void test_a_job_that_sent_nothing_is_tried_again(void **state) {
  (void)state;
  rh_yard yard;
  char file[64], text[128];
  crash_file(file, sizeof file);
  snprintf(text, sizeof text, "[[crash_once=%s]]", file);
  open_yard(&yard, "fake:slots=1", 8);
  rh_client client;
  assert_int_equal(submit(&yard, &client, text, &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &client.seen));
  assert_int_equal(client.seen.ends, 1);
  assert_int_equal(client.seen.starts, 1);
  assert_int_equal(rh_sched_model_counts(yard.model)->retried, 1);
  unlink(file);
  close_yard(&yard);
}

static void test_a_job_that_crashes_twice_fails(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client client;
  assert_int_equal(submit(&yard, &client, "[[crash_at=0]]", &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &client.seen));
  assert_int_equal(client.seen.error.status, RH_UNAVAILABLE);
  assert_int_equal(rh_sched_model_counts(yard.model)->retried, 1);
  close_yard(&yard);
}

static void test_a_stream_that_has_begun_is_not_repeated(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client client;
  assert_int_equal(submit(&yard, &client, "[[crash_at=3 delay_ms=5]]", &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &client.seen));
  assert_int_equal(client.seen.errors, 1);
  assert_int_equal(client.seen.starts, 1);
  assert_int_equal(rh_sched_model_counts(yard.model)->retried, 0);
  close_yard(&yard);
}

static void test_a_buffered_answer_is_repeated_whole(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client client;
  rh_job_options buffered = {.buffered = true};
  assert_int_equal(submit(&yard, &client, "[[crash_at=3 delay_ms=5]]", &buffered, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &client.seen));
  assert_int_equal(client.seen.starts, 2);  // the second one voids what came before
  assert_int_equal(rh_sched_model_counts(yard.model)->retried, 1);
  close_yard(&yard);
}

static void test_a_failed_load_reaches_all_who_wait(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:load_fail=1", 8);
  rh_client first, second, later;
  rh_error error = {0};
  assert_int_equal(submit(&yard, &first, "a", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &second, "b", &plain, NULL), RH_OK);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &second.seen));
  assert_int_equal(first.seen.error.status, RH_LOAD_FAILED);
  assert_int_equal(second.seen.error.status, RH_LOAD_FAILED);
  assert_int_equal(submit(&yard, &later, "c", &plain, &error), RH_LOAD_FAILED);
  assert_string_equal(error.message, "the fake engine was told to fail");
  close_yard(&yard);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_waiting_jobs_run_by_priority_then_age),
      cmocka_unit_test(test_a_full_queue_refuses),
      cmocka_unit_test(test_deadlines_end_waiting_and_running_jobs),
      cmocka_unit_test(test_cancel_lets_the_next_one_run),
      cmocka_unit_test(test_a_job_that_sent_nothing_is_tried_again),
      cmocka_unit_test(test_a_job_that_crashes_twice_fails),
      cmocka_unit_test(test_a_stream_that_has_begun_is_not_repeated),
      cmocka_unit_test(test_a_buffered_answer_is_repeated_whole),
      cmocka_unit_test(test_a_failed_load_reaches_all_who_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
