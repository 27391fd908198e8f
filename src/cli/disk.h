// SPDX-License-Identifier: Apache-2.0
//
// The models that lie on this machine, wherever, and those that could: for `list` and `recommend`.
#ifndef RH_CLI_DISK_H
#define RH_CLI_DISK_H

#include "cli/local.h"

// [{"name","where","format","engine","quantization","context","bytes","state","modified","in_place"}] sorted by name: the
// store, the configuration with the models folder, a Hugging Face cache. New reference; NULL when memory is short.
json_t *rh_disk_models(rh_local *local);
void rh_disk_sort(json_t *models);  // by name
// {"folder","model_bytes","partial_bytes","free_bytes","models","partials"} of the store; NULL when it cannot be told.
json_t *rh_disk_usage(rh_local *local);

// The catalogue as a table or as JSON, and what of it fits this machine; all tasks when `task` is NULL. Exit status.
int rh_cli_print_known(const char *task, bool json);

#endif
