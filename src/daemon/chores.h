// SPDX-License-Identifier: Apache-2.0
//
// Changes of the store that may take long (deleting gigabytes, waiting for another process' lock), done by a child so
// that the loop goes on. Private to src/daemon; loop thread only.
#ifndef RH_DAEMON_CHORES_H
#define RH_DAEMON_CHORES_H

#include "daemon/internal.h"

typedef struct rh_chore rh_chore;

// `arguments`: a command of ours that works on the store alone ("rm", "--store-dir", ...), NULL-terminated. `done` is
// called once, when it has ended and the models were looked through again. RH_QUEUE_FULL when too many run.
rh_status rh_chore_start(rh_daemon *daemon, const char *const *arguments,
                         void (*done)(void *ctx, rh_status status, const rh_error *error), void *ctx, rh_chore **out,
                         rh_error *error) RH_MUST_CHECK;
void rh_chore_forget(rh_chore *chore);  // it goes on; `done` is not called
void rh_chores_free(rh_daemon *daemon);

#endif
