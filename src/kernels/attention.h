// SPDX-License-Identifier: Apache-2.0
//
// Purpose: ggml's FLASH_ATTN_EXT: which of these operations we take, and how they are divided among threads.
// Threads: rk_attention_run is called by all threads of a team at once. The rest: any thread.
// Not here: arithmetic (attention_kernel.h).
#ifndef RH_KERNELS_ATTENTION_H
#define RH_KERNELS_ATTENTION_H

#include <ggml.h>

#include "kernels/format.h"
#include "kernels/team.h"

// Do we take this operation? Depends on types and shapes only, so that it says the same whenever it is asked. What is answered
// no is left to upstream.
bool rk_attention_fits(const rk_set *set, const struct ggml_tensor *op);

// The rest for an operation that fits.
size_t rk_attention_work_size(const rk_set *set, const struct ggml_tensor *op, int threads);
void rk_attention_run(const rk_set *set, struct ggml_tensor *op, const rk_team *team);

#endif
