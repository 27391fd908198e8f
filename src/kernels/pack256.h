// SPDX-License-Identifier: Apache-2.0
//
// Purpose: packing and unpacking of the formats of tile256.h, which says what a chunk is.
#ifndef RH_KERNELS_PACK256_H
#define RH_KERNELS_PACK256_H

#include "kernels/tile256.h"

// From the file's order: four scales, four minima, then the low halves of the last four of both; the upper two bits of these
// stand above the first eight numbers.
RK_INLINE void rk_spread_sixes(rk_spread *sixes, const uint8_t *in, int row) {
  for (int b = 0; b < 4; b++) {
    *rk_six_scale(sixes, b, row) = in[b] & 63;
    *rk_six_minimum(sixes, b, row) = in[4 + b] & 63;
    *rk_six_scale(sixes, 4 + b, row) = (uint8_t)((in[8 + b] & 15) | in[b] >> 6 << 4);
    *rk_six_minimum(sixes, 4 + b, row) = (uint8_t)(in[8 + b] >> 4 | in[4 + b] >> 6 << 4);
  }
}

RK_INLINE uint8_t *rk_fold_sixes(const rk_spread *sixes, uint8_t *out) {
  out = rk_fold_nibbles(sixes, RK_SIXES_COLUMNS, out);
  return rk_fold_high2(sixes, RK_SIXES_COLUMNS, out);
}

RK_INLINE void rk_pack256(const rk_traits256 traits, const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  rk_rows bytes;
  rk_spread spread;
  rk_spread sixes;
  int8_t scales[RK_SCALES_MOST][RK_ROWS];
  uint16_t halves[2][RK_ROWS];
  (void)columns;  // always a whole chunk
  for (int r = 0; r < RK_ROWS; r++) {
    rk_file_block256 block = {.q = bytes.w[r]};
    if (rows[r]) {
      traits.read(rows[r], &block);
    } else {
      memset(block.q, 0, RK_CHUNK);
    }
    if (traits.minimum) rk_spread_sixes(&sixes, block.sixes, r);
    for (int s = 0; !traits.minimum && s < traits.scales; s++) scales[s][r] = block.scales[s];
    halves[0][r] = block.d;
    halves[1][r] = block.dmin;
  }
  rk_spread_rows(&bytes, RK_CHUNK, &spread);
  out = rk_fold_nibbles(&spread, RK_CHUNK, out);
  if (traits.bits == 5) out = rk_fold_high1(&spread, RK_CHUNK, out);
  if (traits.bits == 6) out = rk_fold_high2(&spread, RK_CHUNK, out);
  if (traits.minimum) {
    out = rk_fold_sixes(&sixes, out);
  } else {
    memcpy(out, scales, (size_t)traits.scales * RK_ROWS);
    out += traits.scales * RK_ROWS;
  }
  memcpy(out, halves, traits.minimum ? sizeof halves : sizeof halves[0]);
}

// One row of a chunk as floats; q: its weights' bytes.
RK_INLINE void rk_gather256(const rk_traits256 traits, const rk_parts256 *parts, int row, uint8_t *q) {
  rk_open256 open;
  rk_open_chunk256(traits, parts, &open);
  rk_gather_row(&open.q, RK_CHUNK, row, q);
}

RK_INLINE void rk_unpack_row256(const rk_traits256 traits, const uint8_t *chunk, int columns, int row, float *out) {
  rk_parts256 parts;
  uint8_t q[RK_CHUNK];
  (void)columns;  // always a whole chunk
  rk_parts256_of(traits, chunk, &parts);
  rk_gather256(traits, &parts, row, q);
  for (int i = 0; i < RK_CHUNK; i++) {
    const int run = i / (RK_CHUNK / traits.scales);
    const int block = i / RK_BLOCK;
    float scale = parts.d[row] * (float)parts.scales[run * RK_ROWS + row];
    out[i] = scale * (float)(traits.offset ? q[i] - 32 : q[i]);
    if (traits.minimum) out[i] += parts.minus_dmin[row] * (float)*rk_six_minimum(&parts.sixes, block, row);
  }
}

#endif
