// SPDX-License-Identifier: Apache-2.0
//
// The frame codec between daemon and worker: bytes only, no sockets. See docs/wire-protocol.md.
//
//   u32 length | u8 type | u8 flags | u16 reserved | u32 stream | u32 json_length | json | binary
//
// Little endian. `length` counts what follows it (12 bytes of header, json and binary).
#ifndef RH_WIRE_FRAME_H
#define RH_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_WIRE_VERSION 1
#define RH_FRAME_HEADER_BYTES 16

typedef enum rh_frame_type {
  RH_FRAME_HELLO = 1,   // worker -> daemon, first: version, engines
  RH_FRAME_LOAD = 2,    // daemon -> worker
  RH_FRAME_LOADED = 3,  // worker -> daemon
  RH_FRAME_LOAD_PROGRESS = 4,
  RH_FRAME_RUN = 5,      // daemon -> worker: opens `stream`
  RH_FRAME_EVENT = 6,    // worker -> daemon; a final event closes `stream`. On stream 0: an error of the whole worker
  RH_FRAME_CANCEL = 7,   // daemon -> worker
  RH_FRAME_CREDIT = 8,   // daemon -> worker: more delta events are welcome on `stream`
  RH_FRAME_STATS = 9,    // worker -> daemon, about once a second while something changes
  RH_FRAME_UNLOAD = 10,  // daemon -> worker: free the model, say GOODBYE, exit
  RH_FRAME_PING = 11,
  RH_FRAME_PONG = 12,     // carries the same json as STATS
  RH_FRAME_GOODBYE = 13,  // worker -> daemon: nothing follows
  RH_FRAME_SHARE = 14,    // daemon -> worker: how many threads may compute from the next step on
  RH_FRAME_TYPE_END
} rh_frame_type;

const char *rh_frame_type_name(uint8_t type);

typedef struct rh_frame {
  uint8_t type;
  uint8_t flags;
  uint32_t stream;
  const char *json;  // json_length bytes, not NUL-terminated; points into the input
  uint32_t json_length;
  const uint8_t *binary;
  size_t binary_length;
} rh_frame;

// Look for one frame at the front of `bytes`. RH_OK: `*frame` is set and `*consumed` says how many bytes it took.
// RH_AGAIN: not all of it is here. RH_PROTOCOL: these bytes can never become a frame (error says why); the peer is lost.
rh_status rh_frame_decode(const void *bytes, size_t length, rh_frame *frame, size_t *consumed,
                          rh_error *error) RH_MUST_CHECK;

// Append one frame. `json` may be NULL with length 0.
rh_status rh_frame_encode(rh_dynbuf *out, rh_frame_type type, uint32_t stream, const char *json, size_t json_length,
                          const void *binary, size_t binary_length) RH_MUST_CHECK;

#endif
