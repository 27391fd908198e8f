// SPDX-License-Identifier: Apache-2.0
//
// The broker's arithmetic and choices, without its state: given who is in memory and what somebody needs, does it fit,
// and if not, who makes room at the least cost? Pure functions; any thread. Private to src/sched.
#ifndef RH_SCHED_BROKER_POLICY_H
#define RH_SCHED_BROKER_POLICY_H

#include "sched/broker.h"

// Everything that is short, as one row of numbers, so that there is one piece of arithmetic for all of it.
enum {
  RH_RAM,     // bytes
  RH_PLACES,  // models (max_loaded)
  RH_GPU,     // bytes of the first GPU; the others follow
  RH_RESOURCES = RH_GPU + RH_GPUS_MAX
};
#define RH_UNLIMITED (INT64_MAX / 4)  // sums of a few of these do not overflow

typedef struct rh_amount {
  int64_t at[RH_RESOURCES];
} rh_amount;

rh_amount rh_amount_of_limits(const rh_broker_limits *limits);
// What one model takes. Engines spread a model over all GPUs, so each gets its share in proportion to its budget. Without
// GPUs what was meant for them lies in RAM.
rh_amount rh_amount_of(const rh_broker_limits *limits, int64_t ram_bytes, int64_t gpu_bytes);
void rh_amount_add(rh_amount *sum, const rh_amount *part);
void rh_amount_subtract(rh_amount *sum, const rh_amount *part);
void rh_amount_raise(rh_amount *to, const rh_amount *other);  // the larger of the two, each by itself
int64_t rh_amount_gpu(const rh_amount *amount);               // all GPUs together
bool rh_amount_fits(const rh_amount *amount, const rh_amount *budget);

// One model that is in memory.
typedef struct rh_policy_item {
  rh_tenant_view view;
  rh_tenant_state state;  // LOADING, IN or LEAVING
  rh_amount reserved;
  bool held;   // gets no new work
  bool young;  // came a moment ago: not to be held yet
  bool gone;   // counts as left when asking what will be: LEAVING, or chosen for somebody before
  // Answers of rh_policy_fit: evict now, or hold first (busy), so that the need fits.
  bool evict, hold;
  unsigned order;  // of being chosen; 0 = not
  bool to_hold;    // what the step decided; rh_policy_fit leaves it alone
  double score;
  void *tenant;
} rh_policy_item;

typedef struct rh_policy_room {
  rh_amount budget;    // the limits
  int64_t ram_now;     // of RAM, what the machine allows at this moment ...
  int64_t ram_then;    // ... and when those who leave have left. RH_UNLIMITED = it does not say
  rh_amount promised;  // to others, before this need
  uint64_t now_ns;
} rh_policy_room;

typedef enum rh_fit {
  RH_FIT_NOW,       // start it
  RH_FIT_LEAVING,   // fits when those who are gone already have really left
  RH_FIT_EVICTING,  // fits without the idle ones marked `evict`
  RH_FIT_HOLDING,   // fits without those marked, some of which are busy and marked `hold`
  RH_FIT_LATER,     // the same, but some that would have to go are loading, or came a moment ago
  RH_FIT_BLOCKED,   // not yet, whoever goes: the machine has too little free memory, or others come first
  RH_FIT_PINNED,    // pinned models take too much of the budget
  RH_FIT_NEVER,     // more than the whole budget
} rh_fit;

rh_fit rh_policy_fit(rh_policy_item *items, size_t count, const rh_policy_room *room, const rh_amount *need);

// Idle: nothing runs, and nothing waits; or it is held, and what waits for it will wait for its next turn.
bool rh_policy_is_idle(const rh_tenant_view *view, bool held);
// What losing it would cost: how likely it is asked for within ten minutes, times the time to load it again in ms.
double rh_policy_cost(const rh_tenant_view *view, uint64_t now_ns);
// The same for each GiB that its leaving frees. The lowest leaves first.
double rh_policy_eviction_score(const rh_tenant_view *view, const rh_amount *reserved, uint64_t now_ns);
// The idle item that costs least to evict, or NULL.
rh_policy_item *rh_policy_cheapest_idle(rh_policy_item *items, size_t count, uint64_t now_ns);

#endif
