// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: the table of sources.
#ifndef RH_PULL_BACKENDS_H
#define RH_PULL_BACKENDS_H

#include "pull/fetch.h"
#include "pull/internal.h"

const rh_pull_backend *rh_pull_backend_of(rh_source_kind kind);  // NULL for the catalogue, which is no place
// What an answer means that no further try would change; `what` is the file or listing, `reason` a phrase like
// "HTTP 404". Fills *error and returns its status.
rh_status rh_pull_explain(rh_pulling *pull, const rh_fetch *answer, const char *what, const char *reason,
                          rh_error *error);

#endif
