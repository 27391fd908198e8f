// SPDX-License-Identifier: Apache-2.0
//
// What is learned of a member while it works: speeds as moving averages, and its circuit breaker. Fed by the gateway after each
// attempt; read by the router. No clock of its own; one thread.
#ifndef RH_ROUTE_STATS_H
#define RH_ROUTE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rh_breaker_state { RH_BREAKER_CLOSED, RH_BREAKER_OPEN, RH_BREAKER_HALF_OPEN } rh_breaker_state;
const char *rh_breaker_state_name(rh_breaker_state state);  // "closed", "open", "half-open"

typedef struct rh_breaker_options {
  unsigned failures;    // in a row that open it; 0 = never
  double failure_rate;  // of the last `window` attempts, likewise; 0 = off
  unsigned window;      // at most 64
  uint64_t open_ns;     // then one probe is let through; doubles after each failed probe up to ...
  uint64_t open_max_ns;
  double outlier_factor;  // a first token this many times slower than the others' median ejects it for open_ns; 0 = off
} rh_breaker_options;

typedef struct rh_route_stats {
  double first_ms;    // EWMA of the time to the first token; 0 = unknown
  double token_ms;    // EWMA of the time for each token after it; 0 = unknown
  double error_rate;  // EWMA of 0 and 1
  uint64_t samples, failures, last_ns;
  // the breaker
  rh_breaker_state state;
  unsigned in_a_row, opened;  // failures; how often opened without a success between
  uint64_t outcomes;          // bit set, the newest lowest: 1 = failed
  unsigned outcome_count;
  uint64_t open_until_ns;
  bool probing;    // the half-open state's one attempt is under way
  bool ejected;    // open for being slow, not for failing
  double quality;  // 0..1 learned from feedback; NaN until then
  uint64_t quality_samples;
} rh_route_stats;

void rh_route_stats_init(rh_route_stats *stats);
// May an attempt be sent now? Moves OPEN to HALF_OPEN when its time is over.
bool rh_breaker_admits(rh_route_stats *stats, uint64_t now_ns);
bool rh_breaker_would_admit(const rh_route_stats *stats, uint64_t now_ns);  // the same without changing anything
void rh_breaker_begin(rh_route_stats *stats);                               // an attempt was sent
void rh_route_stats_success(rh_route_stats *stats, const rh_breaker_options *options, double first_ms, double token_ms,
                            uint64_t now_ns);  // token_ms 0 = too few tokens to tell
// `retry_after_ns`: the member's own word; it stays open at least so long. 0 = none.
void rh_route_stats_failure(rh_route_stats *stats, const rh_breaker_options *options, uint64_t retry_after_ns,
                            uint64_t now_ns);
void rh_route_stats_abandoned(rh_route_stats *stats);                // cancelled: says nothing, frees a probe
void rh_route_stats_feedback(rh_route_stats *stats, double rating);  // -1..1
// Ejects the outliers among `count` members that serve the same requests; never more than half of them.
void rh_breaker_eject_outliers(rh_route_stats *const *stats, size_t count, const rh_breaker_options *options,
                               uint64_t now_ns);

#endif
