// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which set of kernels runs on this processor, and why.
#ifndef RH_KERNELS_CHOOSE_H
#define RH_KERNELS_CHOOSE_H

#include "kernels/format.h"

// What a processor and its operating system can run, beside portable C; several may be true.
typedef enum rk_ability {
  RK_CAN_AVX2 = 1,        // with FMA and F16C
  RK_CAN_AVXVNNI = 2,     // and the former
  RK_CAN_AVX512 = 4,      // F, BW, VL, DQ and VNNI, and RK_CAN_AVX2
  RK_CAN_AVX512BF16 = 8,  // and RK_CAN_AVX512
} rk_ability;

// The best set for this processor, or the one that `wish` (what ROUNDHOUSE_KERNELS says; NULL or empty: none) names:
// "stock", "portable", "avx2", "avxvnni", "avx512", "avx512bf16". NULL stands for llama.cpp's own kernels: they are asked for,
// or nothing of ours is faster here, or the wish cannot be granted. Writes one line that says what was chosen and why to
// reason[size].
const rk_set *rk_choose(const char *wish, char *reason, size_t size);

// The same for a processor with these abilities (rk_ability, added up).
const rk_set *rk_choose_for(unsigned abilities, const char *wish, char *reason, size_t size);

// Those of this processor.
unsigned rk_abilities(void);

#endif
