// SPDX-License-Identifier: Apache-2.0
//
// Purpose: rows of tokens through a graph, or through an engine's own embeddings: inputs by the graph's names, padded to one
// length; the output that the task needs, as float32.
// Data owned: the input buffers and the float32 outputs, kept between batches. Threads: the engine thread.
// Not here: what the numbers mean, and which rows are together.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

enum { FEED_IDS, FEED_MASK, FEED_TYPES, FEED_POSITIONS, FEEDS };

static const char *const feed_names[FEEDS] = {"input_ids", "attention_mask", "token_type_ids", "position_ids"};

static int feed_of(const char *name) {
  for (int i = 0; i < FEEDS; i++) {
    if (strcmp(name, feed_names[i]) == 0) return i;
  }
  return -1;
}

static rh_status check_inputs(rh_compute *compute, rh_error *error) {
  bool has_ids = false;
  for (size_t i = 0; i < compute->graph->input_count; i++) {
    const rh_graph_port *port = &compute->graph->inputs[i];
    int feed = feed_of(port->name);
    if (feed < 0) {
      return rh_fail(error, RH_UNSUPPORTED,
                     "the model's graph needs an input \"%.64s\", which no text can give; it can be run with the task "
                     "\"tensor\"",
                     port->name);
    }
    bool known = port->type == RH_DTYPE_I64 || port->type == RH_DTYPE_I32 || port->type == RH_DTYPE_F32;
    if (!known || port->rank != 2) {
      return rh_fail(error, RH_UNSUPPORTED,
                     "the graph's input \"%.64s\" is %s with %zu dimensions; token inputs are int64 or int32 [batch, "
                     "sequence]",
                     port->name, rh_dtype_name(port->type), port->rank);
    }
    if (port->shape[0] > 0) compute->fixed_batch = port->shape[0];
    if (port->shape[1] > 0) compute->fixed_length = port->shape[1];
    has_ids = has_ids || feed == FEED_IDS;
  }
  if (has_ids) return RH_OK;
  return rh_fail(error, RH_UNSUPPORTED,
                 "the model's graph has no input \"input_ids\", so it reads no text; it can be run with the task "
                 "\"tensor\"");
}

static bool is_float(rh_dtype type) {
  return type == RH_DTYPE_F32 || type == RH_DTYPE_F16 || type == RH_DTYPE_BF16 || type == RH_DTYPE_F64;
}

// The output of this name, or, with NULL, the first of this rank.
static const rh_graph_port *find_output(const rh_graph *graph, const char *name, size_t rank) {
  for (size_t i = 0; i < graph->output_count; i++) {
    const rh_graph_port *port = &graph->outputs[i];
    if (!is_float(port->type)) continue;
    if (name != NULL ? strcmp(port->name, name) == 0 : port->rank == rank) return port;
  }
  return NULL;
}

// A ready embedding wins over tokens' vectors, but a "pooler output" does not: models are trained to be pooled otherwise.
static const rh_graph_port *choose_output(const rh_graph *graph, rh_output_kind kind) {
  static const char *const ready[] = {"sentence_embedding", "text_embeds", "embeddings", "sentence_embeddings"};
  static const char *const hidden[] = {"last_hidden_state", "token_embeddings"};
  const rh_graph_port *port = NULL;
  if (kind == RH_OUTPUT_EITHER) {
    for (size_t i = 0; i < sizeof ready / sizeof *ready && port == NULL; i++) port = find_output(graph, ready[i], 0);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden && port == NULL; i++) port = find_output(graph, hidden[i], 0);
    if (port == NULL) port = find_output(graph, NULL, 3);
    return port != NULL ? port : find_output(graph, NULL, 2);
  }
  port = find_output(graph, "logits", 0);
  if (port == NULL) port = find_output(graph, NULL, kind == RH_OUTPUT_TOKENS ? 3 : 2);
  return port;
}

rh_status rh_compute_init(rh_compute *compute, const rh_engine_ops *ops, rh_engine *engine, rh_output_kind kind,
                          int64_t width, int32_t pad, rh_error *error) {
  *compute = (rh_compute){.ops = ops, .infer = ops->infer(engine), .engine = engine, .pad = pad};
  compute->graph = compute->infer->graph != NULL ? compute->infer->graph(engine) : NULL;
  if (compute->graph == NULL) {
    if (compute->infer->embed == NULL) {
      return rh_fail(error, RH_UNSUPPORTED, "the engine %s computes no vectors of texts with this model", ops->name);
    }
    compute->width = (size_t)width;
    return RH_OK;
  }
  rh_status status = check_inputs(compute, error);
  if (status != RH_OK) return status;
  const rh_graph_port *output = choose_output(compute->graph, kind);
  if (output == NULL) {
    return rh_fail(error, RH_UNSUPPORTED, "none of the graph's outputs has the shape that the model's task needs");
  }
  compute->output = output->name;
  compute->output_tokens = output->rank == 3;
  int64_t last = output->rank > 0 ? output->shape[output->rank - 1] : 0;
  compute->width = last > 0 ? (size_t)last : 0;
  return RH_OK;
}

void rh_compute_free(rh_compute *compute) {
  for (int i = 0; i < FEEDS; i++) free(compute->feeds[i]);
  free(compute->values);
}

// --- inputs --------------------------------------------------------------------------------------------------------

static int64_t feed_value(const rh_compute *compute, int feed, const rh_row *row, size_t at) {
  bool inside = row != NULL && at < row->count;
  switch (feed) {
    case FEED_IDS: return inside ? row->ids[at] : compute->pad;
    // A row that only fills a fixed batch looks at one token: a mask of zeros would divide by zero.
    case FEED_MASK: return inside || (row == NULL && at == 0) ? 1 : 0;
    case FEED_TYPES: return inside ? row->types[at] : 0;
    default: return (int64_t)at;
  }
}

static rh_status fill(rh_compute *compute, const rh_graph_port *port, rh_row *const *rows, size_t count, size_t batch,
                      size_t length, rh_tensor *out, rh_error *error) {
  int feed = feed_of(port->name);
  size_t each = rh_dtype_bytes(port->type), bytes = batch * length * each;
  if (compute->feed_bytes[feed] < bytes) {
    free(compute->feeds[feed]);
    compute->feeds[feed] = malloc(bytes);
    compute->feed_bytes[feed] = compute->feeds[feed] != NULL ? bytes : 0;
    if (compute->feeds[feed] == NULL) {
      return rh_fail(error, RH_NO_MEMORY, "There is no memory for a batch of %zu texts.", count);
    }
  }
  void *data = compute->feeds[feed];
  for (size_t r = 0; r < batch; r++) {
    const rh_row *row = r < count ? rows[r] : NULL;
    for (size_t i = 0; i < length; i++) {
      int64_t value = feed_value(compute, feed, row, i);
      size_t at = r * length + i;
      if (port->type == RH_DTYPE_I64) ((int64_t *)data)[at] = value;
      if (port->type == RH_DTYPE_I32) ((int32_t *)data)[at] = (int32_t)value;
      if (port->type == RH_DTYPE_F32) ((float *)data)[at] = (float)value;
    }
  }
  *out = (rh_tensor){.name = port->name, .type = port->type, .rank = 2, .data = data, .bytes = bytes};
  out->shape[0] = (int64_t)batch;
  out->shape[1] = (int64_t)length;
  return RH_OK;
}

// --- outputs -------------------------------------------------------------------------------------------------------

rh_status rh_compute_floats(const rh_tensor *tensor, size_t count, float *out, rh_error *error) {
  if (tensor->bytes != count * rh_dtype_bytes(tensor->type) || !is_float(tensor->type)) {
    return rh_fail(error, RH_UNSUPPORTED, "the graph's output \"%.64s\" is %s, not numbers with a fraction",
                   tensor->name, rh_dtype_name(tensor->type));
  }
  rh_tensor_floats(tensor->type, tensor->data, count, out);
  return RH_OK;
}

static rh_status make_room(rh_compute *compute, size_t count, rh_error *error) {
  if (count <= compute->value_room) return RH_OK;
  float *values = realloc(compute->values, count * sizeof *values);
  if (values == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu numbers of output.", count);
  compute->values = values;
  compute->value_room = count;
  return RH_OK;
}

// One rh_output for each row out of the batch's tensor: [batch], [batch, width] or [batch, length, width].
static rh_status split(rh_compute *compute, const rh_tensor *tensor, rh_row *const *rows, size_t count, size_t batch,
                       size_t length, rh_error *error) {
  int64_t elements = rh_tensor_elements(tensor);
  bool fits = tensor->rank >= 1 && tensor->rank <= 3 && elements > 0 && tensor->shape[0] == (int64_t)batch &&
              (tensor->rank < 3 || tensor->shape[1] == (int64_t)length);
  if (!fits) {
    return rh_fail(error, RH_UNSUPPORTED,
                   "the graph's output \"%.64s\" does not have one row for each of the batch's %zu texts of %zu tokens",
                   tensor->name, batch, length);
  }
  size_t row_values = (size_t)elements / batch;
  const float *values = tensor->data;
  if (tensor->type != RH_DTYPE_F32) {
    rh_status status = make_room(compute, (size_t)elements, error);
    if (status == RH_OK) status = rh_compute_floats(tensor, (size_t)elements, compute->values, error);
    if (status != RH_OK) return status;
    values = compute->values;
  } else if (tensor->bytes != (size_t)elements * sizeof(float)) {
    return rh_fail(error, RH_INTERNAL, "the engine gave an output of another size than its shape says");
  }
  for (size_t r = 0; r < count; r++) {
    bool tokens = tensor->rank == 3;
    compute->outputs[r] = (rh_output){.values = values + r * row_values,
                                      .width = tokens ? (size_t)tensor->shape[2] : row_values,
                                      .tokens = tokens ? rows[r]->count : 0};
  }
  return RH_OK;
}

static rh_status compute_graph(rh_compute *compute, rh_row *const *rows, size_t count, size_t length, size_t *computed,
                               rh_error *error) {
  size_t batch = compute->fixed_batch > 0 ? (size_t)compute->fixed_batch : count;
  if (compute->fixed_length > 0) length = (size_t)compute->fixed_length;
  assert(count <= batch);
  *computed = batch * length;
  rh_tensor inputs[FEEDS];
  for (size_t i = 0; i < compute->graph->input_count; i++) {
    rh_status status = fill(compute, &compute->graph->inputs[i], rows, count, batch, length, &inputs[i], error);
    if (status != RH_OK) return status;
  }
  const rh_tensor *outputs = NULL;
  size_t output_count = 0;
  rh_status status = compute->infer->run(compute->engine, inputs, compute->graph->input_count, &compute->output, 1,
                                         &outputs, &output_count, error);
  if (status != RH_OK) return status;
  if (output_count != 1) return rh_fail(error, RH_INTERNAL, "the engine gave %zu outputs, not one", output_count);
  return split(compute, outputs, rows, count, batch, length, error);
}

static rh_status compute_vectors(rh_compute *compute, rh_row *const *rows, size_t count, rh_error *error) {
  rh_token_row tokens[RH_BATCH_CANDIDATES_MAX];
  assert(count > 0 && count <= RH_BATCH_CANDIDATES_MAX);
  for (size_t r = 0; r < count; r++) {
    tokens[r] = (rh_token_row){.ids = rows[r]->ids, .types = rows[r]->types, .count = rows[r]->count};
  }
  rh_status status = make_room(compute, count * compute->width, error);
  if (status == RH_OK) status = compute->infer->embed(compute->engine, tokens, count, compute->values, error);
  for (size_t r = 0; r < count && status == RH_OK; r++) {
    compute->outputs[r] = (rh_output){.values = compute->values + r * compute->width, .width = compute->width};
  }
  return status;
}

rh_status rh_compute_rows(rh_compute *compute, rh_row *const *rows, size_t count, size_t *computed, rh_error *error) {
  assert(count > 0 && count <= RH_BATCH_CANDIDATES_MAX);
  size_t length = 0, sum = 0;
  for (size_t r = 0; r < count; r++) {
    if (rows[r]->count > length) length = rows[r]->count;
    sum += rows[r]->count;
  }
  if (compute->graph != NULL) return compute_graph(compute, rows, count, length, computed, error);
  // An engine's own embeddings need no padding.
  *computed = sum;
  return compute_vectors(compute, rows, count, error);
}
