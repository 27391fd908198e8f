// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what attempts teach about a member: times to the first token and for each further one, errors, quality.
// Data owned: none, the caller's rh_route_stats. Threads: the caller's one.
// Not here: when a member is left alone (breaker.c), and what is made of the figures (score.c).
#include <math.h>
#include <string.h>

#include "route/breaker.h"

// A moving average over time: what is TAU_S old still counts 1/e. A sample counts for at least LEAST of the average, however
// soon it follows the one before, and the first few are a plain mean, so that the very first is not carried along for ever.
#define TAU_S 60.0
#define LEAST 0.1
#define QUALITY_LEAST 0.05

static double average(double old, double value, double share) { return old + share * (value - old); }

static double share_of(uint64_t samples, uint64_t elapsed_ns) {
  double by_time = 1.0 - exp(-(double)elapsed_ns * 1e-9 / TAU_S);
  double by_count = 1.0 / ((double)samples + 1.0);
  return fmax(fmax(by_time, by_count), LEAST);
}

static uint64_t elapsed(const rh_route_stats *stats, uint64_t now_ns) {
  return now_ns > stats->last_ns ? now_ns - stats->last_ns : 0;
}

void rh_route_stats_init(rh_route_stats *stats) {
  *stats = (rh_route_stats){.state = RH_BREAKER_CLOSED, .quality = NAN};
}

void rh_route_stats_success(rh_route_stats *stats, const rh_breaker_options *options, double first_ms, double token_ms,
                            uint64_t now_ns) {
  double share = share_of(stats->samples, elapsed(stats, now_ns));
  bool fresh = rh_breaker_note_success(stats, options);
  if (fresh) {  // it was ejected for being slow, and that verdict's figures would condemn it again at once
    stats->first_ms = stats->token_ms = 0;
    stats->samples = 0;
  }
  if (isfinite(first_ms) && first_ms > 0)
    stats->first_ms = stats->first_ms > 0 ? average(stats->first_ms, first_ms, share) : first_ms;
  if (isfinite(token_ms) && token_ms > 0)
    stats->token_ms = stats->token_ms > 0 ? average(stats->token_ms, token_ms, share) : token_ms;
  stats->error_rate = average(stats->error_rate, 0.0, share);
  stats->samples++;
  stats->last_ns = now_ns;
}

void rh_route_stats_failure(rh_route_stats *stats, const rh_breaker_options *options, uint64_t retry_after_ns,
                            uint64_t now_ns) {
  // The mean of nothing yet and one failure is not "always fails": two attempts are assumed before the first.
  double share = fmin(share_of(stats->samples + stats->failures, elapsed(stats, now_ns)), 1.0 / 3.0);
  stats->error_rate = average(stats->error_rate, 1.0, share);
  stats->failures++;
  stats->last_ns = now_ns;
  rh_breaker_note_failure(stats, options, retry_after_ns, now_ns);
}

void rh_route_stats_abandoned(rh_route_stats *stats) { stats->probing = false; }

void rh_route_stats_feedback(rh_route_stats *stats, double rating) {
  if (!isfinite(rating)) return;
  double value = (fmin(fmax(rating, -1.0), 1.0) + 1.0) / 2.0;
  double share = fmax(1.0 / ((double)stats->quality_samples + 1.0), QUALITY_LEAST);
  stats->quality = isnan(stats->quality) ? value : average(stats->quality, value, share);
  stats->quality_samples++;
}
