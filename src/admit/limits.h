// SPDX-License-Identifier: Apache-2.0
//
// Rate limits: token buckets on requests and on tokens, per key and per client address; and concurrency per key. In memory, or in
// Redis (one atomic script, so that several daemons hold one limit exactly). When Redis is away or slow the buckets in memory
// decide: a request is never failed or delayed by it beyond the client's timeout of a few milliseconds.
//
// A minute's limit of N is a bucket of N that refills evenly. Tokens are taken as an estimate first and settled afterwards (a
// bucket may go below zero by that). A request that is larger than the whole bucket waits for a full one and leaves it below
// zero, at most by a day's worth. Buckets that are full again are forgotten; their number is bounded.
//
// With Redis its clock counts, not the daemons'. Each answer is copied into memory, so that the buckets there go on where
// the shared ones were when Redis goes away.
// Thread: the event loop's.
#ifndef RH_ADMIT_LIMITS_H
#define RH_ADMIT_LIMITS_H

#include "base/loop.h"
#include "base/status.h"
#include "redis/redis.h"

#define RH_LIMIT_SUBJECT_MAX 96  // "key:key_abc", "ip:127.0.0.1"
#define RH_LIMITS_AT_ONCE 4

typedef struct rh_limits rh_limits;
typedef struct rh_limits_options {
  size_t buckets_max;  // in memory; the least recently used goes; 0 = 100000
  const char *prefix;  // of the names in Redis, which are PREFIX "limit:" SUBJECT; NULL = "roundhouse:"
  rh_redis *redis;     // NULL = memory alone
} rh_limits_options;

rh_limits *rh_limits_new(rh_loop *loop, const rh_limits_options *options);
void rh_limits_free(rh_limits *limits);

typedef struct rh_limit {
  char subject[RH_LIMIT_SUBJECT_MAX];
  int64_t requests_per_minute;  // 0 or less = no limit
  int64_t tokens_per_minute;    // likewise
} rh_limit;

// For the headers: the tightest of the limits that were looked at.
typedef struct rh_limit_state {
  bool limited[2];  // [0] requests, [1] tokens: there is such a limit
  int64_t limit[2], left[2];
  double reset_s[2];  // until the bucket is full again
} rh_limit_state;

// Takes one request and `tokens` from all of `wanted` (at most RH_LIMITS_AT_ONCE, no subject twice), or from none. `now_ns`
// is the wall clock's; a step back of it is made up for. RH_OK or RH_LIMITED (message and retry_after_ms set) at once, or
// RH_AGAIN: `done` follows with one of both, from the loop, and *out (may be NULL) is dead then. `error` and `state` may be NULL.
typedef void (*rh_limits_done)(void *ctx, rh_status status, const rh_limit_state *state, const rh_error *error);
typedef struct rh_limits_question rh_limits_question;
rh_status rh_limits_take(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens, uint64_t now_ns,
                         rh_limit_state *state, rh_limits_done done, void *ctx, rh_limits_question **out,
                         rh_error *error);
void rh_limits_forget(rh_limits_question *question);  // what it takes in Redis stays taken
// What was really used, against the estimate (may be negative: give back).
void rh_limits_settle(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens_more, uint64_t now_ns);

typedef struct rh_limits_counts {
  uint64_t taken, refused, by_memory;  // by_memory: decided there because Redis did not answer
  size_t buckets;
} rh_limits_counts;
const rh_limits_counts *rh_limits_get_counts(const rh_limits *limits);

#endif
