// SPDX-License-Identifier: Apache-2.0
//
// Which texts go together, and when a batch waits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "task/batch.h"

static const rh_batch_limits limits = {.tokens = 1000, .rows = 8, .waste = 0.1, .slack = 16};

static size_t choose(const size_t *lengths, size_t count, size_t anchor, size_t *chosen) {
  rh_batch_candidate candidates[RH_BATCH_CANDIDATES_MAX] = {{0}};
  for (size_t i = 0; i < count; i++) candidates[i].tokens = lengths[i];
  return rh_batch_choose(candidates, count, anchor, &limits, chosen);
}

static bool has(const size_t *chosen, size_t count, size_t wanted) {
  for (size_t i = 0; i < count; i++) {
    if (chosen[i] == wanted) return true;
  }
  return false;
}

static void those_of_one_length_go_together(void **state) {
  (void)state;
  const size_t lengths[] = {100, 20, 101, 500, 99, 21, 300};
  size_t chosen[8];
  size_t count = choose(lengths, 7, 0, chosen);
  assert_int_equal(count, 3);
  assert_int_equal(chosen[0], 0);
  assert_true(has(chosen, count, 2) && has(chosen, count, 4));
  count = choose(lengths, 7, 1, chosen);
  assert_int_equal(count, 2);
  assert_true(has(chosen, count, 5));
  assert_int_equal(choose(lengths, 7, 3, chosen), 1);
}

static void a_batch_keeps_its_limits(void **state) {
  (void)state;
  size_t lengths[20], chosen[8];
  for (size_t i = 0; i < 20; i++) lengths[i] = 10;
  assert_int_equal(choose(lengths, 20, 3, chosen), 8);
  for (size_t i = 0; i < 20; i++) lengths[i] = 300;
  assert_int_equal(choose(lengths, 20, 3, chosen), 3);
  // One that is longer than a whole batch goes by itself.
  lengths[0] = 5000;
  assert_int_equal(choose(lengths, 20, 0, chosen), 1);
}

static void short_ones_may_differ_a_little(void **state) {
  (void)state;
  const size_t lengths[] = {3, 8, 5};
  size_t chosen[8];
  assert_int_equal(choose(lengths, 3, 0, chosen), 3);
}

static void what_failed_with_others_goes_alone(void **state) {
  (void)state;
  rh_batch_candidate candidates[3] = {{.tokens = 10}, {.tokens = 10, .alone = true}, {.tokens = 10}};
  size_t chosen[8];
  assert_int_equal(rh_batch_choose(candidates, 3, 0, &limits, chosen), 2);
  assert_int_equal(chosen[1], 2);
  assert_int_equal(rh_batch_choose(candidates, 3, 1, &limits, chosen), 1);
}

static void equals_go_by_their_turn(void **state) {
  (void)state;
  rh_batch_candidate candidates[12];
  for (size_t i = 0; i < 12; i++) candidates[i] = (rh_batch_candidate){.tokens = 10, .turn = i == 11 ? 0 : 5};
  size_t chosen[8];
  assert_int_equal(rh_batch_choose(candidates, 12, 0, &limits, chosen), 8);
  assert_int_equal(chosen[1], 11);
}

// Whatever the lengths: the anchor is in, the limits hold, padding is within what was allowed, and with every batch's
// anchor taken from the front all are computed.
static void any_lengths_are_worked_off(void **state) {
  (void)state;
  unsigned seed = 7;
  for (int round = 0; round < 200; round++) {
    rh_batch_candidate candidates[200];
    size_t count = 1 + (seed = seed * 1103515245u + 12345u) / 65536u % 200u;
    for (size_t i = 0; i < count; i++) {
      candidates[i] = (rh_batch_candidate){.tokens = 1 + (seed = seed * 1103515245u + 12345u) / 65536u % 512u};
    }
    while (count > 0) {
      size_t chosen[8];
      size_t taken = rh_batch_choose(candidates, count, 0, &limits, chosen);
      size_t longest = 0, sum = 0;
      bool gone[200] = {false};
      assert_in_range(taken, 1, 8);
      assert_int_equal(chosen[0], 0);
      for (size_t i = 0; i < taken; i++) {
        assert_true(chosen[i] < count && !gone[chosen[i]]);
        gone[chosen[i]] = true;
        size_t tokens = candidates[chosen[i]].tokens;
        longest = tokens > longest ? tokens : longest;
        sum += tokens;
      }
      size_t area = longest * taken, padding = area - sum;
      assert_true(taken == 1 || area <= limits.tokens);
      assert_true(padding <= limits.slack || (double)padding <= limits.waste * (double)area);
      size_t kept = 0;
      for (size_t i = 0; i < count; i++) {
        if (!gone[i]) candidates[kept++] = candidates[i];
      }
      count = kept;
    }
  }
}

static void a_lone_client_never_waits(void **state) {
  (void)state;
  rh_batch_pace pace = {.wait_ns = 2 * RH_NS_PER_MS};
  uint64_t now = 1000 * RH_NS_PER_S;
  for (int i = 0; i < 10; i++) {
    rh_batch_pace_note(&pace, 1, now);
    assert_int_equal(rh_batch_pace_until(&pace, 1, false, now), 0);
    rh_batch_pace_answered(&pace, now += RH_NS_PER_MS);
  }
}

static void a_crowd_is_waited_for_but_not_long(void **state) {
  (void)state;
  rh_batch_pace pace = {.wait_ns = 2 * RH_NS_PER_MS};
  uint64_t now = 1000 * RH_NS_PER_S;
  rh_batch_pace_note(&pace, 8, now);
  rh_batch_pace_answered(&pace, now);
  uint64_t until = rh_batch_pace_until(&pace, 1, false, now);
  assert_true(until > now && until <= now + 2 * RH_NS_PER_MS);
  assert_int_equal(rh_batch_pace_until(&pace, 1, true, now), 0);   // full
  assert_int_equal(rh_batch_pace_until(&pace, 8, false, now), 0);  // all are here
  assert_int_equal(rh_batch_pace_until(&pace, 1, false, now + 2 * RH_NS_PER_MS), 0);
  // Long after the last answer nobody is on the way any more, and a crowd of long ago says nothing.
  assert_int_equal(rh_batch_pace_until(&pace, 1, false, now + 100 * RH_NS_PER_MS), 0);
  rh_batch_pace_answered(&pace, now + 5 * RH_NS_PER_S);
  assert_int_equal(rh_batch_pace_until(&pace, 1, false, now + 5 * RH_NS_PER_S), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(those_of_one_length_go_together), cmocka_unit_test(a_batch_keeps_its_limits),
      cmocka_unit_test(short_ones_may_differ_a_little),  cmocka_unit_test(what_failed_with_others_goes_alone),
      cmocka_unit_test(equals_go_by_their_turn),         cmocka_unit_test(any_lengths_are_worked_off),
      cmocka_unit_test(a_lone_client_never_waits),       cmocka_unit_test(a_crowd_is_waited_for_but_not_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
