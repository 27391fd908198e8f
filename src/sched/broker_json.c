// SPDX-License-Identifier: Apache-2.0
//
// What the broker would do and what it holds, as JSON for people (--plan, GET /api/models). Changes nothing; loop
// thread. Where memory is short it returns what could be built.
#include <jansson.h>

#include "base/clock.h"
#include "sched/broker_private.h"

static json_t *need_json(const rh_need *need) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "ram_bytes", (json_int_t)need->ram_bytes, "gpu_bytes",
                   (json_int_t)need->gpu_bytes, "weights_bytes", (json_int_t)need->weights_bytes, "kv_bytes",
                   (json_int_t)need->kv_bytes, "compute_bytes", (json_int_t)need->compute_bytes, "process_bytes",
                   (json_int_t)need->process_bytes, "measured", need->measured);
}

// An unlimited budget is null.
static json_t *amount_json(int64_t value) { return value >= RH_UNLIMITED ? json_null() : json_integer(value); }

static json_t *totals_json(const rh_amount *amount, size_t gpu_count) {
  json_t *gpus = json_array();
  for (size_t i = 0; i < gpu_count; i++) (void)json_array_append_new(gpus, amount_json(amount->at[RH_GPU + i]));
  return json_pack("{s:o, s:o, s:o}", "ram_bytes", amount_json(amount->at[RH_RAM]), "gpu_bytes", gpus, "models",
                   amount_json(amount->at[RH_PLACES]));
}

static json_t *victim_json(const rh_policy_item *item, uint64_t now_ns) {
  const rh_tenant_view *view = &item->view;
  json_t *out =
      json_pack("{s:s, s:I, s:I, s:f, s:f}", "model", view->name, "ram_bytes", (json_int_t)item->reserved.at[RH_RAM],
                "gpu_bytes", (json_int_t)rh_amount_gpu(&item->reserved), "reload_ms", view->reload_ms, "score",
                rh_policy_eviction_score(view, &item->reserved, now_ns));
  bool used = view->last_used_ns != 0 && view->last_used_ns <= now_ns;
  double idle_s = used ? rh_ns_to_s(now_ns - view->last_used_ns) : 0;
  if (out != NULL) (void)json_object_set_new(out, "idle_s", used ? json_real(idle_s) : json_null());
  return out;
}

static rh_amount sum_of(const rh_policy_item *items, size_t count) {
  rh_amount sum = {0};
  for (size_t i = 0; i < count; i++) rh_amount_add(&sum, &items[i].reserved);
  return sum;
}

json_t *rh_broker_plan(rh_broker *broker, const rh_tenant *tenant) {
  rh_policy_room room;
  size_t count = rh_broker_survey(broker, &room);
  rh_policy_item *items = broker->items;
  rh_tenant_view view = {.name = ""};
  tenant->ops.look(tenant->ctx, &view);
  rh_amount need = rh_amount_of(&broker->limits, view.need.ram_bytes, view.need.gpu_bytes);
  bool in = tenant->state == RH_TENANT_IN || tenant->state == RH_TENANT_LOADING;
  rh_fit fit = in ? RH_FIT_NOW : rh_policy_fit(items, count, &room, &need);
  bool refused = fit == RH_FIT_NEVER || fit == RH_FIT_PINNED;
  // Those before it in line come first; who is in line itself is counted from its own place.
  const rh_list_node *first = rh_list_first(&broker->line);
  bool behind = !in && first != NULL && rh_list_entry(first, rh_tenant, line_node) != tenant;
  json_t *evicts = json_array(), *holds = json_array();
  for (size_t i = 0; i < count && !in; i++) {
    if (items[i].evict || items[i].hold) (void)json_array_append_new(evicts, victim_json(&items[i], room.now_ns));
    if (items[i].hold) (void)json_array_append_new(holds, json_string(items[i].view.name));
  }
  rh_amount used = sum_of(items, count);
  json_t *plan =
      json_pack("{s:s, s:o, s:b, s:b, s:o, s:o, s:o, s:o}", "model", view.name, "need", need_json(&view.need), "fits",
                fit == RH_FIT_NOW, "wait", !refused && (behind || (fit != RH_FIT_NOW && fit != RH_FIT_EVICTING)),
                "evicts", evicts, "holds", holds, "budget", totals_json(&room.budget, broker->limits.gpu_count), "used",
                totals_json(&used, broker->limits.gpu_count));
  if (refused) {
    rh_error error;
    rh_broker_refusal(broker, &view, items, count, &room, fit, &error);
    (void)json_object_set_new(plan, "refused", json_string(error.message));
  }
  return plan;
}

static json_t *resource_json(int64_t budget, int64_t reserved, int64_t used) {
  return json_pack("{s:o, s:I, s:I}", "budget_bytes", amount_json(budget), "reserved_bytes", (json_int_t)reserved,
                   "used_bytes", (json_int_t)used);
}

json_t *rh_broker_describe(const rh_broker *broker) {
  const rh_broker_limits *limits = &broker->limits;
  rh_amount budget = rh_amount_of_limits(limits), reserved = {0}, used = {0};
  json_t *gpus = json_array(), *waiting = json_array();
  rh_list_each(&broker->tenants, node) {
    const rh_tenant *tenant = rh_list_entry(node, rh_tenant, node);
    if (!rh_tenant_in_memory(tenant)) continue;
    rh_amount all = rh_tenant_reserved(tenant), real = rh_amount_of(limits, tenant->ram_used, tenant->gpu_used);
    rh_amount_add(&reserved, &all);
    rh_amount_add(&used, &real);
  }
  for (size_t i = RH_GPU; i < RH_GPU + limits->gpu_count; i++) {
    (void)json_array_append_new(gpus, resource_json(budget.at[i], reserved.at[i], used.at[i]));
  }
  rh_list_each(&broker->line, node) {
    const rh_tenant *tenant = rh_list_entry(node, rh_tenant, line_node);
    rh_tenant_view view = {.name = ""};
    tenant->ops.look(tenant->ctx, &view);
    (void)json_array_append_new(waiting, json_string(view.name));
  }
  return json_pack("{s:o, s:o, s:I, s:I, s:o}", "ram",
                   resource_json(budget.at[RH_RAM], reserved.at[RH_RAM], used.at[RH_RAM]), "gpus", gpus, "loaded",
                   (json_int_t)reserved.at[RH_PLACES], "max_loaded", (json_int_t)limits->max_loaded, "waiting",
                   waiting);
}
