// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what each step of a decoder does with a token, and at the end.
// Data owned: none; what waits is in the stage. Threads: the decoder's. Not here: which steps there are (decoder.c).
#include <string.h>

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/decoder_private.h"
#include "text/private.h"
#include "text/unicode.h"

#define REPLACEMENT "\xef\xbf\xbd"

static rh_status pass_on(rh_decoder *decoder, size_t index, rh_dynbuf *out) {
  if (out->failed) return RH_TOO_LARGE;
  return rh_decoder_push(decoder, index + 1, rh_dynbuf_data(out), out->length);
}

// --- texts -----------------------------------------------------------------------------------------------------------

static const char *find_text(const char *text, size_t length, const char *pattern, size_t pattern_length) {
  return length >= pattern_length ? memmem(text, length, pattern, pattern_length) : NULL;
}

void rh_decoder_replace(const char *text, size_t length, const char *pattern, const char *by, rh_dynbuf *out) {
  size_t size = strlen(pattern);
  const char *end = text + length, *hit;
  while (size > 0 && (hit = find_text(text, (size_t)(end - text), pattern, size)) != NULL) {
    (void)rh_dynbuf_append(out, text, (size_t)(hit - text));
    (void)rh_dynbuf_append_text(out, by);
    text = hit + size;
  }
  (void)rh_dynbuf_append(out, text, (size_t)(end - text));
}

static void replace_all(rh_dynbuf *text, const char *pattern, const char *by, rh_dynbuf *spare) {
  if (find_text(rh_dynbuf_data(text), text->length, pattern, strlen(pattern)) == NULL) return;
  rh_dynbuf_clear(spare);
  rh_decoder_replace(rh_dynbuf_data(text), text->length, pattern, by, spare);
  bool failed = spare->failed;
  rh_dynbuf_clear(text);
  (void)rh_dynbuf_append(text, rh_dynbuf_data(spare), spare->length);
  text->failed = text->failed || failed;
}

void rh_decoder_clean_up(rh_dynbuf *text, rh_dynbuf *spare) {
  static const char *const pairs[][2] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  if (memchr(rh_dynbuf_data(text), ' ', text->length) == NULL) return;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) replace_all(text, pairs[i][0], pairs[i][1], spare);
}

// --- ByteLevel -------------------------------------------------------------------------------------------------------

// A token with a character that stands for no byte is its own bytes.
static void append_bytes(rh_dynbuf *out, const char *text, size_t length) {
  const char *end = text + length;
  size_t before = out->length;
  for (const char *at = text; at < end;) {
    uint32_t code;
    at += rh_char_read(at, end, &code);
    int byte = rh_byte_level_byte(code);
    if (byte < 0) {
      // As it was before this token.
      if (!out->failed && out->length > before) {
        out->length = before;
        out->data[out->start + before] = '\0';
      }
      (void)rh_dynbuf_append(out, text, length);
      return;
    }
    (void)rh_dynbuf_append_char(out, (char)byte);
  }
}

static rh_status push_byte_level(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  append_bytes(&self->held, text, length);
  if (self->held.failed) return RH_TOO_LARGE;
  size_t whole = rh_utf8_complete_prefix(rh_dynbuf_data(&self->held), self->held.length);
  if (whole == 0) return RH_OK;
  rh_dynbuf_clear(&self->out);
  rh_text_append_repaired(&self->out, rh_dynbuf_data(&self->held), whole);
  rh_dynbuf_consume(&self->held, whole);
  return pass_on(decoder, index, &self->out);
}

static rh_status end_byte_level(rh_decoder *decoder, size_t index) {
  rh_decoding_stage *self = &decoder->stages[index];
  rh_dynbuf_clear(&self->out);
  rh_text_append_repaired(&self->out, rh_dynbuf_data(&self->held), self->held.length);
  rh_dynbuf_clear(&self->held);
  return pass_on(decoder, index, &self->out);
}

// --- ByteFallback ----------------------------------------------------------------------------------------------------

static int hex_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "<0xE4>"; with a plus sign too, as the package reads numbers.
static int byte_of(const char *text, size_t length) {
  if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
  int high = text[3] == '+' ? 0 : hex_of(text[3]), low = hex_of(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of byte tokens is one text if it is UTF-8, else U+FFFD for each.
static rh_status end_bytes(rh_decoder *decoder, size_t index) {
  rh_decoding_stage *self = &decoder->stages[index];
  rh_status status = RH_OK;
  if (self->held.length == 0) return RH_OK;
  if (rh_utf8_valid(rh_dynbuf_data(&self->held), self->held.length)) {
    status = pass_on(decoder, index, &self->held);
  } else {
    for (size_t i = 0; i < self->held.length && status == RH_OK; i++)
      status = rh_decoder_push(decoder, index + 1, REPLACEMENT, 3);
  }
  rh_dynbuf_clear(&self->held);
  return status;
}

static rh_status push_bytes(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  int byte = byte_of(text, length);
  if (byte >= 0) return rh_dynbuf_append_char(&decoder->stages[index].held, (char)byte);
  rh_status status = end_bytes(decoder, index);
  return status == RH_OK ? rh_decoder_push(decoder, index + 1, text, length) : status;
}

// --- the others, a token at a time -----------------------------------------------------------------------------------

static rh_status push_join(rh_decoder *decoder, size_t index, const char *text, size_t length, bool first) {
  rh_status status = first ? RH_OK : rh_decoder_push(decoder, index + 1, " ", 1);
  return status == RH_OK ? rh_decoder_push(decoder, index + 1, text, length) : status;
}

static rh_status push_metaspace(rh_decoder *decoder, size_t index, const char *text, size_t length, bool first) {
  rh_decoding_stage *self = &decoder->stages[index];
  rh_dynbuf_clear(&self->out);
  rh_decoder_replace(text, length, self->step->text, first && self->step->flag ? "" : " ", &self->out);
  return pass_on(decoder, index, &self->out);
}

static rh_status push_wordpiece(rh_decoder *decoder, size_t index, const char *text, size_t length, bool first) {
  rh_decoding_stage *self = &decoder->stages[index];
  size_t prefix = strlen(self->step->text);
  rh_dynbuf_clear(&self->out);
  if (!first && length >= prefix && memcmp(text, self->step->text, prefix) == 0) {
    text += prefix;
    length -= prefix;
  } else if (!first) {
    (void)rh_dynbuf_append_char(&self->out, ' ');
  }
  (void)rh_dynbuf_append(&self->out, text, length);
  if (self->step->flag) rh_decoder_clean_up(&self->out, &self->spare);
  return pass_on(decoder, index, &self->out);
}

// The last token's end of a word becomes nothing, so each waits for the next.
static rh_status end_bpe(rh_decoder *decoder, size_t index, const char *by) {
  rh_decoding_stage *self = &decoder->stages[index];
  if (!self->holds) return RH_OK;
  rh_dynbuf_clear(&self->out);
  rh_decoder_replace(rh_dynbuf_data(&self->held), self->held.length, self->step->text, by, &self->out);
  rh_dynbuf_clear(&self->held);
  self->holds = false;
  return pass_on(decoder, index, &self->out);
}

static rh_status push_bpe(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  rh_status status = end_bpe(decoder, index, " ");
  self->holds = true;
  return status == RH_OK ? rh_dynbuf_append(&self->held, text, length) : status;
}

static rh_status push_ctc(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  if (self->holds && self->held.length == length && memcmp(rh_dynbuf_data(&self->held), text, length) == 0)
    return RH_OK;
  self->holds = true;
  rh_dynbuf_clear(&self->held);
  rh_status status = rh_dynbuf_append(&self->held, text, length);
  if (status != RH_OK) return status;
  rh_dynbuf_clear(&self->out);
  rh_decoder_replace(text, length, self->step->text, "", &self->out);
  if (self->step->flag) {
    rh_decoder_clean_up(&self->out, &self->spare);
    replace_all(&self->out, self->step->second, " ", &self->spare);
  }
  return self->out.length > 0 || self->out.failed ? pass_on(decoder, index, &self->out) : RH_OK;
}

static rh_status push_regex(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  rh_regex_search search = {0};
  size_t done = 0, start, end;
  rh_status status = rh_regex_search_begin(&search, self->step->regex);
  rh_dynbuf_clear(&self->out);
  if (status == RH_OK) {
    rh_regex_search_text(&search, text, length);
    while ((status = rh_regex_search_next(&search, &start, &end)) == RH_OK) {
      (void)rh_dynbuf_append(&self->out, text + done, start - done);
      (void)rh_dynbuf_append_text(&self->out, self->step->text);
      done = end;
    }
    rh_regex_search_end(&search);
  }
  if (status != RH_NOT_FOUND) return status;
  (void)rh_dynbuf_append(&self->out, text + done, length - done);
  return pass_on(decoder, index, &self->out);
}

static rh_status push_replace(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  if (self->step->regex != NULL) return push_regex(decoder, index, text, length);
  rh_dynbuf_clear(&self->out);
  rh_decoder_replace(text, length, self->step->pattern, self->step->text, &self->out);
  return pass_on(decoder, index, &self->out);
}

// --- Strip -----------------------------------------------------------------------------------------------------------

// One character of the one token that comes in fragments, or of a token of its own.
static void strip_char(rh_decoding_stage *self, const char *at, size_t length) {
  const rh_decoding_step *step = self->step;
  bool same = length == strlen(step->text) && memcmp(at, step->text, length) == 0;
  if (!self->inside && same && self->stripped < step->start) {
    self->stripped++;
    return;
  }
  self->inside = true;
  if (same && step->stop > 0) {
    if (self->pending < step->stop) {
      self->pending++;  // it goes if nothing else follows
    } else {
      (void)rh_dynbuf_append(&self->out, at, length);
    }
    return;
  }
  for (; self->pending > 0; self->pending--) (void)rh_dynbuf_append_text(&self->out, step->text);
  (void)rh_dynbuf_append(&self->out, at, length);
}

static rh_status push_strip(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  const char *end = text + length;
  rh_dynbuf_clear(&self->out);
  while (text < end) {
    uint32_t code;
    size_t step = rh_char_read(text, end, &code);
    strip_char(self, text, step);
    text += step;
  }
  if (!self->step->fused) {
    self->inside = false;
    self->stripped = self->pending = 0;
  }
  return pass_on(decoder, index, &self->out);
}

// --- all of them -----------------------------------------------------------------------------------------------------

// Steps that cannot work on fragments wait for the whole.
static bool gathers(const rh_decoding_step *step) {
  return step->fused && step->kind != RH_DECODE_FUSE && step->kind != RH_DECODE_STRIP;
}

static rh_status push_step(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  rh_decoding_stage *self = &decoder->stages[index];
  bool first = self->seen++ == 0;
  switch (self->step->kind) {
    case RH_DECODE_JOIN: return push_join(decoder, index, text, length, first);
    case RH_DECODE_BYTE_LEVEL: return push_byte_level(decoder, index, text, length);
    case RH_DECODE_METASPACE: return push_metaspace(decoder, index, text, length, first);
    case RH_DECODE_WORDPIECE: return push_wordpiece(decoder, index, text, length, first);
    case RH_DECODE_BPE: return push_bpe(decoder, index, text, length);
    case RH_DECODE_BYTES: return push_bytes(decoder, index, text, length);
    case RH_DECODE_FUSE: return rh_decoder_push(decoder, index + 1, text, length);
    case RH_DECODE_STRIP: return push_strip(decoder, index, text, length);
    case RH_DECODE_REPLACE: return push_replace(decoder, index, text, length);
    case RH_DECODE_CTC: return push_ctc(decoder, index, text, length);
  }
  return RH_INTERNAL;
}

rh_status rh_decoder_push(rh_decoder *decoder, size_t index, const char *text, size_t length) {
  if (index == decoder->count) return rh_dynbuf_append(decoder->sink, text, length);
  rh_decoding_stage *self = &decoder->stages[index];
  if (gathers(self->step)) return rh_dynbuf_append(&self->spare, text, length);
  return push_step(decoder, index, text, length);
}

// A gathered token goes through the step as one; steps use `spare` for that only after it was copied out.
static rh_status push_gathered(rh_decoder *decoder, size_t index) {
  rh_decoding_stage *self = &decoder->stages[index];
  size_t length;
  rh_dynbuf whole = self->spare;
  rh_dynbuf_init(&self->spare, RH_DECODER_HELD_MAX);
  length = whole.length;
  rh_status status = push_step(decoder, index, rh_dynbuf_data(&whole), length);
  rh_dynbuf_free(&whole);
  return status;
}

rh_status rh_decoder_end(rh_decoder *decoder, size_t index) {
  if (index == decoder->count) return RH_OK;
  rh_decoding_stage *self = &decoder->stages[index];
  rh_status status = gathers(self->step) ? push_gathered(decoder, index) : RH_OK;
  if (status != RH_OK) return status;
  switch (self->step->kind) {
    case RH_DECODE_BYTE_LEVEL: status = end_byte_level(decoder, index); break;
    case RH_DECODE_BYTES: status = end_bytes(decoder, index); break;
    case RH_DECODE_BPE: status = end_bpe(decoder, index, ""); break;
    default: break;
  }
  self->seen = self->stripped = self->pending = 0;
  self->inside = self->holds = false;
  rh_dynbuf_clear(&self->held);
  return status == RH_OK ? rh_decoder_end(decoder, index + 1) : status;
}
