// SPDX-License-Identifier: Apache-2.0
//
// Purpose: products of a chunk with activations of the kind rk_a256, for formats whose weights are
// d * scale * q - dmin * minimum with small integers as scales and minima: Q4_K, Q5_K, Q6_K.
//
// All of a chunk's 256 columns add up as integers; floats come in once, at the end. A few tokens take their weights straight
// from the packed chunk; for more of them it is opened first, to a byte for each weight. Both do the same sums in the same
// order: a token's result does not depend on its company.
#ifndef RH_KERNELS_TILE256_H
#define RH_KERNELS_TILE256_H

#include "kernels/pack.h"

#define RK_BLOCK_GROUPS (RK_BLOCK / RK_GROUP)
#define RK_SCALES_MOST (RK_CHUNK / 16)

// Up to so many tokens a chunk is not opened; in portable C it always is, to compile less.
#if defined RK_ISA_AVX2 || defined RK_ISA_AVXVNNI || defined RK_ISA_AVX512
#define RK_DIRECT_TOKENS256 RK_TILE
// A loop over a block's groups, unrolled: which bits a group has in a vector is then known to the compiler.
#define RK_UNROLL_BLOCK _Pragma("GCC unroll 8")
#else
#define RK_DIRECT_TOKENS256 0
#define RK_UNROLL_BLOCK RK_KEEP_LOOP
#endif

#define RK_SIXES_FILE_BYTES 12

// One block of the file, for packing.
typedef struct rk_file_block256 {
  uint8_t *q;  // RK_CHUNK bytes
  int8_t scales[RK_SCALES_MOST];
  uint8_t sixes[RK_SIXES_FILE_BYTES];  // in the file's order
  uint16_t d;                          // half precision
  uint16_t dmin;                       // likewise
} rk_file_block256;

// What differs between the formats of this kind.
typedef struct rk_traits256 {
  int bits;      // of a weight: 4, 5 or 6
  int scales;    // of a row's 256 columns: 8 or 16
  int runs;      // into which a block of 32 columns is cut so that the products of a run fit into 16 bits together
  bool offset;   // w = q - 32
  bool minimum;  // with scales and minima of 6 bits
  size_t block_bytes;
  void (*read)(const uint8_t *block, rk_file_block256 *out);
} rk_traits256;

// A packed chunk: low bits, high bits, scales (and minima), d (and dmin) of the rows. Its smaller parts are opened at once.
typedef struct rk_parts256 {
  const uint8_t *q;
  const uint8_t *high;
  const int8_t *scales;             // of 16 rows, 8 or 16 times
  rk_spread sixes;                  // where they stand if they have 6 bits
  rk_pairs minimum[RK_BLOCKS / 2];  // of two blocks
  _Alignas(64) float d[RK_ROWS];
  _Alignas(64) float minus_dmin[RK_ROWS];
} rk_parts256;

// An opened chunk, small enough to stay in the first cache while all tokens pass.
typedef struct rk_open256 {
  rk_spread q;
  rk_pairs scale[RK_SCALES_MOST];
} rk_open256;

// Q4_K and Q5_K have a scale and a minimum of 6 bits for each of their eight blocks of 32 columns. In a chunk those of 16
// rows are four vectors with 6 bits in each byte, folded as weights are (pack.h): two of scales, block by block, and two of
// minima, where two neighbouring blocks of a row stand side by side, as rk_dot_pairs wants them.
#define RK_SIXES_COLUMNS (4 * RK_GROUP)

// The bytes of one block and row among the four vectors.
RK_INLINE uint8_t *rk_six_scale(rk_spread *sixes, int b, int row) { return &sixes->w[b / 4][b % 4 * RK_ROWS + row]; }

RK_INLINE uint8_t *rk_six_minimum(rk_spread *sixes, int b, int row) {
  return &sixes->w[2 + b / 4][b % 4 / 2 * 2 * RK_ROWS + 2 * row + b % 2];
}

RK_INLINE const uint8_t *rk_open_sixes(const uint8_t *in, rk_spread *sixes) {
  in = rk_open_nibbles(in, RK_SIXES_COLUMNS, sixes);
  return rk_open_high2(in, RK_SIXES_COLUMNS, sixes);
}

RK_INLINE void rk_parts256_of(const rk_traits256 traits, const uint8_t *chunk, rk_parts256 *out) {
  out->q = chunk;
  out->high = out->q + RK_CHUNK * RK_ROWS / 2;
  const uint8_t *in = out->high + RK_CHUNK * RK_ROWS / 8 * (traits.bits - 4);
  if (!traits.minimum) {
    out->scales = (const int8_t *)in;
    in += traits.scales * RK_ROWS;
  } else {
    in = rk_open_sixes(in, &out->sixes);
    out->scales = (const int8_t *)rk_six_scale(&out->sixes, 0, 0);
    for (int p = 0; p < RK_BLOCKS / 2; p++) out->minimum[p] = rk_row_pairs(rk_six_minimum(&out->sixes, 2 * p, 0));
  }
  rk_floats_store(out->d, rk_halves_load((const uint16_t *)(const void *)in));
  if (!traits.minimum) return;
  rk_floats dmin = rk_halves_load((const uint16_t *)(const void *)(in + RK_ROWS * sizeof(uint16_t)));
  rk_floats_store(out->minus_dmin, rk_scale(dmin, -1.0F));
}

// Group g of block b from the packed chunk, a byte for each weight.
RK_INLINE rk_bytes rk_packed_group256(const rk_traits256 traits, const rk_parts256 *parts, int b, const int g) {
  rk_bytes both = rk_loadu(parts->q + (b * RK_BLOCK_GROUPS + (g & ~1)) * 32);
  rk_bytes w = g % 2 ? rk_and(rk_right(both, 4), 15) : rk_and(both, 15);
  if (traits.bits == 4) return w;
  // Bits 4 and up of eight groups stand side by side in one vector, or of four.
  const int apart = traits.bits - 4;
  const int at = g * apart % 8;
  rk_bytes high = rk_loadu(parts->high + (b * apart + g * apart / 8) * 64);
  switch (at) {  // to bit 4; shifts want literal numbers
    case 0: high = rk_left(high, 4); break;
    case 1: high = rk_left(high, 3); break;
    case 2: high = rk_left(high, 2); break;
    case 3: high = rk_left(high, 1); break;
    case 5: high = rk_right(high, 1); break;
    case 6: high = rk_right(high, 2); break;
    case 7: high = rk_right(high, 3); break;
    default: break;
  }
  return rk_or(w, rk_and(high, traits.bits == 5 ? 0x10 : 0x30));
}

RK_INLINE void rk_open_chunk256(const rk_traits256 traits, const rk_parts256 *parts, rk_open256 *out) {
  RK_KEEP_LOOP
  for (int b = 0; b < RK_BLOCKS; b++) {
    RK_UNROLL_BLOCK
    for (int g = 0; g < RK_BLOCK_GROUPS; g++) {
      rk_store(out->q.w[b * RK_BLOCK_GROUPS + g], rk_packed_group256(traits, parts, b, g));
    }
  }
  for (int s = 0; s < traits.scales; s++) out->scale[s] = rk_row_scales(parts->scales + s * RK_ROWS);
}

RK_INLINE size_t rk_chunk_bytes256(const rk_traits256 traits, int columns) {
  return (size_t)(columns / RK_CHUNK) * RK_ROWS * traits.block_bytes;
}

// The products of one chunk with `count` activations, as integers; from `open` if there is one.
RK_INLINE void rk_dots256(const rk_traits256 traits, const rk_parts256 *parts, const rk_open256 *open, const rk_a256 *a,
                          const int count, rk_ints *sum) {
  const int run_groups = RK_BLOCK_GROUPS / traits.runs;
  for (int t = 0; t < count; t++) sum[t] = rk_ints_zero();
  RK_KEEP_LOOP
  for (int b = 0; b < RK_BLOCKS; b++) {
    const size_t share = rk_chunk_bytes256(traits, RK_CHUNK) / RK_BLOCKS;
    if (!open) rk_ask_ahead(parts->q + (size_t)b * share, share);
    RK_UNROLL_BLOCK
    for (int run = 0; run < traits.runs; run++) {
      const int nth = b * traits.runs + run;
      rk_partial part[RK_TILE];
      for (int t = 0; t < count; t++) part[t] = rk_start(traits.offset ? a[t].bias32[nth] : 0);
      RK_UNROLL_BLOCK
      for (int g = run * run_groups; g < (run + 1) * run_groups; g++) {
        rk_bytes w = open ? rk_load(open->q.w[b * RK_BLOCK_GROUPS + g]) : rk_packed_group256(traits, parts, b, g);
        for (int t = 0; t < count; t++) {
          part[t] = rk_dot(part[t], w, rk_word(a[t].q + b * RK_BLOCK + g * RK_GROUP));
          rk_settle(part[t]);
        }
      }
      const int s = traits.scales == RK_BLOCKS ? b : nth;
      rk_pairs scale = open ? open->scale[s] : rk_row_scales(parts->scales + s * RK_ROWS);
      for (int t = 0; t < count; t++) sum[t] = rk_add_scaled(sum[t], part[t], scale);
    }
  }
}

// minus_dmin * (minima . sums of the activation)
RK_INLINE rk_floats rk_minima256(const rk_parts256 *parts, const rk_a256 *a) {
  rk_ints sum = rk_ints_zero();
  for (int p = 0; p < RK_BLOCKS / 2; p++) {
    uint32_t pair;
    memcpy(&pair, a->sum + 2 * p, sizeof pair);
    sum = rk_dot_pairs(sum, parts->minimum[p], pair);
  }
  return rk_fma(rk_to_floats(sum), rk_floats_load(parts->minus_dmin), rk_floats_zero());
}

RK_INLINE void rk_tile256(const rk_traits256 traits, const rk_parts256 *parts, const rk_open256 *open, const rk_a256 *a,
                          const int count, float (*sums)[RK_ROWS]) {
  rk_ints dots[RK_TILE];
  rk_dots256(traits, parts, open, a, count, dots);
  rk_floats d = rk_floats_load(parts->d);
  for (int t = 0; t < count; t++) {
    rk_floats minima = traits.minimum ? rk_minima256(parts, a + t) : rk_floats_zero();
    rk_floats product = rk_fma(rk_to_floats(dots[t]), d, minima);
    rk_floats_store(sums[t], rk_fma1(product, a[t].scale, rk_floats_load(sums[t])));
  }
}

// All tokens, a tile at a time. The counts are constants so that each has code of its own, with sums in registers.
RK_INLINE void rk_tiles256(const rk_traits256 traits, const rk_parts256 *parts, const rk_open256 *open,
                           const rk_a256 *a, int tokens, float (*sums)[RK_ROWS]) {
  int t = 0;
  for (; t + RK_TILE <= tokens; t += RK_TILE) rk_tile256(traits, parts, open, a + t, RK_TILE, sums + t);
#if RK_TILE > 4
  for (; t + 4 <= tokens; t += 4) rk_tile256(traits, parts, open, a + t, 4, sums + t);
#endif
  switch (tokens - t) {
    case 3: rk_tile256(traits, parts, open, a + t, 3, sums + t); break;
    case 2: rk_tile256(traits, parts, open, a + t, 2, sums + t); break;
    case 1: rk_tile256(traits, parts, open, a + t, 1, sums + t); break;
    default: break;
  }
}

RK_INLINE void rk_multiply256(const rk_traits256 traits, const uint8_t *panel, int64_t columns, const void *activations,
                              int64_t stride, int tokens, float (*sums)[RK_ROWS]) {
  const size_t chunk_bytes = rk_chunk_bytes256(traits, RK_CHUNK);
  rk_parts256 parts;
  rk_open256 open;
  memset(sums, 0, (size_t)tokens * sizeof *sums);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++, panel += chunk_bytes) {
    const rk_a256 *a = (const rk_a256 *)activations + c * stride;
    rk_parts256_of(traits, panel, &parts);
    if (RK_DIRECT_TOKENS256 > 0 && tokens <= RK_DIRECT_TOKENS256) {
      rk_tiles256(traits, &parts, NULL, a, tokens, sums);
    } else {
      rk_ask_ahead(panel, chunk_bytes);
      rk_open_chunk256(traits, &parts, &open);
      rk_tiles256(traits, &parts, &open, a, tokens, sums);
    }
  }
}

#endif
