// SPDX-License-Identifier: Apache-2.0
//
// Hot swaps: an alias goes from one model to another while requests run.
//
//   LOADING -> WARMING -> SWITCHING -> over        the old model serves until SWITCHING
//      \__________\_________________-> over        failed or replaced: the alias stays where it was
//
// With `replace` (both do not fit) the alias moves first and goes back when the new model does not load.
// Owns the swaps. Loop thread only. While a swap runs neither model can be evicted or leave for being idle, except the
// old one under `replace`, which is to make room.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "manager/internal.h"

#define WARM_UP_TIMEOUT_NS (120 * RH_NS_PER_S)
// A model that was asked for by its own name so lately is left to its idle time instead of being sent away.
#define NAMED_LATELY_NS (300 * RH_NS_PER_S)

typedef enum rh_swap_state {
  SWAP_LOADING,    // waits for the new model to be in memory. Moved by on_loaded
  SWAP_WARMING,    // one token from the new model. Moved by on_warm
  SWAP_SWITCHING,  // the alias moves; passes at once
  SWAP_OVER,       // freed
} rh_swap_state;

struct rh_swap {
  rh_manager *manager;
  rh_list_node node;  // in manager->swaps
  rh_alias *alias;
  rh_served *old;  // NULL: it vanished, or there was none in memory
  rh_served *target;
  bool replace;
  rh_swap_state state;
  uint64_t began_ns;
  rh_manager_waiter *waiter;   // who asked; NULL = told, or nobody
  rh_manager_waiter *loading;  // ours, while LOADING
  rh_job *job;                 // while WARMING
  rh_run run;
};

static rh_swap_state begin_loading(rh_swap *swap);
static rh_swap_state begin_warming(rh_swap *swap);
static rh_swap_state switch_over(rh_swap *swap);

static const struct {
  const char *name;
  rh_swap_state (*enter)(rh_swap *swap);  // the state after it; its own = it waits for an event
} steps[] = {
    [SWAP_LOADING] = {"loading", begin_loading},
    [SWAP_WARMING] = {"warming up", begin_warming},
    [SWAP_SWITCHING] = {"switching", switch_over},
};

const rh_served *rh_swap_target(const rh_swap *swap) { return swap->target; }

static void release_models(rh_swap *swap) {
  if (swap->old != NULL && !swap->replace) swap->old->swaps--;
  swap->target->swaps--;
  if (swap->old != NULL) rh_served_arm_idle(swap->old);
  rh_served_arm_idle(swap->target);
  if (rh_list_linked(&swap->target->gone) || (swap->old != NULL && rh_list_linked(&swap->old->gone))) {
    rh_loop_defer(swap->manager->loop, &swap->manager->reap);
  }
}

static void end(rh_swap *swap, const char *how, rh_status status, const rh_error *error) {
  rh_manager *manager = swap->manager;
  swap->state = SWAP_OVER;
  rh_manager_forget(swap->loading);
  if (swap->job != NULL) rh_sched_cancel(swap->job);
  swap->job = NULL;
  if (swap->waiter != NULL) rh_waiter_finish(swap->waiter, status, error);
  swap->alias->swap = NULL;
  // What others wrote of the alias meanwhile was left alone, because this would have come after it.
  if (status != RH_OK && !swap->alias->following) rh_watch_look_again(manager);
  rh_list_remove(&manager->swaps, &swap->node);
  release_models(swap);
  rh_manager_happened(manager, RH_MANAGER_SWAPPED, swap->target, how, rh_ns_to_s(rh_clock_now_ns() - swap->began_ns));
  free(swap);
}

// The alias stays, or goes back, and says why.
static void fail(rh_swap *swap, const rh_error *error) {
  rh_alias *alias = swap->alias;
  if (swap->replace && swap->old != NULL && !rh_list_linked(&swap->old->gone)) {
    rh_alias_point(swap->manager, alias, swap->old);
    swap->old->leave_when_idle = false;
  }
  (void)rh_text_copy(alias->error, sizeof alias->error, error->message);
  RH_LOG(RH_LOG_WARN, "swap failed", rh_log_str("alias", alias->name), rh_log_str("model", swap->target->spec->name),
         rh_log_str("stays", alias->served != NULL ? alias->served->spec->name : NULL),
         rh_log_str("while", steps[swap->state].name), rh_log_str("error", error->message));
  end(swap, "failed", error->status, error);
}

static void advance(rh_swap *swap, rh_swap_state next) {
  swap->state = next;
  while (swap->state != SWAP_OVER) {
    next = steps[swap->state].enter(swap);
    if (next == SWAP_OVER) return;  // `swap` is gone
    if (next == swap->state) return;
    swap->state = next;
  }
}

// --- loading -------------------------------------------------------------------------------------------------------

static void on_loaded(void *ctx, rh_status status, const rh_error *error) {
  rh_swap *swap = ctx;
  swap->loading = NULL;
  if (status != RH_OK)
    fail(swap, error);
  else
    advance(swap, SWAP_WARMING);
}

static void on_progress(void *ctx, const char *what, double fraction) {
  rh_swap *swap = ctx;
  if (swap->waiter == NULL || swap->waiter->callback.progress == NULL) return;
  swap->waiter->callback.progress(swap->waiter->callback.ctx, what, fraction);
}

static rh_swap_state begin_loading(rh_swap *swap) {
  if (rh_served_ready(swap->target) && !swap->target->draining) return SWAP_WARMING;
  rh_manager_callback callback = {.done = on_loaded, .progress = on_progress, .ctx = swap};
  rh_error error = {0};
  if (rh_manager_load(swap->manager, swap->target, &callback, &swap->loading, &error) == RH_OK) return SWAP_LOADING;
  swap->loading = NULL;
  fail(swap, &error);
  return SWAP_OVER;
}

// --- warming up ----------------------------------------------------------------------------------------------------

static rh_verdict on_warm(void *ctx, const rh_event *event) {
  rh_swap *swap = ctx;
  if (!rh_event_is_final(event)) return RH_GO;
  swap->job = NULL;
  // A model that writes no text (embeddings, say) cannot be warmed up like this; being loaded is enough for it.
  bool fine = event->kind == RH_EVENT_END || event->as.error.status == RH_UNSUPPORTED;
  if (fine) {
    swap->target->warmed = true;
    advance(swap, SWAP_SWITCHING);
  } else {
    fail(swap, &event->as.error);
  }
  return RH_GO;
}

static rh_swap_state begin_warming(rh_swap *swap) {
  static const char text[] = "Hello";
  if (swap->target->warmed) return SWAP_SWITCHING;
  swap->run = (rh_run){.task = RH_TASK_COMPLETE,
                       .request_id = "warm-up",
                       .prompt = {.kind = RH_PROMPT_TEXT, .text = text, .count = sizeof text - 1}};
  rh_generate_defaults(&swap->run.generate);
  swap->run.generate.max_tokens = 1;
  swap->run.generate.temperature = 0;
  rh_job_options options = {.priority = 100, .deadline_ns = rh_clock_now_ns() + WARM_UP_TIMEOUT_NS, .buffered = true};
  rh_sink sink = {.push = on_warm, .ctx = swap};
  rh_error error = {0};
  rh_status status = rh_sched_submit(swap->target->queue, &swap->run, &options, &sink, &swap->job, &error);
  if (status == RH_OK) return SWAP_WARMING;
  swap->job = NULL;
  // So many requests wait for it under its own name that it needs no warming up.
  if (status == RH_QUEUE_FULL) return SWAP_SWITCHING;
  error.status = status;
  fail(swap, &error);
  return SWAP_OVER;
}

// --- switching -----------------------------------------------------------------------------------------------------

static void send_away(rh_served *old, const rh_alias *alias) {
  bool named = old->named_ns != 0 && rh_clock_now_ns() - old->named_ns < NAMED_LATELY_NS;
  if (old->pinned || named || rh_served_has_alias(old, alias)) return;
  old->leave_when_idle = true;
  old->leave_why = "swap";
}

static rh_swap_state switch_over(rh_swap *swap) {
  rh_manager *manager = swap->manager;
  if (!swap->replace) {
    rh_alias_point(manager, swap->alias, swap->target);
    if (swap->old != NULL) send_away(swap->old, swap->alias);
  }
  swap->alias->error[0] = '\0';
  RH_LOG(RH_LOG_INFO, "swap done", rh_log_str("alias", swap->alias->name),
         rh_log_str("model", swap->target->spec->name),
         rh_log_num("seconds", rh_ns_to_s(rh_clock_now_ns() - swap->began_ns)));
  end(swap, "ok", RH_OK, NULL);
  return SWAP_OVER;
}

// --- begin, cancel -------------------------------------------------------------------------------------------------

rh_status rh_swap_begin(rh_manager *manager, rh_alias *alias, rh_served *old, rh_served *target, bool replace,
                        rh_manager_waiter *waiter, rh_error *error) {
  rh_swap *swap = calloc(1, sizeof *swap);
  if (swap == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to swap models");
  *swap = (rh_swap){.manager = manager,
                    .alias = alias,
                    .old = old,
                    .target = target,
                    .replace = replace,
                    .began_ns = rh_clock_now_ns(),
                    .waiter = waiter};
  alias->swap = swap;
  alias->error[0] = '\0';
  rh_list_push_back(&manager->swaps, &swap->node);
  target->swaps++;
  target->leave_when_idle = false;
  RH_LOG(RH_LOG_INFO, "swap begins", rh_log_str("alias", alias->name), rh_log_str("from", old->spec->name),
         rh_log_str("to", target->spec->name), rh_log_bool("replace", replace));
  if (replace) {
    rh_alias_point(manager, alias, target);
    old->leave_when_idle = true;
    old->leave_why = "swap";
    rh_served_arm_idle(old);
  } else {
    old->swaps++;
  }
  advance(swap, SWAP_LOADING);
  return RH_OK;
}

void rh_swap_cancel(rh_swap *swap, rh_status status, const char *why) {
  rh_error error = {0};
  (void)rh_fail(&error, status, "alias %.128s does not move to %.128s: %s", swap->alias->name, swap->target->spec->name,
                why);
  end(swap, status == RH_CANCELLED ? "replaced" : "failed", status, &error);
}

void rh_swap_drop_model(rh_manager *manager, const rh_served *served) {
  rh_list_each(&manager->swaps, node) {
    rh_swap *swap = rh_list_entry(node, rh_swap, node);
    if (swap->target != served) continue;
    rh_error error = {0};
    (void)rh_fail(&error, RH_CONFLICT, "model %.128s was taken away before alias %.128s could move to it",
                  served->spec->name, swap->alias->name);
    fail(swap, &error);
  }
}

void rh_swaps_cancel(rh_manager *manager, const char *why) {
  rh_list_each(&manager->swaps, node) { rh_swap_cancel(rh_list_entry(node, rh_swap, node), RH_UNAVAILABLE, why); }
}

void rh_swaps_free(rh_manager *manager) {
  rh_list_each(&manager->swaps, node) {
    rh_swap *swap = rh_list_entry(node, rh_swap, node);
    if (swap->job != NULL) rh_sched_cancel(swap->job);
    rh_waiter_free(swap->waiter);
    swap->alias->swap = NULL;
    rh_list_remove(&manager->swaps, &swap->node);
    free(swap);
  }
}

// --- the admin call ------------------------------------------------------------------------------------------------

static rh_status remove_alias(rh_manager *manager, const char *name, rh_manager_waiter *waiter, rh_error *error) {
  rh_alias *alias = rh_alias_find(manager, name);
  if (alias == NULL) return rh_fail_param(error, RH_NOT_FOUND, "alias", "there is no alias '%.100s'", name);
  RH_LOG(RH_LOG_INFO, "alias removed", rh_log_str("alias", name));
  // One of the configuration comes back at the next start; the store cannot say otherwise.
  rh_alias_remove(manager, alias);
  rh_alias_keep(manager, name, NULL);
  rh_waiter_finish(waiter, RH_OK, NULL);
  return RH_OK;
}

static void move_now(rh_manager *manager, rh_alias *alias, rh_served *old, rh_served *target,
                     rh_manager_waiter *waiter) {
  rh_alias_point(manager, alias, target);
  target->leave_when_idle = false;
  if (old != NULL) {
    send_away(old, alias);
    rh_served_arm_idle(old);
  }
  RH_LOG(RH_LOG_DEBUG, "alias moved", rh_log_str("alias", alias->name), rh_log_str("model", target->spec->name));
  rh_waiter_finish(waiter, RH_OK, NULL);
}

static rh_status move_alias(rh_manager *manager, const char *name, rh_served *target, bool replace,
                            rh_manager_waiter *waiter, rh_error *error) {
  rh_alias *alias = rh_alias_find(manager, name);
  const char *why = "";
  rh_served *old = alias != NULL                  ? alias->served
                   : strcmp(name, "default") == 0 ? rh_manager_default(manager, &why, NULL)
                                                  : NULL;
  bool loaded = rh_served_ready(target) && !target->draining && target->warmed;
  bool at_once = old == NULL || old == target || loaded || !rh_served_in_memory(old);
  rh_status status = at_once ? RH_OK : rh_served_check_hardware(target, error);
  if (!at_once && status == RH_OK) {
    status = rh_served_check_room(target, old, error);
    if (status == RH_NO_ROOM && replace) {
      // What is pinned stays; without it and without the old model there must be room.
      status = old->pinned ? status : rh_served_check_room(target, NULL, error);
    } else {
      replace = false;
    }
  }
  if (status == RH_OK && alias == NULL) status = rh_alias_add(manager, name, &alias, error);
  if (status != RH_OK) return status;
  if (alias->swap != NULL) rh_swap_cancel(alias->swap, RH_CANCELLED, "another call moved the alias");
  if (at_once) {
    move_now(manager, alias, old == target ? NULL : old, target, waiter);
    return RH_OK;
  }
  if (alias->served == NULL) rh_alias_point(manager, alias, old);
  return rh_swap_begin(manager, alias, old, target, replace, waiter, error);
}

rh_status rh_manager_alias(rh_manager *manager, const char *alias, rh_served *target, bool replace,
                           const rh_manager_callback *callback, rh_manager_waiter **out, rh_error *error) {
  assert(manager != NULL && alias != NULL);
  if (manager->leaving) return rh_fail(error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
  rh_manager_waiter *waiter = NULL;
  rh_status status = rh_waiter_new(manager, target, callback, &waiter, error);
  if (status != RH_OK) return status;
  rh_alias *known = rh_alias_find(manager, alias);
  if (known != NULL) known->following = false;
  status = target == NULL ? remove_alias(manager, alias, waiter, error)
                          : move_alias(manager, alias, target, replace, waiter, error);
  if (status != RH_OK) {
    rh_waiter_free(waiter);
    return status;
  }
  if (out != NULL) *out = waiter;
  return RH_OK;
}

rh_status rh_swap_follow(rh_manager *manager, rh_alias *alias, rh_served *target, rh_error *error) {
  rh_manager_waiter *waiter = NULL;
  rh_status status = rh_waiter_new(manager, target, NULL, &waiter, error);
  if (status != RH_OK) return status;
  alias->following = true;
  status = move_alias(manager, alias->name, target, false, waiter, error);
  if (status != RH_OK) rh_waiter_free(waiter);
  return status;
}
