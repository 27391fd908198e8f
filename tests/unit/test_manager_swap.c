// SPDX-License-Identifier: Apache-2.0
//
// Hot swaps: an alias moves while requests run.
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "manager_fixture.h"

static int setup(void **state) {
  rh_model_yard *yard = malloc(sizeof *yard);
  rh_yard_init(yard);
  rh_yard_add(yard, "m:v1", "{\"path\":\"fake:slots=4,context=100000\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "m:v2", "{\"path\":\"fake:slots=4,load_delay_ms=100\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "m:v3", "{\"path\":\"fake:slots=4\",\"memory\":\"80MiB\"}");
  rh_yard_add(yard, "bad:v1", "{\"path\":\"fake:load_delay_ms=50,load_fail=1\",\"memory\":\"80MiB\"}");
  *state = yard;
  return 0;
}

static int teardown(void **state) {
  rh_yard_close(*state);
  free(*state);
  return 0;
}

static rh_status move(rh_model_yard *yard, const char *alias, const char *target, bool replace, rh_yard_call *call,
                      rh_error *error) {
  rh_manager_callback callback = rh_yard_callback(call);
  // By its place in the list: a look-up by name would count as a request by name.
  rh_served *served = NULL;
  for (size_t i = 0; i < rh_manager_count(yard->manager); i++) {
    if (strcmp(rh_served_spec(rh_manager_at(yard->manager, i))->name, target) == 0) {
      served = rh_manager_at(yard->manager, i);
    }
  }
  assert_non_null(served);
  return rh_manager_alias(yard->manager, alias, served, replace, &callback, NULL, error);
}

// The alias points at v1, which is in memory because of a request for the alias.
static void begin(rh_model_yard *yard) {
  rh_yard_call call;
  rh_yard_client client;
  rh_yard_open(yard);
  assert_int_equal(move(yard, "prod", "m:v1", false, &call, NULL), RH_OK);
  assert_false(call.done);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  assert_int_equal(yard->loaded, 0);  // nothing was in memory: the alias just moved
  rh_yard_ask(yard, &client, "prod", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.ends, 1);
}

static const char *meant(rh_model_yard *yard, const char *alias) {
  return rh_served_spec(rh_yard_find(yard, alias))->name;
}

static void test_a_swap_under_load_fails_no_request(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_client running;
  rh_yard_ask(yard, &running, "prod", "[[tokens=100 delay_ms=5]]");
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  json_t *list = rh_manager_aliases(yard->manager);
  assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "swapping_to")), "m:v2");
  assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "model")), "m:v1");
  json_decref(list);
  // Requests while v2 loads are answered by v1, the later ones by v2, and none of them fails.
  unsigned by_v1 = 0, by_v2 = 0;
  while (!call.done || by_v2 < 5) {
    rh_yard_client client;
    rh_yard_ask(yard, &client, "prod", "hello");
    if (strcmp(rh_served_spec(client.served)->name, "m:v1") == 0)
      by_v1++;
    else
      by_v2++;
    rh_yard_answer(yard, &client);
    assert_int_equal(client.seen.ends, 1);
  }
  assert_int_equal(call.status, RH_OK);
  assert_true(by_v1 > 0);
  assert_string_equal(meant(yard, "prod"), "m:v2");
  // v1 finishes what it has and leaves.
  rh_yard_answer(yard, &running);
  assert_int_equal(running.seen.ends, 1);
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
  assert_string_equal(yard->left_why, "swap");
  assert_int_equal(rh_yard_state(yard, "m:v1"), RH_MEMBER_COLD);
  assert_int_equal(rh_yard_state(yard, "m:v2"), RH_MEMBER_READY);
}

static void test_rolling_back_is_the_same_call(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(move(yard, "prod", "m:v1", false, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  assert_string_equal(meant(yard, "prod"), "m:v1");
}

static void test_a_model_that_does_not_load_leaves_the_old_one(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "bad:v1", false, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_LOAD_FAILED);
  assert_non_null(strstr(call.error.message, "told to fail"));
  assert_string_equal(meant(yard, "prod"), "m:v1");
  assert_int_equal(rh_yard_state(yard, "m:v1"), RH_MEMBER_READY);
  json_t *list = rh_manager_aliases(yard->manager);
  assert_non_null(strstr(json_string_value(json_object_get(json_array_get(list, 0), "error")), "told to fail"));
  json_decref(list);
  assert_int_equal(yard->swapped, 1);
}

static void test_a_second_call_replaces_a_swap(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_call first, second, third;
  assert_int_equal(move(yard, "prod", "m:v2", false, &first, NULL), RH_OK);
  assert_int_equal(move(yard, "prod", "m:v3", false, &second, NULL), RH_OK);
  rh_yard_wait(yard, &first);
  assert_int_equal(first.status, RH_CANCELLED);
  rh_yard_wait(yard, &second);
  assert_int_equal(second.status, RH_OK);
  assert_string_equal(meant(yard, "prod"), "m:v3");
  // Back to where it points, while it is on its way elsewhere.
  assert_int_equal(move(yard, "prod", "m:v1", false, &first, NULL), RH_OK);
  assert_int_equal(move(yard, "prod", "m:v3", false, &third, NULL), RH_OK);
  rh_yard_wait(yard, &first);
  rh_yard_wait(yard, &third);
  assert_int_equal(third.status, RH_OK);
  assert_string_equal(meant(yard, "prod"), "m:v3");
}

static void test_both_do_not_fit(void **state) {
  rh_model_yard *yard = *state;
  yard->options.limits.ram_bytes = 150 * RH_MIB;
  begin(yard);
  rh_yard_call call;
  rh_error error = {0};
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, &error), RH_NO_ROOM);
  assert_non_null(strstr(error.message, "160"));
  assert_non_null(strstr(error.message, "150"));
  assert_non_null(strstr(error.message, "replace"));
  assert_string_equal(meant(yard, "prod"), "m:v1");
  rh_yard_client running, waiting;
  rh_yard_ask(yard, &running, "prod", "[[tokens=40 delay_ms=5]]");
  assert_int_equal(move(yard, "prod", "m:v2", true, &call, &error), RH_OK);
  rh_yard_ask(yard, &waiting, "prod", "hello");
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  rh_yard_answer(yard, &waiting);
  assert_int_equal(running.seen.ends, 1);
  assert_int_equal(waiting.seen.ends, 1);
  assert_string_equal(meant(yard, "prod"), "m:v2");
  assert_int_equal(rh_yard_state(yard, "m:v1"), RH_MEMBER_COLD);
}

static void test_replacing_by_one_that_does_not_load_goes_back(void **state) {
  rh_model_yard *yard = *state;
  yard->options.limits.ram_bytes = 150 * RH_MIB;
  begin(yard);
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "bad:v1", true, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_LOAD_FAILED);
  assert_string_equal(meant(yard, "prod"), "m:v1");
  rh_yard_client client;
  rh_yard_ask(yard, &client, "prod", "hello");
  rh_yard_answer(yard, &client);
  assert_int_equal(client.seen.ends, 1);
}

static void test_the_old_one_stays_when_somebody_else_needs_it(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_call call;
  assert_int_equal(move(yard, "other", "m:v1", false, &call, NULL), RH_OK);
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  rh_yard_turn(yard, 150 * RH_NS_PER_MS);
  assert_int_equal(rh_yard_state(yard, "m:v1"), RH_MEMBER_READY);
  assert_int_equal(yard->left, 0);
}

static void test_the_old_one_stays_when_it_was_asked_for_by_name(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_client client;
  rh_yard_ask(yard, &client, "m:v1", "hello");
  rh_yard_answer(yard, &client);
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  rh_yard_turn(yard, 150 * RH_NS_PER_MS);
  assert_int_equal(yard->left, 0);
}

static void test_moving_the_default_that_no_alias_named(void **state) {
  rh_model_yard *yard = *state;
  yard->options.default_model = "m:v1";
  rh_yard_open(yard);
  rh_yard_client client;
  rh_yard_ask(yard, &client, "", "hello");
  rh_yard_answer(yard, &client);
  rh_yard_call call;
  assert_int_equal(move(yard, "default", "m:v2", false, &call, NULL), RH_OK);
  assert_string_equal(meant(yard, ""), "m:v1");  // until v2 is ready
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  assert_string_equal(meant(yard, ""), "m:v2");
}

static void test_others_wait_for_a_swap_and_are_not_refused(void **state) {
  rh_model_yard *yard = *state;
  yard->options.limits.ram_bytes = 170 * RH_MIB;  // for two
  begin(yard);
  rh_yard_call call;
  rh_yard_client other;
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  rh_yard_turn(yard, 20 * RH_NS_PER_MS);
  rh_yard_ask(yard, &other, "m:v3", "hello");
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  // Until now it had no room: the old model, idle as it is, serves until the new one is ready.
  assert_int_equal(other.seen.ends + other.seen.errors, 0);
  rh_yard_answer(yard, &other);
  assert_int_equal(other.seen.ends, 1);
  assert_string_equal(meant(yard, "prod"), "m:v2");
}

static void test_removing_an_alias_ends_its_swap(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  rh_yard_call call;
  assert_int_equal(move(yard, "prod", "m:v2", false, &call, NULL), RH_OK);
  assert_int_equal(rh_manager_alias(yard->manager, "prod", NULL, false, NULL, NULL, NULL), RH_OK);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_CANCELLED);
  rh_resolution found;
  assert_int_equal(rh_manager_resolve(yard->manager, "prod", &found, NULL), RH_NOT_FOUND);
}

static void test_ten_thousand_switches_leak_nothing(void **state) {
  rh_model_yard *yard = *state;
  begin(yard);
  assert_int_equal(rh_manager_pin(yard->manager, rh_yard_find(yard, "m:v1"), true, NULL), RH_OK);
  assert_int_equal(rh_manager_pin(yard->manager, rh_yard_find(yard, "m:v3"), true, NULL), RH_OK);
  rh_yard_client client;
  rh_yard_ask(yard, &client, "m:v3", "hello");
  rh_yard_answer(yard, &client);
  rh_yard_call call;
  size_t before = 0;
  uint64_t began = 0;
  for (unsigned i = 0; i < 11000; i++) {
    // A warm-up of its own, for what allocates only once.
    if (i == 1000) {
      before = mallinfo2().uordblks;
      began = rh_clock_now_ns();
    }
    assert_int_equal(move(yard, "prod", i % 2 == 0 ? "m:v3" : "m:v1", false, &call, NULL), RH_OK);
    assert_string_equal(meant(yard, "prod"), i % 2 == 0 ? "m:v3" : "m:v1");
    if (i % 100 == 99) rh_yard_wait(yard, &call);
    if (i % 100 == 99) assert_int_equal(call.status, RH_OK);
  }
  double seconds = rh_ns_to_s(rh_clock_now_ns() - began);
  size_t after = mallinfo2().uordblks;
  if (after > before + 65536) fail_msg("%zu bytes more after 10,000 switches", after - before);
  if (seconds > rh_ns_to_s(rh_scaled_ns(5 * RH_NS_PER_S))) fail_msg("10,000 switches took %.1f s", seconds);
  assert_int_equal(yard->loaded, 2);
  assert_int_equal(yard->left, 0);
}

#define SWAP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      SWAP_TEST(test_a_swap_under_load_fails_no_request),
      SWAP_TEST(test_rolling_back_is_the_same_call),
      SWAP_TEST(test_a_model_that_does_not_load_leaves_the_old_one),
      SWAP_TEST(test_a_second_call_replaces_a_swap),
      SWAP_TEST(test_both_do_not_fit),
      SWAP_TEST(test_replacing_by_one_that_does_not_load_goes_back),
      SWAP_TEST(test_the_old_one_stays_when_somebody_else_needs_it),
      SWAP_TEST(test_the_old_one_stays_when_it_was_asked_for_by_name),
      SWAP_TEST(test_moving_the_default_that_no_alias_named),
      SWAP_TEST(test_others_wait_for_a_swap_and_are_not_refused),
      SWAP_TEST(test_removing_an_alias_ends_its_swap),
      SWAP_TEST(test_ten_thousand_switches_leak_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
