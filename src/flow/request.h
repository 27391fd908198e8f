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

// A part of a message that is more than text. Which members are set depends on the kind; the others are NULL.
typedef enum rh_piece_kind {
  RH_PIECE_TEXT,         // text
  RH_PIECE_IMAGE,        // url, or media_type and data; detail
  RH_PIECE_TOOL_CALL,    // id, name, arguments; only in messages of the assistant
  RH_PIECE_TOOL_RESULT,  // id, text, failed; only in messages of the role "tool"
  RH_PIECE_REASONING,    // text, signature; only in messages of the assistant
} rh_piece_kind;

typedef struct rh_piece {
  rh_piece_kind kind;
  const char *text;        // TOOL_RESULT: "" when the tool said nothing
  const char *id;          // links a call and its result
  const char *name;        // of the tool
  const char *arguments;   // a JSON object as text
  const char *url;         // of an image that the model's side fetches
  const char *media_type;  // "image/png"
  const char *data;        // base64
  const char *detail;      // OpenAI's "low", "high" or "auto"; NULL = not said
  const char *signature;   // Anthropic's proof of its own reasoning, handed back as it came
  bool failed;             // the tool reported an error
  bool cache_mark;  // Anthropic's cache_control: the prompt up to here is worth keeping. Of no matter for the answer
} rh_piece;

// A thought that Anthropic gives only in secret writing travels as a signature that begins with this, and has no text.
#define RH_REDACTED_THOUGHT "redacted_thinking:"

typedef struct rh_message {
  const char *role;     // "system", "user", "assistant", "tool"
  const char *content;  // all its text, joined by line breaks; "" when it has none
  // Its parts in order, text included. NULL: the content is all there is. A message of the role "tool" has TOOL_RESULTs.
  const rh_piece *pieces;
  size_t piece_count;
} rh_message;

// The content says all: there are no pieces, or they are texts, kept for their marks.
static inline bool rh_message_is_text(const rh_message *message) {
  for (size_t i = 0; i < message->piece_count; i++) {
    if (message->pieces[i].kind != RH_PIECE_TEXT) return false;
  }
  return true;
}

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

typedef struct rh_tool {
  const char *name;
  const char *description;  // NULL = none
  const char *schema;       // of its arguments: JSON Schema as text
  bool strict;              // the arguments must fit the schema
  bool cache_mark;          // as a piece's
} rh_tool;

typedef enum rh_tool_choice { RH_TOOLS_AUTO, RH_TOOLS_NONE, RH_TOOLS_REQUIRED, RH_TOOLS_NAMED } rh_tool_choice;
typedef enum rh_answer_format { RH_ANSWER_TEXT, RH_ANSWER_JSON, RH_ANSWER_SCHEMA } rh_answer_format;

// What only some models can do.
typedef struct rh_extras {
  const rh_tool *tools;
  size_t tool_count;
  rh_tool_choice tool_choice;
  const char *tool_name;  // RH_TOOLS_NAMED
  int parallel_tools;     // several calls in one answer: 1, 0, or -1 = not said
  rh_answer_format format;
  const char *schema_name;  // RH_ANSWER_SCHEMA
  const char *schema;       // JSON Schema as text
  bool schema_strict;
  const char *reasoning_effort;  // NULL, or OpenAI's "none", "minimal", "low", "medium", "high", ...
  int64_t reasoning_tokens;      // Anthropic's budget of its thinking; 0 = not said
  bool reasoning_adaptive;       // Anthropic's "adaptive": the model decides whether and how long it thinks
} rh_extras;

// Abilities that a request cannot do without, as bits of rh_request.needs.
enum {
  RH_NEEDS_TOOLS = 1 << 0,   // tools were given (and may be used), or its messages hold calls or results
  RH_NEEDS_IMAGES = 1 << 1,  // a message holds an image
  RH_NEEDS_JSON = 1 << 2,    // the answer must be JSON
};

// Which values of rh_generate the request itself gave, as bits of rh_generate.given. A remote model has defaults of its
// own: it is told only these.
enum {
  RH_GIVEN_MAX_TOKENS = 1 << 0,
  RH_GIVEN_TEMPERATURE = 1 << 1,
  RH_GIVEN_TOP_P = 1 << 2,
  RH_GIVEN_TOP_K = 1 << 3,
  RH_GIVEN_MIN_P = 1 << 4,
  RH_GIVEN_REPEAT_PENALTY = 1 << 5,
  RH_GIVEN_PRESENCE_PENALTY = 1 << 6,
  RH_GIVEN_FREQUENCY_PENALTY = 1 << 7,
};

// How to generate. Defaults by rh_generate_defaults().
typedef struct rh_generate {
  uint32_t given;           // RH_GIVEN_ bits
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
  const rh_infer *infer;    // tasks that do not generate; NULL for the others
  const rh_extras *extras;  // NULL = none
  // The answer's beginning, which the client has already (another model began it): the model goes on after it and does
  // not repeat it. NULL = none.
  const char *prefix;
  const char *request_id;
  bool local_only;  // it must not leave this machine: who passes it on has to say so
} rh_run;

typedef enum rh_privacy { RH_PRIVACY_UNSET, RH_PRIVACY_LOW, RH_PRIVACY_MEDIUM, RH_PRIVACY_HIGH } rh_privacy;
typedef enum rh_cache_wish {
  RH_CACHE_USUAL,  // answers that would be the same again
  RH_CACHE_ASKED,  // this answer too, though chance is in it
  RH_CACHE_FRESH,  // do not look it up, but keep the new answer
  RH_CACHE_NEVER,
  RH_CACHE_ONLY,  // no answer but one from the cache
} rh_cache_wish;

// What a client says about where and how its request should run. Strings NULL = not said.
typedef struct rh_hints {
  rh_privacy privacy;      // HIGH is as local_only
  bool local_only;         // it must not leave this machine
  const char *agent_type;  // "researcher", "coder", ...
  const char *complexity;  // "low", "medium", "high": wins over our own estimate
  const char *strategy;    // "cost", "latency", "quality", ... in place of the configured one
  rh_cache_wish cache;
  double cache_age_max_s;  // older answers are not wanted; < 0 = any
} rh_hints;

// What a client asked for: prompts x choices runs.
typedef struct rh_request {
  char id[RH_ID_SIZE];  // also the x-request-id of the answer
  rh_task task;
  const char *model;  // as the client wrote it; NULL or "" = the default model
  const rh_prompt *prompts;
  size_t prompt_count;
  int64_t choices;  // answers per prompt ("n")
  rh_generate generate;
  const rh_infer *infer;    // tasks that do not generate: one run for all items, no prompts
  const rh_extras *extras;  // NULL = none
  uint32_t needs;           // RH_NEEDS_ bits
  rh_hints hints;
  bool stream;
  int32_t priority;            // higher runs first; 0 is usual; -100..100
  uint64_t timeout_ns;         // 0 = the server's default
  int64_t keep_alive;          // ns that the model stays in memory afterwards, or a word of base/keep_alive.h
  const char *prefer_backend;  // NULL, "cpu", "gpu" or "auto"
  const char *session;         // NULL or the client's word for one conversation
  const char *user;            // NULL or the client's word for its user; never logged
  const void *dialect;         // the codec's own notes; nobody else reads it
} rh_request;

// About how many tokens so much text is, where nobody has counted: most vocabularies need one for four bytes of English.
static inline int64_t rh_tokens_of_bytes(size_t bytes) { return (int64_t)(bytes / 4); }

// How many runs a request becomes, each a choice of the answer.
static inline size_t rh_request_runs(const rh_request *request) {
  return request->infer != NULL ? 1 : request->prompt_count * (size_t)request->choices;
}

#endif
