// SPDX-License-Identifier: Apache-2.0
//
// A request's events as bytes: what the cache keeps and what several clients of one generation read. Appended by one writer,
// replayed by any number of readers, each with a place of its own; replaying pushes the same events again.
//
// The form is versioned, little endian, and checked when it comes from outside (Redis): damaged bytes are an error, never a crash.
// Not kept: PROGRESS, times in USAGE other than the totals. Thread: any, one at a time.
#ifndef RH_ADMIT_RECORDING_H
#define RH_ADMIT_RECORDING_H

#include "base/dynbuf.h"
#include "base/status.h"
#include "flow/event.h"

typedef struct rh_recording rh_recording;  // reference-counted

rh_recording *rh_recording_new(size_t bytes_max);
rh_recording *rh_recording_hold(rh_recording *recording);
void rh_recording_release(rh_recording *recording);
// RH_TOO_LARGE: it has grown past its bound; what is there stays readable.
rh_status rh_recording_append(rh_recording *recording, const rh_event *event) RH_MUST_CHECK;
bool rh_recording_complete(
    const rh_recording *recording);  // every choice (0..n) that began has its END and there is no ERROR
size_t rh_recording_bytes(const rh_recording *recording);
// Deltas that stand together become one, up to so many bytes of text each (0 = leave as they are): for keeping.
rh_status rh_recording_compact(const rh_recording *recording, size_t delta_bytes_max, rh_recording **out) RH_MUST_CHECK;

// Pushes the events from *place on until the end, or until the sink says WAIT; moves *place (0 = the beginning). `choice_map`
// is not needed: choices stay what they were.
typedef struct rh_replay {
  size_t place;
} rh_replay;
rh_status rh_recording_replay(const rh_recording *recording, rh_replay *replay, const rh_sink *sink,
                              bool *waiting) RH_MUST_CHECK;
bool rh_recording_at_end(const rh_recording *recording, const rh_replay *replay);

// To and from storage.
const char *rh_recording_data(const rh_recording *recording, size_t *length);
rh_status rh_recording_read(const char *bytes, size_t length, rh_recording **out, rh_error *error) RH_MUST_CHECK;

#endif
