// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the tasks "classify" and "rerank": one row of logits a text, as scores of the model's own labels, or as one
// score of a pair.
// Data owned: none. Threads: the engine thread.
// Not here: zero-shot (zero_shot.c). Sources: transformers' TextClassificationPipeline; CrossEncoder of
// sentence-transformers.
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

void rh_softmax(float *values, size_t count) {
  float most = values[0];
  for (size_t i = 1; i < count; i++) most = values[i] > most ? values[i] : most;
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += exp((double)values[i] - (double)most);
  for (size_t i = 0; i < count; i++) values[i] = (float)(exp((double)values[i] - (double)most) / sum);
}

float rh_sigmoid(float value) { return (float)(1.0 / (1.0 + exp(-(double)value))); }

typedef struct ranked {
  float score;
  size_t index;
} ranked;

static int better(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score > y->score) return -1;
  if (x->score < y->score) return 1;
  return x->index < y->index ? -1 : 1;
}

// The best first, at most top_k. Labels that are not the model's or the request's own are copied behind the scores.
rh_status rh_scores_block(rh_inference_run *run, rh_item_state *item, const char *const *labels, const float *scores,
                          size_t count, rh_error *error) {
  size_t kept = run->infer->top_k > 0 && (size_t)run->infer->top_k < count ? (size_t)run->infer->top_k : count;
  ranked *order = malloc(count * sizeof *order);
  char *block = malloc(kept * (sizeof(rh_score) + 32));
  if (order == NULL || block == NULL) {
    free(order);
    free(block);
    return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu scores.", count);
  }
  for (size_t i = 0; i < count; i++) order[i] = (ranked){scores[i], i};
  qsort(order, count, sizeof *order, better);
  rh_score *out = (rh_score *)(void *)block;
  for (size_t i = 0; i < kept; i++) {
    char *room = block + kept * sizeof *out + i * 32;
    const char *label =
        labels != NULL ? labels[order[i].index] : rh_inference_label(run->inference, order[i].index, room);
    out[i] = (rh_score){.label = label, .score = order[i].score};
  }
  free(order);
  item->block = block;
  item->count = kept;
  return RH_OK;
}

static bool by_itself(const rh_inference_run *run, size_t labels) {
  rh_problem problem = run->inference->files.problem;
  if (run->infer->multi_label != RH_CHOICE_MODEL) return run->infer->multi_label == RH_CHOICE_YES;
  return problem == RH_PROBLEM_MULTI || labels == 1;
}

static rh_status classify(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                          rh_error *error) {
  (void)row;
  size_t count = output->width;
  if (output->tokens > 0 || count == 0 || count > RH_MODEL_LABELS_MAX) {
    return rh_fail(error, RH_UNSUPPORTED, "the graph does not give one row of label scores for a text");
  }
  float *scores = malloc(count * sizeof *scores);
  if (scores == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu scores.", count);
  memcpy(scores, output->values, count * sizeof *scores);
  bool raw = run->infer->raw_scores ||
             (run->inference->files.problem == RH_PROBLEM_REGRESSION && run->infer->multi_label == RH_CHOICE_MODEL);
  if (!raw && by_itself(run, count)) {
    for (size_t i = 0; i < count; i++) scores[i] = rh_sigmoid(scores[i]);
  } else if (!raw) {
    rh_softmax(scores, count);
  }
  rh_status status = rh_scores_block(run, item, NULL, scores, count, error);
  free(scores);
  return status;
}

static rh_status rerank(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                        rh_error *error) {
  (void)row;
  if (output->tokens > 0 || output->width != 1) {
    return rh_fail_param(error, RH_UNSUPPORTED, "task",
                         "reranking needs a model with one score for a pair; this one has %zu labels; use the task "
                         "\"classify\"",
                         output->width);
  }
  rh_score *score = malloc(sizeof *score);
  if (score == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for a score.");
  bool raw = run->infer->raw_scores || run->inference->files.activation == RH_ACTIVATION_NONE;
  *score = (rh_score){.score = raw ? output->values[0] : rh_sigmoid(output->values[0])};
  item->block = score;
  item->count = 1;
  return RH_OK;
}

static rh_status check_rerank(rh_inference_run *run, rh_error *error) {
  size_t labels = run->inference->files.label_count;
  if (labels <= 1) return RH_OK;
  return rh_fail_param(error, RH_UNSUPPORTED, "task",
                       "reranking needs a model with one score for a pair; this one has %zu labels; use the task "
                       "\"classify\"",
                       labels);
}

const rh_task_ops rh_task_classify = {.output = RH_OUTPUT_ROW, .result = RH_RESULT_SCORES, .take = classify};
const rh_task_ops rh_task_rerank = {
    .output = RH_OUTPUT_ROW, .result = RH_RESULT_SCORES, .pairs = true, .check = check_rerank, .take = rerank};
