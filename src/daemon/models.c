// SPDX-License-Identifier: Apache-2.0
//
// Which models there are, and what they may take: opens the store, collects the models of configuration, store, folders
// and caches, reads the machine's memory, and makes the manager with all of it. Owns the store's handle and the manager.
// Loop thread only. It decides nothing about when a model is in memory.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/internal.h"
#include "daemon/settings_private.h"
#include "model/hardware.h"
#include "model/hardware_probe.h"

#define RAM_SHARE 0.8
#define GPU_SHARE 0.9

// --- memory --------------------------------------------------------------------------------------------------------

static int64_t meminfo_bytes(const char *text, const char *key) {
  const char *at = strstr(text, key);
  return at == NULL ? 0 : strtoll(at + strlen(key), NULL, 10) * 1024;
}

// As the control group or the machine has it, whichever is tighter. Cheap: two or three small files.
static bool machine_memory(void *ctx, int64_t *total, int64_t *available) {
  (void)ctx;
  char text[8192];
  if (rh_probe_read_file("", "/proc/meminfo", text, sizeof text) != RH_OK) return false;
  rh_cgroup_limits group;
  rh_probe_cgroup("", &group);
  *total = meminfo_bytes(text, "MemTotal:");
  *available = meminfo_bytes(text, "MemAvailable:");
  if (group.memory_bytes < *total) *total = group.memory_bytes;
  if (group.memory_free_bytes < *available) *available = group.memory_free_bytes;
  return *total > 0;
}

static void read_limits(rh_daemon *daemon) {
  const rh_settings *s = daemon->settings;
  rh_broker_limits *limits = &daemon->limits;
  rh_hardware *hardware = calloc(1, sizeof *hardware);
  int64_t total = 0, available = 0;
  (void)machine_memory(NULL, &total, &available);
  *limits = (rh_broker_limits){
      .ram_bytes = s->memory_budget > 0 ? (int64_t)s->memory_budget : (int64_t)((double)total * RAM_SHARE),
      .max_loaded = s->max_loaded_models,
      .watermark = s->memory_watermark,
      .patience_ns = s->load_patience,
      .wait_max_ns = s->load_wait,
      .machine = machine_memory,
  };
  if (limits->ram_bytes <= 0) limits->ram_bytes = INT64_MAX;  // nobody knows
  if (hardware == NULL) return;
  rh_hardware_probe(hardware);
  rh_sched_set_cores(daemon->sched, hardware->cores_physical);
  for (size_t i = 0; i < hardware->gpu_count && limits->gpu_count < RH_GPUS_MAX; i++) {
    int64_t own = (int64_t)((double)hardware->gpu[i].memory_bytes * GPU_SHARE);
    limits->gpu_bytes[limits->gpu_count++] = s->gpu_memory_budget > 0 ? (int64_t)s->gpu_memory_budget : own;
  }
  free(hardware);
}

// --- which models --------------------------------------------------------------------------------------------------

// What was pulled but no engine of this build serves is told too: it takes disk, and a person may wonder.
static void note_unserved(rh_daemon *daemon, const rh_stored_list *list) {
  json_t *found = json_array();
  for (size_t i = 0; found != NULL && i < list->count; i++) {
    const rh_stored *stored = &list->items[i];
    if (rh_format_engine(stored->format) != NULL) continue;
    char name[2 * RH_MODEL_NAME_MAX + 2];
    if (rh_model_ref_format(&stored->ref, name, sizeof name) != RH_OK) continue;
    json_t *entry =
        json_pack("{sssssssssIsssssssI}", "name", name, "version", stored->ref.version, "state", "stored", "format",
                  rh_format_name(stored->format), "file_bytes", (json_int_t)stored->bytes, "source", stored->source,
                  "license", stored->licence, "task", stored->task, "modified_s", (json_int_t)stored->created_s);
    if (entry == NULL || json_array_append_new(found, entry) != 0) break;
  }
  json_decref(daemon->unserved);
  daemon->unserved = found;
}

// Those of `from` that `out` has no model of the same name of.
static rh_status copy_specs(rh_catalogue *out, const rh_catalogue *from, rh_model_origin origin, rh_error *error) {
  for (size_t i = 0; i < rh_catalogue_count(from); i++) {
    rh_model_spec spec = *rh_catalogue_at(from, i);
    if (rh_catalogue_find(out, spec.name) != NULL) continue;
    spec.origin = origin;
    rh_status status = rh_catalogue_add_spec(out, &spec, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status collect_folder(const rh_daemon *daemon, rh_catalogue *out, rh_error *error) {
  const rh_settings *s = daemon->settings;
  rh_load_options defaults = rh_settings_load_options(s);
  rh_catalogue *found = rh_catalogue_new();
  if (found == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to list the models folder");
  rh_status status = rh_catalogue_scan(found, s->models_dir, &defaults, s->queue_max, error);
  if (status == RH_OK) {
    status = copy_specs(out, found, RH_ORIGIN_FOLDER, error);
  } else if (status != RH_NO_MEMORY) {
    RH_LOG(RH_LOG_WARN, "models cannot be listed", rh_log_str("where", s->models_dir),
           rh_log_str("error", error->message));
    status = RH_OK;
  }
  rh_catalogue_free(found);
  return status;
}

// A store or cache that cannot be read must not take the other models with it.
static rh_status collect_list(rh_catalogue *out, rh_status status, rh_stored_list *list, rh_model_origin origin,
                              const rh_daemon *daemon, rh_error *error) {
  if (status != RH_OK) {
    RH_LOG(RH_LOG_WARN, "models cannot be listed",
           rh_log_str("where", origin == RH_ORIGIN_STORE ? "store" : "hub cache"), rh_log_str("error", error->message));
    return RH_OK;
  }
  rh_load_options defaults = rh_settings_load_options(daemon->settings);
  return rh_manager_collect_stored(out, list, origin, &defaults, daemon->settings->queue_max, error);
}

static rh_status collect_store(rh_daemon *daemon, rh_catalogue *out, rh_error *error) {
  rh_stored_list list = {0};
  rh_status status = rh_store_list(daemon->store, &list, error);
  if (status == RH_OK) note_unserved(daemon, &list);
  status = collect_list(out, status, &list, RH_ORIGIN_STORE, daemon, error);
  rh_stored_list_release(&list);
  return status;
}

static rh_status collect_hub(rh_daemon *daemon, rh_catalogue *out, rh_error *error) {
  const char *folder = rh_settings_hub_cache(daemon->settings);
  if (folder != NULL && folder[0] == '\0') return RH_OK;
  rh_stored_list list = {0};
  rh_status status = rh_store_scan_hub_cache(folder, &list, error);
  status = collect_list(out, status, &list, RH_ORIGIN_HUB_CACHE, daemon, error);
  rh_stored_list_release(&list);
  return status;
}

// Earlier ones win: what a person wrote down, what was pulled, what lies in folders.
static rh_status collect_all(rh_daemon *daemon, rh_catalogue *out, rh_error *error) {
  rh_status status = copy_specs(out, daemon->configuration->configured, RH_ORIGIN_CONFIG, error);
  if (status == RH_OK && daemon->store != NULL) status = collect_store(daemon, out, error);
  if (status == RH_OK) status = collect_folder(daemon, out, error);
  if (status == RH_OK) status = collect_hub(daemon, out, error);
  return status;
}

// What the providers of this machine's own models say of engines is put into the models' options last: which engine a model
// needs is known only now.
static rh_status collect(void *ctx, rh_catalogue *out, rh_error *error) {
  rh_daemon *daemon = ctx;
  rh_catalogue *found = rh_catalogue_new();
  if (found == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to list the models");
  rh_status status = collect_all(daemon, found, error);
  for (size_t i = 0; status == RH_OK && i < rh_catalogue_count(found); i++) {
    rh_model_spec spec = *rh_catalogue_at(found, i);
    rh_engine_options_apply(daemon->configuration, &spec);
    status = rh_catalogue_add_spec(out, &spec, error);
  }
  rh_catalogue_free(found);
  return status;
}

// --- the manager ---------------------------------------------------------------------------------------------------

static void on_happened(void *ctx, const rh_manager_event *event) { rh_gauges_model_event(ctx, event); }

static rh_member_options member_options(const rh_settings *s) {
  return (rh_member_options){
      .worker_path = s->worker,
      .start_timeout_ns = s->start_timeout,
      .load_timeout_ns = s->load_timeout,
      .ping_interval_ns = s->ping_interval,
      .ping_timeout_ns = s->ping_timeout,
      .step_timeout_ns = s->step_timeout,
      .cancel_grace_ns = s->cancel_grace,
      .backoff_min_ns = s->backoff_min,
      .backoff_max_ns = s->backoff_max,
  };
}

// The folder is made now, because changes in it are watched and what is learned of models is kept there. Where it cannot
// be made or written, what it holds is served all the same; one that cannot be read at all is a warning: the models of the
// configuration can be served without it.
static void open_store(rh_daemon *daemon) {
  const char *folder = daemon->settings->store_dir;
  rh_error error = {0};
  if (rh_store_open(folder, true, &daemon->store, &error) == RH_OK) return;
  RH_LOG(RH_LOG_WARN, "the store cannot be written", rh_log_str("folder", folder), rh_log_str("error", error.message));
  if (rh_store_open(folder, false, &daemon->store, &error) == RH_OK) return;
  daemon->store = NULL;
  RH_LOG(RH_LOG_WARN, "the store cannot be used", rh_log_str("folder", folder), rh_log_str("error", error.message));
}

rh_status rh_models_open(rh_daemon *daemon, rh_error *error) {
  const rh_settings *s = daemon->settings;
  char *changed = NULL;
  open_store(daemon);
  read_limits(daemon);
  if (asprintf(&changed, "%s/changed", s->store_dir) < 0) return rh_fail(error, RH_NO_MEMORY, "no memory to start");
  rh_manager_options options = {
      .loop = daemon->loop,
      .sched = daemon->sched,
      .store = daemon->store,
      .member = member_options(s),
      .limits = daemon->limits,
      .keep_alive_ns = rh_settings_keep_alive_ns(s),
      .tidy_interval_ns = s->tidy_interval,
      .preload_top = (size_t)s->preload_top,
      .default_model = s->default_model != NULL ? s->default_model : "",
      .aliases = daemon->configuration->aliases,
      .changed_path = daemon->store != NULL ? changed : NULL,
      .models_dir = s->models_dir,
      .collect = collect,
      .all_gone = rh_daemon_all_gone,
      .happened = on_happened,
      .ctx = daemon,
  };
  rh_status status = rh_manager_new(&options, &daemon->manager, error);
  free(changed);
  return status;
}

void rh_models_close(rh_daemon *daemon) {
  rh_manager_free(daemon->manager);
  rh_store_close(daemon->store);
  json_decref(daemon->unserved);
  json_decref(daemon->headers);
}

void rh_models_preload(rh_daemon *daemon) {
  const rh_settings *s = daemon->settings;
  bool named = s->default_model != NULL && s->default_model[0] != '\0';
  rh_resolution found;
  rh_error error = {0};
  rh_status status = rh_manager_resolve(daemon->manager, "", &found, &error);
  // The store may be shared: the model may come back, or be on its way. Until then its requests are told.
  if (status != RH_OK && named) {
    RH_LOG(RH_LOG_WARN, "the default model is not here", rh_log_str("default_model", s->default_model),
           rh_log_str("error", error.message));
  }
  if (status != RH_OK || !s->preload) return;
  if (rh_manager_load(daemon->manager, found.served, NULL, NULL, &error) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "the default model is not loaded", rh_log_str("error", error.message));
  }
}
