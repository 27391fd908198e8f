// SPDX-License-Identifier: Apache-2.0
//
// Purpose: ggml's operations on packed weights: which ones we take, and taking them: MUL_MAT, MUL_MAT_ID, and GET_ROWS of the
// token embeddings.
// Threads: rk_operation_run is called by all threads of a team at once. The rest: any thread.
#ifndef RH_KERNELS_OPERATION_H
#define RH_KERNELS_OPERATION_H

#include <ggml-backend.h>
#include <ggml.h>

#include "kernels/format.h"
#include "kernels/team.h"

// May this weight be packed and then be used by this operation? Asked with the weight not packed yet.
bool rk_operation_fits(const rk_set *set, const struct ggml_tensor *op);

// The rest with a weight that is packed: src[0]->extra is its rk_format.
size_t rk_operation_work_size(const rk_set *set, const struct ggml_tensor *op, int threads);
void rk_operation_run(const rk_set *set, struct ggml_tensor *op, const rk_team *team);

#endif
