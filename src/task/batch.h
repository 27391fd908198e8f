// SPDX-License-Identifier: Apache-2.0
//
// Which texts are computed together: those of nearly one length, so that little is padding. Pure; any thread.
#ifndef RH_TASK_BATCH_H
#define RH_TASK_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RH_BATCH_CANDIDATES_MAX 1024

typedef struct rh_batch_limits {
  size_t tokens;  // of the batch, padding included
  size_t rows;
  double waste;  // the share of padding that is worth a larger batch
  size_t slack;  // so much padding is always fine: a batch of its own would cost as much
} rh_batch_limits;

typedef struct rh_batch_candidate {
  size_t tokens;
  uint64_t turn;  // of equally long ones the smaller goes first
  bool alone;     // never with others
} rh_batch_candidate;

// The first of `chosen` is `anchor`, which is in whatever its length. Returns how many there are; `chosen` has room for
// limits->rows, at least 1.
size_t rh_batch_choose(const rh_batch_candidate *candidates, size_t count, size_t anchor, const rh_batch_limits *limits,
                       size_t *chosen);

// --- when to wait --------------------------------------------------------------------------------------------------

// A batch that is not full waits for a moment when more work is likely: several clients were served lately, and the
// answers of some of them have just gone out. A lone client is never kept waiting.
typedef struct rh_batch_pace {
  uint64_t wait_ns;      // at most; 0 = never
  size_t crowd;          // runs that were open together lately
  uint64_t crowd_ns;     // when that was seen
  uint64_t answered_ns;  // when a run ended last
  uint64_t since_ns;     // when the batch began to wait; 0 = none waits
} rh_batch_pace;

void rh_batch_pace_note(rh_batch_pace *pace, size_t open_runs, uint64_t now_ns);
void rh_batch_pace_answered(rh_batch_pace *pace, uint64_t now_ns);
// Until when to wait; 0 = compute now. `open_runs` have texts that could be computed.
uint64_t rh_batch_pace_until(rh_batch_pace *pace, size_t open_runs, bool full, uint64_t now_ns);

#endif
