// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q4_K: 4 bits a weight; for 32 weights a scale and a minimum of 6 bits, for 256 two numbers of half precision
// that both are multiplied by; w = d * scale * q - dmin * minimum.
// Chunk: nibbles (pack.h), scales and minima (tile256.h), d and dmin of the 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/pack256.h"

typedef struct RK_AS_STORED block {
  uint16_t d;
  uint16_t dmin;
  uint8_t sixes[RK_SIXES_FILE_BYTES];
  uint8_t q[128];  // of 64 weights: low nibbles 0-31, high 32-63
} block;
_Static_assert(sizeof(block) == 144, "as in the file");

static void read_block(const uint8_t *in, rk_file_block256 *out) {
  const block *b = (const void *)in;
  for (int i = 0; i < RK_CHUNK; i += 64) {
    for (int k = 0; k < 32; k++) {
      uint8_t both = b->q[i / 2 + k];
      out->q[i + k] = both & 15;
      out->q[i + 32 + k] = both >> 4;
    }
  }
  memcpy(out->sixes, b->sixes, sizeof out->sixes);
  out->d = b->d;
  out->dmin = b->dmin;
}

// 16 products of at most 15 * 127 fit into 16 bits.
static const rk_traits256 traits = {
    .bits = 4, .scales = 8, .runs = 1, .minimum = true, .block_bytes = sizeof(block), .read = read_block};

RK_FORMAT(q4_k, RK_TYPE_Q4_K, 256, RK_A256, RK_CHUNK, sizeof(block));
