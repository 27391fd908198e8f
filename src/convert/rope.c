// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how positions are scaled for contexts longer than a model was first trained with. Sources: the models' own
// configurations (Llama 3.1, Phi-3, YaRN) and llama.cpp's keys and tensors for them.
// Data owned: none. Threads: one. Not here: the rotation itself.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/model.h"

#define TWO_PI 6.283185307179586

static int64_t rotated(const rh_hparams *h, const json_t *config) {
  double part =
      rh_source_number(h->rope, "partial_rotary_factor", rh_source_number(config, "partial_rotary_factor", 1.0));
  return (int64_t)(part * (double)h->head_dim);
}

static int64_t original_context(const rh_conversion *self) {
  const rh_hparams *h = &self->hparams;
  int64_t inner = rh_source_int(h->rope, "original_max_position_embeddings", 0);
  return inner > 0 ? inner : rh_source_int(self->source->config, "original_max_position_embeddings", h->context);
}

static void write_yarn(const rh_conversion *self, const json_t *rope) {
  static const struct {
    const char *from, *to;
  } keys[] = {
      {"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
      {"attention_factor", "rope.scaling.yarn_attn_factor"},
      {"attn_factor", "rope.scaling.yarn_attn_factor"},
      {"beta_fast", "rope.scaling.yarn_beta_fast"},
      {"beta_slow", "rope.scaling.yarn_beta_slow"},
  };
  rh_metadata_int(self, "rope.scaling.original_context_length", original_context(self));
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    double value = rh_source_number(rope, keys[i].from, NAN);
    if (!isnan(value)) rh_metadata_number(self, keys[i].to, value);
  }
}

// Phi-3: how much attention's scores grow with the context, from its model code.
static double attention_factor(const rh_conversion *self) {
  double original = (double)original_context(self);
  double scale = (double)self->hparams.context / original;
  return scale > 1.0 && original > 1.0 ? sqrt(1.0 + log(scale) / log(original)) : 1.0;
}

static rh_status write_scaling(const rh_conversion *self, rh_error *error) {
  const rh_hparams *h = &self->hparams;
  const char *type = h->rope_type;
  if (type[0] == '\0') return RH_OK;
  double factor = rh_source_number(h->rope, "factor", 0.0);
  if (strcmp(type, "llama3") == 0) return RH_OK;  // all of it is in a tensor
  if (strcmp(type, "longrope") == 0) {
    rh_metadata_text(self, "rope.scaling.type", "longrope");
    rh_metadata_number(self, "rope.scaling.attn_factor",
                       rh_source_number(h->rope, "attention_factor", attention_factor(self)));
    return RH_OK;
  }
  bool yarn = strcmp(type, "yarn") == 0;
  if (!yarn && strcmp(type, "linear") != 0)
    return rh_fail(error, RH_UNSUPPORTED,
                   "config.json: positions scaled by \"%s\" cannot be converted; linear, yarn, llama3 and "
                   "longrope can",
                   type);
  if (!(factor > 0.0)) return rh_fail(error, RH_INVALID, "config.json: the rope scaling has no positive \"factor\"");
  rh_metadata_text(self, "rope.scaling.type", type);
  rh_metadata_number(self, "rope.scaling.factor", factor);
  if (yarn) write_yarn(self, h->rope);
  return RH_OK;
}

rh_status rh_rope_write(const rh_conversion *self, rh_error *error) {
  const rh_hparams *h = &self->hparams;
  const json_t *config = self->source->config;
  if (self->arch->family == RH_FAMILY_BERT) return RH_OK;
  rh_metadata_int(self, "rope.dimension_count", rotated(h, config));
  rh_metadata_number(self, "rope.freq_base", h->rope_theta);
  double local = rh_source_number(h->rope_local, "rope_theta", rh_source_number(config, "rope_local_base_freq", 0.0));
  if (local > 0.0) rh_metadata_number(self, "rope.freq_base_swa", local);
  if (self->arch->family == RH_FAMILY_PHI3)
    rh_metadata_int(self, "rope.scaling.original_context_length", original_context(self));
  return write_scaling(self, error);
}

// Llama 3.1: long waves are stretched by `factor`, short ones not, those between by something between.
static void llama3_factors(const rh_hparams *h, float *out, size_t count) {
  double factor = rh_source_number(h->rope, "factor", 8.0);
  double low = rh_source_number(h->rope, "low_freq_factor", 1.0),
         high = rh_source_number(h->rope, "high_freq_factor", 4.0);
  double original = (double)rh_source_int(h->rope, "original_max_position_embeddings", 8192);
  for (size_t i = 0; i < count; i++) {
    double wave = TWO_PI * pow(h->rope_theta, (double)(2 * i) / (double)(2 * count));
    if (wave < original / high) {
      out[i] = 1.0F;
    } else if (wave > original / low) {
      out[i] = (float)factor;
    } else {
      double smooth = (original / wave - low) / (high - low);
      out[i] = (float)(1.0 / ((1.0 - smooth) / factor + smooth));
    }
  }
}

static rh_status copy_factors(const json_t *list, const char *name, float *out, size_t count, rh_error *error) {
  if (json_array_size(list) != count)
    return rh_fail(error, RH_INVALID, "config.json: %s has %zu numbers; %zu are needed", name, json_array_size(list),
                   count);
  for (size_t i = 0; i < count; i++) {
    const json_t *value = json_array_get(list, i);
    if (!json_is_number(value))
      return rh_fail(error, RH_INVALID, "config.json: %s holds something that is no number", name);
    out[i] = (float)json_number_value(value);
  }
  return RH_OK;
}

rh_status rh_rope_factors_make(const rh_conversion *self, rh_rope_factors *out, rh_error *error) {
  *out = (rh_rope_factors){0};
  const rh_hparams *h = &self->hparams;
  bool llama3 = strcmp(h->rope_type, "llama3") == 0, longrope = strcmp(h->rope_type, "longrope") == 0;
  if (!llama3 && !longrope) return RH_OK;
  out->count = (size_t)rotated(h, self->source->config) / 2;
  out->tensors = llama3 ? 1 : 2;
  for (size_t i = 0; i < out->tensors; i++) {
    out->values[i] = calloc(out->count + 1, sizeof **out->values);
    if (out->values[i] == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for rope factors");
  }
  if (llama3) {
    out->names[0] = "rope_freqs.weight";
    llama3_factors(h, out->values[0], out->count);
    return RH_OK;
  }
  out->names[0] = "rope_factors_long.weight";
  out->names[1] = "rope_factors_short.weight";
  rh_status status =
      copy_factors(json_object_get(h->rope, "long_factor"), "long_factor", out->values[0], out->count, error);
  if (status == RH_OK)
    status = copy_factors(json_object_get(h->rope, "short_factor"), "short_factor", out->values[1], out->count, error);
  return status;
}

void rh_rope_factors_free(rh_rope_factors *self) {
  free(self->values[0]);
  free(self->values[1]);
  *self = (rh_rope_factors){0};
}
