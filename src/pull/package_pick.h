// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: which files of an unpacked package are the model.
#ifndef RH_PULL_PACKAGE_PICK_H
#define RH_PULL_PACKAGE_PICK_H

#include "pull/internal.h"

typedef struct rh_picked {
  char base[RH_PULL_PATH_MAX];  // relative to the package; "" = the package's own folder
  char **paths;                 // relative to `base`
  size_t count;
} rh_picked;

void rh_picked_release(rh_picked *picked);

// `path` is what the source says after '#': a file or a folder of the package; "" = whatever model it holds, which must
// be one. Links are never followed. RH_NOT_FOUND names what there is instead; RH_UNSUPPORTED: there is no model.
rh_status rh_package_pick(const char *folder, const char *path, rh_picked *out, rh_error *error) RH_MUST_CHECK;

#endif
