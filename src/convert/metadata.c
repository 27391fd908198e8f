// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the model's numbers as GGUF keys. The keys are those of llama.cpp's src/llama-arch.cpp.
// Data owned: none. Threads: one. Not here: the vocabulary, and general.*.
#include <stdio.h>
#include <string.h>

#include "convert/model.h"

static void key_of(const rh_conversion *self, const char *key, char *out, size_t size) {
  (void)snprintf(out, size, "%s.%s", self->arch->gguf, key);
}

void rh_metadata_int(const rh_conversion *self, const char *key, int64_t value) {
  char name[96];
  key_of(self, key, name, sizeof name);
  gguf_set_val_u32(self->gguf, name, (uint32_t)value);
}

void rh_metadata_number(const rh_conversion *self, const char *key, double value) {
  char name[96];
  key_of(self, key, name, sizeof name);
  gguf_set_val_f32(self->gguf, name, (float)value);
}

void rh_metadata_bool(const rh_conversion *self, const char *key, bool value) {
  char name[96];
  key_of(self, key, name, sizeof name);
  gguf_set_val_bool(self->gguf, name, value);
}

void rh_metadata_text(const rh_conversion *self, const char *key, const char *value) {
  char name[96];
  key_of(self, key, name, sizeof name);
  gguf_set_val_str(self->gguf, name, value);
}

// Every how many layers one sees the whole context; 0 = the configuration does not say. -1: not regular.
static int64_t window_pattern(const json_t *config) {
  int64_t pattern =
      rh_source_int(config, "sliding_window_pattern", rh_source_int(config, "_sliding_window_pattern", 0));
  const json_t *types = json_object_get(config, "layer_types");
  if (pattern > 0 || json_array_size(types) == 0) return pattern;
  size_t count = json_array_size(types);
  for (size_t i = 0; i < count && pattern == 0; i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (type != NULL && strcmp(type, "full_attention") == 0) pattern = (int64_t)i + 1;
  }
  if (pattern == 0) return (int64_t)count + 1;
  for (size_t i = 0; i < count; i++) {
    const char *type = json_string_value(json_array_get(types, i));
    bool full = type != NULL && strcmp(type, "full_attention") == 0;
    if (full != ((int64_t)(i + 1) % pattern == 0)) return -1;
  }
  return pattern;
}

static rh_status write_gemma(const rh_conversion *self, rh_error *error) {
  const json_t *c = self->source->config;
  bool second = strcmp(self->arch->gguf, "gemma2") == 0, third = strcmp(self->arch->gguf, "gemma3") == 0;
  double attention = rh_source_number(c, "attn_logit_softcapping", 0.0),
         last = rh_source_number(c, "final_logit_softcapping", 0.0);
  if (second) {
    // llama.cpp always caps here; without a cap in config.json the model would come out different.
    if (!(attention > 0.0 && last > 0.0))
      return rh_fail(error, RH_UNSUPPORTED,
                     "config.json: a Gemma 2 without attn_logit_softcapping and final_logit_softcapping "
                     "cannot be run by llama.cpp");
    rh_metadata_number(self, "attn_logit_softcapping", attention);
  }
  if (third && attention > 0.0)
    return rh_fail(error, RH_UNSUPPORTED,
                   "config.json: attn_logit_softcapping is not computed by llama.cpp for Gemma 3");
  if (last > 0.0 && (second || third)) rh_metadata_number(self, "final_logit_softcapping", last);
  int64_t window = rh_source_int(c, "sliding_window", 0);
  if ((!second && !third) || window <= 0) return RH_OK;
  int64_t pattern = window_pattern(c);
  if (pattern < 0) return rh_fail(error, RH_UNSUPPORTED, "config.json: layer_types has no regular pattern of windows");
  if (pattern != 1) rh_metadata_int(self, "attention.sliding_window", window);
  if (pattern > 1) rh_metadata_int(self, "attention.sliding_window_pattern", pattern);
  return RH_OK;
}

static rh_status write_bert(const rh_conversion *self, rh_error *error) {
  const json_t *c = self->source->config;
  rh_metadata_number(self, "attention.layer_norm_epsilon", rh_source_number(c, "layer_norm_eps", 1e-12));
  rh_metadata_bool(self, "attention.causal", false);
  return rh_pooling_write(self, error);
}

static rh_status write_decoder(const rh_conversion *self, rh_error *error) {
  const rh_hparams *h = &self->hparams;
  const json_t *c = self->source->config;
  rh_metadata_int(self, "attention.head_count_kv", h->heads_kv);
  rh_metadata_int(self, "attention.key_length", h->head_dim);
  rh_metadata_int(self, "attention.value_length", h->head_dim);
  rh_metadata_number(self, "attention.layer_norm_rms_epsilon", rh_source_number(c, "rms_norm_eps", 1e-6));
  if (self->arch->family == RH_FAMILY_LLAMA) rh_metadata_int(self, "vocab_size", h->vocabulary);
  // Phi-3 asks for the key even when there is no window; it means nothing to llama.cpp now.
  if (self->arch->family == RH_FAMILY_PHI3)
    rh_metadata_int(self, "attention.sliding_window", rh_source_int(c, "sliding_window", 0));
  rh_status status = self->arch->family == RH_FAMILY_GEMMA ? write_gemma(self, error) : RH_OK;
  return status == RH_OK ? rh_pooling_write(self, error) : status;
}

rh_status rh_metadata_write(rh_conversion *self, const char *name, rh_error *error) {
  const rh_hparams *h = &self->hparams;
  gguf_set_val_str(self->gguf, "general.architecture", self->arch->gguf);
  rh_general_write(self, name);
  rh_metadata_int(self, "block_count", h->layers);
  rh_metadata_int(self, "context_length", h->context);
  rh_metadata_int(self, "embedding_length", h->embedding);
  rh_metadata_int(self, "feed_forward_length", h->feed_forward);
  rh_metadata_int(self, "attention.head_count", h->heads);
  rh_status status = self->arch->family == RH_FAMILY_BERT ? write_bert(self, error) : write_decoder(self, error);
  if (status == RH_OK) status = rh_rope_write(self, error);
  return status;
}
