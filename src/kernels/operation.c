// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see operation.h.
// Data owned: none.
#include "kernels/operation.h"

#include <string.h>

#include "kernels/panel.h"
#include "kernels/product.h"

// The matrices that models use in no other way than by these operations. Others with the same operation in llama.cpp's
// tables are sliced or reshaped by some architectures, which packed weights do not bear.
static const char *const matrices[] = {
    "attn_q",      "attn_k",        "attn_v",           "attn_qkv",       "attn_output",  "attn_gate",
    "attn_q_a",    "attn_q_b",      "ffn_gate",         "ffn_up",         "ffn_down",     "ffn_gate_exps",
    "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
    "ssm_in",      "ssm_out",       "output",           "token_embd"};

// Is a name "blk.7.WORD.weight" or "WORD.weight"?
static bool is_named(const char *name, const char *word) {
  size_t length = strlen(name);
  size_t wanted = strlen(word);
  static const char end[] = ".weight";
  if (length < wanted + sizeof end - 1 || strcmp(name + length - (sizeof end - 1), end) != 0) return false;
  const char *begin = name + length - (sizeof end - 1) - wanted;
  return strncmp(begin, word, wanted) == 0 && (begin == name || begin[-1] == '.');
}

static bool is_known_matrix(const char *name) {
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
    if (is_named(name, matrices[i])) return true;
  }
  return false;
}

static bool fits_operation(const struct ggml_tensor *op) {
  const struct ggml_tensor *weight = op->src[0];
  const struct ggml_tensor *input = op->src[1];
  switch (op->op) {
    case GGML_OP_MUL_MAT:
      return ggml_n_dims(weight) <= 2 && input->type == GGML_TYPE_F32 && input->nb[0] == sizeof(float);
    case GGML_OP_MUL_MAT_ID: return weight->ne[3] == 1 && input->type == GGML_TYPE_F32 && input->nb[0] == sizeof(float);
    case GGML_OP_GET_ROWS: return ggml_n_dims(weight) <= 2 && is_named(weight->name, "token_embd");
    default: return false;
  }
}

bool rk_operation_fits(const rk_set *set, const struct ggml_tensor *op) {
  const struct ggml_tensor *weight = op->src[0];
  if (!weight || !op->src[1] || weight->view_src) return false;
  // A weight that is packed already (asked for each operation of a graph) was known when it was loaded.
  if (!weight->extra && !is_known_matrix(weight->name)) return false;
  const rk_format *format = rk_format_find(set, (int)weight->type);
  if (!format || weight->ne[0] % format->block != 0) return false;
  if (op->src[1]->buffer && !ggml_backend_buffer_is_host(op->src[1]->buffer)) return false;
  return fits_operation(op);
}

static rk_product describe(const rk_set *set, const struct ggml_tensor *op) {
  const struct ggml_tensor *weight = op->src[0];
  const struct ggml_tensor *input = op->src[1];
  const rk_format *format = weight->extra;
  bool by_id = op->op == GGML_OP_MUL_MAT_ID;
  return (rk_product){
      .format = format,
      .quantize = set->quantize[format->activation],
      .rows = weight->ne[1],
      .columns = weight->ne[0],
      .row_count = by_id ? ggml_nelements(op->src[2]) : ggml_nrows(input),
      .segment_count = by_id ? weight->ne[2] : 1,
  };
}

size_t rk_operation_work_size(const rk_set *set, const struct ggml_tensor *op, int threads) {
  if (op->op == GGML_OP_GET_ROWS) return 0;
  rk_product product = describe(set, op);
  return rk_product_work_size(&product, threads);
}

static void list_rows(const struct ggml_tensor *op, rk_row *rows) {
  const struct ggml_tensor *input = op->src[1];
  int64_t r = 0;
  for (int64_t i3 = 0; i3 < input->ne[3]; i3++) {
    for (int64_t i2 = 0; i2 < input->ne[2]; i2++) {
      const char *in = (const char *)input->data + (size_t)i2 * input->nb[2] + (size_t)i3 * input->nb[3];
      char *out = (char *)op->data + (size_t)i2 * op->nb[2] + (size_t)i3 * op->nb[3];
      for (int64_t i1 = 0; i1 < input->ne[1]; i1++, r++) {
        rows[r].in = (const void *)(in + (size_t)i1 * input->nb[1]);
        rows[r].out = (void *)(out + (size_t)i1 * op->nb[1]);
      }
    }
  }
}

static int32_t expert_at(const struct ggml_tensor *ids, int64_t slot, int64_t token, int64_t experts) {
  const char *at = (const char *)ids->data + (size_t)slot * ids->nb[0] + (size_t)token * ids->nb[1];
  int32_t id;
  memcpy(&id, at, sizeof id);
  GGML_ASSERT(id >= 0 && id < experts);
  return id;
}

// Sorts the pairs of token and expert by expert: counts first, then each pair to its place.
static void list_by_expert(const struct ggml_tensor *op, const rk_product *product, rk_segment *segments,
                           rk_row *rows) {
  const struct ggml_tensor *weight = op->src[0];
  const struct ggml_tensor *input = op->src[1];
  const struct ggml_tensor *ids = op->src[2];
  size_t matrix = rk_matrix_bytes(product->format, product->rows, product->columns);
  for (int64_t e = 0; e < weight->ne[2]; e++) {
    segments[e] = (rk_segment){.matrix = (const uint8_t *)weight->data + (size_t)e * matrix};
  }
  for (int64_t t = 0; t < ids->ne[1]; t++) {
    for (int64_t s = 0; s < ids->ne[0]; s++) segments[expert_at(ids, s, t, weight->ne[2])].count++;
  }
  int64_t first = 0;
  for (int64_t e = 0; e < weight->ne[2]; e++) {
    segments[e].first = first;
    first += segments[e].count;
    segments[e].count = 0;
  }
  for (int64_t t = 0; t < ids->ne[1]; t++) {
    for (int64_t s = 0; s < ids->ne[0]; s++) {
      rk_segment *segment = &segments[expert_at(ids, s, t, weight->ne[2])];
      rk_row *row = &rows[segment->first + segment->count++];
      row->in = (const void *)((const char *)input->data + (size_t)(s % input->ne[1]) * input->nb[1] +
                               (size_t)t * input->nb[2]);
      row->out = (void *)((char *)op->data + (size_t)s * op->nb[1] + (size_t)t * op->nb[2]);
    }
  }
}

static void run_product(const rk_set *set, struct ggml_tensor *op, const rk_team *team) {
  rk_product product = describe(set, op);
  GGML_ASSERT(team->work_size >= rk_product_work_size(&product, team->count));
  rk_segment *segments = rk_product_segments(&product, team);
  rk_row *rows = rk_product_rows(&product, team);
  if (op->op == GGML_OP_MUL_MAT_ID) {
    list_by_expert(op, &product, segments, rows);
  } else {
    segments[0] = (rk_segment){.matrix = op->src[0]->data, .count = product.row_count};
    list_rows(op, rows);
  }
  rk_product_run(&product, team);
}

static void run_get_rows(struct ggml_tensor *op, const rk_team *team) {
  const struct ggml_tensor *weight = op->src[0];
  const struct ggml_tensor *ids = op->src[1];
  int64_t count = ggml_nelements(ids);
  for (int64_t i = team->index; i < count; i += team->count) {
    int64_t i0 = i % ids->ne[0];
    int64_t i1 = i / ids->ne[0] % ids->ne[1];
    int64_t i2 = i / (ids->ne[0] * ids->ne[1]);
    int32_t row;
    memcpy(&row, (const char *)ids->data + (size_t)i0 * ids->nb[0] + (size_t)i1 * ids->nb[1] + (size_t)i2 * ids->nb[2],
           sizeof row);
    GGML_ASSERT(row >= 0 && row < weight->ne[1]);
    float *out = (void *)((char *)op->data + (size_t)i0 * op->nb[1] + (size_t)i1 * op->nb[2] + (size_t)i2 * op->nb[3]);
    rk_unpack_row(weight->extra, weight->data, weight->ne[0], row, out);
  }
}

void rk_operation_run(const rk_set *set, struct ggml_tensor *op, const rk_team *team) {
  if (op->op == GGML_OP_GET_ROWS) {
    run_get_rows(op, team);
  } else {
    run_product(set, op, team);
  }
}
