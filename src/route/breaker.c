// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the circuit breaker of a member: when it is left alone, for how long, and how it comes back.
// Data owned: none, the caller's rh_route_stats. Threads: the caller's one.
//
// closed     attempts go through; enough failures open it
// open       nothing goes through until open_until_ns
// half-open  one attempt goes through, the probe: its success closes, its failure opens for twice as long
//
// Not here: whether something counts as a failure; that is the gateway's to say (a client's mistake is none).
#include <assert.h>
#include <stdlib.h>

#include "route/breaker.h"

#define WINDOW_MAX 64u
#define DOUBLINGS_MAX 20u
#define RETRY_AFTER_MAX_NS (3600ull * 1000000000ull)  // a member's own word may rest it for an hour, not for ever
#define OUTLIER_SAMPLES 5u                            // before a member's speed is judged
#define OUTLIER_MEMBERS 256u

const char *rh_breaker_state_name(rh_breaker_state state) {
  switch (state) {
    case RH_BREAKER_CLOSED: return "closed";
    case RH_BREAKER_OPEN: return "open";
    case RH_BREAKER_HALF_OPEN: return "half-open";
  }
  return "unknown";
}

bool rh_breaker_would_admit(const rh_route_stats *stats, uint64_t now_ns) {
  if (stats->state == RH_BREAKER_OPEN) return now_ns >= stats->open_until_ns;
  return stats->state == RH_BREAKER_CLOSED || !stats->probing;
}

bool rh_breaker_admits(rh_route_stats *stats, uint64_t now_ns) {
  if (!rh_breaker_would_admit(stats, now_ns)) return false;
  if (stats->state == RH_BREAKER_OPEN) {
    stats->state = RH_BREAKER_HALF_OPEN;
    stats->probing = false;
  }
  return true;
}

void rh_breaker_begin(rh_route_stats *stats) {
  if (stats->state == RH_BREAKER_HALF_OPEN) stats->probing = true;
}

static unsigned window_of(const rh_breaker_options *options) {
  return options->window > WINDOW_MAX ? WINDOW_MAX : options->window;
}

static void note(rh_route_stats *stats, const rh_breaker_options *options, bool failed) {
  stats->outcomes = stats->outcomes << 1 | (failed ? 1u : 0u);
  if (stats->outcome_count < window_of(options)) stats->outcome_count++;
  stats->in_a_row = failed ? stats->in_a_row + 1 : 0;
}

static void forget(rh_route_stats *stats) {
  stats->outcomes = 0;
  stats->outcome_count = 0;
  stats->in_a_row = 0;
}

static uint64_t open_time(const rh_route_stats *stats, const rh_breaker_options *options) {
  uint64_t longest = options->open_max_ns > options->open_ns ? options->open_max_ns : options->open_ns;
  unsigned doublings = stats->opened > DOUBLINGS_MAX ? DOUBLINGS_MAX : stats->opened;
  uint64_t time = options->open_ns;
  for (unsigned i = 0; i < doublings && time < longest; i++) time *= 2;
  return time < longest ? time : longest;
}

static void open_until(rh_route_stats *stats, uint64_t until_ns) {
  stats->state = RH_BREAKER_OPEN;
  stats->probing = false;
  if (until_ns > stats->open_until_ns) stats->open_until_ns = until_ns;
}

static void trip(rh_route_stats *stats, const rh_breaker_options *options, uint64_t now_ns) {
  open_until(stats, now_ns + open_time(stats, options));
  stats->opened++;
}

bool rh_breaker_note_success(rh_route_stats *stats, const rh_breaker_options *options) {
  note(stats, options, false);
  // An attempt that was sent before the breaker opened says nothing of what comes after.
  if (stats->state != RH_BREAKER_HALF_OPEN) return false;
  bool was_ejected = stats->ejected;
  stats->state = RH_BREAKER_CLOSED;
  stats->opened = 0;
  stats->open_until_ns = 0;
  stats->probing = false;
  stats->ejected = false;
  forget(stats);
  return was_ejected;
}

static bool too_many(const rh_route_stats *stats, const rh_breaker_options *options) {
  if (options->failures > 0 && stats->in_a_row >= options->failures) return true;
  unsigned window = window_of(options);
  if (options->failure_rate <= 0 || window == 0 || stats->outcome_count < window) return false;
  uint64_t mask = window == WINDOW_MAX ? UINT64_MAX : (UINT64_C(1) << window) - 1;
  int failed = __builtin_popcountll(stats->outcomes & mask);
  return (double)failed >= options->failure_rate * (double)window;
}

void rh_breaker_note_failure(rh_route_stats *stats, const rh_breaker_options *options, uint64_t retry_after_ns,
                             uint64_t now_ns) {
  note(stats, options, true);
  bool probe_failed = stats->state == RH_BREAKER_HALF_OPEN && stats->probing;
  if (probe_failed || (stats->state == RH_BREAKER_CLOSED && too_many(stats, options))) {
    trip(stats, options, now_ns);
    stats->ejected = false;
  }
  if (retry_after_ns == 0) return;
  open_until(stats, now_ns + (retry_after_ns < RETRY_AFTER_MAX_NS ? retry_after_ns : RETRY_AFTER_MAX_NS));
}

// --- outliers ------------------------------------------------------------------------------------------------------

static int by_value(const void *a, const void *b) {
  double one = *(const double *)a;
  double two = *(const double *)b;
  return (one > two) - (one < two);
}

static bool is_judged(const rh_route_stats *stats) {
  return stats->state == RH_BREAKER_CLOSED && stats->samples >= OUTLIER_SAMPLES && stats->first_ms > 0;
}

// The median of the others' first tokens; 0 = too few to compare with.
static double median_without(rh_route_stats *const *stats, size_t count, size_t self) {
  double values[OUTLIER_MEMBERS];
  size_t known = 0;
  for (size_t i = 0; i < count; i++) {
    if (i != self && is_judged(stats[i])) values[known++] = stats[i]->first_ms;
  }
  if (known < 2) return 0;
  qsort(values, known, sizeof *values, by_value);
  return (values[(known - 1) / 2] + values[known / 2]) / 2;
}

// The slowest of those past the limit; `count` = none.
static size_t slowest_outlier(rh_route_stats *const *stats, size_t count, double factor) {
  size_t worst = count;
  for (size_t i = 0; i < count; i++) {
    if (!is_judged(stats[i])) continue;
    if (worst < count && stats[i]->first_ms <= stats[worst]->first_ms) continue;
    double median = median_without(stats, count, i);
    if (median > 0 && stats[i]->first_ms > factor * median) worst = i;
  }
  return worst;
}

void rh_breaker_eject_outliers(rh_route_stats *const *stats, size_t count, const rh_breaker_options *options,
                               uint64_t now_ns) {
  if (options->outlier_factor <= 0) return;
  if (count > OUTLIER_MEMBERS) count = OUTLIER_MEMBERS;
  size_t out = 0;
  for (size_t i = 0; i < count; i++) out += stats[i]->state != RH_BREAKER_CLOSED;
  for (; (out + 1) * 2 <= count; out++) {
    size_t worst = slowest_outlier(stats, count, options->outlier_factor);
    if (worst == count) return;
    assert(stats[worst]->state == RH_BREAKER_CLOSED);
    open_until(stats[worst], now_ns + options->open_ns);
    stats[worst]->ejected = true;
  }
}
