// SPDX-License-Identifier: Apache-2.0
//
// What follows from the levels of buckets: enough or not, what is left, when to try again. The script for Redis decides
// with the same rules (limits_redis.c). Owns nothing; pure; any thread.
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "admit/limits_private.h"
#include "base/text.h"

#define GRAIN 1e-6               // levels closer than this are equal: fractions of a request are sums of roundings
#define DEBT_MINUTES_MAX 1440.0  // a bucket is at most a day away from being full

// What has to be there: a request that is larger than the bucket needs a full one.
static double needed(double cost, double rate) { return cost < rate ? cost : rate; }

bool rh_limits_enough(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, const rh_levels *levels) {
  for (size_t i = 0; i < count; i++) {
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      double rate = rh_limit_rate(&wanted[i], kind);
      if (rate > 0 && levels[i].of[kind] < needed(cost->of[kind], rate) - GRAIN) return false;
    }
  }
  return true;
}

void rh_limits_subtract(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, rh_levels *levels) {
  for (size_t i = 0; i < count; i++) {
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      double rate = rh_limit_rate(&wanted[i], kind);
      levels[i].of[kind] = fmax(-DEBT_MINUTES_MAX * rate, fmin(rate, levels[i].of[kind] - cost->of[kind]));
    }
  }
}

void rh_limits_describe(const rh_limit *wanted, size_t count, const rh_levels *levels, rh_limit_state *state) {
  memset(state, 0, sizeof *state);
  for (size_t i = 0; i < count; i++) {
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      double rate = rh_limit_rate(&wanted[i], kind);
      if (rate <= 0) continue;
      double level = levels[i].of[kind];
      int64_t left = level > 0 ? (int64_t)floor(level + GRAIN) : 0;
      double reset_s = fmax(0, (rate - level) * 60 / rate);
      bool tighter = !state->limited[kind] || left < state->left[kind] ||
                     (left == state->left[kind] && reset_s > state->reset_s[kind]);
      if (!tighter) continue;
      state->limited[kind] = true;
      state->limit[kind] = (int64_t)rate;
      state->left[kind] = left;
      state->reset_s[kind] = reset_s;
    }
  }
}

static void name_owner(const rh_limit *limit, char *out, size_t size) {
  if (rh_text_starts_with(limit->subject, "key:"))
    (void)snprintf(out, size, "this key");
  else if (rh_text_starts_with(limit->subject, "ip:"))
    (void)snprintf(out, size, "this address");
  else
    (void)snprintf(out, size, "\"%s\"", limit->subject);
}

rh_status rh_limits_refuse(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, const rh_levels *levels,
                           rh_error *error) {
  const rh_limit *slowest = NULL;
  int slowest_kind = RH_LIMIT_REQUESTS;
  double longest_s = 0;
  double left = 0;
  for (size_t i = 0; i < count; i++) {
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      double rate = rh_limit_rate(&wanted[i], kind);
      if (rate <= 0) continue;
      double wait_s = (needed(cost->of[kind], rate) - levels[i].of[kind]) * 60 / rate;
      if (slowest != NULL && wait_s <= longest_s) continue;
      slowest = &wanted[i];
      slowest_kind = kind;
      longest_s = wait_s;
      left = fmax(0, floor(levels[i].of[kind] + GRAIN));
    }
  }
  if (slowest == NULL) return rh_fail(error, RH_INTERNAL, "A request was refused for a limit that does not exist.");
  double wait_ms = ceil(longest_s * 1000 - GRAIN);
  unsigned retry_ms = wait_ms < 1 ? 1 : wait_ms > 1e9 ? 1000000000 : (unsigned)wait_ms;
  unsigned retry_s = (retry_ms + 999) / 1000;
  char owner[RH_LIMIT_SUBJECT_MAX + 8];
  name_owner(slowest, owner, sizeof owner);
  double rate = rh_limit_rate(slowest, slowest_kind);
  rh_status status;
  if (slowest_kind == RH_LIMIT_REQUESTS)
    status = rh_fail(error, RH_LIMITED, "The limit of %.0f requests a minute for %s is used up. Try again in %u s.",
                     rate, owner, retry_s);
  else
    status = rh_fail(error, RH_LIMITED,
                     "The limit of %.0f tokens a minute for %s has %.0f left, and this request needs about %.0f. Try "
                     "again in %u s.",
                     rate, owner, left, cost->of[RH_LIMIT_TOKENS], retry_s);
  if (error != NULL) error->retry_after_ms = retry_ms;
  return status;
}
