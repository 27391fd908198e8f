// SPDX-License-Identifier: Apache-2.0
//
// Time. Durations and deadlines use the monotonic clock in nanoseconds; wall time is for people and wire formats only.
#ifndef RH_BASE_CLOCK_H
#define RH_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define RH_NS_PER_US UINT64_C(1000)
#define RH_NS_PER_MS UINT64_C(1000000)
#define RH_NS_PER_S UINT64_C(1000000000)

uint64_t rh_clock_now_ns(void);   // monotonic
uint64_t rh_clock_wall_ns(void);  // nanoseconds since 1970
int64_t rh_clock_wall_s(void);    // seconds since 1970
// "2026-11-21T08:49:56.123Z" into `out` (at least 32 bytes). Returns its length.
size_t rh_clock_format_iso(char *out, size_t size);
// The same of a moment in seconds since 1970: "2026-11-21T08:49:56Z". 0, and "", for one that has no such form.
size_t rh_clock_format_utc(char *out, size_t size, int64_t seconds);

static inline double rh_ns_to_ms(uint64_t ns) { return (double)ns / 1e6; }
static inline double rh_ns_to_s(uint64_t ns) { return (double)ns / 1e9; }

#endif
