// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: which files of a repository make the model that is meant. Pure functions.
#ifndef RH_PULL_HUB_SELECT_H
#define RH_PULL_HUB_SELECT_H

#include "model/known.h"
#include "pull/internal.h"
#include "pull/source.h"

typedef struct rh_hub_entry {
  const char *path;  // in the repository; borrowed
  int64_t bytes;     // -1 = not said
  bool chosen;       // out
  const char *as;    // out: its path in the model's folder; points into `path`
} rh_hub_entry;

typedef struct rh_hub_choice {
  rh_format format;
  char quantization[RH_QUANTIZATION_MAX];
  char note[256];  // "Q4_K_M; there are also ..."; "" = there was no choice
} rh_hub_choice;

// Marks what belongs to `selection` (a file, a folder, a quantization; "" = choose). RH_NOT_FOUND lists what there is.
// RH_UNSUPPORTED: nothing here is a model we know.
rh_status rh_hub_select(rh_hub_entry *entries, size_t count, const char *selection, rh_hub_choice *out,
                        rh_error *error) RH_MUST_CHECK;
// Marks exactly the files of a catalogue entry. RH_NOT_FOUND names one that is missing.
rh_status rh_hub_select_known(rh_hub_entry *entries, size_t count, const rh_known *known, rh_hub_choice *out,
                              rh_error *error) RH_MUST_CHECK;

#endif
