// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q6_K: 6 bits a weight; for 16 weights a signed scale of 8 bits, for 256 a number of half precision that all are
// multiplied by; w = d * scale * (q - 32).
// Chunk: nibbles and upper bits (pack.h), scales by runs of 16 columns, d of the 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/tile256.h"

typedef struct block {
  uint8_t q[128];    // of 128 weights: low nibbles 0-63, high 64-127
  uint8_t high[64];  // of 128 weights in 32 bytes: bits 2 * k and 2 * k + 1 belong to weight 32 * k + i
  int8_t scales[16];
  uint16_t d;
} block;
_Static_assert(sizeof(block) == 210, "as in the file");

static size_t chunk_bytes(int columns) { return (size_t)(columns / RK_CHUNK) * RK_ROWS * sizeof(block); }

static void read_weights(const block *in, uint8_t *bytes) {
  for (int i = 0; i < RK_CHUNK; i++) {
    uint8_t both = in->q[i / 128 * 64 + i % 64];
    int high = in->high[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    bytes[i] = (uint8_t)((i % 128 < 64 ? both & 15 : both >> 4) | high << 4);
  }
}

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  static const block zero;
  rk_spread spread;
  int8_t scales[16][RK_ROWS];
  uint16_t d[RK_ROWS];
  (void)columns;
  for (int r = 0; r < RK_ROWS; r++) {
    uint8_t bytes[RK_CHUNK];
    const block *in = rows[r] ? rows[r] : &zero;
    read_weights(in, bytes);
    rk_spread_row(&spread, bytes, RK_CHUNK, r);
    for (int s = 0; s < 16; s++) scales[s][r] = in->scales[s];
    d[r] = in->d;
  }
  out = rk_fold_nibbles(&spread, RK_CHUNK, out);
  out = rk_fold_high2(&spread, RK_CHUNK, out);
  memcpy(out, scales, sizeof scales);
  memcpy(out + sizeof scales, d, sizeof d);
}

// With the offset eight products are at most 32 * 127 each: they fit into 16 bits.
static const rk_traits256 traits = {.bits = 6, .scales = 16, .runs = 2, .offset = true};

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  (void)columns;
  rk_unpack_row256(traits, chunk, row, out);
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  rk_multiply256(traits, sizeof(block), panel, columns, activations, stride, tokens, sums);
}

const rk_format RK_NAME(rk_q6_k) = {
    .type = RK_TYPE_Q6_K,
    .name = "q6_k",
    .activation = RK_A256,
    .block = RK_CHUNK,
    .block_bytes = sizeof(block),
    .align = RK_CHUNK,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};
