// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a graph's path and options to an engine that can run it, and back to nothing.
// Data owned: builds and frees rh_engine with all it holds.
// Threads: the engine thread; session.c has one more while it waits.
// Not here: looking into the graph's file. The daemon does that before it starts a worker (src/model): that it is whole, and
// that its weights lie in its own folder.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "engine/onnx/generate/generate.h"

#define ARENA_BYTES_MAX ((size_t)64 << 20)
#define SCRATCH_BYTES_MAX ((size_t)2 << 30)
#define CONFIG_BYTES_MAX ((size_t)4 << 20)
#define CONFIG_NAME "genai_config.json"
#define THREADS_MAX 1024

static rh_status check_options(const rh_load_options *options, rh_error *error) {
  const struct {
    const char *name;
    int64_t value, max;
  } rows[] = {
      {"threads", options->threads, THREADS_MAX},
      {"slots", options->slots, 4096},
      {"onnx_inter_threads", options->onnx.inter_threads, THREADS_MAX},
      {"onnx_device_id", options->onnx.device_id, 255},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (rows[i].value >= 0 && rows[i].value <= rows[i].max) continue;
    return rh_fail_param(error, RH_INVALID, rows[i].name,
                         "%s is %lld, but must be between 0 and %lld (0 = choose for me)", rows[i].name,
                         (long long)rows[i].value, (long long)rows[i].max);
  }
  return RH_OK;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static char *folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return strdup(".");
  return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static char *join(const char *folder, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

// genai_config.json stands for its decoder's graph.
static rh_status read_genai(const char *path, char **graph, rh_error *error) {
  json_t *config = NULL;
  rh_status status = rh_json_read_file(path, CONFIG_BYTES_MAX, &config, error);
  if (status != RH_OK) return status;
  const json_t *decoder = json_object_get(json_object_get(config, "model"), "decoder");
  const char *name = json_string_value(json_object_get(decoder, "filename"));
  if (!name || name[0] == '/' || strstr(name, "..")) {
    status = rh_fail(error, RH_LOAD_FAILED, "%s names no model.decoder.filename in its folder", path);
  } else {
    char *folder = folder_of(path);
    *graph = folder ? join(folder, name) : NULL;
    free(folder);
    status = *graph ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory to load %s", path);
  }
  json_decref(config);
  return status;
}

// A first look, so that a wrong path gets a message a person can act on.
static rh_status check_file(const char *path, int64_t *bytes, rh_error *error) {
  struct stat info;
  if (stat(path, &info) != 0)
    return rh_fail(error, RH_LOAD_FAILED, "cannot open the graph %s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) {
    return rh_fail(error, RH_LOAD_FAILED, "%s is %s, not an ONNX graph", path,
                   S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
  }
  if (info.st_size == 0) return rh_fail(error, RH_LOAD_FAILED, "%s is empty (an interrupted download?)", path);
  *bytes = info.st_size;
  return RH_OK;
}

// Weights beside the graph are named after it by the usual exporters ("model.onnx_data", "model.onnx.data").
static int64_t bytes_beside(const char *path) {
  char *folder = folder_of(path);
  const char *name = base_name(path);
  DIR *entries = folder ? opendir(folder) : NULL;
  int64_t sum = 0;
  for (struct dirent *entry = entries ? readdir(entries) : NULL; entry; entry = readdir(entries)) {
    struct stat info;
    if (!rh_text_starts_with(entry->d_name, name) || strcmp(entry->d_name, name) == 0) continue;
    if (fstatat(dirfd(entries), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode)) sum += info.st_size;
  }
  if (entries) closedir(entries);
  free(folder);
  return sum;
}

static bool has_file(const char *folder, const char *name) {
  char *path = join(folder, name);
  bool there = path && access(path, R_OK) == 0;
  free(path);
  return there;
}

// On the hubs the graphs often lie in a folder "onnx" of the model's own, which has the configuration and the tokenizer.
static char *find_model_folder(const char *path) {
  char *folder = folder_of(path);
  if (!folder || strcmp(base_name(folder), "onnx") != 0 || has_file(folder, "config.json")) return folder;
  char *parent = folder_of(folder);
  if (parent && has_file(parent, "config.json")) {
    free(folder);
    return parent;
  }
  free(parent);
  return folder;
}

static void read_description(rh_engine *engine) {
  const OrtApi *api = engine->library->api;
  OrtAllocator *allocator = engine->library->allocator;
  OrtModelMetadata *metadata = NULL;
  char *producer = NULL, *graph = NULL;
  OrtStatus *status = api->SessionGetModelMetadata(engine->session, &metadata);
  if (!status) status = api->ModelMetadataGetProducerName(metadata, allocator, &producer);
  if (!status) status = api->ModelMetadataGetGraphName(metadata, allocator, &graph);
  if (status) api->ReleaseStatus(status);
  (void)snprintf(engine->description, sizeof engine->description, "%.60s%s%.60s", graph ? graph : "",
                 producer && producer[0] ? ", made by " : "", producer ? producer : "");
  if (producer) allocator->Free(allocator, producer);
  if (graph) allocator->Free(allocator, graph);
  if (metadata) api->ReleaseModelMetadata(metadata);
}

static rh_status build(rh_engine *engine, const rh_load *load, bool (*progress)(void *ctx, double fraction),
                       void *progress_ctx, rh_error *error) {
  rh_status status = RH_OK;
  if (strcmp(base_name(load->path), CONFIG_NAME) == 0) {
    status = read_genai(load->path, &engine->path, error);
  } else {
    engine->path = strdup(load->path);
  }
  if (status != RH_OK) return status;
  engine->folder = engine->path ? find_model_folder(engine->path) : NULL;
  engine->arena = rh_arena_new(ARENA_BYTES_MAX);
  engine->scratch = rh_arena_new(SCRATCH_BYTES_MAX);
  if (!engine->folder || !engine->arena || !engine->scratch) {
    return rh_fail(error, RH_NO_MEMORY, "no memory to load %s", load->path);
  }
  (void)rh_text_copy(engine->name, sizeof engine->name, base_name(engine->path));
  status = check_file(engine->path, &engine->bytes, error);
  if (status != RH_OK) return status;
  engine->bytes += bytes_beside(engine->path);
  status = rh_ort_session_make(engine, load, progress, progress_ctx, error);
  if (status == RH_OK) status = rh_ort_graph_read(engine, error);
  if (status == RH_OK) status = rh_gen_make(engine, error);
  if (status == RH_OK) read_description(engine);
  return status;
}

rh_status rh_ort_load_graph(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                            rh_engine **out, rh_error *error) {
  assert(load && load->path && out);
  *out = NULL;
  uint64_t begin = rh_clock_now_ns();
  rh_status status = check_options(&load->options, error);
  if (status != RH_OK) return status;
  const rh_ort_library *library = rh_ort_library_get();
  if (!library->api) return rh_fail(error, RH_LOAD_FAILED, "ONNX models cannot be loaded: %s", library->reason);
  rh_engine *engine = calloc(1, sizeof *engine);
  if (!engine) return rh_fail(error, RH_NO_MEMORY, "no memory to load %s", load->path);
  engine->library = library;
  engine->options = load->options;
  (void)rh_text_copy(engine->quantization, sizeof engine->quantization, load->quantization ? load->quantization : "");
  status = build(engine, load, progress, progress_ctx, error);
  if (status != RH_OK) {
    rh_ort_unload(engine);
    return status;
  }
  engine->load_ms = rh_ns_to_ms(rh_clock_now_ns() - begin);
  *out = engine;
  return RH_OK;
}

void rh_ort_unload(rh_engine *engine) {
  if (!engine) return;
  rh_gen_free(engine);
  if (engine->scratch) rh_ort_run_forget(engine);
  if (engine->session) engine->library->api->ReleaseSession(engine->session);
  rh_arena_free(engine->scratch);
  rh_arena_free(engine->arena);
  free(engine->path);
  free(engine->folder);
  free(engine);
}
