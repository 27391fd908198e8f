// SPDX-License-Identifier: Apache-2.0
//
// An importance matrix: how much each column of each tensor weighs on what a model says, measured over texts by
// llama.cpp's llama-imatrix. The smallest types cannot do without.
#ifndef RH_CONVERT_IMATRIX_H
#define RH_CONVERT_IMATRIX_H

#include <llama.h>

#include "base/status.h"

typedef struct rh_imatrix {
  struct llama_model_imatrix_data *entries;  // ends with a NULL name, as llama.cpp wants it
  size_t count;
} rh_imatrix;

// A GGUF file with two tensors for each of the model's: NAME.in_sum2 and NAME.counts. RH_INVALID, RH_NOT_FOUND.
rh_status rh_imatrix_read(const char *path, rh_imatrix *out, rh_error *error) RH_MUST_CHECK;
void rh_imatrix_free(rh_imatrix *self);

#endif
