// SPDX-License-Identifier: Apache-2.0
//
// Which source is served by which file, and what an answer means when the source has no better word. Read-only.
#include "pull/backends.h"

#include <stddef.h>

const rh_pull_backend *rh_pull_backend_of(rh_source_kind kind) {
  static const rh_pull_backend *const all[] = {&rh_pull_hub,   &rh_pull_http, &rh_pull_s3,
                                               &rh_pull_local, &rh_pull_pypi, &rh_pull_npm};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (all[i]->kind == kind) return all[i];
  }
  return NULL;
}

rh_status rh_pull_explain(rh_pulling *pull, const rh_fetch *answer, const char *what, const char *reason,
                          rh_error *error) {
  const rh_pull_backend *backend = rh_pull_backend_of(pull->source.kind);
  if (backend != NULL && backend->explain != NULL && answer->head.status >= 400) {
    rh_status status = backend->explain(pull, answer, error);
    if (status != RH_OK) return status;
  }
  long http = answer->head.status;
  if (http == 404 || http == 410) return rh_fail(error, RH_NOT_FOUND, "%s is not there (%s)", what, reason);
  if (http == 401 || http == 403) return rh_fail(error, RH_UNAVAILABLE, "the server refuses %s (%s)", what, reason);
  return rh_fail(error, RH_UNAVAILABLE, "%s could not be fetched: %s", what, reason);
}
