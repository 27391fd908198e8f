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
  rh_status status = rh_limits_take(s->limits, wanted, count, tokens, wall_ns(), &into.state, on_told, &into, NULL,
                                    &into.error);
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
static int hammer(const rh_redis_fixture *server, int tries) {
  rh_loop *loop = rh_loop_new();
  side s = open_side(loop, server, PATIENT_NS);
  rh_limit wanted[2] = {limit("key:a", 50, 0), limit("ip:1", 1000000, 1000000)};
  told into = {0};
  int at_once = 0;
  for (int i = 0; i < tries; i++) {
    rh_status status =
        rh_limits_take(s.limits, wanted, 2, 10, wall_ns(), NULL, on_told, &into, NULL, NULL);
    if (status != RH_AGAIN) return 255;
    at_once++;
    while (at_once == 20 || (i == tries - 1 && at_once > 0)) {
      told tick = {0};
      rh_redis_done nobody = NULL;
      const char *args[] = {"PING"};
      if (rh_redis_command(s.redis, 1, args, NULL, nobody, NULL, NULL) != RH_OK) return 255;
      unsigned before = into.count;
      (void)tick;
      if (before < (unsigned)i + 1) {
        rh_until until = {0};
        (void)until;
        told *seen = &into;
        unsigned wanted_count = (unsigned)i + 1;
        while (seen->count < wanted_count) {
          told step = ask(&s, &wanted[1], 1, 0);
          if (step.verdict != RH_OK) return 255;
        }
      }
      at_once = 0;
    }
  }
  int allowed = (int)into.allowed;
  close_side(&s);
  rh_loop_free(loop);
  return allowed;
}
