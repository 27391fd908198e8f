// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q4_0: 4 bits and a scale of half precision for 32 weights; w = (q - 8) * scale.
// Chunk: nibbles (pack.h), then the scales of each block's 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/tile32.h"

typedef struct block {
  uint16_t scale;
  uint8_t q[16];  // low nibbles: weights 0-15; high: 16-31
} block;
_Static_assert(sizeof(block) == 18, "as in the file");

static size_t chunk_bytes(int columns) { return (size_t)columns * RK_ROWS / 2 + (size_t)columns / RK_BLOCK * RK_ROWS * 2; }

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  rk_spread spread;
  uint16_t scales[RK_BLOCKS][RK_ROWS] = {{0}};
  for (int r = 0; r < RK_ROWS; r++) {
    uint8_t bytes[RK_CHUNK];
    memset(bytes, 8, sizeof bytes);
    const block *in = rows[r];
    for (int b = 0; in && b < columns / RK_BLOCK; b++) {
      scales[b][r] = in[b].scale;
      for (int i = 0; i < 16; i++) {
        bytes[b * RK_BLOCK + i] = in[b].q[i] & 15;
        bytes[b * RK_BLOCK + 16 + i] = in[b].q[i] >> 4;
      }
    }
    rk_spread_row(&spread, bytes, columns, r);
  }
  out = rk_fold_nibbles(&spread, columns, out);
  (void)rk_pack_halves((const uint16_t(*)[RK_ROWS])scales, columns / RK_BLOCK, out);
}

RK_INLINE const uint8_t *open_chunk(const uint8_t *chunk, int columns, rk_open32 *out) {
  chunk = rk_open_nibbles(chunk, columns, &out->q);
  return rk_open_halves(chunk, columns / RK_BLOCK, out->scale);
}

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  rk_open32 open;
  (void)open_chunk(chunk, columns, &open);
  rk_row32(&open, columns, row, RK_OFFSET8, false, out);
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  const rk_traits32 traits = {RK_OFFSET8, false, sizeof(block), open_chunk};
  rk_multiply32(traits, panel, columns, activations, stride, tokens, sums);
}

const rk_format RK_NAME(rk_q4_0) = {
    .type = RK_TYPE_Q4_0,
    .name = "q4_0",
    .activation = RK_A32,
    .block = RK_BLOCK,
    .block_bytes = sizeof(block),
    .align = RK_BLOCK,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};
