// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: recordings from whatever bytes. What is let through must replay and compact, and every byte that an event points at must
// be there.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "admit/recording.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t seen;

// Look at every byte: AddressSanitizer knows whether it is there.
static size_t look(const void *bytes, size_t length) {
  size_t sum = 0;
  for (size_t i = 0; i < length; i++) sum += ((const uint8_t *)bytes)[i];
  return sum;
}

static size_t look_word(const char *word) { return word == NULL ? 0 : strlen(word); }

static size_t look_result(const rh_result *result) {
  size_t sum = 0;
  if (result->item >= RH_ITEMS_MAX) abort();
  for (size_t i = 0; i < result->count; i++) {
    if (result->kind == RH_RESULT_VECTOR) {
      sum += look(&result->vector[i], sizeof(float));
    } else if (result->kind == RH_RESULT_SCORES) {
      sum += look_word(result->scores[i].label);
    } else if (result->kind == RH_RESULT_SPANS) {
      sum += look_word(result->spans[i].label) + look_word(result->spans[i].text);
    } else if (result->kind == RH_RESULT_TENSORS) {
      if (rh_tensor_check(&result->tensors[i], NULL) != RH_OK) abort();
      sum += look_word(result->tensors[i].name) + look(result->tensors[i].data, result->tensors[i].bytes);
    }
  }
  return sum;
}

static rh_verdict push(void *ctx, const rh_event *event) {
  size_t *sum = ctx;
  if (event->choice >= RH_JOBS_MAX) abort();
  switch (event->kind) {
    case RH_EVENT_DELTA:
      *sum += look(event->as.delta.text, event->as.delta.length + 1) + look_word(event->as.delta.signature);
      for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
        const rh_token_logprob *token = &event->as.delta.tokens[i];
        *sum += look(token->bytes, token->length);
        for (size_t k = 0; k < token->top_count; k++) *sum += look(token->top[k].bytes, token->top[k].length);
      }
      break;
    case RH_EVENT_TOOL:
      *sum += look(event->as.tool.arguments, event->as.tool.length + 1) + look_word(event->as.tool.id) +
              look_word(event->as.tool.name);
      break;
    case RH_EVENT_RESULT: *sum += look_result(&event->as.result); break;
    case RH_EVENT_ERROR: *sum += strlen(event->as.error.message) + strlen(event->as.error.param); break;
    case RH_EVENT_END: *sum += look_word(event->as.end.stop); break;
    case RH_EVENT_PROGRESS: abort();
    case RH_EVENT_START:
    case RH_EVENT_USAGE: break;
  }
  return RH_GO;
}

static void replay(rh_recording *recording) {
  size_t sum = 0;
  bool waiting = false;
  rh_replay place = {0};
  const rh_sink sink = {.push = push, .ctx = &sum};
  if (rh_recording_replay(recording, &place, &sink, &waiting) != RH_OK) return;
  if (waiting || !rh_recording_at_end(recording, &place)) abort();
  seen = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_recording *recording = NULL, *small = NULL;
  rh_error error = {0};
  if (rh_recording_read((const char *)data, size, &recording, &error) != RH_OK) {
    if (recording != NULL || error.message[0] == '\0') abort();  // a refusal must say why
    return 0;
  }
  replay(recording);
  if (rh_recording_compact(recording, size > 0 ? data[size - 1] : 0, &small) == RH_OK) {
    replay(small);
    if (rh_recording_complete(small) != rh_recording_complete(recording)) abort();
    rh_recording_release(small);
  }
  rh_recording_release(recording);
  return 0;
}
