// SPDX-License-Identifier: Apache-2.0
//
// Interval arithmetic over the bytes of one file. Owns its list; one owner thread. Knows no file and no network.
#include "pull/ranges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void rh_ranges_release(rh_ranges *ranges) {
  free(ranges->items);
  *ranges = (rh_ranges){0};
}

static bool make_room(rh_ranges *ranges) {
  if (ranges->count < ranges->capacity) return true;
  size_t capacity = ranges->capacity == 0 ? 16 : ranges->capacity * 2;
  rh_range *items = realloc(ranges->items, capacity * sizeof *items);
  if (items == NULL) return false;
  ranges->items = items;
  ranges->capacity = capacity;
  return true;
}

rh_status rh_ranges_add(rh_ranges *ranges, int64_t first, int64_t end) {
  assert(first >= 0 && end >= first);
  if (first == end) return RH_OK;
  // [from, to): the intervals that touch the new one and melt into it.
  size_t from = 0;
  while (from < ranges->count && ranges->items[from].end < first) from++;
  size_t to = from;
  while (to < ranges->count && ranges->items[to].first <= end) to++;
  if (from == to) {
    if (ranges->count >= RH_RANGES_MAX) return RH_TOO_LARGE;
    if (!make_room(ranges)) return RH_NO_MEMORY;
    memmove(&ranges->items[from + 1], &ranges->items[from], (ranges->count - from) * sizeof *ranges->items);
    ranges->items[from] = (rh_range){first, end};
    ranges->count++;
    return RH_OK;
  }
  rh_range *melted = &ranges->items[from];
  if (first < melted->first) melted->first = first;
  int64_t last_end = ranges->items[to - 1].end;
  melted->end = end > last_end ? end : last_end;
  memmove(&ranges->items[from + 1], &ranges->items[to], (ranges->count - to) * sizeof *ranges->items);
  ranges->count -= to - from - 1;
  return RH_OK;
}

int64_t rh_ranges_bytes(const rh_ranges *ranges) {
  int64_t sum = 0;
  for (size_t i = 0; i < ranges->count; i++) sum += ranges->items[i].end - ranges->items[i].first;
  return sum;
}

int64_t rh_ranges_prefix(const rh_ranges *ranges) {
  return ranges->count > 0 && ranges->items[0].first == 0 ? ranges->items[0].end : 0;
}

// The end of an interval that holds `at`, or -1; *next becomes the least start above `at`.
static int64_t covered_until(const rh_range *items, size_t count, int64_t at, int64_t *next) {
  for (size_t i = 0; i < count; i++) {
    if (items[i].first <= at && at < items[i].end) return items[i].end;
    if (items[i].first > at && items[i].first < *next) *next = items[i].first;
  }
  return -1;
}

bool rh_ranges_gap(const rh_ranges *ranges, const rh_range *busy, size_t busy_count, int64_t total, int64_t most,
                   rh_range *out) {
  assert(most > 0);
  // Each turn jumps over one interval, so there are at most as many turns as intervals.
  for (int64_t at = 0; at < total;) {
    int64_t next = total;
    int64_t end = covered_until(ranges->items, ranges->count, at, &next);
    if (end < 0) end = covered_until(busy, busy_count, at, &next);
    if (end < 0) {
      *out = (rh_range){at, next - at > most ? at + most : next};
      return true;
    }
    at = end;
  }
  return false;
}
