// SPDX-License-Identifier: Apache-2.0
//
// How much memory a model will take, before it is loaded.
//
// For GGUF: weights from the file's tensor table; keys and values = 2 x layers x KV heads x head size x bytes of their
// type x context x slots (sliding windows, recurrent layers and shared layers considered as the header tells); compute
// buffers and the process itself from measured formulas whose source stands in need.c. For ONNX: from the shapes and types of
// its weights; compute_bytes is what loading takes besides.
#ifndef RH_MODEL_NEED_H
#define RH_MODEL_NEED_H

#include "base/status.h"
#include "flow/model_info.h"
#include "model/hardware.h"

typedef struct rh_need {
  int64_t weights_bytes;
  int64_t kv_bytes;
  int64_t compute_bytes;
  int64_t process_bytes;  // the worker itself: program, libraries, tokenizer
  int64_t ram_bytes;      // the part of the sum that will lie in RAM (resident set of the worker)
  int64_t gpu_bytes;      // the part that will lie on GPUs
  int64_t gpu_layers;     // how many layers that counts on GPUs; the output is one more
  bool measured;          // ram_bytes and gpu_bytes come from an earlier load of the same file and options
} rh_need;

// `gpu_layers` of the options: 0 = all in RAM; -1 with `gpu_free_bytes` > 0 = as many layers as fit.
// The fake engine's scripts need what "memory=" says. RH_UNSUPPORTED for a format nothing can be said about: then the
// file's size is all there is in *out.
rh_status rh_need_estimate(const char *engine, const char *path, const rh_load_options *options, int64_t gpu_free_bytes,
                           rh_need *out, rh_error *error) RH_MUST_CHECK;

// A rough figure for a model that is not here yet, from what a catalogue says: bytes of its files, parameters, context.
int64_t rh_need_rough(int64_t file_bytes, int64_t parameters, int64_t context, int64_t slots);

#endif
