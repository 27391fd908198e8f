// SPDX-License-Identifier: Apache-2.0
//
// Models that come and go: the list is collected again and compared by name and by what would be loaded.
//
// Owns nothing: models that no name leads to any more wait in manager->gone until their requests have ended and their
// process is over. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "manager/internal.h"

typedef struct rh_change {
  rh_served **next;  // the new list, sorted
  bool *kept;        // of the new list: an object of the old one
  size_t count;
} rh_change;

static void take_text(char **to, char **from) {
  char *text = *to;
  *to = *from;
  *from = text;
}

// Its bytes and options are the same; the rest may have changed.
static void update(rh_served *served, const rh_model_spec *fresh) {
  rh_model_spec *spec = served->spec;
  rh_model_spec *copy = rh_model_spec_copy(fresh);
  if (copy == NULL) return;
  if (spec->pinned != copy->pinned) served->pinned = copy->pinned;
  if (spec->memory_bytes != copy->memory_bytes) served->need_known = false;
  spec->pinned = copy->pinned;
  spec->keep_alive = copy->keep_alive;
  spec->memory_bytes = copy->memory_bytes;
  spec->memory_min_bytes = copy->memory_min_bytes;
  spec->gpu_required = copy->gpu_required;
  spec->origin = copy->origin;
  take_text(&spec->source, &copy->source);
  take_text(&spec->licence, &copy->licence);
  take_text(&spec->task, &copy->task);
  rh_model_spec_free(copy);
  served->retiring = false;
  rh_served_arm_idle(served);
}

// A new object under an old name goes on where the old one was.
static void inherit(rh_served *fresh, rh_served *old) {
  fresh->pinned = fresh->pinned || old->pinned;
  fresh->named_ns = old->named_ns;
  fresh->last_used_ns = old->last_used_ns;
  bool moved = false;
  for (rh_list_node *node; (node = rh_list_first(&old->loaders)) != NULL; moved = true) {
    rh_manager_waiter *waiter = rh_list_entry(node, rh_manager_waiter, node);
    rh_list_remove(&old->loaders, node);
    waiter->served = fresh;
    rh_waiter_join(waiter, &fresh->loaders);
  }
  if (moved) rh_served_want(fresh);
}

static void let_go(rh_served *served) {
  rh_manager *manager = served->manager;
  rh_swap_drop_model(manager, served);
  rh_list_push_back(&manager->gone, &served->gone);
  served->leave_when_idle = true;
  served->leave_why = "removed";
  rh_error error = {0};
  (void)rh_fail(&error, RH_NOT_FOUND, "model %.128s is not here any more", served->spec->name);
  rh_waiters_finish(&served->loaders, RH_NOT_FOUND, &error);
  RH_LOG(RH_LOG_INFO, "model is gone or was changed", rh_log_str("model", served->spec->name));
}

void rh_manager_reap(void *ctx) {
  rh_manager *manager = ctx;
  rh_list_each(&manager->gone, node) {
    rh_served *served = rh_list_entry(node, rh_served, gone);
    if (rh_served_busy(served) || served->swaps > 0) continue;
    if (rh_served_in_memory(served)) {
      if (rh_member_get_state(served->member) != RH_MEMBER_DRAINING) {
        rh_served_leave(served, "removed", RH_UNLOAD_GRACE_NS);
      }
      if (rh_served_in_memory(served)) continue;
    }
    if (served->holds == 0) rh_served_free(served);
  }
  if (manager->leaving) rh_manager_check_gone(manager);
}

static rh_status build(rh_manager *manager, const rh_catalogue *catalogue, rh_change *change, rh_error *error) {
  size_t count = rh_catalogue_count(catalogue);
  change->next = calloc(count + 1, sizeof(rh_served *));
  change->kept = calloc(count + 1, sizeof *change->kept);
  if (change->next == NULL || change->kept == NULL)
    return rh_fail(error, RH_NO_MEMORY, "no memory for %zu models", count);
  for (size_t i = 0; i < count; i++) {
    const rh_model_spec *spec = rh_catalogue_at(catalogue, i);
    rh_served *old = rh_manager_find(manager, spec->name, NULL);
    change->kept[i] = old != NULL && rh_model_spec_same(old->spec, spec);
    if (change->kept[i]) {
      change->next[i] = old;
    } else {
      rh_status status = rh_served_new(manager, spec, &change->next[i], error);
      if (status != RH_OK) return status;
    }
    change->count = i + 1;
  }
  return RH_OK;
}

static void take_back(rh_change *change) {
  for (size_t i = 0; i < change->count; i++) {
    if (!change->kept[i]) rh_served_free(change->next[i]);
  }
}

static bool is_kept(const rh_change *change, const rh_served *served) {
  // Both lists are sorted by the same names.
  size_t low = 0, high = change->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(change->next[middle]->spec->name, served->spec->name);
    if (order == 0) return change->next[middle] == served;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

static void apply(rh_manager *manager, const rh_catalogue *catalogue, rh_change *change) {
  rh_served **before = manager->served;
  size_t before_count = manager->count;
  for (size_t i = 0; i < change->count; i++) {
    rh_served *served = change->next[i];
    rh_served *old = change->kept[i] ? NULL : rh_manager_find(manager, served->spec->name, NULL);
    if (change->kept[i]) update(served, rh_catalogue_at(catalogue, i));
    if (old != NULL) inherit(served, old);
  }
  for (size_t i = 0; i < before_count; i++) {
    if (!is_kept(change, before[i])) let_go(before[i]);
  }
  manager->served = change->next;
  manager->count = change->count;
  change->next = NULL;
  free(before);
  rh_loop_defer(manager->loop, &manager->reap);
}

rh_status rh_manager_refresh(rh_manager *manager, rh_error *error) {
  if (manager->leaving) return RH_OK;
  rh_catalogue *catalogue = rh_catalogue_new();
  if (catalogue == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look for models");
  rh_change change = {0};
  rh_status status = manager->options.collect(manager->options.ctx, catalogue, error);
  if (status == RH_OK) status = build(manager, catalogue, &change, error);
  if (status == RH_OK) {
    apply(manager, catalogue, &change);
    rh_aliases_bind(manager);
    rh_aliases_follow(manager);
  } else {
    take_back(&change);
  }
  free(change.next);
  free(change.kept);
  rh_catalogue_free(catalogue);
  return status;
}
