// SPDX-License-Identifier: Apache-2.0
//
// The GGUF header parser as a pure function over bytes, apart from the file reader so that it can be fuzzed.
// What it fills is declared in model/catalogue.h. Format: docs/gguf.md of the ggml project, versions 2 and 3.
#ifndef RH_MODEL_GGUF_H
#define RH_MODEL_GGUF_H

#include "model/catalogue.h"

#define RH_GGUF_MAGIC_BYTES 4

// True when `bytes` begin like a GGUF file.
bool rh_gguf_has_magic(const void *bytes, size_t length);

// Read the header that begins at `bytes`. `complete` says that nothing follows in the file.
// RH_AGAIN: the header goes on past `length`; call again with more (what was found so far is in *out).
// RH_INVALID: no GGUF, or a broken one. RH_UNSUPPORTED: a version or byte order that is not read here.
rh_status rh_gguf_parse_summary(const void *bytes, size_t length, bool complete, rh_gguf_summary *out,
                                rh_error *error) RH_MUST_CHECK;

#endif
