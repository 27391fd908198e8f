// SPDX-License-Identifier: Apache-2.0
//
// The frame codec. Pure: it reads and writes bytes, holds no state and owns no socket. It checks lengths against each
// other before it touches what they describe, because the peer may be a plugin that a stranger wrote.
#include "wire/frame.h"

#include <assert.h>
#include <string.h>

#include "flow/limits.h"

static const char *const type_names[RH_FRAME_TYPE_END] = {
    [RH_FRAME_HELLO] = "HELLO",     [RH_FRAME_LOAD] = "LOAD",
    [RH_FRAME_LOADED] = "LOADED",   [RH_FRAME_LOAD_PROGRESS] = "LOAD_PROGRESS",
    [RH_FRAME_RUN] = "RUN",         [RH_FRAME_EVENT] = "EVENT",
    [RH_FRAME_CANCEL] = "CANCEL",   [RH_FRAME_CREDIT] = "CREDIT",
    [RH_FRAME_STATS] = "STATS",     [RH_FRAME_UNLOAD] = "UNLOAD",
    [RH_FRAME_PING] = "PING",       [RH_FRAME_PONG] = "PONG",
    [RH_FRAME_GOODBYE] = "GOODBYE", [RH_FRAME_SHARE] = "SHARE",
};

const char *rh_frame_type_name(uint8_t type) {
  return type > 0 && type < RH_FRAME_TYPE_END ? type_names[type] : "unknown";
}

static uint32_t read_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void write_u32(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)value;
  bytes[1] = (uint8_t)(value >> 8);
  bytes[2] = (uint8_t)(value >> 16);
  bytes[3] = (uint8_t)(value >> 24);
}

rh_status rh_frame_decode(const void *bytes, size_t length, rh_frame *frame, size_t *consumed, rh_error *error) {
  assert(frame != NULL && consumed != NULL);
  const uint8_t *at = bytes;
  if (length < 4) return RH_AGAIN;
  uint32_t rest = read_u32(at);
  if (rest < RH_FRAME_HEADER_BYTES - 4 || rest > RH_FRAME_BYTES_MAX) {
    return rh_fail(error, RH_PROTOCOL, "a frame of %u bytes was announced; frames have %u to %u bytes", rest,
                   (unsigned)RH_FRAME_HEADER_BYTES - 4, (unsigned)RH_FRAME_BYTES_MAX);
  }
  // The header is checked as soon as it is here, so that a lying one does not make us wait for megabytes.
  if (length < RH_FRAME_HEADER_BYTES) return RH_AGAIN;
  uint8_t type = at[4];
  uint32_t json_length = read_u32(at + 12);
  size_t body = rest - (RH_FRAME_HEADER_BYTES - 4);
  if (type == 0 || type >= RH_FRAME_TYPE_END) {
    return rh_fail(error, RH_PROTOCOL, "frame type %u is not known", type);
  }
  if (json_length > body) {
    return rh_fail(error, RH_PROTOCOL, "a %s frame of %zu bytes claims %u bytes of JSON", type_names[type], body,
                   json_length);
  }
  if (length - 4 < rest) return RH_AGAIN;
  *frame = (rh_frame){
      .type = type,
      .flags = at[5],
      .stream = read_u32(at + 8),
      .json = (const char *)at + RH_FRAME_HEADER_BYTES,
      .json_length = json_length,
      .binary = at + RH_FRAME_HEADER_BYTES + json_length,
      .binary_length = body - json_length,
  };
  *consumed = (size_t)rest + 4;
  return RH_OK;
}

rh_status rh_frame_encode(rh_dynbuf *out, rh_frame_type type, uint32_t stream, const char *json, size_t json_length,
                          const void *binary, size_t binary_length) {
  assert(type > 0 && type < RH_FRAME_TYPE_END);
  if (json_length > RH_FRAME_BYTES_MAX || binary_length > RH_FRAME_BYTES_MAX - json_length - RH_FRAME_HEADER_BYTES) {
    return RH_TOO_LARGE;
  }
  size_t total = RH_FRAME_HEADER_BYTES + json_length + binary_length;
  uint8_t *at = (uint8_t *)rh_dynbuf_reserve(out, total);
  if (at == NULL) return RH_TOO_LARGE;
  memset(at, 0, RH_FRAME_HEADER_BYTES);
  write_u32(at, (uint32_t)(total - 4));
  at[4] = (uint8_t)type;
  write_u32(at + 8, stream);
  write_u32(at + 12, (uint32_t)json_length);
  if (json_length > 0) memcpy(at + RH_FRAME_HEADER_BYTES, json, json_length);
  if (binary_length > 0) memcpy(at + RH_FRAME_HEADER_BYTES + json_length, binary, binary_length);
  rh_dynbuf_grow(out, total);
  return RH_OK;
}
