// SPDX-License-Identifier: Apache-2.0
//
// A request in the project's own words, after the dialect was taken off. Everything lives in the request's arena and is
// read-only once the codec has made it. Strings are valid UTF-8 and NUL-terminated.
#ifndef RH_FLOW_REQUEST_H
#define RH_FLOW_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/keep_alive.h"
#include "base/text.h"
#include "flow/infer.h"
#include "flow/limits.h"

typedef enum rh_task {
  RH_TASK_CHAT,            // messages through the model's chat template
  RH_TASK_COMPLETE,        // the prompt as it is
  RH_TASK_EMBED,           // the rest: flow/infer.h
  RH_TASK_RERANK,          // items are pairs of query and document
  RH_TASK_CLASSIFY,        // the model's own labels
  RH_TASK_TOKEN_CLASSIFY,  // spans of the text
  RH_TASK_ZERO_SHOT,       // the client's labels, through a model of natural language inference
  RH_TASK_TENSOR,          // tensors in, tensors out
  RH_TASK_OWN,             // whatever the model is for; the worker decides. Never in an answer
  RH_TASK_COUNT
} rh_task;

// "chat", "complete", "embed", "rerank", "classify", "token-classify", "zero-shot", "tensor", "own".
const char *rh_task_name(rh_task task);
// Also the hub's words for a pipeline ("feature-extraction", "text-classification", ...). RH_TASK_COUNT when unknown.
rh_task rh_task_from_name(const char *name);
static inline bool rh_task_generates(rh_task task) { return task == RH_TASK_CHAT || task == RH_TASK_COMPLETE; }

typedef struct rh_message {
  const char *role;  // "system", "user", "assistant"
  const char *content;
} rh_message;

typedef enum rh_prompt_kind { RH_PROMPT_MESSAGES, RH_PROMPT_TEXT, RH_PROMPT_TOKENS } rh_prompt_kind;

typedef struct rh_prompt {
  rh_prompt_kind kind;
  const rh_message *messages;  // RH_PROMPT_MESSAGES
  const char *text;            // RH_PROMPT_TEXT
  const int32_t *tokens;       // RH_PROMPT_TOKENS: ids of this model's own vocabulary
  size_t count;                // messages or tokens; bytes for text
} rh_prompt;

typedef struct rh_logit_bias {
  int32_t token;
  float bias;
} rh_logit_bias;

// How to generate. Defaults by rh_generate_defaults().
typedef struct rh_generate {
  int64_t max_tokens;       // 0 = until the model ends or the context is full
  float temperature;        // 0 = greedy
  float top_p;              // 1 = off
  float min_p;              // 0 = off
  int32_t top_k;            // 0 = off
  float repeat_penalty;     // 1 = off
  float presence_penalty;   // 0 = off
  float frequency_penalty;  // 0 = off
  int32_t penalty_last_n;   // tokens the penalties look back over
  bool has_seed;
  uint32_t seed;
  const char *const *stops;
  size_t stop_count;
  const rh_logit_bias *logit_bias;
  size_t logit_bias_count;
  int32_t top_logprobs;  // -1 = no logprobs; 0..RH_TOP_LOGPROBS_MAX = that many alternatives
  bool ignore_eos;       // benchmarks: go on past the end-of-text token
} rh_generate;

void rh_generate_defaults(rh_generate *generate);

// One unit of work for a worker: one prompt, one answer.
typedef struct rh_run {
  rh_task task;
  rh_prompt prompt;
  rh_generate generate;
  const rh_infer *infer;  // tasks that do not generate; NULL for the others
  const char *request_id;
} rh_run;

// What a client asked for: prompts x choices runs.
typedef struct rh_request {
  char id[RH_ID_SIZE];  // also the x-request-id of the answer
  rh_task task;
  const char *model;  // as the client wrote it; NULL or "" = the default model
  const rh_prompt *prompts;
  size_t prompt_count;
  int64_t choices;  // answers per prompt ("n")
  rh_generate generate;
  const rh_infer *infer;  // tasks that do not generate: one run for all items, no prompts
  bool stream;
  int32_t priority;            // higher runs first; 0 is usual; -100..100
  uint64_t timeout_ns;         // 0 = the server's default
  int64_t keep_alive;          // ns that the model stays in memory afterwards, or a word of base/keep_alive.h
  const char *prefer_backend;  // NULL, "cpu", "gpu" or "auto"
  const char *session;         // NULL or the client's word for one conversation
  const char *user;            // NULL or the client's word for its user; never logged
  const void *dialect;         // the codec's own notes; nobody else reads it
} rh_request;

// How many runs a request becomes, each a choice of the answer.
static inline size_t rh_request_runs(const rh_request *request) {
  return request->infer != NULL ? 1 : request->prompt_count * (size_t)request->choices;
}

#endif
