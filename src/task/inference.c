// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the runs of a model that does not generate, from their beginning to their last event: results in order, failures
// of single items, pauses, progress, counts.
// Data owned: the model's files, tokenizer and buffers; each run owns its items and its rows that wait. Threads: the
// engine thread.
// Not here: which rows are computed together and when (schedule.c), and what the numbers mean (a file for each task).
#include "task/inference.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "flow/fit.h"
#include "task/internal.h"

#define PROGRESS_NS (100 * RH_NS_PER_MS)

// --- the model -----------------------------------------------------------------------------------------------------

static const rh_task_ops *ops_of(rh_task task) {
  switch (task) {
    case RH_TASK_EMBED: return &rh_task_embed;
    case RH_TASK_CLASSIFY: return &rh_task_classify;
    case RH_TASK_RERANK: return &rh_task_rerank;
    case RH_TASK_TOKEN_CLASSIFY: return &rh_task_token_classify;
    case RH_TASK_ZERO_SHOT: return &rh_task_zero_shot;
    default: return NULL;
  }
}

static int64_t usual(int64_t value, int64_t otherwise, int64_t max) {
  int64_t chosen = value > 0 ? value : otherwise;
  return chosen < max ? chosen : max;
}

static void set_limits(rh_inference *inference, const rh_inference_options *options) {
  const rh_inference_options none = {0};
  if (options == NULL) options = &none;
  bool cpu = strncmp(inference->info.device, "cpu", 3) == 0 || inference->info.device[0] == '\0';
  int64_t rows = usual(options->batch_rows, cpu ? 64 : 256, RH_BATCH_CANDIDATES_MAX);
  if (inference->compute.fixed_batch > 0 && inference->compute.fixed_batch < rows) {
    rows = inference->compute.fixed_batch;
  }
  inference->limits = (rh_batch_limits){
      .tokens = (size_t)usual(options->batch_tokens, cpu ? 2048 : 16384, INT64_C(1) << 24),
      .rows = (size_t)rows,
      .waste = 0.1,
      .slack = 32,
  };
  int64_t wait_us = options->wait_us == 0 ? 2000 : options->wait_us;
  inference->pace.wait_ns = wait_us > 0 ? (uint64_t)wait_us * RH_NS_PER_US : 0;
}

// What a text model needs beside its graph.
static rh_status prepare_texts(rh_inference *inference, rh_error *error) {
  const rh_model_files *files = &inference->files;
  const rh_task_ops *task = ops_of(files->task);
  if (task == NULL) {
    return rh_fail(error, RH_UNSUPPORTED,
                   "nothing beside the model says what it is for; it can be run with the task "
                   "\"tensor\"");
  }
  rh_text_encoder *encoder = &inference->encoder;
  rh_status status = rh_text_encoder_init(encoder, inference->ops, inference->engine, files, &inference->info, error);
  if (status != RH_OK) return status;
  status = rh_compute_init(&inference->compute, inference->ops, inference->engine, task->output,
                           inference->info.dimensions, encoder->pad, error);
  if (status != RH_OK) return status;
  int64_t fixed = inference->compute.fixed_length;
  if (fixed > 0 && fixed < encoder->length_max) encoder->length_max = fixed;
  return RH_OK;
}

// The dimensions of what embed() will give; 0 = only a computation can tell.
static int64_t embedding_dimensions(const rh_inference *inference) {
  const rh_model_files *files = &inference->files;
  if (files->dense_count > 0) return (int64_t)files->dense[files->dense_count - 1].out;
  int64_t width = (int64_t)inference->compute.width;
  if (width == 0) width = files->hidden_size;
  int64_t poolings = 0;
  for (unsigned bits = files->pooling; bits != 0; bits &= bits - 1) poolings++;
  return inference->compute.output_tokens ? width * poolings : width;
}

static void tell_info(rh_inference *inference, rh_model_info *info) {
  if (info->task[0] == '\0') return;  // it generates; its graph may be run raw besides
  bool texts = inference->text_error.status == RH_OK;
  rh_task task = texts ? inference->files.task : RH_TASK_TENSOR;
  (void)rh_text_copy(info->task, sizeof info->task, rh_task_name(task));
  info->dimensions = task == RH_TASK_EMBED ? embedding_dimensions(inference) : 0;
  if (texts) info->context = inference->encoder.length_max;
  if (texts && info->vocabulary == 0) info->vocabulary = inference->encoder.vocabulary;
  if (info->architecture[0] == '\0') {
    (void)rh_text_copy(info->architecture, sizeof info->architecture, inference->files.architecture);
  }
}

rh_status rh_inference_new(const rh_engine_ops *ops, rh_engine *engine, rh_model_info *info,
                           const rh_inference_options *options, rh_inference **out, rh_error *error) {
  *out = NULL;
  const rh_engine_infer_ops *infer = ops->infer != NULL ? ops->infer(engine) : NULL;
  if (infer == NULL) return RH_OK;
  rh_inference *inference = calloc(1, sizeof *inference);
  if (inference == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the model's task.");
  inference->ops = ops;
  inference->infer = infer;
  inference->engine = engine;
  inference->info = *info;
  rh_list_init(&inference->runs);
  const char *folder = infer->folder != NULL ? infer->folder(engine) : NULL;
  const char *config = infer->config != NULL ? infer->config(engine) : NULL;
  rh_status status = rh_model_files_read(folder, config, &inference->files, &inference->text_error);
  if (info->task[0] == '\0') inference->files.task = RH_TASK_TENSOR;
  if (status == RH_OK) status = prepare_texts(inference, &inference->text_error);
  inference->text_error.status = status;
  if (status != RH_OK && (infer->run == NULL || status == RH_NO_MEMORY)) {
    if (error != NULL) *error = inference->text_error;
    rh_inference_free(inference);
    return status;
  }
  if (status != RH_OK && inference->files.task != RH_TASK_TENSOR) {
    RH_LOG(RH_LOG_WARN, "the model can only be run with tensors", rh_log_str("reason", inference->text_error.message));
  }
  tell_info(inference, info);
  inference->info = *info;
  set_limits(inference, options);
  *out = inference;
  return RH_OK;
}

void rh_inference_free(rh_inference *inference) {
  if (inference == NULL) return;
  assert(inference->runs.count == 0);
  rh_compute_free(&inference->compute);
  rh_text_encoder_free(&inference->encoder);
  rh_model_files_free(&inference->files);
  free(inference);
}

const char *rh_inference_task(const rh_inference *inference) { return inference->info.task; }
bool rh_inference_generates(const rh_inference *inference) { return inference->info.task[0] == '\0'; }

const char *rh_inference_label(const rh_inference *inference, size_t id, char buffer[32]) {
  const rh_model_files *files = &inference->files;
  if (id < files->label_count && files->labels[id] != NULL) return files->labels[id];
  (void)snprintf(buffer, 32, "LABEL_%zu", id);
  return buffer;
}

void rh_inference_counts(const rh_inference *inference, rh_engine_counts *counts) { *counts = inference->counts; }

double rh_inference_padding(const rh_inference *inference) {
  uint64_t all = inference->tokens_computed;
  return all > 0 ? (double)inference->tokens_padding / (double)all : 0;
}

// --- events --------------------------------------------------------------------------------------------------------

void rh_inference_run_push(rh_inference_run *run, const rh_event *event) {
  assert(!run->finished);
  run->finished = rh_event_is_final(event);
  if (rh_sink_push(&run->sink, event) == RH_WAIT) rh_inference_run_pause(run, true);
  if (!run->finished) return;
  rh_list_remove(&run->inference->runs, &run->node);
  rh_batch_pace_answered(&run->inference->pace, rh_clock_now_ns());
}

void rh_inference_run_fail(rh_inference_run *run, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR};
  event.as.error = *error;
  rh_inference_run_push(run, &event);
}

static void push_result(rh_inference_run *run, size_t index) {
  rh_item_state *item = &run->items[index];
  rh_event event = {.kind = RH_EVENT_RESULT};
  rh_result *result = &event.as.result;
  *result = (rh_result){.kind = item->failed ? RH_RESULT_FAILED : run->ops->result,
                        .item = (uint32_t)index,
                        .tokens = item->tokens,
                        .truncated = item->truncated,
                        .windows = run->ops->windows && !item->failed && item->parts > 1 ? (uint32_t)item->parts : 0,
                        .count = item->count};
  if (item->failed) {
    result->count = 0;
    if (item->error != NULL) result->error = *item->error;
    result->error.status = item->error != NULL ? item->error->status : RH_NO_MEMORY;
  } else if (result->kind == RH_RESULT_VECTOR) {
    result->vector = item->block;
  } else if (result->kind == RH_RESULT_SCORES) {
    result->scores = item->block;
  } else {
    result->spans = item->block;
  }
  rh_inference_run_push(run, &event);
  free(item->block);
  free(item->error);
  item->block = NULL;
  item->error = NULL;
}

static void conclude(rh_inference_run *run) {
  rh_event event = {.kind = RH_EVENT_USAGE};
  uint64_t all = run->batch_tokens;
  run->work.padding = all > 0 ? (double)run->batch_padding / (double)all : 0;
  event.as.usage = (rh_usage){
      .prompt_tokens = run->tokens, .prompt_ms = rh_ns_to_ms(rh_clock_now_ns() - run->started_ns), .work = run->work};
  rh_inference_run_push(run, &event);
  event = (rh_event){.kind = RH_EVENT_END};
  event.as.end.finish = RH_FINISH_STOP;
  rh_inference_run_push(run, &event);
}

// Hand on what is ready, in order; end the run when that was all.
void rh_inference_run_settle(rh_inference_run *run) {
  if (run->ops == NULL || run->finished) return;
  while (!run->paused && run->sent < run->item_count && run->items[run->sent].finished) push_result(run, run->sent++);
  if (run->sent == run->item_count) {
    conclude(run);
    return;
  }
  uint64_t now = rh_clock_now_ns();
  if (run->paused || now - run->told_ns < PROGRESS_NS) return;
  run->told_ns = now;
  size_t done = run->sent;
  for (size_t i = run->sent; i < run->encoded; i++) done += run->items[i].finished ? 1 : 0;
  rh_event event = {.kind = RH_EVENT_PROGRESS};
  event.as.progress.fraction = (double)done / (double)run->item_count;
  rh_inference_run_push(run, &event);
}

// --- begin, pause, end ---------------------------------------------------------------------------------------------

// Labels in a request that names no task can only mean one thing.
static rh_task choose_task(const rh_inference *inference, const rh_run *run) {
  bool labels = run->task == RH_TASK_OWN && run->infer->label_count > 0 && inference->files.entailment >= 0;
  return labels ? RH_TASK_ZERO_SHOT : rh_task_resolve(run->task, &inference->info);
}

static rh_status check_run(const rh_inference *inference, rh_task task, const rh_infer *infer, rh_error *error) {
  const rh_model_info *info = &inference->info;
  const char *name = info->description[0] != '\0' ? info->description : info->engine;
  rh_status status = rh_task_check(task, info, name, error);
  if (status != RH_OK) return status;
  if (task == RH_TASK_TENSOR) {
    if (inference->infer->run == NULL) {
      return rh_fail_param(error, RH_UNSUPPORTED, "task", "the engine %s takes no tensors with this model",
                           inference->ops->name);
    }
    return RH_OK;
  }
  if (inference->text_error.status != RH_OK) {
    if (error != NULL) *error = inference->text_error;
    return inference->text_error.status;
  }
  if (infer->has_stride && !ops_of(task)->windows) {
    return rh_fail_param(error, RH_INVALID, "stride",
                         "the task %s does not read a text in windows, so it has no stride", rh_task_name(task));
  }
  if (infer->item_count <= RH_ITEMS_MAX) return RH_OK;
  return rh_fail_param(error, RH_TOO_LARGE, "input", "a run takes at most %d inputs, this one has %zu", RH_ITEMS_MAX,
                       infer->item_count);
}

rh_status rh_inference_begin(rh_inference *inference, const rh_run *run, const rh_sink *sink, rh_inference_run **out,
                             rh_error *error) {
  if (run->infer == NULL) return rh_fail(error, RH_INTERNAL, "a run of this task came without its inputs");
  int64_t slots = inference->info.slots > 0 ? inference->info.slots : 64;
  if ((int64_t)inference->runs.count >= slots) return rh_fail(error, RH_AGAIN, "All slots are taken.");
  rh_task task = choose_task(inference, run);
  rh_status status = check_run(inference, task, run->infer, error);
  if (status != RH_OK) return status;
  rh_inference_run *made = calloc(1, sizeof *made);
  if (made != NULL) made->items = calloc(run->infer->item_count + 1, sizeof *made->items);
  if (made == NULL || made->items == NULL) {
    free(made);
    return rh_fail(error, RH_NO_MEMORY, "There is no memory for one more run.");
  }
  made->inference = inference;
  made->run = run;
  made->infer = run->infer;
  made->task = task;
  made->ops = ops_of(task);
  made->sink = *sink;
  made->item_count = made->ops != NULL ? run->infer->item_count : 0;
  made->started_ns = made->told_ns = rh_clock_now_ns();
  made->turn = inference->turn;
  rh_list_init(&made->pending);
  if (made->ops != NULL && made->ops->check != NULL) status = made->ops->check(made, error);
  if (status != RH_OK) {
    rh_inference_run_free(made);
    return status;
  }
  rh_list_push_back(&inference->runs, &made->node);
  rh_batch_pace_note(&inference->pace, inference->runs.count, made->started_ns);
  rh_inference_run_refill(made);
  rh_event event = {.kind = RH_EVENT_START};
  event.as.start.prompt_tokens = made->tokens;  // of what was read so far; the usage counts all
  rh_inference_run_push(made, &event);
  rh_inference_run_settle(made);
  *out = made;
  return RH_OK;
}

bool rh_inference_run_finished(const rh_inference_run *run) { return run->finished; }

void rh_inference_run_pause(rh_inference_run *run, bool paused) {
  if (run->finished || run->paused == paused) return;
  run->paused = paused;
  uint64_t now = rh_clock_now_ns();
  if (paused) {
    run->paused_ns = now;
    return;
  }
  run->started_ns += now - run->paused_ns;
  run->told_ns += now - run->paused_ns;
  rh_inference_run_settle(run);
}

void rh_inference_run_free(rh_inference_run *run) {
  if (run == NULL) return;
  if (rh_list_linked(&run->node)) rh_list_remove(&run->inference->runs, &run->node);
  rh_list_each(&run->pending, node) {
    rh_list_remove(&run->pending, node);
    free(rh_list_entry(node, rh_row, node));
  }
  for (size_t i = 0; i < run->item_count; i++) {
    free(run->items[i].block);
    free(run->items[i].scratch);
    free(run->items[i].error);
  }
  free(run->items);
  rh_windows_end(&run->windows);
  free(run->joined);
  free(run);
}
