// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: more about sources than pull.h tells. Pure functions.
#ifndef RH_PULL_SOURCE_H
#define RH_PULL_SOURCE_H

#include "pull/pull.h"

#define RH_QUANTIZATION_MAX 32

// The source as it may be shown and remembered: without a URL's query, which may hold a signature.
void rh_source_public(const rh_source *source, char *out, size_t size);
// "SmolLM2-360M-Instruct-Q4_K_M-00001-of-00002.gguf" -> "Q4_K_M"; "BF16/x.gguf" -> "BF16". The file's name is looked at
// first, then its folder. False: there is none.
bool rh_quantization_of(const char *path, char out[RH_QUANTIZATION_MAX]);
// The same for a stem without folder and suffix; *start is where the quantization begins ("UD-" included).
bool rh_quantization_find(const char *stem, size_t length, size_t *start, char out[RH_QUANTIZATION_MAX]);
// "x-00002-of-00003.gguf": the length of what stands before the part's number (1), its number and their count. Other
// paths: false.
bool rh_part_of(const char *path, size_t *stem_length, long *number, long *count);

#endif
