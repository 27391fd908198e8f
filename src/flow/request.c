// SPDX-License-Identifier: Apache-2.0
//
// The neutral starting point of every request. It knows no dialect: what OpenAI or another API promises as its own
// default is set by that API's codec on top of this. Pure, any thread.
#include "flow/request.h"

#include <assert.h>
#include <string.h>

void rh_generate_defaults(rh_generate *generate) {
  assert(generate != NULL);
  *generate = (rh_generate){
      .temperature = 1.0f,
      .top_p = 1.0f,
      .repeat_penalty = 1.0f,
      .penalty_last_n = 64,
      .top_logprobs = -1,
  };
}

static const char *const task_names[RH_TASK_COUNT] = {
    [RH_TASK_CHAT] = "chat",           [RH_TASK_COMPLETE] = "complete", [RH_TASK_EMBED] = "embed",
    [RH_TASK_RERANK] = "rerank",       [RH_TASK_CLASSIFY] = "classify", [RH_TASK_TOKEN_CLASSIFY] = "token-classify",
    [RH_TASK_ZERO_SHOT] = "zero-shot", [RH_TASK_TENSOR] = "tensor",     [RH_TASK_OWN] = "own",
};

const char *rh_task_name(rh_task task) {
  assert(task >= 0 && task < RH_TASK_COUNT);
  return task_names[task];
}

// The hub's words: "Tasks" in the documentation of the transformers and huggingface_hub packages.
static const struct {
  const char *name;
  rh_task task;
} other_names[] = {
    {"text-generation", RH_TASK_COMPLETE},
    {"conversational", RH_TASK_CHAT},
    {"completion", RH_TASK_COMPLETE},
    {"embeddings", RH_TASK_EMBED},
    {"embedding", RH_TASK_EMBED},
    {"feature-extraction", RH_TASK_EMBED},
    {"sentence-similarity", RH_TASK_EMBED},
    {"text-ranking", RH_TASK_RERANK},
    {"reranking", RH_TASK_RERANK},
    {"classification", RH_TASK_CLASSIFY},
    {"text-classification", RH_TASK_CLASSIFY},
    {"sentiment-analysis", RH_TASK_CLASSIFY},
    {"language-id", RH_TASK_CLASSIFY},
    {"token-classification", RH_TASK_TOKEN_CLASSIFY},
    {"ner", RH_TASK_TOKEN_CLASSIFY},
    {"zero-shot-classification", RH_TASK_ZERO_SHOT},
};

rh_task rh_task_from_name(const char *name) {
  for (int task = 0; name != NULL && task < RH_TASK_COUNT; task++) {
    if (strcmp(name, task_names[task]) == 0) return (rh_task)task;
  }
  for (size_t i = 0; name != NULL && i < sizeof other_names / sizeof *other_names; i++) {
    if (strcmp(name, other_names[i].name) == 0) return other_names[i].task;
  }
  return RH_TASK_COUNT;
}
