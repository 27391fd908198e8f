// SPDX-License-Identifier: Apache-2.0
//
// GPT-2's alphabet: 188 bytes that are printable in Latin-1 stand for themselves as code points; the other 68 become U+0100
// and on, in order. A table of UTF-8 that is fixed at compile time would be 256 lines, so it is worked out per byte, and
// ASCII's printable ones, nearly everything there is, are copied. Pure functions, any thread.
#include "text/byte_level.h"

#include <stdbool.h>
#include <string.h>

static bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// 00..20, 7F..A0 and AD, in this order.
static unsigned code_of(unsigned byte) {
  if (stands_for_itself(byte)) return byte;
  if (byte <= 0x20) return 0x100 + byte;
  return byte == 0xAD ? 0x143 : 0x121 + (byte - 0x7F);
}

int rh_byte_level_byte(uint32_t code) {
  if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
  if (code <= 0x120) return (int)(code - 0x100);
  if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
  return code == 0x143 ? 0xAD : -1;
}

rh_status rh_byte_level_append(rh_mapped *out, const rh_mapped *source, size_t start, size_t end) {
  rh_status status = rh_mapped_reserve(out, 2 * (end - start), source->from != NULL);
  if (status != RH_OK) return status;
  char *at = out->bytes + out->length;
  const uint8_t *bytes = (const uint8_t *)source->bytes;
  size_t written = 0;
  for (size_t i = start; i < end; i++) {
    unsigned code = code_of(bytes[i]);
    size_t length = 1;
    if (code < 0x80) {
      at[written] = (char)code;
    } else {
      at[written] = (char)(0xC0 | code >> 6);
      at[written + 1] = (char)(0x80 | (code & 0x3F));
      length = 2;
    }
    if (source->from != NULL) {
      size_t to = out->length + written;
      out->from[to] = source->from[i];
      out->to[to] = source->to[i];
      if (length == 2) {
        out->from[to + 1] = source->from[i];
        out->to[to + 1] = source->to[i];
      }
    }
    written += length;
  }
  out->length += written;
  return RH_OK;
}
