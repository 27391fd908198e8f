// SPDX-License-Identifier: Apache-2.0
//
// What kind of model a file or folder holds, found from content and never from a file's name.
#ifndef RH_MODEL_FORMAT_H
#define RH_MODEL_FORMAT_H

#include <stdint.h>

#include "base/status.h"

typedef enum rh_format {
  RH_FORMAT_UNKNOWN,
  RH_FORMAT_GGUF,         // one file, or the first of several ("-00001-of-00003")
  RH_FORMAT_ONNX,         // one graph; its weights inside or beside it (external data)
  RH_FORMAT_ONNX_GENAI,   // a folder with genai_config.json and the graphs it names
  RH_FORMAT_SAFETENSORS,  // a Hugging Face folder: config.json and *.safetensors
  RH_FORMAT_TENSORRT,     // a serialized TensorRT engine
  RH_FORMAT_FAKE,         // "fake:...": the test engine's scripts
  RH_FORMAT_COUNT
} rh_format;

const char *rh_format_name(rh_format format);     // "gguf", "onnx", "onnx-genai", "safetensors", "tensorrt", ...
rh_format rh_format_from_name(const char *name);  // RH_FORMAT_UNKNOWN for an unknown word
const char *rh_format_engine(rh_format format);  // "llama", "onnx", "fake"; NULL when no engine of this build serves it

typedef struct rh_format_report {
  rh_format format;
  char entry[512];  // what an engine opens, relative to the folder (or the file's own name)
  char parts[256];  // for people: "3 parts", "external data in model.onnx_data", "2 shards"
  char seen[256];   // RH_UNSUPPORTED: what was there instead ("a ZIP archive", "an HTML page", "a PyTorch pickle", ...)
  int64_t bytes;    // of all files that belong to the model
  char missing[256];  // a part that is named but not there, or empty
} rh_format_report;

// `path` is a file or a folder. RH_UNSUPPORTED: none of the formats above; error and report->seen say what was seen.
// RH_INVALID: one of them but broken (cut short, a part is missing). Reads headers only; never executes or maps weights.
rh_status rh_format_detect(const char *path, rh_format_report *out, rh_error *error) RH_MUST_CHECK;

#endif
