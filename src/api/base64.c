// SPDX-License-Identifier: Apache-2.0
//
// Base64 both ways, written straight into the answer's buffer: a whole answer may hold many megabytes of it. Constant
// tables; any thread.
#include "api/base64.h"

#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode_group(char *to, const unsigned char *from, size_t count) {
  uint32_t bits = (uint32_t)from[0] << 16;
  if (count > 1) bits |= (uint32_t)from[1] << 8;
  if (count > 2) bits |= from[2];
  to[0] = alphabet[bits >> 18 & 63];
  to[1] = alphabet[bits >> 12 & 63];
  to[2] = count > 1 ? alphabet[bits >> 6 & 63] : '=';
  to[3] = count > 2 ? alphabet[bits & 63] : '=';
}

void rh_put_base64(rh_dynbuf *out, const void *bytes, size_t length) {
  size_t groups = length / 3 + (length % 3 != 0);
  char *to = rh_dynbuf_reserve(out, 4 * groups + 2);
  if (to == NULL) {
    out->failed = true;  // as any append that does not fit
    return;
  }
  const unsigned char *from = bytes;
  *to++ = '"';
  for (size_t left = length; left > 0; to += 4) {
    size_t count = left < 3 ? left : 3;
    encode_group(to, from, count);
    from += count;
    left -= count;
  }
  *to = '"';
  rh_dynbuf_grow(out, 4 * groups + 2);
}

static int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool rh_base64_decode(const char *text, size_t length, unsigned char *out, size_t *decoded) {
  if (length % 4 == 0 && length > 0 && text[length - 1] == '=') length -= text[length - 2] == '=' ? 2 : 1;
  if (length % 4 == 1) return false;
  uint32_t bits = 0;
  size_t written = 0;
  for (size_t i = 0; i < length; i++) {
    int value = value_of(text[i]);
    if (value < 0) return false;
    bits = bits << 6 | (uint32_t)value;
    if (i % 4 == 0) continue;
    out[written++] = (unsigned char)(bits >> (6 - i % 4 * 2));
  }
  *decoded = written;
  return true;
}
