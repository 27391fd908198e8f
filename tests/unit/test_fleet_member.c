// SPDX-License-Identifier: Apache-2.0
//
// Members with real worker processes: start, run, credit, cancel, crash, hang, failed loads, unload.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "fleet_fixture.h"

typedef struct rh_bench {
  rh_loop *loop;
  rh_member *member;
  rh_member_state wanted;
  unsigned states[RH_MEMBER_FAILED + 1];
  size_t slots_wanted;
} rh_bench;

static void on_state(void *ctx, rh_member *member, rh_member_state state) {
  (void)member;
  ((rh_bench *)ctx)->states[state]++;
}

static bool in_state(void *ctx) {
  rh_bench *bench = ctx;
  return rh_member_get_state(bench->member) == bench->wanted;
}

static bool slots_free(void *ctx) {
  rh_bench *bench = ctx;
  return rh_member_free_slots(bench->member) == bench->slots_wanted;
}

static void open_bench(rh_bench *bench, const rh_member_options *options) {
  memset(bench, 0, sizeof *bench);
  bench->loop = rh_loop_new();
  assert_non_null(bench->loop);
  rh_member_listener listener = {.state = on_state, .ctx = bench};
  assert_int_equal(rh_member_new(bench->loop, options, &listener, &bench->member, NULL), RH_OK);
  assert_int_equal(rh_member_get_state(bench->member), RH_MEMBER_COLD);
  rh_member_start(bench->member);
}

static void reach(rh_bench *bench, rh_member_state state) {
  bench->wanted = state;
  assert_true(rh_run_until(bench->loop, in_state, bench));
}

static void close_bench(rh_bench *bench) {
  rh_member_free(bench->member);
  rh_loop_free(bench->loop);
}

static rh_verdict on_event(void *ctx, const rh_event *event, bool worker_lost) {
  rh_seen *seen = ctx;
  seen->worker_lost = worker_lost;
  return rh_seen_note(seen, event);
}

static rh_member_run *begin(rh_bench *bench, const char *text, int64_t max_tokens, rh_seen *seen) {
  rh_run run = rh_text_run(text);
  run.generate.max_tokens = max_tokens;
  rh_run_listener listener = {.event = on_event, .ctx = seen};
  rh_member_run *out = NULL;
  assert_int_equal(rh_member_run_begin(bench->member, &run, &listener, &out, NULL), RH_OK);
  return out;
}

static void test_load_run_unload(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=2,context=100");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  const rh_model_info *info = rh_member_info(bench.member);
  assert_int_equal(info->slots, 2);
  assert_int_equal(info->context, 100);
  assert_true(rh_member_pid(bench.member) > 0);
  rh_seen seen = {0};
  begin(&bench, "one two [[text=hello there]]", 0, &seen);
  assert_int_equal(rh_member_free_slots(bench.member), 1);
  assert_true(rh_run_until(bench.loop, rh_seen_over, &seen));
  assert_int_equal(seen.starts, 1);
  assert_int_equal(seen.usages, 1);
  assert_int_equal(seen.ends, 1);
  assert_string_equal(seen.text, "hello there");
  assert_int_equal(rh_member_free_slots(bench.member), 2);
  rh_member_unload(bench.member, 5 * RH_NS_PER_S);
  reach(&bench, RH_MEMBER_COLD);
  assert_int_equal(rh_member_pid(bench.member), 0);
  close_bench(&bench);
}

static bool thirty_deltas(void *ctx) { return ((rh_seen *)ctx)->deltas >= 30; }

static bool has_started(void *ctx) { return ((rh_seen *)ctx)->starts > 0; }

static void test_no_credit_no_deltas(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=2,context=100000");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  rh_seen slow = {.say_wait = true}, quick = {0};
  rh_member_run *held = begin(&bench, "[[end=0]]", 500, &slow);
  begin(&bench, "[[end=0]]", 500, &quick);
  assert_true(rh_run_until(bench.loop, rh_seen_over, &quick));
  // The reader that takes nothing got one window and no more; the other one was not held up.
  assert_int_equal(quick.deltas, 500);
  assert_in_range(slow.deltas, 1, RH_CREDIT_WINDOW);
  assert_int_equal(slow.ends, 0);
  slow.say_wait = false;
  rh_member_run_resume(held);
  assert_true(rh_run_until(bench.loop, rh_seen_over, &slow));
  assert_int_equal(slow.deltas, 500);
  close_bench(&bench);
}

static void test_cancel_frees_the_slot(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=1,context=100000");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  rh_seen seen = {0};
  rh_member_run *run = begin(&bench, "[[end=0 delay_ms=1]]", 0, &seen);
  assert_true(rh_run_until(bench.loop, thirty_deltas, &seen));
  rh_member_run_cancel(run);
  unsigned before = seen.deltas;
  bench.slots_wanted = 1;
  assert_true(rh_run_until(bench.loop, slots_free, &bench));
  assert_int_equal(seen.deltas, before);
  assert_int_equal(seen.ends + seen.errors, 0);
  close_bench(&bench);
}

static void test_a_killed_worker_is_replaced(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=1,context=100000");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  rh_seen seen = {0};
  begin(&bench, "[[end=0 delay_ms=1]]", 0, &seen);
  assert_true(rh_run_until(bench.loop, thirty_deltas, &seen));
  kill(rh_member_pid(bench.member), SIGKILL);
  assert_true(rh_run_until(bench.loop, rh_seen_over, &seen));
  assert_true(seen.worker_lost);
  assert_int_equal(seen.error.status, RH_UNAVAILABLE);
  assert_non_null(strstr(seen.error.message, "signal 9"));
  reach(&bench, RH_MEMBER_READY);
  assert_int_equal(rh_member_restarts(bench.member), 1);
  close_bench(&bench);
}

static void test_a_hung_engine_is_killed(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=1");
  options.step_timeout_ns = 300 * RH_NS_PER_MS;
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  rh_seen seen = {0};
  begin(&bench, "[[hang_at=2]]", 0, &seen);
  assert_true(rh_run_until(bench.loop, rh_seen_over, &seen));
  assert_int_equal(seen.error.status, RH_UNAVAILABLE);
  assert_non_null(strstr(seen.error.message, "stuck"));
  reach(&bench, RH_MEMBER_READY);
  close_bench(&bench);
}

static void test_an_engine_that_ignores_cancel_is_killed(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:slots=1");
  options.cancel_grace_ns = 200 * RH_NS_PER_MS;
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  rh_seen seen = {0};
  rh_member_run *run = begin(&bench, "[[hang_at=0]]", 0, &seen);
  pid_t first = rh_member_pid(bench.member);
  // Before START the worker could still take the cancellation in, and would never hang.
  assert_true(rh_run_until(bench.loop, has_started, &seen));
  rh_member_run_cancel(run);
  bench.wanted = RH_MEMBER_BACKOFF;
  assert_true(rh_run_until(bench.loop, in_state, &bench));
  reach(&bench, RH_MEMBER_READY);
  assert_true(rh_member_pid(bench.member) != first);
  close_bench(&bench);
}

static void test_a_failed_load_says_why(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:load_fail=1");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_FAILED);
  assert_int_equal(rh_member_failure(bench.member)->status, RH_LOAD_FAILED);
  assert_string_equal(rh_member_failure(bench.member)->message, "the fake engine was told to fail");
  close_bench(&bench);
}

static void test_a_crash_while_loading_is_tried_twice(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:load_crash=1");
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_FAILED);
  assert_int_equal(bench.states[RH_MEMBER_STARTING], 2);
  assert_non_null(strstr(rh_member_failure(bench.member)->message, "while loading the model"));
  close_bench(&bench);
}

static void test_one_crash_while_loading_is_survived(void **state) {
  (void)state;
  char file[64], path[128];
  snprintf(file, sizeof file, "/tmp/rh-crash-once-%d", (int)getpid());
  snprintf(path, sizeof path, "fake:load_crash_once=%s", file);
  unlink(file);
  rh_bench bench;
  rh_member_options options = rh_fake_options(path);
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_READY);
  assert_int_equal(rh_member_restarts(bench.member), 1);
  close_bench(&bench);
  unlink(file);
}

// A death in service says nothing about the file: the load after it may be tried as often as any other.
static void test_a_death_in_service_is_no_load_that_crashed(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:load_delay_ms=100");
  open_bench(&bench, &options);
  for (int i = 0; i < 3; i++) {
    reach(&bench, RH_MEMBER_READY);
    kill(rh_member_pid(bench.member), SIGKILL);
    reach(&bench, RH_MEMBER_LOADING);
    kill(rh_member_pid(bench.member), SIGKILL);
    reach(&bench, RH_MEMBER_BACKOFF);
  }
  reach(&bench, RH_MEMBER_READY);
  assert_int_equal(bench.states[RH_MEMBER_FAILED], 0);
  close_bench(&bench);
}

static void test_a_load_that_hangs_is_killed(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:load_hang=1");
  options.load_timeout_ns = 200 * RH_NS_PER_MS;
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_FAILED);
  assert_non_null(strstr(rh_member_failure(bench.member)->message, "no progress"));
  close_bench(&bench);
}

static void test_a_missing_worker_is_a_clear_error(void **state) {
  (void)state;
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:");
  options.worker_path = "/nowhere/roundhouse-worker";
  open_bench(&bench, &options);
  assert_int_equal(rh_member_get_state(bench.member), RH_MEMBER_FAILED);
  assert_non_null(strstr(rh_member_failure(bench.member)->message, "/nowhere/roundhouse-worker"));
  close_bench(&bench);
}

static void test_a_program_that_speaks_nonsense_is_killed(void **state) {
  (void)state;
  char script[64];
  snprintf(script, sizeof script, "/tmp/rh-nonsense-%d", (int)getpid());
  FILE *file = fopen(script, "w");
  assert_non_null(file);
  fputs("#!/bin/sh\nprintf 'GET / HTTP/1.1 this is no frame at all' >&3\nexec sleep 30\n", file);
  fclose(file);
  assert_int_equal(access(script, R_OK), 0);
  char command[96];
  snprintf(command, sizeof command, "chmod +x %s", script);
  assert_int_equal(system(command), 0);
  rh_bench bench;
  rh_member_options options = rh_fake_options("fake:");
  options.worker_path = script;
  open_bench(&bench, &options);
  reach(&bench, RH_MEMBER_FAILED);
  assert_non_null(strstr(rh_member_failure(bench.member)->message, "a frame of"));
  close_bench(&bench);
  unlink(script);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_load_run_unload),
      cmocka_unit_test(test_no_credit_no_deltas),
      cmocka_unit_test(test_cancel_frees_the_slot),
      cmocka_unit_test(test_a_killed_worker_is_replaced),
      cmocka_unit_test(test_a_hung_engine_is_killed),
      cmocka_unit_test(test_an_engine_that_ignores_cancel_is_killed),
      cmocka_unit_test(test_a_failed_load_says_why),
      cmocka_unit_test(test_a_crash_while_loading_is_tried_twice),
      cmocka_unit_test(test_one_crash_while_loading_is_survived),
      cmocka_unit_test(test_a_death_in_service_is_no_load_that_crashed),
      cmocka_unit_test(test_a_load_that_hangs_is_killed),
      cmocka_unit_test(test_a_missing_worker_is_a_clear_error),
      cmocka_unit_test(test_a_program_that_speaks_nonsense_is_killed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
