// SPDX-License-Identifier: Apache-2.0
//
// Purpose: packing and unpacking of the formats of tile32.h, which says what a chunk is.
#ifndef RH_KERNELS_PACK32_H
#define RH_KERNELS_PACK32_H

#include "kernels/tile32.h"

// Signed bytes to what the products want and back: both are the same operation.
RK_INLINE void rk_turn_signed(rk_spread *spread, int columns) {
  for (int g = 0; g < columns / RK_GROUP; g++) rk_store(spread->w[g], rk_signed_weights(rk_load(spread->w[g])));
}

typedef uint8_t rk_bytes16 __attribute__((vector_size(16)));
typedef uint64_t rk_pair __attribute__((vector_size(16)));

// The bits of two bytes, one after the other, as 16 or 0.
RK_INLINE rk_bytes16 rk_sixteens(const uint8_t bits[2]) {
  const rk_bytes16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint64_t each = 0x0101010101010101U;
  rk_pair both = {bits[0] * each, bits[1] * each};
  return (rk_bytes16)(((rk_bytes16)both & bit) != 0) & 16;
}

// Numbers of 32 weights in the file: low nibbles of the first 16, high ones of the last 16, and their fifth bits (or NULL).
RK_INLINE void rk_read_nibbles(const uint8_t nibbles[16], const uint8_t *fifths, uint8_t *out) {
  rk_bytes16 both;
  memcpy(&both, nibbles, sizeof both);
  rk_bytes16 first = both & 15;
  rk_bytes16 last = both >> 4;
  if (fifths) {
    first |= rk_sixteens(fifths);
    last |= rk_sixteens(fifths + 2);
  }
  memcpy(out, &first, sizeof first);
  memcpy(out + sizeof first, &last, sizeof last);
}

RK_INLINE void rk_pack32(const rk_traits32 traits, const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  rk_rows bytes;
  rk_spread spread;
  uint16_t scales[RK_BLOCKS][RK_ROWS];
  uint16_t minima[RK_BLOCKS][RK_ROWS];
  size_t halves = (size_t)columns / RK_BLOCK * sizeof scales[0];
  for (int r = 0; r < RK_ROWS; r++) {
    for (int b = 0; b < columns / RK_BLOCK; b++) {
      rk_file_block block = {.q = bytes.w[r] + b * RK_BLOCK};
      if (rows[r]) {
        traits.read((const uint8_t *)rows[r] + (size_t)b * traits.block_bytes, &block);
      } else {
        memset(block.q, traits.offset, RK_BLOCK);
      }
      scales[b][r] = block.scale;
      minima[b][r] = block.minimum;
    }
  }
  rk_spread_rows(&bytes, columns, &spread);
  if (traits.bits == 8) {
    rk_turn_signed(&spread, columns);
    memcpy(out, spread.w, (size_t)columns * RK_ROWS);
    out += (size_t)columns * RK_ROWS;
  } else {
    out = rk_fold_nibbles(&spread, columns, out);
    if (traits.bits == 5) out = rk_fold_high1(&spread, columns, out);
  }
  memcpy(out, scales, halves);
  if (traits.minimum) memcpy(out + halves, minima, halves);
}

// One row of a chunk as floats, for the token embeddings.
RK_INLINE void rk_unpack_row32(const rk_traits32 traits, const uint8_t *chunk, int columns, int row, float *out) {
  const rk_parts32 parts = rk_parts_of(traits, chunk, columns);
  rk_spread spread;
  uint8_t q[RK_CHUNK] = {0};
  if (traits.bits == 8) {
    memcpy(spread.w, chunk, (size_t)columns * RK_ROWS);
    rk_turn_signed(&spread, columns);
  } else {
    (void)rk_open_nibbles(parts.q, columns, &spread);
    if (traits.bits == 5) (void)rk_open_high1(parts.high, columns, &spread);
  }
  rk_gather_row(&spread, columns, row, q);
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    _Alignas(64) float scale[RK_ROWS];
    _Alignas(64) float minimum[RK_ROWS] = {0};
    rk_floats_store(scale, rk_halves_load(parts.scale[b]));
    if (traits.minimum) rk_floats_store(minimum, rk_halves_load(parts.minimum[b]));
    for (int i = b * RK_BLOCK; i < (b + 1) * RK_BLOCK; i++) {
      int w = traits.offset == 0 ? (int8_t)q[i] : traits.minimum ? q[i] : q[i] - traits.offset;
      float product = (float)w * scale[row];
      out[i] = traits.minimum ? product + minimum[row] : product;
    }
  }
}

#endif
