// SPDX-License-Identifier: Apache-2.0
//
// What the files say that a load of an ONNX graph cannot see: how its weights are stored, and which variant of it with int8
// weights lies beside it.
#ifndef RH_MODEL_VARIANT_H
#define RH_MODEL_VARIANT_H

#include <stdbool.h>

#include "flow/model_info.h"

#define RH_VARIANT_PATH_MAX 4096

typedef struct rh_onnx_findings {
  char quantization[32];              // of the graph, as rh_onnx_quantization_text; "" = unknown
  char variant[RH_VARIANT_PATH_MAX];  // "" = there is none, or none is to be considered
  char variant_quantization[32];
  bool lacks_vnni;  // there is one, but the processor is not made for it
} rh_onnx_findings;

// The graph at `path` (or a genai_config.json) and what lies beside it. A variant has the graph's name with an addition
// ("model_int8.onnx", "model_quantized.onnx", ...), is whole, keeps its weights inside its folder, is quantized to bytes
// with scales of its own for each run, and has the graph's inputs. `int8`: rh_onnx_int8; with RH_ONNX_INT8_AUTO one is
// considered when `vnni` and when the graph reads text and does not generate. Reads headers only. Any thread.
void rh_onnx_find(const char *path, int int8, bool vnni, rh_onnx_findings *out);

// What `load` (of an ONNX model, by this processor) lacks is taken from the files. `out` must live as long as `load`.
void rh_onnx_complete_load(rh_load *load, rh_onnx_findings *out);

#endif
