// SPDX-License-Identifier: Apache-2.0
//
// Purpose: llama.cpp's backends and our kernels in a program that is not the worker, in the worker's way.
// Threads: one, before anything else of ggml.
#ifndef RH_BENCH_KERNELS_LOAD_H
#define RH_BENCH_KERNELS_LOAD_H

#include <ggml-backend.h>
#include <stdbool.h>
#include <stddef.h>

// Loads the backends beside libggml, then our kernels as `wish` (see ROUNDHOUSE_KERNELS) says. `words` becomes which are in
// use and why; false when llama.cpp's own are. Ends the program when there is no CPU backend.
bool bench_load(const char *wish, char *words, size_t size);

// A function of the CPU backend by name, copied to `function`; ends the program without.
void bench_backend_function(const char *name, void *function, size_t size);

#endif
