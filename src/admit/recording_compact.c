// SPDX-License-Identifier: Apache-2.0
//
// Recordings: a smaller one of the same meaning, for keeping. Text that came token by token becomes a few deltas that still stream;
// choices that were generated side by side are merged each by itself. Owns one buffer of pending text for each choice while it works.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/recording_private.h"
#include "base/utf8.h"

// A delta or a tool's piece that waits for what follows it. `first` points into the source, but for its text.
typedef struct unsent {
  bool any;
  rh_event first;
  int64_t token_count;
  rh_dynbuf text;
} unsent;

typedef struct compaction {
  rh_recording *out;
  size_t bytes_max;  // of a delta's text
  size_t starts[RH_JOBS_MAX];
  unsent choices[RH_JOBS_MAX];
} compaction;

static rh_status flush(compaction *work, uint32_t choice) {
  unsent *pending = &work->choices[choice];
  if (!pending->any) return RH_OK;
  rh_event event = pending->first;
  int32_t tokens = (int32_t)(pending->token_count > INT32_MAX ? INT32_MAX : pending->token_count);
  if (event.kind == RH_EVENT_DELTA) {
    event.as.delta.text = rh_dynbuf_data(&pending->text);
    event.as.delta.length = pending->text.length;
    event.as.delta.token_count = tokens;
  } else {
    event.as.tool.arguments = rh_dynbuf_data(&pending->text);
    event.as.tool.length = pending->text.length;
    event.as.tool.token_count = tokens;
  }
  pending->any = false;
  rh_status status = rh_recording_append(work->out, &event);
  rh_dynbuf_clear(&pending->text);
  return status;
}

static bool goes_with(const unsent *pending, const rh_event *event) {
  const rh_event *first = &pending->first;
  if (!pending->any || first->kind != event->kind) return false;
  if (event->kind == RH_EVENT_DELTA) return first->as.delta.reasoning == event->as.delta.reasoning;
  return event->as.tool.id == NULL && event->as.tool.name == NULL && first->as.tool.index == event->as.tool.index;
}

static rh_status add(compaction *work, const rh_event *event, const char *text, size_t length, int32_t tokens) {
  unsent *pending = &work->choices[event->choice];
  rh_status status = RH_OK;
  bool fits = length <= work->bytes_max && pending->text.length <= work->bytes_max - length;
  if (!fits || !goes_with(pending, event)) status = flush(work, event->choice);
  if (status != RH_OK) return status;
  if (!pending->any) {
    pending->any = true;
    pending->first = *event;
    pending->token_count = 0;
  }
  pending->token_count += tokens;
  return rh_dynbuf_append(&pending->text, text, length);
}

// The longest beginning that is at most the bound and ends with a whole character; never empty.
static size_t piece_length(const char *text, size_t length, size_t bytes_max) {
  if (length <= bytes_max) return length;
  size_t whole = rh_utf8_complete_prefix(text, bytes_max);
  if (whole > 0) return whole;
  whole = rh_utf8_char_length(text, length);
  return whole > 0 ? whole : bytes_max;
}

// The tokens of a long delta are spread over its pieces, and none is lost.
static rh_status add_text(compaction *work, const rh_event *event, const char *text, size_t length, int32_t tokens) {
  size_t done = 0;
  int64_t given = 0;
  do {
    size_t piece = piece_length(text + done, length - done, work->bytes_max);
    done += piece;
    int64_t due = done >= length ? tokens : (int64_t)((double)tokens * (double)done / (double)length);
    rh_status status = add(work, event, text + done - piece, piece, (int32_t)(due - given));
    if (status != RH_OK) return status;
    given = due;
  } while (done < length);
  return RH_OK;
}

static bool may_merge(const rh_event *event) {
  if (event->kind == RH_EVENT_DELTA) return event->as.delta.logprob_count == 0 && event->as.delta.signature == NULL;
  return event->kind == RH_EVENT_TOOL;
}

static rh_status take(compaction *work, const rh_event *event) {
  if (work->bytes_max > 0 && may_merge(event)) {
    if (event->kind == RH_EVENT_DELTA) {
      return add_text(work, event, event->as.delta.text, event->as.delta.length, event->as.delta.token_count);
    }
    return add(work, event, event->as.tool.arguments, event->as.tool.length, event->as.tool.token_count);
  }
  rh_status status = flush(work, event->choice);
  return status == RH_OK ? rh_recording_append(work->out, event) : status;
}

// Two walks: the first finds where each choice began for the last time.
static rh_status walk(compaction *work, const rh_recording *recording, bool collect) {
  recording_scratch scratch = {0};
  recording_reader reader = {
      .data = recording->data, .length = recording->length, .at = RECORDING_HEADER_BYTES, .scratch = &scratch};
  rh_status status = RH_OK;
  while (status == RH_OK && reader.at < reader.length) {
    rh_event event;
    size_t at = reader.at;
    status = recording_next(&reader, &event);
    assert(status != RH_INVALID);
    if (status != RH_OK) break;
    if (!collect) {
      if (event.kind == RH_EVENT_START) work->starts[event.choice] = at;
    } else if (at >= work->starts[event.choice]) {
      status = take(work, &event);
    }
  }
  for (uint32_t i = 0; collect && status == RH_OK && i < RH_JOBS_MAX; i++) status = flush(work, i);
  free(scratch.data);
  return status;
}

static void give_back_room(rh_recording *recording) {
  char *data = realloc(recording->data, recording->length);
  if (data == NULL) return;
  recording->data = data;
  recording->capacity = recording->length;
}

rh_status rh_recording_compact(rh_recording *recording, size_t delta_bytes_max, rh_recording **out) {
  assert(recording != NULL && out != NULL);
  *out = NULL;
  compaction *work = calloc(1, sizeof *work);
  rh_recording *result = rh_recording_new(SIZE_MAX / 8);
  rh_status status = work == NULL || result == NULL ? RH_NO_MEMORY : RH_OK;
  if (status == RH_OK) {
    work->out = result;
    work->bytes_max = delta_bytes_max;
    for (size_t i = 0; i < RH_JOBS_MAX; i++) rh_dynbuf_init(&work->choices[i].text, SIZE_MAX / 8);
    status = walk(work, recording, false);
    if (status == RH_OK) status = walk(work, recording, true);
    for (size_t i = 0; i < RH_JOBS_MAX; i++) rh_dynbuf_free(&work->choices[i].text);
  }
  free(work);
  if (status == RH_OK) {
    give_back_room(result);
    result->refused = recording->refused;
    *out = result;
  } else {
    rh_recording_release(result);
  }
  return status;
}
