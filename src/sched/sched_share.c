// SPDX-License-Identifier: Apache-2.0
//
// Sharing the cores among the models that compute: each gets an equal part, so that together they never have more threads
// than there are cores. Engines' threads wait for each other by spinning; more threads than cores means that some spin
// while those they wait for are not running, and a step takes a hundred times as long.
//
// Loop thread only. It counts models, not work: a model computes when a run is on it or while it loads.
#include "sched/sched_private.h"

static void share_out(rh_sched *sched) {
  int32_t part = sched->busy > 1 ? sched->cores / (int32_t)sched->busy : 0;
  if (sched->busy > 1 && part < 1) part = 1;
  rh_list_each(&sched->models, node) {
    rh_sched_model *model = rh_list_entry(node, rh_sched_model, node);
    // Who is idle hears of it when there is something to do.
    if (model->busy) rh_member_share(model->member, part);
  }
}

void rh_share_set(rh_sched_model *model, bool busy) {
  rh_sched *sched = model->sched;
  if (sched->cores <= 0 || busy == model->busy) return;
  model->busy = busy;
  sched->busy = busy ? sched->busy + 1 : sched->busy - 1;
  share_out(sched);
}

void rh_share_note(rh_sched_model *model) {
  rh_member_state state = rh_member_get_state(model->member);
  bool loading = state == RH_MEMBER_STARTING || state == RH_MEMBER_LOADING;
  rh_share_set(model, loading || model->running.count > 0);
}

void rh_sched_set_cores(rh_sched *sched, int32_t cores) { sched->cores = cores; }
