// SPDX-License-Identifier: Apache-2.0
//
// A model as the broker's tenant: what it is like now, starting, leaving, and being refused; and whether this machine
// has what the model needs at all.
//
// Owns nothing. Loop thread only; the broker calls from deferred work. It deliberately chooses nobody: that is the
// broker's part.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "manager/internal.h"
#include "model/known.h"
#include "model/ref.h"

static void look(void *ctx, rh_tenant_view *view) {
  rh_served *served = ctx;
  const rh_worker_stats *stats = rh_member_stats(served->member);
  bool process = rh_member_pid(served->member) > 0;
  *view = (rh_tenant_view){
      .name = served->spec->name,
      .need = *rh_served_learn_need(served),
      .ram_used_bytes = process ? stats->rss_bytes : 0,
      .gpu_used_bytes = process ? stats->vram_bytes : 0,
      .running = rh_sched_running(served->queue),
      // Somebody who waits for a load counts like a request: it must not be evicted before it has answered.
      .queued = rh_sched_queued(served->queue) + served->loaders.count,
      .pinned = served->pinned && !rh_list_linked(&served->gone),
      .kept = served->swaps > 0 && !rh_list_linked(&served->gone),
      .frequency = rh_served_frequency(served),
      .reload_ms = rh_served_reload_ms(served),
      .last_used_ns = served->last_used_ns,
  };
}

static void start(void *ctx) {
  rh_served *served = ctx;
  bool last_call = served->manager->leaving || (rh_list_linked(&served->gone) && !rh_served_busy(served));
  if (last_call) {
    // The end, or the model's, came between the broker's decision and this call.
    rh_broker_left(served->tenant);
    return;
  }
  char ram[32];
  rh_text_format_bytes(ram, sizeof ram, (uint64_t)rh_served_learn_need(served)->ram_bytes);
  RH_LOG(RH_LOG_INFO, "loading a model", rh_log_str("model", served->spec->name), rh_log_str("ram", ram),
         rh_log_int("gpu_bytes", served->need.gpu_bytes), rh_log_bool("measured", served->need.measured));
  rh_member_start(served->member);
  rh_member_state state = rh_member_get_state(served->member);
  if (state == RH_MEMBER_READY) {
    if (rh_broker_state(served->tenant) == RH_TENANT_LOADING) rh_broker_loaded(served->tenant);
  } else if (state == RH_MEMBER_FAILED) {
    // It failed a moment ago, and the pause before another try is not over; or the process could not be made, and then
    // its listener has told all of this already.
    if (rh_broker_state(served->tenant) == RH_TENANT_LOADING) rh_broker_left(served->tenant);
    rh_served_fail_load(served, rh_member_failure(served->member));
  }
}

static void evict(void *ctx, const char *reason) {
  rh_served *served = ctx;
  rh_member_state state = rh_member_get_state(served->member);
  served->leave_why = "memory";
  RH_LOG(RH_LOG_INFO, "model is evicted", rh_log_str("model", served->spec->name), rh_log_str("reason", reason),
         rh_log_int("ram_bytes", rh_member_stats(served->member)->rss_bytes));
  rh_member_unload(served->member, RH_UNLOAD_GRACE_NS);
  bool none = state == RH_MEMBER_COLD || state == RH_MEMBER_FAILED;
  if (none) rh_broker_left(served->tenant);
}

static void hold(void *ctx, bool held) {
  rh_served *served = ctx;
  served->held_by_broker = held;
  if (held)
    RH_LOG(RH_LOG_INFO, "model gets no new work until another had its turn", rh_log_str("model", served->spec->name));
  rh_served_set_held(served);
}

// --- advice --------------------------------------------------------------------------------------------------------

// Another version of the same name that is here and smaller.
static const rh_served *smaller_here(const rh_served *served) {
  const rh_manager *manager = served->manager;
  rh_model_ref own, other;
  if (rh_model_ref_parse(served->spec->name, &own, NULL) != RH_OK) return NULL;
  const rh_served *best = NULL;
  int64_t most = manager->options.limits.ram_bytes;
  for (size_t i = 0; i < manager->count; i++) {
    rh_served *candidate = manager->served[i];
    const rh_model_spec *spec = candidate->spec;
    if (candidate == served || rh_model_ref_parse(spec->name, &other, NULL) != RH_OK) continue;
    if (strcmp(own.name, other.name) != 0 || spec->file_bytes >= served->spec->file_bytes) continue;
    if (spec->gpu_required && !served->spec->gpu_required) continue;
    if (most > 0 && rh_served_learn_need(candidate)->ram_bytes > most) continue;
    if (best == NULL || spec->file_bytes > best->spec->file_bytes) best = candidate;
  }
  return best;
}

static bool has_gpu(const rh_manager *manager) {
  return manager->options.limits.gpu_count > 0 || manager->hardware.gpu_count > 0;
}

static void append_advice(const rh_served *served, rh_error *error) {
  if (error == NULL) return;
  size_t used = strlen(error->message);
  char *end = error->message + used;
  size_t room = sizeof error->message - used;
  const rh_served *here = smaller_here(served);
  if (here != NULL) {
    snprintf(end, room, "; use the smaller %.128s, which is here", here->spec->name);
    return;
  }
  const rh_known *known = rh_known_find(served->spec->name);
  const rh_known *smaller = known != NULL ? rh_known_smaller(known, &served->manager->hardware) : NULL;
  if (smaller != NULL) {
    char bytes[32];
    rh_text_format_bytes(bytes, sizeof bytes, (uint64_t)smaller->bytes);
    snprintf(end, room, "; `roundhouse pull %.64s:%.64s` gets a smaller one that fits (%s)", smaller->name,
             smaller->version, bytes);
    return;
  }
  if (served->spec->gpu_required && !has_gpu(served->manager))
    snprintf(end, room, "; choose a model for processors (`roundhouse recommend` names one)");
  else
    snprintf(end, room, "; a smaller quantization, a shorter \"context\" or fewer \"slots\" need less");
}

rh_status rh_served_check_failed(const rh_served *served, rh_error *error) {
  bool pause = rh_member_get_state(served->member) == RH_MEMBER_FAILED && !rh_member_may_start(served->member);
  if (!pause) return RH_OK;
  if (error != NULL) *error = *rh_member_failure(served->member);
  return rh_member_failure(served->member)->status;
}

rh_status rh_served_check_hardware(const rh_served *served, rh_error *error) {
  const rh_manager *manager = served->manager;
  const rh_model_spec *spec = served->spec;
  rh_status status = RH_OK;
  if (spec->gpu_required && !has_gpu(manager)) {
    status = rh_fail_param(error, RH_HARDWARE, "model", "model %.128s needs a GPU, and none was found here (%.160s)",
                           spec->name, manager->hardware.gpu_reason);
  } else if (spec->memory_min_bytes > 0 && manager->hardware.memory_bytes > 0 &&
             spec->memory_min_bytes > (uint64_t)manager->hardware.memory_bytes) {
    char needs[32], has[32];
    rh_text_format_bytes(needs, sizeof needs, spec->memory_min_bytes);
    rh_text_format_bytes(has, sizeof has, (uint64_t)manager->hardware.memory_bytes);
    status = rh_fail_param(error, RH_HARDWARE, "model",
                           "model %.128s needs a machine with %s of memory; this one has %s", spec->name, needs, has);
  }
  if (status != RH_OK) append_advice(served, error);
  return status;
}

static void refuse(void *ctx, const rh_error *error) {
  rh_served *served = ctx;
  rh_error told = *error;
  if (told.status == RH_HARDWARE) append_advice(served, &told);
  RH_LOG(RH_LOG_WARN, "no room for a model", rh_log_str("model", served->spec->name),
         rh_log_str("error", told.message));
  rh_served_fail_load(served, &told);
}

const rh_tenant_ops rh_served_tenant_ops = {
    .look = look, .start = start, .evict = evict, .hold = hold, .refuse = refuse};

// --- two at once ---------------------------------------------------------------------------------------------------

typedef struct rh_room {
  int64_t ram, gpu, count;
} rh_room;

static void add_to(rh_room *room, rh_served *served) {
  const rh_need *need = rh_served_learn_need(served);
  int64_t used = rh_served_in_memory(served) ? rh_member_stats(served->member)->rss_bytes : 0;
  room->ram += used > need->ram_bytes ? used : need->ram_bytes;
  room->gpu += need->gpu_bytes;
  room->count++;
}

rh_status rh_served_check_room(rh_served *served, rh_served *besides, rh_error *error) {
  const rh_manager *manager = served->manager;
  const rh_broker_limits *limits = &manager->options.limits;
  rh_room room = {0};
  int64_t gpu_most = 0;
  for (size_t i = 0; i < limits->gpu_count; i++) gpu_most += limits->gpu_bytes[i];
  for (size_t i = 0; i < manager->count; i++) {
    rh_served *other = manager->served[i];
    if (other == served || other == besides) continue;
    if (rh_served_in_memory(other) && other->pinned) add_to(&room, other);
  }
  add_to(&room, served);
  if (besides != NULL && besides != served) add_to(&room, besides);
  char both[32], budget[32];
  bool ram = limits->ram_bytes > 0 && room.ram > limits->ram_bytes;
  bool gpu = limits->gpu_count > 0 && room.gpu > gpu_most;
  if (ram || gpu) {
    rh_text_format_bytes(both, sizeof both, (uint64_t)(ram ? room.ram : room.gpu));
    rh_text_format_bytes(budget, sizeof budget, (uint64_t)(ram ? limits->ram_bytes : gpu_most));
    return rh_fail(error, RH_NO_ROOM,
                   "%.128s%s%.128s and what is pinned would take %s of %s together, and the budget is %s; unpin "
                   "something, or ask for \"replace\": then the old model leaves first and requests wait",
                   served->spec->name, besides != NULL ? ", " : "", besides != NULL ? besides->spec->name : "", both,
                   ram ? "RAM" : "GPU memory", budget);
  }
  if (limits->max_loaded > 0 && room.count > limits->max_loaded) {
    return rh_fail(
        error, RH_NO_ROOM,
        "%lld models would have to be in memory at once, and \"max_loaded_models\" is %lld; unpin something, "
        "or ask for \"replace\": then the old model leaves first and requests wait",
        (long long)room.count, (long long)limits->max_loaded);
  }
  return RH_OK;
}
