// SPDX-License-Identifier: Apache-2.0
//
// The models this daemon may serve: names, files, options. Filled at start from the configuration and the models folder,
// read-only afterwards (one owner thread).
#ifndef RH_MODEL_CATALOGUE_H
#define RH_MODEL_CATALOGUE_H

#include "base/config.h"
#include "base/status.h"
#include "flow/model_info.h"

typedef struct rh_model_spec {
  char *name;    // what clients say; [A-Za-z0-9._:/-], at most RH_MODEL_NAME_MAX
  char *engine;  // "llama", "fake"; found from the file's content when the configuration does not say
  char *path;
  rh_load_options options;
  int64_t queue_max;   // requests that may wait for this model
  int64_t file_bytes;  // 0 when there is no file
  int64_t modified_s;  // the file's time; `created` of GET /v1/models
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
// Every *.gguf directly in `folder`; the name is the file's, in lower case, without ".gguf". A folder that does not
// exist holds no models. Files that are no GGUF are skipped with a warning in the log.
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
