// SPDX-License-Identifier: Apache-2.0
//
// The manager's making and end, and its list of models. Owns the broker and everything that internal.h names. Loop
// thread only.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "manager/internal.h"

void rh_manager_happened(rh_manager *manager, rh_manager_event_kind kind, const rh_served *served, const char *detail,
                         double seconds) {
  if (manager->options.happened == NULL) return;
  rh_manager_event event = {.kind = kind, .served = served, .detail = detail, .seconds = seconds};
  manager->options.happened(manager->options.ctx, &event);
}

// --- the list ------------------------------------------------------------------------------------------------------

size_t rh_manager_count(const rh_manager *manager) { return manager->count; }

rh_served *rh_manager_at(const rh_manager *manager, size_t index) {
  assert(index < manager->count);
  return manager->served[index];
}

json_t *rh_manager_plan(rh_manager *manager, rh_served *served) {
  return rh_broker_plan(manager->broker, served->tenant);
}

rh_broker *rh_manager_broker(const rh_manager *manager) { return manager->broker; }

// --- making --------------------------------------------------------------------------------------------------------

static bool copy_text(const char **field) {
  if (*field == NULL) return true;
  *field = strdup(*field);
  return *field != NULL;
}

static bool copy_options(rh_manager *manager, const rh_manager_options *options) {
  manager->options = *options;
  manager->options.aliases = NULL;
  const char **texts[] = {&manager->options.default_model, &manager->options.changed_path, &manager->options.models_dir,
                          &manager->options.member.worker_path};
  bool fine = true;
  // All are replaced or cleared, so that freeing after a failure frees only copies.
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) fine = copy_text(texts[i]) && fine;
  if (options->aliases != NULL) {
    manager->alias_config = json_deep_copy(options->aliases);
    fine = fine && manager->alias_config != NULL;
  }
  return fine;
}

static void free_options(rh_manager *manager) {
  free((char *)(uintptr_t)manager->options.default_model);
  free((char *)(uintptr_t)manager->options.changed_path);
  free((char *)(uintptr_t)manager->options.models_dir);
  free((char *)(uintptr_t)manager->options.member.worker_path);
  json_decref(manager->alias_config);
}

static void on_bye(void *ctx);

static void on_save(void *ctx) { rh_aliases_save(ctx); }

static rh_status open_manager(rh_manager *manager, rh_error *error) {
  rh_hardware_probe(&manager->hardware);
  manager->broker = rh_broker_new(manager->loop, &manager->options.limits);
  if (manager->broker == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the model manager");
  // Watched before it is looked at: what changes in between is noticed.
  rh_watch_open(manager);
  rh_status status = rh_manager_refresh(manager, error);
  if (status == RH_OK) status = rh_aliases_load(manager, error);
  if (status != RH_OK) return status;
  rh_tidy_open(manager);
  return RH_OK;
}

rh_status rh_manager_new(const rh_manager_options *options, rh_manager **out, rh_error *error) {
  assert(options->loop != NULL && options->sched != NULL && options->collect != NULL);
  rh_manager *manager = calloc(1, sizeof *manager);
  if (manager == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the model manager");
  manager->loop = options->loop;
  manager->inotify.fd = -1;
  rh_list_init(&manager->gone);
  rh_list_init(&manager->swaps);
  rh_waiters_open(manager);
  manager->reap = (rh_deferred){.fn = rh_manager_reap, .ctx = manager};
  manager->bye = (rh_deferred){.fn = on_bye, .ctx = manager};
  manager->save = (rh_timer){.fn = on_save, .ctx = manager};
  rh_status status = copy_options(manager, options) ? open_manager(manager, error)
                                                    : rh_fail(error, RH_NO_MEMORY, "no memory for the model manager");
  if (status != RH_OK) {
    rh_manager_free(manager);
    return status;
  }
  *out = manager;
  return RH_OK;
}

// --- the end -------------------------------------------------------------------------------------------------------

static bool anything_runs(const rh_manager *manager) {
  for (size_t i = 0; i < manager->count; i++) {
    if (rh_member_pid(manager->served[i]->member) > 0) return true;
  }
  for (const rh_list_node *node = rh_list_first(&manager->gone); node != NULL;
       node = rh_list_next(&manager->gone, node)) {
    if (rh_member_pid(rh_list_entry(node, rh_served, gone)->member) > 0) return true;
  }
  return false;
}

void rh_manager_check_gone(rh_manager *manager) {
  // From the loop, never from inside a call: the deferred reaping comes here again.
  if (!manager->leaving || manager->gone_told) return;
  rh_loop_defer(manager->loop, &manager->bye);
}

static void on_bye(void *ctx) {
  rh_manager *manager = ctx;
  if (manager->gone_told || anything_runs(manager)) return;
  manager->gone_told = true;
  if (manager->options.all_gone != NULL) manager->options.all_gone(manager->options.ctx);
}

void rh_manager_leave(rh_manager *manager, uint64_t grace_ns) {
  if (manager->leaving) return;
  manager->leaving = true;
  rh_tidy_close(manager);
  rh_watch_close(manager);
  rh_swaps_cancel(manager, "the server is shutting down");
  for (size_t i = 0; i < manager->count; i++) rh_served_leave(manager->served[i], "shutdown", grace_ns);
  for (rh_list_node *node = rh_list_first(&manager->gone); node != NULL; node = rh_list_next(&manager->gone, node)) {
    rh_served_leave(rh_list_entry(node, rh_served, gone), "shutdown", grace_ns);
  }
  rh_aliases_save(manager);
  rh_manager_remember(manager);
  rh_manager_check_gone(manager);
}

void rh_manager_free(rh_manager *manager) {
  if (manager == NULL) return;
  rh_tidy_close(manager);
  rh_watch_close(manager);
  if (manager->saved_ns != 0 && manager->save.heap_slot != 0) rh_aliases_save(manager);
  rh_loop_timer_cancel(manager->loop, &manager->save);
  rh_loop_timer_cancel(manager->loop, &manager->progress);
  rh_loop_undefer(manager->loop, &manager->tell);
  rh_loop_undefer(manager->loop, &manager->reap);
  rh_loop_undefer(manager->loop, &manager->bye);
  if (manager->served != NULL) rh_manager_remember(manager);
  rh_swaps_free(manager);
  for (size_t i = 0; i < manager->count; i++) rh_served_free(manager->served[i]);
  for (rh_list_node *node; (node = rh_list_first(&manager->gone)) != NULL;) {
    rh_served_free(rh_list_entry(node, rh_served, gone));
  }
  rh_waiters_drop(&manager->finished);
  rh_aliases_free(manager);
  free(manager->served);
  rh_broker_free(manager->broker);
  free_options(manager);
  free(manager);
}
