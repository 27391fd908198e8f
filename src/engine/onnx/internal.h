// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share. Nobody outside includes this.
//
// ONNX Runtime is opened at run time, so every call goes through the table `api`. Each call that can fail gives a status
// object that must be released; rh_ort_fail does that and says what it said.
#ifndef RH_ENGINE_ONNX_INTERNAL_H
#define RH_ENGINE_ONNX_INTERNAL_H

#include <onnxruntime_c_api.h>

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/onnx/plugin_api.h"

// The oldest ONNX Runtime whose table of functions has all that is called here: 1.17.
#define RH_ORT_API_LEAST 17

#define RH_ORT_SLOTS_DEFAULT 64
#define RH_ORT_PROVIDERS_MAX 24
#define RH_ORT_PATH_MAX 1024

// What was found on this machine. Made once per process, never freed: the library cannot be unloaded.
typedef struct rh_ort_library {
  const OrtApi *api;                 // NULL = there is none, for `reason`
  const rh_ort_plugin_api *plugins;  // NULL = it is older than 1.22
  OrtEnv *env;
  OrtAllocator *allocator;  // the library's own, for strings it hands out
  OrtMemoryInfo *cpu;
  char path[RH_ORT_PATH_MAX];
  char version[32];
  char reason[512];
} rh_ort_library;

// An execution provider: one way to compute.
typedef struct rh_ort_provider {
  char word[48];              // "cuda": as people write it
  char name[64];              // "CUDAExecutionProvider": as ONNX Runtime calls it
  const OrtEpDevice *device;  // of a plugin; NULL = built into the library
  bool usable;
  char reason[256];  // why it is not
} rh_ort_provider;

// In order of preference. Made once per process.
typedef struct rh_ort_providers {
  rh_ort_provider items[RH_ORT_PROVIDERS_MAX];
  size_t count;
} rh_ort_providers;

struct rh_engine {
  const rh_ort_library *library;
  OrtSession *session;
  rh_load_options options;
  rh_arena *arena;  // names and ports; as long as the engine
  char *path;       // of the graph
  char *folder;     // of the model
  char name[128];   // for messages: the graph's file name

  rh_graph graph;
  // What a run may ask for is found by number: the ports' names in the graph's order, and what is no tensor.
  const char **output_names;
  const char **not_tensor_in, **not_tensor_out;  // "a sequence", or NULL for a tensor of a type we have

  // The last run's results, until the next one.
  OrtValue **values;
  size_t value_count;
  rh_tensor *results;
  rh_arena *scratch;  // strings, and what must be copied

  struct rh_generator *generator;  // NULL: it does not generate, for the reason in not_generator
  char not_generator[512];

  char description[128];
  char quantization[32];  // what the load says of it; "" = unknown
  char device[64];
  char acceleration[128];
  char fallback[512];
  int64_t bytes;
  int64_t threads;
  double load_ms;
  rh_engine_counts counts;
};

// library.c
const rh_ort_library *rh_ort_library_get(void);
// A GPU build of ONNX Runtime that lies somewhere else than the library in use; false when there is none.
bool rh_ort_library_find_gpu(char *out, size_t size);
// Release `status` and fill `error` with "WHAT: its words". Returns `otherwise`, or RH_NO_MEMORY when that was it.
rh_status rh_ort_fail(OrtStatus *status, rh_status otherwise, rh_error *error, const char *what);
// Release it, and its first line without source positions into `out`.
void rh_ort_reason(OrtStatus *status, char *out, size_t size);

// log.c
void rh_ort_log(void *ctx, OrtLoggingLevel severity, const char *category, const char *logid, const char *location,
                const char *message);

// probe.c: what `roundhouse info` shows.
rh_status rh_ort_probe(rh_dynbuf *out);

// providers.c
const rh_ort_providers *rh_ort_providers_get(void);
// Add one to the options of a session that is being made.
rh_status rh_ort_provider_append(const rh_ort_library *library, OrtSessionOptions *to, const rh_ort_provider *provider,
                                 const rh_onnx_options *options, rh_error *error);
// Where this load shall compute: its own wish, or FORCE_DEVICE. RH_INVALID for an unknown word.
rh_status rh_ort_wish(const rh_load_options *options, rh_device_wish *out, rh_onnx_options *onnx, rh_error *error);
bool rh_ort_provider_matches(const rh_ort_provider *provider, rh_device_wish wish);
const char *rh_ort_wish_word(rh_device_wish wish);

// session.c: engine->session on the best provider that takes the graph; device, acceleration and fallback are filled.
rh_status rh_ort_session_make(rh_engine *engine, const rh_load *load, bool (*progress)(void *ctx, double fraction),
                              void *progress_ctx, rh_error *error);

// kept.c: the optimized graph of an earlier load. `out` is where it is or shall be; false when it is not to be kept.
bool rh_ort_kept_path(const rh_engine *engine, const char *provider, char *out, size_t size);
// What a session that is made with these options shall write there.
OrtStatus *rh_ort_kept_write(const OrtApi *api, OrtSessionOptions *options, const char *unfinished);
// The session was made, or not: what it wrote comes to its place, or goes.
void rh_ort_kept_done(const char *unfinished, const char *path, bool well);
void rh_ort_kept_remove(const char *path);

// Where the comparison of two graphs (accuracy.c) is remembered. `options`: those of the load.
bool rh_ort_kept_verdict_path(const rh_ort_library *library, const rh_onnx_options *options, const char *graph,
                              const char *variant, char *out, size_t size);
void rh_ort_kept_verdict_room(const char *path);  // the oldest of too many goes

// accuracy.c: how alike two graphs of one model answer.
typedef struct rh_ort_accuracy {
  bool vectors;  // `value` is the least cosine of their vectors; else the largest difference of a probability
  double value;
} rh_ort_accuracy;
// RH_CANCELLED; otherwise a failure says why nothing can be measured.
rh_status rh_ort_accuracy_measure(rh_engine *graph, rh_engine *variant, bool (*progress)(void *ctx, double fraction),
                                  void *progress_ctx, rh_ort_accuracy *out, rh_error *error);

// graph.c: the ports of engine->session into engine->graph.
rh_status rh_ort_graph_read(rh_engine *engine, rh_error *error);
// "input_ids int64[batch,sequence], mask int64[batch,sequence]" for messages.
void rh_ort_graph_inputs_text(const rh_engine *engine, char *out, size_t size);
void rh_ort_port_text(const rh_graph_port *port, char *out, size_t size);

// tensors.c
rh_dtype rh_ort_dtype(ONNXTensorElementDataType type);
ONNXTensorElementDataType rh_ort_element(rh_dtype type);
const char *rh_ort_foreign_type(ONNXTensorElementDataType type);  // "float8e4m3fn": one that rh_dtype lacks
// A value that reads the tensor's own bytes, which must stay until it is released.
rh_status rh_ort_value_make(rh_engine *engine, const rh_tensor *tensor, OrtValue **out, rh_error *error);
// Name, type and shape of a value alone.
rh_status rh_ort_value_shape(rh_engine *engine, const char *name, OrtValue *value, rh_tensor *out, rh_error *error);
// What a value holds. Its bytes are the value's own, or lie in engine->scratch.
rh_status rh_ort_value_read(rh_engine *engine, const char *name, OrtValue *value, rh_tensor *out, rh_error *error);

// run.c
rh_status rh_ort_run(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                     size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error);
void rh_ort_run_forget(rh_engine *engine);  // the last run's results

// load.c: the graph that the path names, and nothing else.
rh_status rh_ort_load_graph(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                            rh_engine **out, rh_error *error);
void rh_ort_unload(rh_engine *engine);

// variant.c: that graph, or its variant with int8 weights.
rh_status rh_ort_load(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                      rh_engine **out, rh_error *error);

// describe.c
void rh_ort_describe(const rh_engine *engine, rh_model_info *info);

#endif
