// SPDX-License-Identifier: Apache-2.0
//
// A pull in the terminal, for the commands that end up with one.
#ifndef RH_CLI_PULL_RUN_H
#define RH_CLI_PULL_RUN_H

#include "cli/local.h"
#include "pull/pull.h"

// Pulls with bars (or events as JSON) and says how it ended. Fills in what the configuration knows: offline, the limit
// of the store. Returns the exit status.
int rh_pull_run(rh_local *local, rh_pull_options *options, bool json);

#endif
