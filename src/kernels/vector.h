// SPDX-License-Identifier: Apache-2.0
//
// Purpose: vectors of floats for the kernels that do not work on weights: rk_vec, RK_LANES of them side by side. For the
// instruction set that the file is compiled for, as isa.h.
//
// What all sets offer: rk_v_load, rk_v_store, rk_v_set (one number in all lanes), rk_v_halves (from half precision), rk_v_add,
// rk_v_sub, rk_v_mul, rk_v_div, rk_v_max, rk_v_fma (a * b + c), rk_v_two_to, rk_v_most and rk_v_total (of the lanes),
// rk_v_sums (the totals of four vectors) and rk_v_half (one number of half precision).
#ifndef RH_KERNELS_VECTOR_H
#define RH_KERNELS_VECTOR_H

#include <stdint.h>
#include <string.h>

#include "kernels/isa.h"

#if defined __x86_64__ && !defined RK_INTRINSICS
#include <immintrin.h>
#endif

// 2^f - 1 = f * (RK_POWER1 + RK_POWER2 f + ...) for f in [-0.5, 0.5]: the polynomial through Chebyshev's nodes, as good as
// floats can show.
#define RK_POWER1 0.6931471880262288F
#define RK_POWER2 0.24022650760568126F
#define RK_POWER3 0.05550357114219078F
#define RK_POWER4 0.009618082557277852F
#define RK_POWER5 0.0013390863364671234F
#define RK_POWER6 0.0001545316294512069F
// Added to a small number, this rounds it to an integer and leaves that in the low bits.
#define RK_ROUNDER 12582912.0F
// Below this, 2^x is taken for 0: the exponent of a normal number ends there.
#define RK_POWER_LEAST (-126.0F)

#if defined RK_ISA_AVX512
#include "kernels/vector_avx512.h"
#elif defined RK_ISA_AVXVNNI || defined RK_ISA_AVX2
#include "kernels/vector_avx2.h"
#else
#include "kernels/vector_portable.h"
#endif

RK_INLINE rk_vec rk_v_power_poly(rk_vec f) {
  rk_vec p = rk_v_fma(rk_v_set(RK_POWER6), f, rk_v_set(RK_POWER5));
  p = rk_v_fma(p, f, rk_v_set(RK_POWER4));
  p = rk_v_fma(p, f, rk_v_set(RK_POWER3));
  p = rk_v_fma(p, f, rk_v_set(RK_POWER2));
  p = rk_v_fma(p, f, rk_v_set(RK_POWER1));
  return rk_v_mul(p, f);
}

// 2^x for x <= 127; exactly 0 below RK_POWER_LEAST, NaN for NaN.
RK_INLINE rk_vec rk_v_two_to(rk_vec x) {
  rk_vec in = rk_v_max(rk_v_set(RK_POWER_LEAST), x);
  rk_vec moved = rk_v_add(in, rk_v_set(RK_ROUNDER));
  rk_vec f = rk_v_sub(in, rk_v_sub(moved, rk_v_set(RK_ROUNDER)));
  rk_vec power = rk_v_add(rk_v_set(1.0F), rk_v_power_poly(f));
  return rk_v_unless_below(x, RK_POWER_LEAST, rk_v_shift_exponent(power, moved));
}

// tanh(y / (2 log2(e))), by way of 2^y - 1 so that it is exact near 0 too.
RK_INLINE rk_vec rk_v_tanh_log2(rk_vec y) {
  // Beyond 30 the result is 1 to the last bit.
  rk_vec in = rk_v_min(rk_v_set(30.0F), rk_v_max(rk_v_set(-30.0F), y));
  rk_vec moved = rk_v_add(in, rk_v_set(RK_ROUNDER));
  rk_vec f = rk_v_sub(in, rk_v_sub(moved, rk_v_set(RK_ROUNDER)));
  rk_vec two = rk_v_shift_exponent(rk_v_set(1.0F), moved);
  rk_vec less1 = rk_v_fma(two, rk_v_power_poly(f), rk_v_sub(two, rk_v_set(1.0F)));
  return rk_v_div(less1, rk_v_add(less1, rk_v_set(2.0F)));
}

#endif
