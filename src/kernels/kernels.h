// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the one way into librh_kernels.so: our matrix kernels take the place of llama.cpp's own for the weights they know.
// Data owned: none; after rh_kernels_install the library stays in the process, as llama.cpp keeps pointers to it.
// Threads: rh_kernels_install once, before the first model is loaded. rh_kernels_mapped: the thread that loads models.
// Not here: models and requests. Source: ggml's extra buffer types (ggml/src/ggml-cpu/traits.h).
#ifndef RH_KERNELS_KERNELS_H
#define RH_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RH_KERNELS_EXPORT __attribute__((visibility("default")))

// Names of the functions below, for dlsym.
#define RH_KERNELS_LIBRARY "librh_kernels.so"
#define RH_KERNELS_INSTALL "rh_kernels_install"
#define RH_KERNELS_MAPPED "rh_kernels_mapped"

// Puts our buffer type before llama.cpp's. `backend_function` is any function of the loaded CPU backend: by it the library
// is found that has the hook. `wish`: NULL, or what ROUNDHOUSE_KERNELS says ("stock", "portable", "avx2", ...). Always
// writes to `words` which kernels are in use and why, e.g. "avx2 (this processor has no AVX-512 VNNI)". Returns false when
// llama.cpp's own stay in use.
typedef bool rh_kernels_install_fn(void *backend_function, const char *wish, char *words, size_t size);
RH_KERNELS_EXPORT rh_kernels_install_fn rh_kernels_install;

// Says whether models are loaded from files that are mapped to memory. Then pages of the file are given back once their
// weights are packed; from other memory nothing is.
typedef void rh_kernels_mapped_fn(bool mapped);
RH_KERNELS_EXPORT rh_kernels_mapped_fn rh_kernels_mapped;

#ifdef __cplusplus
}
#endif

#endif
