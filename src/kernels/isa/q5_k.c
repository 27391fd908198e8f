// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q5_K: 5 bits a weight; for 32 weights a scale and a minimum of 6 bits, for 256 two numbers of half precision
// that both are multiplied by; w = d * scale * q - dmin * minimum.
// Chunk: nibbles and fifth bits (pack.h), scales and minima (tile256.h), d and dmin of the 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/pack256.h"

typedef struct RK_AS_STORED block {
  uint16_t d;
  uint16_t dmin;
  uint8_t sixes[RK_SIXES_FILE_BYTES];
  uint8_t high[32];  // bit k: the fifth bit of weight 32 * k + i
  uint8_t q[128];    // of 64 weights: low nibbles 0-31, high 32-63
} block;
_Static_assert(sizeof(block) == 176, "as in the file");

static void read_block(const uint8_t *in, rk_file_block256 *out) {
  const block *b = (const void *)in;
  for (int i = 0; i < RK_CHUNK; i += 64) {
    for (int k = 0; k < 32; k++) {
      uint8_t both = b->q[i / 2 + k];
      int high = b->high[k] >> (i / 32);
      out->q[i + k] = (uint8_t)((both & 15) | (high & 1) << 4);
      out->q[i + 32 + k] = (uint8_t)(both >> 4 | (high & 2) << 3);
    }
  }
  memcpy(out->sixes, b->sixes, sizeof out->sixes);
  out->d = b->d;
  out->dmin = b->dmin;
}

// Eight products of at most 31 * 127 fit into 16 bits, not sixteen.
static const rk_traits256 traits = {
    .bits = 5, .scales = 8, .runs = 2, .minimum = true, .block_bytes = sizeof(block), .read = read_block};

RK_FORMAT(q5_k, RK_TYPE_Q5_K, 256, RK_A256, RK_CHUNK, sizeof(block));
