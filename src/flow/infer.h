// SPDX-License-Identifier: Apache-2.0
//
// Work that reads inputs and gives one result for each, without generating text: embeddings, scores, labels, tensors.
// Everything lives in the request's arena and is read-only once the codec has made it.
#ifndef RH_FLOW_INFER_H
#define RH_FLOW_INFER_H

#include <stdbool.h>

#include "flow/tensor.h"

#define RH_ITEMS_MAX 2048    // inputs of one run; what OpenAI's embeddings allow
#define RH_LABELS_MAX 1024   // labels of zero-shot classification
#define RH_WINDOWS_MAX 1024  // windows of one text

// One input. Text, or a pair of texts, or ids of the model's own vocabulary (text NULL).
typedef struct rh_item {
  const char *text;
  size_t length;
  const char *pair;  // NULL = none
  size_t pair_length;
  const int32_t *tokens;
  size_t token_count;
} rh_item;

typedef enum rh_aggregation {  // of tokens into spans, as transformers' pipeline names them
  RH_AGGREGATION_SIMPLE,       // the default
  RH_AGGREGATION_NONE,
  RH_AGGREGATION_FIRST,
  RH_AGGREGATION_AVERAGE,
  RH_AGGREGATION_MAX,
} rh_aggregation;

typedef enum rh_choice {  // yes, no, or what the model's files say
  RH_CHOICE_MODEL,
  RH_CHOICE_YES,
  RH_CHOICE_NO,
} rh_choice;

// Defaults: all zero.
typedef struct rh_infer {
  const rh_item *items;
  size_t item_count;

  // embed
  int64_t dimensions;       // keep so many and normalize again; 0 = all
  const char *prompt_name;  // one of the model's own prompts ("query"); NULL = its default
  const char *prompt;       // a prompt in the client's words; wins over prompt_name
  rh_choice normalize;

  // all that read text
  // A text longer than the model takes is cut, and the result says so; but token-classify reads it in windows that overlap.
  bool refuse_long;  // it is an error
  bool cut_long;     // it is cut, whatever the task

  // token-classify
  bool has_stride;
  int64_t stride;  // tokens that neighbouring windows share; without one the task chooses

  // classify, token-classify, zero-shot
  int64_t top_k;          // the best so many labels; 0 = all
  rh_choice multi_label;  // a score for each label by itself (sigmoid), or one distribution over all (softmax)
  bool raw_scores;        // logits; also of rerank
  rh_aggregation aggregation;
  const char *const *labels;  // zero-shot
  size_t label_count;
  const char *hypothesis;  // zero-shot: "This example is {}."; NULL = that

  // tensor
  const rh_tensor *tensors;
  size_t tensor_count;
  const char *const *outputs;  // names wanted; NULL = all
  size_t output_count;
} rh_infer;

typedef struct rh_score {
  const char *label;
  float score;
} rh_score;

typedef struct rh_span {
  const char *label;  // "PER", or with RH_AGGREGATION_NONE "B-PER"
  float score;
  const char *text;     // the words, as they stand in the input
  uint32_t start, end;  // in the input, in Unicode code points
  int32_t index;        // of the token, with RH_AGGREGATION_NONE; -1 otherwise
} rh_span;

typedef enum rh_result_kind {
  RH_RESULT_VECTOR,   // embed
  RH_RESULT_SCORES,   // classify, zero-shot: the best first. rerank: one, without a label
  RH_RESULT_SPANS,    // token-classify, in the order of the text
  RH_RESULT_TENSORS,  // tensor
  RH_RESULT_FAILED,   // this item could not be done; its neighbours could
} rh_result_kind;

// The result of one item. What it points at is valid during the call that hands it on.
typedef struct rh_result {
  rh_result_kind kind;
  uint32_t item;
  int64_t tokens;    // of this item; those that windows share count in each
  bool truncated;    // the text was longer than the model takes, and its end was not read
  uint32_t windows;  // the text was read in so many; 0 = at once
  const float *vector;
  const rh_score *scores;
  const rh_span *spans;
  const rh_tensor *tensors;
  size_t count;  // of what stands above
  rh_error error;
} rh_result;

// How a run was done, for the answer's `acceleration`.
typedef struct rh_work_done {
  int64_t batch_items;  // in the largest batch that any of the run's items was computed in
  double padding;       // share of computed tokens that were padding, over those batches
} rh_work_done;

#endif
