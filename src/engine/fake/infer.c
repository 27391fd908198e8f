// SPDX-License-Identifier: Apache-2.0
//
// The fake engine's models that do not generate: words for tokens, and answers that a test can foretell from the text
// (README.md, "Tasks"). What it cannot have, files, it gives as the text of a config.json.
//
// Owns its scratch arrays, its configuration and the directives it has met. Engine thread only. Sleeps, hangs and
// crashes where a directive says so: a computation is what takes time here.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/fake/words.h"

#define TENSOR_INPUT_FAIL "fail"
#define TENSOR_INPUT_CRASH "crash"
#define TENSOR_INPUT_DELAY "delay_ms"

// What a task's labels are when the path names none.
static const char *usual_labels(rh_task task) {
  switch (task) {
    case RH_TASK_CLASSIFY: return "NEGATIVE/POSITIVE";
    case RH_TASK_RERANK: return "LABEL_0";
    case RH_TASK_TOKEN_CLASSIFY: return "O/B-PER/I-PER/B-NUM/I-NUM";
    case RH_TASK_ZERO_SHOT: return "CONTRADICTION/NEUTRAL/ENTAILMENT";
    default: return "";
  }
}

static rh_status read_labels(rh_fake_infer *infer, rh_error *error) {
  (void)snprintf(infer->label_text, sizeof infer->label_text, "%s",
                 infer->model.labels[0] != '\0' ? infer->model.labels : usual_labels(infer->model.task));
  for (char *at = infer->label_text, *end; at != NULL && *at != '\0'; at = end) {
    end = strchr(at, '/');
    if (end != NULL) *end++ = '\0';
    if (infer->label_count == RH_FAKE_LABELS_MAX)
      return rh_fail(error, RH_LOAD_FAILED, "The fake engine takes at most %d labels.", RH_FAKE_LABELS_MAX);
    infer->labels[infer->label_count++] = at;
  }
  size_t fixed = infer->model.task == RH_TASK_RERANK ? 1 : infer->model.task == RH_TASK_TOKEN_CLASSIFY ? 5 : 0;
  if (infer->model.task == RH_TASK_ZERO_SHOT) fixed = 3;
  if (fixed == 0 || infer->label_count == fixed) return RH_OK;
  return rh_fail(error, RH_LOAD_FAILED, "The fake engine needs %zu labels for %s.", fixed,
                 rh_task_name(infer->model.task));
}

static rh_status make_config(rh_fake_infer *infer) {
  const rh_fake_model *model = &infer->model;
  static const char *const architectures[RH_TASK_COUNT] = {
      [RH_TASK_EMBED] = "FakeModel",
      [RH_TASK_CLASSIFY] = "FakeForSequenceClassification",
      [RH_TASK_RERANK] = "FakeForSequenceClassification",
      [RH_TASK_ZERO_SHOT] = "FakeForSequenceClassification",
      [RH_TASK_TOKEN_CLASSIFY] = "FakeForTokenClassification",
      [RH_TASK_TENSOR] = "FakeGraph",
  };
  json_t *labels = json_object();
  for (size_t i = 0; i < infer->label_count; i++) {
    char key[24];  // any number
    (void)snprintf(key, sizeof key, "%zu", i);
    json_object_set_new(labels, key, json_string(infer->labels[i]));
  }
  json_t *config = json_pack("{s:[s],s:o,s:I,s:{s:s,s:b,s:{s:s,s:s}}}", "architectures", architectures[model->task],
                             "id2label", labels, "max_position_embeddings", (json_int_t)model->context, "roundhouse",
                             "task", rh_task_name(model->task), "normalize", (int)model->normalize, "prompts", "query",
                             "query: ", "passage", "passage: ");
  if (config != NULL && model->multi_label) {
    json_object_set_new(config, "problem_type", json_string("multi_label_classification"));
  }
  infer->config = config != NULL ? json_dumps(config, JSON_COMPACT) : NULL;
  json_decref(config);
  return infer->config != NULL ? RH_OK : RH_NO_MEMORY;
}

static void make_graph(rh_fake_infer *infer) {
  static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids"};
  for (size_t i = 0; i < 3; i++) {
    infer->inputs[i] = (rh_graph_port){
        .name = names[i], .type = RH_DTYPE_I64, .shape = {-1, -1}, .dimension = {"batch", "sequence"}, .rank = 2};
  }
  bool tokens = infer->model.task == RH_TASK_TOKEN_CLASSIFY;
  infer->output =
      (rh_graph_port){.name = "logits", .type = RH_DTYPE_F32, .shape = {-1, -1, -1}, .rank = tokens ? 3 : 2};
  infer->output.shape[infer->output.rank - 1] = (int64_t)infer->label_count;
  infer->graph = (rh_graph){.inputs = infer->inputs, .outputs = &infer->output, .input_count = 3, .output_count = 1};
}

rh_status rh_fake_infer_new(const rh_fake_model *model, rh_fake_infer **out, rh_error *error) {
  *out = NULL;
  if (rh_task_generates(model->task)) return RH_OK;
  rh_fake_infer *infer = calloc(1, sizeof *infer);
  if (infer == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the fake engine.");
  infer->model = *model;
  rh_status status = read_labels(infer, error);
  if (status == RH_OK && (model->dims < 1 || model->dims > 65536))
    status = rh_fail(error, RH_LOAD_FAILED, "The fake engine needs 1 to 65536 dims.");
  if (status == RH_OK && make_config(infer) != RH_OK)
    status = rh_fail(error, RH_NO_MEMORY, "There is no memory for the fake engine.");
  if (status != RH_OK) {
    rh_fake_infer_free(infer);
    return status;
  }
  for (size_t i = 0; i < infer->label_count; i++) {
    infer->label_ids[i] = rh_fake_word_id(infer, infer->labels[i], strlen(infer->labels[i]));
  }
  make_graph(infer);
  *out = infer;
  return RH_OK;
}

void rh_fake_infer_free(rh_fake_infer *infer) {
  if (infer == NULL) return;
  rh_fake_words_free(infer);
  free(infer->config);
  free(infer->values);
  free(infer->echo);
  free(infer);
}

// --- computing -----------------------------------------------------------------------------------------------------

// What the directives in a batch ask for together. It takes as long as its slowest row.
typedef struct wish {
  int64_t delay_ms;
  bool fails;
} wish;

static void note(const rh_fake_infer *infer, int64_t id, wish *w) {
  const rh_fake_script *script = rh_fake_words_script(infer, id);
  if (script == NULL) return;
  rh_fake_crash_unless_exists(script->crash_once);
  if (script->crash_at >= 0) abort();
  if (script->hang_at >= 0) rh_fake_hang();
  if (script->fail_at >= 0) w->fails = true;
  if (script->delay_ms > w->delay_ms) w->delay_ms = script->delay_ms;
}

static rh_status play(const rh_fake_infer *infer, const wish *w, rh_error *error) {
  rh_fake_sleep_ms(w->delay_ms > infer->model.step_ms ? w->delay_ms : infer->model.step_ms);
  return w->fails ? rh_fail(error, RH_INTERNAL, "the fake engine was told to fail") : RH_OK;
}

// The word without its form; other ids as they are.
static int64_t word_of(int64_t id) { return id >= RH_FAKE_ID_WORDS && id < RH_FAKE_ID_SCRIPTS ? id - id % 4 : id; }

// -1..1, the same for the same token everywhere.
static float component(int64_t id, size_t dimension) {
  uint64_t x = (uint64_t)id * UINT64_C(0x9E3779B97F4A7C15) + dimension * UINT64_C(0xBF58476D1CE4E5B9);
  x ^= x >> 31;
  x *= UINT64_C(0x94D049BB133111EB);
  return (float)((double)(x >> 40) / (double)(1 << 23) - 1.0);
}

static rh_status embed(rh_engine *engine, const rh_token_row *rows, size_t row_count, float *out, rh_error *error) {
  const rh_fake_infer *infer = rh_fake_infer_of(engine);
  size_t dims = (size_t)infer->model.dims;
  wish w = {0};
  for (size_t r = 0; r < row_count; r++) {
    for (size_t i = 0; i < rows[r].count; i++) note(infer, rows[r].ids[i], &w);
    for (size_t d = 0; d < dims; d++) {
      float sum = 0;
      for (size_t i = 0; i < rows[r].count; i++) sum += component(word_of(rows[r].ids[i]), d);
      out[r * dims + d] = sum / (float)rows[r].count;
    }
  }
  return play(infer, &w, error);
}

// How many tokens of the second text stand in the first.
static float overlap(const int64_t *ids, const int64_t *mask, const int64_t *types, size_t count) {
  int hits = 0;
  for (size_t i = 0; i < count; i++) {
    if (types[i] != 1 || mask[i] == 0 || ids[i] < RH_FAKE_ID_WORDS) continue;
    bool found = false;
    for (size_t j = 0; j < count && !found; j++)
      found = types[j] == 0 && mask[j] != 0 && word_of(ids[j]) == word_of(ids[i]);
    if (found) hits++;
  }
  return (float)hits;
}

static void label_row(const rh_fake_infer *infer, const int64_t *ids, const int64_t *mask, const int64_t *types,
                      size_t count, float *out) {
  if (infer->model.task == RH_TASK_RERANK) {
    out[0] = 2 * overlap(ids, mask, types, count) - 1;
    return;
  }
  if (infer->model.task == RH_TASK_ZERO_SHOT) {
    out[1] = 0;
    out[2] = 2 * overlap(ids, mask, types, count) - 1;
    out[0] = -out[2];
    return;
  }
  for (size_t label = 0; label < infer->label_count; label++) {
    out[label] = 0;
    for (size_t i = 0; i < count; i++) {
      if (mask[i] != 0 && word_of(ids[i]) == infer->label_ids[label]) out[label] = 4;
    }
  }
}

// O, B-PER, I-PER, B-NUM, I-NUM by what the word looks like, which its id tells.
static void label_tokens(const int64_t *ids, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) {
    rh_fake_form form = rh_fake_word_form(ids[i]);
    bool goes_on = i > 0 && form != RH_FAKE_PLAIN && rh_fake_word_form(ids[i - 1]) == form;
    size_t label = form == RH_FAKE_PLAIN ? 0 : form == RH_FAKE_NAME ? 1 : 3;
    memset(out + i * 5, 0, 5 * sizeof *out);
    out[i * 5 + label + (goes_on ? 1 : 0)] = 4;
  }
}

static bool make_room(rh_fake_infer *infer, size_t count) {
  if (count <= infer->value_room) return true;
  float *values = realloc(infer->values, count * sizeof *values);
  if (values == NULL) return false;
  infer->values = values;
  infer->value_room = count;
  return true;
}

static rh_status run_texts(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                           size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error) {
  rh_fake_infer *infer = rh_fake_infer_of(engine);
  const int64_t *data[3] = {NULL};
  for (size_t i = 0; i < input_count; i++) {
    size_t port = 0;
    while (port < 3 && strcmp(infer->inputs[port].name, inputs[i].name) != 0) port++;
    if (port == 3 || inputs[i].type != RH_DTYPE_I64 || inputs[i].rank != 2)
      return rh_fail_param(error, RH_INVALID, inputs[i].name,
                           "The fake graph takes input_ids, attention_mask and token_type_ids, int64 [batch, "
                           "sequence].");
    data[port] = inputs[i].data;
  }
  if (data[0] == NULL || data[1] == NULL || data[2] == NULL)
    return rh_fail(error, RH_INVALID, "The fake graph needs input_ids, attention_mask and token_type_ids.");
  if (wanted != NULL && (wanted_count != 1 || strcmp(wanted[0], "logits") != 0))
    return rh_fail(error, RH_INVALID, "The fake graph has one output, logits.");
  size_t rows = (size_t)inputs[0].shape[0], width = (size_t)inputs[0].shape[1], labels = infer->label_count;
  wish w = {0};
  for (size_t i = 0; i < rows * width; i++) note(infer, data[0][i], &w);
  rh_status status = play(infer, &w, error);
  if (status != RH_OK) return status;
  bool tokens = infer->model.task == RH_TASK_TOKEN_CLASSIFY;
  size_t row_values = tokens ? width * labels : labels;
  if (!make_room(infer, rows * row_values)) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the logits.");
  for (size_t r = 0; r < rows; r++) {
    float *out = infer->values + r * row_values;
    if (tokens) {
      label_tokens(data[0] + r * width, width, out);
    } else {
      label_row(infer, data[0] + r * width, data[1] + r * width, data[2] + r * width, width, out);
    }
  }
  infer->answer = (rh_tensor){.name = "logits", .type = RH_DTYPE_F32, .data = infer->values};
  infer->answer.rank = infer->output.rank;
  infer->answer.shape[0] = (int64_t)rows;
  infer->answer.shape[1] = (int64_t)(tokens ? width : labels);
  infer->answer.shape[2] = (int64_t)labels;
  infer->answer.bytes = rows * row_values * sizeof(float);
  *outputs = &infer->answer;
  *output_count = 1;
  return RH_OK;
}

// --- tensors: an echo ----------------------------------------------------------------------------------------------

static rh_status play_tensor(const rh_tensor *tensor, rh_error *error) {
  if (strcmp(tensor->name, TENSOR_INPUT_CRASH) == 0) abort();
  if (strcmp(tensor->name, TENSOR_INPUT_FAIL) == 0)
    return rh_fail_param(error, RH_INVALID, tensor->name, "the fake engine was told to fail");
  int64_t delay = 0;
  if (strcmp(tensor->name, TENSOR_INPUT_DELAY) == 0 && tensor->type == RH_DTYPE_I64 && tensor->bytes == sizeof delay) {
    memcpy(&delay, tensor->data, sizeof delay);
    if (delay > 0 && delay < 60000) rh_fake_sleep_ms(delay);
  }
  return RH_OK;
}

static bool is_wanted(const char *name, const char *const *wanted, size_t wanted_count) {
  for (size_t i = 0; i < wanted_count; i++) {
    if (strcmp(wanted[i], name) == 0) return true;
  }
  return wanted == NULL;
}

static rh_status run_echo(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                          size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error) {
  rh_fake_infer *infer = rh_fake_infer_of(engine);
  free(infer->echo);
  infer->echo = calloc(input_count + 1, sizeof *infer->echo);
  if (infer->echo == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the echo.");
  rh_fake_sleep_ms(infer->model.step_ms);
  size_t count = 0;
  for (size_t i = 0; i < input_count; i++) {
    rh_status status = rh_tensor_check(&inputs[i], error);
    if (status == RH_OK) status = play_tensor(&inputs[i], error);
    if (status != RH_OK) return status;
    if (is_wanted(inputs[i].name, wanted, wanted_count)) infer->echo[count++] = inputs[i];
  }
  if (wanted != NULL && count < wanted_count)
    return rh_fail_param(error, RH_INVALID, "outputs", "The fake graph has no output that was not an input.");
  *outputs = infer->echo;
  *output_count = count;
  return RH_OK;
}

// --- the tables ----------------------------------------------------------------------------------------------------

static const char *no_folder(const rh_engine *engine) {
  (void)engine;
  return NULL;
}

static const char *config_of(const rh_engine *engine) { return rh_fake_infer_of(engine)->config; }

static const rh_graph *graph_of(const rh_engine *engine) { return &rh_fake_infer_of(engine)->graph; }

static const rh_graph *no_graph(const rh_engine *engine) {
  (void)engine;
  return NULL;
}

const rh_engine_infer_ops *rh_fake_infer_ops_for(rh_task task) {
  static const rh_engine_infer_ops vectors = {
      .folder = no_folder, .config = config_of, .graph = no_graph, .tokenize = rh_fake_words, .embed = embed};
  static const rh_engine_infer_ops texts = {
      .folder = no_folder, .config = config_of, .graph = graph_of, .run = run_texts, .tokenize = rh_fake_words};
  static const rh_engine_infer_ops tensors = {
      .folder = no_folder, .config = config_of, .graph = no_graph, .run = run_echo};
  if (rh_task_generates(task)) return NULL;
  if (task == RH_TASK_TENSOR) return &tensors;
  return task == RH_TASK_EMBED ? &vectors : &texts;
}
