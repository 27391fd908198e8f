// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the task "zero-shot": for each of the client's labels a hypothesis beside the text, and how much a model of
// natural language inference thinks that it follows.
// Data owned: none. Threads: the engine thread.
// Source of the formulas: transformers' ZeroShotClassificationPipeline.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

#define HYPOTHESIS "This example is {}."
#define HYPOTHESIS_MAX 8192

static rh_status check(rh_inference_run *run, rh_error *error) {
  const rh_model_files *files = &run->inference->files;
  const rh_infer *infer = run->infer;
  if (files->entailment < 0) {
    return rh_fail_param(error, RH_UNSUPPORTED, "task",
                         "zero-shot classification needs a model of natural language inference; none of this model's "
                         "labels is an entailment; use the task \"%s\"",
                         rh_task_name(files->task));
  }
  if (infer->label_count == 0 || infer->label_count > RH_LABELS_MAX) {
    return rh_fail_param(error, RH_INVALID, "labels", "zero-shot classification takes 1 to %d labels, not %zu",
                         RH_LABELS_MAX, infer->label_count);
  }
  if (infer->hypothesis == NULL) return RH_OK;
  if (strstr(infer->hypothesis, "{}") == NULL || strlen(infer->hypothesis) > HYPOTHESIS_MAX) {
    return rh_fail_param(error, RH_INVALID, "hypothesis",
                         "the hypothesis must hold {} where the label is to stand, and at most %d bytes",
                         HYPOTHESIS_MAX);
  }
  return RH_OK;
}

static size_t parts(const rh_inference_run *run) { return run->infer->label_count; }

static rh_status text(rh_inference_run *run, const rh_item *item, uint32_t part, rh_row_text *out, rh_error *error) {
  const char *template = run->infer->hypothesis != NULL ? run->infer->hypothesis : HYPOTHESIS;
  const char *label = run->infer->labels[part], *hole = strstr(template, "{}");
  size_t before = (size_t)(hole - template), room = strlen(template) + strlen(label) + 1;
  (void)item;
  if (room > run->joined_room) {
    char *joined = realloc(run->joined, room);
    if (joined == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for a hypothesis.");
    run->joined = joined;
    run->joined_room = room;
  }
  memcpy(run->joined, template, before);
  memcpy(run->joined + before, label, strlen(label));
  memcpy(run->joined + before + strlen(label), hole + 2, strlen(hole + 2) + 1);
  out->pair = run->joined;
  out->pair_length = strlen(run->joined);
  out->keep_pair = true;  // what is too long is the text, not the label
  return RH_OK;
}

// Each label by itself: entailment against contradiction. All together: the entailments against each other.
static void score(const rh_inference_run *run, float *entail, const float *contradict, size_t count) {
  bool alone = run->infer->multi_label == RH_CHOICE_YES || count == 1;
  if (!alone) {
    rh_softmax(entail, count);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    float pair[2] = {contradict[i], entail[i]};
    rh_softmax(pair, 2);
    entail[i] = pair[1];
  }
}

static rh_status take(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                      rh_error *error) {
  const rh_model_files *files = &run->inference->files;
  size_t count = run->infer->label_count;
  bool fits =
      output->tokens == 0 && (size_t)files->entailment < output->width && (size_t)files->contradiction < output->width;
  if (!fits) return rh_fail(error, RH_UNSUPPORTED, "the graph does not give the logits of the labels in config.json");
  if (item->scratch == NULL) item->scratch = malloc(2 * count * sizeof(float));
  if (item->scratch == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu scores.", count);
  float *entail = item->scratch, *contradict = entail + count;
  entail[row->part] = output->values[files->entailment];
  contradict[row->part] = output->values[files->contradiction];
  if (item->done + 1 < item->parts) return RH_OK;
  if (!run->infer->raw_scores) score(run, entail, contradict, count);
  return rh_scores_block(run, item, run->infer->labels, entail, count, error);
}

const rh_task_ops rh_task_zero_shot = {
    .output = RH_OUTPUT_ROW, .result = RH_RESULT_SCORES, .check = check, .parts = parts, .text = text, .take = take};
