// SPDX-License-Identifier: Apache-2.0
//
// Pulls for clients of the daemon. A pull is a process of its own (this program's `pull --json`), so that a download never
// costs the daemon memory or time; the daemon listens to its lines. Private to src/daemon; loop thread only.
#ifndef RH_DAEMON_PULL_JOBS_H
#define RH_DAEMON_PULL_JOBS_H

#include "daemon/internal.h"

#define RH_PULL_JOBS_MAX 8

typedef struct rh_pull_request {
  const char *source;  // as `roundhouse pull` takes it
  const char *name;    // "name[:version]" to store it under; NULL = made from the source
  const char *type;    // what safetensors are converted to; NULL = as close as possible
  bool force;
  bool dry_run;
} rh_pull_request;

// One who listens to a pull. All who ask for the same thing listen to one process.
typedef struct rh_pull_client rh_pull_client;

typedef struct rh_pull_client_ops {
  // An event of pull/pull.h but "done" and "error". Borrowed.
  void (*event)(void *ctx, const json_t *event);
  // The end; the client is dead afterwards. RH_OK: `done` is the "done" event ("resolved" of a dry
  // run), and the models are served already.
  void (*ended)(void *ctx, rh_status status, const rh_error *error, const json_t *done);
} rh_pull_client_ops;

// Nothing is called from inside. RH_QUEUE_FULL when too many pulls run, RH_INVALID for a source or name that is none.
rh_status rh_pull_jobs_join(rh_daemon *daemon, const rh_pull_request *request, const rh_pull_client_ops *ops, void *ctx,
                            rh_pull_client **out, rh_error *error) RH_MUST_CHECK;
// Hears no more. The pull is stopped when nobody listens any more; what has come is kept on disk.
void rh_pull_jobs_leave(rh_pull_client *client);

void rh_pull_jobs_stop(rh_daemon *daemon);  // all of them; they end in a moment
void rh_pull_jobs_free(rh_daemon *daemon);  // waits for them, and kills those that stay

#endif
