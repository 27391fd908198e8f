// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share. Nobody outside includes this.
//
// One llama context serves all slots. A slot is one of llama's sequence ids with the list of tokens whose keys and
// values its cache holds; the list outlives the run, so that the next prompt with the same beginning need not compute
// them again.
#ifndef RH_ENGINE_LLAMA_INTERNAL_H
#define RH_ENGINE_LLAMA_INTERNAL_H

#include <llama.h>

#include "base/list.h"
#include "engine/common/fit.h"
#include "engine/common/prefix.h"
#include "engine/engine.h"
#include "sample/sampler.h"
#include "template/template.h"

#define RH_LLAMA_CONTEXT_DEFAULT 4096
#define RH_LLAMA_SLOTS_DEFAULT 4
#define RH_LLAMA_BATCH_DEFAULT 512
#define RH_LLAMA_UBATCH 512
#define RH_LLAMA_CHUNK_DEFAULT 512
#define RH_LLAMA_EMBED_SLOTS 64  // runs of a model that gives vectors
#define RH_LLAMA_EMBED_TEXTS 64  // texts of one of its batches

// One of llama's sequence ids, told by the place among engine->slots; the run that holds it is an rh_sequence.
typedef rh_prefix rh_slot;

struct rh_sequence {
  rh_list_node node;  // in engine->running, oldest first
  rh_slot *slot;
  rh_sequence_listener listener;
  llama_token *prompt;
  int64_t prompt_count;
  bool decoding;  // the prompt is computed; `next` waits to be decoded
  bool paused;
  llama_token next;
  int32_t batch_index;  // where in the batch its logits will be, or -1
  int64_t batch_count;  // how many of its tokens are in the batch
  rh_sampler *sampler;
  int32_t top_logprobs;  // -1 = no logprobs
};

// What libllama was built with and may use on this machine. Made once per process.
typedef struct rh_llama_library {
  char folder[512];        // where the backends' libraries were looked for
  char kernels[128];       // the matrix kernels in use and why: "avx2 (...)" or "stock (...)"
  char acceleration[128];  // the kernels, the CPU variant in use and what it can do
  struct ggml_threadpool *(*threadpool_new)(struct ggml_threadpool_params *params);  // NULL when the backend has none
  void (*threadpool_free)(struct ggml_threadpool *pool);
  bool has_cpu;
} rh_llama_library;

struct rh_engine {
  const rh_llama_library *library;
  struct llama_model *model;
  struct llama_context *context;
  const struct llama_vocab *vocab;
  llama_memory_t memory;
  struct llama_batch batch;
  struct ggml_threadpool *pool;  // NULL = llama makes threads as it needs them

  const char *chat_template;  // the model's own, or NULL
  rh_template *template;      // made of it; NULL when it could not be read
  char name[128];             // for messages: the file's name
  int64_t context_size;       // tokens of one request
  int64_t context_trained;
  int64_t batch_size;
  int64_t prefill_chunk;
  int32_t threads;
  int32_t vocabulary;
  int32_t sliding_window;  // 0 = every position stays visible
  bool on_gpu;
  int64_t vram_bytes;  // what the GPUs had less after the load than before
  double load_ms;

  rh_slot *slots;
  size_t slot_count;
  uint64_t use_clock;
  rh_list running;
  bool stepping;  // inside step(): no sequence may be stopped from outside

  llama_token *end_tokens;  // every token that ends a generation
  size_t end_token_count;
  int32_t piece_bytes_max;  // the longest text of one token
  bool bytes_bound_tokens;  // no token can stand for more bytes than that (see prompt.c)
  bool tokens_strip_space;  // some tokens swallow white space around them
  char *pieces;             // scratch: RH_TOP_LOGPROBS_MAX + 1 texts of piece_bytes_max bytes

  // A model that gives vectors (embed.c); then there are no slots and no sequences.
  bool embeds;
  enum llama_pooling_type pooling;
  int32_t embedding_width;
  int32_t texts_max;
  char *config;              // see rh_engine_infer_ops.config
  llama_token *text_tokens;  // of the text that was tokenized last
  size_t text_room;

  rh_engine_counts counts;
};

// log.c: llama's log goes to ours; its last error lines are kept for the message of a failed call.
void rh_llama_log_install(void);
void rh_llama_log_forget(void);
// The error lines since the last _forget, newest last, joined by "; ", or `otherwise`.
void rh_llama_log_reason(char *out, size_t size, const char *otherwise);

// library.c: find the backends. The result lives for ever.
const rh_llama_library *rh_llama_library_get(void);
rh_status rh_llama_library_probe(rh_dynbuf *out);
// "cpu", or the GPUs' names ("cuda:0, cuda:1").
void rh_llama_library_device_names(char *out, size_t size, bool on_gpu);
// Bytes free on all GPUs together; 0 without one. The first call may make a driver's context on each.
int64_t rh_llama_library_gpu_free_bytes(void);

// kernels.c: have our kernels take the place of llama.cpp's where they can, and write which ones are in use to `words`.
void rh_llama_kernels_install(void *backend_function, const char *folder, char *words, size_t size);
// Are the weights about to be loaded read from a mapping of their file?
void rh_llama_kernels_mapped(bool from_mapping);

// file.c: refuse what is plainly no GGUF model before llama sees it, with a message a person can act on.
rh_status rh_llama_file_check(const char *path, rh_error *error);

// load.c
rh_status rh_llama_load(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                        rh_engine **out, rh_error *error);
void rh_llama_unload(rh_engine *engine);

// describe.c
void rh_llama_describe(const rh_engine *engine, rh_model_info *info);

// vocabulary.c: what load() learns by walking over all tokens once. RH_NO_MEMORY or RH_OK.
rh_status rh_llama_vocabulary_scan(rh_engine *engine);
// The text of a token into `out` (piece_bytes_max bytes); control tokens have none. Returns its length.
size_t rh_llama_vocabulary_piece(const rh_engine *engine, llama_token token, char *out);

// prompt.c: the tokens of a run's prompt, checked against the context. The caller frees *tokens.
rh_status rh_llama_prompt_make(const rh_engine *engine, const rh_run *run, llama_token **tokens, int64_t *count,
                               rh_error *error);

// template.c: make the template of the model's own text, if it has one. A failure is logged.
void rh_llama_template_open(rh_engine *engine);
// The messages as the model's own chat template writes them. The caller frees *text.
rh_status rh_llama_template_apply(const rh_engine *engine, const rh_prompt *prompt, char **text, size_t *length,
                                  rh_error *error);

// sampler.c: the sequence's sampler, from its run and its prompt.
rh_status rh_llama_sampler_new(const rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error);
// Choose the sequence's next token from its logits of the last batch. With logprobs, `top` must have room for
// RH_TOP_LOGPROBS_MAX and `token` points into it and into the engine's scratch afterwards.
void rh_llama_sampler_pick(rh_engine *engine, rh_sequence *sequence, rh_token *token, rh_top_logprob *top);

// slots.c
// Give a free slot to `sequence`, keeping in its cache what can be kept of the prompt when `reuse`.
void rh_llama_slots_claim(rh_engine *engine, rh_sequence *sequence, bool reuse);
void rh_llama_slots_release(rh_engine *engine, rh_sequence *sequence);
void rh_llama_slots_clear(rh_engine *engine, rh_slot *slot);  // forget what its cache holds

// embed.c: does the loaded model give vectors instead of text? Sets the engine's pooling.
bool rh_llama_embed_detect(rh_engine *engine);
// Chooses the engine's sizes.
struct llama_context_params rh_llama_embed_params(rh_engine *engine, const rh_load_options *options);
rh_status rh_llama_embed_prepare(rh_engine *engine, rh_error *error);  // with the context there
rh_status rh_llama_embed_warm_up(rh_engine *engine, rh_error *error);
const rh_engine_infer_ops *rh_llama_infer(const rh_engine *engine);

// engine.c: end a sequence: out of the list, slot released, memory freed.
void rh_llama_sequence_free(rh_engine *engine, rh_sequence *sequence);

// step.c
rh_status rh_llama_step(rh_engine *engine, bool *worked, rh_error *error);

#endif
