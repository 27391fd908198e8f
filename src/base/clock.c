// SPDX-License-Identifier: Apache-2.0
//
// The two clocks. Owns no data; any thread. It never converts between monotonic and wall time: their distance changes.
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

uint64_t rh_clock_now_ns(void) {
  struct timespec now;
  int rc = clock_gettime(CLOCK_MONOTONIC, &now);
  assert(rc == 0);
  (void)rc;
  return (uint64_t)now.tv_sec * RH_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t rh_clock_wall_ns(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return 0;
  return (uint64_t)now.tv_sec * RH_NS_PER_S + (uint64_t)now.tv_nsec;
}

int64_t rh_clock_wall_s(void) { return (int64_t)time(NULL); }

void rh_clock_format_iso(char *out, size_t size) {
  assert(size >= 32);
  struct timespec now;
  struct tm parts;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0 || gmtime_r(&now.tv_sec, &parts) == NULL) {
    (void)snprintf(out, size, "1970-01-01T00:00:00.000Z");
    return;
  }
  size_t length = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &parts);
  (void)snprintf(out + length, size - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}
