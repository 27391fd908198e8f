// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the table of tokens, what is added to it, and its way into a GGUF file.
// Data owned: texts, scores, types, merges. Threads: one. Not here: the formats that vocabularies come in.
#include "convert/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define ADDED_SCORE (-1000.0F)

rh_status rh_vocab_init(rh_vocab *self, int64_t count, rh_error *error) {
  *self = (rh_vocab){.count = count, .ids = json_object()};
  size_t size = (size_t)count;
  self->texts = calloc(size, sizeof *self->texts);
  self->scores = calloc(size, sizeof *self->scores);
  self->types = calloc(size, sizeof *self->types);
  if (self->texts != NULL && self->scores != NULL && self->types != NULL && self->ids != NULL) return RH_OK;
  return rh_fail(error, RH_NO_MEMORY, "out of memory for %lld tokens", (long long)count);
}

void rh_vocab_free(rh_vocab *self) {
  for (int64_t i = 0; i < self->count && self->texts != NULL; i++) free(self->texts[i]);
  for (size_t i = 0; i < self->merge_count; i++) free(self->merges[i]);
  free(self->texts);
  free(self->scores);
  free(self->types);
  free(self->merges);
  json_decref(self->ids);
  *self = (rh_vocab){0};
}

rh_status rh_vocab_set(rh_vocab *self, int64_t id, const char *text, size_t length, float score, int type,
                       rh_error *error) {
  if (id < 0 || id >= self->count)
    return rh_fail(error, RH_INVALID,
                   "the tokenizer's token \"%.*s\" has id %lld, but the model has only %lld embeddings",
                   (int)(length < 60 ? length : 60), text, (long long)id, (long long)self->count);
  char *copy = strndup(text, length);
  if (copy == NULL || json_object_set_new(self->ids, copy, json_integer(id)) != 0) {
    free(copy);
    return rh_fail(error, RH_NO_MEMORY, "out of memory for the vocabulary");
  }
  free(self->texts[id]);
  self->texts[id] = copy;
  self->scores[id] = score;
  self->types[id] = type;
  return RH_OK;
}

int64_t rh_vocab_find(const rh_vocab *self, const char *text) {
  const json_t *id = json_object_get(self->ids, text);
  return json_is_integer(id) ? json_integer_value(id) : -1;
}

bool rh_tokenizer_has(const json_t *step, const char *type, const json_t **found) {
  static const char *const lists[] = {"pretokenizers", "normalizers", "decoders", "processors"};
  const char *own = rh_source_text(step, "type");
  if (own == NULL) return false;
  if (strcmp(own, type) == 0) {
    if (found != NULL) *found = step;
    return true;
  }
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    const json_t *list = json_object_get(step, lists[i]);
    // Nesting is bounded by the JSON reader.
    for (size_t j = 0; j < json_array_size(list); j++) {
      if (rh_tokenizer_has(json_array_get(list, j), type, found)) return true;
    }
  }
  return false;
}

// Some models' files do not mark tokens as special that plainly are.
static bool looks_special(const char *text) {
  static const char *const whole[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    if (strcmp(text, whole[i]) == 0) return true;
  }
  return (rh_text_starts_with(text, "<|") && rh_text_ends_with(text, "|>")) ||
         (rh_text_starts_with(text, "<\xef\xbd\x9c") && rh_text_ends_with(text, "\xef\xbd\x9c>")) ||
         (rh_text_starts_with(text, "<unused") && rh_text_ends_with(text, ">"));
}

// SentencePiece's mark for a space; tokens that users write are matched before the text has such marks.
static char *with_spaces(const char *text) {
  char *out = malloc(strlen(text) + 1), *to = out;
  if (out == NULL) return NULL;
  while (*text != '\0') {
    if (strncmp(text, "\xe2\x96\x81", 3) == 0) {
      *to++ = ' ';
      text += 3;
    } else {
      *to++ = *text++;
    }
  }
  *to = '\0';
  return out;
}

static rh_status add_token(rh_tokenizer *self, int64_t id, const char *text, bool special, rh_error *error) {
  rh_vocab *vocab = &self->vocab;
  if (id >= vocab->count) {
    rh_report_warning(self->conversion->report,
                      "the token \"%.60s\" (%lld) is left out: the model has only %lld embeddings", text, (long long)id,
                      (long long)vocab->count);
    return RH_OK;
  }
  int type = special || looks_special(text) ? RH_TOKEN_CONTROL : RH_TOKEN_USER_DEFINED;
  if (id >= 0 && (vocab->types[id] == RH_TOKEN_UNKNOWN || vocab->types[id] == RH_TOKEN_BYTE)) type = vocab->types[id];
  rh_status status = rh_vocab_set(vocab, id, text, strlen(text), ADDED_SCORE, type, error);
  if (status != RH_OK || type != RH_TOKEN_USER_DEFINED) return status;
  char *plain = with_spaces(text);
  if (plain == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the vocabulary");
  free(vocab->texts[id]);
  vocab->texts[id] = plain;
  return RH_OK;
}

static rh_status add_from_decoder(rh_tokenizer *self, const json_t *decoder, rh_error *error) {
  const char *key;
  json_t *entry;
  json_object_foreach((json_t *)(uintptr_t)decoder, key, entry) {
    char *end;
    long long id = strtoll(key, &end, 10);
    const char *text = rh_source_text(entry, "content");
    if (*end != '\0' || end == key || text == NULL)
      return rh_fail(error, RH_INVALID,
                     "tokenizer_config.json: \"added_tokens_decoder\" is not a list of ids and texts");
    rh_status status = add_token(self, id, text, rh_source_bool(entry, "special", false), error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_vocab_add_tokens(rh_tokenizer *self, rh_error *error) {
  json_t *file = NULL;
  rh_status status = rh_source_read_json(self->conversion->source, "added_tokens.json", &file, error);
  const char *text;
  json_t *entry;
  size_t i;
  json_object_foreach(file, text, entry) {
    // Whether it is special, the other two say.
    if (status == RH_OK) status = add_token(self, json_integer_value(entry), text, false, error);
  }
  json_decref(file);
  if (status == RH_OK)
    status = add_from_decoder(self, json_object_get(self->conversion->source->tokenizer_config, "added_tokens_decoder"),
                              error);
  json_array_foreach(json_object_get(self->json, "added_tokens"), i, entry) {
    const char *content = rh_source_text(entry, "content");
    if (status != RH_OK) break;
    status = content == NULL ? rh_fail(error, RH_INVALID, "tokenizer.json: an added token has no \"content\"")
                             : add_token(self, rh_source_int(entry, "id", -1), content,
                                         rh_source_bool(entry, "special", false), error);
  }
  return status;
}

// llama.cpp takes neither gaps nor two tokens of one text.
static rh_status make_unique(rh_tokenizer *self, rh_error *error) {
  rh_vocab *vocab = &self->vocab;
  json_t *seen = json_object();
  rh_status status = RH_OK;
  int64_t twice = 0, named = 0;
  for (int64_t i = 0; i < vocab->count && status == RH_OK; i++) {
    char spare[48];
    bool missing = vocab->texts[i] == NULL, doubled = !missing && json_object_get(seen, vocab->texts[i]) != NULL;
    if (missing || doubled) {
      (void)snprintf(spare, sizeof spare, missing ? "[PAD%lld]" : "[TWICE%lld]", (long long)i);
      free(vocab->texts[i]);
      vocab->texts[i] = strdup(spare);
      vocab->types[i] = RH_TOKEN_UNUSED;
      vocab->scores[i] = 10 * ADDED_SCORE;
    }
    twice += doubled;
    named += !missing;
    if (vocab->texts[i] == NULL || json_object_set_new(seen, vocab->texts[i], json_true()) != 0)
      status = rh_fail(error, RH_NO_MEMORY, "out of memory for the vocabulary");
  }
  json_decref(seen);
  if (status == RH_OK && named == 0) status = rh_fail(error, RH_INVALID, "the tokenizer has no tokens");
  if (twice > 0)
    rh_report_warning(self->conversion->report, "%lld tokens have the text of another; they are marked unused",
                      (long long)twice);
  return status;
}

rh_status rh_vocab_write(rh_tokenizer *self, rh_error *error) {
  struct gguf_context *gguf = self->conversion->gguf;
  rh_vocab *vocab = &self->vocab;
  rh_status status = make_unique(self, error);
  if (status != RH_OK) return status;
  size_t count = (size_t)vocab->count;
  gguf_set_val_str(gguf, "tokenizer.ggml.model", self->model);
  gguf_set_val_str(gguf, "tokenizer.ggml.pre", self->pre);
  gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", (const char **)vocab->texts, count);
  if (self->scored) gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocab->scores, count);
  gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocab->types, count);
  if (vocab->merge_count > 0)
    gguf_set_arr_str(gguf, "tokenizer.ggml.merges", (const char **)vocab->merges, vocab->merge_count);
  return RH_OK;
}
