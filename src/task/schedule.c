// SPDX-License-Identifier: Apache-2.0
//
// Purpose: texts to rows some way ahead, rows of all runs to batches, outputs back to their items. A batch that fails is
// taken apart: its rows are computed one by one, and only those that fail alone are lost.
// Data owned: none. Threads: the engine thread.
// Not here: events, but for handing finished items on.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "task/internal.h"

// How far ahead of the computing a run's texts are read: enough to find rows of one length, and no more than a run that is
// cancelled can waste.
#define AHEAD_ROWS 256
#define AHEAD_TOKENS ((size_t)32 * 1024)
// Text read in one go, so that reading never keeps a batch waiting for long.
#define REFILL_BYTES ((size_t)256 * 1024)

// --- texts to rows -------------------------------------------------------------------------------------------------

static void fail_item(rh_inference_run *run, size_t index, const rh_error *error) {
  rh_item_state *item = &run->items[index];
  if (item->finished) return;
  // Its other rows would be computed for nothing.
  rh_list_each(&run->pending, node) {
    rh_row *row = rh_list_entry(node, rh_row, node);
    if (row->item != index) continue;
    run->pending_tokens -= row->count;
    rh_list_remove(&run->pending, node);
    free(row);
  }
  if (run->encoded == index) rh_windows_end(&run->windows);
  free(item->block);
  free(item->scratch);
  item->block = NULL;
  item->scratch = NULL;
  item->failed = item->finished = true;
  item->error = malloc(sizeof *item->error);
  if (item->error != NULL) *item->error = *error;
}

// The first window of a text that is too long for one row, or the row as it is. The others are cut from what is kept.
static rh_status first_window(rh_inference_run *run, rh_item_state *state, rh_row **row, rh_error *error) {
  size_t length_max = (size_t)run->inference->encoder.length_max;
  if ((*row)->count <= length_max) return RH_OK;
  rh_row *whole = *row;
  *row = NULL;
  int64_t stride = run->infer->has_stride ? run->infer->stride : -1;
  size_t count = 0;
  rh_status status = rh_windows_begin(&run->windows, whole, length_max, stride, &count, error);
  if (status != RH_OK) return status;
  state->parts = count;
  return rh_windows_cut(&run->windows, 0, row, error);
}

static rh_status make_row(rh_inference_run *run, const rh_item *item, uint32_t part, rh_row **out, rh_error *error) {
  rh_text_encoder *encoder = &run->inference->encoder;
  if (item->text == NULL) {
    if (run->task == RH_TASK_EMBED || run->task == RH_TASK_CLASSIFY)
      return rh_text_encode_ids(encoder, item->tokens, item->token_count, run->infer->refuse_long, out, error);
    return rh_fail_param(error, RH_INVALID, "input", "the task %s takes texts, not tokens", rh_task_name(run->task));
  }
  bool windows = run->ops->windows && !run->infer->refuse_long && !run->infer->cut_long;
  if (windows && part > 0) return rh_windows_cut(&run->windows, part, out, error);
  if (run->ops->pairs && item->pair == NULL)
    return rh_fail_param(error, RH_INVALID, "input", "the task %s takes pairs of texts", rh_task_name(run->task));
  rh_row_text text = {.text = item->text,
                      .length = item->length,
                      .pair = item->pair,
                      .pair_length = item->pair_length,
                      .refuse_long = run->infer->refuse_long,
                      .whole = windows,
                      .offsets = run->ops->offsets};
  rh_status status = run->ops->text != NULL ? run->ops->text(run, item, part, &text, error) : RH_OK;
  if (status == RH_OK) status = rh_text_encode(encoder, &text, out, error);
  if (status == RH_OK && windows) status = first_window(run, &run->items[run->encoded], out, error);
  return status;
}

static void next_item(rh_inference_run *run) {
  rh_windows_end(&run->windows);
  run->encoded++;
  run->next_part = 0;
}

// The next row of the run. False when it has no more.
static bool add_row(rh_inference_run *run, size_t *bytes) {
  // One of its rows has failed: the others would be computed for nothing.
  if (run->next_part > 0 && run->items[run->encoded].finished) next_item(run);
  if (run->encoded == run->item_count) return false;
  const rh_item *item = &run->infer->items[run->encoded];
  rh_item_state *state = &run->items[run->encoded];
  if (!state->begun) state->parts = run->ops->parts != NULL ? run->ops->parts(run) : 1;
  state->begun = true;
  rh_error error = {0};
  rh_row *row = NULL;
  rh_status status = make_row(run, item, run->next_part, &row, &error);
  if (run->next_part == 0 || run->windows.whole == NULL)
    *bytes += item->text != NULL ? item->length + item->pair_length : item->token_count;
  if (status != RH_OK) {
    error.status = status;
    fail_item(run, run->encoded, &error);
    next_item(run);
    return true;
  }
  row->run = run;
  row->item = (uint32_t)run->encoded;
  row->part = run->next_part;
  row->prompt = item->text != NULL ? run->prompt_tokens : 0;
  state->tokens += (int64_t)row->count;
  state->truncated = state->truncated || row->truncated;
  run->tokens += (int64_t)row->count;
  run->pending_tokens += row->count;
  rh_list_push_back(&run->pending, &row->node);
  if (++run->next_part == state->parts) next_item(run);
  return true;
}

void rh_inference_run_refill(rh_inference_run *run) {
  size_t bytes = 0;
  if (run->ops == NULL) return;
  while (run->pending.count < AHEAD_ROWS && run->pending_tokens < AHEAD_TOKENS && bytes < REFILL_BYTES) {
    if (!add_row(run, &bytes)) return;
  }
}

// --- choosing ------------------------------------------------------------------------------------------------------

static bool has_work(const rh_inference_run *run) {
  return !run->paused && !run->finished && (run->ops == NULL || run->pending.count > 0);
}

// The run that has had least; *ready counts those with work.
static rh_inference_run *next_run(rh_inference *inference, size_t *ready) {
  rh_inference_run *next = NULL;
  *ready = 0;
  rh_list_each(&inference->runs, node) {
    rh_inference_run *run = rh_list_entry(node, rh_inference_run, node);
    if (!has_work(run)) continue;
    (*ready)++;
    if (next == NULL || run->turn < next->turn) next = run;
  }
  return next;
}

typedef struct selection {
  rh_batch_candidate candidates[RH_BATCH_CANDIDATES_MAX];
  rh_row *rows[RH_BATCH_CANDIDATES_MAX];
  size_t count, tokens;
} selection;

static void add_candidates(selection *s, rh_inference_run *run, size_t most) {
  size_t added = 0;
  rh_list_each(&run->pending, node) {
    if (added == most || s->count == RH_BATCH_CANDIDATES_MAX) return;
    rh_row *row = rh_list_entry(node, rh_row, node);
    s->candidates[s->count] = (rh_batch_candidate){.tokens = row->count, .turn = run->turn, .alone = row->alone};
    s->rows[s->count++] = row;
    s->tokens += row->count;
    added++;
  }
}

// The rows that could go now; the first is the oldest of the run whose turn it is.
static void gather(rh_inference *inference, rh_inference_run *first, size_t ready, selection *s) {
  s->count = 0;
  s->tokens = 0;
  size_t most = RH_BATCH_CANDIDATES_MAX / ready;
  add_candidates(s, first, most);
  rh_list_each(&inference->runs, node) {
    rh_inference_run *run = rh_list_entry(node, rh_inference_run, node);
    if (run != first && run->ops != NULL && has_work(run)) add_candidates(s, run, most);
  }
}

// --- computing -----------------------------------------------------------------------------------------------------

static void take_output(rh_row *row, const rh_output *output) {
  rh_inference_run *run = row->run;
  rh_item_state *item = &run->items[row->item];
  if (item->finished) return;  // another row of it has failed
  rh_error error = {0};
  rh_status status = run->ops->take(run, item, row, output, &error);
  if (status != RH_OK) {
    error.status = status;
    fail_item(run, row->item, &error);
  } else if (++item->done == item->parts) {
    free(item->scratch);
    item->scratch = NULL;
    item->finished = true;
  }
}

static void account(rh_inference *inference, rh_row *const *rows, size_t count, size_t computed) {
  size_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += rows[i]->count;
  inference->counts.steps++;
  inference->counts.prompt_tokens += sum;
  inference->tokens_computed += computed;
  inference->tokens_padding += computed - sum;
  for (size_t i = 0; i < count; i++) {
    rh_inference_run *run = rows[i]->run;
    run->turn += computed / count + 1;
    if (run->work.batch_items < (int64_t)count) run->work.batch_items = (int64_t)count;
    if (run->last_batch == inference->counts.steps) continue;
    run->last_batch = inference->counts.steps;
    run->batch_tokens += computed;
    run->batch_padding += computed - sum;
  }
}

static void compute_batch(rh_inference *inference, rh_row **rows, size_t count) {
  rh_error error = {0};
  size_t computed = 0;
  rh_status status = rh_compute_rows(&inference->compute, rows, count, &computed, &error);
  if (status != RH_OK && count > 1) {
    // One of them is at fault, or together they are too much. Which one shows when each goes by itself.
    for (size_t i = 0; i < count; i++) rows[i]->alone = true;
    return;
  }
  // Out of their runs' lists first: an item that fails frees what it has in there.
  for (size_t i = 0; i < count; i++) {
    rh_list_remove(&rows[i]->run->pending, &rows[i]->node);
    rows[i]->run->pending_tokens -= rows[i]->count;
  }
  if (status == RH_OK) {
    account(inference, rows, count, computed);
    for (size_t i = 0; i < count; i++) take_output(rows[i], &inference->compute.outputs[i]);
  } else {
    error.status = status;
    rows[0]->run->turn += rows[0]->count;
    fail_item(rows[0]->run, rows[0]->item, &error);
  }
  for (size_t i = 0; i < count; i++) free(rows[i]);
}

// True when a batch is worth no waiting: it is full, or what is there does not fit one anyhow.
static bool is_full(const rh_inference *inference, const selection *s, size_t count) {
  return count >= inference->limits.rows || s->tokens >= inference->limits.tokens || count < s->count;
}

static bool compute(rh_inference *inference, rh_inference_run *first, size_t ready, uint64_t *until_ns) {
  selection s;
  gather(inference, first, ready, &s);
  size_t chosen[RH_BATCH_CANDIDATES_MAX];
  size_t count = rh_batch_choose(s.candidates, s.count, 0, &inference->limits, chosen);
  *until_ns = rh_batch_pace_until(&inference->pace, ready, is_full(inference, &s, count), rh_clock_now_ns());
  if (*until_ns != 0) return false;
  rh_row *rows[RH_BATCH_CANDIDATES_MAX];
  for (size_t i = 0; i < count; i++) rows[i] = s.rows[chosen[i]];
  compute_batch(inference, rows, count);
  return true;
}

void rh_inference_step(rh_inference *inference, bool *worked, uint64_t *until_ns) {
  *worked = false;
  *until_ns = 0;
  rh_list_each(&inference->runs, node) {
    rh_inference_run *run = rh_list_entry(node, rh_inference_run, node);
    if (run->paused) continue;
    rh_inference_run_refill(run);
    rh_inference_run_settle(run);
  }
  size_t ready = 0;
  rh_inference_run *first = next_run(inference, &ready);
  if (first == NULL) return;
  inference->turn = first->turn;
  if (first->ops == NULL) {
    rh_tensor_run(first);
    *worked = true;
    return;
  }
  *worked = compute(inference, first, ready, until_ns);
  rh_list_each(&inference->runs, node) rh_inference_run_settle(rh_list_entry(node, rh_inference_run, node));
}
