// SPDX-License-Identifier: Apache-2.0
//
// This program once more, as a child that does one long thing and writes lines. Private to src/daemon; loop thread only.
#ifndef RH_DAEMON_CHILD_H
#define RH_DAEMON_CHILD_H

#include <sys/types.h>

#include "daemon/internal.h"

typedef struct rh_child rh_child;

typedef struct rh_child_ops {
  void (*line)(void *ctx, const char *text, size_t length);  // without its newline; bounded, longer ones are dropped
  // It has ended and all its lines were told. `complaint`: the end of its standard error. The child may be freed here.
  void (*ended)(void *ctx, int wait_status, const char *complaint);
} rh_child_ops;

// `arguments` (NULL-terminated) stand after the program's name. It gets our configuration file and ROUNDHOUSE_OFFLINE by
// way of its environment. Nothing is called from inside.
rh_status rh_child_start(rh_daemon *daemon, const char *const *arguments, const rh_child_ops *ops, void *ctx,
                         rh_child **out, rh_error *error) RH_MUST_CHECK;
pid_t rh_child_pid(const rh_child *child);
void rh_child_stop(rh_child *child);  // SIGTERM to it and what it started, SIGKILL later; `ended` follows
void rh_child_end(rh_child *child);   // after rh_child_stop: waits (blocking, bounded) without telling
void rh_child_free(rh_child *child);  // its process must have ended; NULL is fine

#endif
