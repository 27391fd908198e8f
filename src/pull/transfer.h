// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: bring a plan's files into a draft's folder. Blocking; the pull's thread.
#ifndef RH_PULL_TRANSFER_H
#define RH_PULL_TRANSFER_H

#include "pull/internal.h"

// Afterwards each file of the plan lies at folder/path, verified, with its real size and digest in the plan. On failure
// what is good is kept for the next time, with its state; bytes that were proven wrong are gone. Errors as in pull.h.
rh_status rh_transfer_run(rh_pulling *pull, const char *folder, rh_error *error) RH_MUST_CHECK;
// How many bytes rh_transfer_run would still have to bring (files of unknown size count nothing). Changes nothing.
int64_t rh_transfer_missing(const rh_plan *plan, const char *folder);

#endif
