// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 checks after the table of well-formed sequences in RFC 3629, section 4. Pure functions, any thread. This file
// does not decode code points and knows nothing of normal forms or graphemes.
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

// What a lead byte promises: the number of bytes, and the range of the second one (later ones are always 80..BF).
typedef struct lead {
  size_t length;  // 0 = can never start a character
  uint8_t second_min;
  uint8_t second_max;
} lead;

static lead lead_of(uint8_t byte) {
  if (byte < 0x80) return (lead){1, 0, 0};
  if (byte < 0xC2) return (lead){0, 0, 0};  // continuation bytes, and C0 and C1, which only start overlong forms
  if (byte < 0xE0) return (lead){2, 0x80, 0xBF};
  if (byte == 0xE0) return (lead){3, 0xA0, 0xBF};  // below A0 would be overlong
  if (byte == 0xED) return (lead){3, 0x80, 0x9F};  // above 9F are the surrogates
  if (byte < 0xF0) return (lead){3, 0x80, 0xBF};
  if (byte == 0xF0) return (lead){4, 0x90, 0xBF};  // below 90 would be overlong
  if (byte < 0xF4) return (lead){4, 0x80, 0xBF};
  if (byte == 0xF4) return (lead){4, 0x80, 0x8F};  // above 8F is past U+10FFFF
  return (lead){0, 0, 0};
}

// True when the bytes after the lead, as many as are there, fit it.
static bool tail_fits(lead what, const uint8_t *bytes, size_t length) {
  if (length > 1 && (bytes[1] < what.second_min || bytes[1] > what.second_max)) return false;
  for (size_t i = 2; i < what.length && i < length; i++) {
    if ((bytes[i] & 0xC0) != 0x80) return false;
  }
  return true;
}

size_t rh_utf8_char_length(const char *bytes, size_t length) {
  if (length == 0) return 0;
  const uint8_t *at = (const uint8_t *)bytes;
  lead what = lead_of(at[0]);
  if (what.length <= 1) return what.length;
  if (what.length > length || !tail_fits(what, at, what.length)) return 0;
  return what.length;
}

bool rh_utf8_valid(const char *bytes, size_t length) {
  size_t i = 0;
  while (i < length) {
    // Most text is ASCII: eight bytes at a time while no high bit is set.
    uint64_t word;
    while (length - i >= sizeof word) {
      memcpy(&word, bytes + i, sizeof word);
      if ((word & UINT64_C(0x8080808080808080)) != 0) break;
      i += sizeof word;
    }
    if (i == length) break;
    size_t step = rh_utf8_char_length(bytes + i, length - i);
    if (step == 0) return false;
    i += step;
  }
  return true;
}

size_t rh_utf8_complete_prefix(const char *bytes, size_t length) {
  const uint8_t *at = (const uint8_t *)bytes;
  size_t back_max = length < 3 ? length : 3;
  for (size_t back = 1; back <= back_max; back++) {
    uint8_t byte = at[length - back];
    if ((byte & 0xC0) == 0x80) continue;
    lead what = lead_of(byte);
    bool open = what.length > back && tail_fits(what, at + (length - back), back);
    return open ? length - back : length;
  }
  return length;
}
