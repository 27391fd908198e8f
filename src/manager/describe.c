// SPDX-License-Identifier: Apache-2.0
//
// A served model as JSON, for admin calls and pages.
// Owns nothing that outlives a call. Loop thread only. It changes nothing, except that a memory estimate is made once.
#include <string.h>

#include "manager/internal.h"
#include "model/ref.h"

static void put_text(json_t *object, const char *key, const char *text) {
  if (text != NULL && text[0] != '\0') json_object_set_new(object, key, json_string(text));
}

static void put_int(json_t *object, const char *key, int64_t value) {
  json_object_set_new(object, key, json_integer(value));
}

// The member's state, and what the member does not know: that it waits for memory, that it finishes to leave.
static const char *state_of(const rh_served *served) {
  rh_member_state state = rh_member_get_state(served->member);
  bool still = state == RH_MEMBER_COLD || state == RH_MEMBER_FAILED;
  if (still && rh_broker_state(served->tenant) == RH_TENANT_WAITING) return "waiting";
  if (state == RH_MEMBER_READY && served->draining) return "draining";
  return rh_member_state_name(state);
}

static json_t *describe_memory(const rh_served *served) {
  rh_need need;
  rh_served_need(served, &need);
  json_t *memory = json_object();
  bool process = rh_member_pid(served->member) > 0;
  put_int(memory, "ram_bytes", need.ram_bytes);
  put_int(memory, "gpu_bytes", need.gpu_bytes);
  put_int(memory, "weights_bytes", need.weights_bytes);
  put_int(memory, "kv_bytes", need.kv_bytes);
  put_int(memory, "compute_bytes", need.compute_bytes);
  put_int(memory, "process_bytes", need.process_bytes);
  json_object_set_new(memory, "measured", json_boolean(need.measured));
  put_int(memory, "resident_bytes", process ? rh_member_stats(served->member)->rss_bytes : 0);
  put_int(memory, "peak_bytes", served->facts.ram_bytes);
  return memory;
}

static json_t *describe_aliases(const rh_served *served) {
  json_t *list = json_array();
  const rh_manager *manager = served->manager;
  for (size_t i = 0; i < manager->alias_count; i++) {
    if (manager->aliases[i]->served == served) json_array_append_new(list, json_string(manager->aliases[i]->name));
  }
  return list;
}

static const char *quantization_of(const rh_served *served) {
  const rh_model_info *info = rh_member_info(served->member);
  return info != NULL && info->quantization[0] != '\0' ? info->quantization : served->spec->quantization;
}

static void put_identity(json_t *object, const rh_served *served) {
  static const char *const origins[] = {[RH_ORIGIN_CONFIG] = "config",
                                        [RH_ORIGIN_STORE] = "store",
                                        [RH_ORIGIN_FOLDER] = "folder",
                                        [RH_ORIGIN_HUB_CACHE] = "hub-cache"};
  const rh_model_spec *spec = served->spec;
  rh_model_ref ref;
  put_text(object, "name", spec->name);
  bool split = rh_model_ref_parse(spec->name, &ref, NULL) == RH_OK;
  json_object_set_new(object, "version", json_string(split ? ref.version : ""));
  put_text(object, "state", state_of(served));
  put_text(object, "engine", spec->engine);
  put_text(object, "format", rh_format_name(spec->format));
  put_text(object, "quantization", quantization_of(served));
  put_text(object, "origin", origins[spec->origin]);
  put_text(object, "source", spec->source);
  put_text(object, "license", spec->licence);
  put_text(object, "task", spec->task);
  put_text(object, "digest", spec->digest);
  put_int(object, "file_bytes", spec->file_bytes);
  put_int(object, "modified_s", spec->modified_s);
  if (spec->parameters > 0) put_int(object, "parameters", spec->parameters);
}

static void put_times(json_t *object, const rh_served *served) {
  uint64_t now = rh_clock_now_ns();
  uint64_t keep = rh_served_keep_alive_ns(served);
  if (served->facts.last_used_s > 0) put_int(object, "last_used_s", served->facts.last_used_s);
  if (served->facts.load_ms > 0 || served->load_ms > 0) {
    json_object_set_new(object, "load_ms", json_real(served->load_ms > 0 ? served->load_ms : served->facts.load_ms));
  }
  json_object_set_new(object, "load_fraction", json_real(rh_member_load_fraction(served->member)));
  json_object_set_new(object, "requests_an_hour", json_real(rh_served_frequency(served)));
  // Negative: it stays for ever.
  bool stays = served->pinned || served->preloaded || keep == UINT64_MAX;
  json_object_set_new(object, "keep_alive_s", json_real(stays ? -1 : rh_ns_to_s(keep)));
  if (served->expires_ns > 0) {
    double left = served->expires_ns > now ? rh_ns_to_s(served->expires_ns - now) : 0;
    json_object_set_new(object, "expires_in_s", json_real(left));
  }
}

json_t *rh_served_describe(const rh_served *served) {
  json_t *object = json_object();
  if (object == NULL) return NULL;
  const rh_model_info *info = rh_member_info(served->member);
  const rh_load_options *options = &served->spec->options;
  put_identity(object, served);
  json_object_set_new(object, "memory", describe_memory(served));
  put_int(object, "slots", info != NULL ? info->slots : options->slots);
  put_int(object, "context", info != NULL ? info->context : options->context);
  if (info != NULL) {
    put_text(object, "device", info->device);
    put_text(object, "task", info->task);  // the worker's word wins over the manifest's
    if (info->dimensions > 0) put_int(object, "dimensions", info->dimensions);
    put_text(object, "fallback", info->fallback);
  }
  json_object_set_new(object, "pinned", json_boolean(served->pinned));
  json_object_set_new(object, "aliases", describe_aliases(served));
  put_int(object, "queued", (int64_t)rh_sched_queued(served->queue));
  put_int(object, "active", (int64_t)rh_sched_running(served->queue));
  put_times(object, served);
  if (rh_member_pid(served->member) > 0) put_int(object, "pid", rh_member_pid(served->member));
  put_int(object, "restarts", (int64_t)rh_member_restarts(served->member));
  const rh_error *failure = rh_member_failure(served->member);
  bool failed = rh_member_get_state(served->member) == RH_MEMBER_FAILED ||
                rh_member_get_state(served->member) == RH_MEMBER_BACKOFF;
  if (failed) put_text(object, "error", failure->message);
  return object;
}
