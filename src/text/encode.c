// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one or two texts through the stages to ids, with offsets in code points, truncation and special tokens.
// Data owned: an encoding's arrays and work memory, kept from one encode to the next. Threads: an encoding belongs to one;
// the tokenizer is only read. Not here: what each stage does; padding, which needs the other texts of a batch.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/model.h"
#include "text/private.h"

#define KEPT_BYTES ((size_t)4 * 1024 * 1024)  // of text memory, when the texts become short again

// One of the two texts on its way.
typedef struct side {
  const char *text;  // valid UTF-8
  size_t length;
  rh_dynbuf repaired;  // where `text` is, when the caller's was no UTF-8
  rh_mapped mapped;
  rh_pieces pieces;
  rh_model_tokens tokens;
  size_t begin, end;  // of the tokens, after truncation
} side;

typedef struct rh_encoding_work {
  uint64_t serial;  // of the tokenizer that `model` belongs to
  rh_text_model_work *model;
  side sides[2];
  rh_mapped scratch;
  rh_pieces scratch_pieces;
  // The arrays of the result; the public ones are NULL where they are not wanted.
  int32_t *ids, *types;
  uint32_t *starts, *ends, *words;
  uint8_t *special, *second;
  size_t room, offsets_room;
} rh_encoding_work;

rh_status rh_encoding_new(rh_encoding **out, rh_error *error) {
  rh_encoding *self = calloc(1, sizeof *self);
  *out = NULL;
  if (self != NULL) self->work = calloc(1, sizeof *self->work);
  if (self == NULL || self->work == NULL) {
    free(self);
    return rh_fail(error, RH_NO_MEMORY, "out of memory for an encoding");
  }
  for (size_t i = 0; i < 2; i++) rh_dynbuf_init(&self->work->sides[i].repaired, 3 * RH_TOKENIZER_TEXT_MAX);
  *out = self;
  return RH_OK;
}

void rh_encoding_free(rh_encoding *encoding) {
  if (encoding == NULL) return;
  rh_encoding_work *work = encoding->work;
  for (size_t i = 0; i < 2; i++) {
    rh_mapped_free(&work->sides[i].mapped);
    rh_pieces_free(&work->sides[i].pieces);
    free(work->sides[i].tokens.items);
    rh_dynbuf_free(&work->sides[i].repaired);
  }
  rh_mapped_free(&work->scratch);
  rh_pieces_free(&work->scratch_pieces);
  rh_text_model_work_free(work->model);
  void *const arrays[] = {work->ids, work->types, work->starts, work->ends, work->words, work->special, work->second};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
  free(work);
  free(encoding);
}

// --- text in ---------------------------------------------------------------------------------------------------------

static rh_status take_text(side *self, const char *text, size_t length) {
  self->text = length > 0 ? text : "";
  self->length = length;
  if (rh_utf8_valid(self->text, length)) return RH_OK;
  rh_text_append_repaired(&self->repaired, text, length);
  self->text = rh_dynbuf_data(&self->repaired);
  self->length = self->repaired.length;
  return self->repaired.failed ? RH_NO_MEMORY : RH_OK;
}

static void reset_side(side *self) {
  if (self->mapped.capacity > KEPT_BYTES) rh_mapped_free(&self->mapped);
  if (self->tokens.capacity * sizeof *self->tokens.items > KEPT_BYTES) {
    free(self->tokens.items);
    self->tokens = (rh_model_tokens){0};
  }
  rh_dynbuf_free(&self->repaired);
  self->text = "";
  self->length = 0;
  self->mapped.length = 0;
  self->pieces.count = 0;
  self->tokens.count = 0;
  self->begin = self->end = 0;
}

// --- offsets ---------------------------------------------------------------------------------------------------------

// A place of the text in bytes and code points. Tokens come nearly in order, so it seldom goes far.
typedef struct cursor {
  const char *text;
  size_t length;
  uint32_t byte, chars;  // `chars` code points begin before `byte`
} cursor;

static bool continues(char byte) { return ((uint8_t)byte & 0xc0) == 0x80; }

// The code point that byte `byte` belongs to; their number, at the text's end.
static uint32_t char_of(cursor *self, uint32_t byte) {
  while (self->byte < byte) self->chars += !continues(self->text[self->byte++]);
  while (self->byte > byte) self->chars -= !continues(self->text[--self->byte]);
  return byte < self->length && continues(self->text[byte]) ? self->chars - 1 : self->chars;
}

static void find_offsets(side *self) {
  cursor place = {.text = self->text, .length = self->length};
  const rh_mapped *mapped = &self->mapped;
  for (size_t i = 0; i < self->tokens.count; i++) {
    rh_model_token *token = &self->tokens.items[i];
    uint32_t last = token->end > token->start ? token->end - 1 : token->start;
    // Lengths that a model counts beyond its piece (a piece of dropped characters) end where the text ends.
    if (last >= mapped->length) {
      token->start = token->end = (uint32_t)self->length;
      continue;
    }
    uint32_t from = mapped->from[token->start], to = mapped->to[last];
    bool inside = from < self->length;
    token->start = inside ? char_of(&place, from) : from;
    token->end = inside ? char_of(&place, to) : to;
  }
}

static rh_shown shown_text(const rh_tokenizer *tokenizer, const side *self, const rh_model_token *token) {
  const rh_piece *piece = &self->pieces.items[token->word];
  rh_shown shown = {NULL, 0};
  if (piece->token < 0 && !rh_text_model_shows_text(tokenizer->model, token->id))
    shown.text = rh_text_model_token(tokenizer->model, token->id, &shown.length);
  if (shown.text == NULL) shown = (rh_shown){self->mapped.bytes + piece->start, piece->end - piece->start};
  return shown;
}

static void trim_offsets(const rh_tokenizer *tokenizer, side *self) {
  for (size_t i = self->begin; i < self->end; i++) {
    rh_model_token *token = &self->tokens.items[i];
    rh_shown shown = shown_text(tokenizer, self, token);
    rh_postprocessor_trim(tokenizer->postprocessor, token, i - self->begin, &shown);
  }
}

// --- one text --------------------------------------------------------------------------------------------------------

static rh_status run_stages(const rh_tokenizer *tokenizer, rh_encoding_work *work, side *self,
                            const rh_encode_options *options) {
  rh_mapped *mapped = &self->mapped, *scratch = &work->scratch;
  scratch->length = 0;
  // Special tokens that are left in the text are not to come out of the model either.
  work->model->hidden = options->parse_special ? NULL : tokenizer->special;
  bool offsets = options->want_offsets || rh_pretokenizer_needs_offsets(tokenizer->pretokenizer);
  rh_status status = rh_mapped_reserve(mapped, self->length, offsets);
  if (status == RH_OK) status = rh_mapped_reserve(scratch, self->length, offsets);
  if (status == RH_OK)
    status = rh_added_split(tokenizer->added, tokenizer->normalizer, self->text, self->length, options->parse_special,
                            mapped, scratch, &self->pieces);
  if (status == RH_OK)
    status = rh_pretokenizer_apply(tokenizer->pretokenizer, mapped, &self->pieces, scratch, &work->scratch_pieces);
  for (size_t i = 0; i < self->pieces.count && status == RH_OK; i++) {
    const rh_piece *piece = &self->pieces.items[i];
    status = piece->token >= 0
                 ? rh_model_tokens_add(&self->tokens, piece->token, piece->start, piece->end, (uint32_t)i)
                 : rh_text_model_tokenize(tokenizer->model, work->model, mapped, piece, (uint32_t)i, &self->tokens);
  }
  return status;
}

static rh_status explain(rh_status status, size_t length, rh_error *error) {
  switch (status) {
    case RH_INVALID:
      return rh_fail(error, status,
                     "the text has a part that the tokenizer's model does not know, and the model has no token for "
                     "unknown ones");
    case RH_TOO_LARGE:
      return rh_fail(error, status, "a text of %zu bytes is too long for the tokenizer, or a word in it; cut it",
                     length);
    case RH_NO_MEMORY: return rh_fail(error, status, "out of memory for the tokens of %zu bytes", length);
    default: return rh_fail(error, status, "the tokenizer failed on a text of %zu bytes", length);
  }
}

static rh_status encode_side(const rh_tokenizer *tokenizer, rh_encoding_work *work, size_t index, const char *text,
                             size_t length, const rh_encode_options *options, rh_error *error) {
  side *self = &work->sides[index];
  if (length > RH_TOKENIZER_TEXT_MAX)
    return rh_fail(error, RH_TOO_LARGE, "a text of %zu bytes is too long; at most %zu are tokenized at once", length,
                   RH_TOKENIZER_TEXT_MAX);
  rh_status status = take_text(self, text, length);
  if (status == RH_OK) status = run_stages(tokenizer, work, self, options);
  if (status != RH_OK) return explain(status, length, error);
  self->end = self->tokens.count;
  if (options->want_offsets) find_offsets(self);
  return RH_OK;
}

// --- truncation ------------------------------------------------------------------------------------------------------

static size_t count_of(const side *self) { return self->end - self->begin; }

static void cut(side *self, size_t count, bool left) {
  if (count >= count_of(self)) return;
  if (left) {
    self->begin = self->end - count;
  } else {
    self->end = self->begin + count;
  }
}

// Of two texts the longer one gives way, until both have half.
static void cut_longest(side *sides, size_t room, bool left) {
  bool swapped = count_of(&sides[0]) > count_of(&sides[1]);
  size_t shorter = count_of(&sides[swapped ? 1 : 0]), longer = shorter;
  if (shorter <= room && room - shorter > shorter) longer = room - shorter;
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = shorter + room % 2;
  }
  cut(&sides[swapped ? 1 : 0], shorter, left);
  cut(&sides[swapped ? 0 : 1], longer, left);
}

static rh_status truncate_texts(rh_encoding_work *work, const rh_encode_options *options, size_t added, bool pair,
                                bool *truncated, rh_error *error) {
  side *sides = work->sides;
  size_t total = count_of(&sides[0]) + count_of(&sides[1]), extra = options->add_special ? added : 0;
  *truncated = false;
  if (options->length_max <= 0 || total + extra <= (size_t)options->length_max) return RH_OK;
  size_t limit = (size_t)options->length_max, room = limit > extra ? limit - extra : 0, remove = total - room;
  side *target = options->truncate == RH_TRUNCATE_SECOND ? &sides[1] : &sides[0];
  bool one = options->truncate == RH_TRUNCATE_FIRST || options->truncate == RH_TRUNCATE_SECOND;
  if (options->truncate == RH_TRUNCATE_NONE || limit < extra || (one && room > 0 && count_of(target) <= remove))
    return rh_fail(error, RH_CONTEXT_OVERFLOW,
                   "the input has %zu tokens, %zu of them special; at most %" PRId64 " fit%s", total + extra, extra,
                   options->length_max, options->truncate == RH_TRUNCATE_NONE ? "" : ", and it cannot be cut to that");
  if (room == 0) {
    cut(&sides[0], 0, false);
    cut(&sides[1], 0, false);
  } else if (one) {
    cut(target, count_of(target) - remove, options->truncate_left);
  } else if (pair) {
    cut_longest(sides, room, options->truncate_left);
  } else {
    cut(&sides[0], room, options->truncate_left);
  }
  *truncated = true;
  return RH_OK;
}

// --- the result ------------------------------------------------------------------------------------------------------

static bool grow(void **array, size_t count, size_t size) {
  void *grown = realloc(*array, count * size);
  if (grown != NULL) *array = grown;
  return grown != NULL;
}

static bool make_room(rh_encoding_work *work, size_t count, bool offsets) {
  if (count > work->room) {
    size_t room = count + count / 2 + 16;
    if (!grow((void **)&work->ids, room, sizeof *work->ids) ||
        !grow((void **)&work->types, room, sizeof *work->types) ||
        !grow((void **)&work->special, room, sizeof *work->special))
      return false;
    work->room = room;
  }
  if (offsets && count > work->offsets_room) {
    size_t room = count + count / 2 + 16;
    if (!grow((void **)&work->starts, room, sizeof *work->starts) ||
        !grow((void **)&work->ends, room, sizeof *work->ends) ||
        !grow((void **)&work->words, room, sizeof *work->words) ||
        !grow((void **)&work->second, room, sizeof *work->second))
      return false;
    work->offsets_room = room;
  }
  return true;
}

static void put_special(rh_encoding_work *work, size_t at, const rh_template_piece *piece, bool offsets) {
  work->ids[at] = piece->id;
  work->types[at] = piece->type;
  work->special[at] = 1;
  if (!offsets) return;
  work->starts[at] = work->ends[at] = 0;
  work->words[at] = UINT32_MAX;
  work->second[at] = 0;
}

static void put_text(rh_encoding_work *work, size_t at, const rh_template_piece *piece, bool offsets) {
  const side *text = &work->sides[piece->text];
  for (size_t i = text->begin; i < text->end; i++, at++) {
    const rh_model_token *token = &text->tokens.items[i];
    work->ids[at] = token->id;
    work->types[at] = piece->type;
    work->special[at] = 0;
    if (!offsets) continue;
    work->starts[at] = token->start;
    work->ends[at] = token->end;
    work->words[at] = token->word;
    work->second[at] = (uint8_t)piece->text;
  }
}

static rh_status lay_out(rh_encoding *encoding, const rh_template_piece *pieces, size_t count,
                         const rh_encode_options *options, rh_error *error) {
  rh_encoding_work *work = encoding->work;
  size_t total = 0, at = 0;
  for (size_t i = 0; i < count; i++)
    total += pieces[i].text >= 0 ? count_of(&work->sides[pieces[i].text]) : (size_t)options->add_special;
  if (!make_room(work, total, options->want_offsets))
    return rh_fail(error, RH_NO_MEMORY, "out of memory for %zu tokens", total);
  for (size_t i = 0; i < count; i++) {
    if (pieces[i].text >= 0) {
      put_text(work, at, &pieces[i], options->want_offsets);
      at += count_of(&work->sides[pieces[i].text]);
    } else if (options->add_special) {
      put_special(work, at++, &pieces[i], options->want_offsets);
    }
  }
  bool offsets = options->want_offsets;
  encoding->ids = work->ids;
  encoding->types = work->types;
  encoding->special = work->special;
  encoding->starts = offsets ? work->starts : NULL;
  encoding->ends = offsets ? work->ends : NULL;
  encoding->words = offsets ? work->words : NULL;
  encoding->second = offsets ? work->second : NULL;
  encoding->count = total;
  return RH_OK;
}

static rh_status prepare(const rh_tokenizer *tokenizer, rh_encoding *encoding, rh_error *error) {
  rh_encoding_work *work = encoding->work;
  encoding->count = 0;
  encoding->truncated = false;
  reset_side(&work->sides[0]);
  reset_side(&work->sides[1]);
  if (work->scratch.capacity > KEPT_BYTES) rh_mapped_free(&work->scratch);
  if (work->model != NULL && work->serial == tokenizer->serial) return RH_OK;
  rh_text_model_work_free(work->model);
  work->model = rh_text_model_work_new(tokenizer->model);
  work->serial = tokenizer->serial;
  return work->model != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "out of memory for an encoding");
}

rh_status rh_tokenizer_encode(const rh_tokenizer *tokenizer, const char *text, size_t length, const char *pair,
                              size_t pair_length, const rh_encode_options *options, rh_encoding *encoding,
                              rh_error *error) {
  rh_encoding_work *work = encoding->work;
  rh_status status = prepare(tokenizer, encoding, error);
  if (status == RH_OK) status = encode_side(tokenizer, work, 0, text, length, options, error);
  if (status == RH_OK && pair != NULL) status = encode_side(tokenizer, work, 1, pair, pair_length, options, error);
  if (status == RH_OK)
    status = truncate_texts(work, options, rh_postprocessor_added(tokenizer->postprocessor, pair != NULL), pair != NULL,
                            &encoding->truncated, error);
  if (status != RH_OK) return status;
  if (options->want_offsets && rh_postprocessor_trims(tokenizer->postprocessor)) {
    trim_offsets(tokenizer, &work->sides[0]);
    trim_offsets(tokenizer, &work->sides[1]);
  }
  size_t count;
  const rh_template_piece *pieces = rh_postprocessor_template(tokenizer->postprocessor, pair != NULL, &count);
  return lay_out(encoding, pieces, count, options, error);
}
