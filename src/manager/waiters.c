// SPDX-License-Identifier: Apache-2.0
//
// Who waits for a load, for an unload or for an alias to have moved; and the calls that begin those.
//
// Owns the waiters from their making until they were told. A waiter is told once, from deferred work, never from inside
// the call that made it. Loop thread only.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "manager/internal.h"

#define PROGRESS_INTERVAL_NS (RH_NS_PER_S / 5)

rh_status rh_waiter_new(rh_manager *manager, rh_served *served, const rh_manager_callback *callback,
                        rh_manager_waiter **out, rh_error *error) {
  rh_manager_waiter *waiter = calloc(1, sizeof *waiter);
  if (waiter == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to wait for a model");
  waiter->manager = manager;
  waiter->served = served;
  if (callback != NULL) waiter->callback = *callback;
  *out = waiter;
  return RH_OK;
}

void rh_waiter_join(rh_manager_waiter *waiter, rh_list *list) {
  rh_manager *manager = waiter->manager;
  waiter->list = list;
  rh_list_push_back(list, &waiter->node);
  if (waiter->callback.progress != NULL && manager->progress.heap_slot == 0) {
    rh_loop_timer_set(manager->loop, &manager->progress, PROGRESS_INTERVAL_NS);
  }
}

void rh_waiter_free(rh_manager_waiter *waiter) {
  if (waiter == NULL) return;
  if (rh_list_linked(&waiter->node)) rh_list_remove(waiter->list, &waiter->node);
  free(waiter);
}

void rh_waiters_drop(rh_list *list) {
  for (rh_list_node *node; (node = rh_list_first(list)) != NULL;) {
    rh_waiter_free(rh_list_entry(node, rh_manager_waiter, node));
  }
}

void rh_waiter_finish(rh_manager_waiter *waiter, rh_status status, const rh_error *error) {
  rh_manager *manager = waiter->manager;
  if (rh_list_linked(&waiter->node)) rh_list_remove(waiter->list, &waiter->node);
  waiter->status = status;
  waiter->served = NULL;  // it may be gone by the time the waiter is told
  if (error != NULL) waiter->error = *error;
  waiter->list = &manager->finished;
  rh_list_push_back(&manager->finished, &waiter->node);
  rh_loop_defer(manager->loop, &manager->tell);
}

void rh_waiters_finish(rh_list *list, rh_status status, const rh_error *error) {
  for (rh_list_node *node; (node = rh_list_first(list)) != NULL;) {
    rh_waiter_finish(rh_list_entry(node, rh_manager_waiter, node), status, error);
  }
}

// Those that finish while others are told wait for the next time: a callback that asks again must not keep us here.
static void on_tell(void *ctx) {
  rh_manager *manager = ctx;
  for (size_t left = manager->finished.count; left > 0 && manager->finished.count > 0; left--) {
    rh_manager_waiter *waiter = rh_list_entry(rh_list_first(&manager->finished), rh_manager_waiter, node);
    rh_list_remove(&manager->finished, &waiter->node);
    if (waiter->callback.done != NULL) {
      waiter->callback.done(waiter->callback.ctx, waiter->status, waiter->status == RH_OK ? NULL : &waiter->error);
    }
    free(waiter);
  }
  if (manager->finished.count > 0) rh_loop_defer(manager->loop, &manager->tell);
}

void rh_manager_forget(rh_manager_waiter *waiter) {
  if (waiter != NULL) waiter->callback = (rh_manager_callback){0};
}

// --- progress ------------------------------------------------------------------------------------------------------

static const char *doing(const rh_served *served, double *fraction) {
  *fraction = 0;
  switch (rh_member_get_state(served->member)) {
    case RH_MEMBER_STARTING: return "starting";
    case RH_MEMBER_LOADING: *fraction = rh_member_load_fraction(served->member); return "loading";
    case RH_MEMBER_READY: *fraction = 1; return served->draining ? "finishing requests" : "ready";
    case RH_MEMBER_DRAINING: return "leaving";
    case RH_MEMBER_BACKOFF: return "restarting";
    default: return "waiting for memory";
  }
}

static size_t report(rh_list *list) {
  size_t count = 0;
  rh_list_each(list, node) {
    rh_manager_waiter *waiter = rh_list_entry(node, rh_manager_waiter, node);
    if (waiter->callback.progress == NULL) continue;
    double fraction;
    const char *what = doing(waiter->served, &fraction);
    waiter->callback.progress(waiter->callback.ctx, what, fraction);
    count++;
  }
  return count;
}

static void on_progress(void *ctx) {
  rh_manager *manager = ctx;
  size_t count = 0;
  for (size_t i = 0; i < manager->count; i++) {
    count += report(&manager->served[i]->loaders) + report(&manager->served[i]->leavers);
  }
  if (count > 0) rh_loop_timer_set(manager->loop, &manager->progress, PROGRESS_INTERVAL_NS);
}

void rh_waiters_open(rh_manager *manager) {
  rh_list_init(&manager->finished);
  manager->tell = (rh_deferred){.fn = on_tell, .ctx = manager};
  manager->progress = (rh_timer){.fn = on_progress, .ctx = manager};
}

// --- load ----------------------------------------------------------------------------------------------------------

rh_status rh_manager_load(rh_manager *manager, rh_served *served, const rh_manager_callback *callback,
                          rh_manager_waiter **out, rh_error *error) {
  assert(manager != NULL && served != NULL);
  if (manager->leaving) return rh_fail(error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
  rh_status status = rh_served_check_failed(served, error);
  if (status == RH_OK) status = rh_served_check_hardware(served, error);
  rh_manager_waiter *waiter = NULL;
  if (status == RH_OK) status = rh_waiter_new(manager, served, callback, &waiter, error);
  if (status != RH_OK) return status;
  served->leave_when_idle = false;
  if (out != NULL) *out = waiter;
  if (rh_served_ready(served) && !served->draining) {
    rh_waiter_finish(waiter, RH_OK, NULL);
    rh_served_arm_idle(served);
    return RH_OK;
  }
  rh_waiter_join(waiter, &served->loaders);
  rh_served_want(served);
  return RH_OK;
}

// --- unload --------------------------------------------------------------------------------------------------------

static void force_out(rh_served *served, const char *why, const char *message) {
  rh_error error = {0};
  (void)rh_fail(&error, RH_UNAVAILABLE, "model %.128s %s; try again later", served->spec->name, message);
  rh_served_fail_load(served, &error);
  rh_served_leave(served, why, RH_UNLOAD_GRACE_NS);
}

// Out of memory, one way or the other; `waiter` hears when it is.
static void get_out(rh_served *served, bool force, const char *why, const char *message, rh_manager_waiter *waiter) {
  if (force) {
    rh_swap_drop_model(served->manager, served);
    force_out(served, why, message);
  }
  if (!rh_served_in_memory(served)) {
    rh_waiter_finish(waiter, RH_OK, NULL);
    return;
  }
  rh_waiter_join(waiter, &served->leavers);
  if (!force) rh_served_drain(served, why);
}

rh_status rh_manager_unload(rh_manager *manager, rh_served *served, bool force, const rh_manager_callback *callback,
                            rh_manager_waiter **out, rh_error *error) {
  assert(manager != NULL && served != NULL);
  const char *name = served->spec->name;
  if (served->pinned && !force) {
    return rh_fail(error, RH_CONFLICT, "model %.128s is pinned; unpin it first, or use \"force\"", name);
  }
  if (served->swaps > 0 && !force) {
    return rh_fail(error, RH_CONFLICT,
                   "an alias is being moved to or from model %.128s; wait a moment, or use \"force\"", name);
  }
  rh_manager_waiter *waiter = NULL;
  rh_status status = rh_waiter_new(manager, served, callback, &waiter, error);
  if (status != RH_OK) return status;
  if (out != NULL) *out = waiter;
  get_out(served, force, "asked", "was unloaded", waiter);
  return RH_OK;
}

rh_status rh_manager_retire(rh_manager *manager, rh_served *served, bool force, const rh_manager_callback *callback,
                            rh_manager_waiter **out, rh_error *error) {
  assert(manager != NULL && served != NULL);
  const char *name = served->spec->name;
  if (!force && (rh_served_busy(served) || served->loaders.count > 0)) {
    return rh_fail(error, RH_CONFLICT, "requests run on model %.128s; wait for their end, or use \"force\"", name);
  }
  if (!force && (rh_served_has_alias(served, NULL) || served->swaps > 0)) {
    return rh_fail(error, RH_CONFLICT, "an alias names model %.128s; point it elsewhere first, or use \"force\"", name);
  }
  rh_manager_waiter *waiter = NULL;
  rh_status status = rh_waiter_new(manager, served, callback, &waiter, error);
  if (status != RH_OK) return status;
  if (out != NULL) *out = waiter;
  // From here on no request gets it; the next refresh takes it from the list, or brings it back when it was not deleted.
  served->retiring = true;
  get_out(served, force, "removed", "is being deleted", waiter);
  return RH_OK;
}
