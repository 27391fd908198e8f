// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: the note beside a partial file that lets a later pull go on. It never claims bytes that are not
// on the disk, and it holds no URL and no secret.
#ifndef RH_PULL_STATE_H
#define RH_PULL_STATE_H

#include "base/file.h"
#include "pull/ranges.h"

typedef struct rh_pull_state {
  int64_t total;               // bytes of the whole file; -1 = unknown
  char sha256[RH_SHA256_HEX];  // promised by the source, or, when complete, the real one; "" = none
  char validator[160];         // ETag or Last-Modified of the version the bytes are from; "" = none
  bool complete;               // the file stands at its final place, verified
  rh_ranges done;
} rh_pull_state;

void rh_pull_state_release(rh_pull_state *state);
// RH_NOT_FOUND: there is none. RH_INVALID: it cannot be read or contradicts itself (treat it as if there were none).
rh_status rh_pull_state_load(const char *path, rh_pull_state *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_state_save(const char *path, const rh_pull_state *state, rh_error *error) RH_MUST_CHECK;
// May bytes that `state` tells of be part of the file that is promised now? `sha256` and `validator` may be ""; without
// either on both sides nothing proves it, so the answer is no.
bool rh_pull_state_matches(const rh_pull_state *state, int64_t bytes, const char *sha256, const char *validator);

#endif
