// SPDX-License-Identifier: Apache-2.0
//
// One served model: it owns its spec, its member, its queue and its tenancy, and decides when the member starts and
// leaves.
//
// The road into memory: jobs or waiters want it -> the broker is asked -> it says start -> the member loads. The road out:
// evicted by the broker, idle for too long, or drained because somebody asked. A crashed worker keeps its reservation
// while the member starts it again: its memory would be given away otherwise, and two would come back into one place.
//
// Loop thread only. The scheduler and the broker call in here; what would call back into them is deferred.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "manager/internal.h"

#define DRAIN_POLL_NS (10 * RH_NS_PER_MS)

static void on_member_state(void *ctx, rh_member *member, rh_member_state state);

// --- what it is doing ----------------------------------------------------------------------------------------------

bool rh_served_in_memory(const rh_served *served) {
  rh_member_state state = rh_member_get_state(served->member);
  return rh_member_pid(served->member) > 0 || state == RH_MEMBER_BACKOFF;
}

bool rh_served_ready(const rh_served *served) { return rh_member_get_state(served->member) == RH_MEMBER_READY; }

bool rh_served_busy(const rh_served *served) {
  return rh_sched_running(served->queue) > 0 || rh_sched_queued(served->queue) > 0;
}

bool rh_served_needed(const rh_served *served) {
  if (rh_list_linked(&served->gone)) return false;
  return served->pinned || served->swaps > 0;
}

static bool is_wanted(const rh_served *served) {
  return rh_sched_queued(served->queue) > 0 || served->loaders.count > 0;
}

// --- how long it stays ---------------------------------------------------------------------------------------------

uint64_t rh_served_keep_alive_ns(const rh_served *served) {
  int64_t wish = served->keep_alive;
  if (wish == RH_KEEP_ALIVE_UNSET) wish = served->spec->keep_alive;
  if (wish == RH_KEEP_ALIVE_UNSET) return served->manager->options.keep_alive_ns;
  return wish < 0 ? UINT64_MAX : (uint64_t)wish;
}

static bool stays(const rh_served *served) {
  return rh_served_needed(served) || (served->preloaded && !served->leave_when_idle) || served->loaders.count > 0;
}

void rh_served_arm_idle(rh_served *served) {
  rh_loop *loop = served->manager->loop;
  rh_loop_timer_cancel(loop, &served->idle);
  served->expires_ns = 0;
  if (!rh_served_ready(served) || rh_served_busy(served) || stays(served)) return;
  uint64_t delay = served->leave_when_idle ? 0 : rh_served_keep_alive_ns(served);
  if (delay == UINT64_MAX) return;
  served->expires_ns = rh_clock_now_ns() + delay;
  // Also for no time at all a timer: this may be called from inside the scheduler.
  rh_loop_timer_set(loop, &served->idle, delay);
}

static void on_idle_over(void *ctx) {
  rh_served *served = ctx;
  if (!rh_served_ready(served) || rh_served_busy(served) || stays(served)) return;
  rh_served_leave(served, served->leave_when_idle && served->leave_why != NULL ? served->leave_why : "idle",
                  RH_UNLOAD_GRACE_NS);
}

void rh_served_leave(rh_served *served, const char *why, uint64_t grace_ns) {
  if (!rh_served_in_memory(served)) return;
  rh_loop_timer_cancel(served->manager->loop, &served->idle);
  served->leave_why = why;
  RH_LOG(RH_LOG_INFO, "model leaves memory", rh_log_str("model", served->spec->name), rh_log_str("reason", why),
         rh_log_int("ram_bytes", rh_member_stats(served->member)->rss_bytes));
  rh_broker_leaving(served->tenant);
  rh_member_unload(served->member, grace_ns);
}

void rh_served_set_held(rh_served *served) { rh_sched_hold(served->queue, served->draining || served->held_by_broker); }

static void on_drain(void *ctx) {
  rh_served *served = ctx;
  if (!served->draining) return;
  if (rh_sched_running(served->queue) == 0) {
    rh_served_leave(served, served->leave_why, RH_UNLOAD_GRACE_NS);
  } else {
    rh_loop_timer_set(served->manager->loop, &served->drain, DRAIN_POLL_NS);
  }
}

void rh_served_drain(rh_served *served, const char *why) {
  if (!rh_served_in_memory(served)) return;
  served->leave_why = why;
  served->draining = true;
  rh_served_set_held(served);
  rh_loop_timer_set(served->manager->loop, &served->drain, 0);
}

// --- into memory ---------------------------------------------------------------------------------------------------

void rh_served_fail_load(rh_served *served, const rh_error *error) {
  if (served->wanted_ns != 0) {
    rh_manager_happened(served->manager, RH_MANAGER_LOAD_FAILED, served, rh_status_name(error->status),
                        rh_ns_to_s(rh_clock_now_ns() - served->wanted_ns));
  }
  served->wanted_ns = 0;
  rh_waiters_finish(&served->loaders, error->status, error);
  rh_sched_fail_waiting(served->queue, error);
}

static void on_want(void *ctx) {
  rh_served *served = ctx;
  rh_error error = {0};
  if (!is_wanted(served)) return;
  if (served->manager->leaving) {
    (void)rh_fail(&error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
  } else if (rh_served_check_failed(served, &error) == RH_OK && rh_served_check_hardware(served, &error) == RH_OK) {
    (void)rh_served_learn_need(served);
    if (served->wanted_ns == 0) served->wanted_ns = rh_clock_now_ns();
    rh_broker_want(served->tenant);
    return;
  }
  if (served->wanted_ns == 0) served->wanted_ns = rh_clock_now_ns();
  RH_LOG(RH_LOG_WARN, "model not loaded", rh_log_str("model", served->spec->name), rh_log_str("error", error.message));
  rh_served_fail_load(served, &error);
}

void rh_served_want(rh_served *served) { rh_loop_defer(served->manager->loop, &served->want); }

static void on_wanted(void *ctx) {
  rh_served *served = ctx;
  rh_served_want(served);
}

static void on_unwanted(void *ctx) {
  rh_served *served = ctx;
  if (served->loaders.count > 0) return;
  served->wanted_ns = 0;
  rh_broker_unwant(served->tenant);
}

static void on_queue_idle(void *ctx) {
  rh_served *served = ctx;
  served->last_used_ns = rh_clock_now_ns();
  served->warmed = served->warmed || rh_served_ready(served);
  rh_broker_idle(served->tenant);
  rh_served_arm_idle(served);
  if (rh_list_linked(&served->gone)) rh_loop_defer(served->manager->loop, &served->manager->reap);
}

// --- the member's states -------------------------------------------------------------------------------------------

static void on_ready(rh_served *served) {
  if (rh_broker_state(served->tenant) == RH_TENANT_LOADING) rh_broker_loaded(served->tenant);
  served->warmed = false;
  rh_served_note_load(served);
  if (served->wanted_ns != 0) {
    rh_manager_happened(served->manager, RH_MANAGER_LOADED, served, "ok",
                        rh_ns_to_s(rh_clock_now_ns() - served->wanted_ns));
  }
  served->wanted_ns = 0;
  rh_waiters_finish(&served->loaders, RH_OK, NULL);
  rh_tidy_sample_soon(served->manager);
  if (served->preloaded) rh_tidy_soon(served->manager);
}

static void reset_stay(rh_served *served) {
  rh_loop *loop = served->manager->loop;
  rh_loop_timer_cancel(loop, &served->idle);
  rh_loop_timer_cancel(loop, &served->drain);
  served->expires_ns = 0;
  served->keep_alive = RH_KEEP_ALIVE_UNSET;
  served->leave_when_idle = served->warmed = false;
  served->peak_rss = served->peak_vram = 0;
  if (served->draining) {
    served->draining = false;
    rh_served_set_held(served);
  }
}

// Its process is gone and none comes back by itself.
static void on_gone(rh_served *served) {
  const char *why = served->leave_why != NULL ? served->leave_why : "crash";
  served->leave_why = NULL;
  reset_stay(served);
  if (rh_broker_state(served->tenant) != RH_TENANT_OUT) rh_broker_left(served->tenant);
  rh_manager_happened(served->manager, RH_MANAGER_LEFT, served, why, 0);
  rh_waiters_finish(&served->leavers, RH_OK, NULL);
  // Requests that came while it left, and those who wait for a load.
  if (is_wanted(served)) rh_served_want(served);
}

static void on_failed(rh_served *served) {
  const rh_error *failure = rh_member_failure(served->member);
  served->leave_why = NULL;
  reset_stay(served);
  if (rh_broker_state(served->tenant) != RH_TENANT_OUT) rh_broker_left(served->tenant);
  rh_waiters_finish(&served->leavers, RH_OK, NULL);
  rh_served_fail_load(served, failure);
}

static void on_member_state(void *ctx, rh_member *member, rh_member_state state) {
  rh_served *served = ctx;
  (void)member;
  if (served->queue == NULL) return;
  // What the process used, before the numbers go with it.
  rh_served_note_memory(served);
  if (state == RH_MEMBER_READY) on_ready(served);
  if (state == RH_MEMBER_COLD) on_gone(served);
  if (state == RH_MEMBER_FAILED) on_failed(served);
  rh_sched_member_state(served->queue, state);
  if (state == RH_MEMBER_READY) rh_served_arm_idle(served);
  if (rh_list_linked(&served->gone)) rh_loop_defer(served->manager->loop, &served->manager->reap);
  if (served->manager->leaving) rh_manager_check_gone(served->manager);
}

// --- making --------------------------------------------------------------------------------------------------------

static rh_status make_parts(rh_served *served, rh_error *error) {
  rh_manager *manager = served->manager;
  const rh_model_spec *spec = served->spec;
  rh_member_options options = manager->options.member;
  options.name = spec->name;
  options.load = (rh_load){.engine = spec->engine, .path = spec->path, .options = spec->options};
  rh_member_listener listener = {.state = on_member_state, .ctx = served};
  rh_status status = rh_member_new(manager->loop, &options, &listener, &served->member, error);
  if (status != RH_OK) return status;
  rh_sched_owner owner = {.wanted = on_wanted, .unwanted = on_unwanted, .idle = on_queue_idle, .ctx = served};
  status = rh_sched_add_model(manager->options.sched, served->member, (size_t)spec->queue_max, &owner, &served->queue);
  if (status != RH_OK) return rh_fail(error, status, "no memory for the queue of model %s", spec->name);
  status = rh_broker_join(manager->broker, &rh_served_tenant_ops, served, &served->tenant);
  if (status != RH_OK) return rh_fail(error, status, "no memory for model %s", spec->name);
  return RH_OK;
}

rh_status rh_served_new(rh_manager *manager, const rh_model_spec *spec, rh_served **out, rh_error *error) {
  rh_served *served = calloc(1, sizeof *served);
  if (served == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for model %s", spec->name);
  served->manager = manager;
  served->keep_alive = RH_KEEP_ALIVE_UNSET;
  served->want = (rh_deferred){.fn = on_want, .ctx = served};
  served->idle = (rh_timer){.fn = on_idle_over, .ctx = served};
  served->drain = (rh_timer){.fn = on_drain, .ctx = served};
  rh_list_init(&served->loaders);
  rh_list_init(&served->leavers);
  served->spec = rh_model_spec_copy(spec);
  rh_status status = RH_NO_MEMORY;
  if (served->spec != NULL) {
    served->pinned = spec->pinned;
    status = make_parts(served, error);
  } else {
    (void)rh_fail(error, status, "no memory for model %s", spec->name);
  }
  if (status != RH_OK) {
    rh_served_free(served);
    return status;
  }
  rh_served_read_facts(served);
  *out = served;
  return RH_OK;
}

void rh_served_free(rh_served *served) {
  if (served == NULL) return;
  rh_manager *manager = served->manager;
  rh_loop_timer_cancel(manager->loop, &served->idle);
  rh_loop_timer_cancel(manager->loop, &served->drain);
  rh_loop_undefer(manager->loop, &served->want);
  rh_waiters_drop(&served->loaders);
  rh_waiters_drop(&served->leavers);
  rh_member_free(served->member);
  if (served->tenant != NULL) rh_broker_part(served->tenant);
  if (served->queue != NULL) rh_sched_remove_model(served->queue);
  if (rh_list_linked(&served->gone)) rh_list_remove(&manager->gone, &served->gone);
  rh_model_spec_free(served->spec);
  free(served);
}

// --- a request uses it ---------------------------------------------------------------------------------------------

void rh_served_hold(rh_served *served, int64_t keep_alive_ns) {
  served->holds++;
  if (keep_alive_ns != RH_KEEP_ALIVE_UNSET) served->keep_alive = keep_alive_ns;
  uint64_t now = rh_clock_now_ns();
  served->last_used_ns = now;
  if (served->named) served->named_ns = now;
  // It was to leave because nobody would ask for it again; somebody did.
  served->leave_when_idle = false;
  rh_loop_timer_cancel(served->manager->loop, &served->idle);
  served->expires_ns = 0;
  rh_served_count_use(served);
}

void rh_served_guard(rh_served *served) { served->holds++; }

void rh_served_release(rh_served *served) {
  assert(served->holds > 0);
  served->holds--;
  if (rh_list_linked(&served->gone)) {
    served->leave_when_idle = true;
    rh_loop_defer(served->manager->loop, &served->manager->reap);
  }
  if (served->holds == 0) rh_served_arm_idle(served);
}

const rh_model_spec *rh_served_spec(const rh_served *served) { return served->spec; }
rh_member *rh_served_member(const rh_served *served) { return served->member; }
rh_sched_model *rh_served_queue(const rh_served *served) { return served->queue; }
bool rh_served_pinned(const rh_served *served) { return served->pinned; }
uint64_t rh_served_last_used_ns(const rh_served *served) { return served->last_used_ns; }
uint64_t rh_served_expires_ns(const rh_served *served) { return served->expires_ns; }

void rh_served_need(const rh_served *served, rh_need *out) {
  // The estimate is a cache: making it changes nothing that anybody can see.
  *out = *rh_served_learn_need((rh_served *)(uintptr_t)served);
}
