// SPDX-License-Identifier: Apache-2.0
//
// Purpose: BF16: weights that are the upper halves of floats.
// Data owned: none. Threads: pure functions.
#include "kernels/tilef.h"

RK_INLINE rk_floats load(const uint8_t *column) { return rk_bfloats_load((const uint16_t *)(const void *)column); }

static const rk_traitsf traits = {.bytes = sizeof(uint16_t), .load = load};

RK_FORMAT(bf16, RK_TYPE_BF16, f, RK_AF32, 1, sizeof(uint16_t));
