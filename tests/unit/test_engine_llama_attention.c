// SPDX-License-Identifier: Apache-2.0
//
// Attention of ours inside llama.cpp's CPU backend: graphs of one operation against float64, with several numbers of threads,
// so that tiles, single queries and queries cut among threads all take part.
#include "kernels_graph_fixture.h"

#include <math.h>

typedef enum mask_kind { NO_MASK, CAUSAL, HOLES, HIDDEN_QUERY, MASK_PER_HEAD } mask_kind;

typedef struct shape {
  int dims, value_dims, heads, kv_heads, queries, keys, streams;
  mask_kind mask;
  float max_bias, softcap;
  bool sinks;
} shape;

static const shape shapes[] = {
    // one token of one stream and of many: cut among threads
    {64, 64, 9, 3, 1, 1, 1, CAUSAL, 0, 0, false},
    {64, 64, 9, 3, 1, 500, 1, CAUSAL, 0, 0, false},
    {128, 128, 4, 4, 16, 700, 1, HOLES, 0, 0, false},
    {80, 80, 4, 1, 5, 333, 3, HOLES, 0, 0, true},
    {256, 256, 4, 1, 3, 257, 1, HIDDEN_QUERY, 0, 50.0F, false},
    {64, 32, 12, 4, 7, 128, 2, HOLES, 8.0F, 0, true},
    // prompts: tiles
    {64, 64, 9, 3, 130, 130, 1, CAUSAL, 0, 0, false},
    {128, 128, 8, 2, 70, 300, 2, CAUSAL, 0, 0, true},
    {96, 96, 6, 6, 65, 65, 1, NO_MASK, 0, 0, false},
    {192, 128, 5, 5, 80, 96, 1, HIDDEN_QUERY, 0, 30.0F, false},
    {64, 64, 12, 3, 90, 200, 1, HOLES, 4.0F, 0, false},
    {64, 64, 6, 2, 20, 64, 1, MASK_PER_HEAD, 0, 0, false},
};

typedef struct problem {
  graph graph;
  struct ggml_tensor *q, *k, *v, *mask, *sinks, *op;
} problem;

static void fill_halves(struct ggml_tensor *tensor) {
  ggml_fp16_t *values = tensor->data;
  for (int64_t i = 0; i < ggml_nelements(tensor); i++) values[i] = ggml_fp32_to_fp16(noise());
}

static bool is_seen(const shape *s, int query, int key) {
  switch (s->mask) {
    case NO_MASK: return true;
    case CAUSAL: return key <= s->keys - s->queries + query;
    case HIDDEN_QUERY: return query % 3 != 1 && key <= s->keys - s->queries + query;
    default: return noise() > -0.4F;
  }
}

static void fill_mask(const shape *s, struct ggml_tensor *mask) {
  ggml_fp16_t *at = mask->data;
  for (int64_t i = 0; i < ggml_nelements(mask); i++) {
    int query = (int)(i / s->keys % s->queries);
    float bias = s->max_bias > 0.0F ? -fabsf(noise()) * 4.0F : 0.0F;
    at[i] = ggml_fp32_to_fp16(is_seen(s, query, (int)(i % s->keys)) ? bias : -INFINITY);
  }
}

static problem problem_new(const shape *s) {
  problem p = {.graph = graph_new()};
  struct ggml_context *context = p.graph.context;
  p.q = ggml_new_tensor_4d(context, GGML_TYPE_F32, s->dims, s->queries, s->heads, s->streams);
  p.k = ggml_new_tensor_4d(context, GGML_TYPE_F16, s->dims, s->keys, s->kv_heads, s->streams);
  p.v = ggml_new_tensor_4d(context, GGML_TYPE_F16, s->value_dims, s->keys, s->kv_heads, s->streams);
  int masks = s->mask == MASK_PER_HEAD ? s->heads : 1;
  if (s->mask != NO_MASK) {
    p.mask = ggml_new_tensor_4d(context, GGML_TYPE_F16, s->keys, s->queries, masks, s->streams);
  }
  p.op = ggml_flash_attn_ext(context, p.q, p.k, p.v, p.mask, 1.0F / sqrtf((float)s->dims), s->max_bias, s->softcap);
  if (s->sinks) {
    p.sinks = ggml_new_tensor_1d(context, GGML_TYPE_F32, s->heads);
    ggml_flash_attn_ext_add_sinks(p.op, p.sinks);
  }
  graph_allocate(&p.graph);
  fill(p.q);
  fill_halves(p.k);
  fill_halves(p.v);
  if (p.mask) fill_mask(s, p.mask);
  if (p.sinks) fill(p.sinks);
  return p;
}

static double half_at(const struct ggml_tensor *t, int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
  const ggml_fp16_t *values = t->data;
  return (double)ggml_fp16_to_fp32(values[((i3 * t->ne[2] + i2) * t->ne[1] + i1) * t->ne[0] + i0]);
}

// As in the paper on ALiBi: powers of one base for the first heads, a power of two of them, and of its root for the rest.
static double slope_of(const shape *s, int head) {
  if (s->max_bias <= 0.0F) return 1.0;
  int whole = 1;
  while (2 * whole <= s->heads) whole *= 2;
  if (head < whole) return pow(2.0, -(double)s->max_bias / whole * (head + 1));
  return pow(2.0, -(double)s->max_bias / 2.0 / whole * (2 * (head - whole) + 1));
}

static double logit_of(const shape *s, const problem *p, int stream, int head, int query, int key) {
  const float *q = (const float *)p->q->data + (((int64_t)stream * s->heads + head) * s->queries + query) * s->dims;
  double dot = 0.0;
  for (int i = 0; i < s->dims; i++) {
    dot += (double)q[i] * half_at(p->k, i, key, head / (s->heads / s->kv_heads), stream);
  }
  dot /= sqrt((double)s->dims);
  if (s->softcap > 0.0F) dot = (double)s->softcap * tanh(dot / (double)s->softcap);
  if (p->mask) dot += slope_of(s, head) * half_at(p->mask, key, query, p->mask->ne[2] > 1 ? head : 0, stream);
  return dot;
}

// One query of one head: its weights' total, and the values they make.
static void expected_row(const shape *s, const problem *p, int stream, int head, int query, double *out) {
  double total = p->sinks ? exp((double)((const float *)p->sinks->data)[head]) : 0.0;
  for (int d = 0; d < s->value_dims; d++) out[d] = 0.0;
  for (int key = 0; key < s->keys; key++) {
    double weight = exp(logit_of(s, p, stream, head, query, key));
    total += weight;
    for (int d = 0; d < s->value_dims && weight > 0.0; d++) {
      out[d] += weight * half_at(p->v, d, key, head / (s->heads / s->kv_heads), stream);
    }
  }
  for (int d = 0; d < s->value_dims && total > 0.0; d++) out[d] /= total;
}

// llama.cpp's own kernels round queries to half precision, which such sums show: so close only ours come.
#define BOUND 1e-5

static void compare(const shape *s, const problem *p, int threads) {
  double expected[256];
  for (int row = 0; row < s->streams * s->queries * s->heads; row++) {
    int head = row % s->heads;
    int query = row / s->heads % s->queries;
    int stream = row / s->heads / s->queries;
    expected_row(s, p, stream, head, query, expected);
    const float *got = (const float *)p->op->data + (int64_t)row * s->value_dims;
    for (int d = 0; d < s->value_dims; d++) {
      if (fabs((double)got[d] - expected[d]) <= BOUND) continue;
      fail_msg("%d queries, %d keys, %d threads: stream %d query %d head %d number %d is %.8g, not %.8g", s->queries,
               s->keys, threads, stream, query, head, d, (double)got[d], expected[d]);
    }
  }
}

static void test_attention(void **unused) {
  (void)unused;
  if (!ours) skip();
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    problem p = problem_new(&shapes[i]);
    // Odd numbers, and more threads than there is work for.
    const int threads[] = {1, 2, 3, 7};
    for (size_t n = 0; n < sizeof threads / sizeof threads[0]; n++) {
      memset(p.op->data, 0xff, ggml_nbytes(p.op));
      graph_run(&p.graph, p.op, threads[n]);
      compare(&shapes[i], &p, threads[n]);
    }
    graph_free(&p.graph);
  }
}

// The same threads give the same bits.
static void test_repeated(void **unused) {
  (void)unused;
  if (!ours) skip();
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    problem p = problem_new(&shapes[i]);
    size_t bytes = ggml_nbytes(p.op);
    void *first = malloc(bytes);
    graph_run(&p.graph, p.op, 3);
    memcpy(first, p.op->data, bytes);
    graph_run(&p.graph, p.op, 3);
    assert_memory_equal(first, p.op->data, bytes);
    free(first);
    graph_free(&p.graph);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_attention),
      cmocka_unit_test(test_repeated),
  };
  return cmocka_run_group_tests(tests, open_backend, close_backend);
}
