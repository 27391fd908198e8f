// SPDX-License-Identifier: Apache-2.0
//
// One conversion: the numbers of config.json, the tensors to be written and the metadata they go with. What the files of
// this folder share.
#ifndef RH_CONVERT_MODEL_H
#define RH_CONVERT_MODEL_H

#include <ggml.h>
#include <gguf.h>

#include "convert/arch.h"
#include "convert/report.h"
#include "convert/source.h"

typedef struct rh_hparams {
  int64_t layers, embedding, feed_forward, heads, heads_kv, head_dim, context;
  int64_t vocabulary;      // rows of the embedding, which is what counts
  int64_t position_first;  // RoBERTa: rows of the position embedding that are not used
  bool tied;
  const json_t *rope;        // "rope_parameters" or "rope_scaling" of the layers that see everything; NULL = none
  const json_t *rope_local;  // of the layers with a window; NULL = as the others
  char rope_type[24];        // "" = none
  double rope_theta;
} rh_hparams;

typedef struct rh_conversion {
  const rh_source *source;
  const rh_arch *arch;
  rh_hparams hparams;
  struct gguf_context *gguf;
  rh_report *report;
  const char *pre;  // the pre-tokenizer by force, or NULL
  enum ggml_type type;
} rh_conversion;

// hparams.c: read config.json. RH_INVALID, RH_UNSUPPORTED (what llama.cpp cannot compute).
rh_status rh_hparams_read(rh_conversion *self, rh_error *error) RH_MUST_CHECK;
// metadata.c: hparams to "ARCH.*" keys, and general.*.
rh_status rh_metadata_write(rh_conversion *self, const char *name, rh_error *error) RH_MUST_CHECK;
// One key "ARCH.KEY".
void rh_metadata_int(const rh_conversion *self, const char *key, int64_t value);
void rh_metadata_number(const rh_conversion *self, const char *key, double value);
void rh_metadata_bool(const rh_conversion *self, const char *key, bool value);
void rh_metadata_text(const rh_conversion *self, const char *key, const char *value);
// general.c: general.* from the command line and the model card.
void rh_general_write(const rh_conversion *self, const char *name);
// pooling.c: how sentence-transformers makes one vector of many.
rh_status rh_pooling_write(const rh_conversion *self, rh_error *error) RH_MUST_CHECK;

// rope.c: keys of the scaling of positions.
rh_status rh_rope_write(const rh_conversion *self, rh_error *error) RH_MUST_CHECK;
// The factors that go into tensors of their own: at most two, named in `names`; each has `count` numbers and is freed by
// the caller. None: *count is 0.
typedef struct rh_rope_factors {
  const char *names[2];
  float *values[2];
  size_t tensors, count;
} rh_rope_factors;
rh_status rh_rope_factors_make(const rh_conversion *self, rh_rope_factors *out, rh_error *error) RH_MUST_CHECK;
void rh_rope_factors_free(rh_rope_factors *self);

// tokenizer.c
rh_status rh_tokenizer_write(rh_conversion *self, rh_error *error) RH_MUST_CHECK;

#endif
