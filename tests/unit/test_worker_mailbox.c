// SPDX-License-Identifier: Apache-2.0
//
// The mailbox alone: order, bounds, waiting, and many commands from one thread to another.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker/mailbox.h"

static void post(rh_mailbox *mailbox, rh_command_kind kind, uint32_t stream) {
  rh_command *command = rh_command_new(kind, stream, 0);
  assert_non_null(command);
  rh_mailbox_post(mailbox, command);
}

static size_t take_all(rh_mailbox *mailbox, uint64_t until, uint32_t *next, bool *open) {
  rh_list taken;
  rh_list_init(&taken);
  bool was_full = false;
  *open = rh_mailbox_take(mailbox, until, &taken, &was_full);
  size_t count = taken.count;
  rh_list_each(&taken, node) {
    rh_command *command = rh_list_entry(node, rh_command, node);
    rh_list_remove(&taken, node);
    assert_int_equal(command->stream, *next);
    (*next)++;
    rh_command_free(command);
  }
  return count;
}

static void test_bounds(void **state) {
  (void)state;
  rh_mailbox *mailbox = rh_mailbox_new(2, 1000);
  assert_true(rh_mailbox_has_room(mailbox));
  post(mailbox, RH_COMMAND_CREDIT, 0);
  post(mailbox, RH_COMMAND_CREDIT, 1);
  assert_false(rh_mailbox_has_room(mailbox));
  rh_list taken;
  rh_list_init(&taken);
  bool was_full = false;
  assert_true(rh_mailbox_take(mailbox, 0, &taken, &was_full));
  assert_true(was_full);
  assert_int_equal(taken.count, 2);
  rh_list_each(&taken, node) {
    rh_list_remove(&taken, node);
    rh_command_free(rh_list_entry(node, rh_command, node));
  }
  assert_true(rh_mailbox_take(mailbox, 0, &taken, &was_full));
  assert_false(was_full);
  rh_command *large = rh_command_new(RH_COMMAND_RUN, 1, 4096);
  assert_non_null(rh_arena_alloc(large->arena, 2000));
  rh_mailbox_post(mailbox, large);
  assert_false(rh_mailbox_has_room(mailbox));  // by its bytes
  rh_mailbox_free(mailbox);                    // frees what was not taken
}

static void test_waiting_ends_in_time(void **state) {
  (void)state;
  rh_mailbox *mailbox = rh_mailbox_new(10, 1000);
  uint32_t next = 0;
  bool open = false;
  uint64_t begun = rh_clock_now_ns();
  assert_int_equal(take_all(mailbox, begun + 20 * RH_NS_PER_MS, &next, &open), 0);
  assert_true(open);
  assert_true(rh_clock_now_ns() - begun >= 20 * RH_NS_PER_MS);
  rh_mailbox_free(mailbox);
}

static void test_ending(void **state) {
  (void)state;
  rh_mailbox *mailbox = rh_mailbox_new(10, 1000);
  assert_false(rh_mailbox_is_ending(mailbox));
  post(mailbox, RH_COMMAND_UNLOAD, 0);
  assert_true(rh_mailbox_is_ending(mailbox));
  rh_mailbox_close(mailbox);
  uint32_t next = 0;
  bool open = true;
  assert_int_equal(take_all(mailbox, RH_MAILBOX_FOREVER, &next, &open), 1);
  assert_false(open);
  rh_mailbox_free(mailbox);
}

#define MANY 20000

static void *post_many(void *argument) {
  rh_mailbox *mailbox = argument;
  for (uint32_t i = 0; i < MANY; i++) {
    while (!rh_mailbox_has_room(mailbox)) sched_yield();
    rh_command *command = rh_command_new(RH_COMMAND_CREDIT, i, 0);
    if (command == NULL) break;
    rh_mailbox_post(mailbox, command);
  }
  rh_mailbox_close(mailbox);
  return NULL;
}

static void test_two_threads(void **state) {
  (void)state;
  rh_mailbox *mailbox = rh_mailbox_new(16, 1000);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, post_many, mailbox), 0);
  uint32_t next = 0;
  for (bool open = true; open;) (void)take_all(mailbox, RH_MAILBOX_FOREVER, &next, &open);
  pthread_join(thread, NULL);
  assert_int_equal(next, MANY);
  rh_mailbox_free(mailbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_waiting_ends_in_time),
      cmocka_unit_test(test_ending),
      cmocka_unit_test(test_two_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
