// SPDX-License-Identifier: Apache-2.0
//
// GET /v1/models and /v1/models/{id} in OpenAI's shape, with what we know besides under "roundhouse". It writes what it
// is given and knows neither the catalogue nor the fleet. Pure, any thread.
#include "api/encoder.h"

static void put_text(rh_dynbuf *out, const char *name, const char *text) {
  rh_put(out, name);
  rh_put_string_or_null(out, text);
}

static void put_count(rh_dynbuf *out, const char *name, int64_t value) {
  rh_put(out, name);
  if (value > 0)
    rh_put_int(out, value);
  else
    rh_put(out, "null");
}

// What only a loaded model can tell; absent until a worker has it.
static void put_info(rh_dynbuf *out, const rh_model_info *info) {
  put_text(out, ",\"engine_version\":", info->engine_version);
  put_text(out, ",\"description\":", info->description);
  put_text(out, ",\"architecture\":", info->architecture);
  put_text(out, ",\"quantization\":", info->quantization);
  put_text(out, ",\"device\":", info->device);
  put_text(out, ",\"acceleration\":", info->acceleration);
  put_count(out, ",\"context\":", info->context);
  put_count(out, ",\"context_trained\":", info->context_trained);
  put_count(out, ",\"slots\":", info->slots);
  put_count(out, ",\"vocabulary\":", info->vocabulary);
  put_count(out, ",\"parameters\":", info->parameters);
  put_count(out, ",\"bytes\":", info->bytes);
  if (info->dimensions > 0) put_count(out, ",\"dimensions\":", info->dimensions);
  if (info->fallback[0] != '\0') put_text(out, ",\"fallback\":", info->fallback);
  rh_put(out, ",\"chat_template\":");
  rh_put(out, info->has_chat_template ? "true" : "false");
}

// The worker's word where there is one.
static const char *task_of(const rh_api_model *model) {
  return model->info != NULL && model->info->task[0] != '\0' ? model->info->task : model->task;
}

static void put_model(rh_dynbuf *out, const rh_api_model *model) {
  rh_put(out, "{\"id\":");
  rh_put_string(out, model->name);
  rh_put(out, ",\"object\":\"model\",\"created\":");
  rh_put_int(out, model->created);
  rh_put(out, ",\"owned_by\":\"roundhouse\",\"roundhouse\":{\"state\":");
  rh_put_string_or_null(out, model->state);
  put_text(out, ",\"engine\":", model->engine);
  put_text(out, ",\"version\":", model->version != NULL && model->version[0] != '\0' ? model->version : NULL);
  rh_put(out, ",\"aliases\":[");
  for (const char *const *alias = model->aliases; alias != NULL && *alias != NULL; alias++) {
    if (alias != model->aliases) rh_put(out, ",");
    rh_put_string(out, *alias);
  }
  rh_put(out, "]");
  if (task_of(model) != NULL) put_text(out, ",\"task\":", task_of(model));
  if (model->info != NULL) put_info(out, model->info);
  rh_put(out, "}}");
}

rh_status rh_api_model_list(const rh_api_model *models, size_t count, rh_dynbuf *out) {
  rh_put(out, "{\"object\":\"list\",\"data\":[");
  for (size_t i = 0; i < count; i++) {
    if (i > 0) rh_put(out, ",");
    put_model(out, &models[i]);
  }
  rh_put(out, "]}");
  return rh_put_status(out);
}

rh_status rh_api_model_one(const rh_api_model *model, rh_dynbuf *out) {
  put_model(out, model);
  return rh_put_status(out);
}
