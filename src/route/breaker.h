// SPDX-License-Identifier: Apache-2.0
//
// Private to src/route: the breaker's side of an attempt's end.
#ifndef RH_ROUTE_BREAKER_H
#define RH_ROUTE_BREAKER_H

#include "route/stats.h"

// True: the member was out for being slow and is back; its old speeds say nothing any more.
bool rh_breaker_note_success(rh_route_stats *stats, const rh_breaker_options *options);
void rh_breaker_note_failure(rh_route_stats *stats, const rh_breaker_options *options, uint64_t retry_after_ns,
                             uint64_t now_ns);

#endif
