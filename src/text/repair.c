// SPDX-License-Identifier: Apache-2.0
//
// Purpose: bytes that may be no UTF-8 to text, with U+FFFD for each part that is none, as Unicode recommends it and Python
// and Rust do it: for the longest beginning of a character, else for one byte.
// Data owned: none. Threads: any. Not here: bytes that may still become a character (decoder_steps.c).
#include "base/utf8.h"
#include "text/private.h"

#define REPLACEMENT "\xef\xbf\xbd"

static size_t broken_length(const char *text, size_t length) {
  for (size_t take = length < 3 ? length : 3; take > 1; take--) {
    if (rh_utf8_complete_prefix(text, take) == 0) return take;
  }
  return 1;
}

void rh_text_append_repaired(rh_dynbuf *out, const char *text, size_t length) {
  if (rh_utf8_valid(text, length)) {
    (void)rh_dynbuf_append(out, text, length);
    return;
  }
  for (size_t at = 0; at < length;) {
    size_t step = rh_utf8_char_length(text + at, length - at);
    if (step > 0) {
      (void)rh_dynbuf_append(out, text + at, step);
    } else {
      (void)rh_dynbuf_append(out, REPLACEMENT, 3);
      step = broken_length(text + at, length - at);
    }
    at += step;
  }
}
