// SPDX-License-Identifier: Apache-2.0
//
// The architectures that can be converted, as tables: which names their tensors have in a Hugging Face folder and in a
// GGUF file, and what is done to them on the way.
#ifndef RH_CONVERT_ARCH_H
#define RH_CONVERT_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
  RH_RULE_NEEDED = 1,    // its weight must be there (in every layer)
  RH_RULE_NORM = 2,      // a normalisation's weight: kept as f32; Gemma's get +1
  RH_RULE_ROTATE_Q = 4,  // Llama: rows of each head change places, see plan.c
  RH_RULE_ROTATE_K = 8,
  RH_RULE_F32 = 16,        // always f32
  RH_RULE_OUTPUT = 32,     // left out when the embeddings are tied
  RH_RULE_POSITIONS = 64,  // RoBERTa: its first rows are never used
};

typedef struct rh_tensor_rule {
  const char *from;  // without ".weight" or ".bias"; '#' is the layer's number
  const char *to;
  unsigned flags;
} rh_tensor_rule;

typedef enum rh_family { RH_FAMILY_LLAMA, RH_FAMILY_QWEN, RH_FAMILY_GEMMA, RH_FAMILY_PHI3, RH_FAMILY_BERT } rh_family;

typedef struct rh_arch {
  const char *name;  // as in config.json's "architectures"
  const char *gguf;  // as in general.architecture
  rh_family family;
  const rh_tensor_rule *rules;  // ends with a NULL name
  const char *activation;       // the only one that llama.cpp computes for it; several are parted by '|'
  bool rotate;                  // RH_RULE_ROTATE_* are meant
  bool norm_plus_one;
  bool tied;                 // config.json's silence about tied embeddings means yes
  int64_t positions_offset;  // RoBERTa: positions count from here
} rh_arch;

// NULL-terminated by an empty name.
extern const rh_arch rh_archs[];

// RH_UNSUPPORTED with the list of those that work.
rh_status rh_arch_find(const char *name, const rh_arch **out, rh_error *error) RH_MUST_CHECK;

// Match a tensor's name. *layer is -1 when the rule has none. `to` receives the GGUF name with its suffix.
// NULL when no rule fits.
const rh_tensor_rule *rh_arch_match(const rh_arch *arch, const char *name, int64_t *layer, char *to, size_t to_size);

#endif
