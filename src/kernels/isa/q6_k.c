// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q6_K: 6 bits a weight; for 16 weights a signed scale of 8 bits, for 256 a number of half precision that all are
// multiplied by; w = d * scale * (q - 32).
// Chunk: nibbles and upper bits (pack.h), scales by runs of 16 columns, d of the 16 rows.
// Data owned: none. Threads: pure functions.
#include "kernels/pack256.h"

typedef struct RK_AS_STORED block {
  uint8_t q[128];    // of 128 weights: low nibbles 0-63, high 64-127
  uint8_t high[64];  // of 128 weights in 32 bytes: bits 2 * k and 2 * k + 1 belong to weight 32 * k + i
  int8_t scales[16];
  uint16_t d;
} block;
_Static_assert(sizeof(block) == 210, "as in the file");

static void read_block(const uint8_t *in, rk_file_block256 *out) {
  const block *b = (const void *)in;
  for (int i = 0; i < RK_CHUNK; i += 128) {
    for (int k = 0; k < 32; k++) {
      uint8_t first = b->q[i / 2 + k];
      uint8_t second = b->q[i / 2 + 32 + k];
      uint8_t high = b->high[i / 4 + k];
      out->q[i + k] = (uint8_t)((first & 15) | (high & 3) << 4);
      out->q[i + 32 + k] = (uint8_t)((second & 15) | (high >> 2 & 3) << 4);
      out->q[i + 64 + k] = (uint8_t)(first >> 4 | (high >> 4 & 3) << 4);
      out->q[i + 96 + k] = (uint8_t)(second >> 4 | (high >> 6 & 3) << 4);
    }
  }
  memcpy(out->scales, b->scales, sizeof out->scales);
  out->d = b->d;
}

// With the offset eight products are at most 32 * 127 each: they fit into 16 bits.
static const rk_traits256 traits = {
    .bits = 6, .scales = 16, .runs = 2, .offset = true, .block_bytes = sizeof(block), .read = read_block};

RK_FORMAT(q6_k, RK_TYPE_Q6_K, 256, RK_A256, RK_CHUNK, sizeof(block));
