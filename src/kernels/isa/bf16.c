// SPDX-License-Identifier: Apache-2.0
//
// Purpose: BF16: weights that are the upper halves of floats.
// Data owned: none. Threads: pure functions.
#include "kernels/tilef.h"

RK_INLINE rk_floats load(const uint8_t *column) { return rk_bfloats_load((const uint16_t *)(const void *)column); }

static const rk_traitsf traits = {.bytes = sizeof(uint16_t), .load = load};

static size_t chunk_bytes(int columns) { return rk_chunk_bytesf(traits, columns); }

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) { rk_packf(traits, rows, columns, out); }

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  rk_unpack_rowf(traits, chunk, columns, row, out);
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  rk_multiplyf(traits, panel, columns, activations, stride, tokens, sums);
}

const rk_format RK_NAME(rk_bf16) = {
    .type = RK_TYPE_BF16,
    .name = "bf16",
    .activation = RK_AF32,
    .block = 1,
    .block_bytes = sizeof(uint16_t),
    .align = 1,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};
