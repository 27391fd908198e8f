// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the compiler's vector intrinsics; or, where a build names a file in RK_INTRINSICS, that file's stand-ins for them.
// So tests run the code of instruction sets that their processor lacks.
#ifndef RH_KERNELS_INTRINSICS_H
#define RH_KERNELS_INTRINSICS_H

#ifdef RK_INTRINSICS
#include RK_INTRINSICS
#else
#include <immintrin.h>
#endif

#endif
