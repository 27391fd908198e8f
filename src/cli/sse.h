// SPDX-License-Identifier: Apache-2.0
//
// Server-sent events, as the HTML standard (section "Server-sent events") parses them. Incremental and pure.
#ifndef RH_CLI_SSE_H
#define RH_CLI_SSE_H

#include "base/dynbuf.h"
#include "base/status.h"

typedef struct rh_sse_event {
  const char *event;  // "message" when the stream names none
  const char *data;   // its lines joined with newlines; NUL-terminated; valid during the call
  size_t length;
} rh_sse_event;

typedef struct rh_sse {
  rh_dynbuf line;
  rh_dynbuf data;
  char event[64];
  bool has_data;
  bool after_cr;  // a newline that follows now belongs to the same line end
  bool begun;     // the first line is over, so no byte order mark can come
} rh_sse;

void rh_sse_init(rh_sse *sse, size_t event_bytes_max);
void rh_sse_free(rh_sse *sse);

// Takes all bytes and calls `fn` for every event that is complete. RH_TOO_LARGE when a line or an event passes the
// maximum; otherwise the first status of `fn` that is not RH_OK.
rh_status rh_sse_feed(rh_sse *sse, const char *bytes, size_t length,
                      rh_status (*fn)(void *ctx, const rh_sse_event *event), void *ctx) RH_MUST_CHECK;

#endif
