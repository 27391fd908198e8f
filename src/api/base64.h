// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: base64 (RFC 4648, section 4) for vectors and tensors.
#ifndef RH_API_BASE64_H
#define RH_API_BASE64_H

#include <stdbool.h>

#include "base/dynbuf.h"

// Append the bytes as a JSON string.
void rh_put_base64(rh_dynbuf *out, const void *bytes, size_t length);

// Room that decoding so many characters needs at most.
static inline size_t rh_base64_room(size_t length) { return length / 4 * 3 + 3; }

// Into `out`, which has that room. False: a character that is not of the alphabet, or an impossible length. The padding may
// be missing.
bool rh_base64_decode(const char *text, size_t length, unsigned char *out, size_t *decoded);

#endif
