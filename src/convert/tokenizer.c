// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which kind of vocabulary a folder holds, and its way into the file.
// Data owned: tokenizer.json and the vocabulary, during the call. Threads: one. Not here: each kind's own rules.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/vocab.h"

static bool has_file(const rh_source *source, const char *name) {
  char path[4400];
  return snprintf(path, sizeof path, "%s/%s", source->folder, name) < (int)sizeof path && access(path, R_OK) == 0;
}

static bool is_byte_level(const json_t *json) {
  return rh_tokenizer_has(json_object_get(json, "pre_tokenizer"), "ByteLevel", NULL) ||
         rh_tokenizer_has(json_object_get(json, "decoder"), "ByteLevel", NULL);
}

static rh_status read_vocabulary(rh_tokenizer *self, rh_error *error) {
  const rh_source *source = self->conversion->source;
  const char *kind = rh_source_text(json_object_get(self->json, "model"), "type");
  bool bert = self->conversion->arch->family == RH_FAMILY_BERT;
  // Old files do not name the kind; only BPE has merges.
  if (kind == NULL && json_object_get(json_object_get(self->json, "model"), "merges") != NULL) kind = "BPE";
  if (kind != NULL && strcmp(kind, "BPE") == 0 && is_byte_level(self->json)) return rh_vocab_read_bpe(self, error);
  if (bert && kind != NULL && strcmp(kind, "Unigram") == 0) return rh_vocab_read_unigram(self, error);
  if (bert && (kind == NULL || strcmp(kind, "WordPiece") == 0)) return rh_vocab_read_wordpiece(self, error);
  if (!bert && has_file(source, "tokenizer.model")) return rh_vocab_read_sentencepiece(self, "tokenizer.model", error);
  if (!bert && kind != NULL && strcmp(kind, "BPE") == 0) return rh_vocab_read_spm_json(self, error);
  if (kind == NULL)
    return rh_fail(error, RH_NOT_FOUND, "%s has no tokenizer that can be read: tokenizer.json%s is missing",
                   source->folder, bert ? "" : " or tokenizer.model");
  return rh_fail(error, RH_UNSUPPORTED,
                 "tokenizer.json holds a vocabulary of the kind %.40s, which cannot be converted for %s", kind,
                 self->conversion->arch->name);
}

// Tokens of a Phi-3 that swallow white space after them.
static bool strips_space(const rh_tokenizer *self) {
  const json_t *settings = self->conversion->source->tokenizer_config;
  const char *key;
  json_t *token;
  size_t i;
  json_array_foreach(json_object_get(self->json, "added_tokens"), i, token) {
    if (rh_source_bool(token, "rstrip", false)) return true;
  }
  json_object_foreach(json_object_get(settings, "added_tokens_decoder"), key, token) {
    if (rh_source_bool(token, "rstrip", false)) return true;
  }
  return false;
}

// llama.cpp has no key for such tokens. It lets them swallow white space when the model's name says Phi-3, and then fails
// on a vocabulary without the four tokens that Phi-3 has; so the name must tell what the vocabulary is.
static void fit_name(const rh_tokenizer *self) {
  static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<|endoftext|>"};
  struct gguf_context *gguf = self->conversion->gguf;
  int64_t key = gguf_find_key(gguf, "general.name");
  const char *name = key >= 0 ? gguf_get_val_str(gguf, key) : "";
  bool named = strcasestr(name, "phi-3") != NULL || strcasestr(name, "phi3") != NULL, complete = true;
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
    complete = complete && rh_vocab_find(&self->vocab, tokens[i]) >= 0;
  if (named && !complete) {
    rh_report_warning(
        self->conversion->report,
        "the name \"%.60s\" makes llama.cpp expect Phi-3's tokens, which are not there; the file is named otherwise",
        name);
    gguf_set_val_str(gguf, "general.name",
                     self->conversion->arch->gguf[0] == 'p' ? "phi" : self->conversion->arch->gguf);
  }
  bool wanted = self->conversion->arch->family == RH_FAMILY_PHI3 && complete && strips_space(self);
  if (named || !wanted) return;
  char longer[512];
  (void)snprintf(longer, sizeof longer, "%.400s (Phi-3)", name);
  gguf_set_val_str(gguf, "general.name", longer);
}

rh_status rh_tokenizer_write(rh_conversion *conversion, rh_error *error) {
  rh_tokenizer self = {.conversion = conversion, .add_bos = -1, .add_eos = -1, .add_sep = -1, .add_space_prefix = -1};
  rh_status status = rh_source_read_json(conversion->source, "tokenizer.json", &self.json, error);
  if (status == RH_OK) status = rh_vocab_init(&self.vocab, conversion->hparams.vocabulary, error);
  if (status == RH_OK) status = read_vocabulary(&self, error);
  if (status == RH_OK) fit_name(&self);
  if (status == RH_OK) status = rh_special_write(&self, error);
  if (status == RH_OK) status = rh_vocab_write(&self, error);
  // llama.cpp asks for it even where a model has no such embedding.
  if (conversion->arch->family == RH_FAMILY_BERT)
    gguf_set_val_u32(conversion->gguf, "tokenizer.ggml.token_type_count",
                     (uint32_t)rh_source_int(conversion->source->config, "type_vocab_size", 1));
  rh_vocab_free(&self.vocab);
  json_decref(self.json);
  return status;
}
