// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products of packed matrices with activations: how the work is laid out in memory and divided among threads.
// Threads: rk_product_run is called by all threads of a team at once, with equal arguments.
// Not here: ggml (operation.c makes an rk_product of an operation), instructions.
#ifndef RH_KERNELS_PRODUCT_H
#define RH_KERNELS_PRODUCT_H

#include "kernels/format.h"
#include "kernels/team.h"

// One activation row: where it is read, and where its products go (`rows` floats).
typedef struct rk_row {
  const float *in;
  float *out;
} rk_row;

// Rows that are multiplied by the same matrix.
typedef struct rk_segment {
  const uint8_t *matrix;
  int64_t first;  // of the product's rows
  int64_t count;
} rk_segment;

typedef struct rk_product {
  const rk_format *format;
  rk_quantize *quantize;
  int64_t rows;     // of each matrix
  int64_t columns;  // of each matrix
  int64_t row_count;
  int64_t segment_count;
} rk_product;

// Bytes of common memory for a team of `threads`, with room for the lists of rows and segments of each.
size_t rk_product_work_size(const rk_product *product, int threads);

// This thread's lists, to be filled before rk_product_run; every thread fills its own, with the same contents.
rk_row *rk_product_rows(const rk_product *product, const rk_team *team);
rk_segment *rk_product_segments(const rk_product *product, const rk_team *team);

void rk_product_run(const rk_product *product, const rk_team *team);

#endif
