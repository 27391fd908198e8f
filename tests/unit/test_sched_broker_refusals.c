// SPDX-License-Identifier: Apache-2.0
//
// The broker where there is no room: refusals, the machine's memory, owners that act inside its calls, what it tells.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "broker_fixture.h"

// --- refusals ------------------------------------------------------------------------------------------------------

static void test_more_than_the_whole_budget(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 60, 0), *b = join(&yard, "b", 101);
  want(&yard, b, 1);
  assert_int_equal(b->refused, 1);
  assert_int_equal(b->refusal.status, RH_HARDWARE);
  const char *parts[] = {"model b needs 101 MiB of RAM", "weights 75.8 MiB", "keys and values 1 MiB",
                         "the budget is 100 MiB", "memory_budget"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (strstr(b->refusal.message, parts[i]) == NULL) fail_msg("no \"%s\" in: %s", parts[i], b->refusal.message);
  }
  assert_int_equal(a->evicted, 0);
  assert_int_equal(rh_broker_get_counts(yard.broker)->refusals, 1);
  b->view.need.ram_bytes = 90 * MIB;  // a shorter context: it may ask again
  want(&yard, b, 1);
  assert_int_equal(a->evicted, 1);
  close_yard(&yard);
}

static void test_the_wait_has_an_end(void **state) {
  (void)state;
  rh_yard yard;
  rh_broker_limits limits = plain;
  limits.wait_max_ns = 5 * RH_NS_PER_S;
  open_yard(&yard, &limits);
  rh_owner *a = bring(&yard, "a", 60, 1), *b = join(&yard, "b", 60), *c = join(&yard, "c", 70);
  want(&yard, b, 1);
  pass(&yard, 3);
  want(&yard, c, 1);
  pass(&yard, 1.9);
  assert_int_equal(b->refused, 0);
  pass(&yard, 0.2);
  assert_int_equal(b->refusal.status, RH_NO_ROOM);
  assert_non_null(strstr(b->refusal.message, "a (60 MiB, busy)"));
  assert_non_null(strstr(b->refusal.message, "waited 5 s"));
  assert_int_equal(c->refused, 0);
  assert_int_equal(a->held, 1);
  assert_int_equal(a->released, 0);  // c needs it drained just as well
  // Whoever's room is on its way is not refused for the last moment.
  pass(&yard, 2.5);
  idle(&yard, a);
  assert_int_equal(a->evicted, 1);
  pass(&yard, 3);
  assert_int_equal(c->refused, 0);
  left(&yard, a);
  assert_int_equal(c->started, 1);
  close_yard(&yard);
}

static bool test_machine(void *ctx, int64_t *total, int64_t *available) {
  const int64_t *numbers = ctx;
  *total = numbers[0];
  *available = numbers[1];
  return true;
}

static void test_the_machine_itself_is_short(void **state) {
  (void)state;
  rh_yard yard;
  int64_t numbers[] = {200 * MIB, 50 * MIB};
  rh_broker_limits limits = plain;
  limits.machine = test_machine;
  limits.machine_ctx = numbers;
  open_yard(&yard, &limits);
  rh_owner *a = join(&yard, "a", 60);
  want(&yard, a, 1);
  assert_int_equal(a->started, 0);  // others have what the budget promised
  assert_false(rh_broker_has_room(yard.broker, a->tenant));
  numbers[1] = 60 * MIB;
  pass(&yard, 0.5);
  assert_int_equal(a->started, 1);
  numbers[1] = 1 * MIB;
  rh_owner *b = join(&yard, "b", 10);
  loaded(&yard, a);
  want(&yard, b, 1);
  pass(&yard, 61);
  assert_int_equal(b->refusal.status, RH_NO_ROOM);
  assert_non_null(strstr(b->refusal.message, "free memory"));
  close_yard(&yard);
}

static void test_watermark(void **state) {
  (void)state;
  rh_yard yard;
  int64_t numbers[] = {200 * MIB, 100 * MIB};
  rh_broker_limits limits = plain;
  limits.machine = test_machine;
  limits.machine_ctx = numbers;
  limits.watermark = 0.8;
  open_yard(&yard, &limits);
  rh_owner *a = bring(&yard, "a", 20, 0), *b = bring(&yard, "b", 20, 0), *c = bring(&yard, "c", 20, 1);
  b->view.last_used_ns -= 900 * RH_NS_PER_S;
  rh_owner *d = join(&yard, "d", 10), *e = join(&yard, "e", 40);
  numbers[1] = 60 * MIB;
  assert_true(rh_broker_has_room(yard.broker, d->tenant));
  assert_false(rh_broker_has_room(yard.broker, e->tenant));  // it would push the machine over the watermark
  rh_broker_relieve(yard.broker);
  settle(&yard);
  assert_int_equal(a->evicted + b->evicted + c->evicted, 0);
  numbers[1] = 30 * MIB;  // 170 used, 160 allowed
  rh_broker_relieve(yard.broker);
  assert_int_equal(b->evicted, 0);  // not from inside the call
  settle(&yard);
  assert_int_equal(b->evicted, 1);
  rh_broker_relieve(yard.broker);  // it is leaving: that will do
  settle(&yard);
  assert_int_equal(a->evicted, 0);
  left(&yard, b);
  rh_broker_relieve(yard.broker);
  settle(&yard);
  assert_int_equal(a->evicted, 1);
  assert_int_equal(c->evicted, 0);
  assert_int_equal(rh_broker_get_counts(yard.broker)->relieved, 2);
  close_yard(&yard);
}

// --- owners that do things inside the calls ------------------------------------------------------------------------

static void part_self(rh_owner *self) {
  rh_broker_part(self->tenant);
  self->tenant = NULL;
}

static void part_other(rh_owner *self) { part_self(self->other); }

static void fail_at_once(rh_owner *self) {
  rh_broker_left(self->tenant);
  rh_broker_want(self->other->tenant);
}

static void leave_at_once(rh_owner *self) { rh_broker_left(self->tenant); }

static void ask_again(rh_owner *self) {
  if (self->refused < 3) rh_broker_want(self->tenant);
}

static void make_other_busy(rh_owner *self) { self->other->view.running = 1; }

static void test_owners_may_part_inside_calls(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 0), *b = bring(&yard, "b", 50, 0), *c = join(&yard, "c", 100);
  a->in_evict = part_other;
  a->other = b;
  want(&yard, c, 1);  // both are to leave; the first takes the second along
  assert_int_equal(a->evicted, 1);
  assert_int_equal(b->evicted, 0);
  a->in_evict = NULL;
  c->in_start = part_self;
  left(&yard, a);
  assert_int_equal(c->started, 1);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 0);
  rh_owner *d = join(&yard, "d", 101), *e = join(&yard, "e", 50);
  d->in_refuse = part_self;
  want(&yard, d, 1);
  assert_int_equal(d->refused, 1);
  e->in_start = leave_at_once;
  want(&yard, e, 1);
  assert_int_equal(rh_broker_state(e->tenant), RH_TENANT_OUT);
  close_yard(&yard);
}

static void test_owners_may_report_inside_calls(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = join(&yard, "a", 50), *b = join(&yard, "b", 60), *c = join(&yard, "c", 101);
  a->in_start = fail_at_once;
  a->other = b;
  want(&yard, a, 1);
  assert_int_equal(b->started, 1);
  b->in_evict = leave_at_once;
  loaded(&yard, b);
  idle(&yard, b);
  a->in_start = NULL;
  want(&yard, a, 1);
  assert_int_equal(a->started, 2);
  c->in_refuse = ask_again;
  want(&yard, c, 1);
  assert_int_equal(c->refused, 3);
  close_yard(&yard);
}

static void test_work_that_comes_in_between_stops_an_eviction(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 0), *b = bring(&yard, "b", 50, 0), *c = join(&yard, "c", 100);
  a->in_evict = make_other_busy;
  a->other = b;
  want(&yard, c, 1);
  assert_int_equal(a->evicted, 1);
  assert_int_equal(b->evicted, 0);
  assert_int_equal(rh_broker_state(b->tenant), RH_TENANT_IN);
  left(&yard, a);
  assert_int_equal(c->started, 0);
  idle(&yard, b);
  assert_int_equal(b->evicted, 1);
  assert_int_equal(rh_broker_get_counts(yard.broker)->evictions, 2);
  close_yard(&yard);
}

static void stop_other_before_it_starts(rh_owner *self) { rh_broker_leaving(self->other->tenant); }

static void test_leaving_before_the_start_was_told(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = join(&yard, "a", 50), *b = join(&yard, "b", 50);
  a->in_start = stop_other_before_it_starts;
  a->other = b;
  rh_broker_want(a->tenant);
  rh_broker_want(b->tenant);
  settle(&yard);
  assert_int_equal(b->started, 0);
  assert_int_equal(rh_broker_state(b->tenant), RH_TENANT_OUT);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 50 * MIB);
  close_yard(&yard);
}

// --- words ---------------------------------------------------------------------------------------------------------

static int64_t number(const json_t *object, const char *first, const char *second) {
  return json_integer_value(json_object_get(json_object_get(object, first), second));
}

static void test_plan_changes_nothing(void **state) {
  (void)state;
  rh_yard yard;
  open_yard(&yard, &plain);
  rh_owner *a = bring(&yard, "a", 50, 0), *b = bring(&yard, "b", 50, 1);
  rh_owner *c = join(&yard, "c", 40), *d = join(&yard, "d", 90), *e = join(&yard, "e", 200);
  test_now += 30 * RH_NS_PER_S;
  json_t *plan = rh_broker_plan(yard.broker, c->tenant);
  assert_string_equal(json_string_value(json_object_get(plan, "model")), "c");
  assert_int_equal(number(plan, "need", "ram_bytes"), 40 * MIB);
  assert_int_equal(number(plan, "budget", "ram_bytes"), 100 * MIB);
  assert_int_equal(number(plan, "used", "ram_bytes"), 100 * MIB);
  assert_true(json_is_false(json_object_get(plan, "fits")));
  assert_true(json_is_false(json_object_get(plan, "wait")));
  const json_t *victim = json_array_get(json_object_get(plan, "evicts"), 0);
  assert_int_equal(json_array_size(json_object_get(plan, "evicts")), 1);
  assert_string_equal(json_string_value(json_object_get(victim, "model")), "a");
  assert_int_equal(json_integer_value(json_object_get(victim, "ram_bytes")), 50 * MIB);
  assert_true(json_number_value(json_object_get(victim, "idle_s")) > 29);
  assert_true(json_number_value(json_object_get(victim, "score")) > 0);
  json_decref(plan);
  plan = rh_broker_plan(yard.broker, d->tenant);
  assert_true(json_is_true(json_object_get(plan, "wait")));
  assert_int_equal(json_array_size(json_object_get(plan, "evicts")), 2);
  assert_string_equal(json_string_value(json_array_get(json_object_get(plan, "holds"), 0)), "b");
  json_decref(plan);
  plan = rh_broker_plan(yard.broker, e->tenant);
  assert_non_null(strstr(json_string_value(json_object_get(plan, "refused")), "needs 200 MiB"));
  json_decref(plan);
  plan = rh_broker_plan(yard.broker, a->tenant);
  assert_true(json_is_true(json_object_get(plan, "fits")));
  json_decref(plan);
  settle(&yard);
  assert_int_equal(a->evicted + b->held + e->refused, 0);
  assert_int_equal(rh_broker_reserved_ram(yard.broker), 100 * MIB);
  close_yard(&yard);
}

static void test_describe(void **state) {
  (void)state;
  rh_yard yard;
  rh_broker_limits limits = plain;
  limits.gpu_count = 1;
  limits.gpu_bytes[0] = 10 * MIB;
  limits.max_loaded = 7;
  open_yard(&yard, &limits);
  rh_owner *a = bring(&yard, "a", 50, 1), *b = join(&yard, "b", 60);
  a->view.ram_used_bytes = 20 * MIB;
  rh_broker_measured(a->tenant);
  want(&yard, b, 1);
  json_t *about = rh_broker_describe(yard.broker);
  assert_int_equal(number(about, "ram", "budget_bytes"), 100 * MIB);
  assert_int_equal(number(about, "ram", "reserved_bytes"), 50 * MIB);
  assert_int_equal(number(about, "ram", "used_bytes"), 20 * MIB);
  assert_int_equal(json_array_size(json_object_get(about, "gpus")), 1);
  assert_int_equal(json_integer_value(json_object_get(about, "loaded")), 1);
  assert_int_equal(json_integer_value(json_object_get(about, "max_loaded")), 7);
  assert_string_equal(json_string_value(json_array_get(json_object_get(about, "waiting"), 0)), "b");
  json_decref(about);
  close_yard(&yard);
}

// --- with the real clock and loop ----------------------------------------------------------------------------------

static bool is_held(void *ctx) { return ((rh_owner *)ctx)->held > 0; }
static bool is_refused(void *ctx) { return ((rh_owner *)ctx)->refused > 0; }
static bool is_started(void *ctx) { return ((rh_owner *)ctx)->started > 0; }

static void test_patience_and_waits_end_by_themselves(void **state) {
  (void)state;
  rh_yard yard;
  rh_broker_limits limits = plain;
  limits.patience_ns = 20 * RH_NS_PER_MS;
  limits.wait_max_ns = rh_scaled_ns(150 * RH_NS_PER_MS);
  open_yard(&yard, &limits);
  yard.broker->clock = rh_clock_now_ns;
  rh_owner *a = join(&yard, "a", 60), *b = join(&yard, "b", 60);
  rh_broker_want(a->tenant);
  assert_true(rh_run_until(yard.loop, is_started, a));
  a->view.running = 1;
  rh_broker_loaded(a->tenant);
  uint64_t begun = rh_clock_now_ns();
  rh_broker_want(b->tenant);
  assert_true(rh_run_until(yard.loop, is_held, a));
  assert_true(rh_clock_now_ns() - begun >= limits.patience_ns);
  assert_true(rh_run_until(yard.loop, is_refused, b));
  assert_true(rh_clock_now_ns() - begun >= limits.wait_max_ns);
  close_yard(&yard);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_more_than_the_whole_budget),
      cmocka_unit_test(test_the_wait_has_an_end),
      cmocka_unit_test(test_the_machine_itself_is_short),
      cmocka_unit_test(test_watermark),
      cmocka_unit_test(test_owners_may_part_inside_calls),
      cmocka_unit_test(test_owners_may_report_inside_calls),
      cmocka_unit_test(test_work_that_comes_in_between_stops_an_eviction),
      cmocka_unit_test(test_leaving_before_the_start_was_told),
      cmocka_unit_test(test_plan_changes_nothing),
      cmocka_unit_test(test_describe),
      cmocka_unit_test(test_patience_and_waits_end_by_themselves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
