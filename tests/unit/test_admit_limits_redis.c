// SPDX-License-Identifier: Apache-2.0
//
// Rate limits over a real Redis: held exactly by several daemons, the same rules as in memory, and nobody notices when
// Redis goes away.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admit/limits.h"
#include "redis_fixture.h"

#define PATIENT_NS (20 * RH_NS_PER_S)

typedef struct told {
  unsigned count, allowed;
  rh_status verdict;
  rh_limit_state state;
  rh_error error;
} told;

static void on_told(void *ctx, rh_status status, const rh_limit_state *state, const rh_error *error) {
  told *into = ctx;
  into->count++;
  into->allowed += status == RH_OK;
  into->verdict = status;
  into->state = *state;
  into->error = *error;
}

static bool is_told(void *ctx) { return ((const told *)ctx)->count > 0; }

// One daemon's end.
typedef struct side {
  rh_loop *loop;
  rh_redis *redis;
  rh_limits *limits;
} side;

static side open_side(rh_loop *loop, const rh_redis_fixture *server, uint64_t timeout_ns) {
  side s = {.loop = loop, .redis = rh_redis_fixture_client(loop, server->url, timeout_ns)};
  assert_true(rh_redis_fixture_wait_up(loop, s.redis));
  rh_limits_options options = {.redis = s.redis};
  s.limits = rh_limits_new(loop, &options);
  assert_non_null(s.limits);
  return s;
}

static void close_side(side *s) {
  rh_limits_free(s->limits);
  rh_redis_free(s->redis);
}

static uint64_t wall_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * RH_NS_PER_S + (uint64_t)now.tv_nsec;
}

static rh_limit limit(const char *subject, int64_t requests, int64_t tokens) {
  rh_limit out = {.requests_per_minute = requests, .tokens_per_minute = tokens};
  (void)snprintf(out.subject, sizeof out.subject, "%s", subject);
  return out;
}

static told ask(side *s, const rh_limit *wanted, size_t count, int64_t tokens) {
  told into = {0};
  rh_status status =
      rh_limits_take(s->limits, wanted, count, tokens, wall_ns(), &into.state, on_told, &into, NULL, &into.error);
  if (status == RH_AGAIN) {
    assert_int_equal(into.count, 0);
    assert_true(rh_run_until(s->loop, is_told, &into));
    assert_int_equal(into.count, 1);
  } else {
    assert_int_equal(into.count, 0);
    into.verdict = status;
  }
  return into;
}

static unsigned allowed_of(side *s, const rh_limit *wanted, unsigned tries) {
  unsigned allowed = 0;
  for (unsigned i = 0; i < tries; i++) allowed += ask(s, wanted, 1, 0).verdict == RH_OK;
  return allowed;
}

static void test_two_daemons_hold_one_limit(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side a = open_side(loop, &server, PATIENT_NS);
  side b = open_side(loop, &server, PATIENT_NS);
  rh_limit wanted = limit("key:a", 5, 0);  // the next one comes back after 12 s
  unsigned allowed = 0;
  for (int i = 0; i < 20; i++) allowed += allowed_of(i % 3 == 0 ? &a : &b, &wanted, 1);
  assert_int_equal(allowed, 5);
  told refused = ask(&a, &wanted, 1, 0);
  assert_int_equal(refused.verdict, RH_LIMITED);
  assert_in_range(refused.error.retry_after_ms, 1, 12000);
  assert_int_equal(rh_limits_get_counts(a.limits)->by_memory, 0);
  close_side(&a);
  close_side(&b);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

// A daemon in a process of its own: tries as often as it can, many at once, and says how many were allowed.

typedef struct crowd {
  told told;
  unsigned asked;
} crowd;

static bool all_told(void *ctx) { return ((const crowd *)ctx)->told.count == ((const crowd *)ctx)->asked; }

static int hammer(const rh_redis_fixture *server, unsigned tries) {
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, server, PATIENT_NS);
  rh_limit wanted[2] = {limit("key:a", 50, 0), limit("ip:1", 1000000, 1000000)};
  crowd all = {0};
  while (all.asked < tries) {
    if (rh_limits_take(s.limits, wanted, 2, 10, wall_ns(), NULL, on_told, &all.told, NULL, NULL) != RH_AGAIN)
      return 255;
    if (++all.asked % 20 == 0 && !rh_run_until(loop, all_told, &all)) return 255;
  }
  if (rh_limits_get_counts(s.limits)->by_memory > 0) return 255;
  close_side(&s);
  rh_loop_free(loop);
  return (int)all.told.allowed;
}

static void test_four_processes_hold_one_limit(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  uint64_t begin_ns = rh_clock_now_ns();
  pid_t pids[4];
  for (int i = 0; i < 4; i++) {
    pids[i] = fork();
    assert_true(pids[i] >= 0);
    if (pids[i] == 0) _exit(hammer(&server, 200));
  }
  int allowed = 0;
  for (int i = 0; i < 4; i++) {
    int status = 0;
    assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 255);
    allowed += WEXITSTATUS(status);
  }
  // 50, and what has come back meanwhile: one after 1.2 s.
  int back = (int)(rh_ns_to_s(rh_clock_now_ns() - begin_ns) * 50 / 60);
  assert_in_range(allowed, 50, 50 + back);
  rh_redis_fixture_end(&server);
}

// The script and limits_math.c are two writings of the same rules: a random story has to have one ending. The limits are so
// low that what comes back during the test is less than one.
static void test_same_rules_as_in_memory(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, &server, PATIENT_NS);
  rh_limits_options options = {0};
  rh_limits *memory = rh_limits_new(loop, &options);
  srand(7);
  unsigned refused = 0;
  for (int story = 0; story < 60; story++) {
    rh_limit wanted[3];
    size_t count = 1 + (size_t)(rand() % 3);
    for (size_t i = 0; i < count; i++) {
      char name[64];
      (void)snprintf(name, sizeof name, "key:%d-%zu", story, i);
      wanted[i] = limit(name, rand() % 6, rand() % 8);
    }
    uint64_t now_ns = wall_ns();
    for (int step = 0; step < 12; step++) {
      int64_t tokens = rand() % 12;
      if (rand() % 3 == 0) {
        rh_limits_settle(s.limits, wanted, count, tokens - 6, now_ns);
        rh_limits_settle(memory, wanted, count, tokens - 6, now_ns);
        continue;
      }
      told there = ask(&s, wanted, count, tokens);
      rh_limit_state here_state = {0};
      rh_error here_error = {0};
      rh_status here =
          rh_limits_take(memory, wanted, count, tokens, wall_ns(), &here_state, NULL, NULL, NULL, &here_error);
      assert_int_equal(there.verdict, here);
      refused += here == RH_LIMITED;
      for (int kind = 0; kind < 2; kind++) {
        assert_int_equal(there.state.limited[kind], here_state.limited[kind]);
        assert_int_equal(there.state.limit[kind], here_state.limit[kind]);
        assert_int_equal(there.state.left[kind], here_state.left[kind]);
        double apart_s = there.state.reset_s[kind] - here_state.reset_s[kind];
        assert_true(apart_s < 2 && apart_s > -2);
      }
      if (here != RH_OK) assert_true(abs((int)there.error.retry_after_ms - (int)here_error.retry_after_ms) < 2000);
    }
  }
  assert_in_range(refused, 50, 600);
  rh_limits_free(memory);
  close_side(&s);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void say(const rh_redis_fixture *server, const char *line, const char *expected) {
  char answer[256];
  assert_true(rh_redis_fixture_says(server, line, answer, sizeof answer));
  if (strncmp(answer, expected, strlen(expected)) != 0) fail_msg("%s: %s", line, answer);
}

static bool is_empty(void *ctx) {
  char answer[64];
  return rh_redis_fixture_says(ctx, "DBSIZE\r\n", answer, sizeof answer) && strcmp(answer, ":0\r\n") == 0;
}

static void test_nothing_stays_in_redis(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, &server, PATIENT_NS);
  rh_limit wanted[2] = {limit("key:a", 600, 0), limit("ip:1", 0, 60000)};
  for (int i = 0; i < 5; i++) assert_int_equal(ask(&s, wanted, 2, 50).verdict, RH_OK);  // full again after 0.5 s
  say(&server, "DBSIZE\r\n", ":2");
  assert_true(rh_run_until(loop, is_empty, &server));
  rh_limit slow = limit("key:b", 0, 100);
  assert_int_equal(ask(&s, &slow, 1, 60).verdict, RH_OK);
  say(&server, "DBSIZE\r\n", ":1");
  rh_limits_settle(s.limits, &slow, 1, -60, wall_ns());  // full again at once
  assert_true(rh_run_until(loop, is_empty, &server));
  close_side(&s);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_a_clock_that_stepped_back_stops_nobody(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, &server, PATIENT_NS);
  // A bucket that was emptied an hour from now.
  char line[128];
  (void)snprintf(line, sizeof line, "SET roundhouse:limit:key:a \"%llu 0 -\"\r\n",
                 (unsigned long long)(wall_ns() / 1000 + UINT64_C(3600000000)));
  say(&server, line, "+OK");
  rh_limit wanted = limit("key:a", 6000, 0);
  told first = ask(&s, &wanted, 1, 0);
  assert_int_equal(first.verdict, RH_LIMITED);
  assert_int_equal(first.error.retry_after_ms, 10);
  uint64_t begin_ns = rh_clock_now_ns();
  while (ask(&s, &wanted, 1, 0).verdict != RH_OK)
    assert_true(rh_clock_now_ns() - begin_ns < rh_scaled_ns(5 * RH_NS_PER_S));
  close_side(&s);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_memory_goes_on_where_redis_was(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side a = open_side(loop, &server, PATIENT_NS);
  side b = open_side(loop, &server, PATIENT_NS);
  rh_limit wanted = limit("key:a", 10, 0);
  assert_int_equal(allowed_of(&b, &wanted, 7), 7);
  assert_int_equal(allowed_of(&a, &wanted, 1), 1);
  rh_redis_fixture_kill(&server);
  assert_true(rh_redis_fixture_wait_down(loop, a.redis));
  // From here on memory decides, at once: ask() would otherwise see RH_AGAIN and count it.
  rh_error error = {0};
  unsigned allowed = 0;
  for (int i = 0; i < 10; i++) {
    told never = {0};
    rh_status status = rh_limits_take(a.limits, &wanted, 1, 0, wall_ns(), NULL, on_told, &never, NULL, &error);
    assert_true(status == RH_OK || status == RH_LIMITED);
    assert_int_equal(never.count, 0);
    allowed += status == RH_OK;
  }
  assert_in_range(allowed, 2, 3);  // one comes back after 6 s, on a very slow machine
  assert_int_equal(rh_limits_get_counts(a.limits)->by_memory, 10);
  rh_limits_settle(a.limits, &wanted, 1, 5, wall_ns());

  rh_redis_fixture_start(&server);
  assert_true(rh_redis_fixture_wait_up(loop, a.redis));
  assert_int_equal(allowed_of(&a, &wanted, 1), 1);  // an empty Redis: a full bucket
  assert_int_equal(rh_limits_get_counts(a.limits)->by_memory, 10);
  say(&server, "DBSIZE\r\n", ":1");
  close_side(&a);
  close_side(&b);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_a_stalled_redis_is_replaced_by_memory(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  uint64_t limit_ns = rh_scaled_ns(20 * RH_NS_PER_MS);
  side s = open_side(loop, &server, limit_ns);
  rh_limit wanted = limit("key:a", 50, 0);
  rh_redis_fixture_pause(&server);
  assert_int_equal(allowed_of(&s, &wanted, 40), 40);  // nobody is refused for it
  const rh_redis_counts *counts = rh_redis_get_counts(s.redis);
  assert_in_range(counts->timeouts, 1, 3);  // and at most three had to wait
  assert_int_equal(rh_limits_get_counts(s.limits)->by_memory, 40);
  assert_int_equal(allowed_of(&s, &wanted, 40), 10);
  rh_redis_fixture_resume(&server);
  assert_true(rh_redis_fixture_wait_up(loop, s.redis));
  close_side(&s);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_a_redis_that_refuses_is_replaced_by_memory(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, &server, PATIENT_NS);
  rh_limit wanted = limit("key:a", 5, 0);
  say(&server, "RPUSH roundhouse:limit:key:a x\r\n", ":1");  // somebody else's
  assert_int_equal(allowed_of(&s, &wanted, 8), 5);
  assert_int_equal(rh_limits_get_counts(s.limits)->by_memory, 8);
  say(&server, "DEL roundhouse:limit:key:a\r\n", ":1");
  say(&server, "CONFIG SET maxmemory 1\r\n", "+OK");
  rh_limit other = limit("key:b", 5, 0);
  assert_int_equal(allowed_of(&s, &other, 8), 5);
  say(&server, "CONFIG SET maxmemory 0\r\n", "+OK");
  rh_limit third = limit("key:c", 5, 0);
  assert_int_equal(allowed_of(&s, &third, 8), 5);
  assert_int_equal(rh_limits_get_counts(s.limits)->by_memory, 16);
  close_side(&s);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_forget_and_free_with_questions_on_their_way(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, &server, PATIENT_NS);
  rh_limit wanted = limit("key:a", 50, 0);
  told into = {0};
  rh_limits_question *questions[10];
  for (int i = 0; i < 10; i++)
    assert_int_equal(rh_limits_take(s.limits, &wanted, 1, 0, wall_ns(), NULL, on_told, &into, &questions[i], NULL),
                     RH_AGAIN);
  for (int i = 0; i < 10; i += 2) rh_limits_forget(questions[i]);
  told last = ask(&s, &wanted, 1, 0);
  assert_int_equal(into.count, 5);
  assert_in_range(last.state.left[0], 39, 40);
  for (int i = 0; i < 10; i++)
    assert_int_equal(rh_limits_take(s.limits, &wanted, 1, 0, wall_ns(), NULL, on_told, &into, NULL, NULL), RH_AGAIN);
  close_side(&s);
  assert_int_equal(into.count, 5);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_two_daemons_hold_one_limit),
      cmocka_unit_test(test_four_processes_hold_one_limit),
      cmocka_unit_test(test_same_rules_as_in_memory),
      cmocka_unit_test(test_nothing_stays_in_redis),
      cmocka_unit_test(test_a_clock_that_stepped_back_stops_nobody),
      cmocka_unit_test(test_memory_goes_on_where_redis_was),
      cmocka_unit_test(test_a_stalled_redis_is_replaced_by_memory),
      cmocka_unit_test(test_a_redis_that_refuses_is_replaced_by_memory),
      cmocka_unit_test(test_forget_and_free_with_questions_on_their_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
