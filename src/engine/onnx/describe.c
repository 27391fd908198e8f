// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the loaded model is and what it runs on, in the project's own words.
// Data owned: none. Threads: the engine thread.
// Not here: what the graph's file says (opset, quantization); the daemon reads that (src/model/onnx_summary.c) and tells the
// load of the latter.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "engine/onnx/generate/generate.h"

static void describe_generator(const rh_generator *generator, rh_model_info *info) {
  info->task[0] = '\0';
  info->slots = (int64_t)generator->slot_count;
  info->context = generator->size.tokens;
  info->context_trained = generator->size.trained;
  info->vocabulary = generator->size.vocabulary;
  info->has_chat_template = generator->chat_template != NULL;
  (void)rh_text_copy(info->architecture, sizeof info->architecture, generator->files.architecture);
}

void rh_ort_describe(const rh_engine *engine, rh_model_info *info) {
  memset(info, 0, sizeof *info);
  (void)rh_text_copy(info->engine, sizeof info->engine, "onnx");
  (void)snprintf(info->engine_version, sizeof info->engine_version, "ONNX Runtime %s", engine->library->version);
  (void)rh_text_copy(info->description, sizeof info->description, engine->description);
  (void)rh_text_copy(info->quantization, sizeof info->quantization, engine->quantization);
  (void)rh_text_copy(info->device, sizeof info->device, engine->device);
  (void)rh_text_copy(info->acceleration, sizeof info->acceleration, engine->acceleration);
  (void)rh_text_copy(info->fallback, sizeof info->fallback, engine->fallback);
  // Its own task is what its files say; who can read them says more (src/task).
  (void)rh_text_copy(info->task, sizeof info->task, rh_task_name(RH_TASK_TENSOR));
  info->slots = engine->options.slots > 0 ? engine->options.slots : RH_ORT_SLOTS_DEFAULT;
  info->bytes = engine->bytes;
  info->load_ms = engine->load_ms;
  if (engine->generator) describe_generator(engine->generator, info);
}
