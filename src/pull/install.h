// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: from files that are here to a model in the store.
#ifndef RH_PULL_INSTALL_H
#define RH_PULL_INSTALL_H

#include "pull/internal.h"

// What was brought to `folder`: sizes and digests against the plan's promises; unknown ones are filled in.
rh_status rh_pull_check_files(rh_pulling *pull, const char *folder, rh_error *error) RH_MUST_CHECK;
// Finds the format, converts when asked, writes the manifest and puts the model in its place. Ends the draft in any
// case; what has come is kept when another try could do better.
rh_status rh_pull_install(rh_pulling *pull, rh_draft *draft, rh_error *error) RH_MUST_CHECK;

// --- convert.c ---
// Runs roundhouse-convert over `folder` into folder/`name`. RH_CANCELLED when the listener gives up.
rh_status rh_pull_convert(rh_pulling *pull, const char *folder, const char *name, rh_error *error) RH_MUST_CHECK;

#endif
