// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products of an opened chunk with activations of the kind rk_a32, for formats whose weights are
// (q - offset) * scale + minimum with a scale for every 32 columns: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
#ifndef RH_KERNELS_TILE32_H
#define RH_KERNELS_TILE32_H

#include "kernels/pack.h"

// A chunk as the products want it: a byte for each weight, scales as floats. Small enough to stay in the first cache while
// all tokens pass.
typedef struct rk_open32 {
  rk_spread q;
  _Alignas(64) float scale[RK_BLOCKS][RK_ROWS];
  _Alignas(64) float minimum[RK_BLOCKS][RK_ROWS];
} rk_open32;

// What stands in the bytes of rk_open32.
typedef enum rk_kind32 {
  RK_OFFSET8,    // w = q - 8, from 4 bits
  RK_OFFSET16,   // w = q - 16, from 5 bits
  RK_SIGNED,     // w as rk_signed_weights made it, from 8 bits
} rk_kind32;

// One block of 32 columns for `count` tokens.
RK_INLINE void rk_block32(const rk_open32 *w, int b, const rk_a32 *a, const int count, rk_kind32 kind, rk_ints *out) {
  rk_partial part[RK_TILE];
  rk_ints whole[RK_TILE];
  for (int t = 0; t < count; t++) {
    if (kind == RK_OFFSET8) part[t] = rk_start(a[t].bias8[b]);
    if (kind == RK_OFFSET16) part[t] = rk_start_twice(a[t].bias8[b]);
    if (kind == RK_SIGNED) whole[t] = rk_start_signed(a[t].bias8[b]);
  }
  RK_KEEP_LOOP
  for (int g = 0; g < RK_BLOCK / RK_GROUP; g++) {
    rk_bytes group = rk_load(w->q.w[b * (RK_BLOCK / RK_GROUP) + g]);
    for (int t = 0; t < count; t++) {
      uint32_t word = rk_word(a[t].q + b * RK_BLOCK + g * RK_GROUP);
      if (kind == RK_SIGNED) {
        whole[t] = rk_dot_signed(whole[t], group, word);
      } else {
        part[t] = rk_dot(part[t], group, word);
      }
    }
  }
  for (int t = 0; t < count; t++) out[t] = kind == RK_SIGNED ? whole[t] : rk_widen(part[t]);
}

RK_INLINE void rk_tile32(const rk_open32 *w, int blocks, const rk_a32 *a, const int count, rk_kind32 kind, bool minimum,
                         float (*sums)[RK_ROWS]) {
  rk_floats sum[RK_TILE];
  for (int t = 0; t < count; t++) sum[t] = rk_floats_load(sums[t]);
  for (int b = 0; b < blocks; b++) {
    rk_ints dots[RK_TILE];
    rk_block32(w, b, a, count, kind, dots);
    rk_floats scale = rk_floats_load(w->scale[b]);
    for (int t = 0; t < count; t++) sum[t] = rk_fma(rk_to_floats(dots[t]), rk_scale(scale, a[t].scale[b]), sum[t]);
    if (!minimum) continue;
    rk_floats constant = rk_floats_load(w->minimum[b]);
    for (int t = 0; t < count; t++) sum[t] = rk_fma1(constant, a[t].sum[b], sum[t]);
  }
  for (int t = 0; t < count; t++) rk_floats_store(sums[t], sum[t]);
}

// All tokens, a tile at a time. The counts are constants so that each has code of its own, with sums in registers.
RK_INLINE void rk_tiles32(const rk_open32 *w, int blocks, const rk_a32 *a, int tokens, rk_kind32 kind, bool minimum,
                          float (*sums)[RK_ROWS]) {
  int t = 0;
  for (; t + RK_TILE <= tokens; t += RK_TILE) rk_tile32(w, blocks, a + t, RK_TILE, kind, minimum, sums + t);
#if RK_TILE > 4
  for (; t + 4 <= tokens; t += 4) rk_tile32(w, blocks, a + t, 4, kind, minimum, sums + t);
#endif
  switch (tokens - t) {
    case 3: rk_tile32(w, blocks, a + t, 3, kind, minimum, sums + t); break;
    case 2: rk_tile32(w, blocks, a + t, 2, kind, minimum, sums + t); break;
    case 1: rk_tile32(w, blocks, a + t, 1, kind, minimum, sums + t); break;
    default: break;
  }
}

// What differs between the formats of this kind.
typedef struct rk_traits32 {
  rk_kind32 kind;
  bool minimum;
  size_t block_bytes;
  // Opens a chunk; returns the place after it.
  const uint8_t *(*open)(const uint8_t *chunk, int columns, rk_open32 *out);
} rk_traits32;

RK_INLINE void rk_multiply32(const rk_traits32 traits, const uint8_t *panel, int64_t columns, const void *activations,
                             int64_t stride, int tokens, float (*sums)[RK_ROWS]) {
  rk_open32 open;
  memset(sums, 0, (size_t)tokens * sizeof *sums);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++) {
    int wide = rk_chunk_columns(columns, c);
    panel = traits.open(panel, wide, &open);
    const rk_a32 *a = (const rk_a32 *)activations + c * stride;
    rk_tiles32(&open, wide / RK_BLOCK, a, tokens, traits.kind, traits.minimum, sums);
  }
}

// One row of an opened chunk, for the token embeddings.
RK_INLINE void rk_row32(const rk_open32 *open, int columns, int row, rk_kind32 kind, bool minimum, float *out) {
  uint8_t q[RK_CHUNK];
  rk_gather_row(&open->q, columns, row, q);
  for (int i = 0; i < columns; i++) {
    int w = kind == RK_OFFSET8 ? q[i] - 8 : kind == RK_OFFSET16 ? q[i] - 16 : (int8_t)q[i];
    float constant = minimum ? open->minimum[i / RK_BLOCK][row] : 0.0F;
    out[i] = (float)w * open->scale[i / RK_BLOCK][row] + constant;
  }
}

// Writes the scales of 16 rows and `blocks` blocks: halves[b * 16 + row].
RK_INLINE uint8_t *rk_pack_halves(const uint16_t (*halves)[RK_ROWS], int blocks, uint8_t *out) {
  memcpy(out, halves, (size_t)blocks * sizeof *halves);
  return out + (size_t)blocks * sizeof *halves;
}

RK_INLINE const uint8_t *rk_open_halves(const uint8_t *in, int blocks, float (*out)[RK_ROWS]) {
  for (int b = 0; b < blocks; b++, in += RK_ROWS * sizeof(uint16_t)) {
    rk_floats_store(out[b], rk_halves_load((const uint16_t *)(const void *)in));
  }
  return in;
}

#endif
