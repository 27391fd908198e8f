// SPDX-License-Identifier: Apache-2.0
//
// The sets of kernels that this processor runs.
#ifndef RH_TESTS_KERNELS_HERE_H
#define RH_TESTS_KERNELS_HERE_H

#include "kernels/choose.h"

#define SETS_MOST 5

// Portable first; returns how many.
static inline size_t sets_here(const rk_set *out[SETS_MOST]) {
  size_t count = 0;
  out[count++] = &rk_set_portable;
#ifdef __x86_64__
  unsigned abilities = rk_abilities();
  if (abilities & RK_CAN_AVX2) out[count++] = &rk_set_avx2;
  if (abilities & RK_CAN_AVXVNNI) out[count++] = &rk_set_avxvnni;
  if (abilities & RK_CAN_AVX512) out[count++] = &rk_set_avx512;
  if (abilities & RK_CAN_AVX512BF16) out[count++] = &rk_set_avx512bf16;
#endif
  return count;
}

#endif
