// SPDX-License-Identifier: Apache-2.0
//
// The memory need of a GGUF model: arithmetic over its header, apart from files so that it can be tested and fuzzed.
#ifndef RH_MODEL_NEED_GGUF_H
#define RH_MODEL_NEED_GGUF_H

#include "model/gguf.h"
#include "model/need.h"

// One bit a tensor type: the weights of which llama.cpp keeps a second, rearranged copy on this machine's processor.
uint64_t rh_need_rearranged_types(void);

// Fills weights, kv, compute, process and their split between RAM and GPUs. Never fails and never overflows: a header
// that lies gives a number that is wrong but not negative.
void rh_need_of_shape(const rh_gguf_summary *summary, const rh_gguf_shape *shape, const rh_load_options *options,
                      int64_t gpu_free_bytes, uint64_t rearranged_types, rh_need *out);

// From the header of `path` and of the other files it is in.
rh_status rh_need_gguf(const char *path, const rh_load_options *options, int64_t gpu_free_bytes, rh_need *out,
                       rh_error *error) RH_MUST_CHECK;

#endif
