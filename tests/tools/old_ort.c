// SPDX-License-Identifier: Apache-2.0
//
// Stands for a libonnxruntime.so of long ago, for tests/unit/test_engine_onnx_library.c: it says its version and has no
// functions.
#include <stddef.h>

#include <onnxruntime_c_api.h>

static const OrtApi *get_api(uint32_t version) {
  (void)version;
  return NULL;
}

static const char *get_version(void) { return "1.5.2"; }

const OrtApiBase *OrtGetApiBase(void) {
  static const OrtApiBase base = {get_api, get_version};
  return &base;
}
