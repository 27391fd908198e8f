// SPDX-License-Identifier: Apache-2.0
//
// For tests that run the real event loop: turn it until something is true, or fail after a while.
#ifndef RH_TESTS_LOOP_FIXTURE_H
#define RH_TESTS_LOOP_FIXTURE_H

#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/loop.h"

typedef struct rh_until {
  rh_loop *loop;
  bool (*done)(void *ctx);
  void *ctx;
  uint64_t give_up_ns;
  bool met;
  rh_timer tick;
} rh_until;

static void rh_until_tick(void *ctx) {
  rh_until *until = ctx;
  until->met = until->done(until->ctx);
  if (until->met || rh_clock_now_ns() > until->give_up_ns) {
    rh_loop_stop(until->loop);
  } else {
    rh_loop_timer_set(until->loop, &until->tick, RH_NS_PER_MS);
  }
}

// Sanitizers make everything slower; RH_TIME_SCALE says by how much.
static inline uint64_t rh_scaled_ns(uint64_t ns) {
  const char *scale = getenv("RH_TIME_SCALE");
  int factor = scale != NULL ? atoi(scale) : 1;
  return ns * (uint64_t)(factor > 1 ? factor : 1);
}

static inline bool rh_run_until(rh_loop *loop, bool (*done)(void *ctx), void *ctx) {
  rh_until until = {
      .loop = loop, .done = done, .ctx = ctx, .give_up_ns = rh_clock_now_ns() + rh_scaled_ns(10 * RH_NS_PER_S)};
  until.tick = (rh_timer){.fn = rh_until_tick, .ctx = &until};
  rh_loop_timer_set(loop, &until.tick, 0);
  if (rh_loop_run(loop) != RH_OK) return false;
  rh_loop_timer_cancel(loop, &until.tick);
  return until.met;
}

#endif
