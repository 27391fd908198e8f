// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which rows go into one batch, and whether a batch that is not full waits for more.
// Data owned: none; the pace belongs to the caller. Threads: any, one at a time for one pace.
// Not here: fairness between runs. The caller chooses the anchor; here the others are fitted to its length.
#include "task/batch.h"

#include <assert.h>
#include <stdlib.h>

// A crowd that was seen this long ago says nothing about now.
#define CROWD_MEMORY_NS UINT64_C(1000000000)

typedef struct place {
  size_t distance;  // from the anchor's length
  uint64_t turn;
  size_t index;
} place;

static int nearer(const void *a, const void *b) {
  const place *x = a, *y = b;
  if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
  if (x->turn != y->turn) return x->turn < y->turn ? -1 : 1;
  return x->index < y->index ? -1 : 1;
}

// The candidates that may join, the nearest in length first.
static size_t sort_candidates(const rh_batch_candidate *candidates, size_t count, size_t anchor, place *out) {
  size_t length = candidates[anchor].tokens, found = 0;
  for (size_t i = 0; i < count; i++) {
    if (i == anchor || candidates[i].alone) continue;
    size_t tokens = candidates[i].tokens;
    out[found++] = (place){
        .distance = tokens > length ? tokens - length : length - tokens, .turn = candidates[i].turn, .index = i};
  }
  qsort(out, found, sizeof *out, nearer);
  return found;
}

size_t rh_batch_choose(const rh_batch_candidate *candidates, size_t count, size_t anchor, const rh_batch_limits *limits,
                       size_t *chosen) {
  assert(anchor < count && count <= RH_BATCH_CANDIDATES_MAX);
  chosen[0] = anchor;
  if (candidates[anchor].alone) return 1;
  place places[RH_BATCH_CANDIDATES_MAX];
  size_t places_count = sort_candidates(candidates, count, anchor, places);
  size_t taken = 1, longest = candidates[anchor].tokens, sum = longest;
  for (size_t i = 0; i < places_count && taken < limits->rows; i++) {
    size_t tokens = candidates[places[i].index].tokens;
    size_t width = tokens > longest ? tokens : longest;
    size_t area = width * (taken + 1);
    size_t padding = area - (sum + tokens);
    bool cheap = padding <= limits->slack || (double)padding <= limits->waste * (double)area;
    if (area > limits->tokens || !cheap) continue;
    chosen[taken++] = places[i].index;
    longest = width;
    sum += tokens;
  }
  return taken;
}

void rh_batch_pace_note(rh_batch_pace *pace, size_t open_runs, uint64_t now_ns) {
  if (open_runs < pace->crowd && now_ns - pace->crowd_ns < CROWD_MEMORY_NS) return;
  pace->crowd = open_runs;
  pace->crowd_ns = now_ns;
}

void rh_batch_pace_answered(rh_batch_pace *pace, uint64_t now_ns) { pace->answered_ns = now_ns; }

uint64_t rh_batch_pace_until(rh_batch_pace *pace, size_t open_runs, bool full, uint64_t now_ns) {
  // Clients that were just answered ask again at once or not at all; later ones are not worth waiting for.
  bool likely = pace->crowd > 1 && open_runs < pace->crowd && now_ns - pace->crowd_ns < CROWD_MEMORY_NS &&
                now_ns - pace->answered_ns < pace->wait_ns;
  if (full || !likely) {
    pace->since_ns = 0;
    return 0;
  }
  if (pace->since_ns == 0) pace->since_ns = now_ns;
  uint64_t until = pace->answered_ns + pace->wait_ns;
  if (now_ns - pace->since_ns < pace->wait_ns) return until;
  pace->since_ns = 0;
  return 0;
}
