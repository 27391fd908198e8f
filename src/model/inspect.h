// SPDX-License-Identifier: Apache-2.0
//
// What a model's path leads to, before it is taken into the catalogue.
#ifndef RH_MODEL_INSPECT_H
#define RH_MODEL_INSPECT_H

#include "model/catalogue.h"

// Looks at spec->path and completes the spec: engine, format, file_bytes, modified_s, and the path made absolute (of a
// folder: the file in it that the engine opens). Errors say what was seen, with param "path" or "engine": RH_NOT_FOUND,
// RH_INVALID (damaged, a part is missing, several models), RH_UNSUPPORTED (no model, or none that an engine of this build
// serves).
rh_status rh_model_inspect(rh_model_spec *spec, rh_error *error) RH_MUST_CHECK;

#endif
