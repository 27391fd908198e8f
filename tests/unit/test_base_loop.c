// SPDX-License-Identifier: Apache-2.0
//
// base/loop (and base/list under it): the order of a turn, and owners that leave in the middle of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

static rh_loop *loop;
static char trace[256];  // what ran, one letter each

static int set_up(void **state) {
  (void)state;
  trace[0] = '\0';
  loop = rh_loop_new();
  return loop == NULL ? -1 : 0;
}

static int tear_down(void **state) {
  (void)state;
  rh_loop_free(loop);
  return 0;
}

static void note(const char *what) {
  assert_true(strlen(trace) + strlen(what) < sizeof trace);
  strcat(trace, what);
}

static void run(void) { assert_int_equal(rh_loop_run(loop), RH_OK); }

static void stop_now(void *ctx) {
  (void)ctx;
  note(".");
  rh_loop_stop(loop);
}

// Ends the run after `ms`.
static rh_timer stopper;
static void stop_after(uint64_t ms) {
  stopper = (rh_timer){.fn = stop_now};
  rh_loop_timer_set(loop, &stopper, ms * RH_NS_PER_MS);
}

static void note_ctx(void *ctx) { note(ctx); }

// Timers.

static void test_timers_run_in_order_and_not_early(void **state) {
  (void)state;
  char names[3][2] = {"c", "a", "b"};
  uint64_t delays[3] = {15, 1, 8};
  rh_timer timers[3];
  uint64_t begin = rh_clock_now_ns();
  for (int i = 0; i < 3; i++) {
    timers[i] = (rh_timer){.fn = note_ctx, .ctx = names[i]};
    rh_loop_timer_set(loop, &timers[i], delays[i] * RH_NS_PER_MS);
    assert_int_not_equal(timers[i].heap_slot, 0);
  }
  stop_after(20);
  run();
  assert_true(rh_clock_now_ns() - begin >= 20 * RH_NS_PER_MS);
  assert_string_equal(trace, "abc.");
  for (int i = 0; i < 3; i++) assert_int_equal(timers[i].heap_slot, 0);
}

static void test_timers_are_re_armed_and_cancelled(void **state) {
  (void)state;
  rh_timer a = {.fn = note_ctx, .ctx = (char[]){"a"}};
  rh_timer b = {.fn = note_ctx, .ctx = (char[]){"b"}};
  rh_timer c = {.fn = note_ctx, .ctx = (char[]){"c"}};
  rh_loop_timer_cancel(loop, &a);  // never armed
  rh_loop_timer_set(loop, &a, 1 * RH_NS_PER_MS);
  rh_loop_timer_set(loop, &b, 2 * RH_NS_PER_MS);
  rh_loop_timer_set(loop, &c, UINT64_MAX);
  rh_loop_timer_set(loop, &a, 6 * RH_NS_PER_MS);  // later
  rh_loop_timer_set(loop, &c, 0);                 // earlier
  rh_timer d = {.fn = note_ctx, .ctx = (char[]){"d"}};
  rh_loop_timer_set(loop, &d, 3 * RH_NS_PER_MS);
  rh_loop_timer_cancel(loop, &d);
  rh_loop_timer_cancel(loop, &d);
  assert_int_equal(d.heap_slot, 0);
  stop_after(12);
  run();
  assert_string_equal(trace, "cba.");
}

static rh_timer again_timer;
static int again_count;
static void arm_again(void *ctx) {
  (void)ctx;
  if (++again_count < 5)
    rh_loop_timer_set(loop, &again_timer, 0);
  else
    rh_loop_stop(loop);
}

static void test_a_timer_may_arm_itself(void **state) {
  (void)state;
  again_count = 0;
  again_timer = (rh_timer){.fn = arm_again};
  rh_loop_timer_set(loop, &again_timer, 0);
  run();
  assert_int_equal(again_count, 5);
  assert_int_equal(again_timer.heap_slot, 0);
}

// Many timers set, moved and cancelled at random: what remains runs in order of time, each once.
typedef struct many {
  rh_timer timer;
  bool armed;
} many;

static uint64_t last_due;
static int many_ran;

static void many_fired(void *ctx) {
  many *one = ctx;
  assert_true(one->armed);
  assert_true(one->timer.due_ns >= last_due);
  last_due = one->timer.due_ns;
  one->armed = false;
  many_ran++;
}

static void test_many_timers(void **state) {
  (void)state;
  enum { COUNT = 500 };
  many *all = calloc(COUNT, sizeof *all);
  assert_non_null(all);
  unsigned random = 5;
  last_due = 0;
  many_ran = 0;
  for (int step = 0; step < 20000; step++) {
    random = random * 1103515245u + 12345u;
    many *one = &all[(random >> 16) % COUNT];
    one->timer.fn = many_fired;
    one->timer.ctx = one;
    random = random * 1103515245u + 12345u;
    one->armed = (random >> 16) % 4 != 0;
    // All due within 10 ms after the last was set, so that none depends on when the loop begins.
    if (one->armed)
      rh_loop_timer_set(loop, &one->timer, (random >> 8) % (10 * RH_NS_PER_MS));
    else
      rh_loop_timer_cancel(loop, &one->timer);
  }
  int expected = 0;
  for (int i = 0; i < COUNT; i++) {
    expected += all[i].armed;
    assert_int_equal(all[i].armed, all[i].timer.heap_slot != 0);
  }
  stop_after(30);
  run();
  assert_int_equal(many_ran, expected);
  for (int i = 0; i < COUNT; i++) assert_int_equal(all[i].timer.heap_slot, 0);
  free(all);
}

// File descriptors.

typedef struct source {
  rh_watch watch;
  const char *name;
  struct source *drops;  // unwatched when this one runs
  bool drain;
} source;

static void source_ready(void *ctx, uint32_t events) {
  source *self = ctx;
  assert_true((events & (EPOLLIN | EPOLLOUT)) != 0);
  note(self->name);
  uint64_t count;
  if (self->drain) assert_int_equal(read(self->watch.fd, &count, sizeof count), sizeof count);
  if (self->drops != NULL) {
    rh_loop_unwatch(loop, &self->drops->watch);
    (void)close(self->drops->watch.fd);
    memset(self->drops, 0xEE, sizeof *self->drops);  // as if it were freed
    self->drops = NULL;
  }
}

static void source_open(source *self, const char *name, unsigned ready) {
  *self = (source){.name = name, .drain = true};
  self->watch.fd = eventfd(ready, EFD_NONBLOCK | EFD_CLOEXEC);
  assert_true(self->watch.fd >= 0);
  self->watch.fn = source_ready;
  self->watch.ctx = self;
  assert_int_equal(rh_loop_watch(loop, &self->watch, EPOLLIN), RH_OK);
  assert_true(self->watch.active);
}

static void source_close(source *self) {
  rh_loop_unwatch(loop, &self->watch);
  assert_false(self->watch.active);
  rh_loop_unwatch(loop, &self->watch);  // twice is fine
  (void)close(self->watch.fd);
}

static void test_a_ready_descriptor_is_told(void **state) {
  (void)state;
  source a, b;
  source_open(&a, "a", 1);
  source_open(&b, "b", 0);
  stop_after(5);
  run();
  assert_string_equal(trace, "a.");
  assert_int_equal(rh_loop_modify(loop, &b.watch, EPOLLOUT), RH_OK);
  b.drain = false;
  rh_deferred stop = {.fn = stop_now};
  rh_loop_defer(loop, &stop);  // ends before any sleep
  run();
  assert_string_equal(trace, "a..");
  stop_after(0);
  run();
  assert_string_equal(trace, "a..b.");
  source_close(&a);
  source_close(&b);
}

static void test_a_watch_dropped_in_its_turn_is_not_called(void **state) {
  (void)state;
  source *a = malloc(sizeof *a);
  source *b = malloc(sizeof *b);
  assert_true(a != NULL && b != NULL);
  source_open(a, "a", 1);
  source_open(b, "b", 1);
  // Whoever is first drops the other, so exactly one of them runs.
  a->drops = b;
  b->drops = a;
  stop_after(5);
  run();
  assert_true(strcmp(trace, "a.") == 0 || strcmp(trace, "b.") == 0);
  source *left = trace[0] == 'a' ? a : b;
  source_close(left);
  free(a);
  free(b);
}

static void test_a_descriptor_that_cannot_be_watched(void **state) {
  (void)state;
  rh_watch bad = {.fd = -1, .fn = source_ready};
  assert_int_equal(rh_loop_watch(loop, &bad, EPOLLIN), RH_IO);
  assert_false(bad.active);
  rh_loop_unwatch(loop, &bad);
  // Closed before it was unwatched.
  source a;
  source_open(&a, "a", 1);
  (void)close(a.watch.fd);
  rh_loop_unwatch(loop, &a.watch);
  assert_false(a.watch.active);
}

static void test_more_descriptors_than_one_turn_takes(void **state) {
  (void)state;
  source *all = calloc(150, sizeof *all);
  assert_non_null(all);
  for (int i = 0; i < 150; i++) source_open(&all[i], "x", 1);
  stop_after(10);
  run();
  assert_int_equal(strlen(trace), 151);
  for (int i = 0; i < 150; i++) source_close(&all[i]);
  free(all);
}

// Deferred calls.

static rh_deferred first, second, third;

static void defer_others(void *ctx) {
  (void)ctx;
  note("1");
  rh_loop_defer(loop, &third);   // a later round
  rh_loop_defer(loop, &second);  // is in this round already
}

static void undefer_second(void *ctx) {
  (void)ctx;
  note("u");
  rh_loop_undefer(loop, &second);
}

static void test_deferred_runs_once_in_order_before_sleeping(void **state) {
  (void)state;
  first = (rh_deferred){.fn = defer_others};
  second = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"2"}};
  third = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"3"}};
  rh_loop_defer(loop, &first);
  rh_loop_defer(loop, &second);
  rh_loop_defer(loop, &second);
  stop_after(0);
  run();
  assert_string_equal(trace, "123.");
  assert_false(rh_list_linked(&first.node));
}

static void test_undefer_inside_the_round(void **state) {
  (void)state;
  first = (rh_deferred){.fn = undefer_second};
  second = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"2"}};
  third = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"3"}};
  rh_loop_undefer(loop, &first);  // not deferred
  rh_loop_defer(loop, &first);
  rh_loop_defer(loop, &second);
  rh_loop_defer(loop, &third);
  stop_after(0);
  run();
  assert_string_equal(trace, "u3.");
}

static int endless_count;
static void defer_itself(void *ctx) {
  endless_count++;
  rh_loop_defer(loop, ctx);
}

static void test_endless_deferring_does_not_starve_the_rest(void **state) {
  (void)state;
  source a;
  source_open(&a, "a", 1);
  endless_count = 0;
  first = (rh_deferred){.fn = defer_itself, .ctx = &first};
  rh_loop_defer(loop, &first);
  stop_after(2);
  run();
  assert_string_equal(trace, "a.");
  assert_true(endless_count > 1);
  rh_loop_undefer(loop, &first);
  source_close(&a);
}

static void defer_first(void *ctx) {
  (void)ctx;
  note("t");
  rh_loop_defer(loop, &first);
  rh_loop_stop(loop);
}

static void test_stop_finishes_the_turn(void **state) {
  (void)state;
  first = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"d"}};
  rh_timer timer = {.fn = defer_first};
  rh_loop_timer_set(loop, &timer, 0);
  run();
  assert_string_equal(trace, "td");
  // Stopped before it runs: it returns at once, and only once.
  rh_loop_stop(loop);
  run();
  stop_after(1);
  run();
  assert_string_equal(trace, "td.");
}

// Idle.

static int idle_calls;
static uint64_t idle_wish(void *ctx) {
  idle_calls++;
  note("i");
  if (idle_calls == 4) rh_loop_stop(loop);
  return *(uint64_t *)ctx;
}

static void test_idle_shortens_the_sleep(void **state) {
  (void)state;
  uint64_t wish = 2 * RH_NS_PER_MS;
  idle_calls = 0;
  rh_loop_set_idle(loop, idle_wish, &wish);
  first = (rh_deferred){.fn = note_ctx, .ctx = (char[]){"d"}};
  rh_loop_defer(loop, &first);
  uint64_t begin = rh_clock_now_ns();
  run();  // nothing else would ever wake it
  uint64_t took = rh_clock_now_ns() - begin;
  assert_true(took >= 6 * RH_NS_PER_MS);
  assert_string_equal(trace, "diiii");
  rh_loop_set_idle(loop, NULL, NULL);
}

static uint64_t idle_defers(void *ctx) {
  (void)ctx;
  if (idle_calls++ == 0) rh_loop_defer(loop, &first);
  return UINT64_MAX;
}

static void test_idle_may_defer(void **state) {
  (void)state;
  idle_calls = 0;
  first = (rh_deferred){.fn = stop_now};
  rh_loop_set_idle(loop, idle_defers, NULL);
  run();  // would sleep for ever if the deferred call were forgotten
  assert_string_equal(trace, ".");
}

// The list.

typedef struct item {
  int number;
  rh_list_node node;
} item;

typedef struct log_case {
  rh_timer first, second;
  int ends[2];
  char seen[2][512];
} log_case;

static void log_and_look(void *ctx) {
  log_case *c = ctx;
  RH_LOG(RH_LOG_INFO, "from a callback", rh_log_int("n", 1));
  if (read(c->ends[0], c->seen[0], sizeof c->seen[0] - 1) > 0) return;
  rh_loop_timer_set(loop, &c->second, RH_NS_PER_MS);
}

static void look_and_stop(void *ctx) {
  log_case *c = ctx;
  assert_true(read(c->ends[0], c->seen[1], sizeof c->seen[1] - 1) > 0);
  RH_LOG(RH_LOG_INFO, "the last one", rh_log_int("n", 2));
  rh_loop_stop(loop);
}

static void test_lines_of_a_turn_are_written_before_it_sleeps(void **state) {
  (void)state;
  log_case c = {.seen = {""}};
  c.first = (rh_timer){.fn = log_and_look, .ctx = &c};
  c.second = (rh_timer){.fn = look_and_stop, .ctx = &c};
  assert_int_equal(pipe2(c.ends, O_NONBLOCK), 0);
  rh_log_setup(c.ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_loop_timer_set(loop, &c.first, 0);
  run();
  assert_string_equal(c.seen[0], "");
  assert_non_null(strstr(c.seen[1], "from a callback"));
  char rest[512] = "";
  assert_true(read(c.ends[0], rest, sizeof rest - 1) > 0);
  assert_non_null(strstr(rest, "the last one"));
  rh_log_setup(STDERR_FILENO, RH_LOG_INFO, RH_LOG_JSON);
  close(c.ends[0]);
  close(c.ends[1]);
}

static void test_lists(void **state) {
  (void)state;
  rh_list list;
  item items[4];
  rh_list_init(&list);
  assert_null(rh_list_first(&list));
  for (int i = 0; i < 4; i++) {
    items[i] = (item){.number = i};
    assert_false(rh_list_linked(&items[i].node));
    if (i % 2 == 0)
      rh_list_push_back(&list, &items[i].node);
    else
      rh_list_push_front(&list, &items[i].node);
  }
  int order[] = {3, 1, 0, 2};
  int at = 0;
  rh_list_each(&list, node) {
    assert_int_equal(rh_list_entry(node, item, node)->number, order[at++]);
    if (at % 2 == 0) rh_list_remove(&list, node);
  }
  assert_int_equal(at, 4);
  assert_int_equal(list.count, 2);
  assert_ptr_equal(rh_list_first(&list), &items[3].node);
  assert_ptr_equal(rh_list_next(&list, &items[3].node), &items[0].node);
  assert_null(rh_list_next(&list, &items[0].node));
  assert_false(rh_list_linked(&items[1].node));
}

#define loop_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      loop_test(test_timers_run_in_order_and_not_early),
      loop_test(test_timers_are_re_armed_and_cancelled),
      loop_test(test_a_timer_may_arm_itself),
      loop_test(test_many_timers),
      loop_test(test_a_ready_descriptor_is_told),
      loop_test(test_a_watch_dropped_in_its_turn_is_not_called),
      loop_test(test_a_descriptor_that_cannot_be_watched),
      loop_test(test_more_descriptors_than_one_turn_takes),
      loop_test(test_deferred_runs_once_in_order_before_sleeping),
      loop_test(test_undefer_inside_the_round),
      loop_test(test_endless_deferring_does_not_starve_the_rest),
      loop_test(test_stop_finishes_the_turn),
      loop_test(test_idle_shortens_the_sleep),
      loop_test(test_idle_may_defer),
      loop_test(test_lines_of_a_turn_are_written_before_it_sleeps),
      cmocka_unit_test(test_lists),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
