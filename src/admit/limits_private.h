// SPDX-License-Identifier: Apache-2.0
//
// What the files of the rate limits share; nobody else includes it.
#ifndef RH_ADMIT_LIMITS_PRIVATE_H
#define RH_ADMIT_LIMITS_PRIVATE_H

#include "admit/limits.h"

#define RH_LIMIT_RATE_MAX INT64_C(1000000000000)  // a minute; more is as much

enum { RH_LIMIT_REQUESTS, RH_LIMIT_TOKENS, RH_LIMIT_KINDS };

// What is left in a bucket, by kind; between minus a day's worth and the limit. A kind without a limit has 0.
typedef struct rh_levels {
  double of[RH_LIMIT_KINDS];
} rh_levels;

static inline double rh_limit_rate(const rh_limit *limit, int kind) {
  int64_t rate = kind == RH_LIMIT_REQUESTS ? limit->requests_per_minute : limit->tokens_per_minute;
  return rate <= 0 ? 0 : rate < RH_LIMIT_RATE_MAX ? (double)rate : (double)RH_LIMIT_RATE_MAX;
}

// limits_buckets.c: the buckets in memory.

typedef struct rh_buckets rh_buckets;

rh_buckets *rh_buckets_new(size_t count_max);  // NULL: no memory
void rh_buckets_free(rh_buckets *buckets);
size_t rh_buckets_count(const rh_buckets *buckets);
rh_levels rh_buckets_read(rh_buckets *buckets, const rh_limit *limit, uint64_t now_ns);  // full where there is none
void rh_buckets_write(rh_buckets *buckets, const rh_limit *limit, uint64_t now_ns, const rh_levels *levels);

// limits_math.c: what follows from levels. Pure.

typedef struct rh_limits_cost {
  double of[RH_LIMIT_KINDS];
} rh_limits_cost;

bool rh_limits_enough(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, const rh_levels *levels);
void rh_limits_subtract(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, rh_levels *levels);
void rh_limits_describe(const rh_limit *wanted, size_t count, const rh_levels *levels, rh_limit_state *state);
rh_status rh_limits_refuse(const rh_limit *wanted, size_t count, const rh_limits_cost *cost, const rh_levels *levels,
                           rh_error *error);

// limits_redis.c

extern const char rh_limits_lua[];

// Calls the script; RH_UNAVAILABLE as rh_redis_script.
rh_status rh_limits_ask(rh_redis *redis, const char *prefix, bool settle, const rh_limit *wanted, size_t count,
                        int64_t tokens, rh_redis_done done, void *ctx, rh_redis_request **out) RH_MUST_CHECK;
// False: not an answer of the script.
bool rh_limits_read_answer(const rh_redis_reply *reply, const rh_limit *wanted, size_t count, bool *allowed,
                           rh_levels *levels);

#endif
