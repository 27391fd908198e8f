// SPDX-License-Identifier: Apache-2.0
//
// The steps of a normalizer that look at one character at a time, and Replace and Prepend. Functions of their text; no
// state. What only shortens a text is done in place, and ASCII is done without decoding. Normal forms are in
// normalizer_form.c, SentencePiece's maps in normalizer_charsmap.c.
#include <string.h>

#include "text/byte_level.h"
#include "text/normalizer_private.h"

// --- leaving out ---------------------------------------------------------------------------------------------------

static void move_bytes(rh_mapped *text, size_t to, size_t from, size_t length) {
  memmove(text->bytes + to, text->bytes + from, length);
  if (text->from == NULL) return;
  memmove(text->from + to, text->from + from, length * sizeof *text->from);
  memmove(text->to + to, text->to + from, length * sizeof *text->to);
}

void rh_normalizing_drop(rh_normalizing *text, unsigned flags) {
  rh_mapped *now = text->now;
  const char *end = now->bytes + now->length;
  size_t kept = text->start;  // everything before is in its place
  size_t run = text->start;   // of what stays, not yet moved
  for (size_t i = text->start; i < now->length;) {
    uint32_t code;
    size_t step = rh_char_read(now->bytes + i, end, &code);
    if (rh_char_is(code, flags)) {
      if (kept != run) move_bytes(now, kept, run, i - run);
      kept += i - run;
      run = i + step;
    }
    i += step;
  }
  if (kept != run) move_bytes(now, kept, run, now->length - run);
  now->length = kept + (now->length - run);
}

rh_status rh_step_strip_accents(const rh_normalizer_step *step, rh_normalizing *text) {
  (void)step;
  if (rh_char_is_ascii(rh_normalizing_bytes(text), rh_normalizing_length(text))) return RH_OK;
  rh_normalizing_drop(text, RH_CHAR_MARK);
  return RH_OK;
}

rh_status rh_step_strip(const rh_normalizer_step *step, rh_normalizing *text) {
  rh_mapped *now = text->now;
  size_t first = text->start, last = now->length;
  while (step->left && first < last) {
    uint32_t code;
    size_t length = rh_char_read(now->bytes + first, now->bytes + last, &code);
    if (!rh_char_is(code, RH_CHAR_SPACE)) break;
    first += length;
  }
  while (step->right && first < last) {
    size_t start = last - 1;
    while (start > first && ((uint8_t)now->bytes[start] & 0xC0) == 0x80) start--;
    uint32_t code;
    rh_char_read(now->bytes + start, now->bytes + last, &code);
    if (!rh_char_is(code, RH_CHAR_SPACE)) break;
    last = start;
  }
  if (first != text->start) move_bytes(now, text->start, first, last - first);
  now->length = text->start + (last - first);
  return RH_OK;
}

// --- one for another -----------------------------------------------------------------------------------------------

// White space becomes a space; in place, as no character is shorter than a space.
static void map_spaces(rh_normalizing *text, bool (*is_space)(uint32_t code)) {
  rh_mapped *now = text->now;
  size_t kept = text->start;
  for (size_t i = text->start; i < now->length;) {
    uint32_t code;
    size_t step = rh_char_read(now->bytes + i, now->bytes + now->length, &code);
    if (is_space(code)) {
      move_bytes(now, kept, i, 1);
      now->bytes[kept++] = ' ';
    } else {
      if (kept != i) move_bytes(now, kept, i, step);
      kept += step;
    }
    i += step;
  }
  now->length = kept;
}

static bool is_white(uint32_t code) { return rh_char_is(code, RH_CHAR_SPACE); }

// What sentencepiece's rules "nmt" take for white space, and for nothing at all.
static bool is_nmt_space(uint32_t code) {
  return code == 0x09 || code == 0x0A || code == 0x0C || code == 0x0D || code == 0x1680 ||
         (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x2581 || code == 0xFEFF ||
         code == 0xFFFD;
}

static bool is_nmt_dropped(uint32_t code) {
  return (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) || code == 0x7F ||
         code == 0x8F || code == 0x9F;
}

rh_status rh_step_nmt(const rh_normalizer_step *step, rh_normalizing *text) {
  (void)step;
  rh_mapped *now = text->now;
  size_t kept = text->start;
  for (size_t i = text->start; i < now->length;) {
    uint32_t code;
    size_t length = rh_char_read(now->bytes + i, now->bytes + now->length, &code);
    if (!is_nmt_dropped(code)) {
      if (kept != i) move_bytes(now, kept, i, length);
      kept += length;
    }
    i += length;
  }
  now->length = kept;
  map_spaces(text, is_nmt_space);
  return RH_OK;
}

rh_status rh_step_lowercase(const rh_normalizer_step *step, rh_normalizing *text) {
  (void)step;
  char *bytes = rh_normalizing_bytes(text);
  size_t length = rh_normalizing_length(text);
  size_t i = 0;
  for (; i < length; i++) {
    uint8_t byte = (uint8_t)bytes[i];
    if (byte >= 0x80) break;
    bytes[i] = (char)(byte + (rh_char_is_upper_ascii(byte) ? 'a' - 'A' : 0));
  }
  if (i == length) return RH_OK;
  // Lower case may be longer or shorter: from here on into the other one, when there is something to change.
  size_t ascii = i;
  bool any = false;
  while (i < length && !any) {
    uint32_t code;
    i += rh_char_read(bytes + i, bytes + length, &code);
    any = rh_char_is(code, RH_CHAR_LOWERS);
  }
  if (!any) return RH_OK;
  rh_status status = rh_normalizing_begin(text, length + length / 2);
  if (status == RH_OK) status = rh_mapped_append(text->other, text->now, text->start, text->start + ascii);
  for (i = ascii; i < length && status == RH_OK;) {
    uint32_t code, small[3];
    size_t from = i;
    i += rh_char_read(bytes + i, bytes + length, &code);
    size_t count = rh_char_lower(code, small);
    for (size_t k = 0; k < count && status == RH_OK; k++) {
      char written[4];
      status = rh_normalizing_put(text, written, rh_char_write(small[k], written), from);
    }
  }
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}

// --- BertNormalizer ------------------------------------------------------------------------------------------------

// The blocks that BERT's own code calls Chinese.
static bool is_chinese(uint32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
         (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

static rh_status space_chinese(rh_normalizing *text) {
  const char *bytes = rh_normalizing_bytes(text);
  size_t length = rh_normalizing_length(text);
  size_t found = 0;
  for (size_t i = 0; i < length;) {
    uint32_t code;
    i += rh_char_read(bytes + i, bytes + length, &code);
    found += is_chinese(code);
  }
  if (found == 0) return RH_OK;
  rh_status status = rh_normalizing_begin(text, length + 2 * found);
  size_t run = 0;
  for (size_t i = 0; i < length && status == RH_OK;) {
    uint32_t code;
    size_t step = rh_char_read(bytes + i, bytes + length, &code);
    if (is_chinese(code)) {
      char spaced[6] = " ";
      memcpy(spaced + 1, bytes + i, step);
      spaced[step + 1] = ' ';
      status = rh_mapped_append(text->other, text->now, text->start + run, text->start + i);
      if (status == RH_OK) status = rh_normalizing_put(text, spaced, step + 2, i);
      run = i + step;
    }
    i += step;
  }
  if (status == RH_OK) status = rh_mapped_append(text->other, text->now, text->start + run, text->start + length);
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}

// The lot in one pass over ASCII.
static void bert_ascii(const rh_normalizer_step *step, rh_normalizing *text) {
  rh_mapped *now = text->now;
  size_t kept = text->start;
  for (size_t i = text->start; i < now->length; i++) {
    uint8_t byte = (uint8_t)now->bytes[i];
    if (step->clean) {
      bool white = byte == '\t' || byte == '\n' || byte == '\r';
      if ((byte < ' ' && !white) || byte == 0x7F) continue;
      if (white) byte = ' ';
    }
    if (step->lower && rh_char_is_upper_ascii(byte)) byte = (uint8_t)(byte + ('a' - 'A'));
    now->bytes[kept] = (char)byte;
    if (kept != i && now->from != NULL) {
      now->from[kept] = now->from[i];
      now->to[kept] = now->to[i];
    }
    kept++;
  }
  now->length = kept;
}

rh_status rh_step_bert(const rh_normalizer_step *step, rh_normalizing *text) {
  if (rh_char_is_ascii(rh_normalizing_bytes(text), rh_normalizing_length(text))) {
    bert_ascii(step, text);
    return RH_OK;
  }
  rh_status status = RH_OK;
  if (step->clean) {
    rh_normalizing_drop(text, RH_CHAR_CONTROL);
    map_spaces(text, is_white);
  }
  if (step->chinese) status = space_chinese(text);
  if (step->accents && status == RH_OK) {
    static const rh_normalizer_step decompose = {0};
    status = rh_step_form(&decompose, text);
    if (status == RH_OK) rh_normalizing_drop(text, RH_CHAR_ACCENT);
  }
  if (step->lower && status == RH_OK) status = rh_step_lowercase(step, text);
  return status;
}

// --- Replace, Prepend ----------------------------------------------------------------------------------------------

// What is put in place of [start, end) comes from where the last byte of it comes from; in place of nothing, from what is
// before; before everything, from nowhere.
static rh_status put_instead(const rh_normalizer_step *step, rh_normalizing *text, size_t end) {
  if (end > 0) return rh_normalizing_put(text, step->content, step->content_length, end - 1);
  size_t at = text->other->length;
  rh_status status = rh_normalizing_put(text, step->content, step->content_length, 0);
  if (status != RH_OK || text->other->from == NULL) return status;
  for (size_t i = at; i < text->other->length; i++) text->other->from[i] = text->other->to[i] = text->base;
  return RH_OK;
}

static rh_status replace_literal(const rh_normalizer_step *step, rh_normalizing *text) {
  const char *bytes = rh_normalizing_bytes(text);
  size_t length = rh_normalizing_length(text), done = 0;
  const char *found = memmem(bytes, length, step->literal, step->literal_length);
  if (found == NULL) return RH_OK;
  rh_status status = rh_normalizing_begin(text, length);
  while (found != NULL && status == RH_OK) {
    size_t at = (size_t)(found - bytes);
    status = rh_mapped_append(text->other, text->now, text->start + done, text->start + at);
    done = at + step->literal_length;
    if (status == RH_OK) status = put_instead(step, text, done);
    found = memmem(bytes + done, length - done, step->literal, step->literal_length);
  }
  if (status == RH_OK) status = rh_mapped_append(text->other, text->now, text->start + done, text->start + length);
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}

rh_status rh_step_replace(const rh_normalizer_step *step, rh_normalizing *text) {
  if (step->regex == NULL) return replace_literal(step, text);
  rh_regex_search search;
  size_t length = rh_normalizing_length(text), done = 0, start, end;
  rh_status status = rh_regex_search_begin(&search, step->regex);
  if (status != RH_OK) return status;
  rh_regex_search_text(&search, rh_normalizing_bytes(text), length);
  status = rh_normalizing_begin(text, length);
  bool any = false;
  while (status == RH_OK && (status = rh_regex_search_next(&search, &start, &end)) == RH_OK) {
    any = true;
    status = rh_mapped_append(text->other, text->now, text->start + done, text->start + start);
    done = end;
    if (status == RH_OK) status = put_instead(step, text, done);
  }
  rh_regex_search_end(&search);
  if (status != RH_NOT_FOUND) return status;
  if (!any) return RH_OK;
  status = rh_mapped_append(text->other, text->now, text->start + done, text->start + length);
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}

rh_status rh_step_prepend(const rh_normalizer_step *step, rh_normalizing *text) {
  size_t length = rh_normalizing_length(text);
  rh_status status = rh_normalizing_begin(text, length + step->content_length);
  if (status == RH_OK) status = rh_normalizing_put(text, step->content, step->content_length, 0);
  if (status == RH_OK) status = rh_mapped_append(text->other, text->now, text->start, text->start + length);
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}

rh_status rh_step_byte_level(const rh_normalizer_step *step, rh_normalizing *text) {
  (void)step;
  rh_status status = rh_normalizing_begin(text, 2 * rh_normalizing_length(text));
  if (status == RH_OK) status = rh_byte_level_append(text->other, text->now, text->start, text->now->length);
  if (status == RH_OK) rh_normalizing_swap(text);
  return status;
}
