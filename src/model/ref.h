// SPDX-License-Identifier: Apache-2.0
//
// Model names as people type them: name[:version]. Pure functions.
//
// A name is 1 to RH_MODEL_NAME_MAX of A-Z a-z 0-9 . _ : / -, of which the part after the last ':' is the version. Names
// are compared as they are, except that lookups by people fall back to lower case. "latest" is what a name without a
// version means: the version so called if there is one, else the newest.
#ifndef RH_MODEL_REF_H
#define RH_MODEL_REF_H

#include "base/status.h"
#include "flow/limits.h"

#define RH_VERSION_LATEST "latest"

typedef struct rh_model_ref {
  char name[RH_MODEL_NAME_MAX + 1];     // "smollm2", "org/repo"
  char version[RH_MODEL_NAME_MAX + 1];  // "135m-q4_1"; "" = none was given
} rh_model_ref;

// RH_INVALID with a message that shows the characters allowed. ".." and empty parts ("a//b", "a:", ":b") are refused:
// names become folders.
rh_status rh_model_ref_parse(const char *text, rh_model_ref *out, rh_error *error) RH_MUST_CHECK;
// "name" or "name:version" into `out` (at least RH_MODEL_NAME_MAX + 1 bytes; RH_TOO_LARGE when both together are longer).
rh_status rh_model_ref_format(const rh_model_ref *ref, char *out, size_t size) RH_MUST_CHECK;
// Characters that a name may not have become '-', upper case becomes lower: for names made from repositories and files.
void rh_model_ref_clean(const char *text, char *out, size_t size);

// A file name for a name or version: '/' becomes '@', ':' becomes '+', neither of which a name may have. And back.
void rh_model_ref_to_folder(const char *text, char *out, size_t size);
void rh_model_ref_from_folder(const char *folder, char *out, size_t size);

#endif
