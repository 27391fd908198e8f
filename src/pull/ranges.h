// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: which bytes of a file are here. A sorted list of intervals [first, end) that neither touch nor
// overlap, bounded. One owner.
#ifndef RH_PULL_RANGES_H
#define RH_PULL_RANGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_RANGES_MAX 1024

typedef struct rh_range {
  int64_t first, end;
} rh_range;

typedef struct rh_ranges {
  rh_range *items;
  size_t count, capacity;
} rh_ranges;

void rh_ranges_release(rh_ranges *ranges);  // empty again
// RH_TOO_LARGE when more than RH_RANGES_MAX intervals would be needed; nothing is changed then. An empty interval is
// fine and does nothing.
rh_status rh_ranges_add(rh_ranges *ranges, int64_t first, int64_t end) RH_MUST_CHECK;
int64_t rh_ranges_bytes(const rh_ranges *ranges);
// How many bytes are here from the start without a gap.
int64_t rh_ranges_prefix(const rh_ranges *ranges);
// The first gap below `total` that none of the `busy` intervals touches, at most `most` bytes of it. False: there is none.
bool rh_ranges_gap(const rh_ranges *ranges, const rh_range *busy, size_t busy_count, int64_t total, int64_t most,
                   rh_range *out);

#endif
