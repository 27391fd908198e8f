// SPDX-License-Identifier: Apache-2.0
//
// What a worker process gives up before it touches a model.
#ifndef RH_WORKER_SANDBOX_H
#define RH_WORKER_SANDBOX_H

#include "base/status.h"

// Dies with its parent, gains no privileges, leaves no core dumps, ignores SIGINT and SIGPIPE. Once, before any thread.
rh_status rh_sandbox_enter(rh_error *error) RH_MUST_CHECK;

#endif
