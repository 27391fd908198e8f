// SPDX-License-Identifier: Apache-2.0
//
// Purpose: config.json and the pipeline tag: what a model is for, its labels, its longest text.
// Data owned: an arena with all that the facts point at. Threads: any; reading blocks.
// Not here: the sentence-transformers files (sentence_files.c). Sources: the configuration files as the transformers
// package writes and reads them.
#include "task/model_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define ARENA_BYTES_MAX ((size_t)512 << 20)
#define LENGTH_MAX (INT64_C(1) << 24)  // "no limit" is written as an astronomical number

// --- files ---------------------------------------------------------------------------------------------------------

// `large`: whole numbers are read as floating-point ones, because a tokenizer writes 10^30 for "no limit".
static rh_status read_json(const char *folder, const char *name, bool large, json_t **out, rh_error *error) {
  *out = NULL;
  char path[4096];
  if (name[0] == '/' || strstr(name, "..") != NULL)
    return rh_fail(error, RH_INVALID, "the model's files name %.100s, which is not within their folder", name);
  int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  if (length < 0 || (size_t)length >= sizeof path)
    return rh_fail(error, RH_INVALID, "the path of %s is too long", name);
  rh_dynbuf text;
  rh_dynbuf_init(&text, FILE_BYTES_MAX);
  rh_error reason = {0};
  rh_status status = rh_file_read(path, &text, &reason);
  if (status == RH_OK) {
    json_error_t where;
    if (!large) *out = rh_json_parse(rh_dynbuf_data(&text), text.length, &reason);
    if (large) *out = json_loadb(rh_dynbuf_data(&text), text.length, JSON_DECODE_INT_AS_REAL, &where);
    if (large && *out == NULL) (void)rh_text_copy(reason.message, sizeof reason.message, where.text);
    if (*out == NULL) status = rh_fail(error, RH_INVALID, "%s is damaged: %.500s", path, reason.message);
  } else if (status == RH_NOT_FOUND) {
    status = RH_OK;
  } else {
    status = rh_fail(error, status, "%.700s", reason.message);
  }
  rh_dynbuf_free(&text);
  return status;
}

rh_status rh_model_files_json(const char *folder, const char *name, json_t **out, rh_error *error) {
  return read_json(folder, name, false, out, error);
}

static bool is_file(const char *folder, const char *name) {
  char path[4096];
  struct stat facts;
  int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  return length > 0 && (size_t)length < sizeof path && stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

static bool has_files(const char *folder) {
  return is_file(folder, "config.json") || is_file(folder, "modules.json") || is_file(folder, "tokenizer.json");
}

// The folder of the model's files: exports lie beside them or in a folder "onnx" below.
static const char *find_folder(rh_arena *arena, const char *path) {
  struct stat facts;
  char *folder = rh_arena_strdup(arena, path);
  if (folder == NULL) return NULL;
  size_t length = strlen(folder);
  while (length > 1 && folder[length - 1] == '/') folder[--length] = '\0';
  if (stat(folder, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return ".";
    if (slash == folder) slash++;
    *slash = '\0';
  }
  const char *slash = strrchr(folder, '/');
  if (has_files(folder) || slash == NULL || strcmp(slash, "/onnx") != 0) return folder;
  char *parent = rh_arena_strndup(arena, folder, slash > folder ? (size_t)(slash - folder) : 1);
  return parent != NULL && has_files(parent) ? parent : folder;
}

// --- config.json ---------------------------------------------------------------------------------------------------

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static int64_t number_of(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (json_is_real(value)) return json_real_value(value) < (double)LENGTH_MAX ? (int64_t)json_real_value(value) : 0;
  return json_integer_value(value) < LENGTH_MAX ? json_integer_value(value) : 0;
}

static rh_status read_labels(const json_t *config, rh_model_files *files, rh_error *error) {
  const json_t *names = json_object_get(config, "id2label");
  int64_t count = json_is_object(names) ? (int64_t)json_object_size(names) : number_of(config, "num_labels");
  if (count <= 0) return RH_OK;
  if (count > RH_MODEL_LABELS_MAX)
    return rh_fail(error, RH_TOO_LARGE, "config.json names %lld labels; at most %d are read", (long long)count,
                   RH_MODEL_LABELS_MAX);
  files->labels = rh_arena_alloc_array(files->arena, (size_t)count, sizeof *files->labels);
  if (files->labels == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the model's labels.");
  files->label_count = (size_t)count;
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)names, key, value) {
    char *end = NULL;
    long id = strtol(key, &end, 10);
    if (*key == '\0' || *end != '\0' || id < 0 || id >= count || !json_is_string(value))
      return rh_fail(error, RH_INVALID, "config.json: id2label has no label 0 to %lld under \"%.32s\"",
                     (long long)count - 1, key);
    files->labels[id] = rh_arena_strdup(files->arena, json_string_value(value));
  }
  return RH_OK;
}

// Whose labels are "entailment", "contradiction" and the like, as transformers' zero-shot pipeline finds them.
static void find_entailment(const json_t *config, rh_model_files *files) {
  files->entailment = -1;
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(config, "label2id"), key, value) {
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (strncasecmp(key, "entail", 6) == 0 && id >= 0 && id < (int64_t)files->label_count && files->entailment < 0)
      files->entailment = (int32_t)id;
  }
  for (size_t i = 0; i < files->label_count && files->entailment < 0; i++) {
    if (files->labels[i] != NULL && strncasecmp(files->labels[i], "entail", 6) == 0) files->entailment = (int32_t)i;
  }
  files->contradiction = files->entailment == 0 ? (int32_t)files->label_count - 1 : 0;
}

static void read_problem(const json_t *config, rh_model_files *files) {
  const char *problem = text_of(config, "problem_type");
  if (problem != NULL && strcmp(problem, "regression") == 0) files->problem = RH_PROBLEM_REGRESSION;
  if (problem != NULL && strcmp(problem, "single_label_classification") == 0) files->problem = RH_PROBLEM_SINGLE;
  if (problem != NULL && strcmp(problem, "multi_label_classification") == 0) files->problem = RH_PROBLEM_MULTI;
  const char *activation = text_of(json_object_get(config, "sentence_transformers"), "activation_fn");
  if (activation == NULL) activation = text_of(config, "sbert_ce_default_activation_function");
  if (activation == NULL) return;
  files->activation = rh_text_ends_with(activation, ".Identity") ? RH_ACTIVATION_NONE : RH_ACTIVATION_UNKNOWN;
  if (rh_text_ends_with(activation, ".Sigmoid")) files->activation = RH_ACTIVATION_SIGMOID;
}

// Positions of these models begin behind the padding's, so that they take fewer tokens than they have positions.
static int64_t positions_before(const json_t *config, const char *model_type) {
  static const char *const types[] = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert",
                                      "mpnet",   "longformer",  "data2vec-text",  "ibert"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (strcmp(model_type, types[i]) != 0) continue;
    const json_t *pad = json_object_get(config, "pad_token_id");
    return (json_is_integer(pad) ? json_integer_value(pad) : 1) + 1;
  }
  return 0;
}

static void read_sizes(const json_t *config, rh_model_files *files) {
  static const char *const position_keys[] = {"max_position_embeddings", "n_positions", "max_sequence_length"};
  static const char *const hidden_keys[] = {"hidden_size", "dim", "d_model", "n_embd"};
  for (size_t i = 0; i < 3 && files->length_max <= 0; i++) files->length_max = number_of(config, position_keys[i]);
  if (files->length_max > 0) files->length_max -= positions_before(config, files->model_type);
  for (size_t i = 0; i < 4 && files->hidden_size <= 0; i++) files->hidden_size = number_of(config, hidden_keys[i]);
  const json_t *pad = json_object_get(config, "pad_token_id");
  files->pad_id = json_is_integer(pad) ? json_integer_value(pad) : -1;
}

static rh_task task_of_architecture(const rh_model_files *files) {
  const char *name = files->architecture;
  if (rh_text_ends_with(name, "ForSequenceClassification"))
    return files->label_count == 1 ? RH_TASK_RERANK : RH_TASK_CLASSIFY;
  if (rh_text_ends_with(name, "ForTokenClassification")) return RH_TASK_TOKEN_CLASSIFY;
  return rh_text_ends_with(name, "Model") ? RH_TASK_EMBED : RH_TASK_TENSOR;
}

// What stands in for the files of an engine that has none.
static rh_status read_own(const json_t *config, rh_model_files *files, rh_error *error) {
  const json_t *own = json_object_get(config, "roundhouse");
  if (!json_is_object(own)) return RH_OK;
  rh_task task = rh_task_from_name(text_of(own, "task"));
  if (task < RH_TASK_COUNT && task != RH_TASK_OWN && !rh_task_generates(task)) files->task = task;
  files->normalize = json_is_true(json_object_get(own, "normalize"));
  unsigned pooling = rh_pooling_from_word(text_of(own, "pooling"));
  if (pooling != 0) files->pooling = pooling;
  int64_t length = number_of(own, "max_seq_length");
  if (length > 0 && (files->length_max <= 0 || length < files->length_max)) files->length_max = length;
  return rh_sentence_prompts_read(own, files, error);
}

static rh_status read_config(const json_t *config, rh_model_files *files, rh_error *error) {
  const char *architecture = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
  const char *type = text_of(config, "model_type");
  (void)rh_text_copy(files->architecture, sizeof files->architecture, architecture != NULL ? architecture : "");
  (void)rh_text_copy(files->model_type, sizeof files->model_type, type != NULL ? type : "");
  rh_status status = read_labels(config, files, error);
  if (status != RH_OK) return status;
  find_entailment(config, files);
  read_problem(config, files);
  read_sizes(config, files);
  files->task = task_of_architecture(files);
  return read_own(config, files, error);
}

// --- README.md and tokenizer_config.json ---------------------------------------------------------------------------

// The pipeline tag between the two lines "---" at the top.
static rh_task read_tag(const char *folder) {
  char path[4096], line[512];
  int length = snprintf(path, sizeof path, "%s/README.md", folder);
  FILE *file = length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
  rh_task task = RH_TASK_COUNT;
  if (file == NULL) return task;
  for (int i = 0; i < 1000 && fgets(line, sizeof line, file) != NULL; i++) {
    line[strcspn(line, "\r\n")] = '\0';
    if ((i == 0) != (strcmp(line, "---") == 0)) break;
    char word[64];
    if (sscanf(line, "pipeline_tag: %63s", word) == 1) task = rh_task_from_name(word);
  }
  fclose(file);
  return task;
}

// A tag says more than the architecture where one shape of output serves several tasks, and where the architecture says
// nothing.
static void apply_tag(rh_model_files *files, rh_task tag) {
  bool scores = files->task == RH_TASK_CLASSIFY || files->task == RH_TASK_RERANK;
  if (scores && tag == RH_TASK_CLASSIFY) files->task = RH_TASK_CLASSIFY;
  if (scores && tag == RH_TASK_ZERO_SHOT && files->entailment >= 0) files->task = RH_TASK_ZERO_SHOT;
  bool unknown = files->task == RH_TASK_TENSOR && files->architecture[0] == '\0';
  bool texts =
      tag == RH_TASK_EMBED || tag == RH_TASK_CLASSIFY || tag == RH_TASK_RERANK || tag == RH_TASK_TOKEN_CLASSIFY;
  if (unknown && texts) files->task = tag;
}

static rh_status read_tokenizer_length(const char *folder, rh_model_files *files, rh_error *error) {
  json_t *config = NULL;
  rh_status status = read_json(folder, "tokenizer_config.json", true, &config, error);
  int64_t length = number_of(config, "model_max_length");
  if (length > 0 && (files->length_max <= 0 || length < files->length_max)) files->length_max = length;
  json_decref(config);
  return status;
}

rh_status rh_model_files_read(const char *folder, const char *config, rh_model_files *files, rh_error *error) {
  *files = (rh_model_files){.task = RH_TASK_TENSOR,
                            .entailment = -1,
                            .pad_id = -1,
                            .pooling = RH_POOLING_MEAN,
                            .include_prompt = true,
                            .arena = rh_arena_new(ARENA_BYTES_MAX)};
  if (files->arena == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the model's files.");
  json_t *json = NULL;
  rh_status status = RH_OK;
  if (folder != NULL) files->folder = find_folder(files->arena, folder);
  if (config != NULL) {
    json = rh_json_parse(config, strlen(config), error);
    if (json == NULL) status = RH_INVALID;
  } else if (files->folder != NULL) {
    status = rh_model_files_json(files->folder, "config.json", &json, error);
  }
  if (status == RH_OK && json != NULL) status = read_config(json, files, error);
  json_decref(json);
  if (status != RH_OK || config != NULL || files->folder == NULL) return status;
  apply_tag(files, read_tag(files->folder));
  int64_t positions = files->length_max;
  status = read_tokenizer_length(files->folder, files, error);
  if (status != RH_OK) return status;
  int64_t both = files->length_max;
  files->length_max = 0;
  status = rh_sentence_files_read(files->folder, files, error);
  // sentence-transformers' own length wins over the tokenizer's, never over the positions there are.
  if (files->length_max <= 0) files->length_max = both;
  if (positions > 0 && files->length_max > positions) files->length_max = positions;
  return status;
}

void rh_model_files_free(rh_model_files *files) {
  rh_arena_free(files->arena);
  *files = (rh_model_files){0};
}

const char *rh_model_files_prompt(const rh_model_files *files, const char *name) {
  for (size_t i = 0; i < files->prompt_count; i++) {
    if (strcmp(files->prompts[i].name, name) == 0) return files->prompts[i].text;
  }
  return NULL;
}
