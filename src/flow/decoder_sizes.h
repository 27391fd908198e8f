// SPDX-License-Identifier: Apache-2.0
//
// How large the KV cache of an ONNX decoder is where nobody says so: the worker makes it, the daemon reserves its memory.
#ifndef RH_FLOW_DECODER_SIZES_H
#define RH_FLOW_DECODER_SIZES_H

#include <stdint.h>

#define RH_DECODER_CONTEXT_DEFAULT 4096  // or what the model was trained for, where that is less
#define RH_DECODER_SLOTS_DEFAULT 4
// Keys and values of older models in single precision take gigabytes for a few thousand tokens; then fewer requests run at
// once rather than none.
#define RH_DECODER_CACHE_BYTES ((int64_t)4 << 30)
// A graph gives logits for every token of a step, though only the last are used; steps are cut so that they stay below.
#define RH_DECODER_LOGITS_BYTES ((int64_t)128 << 20)
#define RH_DECODER_STEP_DEFAULT 512  // tokens of a prompt in one step

// Slots where none are asked for. `token_bytes`: keys and values of one token in all layers.
static inline int64_t rh_decoder_slots(int64_t token_bytes, int64_t context) {
  int64_t fit =
      token_bytes > 0 && context > 0 ? RH_DECODER_CACHE_BYTES / context / token_bytes : RH_DECODER_SLOTS_DEFAULT;
  return fit < 1 ? 1 : fit > RH_DECODER_SLOTS_DEFAULT ? RH_DECODER_SLOTS_DEFAULT : fit;
}

#endif
