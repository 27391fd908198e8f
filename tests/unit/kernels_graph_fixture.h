// SPDX-License-Identifier: Apache-2.0
//
// What the tests of our kernels inside llama.cpp's CPU backend share: the backend, and graphs of one operation.
#ifndef RH_TESTS_KERNELS_GRAPH_FIXTURE_H
#define RH_TESTS_KERNELS_GRAPH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "engine/llama/internal.h"

#define THREADS 2
#define GRAPH_RUNS 6  // at most

static ggml_backend_t backend;
static ggml_backend_buffer_type_t ours;  // NULL where this machine has no kernels of ours

static uint32_t state = 12345;

static inline float noise(void) {
  state = state * 1664525U + 1013904223U;
  return (float)(state >> 8) / (float)(1U << 23) - 1.0F;
}

static inline ggml_backend_buffer_type_t find_type(ggml_backend_dev_t device) {
  ggml_backend_dev_get_extra_bufts_t list;
  void *address =
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
  memcpy(&list, &address, sizeof list);
  for (ggml_backend_buffer_type_t *at = list(device); at && *at; at++) {
    if (strcmp(ggml_backend_buft_name(*at), "ROUNDHOUSE") == 0) return *at;
  }
  return NULL;
}

static inline int open_backend(void **unused) {
  (void)unused;
  const rh_llama_library *library = rh_llama_library_get();
  if (!library->has_cpu) return -1;
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  backend = ggml_backend_dev_init(device, NULL);
  ours = find_type(device);
  return backend ? 0 : -1;
}

static inline int close_backend(void **unused) {
  (void)unused;
  ggml_backend_free(backend);
  return 0;
}

// ---- a graph of one operation ----

typedef struct graph {
  struct ggml_context *context;
  ggml_backend_buffer_t buffer;
} graph;

static inline graph graph_new(void) {
  size_t size = 16 * ggml_tensor_overhead() + GRAPH_RUNS * ggml_graph_overhead();
  return (graph){.context = ggml_init((struct ggml_init_params){.mem_size = size, .no_alloc = true})};
}

static inline void graph_allocate(graph *g) {
  g->buffer = ggml_backend_alloc_ctx_tensors_from_buft(g->context, ggml_backend_get_default_buffer_type(backend));
  assert_non_null(g->buffer);
}

static inline void graph_run(graph *g, struct ggml_tensor *op, int threads) {
  assert_true(ggml_backend_supports_op(backend, op));
  ggml_backend_set_n_threads_t set_threads;
  void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(ggml_backend_get_device(backend)),
                                                    "ggml_backend_set_n_threads");
  memcpy(&set_threads, &address, sizeof set_threads);
  set_threads(backend, threads);
  struct ggml_cgraph *nodes = ggml_new_graph(g->context);
  ggml_build_forward_expand(nodes, op);
  assert_int_equal(ggml_backend_graph_compute(backend, nodes), GGML_STATUS_SUCCESS);
}

static inline void graph_free(graph *g) {
  ggml_backend_buffer_free(g->buffer);
  ggml_free(g->context);
}

static inline void fill(struct ggml_tensor *tensor) {
  float *values = tensor->data;
  for (int64_t i = 0; i < ggml_nelements(tensor); i++) values[i] = noise();
}

#endif
