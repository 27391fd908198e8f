// SPDX-License-Identifier: Apache-2.0
//
// Does a task fit a model? What its worker said after the load decides.
#ifndef RH_FLOW_FIT_H
#define RH_FLOW_FIT_H

#include "flow/model_info.h"
#include "flow/request.h"

// RH_UNSUPPORTED says what the model is for and which endpoint serves it. RH_TASK_TENSOR is the worker's own decision: a
// graph may be run raw whatever it is for. `model` is the name for the message.
rh_status rh_task_check(rh_task task, const rh_model_info *info, const char *model, rh_error *error) RH_MUST_CHECK;

// What RH_TASK_OWN means for this model; other tasks stay what they are.
rh_task rh_task_resolve(rh_task task, const rh_model_info *info);

#endif
