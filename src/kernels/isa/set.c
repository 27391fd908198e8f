// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the table of all that the instruction set this file is compiled for offers.
// Data owned: constant tables. Threads: any.
#include "kernels/activations.h"
#include "kernels/attention_isa.h"
#include "kernels/formats.h"
#include "kernels/isa.h"

static const rk_format *const formats[] = {RK_ALL_FORMATS(RK_NAME(rk_bf16))};

const rk_set RK_NAME(rk_set) = {
    .name = RK_ISA_NAME,
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .quantize = {RK_NAME(rk_quantize_a32), RK_NAME(rk_quantize_a256), RK_NAME(rk_quantize_af32)},
    .attention = &RK_NAME(rk_attention_kernels),
};
