// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the names of kernels_peak.c, which is compiled once for every instruction set.
#ifndef RH_BENCH_KERNELS_PEAK_H
#define RH_BENCH_KERNELS_PEAK_H

#include <stdint.h>

// Does `turns` times a few dot products of registers; returns how many products of two bytes that were.
typedef int64_t rk_peak_fn(int64_t turns);

rk_peak_fn rk_peak_portable;
rk_peak_fn rk_peak_avx2;
rk_peak_fn rk_peak_avxvnni;
rk_peak_fn rk_peak_avx512;

#endif
