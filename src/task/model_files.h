// SPDX-License-Identifier: Apache-2.0
//
// What a model's own files say about its use: config.json, the sentence-transformers files, tokenizer_config.json, and
// the pipeline tag in README.md. Read-only after reading; any thread.
//
// An engine without a folder gives a config.json's text whose object "roundhouse" holds what else would stand in those
// files: "task", "normalize", "pooling" (a word of rh_pooling), "max_seq_length", "prompts", "default_prompt_name".
#ifndef RH_TASK_MODEL_FILES_H
#define RH_TASK_MODEL_FILES_H

#include <jansson.h>

#include "base/arena.h"
#include "base/status.h"
#include "flow/request.h"

#define RH_MODEL_LABELS_MAX 65536
#define RH_MODEL_PROMPTS_MAX 64

// How the vectors of a text's tokens become one; several are put one after another, in this order.
typedef enum rh_pooling {
  RH_POOLING_CLS = 1,
  RH_POOLING_MAX = 2,
  RH_POOLING_MEAN = 4,
  RH_POOLING_MEAN_SQRT = 8,
  RH_POOLING_WEIGHTED = 16,
  RH_POOLING_LAST = 32,
} rh_pooling;
#define RH_POOLING_COUNT 6

typedef enum rh_problem {
  RH_PROBLEM_UNKNOWN,
  RH_PROBLEM_SINGLE,      // one of the labels
  RH_PROBLEM_MULTI,       // any of the labels
  RH_PROBLEM_REGRESSION,  // numbers, not probabilities
} rh_problem;

typedef enum rh_activation { RH_ACTIVATION_UNKNOWN, RH_ACTIVATION_NONE, RH_ACTIVATION_SIGMOID } rh_activation;

// A linear layer behind the pooling.
typedef struct rh_dense {
  const float *weight;  // [out][in]
  const float *bias;    // NULL = none
  size_t in, out;
  bool tanh;
} rh_dense;
#define RH_DENSE_MAX 4

typedef struct rh_prompt_entry {
  const char *name, *text;
} rh_prompt_entry;

typedef struct rh_model_files {
  rh_arena *arena;        // of all it points at
  const char *folder;     // where the files lie; NULL = nowhere
  rh_task task;           // RH_TASK_TENSOR when nothing names one
  char architecture[64];  // the first of "architectures"
  char model_type[64];
  const char **labels;  // by their ids; NULL entries have no name
  size_t label_count;   // 0 = none are named
  int32_t entailment;   // of a model of natural language inference; -1 = it is none
  int32_t contradiction;
  rh_problem problem;
  rh_activation activation;  // of a cross-encoder's score
  int64_t hidden_size;       // 0 = unknown
  int64_t pad_id;            // -1 = unknown
  int64_t length_max;        // tokens of one text; 0 = unknown
  bool sentence;             // sentence-transformers files are there
  unsigned pooling;          // rh_pooling together
  bool include_prompt;       // in the pooling
  bool normalize;
  rh_dense dense[RH_DENSE_MAX];
  size_t dense_count;
  char unsupported[256];  // a module that is not known here: embedding is refused with this; "" = none
  rh_prompt_entry prompts[RH_MODEL_PROMPTS_MAX];
  size_t prompt_count;
  const char *default_prompt;  // its text; NULL = none
} rh_model_files;

// `folder` may be a file in the folder or in its folder "onnx", or NULL; `config` the text of a config.json, or NULL. A folder without any of the
// files is fine. RH_INVALID names the file that is damaged. `files` is to be freed after a failure too.
rh_status rh_model_files_read(const char *folder, const char *config, rh_model_files *files,
                              rh_error *error) RH_MUST_CHECK;
void rh_model_files_free(rh_model_files *files);
// The text of a named prompt; NULL = there is none of that name.
const char *rh_model_files_prompt(const rh_model_files *files, const char *name);

// --- private to the reader (model_files.c, sentence_files.c, dense.c) ------------------------------------------------

// A file of the folder as JSON; *out is NULL when it is not there. `name` may hold a folder, never "..".
rh_status rh_model_files_json(const char *folder, const char *name, json_t **out, rh_error *error) RH_MUST_CHECK;
rh_status rh_sentence_files_read(const char *folder, rh_model_files *files, rh_error *error) RH_MUST_CHECK;
rh_status rh_sentence_prompts_read(const json_t *object, rh_model_files *files, rh_error *error) RH_MUST_CHECK;
unsigned rh_pooling_from_word(const char *word);  // 0 = unknown
rh_status rh_dense_read(const char *folder, const char *path, rh_model_files *files, rh_error *error) RH_MUST_CHECK;

#endif
