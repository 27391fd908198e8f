// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products of a chunk with activations of the kind rk_a32, for formats whose weights are
// (q - offset) * scale + minimum with a scale for every 32 columns: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//
// A chunk is: 4 bits of each weight (or all 8), the fifth bits where there are any, the scales of each block's 16 rows and
// their minima. A few tokens take their weights straight from there; for more of them the chunk is opened first, to a byte
// for each weight. Both do the same sums in the same order: a token's result does not depend on its company.
#ifndef RH_KERNELS_TILE32_H
#define RH_KERNELS_TILE32_H

#include "kernels/pack.h"

#define RK_BLOCK_GROUPS (RK_BLOCK / RK_GROUP)

// Up to so many tokens a chunk is not opened; putting the fifth bits in place costs more than the first few tokens gain.
#define RK_DIRECT_TOKENS(bits) ((bits) == 5 ? RK_TILE : 2 * RK_TILE)

// One block of the file, for packing.
typedef struct rk_file_block {
  uint8_t *q;        // RK_BLOCK bytes
  uint16_t scale;    // half precision
  uint16_t minimum;  // likewise
} rk_file_block;

// What differs between the formats of this kind.
typedef struct rk_traits32 {
  int bits;    // 4, 5 or 8
  int offset;  // 8 or 16; 0: weights are signed bytes, kept as rk_signed_weights makes them
  bool minimum;
  size_t block_bytes;
  void (*read)(const uint8_t *block, rk_file_block *out);
} rk_traits32;

// The parts of a packed chunk.
typedef struct rk_parts32 {
  const uint8_t *q;
  const uint8_t *high;
  const uint16_t (*scale)[RK_ROWS];    // half precision
  const uint16_t (*minimum)[RK_ROWS];  // likewise
} rk_parts32;

// An opened chunk, small enough to stay in the first cache while all tokens pass.
typedef struct rk_open32 {
  rk_spread q;  // not for weights of 8 bits: they are used where they are
  _Alignas(64) float scale[RK_BLOCKS][RK_ROWS];
  _Alignas(64) float minimum[RK_BLOCKS][RK_ROWS];  // of the weights with their offset
} rk_open32;

RK_INLINE size_t rk_chunk_bytes32(const rk_traits32 traits, int columns) {
  size_t halves = traits.minimum ? 2 : 1;
  return (size_t)columns * RK_ROWS * (size_t)traits.bits / 8 +
         (size_t)columns / RK_BLOCK * RK_ROWS * sizeof(uint16_t) * halves;
}

RK_INLINE rk_parts32 rk_parts_of(const rk_traits32 traits, const uint8_t *chunk, int columns) {
  rk_parts32 parts = {.q = chunk};
  chunk += columns * RK_ROWS * (traits.bits == 8 ? 8 : 4) / 8;
  parts.high = chunk;
  if (traits.bits == 5) chunk += columns * RK_ROWS / 8;
  parts.scale = (const uint16_t(*)[RK_ROWS])(const void *)chunk;
  parts.minimum = parts.scale + columns / RK_BLOCK;
  return parts;
}

// What all weights of a block have in common: the minimum, and what takes the offset off the sums again.
RK_INLINE rk_floats rk_constant32(const rk_traits32 traits, const rk_parts32 *parts, int b, rk_floats scale) {
  return rk_fma1(scale, (float)traits.offset, rk_halves_load(parts->minimum[b]));
}

RK_INLINE void rk_open_chunk32(const rk_traits32 traits, const rk_parts32 *parts, int columns, rk_open32 *open) {
  if (traits.bits < 8) (void)rk_open_nibbles(parts->q, columns, &open->q);
  if (traits.bits == 5) (void)rk_open_high1(parts->high, columns, &open->q);
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    rk_floats scale = rk_halves_load(parts->scale[b]);
    rk_floats_store(open->scale[b], scale);
    if (traits.minimum) rk_floats_store(open->minimum[b], rk_constant32(traits, parts, b, scale));
  }
}

// The groups 2i and 2i + 1 of block b, from the packed chunk. `high` holds the fifth bits of the groups from 2i on.
RK_INLINE void rk_packed_groups(const rk_traits32 traits, const rk_parts32 *parts, int b, int i, rk_bytes *high,
                                rk_bytes w[2]) {
  int at = b * RK_BLOCK_GROUPS + 2 * i;
  if (traits.bits == 8) {
    w[0] = rk_loadu(parts->q + at * 64);
    w[1] = rk_loadu(parts->q + at * 64 + 64);
    return;
  }
  rk_bytes both = rk_loadu(parts->q + at * 32);
  w[0] = rk_and(both, 15);
  w[1] = rk_and(rk_right(both, 4), 15);
  if (traits.bits == 4) return;
  w[0] = rk_or(w[0], rk_and(rk_left(*high, 4), 16));
  w[1] = rk_or(w[1], rk_and(rk_left(*high, 3), 16));
  *high = rk_right(*high, 2);
}

// One block of 32 columns for `count` tokens; from `open` if there is one.
RK_INLINE void rk_block32(const rk_traits32 traits, const rk_parts32 *parts, const rk_open32 *open, int b,
                          const rk_a32 *a, const int count, rk_ints *out) {
  rk_partial part[RK_TILE];
  rk_bytes high;
  if (!open && traits.bits == 5) high = rk_loadu(parts->high + b * 64);
  for (int t = 0; t < count; t++) {
    if (traits.offset == 0) out[t] = rk_start_signed(a[t].bias8[b]);
    if (traits.offset == 8) part[t] = rk_start(a[t].bias8[b]);
    if (traits.offset == 16) part[t] = rk_start_twice(a[t].bias8[b]);
  }
  RK_KEEP_LOOP
  for (int i = 0; i < RK_BLOCK_GROUPS / 2; i++) {
    rk_bytes w[2];
    if (open && traits.bits < 8) {
      w[0] = rk_load(open->q.w[b * RK_BLOCK_GROUPS + 2 * i]);
      w[1] = rk_load(open->q.w[b * RK_BLOCK_GROUPS + 2 * i + 1]);
    } else {
      rk_packed_groups(traits, parts, b, i, &high, w);
    }
    for (int k = 0; k < 2; k++) {
      for (int t = 0; t < count; t++) {
        uint32_t word = rk_word(a[t].q + b * RK_BLOCK + (2 * i + k) * RK_GROUP);
        if (traits.offset == 0) {
          out[t] = rk_dot_signed(out[t], w[k], word);
          rk_settle(out[t]);
        } else {
          part[t] = rk_dot(part[t], w[k], word);
          rk_settle(part[t]);
        }
      }
    }
  }
  for (int t = 0; traits.offset != 0 && t < count; t++) out[t] = rk_widen(part[t]);
}

RK_INLINE void rk_tile32(const rk_traits32 traits, const rk_parts32 *parts, const rk_open32 *open, int blocks,
                         const rk_a32 *a, const int count, float (*sums)[RK_ROWS]) {
  RK_KEEP_LOOP
  for (int b = 0; b < blocks; b++) {
    rk_ints dots[RK_TILE];
    if (!open)
      rk_ask_ahead(parts->q + (size_t)b * rk_chunk_bytes32(traits, RK_BLOCK), rk_chunk_bytes32(traits, RK_BLOCK));
    rk_block32(traits, parts, open, b, a, count, dots);
    RK_FENCE;
    rk_floats scale = open ? rk_floats_load(open->scale[b]) : rk_halves_load(parts->scale[b]);
    rk_floats constant = rk_floats_zero();
    if (traits.minimum) constant = open ? rk_floats_load(open->minimum[b]) : rk_constant32(traits, parts, b, scale);
    for (int t = 0; t < count; t++) {
      rk_floats sum = rk_floats_load(sums[t]);
      sum = rk_fma(rk_to_floats(dots[t]), rk_scale(scale, a[t].scale[b]), sum);
      if (traits.minimum) sum = rk_fma1(constant, a[t].sum[b], sum);
      rk_floats_store(sums[t], sum);
    }
  }
}

// All tokens, a tile at a time. The counts are constants so that each has code of its own, with sums in registers.
RK_INLINE void rk_tiles32(const rk_traits32 traits, const rk_parts32 *parts, const rk_open32 *open, int blocks,
                          const rk_a32 *a, int tokens, float (*sums)[RK_ROWS]) {
  int t = 0;
  for (; t + RK_TILE <= tokens; t += RK_TILE) rk_tile32(traits, parts, open, blocks, a + t, RK_TILE, sums + t);
#if RK_TILE > 4
  for (; t + 4 <= tokens; t += 4) rk_tile32(traits, parts, open, blocks, a + t, 4, sums + t);
#endif
  switch (tokens - t) {
    case 3: rk_tile32(traits, parts, open, blocks, a + t, 3, sums + t); break;
    case 2: rk_tile32(traits, parts, open, blocks, a + t, 2, sums + t); break;
    case 1: rk_tile32(traits, parts, open, blocks, a + t, 1, sums + t); break;
    default: break;
  }
}

RK_INLINE void rk_multiply32(const rk_traits32 traits, const uint8_t *panel, int64_t columns, const void *activations,
                             int64_t stride, int tokens, float (*sums)[RK_ROWS]) {
  rk_open32 open;
  memset(sums, 0, (size_t)tokens * sizeof *sums);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++) {
    int wide = rk_chunk_columns(columns, c);
    const rk_parts32 parts = rk_parts_of(traits, panel, wide);
    const rk_a32 *a = (const rk_a32 *)activations + c * stride;
    if (tokens <= RK_DIRECT_TOKENS(traits.bits)) {
      rk_tiles32(traits, &parts, NULL, wide / RK_BLOCK, a, tokens, sums);
    } else {
      rk_ask_ahead(panel, rk_chunk_bytes32(traits, wide));
      rk_open_chunk32(traits, &parts, wide, &open);
      rk_tiles32(traits, &parts, &open, wide / RK_BLOCK, a, tokens, sums);
    }
    panel += rk_chunk_bytes32(traits, wide);
  }
}

#endif
