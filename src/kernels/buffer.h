// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the memory of packed weights as a ggml buffer type, whose set_tensor packs.
// Data owned: each buffer owns its pages. Threads: ggml calls from the thread that loads or frees a model.
// Not here: who may use such a buffer (register.cpp).
#ifndef RH_KERNELS_BUFFER_H
#define RH_KERNELS_BUFFER_H

#include <ggml-backend-impl.h>

#include "kernels/format.h"

#ifdef __cplusplus
extern "C" {
#endif

// The buffer type's functions, for the set in use, which must stay.
struct ggml_backend_buffer_type_i rk_buffer_type(const rk_set *set);

// See rh_kernels_mapped.
void rk_buffer_mapped(bool mapped);

#ifdef __cplusplus
}
#endif

#endif
