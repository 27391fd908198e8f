// SPDX-License-Identifier: Apache-2.0
//
// Model names made from file names. Pure functions.
#ifndef RH_MODEL_NAMES_H
#define RH_MODEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

// "/x/SmolLM2-135M.Q4_1.gguf" -> "smollm2-135m.q4_1"; "fake:slots=2" -> "fake". Characters that a name may not have
// become '-'. The "-00001-of-00003" of a file in parts is dropped.
void rh_model_name_from_path(const char *path, char *out, size_t size);

// False for the second and later files of a model in parts: the first one stands for all.
bool rh_model_is_first_part(const char *path);

#endif
