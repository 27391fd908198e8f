// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products through ggml's CPU backend, ours and upstream's alike: same graph, same threads, another buffer type.
// Data owned: one backend with its threads. Threads: one calls.
#include <ggml-alloc.h>
#include <ggml-cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels_bench.h"
#include "kernels_load.h"

// So that neighbours in a graph do not share activations: who keeps quantized ones would look better than in a model.
#define INPUTS_MAX 4

static struct {
  ggml_backend_dev_t device;
  ggml_backend_t backend;
  struct ggml_threadpool *pool;
  void (*pool_free)(struct ggml_threadpool *pool);
  ggml_backend_buffer_type_t *extra;  // a list that NULL ends
  ggml_backend_buffer_type_t ours;    // the first of them, or NULL
} cpu;

// llama.cpp tells of every matrix that it packs.
static void quiet(enum ggml_log_level level, const char *text, void *data) {
  (void)data;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

void bench_ggml_open(const char *wish, int threads, char *words, size_t size) {
  ggml_log_set(quiet, NULL);
  bool installed = bench_load(wish, words, size);
  cpu.device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  cpu.backend = ggml_backend_dev_init(cpu.device, NULL);
  if (!cpu.backend) bench_fail("no CPU backend");
  ggml_backend_dev_get_extra_bufts_t extra;
  struct ggml_threadpool *(*pool_new)(struct ggml_threadpool_params * params);
  void (*set_pool)(ggml_backend_t backend, struct ggml_threadpool * pool);
  ggml_backend_set_n_threads_t set_threads;
  bench_backend_function("ggml_backend_dev_get_extra_bufts", &extra, sizeof extra);
  bench_backend_function("ggml_threadpool_new", &pool_new, sizeof pool_new);
  bench_backend_function("ggml_threadpool_free", &cpu.pool_free, sizeof cpu.pool_free);
  bench_backend_function("ggml_backend_cpu_set_threadpool", &set_pool, sizeof set_pool);
  bench_backend_function("ggml_backend_set_n_threads", &set_threads, sizeof set_threads);
  cpu.extra = extra(cpu.device);
  cpu.ours = installed && cpu.extra ? cpu.extra[0] : NULL;
  struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  cpu.pool = pool_new(&params);
  if (!cpu.pool) bench_fail("no threads");
  set_threads(cpu.backend, threads);
  set_pool(cpu.backend, cpu.pool);
}

void bench_ggml_close(void) {
  ggml_backend_free(cpu.backend);
  cpu.pool_free(cpu.pool);
}

static struct ggml_context *new_context(size_t tensors, size_t graph) {
  size_t size = tensors * ggml_tensor_overhead() + (graph ? ggml_graph_overhead_custom(graph, false) : 0);
  struct ggml_context *context = ggml_init((struct ggml_init_params){.mem_size = size, .no_alloc = true});
  if (!context) bench_fail("no memory");
  return context;
}

// Our kernels go by the name, as some of llama.cpp's architectures slice matrices of other names.
static struct ggml_tensor *new_weight(struct ggml_context *context, enum ggml_type format, int64_t rows,
                                      int64_t columns) {
  struct ggml_tensor *weight = ggml_new_tensor_2d(context, format, columns, rows);
  return ggml_set_name(weight, "blk.0.ffn_up.weight");
}

// Asked the way llama.cpp asks when it loads a model.
static bool takes(ggml_backend_buffer_type_t type, enum ggml_type format, int64_t rows, int64_t columns) {
  struct ggml_context *context = new_context(3, 0);
  struct ggml_tensor *weight = new_weight(context, format, rows, columns);
  struct ggml_tensor *op = ggml_mul_mat(context, weight, ggml_new_tensor_2d(context, GGML_TYPE_F32, columns, 512));
  weight->buffer = ggml_backend_buft_alloc_buffer(type, 0);
  bool yes = weight->buffer && ggml_backend_dev_supports_op(cpu.device, op);
  ggml_backend_buffer_free(weight->buffer);
  ggml_free(context);
  return yes;
}

bench_side bench_upstream(enum ggml_type format, int64_t rows, int64_t columns) {
  for (ggml_backend_buffer_type_t *at = cpu.extra; at && *at; at++) {
    if (*at != cpu.ours && takes(*at, format, rows, columns)) return (bench_side){ggml_backend_buft_name(*at), *at};
  }
  ggml_backend_buffer_type_t plain = ggml_backend_dev_buffer_type(cpu.device);
  return (bench_side){ggml_backend_buft_name(plain), plain};
}

bench_side bench_ours(enum ggml_type format, int64_t rows, int64_t columns) {
  if (!cpu.ours || !takes(cpu.ours, format, rows, columns)) return (bench_side){"none", NULL};
  return (bench_side){ggml_backend_buft_name(cpu.ours), cpu.ours};
}

void bench_matrices_open(bench_side side, enum ggml_type format, int64_t rows, int64_t columns, int copies,
                         const void *data, bench_matrices *out) {
  out->copies = copies;
  out->context = new_context((size_t)copies, 0);
  out->weights = calloc((size_t)copies, sizeof *out->weights);
  if (!out->weights) bench_fail("no memory");
  for (int i = 0; i < copies; i++) out->weights[i] = new_weight(out->context, format, rows, columns);
  out->buffer = ggml_backend_alloc_ctx_tensors_from_buft(out->context, side.type);
  if (!out->buffer) bench_fail("no memory for the matrices");
  ggml_backend_buffer_set_usage(out->buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
  for (int i = 0; i < copies; i++) {
    ggml_backend_tensor_set(out->weights[i], data, 0, ggml_nbytes(out->weights[i]));
  }
}

void bench_matrices_close(bench_matrices *matrices) {
  ggml_backend_buffer_free(matrices->buffer);
  ggml_free(matrices->context);
  free(matrices->weights);
}

// Numbers like those between a model's layers: around nought, a few far larger.
static void fill(float *values, int64_t count) {
  uint32_t state = 1;
  for (int64_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    float x = (float)(state >> 8) * 0x1p-23F - 1.0F;
    values[i] = x * (i % 97 == 0 ? 8.0F : 1.0F);
  }
}

static void fill_tensor(struct ggml_tensor *tensor) {
  float *values = malloc(ggml_nbytes(tensor));
  if (!values) bench_fail("no memory");
  fill(values, ggml_nelements(tensor));
  ggml_backend_tensor_set(tensor, values, 0, ggml_nbytes(tensor));
  free(values);
}

void bench_graph_open(const bench_matrices *matrices, int count, int tokens, bench_graph *out) {
  int inputs = count < INPUTS_MAX ? count : INPUTS_MAX;
  const struct ggml_tensor *weight = matrices->weights[0];
  out->count = count;
  out->context = new_context((size_t)(inputs + 1), 0);
  struct ggml_tensor *input[INPUTS_MAX];
  for (int i = 0; i < inputs; i++) input[i] = ggml_new_tensor_2d(out->context, GGML_TYPE_F32, weight->ne[0], tokens);
  out->product = ggml_new_tensor_2d(out->context, GGML_TYPE_F32, weight->ne[1], tokens);
  out->buffer = ggml_backend_alloc_ctx_tensors_from_buft(out->context, ggml_backend_dev_buffer_type(cpu.device));
  if (!out->buffer) bench_fail("no memory for the activations");
  for (int i = 0; i < inputs; i++) fill_tensor(input[i]);
  out->nodes = new_context((size_t)count, (size_t)count * 2 + 8);
  out->graph = ggml_new_graph_custom(out->nodes, (size_t)count * 2 + 8, false);
  for (int i = 0; i < count; i++) {
    struct ggml_tensor *node = ggml_mul_mat(out->nodes, matrices->weights[i], input[i % inputs]);
    // All into one place: nobody reads them, and a model's products stay in the cache as well.
    if (ggml_backend_tensor_alloc(out->buffer, node, out->product->data) != GGML_STATUS_SUCCESS) bench_fail("no place");
    ggml_build_forward_expand(out->graph, node);
  }
}

double bench_graph_run(const bench_graph *graph) {
  double begin = bench_now_s();
  if (ggml_backend_graph_compute(cpu.backend, graph->graph) != GGML_STATUS_SUCCESS) bench_fail("a graph failed");
  return (bench_now_s() - begin) / graph->count;
}

void bench_graph_close(bench_graph *graph) {
  ggml_backend_buffer_free(graph->buffer);
  ggml_free(graph->nodes);
  ggml_free(graph->context);
}

double bench_graph_difference(const bench_graph *a, const bench_graph *b) {
  const float *one = ggml_get_data_f32(a->product);
  const float *two = ggml_get_data_f32(b->product);
  double difference = 0.0;
  double whole = 0.0;
  for (int64_t i = 0; i < ggml_nelements(a->product); i++) {
    difference += ((double)one[i] - (double)two[i]) * ((double)one[i] - (double)two[i]);
    whole += (double)two[i] * (double)two[i];
  }
  return whole > 0.0 ? sqrt(difference / whole) : INFINITY;
}
