// SPDX-License-Identifier: Apache-2.0
//
// Finds stop strings in a stream of bytes that is cut anywhere, and hands the text on in whole characters.
//
// Each stop string keeps a Knuth-Morris-Pratt state: how many of its first bytes the stream ends with right now. The
// longest of these states is exactly the text that must be held back, so nothing is searched twice and nothing is held
// that can no longer match. Owns its copies and buffers; one thread. It does not know tokens.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/utf8.h"
#include "task/generate.h"

#define HELD_BYTES_MAX ((size_t)1 << 20)

typedef struct pattern {
  char *text;
  size_t length;
  size_t *fallback;  // fallback[i]: length of the longest proper prefix of text that ends text[0..i]
  size_t state;      // bytes matched, always < length
} pattern;

struct rh_stop_matcher {
  pattern *patterns;
  size_t count;
  rh_dynbuf held;   // fed, not handed out
  rh_dynbuf clean;  // what the last call handed out
  size_t shown;
  bool matched;
  bool failed;
};

static bool pattern_init(pattern *p, const char *text) {
  size_t length = strlen(text);
  assert(length > 0);
  p->text = strdup(text);
  p->fallback = calloc(length, sizeof *p->fallback);
  p->length = length;
  if (p->text == NULL || p->fallback == NULL) return false;
  for (size_t i = 1, k = 0; i < length; i++) {
    while (k > 0 && text[i] != text[k]) k = p->fallback[k - 1];
    if (text[i] == text[k]) k++;
    p->fallback[i] = k;
  }
  return true;
}

// True when `byte` completes the pattern.
static bool pattern_advance(pattern *p, char byte) {
  size_t k = p->state;
  while (k > 0 && byte != p->text[k]) k = p->fallback[k - 1];
  if (byte == p->text[k]) k++;
  p->state = k;
  return k == p->length;
}

rh_stop_matcher *rh_stop_matcher_new(const char *const *stops, size_t count) {
  rh_stop_matcher *matcher = calloc(1, sizeof *matcher);
  if (matcher == NULL) return NULL;
  rh_dynbuf_init(&matcher->held, HELD_BYTES_MAX);
  rh_dynbuf_init(&matcher->clean, HELD_BYTES_MAX * 3);
  matcher->patterns = calloc(count + 1, sizeof *matcher->patterns);
  bool ok = matcher->patterns != NULL;
  for (size_t i = 0; ok && i < count; i++) {
    if (stops[i][0] != '\0') ok = pattern_init(&matcher->patterns[matcher->count++], stops[i]);
  }
  if (ok) return matcher;
  rh_stop_matcher_free(matcher);
  return NULL;
}

void rh_stop_matcher_free(rh_stop_matcher *matcher) {
  if (matcher == NULL) return;
  for (size_t i = 0; i < matcher->count; i++) {
    free(matcher->patterns[i].text);
    free(matcher->patterns[i].fallback);
  }
  free(matcher->patterns);
  rh_dynbuf_free(&matcher->held);
  rh_dynbuf_free(&matcher->clean);
  free(matcher);
}

// How many bytes at the front one U+FFFD stands for: the longest start of a character, as Unicode recommends
// (section 3.9, "maximal subpart"), or one byte.
static size_t broken_length(const char *bytes, size_t length) {
  size_t broken = 1;
  for (size_t n = 1; n <= length && n <= 3 && rh_utf8_complete_prefix(bytes, n) == 0; n++) broken = n;
  return broken;
}

static void append_clean(rh_stop_matcher *matcher, const char *bytes, size_t length) {
  if (rh_utf8_valid(bytes, length)) {
    (void)rh_dynbuf_append(&matcher->clean, bytes, length);
    return;
  }
  while (length > 0) {
    size_t take = rh_utf8_char_length(bytes, length);
    if (take > 0) {
      (void)rh_dynbuf_append(&matcher->clean, bytes, take);
    } else {
      take = broken_length(bytes, length);
      (void)rh_dynbuf_append(&matcher->clean, "\xEF\xBF\xBD", 3);
    }
    bytes += take;
    length -= take;
  }
}

// Hand out the first `length` held bytes.
static void show(rh_stop_matcher *matcher, size_t length) {
  assert(length <= matcher->held.length);
  append_clean(matcher, rh_dynbuf_data(&matcher->held), length);
  rh_dynbuf_consume(&matcher->held, length);
  matcher->shown += length;
}

// One byte into all patterns. The longest that it completes, or NULL.
static pattern *advance_all(rh_stop_matcher *matcher, char byte) {
  pattern *met = NULL;
  for (size_t i = 0; i < matcher->count; i++) {
    pattern *p = &matcher->patterns[i];
    if (pattern_advance(p, byte) && (met == NULL || p->length > met->length)) met = p;
  }
  return met;
}

// How many of the last bytes may be the start of a stop string.
static size_t longest_state(const rh_stop_matcher *matcher) {
  size_t longest = 0;
  for (size_t i = 0; i < matcher->count; i++) {
    if (matcher->patterns[i].state > longest) longest = matcher->patterns[i].state;
  }
  return longest;
}

static void hand_over(rh_stop_matcher *matcher, const char **text, size_t *text_length) {
  if (matcher->held.failed || matcher->clean.failed) matcher->failed = true;
  *text = rh_dynbuf_data(&matcher->clean);
  *text_length = matcher->clean.length;
}

bool rh_stop_matcher_feed(rh_stop_matcher *matcher, const char *bytes, size_t length, const char **text,
                          size_t *text_length, const char **stop) {
  assert(!matcher->matched);
  rh_dynbuf_clear(&matcher->clean);
  *stop = NULL;
  pattern *met = NULL;
  size_t used = matcher->count == 0 ? length : 0;
  while (used < length && met == NULL) met = advance_all(matcher, bytes[used++]);

  if (rh_dynbuf_append(&matcher->held, bytes, used) != RH_OK) {
    hand_over(matcher, text, text_length);
    return false;
  }
  if (met != NULL) {
    show(matcher, matcher->held.length - met->length);
    rh_dynbuf_clear(&matcher->held);
    matcher->matched = true;
    *stop = met->text;
  } else {
    size_t free_length = matcher->held.length - longest_state(matcher);
    show(matcher, rh_utf8_complete_prefix(rh_dynbuf_data(&matcher->held), free_length));
  }
  hand_over(matcher, text, text_length);
  return met != NULL;
}

void rh_stop_matcher_finish(rh_stop_matcher *matcher, const char **text, size_t *text_length) {
  rh_dynbuf_clear(&matcher->clean);
  show(matcher, matcher->held.length);
  hand_over(matcher, text, text_length);
}

size_t rh_stop_matcher_shown(const rh_stop_matcher *matcher) { return matcher->shown; }

bool rh_stop_matcher_failed(const rh_stop_matcher *matcher) { return matcher->failed; }
