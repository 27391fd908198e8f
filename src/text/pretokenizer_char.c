// SPDX-License-Identifier: Apache-2.0
//
// Pre-tokenizers that look at one character at a time. Pure functions of a stretch of text; any thread.
#include <string.h>

#include "text/pretokenizer_private.h"

// Each matching character is a match of its own; what is between two is one stretch.
static inline void cut_where(bool (*matches)(const rh_pretokenizer_step *step, uint32_t code),
                             const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end,
                             rh_cutter *out) {
  size_t run = start;
  for (size_t i = start; i < end;) {
    uint32_t code;
    size_t length = rh_char_read(bytes + i, bytes + end, &code);
    if (matches(step, code)) {
      if (run < i) rh_cutter_take(out, (uint32_t)run, (uint32_t)i, false);
      rh_cutter_take(out, (uint32_t)i, (uint32_t)(i + length), true);
      run = i + length;
    }
    i += length;
  }
  if (run < end) rh_cutter_take(out, (uint32_t)run, (uint32_t)end, false);
}

static bool has_flags(const rh_pretokenizer_step *step, uint32_t code) { return rh_char_is(code, step->flags); }
static bool is_code(const rh_pretokenizer_step *step, uint32_t code) { return code == step->code; }

void rh_cut_flags(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  cut_where(has_flags, step, bytes, start, end, out);
}

void rh_cut_code(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  cut_where(is_code, step, bytes, start, end, out);
}

// White space is removed, then punctuation stands alone.
void rh_cut_bert(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  (void)step;
  size_t run = start;
  for (size_t i = start; i < end;) {
    uint32_t code;
    size_t length = rh_char_read(bytes + i, bytes + end, &code);
    unsigned flags = rh_char_of(code)->flags & (RH_CHAR_SPACE | RH_CHAR_PUNCTUATION);
    if (flags != 0) {
      rh_cutter_add(out, run, i);
      run = i + length;
      if ((flags & RH_CHAR_SPACE) == 0) rh_cutter_add(out, i, run);
    }
    i += length;
  }
  rh_cutter_add(out, run, end);
}

// \w+|[^\w\s]+
void rh_cut_whitespace(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  (void)step;
  size_t run = start;
  unsigned kind = RH_CHAR_SPACE;  // of the run: white space, word, or neither
  for (size_t i = start; i < end;) {
    uint32_t code;
    size_t length = rh_char_read(bytes + i, bytes + end, &code);
    unsigned flags = rh_char_of(code)->flags;
    unsigned next = (flags & RH_CHAR_WORD) != 0 ? RH_CHAR_WORD : flags & RH_CHAR_SPACE;
    if (next != kind) {
      if (kind != RH_CHAR_SPACE) rh_cutter_add(out, run, i);
      run = i;
      kind = next;
    }
    i += length;
  }
  if (kind != RH_CHAR_SPACE) rh_cutter_add(out, run, end);
}

// Kana count as Han, and so does the mark that lengthens a vowel, as in sentencepiece.
static uint8_t script_of(uint32_t code) {
  uint8_t script = rh_char_of(code)->script;
  uint8_t han = rh_char_of(0x4E00)->script;
  bool kana = script == rh_char_of(0x3042)->script || script == rh_char_of(0x30A2)->script || code == 0x30FC;
  return kana ? han : script;
}

void rh_cut_scripts(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  (void)step;
  size_t run = end;  // what comes before the first script is dropped, as the package does
  uint8_t last = 0;
  for (size_t i = start; i < end;) {
    uint32_t code;
    size_t length = rh_char_read(bytes + i, bytes + end, &code);
    uint8_t script = script_of(code);
    if (script != 0 && script != last) {
      if (run < i) rh_cutter_add(out, run, i);
      run = i;
    }
    if (script != 0) last = script;
    i += length;
  }
  rh_cutter_add(out, run, end);
}

void rh_cut_fixed(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  size_t run = start, count = 0;
  for (size_t i = start; i < end;) {
    uint32_t code;
    i += rh_char_read(bytes + i, bytes + end, &code);
    if (++count == step->length) {
      rh_cutter_add(out, run, i);
      run = i;
      count = 0;
    }
  }
  rh_cutter_add(out, run, end);
}

void rh_cut_literal(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  size_t run = start;
  const char *found;
  while ((found = memmem(bytes + run, end - run, step->literal, step->literal_length)) != NULL) {
    size_t at = (size_t)(found - bytes);
    if (run < at) rh_cutter_take(out, (uint32_t)run, (uint32_t)at, false);
    run = at + step->literal_length;
    rh_cutter_take(out, (uint32_t)at, (uint32_t)run, true);
  }
  if (run < end) rh_cutter_take(out, (uint32_t)run, (uint32_t)end, false);
}
