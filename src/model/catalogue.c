// SPDX-License-Identifier: Apache-2.0
//
// The list of models: a sorted array that is filled at start and read afterwards.
// Owns the specs and their strings. One owner thread. It deliberately does not look at files: inspect.c does.
#include "model/catalogue.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "flow/limits.h"
#include "model/inspect.h"

#define MODELS_MAX 4096

struct rh_catalogue {
  rh_model_spec **specs;  // sorted by name
  size_t count;
  size_t capacity;
};

#define TEXT_ROW(name, field, about) \
  { .key = name, .type = RH_SETTING_STRING, .offset = offsetof(rh_model_spec, field), .help = about, .file_only = true }
#define INT_ROW(name, field, low, high, initial, about)                                                     \
  {                                                                                                         \
    .key = name, .type = RH_SETTING_INT, .offset = offsetof(rh_model_spec, field), .default_text = initial, \
    .min = low, .max = high, .help = about, .file_only = true                                               \
  }
#define BOOL_ROW(name, field, about) \
  { .key = name, .type = RH_SETTING_BOOL, .offset = offsetof(rh_model_spec, field), .help = about, .file_only = true }
// The first choice is the usual.
#define CHOICE_ROW(name, field, words, about)                                                                        \
  {                                                                                                                  \
    .key = name, .type = RH_SETTING_ENUM, .offset = offsetof(rh_model_spec, field), .choices = words, .help = about, \
    .file_only = true                                                                                                \
  }
#define BYTES_ROW(name, field, about) \
  { .key = name, .type = RH_SETTING_BYTES, .offset = offsetof(rh_model_spec, field), .help = about, .file_only = true }

// In the order of their enums; of the pairs, the second is 1.
static const char *const devices[] = {"auto", "cpu", "gpu", "cuda", "tensorrt", "webgpu", "directml", NULL};
static const char *const optimizations[] = {"all", "extended", "basic", "none", NULL};
static const char *const int8_uses[] = {"auto", "always", "never", NULL};
static const char *const executions[] = {"sequential", "parallel", NULL};
static const char *const on_off[] = {"on", "off", NULL};
static const char *const off_on[] = {"off", "on", NULL};
static const char *const growths[] = {"next_power_of_two", "same_as_requested", NULL};

const rh_setting rh_model_settings[] = {
    TEXT_ROW("path", path,
             "the model's .gguf or .onnx file or its folder, relative to this configuration file; or fake:..."),
    TEXT_ROW("engine", engine, "llama, onnx or fake; found from the file's content when absent"),
    INT_ROW("context", options.context, 0, 16777216, "0",
            "tokens of one request, prompt and answer together; 0 = the model's own, at most 4096"),
    INT_ROW("slots", options.slots, 0, 256, "0", "requests served at once; 0 = 4"),
    INT_ROW("threads", options.threads, 0, 1024, "0", "threads that compute; 0 = the physical cores"),
    INT_ROW("batch", options.batch, 0, 1048576, "0", "tokens of one engine step at most; 0 = 512"),
    INT_ROW("prefill_chunk", options.prefill_chunk, 0, 1048576, "0",
            "prompt tokens of one step while other requests generate; 0 = 512"),
    INT_ROW("gpu_layers", options.gpu_layers, -1, 100000, "-1", "layers kept on a GPU; -1 = all that fit, 0 = none"),
    BOOL_ROW("mlock", options.mlock, "keep the weights in memory and never swap them out"),
    CHOICE_ROW("onnx_device", options.onnx.device, devices,
               "ONNX: where to compute; auto = the best there is (ROUNDHOUSE_PROVIDERS); FORCE_DEVICE wins"),
    INT_ROW("onnx_device_id", options.onnx.device_id, 0, 255, "0", "ONNX: which of several GPUs"),
    BYTES_ROW("onnx_gpu_memory", options.onnx.gpu_memory,
              "ONNX: memory it may take on the GPU; 0 = MAX_GPU_MEM_GB, else no limit"),
    CHOICE_ROW("onnx_gpu_growth", options.onnx.exact_growth, growths, "ONNX: how its memory on a GPU grows"),
    CHOICE_ROW("onnx_optimization", options.onnx.optimization, optimizations, "ONNX: how far the graph is optimized"),
    CHOICE_ROW(
        "onnx_int8", options.onnx.int8, int8_uses,
        "ONNX: take the graph's variant with int8 weights; auto = on a CPU with VNNI, when answers stay the same"),
    {.key = "onnx_int8_cosine",
     .type = RH_SETTING_NUMBER,
     .offset = offsetof(rh_model_spec, options.onnx.int8_cosine),
     .default_text = "0",
     .min = 0,
     .max = 1,
     .help = "ONNX: how alike the vectors of int8 must be, at the least, to be taken by itself; 0 = 0.99",
     .file_only = true},
    CHOICE_ROW("onnx_keep_optimized", options.onnx.keep_optimized, off_on,
               "ONNX: write the optimized graph to the cache folder; later loads are faster and map its weights"),
    CHOICE_ROW("onnx_execution", options.onnx.parallel, executions,
               "ONNX: independent parts of a graph one by one or at once"),
    INT_ROW("onnx_inter_threads", options.onnx.inter_threads, 0, 1024, "0",
            "ONNX: threads for independent parts; 0 = choose for me"),
    CHOICE_ROW("onnx_arena", options.onnx.no_arena, on_off, "ONNX: keep memory between runs"),
    CHOICE_ROW("onnx_memory_pattern", options.onnx.no_memory_pattern, on_off,
               "ONNX: plan a run's memory from earlier runs of the same shape"),
    INT_ROW("queue_max", queue_max, 1, 100000, "64", "requests that may wait for this model"),
    TEXT_ROW("keep_alive", keep_alive_text,
             "how long it stays in memory without requests: 5m, 1h, seconds, 0 = leaves when idle, forever (or -1); "
             "absent = the server's keep_alive"),
    BOOL_ROW("pinned", pinned, "never leaves memory for being idle or to make room"),
    BYTES_ROW("memory", memory_bytes, "what it takes when it is loaded; 0 = estimated from the file, then measured"),
    BYTES_ROW("memory_min", memory_min_bytes, "a machine with less RAM refuses to load it; 0 = none"),
    BOOL_ROW("gpu_required", gpu_required, "a machine without a GPU refuses to load it"),
    TEXT_ROW("task", task, "what it is for, shown in lists: chat, completion, embeddings, ..."),
    TEXT_ROW("license", licence, "shown in lists; an SPDX name where there is one"),
};
const size_t rh_model_settings_count = sizeof rh_model_settings / sizeof *rh_model_settings;

rh_catalogue *rh_catalogue_new(void) { return calloc(1, sizeof(rh_catalogue)); }

void rh_catalogue_free(rh_catalogue *catalogue) {
  if (catalogue == NULL) return;
  for (size_t i = 0; i < catalogue->count; i++) rh_model_spec_free(catalogue->specs[i]);
  free(catalogue->specs);
  free(catalogue);
}

size_t rh_catalogue_count(const rh_catalogue *catalogue) { return catalogue->count; }

const rh_model_spec *rh_catalogue_at(const rh_catalogue *catalogue, size_t index) {
  assert(index < catalogue->count);
  return catalogue->specs[index];
}

// Where `name` is, or where it belongs.
static size_t find_place(const rh_catalogue *catalogue, const char *name, bool *found) {
  size_t low = 0, high = catalogue->count;
  *found = false;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(catalogue->specs[middle]->name, name);
    if (order == 0) {
      *found = true;
      return middle;
    }
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

const rh_model_spec *rh_catalogue_find(const rh_catalogue *catalogue, const char *name) {
  bool found;
  size_t place = find_place(catalogue, name, &found);
  return found ? catalogue->specs[place] : NULL;
}

const char *rh_catalogue_nearest(const rh_catalogue *catalogue, const char *name) {
  if (catalogue->count == 0) return NULL;
  const char **names = calloc(catalogue->count, sizeof *names);
  if (names == NULL) return NULL;
  for (size_t i = 0; i < catalogue->count; i++) names[i] = catalogue->specs[i]->name;
  const char *nearest = rh_text_nearest(name, names, catalogue->count);
  free(names);
  return nearest;
}

static bool name_char_ok(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && strchr("._:/-", c));
}

static rh_status check_name(const char *name, rh_error *error) {
  size_t length = strlen(name);
  bool ok = length > 0 && length <= RH_MODEL_NAME_MAX;
  for (size_t i = 0; ok && i < length; i++) ok = name_char_ok(name[i]);
  if (ok) return RH_OK;
  return rh_fail_param(error, RH_INVALID, "models",
                       "\"%.*s\" cannot be a model's name; use 1 to %d of A-Z a-z 0-9 . _ : / -", RH_MODEL_NAME_MAX,
                       name, RH_MODEL_NAME_MAX);
}

// On success the catalogue owns the spec.
static rh_status insert(rh_catalogue *catalogue, rh_model_spec *spec, rh_error *error) {
  bool found;
  size_t place = find_place(catalogue, spec->name, &found);
  if (found) {
    return rh_fail_param(error, RH_INVALID, "models", "two models are named \"%s\" (%s and %s); rename one", spec->name,
                         catalogue->specs[place]->path, spec->path);
  }
  if (catalogue->count >= MODELS_MAX) return rh_fail(error, RH_TOO_LARGE, "more than %d models are named", MODELS_MAX);
  if (catalogue->count == catalogue->capacity) {
    size_t capacity = catalogue->capacity == 0 ? 16 : catalogue->capacity * 2;
    rh_model_spec **specs = realloc(catalogue->specs, capacity * sizeof *specs);
    if (specs == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the list of models");
    catalogue->specs = specs;
    catalogue->capacity = capacity;
  }
  memmove(catalogue->specs + place + 1, catalogue->specs + place,
          (catalogue->count - place) * sizeof *catalogue->specs);
  catalogue->specs[place] = spec;
  catalogue->count++;
  return RH_OK;
}

static rh_status set_text(char **field, const char *text, rh_error *error) {
  char *copy = strdup(text);
  if (copy == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a model's settings");
  free(*field);
  *field = copy;
  return RH_OK;
}

static rh_model_spec *spec_new(const char *name, const rh_load_options *defaults, int64_t queue_max) {
  rh_model_spec *spec = calloc(1, sizeof *spec);
  if (spec == NULL) return NULL;
  spec->name = strdup(name);
  if (spec->name == NULL) {
    free(spec);
    return NULL;
  }
  spec->options = defaults != NULL ? *defaults : (rh_load_options){.gpu_layers = -1};
  spec->queue_max = queue_max;
  spec->keep_alive = RH_KEEP_ALIVE_UNSET;
  return spec;
}

// Takes `spec` over in any case.
static rh_status finish(rh_catalogue *catalogue, rh_model_spec *spec, rh_error *error) {
  rh_status status = rh_model_inspect(spec, error);
  if (status == RH_OK) status = insert(catalogue, spec, error);
  if (status != RH_OK) rh_model_spec_free(spec);
  return status;
}

// keep_alive is text in the table, but a number of seconds is what many people write.
static json_t *with_text_keep_alive(const json_t *settings) {
  const json_t *value = json_object_get(settings, "keep_alive");
  json_t *copy = json_copy((json_t *)(uintptr_t)settings);  // jansson lacks the const
  if (copy == NULL || !json_is_number(value)) return copy;
  char text[32];
  rh_text_format_number(text, sizeof text, json_number_value(value));
  if (json_object_set_new(copy, "keep_alive", json_string(text)) != 0) {
    json_decref(copy);
    return NULL;
  }
  return copy;
}

static rh_status read_settings(rh_model_spec *spec, const char *path, const json_t *settings, rh_error *error) {
  json_t *copy = with_text_keep_alive(settings);
  if (copy == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a model's settings");
  rh_status status =
      rh_config_from_json(rh_model_settings, rh_model_settings_count, path, copy, NULL, spec, NULL, error);
  json_decref(copy);
  if (status != RH_OK || spec->keep_alive_text == NULL) return status;
  rh_error inner = {0};
  status = rh_keep_alive_parse(spec->keep_alive_text, &spec->keep_alive, &inner);
  if (status == RH_OK) return RH_OK;
  return rh_fail_param(error, status, "keep_alive", "%s.keep_alive: %s", path, inner.message);
}

rh_status rh_catalogue_add_json(rh_catalogue *catalogue, const char *name, const json_t *settings,
                                const rh_load_options *defaults, int64_t queue_max, rh_error *error) {
  assert(catalogue != NULL && name != NULL && settings != NULL);
  rh_status status = check_name(name, error);
  if (status != RH_OK) return status;
  char path[RH_MODEL_NAME_MAX + 16];
  snprintf(path, sizeof path, "models.%s", name);
  if (!json_is_object(settings)) {
    return rh_fail_param(error, RH_INVALID, path, "%s must be an object such as {\"path\": \"model.gguf\"}, not %s",
                         path, rh_json_type_name(settings));
  }
  rh_model_spec *spec = spec_new(name, defaults, queue_max);
  if (spec == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for model \"%s\"", name);
  status = read_settings(spec, path, settings, error);
  if (status != RH_OK) {
    rh_model_spec_free(spec);
    return status;
  }
  return finish(catalogue, spec, error);
}

rh_status rh_catalogue_add_file(rh_catalogue *catalogue, const char *name, const char *path,
                                const rh_load_options *defaults, int64_t queue_max, rh_error *error) {
  assert(catalogue != NULL && name != NULL && path != NULL);
  rh_status status = check_name(name, error);
  if (status != RH_OK) return status;
  rh_model_spec *spec = spec_new(name, defaults, queue_max);
  if (spec == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for model \"%s\"", name);
  if ((status = set_text(&spec->path, path, error)) != RH_OK) {
    rh_model_spec_free(spec);
    return status;
  }
  return finish(catalogue, spec, error);
}

rh_status rh_catalogue_add_spec(rh_catalogue *catalogue, const rh_model_spec *spec, rh_error *error) {
  assert(catalogue != NULL && spec != NULL && spec->name != NULL && spec->engine != NULL && spec->path != NULL);
  rh_status status = check_name(spec->name, error);
  if (status != RH_OK) return status;
  const rh_model_spec *there = rh_catalogue_find(catalogue, spec->name);
  if (there != NULL) {
    return rh_fail(error, RH_CONFLICT, "a model named \"%s\" is there already (%s)", spec->name, there->path);
  }
  rh_model_spec *copy = rh_model_spec_copy(spec);
  if (copy == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for model \"%s\"", spec->name);
  status = insert(catalogue, copy, error);
  if (status != RH_OK) rh_model_spec_free(copy);
  return status;
}
