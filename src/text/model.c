// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one face for the four models: reading them from JSON, words to tokens through the cache.
// Data owned: the model (read-only once built); an encode's memory and cache of words (one thread's).
// Threads: see above. Not here: how each model cuts a word (bpe.c, wordpiece.c, unigram.c).
#include "text/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE_MARK "\xe2\x96\x81"
#define KEPT_ITEMS ((size_t)1 << 16)  // an encode's memory beyond this is given back after a long piece

static const char *const kind_names[] = {"BPE", "WordPiece", "Unigram", "WordLevel"};

const char *rh_text_json_string(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

bool rh_text_json_bool(const json_t *object, const char *key, bool otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

bool rh_model_reserve(void **items, size_t *room, size_t count, size_t size) {
  if (count <= *room) return true;
  size_t larger = *room < 64 ? 64 : *room * 2;
  if (larger < count) larger = count;
  if (larger > SIZE_MAX / size) return false;
  void *grown = realloc(*items, larger * size);
  if (grown == NULL) return false;
  *items = grown;
  *room = larger;
  return true;
}

rh_status rh_model_tokens_add(rh_model_tokens *tokens, int32_t id, uint32_t start, uint32_t end, uint32_t word) {
  if (tokens->count == tokens->capacity &&
      !rh_model_reserve((void **)&tokens->items, &tokens->capacity, tokens->count + 1, sizeof *tokens->items))
    return RH_NO_MEMORY;
  tokens->items[tokens->count++] = (rh_model_token){id, start, end, word};
  return RH_OK;
}

void rh_model_find_bytes(const rh_vocabulary *vocabulary, int32_t ids[256]) {
  for (unsigned i = 0; i < 256; i++) {
    char text[8];
    (void)snprintf(text, sizeof text, "<0x%02X>", i);
    ids[i] = rh_vocabulary_find(vocabulary, text, 6);
  }
}

bool rh_model_has_bytes(const int32_t ids[256], const char *text, size_t length) {
  size_t i = 0;
  while (i < length && ids[(uint8_t)text[i]] >= 0) i++;
  return i == length;
}

// Old files do not name the kind; then what they hold tells.
static const char *kind_of(const json_t *json) {
  const char *type = rh_text_json_string(json, "type");
  if (type != NULL) return type;
  if (json_object_get(json, "merges") != NULL) return "BPE";
  if (json_is_array(json_object_get(json, "vocab"))) return "Unigram";
  return json_object_get(json, "max_input_chars_per_word") != NULL ? "WordPiece" : "WordLevel";
}

static rh_status read_unk(rh_text_model *self, const json_t *json, const char *otherwise, rh_error *error) {
  const char *text = rh_text_json_string(json, "unk_token");
  if (text == NULL) text = otherwise;
  self->unk = -1;
  if (text == NULL) return RH_OK;
  self->unk_token = strdup(text);
  if (self->unk_token == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
  self->unk = rh_vocabulary_find(&self->vocabulary, text, strlen(text));
  return RH_OK;
}

static rh_status read_model(rh_text_model *self, const json_t *json, rh_error *error) {
  const char *type = kind_of(json);
  size_t kind = 0;
  while (kind < sizeof kind_names / sizeof *kind_names && strcmp(type, kind_names[kind]) != 0) kind++;
  if (kind == sizeof kind_names / sizeof *kind_names)
    return rh_fail(error, RH_UNSUPPORTED,
                   "models of the kind \"%.40s\" are not known here; known: BPE, WordPiece, Unigram, WordLevel", type);
  self->kind = (rh_model_kind)kind;
  const json_t *tokens = json_object_get(json, "vocab");
  if (json_is_array(tokens) != (self->kind == RH_MODEL_UNIGRAM))
    return rh_fail(error, RH_INVALID, "the %s model's vocab is %s", kind_names[kind],
                   tokens == NULL ? "missing" : "of the wrong type");
  rh_status status = rh_vocabulary_init(&self->vocabulary, tokens, error);
  bool words = self->kind == RH_MODEL_WORDPIECE || self->kind == RH_MODEL_WORDLEVEL;
  const char *otherwise = words ? (self->kind == RH_MODEL_WORDPIECE ? "[UNK]" : "<unk>") : NULL;
  if (status == RH_OK) status = read_unk(self, json, otherwise, error);
  if (status != RH_OK) return status;
  switch (self->kind) {
    case RH_MODEL_BPE: return rh_bpe_init(self, json, error);
    case RH_MODEL_WORDPIECE: return rh_wordpiece_init(self, json, error);
    case RH_MODEL_UNIGRAM: return rh_unigram_init(self, json, error);
    case RH_MODEL_WORDLEVEL: break;
  }
  return RH_OK;
}

rh_status rh_text_model_from_json(const json_t *json, rh_text_model **out, rh_error *error) {
  *out = NULL;
  if (!json_is_object(json)) return rh_fail(error, RH_INVALID, "the tokenizer has no model");
  rh_text_model *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
  rh_status status = read_model(self, json, error);
  if (status == RH_OK) {
    *out = self;
  } else {
    rh_text_model_free(self);
  }
  return status;
}

void rh_text_model_free(rh_text_model *model) {
  if (model == NULL) return;
  rh_bpe_free(model);
  rh_vocabulary_free(&model->vocabulary);
  rh_trie_free(&model->trie);
  free(model->scores);
  free(model->unk_token);
  free(model);
}

const char *rh_text_model_name(const rh_text_model *model) { return kind_names[model->kind]; }

int32_t rh_text_model_size(const rh_text_model *model) { return model->vocabulary.size; }

int32_t rh_text_model_unk(const rh_text_model *model) { return model->unk; }

int32_t rh_text_model_find(const rh_text_model *model, const char *token, size_t length) {
  return rh_vocabulary_find(&model->vocabulary, token, length);
}

const char *rh_text_model_token(const rh_text_model *model, int32_t id, size_t *length) {
  return rh_vocabulary_text(&model->vocabulary, id, length);
}

bool rh_text_model_shows_text(const rh_text_model *model, int32_t id) {
  return model->kind == RH_MODEL_UNIGRAM && id == model->unk;
}

rh_text_model_work *rh_text_model_work_new(const rh_text_model *model) {
  rh_text_model_work *work = calloc(1, sizeof *work);
  if (work == NULL) return NULL;
  work->model = model;
  if (rh_word_cache_init(&work->cache)) return work;
  free(work);
  return NULL;
}

void rh_text_model_work_free(rh_text_model_work *work) {
  if (work == NULL) return;
  rh_word_cache_free(&work->cache);
  free(work->symbols);
  free(work->heap);
  free(work->nodes);
  free(work);
}

// What one long piece needed is not kept for ever.
static void give_back(rh_text_model_work *work) {
  if (work->symbols_room > KEPT_ITEMS) {
    free(work->symbols);
    work->symbols = NULL;
    work->symbols_room = 0;
  }
  if (work->heap_room > KEPT_ITEMS) {
    free(work->heap);
    work->heap = NULL;
    work->heap_room = 0;
  }
  if (work->nodes_room > KEPT_ITEMS) {
    free(work->nodes);
    work->nodes = NULL;
    work->nodes_room = 0;
  }
}

static rh_status tokenize_word_level(const rh_text_model *model, const rh_text_model_work *work, const char *text,
                                     size_t length, uint32_t position, uint32_t word, rh_model_tokens *out) {
  int32_t id = rh_vocabulary_find(&model->vocabulary, text, length);
  if (id < 0 || rh_model_hides(work, id)) id = model->unk;
  if (id < 0) return RH_INVALID;
  return rh_model_tokens_add(out, id, position, position + (uint32_t)length, word);
}

static rh_status tokenize_uncached(const rh_text_model *model, rh_text_model_work *work, const char *text,
                                   size_t length, uint32_t position, uint32_t word, rh_model_tokens *out,
                                   uint32_t *advance) {
  *advance = (uint32_t)length;
  switch (model->kind) {
    case RH_MODEL_BPE: return rh_bpe_tokenize(model, work, text, length, position, word, out, advance);
    case RH_MODEL_WORDPIECE: return rh_wordpiece_tokenize(model, work, text, length, position, word, out);
    case RH_MODEL_UNIGRAM: return rh_unigram_tokenize(model, work, text, length, position, word, out);
    case RH_MODEL_WORDLEVEL: return tokenize_word_level(model, work, text, length, position, word, out);
  }
  return RH_INTERNAL;
}

// A piece, or a part of one that stands for itself. *advance: how far its tokens reach, which is less than its length
// where a BPE model without an unknown token dropped characters.
static rh_status tokenize_part(const rh_text_model *model, rh_text_model_work *work, const char *text, size_t length,
                               uint32_t position, uint32_t word, rh_model_tokens *out, uint32_t *advance) {
  uint64_t hash = rh_text_hash(text, length);
  if (work->hidden != NULL) hash = ~hash;  // the same word may have other tokens then
  size_t count;
  const rh_word_token *known = rh_word_cache_find(&work->cache, hash, text, length, &count, advance);
  if (known != NULL) {
    if (!rh_model_reserve((void **)&out->items, &out->capacity, out->count + count, sizeof *out->items))
      return RH_NO_MEMORY;
    rh_model_token *to = out->items + out->count;
    for (size_t i = 0; i < count; i++)
      to[i] = (rh_model_token){known[i].id, position + known[i].start, position + known[i].end, word};
    out->count += count;
    return RH_OK;
  }
  size_t before = out->count;
  rh_status status = tokenize_uncached(model, work, text, length, position, word, out, advance);
  if (status == RH_OK)
    rh_word_cache_store(&work->cache, hash, text, length, out->items + before, out->count - before, position, *advance);
  return status;
}

// Where the part that begins at `text` ends: before the next "▁" that follows something else.
static size_t part_length(const char *text, size_t length) {
  size_t at = 0;
  while (length - at >= 3 && memcmp(text + at, SPACE_MARK, 3) == 0) at += 3;
  while (at < length) {
    const char *mark = memchr(text + at, SPACE_MARK[0], length - at);
    if (mark == NULL) return length;
    at = (size_t)(mark - text);
    if (length - at >= 3 && memcmp(mark, SPACE_MARK, 3) == 0) return at;
    at++;
  }
  return length;
}

static rh_status tokenize_parts(const rh_text_model *model, rh_text_model_work *work, const char *text, size_t length,
                                uint32_t position, uint32_t word, rh_model_tokens *out) {
  rh_status status = RH_OK;
  while (length > 0 && status == RH_OK) {
    uint32_t advance;
    size_t part = part_length(text, length);
    status = tokenize_part(model, work, text, part, position, word, out, &advance);
    text += part;
    length -= part;
    position += advance;
  }
  return status;
}

rh_status rh_text_model_tokenize(const rh_text_model *model, rh_text_model_work *work, const rh_mapped *text,
                                 const rh_piece *piece, uint32_t word, rh_model_tokens *out) {
  size_t length = piece->end - piece->start;
  const char *bytes = text->bytes + piece->start;
  uint32_t advance;
  if (length == 0) return RH_OK;
  if (length > RH_MODEL_PIECE_MAX) return RH_TOO_LARGE;
  rh_status status = model->kind == RH_MODEL_BPE && model->bpe.parts_at_spaces
                         ? tokenize_parts(model, work, bytes, length, piece->start, word, out)
                         : tokenize_part(model, work, bytes, length, piece->start, word, out, &advance);
  give_back(work);
  return status;
}
