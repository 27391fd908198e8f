// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the quantizers of activations of each instruction set. `columns` is a multiple of RK_BLOCK for the first two.
#ifndef RH_KERNELS_ACTIVATIONS_H
#define RH_KERNELS_ACTIVATIONS_H

#include "kernels/format.h"

#define RK_DECLARE_QUANTIZERS(isa)   \
  rk_quantize rk_quantize_a32##isa;  \
  rk_quantize rk_quantize_a256##isa; \
  rk_quantize rk_quantize_af32##isa

RK_DECLARE_QUANTIZERS(_portable);
RK_DECLARE_QUANTIZERS(_avx2);
RK_DECLARE_QUANTIZERS(_avxvnni);
RK_DECLARE_QUANTIZERS(_avx512);

#endif
