// SPDX-License-Identifier: Apache-2.0
//
// For tests of the cache: keys by number, small answers, what came back.
#ifndef RH_TEST_CACHE_FIXTURE_H
#define RH_TEST_CACHE_FIXTURE_H

#include <string.h>

#include "admit/cache.h"
#include "base/clock.h"

static inline rh_cache_key key_number(int number) {
  rh_cache_key key = {{0}};
  memcpy(key.bytes, &number, sizeof number);
  key.bytes[31] = 7;
  return key;
}

// An answer of one delta, complete unless it lacks its end.
static inline rh_recording *make_answer(const char *text, bool complete) {
  rh_recording *long_one = rh_recording_new(1 << 20), *answer = NULL;
  rh_event event = {.kind = RH_EVENT_START};
  assert_int_equal(rh_recording_append(long_one, &event), RH_OK);
  event = (rh_event){.kind = RH_EVENT_DELTA};
  event.as.delta.text = text;
  event.as.delta.length = strlen(text);
  assert_int_equal(rh_recording_append(long_one, &event), RH_OK);
  event = (rh_event){.kind = RH_EVENT_END};
  if (complete) assert_int_equal(rh_recording_append(long_one, &event), RH_OK);
  assert_int_equal(rh_recording_compact(long_one, 0, &answer), RH_OK);
  rh_recording_release(long_one);
  return answer;
}

static inline rh_verdict copy_text(void *ctx, const rh_event *event) {
  if (event->kind == RH_EVENT_DELTA) strcpy(ctx, event->as.delta.text);
  return RH_GO;
}

static inline void assert_answer(rh_recording *recording, const char *expected) {
  char text[4096] = "";
  bool waiting;
  rh_replay replay = {0};
  const rh_sink sink = {.push = copy_text, .ctx = text};
  assert_non_null(recording);
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_string_equal(text, expected);
}

// A question that may be answered later.
typedef struct asked {
  rh_recording *recording;
  double age_s;
  int answers;
  rh_cache_question *question;
} asked;

static inline void note_answer(void *ctx, rh_recording *recording, double age_s) {
  asked *question = ctx;
  question->recording = recording;
  question->age_s = age_s;
  question->answers++;
}

static inline bool is_answered(void *ctx) { return ((asked *)ctx)->answers > 0; }

static inline rh_status ask(rh_cache *cache, int number, bool local_only, double age_max_s, uint64_t now_ns,
                            asked *out) {
  rh_cache_key key = key_number(number);
  memset(out, 0, sizeof *out);
  return rh_cache_find(cache, &key, local_only, age_max_s, now_ns, &out->recording, &out->age_s, note_answer, out,
                       &out->question);
}

static inline void keep(rh_cache *cache, int number, bool local_only, const char *text, uint64_t now_ns) {
  rh_cache_key key = key_number(number);
  rh_recording *answer = make_answer(text, true);
  rh_cache_put(cache, &key, local_only, answer, now_ns);
  rh_recording_release(answer);
}

#endif
