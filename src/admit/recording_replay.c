// SPDX-License-Identifier: Apache-2.0
//
// Recordings: pushing them into a sink, from any place and while they grow, and taking them in from storage. Owns the scratch room of
// one call. While a replay is on the stack, buffers that were outgrown stay until it is over.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/recording_private.h"

// --- replay --------------------------------------------------------------------------------------------------------------

static void leave(rh_recording *recording) {
  if (--recording->readers == 0) {
    while (recording->retired != NULL) {
      recording_retired *retired = recording->retired;
      recording->retired = retired->next;
      free(retired->data);
      free(retired);
    }
  }
  rh_recording_release(recording);
}

bool rh_recording_at_end(const rh_recording *recording, const rh_replay *replay) {
  return replay->place >= recording->length || (replay->place == 0 && recording->length == RECORDING_HEADER_BYTES);
}

// The place moves before the push: the sink may append, replay on from inside, or be gone afterwards.
rh_status rh_recording_replay(rh_recording *recording, rh_replay *replay, const rh_sink *sink, bool *waiting) {
  assert(recording != NULL && replay != NULL && sink != NULL && waiting != NULL);
  const rh_sink target = *sink;
  recording_scratch scratch = {0};
  rh_status status = RH_OK;
  *waiting = false;
  if (replay->place == 0) replay->place = RECORDING_HEADER_BYTES;
  size_t place = replay->place;
  (void)rh_recording_hold(recording);
  recording->readers++;
  while (place < recording->length) {
    rh_event event;
    recording_reader reader = {.data = recording->data, .length = recording->length, .at = place, .scratch = &scratch};
    status = recording_next(&reader, &event);
    assert(status != RH_INVALID);
    if (status != RH_OK) break;
    place = replay->place = reader.at;
    if (rh_sink_push(&target, &event) == RH_WAIT) {
      *waiting = true;
      break;
    }
    if (place < recording->length) place = replay->place;
  }
  free(scratch.data);
  leave(recording);
  return status;
}

// --- from storage ----------------------------------------------------------------------------------------------------------

// Keepers write compacted recordings, in which nothing begins anew after its end.
static bool in_order(recording_choices *choices, const rh_event *event) {
  bool anew = event->kind == RH_EVENT_START && (choices->ended >> event->choice & 1) != 0;
  return !anew && recording_note(choices, event);
}

static rh_status check_events(rh_recording *recording, rh_error *error) {
  recording_scratch scratch = {0};
  recording_reader reader = {.data = recording->data,
                             .length = recording->length,
                             .at = RECORDING_HEADER_BYTES,
                             .check = true,
                             .scratch = &scratch};
  rh_status status = RH_OK;
  while (status == RH_OK && reader.at < reader.length) {
    rh_event event;
    size_t at = reader.at;
    status = recording_next(&reader, &event);
    if (status == RH_OK && !in_order(&recording->choices, &event)) status = RH_INVALID;
    if (status == RH_INVALID) (void)rh_fail(error, status, "the recorded answer is damaged at byte %zu", at);
  }
  if (status == RH_NO_MEMORY) (void)rh_fail(error, status, "no memory to read a recorded answer");
  free(scratch.data);
  return status;
}

rh_status rh_recording_read(const char *bytes, size_t length, rh_recording **out, rh_error *error) {
  assert((bytes != NULL || length == 0) && out != NULL);
  *out = NULL;
  if (length < RECORDING_HEADER_BYTES || memcmp(bytes, "RHR", 3) != 0) {
    return rh_fail(error, RH_INVALID, "these %zu bytes are no recorded answer", length);
  }
  if (bytes[3] != RECORDING_VERSION) {
    return rh_fail(error, RH_INVALID, "the recorded answer has version %d; this build reads version %d", bytes[3],
                   RECORDING_VERSION);
  }
  rh_recording *recording = calloc(1, sizeof *recording);
  char *data = malloc(length);
  if (recording == NULL || data == NULL) {
    free(recording);
    free(data);
    return rh_fail(error, RH_NO_MEMORY, "no memory for a recorded answer of %zu bytes", length);
  }
  memcpy(data, bytes, length);
  *recording = (rh_recording){.references = 1, .bytes_max = length, .data = data, .length = length, .capacity = length};
  rh_status status = check_events(recording, error);
  if (status != RH_OK) {
    rh_recording_release(recording);
    return status;
  }
  *out = recording;
  return RH_OK;
}
