// SPDX-License-Identifier: Apache-2.0
//
// Purpose: F16: weights in half precision.
// Data owned: none. Threads: pure functions.
#include "kernels/tilef.h"

RK_INLINE rk_floats load(const uint8_t *column) { return rk_halves_load((const uint16_t *)(const void *)column); }

static const rk_traitsf traits = {.bytes = sizeof(uint16_t), .load = load};

RK_FORMAT(f16, RK_TYPE_F16, f, RK_AF32, 1, sizeof(uint16_t));
