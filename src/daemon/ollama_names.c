// SPDX-License-Identifier: Apache-2.0
//
// Ollama's names for our models, and back. Ollama gives every model a version and calls the unnamed one "latest"; ours
// may have none. Owns nothing. Loop thread only.
#include <stdio.h>
#include <string.h>

#include "daemon/ollama.h"
#include "model/ref.h"

#define LATEST ":" RH_VERSION_LATEST

void rh_ollama_name(const char *name, char *out, size_t size) {
  (void)snprintf(out, size, "%s%s", name, strchr(name, ':') == NULL ? LATEST : "");
}

static bool without_latest(const char *name, char *out, size_t size) {
  if (!rh_text_ends_with(name, LATEST) || strlen(name) == strlen(LATEST)) return false;
  return rh_text_copy(out, size, name) && (out[strlen(name) - strlen(LATEST)] = '\0', true);
}

rh_status rh_ollama_resolve(rh_daemon *daemon, const char *name, rh_resolution *out, rh_error *error) {
  char base[RH_OLLAMA_NAME_SIZE];
  rh_error inner = {0}, ignored = {0};
  rh_status status = rh_manager_resolve(daemon->manager, name, out, &inner);
  if (status == RH_OK) return RH_OK;
  if (status == RH_NOT_FOUND && without_latest(name, base, sizeof base) &&
      rh_manager_resolve(daemon->manager, base, out, &ignored) == RH_OK) {
    return RH_OK;
  }
  if (status != RH_NOT_FOUND) return rh_fail_param(error, status, inner.param, "%s", inner.message);
  return rh_fail_param(error, RH_NOT_FOUND, "model", "model '%.128s' not found: %s", name, inner.message);
}

void rh_ollama_our_name(rh_daemon *daemon, const char *name, char *out, size_t size) {
  rh_resolution found;
  rh_error ignored = {0};
  // The store has models that no engine serves: those are not found here, and keep the name they were given.
  bool served = rh_ollama_resolve(daemon, name, &found, &ignored) == RH_OK;
  bool same = served && strcasecmp(rh_served_spec(found.served)->name, name) == 0;
  if (!served || same || !without_latest(name, out, size)) (void)rh_text_copy(out, size, name);
}

rh_status rh_ollama_model_field(const rh_operation *operation, const char **out, rh_error *error) {
  const char *older = NULL;
  rh_status status = rh_operation_text(operation, "model", false, out, error);
  if (status == RH_OK) status = rh_operation_text(operation, "name", false, &older, error);
  if (status != RH_OK) return status;
  if (*out == NULL || (*out)[0] == '\0') *out = older;
  if (*out != NULL && (*out)[0] != '\0') return RH_OK;
  return rh_fail_param(error, RH_INVALID, "model", "\"model\" is missing: say which model");
}
