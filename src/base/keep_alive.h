// SPDX-License-Identifier: Apache-2.0
//
// How long a model stays in memory when nobody uses it, as people and clients write it. Pure; any thread.
#ifndef RH_BASE_KEEP_ALIVE_H
#define RH_BASE_KEEP_ALIVE_H

#include <stdint.h>

#include "base/status.h"

// Words among the nanoseconds.
#define RH_KEEP_ALIVE_UNSET (-2)    // no wish: the server's default
#define RH_KEEP_ALIVE_FOREVER (-1)  // never leaves for being idle

// "5m", "1h30m", "300" (seconds), "0" (leave when idle), "forever" or a negative number (never leave).
rh_status rh_keep_alive_parse(const char *text, int64_t *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_keep_alive_from_seconds(double seconds, int64_t *out) RH_MUST_CHECK;  // RH_INVALID: not a number

#endif
