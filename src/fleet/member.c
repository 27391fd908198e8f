// SPDX-License-Identifier: Apache-2.0
//
// A member's states and timers: one worker process, started on demand, watched, killed when it hangs, started again with
// a growing pause when it dies. It decides nothing about requests; the scheduler hears of every change.
//
// The process's end (a pidfd) is the single place where a worker is declared lost. A closed socket, a broken frame or a
// hang only lead there, so that no run is told twice and the memory is back before the next worker starts.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fleet/internal.h"
#include "model/variant.h"

// A worker that served this long counts as healthy again: its next death starts with the shortest pause.
#define HEALTHY_NS (30 * RH_NS_PER_S)
// How often a load is tried when the worker dies without saying why (a crash may be bad luck; a second one is the file).
#define LOAD_CRASHES_MAX 2
#define SCRATCH_BYTES_MAX (2u * RH_FRAME_BYTES_MAX)

static const char *const state_names[] = {
    [RH_MEMBER_COLD] = "cold",     [RH_MEMBER_STARTING] = "starting", [RH_MEMBER_LOADING] = "loading",
    [RH_MEMBER_READY] = "ready",   [RH_MEMBER_DRAINING] = "draining", [RH_MEMBER_BACKOFF] = "restarting",
    [RH_MEMBER_FAILED] = "failed",
};

const char *rh_member_state_name(rh_member_state state) { return state_names[state]; }

static uint64_t min_ns(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t watchdog_interval(const rh_member *member) {
  uint64_t tick = min_ns(min_ns(member->options.ping_interval_ns, member->options.cancel_grace_ns), RH_NS_PER_S);
  if (member->state == RH_MEMBER_STARTING) tick = min_ns(tick, member->options.start_timeout_ns);
  if (member->state == RH_MEMBER_LOADING) tick = min_ns(tick, member->options.load_timeout_ns);
  return tick < RH_NS_PER_MS ? RH_NS_PER_MS : tick;
}

void rh_member_set_state(rh_member *member, rh_member_state state) {
  member->state = state;
  member->state_since_ns = rh_clock_now_ns();
  bool alive = state == RH_MEMBER_STARTING || state == RH_MEMBER_LOADING || state == RH_MEMBER_READY;
  if (alive) {
    member->progress_ns = member->ping_ns = member->pong_ns = member->state_since_ns;
    rh_loop_timer_set(member->loop, &member->watchdog, watchdog_interval(member));
  } else if (state != RH_MEMBER_DRAINING) {
    rh_loop_timer_cancel(member->loop, &member->watchdog);
  }
  member->listener.state(member->listener.ctx, member, state);
}

void rh_member_kill(rh_member *member, const char *reason) {
  if (member->kill_reason[0] != '\0') return;
  rh_text_copy(member->kill_reason, sizeof member->kill_reason, reason);
  RH_LOG(RH_LOG_WARN, "killing a worker", rh_log_str("model", member->options.name), rh_log_int("pid", member->pid),
         rh_log_str("reason", reason));
  rh_loop_unwatch(member->loop, &member->socket);
  rh_process_kill(member);
}

static void send_plain(rh_member *member, rh_frame_type type) {
  if (rh_plain_write(&member->out, type, 0) == RH_OK) {
    rh_channel_flush(member);
  } else {
    rh_member_kill(member, "it does not read what it is sent");
  }
}

static void watch_ready(rh_member *member, uint64_t now) {
  uint64_t oldest_cancel = rh_runs_oldest_cancel_ns(member);
  if (now - member->pong_ns > member->options.ping_timeout_ns) {
    rh_member_kill(member, "it does not answer pings");
  } else if (member->stats.step_age_ms * 1e6 > (double)member->options.step_timeout_ns) {
    rh_member_kill(member, "its engine is stuck in one step");
  } else if (oldest_cancel != 0 && now - oldest_cancel > member->options.cancel_grace_ns) {
    rh_member_kill(member, "its engine does not stop a cancelled run");
  } else if (now - member->ping_ns >= member->options.ping_interval_ns) {
    member->ping_ns = now;
    send_plain(member, RH_FRAME_PING);
  }
}

static void on_watchdog(void *ctx) {
  rh_member *member = ctx;
  uint64_t now = rh_clock_now_ns();
  switch (member->state) {
    case RH_MEMBER_STARTING:
      if (now - member->state_since_ns >= member->options.start_timeout_ns) rh_member_kill(member, "it did not start");
      break;
    case RH_MEMBER_LOADING:
      if (now - member->progress_ns >= member->options.load_timeout_ns) {
        rh_member_kill(member, "loading makes no progress");
      }
      break;
    case RH_MEMBER_READY: watch_ready(member, now); break;
    case RH_MEMBER_DRAINING: rh_member_kill(member, "it did not leave in time"); return;
    default: return;
  }
  rh_loop_timer_set(member->loop, &member->watchdog, watchdog_interval(member));
}

static void launch(rh_member *member) {
  member->kill_reason[0] = '\0';
  member->load_refused = false;
  member->load_fraction = 0;
  member->stats = (rh_worker_stats){0};
  rh_error error = {0};
  if (rh_process_spawn(member, &error) != RH_OK) {
    member->failure = error;
    member->failure.status = RH_LOAD_FAILED;
    member->pause_until_ns = rh_clock_now_ns() + member->options.backoff_min_ns;
    RH_LOG(RH_LOG_ERROR, "worker not started", rh_log_str("model", member->options.name),
           rh_log_str("error", error.message));
    rh_member_set_state(member, RH_MEMBER_FAILED);
    return;
  }
  RH_LOG(RH_LOG_INFO, "worker started", rh_log_str("model", member->options.name), rh_log_int("pid", member->pid));
  rh_member_set_state(member, RH_MEMBER_STARTING);
}

static uint64_t backoff_ns(const rh_member *member) {
  uint64_t pause = member->options.backoff_min_ns;
  for (unsigned i = 1; i < member->deaths && pause < member->options.backoff_max_ns; i++) pause *= 2;
  return min_ns(pause, member->options.backoff_max_ns);
}

static void on_pause_over(void *ctx) {
  rh_member *member = ctx;
  if (member->state == RH_MEMBER_BACKOFF) launch(member);
}

static void fail_load(rh_member *member) {
  // A file that cannot be loaded now will hardly load a second later, but somebody may replace it: refuse for a pause,
  // then let the next request try.
  member->deaths++;
  member->pause_until_ns = rh_clock_now_ns() + backoff_ns(member);
  // A machine that lacks what the model needs is no failure of the load: its client is told so.
  if (!member->load_refused || member->failure.status != RH_HARDWARE) member->failure.status = RH_LOAD_FAILED;
  RH_LOG(RH_LOG_ERROR, "model not loaded", rh_log_str("model", member->options.name),
         rh_log_str("error", member->failure.message));
  rh_member_set_state(member, RH_MEMBER_FAILED);
}

static void restart(rh_member *member) {
  member->deaths++;
  member->restarts++;
  uint64_t pause = backoff_ns(member);
  RH_LOG(RH_LOG_WARN, "worker lost", rh_log_str("model", member->options.name),
         rh_log_str("error", member->failure.message), rh_log_num("restart_in_ms", rh_ns_to_ms(pause)));
  rh_loop_timer_set(member->loop, &member->pause, pause);
  rh_member_set_state(member, RH_MEMBER_BACKOFF);
}

void rh_member_on_exit(void *ctx, uint32_t events) {
  (void)events;
  rh_member *member = ctx;
  rh_member_state was = member->state;
  bool healthy = was == RH_MEMBER_READY && rh_clock_now_ns() - member->state_since_ns > HEALTHY_NS;
  char how[128];
  pid_t pid = member->pid;
  if (member->kill_reason[0] == '\0') rh_channel_drain(member);  // its last words may hold final events
  rh_process_reap(member, how, sizeof how);
  rh_channel_close(member);
  was = member->state;
  if (healthy) member->deaths = 0;
  if (!member->load_refused) {
    (void)rh_fail(&member->failure, RH_UNAVAILABLE, "the worker process of model %s (pid %d) %s%s%s%s",
                  member->options.name, (int)pid, how, was == RH_MEMBER_LOADING ? " while loading the model" : "",
                  member->kill_reason[0] != '\0' ? ": " : "", member->kill_reason);
  }
  rh_error lost = member->failure;
  lost.status = RH_UNAVAILABLE;
  // States change before runs are told, so that a listener that looks sees no READY member without a process.
  member->state = RH_MEMBER_BACKOFF;
  rh_runs_lost(member, &lost);
  if (was == RH_MEMBER_DRAINING) {
    RH_LOG(RH_LOG_INFO, "worker unloaded", rh_log_str("model", member->options.name));
    member->deaths = member->load_crashes = 0;
    rh_member_set_state(member, RH_MEMBER_COLD);
  } else if (member->load_refused || (was != RH_MEMBER_READY && ++member->load_crashes >= LOAD_CRASHES_MAX)) {
    fail_load(member);
  } else {
    restart(member);
  }
}

void rh_member_on_hello(rh_member *member, const rh_hello *hello) {
  if (hello->version != RH_WIRE_VERSION) {
    char reason[160];
    snprintf(reason, sizeof reason,
             "it speaks version %u of the wire protocol, this daemon version %u; "
             "install both from one build",
             hello->version, (unsigned)RH_WIRE_VERSION);
    rh_member_kill(member, reason);
    return;
  }
  rh_load load = member->options.load;
  load.share = member->share;
  rh_onnx_findings found;
  if (strcmp(load.engine, "onnx") == 0) rh_onnx_complete_load(&load, &found);
  // What the last worker died of may be the variant, or the memory of two graphs; the first of them alone may load.
  if (load.variant != NULL && load.options.onnx.int8 == RH_ONNX_INT8_AUTO && member->load_crashes > 0) {
    RH_LOG(RH_LOG_WARN, "an int8 variant is left out, because a worker died before the model was loaded",
           rh_log_str("model", member->options.name), rh_log_str("variant", load.variant));
    load.variant = load.variant_quantization = NULL;
  }
  if (rh_load_write(&member->out, &load) != RH_OK) {
    rh_member_kill(member, "no memory is left to talk to it");
    return;
  }
  rh_member_set_state(member, RH_MEMBER_LOADING);
  rh_channel_flush(member);
}

void rh_member_on_loaded(rh_member *member, const rh_model_info *info) {
  member->info = *info;
  member->has_info = true;
  member->load_fraction = 1;
  member->load_crashes = 0;
  member->failure = (rh_error){0};
  RH_LOG(RH_LOG_INFO, "model ready", rh_log_str("model", member->options.name), rh_log_int("pid", member->pid),
         rh_log_str("engine", info->engine), rh_log_str("description", info->description),
         rh_log_int("context", info->context), rh_log_int("slots", info->slots), rh_log_str("device", info->device),
         rh_log_num("load_ms", info->load_ms));
  rh_member_set_state(member, RH_MEMBER_READY);
}

void rh_member_on_worker_error(rh_member *member, const rh_error *error) {
  // On stream 0: the load failed, or the engine is broken. The process ends by itself after it said so.
  member->failure = *error;
  member->load_refused = member->state == RH_MEMBER_STARTING || member->state == RH_MEMBER_LOADING;
  if (!member->load_refused) rh_member_kill(member, error->message);
}

// --- what the layers above call ------------------------------------------------------------------------------------

static bool copy_options(rh_member *member, const rh_member_options *options) {
  member->options = *options;
  member->options.name = strdup(options->name);
  member->options.worker_path = strdup(options->worker_path);
  member->options.load.engine = strdup(options->load.engine);
  member->options.load.path = strdup(options->load.path);
  return member->options.name != NULL && member->options.worker_path != NULL && member->options.load.engine != NULL &&
         member->options.load.path != NULL;
}

rh_status rh_member_new(rh_loop *loop, const rh_member_options *options, const rh_member_listener *listener,
                        rh_member **out, rh_error *error) {
  rh_member *member = calloc(1, sizeof *member);
  if (member == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a fleet member");
  member->loop = loop;
  member->listener = *listener;
  member->process.fd = member->socket.fd = -1;
  member->watchdog = (rh_timer){.fn = on_watchdog, .ctx = member};
  member->pause = (rh_timer){.fn = on_pause_over, .ctx = member};
  rh_list_init(&member->runs);
  member->scratch = rh_arena_new(SCRATCH_BYTES_MAX);
  if (!copy_options(member, options) || member->scratch == NULL) {
    rh_member_free(member);
    return rh_fail(error, RH_NO_MEMORY, "no memory for a fleet member");
  }
  *out = member;
  return RH_OK;
}

void rh_member_free(rh_member *member) {
  if (member == NULL) return;
  rh_loop_timer_cancel(member->loop, &member->watchdog);
  rh_loop_timer_cancel(member->loop, &member->pause);
  if (member->pid > 0) {
    char how[128];
    rh_process_kill(member);
    rh_process_reap(member, how, sizeof how);
  }
  rh_channel_close(member);
  rh_runs_drop(member);
  rh_arena_free(member->scratch);
  free((char *)(uintptr_t)member->options.name);
  free((char *)(uintptr_t)member->options.worker_path);
  free((char *)(uintptr_t)member->options.load.engine);
  free((char *)(uintptr_t)member->options.load.path);
  free(member);
}

bool rh_member_may_start(const rh_member *member) {
  bool pause_over = member->state == RH_MEMBER_FAILED && rh_clock_now_ns() >= member->pause_until_ns;
  return member->state == RH_MEMBER_COLD || pause_over;
}

void rh_member_start(rh_member *member) {
  if (rh_member_may_start(member)) launch(member);
}

void rh_member_share(rh_member *member, int32_t threads) {
  if (member->share == threads) return;
  member->share = threads;
  // A worker that has not been told what to load gets it with the load.
  if (member->state != RH_MEMBER_LOADING && member->state != RH_MEMBER_READY) return;
  if (rh_share_write(&member->out, threads) == RH_OK) rh_channel_flush(member);
}

void rh_member_unload(rh_member *member, uint64_t grace_ns) {
  if (member->state == RH_MEMBER_READY || member->state == RH_MEMBER_STARTING || member->state == RH_MEMBER_LOADING) {
    rh_member_set_state(member, RH_MEMBER_DRAINING);
    rh_loop_timer_set(member->loop, &member->watchdog, grace_ns);
    send_plain(member, RH_FRAME_UNLOAD);
  } else if (member->state == RH_MEMBER_BACKOFF) {
    rh_loop_timer_cancel(member->loop, &member->pause);
    rh_member_set_state(member, RH_MEMBER_COLD);
  }
}

rh_member_state rh_member_get_state(const rh_member *member) { return member->state; }
const rh_error *rh_member_failure(const rh_member *member) { return &member->failure; }
double rh_member_load_fraction(const rh_member *member) { return member->load_fraction; }
const rh_model_info *rh_member_info(const rh_member *member) { return member->has_info ? &member->info : NULL; }
const rh_worker_stats *rh_member_stats(const rh_member *member) { return &member->stats; }
pid_t rh_member_pid(const rh_member *member) { return member->pid; }
size_t rh_member_runs(const rh_member *member) { return member->runs.count; }
uint64_t rh_member_restarts(const rh_member *member) { return member->restarts; }

size_t rh_member_free_slots(const rh_member *member) {
  if (member->state != RH_MEMBER_READY || member->kill_reason[0] != '\0') return 0;
  size_t slots = (size_t)member->info.slots;
  return member->runs.count < slots ? slots - member->runs.count : 0;
}

uint64_t rh_member_ready_since_ns(const rh_member *member) {
  return member->state == RH_MEMBER_READY ? member->state_since_ns : 0;
}
