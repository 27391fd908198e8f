// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: what to do after a request failed. Pure functions.
#ifndef RH_PULL_RETRY_H
#define RH_PULL_RETRY_H

#include <curl/curl.h>
#include <stdint.h>

#include "base/status.h"

#define RH_RETRY_FIRST_NS (UINT64_C(250) * 1000 * 1000)
#define RH_RETRY_MAX_NS (UINT64_C(20) * 1000 * 1000 * 1000)
#define RH_RETRY_AFTER_MAX_S 300  // no server makes us wait longer

// May the same request do better later?
bool rh_retry_transport(CURLcode code);
bool rh_retry_answer(long http_status);
// What a Retry-After header asks for: seconds or an HTTP date, capped; -1 when it cannot be read.
int64_t rh_retry_after_s(const char *header, int64_t now_s);
// Before try number `attempt` + 1 (attempt is 1 after the first failure): doubled each time, capped, the second half of
// it by `chance` (0..1), so that many clients do not come back together; never less than `asked_s` (-1 = nothing asked).
uint64_t rh_retry_delay_ns(int attempt, double chance, int64_t asked_s);

#endif
