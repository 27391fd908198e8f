// SPDX-License-Identifier: Apache-2.0
//
// The table of the engines in this build. Constant data, any thread. The build decides which engines exist; nothing is
// loaded or probed here.
#include <string.h>

#include "engine/engine.h"

extern const rh_engine_ops rh_engine_fake;
#ifdef RH_ENGINE_LLAMA
extern const rh_engine_ops rh_engine_llama;
#endif
#ifdef RH_ENGINE_ONNX
extern const rh_engine_ops rh_engine_onnx;
#endif

static const rh_engine_ops *const engines[] = {
    &rh_engine_fake,
#ifdef RH_ENGINE_LLAMA
    &rh_engine_llama,
#endif
#ifdef RH_ENGINE_ONNX
    &rh_engine_onnx,
#endif
    NULL,
};

const rh_engine_ops *const *rh_engine_all(void) { return engines; }

const rh_engine_ops *rh_engine_find(const char *name) {
  for (const rh_engine_ops *const *engine = engines; name != NULL && *engine != NULL; engine++) {
    if (strcmp((*engine)->name, name) == 0) return *engine;
  }
  return NULL;
}
