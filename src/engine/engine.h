// SPDX-License-Identifier: Apache-2.0
//
// The engine boundary: one loaded model that serves many sequences at once, one step at a time.
//
// Concurrency: every function is called on one thread, the worker's engine thread; probe() may be called on any thread
// before a load. An engine may start threads of its own but calls back only from inside step().
// Version: RH_ENGINE_VERSION changes with any change of this header; both sides are built together.
// An engine knows no JSON, no HTTP and no stop strings; it turns tokens into tokens.
#ifndef RH_ENGINE_ENGINE_H
#define RH_ENGINE_ENGINE_H

#include "base/dynbuf.h"
#include "base/status.h"
#include "flow/event.h"
#include "flow/infer.h"
#include "flow/model_info.h"
#include "flow/request.h"

#define RH_ENGINE_VERSION 3

typedef struct rh_engine rh_engine;      // opaque; each engine has its own
typedef struct rh_sequence rh_sequence;  // one run inside an engine

typedef struct rh_token {
  int32_t id;
  const char *bytes;  // its text; may be part of a character; valid during the call
  size_t length;
  bool end;       // an end-of-generation token: has no text
  float logprob;  // natural logarithm, only when the run asked for logprobs
  const rh_top_logprob *top;
  size_t top_count;
} rh_token;

typedef enum rh_next { RH_NEXT_MORE, RH_NEXT_STOP } rh_next;

// How an engine reports on a sequence. Called only from inside step().
typedef struct rh_sequence_listener {
  // A token was generated. RH_NEXT_STOP ends the sequence: the engine frees its slot and never calls again.
  rh_next (*token)(void *ctx, const rh_token *token);
  // `done` of `total` prompt tokens are computed (cached ones count as done). May be NULL.
  void (*prompt_progress)(void *ctx, int64_t done, int64_t total);
  // The context is full: no further token fits. The sequence is over.
  void (*context_full)(void *ctx);
  // The sequence failed. It is over.
  void (*failed)(void *ctx, const rh_error *error);
  void *ctx;
} rh_sequence_listener;

// Numbers an engine keeps while it works; see rh_worker_stats.
typedef struct rh_engine_counts {
  uint64_t steps;
  uint64_t prompt_tokens;
  uint64_t cached_tokens;
  uint64_t generated_tokens;
} rh_engine_counts;

// --- models that do not generate -----------------------------------------------------------------------------------

// An input or output of a model's graph.
typedef struct rh_graph_port {
  const char *name;
  rh_dtype type;
  int64_t shape[RH_TENSOR_RANK_MAX];          // -1 = any size
  const char *dimension[RH_TENSOR_RANK_MAX];  // the graph's word for it ("batch"), or NULL
  size_t rank;
} rh_graph_port;

typedef struct rh_graph {
  const rh_graph_port *inputs, *outputs;
  size_t input_count, output_count;
} rh_graph;

// Token ids of several inputs, for one computation.
typedef struct rh_token_row {
  const int32_t *ids;
  const int32_t *types;  // NULL = all 0
  size_t count;
} rh_token_row;

// A text as tokens of an engine that has a tokenizer of its own. The arrays are the engine's, valid until it is asked again.
typedef struct rh_token_text {
  const int32_t *ids;
  const int32_t *types;           // NULL = all 0
  const uint32_t *starts, *ends;  // in the text they are from, in code points; NULL = the engine does not know
  size_t count;
  size_t head, tail;  // so many at the beginning and at the end were added by the model and stay when the rest is cut
} rh_token_text;

// What an engine can do besides generating. Members may be NULL; an engine has `graph` and `run` (tensors), or `tokenize` and
// `embed`. What is computed here is counted by the task that asks for it, not in rh_engine_counts.
// Called between steps, on the engine thread. A call computes at once and is bounded by what it is given.
typedef struct rh_engine_infer_ops {
  // The model's folder or file, where its own configuration and tokenizer lie. Lives as long as the engine.
  const char *(*folder)(const rh_engine *engine);
  // What stands in place of the folder's files where there is no folder, or where the engine knows better: the text of a
  // config.json, with the keys of the sentence-transformers files beside its own (src/task/model_files.h). NULL = nothing.
  const char *(*config)(const rh_engine *engine);

  const rh_graph *(*graph)(const rh_engine *engine);  // NULL: this model has none
  // Tensors by name in, by name out. `wanted` NULL = all outputs. *outputs is valid until the next call. A wrong name, type
  // or shape is RH_INVALID and says what the graph takes; what the graph makes of its data, RH_INVALID too.
  rh_status (*run)(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                   size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error);

  // For models whose engine knows their tokens. `pair` NULL = none.
  rh_status (*tokenize)(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                        bool add_special, rh_token_text *out, rh_error *error);
  // And their pooling.
  // One vector of rh_model_info.dimensions floats for each row, not normalized, one after another in `out`.
  rh_status (*embed)(rh_engine *engine, const rh_token_row *rows, size_t row_count, float *out, rh_error *error);
} rh_engine_infer_ops;

typedef struct rh_engine_ops {
  const char *name;     // "llama"
  const char *version;  // filled by the engine; may be a fixed word

  // Append a JSON object: {"engine","version","available":bool,"reason","devices":[{"name","description","type",
  // "memory_bytes","memory_free_bytes"}],"acceleration":"..."} for `roundhouse info`.
  rh_status (*probe)(rh_dynbuf *out);

  // Load a model. `progress` may be called with 0..1; when it returns false the load is given up with RH_CANCELLED.
  rh_status (*load)(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                    rh_engine **out, rh_error *error);
  void (*describe)(const rh_engine *engine, rh_model_info *info);

  // Begin a run: template, tokenize, check that it fits (RH_CONTEXT_OVERFLOW with both numbers), take a slot.
  // RH_AGAIN: no slot is free now (the worker keeps the run waiting). `run` is only read during the call; the listener
  // is copied. *prompt_tokens counts the whole prompt, *cached_tokens the part that needs no computing.
  rh_status (*start)(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener, rh_sequence **out,
                     int64_t *prompt_tokens, int64_t *cached_tokens, rh_error *error);

  // Stop a sequence that has not ended by itself and free its slot. Not to be called from inside the listener.
  void (*stop)(rh_engine *engine, rh_sequence *sequence);

  // A paused sequence keeps its slot but generates nothing.
  void (*pause)(rh_engine *engine, rh_sequence *sequence, bool paused);

  // Do one bounded piece of work for all sequences (one batch). *worked is false when there was nothing to do.
  // An error means that the engine is broken and the worker must end.
  rh_status (*step)(rh_engine *engine, bool *worked, rh_error *error);

  // Compute with at most so many threads from the next step on; 0 = as many as it was loaded with. Other models compute
  // on this machine too. NULL when the engine has no threads.
  void (*use_threads)(rh_engine *engine, int32_t threads);

  // What the loaded model does besides, or instead of, generating; NULL = nothing. start() may be NULL where it cannot
  // generate. A function, because one engine loads models of both kinds.
  const rh_engine_infer_ops *(*infer)(const rh_engine *engine);

  void (*counts)(const rh_engine *engine, rh_engine_counts *counts);
  void (*unload)(rh_engine *engine);
} rh_engine_ops;

// The engines of this build, a NULL-terminated table (engine/registry.c), and the one of a name or NULL.
const rh_engine_ops *const *rh_engine_all(void);
const rh_engine_ops *rh_engine_find(const char *name);

#endif
