// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products of weights that are floats in some width with activations of the kind rk_af32: F16, BF16, F32.
// Not here: bf16 dot products (isa_avx512bf16/).
//
// A chunk is its columns one after another, each with its 16 rows side by side in the file's form: one load (and widening)
// of a column, then one multiplication with each token's activation. Any number of columns will do.
//
// A row's sum is made of sums of 64 columns, each begun at zero and added in order: more exact than one long sum, and four
// of them can be computed side by side where a single token would leave the multipliers waiting for each other. The order is
// the same however many tokens there are: a token's result does not depend on its company.
#ifndef RH_KERNELS_TILEF_H
#define RH_KERNELS_TILEF_H

#include <string.h>

#include "kernels/isa.h"
#include "kernels/transpose.h"

// Tokens of a tile: as many sums as there are registers beside a column of weights.
#ifdef RK_ISA_AVX512
#define RK_TILE_FLOATS 12
#else
#define RK_TILE_FLOATS 6
#endif
#define RK_RUN 64  // columns of one sum
#define RK_RUNS (RK_CHUNK / RK_RUN)

// Up to so many tokens a chunk is not opened.
#ifndef RK_DIRECT_FLOATS
#define RK_DIRECT_FLOATS (2 * RK_TILE_FLOATS)
#endif

// What differs between the formats of this kind.
typedef struct rk_traitsf {
  size_t bytes;  // of a weight
  // The 16 rows of one column.
  rk_floats (*load)(const uint8_t *column);
} rk_traitsf;

typedef struct rk_openf {
  _Alignas(64) float w[RK_CHUNK][RK_ROWS];
} rk_openf;

RK_INLINE rk_floats rk_column(const rk_traitsf traits, const uint8_t *chunk, const rk_openf *open, int column) {
  return open ? rk_floats_load(open->w[column]) : traits.load(chunk + (size_t)column * RK_ROWS * traits.bytes);
}

// `runs` sums side by side for each of `count` tokens; the columns of each: `from` and up to `columns` of them in each run.
RK_INLINE void rk_runs(const rk_traitsf traits, const uint8_t *chunk, const rk_openf *open, int from, int columns,
                       const int runs, const rk_af32 *a, const int count, float (*sums)[RK_ROWS]) {
  rk_floats sum[RK_TILE_FLOATS];
  for (int i = 0; i < runs * count; i++) sum[i] = rk_floats_zero();
  RK_KEEP_LOOP
  for (int c = from; c < from + columns; c++) {
    for (int r = 0; r < runs; r++) {
      size_t at = (size_t)(c + r * RK_RUN) * RK_ROWS * traits.bytes;
      if (!open && at % 64 == 0) rk_ask_ahead(chunk + at, 64);
      rk_floats w = rk_column(traits, chunk, open, c + r * RK_RUN);
      for (int t = 0; t < count; t++) sum[r * count + t] = rk_fma1(w, a[t].x[c + r * RK_RUN], sum[r * count + t]);
    }
  }
  RK_FENCE;
  for (int t = 0; t < count; t++) {
    rk_floats all = rk_floats_load(sums[t]);
    for (int r = 0; r < runs; r++) all = rk_fma1(sum[r * count + t], 1.0F, all);
    rk_floats_store(sums[t], all);
  }
}

RK_INLINE void rk_tilef(const rk_traitsf traits, const uint8_t *chunk, const rk_openf *open, int columns,
                        const rk_af32 *a, const int count, float (*sums)[RK_ROWS]) {
  const int runs = count == 1 ? RK_RUNS : count == 2 ? 2 : 1;
  int c = 0;
  for (; c + runs * RK_RUN <= columns; c += runs * RK_RUN) {
    rk_runs(traits, chunk, open, c, RK_RUN, runs, a, count, sums);
  }
  for (; c < columns; c += RK_RUN) {
    int left = columns - c;
    rk_runs(traits, chunk, open, c, left < RK_RUN ? left : RK_RUN, 1, a, count, sums);
  }
}

// All tokens, a tile at a time. The counts are constants so that each has code of its own, with sums in registers.
RK_INLINE void rk_tilesf(const rk_traitsf traits, const uint8_t *chunk, const rk_openf *open, int columns,
                         const rk_af32 *a, int tokens, float (*sums)[RK_ROWS]) {
  int t = 0;
  for (; t + RK_TILE_FLOATS <= tokens; t += RK_TILE_FLOATS) {
    rk_tilef(traits, chunk, open, columns, a + t, RK_TILE_FLOATS, sums + t);
  }
#if RK_TILE_FLOATS > 6
  for (; t + 6 <= tokens; t += 6) rk_tilef(traits, chunk, open, columns, a + t, 6, sums + t);
#endif
  switch (tokens - t) {
    case 5: rk_tilef(traits, chunk, open, columns, a + t, 5, sums + t); break;
    case 4: rk_tilef(traits, chunk, open, columns, a + t, 4, sums + t); break;
    case 3: rk_tilef(traits, chunk, open, columns, a + t, 3, sums + t); break;
    case 2: rk_tilef(traits, chunk, open, columns, a + t, 2, sums + t); break;
    case 1: rk_tilef(traits, chunk, open, columns, a + t, 1, sums + t); break;
    default: break;
  }
}

RK_INLINE void rk_multiplyf(const rk_traitsf traits, const uint8_t *panel, int64_t columns, const void *activations,
                            int64_t stride, int tokens, float (*sums)[RK_ROWS]) {
  rk_openf open;
  const bool direct = traits.bytes == sizeof(float) || tokens <= RK_DIRECT_FLOATS;
  memset(sums, 0, (size_t)tokens * sizeof *sums);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++) {
    int wide = rk_chunk_columns(columns, c);
    const rk_af32 *a = (const rk_af32 *)activations + c * stride;
    if (direct) {
      rk_tilesf(traits, panel, NULL, wide, a, tokens, sums);
    } else {
      rk_ask_ahead(panel, (size_t)wide * RK_ROWS * traits.bytes);
      for (int i = 0; i < wide; i++) rk_floats_store(open.w[i], rk_column(traits, panel, NULL, i));
      rk_tilesf(traits, panel, &open, wide, a, tokens, sums);
    }
    panel += (size_t)wide * RK_ROWS * traits.bytes;
  }
}

RK_INLINE size_t rk_chunk_bytesf(const rk_traitsf traits, int columns) {
  return (size_t)columns * RK_ROWS * traits.bytes;
}

// As many columns as a vector of 16 bytes holds, of all rows.
RK_INLINE void rk_pack_columns(const rk_traitsf traits, const uint8_t *rows, size_t step, uint8_t *out) {
  const int side = (int)(16 / traits.bytes);
  for (int r = 0; r < RK_ROWS; r += side) {
    const uint8_t *in = rows + (size_t)r * step;
    uint8_t *to = out + (size_t)r * traits.bytes;
    if (traits.bytes == sizeof(uint32_t)) {
      rk_transpose_words(in, step, to, RK_ROWS * traits.bytes);
    } else {
      rk_transpose_halves(in, step, to, RK_ROWS * traits.bytes);
    }
  }
}

// `bytes` of each row from column c on; rows that are missing stay as they are in `out`.
RK_INLINE void rk_take_columns(const rk_traitsf traits, const void *const rows[RK_ROWS], int c, size_t bytes,
                               uint8_t out[RK_ROWS][16]) {
  for (int r = 0; r < RK_ROWS; r++) {
    if (rows[r]) memcpy(out[r], (const uint8_t *)rows[r] + (size_t)c * traits.bytes, bytes);
  }
}

RK_INLINE void rk_packf(const rk_traitsf traits, const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  const int side = (int)(16 / traits.bytes);
  uint8_t some[RK_ROWS][16] = {{0}};
  uint8_t packed[16 * RK_ROWS];
  int c = 0;
  for (; c + side <= columns; c += side, out += sizeof packed) {
    rk_take_columns(traits, rows, c, sizeof some[0], some);
    rk_pack_columns(traits, some[0], sizeof some[0], out);
  }
  if (c == columns) return;
  size_t rest = (size_t)(columns - c) * traits.bytes;
  rk_take_columns(traits, rows, c, rest, some);
  rk_pack_columns(traits, some[0], sizeof some[0], packed);
  memcpy(out, packed, rest * RK_ROWS);
}

RK_INLINE void rk_unpack_rowf(const rk_traitsf traits, const uint8_t *chunk, int columns, int row, float *out) {
  _Alignas(64) float column[RK_ROWS];
  for (int c = 0; c < columns; c++) {
    rk_floats_store(column, rk_column(traits, chunk, NULL, c));
    out[c] = column[row];
  }
}

#endif
