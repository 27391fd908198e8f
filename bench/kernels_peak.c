// SPDX-License-Identifier: Apache-2.0
//
// Purpose: dot products with nothing around them, as the kernels of each instruction set do them: compiled for each set.
// Data owned: none. Threads: any.
#include "kernels_peak.h"

#include "kernels/isa.h"

// As many sums as hide the instruction's latency and still stay in registers; variables of their own, as compilers put arrays
// to memory. And what keeps the compiler from seeing that the weights stay the same, for it would multiply once.
#if defined RK_ISA_AVX512
#define SUMS 12
#define EACH_SUM(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h) X(i) X(j) X(k) X(l)
#define HIDE(v) __asm__ volatile("" : "+v"(v))
#elif defined RK_ISA_AVXVNNI
#define SUMS 6
#define EACH_SUM(X) X(a) X(b) X(c) X(d) X(e) X(f)
#define HIDE(v) __asm__ volatile("" : "+x"((v).lo), "+x"((v).hi))
#elif defined RK_ISA_AVX2
#define SUMS 4
#define EACH_SUM(X) X(a) X(b) X(c) X(d)
#define HIDE(v) __asm__ volatile("" : "+x"((v).lo), "+x"((v).hi))
#else
#define SUMS 2
#define EACH_SUM(X) X(a) X(b)
#define HIDE(v) __asm__ volatile("" : "+m"(v))
#endif

#define BEGIN(sum) rk_partial sum = rk_start(group);
#define ADD(sum)                     \
  sum = rk_dot(sum, weights, group); \
  HIDE(weights);
#define END(sum) HIDE(sum);

int64_t RK_NAME(rk_peak)(int64_t turns) {
  static const int8_t start[RK_ROWS * RK_GROUP] = {1, 2, 3, 4, 5, 6, 7};
  rk_bytes weights = rk_loadu(start);
  uint32_t group = (uint32_t)turns;
  EACH_SUM(BEGIN)
  RK_KEEP_LOOP
  for (int64_t turn = 0; turn < turns; turn++) {
    EACH_SUM(ADD)
  }
  EACH_SUM(END)
  return turns * SUMS * RK_ROWS * RK_GROUP;
}
