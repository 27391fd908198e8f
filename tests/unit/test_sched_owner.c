// SPDX-License-Identifier: Apache-2.0
//
// A queue whose owner decides when the member is started: what it is told, and holding, over a real worker.
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
  unsigned wanted, unwanted, idle;
  rh_member_state expected;
  size_t slots;
} rh_yard;

static void on_wanted(void *ctx) { ((rh_yard *)ctx)->wanted++; }
static void on_unwanted(void *ctx) { ((rh_yard *)ctx)->unwanted++; }
static void on_idle(void *ctx) { ((rh_yard *)ctx)->idle++; }

static void on_state(void *ctx, rh_member *member, rh_member_state state) {
  (void)member;
  rh_yard *yard = ctx;
  if (yard->model != NULL) rh_sched_member_state(yard->model, state);
}

static void open_yard(rh_yard *yard, const char *path, size_t queue_max) {
  memset(yard, 0, sizeof *yard);
  yard->loop = rh_loop_new();
  rh_member_options options = rh_fake_options(path);
  options.backoff_min_ns = options.backoff_max_ns = rh_scaled_ns(200 * RH_NS_PER_MS);
  rh_member_listener listener = {.state = on_state, .ctx = yard};
  assert_int_equal(rh_member_new(yard->loop, &options, &listener, &yard->member, NULL), RH_OK);
  yard->sched = rh_sched_new(yard->loop);
  rh_sched_owner owner = {.wanted = on_wanted, .unwanted = on_unwanted, .idle = on_idle, .ctx = yard};
  assert_int_equal(rh_sched_add_model(yard->sched, yard->member, queue_max, &owner, &yard->model), RH_OK);
}

static void close_yard(rh_yard *yard) {
  rh_sched_remove_model(yard->model);
  yard->model = NULL;
  rh_member_free(yard->member);
  rh_sched_free(yard->sched);
  rh_loop_free(yard->loop);
}

static bool in_state(void *ctx) {
  rh_yard *yard = ctx;
  return rh_member_get_state(yard->member) == yard->expected;
}

static void reach(rh_yard *yard, rh_member_state state) {
  yard->expected = state;
  assert_true(rh_run_until(yard->loop, in_state, yard));
}

typedef struct rh_client {
  rh_seen seen;
  rh_run run;
  rh_job *job;
  rh_yard *again;  // submit once more from inside the final event
  rh_status again_status;
} rh_client;

static rh_status submit(rh_yard *yard, rh_client *client, const char *text, const rh_job_options *options,
                        rh_error *error);

static rh_verdict on_event(void *ctx, const rh_event *event) {
  rh_client *client = ctx;
  rh_verdict verdict = rh_seen_note(&client->seen, event);
  if (rh_event_is_final(event) && client->again != NULL) {
    rh_yard *yard = client->again;
    client->again = NULL;
    rh_sink sink = {.push = on_event, .ctx = client};
    const rh_job_options plain = {0};
    client->again_status = rh_sched_submit(yard->model, &client->run, &plain, &sink, &client->job, NULL);
  }
  return verdict;
}

static const rh_job_options plain = {0};

static rh_status submit(rh_yard *yard, rh_client *client, const char *text, const rh_job_options *options,
                        rh_error *error) {
  memset(client, 0, sizeof *client);
  client->run = rh_text_run(text);
  rh_sink sink = {.push = on_event, .ctx = client};
  return rh_sched_submit(yard->model, &client->run, options, &sink, &client->job, error);
}

static void test_a_job_does_not_start_the_member(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 2);
  rh_client a, b, c;
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  assert_int_equal(yard.wanted, 1);
  assert_int_equal(rh_member_get_state(yard.member), RH_MEMBER_COLD);
  assert_int_equal(submit(&yard, &b, "b", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &c, "c", &plain, NULL), RH_QUEUE_FULL);
  assert_int_equal(yard.wanted, 2);
  rh_member_start(yard.member);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &b.seen));
  assert_int_equal(a.seen.ends, 1);
  assert_int_equal(yard.idle, 1);  // not between the two
  assert_int_equal(yard.unwanted, 0);
  assert_int_equal(submit(&yard, &c, "c", &plain, NULL), RH_OK);
  assert_int_equal(yard.wanted, 2);  // it is there
  assert_true(rh_run_until(yard.loop, rh_seen_over, &c.seen));
  assert_int_equal(yard.idle, 2);
  close_yard(&yard);
}

static void test_the_last_one_who_waits_leaves(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client a, b;
  rh_job_options soon = {.deadline_ns = rh_clock_now_ns() + 20 * RH_NS_PER_MS};
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &b, "b", &soon, NULL), RH_OK);
  rh_sched_cancel(a.job);
  assert_int_equal(yard.unwanted, 0);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &b.seen));
  assert_int_equal(b.seen.error.status, RH_DEADLINE);
  assert_int_equal(yard.unwanted, 1);
  assert_int_equal(yard.idle, 0);
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  rh_sched_cancel(a.job);
  assert_int_equal(yard.unwanted, 2);
  assert_int_equal(rh_member_get_state(yard.member), RH_MEMBER_COLD);
  close_yard(&yard);
}

static void test_cancelling_the_last_run_makes_it_idle(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1,context=1000000", 8);
  rh_client a, b;
  rh_member_start(yard.member);
  reach(&yard, RH_MEMBER_READY);
  assert_int_equal(submit(&yard, &a, "[[end=0 delay_ms=1]]", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &b, "b", &plain, NULL), RH_OK);
  rh_sched_cancel(b.job);
  assert_int_equal(yard.idle, 0);
  rh_sched_cancel(a.job);
  assert_int_equal(yard.idle, 1);
  assert_int_equal(yard.unwanted + yard.wanted, 0);
  close_yard(&yard);
}

static void test_a_held_model_drains(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=2", 8);
  rh_client a, b, c;
  rh_member_start(yard.member);
  reach(&yard, RH_MEMBER_READY);
  assert_int_equal(submit(&yard, &a, "[[tokens=5 delay_ms=2]]", &plain, NULL), RH_OK);
  rh_sched_hold(yard.model, true);
  assert_int_equal(submit(&yard, &b, "b", &plain, NULL), RH_OK);  // a slot is free, and not used
  assert_int_equal(rh_sched_queued(yard.model), 1);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &a.seen));
  assert_int_equal(a.seen.ends, 1);
  assert_int_equal(rh_sched_running(yard.model), 0);
  assert_int_equal(rh_sched_queued(yard.model), 1);
  assert_int_equal(b.seen.starts, 0);
  assert_int_equal(yard.idle, 0);  // somebody waits
  // It leaves; who waits asks for it again.
  rh_member_unload(yard.member, 5 * RH_NS_PER_S);
  assert_int_equal(submit(&yard, &c, "c", &plain, NULL), RH_OK);
  assert_int_equal(yard.wanted, 0);  // not while it is on its way out
  reach(&yard, RH_MEMBER_COLD);
  assert_int_equal(yard.wanted, 1);
  rh_sched_hold(yard.model, false);
  rh_member_start(yard.member);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &c.seen));
  assert_true(rh_run_until(yard.loop, rh_seen_over, &b.seen));
  assert_int_equal(b.seen.ends + c.seen.ends, 2);
  assert_int_equal(yard.idle, 1);
  close_yard(&yard);
}

static void test_releasing_begins_what_waited(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client a;
  rh_member_start(yard.member);
  reach(&yard, RH_MEMBER_READY);
  rh_sched_hold(yard.model, true);
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  rh_sched_hold(yard.model, false);
  assert_int_equal(rh_sched_running(yard.model), 1);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &a.seen));
  assert_int_equal(a.seen.ends, 1);
  close_yard(&yard);
}

static void test_all_who_wait_can_be_refused(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, "fake:slots=1", 8);
  rh_client a, b;
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  assert_int_equal(submit(&yard, &b, "b", &plain, NULL), RH_OK);
  a.again = &yard;  // a client that tries again at once is not refused with the others
  rh_error error = {0};
  (void)rh_fail(&error, RH_NO_ROOM, "no room");
  rh_sched_fail_waiting(yard.model, &error);
  assert_int_equal(b.seen.error.status, RH_NO_ROOM);
  assert_string_equal(b.seen.error.message, "no room");
  assert_int_equal(a.seen.errors, 1);
  assert_int_equal(a.again_status, RH_OK);
  assert_int_equal(rh_sched_queued(yard.model), 1);
  assert_int_equal(yard.wanted, 3);
  assert_int_equal(yard.unwanted, 0);  // the one who tried again waits
  assert_int_equal(rh_sched_model_counts(yard.model)->failed, 2);
  rh_sched_fail_waiting(yard.model, &error);
  assert_int_equal(yard.unwanted, 1);
  close_yard(&yard);
}

static bool pause_is_over(void *ctx) { return rh_member_may_start(((rh_yard *)ctx)->member); }

static void test_a_failed_load_refuses_for_a_pause(void **state) {
  (void)state;
  char file[64], path[128];
  snprintf(file, sizeof file, "/tmp/rh-sched-fail-%d", (int)getpid());
  snprintf(path, sizeof path, "fake:load_fail_once=%s", file);
  unlink(file);
  rh_yard yard;
  open_yard(&yard, path, 8);
  rh_client a, b;
  rh_error error = {0};
  assert_int_equal(submit(&yard, &a, "a", &plain, NULL), RH_OK);
  rh_member_start(yard.member);
  assert_false(rh_member_may_start(yard.member));
  assert_true(rh_run_until(yard.loop, rh_seen_over, &a.seen));
  assert_int_equal(a.seen.error.status, RH_LOAD_FAILED);
  assert_string_equal(a.seen.error.message, "the fake engine was told to fail");
  assert_int_equal(submit(&yard, &b, "b", &plain, &error), RH_LOAD_FAILED);
  assert_string_equal(error.message, "the fake engine was told to fail");
  assert_int_equal(yard.wanted, 1);
  assert_true(rh_run_until(yard.loop, pause_is_over, &yard));
  assert_int_equal(submit(&yard, &b, "b", &plain, NULL), RH_OK);
  assert_int_equal(yard.wanted, 2);
  assert_int_equal(rh_member_get_state(yard.member), RH_MEMBER_FAILED);
  rh_member_start(yard.member);
  assert_true(rh_run_until(yard.loop, rh_seen_over, &b.seen));
  assert_int_equal(b.seen.ends, 1);
  unlink(file);
  close_yard(&yard);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_job_does_not_start_the_member),
      cmocka_unit_test(test_the_last_one_who_waits_leaves),
      cmocka_unit_test(test_cancelling_the_last_run_makes_it_idle),
      cmocka_unit_test(test_a_held_model_drains),
      cmocka_unit_test(test_releasing_begins_what_waited),
      cmocka_unit_test(test_all_who_wait_can_be_refused),
      cmocka_unit_test(test_a_failed_load_refuses_for_a_pause),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
