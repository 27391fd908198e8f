// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: GPT-2's way to write any byte as a printable character.
#ifndef RH_TEXT_BYTE_LEVEL_H
#define RH_TEXT_BYTE_LEVEL_H

#include "text/internal.h"

// Bytes [start, end) of `source`, each as its character, appended to `out` with their offsets. `out` may grow.
rh_status rh_byte_level_append(rh_mapped *out, const rh_mapped *source, size_t start, size_t end) RH_MUST_CHECK;

// The byte that a character stands for, or -1.
int rh_byte_level_byte(uint32_t code);

#endif
