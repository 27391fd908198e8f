// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the loaded model is and what it runs on, in the project's own words.
// Data owned: none. Threads: the engine thread.
// Not here: guesses. What llama does not say stays empty.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "engine/llama/internal.h"

void rh_llama_describe(const rh_engine *engine, rh_model_info *info) {
  const struct llama_model *model = engine->model;
  memset(info, 0, sizeof *info);
  (void)rh_text_copy(info->engine, sizeof info->engine, "llama");
  (void)snprintf(info->engine_version, sizeof info->engine_version, "%s", llama_version());
  (void)llama_model_desc(model, info->description, sizeof info->description);
  (void)llama_model_meta_val_str(model, "general.architecture", info->architecture, sizeof info->architecture);
  const char *quantization = llama_ftype_name(llama_model_ftype(model));
  (void)rh_text_copy(info->quantization, sizeof info->quantization, quantization ? quantization : "");
  rh_llama_library_device_names(info->device, sizeof info->device, engine->on_gpu);
  (void)rh_text_copy(info->acceleration, sizeof info->acceleration, engine->library->acceleration);
  info->context = engine->context_size;
  info->context_trained = engine->context_trained;
  info->slots = (int64_t)engine->slot_count;
  info->vocabulary = engine->vocabulary;
  info->parameters = (int64_t)llama_model_n_params(model);
  info->bytes = (int64_t)llama_model_size(model);
  info->vram_bytes = engine->vram_bytes;
  info->has_chat_template = engine->chat_template != NULL && !engine->embeds;
  info->dimensions = engine->embedding_width;
  if (engine->embeds) (void)rh_text_copy(info->task, sizeof info->task, rh_task_name(RH_TASK_EMBED));
  info->load_ms = engine->load_ms;
}
