// SPDX-License-Identifier: Apache-2.0
//
// Purpose: dot products with nothing around them, as the kernels of each instruction set do them: compiled for each set.
// Data owned: none. Threads: any.
#include "kernels_peak.h"

#include "kernels/isa.h"

// As many sums as hide the instruction's latency and still stay in registers; and what keeps the compiler from seeing that
// the weights stay the same, for it would multiply once.
#if defined RK_ISA_AVX512
#define SUMS 12
#define HIDE(w) __asm__ volatile("" : "+v"(w))
#define USE(sum) __asm__ volatile("" : : "v"(sum))
#elif defined RK_ISA_AVX2 || defined RK_ISA_AVXVNNI
#define SUMS 6
#define HIDE(w) __asm__ volatile("" : "+x"((w).lo), "+x"((w).hi))
#define USE(sum) __asm__ volatile("" : : "x"((sum).lo), "x"((sum).hi))
#else
#define SUMS 2
#define HIDE(w) __asm__ volatile("" : "+m"(w))
#define USE(sum) __asm__ volatile("" : : "m"(sum))
#endif

int64_t RK_NAME(rk_peak)(int64_t turns) {
  static const int8_t start[RK_ROWS * RK_GROUP] = {1, 2, 3, 4, 5, 6, 7};
  rk_bytes weights = rk_loadu(start);
  rk_partial sums[SUMS];
  uint32_t group = (uint32_t)turns;
  for (int i = 0; i < SUMS; i++) sums[i] = rk_start(group);
  RK_KEEP_LOOP
  for (int64_t turn = 0; turn < turns; turn++) {
    for (int i = 0; i < SUMS; i++) {
      sums[i] = rk_dot(sums[i], weights, group);
      HIDE(weights);
    }
  }
  for (int i = 0; i < SUMS; i++) USE(sums[i]);
  return turns * SUMS * RK_ROWS * RK_GROUP;
}
