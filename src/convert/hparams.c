// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the numbers of config.json, under the several names that they have, checked against each other, the tensors
// and what llama.cpp computes.
// Data owned: none. Threads: one. Not here: writing them.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "convert/model.h"

#define SIZE_MAX_SANE (INT64_C(1) << 24)
#define LAYERS_MAX 4096

// The first of the keys that is there; 0 when none is.
static int64_t first_int(const json_t *config, const char *const *keys) {
  for (; *keys != NULL; keys++) {
    int64_t value = rh_source_int(config, *keys, 0);
    if (value != 0) return value;
  }
  return 0;
}

static rh_status check_sizes(const rh_hparams *h, rh_error *error) {
  const struct {
    const char *name;
    int64_t value, max;
  } rows[] = {
      {"num_hidden_layers", h->layers, LAYERS_MAX},
      {"hidden_size", h->embedding, SIZE_MAX_SANE},
      {"intermediate_size", h->feed_forward, SIZE_MAX_SANE},
      {"num_attention_heads", h->heads, SIZE_MAX_SANE},
      {"num_key_value_heads", h->heads_kv, h->heads},
      {"head_dim", h->head_dim, SIZE_MAX_SANE},
      {"max_position_embeddings", h->context, INT64_C(1) << 31},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].value < 1 || rows[i].value > rows[i].max)
      return rh_fail(error, RH_INVALID, "config.json: %s is %lld or missing; it must be from 1 to %lld", rows[i].name,
                     (long long)rows[i].value, (long long)rows[i].max);
  }
  if (h->heads % h->heads_kv != 0)
    return rh_fail(error, RH_INVALID, "config.json: %lld attention heads cannot share %lld key-value heads",
                   (long long)h->heads, (long long)h->heads_kv);
  return RH_OK;
}

static void read_sizes(rh_hparams *h, const json_t *c) {
  h->layers = first_int(c, (const char *[]){"num_hidden_layers", "n_layers", "n_layer", NULL});
  h->embedding = first_int(c, (const char *[]){"hidden_size", "dim", "n_embd", NULL});
  h->feed_forward = first_int(c, (const char *[]){"intermediate_size", "hidden_dim", NULL});
  h->heads = first_int(c, (const char *[]){"num_attention_heads", "n_heads", NULL});
  h->heads_kv = rh_source_int(c, "num_key_value_heads", h->heads);
  h->head_dim = rh_source_int(c, "head_dim", h->heads > 0 ? h->embedding / h->heads : 0);
  h->context = first_int(c, (const char *[]){"max_position_embeddings", "n_positions", NULL});
}

// "rope_parameters" (new) or "rope_scaling" (old); either may be split by kind of layer.
static void read_rope(rh_hparams *h, const json_t *c) {
  const json_t *rope = json_object_get(c, "rope_parameters");
  if (!json_is_object(rope)) rope = json_object_get(c, "rope_scaling");
  if (!json_is_object(rope)) rope = NULL;
  const json_t *full = json_object_get(rope, "full_attention");
  h->rope_local = json_object_get(rope, "sliding_attention");
  h->rope = json_is_object(full) ? full : rope;
  h->rope_theta = rh_source_number(h->rope, "rope_theta", rh_source_number(c, "rope_theta", 10000.0));
  const char *type = rh_source_text(h->rope, "rope_type");
  if (type == NULL) type = rh_source_text(h->rope, "type");
  if (type == NULL || strcmp(type, "default") == 0) type = "";
  if (strcmp(type, "su") == 0) type = "longrope";
  (void)rh_text_copy(h->rope_type, sizeof h->rope_type, type);
}

static rh_status check_activation(const rh_arch *arch, const json_t *c, rh_error *error) {
  const char *given = rh_source_text(c, "hidden_activation");
  if (given == NULL) given = rh_source_text(c, "hidden_act");
  if (given == NULL) given = rh_source_text(c, "activation");
  if (given == NULL) return RH_OK;
  size_t length = strlen(given);
  for (const char *at = arch->activation; at != NULL; at = strchr(at, '|')) {
    if (*at == '|') at++;
    if (strncmp(at, given, length) == 0 && (at[length] == '|' || at[length] == '\0')) return RH_OK;
  }
  return rh_fail(error, RH_UNSUPPORTED,
                 "config.json: the activation \"%.40s\" is not what llama.cpp computes for %s (%s)", given, arch->gguf,
                 arch->activation);
}

// llama.cpp takes Gemma's attention scale from the sizes alone: the root of a head's size, or for the 27-billion models
// (46 and 62 layers) of the embedding's share of a head.
static rh_status check_gemma_scale(const rh_hparams *h, const json_t *c, rh_error *error) {
  bool large = h->layers == 46 || h->layers == 62;
  int64_t share = h->embedding / h->heads;  // whole, as llama.cpp has it
  double wanted = (double)(large ? share : h->head_dim);
  double given = rh_source_number(c, "query_pre_attn_scalar", wanted);
  if (given == wanted) return RH_OK;
  return rh_fail(error, RH_UNSUPPORTED,
                 "config.json: query_pre_attn_scalar is %g, but llama.cpp computes with %g for this model", given,
                 wanted);
}

static void warn_of_windows(const rh_conversion *self) {
  const json_t *c = self->source->config;
  int64_t window = rh_source_int(c, "sliding_window", 0);
  bool used = self->arch->family == RH_FAMILY_QWEN ? rh_source_bool(c, "use_sliding_window", false)
                                                   : window > 0 && window < self->hparams.context;
  if (used && self->arch->family != RH_FAMILY_GEMMA)
    rh_report_warning(self->report,
                      "this model looks back %lld tokens only (sliding_window), which llama.cpp does not do for %s: "
                      "answers to longer prompts may differ from the original's",
                      (long long)window, self->arch->gguf);
}

static rh_status check_layout(const rh_conversion *self, rh_error *error) {
  const rh_hparams *h = &self->hparams;
  const json_t *c = self->source->config;
  if (json_is_object(json_object_get(c, "quantization_config")))
    return rh_fail(error, RH_UNSUPPORTED,
                   "config.json: these weights are quantized already (quantization_config); convert the "
                   "original model and quantize that");
  const char *positions = rh_source_text(c, "position_embedding_type");
  if (positions != NULL && strcmp(positions, "absolute") != 0)
    return rh_fail(error, RH_UNSUPPORTED,
                   "config.json: position_embedding_type \"%.40s\" cannot be converted, only \"absolute\"", positions);
  // These two take a head's size from the embedding alone.
  bool by_embedding = self->arch->family == RH_FAMILY_PHI3 || strcmp(self->arch->gguf, "qwen2") == 0 ||
                      self->arch->family == RH_FAMILY_BERT;
  if (by_embedding && h->head_dim * h->heads != h->embedding)
    return rh_fail(error, RH_UNSUPPORTED,
                   "config.json: head_dim %lld times %lld heads is not hidden_size %lld, which %s needs",
                   (long long)h->head_dim, (long long)h->heads, (long long)h->embedding, self->arch->gguf);
  if (strcmp(self->arch->gguf, "gemma2") == 0 || strcmp(self->arch->gguf, "gemma3") == 0)
    return check_gemma_scale(h, c, error);
  return RH_OK;
}

// The embedding's rows, under any of the prefixes that the plan knows.
static int64_t embedding_rows(const rh_source *source) {
  for (size_t i = 0; i < source->tensor_count; i++) {
    const rh_safetensor *info = source->tensors[i].info;
    if (info->dims == 2 && (rh_text_ends_with(info->name, "embed_tokens.weight") ||
                            rh_text_ends_with(info->name, "embeddings.word_embeddings.weight")))
      return info->shape[0];
  }
  return 0;
}

rh_status rh_hparams_read(rh_conversion *self, rh_error *error) {
  const json_t *c = self->source->config;
  rh_hparams *h = &self->hparams;
  const char *name = json_string_value(json_array_get(json_object_get(c, "architectures"), 0));
  rh_status status = rh_arch_find(name, &self->arch, error);
  if (status != RH_OK) return status;
  read_sizes(h, c);
  status = check_sizes(h, error);
  if (status == RH_OK) status = check_activation(self->arch, c, error);
  if (status == RH_OK) status = check_layout(self, error);
  if (status != RH_OK) return status;
  read_rope(h, c);
  warn_of_windows(self);
  h->vocabulary = embedding_rows(self->source);
  if (h->vocabulary < 1 || h->vocabulary > SIZE_MAX_SANE)
    return rh_fail(error, RH_INVALID, "%s has no tensor with the words' embeddings", self->source->folder);
  // llama.cpp has no other output for Gemma and Gemma 2 than the embeddings.
  h->tied = strcmp(self->arch->gguf, "gemma") == 0 || strcmp(self->arch->gguf, "gemma2") == 0 ||
            rh_source_bool(c, "tie_word_embeddings", self->arch->tied);
  if (self->arch->positions_offset > 0) {
    h->position_first = self->arch->positions_offset + rh_source_int(c, "pad_token_id", 1);
    h->context -= h->position_first;
    if (h->position_first < 0 || h->context < 1)
      return rh_fail(error, RH_INVALID, "config.json: pad_token_id leaves no positions");
  }
  return RH_OK;
}
