// SPDX-License-Identifier: Apache-2.0
//
// Random matrices of every format, for tests that compare sets of kernels. Everything follows from a seed.
#ifndef RH_TESTS_KERNELS_SETS_FIXTURE_H
#define RH_TESTS_KERNELS_SETS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/panel.h"
#include "kernels_here.h"
#ifdef RK_SIMULATED
#include "simulated/sets.h"
#endif

typedef struct tested {
  const char *label;
  const rk_set *set;
} tested;

// Does a set keep this format in another way than portable? (Only BF16 of avx512bf16: activations of its own kind, two columns
// to a block, another order of bytes.) What it computes is compared with double precision, and what it unpacks with portable,
// but not its bytes and its rounding.
static inline bool rk_is_own(const rk_format *format) {
  return format->activation != rk_format_find(&rk_set_portable, (int)format->type)->activation;
}

// Splitmix64 (Steele, Lea, Flood 2014).
typedef struct rk_random {
  uint64_t state;
} rk_random;

static inline uint64_t rk_next(rk_random *random) {
  uint64_t z = random->state += 0x9e3779b97f4a7c15U;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}

static inline uint64_t rk_below(rk_random *random, uint64_t limit) { return rk_next(random) % limit; }

// In [-1, 1).
static inline float rk_unit(rk_random *random) { return (float)(int32_t)(rk_next(random) >> 32) * 0x1p-31F; }

// Kinds of activations.
typedef enum rk_fill { RK_PLAIN, RK_WIDE, RK_HALVES, RK_ENDS, RK_ZEROS, RK_BITS, RK_FILLS } rk_fill;

static inline float rk_any_float(rk_random *random) {
  uint32_t bits = (uint32_t)rk_next(random);
  if (rk_below(random, 8) == 0) bits |= 0x7f800000U;  // infinities, NaN
  if (rk_below(random, 16) == 0) bits &= 0xff800000U;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline void rk_fill_floats(rk_random *random, rk_fill kind, float *x, int count) {
  for (int i = 0; i < count; i++) {
    switch (kind) {
      case RK_PLAIN: x[i] = rk_unit(random); break;
      case RK_WIDE: x[i] = ldexpf(rk_unit(random), (int)rk_below(random, 60) - 30); break;
      case RK_HALVES: x[i] = i % RK_BLOCK == 0 ? 127.0F : (float)((int)rk_below(random, 253) - 126) + 0.5F; break;
      case RK_ENDS: x[i] = (rk_next(random) & 64) ? 3.0F : -3.0F; break;
      case RK_ZEROS: x[i] = rk_below(random, 40) == 0 ? rk_unit(random) : 0.0F; break;
      default: x[i] = rk_any_float(random); break;
    }
  }
}

// Where a format's blocks have their scales: `count` numbers of `bytes` at `first` and behind; count 0: all are scales.
typedef struct rk_scale_place {
  rk_type type;
  size_t first, count;
  int bytes;
} rk_scale_place;

static inline rk_scale_place rk_scales_of(rk_type type) {
  static const rk_scale_place places[] = {
      {RK_TYPE_F32, 0, 1, 4},  {RK_TYPE_F16, 0, 1, 2},  {RK_TYPE_BF16, 0, 1, 2},   {RK_TYPE_Q4_0, 0, 1, 2},
      {RK_TYPE_Q4_1, 0, 2, 2}, {RK_TYPE_Q5_0, 0, 1, 2}, {RK_TYPE_Q5_1, 0, 2, 2},   {RK_TYPE_Q8_0, 0, 1, 2},
      {RK_TYPE_Q4_K, 0, 2, 2}, {RK_TYPE_Q5_K, 0, 2, 2}, {RK_TYPE_Q6_K, 208, 1, 2},
  };
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    if (places[i].type == type) return places[i];
  }
  fail_msg("where are the scales of type %d? Add it to the table.", (int)type);
  return places[0];
}

typedef enum rk_weights { RK_WEIGHTS_ANY, RK_WEIGHTS_EXTREME, RK_WEIGHTS_HOSTILE } rk_weights;

// 16 rows times some tokens.
typedef struct rk_case {
  const rk_format *format;
  uint64_t seed;
  int columns, tokens;
  int64_t stride;
  bool missing[RK_ROWS];
  uint8_t *raw;  // 16 rows as in the file
  size_t row_bytes;
  float *x;         // [token][column]
  double *product;  // [token][row], and the sums of magnitudes
  double *magnitude;
} rk_case;

static inline void *rk_memory(size_t bytes) {
  void *memory = NULL;
  assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 1), 0);
  return memory;
}

// A finite number of middle size; half precision and bfloat16 have their signs and exponents in other places.
static inline void rk_put_scale(rk_random *random, rk_type type, int bytes, uint8_t *out) {
  if (bytes == 4) {
    float x = rk_unit(random);
    memcpy(out, &x, sizeof x);
    return;
  }
  uint16_t low = (uint16_t)rk_next(random);
  uint16_t half =
      type == RK_TYPE_BF16 ? (uint16_t)((low & 0x80ff) | 0x3e00 | (low & 0x100)) : (uint16_t)((low & 0x87ff) | 0x2000);
  memcpy(out, &half, sizeof half);
}

static inline void rk_fill_weights(rk_case *one, rk_random *random, rk_weights weights) {
  rk_scale_place place = rk_scales_of(one->format->type);
  uint8_t pattern = (uint8_t)(rk_next(random) & 1 ? 0xff : 0x00);
  for (size_t i = 0; i < RK_ROWS * one->row_bytes; i++) {
    uint8_t any = (uint8_t)rk_next(random);
    one->raw[i] = weights != RK_WEIGHTS_EXTREME ? any : one->seed % 3 ? pattern : (uint8_t)(any & 16 ? 0xff : 0x80);
  }
  if (weights == RK_WEIGHTS_HOSTILE) return;
  size_t step = rk_format_find(&rk_set_portable, (int)one->format->type)->block_bytes;
  for (size_t block = 0; block < RK_ROWS * one->row_bytes; block += step) {
    for (size_t i = 0; i < place.count; i++) {
      rk_put_scale(random, place.type, place.bytes, one->raw + block + place.first + i * (size_t)place.bytes);
    }
  }
}

static inline rk_case rk_case_new(const rk_format *format, uint64_t seed, rk_weights weights) {
  rk_random random = {seed * 1000 + (uint64_t)format->type};
  rk_case one = {.format = format, .seed = seed};
  one.columns = format->block * (1 + (int)rk_below(&random, (uint64_t)(1280 / format->block)));
  one.tokens = 1 + (int)rk_below(&random, 20);
  one.stride = one.tokens + (int)rk_below(&random, 3);
  one.row_bytes = (size_t)one.columns / (size_t)format->block * format->block_bytes;
  for (int r = 0; r < RK_ROWS; r++) one.missing[r] = rk_below(&random, 12) == 0;
  one.raw = rk_memory(RK_ROWS * one.row_bytes);
  rk_fill_weights(&one, &random, weights);
  size_t count = (size_t)one.tokens * (size_t)one.columns;
  one.x = rk_memory(count * sizeof(float));
  for (int t = 0; t < one.tokens; t++) {
    rk_fill kind = weights == RK_WEIGHTS_EXTREME ? RK_ENDS : (rk_fill)rk_below(&random, RK_ZEROS + 1);
    float *x = one.x + (size_t)t * (size_t)one.columns;
    rk_fill_floats(&random, kind, x, one.columns);
    if (weights != RK_WEIGHTS_EXTREME || t % 2) continue;
    for (int i = 0; i < one.columns; i++) x[i] = t % 4 ? 3.0F : -3.0F;
  }
  one.product = calloc((size_t)one.tokens * RK_ROWS, sizeof(double));
  one.magnitude = calloc((size_t)one.tokens * RK_ROWS, sizeof(double));
  assert_non_null(one.product);
  assert_non_null(one.magnitude);
  return one;
}

static inline void rk_case_free(rk_case *one) {
  free(one->raw);
  free(one->x);
  free(one->product);
  free(one->magnitude);
}

// The whole panel as `format` packs it; *bytes is exact, so that reading on is found.
static inline uint8_t *rk_pack_panel(const rk_case *one, const rk_format *format, size_t *bytes) {
  *bytes = 0;
  for (int64_t c = 0; c * RK_CHUNK < one->columns; c++)
    *bytes += format->chunk_bytes(rk_chunk_columns(one->columns, c));
  uint8_t *panel = rk_memory(*bytes);
  uint8_t *out = panel;
  for (int64_t c = 0; c * RK_CHUNK < one->columns; c++) {
    const void *rows[RK_ROWS];
    size_t start = (size_t)c * RK_CHUNK / (size_t)format->block * format->block_bytes;
    for (size_t r = 0; r < RK_ROWS; r++) rows[r] = one->missing[r] ? NULL : one->raw + r * one->row_bytes + start;
    int wide = rk_chunk_columns(one->columns, c);
    format->pack(rows, wide, out);
    out += format->chunk_bytes(wide);
  }
  return panel;
}

static inline uint8_t *rk_quantize_all(const rk_case *one, const rk_set *set) {
  size_t size = rk_activation_bytes(one->format->activation);
  int64_t chunks = (one->columns + RK_CHUNK - 1) / RK_CHUNK;
  uint8_t *out = rk_memory((size_t)(chunks * one->stride) * size);
  memset(out, 0x5a, (size_t)(chunks * one->stride) * size);
  for (int64_t c = 0; c < chunks; c++) {
    for (int t = 0; t < one->tokens; t++) {
      set->quantize[one->format->activation](one->x + (int64_t)t * one->columns + c * RK_CHUNK,
                                             rk_chunk_columns(one->columns, c),
                                             out + (size_t)(c * one->stride + t) * size);
    }
  }
  return out;
}

static inline float rk_bfloat(uint16_t upper) {
  uint32_t bits = (uint32_t)upper << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline double rk_activation_value(rk_activation kind, const void *chunk, int column) {
  if (kind == RK_A32) {
    const rk_a32 *a = chunk;
    return (double)a->q[column] * (double)a->scale[column / RK_BLOCK];
  }
  if (kind == RK_A256) return (double)((const rk_a256 *)chunk)->q[column] * (double)((const rk_a256 *)chunk)->scale;
  if (kind == RK_ABF16) return (double)rk_bfloat(((const rk_abf16 *)chunk)->x[column]);
  return (double)((const rk_af32 *)chunk)->x[column];
}

// One chunk of one row: in double precision, from the weights that portable unpacks. Magnitudes are a block's largest,
// because scale and minimum of a weight may each be larger than their sum.
static inline void rk_add_reference(rk_case *one, const float *w, const uint8_t *activations, int64_t c, int row) {
  size_t size = rk_activation_bytes(one->format->activation);
  int columns = rk_chunk_columns(one->columns, c);
  for (int t = 0; t < one->tokens; t++) {
    const uint8_t *chunk = activations + (size_t)(c * one->stride + t) * size;
    double *product = &one->product[t * RK_ROWS + row];
    for (int b = 0; b < columns; b += RK_BLOCK) {
      double most = 0.0, total = 0.0;
      for (int i = b; i < b + RK_BLOCK && i < columns; i++) {
        double a = rk_activation_value(one->format->activation, chunk, i);
        *product += (double)w[i] * a;
        most = fmax(most, fabs((double)w[i]));
        total += fabs(a);
      }
      one->magnitude[t * RK_ROWS + row] += most * total;
    }
  }
}

// `quantizer`: the set whose rounding of activations counts.
static inline void rk_case_reference(rk_case *one, const rk_set *quantizer) {
  size_t bytes;
  const rk_format *format = rk_format_find(&rk_set_portable, (int)one->format->type);
  uint8_t *panel = rk_pack_panel(one, format, &bytes);
  uint8_t *activations = rk_quantize_all(one, quantizer);
  const uint8_t *chunk = panel;
  for (int64_t c = 0; c * RK_CHUNK < one->columns; c++) {
    int wide = rk_chunk_columns(one->columns, c);
    for (int r = 0; r < RK_ROWS; r++) {
      float w[RK_CHUNK];
      format->unpack_row(chunk, wide, r, w);
      rk_add_reference(one, w, activations, c, r);
    }
    chunk += format->chunk_bytes(wide);
  }
  free(panel);
  free(activations);
}

// More than the order of sums can make: a float sum of so many blocks is off by a few roundings.
#define RK_ROUNDINGS 8.0

typedef float rk_sums[RK_ROWS];

static inline rk_sums *rk_product(const rk_case *one, const rk_set *set, size_t f) {
  size_t bytes;
  const rk_format *format = set->formats[f];
  uint8_t *panel = rk_pack_panel(one, format, &bytes);
  uint8_t *activations = rk_quantize_all(one, set);
  rk_sums *sums = rk_memory((size_t)one->tokens * sizeof *sums);
  memset(sums, 0x5a, (size_t)one->tokens * sizeof *sums);
  format->multiply(panel, one->columns, activations, one->stride, one->tokens, sums);
  free(panel);
  free(activations);
  return sums;
}

static inline void rk_run_product(const rk_case *one, const rk_set *set, size_t f) { free(rk_product(one, set, f)); }

// Compares with the reference, and with portable where it rounds activations alike; returns the largest difference in
// roundings (2^-24) of the sum of magnitudes.
static inline double rk_compare_product(const rk_case *one, const rk_set *set, size_t f, const char *label) {
  double worst = 0.0;
  rk_sums *sums = rk_product(one, set, f);
  rk_sums *portable = rk_is_own(one->format) ? NULL : rk_product(one, &rk_set_portable, f);
  for (int t = 0; t < one->tokens; t++) {
    for (int r = 0; r < RK_ROWS; r++) {
      double unit = one->magnitude[t * RK_ROWS + r] * 0x1p-24 + (double)FLT_MIN;
      double truth = fabs((double)sums[t][r] - one->product[t * RK_ROWS + r]) / unit;
      double beside = portable ? (double)portable[t][r] : one->product[t * RK_ROWS + r];
      double apart = fabs((double)sums[t][r] - beside) / unit;
      worst = fmax(worst, fmax(truth, apart));
      if (truth <= RK_ROUNDINGS && apart <= RK_ROUNDINGS) continue;
      fail_msg("%s, %s, seed %d, %d columns, %d tokens: token %d row %d is %g; in portable %g, exactly %g", label,
               one->format->name, (int)one->seed, one->columns, one->tokens, t, r, (double)sums[t][r], beside,
               one->product[t * RK_ROWS + r]);
    }
  }
  free(sums);
  free(portable);
  return worst;
}

// The same bytes, unless the other keeps them in another order; but sets whose instructions want unsigned numbers keep 8-bit
// weights with 128 added.
static inline void rk_compare_packed(const rk_case *one, const rk_format *format, const rk_format *other,
                                     const char *label) {
  size_t bytes, other_bytes;
  uint8_t *panel = rk_pack_panel(one, format, &bytes);
  uint8_t *twin = rk_pack_panel(one, other, &other_bytes);
  assert_int_equal(bytes, other_bytes);
  const uint8_t *a = panel, *b = twin;
  for (int64_t c = 0; c * RK_CHUNK < one->columns; c++) {
    int wide = rk_chunk_columns(one->columns, c);
    size_t weights = format->type == RK_TYPE_Q8_0 && a[0] != b[0] ? (size_t)wide * RK_ROWS : 0;
    for (size_t i = 0; i < format->chunk_bytes(wide) && !rk_is_own(other); i++) {
      if ((a[i] ^ (i < weights ? 0x80 : 0)) == b[i]) continue;
      fail_msg("%s, %s, seed %d, %d columns: byte %zu of chunk %d differs", label, format->name, (int)one->seed,
               one->columns, i, (int)c);
    }
    for (int r = 0; r < RK_ROWS; r++) {
      float mine[RK_CHUNK], theirs[RK_CHUNK];
      format->unpack_row(a, wide, r, mine);
      other->unpack_row(b, wide, r, theirs);
      if (memcmp(mine, theirs, (size_t)wide * sizeof *mine) == 0) continue;
      fail_msg("%s, %s, seed %d: row %d of chunk %d unpacks otherwise", label, format->name, (int)one->seed, r, (int)c);
    }
    a += format->chunk_bytes(wide);
    b += other->chunk_bytes(wide);
  }
  free(panel);
  free(twin);
}

#endif
