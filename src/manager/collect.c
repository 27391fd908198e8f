// SPDX-License-Identifier: Apache-2.0
//
// Models of the store, or of a Hugging Face cache, as specs. Owns nothing that outlives a call; any thread that owns the
// catalogue. Models in a format that no engine of this build serves are left out: they are stored, not served.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "manager/manager.h"

static const char *digest_of(const rh_stored *stored, char *out, size_t size) {
  for (size_t i = 0; i < stored->file_count; i++) {
    const rh_stored_file *file = &stored->files[i];
    if (strcmp(file->path, stored->entry) != 0 || file->sha256[0] == '\0') continue;
    snprintf(out, size, "sha256:%s", file->sha256);
    return out;
  }
  return NULL;
}

// Only lent: rh_catalogue_add_spec copies.
static char *lend(const char *text) { return text[0] != '\0' ? (char *)(uintptr_t)text : NULL; }

static rh_status collect_one(rh_catalogue *out, const rh_stored *stored, const rh_model_spec *base, rh_error *error) {
  char name[2 * RH_MODEL_NAME_MAX + 2], digest[RH_SHA256_HEX + 8];
  rh_error inner = {0};
  const char *engine = rh_format_engine(stored->format);
  if (engine == NULL || rh_model_ref_format(&stored->ref, name, sizeof name) != RH_OK) return RH_OK;
  if (rh_catalogue_find(out, name) != NULL) return RH_OK;
  rh_model_spec spec = *base;
  spec.name = name;
  spec.engine = lend(engine);
  spec.path = rh_stored_entry_path(stored);
  if (spec.path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to list stored models");
  spec.file_bytes = stored->bytes;
  spec.modified_s = stored->created_s;
  spec.memory_min_bytes = stored->memory_min_bytes > 0 ? (uint64_t)stored->memory_min_bytes : 0;
  spec.gpu_required = stored->gpu_required;
  spec.format = stored->format;
  spec.source = lend(stored->source);
  spec.licence = lend(stored->licence);
  spec.task = lend(stored->task);
  spec.architecture = lend(stored->architecture);
  spec.quantization = lend(stored->quantization);
  spec.digest = (char *)(uintptr_t)digest_of(stored, digest, sizeof digest);
  spec.parameters = stored->parameters;
  spec.context_trained = stored->context;
  rh_status status = rh_catalogue_add_spec(out, &spec, &inner);
  free(spec.path);
  if (status == RH_NO_MEMORY || status == RH_TOO_LARGE) return rh_fail(error, status, "%s", inner.message);
  if (status != RH_OK) {
    RH_LOG(RH_LOG_WARN, "a stored model is not served", rh_log_str("model", name), rh_log_str("error", inner.message));
  }
  return RH_OK;
}

rh_status rh_manager_collect_stored(rh_catalogue *out, const rh_stored_list *stored, rh_model_origin origin,
                                    const rh_load_options *defaults, int64_t queue_max, rh_error *error) {
  rh_model_spec base = {
      .options = defaults != NULL ? *defaults : (rh_load_options){.gpu_layers = -1},
      .queue_max = queue_max,
      .keep_alive = RH_KEEP_ALIVE_UNSET,
      .origin = origin,
  };
  for (size_t i = 0; i < stored->count; i++) {
    rh_status status = collect_one(out, &stored->items[i], &base, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}
