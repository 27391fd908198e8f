// SPDX-License-Identifier: Apache-2.0
//
// A request's events as bytes: what the cache keeps and what several clients of one generation read. Appended by one writer,
// replayed by any number of readers, each with a place of its own; replaying pushes the same events again.
//
// The form is versioned, little endian, and checked when it comes from outside (Redis): damaged bytes are an error, never a crash.
// Not kept: PROGRESS, and of USAGE's times queue_ms (it was another client's). Thread: any, one at a time.
#ifndef RH_ADMIT_RECORDING_H
#define RH_ADMIT_RECORDING_H

#include "base/dynbuf.h"
#include "base/status.h"
#include "flow/event.h"

typedef struct rh_recording rh_recording;  // reference-counted

// NULL when memory is short. `bytes_max` bounds rh_recording_bytes.
rh_recording *rh_recording_new(size_t bytes_max);
rh_recording *rh_recording_hold(rh_recording *recording);
void rh_recording_release(rh_recording *recording);  // NULL is fine

// RH_TOO_LARGE: it has grown past its bound; RH_NO_MEMORY; RH_INVALID: an event after a choice's end that is no START, a choice
// past RH_JOBS_MAX. What is there stays readable; nothing can be appended any more and it is never complete. May be called
// while a sink takes an event of the same recording: what that event points at stays.
//
// A START after other events of its choice begins the choice anew: what came before is void (another member took over).
rh_status rh_recording_append(rh_recording *recording, const rh_event *event) RH_MUST_CHECK;
// Every choice that began has its END and there is no ERROR (but for one that a later START made void), and no result of an input
// failed for a reason that is not the request's own.
bool rh_recording_complete(const rh_recording *recording);
// The highest choice in it + 1. A replay into an encoder needs that many there.
uint32_t rh_recording_choices(const rh_recording *recording);
size_t rh_recording_bytes(const rh_recording *recording);   // of its content, as in storage
size_t rh_recording_memory(const rh_recording *recording);  // that it takes
// For keeping: what is void goes, deltas that stand together become one and long ones several, up to so many bytes of text
// each in whole characters (0 = leave them as they are). Thoughts and answer, and deltas with logprobs, stay apart. The order
// within each choice stays. The result has no room to spare.
rh_status rh_recording_compact(rh_recording *recording, size_t delta_bytes_max, rh_recording **out) RH_MUST_CHECK;

// Pushes the events from `place` on until the end (what a sink's push appends included), or until the sink says WAIT: then
// *waiting is true. The event that was waited on is done; the next call goes on behind it. Events point into the recording.
// A sink may let go of the recording in any push, and of `replay` in the push that it answers with WAIT and in that of the last
// event there is. RH_NO_MEMORY: nothing of the event at `place` was pushed.
typedef struct rh_replay {
  size_t place;  // 0 = the beginning
} rh_replay;
rh_status rh_recording_replay(rh_recording *recording, rh_replay *replay, const rh_sink *sink,
                              bool *waiting) RH_MUST_CHECK;
bool rh_recording_at_end(const rh_recording *recording, const rh_replay *replay);

// To and from storage. The data stay until the next append or the release.
const char *rh_recording_data(const rh_recording *recording, size_t *length);
// Reads every event once: what it lets through can be replayed. RH_INVALID says where it is damaged. A choice that begins anew after
// its END is damage here: what is kept was compacted.
rh_status rh_recording_read(const char *bytes, size_t length, rh_recording **out, rh_error *error) RH_MUST_CHECK;

#endif
