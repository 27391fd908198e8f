// SPDX-License-Identifier: Apache-2.0
//
// The memory broker: one for all engines together. It decides which models may be in memory, and who has to leave.
//
// It knows tenants (one a model) by what they need and how they are used; it starts and stops nobody itself but tells
// their owner. Rules:
//   - A start reserves its need before the worker exists; a leaving worker's memory counts until its process is gone.
//   - Need is an estimate until the worker has run; then the larger of reservation and real use counts, and what was
//     learned is used next time.
//   - Evicted is only who is idle (nothing runs, nothing waits) and not pinned; among those, who costs least:
//     probability of use x time to reload, for each byte it frees (eviction_score in broker_policy.h).
//   - Who does not fit waits in line. A line that does not move because the others stay busy is moved: after `patience`
//     the cheapest busy tenant that is not pinned is held (given no new work), so that it drains, and then leaves. What
//     runs is never stopped.
//   - A need beyond the whole budget is refused at once, with numbers; a wait beyond `wait_max` ends with RH_NO_ROOM.
//
// Thread: the event loop's. The tenant's callbacks are called from deferred work, never from inside a call here.
#ifndef RH_SCHED_BROKER_H
#define RH_SCHED_BROKER_H

#include <jansson.h>

#include "base/loop.h"
#include "base/status.h"
#include "model/need.h"

typedef struct rh_broker rh_broker;
typedef struct rh_tenant rh_tenant;

typedef struct rh_broker_limits {
  int64_t ram_bytes;               // for all workers together
  int64_t gpu_bytes[RH_GPUS_MAX];  // a GPU each
  size_t gpu_count;
  int64_t max_loaded;    // models in memory at once; 0 = no limit
  double watermark;      // share of the machine's memory in use above which idle models leave; 0 = off
  uint64_t patience_ns;  // see above
  uint64_t wait_max_ns;  // in line
  // The machine's memory now; NULL or false = not considered. For the watermark, and so that a load does not push the
  // machine into swapping when others use the memory that the budget promised.
  bool (*machine)(void *ctx, int64_t *total_bytes, int64_t *free_bytes);
  void *machine_ctx;
} rh_broker_limits;

// What a tenant is like now; filled by its owner when the broker asks.
typedef struct rh_tenant_view {
  const char *name;
  rh_need need;            // for a load now
  int64_t ram_used_bytes;  // resident now; 0 = no process
  int64_t gpu_used_bytes;
  size_t running, queued;
  bool pinned;
  bool kept;              // needed for a moment (a swap): neither evicted nor held now, but worth waiting for
  double frequency;       // requests an hour
  double reload_ms;       // what a load takes (measured, or estimated from the size)
  uint64_t last_used_ns;  // monotonic; 0 = never
} rh_tenant_view;

typedef enum rh_tenant_state {
  RH_TENANT_OUT,      // not in memory, not wanted
  RH_TENANT_WAITING,  // in line; or chosen, while others leave for it
  RH_TENANT_LOADING,  // start() was called
  RH_TENANT_IN,
  RH_TENANT_LEAVING,  // evict() was called; its memory still counts
} rh_tenant_state;

typedef struct rh_tenant_ops {
  void (*look)(void *ctx, rh_tenant_view *view);     // pure; called often
  void (*start)(void *ctx);                          // its memory is reserved: start the worker now
  void (*evict)(void *ctx, const char *reason);      // leave now; it is idle
  void (*hold)(void *ctx, bool held);                // take no new work (true), or go on (false)
  void (*refuse)(void *ctx, const rh_error *error);  // no room: RH_NO_ROOM or RH_HARDWARE
} rh_tenant_ops;

rh_broker *rh_broker_new(rh_loop *loop, const rh_broker_limits *limits);  // NULL when memory is short
void rh_broker_free(rh_broker *broker);                                   // no tenants may be left
void rh_broker_set_limits(rh_broker *broker, const rh_broker_limits *limits);

rh_status rh_broker_join(rh_broker *broker, const rh_tenant_ops *ops, void *ctx, rh_tenant **out) RH_MUST_CHECK;
void rh_broker_part(rh_tenant *tenant);  // gives its memory back at once: its process must be gone

// What the owner reports.
void rh_broker_want(rh_tenant *tenant);      // somebody waits for it: OUT or LEAVING -> in line
void rh_broker_unwant(rh_tenant *tenant);    // nobody waits any more: leaves the line (does nothing otherwise)
void rh_broker_loaded(rh_tenant *tenant);    // LOADING -> IN
void rh_broker_idle(rh_tenant *tenant);      // its last run ended and nothing waits
void rh_broker_measured(rh_tenant *tenant);  // its real use changed (worker statistics)
void rh_broker_leaving(rh_tenant *tenant);   // its owner unloads it by itself (idle time over, a person's wish)
void rh_broker_left(rh_tenant *tenant);      // its process is gone (evicted, unloaded, crashed, failed to load)

rh_tenant_state rh_broker_state(const rh_tenant *tenant);
size_t rh_broker_line_length(const rh_broker *broker);

// What a load of `tenant` would do now, without doing it: {"model","need":{...},"fits":bool,"wait":bool,
// "evicts":[{"model","ram_bytes","gpu_bytes","idle_s","reload_ms","score"}],"holds":["..."],"budget":{...},"used":{...},
// "refused":"..."?}. New reference.
json_t *rh_broker_plan(rh_broker *broker, const rh_tenant *tenant);
// The same question with a yes or no: could it load now without anyone leaving? For preloading.
bool rh_broker_has_room(rh_broker *broker, const rh_tenant *tenant);
// Clean-up when the machine's memory is above the watermark: evicts idle tenants, cheapest first. Called by a timer.
void rh_broker_relieve(rh_broker *broker);
// {"ram":{"budget_bytes","reserved_bytes","used_bytes"},"gpus":[...],"loaded","max_loaded","waiting":["..."]}
json_t *rh_broker_describe(const rh_broker *broker);

typedef struct rh_broker_counts {
  uint64_t starts, evictions, refusals, holds, relieved;
} rh_broker_counts;
const rh_broker_counts *rh_broker_get_counts(const rh_broker *broker);
int64_t rh_broker_reserved_ram(const rh_broker *broker);  // what counts against the budget now

#endif
