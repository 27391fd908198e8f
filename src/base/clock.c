// SPDX-License-Identifier: Apache-2.0
//
// The two clocks. Owns the text of the current second, one per thread; any thread. It never converts between monotonic and wall time: their distance changes.
#include "base/clock.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define ISO_SIZE 32

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

// The last second that was formatted: a busy log asks for the same one thousands of times.
static _Thread_local struct {
  char text[ISO_SIZE];
  size_t length;  // 0 = none yet
  time_t second;
} last;

static bool remember_second(time_t second) {
  struct tm parts;
  if (last.length > 0 && last.second == second) return true;
  last.length = gmtime_r(&second, &parts) == NULL ? 0 : strftime(last.text, ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
  last.second = second;
  return last.length > 0;
}

size_t rh_clock_format_iso(char *out, size_t size) {
  static const char unknown[] = "1970-01-01T00:00:00.000Z";
  assert(size >= ISO_SIZE);
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0 || !remember_second(now.tv_sec)) {
    memcpy(out, unknown, sizeof unknown);
    return sizeof unknown - 1;
  }
  int ms = (int)(now.tv_nsec / 1000000);
  const char rest[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '\0'};
  memcpy(out, last.text, last.length);
  memcpy(out + last.length, rest, sizeof rest);
  return last.length + sizeof rest - 1;
}
