// SPDX-License-Identifier: Apache-2.0
//
// What the files of the tasks that do not generate share. Private to src/task.
//
//   item ─▶ parts ─▶ rows of tokens ─▶ batches of all runs' rows ─▶ outputs, row by row ─▶ the item's result
//                 (encode.c)        (batch.c)                  (compute.c)              (the task's file)
#ifndef RH_TASK_INTERNAL_H
#define RH_TASK_INTERNAL_H

#include "base/list.h"
#include "task/batch.h"
#include "task/inference.h"
#include "task/model_files.h"
#include "text/tokenizer.h"

// --- text to tokens (encode.c) -------------------------------------------------------------------------------------

typedef struct rh_text_encoder {
  const rh_engine_ops *ops;
  const rh_engine_infer_ops *infer;
  rh_engine *engine;
  rh_tokenizer *tokenizer;  // NULL: the engine has its own
  rh_encoding *encoding;
  bool continues;      // a token that continues a word is written with a prefix ("##ing")
  int64_t length_max;  // tokens of one row
  int64_t vocabulary;  // ids are below; 0 = unknown
  int32_t pad;
  int32_t unknown;  // the unknown token's id; -1 = none
  int32_t ends[2];  // what a text ends with, special; -1 = none
} rh_text_encoder;

typedef struct rh_row_text {
  const char *text;
  size_t length;
  const char *pair;  // NULL = none
  size_t pair_length;
  bool keep_pair;    // what is too long is cut from the first text only (zero-shot); otherwise the longer one is cut
  bool refuse_long;  // RH_CONTEXT_OVERFLOW instead of cutting
  bool whole;        // neither: all of it, however long
  bool offsets;
} rh_row_text;

// One text (or pair) as the model reads it. The arrays stand in one block with the row.
typedef struct rh_row {
  rh_list_node node;  // in its run's pending rows
  struct rh_inference_run *run;
  uint32_t item, part;
  size_t count;
  size_t prompt;   // so many tokens at the front stand for a prompt that is not pooled
  size_t skipped;  // of a window: so many tokens of the text stand before it
  bool truncated;
  bool alone;  // a batch with it failed: it is computed by itself
  int32_t *ids, *types;
  uint32_t *starts, *ends;     // with offsets
  uint8_t *special, *subword;  // with offsets
} rh_row;

rh_status rh_text_encoder_init(rh_text_encoder *encoder, const rh_engine_ops *ops, rh_engine *engine,
                               const rh_model_files *files, const rh_model_info *info, rh_error *error) RH_MUST_CHECK;
void rh_text_encoder_free(rh_text_encoder *encoder);
rh_status rh_text_encode(rh_text_encoder *encoder, const rh_row_text *text, rh_row **out,
                         rh_error *error) RH_MUST_CHECK;
// A row without tokens yet. NULL: no memory. Freed with free().
rh_row *rh_row_new(size_t count, bool offsets);
// Ids as a client sent them, taken as they are.
rh_status rh_text_encode_ids(const rh_text_encoder *encoder, const int32_t *ids, size_t count, bool refuse_long,
                             rh_row **out, rh_error *error) RH_MUST_CHECK;
// How many tokens a prompt takes at the front of a text.
rh_status rh_text_encoder_prompt(rh_text_encoder *encoder, const char *prompt, size_t *count,
                                 rh_error *error) RH_MUST_CHECK;

// --- texts longer than the model takes (windows.c) -----------------------------------------------------------------

// Tokens of a text in windows of equal length, each with the special tokens that stand around the text. Neighbours share
// some tokens: what is cut in two by the end of one window stands whole in the next.
typedef struct rh_windows {
  rh_row *whole;      // the text being cut, with offsets; NULL = none is
  size_t head, tail;  // special tokens at its ends
  size_t room, step;  // tokens of the text in a window, and from one window to the next
} rh_windows;

// How many special tokens stand around a text.
rh_status rh_windows_special(rh_text_encoder *encoder, size_t *count, rh_error *error) RH_MUST_CHECK;
// Begin to cut `whole`, which is taken in any case and has more than `length_max` tokens. `stride`: what neighbours share;
// -1 = as much as is usual. *count windows, at most RH_WINDOWS_MAX, else RH_TOO_LARGE.
rh_status rh_windows_begin(rh_windows *windows, rh_row *whole, size_t length_max, int64_t stride, size_t *count,
                           rh_error *error) RH_MUST_CHECK;
rh_status rh_windows_cut(const rh_windows *windows, size_t index, rh_row **out, rh_error *error) RH_MUST_CHECK;
void rh_windows_end(rh_windows *windows);  // back to none; nothing when there is none

// Goes through a UTF-8 text by code points. Forwards is cheap; backwards begins anew.
typedef struct rh_text_walker {
  const char *text;
  size_t length, byte;
  uint32_t place;
} rh_text_walker;
void rh_text_walk(rh_text_walker *walker, uint32_t place);

// --- computing (compute.c) -----------------------------------------------------------------------------------------

typedef enum rh_output_kind {
  RH_OUTPUT_TOKENS,  // a vector for each token, where the graph has that
  RH_OUTPUT_ROW,     // a vector for the whole row: logits
  RH_OUTPUT_EITHER,  // a ready embedding where there is one, else a vector for each token
} rh_output_kind;

// What came out for one row.
typedef struct rh_output {
  const float *values;
  size_t width;
  size_t tokens;  // 0 = one vector for the row
} rh_output;

typedef struct rh_compute {
  const rh_engine_ops *ops;
  const rh_engine_infer_ops *infer;
  rh_engine *engine;
  const rh_graph *graph;              // NULL: the engine embeds
  const char *output;                 // the graph's output that is asked for; NULL = none fits the model's task
  bool output_tokens;                 // it has a vector for each token
  size_t width;                       // of an engine's own vectors
  int64_t fixed_batch, fixed_length;  // of the graph's inputs; 0 = any
  int32_t pad;
  void *feeds[4];  // input data, kept between batches
  size_t feed_bytes[4];
  float *values;  // outputs as float32
  size_t value_room;
  rh_output outputs[1024];
} rh_compute;

// Does the graph take tokens, and which of its outputs is the task's? RH_UNSUPPORTED says what is in the way.
rh_status rh_compute_init(rh_compute *compute, const rh_engine_ops *ops, rh_engine *engine, rh_output_kind kind,
                          int64_t width, int32_t pad, rh_error *error) RH_MUST_CHECK;
void rh_compute_free(rh_compute *compute);
// `outputs`, one for each row, are valid until the next call. *computed counts tokens with padding.
rh_status rh_compute_rows(rh_compute *compute, rh_row *const *rows, size_t count, size_t *computed,
                          rh_error *error) RH_MUST_CHECK;
// A tensor of floating-point numbers as float32, into `out` (room for all its elements).
rh_status rh_compute_floats(const rh_tensor *tensor, size_t count, float *out, rh_error *error) RH_MUST_CHECK;

// --- runs ----------------------------------------------------------------------------------------------------------

typedef struct rh_item_state {
  size_t parts, done;  // rows; how many are computed
  int64_t tokens;
  bool begun, finished, truncated, failed;
  rh_result_kind kind;
  size_t count;     // of what `block` begins with
  void *block;      // the result, and all it points at
  void *scratch;    // what the parts have given so far
  rh_error *error;  // of a failed one
} rh_item_state;

typedef struct rh_task_ops {
  rh_output_kind output;
  rh_result_kind result;
  bool pairs;    // items need a pair
  bool offsets;  // rows need offsets
  bool windows;  // a text that is too long is read in windows, which are its parts; with offsets only
  // When a run begins: do its options fit?
  rh_status (*check)(struct rh_inference_run *run, rh_error *error);
  // Rows of an item, and the text of each.
  size_t (*parts)(const struct rh_inference_run *run);
  rh_status (*text)(struct rh_inference_run *run, const rh_item *item, uint32_t part, rh_row_text *out,
                    rh_error *error);
  // What came out for one row of an item; after the last one the item's `block` and `count` are to be set.
  rh_status (*take)(struct rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                    rh_error *error);
} rh_task_ops;

extern const rh_task_ops rh_task_embed, rh_task_classify, rh_task_rerank, rh_task_token_classify, rh_task_zero_shot;

struct rh_inference {
  const rh_engine_ops *ops;
  const rh_engine_infer_ops *infer;
  rh_engine *engine;
  rh_model_info info;
  rh_model_files files;
  rh_text_encoder encoder;
  rh_compute compute;
  rh_error text_error;  // why no text can be read; status RH_OK = it can
  rh_batch_limits limits;
  rh_batch_pace pace;
  rh_list runs;   // not finished
  uint64_t turn;  // the tokens that the run served least has had; new runs begin here
  rh_engine_counts counts;
  uint64_t tokens_computed, tokens_padding;
};

struct rh_inference_run {
  rh_list_node node;
  rh_inference *inference;
  const rh_run *run;
  const rh_infer *infer;
  rh_task task;
  const rh_task_ops *ops;  // NULL: tensors
  rh_sink sink;
  rh_item_state *items;
  size_t item_count;
  size_t encoded;      // items whose rows were made
  size_t sent;         // items whose results were pushed
  uint32_t next_part;  // of item `encoded`
  rh_windows windows;  // its text, when that is read in windows
  rh_list pending;     // rows that wait, the oldest first
  size_t pending_tokens;
  uint64_t turn;  // tokens computed for it, as the fairness counts
  bool paused, finished;
  int64_t tokens;
  rh_work_done work;
  uint64_t batch_tokens, batch_padding, last_batch;  // over its batches; the number of the last
  uint64_t started_ns, paused_ns, told_ns;

  // embed
  const char *prompt;    // its text; NULL = none
  size_t prompt_tokens;  // that are not pooled
  bool normalize;
  size_t dimensions;  // 0 = all
  char *joined;       // a prompt and a text, or a hypothesis
  size_t joined_room;
};

// The engine's labels by id, "LABEL_<id>" where the files name none.
const char *rh_inference_label(const rh_inference *inference, size_t id, char buffer[32]);

// tensor.c: the whole run at once.
void rh_tensor_run(rh_inference_run *run);

// schedule.c: read the run's next texts.
void rh_inference_run_refill(rh_inference_run *run);

// inference.c
void rh_inference_run_settle(rh_inference_run *run);  // push what is ready
void rh_inference_run_fail(rh_inference_run *run, const rh_error *error);
void rh_inference_run_push(rh_inference_run *run, const rh_event *event);

// classify.c: in place. Sorted indices, the best first; among equals the smaller.
void rh_softmax(float *values, size_t count);
float rh_sigmoid(float value);
rh_status rh_scores_block(rh_inference_run *run, rh_item_state *item, const char *const *labels, const float *scores,
                          size_t count, rh_error *error) RH_MUST_CHECK;

// embed.c, for its tests.
rh_status rh_embed_pool(unsigned pooling, const float *tokens, size_t count, size_t width, size_t skip,
                        float *out) RH_MUST_CHECK;
void rh_embed_normalize(float *vector, size_t width);

// token_classify.c, for its tests: scores are probabilities, `labels` rows.
typedef struct rh_tagged {
  const float *scores;  // of all labels
  uint32_t start, end;  // code points
  int32_t index;
  bool subword;
} rh_tagged;
typedef struct rh_tagged_span {
  int32_t label;  // id of the first token's label
  bool group;     // the label stands without its prefix
  float score;
  uint32_t start, end;
  int32_t index;
} rh_tagged_span;
typedef struct rh_window_span {
  rh_tagged_span span;
  uint32_t window, place;  // its window, and its place among what that gave
} rh_window_span;
// Spans of all of a text's windows, in any order, to those of the text, in order. `spans` is sorted; `out` has room for
// `count`.
size_t rh_windows_merge(rh_window_span *spans, size_t count, rh_tagged_span *out);
size_t rh_token_aggregate(const rh_tagged *tokens, size_t count, const char *const *labels, size_t label_count,
                          rh_aggregation aggregation, float *scratch, rh_tagged_span *out);

#endif
