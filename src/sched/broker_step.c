// SPDX-License-Identifier: Apache-2.0
//
// One look of the broker at everything: first decide (nobody is called but for `look`), then tell the owners.
//
// The line is served in its order. Whoever's room is certain (it fits, or fits when those who leave have left) does not
// stop those behind. The first one whose room is not certain does: it waits for busy models, and what is behind it may
// start only where that takes nothing it will need. So nobody who waits for a large model's drain is passed at its cost,
// and whoever is at the front is served in bounded time: models that came get `patience`, held ones end what they run.
//
// Owns nothing of its own; loop thread only. Owners may call anything of the broker from inside their calls but free it:
// all that is decided stands in the tenants, and a tenant that parts takes what was decided about it along.
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "sched/broker_private.h"

// While somebody waits, look again at least this often: the machine's free memory tells nobody when it changes.
#define LOOK_AGAIN_NS (500 * RH_NS_PER_MS)

// --- the survey ----------------------------------------------------------------------------------------------------

static rh_policy_item survey_one(rh_tenant *tenant, uint64_t now, uint64_t patience) {
  rh_policy_item item = {.state = tenant->state, .held = tenant->held, .tenant = tenant};
  rh_tenant_look(tenant, &item.view);
  item.reserved = rh_tenant_reserved(tenant);
  item.gone = tenant->state == RH_TENANT_LEAVING;
  item.young = tenant->state == RH_TENANT_IN && now - tenant->loaded_ns < patience;
  return item;
}

size_t rh_broker_survey(rh_broker *broker, rh_policy_room *room) {
  const rh_broker_limits *limits = &broker->limits;
  *room = (rh_policy_room){.budget = rh_amount_of_limits(limits),
                           .ram_now = RH_UNLIMITED,
                           .ram_then = RH_UNLIMITED,
                           .now_ns = broker->clock()};
  size_t count = 0;
  int64_t staying = 0, leaving = 0;
  rh_list_each(&broker->tenants, node) {
    rh_tenant *tenant = rh_list_entry(node, rh_tenant, node);
    if (!rh_tenant_in_memory(tenant)) continue;
    assert(count < broker->items_capacity);
    rh_policy_item *item = &broker->items[count++];
    *item = survey_one(tenant, room->now_ns, limits->patience_ns);
    *(item->gone ? &leaving : &staying) += tenant->ram_used;
  }
  int64_t total = 0, available = 0;
  if (limits->machine != NULL && limits->machine(limits->machine_ctx, &total, &available)) {
    // What is free plus what our workers have is what they may have together. Those who leave have theirs still.
    room->ram_now = available + staying;
    room->ram_then = available + staying + leaving;
  }
  return count;
}

// --- decisions -----------------------------------------------------------------------------------------------------

void rh_broker_evict(rh_tenant *tenant, const char *reason) {
  assert(tenant->state == RH_TENANT_IN);
  tenant->state = RH_TENANT_LEAVING;
  (void)rh_text_copy(tenant->reason, sizeof tenant->reason, reason);
  rh_tenant_forgive(tenant, RH_DUTY_HOLD);
  rh_tenant_owe(tenant, RH_DUTY_EVICT);
  rh_loop_defer(tenant->broker->loop, &tenant->broker->work);
}

typedef struct stepping {
  rh_broker *broker;
  rh_policy_room room;
  size_t count;      // of broker->items
  bool firm;         // all before in line have certain room
  rh_tenant *stuck;  // the first in line that has not, or NULL
} stepping;

static void evict_marked(stepping *self, const char *reason) {
  for (size_t i = 0; i < self->count; i++) {
    rh_policy_item *item = &self->broker->items[i];
    if (!item->evict || item->gone) continue;
    item->gone = true;
    rh_broker_evict(item->tenant, reason);
  }
}

// More is in memory than the budget allows: a worker grew beyond its need, or the budget was lowered.
static void get_below_budget(stepping *self) {
  rh_broker *broker = self->broker;
  rh_amount sum = {0};
  for (size_t i = 0; i < self->count; i++) rh_amount_add(&sum, &broker->items[i].reserved);
  bool over = !rh_amount_fits(&sum, &self->room.budget);
  if (over && !broker->over_told) {
    RH_LOG(RH_LOG_WARN, "models take more memory than the budget; idle ones leave",
           rh_log_int("ram_bytes", sum.at[RH_RAM]), rh_log_int("ram_budget_bytes", self->room.budget.at[RH_RAM]),
           rh_log_int("gpu_bytes", rh_amount_gpu(&sum)), rh_log_int("models", sum.at[RH_PLACES]));
  }
  broker->over_told = over;
  if (!over) return;
  rh_policy_room room = self->room;
  room.ram_now = room.ram_then = RH_UNLIMITED;
  const rh_amount nothing = {0};
  rh_fit fit = rh_policy_fit(broker->items, self->count, &room, &nothing);
  if (fit == RH_FIT_EVICTING || fit == RH_FIT_HOLDING || fit == RH_FIT_LATER) {
    evict_marked(self, "models take more memory than the budget");
  }
}

static void start(stepping *self, rh_tenant *tenant, const rh_tenant_view *view, const rh_amount *need) {
  rh_broker *broker = self->broker;
  rh_tenant_leave_line(tenant, RH_TENANT_LOADING);
  tenant->need = *need;
  tenant->ram_used = tenant->gpu_used = 0;
  broker->counts.starts++;
  rh_tenant_owe(tenant, RH_DUTY_START);
  broker->items[self->count++] =
      (rh_policy_item){.view = *view, .state = RH_TENANT_LOADING, .reserved = *need, .tenant = tenant};
}

static void refuse(stepping *self, rh_tenant *tenant, const rh_tenant_view *view, rh_fit fit) {
  rh_broker *broker = self->broker;
  rh_broker_refusal(broker, view, broker->items, self->count, &self->room, fit, &tenant->refusal);
  rh_tenant_leave_line(tenant, RH_TENANT_OUT);
  broker->counts.refusals++;
  rh_tenant_owe(tenant, RH_DUTY_REFUSE);
}

// The first in line whose room depends on others becoming idle. Those behind plan with it as if it had its room.
static void be_stuck(stepping *self, rh_tenant *tenant, rh_fit fit, const rh_amount *need, uint64_t waited) {
  bool patient = waited < self->broker->limits.patience_ns;
  self->firm = false;
  self->stuck = tenant;
  for (size_t i = 0; i < self->count; i++) {
    rh_policy_item *item = &self->broker->items[i];
    if (item->gone || (!item->evict && !item->hold)) continue;
    item->gone = true;
    // Who is held already and part of the plan stays held; new ones only when that is enough.
    item->to_hold = item->held || (item->hold && fit == RH_FIT_HOLDING && !patient);
  }
  rh_amount_add(&self->room.promised, need);
}

static void serve(stepping *self, rh_tenant *tenant) {
  rh_broker *broker = self->broker;
  rh_tenant_view view;
  rh_tenant_look(tenant, &view);
  rh_amount need = rh_amount_of(&broker->limits, view.need.ram_bytes, view.need.gpu_bytes);
  uint64_t waited = self->room.now_ns - tenant->waiting_ns;
  rh_fit fit = rh_policy_fit(broker->items, self->count, &self->room, &need);
  if (fit == RH_FIT_NOW) {
    start(self, tenant, &view, &need);
  } else if (fit == RH_FIT_NEVER || fit == RH_FIT_PINNED) {
    refuse(self, tenant, &view, fit);
  } else if (self->firm && (fit == RH_FIT_LEAVING || fit == RH_FIT_EVICTING)) {
    char reason[sizeof tenant->reason];
    snprintf(reason, sizeof reason, "model %.128s needs the room", view.name);
    evict_marked(self, reason);
    rh_amount_add(&self->room.promised, &need);
  } else if (waited >= broker->limits.wait_max_ns) {
    refuse(self, tenant, &view, fit);
  } else if (self->firm) {
    be_stuck(self, tenant, fit, &need, waited);
  }
}

static void hold_and_release(stepping *self) {
  for (size_t i = 0; i < self->count; i++) {
    const rh_policy_item *item = &self->broker->items[i];
    rh_tenant *tenant = item->tenant;
    if (tenant->state != RH_TENANT_IN || tenant->held == item->to_hold) continue;
    tenant->held = item->to_hold;
    rh_tenant_forgive(tenant, RH_DUTY_HOLD | RH_DUTY_UNHOLD);
    rh_tenant_owe(tenant, item->to_hold ? RH_DUTY_HOLD : RH_DUTY_UNHOLD);
    if (item->to_hold) self->broker->counts.holds++;
  }
}

static uint64_t sooner(uint64_t best, uint64_t now, uint64_t from, uint64_t after) {
  uint64_t due = after > UINT64_MAX - from ? UINT64_MAX : from + after;
  return due > now && due - now < best ? due - now : best;
}

// Waits end, patience ends, and models stop being young, without anybody reporting it.
static void set_timer(stepping *self) {
  rh_broker *broker = self->broker;
  const rh_broker_limits *limits = &broker->limits;
  uint64_t now = self->room.now_ns, next = LOOK_AGAIN_NS;
  if (broker->line.count == 0) {
    rh_loop_timer_cancel(broker->loop, &broker->timer);
    return;
  }
  rh_list_each(&broker->line, node) {
    next = sooner(next, now, rh_list_entry(node, rh_tenant, line_node)->waiting_ns, limits->wait_max_ns);
  }
  if (self->stuck != NULL) next = sooner(next, now, self->stuck->waiting_ns, limits->patience_ns);
  for (size_t i = 0; i < self->count; i++) {
    if (!broker->items[i].young) continue;
    next = sooner(next, now, ((const rh_tenant *)broker->items[i].tenant)->loaded_ns, limits->patience_ns);
  }
  rh_loop_timer_set(broker->loop, &broker->timer, next);
}

static void decide(rh_broker *broker) {
  stepping self = {.broker = broker, .firm = true};
  self.count = rh_broker_survey(broker, &self.room);
  get_below_budget(&self);
  rh_list_each(&broker->line, node) serve(&self, rh_list_entry(node, rh_tenant, line_node));
  hold_and_release(&self);
  set_timer(&self);
}

// --- telling the owners --------------------------------------------------------------------------------------------

static void tell_evict(rh_tenant *tenant) {
  rh_tenant_view view;
  rh_tenant_look(tenant, &view);
  if (!rh_policy_is_idle(&view, tenant->held) || view.pinned || view.kept) {
    // Work came between the decision and now, from another owner's call.
    tenant->state = RH_TENANT_IN;
    tenant->wanted_again = false;
    rh_loop_defer(tenant->broker->loop, &tenant->broker->work);
    return;
  }
  tenant->broker->counts.evictions++;
  // The tenant may be gone before the owner is done with the words.
  char reason[sizeof tenant->reason];
  (void)rh_text_copy(reason, sizeof reason, tenant->reason);
  tenant->ops.evict(tenant->ctx, reason);
}

static void tell(rh_tenant *tenant, rh_duty duty) {
  switch (duty) {
    case RH_DUTY_UNHOLD: tenant->ops.hold(tenant->ctx, false); return;
    case RH_DUTY_HOLD: tenant->ops.hold(tenant->ctx, true); return;
    case RH_DUTY_EVICT: tell_evict(tenant); return;
    case RH_DUTY_START: tenant->ops.start(tenant->ctx); return;
    case RH_DUTY_REFUSE: break;
  }
  rh_error refusal = tenant->refusal;
  tenant->ops.refuse(tenant->ctx, &refusal);
}

static void tell_owners(rh_broker *broker) {
  for (rh_list_node *node; (node = rh_list_first(&broker->duties)) != NULL;) {
    rh_tenant *tenant = rh_list_entry(node, rh_tenant, duties_node);
    rh_duty duty = (rh_duty)(tenant->duties & -tenant->duties);  // the lowest bit: the order of the enum
    rh_tenant_forgive(tenant, (unsigned)duty);
    tell(tenant, duty);
  }
}

void rh_broker_step(rh_broker *broker) {
  rh_loop_undefer(broker->loop, &broker->work);
  decide(broker);
  tell_owners(broker);
}
