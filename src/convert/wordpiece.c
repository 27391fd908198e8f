// SPDX-License-Identifier: Apache-2.0
//
// Purpose: WordPiece vocabularies (BERT) from tokenizer.json or vocab.txt. Those mark what continues a word ("##ing");
// llama.cpp marks what begins one, with SentencePiece's mark for a space, so the marks change places.
// Data owned: none. Threads: one. Not here: normalisation beyond the two switches that llama.cpp has.
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "convert/vocab.h"

#define VOCAB_BYTES_MAX ((size_t)64 << 20)
#define SPACE_MARK "\xe2\x96\x81"

static rh_status read_text_file(rh_tokenizer *self, rh_error *error) {
  rh_dynbuf text;
  rh_status status = rh_source_read(self->conversion->source, "vocab.txt", VOCAB_BYTES_MAX, &text, error);
  if (status == RH_NOT_FOUND)
    status =
        rh_fail(error, RH_NOT_FOUND, "%s has neither tokenizer.json nor vocab.txt", self->conversion->source->folder);
  const char *at = rh_dynbuf_data(&text), *end = at + text.length;
  for (int64_t id = 0; status == RH_OK && at < end; id++) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    if (stop == NULL) stop = end;
    size_t length = (size_t)(stop - at);
    if (length > 0 && at[length - 1] == '\r') length--;
    status = rh_vocab_set(&self->vocab, id, at, length, 0.0F, RH_TOKEN_NORMAL, error);
    at = stop < end ? stop + 1 : end;
  }
  rh_dynbuf_free(&text);
  return status;
}

static rh_status read_json(rh_tokenizer *self, const json_t *model, rh_error *error) {
  const char *prefix = rh_source_text(model, "continuing_subword_prefix");
  if (prefix != NULL && strcmp(prefix, "##") != 0)
    return rh_fail(error, RH_UNSUPPORTED, "tokenizer.json: words go on with \"%.20s\"; only \"##\" can be converted",
                   prefix);
  const char *text;
  json_t *id;
  json_object_foreach(json_object_get(model, "vocab"), text, id) {
    rh_status status = rh_vocab_set(&self->vocab, json_is_integer(id) ? json_integer_value(id) : -1, text, strlen(text),
                                    0.0F, RH_TOKEN_NORMAL, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// The five that every BERT has, for folders that do not list them as added tokens.
static void mark_controls(rh_vocab *vocab) {
  static const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int64_t id = rh_vocab_find(vocab, names[i]);
    if (id >= 0) vocab->types[id] = RH_TOKEN_CONTROL;
  }
}

static rh_status move_marks(rh_vocab *vocab, rh_error *error) {
  for (int64_t i = 0; i < vocab->count; i++) {
    char *text = vocab->texts[i];
    if (text == NULL || vocab->types[i] != RH_TOKEN_NORMAL) continue;
    size_t length = strlen(text);
    if (length > 2 && text[0] == '#' && text[1] == '#') {
      memmove(text, text + 2, length - 1);
      continue;
    }
    char *marked = malloc(length + sizeof SPACE_MARK);
    if (marked == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the vocabulary");
    memcpy(marked, SPACE_MARK, sizeof SPACE_MARK - 1);
    memcpy(marked + sizeof SPACE_MARK - 1, text, length + 1);
    free(text);
    vocab->texts[i] = marked;
  }
  return RH_OK;
}

static void write_normalizer(const rh_tokenizer *self) {
  struct gguf_context *gguf = self->conversion->gguf;
  const json_t *settings = self->conversion->source->tokenizer_config, *bert = NULL;
  const json_t *normalizer = json_object_get(self->json, "normalizer");
  bool lower = rh_source_bool(settings, "do_lower_case", true);
  if (rh_tokenizer_has(normalizer, "BertNormalizer", &bert)) {
    lower = rh_source_bool(bert, "lowercase", lower);
  } else if (normalizer != NULL) {
    lower = rh_tokenizer_has(normalizer, "Lowercase", NULL);
  }
  // Unless it is said otherwise, accents go when capitals go.
  bool strip = rh_source_bool(bert, "strip_accents", rh_source_bool(settings, "strip_accents", lower));
  gguf_set_val_bool(gguf, "tokenizer.ggml.normalizer.lowercase", lower);
  gguf_set_val_bool(gguf, "tokenizer.ggml.normalizer.strip_accents", strip);
}

rh_status rh_vocab_read_wordpiece(rh_tokenizer *self, rh_error *error) {
  self->model = "bert";
  self->pre = "default";
  const json_t *model = json_object_get(self->json, "model");
  rh_status status = model != NULL ? read_json(self, model, error) : read_text_file(self, error);
  if (status == RH_OK) mark_controls(&self->vocab);
  if (status == RH_OK) status = rh_vocab_add_tokens(self, error);
  if (status == RH_OK) status = move_marks(&self->vocab, error);
  if (status == RH_OK) write_normalizer(self);
  return status;
}
