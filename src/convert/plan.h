// SPDX-License-Identifier: Apache-2.0
//
// The list of tensors that a conversion writes: where each comes from, what it is called and what is done to it.
#ifndef RH_CONVERT_PLAN_H
#define RH_CONVERT_PLAN_H

#include "convert/model.h"

typedef struct rh_plan_tensor {
  char name[GGML_MAX_NAME];
  const rh_source_tensor *source;  // NULL: `own` is the content
  float *own;                      // owned
  enum ggml_type type;
  unsigned dims;
  int64_t ne[4];        // GGUF's order: the fastest dimension first
  int64_t row_first;    // rows of the source that are left out at its beginning
  int64_t rotate_head;  // > 0: rows of one head, whose places change
  float add;            // added to each number
} rh_plan_tensor;

typedef struct rh_plan {
  rh_plan_tensor *tensors;
  size_t count;
} rh_plan;

// RH_INVALID: a tensor is missing or has a wrong shape. RH_UNSUPPORTED: one that has no place in the architecture.
rh_status rh_plan_make(const rh_conversion *self, rh_plan *out, rh_error *error) RH_MUST_CHECK;
void rh_plan_free(rh_plan *self);

// The row of the source from which row `row` of the output comes.
int64_t rh_plan_source_row(const rh_plan_tensor *tensor, int64_t row);
int64_t rh_plan_rows(const rh_plan_tensor *tensor);
int64_t rh_plan_row_length(const rh_plan_tensor *tensor);  // a turned bias counts as rows of one number

#endif
