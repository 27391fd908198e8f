// SPDX-License-Identifier: Apache-2.0
//
// What a fake model says: its text piece by piece, from the beginning or after what somebody else has said of it.
// Owns a copy of the text. Engine thread. It knows no delays and no faults (fake.c).
#include <stdlib.h>
#include <string.h>

#include "engine/fake/script.h"

static void rewind_speech(rh_fake_speech *speech) {
  speech->position = 1;
  speech->said = 0;
}

// True when the speech begins with `prefix`; it stands behind it then. A prefix may end within a piece.
static bool skip(rh_fake_speech *speech, const char *prefix) {
  for (size_t left = strlen(prefix); left > 0;) {
    if (rh_fake_speech_over(speech)) return false;
    const char *bytes = NULL;
    size_t length = 0;
    rh_fake_speech_next(speech, &bytes, &length);
    size_t common = length < left ? length : left;
    if (memcmp(bytes, prefix, common) != 0) return false;
    if (common < length) {
      speech->position -= length - common;
      speech->said--;
    }
    prefix += common;
    left -= common;
  }
  return true;
}

bool rh_fake_speech_open(rh_fake_speech *speech, const rh_fake_script *script, const char *prefix) {
  *speech = (rh_fake_speech){
      .stream = malloc(script->text_length + 1),
      .length = script->text_length + 1,
      .tokens = script->tokens,
      .end = script->end,
      .bytewise = script->bytewise,
  };
  if (speech->stream == NULL) return false;
  speech->stream[0] = ' ';
  memcpy(speech->stream + 1, script->text, script->text_length);
  rewind_speech(speech);
  if (prefix != NULL && !skip(speech, prefix)) rewind_speech(speech);
  return true;
}

void rh_fake_speech_close(rh_fake_speech *speech) {
  free(speech->stream);
  speech->stream = NULL;
}

bool rh_fake_speech_over(const rh_fake_speech *speech) {
  if (!speech->end) return false;
  if (speech->tokens >= 0) return speech->said >= speech->tokens;
  return speech->position == speech->length;
}

void rh_fake_speech_next(rh_fake_speech *speech, const char **bytes, size_t *length) {
  if (speech->position == speech->length) speech->position = 0;
  size_t start = speech->position;
  size_t end = start + 1;
  if (!speech->bytewise) {
    while (end < speech->length && speech->stream[end] != ' ') end++;
  }
  speech->position = end;
  speech->said++;
  *bytes = speech->stream + start;
  *length = end - start;
}
