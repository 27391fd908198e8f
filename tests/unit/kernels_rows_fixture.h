// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the kernels' weight formats share: the sets this machine runs, rows of weights in the file's form with
// odd values among them, and what those weights are by the formats' definitions.
#ifndef RH_TESTS_KERNELS_ROWS_FIXTURE_H
#define RH_TESTS_KERNELS_ROWS_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/panel.h"
#include "kernels_here.h"

#define COLUMNS_MOST 2048
#define TOKENS_MOST 128

// The same numbers in every run.
static uint64_t noise_state = 88172645463325252U;

static inline uint32_t noise(void) {
  noise_state ^= noise_state << 13;
  noise_state ^= noise_state >> 7;
  noise_state ^= noise_state << 17;
  return (uint32_t)(noise_state >> 32);
}

static inline float noise_float(void) { return (float)((int32_t)noise()) * 0x1p-31F; }

static inline size_t row_bytes(const rk_format *format, int columns) {
  return (size_t)(columns / format->block) * format->block_bytes;
}

static inline float half_value(uint16_t half) {
  int exponent = half >> 10 & 31;
  int mantissa = half & 1023;
  float sign = half >> 15 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexpf((float)mantissa, -24);
  return sign * ldexpf((float)(mantissa + 1024), exponent - 25);
}

static inline uint16_t read16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

// Weight `i` of a block with a scale for 32, as the formats are defined: (q - offset) * scale + minimum.
static inline float block_value(rk_type type, const uint8_t *block, int i) {
  bool minimum = type == RK_TYPE_Q4_1 || type == RK_TYPE_Q5_1;
  bool fifth = type == RK_TYPE_Q5_0 || type == RK_TYPE_Q5_1;
  float scale = half_value(read16(block));
  const uint8_t *at = block + (minimum ? 4 : 2);
  if (type == RK_TYPE_Q8_0) return (float)(int8_t)at[i] * scale;
  const uint8_t *fifths = at;
  if (fifth) at += 4;
  int q = i < 16 ? at[i] & 15 : at[i - 16] >> 4;
  if (fifth) q |= (fifths[i / 8] >> i % 8 & 1) << 4;
  if (minimum) return (float)q * scale + half_value(read16(block + 2));
  return (float)(q - (fifth ? 16 : 8)) * scale;
}

// Weight `i` of a row.
static inline float weight_value(rk_type type, size_t block_bytes, const uint8_t *row, int i) {
  float value;
  uint32_t bits;
  switch (type) {
    case RK_TYPE_F32: memcpy(&value, row + (size_t)i * sizeof value, sizeof value); return value;
    case RK_TYPE_F16: return half_value(read16(row + (size_t)i * 2));
    case RK_TYPE_BF16:
      bits = (uint32_t)read16(row + (size_t)i * 2) << 16;
      memcpy(&value, &bits, sizeof value);
      return value;
    default: return block_value(type, row + (size_t)(i / 32) * block_bytes, i % 32);
  }
}

// A matrix of two panels, packed one after the other, in memory of exactly their size: reading past it is seen.
typedef struct matrix {
  const rk_format *format;
  int columns;
  uint8_t *file;  // 32 rows
  uint8_t *packed;
  size_t panel_bytes;
} matrix;

#define MATRIX_ROWS (2 * RK_ROWS)

static inline const uint8_t *matrix_row(const matrix *m, int row) {
  return m->file + (size_t)row * row_bytes(m->format, m->columns);
}

static inline float matrix_value(const matrix *m, int row, int column) {
  return weight_value(m->format->type, m->format->block_bytes, matrix_row(m, row), column);
}

// Packs the rows below `rows`; the others are missing.
static inline void matrix_pack(matrix *m, int rows) {
  const rk_stored stored = {.format = m->format, .rows = rows, .columns = m->columns, .matrices = 1, .data = m->file};
  rk_pack(&stored, 0, rk_stored_panels(&stored), m->packed, 1);
}

static inline void matrix_new(matrix *m, const rk_format *format, int columns) {
  void *packed = NULL;
  *m = (matrix){.format = format, .columns = columns, .panel_bytes = rk_panel_bytes(format, columns)};
  m->file = malloc(MATRIX_ROWS * row_bytes(format, columns));
  if (!m->file || posix_memalign(&packed, 64, 2 * m->panel_bytes) != 0) abort();
  m->packed = packed;
}

static inline void matrix_free(matrix *m) {
  free(m->file);
  free(m->packed);
}

// Activations of TOKENS_MOST tokens: some that make the largest sums, some that are zero, the rest of many sizes.
static inline float activation_value(int token, int column) {
  switch (token) {
    case 1: return 1.0F;
    case 2: return -1.0F;
    case 3: return column % 2 ? 2.0F : -2.0F;
    case 4: return 0.0F;
    case 5: return column == 3 ? 1000.0F : 0.0F;
    case 6: return column / 32 % 2 ? 0.0F : noise_float();
    default: return ldexpf(noise_float(), token % 16 - 8);
  }
}

static inline void *activations_new(const rk_set *set, rk_activation kind, const float (*x)[COLUMNS_MOST],
                                    int columns) {
  size_t bytes = rk_activation_bytes(kind);
  int chunks = (columns + RK_CHUNK - 1) / RK_CHUNK;
  void *out = NULL;
  if (posix_memalign(&out, 64, bytes * (size_t)chunks * TOKENS_MOST) != 0) abort();
  for (int c = 0; c < chunks; c++) {
    for (int t = 0; t < TOKENS_MOST; t++) {
      set->quantize[kind](x[t] + c * RK_CHUNK, rk_chunk_columns(columns, c),
                          (uint8_t *)out + bytes * (size_t)(c * TOKENS_MOST + t));
    }
  }
  return out;
}

#endif
