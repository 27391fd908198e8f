// SPDX-License-Identifier: Apache-2.0
//
// What an ONNX graph's file says about itself, read with bounds and without an inference library: what it takes and gives,
// its operator sets, whether it is quantized, how large it is.
#ifndef RH_MODEL_ONNX_H
#define RH_MODEL_ONNX_H

#include <stdint.h>

#include "base/status.h"
#include "model/format.h"

#define RH_ONNX_RANK_MAX 16
#define RH_ONNX_PORTS_MAX 1024

typedef struct rh_onnx_port {
  char name[128];
  char type[32];  // "float32", "int64", "string"; "sequence", "map", "optional", "sparse tensor"
  bool has_shape;
  size_t rank;
  int64_t shape[RH_ONNX_RANK_MAX];   // -1 = any size
  char words[RH_ONNX_RANK_MAX][32];  // the graph's word for a size, or empty
} rh_onnx_port;

typedef struct rh_onnx_summary {
  int64_t ir_version;
  int64_t opset;          // of ONNX's own operators
  char operators[128];    // other sets that it uses: "com.microsoft 1, ai.onnx.ml 3"
  char producer[96];      // "pytorch 2.3.0"
  char quantization[32];  // "float32", "float16", "int8", "uint8", "int4"
  bool quantized;
  bool dynamic;  // quantized to bytes, and what flows through it is quantized too: anew in each run
  bool fixed;    // likewise, by scales that stand in the graph
  int64_t nodes;
  int64_t parameters;     // numbers in its weights
  int64_t weights_bytes;  // inside and outside the file
  int64_t half_bytes;     // of them in 16-bit floating point
  int64_t outside_bytes;  // of them in other files
  rh_onnx_port *inputs, *outputs;
  size_t input_count, output_count;
} rh_onnx_summary;

// Free it with rh_onnx_summary_free after RH_OK. RH_UNSUPPORTED: no graph; RH_INVALID: damaged; RH_TOO_LARGE.
rh_status rh_onnx_read_summary(const char *path, rh_onnx_summary *out, rh_error *error) RH_MUST_CHECK;
void rh_onnx_summary_free(rh_onnx_summary *summary);

// "fp32", "fp16", "int8 dynamic", "uint8 static", "int4": how it computes, in the words of an answer's `acceleration`; "" =
// it has no weights.
void rh_onnx_quantization_text(const rh_onnx_summary *summary, char *out, size_t size);

// "input_ids int64[batch,sequence]" into `out`.
void rh_onnx_port_text(const rh_onnx_port *port, char *out, size_t size);

#endif
