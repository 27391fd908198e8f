// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the names of all formats of all instruction sets, as their files export them (RK_NAME in isa.h).
#ifndef RH_KERNELS_FORMATS_H
#define RH_KERNELS_FORMATS_H

#include "kernels/format.h"

#define RK_DECLARE_FORMATS(isa)        \
  extern const rk_format rk_q4_0##isa; \
  extern const rk_format rk_q4_1##isa; \
  extern const rk_format rk_q5_0##isa; \
  extern const rk_format rk_q5_1##isa; \
  extern const rk_format rk_q8_0##isa; \
  extern const rk_format rk_f16##isa;  \
  extern const rk_format rk_bf16##isa; \
  extern const rk_format rk_f32##isa;  \
  extern const rk_format rk_q4_k##isa; \
  extern const rk_format rk_q5_k##isa; \
  extern const rk_format rk_q6_k##isa

// Those of the set that a file is compiled for, in the order of its table; bf16: its own or another one for BF16.
#define RK_ALL_FORMATS(bf16)                                                                                       \
  &RK_NAME(rk_q4_0), &RK_NAME(rk_q4_1), &RK_NAME(rk_q5_0), &RK_NAME(rk_q5_1), &RK_NAME(rk_q8_0), &RK_NAME(rk_f16), \
      &(bf16), &RK_NAME(rk_f32), &RK_NAME(rk_q4_k), &RK_NAME(rk_q5_k), &RK_NAME(rk_q6_k)

RK_DECLARE_FORMATS(_portable);
RK_DECLARE_FORMATS(_avx2);
RK_DECLARE_FORMATS(_avxvnni);
RK_DECLARE_FORMATS(_avx512);

#endif
