// SPDX-License-Identifier: Apache-2.0
//
// What the admin calls share, with each other and with Ollama's. Private to src/daemon; loop thread only.
//
//   admin.c        the table of routes; looking: lists, states, the catalogue
//   admin_load.c   load, unload, pin, alias
//   admin_store.c  delete, copy
//   admin_pull.c   pull
#ifndef RH_DAEMON_ADMIN_H
#define RH_DAEMON_ADMIN_H

#include "daemon/operation.h"
#include "daemon/pull_jobs.h"

// The model a client means; when there is none the operation is answered and NULL returned.
rh_served *rh_admin_find(rh_operation *operation, const char *name);

// What follows when something that takes time has ended well. `served` may be NULL (an alias was removed, the model was
// not served). It must answer.
typedef void (*rh_admin_then)(rh_operation *operation, rh_served *served);

// Each answers an error itself. `served` is held until the operation ends.
void rh_admin_load(rh_operation *operation, rh_served *served, int64_t keep_alive, bool stream, rh_admin_then then);
void rh_admin_unload(rh_operation *operation, rh_served *served, bool force, rh_admin_then then);
// Out of memory and out of the store. `name` must mean one stored model.
void rh_admin_delete(rh_operation *operation, const char *name, bool force, rh_admin_then then);
void rh_admin_copy(rh_operation *operation, const char *from, const char *to, rh_admin_then then);

// How a pull is told. Both pointers see pull/pull.h's events, borrowed.
typedef struct rh_admin_pull_view {
  // A new value: an object for one line, an array for several, or NULL for none.
  json_t *(*line)(const rh_operation *operation, const json_t *event);
  void (*done)(rh_operation *operation, const json_t *event);  // answers, or ends the stream
  bool once;                                                   // a line equal to the one before it is not told
} rh_admin_pull_view;
// Without `stream` nothing is told until the end.
void rh_admin_pull(rh_operation *operation, const rh_pull_request *request, bool stream,
                   const rh_admin_pull_view *view);

// The routes' own.
void rh_admin_begin_load(rh_operation *operation);
void rh_admin_begin_unload(rh_operation *operation);
void rh_admin_begin_unload_path(rh_operation *operation);
void rh_admin_begin_pin(rh_operation *operation);
void rh_admin_begin_alias(rh_operation *operation);
void rh_admin_begin_delete(rh_operation *operation);
void rh_admin_begin_delete_path(rh_operation *operation);
void rh_admin_begin_copy(rh_operation *operation);
void rh_admin_begin_pull(rh_operation *operation);

#endif
