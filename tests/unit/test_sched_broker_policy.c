// SPDX-License-Identifier: Apache-2.0
//
// The broker's choices alone: sums, costs, and who makes room for whom.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sched/broker_policy.h"

#define MIB INT64_C(1048576)
#define NOW (10000 * RH_NS_PER_S)

static rh_policy_room room_of(int64_t ram_mib, int64_t places) {
  rh_broker_limits limits = {.ram_bytes = ram_mib * MIB, .max_loaded = places};
  return (rh_policy_room){
      .budget = rh_amount_of_limits(&limits), .ram_now = RH_UNLIMITED, .ram_then = RH_UNLIMITED, .now_ns = NOW};
}

static rh_amount ram(int64_t mib) { return (rh_amount){.at = {[RH_RAM] = mib * MIB, [RH_PLACES] = 1}}; }

// An idle one that was used `idle_s` ago and takes a second to load again.
static rh_policy_item item_of(const char *name, int64_t mib, double idle_s) {
  return (rh_policy_item){
      .view = {.name = name, .frequency = 10, .reload_ms = 1000, .last_used_ns = NOW - (uint64_t)(idle_s * 1e9)},
      .state = RH_TENANT_IN,
      .reserved = ram(mib)};
}

static rh_policy_item busy(rh_policy_item item) {
  item.view.running = 1;
  return item;
}

static size_t marked(const rh_policy_item *items, size_t count, bool hold) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) found += (hold ? items[i].hold : items[i].evict) ? 1 : 0;
  return found;
}

static void test_empty(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_amount need = ram(100), more = ram(101);
  assert_int_equal(rh_policy_fit(NULL, 0, &room, &need), RH_FIT_NOW);
  assert_int_equal(rh_policy_fit(NULL, 0, &room, &more), RH_FIT_NEVER);
}

static void test_the_least_recently_used_goes_first(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {item_of("new", 40, 5), item_of("old", 40, 5000), item_of("middle", 20, 500)};
  rh_amount need = ram(40);
  assert_int_equal(rh_policy_fit(items, 3, &room, &need), RH_FIT_EVICTING);
  assert_true(items[1].evict);
  assert_int_equal(marked(items, 3, false), 1);
}

static void test_frequency_reload_time_and_size_count(void **state) {
  (void)state;
  rh_policy_item often = item_of("often", 40, 60), seldom = item_of("seldom", 40, 60);
  often.view.frequency = 100;
  seldom.view.frequency = 1;
  assert_true(rh_policy_cost(&often.view, NOW) > rh_policy_cost(&seldom.view, NOW));
  rh_policy_item slow = item_of("slow", 40, 60), quick = item_of("quick", 40, 60);
  slow.view.reload_ms = 60000;
  assert_true(rh_policy_cost(&slow.view, NOW) > rh_policy_cost(&quick.view, NOW));
  // The same cost for twice the bytes is half the price.
  rh_policy_item big = item_of("big", 80, 60);
  double one = rh_policy_eviction_score(&quick.view, &quick.reserved, NOW);
  double two = rh_policy_eviction_score(&big.view, &big.reserved, NOW);
  assert_true(one > 1.99 * two && one < 2.01 * two);
  // Nonsense from an owner is no crash and no NaN.
  rh_tenant_view odd = {.last_used_ns = NOW + 5, .frequency = -1, .reload_ms = -1};
  assert_true(rh_policy_cost(&odd, NOW) > 0);
}

static void test_pinned_busy_and_waiting_stay(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {item_of("pinned", 30, 9000), busy(item_of("busy", 30, 9000)), item_of("queued", 30, 9000),
                            item_of("idle", 10, 1)};
  items[0].view.pinned = true;
  items[2].view.queued = 1;
  rh_amount need = ram(10);
  assert_int_equal(rh_policy_fit(items, 4, &room, &need), RH_FIT_EVICTING);
  assert_true(items[3].evict);
  assert_int_equal(marked(items, 4, false), 1);
  // More than the idle one has: somebody busy must be drained, and it is the cheaper of the two.
  need = ram(40);
  items[1].view.running = 5;
  assert_int_equal(rh_policy_fit(items, 4, &room, &need), RH_FIT_HOLDING);
  assert_true(items[2].hold && items[3].evict && !items[0].hold && !items[1].hold);
  // All but the pinned one together.
  need = ram(70);
  assert_int_equal(rh_policy_fit(items, 4, &room, &need), RH_FIT_HOLDING);
  assert_int_equal(marked(items, 4, true), 2);
  need = ram(71);
  assert_int_equal(rh_policy_fit(items, 4, &room, &need), RH_FIT_PINNED);
  assert_int_equal(marked(items, 4, true) + marked(items, 4, false), 0);
}

static void test_nobody_goes_in_vain(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  // The cheap small one alone is not enough; once the large one goes it need not.
  rh_policy_item items[] = {item_of("small", 10, 9000), item_of("large", 90, 1)};
  rh_amount need = ram(80);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_false(items[0].evict);
  assert_true(items[1].evict);
  // Not even where several must go.
  rh_policy_item three[] = {item_of("small", 10, 9000), item_of("a", 50, 1), item_of("b", 40, 1)};
  need = ram(85);
  assert_int_equal(rh_policy_fit(three, 3, &room, &need), RH_FIT_EVICTING);
  assert_true(!three[0].evict && three[1].evict && three[2].evict);
}

static void test_one_may_be_cheaper_than_many(void **state) {
  (void)state;
  rh_policy_room room = room_of(130, 0);
  // By bytes the first two are the cheaper ones, but together they cost more than the third, which does alone.
  rh_policy_item items[] = {item_of("a", 40, 60), item_of("b", 40, 60), item_of("c", 50, 60)};
  items[0].view.reload_ms = items[1].view.reload_ms = 400;
  items[2].view.reload_ms = 600;
  rh_amount need = ram(50);
  assert_int_equal(rh_policy_fit(items, 3, &room, &need), RH_FIT_EVICTING);
  assert_true(items[2].evict && !items[0].evict && !items[1].evict);
  items[2].view.reload_ms = 900;  // now it does not pay
  assert_int_equal(rh_policy_fit(items, 3, &room, &need), RH_FIT_EVICTING);
  assert_true(items[0].evict && items[1].evict && !items[2].evict);
}

static void test_who_leaves_is_waited_for(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {item_of("leaving", 60, 1), item_of("idle", 40, 9000)};
  items[0].state = RH_TENANT_LEAVING;
  items[0].gone = true;
  rh_amount need = ram(60);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_LEAVING);
  assert_int_equal(marked(items, 2, false), 0);
  need = ram(61);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_true(items[1].evict && !items[0].evict);
}

static void test_what_others_were_promised_is_theirs(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {busy(item_of("busy", 60, 1))};
  items[0].gone = true;  // it will be drained for the one who was promised 70
  room.promised = ram(70);
  rh_amount small = ram(30), large = ram(31);
  assert_int_equal(rh_policy_fit(items, 1, &room, &small), RH_FIT_NOW);
  assert_int_equal(rh_policy_fit(items, 1, &room, &large), RH_FIT_BLOCKED);
}

static void test_who_came_a_moment_ago_is_not_drained(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {busy(item_of("young", 50, 1)), busy(item_of("old", 50, 1))};
  items[0].young = true;
  items[1].view.running = 8;  // dearer, but the only one that may be asked
  rh_amount need = ram(50);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_HOLDING);
  assert_true(items[1].hold && !items[0].hold);
  items[1].state = RH_TENANT_LOADING;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_LATER);
  assert_int_equal(marked(items, 2, true), 1);
}

static void test_held_ones_are_kept_to(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {busy(item_of("cheap", 50, 9000)), busy(item_of("held", 50, 1))};
  items[1].held = true;
  rh_amount need = ram(50);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_HOLDING);
  assert_true(items[1].hold && !items[0].hold);
  // It has ended what it ran; requests wait for it, but its turn is over.
  items[1].view.running = 0;
  items[1].view.queued = 7;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_true(items[1].evict && !items[0].hold);
  // Somebody who is idle altogether is the better choice still.
  items[0].view.running = 0;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_true(items[0].evict && !items[1].evict);
}

static void test_places_are_a_resource(void **state) {
  (void)state;
  rh_policy_room room = room_of(1000, 2);
  // Only a place is short: the one that costs least goes, however small it is.
  rh_policy_item items[] = {item_of("large", 500, 60), item_of("small", 1, 60)};
  items[1].view.reload_ms = 900;
  rh_amount need = ram(10);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_true(items[1].evict && !items[0].evict);
}

static void test_the_machine_has_the_last_word(void **state) {
  (void)state;
  rh_policy_room room = room_of(100, 0);
  rh_policy_item items[] = {item_of("idle", 20, 60), busy(item_of("busy", 20, 60))};
  rh_amount need = ram(20);
  room.ram_now = room.ram_then = 60 * MIB;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_NOW);
  room.ram_now = room.ram_then = 59 * MIB;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  room.ram_now = room.ram_then = 19 * MIB;
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_BLOCKED);
  assert_int_equal(marked(items, 2, false), 0);  // nobody leaves for what would not help
}

static void test_gpus(void **state) {
  (void)state;
  rh_broker_limits limits = {.ram_bytes = 100 * MIB, .gpu_count = 2, .gpu_bytes = {60 * MIB, 30 * MIB}};
  rh_amount part = rh_amount_of(&limits, 1 * MIB, 45 * MIB);
  assert_int_equal(part.at[RH_GPU], 30 * MIB);
  assert_int_equal(part.at[RH_GPU + 1], 15 * MIB);
  assert_int_equal(rh_amount_gpu(&part), 45 * MIB);
  rh_policy_room room = room_of(100, 0);
  room.budget = rh_amount_of_limits(&limits);
  // Leaving RAM alone does not help a GPU.
  rh_policy_item items[] = {item_of("ram", 50, 9000), item_of("gpu", 1, 1)};
  items[1].reserved = rh_amount_of(&limits, 1 * MIB, 60 * MIB);
  rh_amount need = rh_amount_of(&limits, 1 * MIB, 45 * MIB), all = rh_amount_of(&limits, 0, 91 * MIB);
  assert_int_equal(rh_policy_fit(items, 2, &room, &need), RH_FIT_EVICTING);
  assert_true(items[1].evict && !items[0].evict);
  assert_int_equal(rh_policy_fit(items, 2, &room, &all), RH_FIT_NEVER);
  // Without a GPU its part lies in RAM.
  limits.gpu_count = 0;
  rh_amount fallback = rh_amount_of(&limits, 1 * MIB, 45 * MIB);
  assert_int_equal(fallback.at[RH_RAM], 46 * MIB);
}

static void test_sums_do_not_overflow(void **state) {
  (void)state;
  rh_broker_limits limits = {0};  // no limits at all
  rh_policy_room room = room_of(0, 0);
  room.budget = rh_amount_of_limits(&limits);
  rh_policy_item items[8];
  for (size_t i = 0; i < 8; i++) {
    items[i] = item_of("huge", 1, 1);
    items[i].reserved = rh_amount_of(&limits, INT64_MAX, 0);
  }
  rh_amount need = rh_amount_of(&limits, INT64_MAX, -5);
  assert_int_equal(rh_policy_fit(items, 8, &room, &need), RH_FIT_NOW);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_the_least_recently_used_goes_first),
      cmocka_unit_test(test_frequency_reload_time_and_size_count),
      cmocka_unit_test(test_pinned_busy_and_waiting_stay),
      cmocka_unit_test(test_nobody_goes_in_vain),
      cmocka_unit_test(test_one_may_be_cheaper_than_many),
      cmocka_unit_test(test_who_leaves_is_waited_for),
      cmocka_unit_test(test_what_others_were_promised_is_theirs),
      cmocka_unit_test(test_who_came_a_moment_ago_is_not_drained),
      cmocka_unit_test(test_held_ones_are_kept_to),
      cmocka_unit_test(test_places_are_a_resource),
      cmocka_unit_test(test_the_machine_has_the_last_word),
      cmocka_unit_test(test_gpus),
      cmocka_unit_test(test_sums_do_not_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
