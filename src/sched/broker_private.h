// SPDX-License-Identifier: Apache-2.0
//
// Private to the broker: its tenants and who does what.
//
//   broker.c         tenants come and go, what their owners report, the sums
//   broker_step.c    one look at everything: who starts, who leaves, who is held; then the calls to the owners
//   broker_policy.c  the choices themselves, without state
//   broker_words.c   what a refused owner is told
//   broker_json.c    plan and description for people
#ifndef RH_SCHED_BROKER_PRIVATE_H
#define RH_SCHED_BROKER_PRIVATE_H

#include "base/list.h"
#include "sched/broker.h"
#include "sched/broker_policy.h"

// Calls to the owner that are decided but not made yet, in the order in which they are made.
typedef enum rh_duty {
  RH_DUTY_UNHOLD = 1,
  RH_DUTY_HOLD = 2,
  RH_DUTY_EVICT = 4,
  RH_DUTY_START = 8,
  RH_DUTY_REFUSE = 16,
} rh_duty;

struct rh_tenant {
  rh_broker *broker;
  rh_list_node node;         // in broker->tenants
  rh_list_node line_node;    // in broker->line while WAITING
  rh_list_node duties_node;  // in broker->duties while `duties` is not 0
  rh_tenant_ops ops;
  void *ctx;
  rh_tenant_state state;
  unsigned duties;
  bool held;            // the owner was told, or is about to be
  bool wanted_again;    // somebody asked for it while it was LEAVING
  uint64_t waiting_ns;  // in line since
  uint64_t loaded_ns;   // IN since
  rh_amount need;       // reserved at the start; counts while LOADING, IN and LEAVING
  int64_t ram_used, gpu_used;
  char reason[192];  // why it is evicted
  rh_error refusal;
};

struct rh_broker {
  rh_loop *loop;
  rh_broker_limits limits;
  rh_list tenants, line, duties;
  rh_deferred work;
  rh_timer timer;
  uint64_t (*clock)(void);  // rh_clock_now_ns; tests have their own
  rh_policy_item *items;    // room for every tenant: a step never allocates
  size_t items_capacity;
  rh_broker_counts counts;
  bool over_told;  // that more is used than the budget was logged
};

// broker.c
bool rh_tenant_in_memory(const rh_tenant *tenant);  // LOADING, IN or LEAVING
rh_amount rh_tenant_reserved(const rh_tenant *tenant);
void rh_tenant_look(rh_tenant *tenant, rh_tenant_view *view);  // asks the owner; notes what it uses
void rh_tenant_enqueue(rh_tenant *tenant);                     // -> WAITING, at the end of the line
void rh_tenant_leave_line(rh_tenant *tenant, rh_tenant_state state);
void rh_tenant_owe(rh_tenant *tenant, rh_duty duty);
void rh_tenant_forgive(rh_tenant *tenant, unsigned duties);  // not to be done any more

// broker_step.c
// Who is in memory, as items; and the room there is. Looks at every tenant in memory.
size_t rh_broker_survey(rh_broker *broker, rh_policy_room *room);
void rh_broker_step(rh_broker *broker);
void rh_broker_evict(rh_tenant *tenant, const char *reason);

// broker_words.c
void rh_broker_refusal(rh_broker *broker, const rh_tenant_view *view, const rh_policy_item *items, size_t count,
                       const rh_policy_room *room, rh_fit fit, rh_error *out);

#endif
