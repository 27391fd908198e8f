// SPDX-License-Identifier: Apache-2.0
//
// The model manager: which models are served under which names, and when each is in memory.
//
// It owns one rh_served for each version of each model, its member (fleet), its queue (sched) and its tenancy (broker);
// the aliases; hot swaps; idle times; pins; warm preloading. The daemon asks it which model a name means and hands the
// model's queue its runs; everything that loads or unloads goes through here.
//
// Thread: the event loop's. Calls that take time report through a callback, from the loop, never from inside the call.
#ifndef RH_MANAGER_MANAGER_H
#define RH_MANAGER_MANAGER_H

#include <jansson.h>

#include "base/loop.h"
#include "base/status.h"
#include "fleet/fleet.h"
#include "model/catalogue.h"
#include "sched/broker.h"
#include "sched/sched.h"
#include "store/store.h"

typedef struct rh_manager rh_manager;
typedef struct rh_served rh_served;

// What happens, as it happens, for metrics and the log.
typedef enum rh_manager_event_kind {
  RH_MANAGER_LOADED,       // ready; `seconds` since it was first wanted, waiting for memory included
  RH_MANAGER_LOAD_FAILED,  // `detail`: the status' name
  RH_MANAGER_LEFT,     // out of memory again; `detail`: "memory", "idle", "asked", "swap", "removed", "shutdown", ...
  RH_MANAGER_SWAPPED,  // a hot swap ended; `detail`: "ok", "failed", "replaced"
} rh_manager_event_kind;

typedef struct rh_manager_event {
  rh_manager_event_kind kind;
  const rh_served *served;
  const char *detail;  // a fixed word: it becomes a label
  double seconds;
} rh_manager_event;

typedef struct rh_manager_options {
  rh_loop *loop;
  rh_sched *sched;
  rh_store *store;           // borrowed; NULL = nothing is remembered
  rh_member_options member;  // timeouts and worker path; name and load are filled in for each model
  rh_broker_limits limits;
  uint64_t keep_alive_ns;     // idle time after which a model leaves; UINT64_MAX = never, 0 = at once
  uint64_t tidy_interval_ns;  // background work: watermark, preloading, remembering
  size_t preload_top;         // keep the K most asked-for models loaded while there is room; 0 = off
  const char *default_model;  // what "" and the alias "default" mean; "" = the first by name
  const json_t *aliases;      // from the configuration; those in the store win. May be NULL
  const char *changed_path;   // the store's `changed` file and ...
  const char *models_dir;     // ... the models folder are watched; NULL = not
  // Fill `out` with every model there is now (configuration, store, folders). Called at the start and after changes.
  rh_status (*collect)(void *ctx, rh_catalogue *out, rh_error *error);
  // The last running thing has left: for the end of the daemon.
  void (*all_gone)(void *ctx);
  // May be NULL. Must not call back into the manager.
  void (*happened)(void *ctx, const rh_manager_event *event);
  void *ctx;
} rh_manager_options;

rh_status rh_manager_new(const rh_manager_options *options, rh_manager **out, rh_error *error) RH_MUST_CHECK;
// Kills what still runs. No job may be left in any queue.
void rh_manager_free(rh_manager *manager);
// Unload everything; all_gone is called when the last process has ended (also when there was none: from the loop).
void rh_manager_leave(rh_manager *manager, uint64_t grace_ns);
// Look again at what models there are: new ones appear, those that went are drained and leave, changed files are
// served as new models. Called by itself after changes on disk.
rh_status rh_manager_refresh(rh_manager *manager, rh_error *error);

// --- names ---------------------------------------------------------------------------------------------------------

typedef struct rh_resolution {
  rh_served *served;
  char reason[160];  // "named by the request", "the default model", "alias fast", "newest version of x"
} rh_resolution;

// NULL, "", "default" and "auto" mean the default model. RH_NOT_FOUND says what to do: the nearest name, or that the
// catalogue has it and `roundhouse pull` gets it.
rh_status rh_manager_resolve(rh_manager *manager, const char *name, rh_resolution *out, rh_error *error) RH_MUST_CHECK;
// Whether that name means something now, without a look at what has just come into the folders: for names that may well mean
// a model of somebody else's.
bool rh_manager_knows(rh_manager *manager, const char *name);

// The model of exactly this name (or the newest version of it); NULL = none. Unlike the above it is no request: it says nothing about
// what is asked for, looks at no alias, and writes no error.
rh_served *rh_manager_peek(const rh_manager *manager, const char *name);

size_t rh_manager_count(const rh_manager *manager);
rh_served *rh_manager_at(const rh_manager *manager, size_t index);  // sorted by name
json_t *rh_manager_aliases(const rh_manager *manager);  // [{"alias","model","swapping_to"?,"error"?}]; new reference

// --- a served model ------------------------------------------------------------------------------------------------

const rh_model_spec *rh_served_spec(const rh_served *served);
rh_member *rh_served_member(const rh_served *served);
rh_sched_model *rh_served_queue(const rh_served *served);
bool rh_served_pinned(const rh_served *served);
uint64_t rh_served_last_used_ns(const rh_served *served);  // monotonic; 0 = never
uint64_t rh_served_expires_ns(const rh_served *served);    // when its idle time ends; 0 = it does not
void rh_served_need(const rh_served *served, rh_need *out);
// {"name","version","state","engine","format","quantization","memory":{...},"slots","context","pinned","aliases":[...],
//  "last_used_s","load_ms","load_fraction","queued","active","keep_alive_s","expires_in_s","pid","error"?,...}
json_t *rh_served_describe(const rh_served *served);  // new reference

// A request uses it: held while the request lives, so that it is not freed under it. `keep_alive_ns` changes its idle
// time as the request wishes (ns, 0 = leave when idle, or a word of model/catalogue.h; RH_KEEP_ALIVE_UNSET = no wish).
void rh_served_hold(rh_served *served, int64_t keep_alive_ns);
// The same for an admin call, which only must not lose it: no use of the model, and no reason for it to stay.
void rh_served_guard(rh_served *served);
void rh_served_release(rh_served *served);  // ends either

// --- what admin calls do -------------------------------------------------------------------------------------------

typedef struct rh_manager_waiter rh_manager_waiter;
// Called once: with RH_OK when it is done, or why not. `progress` (may be NULL) while it goes on: fraction 0..1.
typedef struct rh_manager_callback {
  void (*done)(void *ctx, rh_status status, const rh_error *error);
  void (*progress)(void *ctx, const char *what, double fraction);
  void *ctx;
} rh_manager_callback;
void rh_manager_forget(rh_manager_waiter *waiter);  // the callback is never called; what was begun goes on

// Bring it into memory. Many callers cause one load; each hears of its end. *out may be NULL.
rh_status rh_manager_load(rh_manager *manager, rh_served *served, const rh_manager_callback *callback,
                          rh_manager_waiter **out, rh_error *error) RH_MUST_CHECK;
// Out of memory when nothing runs on it any more (new requests would load it again). `force`: at once; running requests
// get an error. RH_CONFLICT when pinned and not forced.
rh_status rh_manager_unload(rh_manager *manager, rh_served *served, bool force, const rh_manager_callback *callback,
                            rh_manager_waiter **out, rh_error *error) RH_MUST_CHECK;
// Never evicted and never idle. Remembered over restarts when there is a store (in aliases.json as "pin:NAME").
rh_status rh_manager_pin(rh_manager *manager, rh_served *served, bool pinned, rh_error *error) RH_MUST_CHECK;

// Point `alias` at `target` (NULL removes it). When the model it pointed at is in memory, the new one is loaded and
// warmed first; requests go to the old one until then, and the old one drains and leaves afterwards unless it is pinned,
// another alias names it, or it was asked for by its own name lately. When the new one fails to load, the alias stays
// and `done` gets the reason. A second call for the same alias replaces a swap under way (its `done` gets RH_CANCELLED).
// When both do not fit: RH_NO_ROOM with the numbers, unless `replace`: then the old one leaves first and requests wait.
rh_status rh_manager_alias(rh_manager *manager, const char *alias, rh_served *target, bool replace,
                           const rh_manager_callback *callback, rh_manager_waiter **out, rh_error *error) RH_MUST_CHECK;

// What loading it would evict (rh_broker_plan).
json_t *rh_manager_plan(rh_manager *manager, rh_served *served);
// The broker's view, for GET /api/models and metrics. Borrowed.
rh_broker *rh_manager_broker(const rh_manager *manager);

// Models of the store and of a Hugging Face cache as specs, for `collect`. Names that are there already are left out.
rh_status rh_manager_collect_stored(rh_catalogue *out, const rh_stored_list *stored, rh_model_origin origin,
                                    const rh_load_options *defaults, int64_t queue_max, rh_error *error) RH_MUST_CHECK;

// A stored model is about to be deleted: RH_CONFLICT while requests run on it or an alias names it (unless `force`);
// otherwise it is unloaded and `done` is called when its files may go.
rh_status rh_manager_retire(rh_manager *manager, rh_served *served, bool force, const rh_manager_callback *callback,
                            rh_manager_waiter **out, rh_error *error) RH_MUST_CHECK;

#endif
