// SPDX-License-Identifier: Apache-2.0
//
// Small things about text: identifiers, hashes, sizes.
#ifndef RH_BASE_TEXT_H
#define RH_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_ID_SIZE 48

// "prefix" + 32 hexadecimal digits (a version 7 UUID without hyphens) into `out`: 48 bits are the milliseconds since
// 1970, so that rows in the order of their making are neighbours in an index over their ids, and 74 bits are random, in
// no order within a millisecond. For names, not for secrets: anyone may read the time. Random bytes come from
// getrandom(2) in blocks, so an id costs nanoseconds. Any thread.
void rh_id_make(char out[RH_ID_SIZE], const char *prefix);

// Lower-case hexadecimal SHA-256 (64 digits and a NUL).
void rh_sha256_hex(const void *bytes, size_t length, char out[65]);

// "1.5 GiB" into `out`.
void rh_text_format_bytes(char *out, size_t size, uint64_t bytes);

// The shortest decimal that reads back as the same double; whole numbers without a point ("250", "0.7", "+Inf", "NaN").
// `out` has at least 32 bytes. Returns the length without the NUL.
size_t rh_text_format_number(char *out, size_t size, double value);

// A whole number in decimal, much faster than printf; its length without the NUL.
#define RH_INT_TEXT_SIZE 24
size_t rh_text_format_int(char out[RH_INT_TEXT_SIZE], int64_t value);

// Copy, always NUL-terminated; false when it was cut. A cut never leaves half a character at the end.
bool rh_text_copy(char *out, size_t size, const char *text);

bool rh_text_starts_with(const char *text, const char *prefix);
bool rh_text_ends_with(const char *text, const char *suffix);

#endif
