// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how alike two graphs of one model answer: the same sample texts through both, and the worst difference.
// Data owned: tokens and inputs, for the time of one measurement. Threads: the engine thread.
// Not here: what follows from it (variant.c).
//
// The texts are of several languages and lengths and are computed in padded batches, as in service: a graph whose scales are
// made in each run answers a little differently beside other texts. The output is the one that the tasks would read.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/onnx/internal.h"
#include "text/tokenizer.h"

#define TEXTS_MAX 32
#define ROWS 8  // of a batch
#define TOKENS_MAX 128

extern const unsigned char rh_onnx_samples[];
extern const size_t rh_onnx_samples_length;

enum { IDS, MASK, TYPES, POSITIONS, INPUTS };
static const char *const input_names[INPUTS] = {"input_ids", "attention_mask", "token_type_ids", "position_ids"};

typedef struct samples {
  int32_t ids[TEXTS_MAX][TOKENS_MAX], types[TEXTS_MAX][TOKENS_MAX];
  size_t counts[TEXTS_MAX], count;
  int32_t pad;
  int64_t inputs[INPUTS][ROWS * TOKENS_MAX];  // of the batch that is computed now
  int32_t narrow[INPUTS][ROWS * TOKENS_MAX];  // the same for a graph that takes int32
  size_t first, rows, length;                 // of that batch
  const char *output;
} samples;

// --- texts ----------------------------------------------------------------------------------------------------------

static rh_status encode(samples *s, const rh_tokenizer *tokenizer, rh_encoding *encoding, rh_error *error) {
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(tokenizer);
  rh_encode_options options = {.add_special = true, .length_max = TOKENS_MAX, .truncate = RH_TRUNCATE_LONGEST_FIRST};
  if (facts->length_max > 0 && facts->length_max < TOKENS_MAX) options.length_max = facts->length_max;
  s->pad = facts->pad >= 0 ? facts->pad : 0;
  const char *text = (const char *)rh_onnx_samples, *end = text + rh_onnx_samples_length;
  while (text < end && s->count < TEXTS_MAX) {
    const char *line = memchr(text, '\n', (size_t)(end - text));
    size_t length = line ? (size_t)(line - text) : (size_t)(end - text);
    rh_status status = rh_tokenizer_encode(tokenizer, text, length, NULL, 0, &options, encoding, error);
    if (status != RH_OK) return status;
    size_t count = encoding->count < TOKENS_MAX ? encoding->count : TOKENS_MAX;
    memcpy(s->ids[s->count], encoding->ids, count * sizeof *encoding->ids);
    memcpy(s->types[s->count], encoding->types, count * sizeof *encoding->types);
    if (count > 0) s->counts[s->count++] = count;
    text += length + 1;
  }
  return s->count > 0 ? RH_OK : rh_fail(error, RH_UNSUPPORTED, "its tokenizer makes no tokens");
}

static rh_status read_texts(const char *folder, samples *s, rh_error *error) {
  rh_tokenizer *tokenizer = NULL;
  rh_encoding *encoding = NULL;
  rh_status status = rh_tokenizer_open(folder, &tokenizer, error);
  if (status == RH_OK) status = rh_encoding_new(&encoding, error);
  if (status == RH_OK) status = encode(s, tokenizer, encoding, error);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
  return status;
}

// --- inputs ---------------------------------------------------------------------------------------------------------

static int input_of(const char *name) {
  int i = 0;
  while (i < INPUTS && strcmp(name, input_names[i]) != 0) i++;
  return i;
}

static rh_status check_ports(const rh_engine *engine, rh_error *error) {
  bool ids = false;
  for (size_t i = 0; i < engine->graph.input_count; i++) {
    const rh_graph_port *port = &engine->graph.inputs[i];
    int input = input_of(port->name);
    bool fits = input < INPUTS && port->rank == 2 && (port->type == RH_DTYPE_I64 || port->type == RH_DTYPE_I32);
    if (!fits || port->shape[0] >= 0 || port->shape[1] >= 0)
      return rh_fail(error, RH_UNSUPPORTED, "the sample texts do not fit its input \"%.64s\"", port->name);
    ids = ids || input == IDS;
  }
  return ids ? RH_OK : rh_fail(error, RH_UNSUPPORTED, "it has no input \"input_ids\"");
}

static void fill(samples *s) {
  for (size_t r = 0; r < s->rows; r++) {
    for (size_t i = 0; i < s->length; i++) {
      size_t text = s->first + r, at = r * s->length + i;
      bool inside = i < s->counts[text];
      s->inputs[IDS][at] = inside ? s->ids[text][i] : s->pad;
      s->inputs[MASK][at] = inside;
      s->inputs[TYPES][at] = inside ? s->types[text][i] : 0;
      s->inputs[POSITIONS][at] = (int64_t)i;
      for (int input = 0; input < INPUTS; input++) s->narrow[input][at] = (int32_t)s->inputs[input][at];
    }
  }
}

static rh_status run(rh_engine *engine, samples *s, const rh_tensor **out, rh_error *error) {
  rh_tensor inputs[INPUTS];
  size_t count = 0, made = 0;
  for (size_t i = 0; i < engine->graph.input_count && i < INPUTS; i++) {
    const rh_graph_port *port = &engine->graph.inputs[i];
    int input = input_of(port->name);
    bool wide = port->type == RH_DTYPE_I64;
    inputs[count++] = (rh_tensor){.name = port->name,
                                  .type = port->type,
                                  .shape = {(int64_t)s->rows, (int64_t)s->length},
                                  .rank = 2,
                                  .data = wide ? (const void *)s->inputs[input] : s->narrow[input],
                                  .bytes = s->rows * s->length * rh_dtype_bytes(port->type)};
  }
  rh_status status = rh_ort_run(engine, inputs, count, &s->output, 1, out, &made, error);
  if (status == RH_OK && (made != 1 || (*out)->type != RH_DTYPE_F32 || (*out)->rank < 2 || (*out)->rank > 3 ||
                          (*out)->shape[0] != (int64_t)s->rows))
    status = rh_fail(error, RH_UNSUPPORTED, "its output \"%.64s\" is no float32 of each text", s->output);
  return status;
}

// --- outputs --------------------------------------------------------------------------------------------------------

// What the tasks read: scores of labels, or a ready vector, or the tokens' vectors.
static const char *choose_output(const rh_engine *engine) {
  static const char *const names[] = {"logits",          "sentence_embedding",  "text_embeds",
                                      "embeddings",      "sentence_embeddings", "last_hidden_state",
                                      "token_embeddings"};
  const rh_graph *graph = &engine->graph;
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    for (size_t i = 0; i < graph->output_count; i++) {
      if (strcmp(graph->outputs[i].name, names[n]) == 0) return graph->outputs[i].name;
    }
  }
  for (size_t rank = 3; rank >= 2; rank--) {
    for (size_t i = 0; i < graph->output_count; i++) {
      if (graph->outputs[i].rank == rank && graph->outputs[i].type == RH_DTYPE_F32) return graph->outputs[i].name;
    }
  }
  return NULL;
}

static double cosine(const double *a, const double *b, size_t count) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < count; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  double value = ab / sqrt(aa * bb);
  return isfinite(value) ? value : -1;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// The largest difference of a label's probability, whether the labels exclude each other or not.
static double probability_gap(const float *a, const float *b, size_t labels) {
  double most_a = a[0], most_b = b[0], sum_a = 0, sum_b = 0, gap = 0;
  for (size_t i = 0; i < labels; i++) {
    gap = fmax(gap, fabs(sigmoid(a[i]) - sigmoid(b[i])));
    most_a = fmax(most_a, a[i]);
    most_b = fmax(most_b, b[i]);
    if (!isfinite(a[i]) || !isfinite(b[i])) return 1;
  }
  for (size_t i = 0; i < labels; i++) {
    sum_a += exp(a[i] - most_a);
    sum_b += exp(b[i] - most_b);
  }
  for (size_t i = 0; i < labels && labels > 1; i++)
    gap = fmax(gap, fabs(exp(a[i] - most_a) / sum_a - exp(b[i] - most_b) / sum_b));
  return gap;
}

static double cosine_of_means(const float *a, const float *b, size_t tokens, size_t width, double *sums) {
  for (size_t i = 0; i < 2 * width; i++) sums[i] = 0;
  for (size_t t = 0; t < tokens; t++) {
    for (size_t i = 0; i < width; i++) {
      sums[i] += a[t * width + i];
      sums[width + i] += b[t * width + i];
    }
  }
  return cosine(sums, sums + width, width);
}

// The worst text of the batch into `out`, unless a worse one is there.
static rh_status compare(const samples *s, const rh_tensor *a, const rh_tensor *b, rh_ort_accuracy *out,
                         rh_error *error) {
  bool tokens = a->rank == 3;
  size_t width = (size_t)a->shape[a->rank - 1], row = tokens ? s->length * width : width;
  if (a->bytes != b->bytes || a->bytes != s->rows * row * sizeof(float) || width == 0)
    return rh_fail(error, RH_UNSUPPORTED, "its output \"%.64s\" has another shape", s->output);
  double *sums = calloc(2 * width, sizeof *sums);
  if (!sums) return rh_fail(error, RH_NO_MEMORY, "no memory to compare two graphs");
  for (size_t r = 0; r < s->rows; r++) {
    const float *x = (const float *)a->data + r * row, *y = (const float *)b->data + r * row;
    size_t count = tokens ? s->counts[s->first + r] : 1;
    if (out->vectors) {
      out->value = fmin(out->value, cosine_of_means(x, y, count, width, sums));
      continue;
    }
    double gap = 0;  // of labels of tokens, the text's mean
    for (size_t t = 0; t < count; t++) gap += probability_gap(x + t * width, y + t * width, width) / (double)count;
    out->value = fmax(out->value, gap);
  }
  free(sums);
  return RH_OK;
}

// --- all of it ------------------------------------------------------------------------------------------------------

static rh_status measure_batch(rh_engine *graph, rh_engine *variant, samples *s, rh_ort_accuracy *out,
                               rh_error *error) {
  const rh_tensor *a = NULL, *b = NULL;
  s->rows = s->count - s->first < ROWS ? s->count - s->first : ROWS;
  s->length = 0;
  for (size_t r = 0; r < s->rows; r++) {
    if (s->counts[s->first + r] > s->length) s->length = s->counts[s->first + r];
  }
  fill(s);
  rh_status status = run(graph, s, &a, error);
  if (status == RH_OK) status = run(variant, s, &b, error);
  if (status == RH_OK) status = compare(s, a, b, out, error);
  rh_ort_run_forget(graph);
  rh_ort_run_forget(variant);
  return status;
}

rh_status rh_ort_accuracy_measure(rh_engine *graph, rh_engine *variant, bool (*progress)(void *ctx, double fraction),
                                  void *progress_ctx, rh_ort_accuracy *out, rh_error *error) {
  samples *s = calloc(1, sizeof *s);
  if (!s) return rh_fail(error, RH_NO_MEMORY, "no memory to compare two graphs");
  rh_status status = check_ports(graph, error);
  if (status == RH_OK) status = check_ports(variant, error);
  if (status == RH_OK) status = read_texts(graph->folder, s, error);
  s->output = choose_output(graph);
  if (status == RH_OK && !s->output) status = rh_fail(error, RH_UNSUPPORTED, "it has no output that could be compared");
  out->vectors = s->output && strcmp(s->output, "logits") != 0;
  out->value = out->vectors ? 1 : 0;
  for (; status == RH_OK && s->first < s->count; s->first += ROWS) {
    if (progress && !progress(progress_ctx, (double)s->first / (double)s->count))
      status = rh_fail(error, RH_CANCELLED, "loading %s was given up", graph->name);
    if (status == RH_OK) status = measure_batch(graph, variant, s, out, error);
  }
  free(s);
  return status;
}
