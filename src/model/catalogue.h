// SPDX-License-Identifier: Apache-2.0
//
// The models this daemon may serve: names, files, options. Filled from the configuration, the store and folders, then
// read-only (one owner thread); after a change on disk a new one is filled and compared.
#ifndef RH_MODEL_CATALOGUE_H
#define RH_MODEL_CATALOGUE_H

#include "base/config.h"
#include "base/keep_alive.h"
#include "base/status.h"
#include "flow/model_info.h"
#include "model/format.h"

typedef enum rh_model_origin {
  RH_ORIGIN_CONFIG,     // the configuration or a flag
  RH_ORIGIN_STORE,      // pulled
  RH_ORIGIN_FOLDER,     // lies in models_dir
  RH_ORIGIN_HUB_CACHE,  // lies in a Hugging Face cache
} rh_model_origin;

typedef struct rh_model_spec {
  char *name;    // name[:version] as clients say it (model/ref.h)
  char *engine;  // "llama", "onnx", "fake"; found from the file's content when the configuration does not say
  char *path;    // what the engine opens
  rh_load_options options;
  int64_t queue_max;   // requests that may wait for this model
  int64_t file_bytes;  // of all its files; 0 when there is none
  int64_t modified_s;  // the file's time; `created` of GET /v1/models
  // How it is kept in memory.
  int64_t keep_alive;         // ns, or one of the two words above
  char *keep_alive_text;      // as the configuration has it; NULL = not set there
  bool pinned;                // never evicted
  uint64_t memory_bytes;      // what a load takes, when a person knows better than the estimate; 0 = estimate
  uint64_t memory_min_bytes;  // a machine with less RAM is refused; 0 = none
  bool gpu_required;
  // What is known of it besides.
  rh_model_origin origin;
  rh_format format;
  // Each may be NULL; digest: "sha256:..." of its main file.
  char *source, *licence, *task, *architecture, *quantization, *digest;
  int64_t parameters, context_trained;  // 0 = unknown
} rh_model_spec;

typedef struct rh_catalogue rh_catalogue;

// Settings of one model in the configuration ("models": {"name": {...}}).
extern const rh_setting rh_model_settings[];
extern const size_t rh_model_settings_count;

rh_catalogue *rh_catalogue_new(void);
void rh_catalogue_free(rh_catalogue *catalogue);

// Add one model. `defaults` (may be NULL) are the options that the model does not set itself.
rh_status rh_catalogue_add_json(rh_catalogue *catalogue, const char *name, const json_t *settings,
                                const rh_load_options *defaults, int64_t queue_max, rh_error *error) RH_MUST_CHECK;
rh_status rh_catalogue_add_file(rh_catalogue *catalogue, const char *name, const char *path,
                                const rh_load_options *defaults, int64_t queue_max, rh_error *error) RH_MUST_CHECK;
// A copy of `spec`, which must be complete; its file is not looked at again. A name that is there already: RH_CONFLICT.
rh_status rh_catalogue_add_spec(rh_catalogue *catalogue, const rh_model_spec *spec, rh_error *error) RH_MUST_CHECK;
// A deep copy for an owner of its own, and its end.
rh_model_spec *rh_model_spec_copy(const rh_model_spec *spec);  // NULL when memory is short
void rh_model_spec_free(rh_model_spec *spec);
// True when both would load the same bytes in the same way.
bool rh_model_spec_same(const rh_model_spec *a, const rh_model_spec *b);
// Every *.gguf and *.onnx directly in `folder`, the first file of those in parts, and every folder in it that holds one model;
// the name is the file's or folder's, in lower case, without ".gguf" or ".onnx". A folder that does not exist holds no models. What
// cannot be served is skipped with a warning in the log.
rh_status rh_catalogue_scan(rh_catalogue *catalogue, const char *folder, const rh_load_options *defaults,
                            int64_t queue_max, rh_error *error) RH_MUST_CHECK;

size_t rh_catalogue_count(const rh_catalogue *catalogue);
const rh_model_spec *rh_catalogue_at(const rh_catalogue *catalogue, size_t index);        // sorted by name
const rh_model_spec *rh_catalogue_find(const rh_catalogue *catalogue, const char *name);  // NULL when unknown
// The nearest known name, for "did you mean"; NULL when none is near.
const char *rh_catalogue_nearest(const rh_catalogue *catalogue, const char *name);

// What a GGUF file's header says, read with bounds checks and without mapping the weights.
typedef struct rh_gguf_summary {
  uint32_t version;
  uint64_t tensor_count;
  char architecture[64];
  char name[128];
  char quantization[32];
  int64_t context_trained;
  int64_t parameters;
  bool has_chat_template;
} rh_gguf_summary;

rh_status rh_gguf_read_summary(const char *path, rh_gguf_summary *out, rh_error *error) RH_MUST_CHECK;

#endif
