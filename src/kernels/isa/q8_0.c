// SPDX-License-Identifier: Apache-2.0
//
// Purpose: Q8_0: a signed byte for each weight and a scale of half precision for 32; w = q * scale.
// Data owned: none. Threads: pure functions.
#include "kernels/pack32.h"

typedef struct RK_AS_STORED block {
  uint16_t scale;
  int8_t q[32];
} block;
_Static_assert(sizeof(block) == 34, "as in the file");

static void read_block(const uint8_t *in, rk_file_block *out) {
  const block *b = (const void *)in;
  out->scale = b->scale;
  memcpy(out->q, b->q, RK_BLOCK);
}

static const rk_traits32 traits = {
    .bits = 8, .offset = 0, .minimum = false, .block_bytes = sizeof(block), .read = read_block};

RK_FORMAT(q8_0, RK_TYPE_Q8_0, 32, RK_A32, RK_BLOCK, sizeof(block));
