// SPDX-License-Identifier: Apache-2.0
//
// The two clocks. Owns the text of the current second, one per thread; any thread. It never converts between monotonic and wall
// time: their distance changes.
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

size_t rh_clock_format_utc(char *out, size_t size, int64_t seconds) {
  time_t at = (time_t)seconds;
  struct tm parts;
  size_t length = gmtime_r(&at, &parts) == NULL ? 0 : strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (length == 0) out[0] = '\0';
  return length;
}

// The last second that was formatted: a busy log asks for the same one thousands of times.
static _Thread_local struct {
  char text[ISO_SIZE];
  size_t length;  // with its 'Z'; 0 = none yet
  time_t second;
} last;

static bool remember_second(time_t second) {
  if (last.length > 0 && last.second == second) return true;
  last.length = rh_clock_format_utc(last.text, ISO_SIZE, second);
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
  size_t length = last.length - 1;
  memcpy(out, last.text, length);
  memcpy(out + length, rest, sizeof rest);
  return length + sizeof rest - 1;
}
