// SPDX-License-Identifier: Apache-2.0
//
// The broker's rules, one by one: who starts, who leaves, who waits for whom.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "broker_fixture.h"

// --- starting and leaving ------------------------------------------------------------------------------------------

static void test_calls_come_from_deferred_work_only(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = join(&yard, "a", 60);
  rh_broker_want(a->tenant);
  assert_int_equal(rh_broker_state(a->tenant), RH_TENANT_WAITING);
  assert_int_equal(a->started, 0);
  rh_broker_want(a->tenant);  // twice is once
  assert_int_equal(rh_broker_line_length(yard.broker), 1);
  settle(&yard);
  assert_int_equal(a->started, 1);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 60 * MIB);
  rh_broker_want(a->tenant);
  settle(&yard);
  assert_int_equal(a->started, 1);
  close_yard(&yard);
}

static void test_memory_counts_until_the_process_is_gone(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 0), *b = join(&yard, "b", 60);
  want(&yard, b, 1);
  assert_int_equal(a->evicted, 1);
  assert_string_equal(a->reason, "model b needs the room");
  assert_int_equal(rh_broker_state(a->tenant), RH_TENANT_LEAVING);
  assert_int_equal(b->started, 0);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 60 * MIB);
  pass(&yard, 1);
  assert_int_equal(b->started, 0);
  assert_int_equal(a->evicted, 1);
  left(&yard, a);
  assert_int_equal(b->started, 1);
  assert_int_equal(rh_broker_get_counts(yard.broker)->evictions, 1);
  assert_int_equal(rh_broker_get_counts(yard.broker)->starts, 2);
  close_yard(&yard);
}

static void test_the_larger_of_need_and_use_counts(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 0);
  a->view.ram_used_bytes = 20 * MIB;  // pages it has not touched yet are still its own
  rh_broker_measured(a->tenant);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 60 * MIB);
  a->view.ram_used_bytes = 80 * MIB;
  rh_broker_measured(a->tenant);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 80 * MIB);
  rh_owner *b = join(&yard, "b", 30);
  want(&yard, b, 1);
  assert_int_equal(a->evicted, 1);
  close_yard(&yard);
}

static void test_who_outgrows_the_budget_leaves_when_idle(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 1), *b = bring(&yard, "b", 30, 1);
  b->view.ram_used_bytes = 50 * MIB;
  rh_broker_measured(b->tenant);
  settle(&yard);
  assert_int_equal(a->evicted + b->evicted, 0);  // both are busy
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 110 * MIB);
  idle(&yard, b);
  assert_int_equal(b->evicted, 1);
  assert_int_equal(a->evicted, 0);
  close_yard(&yard);
}

static void test_lowered_limits_take_effect(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 40, 0), *b = bring(&yard, "b", 40, 0);
  a->view.last_used_ns = test_now - 900 * RH_NS_PER_S;
  yard.limits.ram_bytes = 50 * MIB;
  rh_broker_set_limits(yard.broker, &yard.limits);
  settle(&yard);
  assert_int_equal(a->evicted, 1);
  assert_int_equal(b->evicted, 0);
  left(&yard, a);
  yard.limits.max_loaded = 1;
  rh_owner *c = join(&yard, "c", 1);
  rh_broker_set_limits(yard.broker, &yard.limits);
  settle(&yard);
  assert_int_equal(b->evicted, 0);
  want(&yard, c, 1);
  assert_int_equal(b->evicted, 1);
  close_yard(&yard);
}

static void test_two_swaps_go_on_at_once(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 0), *b = bring(&yard, "b", 50, 0);
  rh_owner *c = join(&yard, "c", 50), *d = join(&yard, "d", 50);
  want(&yard, c, 1);
  want(&yard, d, 1);
  assert_int_equal(a->evicted, 1);
  assert_int_equal(b->evicted, 1);  // not only when c has its place
  left(&yard, b);
  assert_int_equal(c->started, 1);
  assert_int_equal(d->started, 0);
  left(&yard, a);
  assert_int_equal(d->started, 1);
  close_yard(&yard);
}

static void test_a_crash_gives_the_memory_back(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 1), *b = join(&yard, "b", 60), *c = join(&yard, "c", 60);
  want(&yard, b, 1);
  left(&yard, a);  // it crashed
  assert_int_equal(b->started, 1);
  want(&yard, c, 1);
  left(&yard, b);  // it failed to load
  assert_int_equal(rh_broker_state(b->tenant), RH_TENANT_OUT);
  assert_int_equal(c->started, 1);
  rh_broker_part(c->tenant);  // gone altogether
  c->tenant = NULL;
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 0);
  close_yard(&yard);
}

static void test_wanted_while_it_leaves(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 0), *b = join(&yard, "b", 60);
  rh_broker_leaving(a->tenant);  // its idle time is over
  assert_int_equal(rh_broker_state(a->tenant), RH_TENANT_LEAVING);
  want(&yard, a, 1);
  want(&yard, b, 1);
  left(&yard, a);
  assert_int_equal(b->started, 1);  // it was in line before a was
  assert_int_equal(rh_broker_state(a->tenant), RH_TENANT_WAITING);
  loaded(&yard, b);
  idle(&yard, b);
  left(&yard, b);
  assert_int_equal(a->started, 2);
  loaded(&yard, a);
  rh_broker_leaving(a->tenant);
  want(&yard, a, 1);
  rh_broker_unwant(a->tenant);
  left(&yard, a);
  assert_int_equal(rh_broker_state(a->tenant), RH_TENANT_OUT);
  close_yard(&yard);
}

static void test_unwanted_ones_leave_the_line(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 1), *b = join(&yard, "b", 60), *c = join(&yard, "c", 40);
  want(&yard, b, 1);
  pass(&yard, 3);
  assert_int_equal(a->held, 1);
  want(&yard, c, 1);
  rh_broker_unwant(b->tenant);
  settle(&yard);
  assert_int_equal(rh_broker_state(b->tenant), RH_TENANT_OUT);
  assert_int_equal(a->released, 1);  // nobody needs its room any more
  assert_int_equal(c->started, 1);
  rh_broker_unwant(c->tenant);  // too late: it loads
  settle(&yard);
  assert_int_equal(rh_broker_state(c->tenant), RH_TENANT_LOADING);
  close_yard(&yard);
}

// --- waiting -------------------------------------------------------------------------------------------------------

static void test_busy_ones_are_drained_after_patience(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 3), *b = bring(&yard, "b", 50, 1), *c = join(&yard, "c", 50);
  pass(&yard, 5);
  want(&yard, c, 2);
  assert_int_equal(a->held + b->held + a->evicted + b->evicted, 0);
  pass(&yard, 1.9);
  assert_int_equal(a->held + b->held, 0);
  pass(&yard, 0.2);
  assert_int_equal(b->held, 1);  // fewer requests on it
  assert_int_equal(a->held, 0);
  assert_int_equal(rh_broker_get_counts(yard.broker)->holds, 1);
  b->view.queued = 4;  // they wait for its next turn
  pass(&yard, 1);
  assert_int_equal(b->evicted, 0);
  idle(&yard, b);
  settle(&yard);
  pass(&yard, 0.5);  // nothing tells of a run that ends while others wait: the broker looks by itself
  assert_int_equal(b->evicted, 1);
  assert_int_equal(b->released, 0);
  left(&yard, b);
  assert_int_equal(b->released, 1);  // before it may start again
  assert_int_equal(c->started, 1);
  want(&yard, b, 4);
  loaded(&yard, c);
  assert_int_equal(rh_broker_state(b->tenant), RH_TENANT_WAITING);
  idle(&yard, c);
  assert_int_equal(c->evicted, 1);
  left(&yard, c);
  assert_int_equal(b->started, 2);
  close_yard(&yard);
}

static void test_who_came_for_waiters_gets_its_turn(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 1), *b = join(&yard, "b", 60), *c = join(&yard, "c", 60);
  want(&yard, b, 5);
  want(&yard, c, 5);
  pass(&yard, 2);
  assert_int_equal(a->held, 1);
  idle(&yard, a);
  left(&yard, a);
  loaded(&yard, b);
  // c has waited longer than patience, but b came a moment ago.
  pass(&yard, 1.9);
  assert_int_equal(b->held, 0);
  pass(&yard, 0.2);
  assert_int_equal(b->held, 1);
  close_yard(&yard);
}

static void test_an_idle_one_is_taken_instead_of_a_held_one(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 1), *b = bring(&yard, "b", 50, 2), *c = join(&yard, "c", 50);
  want(&yard, c, 1);
  pass(&yard, 2);
  assert_int_equal(a->held, 1);
  idle(&yard, b);
  assert_int_equal(b->evicted, 1);
  assert_int_equal(a->released, 1);
  assert_int_equal(a->evicted, 0);
  close_yard(&yard);
}

static void test_pinned_ones_are_neither_evicted_nor_held(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 1), *b = bring(&yard, "b", 40, 9), *c = join(&yard, "c", 50);
  a->view.pinned = true;
  want(&yard, c, 1);
  pass(&yard, 2);
  assert_int_equal(a->held, 0);
  assert_int_equal(b->held, 1);
  idle(&yard, a);
  assert_int_equal(a->evicted, 0);
  idle(&yard, b);
  assert_int_equal(b->evicted, 1);
  // All that could go is not enough: refused at once.
  rh_owner *d = join(&yard, "d", 51);
  want(&yard, d, 1);
  assert_int_equal(d->refused, 1);
  assert_int_equal(d->refusal.status, RH_NO_ROOM);
  assert_non_null(strstr(d->refusal.message, "a (50 MiB, pinned)"));
  assert_non_null(strstr(d->refusal.message, "unpin"));
  assert_int_equal(rh_broker_state(d->tenant), RH_TENANT_OUT);
  close_yard(&yard);
}

static void test_small_ones_pass_only_where_they_do_not_delay(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 1);
  rh_owner *big = join(&yard, "big", 70), *fits = join(&yard, "fits", 30), *delays = join(&yard, "delays", 31);
  want(&yard, big, 1);
  want(&yard, delays, 1);
  want(&yard, fits, 1);
  assert_int_equal(big->started, 0);
  assert_int_equal(delays->started, 0);  // 69 of 100 are left now, but only 30 beside the big one
  assert_int_equal(fits->started, 1);
  pass(&yard, 2);
  assert_int_equal(a->held, 1);
  idle(&yard, a);
  left(&yard, a);
  assert_int_equal(big->started, 1);  // although `fits` is still loading
  assert_int_equal(delays->started, 0);
  close_yard(&yard);
}

static void test_max_loaded(void **state) {
  (void)state;
  rh_yard yard;
  rh_broker_limits limits = plain;
  limits.max_loaded = 2;
  open_yard(&yard, &limits);
  rh_owner *a = bring(&yard, "a", 1, 0), *b = bring(&yard, "b", 1, 1), *c = join(&yard, "c", 1),
           *d = join(&yard, "d", 1);
  want(&yard, c, 1);
  assert_int_equal(a->evicted, 1);
  assert_int_equal(c->started, 0);
  left(&yard, a);
  assert_int_equal(c->started, 1);
  b->view.pinned = c->view.pinned = true;
  want(&yard, d, 1);
  assert_int_equal(d->refusal.status, RH_NO_ROOM);
  assert_non_null(strstr(d->refusal.message, "max_loaded_models"));
  close_yard(&yard);
}

static void test_gpu_budgets(void **state) {
  (void)state;
  rh_yard yard;
  rh_broker_limits limits = plain;
  limits.gpu_count = 1;
  limits.gpu_bytes[0] = 50 * MIB;
  open_yard(&yard, &limits);
  rh_owner *a = join(&yard, "a", 10), *b = join(&yard, "b", 10), *c = join(&yard, "c", 10);
  a->view.need.gpu_bytes = 30 * MIB;
  b->view.need.gpu_bytes = 30 * MIB;
  c->view.need.gpu_bytes = 51 * MIB;
  want(&yard, a, 0);
  loaded(&yard, a);
  want(&yard, c, 1);
  assert_int_equal(c->refusal.status, RH_HARDWARE);
  assert_non_null(strstr(c->refusal.message, "51 MiB of GPU memory"));
  assert_non_null(strstr(c->refusal.message, "gpu_memory_budget"));
  assert_int_equal(a->evicted, 0);
  want(&yard, b, 1);
  assert_int_equal(a->evicted, 1);
  close_yard(&yard);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_calls_come_from_deferred_work_only),
      cmocka_unit_test(test_memory_counts_until_the_process_is_gone),
      cmocka_unit_test(test_the_larger_of_need_and_use_counts),
      cmocka_unit_test(test_who_outgrows_the_budget_leaves_when_idle),
      cmocka_unit_test(test_lowered_limits_take_effect),
      cmocka_unit_test(test_two_swaps_go_on_at_once),
      cmocka_unit_test(test_a_crash_gives_the_memory_back),
      cmocka_unit_test(test_wanted_while_it_leaves),
      cmocka_unit_test(test_unwanted_ones_leave_the_line),
      cmocka_unit_test(test_busy_ones_are_drained_after_patience),
      cmocka_unit_test(test_who_came_for_waiters_gets_its_turn),
      cmocka_unit_test(test_an_idle_one_is_taken_instead_of_a_held_one),
      cmocka_unit_test(test_pinned_ones_are_neither_evicted_nor_held),
      cmocka_unit_test(test_small_ones_pass_only_where_they_do_not_delay),
      cmocka_unit_test(test_max_loaded),
      cmocka_unit_test(test_gpu_budgets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
