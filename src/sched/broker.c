// SPDX-License-Identifier: Apache-2.0
//
// The memory broker's tenants: who they are, which state they are in, what counts against the budget.
//
// It owns the tenants and their place in line; their owners own themselves. Loop thread only. What a report changes is
// noted here and acted on later, from deferred work (broker_step.c), so that no report calls anybody back. It never
// starts or stops a process, and does not know what a worker is.
#include "sched/broker.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "sched/broker_private.h"

static void on_work(void *ctx) { rh_broker_step(ctx); }

static void look_again(rh_broker *broker) { rh_loop_defer(broker->loop, &broker->work); }

rh_broker *rh_broker_new(rh_loop *loop, const rh_broker_limits *limits) {
  assert(limits->gpu_count <= RH_GPUS_MAX);
  rh_broker *broker = calloc(1, sizeof *broker);
  if (broker == NULL) return NULL;
  broker->loop = loop;
  broker->limits = *limits;
  broker->clock = rh_clock_now_ns;
  broker->work = (rh_deferred){.fn = on_work, .ctx = broker};
  broker->timer = (rh_timer){.fn = on_work, .ctx = broker};
  rh_list_init(&broker->tenants);
  rh_list_init(&broker->line);
  rh_list_init(&broker->duties);
  return broker;
}

void rh_broker_free(rh_broker *broker) {
  if (broker == NULL) return;
  assert(broker->tenants.count == 0);
  rh_loop_undefer(broker->loop, &broker->work);
  rh_loop_timer_cancel(broker->loop, &broker->timer);
  free(broker->items);
  free(broker);
}

void rh_broker_set_limits(rh_broker *broker, const rh_broker_limits *limits) {
  assert(limits->gpu_count <= RH_GPUS_MAX);
  broker->limits = *limits;
  look_again(broker);
}

// --- a tenant ------------------------------------------------------------------------------------------------------

static bool make_room_for_one_more(rh_broker *broker) {
  if (broker->tenants.count < broker->items_capacity) return true;
  size_t capacity = broker->items_capacity == 0 ? 16 : broker->items_capacity * 2;
  rh_policy_item *items = realloc(broker->items, capacity * sizeof *items);
  if (items == NULL) return false;
  broker->items = items;
  broker->items_capacity = capacity;
  return true;
}

rh_status rh_broker_join(rh_broker *broker, const rh_tenant_ops *ops, void *ctx, rh_tenant **out) {
  if (!make_room_for_one_more(broker)) return RH_NO_MEMORY;
  rh_tenant *tenant = calloc(1, sizeof *tenant);
  if (tenant == NULL) return RH_NO_MEMORY;
  tenant->broker = broker;
  tenant->ops = *ops;
  tenant->ctx = ctx;
  tenant->state = RH_TENANT_OUT;
  rh_list_push_back(&broker->tenants, &tenant->node);
  *out = tenant;
  return RH_OK;
}

void rh_broker_part(rh_tenant *tenant) {
  if (tenant == NULL) return;
  rh_broker *broker = tenant->broker;
  rh_tenant_forgive(tenant, ~0u);
  if (tenant->state == RH_TENANT_WAITING) rh_list_remove(&broker->line, &tenant->line_node);
  rh_list_remove(&broker->tenants, &tenant->node);
  free(tenant);
  look_again(broker);
}

void rh_tenant_owe(rh_tenant *tenant, rh_duty duty) {
  if (tenant->duties == 0) rh_list_push_back(&tenant->broker->duties, &tenant->duties_node);
  tenant->duties |= (unsigned)duty;
}

void rh_tenant_forgive(rh_tenant *tenant, unsigned duties) {
  if (tenant->duties == 0) return;
  tenant->duties &= ~duties;
  if (tenant->duties == 0) rh_list_remove(&tenant->broker->duties, &tenant->duties_node);
}

void rh_tenant_enqueue(rh_tenant *tenant) {
  tenant->state = RH_TENANT_WAITING;
  tenant->waiting_ns = tenant->broker->clock();
  rh_list_push_back(&tenant->broker->line, &tenant->line_node);
}

void rh_tenant_leave_line(rh_tenant *tenant, rh_tenant_state state) {
  assert(tenant->state == RH_TENANT_WAITING);
  rh_list_remove(&tenant->broker->line, &tenant->line_node);
  tenant->state = state;
}

bool rh_tenant_in_memory(const rh_tenant *tenant) {
  return tenant->state == RH_TENANT_LOADING || tenant->state == RH_TENANT_IN || tenant->state == RH_TENANT_LEAVING;
}

rh_amount rh_tenant_reserved(const rh_tenant *tenant) {
  if (!rh_tenant_in_memory(tenant)) return (rh_amount){0};
  rh_amount out = tenant->need;
  rh_amount used = rh_amount_of(&tenant->broker->limits, tenant->ram_used, tenant->gpu_used);
  rh_amount_raise(&out, &used);
  return out;
}

void rh_tenant_look(rh_tenant *tenant, rh_tenant_view *view) {
  *view = (rh_tenant_view){.name = ""};
  tenant->ops.look(tenant->ctx, view);
  tenant->ram_used = view->ram_used_bytes;
  tenant->gpu_used = view->gpu_used_bytes;
}

// --- reports -------------------------------------------------------------------------------------------------------

void rh_broker_want(rh_tenant *tenant) {
  if (tenant->state == RH_TENANT_LEAVING) tenant->wanted_again = true;
  // A refusal that is on its way ends all who wait now, also the one who came last.
  if (tenant->state != RH_TENANT_OUT || (tenant->duties & RH_DUTY_REFUSE) != 0) return;
  rh_tenant_enqueue(tenant);
  look_again(tenant->broker);
}

void rh_broker_unwant(rh_tenant *tenant) {
  tenant->wanted_again = false;
  rh_tenant_forgive(tenant, RH_DUTY_REFUSE);
  if (tenant->state != RH_TENANT_WAITING) return;
  rh_tenant_leave_line(tenant, RH_TENANT_OUT);
  look_again(tenant->broker);
}

void rh_broker_loaded(rh_tenant *tenant) {
  if (tenant->state != RH_TENANT_LOADING) return;
  tenant->state = RH_TENANT_IN;
  tenant->loaded_ns = tenant->broker->clock();
  look_again(tenant->broker);
}

void rh_broker_idle(rh_tenant *tenant) {
  rh_broker *broker = tenant->broker;
  // The common case, at the end of a request that nobody else waits behind, costs nothing.
  if (broker->line.count > 0 || broker->over_told) look_again(broker);
}

void rh_broker_measured(rh_tenant *tenant) {
  rh_tenant_view view;
  int64_t ram = tenant->ram_used, gpu = tenant->gpu_used;
  rh_tenant_look(tenant, &view);
  if (tenant->ram_used != ram || tenant->gpu_used != gpu) look_again(tenant->broker);
}

void rh_broker_leaving(rh_tenant *tenant) {
  if (!rh_tenant_in_memory(tenant)) return;
  bool begun = (tenant->duties & RH_DUTY_START) == 0;
  rh_tenant_forgive(tenant, RH_DUTY_START | RH_DUTY_HOLD | RH_DUTY_EVICT);
  tenant->state = RH_TENANT_LEAVING;
  if (!begun) rh_broker_left(tenant);  // its owner was not told to start it yet: there is no process
  look_again(tenant->broker);
}

void rh_broker_left(rh_tenant *tenant) {
  if (!rh_tenant_in_memory(tenant)) return;
  bool again = tenant->wanted_again;
  tenant->wanted_again = false;
  rh_tenant_forgive(tenant, RH_DUTY_START | RH_DUTY_EVICT | RH_DUTY_HOLD);
  if (tenant->held) rh_tenant_owe(tenant, RH_DUTY_UNHOLD);  // before it may start again
  tenant->held = false;
  tenant->need = (rh_amount){0};
  tenant->ram_used = tenant->gpu_used = 0;
  tenant->state = RH_TENANT_OUT;
  if (again) rh_tenant_enqueue(tenant);
  look_again(tenant->broker);
}

// --- questions -----------------------------------------------------------------------------------------------------

rh_tenant_state rh_broker_state(const rh_tenant *tenant) { return tenant->state; }
size_t rh_broker_line_length(const rh_broker *broker) { return broker->line.count; }
const rh_broker_counts *rh_broker_get_counts(const rh_broker *broker) { return &broker->counts; }

int64_t rh_broker_reserved_ram(const rh_broker *broker) {
  rh_amount sum = {0};
  rh_list_each(&broker->tenants, node) {
    rh_amount part = rh_tenant_reserved(rh_list_entry(node, rh_tenant, node));
    rh_amount_add(&sum, &part);
  }
  return sum.at[RH_RAM];
}

static bool machine_memory(const rh_broker *broker, int64_t *total, int64_t *available) {
  return broker->limits.machine != NULL && broker->limits.machine(broker->limits.machine_ctx, total, available) &&
         *total > 0;
}

bool rh_broker_has_room(rh_broker *broker, const rh_tenant *tenant) {
  if (tenant->state != RH_TENANT_OUT || broker->line.count > 0) return false;
  rh_policy_room room;
  rh_tenant_view view = {.name = ""};
  size_t count = rh_broker_survey(broker, &room);
  tenant->ops.look(tenant->ctx, &view);
  rh_amount need = rh_amount_of(&broker->limits, view.need.ram_bytes, view.need.gpu_bytes);
  if (rh_policy_fit(broker->items, count, &room, &need) != RH_FIT_NOW) return false;
  // What is loaded ahead of time must not be what the watermark then throws out.
  int64_t total = 0, available = 0;
  if (broker->limits.watermark <= 0 || !machine_memory(broker, &total, &available)) return true;
  return (double)(total - available + need.at[RH_RAM]) <= broker->limits.watermark * (double)total;
}

void rh_broker_relieve(rh_broker *broker) {
  int64_t total = 0, available = 0;
  if (broker->limits.watermark <= 0 || !machine_memory(broker, &total, &available)) return;
  rh_policy_room room;
  size_t count = rh_broker_survey(broker, &room);
  int64_t over = total - available - (int64_t)(broker->limits.watermark * (double)total);
  for (size_t i = 0; i < count; i++) {
    if (broker->items[i].gone) over -= broker->items[i].view.ram_used_bytes;
  }
  rh_policy_item *item;
  while (over > 0 && (item = rh_policy_cheapest_idle(broker->items, count, room.now_ns)) != NULL) {
    item->gone = true;
    // One that lies on a GPU alone would leave for nothing.
    if (item->view.ram_used_bytes <= 0) continue;
    over -= item->view.ram_used_bytes;
    broker->counts.relieved++;
    rh_broker_evict(item->tenant, "the machine's memory is above memory_watermark");
  }
}
