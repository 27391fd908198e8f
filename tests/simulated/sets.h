// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the sets of kernels that tests run in simulation, by their names.
#ifndef RH_TESTS_SIMULATED_SETS_H
#define RH_TESTS_SIMULATED_SETS_H

#include "kernels/activations.h"
#include "kernels/formats.h"

RK_DECLARE_QUANTIZERS(_avxvnnisim);
RK_DECLARE_QUANTIZERS(_avx512sim);
RK_DECLARE_FORMATS(_avxvnnisim);
RK_DECLARE_FORMATS(_avx512sim);
extern const rk_set rk_set_avxvnnisim;
extern const rk_set rk_set_avx512sim;
extern const rk_set rk_set_avx512bf16sim;

#endif
