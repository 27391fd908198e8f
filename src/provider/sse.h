// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: server-sent events, as the HTML standard (section "Server-sent events") parses them. Incremental
// and pure.
#ifndef RH_PROVIDER_SSE_H
#define RH_PROVIDER_SSE_H

#include <stdbool.h>

#include "base/dynbuf.h"

typedef struct rh_provider_sse {
  rh_dynbuf line;  // the beginning of a line whose end has not come
  rh_dynbuf data;  // of the event so far
  char event[64];  // its name; "" = none
  bool has_data;
  bool after_cr;  // a newline that follows now belongs to the same line end
  bool begun;     // the first line is over, so no byte order mark can come
} rh_provider_sse;

void rh_provider_sse_init(rh_provider_sse *sse, size_t event_bytes_max);
void rh_provider_sse_free(rh_provider_sse *sse);

// What to do with an event; its text is NUL-terminated and valid during the call. False: stop, no more is wanted.
typedef bool (*rh_provider_sse_fn)(void *ctx, const char *event, const char *data, size_t length);

// Takes all bytes, and calls `fn` for every event that is complete. RH_TOO_LARGE when a line or an event passes the maximum.
rh_status rh_provider_sse_feed(rh_provider_sse *sse, const char *bytes, size_t length, rh_provider_sse_fn fn,
                               void *ctx) RH_MUST_CHECK;
// The stream is over: an event whose blank line is missing counts all the same, because servers forget it.
rh_status rh_provider_sse_end(rh_provider_sse *sse, rh_provider_sse_fn fn, void *ctx) RH_MUST_CHECK;

#endif
