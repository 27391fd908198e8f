// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q4_K: 4 bits a weight; for 32 weights a scale and a minimum of 6 bits, for 256 two numbers of half precision
// that both are multiplied by; w = d * scale * q - dmin * minimum.
// Chunk: nibbles (pack.h), scales and minima (tile256.h), d and dmin of the 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/tile256.h"

typedef struct block {
  uint16_t d;
  uint16_t dmin;
  uint8_t sixes[RK_SIXES_FILE_BYTES];
  uint8_t q[128];  // of 64 weights: low nibbles 0-31, high 32-63
} block;
_Static_assert(sizeof(block) == 144, "as in the file");

static size_t chunk_bytes(int columns) { return (size_t)(columns / RK_CHUNK) * RK_ROWS * sizeof(block); }

static void read_weights(const block *in, uint8_t *bytes) {
  for (int i = 0; i < RK_CHUNK; i++) {
    uint8_t both = in->q[i / 64 * 32 + i % 32];
    bytes[i] = i % 64 < 32 ? both & 15 : both >> 4;
  }
}

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  static const block zero;
  rk_spread spread;
  rk_spread sixes;
  uint16_t halves[2][RK_ROWS];
  (void)columns;
  for (int r = 0; r < RK_ROWS; r++) {
    uint8_t bytes[RK_CHUNK];
    const block *in = rows[r] ? rows[r] : &zero;
    read_weights(in, bytes);
    rk_spread_row(&spread, bytes, RK_CHUNK, r);
    rk_spread_sixes(&sixes, in->sixes, r);
    halves[0][r] = in->d;
    halves[1][r] = in->dmin;
  }
  out = rk_fold_nibbles(&spread, RK_CHUNK, out);
  out = rk_fold_sixes(&sixes, out);
  memcpy(out, halves, sizeof halves);
}

// 16 products of at most 15 * 127 fit into 16 bits.
static const rk_traits256 traits = {.bits = 4, .scales = 8, .runs = 1, .minimum = true};

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  (void)columns;
  rk_unpack_row256(traits, chunk, row, out);
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  rk_multiply256(traits, sizeof(block), panel, columns, activations, stride, tokens, sums);
}

const rk_format RK_NAME(rk_q4_k) = {
    .type = RK_TYPE_Q4_K,
    .name = "q4_k",
    .activation = RK_A256,
    .block = RK_CHUNK,
    .block_bytes = sizeof(block),
    .align = RK_CHUNK,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};
