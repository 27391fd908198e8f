// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share: generating text with a decoder's graph. Nobody but engine/onnx includes this.
//
// The graph is called with tokens and the keys and values of the positions before them (past), and gives logits and the
// keys and values of all positions (present). There are two kinds:
//   grown   present = past with the new positions behind it, a new tensor at every call (Hugging Face's exports);
//   shared  past and present are one buffer with room for the whole context, written in place (GroupQueryAttention, as
//           onnxruntime-genai's models have it).
// Which one a graph is, is found by a trial at the load (trial.c). Several sequences are one call with a row for each.
#ifndef RH_ENGINE_ONNX_GENERATE_H
#define RH_ENGINE_ONNX_GENERATE_H

#include "base/list.h"
#include "engine/common/fit.h"
#include "engine/common/prefix.h"
#include "engine/onnx/internal.h"
#include "sample/sampler.h"
#include "template/template.h"
#include "text/tokenizer.h"

#define RH_GEN_CONTEXT_MAX ((int64_t)1 << 22)
#define RH_GEN_SLOTS_MAX 256
#define RH_GEN_ENDS_MAX 64

// An input or output that holds the keys or the values of one layer: [rows, heads, positions, width].
typedef struct rh_kv_port {
  const char *past, *present;
  int64_t heads, width;
} rh_kv_port;

// The graph's inputs and outputs by what they are for; NULL = it has none. All but kv live as long as the graph.
typedef struct rh_gen_ports {
  const rh_graph_port *ids;
  const rh_graph_port *mask;
  const rh_graph_port *positions;
  const rh_graph_port *use_cache;       // a bool: are there positions before these tokens?
  const rh_graph_port *kept_logits;     // how many of the last tokens shall get logits
  const rh_graph_port *cache_position;  // [tokens]
  const rh_graph_port *types;           // token types, all 0
  const rh_graph_port *logits;
  rh_kv_port *kv;
  size_t kv_count;
  rh_dtype kv_type;
  int64_t rows_max;  // 1 where the graph's batch is fixed or cannot be padded
} rh_gen_ports;

// Keys and values of some rows, of the grown kind. Slots share it by counting.
typedef struct rh_kv_set {
  size_t holders;
  int64_t rows, positions;
  size_t count;
  OrtValue *values[];
} rh_kv_set;

// Where a slot's keys and values lie. (Its tokens: rh_generator.prefixes[i].)
typedef struct rh_kv_place {
  rh_kv_set *set;  // NULL = nowhere; the grown kind only
  size_t row;
  int64_t start;  // positions of padding before its first
} rh_kv_place;

// One call of the graph.
typedef struct rh_pass {
  size_t rows;
  int64_t width;    // tokens of each row
  int32_t *tokens;  // rows * width, row by row
  size_t token_room;
  size_t slots[RH_GEN_SLOTS_MAX];  // of each row
  bool idle[RH_GEN_SLOTS_MAX];     // a row that only comes along
  // What the cache says of each row: positions before the new tokens, and padding before those.
  int64_t lengths[RH_GEN_SLOTS_MAX], starts[RH_GEN_SLOTS_MAX];
  int64_t total;  // positions of the mask
} rh_pass;

typedef struct rh_cache_ops {
  const char *name;
  bool neighbours;  // the rows of a call must be neighbouring slots
  rh_status (*make)(rh_engine *engine, rh_error *error);
  void (*free)(rh_engine *engine);
  // Bind past and present, and fill lengths, starts and total.
  rh_status (*bind)(rh_engine *engine, rh_pass *pass, rh_error *error);
  // The call was made: `outputs` are the values of ports.kv, in order; those that are kept are set to NULL.
  rh_status (*take)(rh_engine *engine, const rh_pass *pass, OrtValue **outputs, rh_error *error);
  // Can the slot forget all positions from `count` on? Does so.
  bool (*rewind)(rh_engine *engine, size_t slot, int64_t count);
  // The slot's run has ended.
  void (*rest)(rh_engine *engine, size_t slot);
} rh_cache_ops;

typedef struct rh_gen_files {
  int64_t context_trained;  // 0 = unknown
  int32_t ends[RH_GEN_ENDS_MAX];
  size_t end_count;
  bool forbid_shared;  // genai_config.json says that past and present must not be one buffer
  char architecture[64];
} rh_gen_files;

typedef struct rh_generator {
  rh_gen_ports ports;
  rh_gen_files files;
  rh_tokenizer *tokenizer;
  rh_template *chat_template;  // NULL = none, for `template_reason`
  char template_reason[256];
  char bos[128], eos[128], unk[128], pad[128];  // texts of the special tokens; "" = none
  rh_encoding *encoding;

  rh_context_size size;
  int64_t logits_width;  // of a token; may be more than the vocabulary
  int64_t chunk;         // prompt tokens of one call
  int64_t chunk_beside;  // while others decode

  const rh_cache_ops *cache;
  OrtIoBinding *binding;
  OrtRunOptions *run_options;  // NULL = the usual
  bool bound;                  // the logits are the binding's first output
  OrtMemoryInfo *memory;       // where keys and values lie; NULL = library->cpu
  bool on_cpu;
  bool may_share;      // keys and values can stay in one place between calls
  bool whole_prompts;  // several tokens behind others are not to be trusted: no pieces, no known beginnings
  int64_t trial_positions;

  rh_prefix *prefixes;  // one for each slot
  rh_kv_place *places;
  size_t slot_count;
  uint64_t use_clock;
  rh_list running;
  bool stepping;
  bool leaving;  // being freed: nothing needs keeping

  // The shared kind: a buffer [slots, heads, context, width] for each of ports.kv, and what is bound now.
  void **buffers;
  size_t *buffer_bytes;
  OrtValue **buffer_values;  // a GPU's own; NULL on the CPU
  size_t bound_first, bound_rows;

  // Of the pass that is being made.
  rh_pass pass;
  int64_t *words;  // room for ids, mask and positions
  size_t word_room;
  OrtValue *logits;
  const void *logits_data;
  rh_dtype logits_type;
  int64_t logits_rows;  // tokens with logits, of each row: all or the last
  float *floats;        // one token's logits where the graph's are of another type
} rh_generator;

// A run's tokens as text. What a token reads as depends on those before it, and some are a part of a character; so a few are
// kept, the first `known` of which were handed on already as `known_bytes` bytes.
#define RH_GEN_TEXT_TOKENS 24
typedef struct rh_gen_text {
  int32_t ids[RH_GEN_TEXT_TOKENS];
  size_t count, known, known_bytes;
  rh_dynbuf kept;   // what `ids` read as
  rh_dynbuf bytes;  // of the token that is being handed over, then of the likeliest others
} rh_gen_text;

struct rh_sequence {
  rh_list_node node;  // in generator->running, oldest first
  size_t slot;
  rh_sequence_listener listener;
  int32_t *prompt;
  int64_t prompt_count;
  bool decoding;  // the prompt is computed; `next` waits for its turn
  bool paused;
  int32_t next;
  rh_sampler *sampler;
  int32_t top_logprobs;  // -1 = no logprobs
  rh_gen_text text;
};

// ports.c: is the graph a decoder's? RH_UNSUPPORTED with the reason when it is none, or one that cannot be driven here.
rh_status rh_gen_ports_find(rh_engine *engine, rh_gen_ports *ports, rh_error *error);

// files.c: what the model's files say. Missing files are fine; damaged ones are RH_LOAD_FAILED.
rh_status rh_gen_files_read(const char *folder, rh_gen_files *files, rh_error *error);

// load.c: engine->decoder, or NULL and engine->not_generator with the reason.
rh_status rh_gen_make(rh_engine *engine, rh_error *error);
void rh_gen_free(rh_engine *engine);

// trial.c: one small call, which tells the cache's kind and the logits' shape. Sets generator->cache.
rh_status rh_gen_try(rh_engine *engine, rh_error *error);

// pass.c: make room for a call of so many rows; its slots and tokens are then the caller's to fill.
rh_status rh_pass_begin(rh_engine *engine, size_t rows, int64_t width, rh_error *error);
rh_status rh_pass_run(rh_engine *engine, rh_error *error);
// The logits of a row's last token, as floats; valid until the next pass.
const float *rh_pass_logits(rh_engine *engine, size_t row);
void rh_pass_forget(rh_engine *engine);
rh_status rh_pass_bind_value(rh_engine *engine, bool input, const char *name, const OrtValue *value, rh_error *error);

// cache_shared.c, cache_grown.c
extern const rh_cache_ops rh_cache_shared, rh_cache_grown;

// prompt.c: the tokens of a run's prompt, checked against the context. The caller frees *tokens.
rh_status rh_gen_prompt(rh_engine *engine, const rh_run *run, int32_t **tokens, int64_t *count, rh_error *error);

// sequence.c
rh_status rh_gen_start(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener, rh_sequence **out,
                       int64_t *prompt_tokens, int64_t *cached_tokens, rh_error *error);
void rh_gen_stop(rh_engine *engine, rh_sequence *sequence);
void rh_gen_pause(rh_engine *engine, rh_sequence *sequence, bool paused);
void rh_gen_end(rh_engine *engine, rh_sequence *sequence);  // out of the list, slot released, memory freed

// text.c: choose the next token from `logits` and hand it to the listener with its text.
rh_status rh_gen_text_init(const rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error);
void rh_gen_text_free(rh_gen_text *text);
rh_next rh_gen_tell(rh_engine *engine, rh_sequence *sequence, const float *logits);

// step.c
rh_status rh_gen_step(rh_engine *engine, bool *worked, rh_error *error);

#endif
