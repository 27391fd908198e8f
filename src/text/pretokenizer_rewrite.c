// SPDX-License-Identifier: Apache-2.0
//
// Pre-tokenizers that rewrite the text they cut (ByteLevel, Metaspace), and those by a regular expression, which need memory
// for the search. The new text goes into the other rh_mapped, then the two change places. No state; any thread.
#include <string.h>

#include "text/byte_level.h"
#include "text/pretokenizer_private.h"

static void swap_texts(rh_pretokenizing *going) {
  rh_mapped swapped = *going->text;
  *going->text = *going->other;
  *going->other = swapped;
}

// --- by a regular expression ---------------------------------------------------------------------------------------

static rh_status search_piece(rh_regex_search *search, const rh_mapped *text, const rh_piece *piece,
                              rh_cutter *cutter) {
  size_t length = piece->end - piece->start, done = 0, start, end;
  rh_status status;
  rh_regex_search_text(search, text->bytes + piece->start, length);
  while ((status = rh_regex_search_next(search, &start, &end)) == RH_OK) {
    if (done != start) rh_cutter_take(cutter, piece->start + (uint32_t)done, piece->start + (uint32_t)start, false);
    rh_cutter_take(cutter, piece->start + (uint32_t)start, piece->start + (uint32_t)end, true);
    done = end;
  }
  if (status != RH_NOT_FOUND) return status;
  if (done != length) rh_cutter_take(cutter, piece->start + (uint32_t)done, piece->end, false);
  rh_cutter_finish(cutter);
  return cutter->status;
}

rh_status rh_rewrite_regex(const rh_pretokenizer_step *step, rh_pretokenizing *going) {
  rh_cutter cutter = {.out = going->other_pieces, .behavior = step->behavior, .invert = step->invert};
  rh_regex_search search;
  rh_status status = rh_regex_search_begin(&search, step->regex);
  going->other_pieces->count = 0;
  for (size_t i = 0; i < going->pieces->count && status == RH_OK; i++) {
    const rh_piece *piece = &going->pieces->items[i];
    if (piece->token >= 0)
      status = rh_pieces_add(cutter.out, piece->start, piece->end, piece->token);
    else if (piece->end > piece->start)
      status = search_piece(&search, going->text, piece, &cutter);
  }
  rh_regex_search_end(&search);
  if (status != RH_OK) return status;
  rh_pieces swapped = *going->pieces;
  *going->pieces = *going->other_pieces;
  *going->other_pieces = swapped;
  return RH_OK;
}

// --- ByteLevel -----------------------------------------------------------------------------------------------------

// Bytes that come from where byte `like` of the old text comes from.
static rh_status put_like(rh_pretokenizing *going, const char *bytes, size_t length, size_t like) {
  rh_mapped *out = going->other;
  bool offsets = going->text->from != NULL;
  rh_status status = rh_mapped_reserve(out, length, offsets);
  if (status != RH_OK) return status;
  memcpy(out->bytes + out->length, bytes, length);
  for (size_t i = 0; i < length && offsets; i++) {
    out->from[out->length + i] = going->text->from[like];
    out->to[out->length + i] = going->text->to[like];
  }
  out->length += length;
  return RH_OK;
}

static rh_status prefix_spaces(rh_pretokenizing *going) {
  bool needed = false;
  for (size_t i = 0; i < going->pieces->count && !needed; i++) {
    const rh_piece *piece = &going->pieces->items[i];
    needed = piece->token < 0 && piece->end > piece->start && going->text->bytes[piece->start] != ' ';
  }
  if (!needed) return RH_OK;
  going->other->length = 0;
  rh_status status = RH_OK;
  for (size_t i = 0; i < going->pieces->count && status == RH_OK; i++) {
    rh_piece *piece = &going->pieces->items[i];
    size_t at = going->other->length;
    bool text = piece->token < 0 && piece->end > piece->start;
    if (text && going->text->bytes[piece->start] != ' ') status = put_like(going, " ", 1, piece->start);
    if (status == RH_OK) status = rh_mapped_append(going->other, going->text, piece->start, piece->end);
    piece->start = (uint32_t)at;
    piece->end = (uint32_t)going->other->length;
  }
  if (status == RH_OK) swap_texts(going);
  return status;
}

rh_status rh_rewrite_byte_level(const rh_pretokenizer_step *step, rh_pretokenizing *going) {
  static const rh_pretokenizer_step isolated = {.behavior = RH_SPLIT_ISOLATED};
  rh_status status = step->prepend == RH_PREPEND_ALWAYS ? prefix_spaces(going) : RH_OK;
  if (status == RH_OK && step->splits) status = rh_cut_pieces(&isolated, rh_cut_gpt2, going);
  if (status != RH_OK) return status;
  going->other->length = 0;
  status = rh_mapped_reserve(going->other, going->text->length + going->text->length / 2, going->text->from != NULL);
  for (size_t i = 0; i < going->pieces->count && status == RH_OK; i++) {
    rh_piece *piece = &going->pieces->items[i];
    size_t at = going->other->length;
    status = piece->token >= 0 ? rh_mapped_append(going->other, going->text, piece->start, piece->end)
                               : rh_byte_level_append(going->other, going->text, piece->start, piece->end);
    piece->start = (uint32_t)at;
    piece->end = (uint32_t)going->other->length;
  }
  if (status == RH_OK) swap_texts(going);
  return status;
}

// --- Metaspace -----------------------------------------------------------------------------------------------------

// Whether a piece is the beginning of the original. Without offsets, whether it is the beginning of what is left of it.
static bool is_first(const rh_pretokenizing *going, const rh_piece *piece) {
  return going->text->from != NULL ? going->text->from[piece->start] == 0 : piece->start == 0;
}

// One piece: spaces replaced, one prepended where the scheme says so, cut before each.
static rh_status meta_piece(const rh_pretokenizer_step *step, rh_pretokenizing *going, const rh_piece *piece) {
  const char *mark = step->replacement, *bytes = going->text->bytes;
  size_t mark_length = step->replacement_length, cut = going->other->length;
  bool has = bytes[piece->start] == ' ' ||
             (piece->end - piece->start >= mark_length && memcmp(bytes + piece->start, mark, mark_length) == 0);
  rh_status status = RH_OK;
  bool prepends = step->prepend == RH_PREPEND_ALWAYS || (step->prepend == RH_PREPEND_FIRST && is_first(going, piece));
  if (prepends && !has) status = put_like(going, mark, mark_length, piece->start);
  size_t run = piece->start;
  for (size_t i = piece->start; i < piece->end && status == RH_OK;) {
    bool space = bytes[i] == ' ';
    bool marks =
        space || (bytes[i] == mark[0] && piece->end - i >= mark_length && memcmp(bytes + i, mark, mark_length) == 0);
    if (!marks) {
      i++;
      continue;
    }
    status = rh_mapped_append(going->other, going->text, run, i);
    size_t at = going->other->length, length = space ? 1 : mark_length;
    if (status == RH_OK && space) status = put_like(going, mark, mark_length, i);
    if (status == RH_OK && !space) status = rh_mapped_append(going->other, going->text, i, i + length);
    if (status == RH_OK && step->splits && at > cut) {
      status = rh_pieces_add(going->other_pieces, (uint32_t)cut, (uint32_t)at, -1);
      cut = at;
    }
    i += length;
    run = i;
  }
  if (status == RH_OK) status = rh_mapped_append(going->other, going->text, run, piece->end);
  if (status != RH_OK) return status;
  return rh_pieces_add(going->other_pieces, (uint32_t)cut, (uint32_t)going->other->length, -1);
}

rh_status rh_rewrite_metaspace(const rh_pretokenizer_step *step, rh_pretokenizing *going) {
  going->other->length = 0;
  going->other_pieces->count = 0;
  rh_status status =
      rh_mapped_reserve(going->other, going->text->length + going->text->length / 2, going->text->from != NULL);
  for (size_t i = 0; i < going->pieces->count && status == RH_OK; i++) {
    const rh_piece *piece = &going->pieces->items[i];
    if (piece->token < 0) {
      if (piece->end > piece->start) status = meta_piece(step, going, piece);
      continue;
    }
    size_t at = going->other->length;
    status = rh_mapped_append(going->other, going->text, piece->start, piece->end);
    if (status == RH_OK) {
      status = rh_pieces_add(going->other_pieces, (uint32_t)at, (uint32_t)going->other->length, piece->token);
    }
  }
  if (status != RH_OK) return status;
  rh_pieces swapped = *going->pieces;
  *going->pieces = *going->other_pieces;
  *going->other_pieces = swapped;
  swap_texts(going);
  return RH_OK;
}
