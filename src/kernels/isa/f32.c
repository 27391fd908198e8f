// SPDX-License-Identifier: Apache-2.0
//
// Purpose: F32: weights as floats, each column's 16 rows at an address that is a multiple of 64.
// Data owned: none. Threads: pure functions.
#include "kernels/tilef.h"

RK_INLINE rk_floats load(const uint8_t *column) { return rk_floats_load((const float *)(const void *)column); }

static const rk_traitsf traits = {.bytes = sizeof(float), .load = load};

RK_FORMAT(f32, RK_TYPE_F32, f, RK_AF32, 1, sizeof(float));
