// SPDX-License-Identifier: Apache-2.0
//
// Server-sent events, as the HTML standard (section "Server-sent events") parses them. Incremental and pure.
#ifndef RH_BASE_SSE_H
#define RH_BASE_SSE_H

#include "base/dynbuf.h"
#include "base/status.h"

typedef struct rh_sse_event {
  const char *event;  // "message" when the stream names none
  const char *data;   // its lines joined with newlines; NUL-terminated; valid during the call
  size_t length;
} rh_sse_event;

typedef struct rh_sse {
  rh_dynbuf line;  // the beginning of one whose end has not come
  rh_dynbuf data;  // of the event so far
  char event[64];
  bool has_data;
  bool after_cr;  // a newline that follows now belongs to the same line end
  bool begun;     // the first line is over, so no byte order mark can come
} rh_sse;

void rh_sse_init(rh_sse *sse, size_t event_bytes_max);
void rh_sse_free(rh_sse *sse);

// What to do with an event. Any other status than RH_OK ends the reading: the bytes behind it are dropped.
typedef rh_status (*rh_sse_fn)(void *ctx, const rh_sse_event *event);

// Takes all bytes and calls `fn` for every event that is complete. RH_TOO_LARGE when a line or an event passes the
// maximum; otherwise the first status of `fn` that is not RH_OK.
rh_status rh_sse_feed(rh_sse *sse, const char *bytes, size_t length, rh_sse_fn fn, void *ctx) RH_MUST_CHECK;
// The stream is over: an event whose blank line is missing counts all the same, for those whose servers forget it.
rh_status rh_sse_end(rh_sse *sse, rh_sse_fn fn, void *ctx) RH_MUST_CHECK;

#endif
