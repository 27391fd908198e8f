// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q5_0: 5 bits and a scale of half precision for 32 weights; w = (q - 16) * scale.
// Data owned: none. Threads: pure functions.
#include "kernels/pack32.h"

typedef struct block {
  uint16_t scale;
  uint8_t fifths[4];  // the highest bit of each weight
  uint8_t q[16];      // low nibbles: weights 0-15; high: 16-31
} block;
_Static_assert(sizeof(block) == 22, "as in the file");

static void read_block(const uint8_t *in, rk_file_block *out) {
  block b;
  memcpy(&b, in, sizeof b);
  out->scale = b.scale;
  rk_read_nibbles(b.q, rk_read_fifths(b.fifths), out);
}

static const rk_traits32 traits = {
    .bits = 5, .offset = 16, .minimum = false, .block_bytes = sizeof(block), .read = read_block};

static size_t chunk_bytes(int columns) { return rk_chunk_bytes32(traits, columns); }

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) { rk_pack32(traits, rows, columns, out); }

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  rk_unpack_row32(traits, chunk, columns, row, out);
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  rk_multiply32(traits, panel, columns, activations, stride, tokens, sums);
}

const rk_format RK_NAME(rk_q5_0) = {
    .type = RK_TYPE_Q5_0,
    .name = "q5_0",
    .activation = RK_A32,
    .block = RK_BLOCK,
    .block_bytes = sizeof(block),
    .align = RK_BLOCK,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};
