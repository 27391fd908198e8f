// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the parts of the program bench/kernels share: what the machine can do, and products done through ggml.
// Threads: one calls; the machine's measurements start threads of their own.
#ifndef RH_BENCH_KERNELS_BENCH_H
#define RH_BENCH_KERNELS_BENCH_H

#include <ggml-backend.h>
#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

double bench_now_s(void);
// Ends the program.
_Noreturn void bench_fail(const char *what);
// The median of `count` values, which are sorted on the way.
double bench_median(double *values, size_t count);

// --- the machine (kernels_machine.c) ---

typedef struct bench_machine {
  int threads;
  double clock_ghz;  // one thread alone
  double
      peak_tops;  // int8 dot products of the set's own instructions, in registers, all threads; a product counts as two
  double bandwidth_gbs;  // reads of memory that no cache holds, all threads, 10^9 bytes
  size_t cache_bytes;    // the last level's
} bench_machine;

// `set` is a name ("avx2") or NULL for the best that this processor has; false when it has no such set.
bool bench_machine_measure(const char *set, int threads, bool quick, bench_machine *out);

// --- products (kernels_graph.c) ---

// One way to multiply: the buffer type decides which kernels ggml uses.
typedef struct bench_side {
  const char *name;
  ggml_backend_buffer_type_t type;
} bench_side;

// Loads ggml's CPU backend and our kernels, as `wish` says (NULL: the best). Once. `words` becomes which ones and why.
void bench_ggml_open(const char *wish, int threads, char *words, size_t size);
void bench_ggml_close(void);

// The buffer type that llama.cpp would take for such a weight without us, and ours: type NULL where there is none.
bench_side bench_upstream(enum ggml_type format, int64_t rows, int64_t columns);
bench_side bench_ours(enum ggml_type format, int64_t rows, int64_t columns);

// `copies` matrices with the same weights, at different places, so that none is found in a cache.
typedef struct bench_matrices {
  struct ggml_context *context;
  ggml_backend_buffer_t buffer;
  struct ggml_tensor **weights;  // `copies` of them
  int copies;
} bench_matrices;

// `data` holds one matrix in the file's form.
void bench_matrices_open(bench_side side, enum ggml_type format, int64_t rows, int64_t columns, int copies,
                         const void *data, bench_matrices *out);
void bench_matrices_close(bench_matrices *matrices);

// A graph that multiplies the first `count` of the matrices by `tokens` activations each.
typedef struct bench_graph {
  struct ggml_context *context;  // activations and the product
  struct ggml_context *nodes;
  ggml_backend_buffer_t buffer;
  struct ggml_cgraph *graph;
  struct ggml_tensor *product;  // where each product is written, one after the other
  int count;
} bench_graph;

void bench_graph_open(const bench_matrices *matrices, int count, int tokens, bench_graph *out);
// Seconds for one product, of all `count`.
double bench_graph_run(const bench_graph *graph);
void bench_graph_close(bench_graph *graph);
// |a - b| / |b| of what two graphs computed last.
double bench_graph_difference(const bench_graph *a, const bench_graph *b);

#endif
