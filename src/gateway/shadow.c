// SPDX-License-Identifier: Apache-2.0
//
// Shadow traffic: a copy of a request goes to another model; its answer is measured and thrown away. The copies are bounded in
// number, wait behind everybody else, and end with the gateway. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/internal.h"

#define SHADOWS_MAX 64          // under way; further copies are not made
#define SHADOW_PRIORITY (-100)  // behind all who wait

typedef struct shadow {
  rh_gateway *gateway;
  rh_list_node node;  // gateway->shadows
  rh_asked *asked;
  rh_way way;
  rh_follower *follower;
  rh_deferred end;  // outside of its own sink
  uint64_t begun_ns, first_ns;
  int64_t wall_ms;
  size_t ended;
  bool over;
  rh_error error;
} shadow;

static void free_shadow(shadow *copy) {
  rh_loop_undefer(copy->gateway->loop, &copy->end);
  if (copy->follower != NULL) rh_follower_leave(copy->follower);
  rh_list_remove(&copy->gateway->shadows, &copy->node);
  rh_asked_release(copy->asked);
  free(copy);
}

static void on_end(void *ctx) {
  shadow *copy = ctx;
  const rh_work_facts *facts = rh_follower_facts(copy->follower);
  bool failed = copy->error.status != RH_OK;
  rh_finished finished = {
      .request = &copy->asked->request,
      .way = &copy->way,
      .facts = facts,
      .operation = rh_task_name(copy->asked->request.task),
      .outcome = failed ? rh_status_name(copy->error.status) : "ok",
      .cache = "off",
      .provider = facts->provider,
      .model = facts->model,
      .wall_ms = copy->wall_ms,
      .latency_ms = rh_ns_to_ms(rh_clock_now_ns() - copy->begun_ns),
      .first_token_ms = copy->first_ns != 0 ? rh_ns_to_ms(copy->first_ns - copy->begun_ns) : 0,
      .cost_usd = facts->cost_usd,
      .usage = facts->usage,
      .failed = failed,
      .shadow = true,
  };
  rh_gateway_account(copy->gateway, &finished);
  free_shadow(copy);
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  shadow *copy = ctx;
  if (copy->over) return RH_GO;
  if (copy->first_ns == 0 && (event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL))
    copy->first_ns = rh_clock_now_ns();
  if (event->kind == RH_EVENT_ERROR) copy->error = event->as.error;
  if (event->kind == RH_EVENT_END) copy->ended++;
  copy->over = event->kind == RH_EVENT_ERROR || copy->ended == rh_request_runs(&copy->asked->request);
  if (copy->over) rh_loop_defer(copy->gateway->loop, &copy->end);
  return RH_GO;
}

static void begin_shadow(rh_gateway *gateway, rh_asked *asked, const rh_caller *caller, const rh_way *way, size_t arm) {
  rh_error ignored = {0};
  shadow *copy = calloc(1, sizeof *copy);
  if (copy == NULL) return;
  copy->gateway = gateway;
  copy->asked = rh_asked_hold(asked);
  copy->end = (rh_deferred){.fn = on_end, .ctx = copy};
  copy->begun_ns = rh_clock_now_ns();
  copy->wall_ms = rh_clock_wall_s() * 1000;
  rh_list_push_back(&gateway->shadows, &copy->node);
  const rh_experiment *experiment = rh_experiment_find(gateway->experiments, way->experiment);
  rh_request wanted = asked->request;
  wanted.model = rh_experiment_arm_model(experiment, arm);
  rh_work_options options = {
      .deadline_ns = copy->begun_ns + 10 * 60 * RH_NS_PER_S,
      .priority = SHADOW_PRIORITY,
      .local_only = way->features.local_only,
      .shadow = true,
  };
  rh_sink sink = {.push = on_event, .ctx = copy};
  bool good = rh_way_for_arm(gateway, &wanted, caller, &copy->way, &ignored) == RH_OK;
  if (good) {
    copy->way.count = 1;  // an arm is measured by itself
    copy->way.features.model = asked->request.model;
    memcpy(copy->way.experiment, way->experiment, sizeof copy->way.experiment);
    (void)rh_text_copy(copy->way.arm, sizeof copy->way.arm, rh_experiment_arm_name(experiment, arm));
    good = rh_work_start(gateway, asked, &copy->way, &options, &sink, false, &copy->follower, &ignored) == RH_OK;
  }
  if (!good) free_shadow(copy);
}

void rh_gateway_begin_shadows(rh_gateway *gateway, rh_asked *asked, const rh_caller *caller, const rh_way *way) {
  // It may have been removed since the request was routed.
  const rh_experiment *experiment =
      way->shadow_count > 0 ? rh_experiment_find(gateway->experiments, way->experiment) : NULL;
  if (experiment == NULL) return;
  for (size_t i = 0; i < way->shadow_count && gateway->shadows.count < SHADOWS_MAX; i++) {
    if (way->shadows[i] >= rh_experiment_arms(experiment)) continue;  // removed, and made again with fewer arms
    begin_shadow(gateway, asked, caller, way, way->shadows[i]);
  }
}

void rh_shadows_end(rh_gateway *gateway) {
  rh_list_each(&gateway->shadows, node) free_shadow(rh_list_entry(node, shadow, node));
}
