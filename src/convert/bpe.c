// SPDX-License-Identifier: Apache-2.0
//
// Purpose: byte-level BPE (GPT-2's kind) from tokenizer.json: tokens, merges in both of the forms that files have, added
// tokens and the pre-tokenizer.
// Data owned: none. Threads: one. Not here: BPE with SentencePiece's marks (spm.c).
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "convert/pretokenizer.h"
#include "convert/vocab.h"

#define MERGE_BYTES_MAX 65536

// In a merge, the space parts its two halves; one within a half is written as byte-level text writes it (U+0120).
static void append_half(rh_dynbuf *out, const char *half) {
  for (; *half != '\0'; half++) {
    if (*half == ' ') {
      (void)rh_dynbuf_append_text(out, "\xc4\xa0");
    } else {
      (void)rh_dynbuf_append_char(out, *half);
    }
  }
}

// "a b" or ["a", "b"].
static char *merge_text(const json_t *merge) {
  if (json_is_string(merge)) return strdup(json_string_value(merge));
  const char *first = json_string_value(json_array_get(merge, 0)),
             *second = json_string_value(json_array_get(merge, 1));
  if (first == NULL || second == NULL || json_array_size(merge) != 2) return NULL;
  rh_dynbuf text;
  rh_dynbuf_init(&text, MERGE_BYTES_MAX);
  append_half(&text, first);
  (void)rh_dynbuf_append_char(&text, ' ');
  append_half(&text, second);
  return rh_dynbuf_take(&text, NULL);
}

static rh_status read_merges(rh_vocab *vocab, const json_t *merges, rh_error *error) {
  size_t count = json_array_size(merges);
  if (count == 0) return rh_fail(error, RH_INVALID, "tokenizer.json has no merges");
  vocab->merges = calloc(count, sizeof *vocab->merges);
  if (vocab->merges == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for %zu merges", count);
  for (size_t i = 0; i < count; i++) {
    char *text = merge_text(json_array_get(merges, i));
    if (text == NULL) return rh_fail(error, RH_INVALID, "tokenizer.json: merge %zu is not a pair of texts", i);
    vocab->merges[vocab->merge_count++] = text;
  }
  return RH_OK;
}

static rh_status read_tokens(rh_vocab *vocab, const json_t *tokens, rh_error *error) {
  if (json_object_size(tokens) == 0) return rh_fail(error, RH_INVALID, "tokenizer.json has no vocabulary");
  const char *text;
  json_t *id;
  json_object_foreach((json_t *)(uintptr_t)tokens, text, id) {
    if (!json_is_integer(id)) return rh_fail(error, RH_INVALID, "tokenizer.json: the token \"%.60s\" has no id", text);
    rh_status status = rh_vocab_set(vocab, json_integer_value(id), text, strlen(text), 0.0F, RH_TOKEN_NORMAL, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static void warn_of_normalizer(const rh_tokenizer *self) {
  const json_t *normalizer = json_object_get(self->json, "normalizer");
  if (!json_is_object(normalizer)) return;
  const char *type = rh_source_text(normalizer, "type");
  // llama.cpp composes nothing; ordinary text is composed already.
  if (type != NULL && strcmp(type, "NFC") == 0) return;
  rh_report_warning(self->conversion->report,
                    "tokenizer.json prepares text (%.40s) in a way that llama.cpp does not: some texts may "
                    "be cut into other tokens",
                    type != NULL ? type : "?");
}

rh_status rh_vocab_read_bpe(rh_tokenizer *self, rh_error *error) {
  const json_t *model = json_object_get(self->json, "model");
  self->model = "gpt2";
  self->pre = self->conversion->pre;
  rh_status status = RH_OK;
  if (self->pre == NULL) status = rh_pretokenizer_find(self->json, &self->pre, error);
  if (status == RH_OK) status = read_tokens(&self->vocab, json_object_get(model, "vocab"), error);
  if (status == RH_OK) status = read_merges(&self->vocab, json_object_get(model, "merges"), error);
  if (status == RH_OK) status = rh_vocab_add_tokens(self, error);
  if (status == RH_OK) warn_of_normalizer(self);
  self->add_bos = 0;
  return status;
}
