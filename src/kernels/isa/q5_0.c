// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q5_0: 5 bits and a scale of half precision for 32 weights; w = (q - 16) * scale.
// Data owned: none. Threads: pure functions.
#include "kernels/pack32.h"

typedef struct RK_AS_STORED block {
  uint16_t scale;
  uint8_t fifths[4];  // the highest bit of each weight
  uint8_t q[16];      // low nibbles: weights 0-15; high: 16-31
} block;
_Static_assert(sizeof(block) == 22, "as in the file");

static void read_block(const uint8_t *in, rk_file_block *out) {
  const block *b = (const void *)in;
  out->scale = b->scale;
  rk_read_nibbles(b->q, b->fifths, out->q);
}

static const rk_traits32 traits = {
    .bits = 5, .offset = 16, .minimum = false, .block_bytes = sizeof(block), .read = read_block};

RK_FORMAT(q5_0, RK_TYPE_Q5_0, 32, RK_A32, RK_BLOCK, sizeof(block));
