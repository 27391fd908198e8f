// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the BPE model: its merges from JSON, and a piece's characters as the symbols that merging begins with.
// Data owned: the table of merges (read-only once built). Threads: any. Not here: the merging itself (bpe_merge.c).
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/utf8.h"
#include "text/model.h"

#define MERGES_MAX (1U << 25)
#define TOKEN_BYTES_MAX ((size_t)1 << 20)
#define SPACE_MARK "\xe2\x96\x81"

static rh_merge *merge_slot(const rh_bpe *self, uint64_t pair) {
  uint64_t hash = pair * 0x9e3779b97f4a7c15U;
  uint32_t at = (uint32_t)(hash >> 32) & self->mask;
  while (self->merges[at].pair != pair && self->merges[at].pair != UINT64_MAX) at = (at + 1) & self->mask;
  return &self->merges[at];
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

const rh_merge *rh_bpe_find(const rh_bpe *self, int32_t left, int32_t right) {
  const rh_merge *found = merge_slot(self, pair_of(left, right));
  return found->pair == UINT64_MAX ? NULL : found;
}

typedef struct halves {
  const char *left, *right;
  size_t left_length, right_length;
} halves;

// "a b" or ["a", "b"].
static bool read_halves(const json_t *merge, halves *out) {
  if (json_is_string(merge)) {
    const char *text = json_string_value(merge);
    size_t length = json_string_length(merge);
    const char *space = memchr(text, ' ', length);
    if (space == NULL || memchr(space + 1, ' ', length - (size_t)(space + 1 - text)) != NULL) return false;
    *out = (halves){text, space + 1, (size_t)(space - text), length - (size_t)(space + 1 - text)};
    return true;
  }
  const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
  if (!json_is_string(left) || !json_is_string(right) || json_array_size(merge) != 2) return false;
  *out =
      (halves){json_string_value(left), json_string_value(right), json_string_length(left), json_string_length(right)};
  return true;
}

static bool joins_at_space(const halves *pair) {
  size_t mark = sizeof SPACE_MARK - 1;
  if (pair->right_length < mark || memcmp(pair->right, SPACE_MARK, mark) != 0) return false;
  return pair->left_length < mark || memcmp(pair->left + pair->left_length - mark, SPACE_MARK, mark) != 0;
}

// The token that a merge makes; -1 = none. A prefix of the right half goes.
static int32_t joined(const rh_vocabulary *vocabulary, const halves *pair, size_t prefix, rh_dynbuf *buffer) {
  if (pair->right_length < prefix) return -1;
  rh_dynbuf_clear(buffer);
  (void)rh_dynbuf_append(buffer, pair->left, pair->left_length);
  (void)rh_dynbuf_append(buffer, pair->right + prefix, pair->right_length - prefix);
  return buffer->failed ? -1 : rh_vocabulary_find(vocabulary, rh_dynbuf_data(buffer), buffer->length);
}

static rh_status read_merge(rh_text_model *self, const json_t *merge, uint32_t rank, rh_dynbuf *buffer,
                            rh_error *error) {
  halves pair;
  if (!read_halves(merge, &pair)) return rh_fail(error, RH_INVALID, "merge %u is not a pair of tokens", rank);
  int32_t left = rh_vocabulary_find(&self->vocabulary, pair.left, pair.left_length);
  int32_t right = rh_vocabulary_find(&self->vocabulary, pair.right, pair.right_length);
  size_t prefix = self->bpe.prefix != NULL ? strlen(self->bpe.prefix) : 0;
  int32_t id = joined(&self->vocabulary, &pair, prefix, buffer);
  if (left < 0 || right < 0 || id < 0)
    return rh_fail(error, RH_INVALID, "merge %u (\"%.40s\" and \"%.40s\") is of or makes a text that is no token", rank,
                   pair.left, pair.right);
  if (joins_at_space(&pair)) self->bpe.parts_at_spaces = false;
  rh_merge *slot = merge_slot(&self->bpe, pair_of(left, right));
  *slot = (rh_merge){pair_of(left, right), rank, id};  // of two for one pair, the later counts
  return RH_OK;
}

static rh_status read_merges(rh_text_model *self, const json_t *merges, rh_error *error) {
  size_t count = json_array_size(merges), slots = 16;
  if (!json_is_array(merges)) return rh_fail(error, RH_INVALID, "the BPE model's merges are missing");
  if (count > MERGES_MAX) return rh_fail(error, RH_TOO_LARGE, "the BPE model has more than %u merges", MERGES_MAX);
  while (slots < 2 * count) slots *= 2;
  self->bpe.merges = malloc(slots * sizeof *self->bpe.merges);
  if (self->bpe.merges == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for %zu merges", count);
  self->bpe.mask = (uint32_t)(slots - 1);
  for (size_t i = 0; i < slots; i++) self->bpe.merges[i].pair = UINT64_MAX;
  rh_dynbuf buffer;
  rh_dynbuf_init(&buffer, TOKEN_BYTES_MAX);
  rh_status status = RH_OK;
  for (size_t i = 0; i < count && status == RH_OK; i++)
    status = read_merge(self, json_array_get(merges, i), (uint32_t)i, &buffer, error);
  rh_dynbuf_free(&buffer);
  return status;
}

static rh_status copy_text(const json_t *json, const char *key, char **out, rh_error *error) {
  const char *text = rh_text_json_string(json, key);
  if (text == NULL || text[0] == '\0') return RH_OK;
  *out = strdup(text);
  return *out != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
}

rh_status rh_bpe_init(rh_text_model *self, const json_t *json, rh_error *error) {
  rh_bpe *bpe = &self->bpe;
  double dropout = json_number_value(json_object_get(json, "dropout"));
  if (dropout > 0.0 || dropout < 0.0)
    return rh_fail(error, RH_UNSUPPORTED, "the BPE model has a dropout of %g: a text would get other tokens each time",
                   dropout);
  bpe->byte_fallback = rh_text_json_bool(json, "byte_fallback", false);
  bpe->ignore_merges = rh_text_json_bool(json, "ignore_merges", false);
  bpe->fuse_unk = rh_text_json_bool(json, "fuse_unk", false);
  bpe->has_unk = self->unk_token != NULL;
  rh_status status = copy_text(json, "continuing_subword_prefix", &bpe->prefix, error);
  if (status == RH_OK) status = copy_text(json, "end_of_word_suffix", &bpe->suffix, error);
  if (status != RH_OK) return status;
  rh_model_find_bytes(&self->vocabulary, bpe->byte_ids);
  for (unsigned i = 0; i < 128; i++) {
    char byte = (char)i;
    bpe->ascii[i] = rh_vocabulary_find(&self->vocabulary, &byte, 1);
  }
  bpe->parts_at_spaces = bpe->prefix == NULL && bpe->suffix == NULL && !bpe->ignore_merges &&
                         rh_vocabulary_find(&self->vocabulary, SPACE_MARK, sizeof SPACE_MARK - 1) >= 0;
  return read_merges(self, json_object_get(json, "merges"), error);
}

void rh_bpe_free(rh_text_model *self) {
  free(self->bpe.merges);
  free(self->bpe.prefix);
  free(self->bpe.suffix);
}

// --- characters to symbols -------------------------------------------------------------------------------------------

typedef struct spelling {
  const rh_text_model *model;
  rh_text_model_work *work;
  size_t count;  // of symbols
  bool unknown;  // some characters are waiting to become one unknown token
  uint32_t unknown_length;
  char *buffer;  // for a character with its prefix and suffix
} spelling;

static bool add_symbol(spelling *self, int32_t id, uint32_t length) {
  rh_text_model_work *work = self->work;
  if (self->count == work->symbols_room &&
      !rh_model_reserve((void **)&work->symbols, &work->symbols_room, self->count + 1, sizeof *work->symbols))
    return false;
  work->symbols[self->count++] = (rh_bpe_symbol){.id = id, .length = length};
  return true;
}

static bool flush_unknown(spelling *self) {
  if (!self->unknown) return true;
  self->unknown = false;
  return add_symbol(self, self->model->unk, self->unknown_length);
}

// A character's text in the vocabulary: itself between prefix and suffix. `length` in and out.
static const char *dressed(const spelling *self, const char *at, size_t *length, bool first, bool last) {
  const rh_bpe *bpe = &self->model->bpe;
  const char *prefix = first ? NULL : bpe->prefix, *suffix = last ? bpe->suffix : NULL;
  if (prefix == NULL && suffix == NULL) return at;
  size_t before = prefix != NULL ? strlen(prefix) : 0, after = suffix != NULL ? strlen(suffix) : 0;
  if (before > 0) memcpy(self->buffer, prefix, before);
  memcpy(self->buffer + before, at, *length);
  if (after > 0) memcpy(self->buffer + before + *length, suffix, after);
  *length += before + after;
  return self->buffer;
}

static rh_status add_unknown(spelling *self, const char *text, size_t length, uint32_t plain_length) {
  const rh_bpe *bpe = &self->model->bpe;
  if (bpe->byte_fallback && rh_model_has_bytes(bpe->byte_ids, text, length)) {
    for (size_t i = 0; i < length; i++) {
      if (!add_symbol(self, bpe->byte_ids[(uint8_t)text[i]], 1)) return RH_NO_MEMORY;
    }
    return RH_OK;
  }
  if (!bpe->has_unk) return RH_OK;  // dropped, as the package does
  if (self->model->unk < 0) return RH_INVALID;
  if (self->unknown && bpe->fuse_unk) {
    self->unknown_length += plain_length;
    return RH_OK;
  }
  if (!flush_unknown(self)) return RH_NO_MEMORY;
  self->unknown = true;
  self->unknown_length = plain_length;
  return RH_OK;
}

static rh_status spell(spelling *self, const char *text, size_t length) {
  const rh_bpe *bpe = &self->model->bpe;
  bool plain = bpe->prefix == NULL && bpe->suffix == NULL;
  for (size_t at = 0; at < length;) {
    size_t step = rh_utf8_char_length(text + at, length - at);
    if (step == 0) step = 1;
    size_t dressed_length = step;
    const char *name = text + at;
    int32_t id;
    if (plain && step == 1 && (uint8_t)*name < 128) {
      id = bpe->ascii[(uint8_t)*name];
    } else {
      name = dressed(self, name, &dressed_length, at == 0, at + step == length);
      id = rh_vocabulary_find(&self->model->vocabulary, name, dressed_length);
    }
    rh_status status = RH_OK;
    if (id < 0) {
      status = add_unknown(self, name, dressed_length, (uint32_t)step);
    } else if (!flush_unknown(self) || !add_symbol(self, id, (uint32_t)step)) {
      status = RH_NO_MEMORY;
    }
    if (status != RH_OK) return status;
    at += step;
  }
  return flush_unknown(self) ? RH_OK : RH_NO_MEMORY;
}

static rh_status spell_piece(spelling *self, const char *text, size_t length) {
  const rh_bpe *bpe = &self->model->bpe;
  char small[64];
  size_t need = (bpe->prefix != NULL ? strlen(bpe->prefix) : 0) + (bpe->suffix != NULL ? strlen(bpe->suffix) : 0) + 4;
  self->buffer = need <= sizeof small ? small : malloc(need);
  if (self->buffer == NULL) return RH_NO_MEMORY;
  rh_status status = spell(self, text, length);
  if (self->buffer != small) free(self->buffer);
  return status;
}

rh_status rh_bpe_tokenize(const rh_text_model *self, rh_text_model_work *work, const char *text, size_t length,
                          uint32_t position, uint32_t word, rh_model_tokens *out, uint32_t *advance) {
  *advance = (uint32_t)length;
  if (self->bpe.ignore_merges) {
    int32_t id = rh_vocabulary_find(&self->vocabulary, text, length);
    if (id >= 0 && !rh_model_hides(work, id))
      return rh_model_tokens_add(out, id, position, position + (uint32_t)length, word);
  }
  spelling symbols = {.model = self, .work = work};
  rh_status status = spell_piece(&symbols, text, length);
  if (status == RH_OK) status = rh_bpe_merge(&self->bpe, work, symbols.count);
  if (status != RH_OK) return status;
  uint32_t at = position;
  for (size_t i = 0; i < symbols.count; i++) {
    const rh_bpe_symbol *symbol = &work->symbols[i];
    if (symbol->length == 0) continue;  // joined to another
    status = rh_model_tokens_add(out, symbol->id, at, at + symbol->length, word);
    if (status != RH_OK) return status;
    at += symbol->length;
  }
  *advance = at - position;
  return RH_OK;
}
