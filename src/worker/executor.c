// SPDX-License-Identifier: Apache-2.0
//
// The engine thread: commands between steps, one step, the finished swept out, the numbers published, the port flushed.
//
// Owns the engine and its runs. It sleeps in the mailbox when nothing can move, and never touches the socket but
// through the port. It does not retry and does not outlive a broken engine: the daemon starts another process.
#include "worker/executor.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "wire/message.h"
#include "worker/runs.h"

#define STATS_INTERVAL_NS RH_NS_PER_S
#define PROGRESS_INTERVAL_NS (100 * RH_NS_PER_MS)
#define IDLE_STEP_WAIT_NS RH_NS_PER_MS

struct rh_executor {
  rh_mailbox *mailbox;
  rh_port *port;
  rh_vitals *vitals;
  const rh_engine_ops *ops;
  rh_engine *engine;        // NULL until a model is loaded
  rh_inference *inference;  // NULL: the model does nothing but generate
  rh_worker_runs runs;
  int64_t vram_bytes;  // as the engine described itself
  atomic_int share;    // threads that may compute; written by the I/O thread
  int32_t share_used;  // as the engine was told last
  bool moving;         // the next step has or may have something to do
  uint64_t until_ns;   // a batch waits for more until then; 0 = none does
  bool ended;
  rh_worker_exit exit;
  uint64_t progress_ns;      // when the last LOAD_PROGRESS was sent
  uint64_t stats_ns;         // when the last STATS was sent
  rh_worker_stats stats;     // as published last
  rh_worker_stats reported;  // as sent last
};

rh_executor *rh_executor_new(rh_mailbox *mailbox, rh_port *port, rh_vitals *vitals) {
  rh_executor *executor = calloc(1, sizeof *executor);
  if (executor == NULL) return NULL;
  executor->mailbox = mailbox;
  executor->port = port;
  executor->vitals = vitals;
  rh_worker_runs_init(&executor->runs, NULL, NULL, NULL, port);
  return executor;
}

void rh_executor_share(rh_executor *executor, int32_t threads) { atomic_store(&executor->share, threads); }

static void unload(rh_executor *executor) {
  rh_inference_free(executor->inference);
  executor->inference = NULL;
  if (executor->engine != NULL) executor->ops->unload(executor->engine);
  executor->engine = NULL;
}

void rh_executor_free(rh_executor *executor) {
  if (executor == NULL) return;
  rh_worker_runs_end(&executor->runs, NULL);
  unload(executor);
  free(executor);
}

static void end(rh_executor *executor, rh_worker_exit code) {
  executor->ended = true;
  executor->exit = code;
}

// The whole worker is at its end: say why on stream 0.
static void end_with_error(rh_executor *executor, rh_worker_exit code, rh_status status, rh_error *error) {
  error->status = status;
  RH_LOG(RH_LOG_ERROR, code == RH_EXIT_LOAD ? "the model was not loaded" : "the engine broke",
         rh_log_str("error", error->message), rh_log_str("status", rh_status_name(status)));
  rh_port_write_error(executor->port, 0, error);
  end(executor, code);
}

static void end_with_protocol(rh_executor *executor, const char *reason) {
  RH_LOG(RH_LOG_ERROR, "the daemon broke the protocol", rh_log_str("error", reason));
  end(executor, RH_EXIT_PROTOCOL);
}

static void say_goodbye(rh_executor *executor) {
  rh_error error;
  (void)rh_fail(&error, RH_UNAVAILABLE, "The model is being unloaded.");
  rh_worker_runs_end(&executor->runs, &error);
  rh_port_flush(executor->port);
  // The model is not freed: the end of the process returns its memory at once, which taking it apart only delays.
  rh_dynbuf *out = rh_port_begin(executor->port);
  rh_port_end(executor->port, rh_plain_write(out, RH_FRAME_GOODBYE, 0));
  RH_LOG(RH_LOG_INFO, "model unloaded", rh_log_int("cancelled_runs", (int64_t)executor->runs.cancelled));
  end(executor, RH_EXIT_OK);
}

// --- load ----------------------------------------------------------------------------------------------------------

static bool on_load_progress(void *ctx, double fraction) {
  rh_executor *executor = ctx;
  if (rh_mailbox_is_ending(executor->mailbox)) return false;
  uint64_t now = rh_clock_now_ns();
  if (now - executor->progress_ns < PROGRESS_INTERVAL_NS) return true;
  executor->progress_ns = now;
  rh_dynbuf *out = rh_port_begin(executor->port);
  rh_port_end(executor->port, rh_load_progress_write(out, fraction));
  rh_port_flush(executor->port);
  return true;
}

// The model's task, where it has another than generating, and what its own files say about it.
static rh_status begin_inference(rh_executor *executor, const rh_load *what, rh_model_info *info, rh_error *error) {
  executor->ops->describe(executor->engine, info);
  rh_inference_options options = {.batch_tokens = what->options.batch};
  return rh_inference_new(executor->ops, executor->engine, info, &options, &executor->inference, error);
}

static void tell_loaded(rh_executor *executor, rh_model_info *info, uint64_t started_ns) {
  executor->vram_bytes = info->vram_bytes;
  info->load_ms = rh_ns_to_ms(rh_clock_now_ns() - started_ns);
  RH_LOG(RH_LOG_INFO, "model loaded", rh_log_str("engine", executor->ops->name),
         rh_log_str("description", info->description), rh_log_str("task", info->task), rh_log_int("slots", info->slots),
         rh_log_int("context", info->context), rh_log_num("load_ms", info->load_ms));
  rh_dynbuf *out = rh_port_begin(executor->port);
  rh_port_end(executor->port, rh_loaded_write(out, info));
}

static void load(rh_executor *executor, const rh_load *what) {
  if (executor->engine != NULL) {
    end_with_protocol(executor, "LOAD came twice");
    return;
  }
  rh_error error = {0};
  executor->ops = rh_engine_find(what->engine);
  if (executor->ops == NULL) {
    rh_status status = rh_fail(&error, RH_LOAD_FAILED, "This worker was built without the engine \"%.64s\".",
                               what->engine != NULL ? what->engine : "");
    end_with_error(executor, RH_EXIT_LOAD, status, &error);
    return;
  }
  uint64_t started = rh_clock_now_ns();
  rh_status status = executor->ops->load(what, on_load_progress, executor, &executor->engine, &error);
  rh_model_info info = {0};
  if (status != RH_OK) executor->engine = NULL;
  if (status == RH_OK) status = begin_inference(executor, what, &info, &error);
  if (status == RH_OK) {
    rh_worker_runs_init(&executor->runs, executor->ops, executor->engine, executor->inference, executor->port);
    executor->share_used = what->share;
    tell_loaded(executor, &info, started);
    return;
  }
  // Given up because UNLOAD waits in the mailbox: that is no failure, and its turn comes next.
  if (status == RH_CANCELLED && rh_mailbox_is_ending(executor->mailbox)) return;
  end_with_error(executor, RH_EXIT_LOAD, status, &error);
}

// --- commands ------------------------------------------------------------------------------------------------------

static void begin_run(rh_executor *executor, rh_command *command) {
  if (executor->engine == NULL) {
    rh_command_free(command);
    end_with_protocol(executor, "RUN came before the model was loaded");
    return;
  }
  rh_error error = {0};
  rh_vitals_step_begin(executor->vitals);
  rh_status status = rh_worker_runs_begin(&executor->runs, command, &error);
  rh_vitals_step_end(executor->vitals);
  if (status != RH_OK) end_with_protocol(executor, error.message);
}

// Takes the command.
static void execute(rh_executor *executor, rh_command *command) {
  executor->moving = true;
  switch (command->kind) {
    case RH_COMMAND_LOAD: load(executor, &command->as.load); break;
    case RH_COMMAND_RUN: begin_run(executor, command); return;
    case RH_COMMAND_CANCEL: rh_worker_runs_cancel(&executor->runs, command->stream); break;
    case RH_COMMAND_CREDIT: rh_worker_runs_credit(&executor->runs, command->stream, command->credit); break;
    case RH_COMMAND_UNLOAD: say_goodbye(executor); break;
  }
  rh_command_free(command);
}

// When to look again though no command came.
static uint64_t wake_time(const rh_executor *executor) {
  bool all_paused = rh_worker_runs_paused(&executor->runs) == executor->runs.active.count;
  if (executor->runs.active.count > 0) {
    if (executor->moving) return 0;
    if (executor->until_ns != 0) return executor->until_ns;
    if (!all_paused) return rh_clock_now_ns() + IDLE_STEP_WAIT_NS;
  }
  bool changed = memcmp(&executor->stats, &executor->reported, sizeof executor->stats) != 0;
  return changed ? executor->stats_ns + STATS_INTERVAL_NS : RH_MAILBOX_FOREVER;
}

static bool take_commands(rh_executor *executor) {
  rh_list commands;
  rh_list_init(&commands);
  bool was_full = false;
  bool open = rh_mailbox_take(executor->mailbox, wake_time(executor), &commands, &was_full);
  if (was_full) rh_port_wake(executor->port);
  rh_list_each(&commands, node) {
    rh_command *command = rh_list_entry(node, rh_command, node);
    rh_list_remove(&commands, node);
    if (open && !executor->ended) {
      execute(executor, command);
    } else {
      rh_command_free(command);
    }
  }
  return open;
}

// --- steps ---------------------------------------------------------------------------------------------------------

static void apply_share(rh_executor *executor) {
  int32_t share = atomic_load(&executor->share);
  if (share == executor->share_used || executor->ops->use_threads == NULL) return;
  executor->share_used = share;
  executor->ops->use_threads(executor->engine, share);
}

// One step of what generates, and one batch of what does not. One model may do both.
static void step(rh_executor *executor) {
  bool worked = false, computed = false;
  apply_share(executor);
  rh_error error = {0};
  rh_status status = RH_OK;
  rh_vitals_step_begin(executor->vitals);
  if (executor->runs.generating > 0) status = executor->ops->step(executor->engine, &worked, &error);
  executor->until_ns = 0;
  if (status == RH_OK && executor->inference != NULL) {
    rh_inference_step(executor->inference, &computed, &executor->until_ns);
  }
  rh_vitals_step_end(executor->vitals);
  executor->moving = worked || computed;
  if (status != RH_OK) end_with_error(executor, RH_EXIT_ENGINE, status, &error);
}

static void add_counts(const rh_executor *executor, rh_worker_stats *stats) {
  rh_engine_counts counts = {0};
  bool generates = executor->inference == NULL || rh_inference_generates(executor->inference);
  if (generates) executor->ops->counts(executor->engine, &counts);
  stats->steps = counts.steps;
  stats->prompt_tokens = counts.prompt_tokens;
  stats->cached_tokens = counts.cached_tokens;
  stats->generated_tokens = counts.generated_tokens;
  if (executor->inference == NULL) return;
  rh_inference_counts(executor->inference, &counts);
  stats->steps += counts.steps;
  stats->prompt_tokens += counts.prompt_tokens;
}

static void publish(rh_executor *executor) {
  rh_worker_stats stats = {
      .active_runs = (int64_t)executor->runs.active.count,
      .waiting_runs = (int64_t)executor->runs.waiting.count,
      .paused_runs = (int64_t)rh_worker_runs_paused(&executor->runs),
      .cancelled_runs = executor->runs.cancelled,
  };
  if (executor->engine != NULL) {
    stats.vram_bytes = executor->vram_bytes;
    add_counts(executor, &stats);
  }
  if (memcmp(&stats, &executor->stats, sizeof stats) != 0) {
    executor->stats = stats;
    rh_vitals_publish(executor->vitals, &stats);
  }
  uint64_t now = rh_clock_now_ns();
  bool changed = memcmp(&executor->stats, &executor->reported, sizeof stats) != 0;
  if (!changed || now - executor->stats_ns < STATS_INTERVAL_NS) return;
  executor->reported = executor->stats;
  executor->stats_ns = now;
  rh_worker_stats full;
  rh_vitals_read(executor->vitals, &full);
  rh_dynbuf *out = rh_port_begin(executor->port);
  rh_port_end(executor->port, rh_stats_write(out, RH_FRAME_STATS, &full));
}

rh_worker_exit rh_executor_run(rh_executor *executor) {
  while (!executor->ended) {
    if (!take_commands(executor)) {
      end(executor, RH_EXIT_OK);
      break;
    }
    if (executor->ended) break;
    if (executor->runs.active.count > 0) step(executor);
    if (executor->ended) break;
    if (rh_worker_runs_sweep(&executor->runs)) executor->moving = true;
    publish(executor);
    rh_port_flush(executor->port);
  }
  rh_port_flush(executor->port);
  return executor->exit;
}
