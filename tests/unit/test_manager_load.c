// SPDX-License-Identifier: Apache-2.0
//
// Models into memory and out of it: one load for many, reasons, budgets, idle times, pins.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager_fixture.h"

static int setup(void **state) {
  rh_model_yard *yard = malloc(sizeof *yard);
  rh_yard_init(yard);
  *state = yard;
  return 0;
}

static int teardown(void **state) {
  rh_yard_close(*state);
  free(*state);
  return 0;
}

static bool none_running(void *ctx) {
  rh_model_yard *yard = ctx;
  for (size_t i = 0; i < rh_manager_count(yard->manager); i++) {
    if (rh_member_pid(rh_served_member(rh_manager_at(yard->manager, i))) > 0) return false;
  }
  return true;
}

static void test_ten_requests_for_a_cold_model_cause_one_load(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:slots=2,load_delay_ms=100\"}");
  rh_yard_open(yard);
  rh_yard_client clients[10];
  for (size_t i = 0; i < 10; i++) rh_yard_ask(yard, &clients[i], "m", "hello");
  for (size_t i = 0; i < 10; i++) rh_yard_answer(yard, &clients[i]);
  for (size_t i = 0; i < 10; i++) assert_int_equal(clients[i].seen.ends, 1);
  assert_int_equal(yard->loaded, 1);
  assert_int_equal(rh_broker_get_counts(rh_manager_broker(yard->manager))->starts, 1);
}

static void test_a_failed_load_gives_everybody_the_reason(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "bad", "{\"path\":\"fake:load_delay_ms=50,load_fail=1\"}");
  rh_yard_open(yard);
  rh_yard_client clients[4];
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  for (size_t i = 0; i < 4; i++) rh_yard_ask(yard, &clients[i], "bad", "hello");
  assert_int_equal(rh_manager_load(yard->manager, rh_yard_find(yard, "bad"), &callback, NULL, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_LOAD_FAILED);
  assert_non_null(strstr(call.error.message, "told to fail"));
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(clients[i].seen.errors, 1);
    assert_int_equal(clients[i].seen.error.status, RH_LOAD_FAILED);
    assert_non_null(strstr(clients[i].seen.error.message, "told to fail"));
  }
  assert_int_equal(yard->failed, 1);
  assert_int_equal(rh_broker_reserved_ram(rh_manager_broker(yard->manager)), 0);
  json_t *told = rh_served_describe(rh_yard_find(yard, "bad"));
  assert_string_equal(json_string_value(json_object_get(told, "state")), "failed");
  assert_non_null(strstr(json_string_value(json_object_get(told, "error")), "told to fail"));
  json_decref(told);
}

static void test_room_for_one_serves_two_in_turn(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "a", "{\"path\":\"fake:memory=64MiB\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "b", "{\"path\":\"fake:memory=64MiB\",\"memory\":\"80MiB\"}");
  yard->options.limits.ram_bytes = 150 * RH_MIB;
  rh_yard_open(yard);
  rh_yard_client client;
  for (unsigned i = 0; i < 4; i++) {
    rh_yard_ask(yard, &client, i % 2 == 0 ? "a" : "b", "hello");
    rh_yard_answer(yard, &client);
    assert_int_equal(client.seen.ends, 1);
    bool a = rh_yard_state(yard, "a") == RH_MEMBER_READY, b = rh_yard_state(yard, "b") == RH_MEMBER_READY;
    assert_true(a != b);
  }
  assert_int_equal(yard->loaded, 4);
  assert_int_equal(yard->left, 3);
  assert_string_equal(yard->left_why, "memory");
}

static void test_a_plan_names_who_would_leave(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "a", "{\"path\":\"fake:\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "b", "{\"path\":\"fake:\",\"memory\":\"80MiB\"}");
  yard->options.limits.ram_bytes = 150 * RH_MIB;
  rh_yard_open(yard);
  rh_yard_load(yard, "a");
  json_t *plan = rh_manager_plan(yard->manager, rh_yard_find(yard, "b"));
  json_t *evicts = json_object_get(plan, "evicts");
  assert_int_equal(json_array_size(evicts), 1);
  assert_string_equal(json_string_value(json_object_get(json_array_get(evicts, 0), "model")), "a");
  json_decref(plan);
  assert_int_equal(rh_yard_state(yard, "a"), RH_MEMBER_READY);
}

static void test_a_need_beyond_the_machine_is_refused_with_advice(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "x:big", "{\"path\":\"fake:\",\"memory\":\"900MiB\"}");
  rh_yard_add(yard, "gpu", "{\"path\":\"fake:\",\"gpu_required\":true}");
  rh_yard_add(yard, "huge", "{\"path\":\"fake:\",\"memory_min\":\"4000000GiB\"}");
  yard->options.limits.ram_bytes = 150 * RH_MIB;
  rh_yard_open(yard);
  rh_yard_client client;
  rh_yard_ask(yard, &client, "x:big", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.error.status, RH_HARDWARE);
  assert_non_null(strstr(client.seen.error.message, "900"));
  rh_yard_ask(yard, &client, "huge", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.error.status, RH_HARDWARE);
  assert_non_null(strstr(client.seen.error.message, "smaller"));
  rh_error error = {0};
  rh_hardware hardware;
  rh_hardware_probe(&hardware);
  rh_status status = rh_manager_load(yard->manager, rh_yard_find(yard, "gpu"), NULL, NULL, &error);
  assert_int_equal(status, hardware.gpu_count > 0 ? RH_OK : RH_HARDWARE);
  if (status != RH_OK) assert_non_null(strstr(error.message, "needs a GPU"));
}

static void test_an_idle_model_leaves_and_its_process_with_it(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:\",\"keep_alive\":\"100ms\"}");
  rh_yard_add(yard, "pinned", "{\"path\":\"fake:\",\"keep_alive\":\"50ms\",\"pinned\":true}");
  rh_yard_open(yard);
  rh_yard_load(yard, "pinned");
  rh_yard_load(yard, "m");
  assert_true(rh_served_expires_ns(rh_yard_find(yard, "m")) > 0);
  assert_int_equal(rh_served_expires_ns(rh_yard_find(yard, "pinned")), 0);
  pid_t pid = rh_member_pid(rh_served_member(rh_yard_find(yard, "m")));
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
  assert_string_equal(yard->left_why, "idle");
  assert_int_not_equal(kill(pid, 0), 0);
  assert_int_equal(rh_yard_state(yard, "m"), RH_MEMBER_COLD);
  rh_yard_turn(yard, 100 * RH_NS_PER_MS);
  assert_int_equal(rh_yard_state(yard, "pinned"), RH_MEMBER_READY);
  // It comes back when somebody asks.
  rh_yard_client client;
  rh_yard_ask(yard, &client, "m", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.ends, 1);
}

static void test_a_request_says_how_long_the_model_stays(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:\"}");
  rh_yard_open(yard);
  rh_yard_client client;
  assert_int_equal(rh_yard_ask_keeping(yard, &client, "m", "hello", 0, NULL), RH_OK);
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.ends, 1);
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
  // The wish went with the model: the server's own time (for ever) counts again.
  rh_yard_ask(yard, &client, "m", "hello");
  rh_yard_answer(yard, &client);
  rh_yard_turn(yard, 100 * RH_NS_PER_MS);
  assert_int_equal(rh_yard_state(yard, "m"), RH_MEMBER_READY);
}

static void test_unloading_lets_requests_finish_and_new_ones_load_again(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:slots=1,context=100000\"}");
  rh_yard_open(yard);
  rh_yard_client running, waiting;
  rh_yard_load(yard, "m");
  rh_yard_ask(yard, &running, "m", "[[tokens=60 delay_ms=5]]");
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_unload(yard->manager, rh_yard_find(yard, "m"), false, &callback, NULL, NULL), RH_OK);
  rh_yard_ask(yard, &waiting, "m", "later");
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  assert_int_equal(running.seen.ends, 1);
  assert_int_equal(waiting.seen.ends, 0);
  rh_yard_answer(yard, &waiting);
  assert_int_equal(waiting.seen.ends, 1);
  assert_int_equal(yard->loaded, 2);
  // Not in memory: done at once, but not from inside the call.
  callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_unload(yard->manager, rh_yard_find(yard, "m"), false, &callback, NULL, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_unload(yard->manager, rh_yard_find(yard, "m"), false, &callback, NULL, NULL), RH_OK);
  assert_false(call.done);
  rh_yard_wait(yard, &call);
}

static void test_force_ends_what_runs_and_what_waits(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:slots=1,context=100000\",\"pinned\":true}");
  rh_yard_open(yard);
  rh_yard_load(yard, "m");
  rh_yard_client running, waiting;
  rh_yard_ask(yard, &running, "m", "[[end=0 delay_ms=5]]");
  rh_yard_ask(yard, &waiting, "m", "hello");
  rh_error error = {0};
  rh_served *served = rh_yard_find(yard, "m");
  assert_int_equal(rh_manager_unload(yard->manager, served, false, NULL, NULL, &error), RH_CONFLICT);
  assert_non_null(strstr(error.message, "pinned"));
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_unload(yard->manager, served, true, &callback, NULL, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(running.seen.errors, 1);
  assert_int_equal(waiting.seen.errors, 1);
  assert_int_equal(waiting.seen.error.status, RH_UNAVAILABLE);
  assert_true(none_running(yard));
}

static void test_a_crashed_worker_keeps_its_place(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:slots=1\",\"memory\":\"80MiB\"}");
  rh_yard_open(yard);
  rh_yard_load(yard, "m");
  rh_yard_client client;
  rh_yard_ask(yard, &client, "m", "[[crash_at=0]]");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.errors, 1);
  assert_true(rh_broker_reserved_ram(rh_manager_broker(yard->manager)) >= 80 * RH_MIB);
  rh_yard_ask(yard, &client, "m", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.ends, 1);
  assert_int_equal(rh_broker_get_counts(rh_manager_broker(yard->manager))->starts, 1);
}

static void test_progress_and_forgetting(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:load_delay_ms=700\"}");
  rh_yard_open(yard);
  rh_yard_call call, forgotten;
  rh_manager_callback callback = rh_yard_callback(&call), other = rh_yard_callback(&forgotten);
  rh_manager_waiter *waiter = NULL;
  rh_served *served = rh_yard_find(yard, "m");
  assert_int_equal(rh_manager_load(yard->manager, served, &other, &waiter, NULL), RH_OK);
  assert_int_equal(rh_manager_load(yard->manager, served, &callback, NULL, NULL), RH_OK);
  rh_manager_forget(waiter);
  rh_yard_wait(yard, &call);
  assert_true(call.progress > 0);
  assert_true(call.fraction > 0 && call.fraction <= 1);
  assert_int_equal(forgotten.times + forgotten.progress, 0);
  assert_int_equal(yard->loaded, 1);
}

static void test_what_is_learned_is_reserved_next_time(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "m", "{\"path\":\"fake:memory=64MiB\"}");
  rh_yard_open(yard);
  rh_need before, after;
  rh_yard_load(yard, "m");
  rh_served_need(rh_yard_find(yard, "m"), &before);
  rh_yard_turn(yard, rh_scaled_ns(2500 * RH_NS_PER_MS));  // workers report every second
  rh_served_need(rh_yard_find(yard, "m"), &after);
  assert_false(before.measured);
  // It has only been loaded: what it needs when it works is not known from that (unless it is more than expected).
  int64_t resident = rh_member_stats(rh_served_member(rh_yard_find(yard, "m")))->rss_bytes;
  assert_true(resident > 64 * RH_MIB);
  if (resident <= before.ram_bytes) assert_false(after.measured);
  rh_yard_client client;
  rh_yard_ask(yard, &client, "m", "hello");
  rh_yard_answer(yard, &client);
  rh_yard_turn(yard, rh_scaled_ns(2500 * RH_NS_PER_MS));
  rh_served_need(rh_yard_find(yard, "m"), &after);
  resident = rh_member_stats(rh_served_member(rh_yard_find(yard, "m")))->rss_bytes;
  assert_true(after.measured);
  // With room to grow, but not beyond an estimate that was right.
  assert_true(after.ram_bytes > resident);
  if (resident <= before.ram_bytes) assert_true(after.ram_bytes <= before.ram_bytes);
  rh_yard_stop(yard);
  rh_yard_open(yard);
  rh_served_need(rh_yard_find(yard, "m"), &before);
  assert_true(before.measured);
  assert_int_equal(before.ram_bytes, after.ram_bytes);
}

static bool two_loaded(void *ctx) { return ((rh_model_yard *)ctx)->loaded == 2; }

static void test_the_most_asked_for_are_preloaded_while_there_is_room(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "a", "{\"path\":\"fake:\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "b", "{\"path\":\"fake:\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "c", "{\"path\":\"fake:\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "never", "{\"path\":\"fake:\"}");
  rh_yard_open(yard);
  rh_yard_client client;
  const char *asked[] = {"a", "b", "b", "b", "c", "c", "b", "c", "b", "a", "b", "c"};
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    rh_yard_ask(yard, &client, asked[i], "hello");
    rh_yard_answer(yard, &client);
  }
  rh_yard_stop(yard);
  yard->loaded = 0;
  yard->options.preload_top = 3;
  yard->options.limits.ram_bytes = 170 * RH_MIB;
  rh_yard_open(yard);
  assert_true(rh_run_until(yard->loop, two_loaded, yard));
  rh_yard_turn(yard, 200 * RH_NS_PER_MS);  // some more tidying: nobody is evicted for the third
  assert_int_equal(yard->loaded, 2);
  assert_int_equal(yard->left, 0);
  assert_int_equal(rh_yard_state(yard, "b"), RH_MEMBER_READY);
  assert_int_equal(rh_yard_state(yard, "c"), RH_MEMBER_READY);
}

static bool all_gone(void *ctx) { return ((rh_model_yard *)ctx)->all_gone; }

static void test_the_end_tells_when_all_are_gone(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "a", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "b", "{\"path\":\"fake:load_delay_ms=5000\"}");
  rh_yard_open(yard);
  rh_yard_load(yard, "a");
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_load(yard->manager, rh_yard_find(yard, "b"), &callback, NULL, NULL), RH_OK);
  rh_yard_turn(yard, 50 * RH_NS_PER_MS);
  rh_manager_leave(yard->manager, rh_scaled_ns(2 * RH_NS_PER_S));
  assert_false(yard->all_gone);
  assert_true(rh_run_until(yard->loop, all_gone, yard));
  assert_true(none_running(yard));
  assert_true(call.done);
  assert_int_equal(call.status, RH_UNAVAILABLE);
  assert_int_equal(rh_manager_load(yard->manager, rh_yard_find(yard, "a"), NULL, NULL, NULL), RH_UNAVAILABLE);
}

static void test_the_end_of_a_manager_without_workers(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "a", "{\"path\":\"fake:\"}");
  rh_yard_open(yard);
  rh_manager_leave(yard->manager, RH_NS_PER_S);
  assert_false(yard->all_gone);
  assert_true(rh_run_until(yard->loop, all_gone, yard));
}

#define LOAD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      LOAD_TEST(test_ten_requests_for_a_cold_model_cause_one_load),
      LOAD_TEST(test_a_failed_load_gives_everybody_the_reason),
      LOAD_TEST(test_room_for_one_serves_two_in_turn),
      LOAD_TEST(test_a_plan_names_who_would_leave),
      LOAD_TEST(test_a_need_beyond_the_machine_is_refused_with_advice),
      LOAD_TEST(test_an_idle_model_leaves_and_its_process_with_it),
      LOAD_TEST(test_a_request_says_how_long_the_model_stays),
      LOAD_TEST(test_unloading_lets_requests_finish_and_new_ones_load_again),
      LOAD_TEST(test_force_ends_what_runs_and_what_waits),
      LOAD_TEST(test_a_crashed_worker_keeps_its_place),
      LOAD_TEST(test_progress_and_forgetting),
      LOAD_TEST(test_what_is_learned_is_reserved_next_time),
      LOAD_TEST(test_the_most_asked_for_are_preloaded_while_there_is_room),
      LOAD_TEST(test_the_end_tells_when_all_are_gone),
      LOAD_TEST(test_the_end_of_a_manager_without_workers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
