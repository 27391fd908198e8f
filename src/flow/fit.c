// SPDX-License-Identifier: Apache-2.0
//
// Which tasks a model serves, as one table, and the sentence for those that it does not. Constant data; any thread.
#include "flow/fit.h"

// Tasks of one family run on the same models: a cross-encoder gives scores, and so does a classifier of pairs. Whether a
// model has the labels that a task needs is for its worker to say.
typedef enum family { GENERATES, EMBEDS, SCORES, SPANS, RAW } family;

static const family families[RH_TASK_COUNT] = {
    [RH_TASK_CHAT] = GENERATES,       [RH_TASK_COMPLETE] = GENERATES, [RH_TASK_EMBED] = EMBEDS,
    [RH_TASK_RERANK] = SCORES,        [RH_TASK_CLASSIFY] = SCORES,    [RH_TASK_ZERO_SHOT] = SCORES,
    [RH_TASK_TOKEN_CLASSIFY] = SPANS, [RH_TASK_TENSOR] = RAW,         [RH_TASK_OWN] = RAW,
};

// What a model of each task is for, in words that follow "is for".
static const char *const purposes[RH_TASK_COUNT] = {
    [RH_TASK_CHAT] = "generating text; use POST /v1/chat/completions",
    [RH_TASK_COMPLETE] = "generating text; use POST /v1/chat/completions",
    [RH_TASK_EMBED] = "embeddings; use POST /v1/embeddings",
    [RH_TASK_RERANK] = "reranking; use POST /v1/rerank",
    [RH_TASK_CLASSIFY] = "classifying text; use POST /api/inference with the task \"classify\"",
    [RH_TASK_TOKEN_CLASSIFY] = "labelling words; use POST /api/inference with the task \"token-classify\"",
    [RH_TASK_ZERO_SHOT] = "zero-shot classification; use POST /api/inference with the task \"zero-shot\"",
    [RH_TASK_TENSOR] = "tensors; use POST /api/inference with the task \"tensor\"",
    [RH_TASK_OWN] = "tensors; use POST /api/inference with the task \"tensor\"",
};

static const char *const refusals[RH_TASK_COUNT] = {
    [RH_TASK_CHAT] = "does not chat",
    [RH_TASK_COMPLETE] = "does not generate text",
    [RH_TASK_EMBED] = "does not make embeddings",
    [RH_TASK_RERANK] = "does not rerank",
    [RH_TASK_CLASSIFY] = "does not classify texts",
    [RH_TASK_TOKEN_CLASSIFY] = "does not label words",
    [RH_TASK_ZERO_SHOT] = "does not classify by given labels",
    [RH_TASK_TENSOR] = "takes no tensors",
    [RH_TASK_OWN] = "has no task of its own here",
};

// A word that we do not know is a newer worker's: nothing but tensors can be asked of it.
static rh_task task_of(const rh_model_info *info) {
  if (info->task[0] == '\0') return RH_TASK_CHAT;
  rh_task task = rh_task_from_name(info->task);
  return task == RH_TASK_COUNT || task == RH_TASK_OWN ? RH_TASK_TENSOR : task;
}

rh_task rh_task_resolve(rh_task task, const rh_model_info *info) {
  return task == RH_TASK_OWN && info != NULL ? task_of(info) : task;
}

rh_status rh_task_check(rh_task task, const rh_model_info *info, const char *model, rh_error *error) {
  rh_task own = task_of(info);
  bool fits = task == RH_TASK_TENSOR || families[own] == families[task];
  if (task == RH_TASK_OWN) fits = !rh_task_generates(own);
  if (fits) return RH_OK;
  return rh_fail_param(error, RH_UNSUPPORTED, "model", "the model \"%s\" %s; it is for %s", model, refusals[task],
                       purposes[own]);
}
