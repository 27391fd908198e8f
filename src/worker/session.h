// SPDX-License-Identifier: Apache-2.0
//
// One worker on one socket: the I/O loop, and the engine thread behind it.
#ifndef RH_WORKER_SESSION_H
#define RH_WORKER_SESSION_H

#include "base/status.h"
#include "worker/executor.h"

typedef struct rh_session rh_session;

// Starts the engine thread. `fd` is a connected stream socket, borrowed; its flags do not matter.
rh_status rh_session_new(int fd, rh_session **out, rh_error *error) RH_MUST_CHECK;

// Says HELLO and serves until the end. It returns as soon as the end is known, also while the engine is busy or stuck:
// a program then leaves with _exit(), for only the kernel can end a thread that does not come back.
rh_worker_exit rh_session_loop(rh_session *session);

// Waits for the engine thread and frees all. For tests: a step that never ends makes this wait for ever.
void rh_session_free(rh_session *session);

#endif
