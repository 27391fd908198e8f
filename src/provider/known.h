// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: the servers that we know by name, and in what each differs from the protocol it speaks.
#ifndef RH_PROVIDER_KNOWN_H
#define RH_PROVIDER_KNOWN_H

#include "provider/provider.h"

// rh_provider_spec.quirks. All but the last three are about chat completions.
enum {
  RH_QUIRK_SAMPLERS = 1 << 0,          // knows top_k, min_p and a repetition penalty
  RH_QUIRK_REPEAT_PENALTY = 1 << 1,    // calls the last "repeat_penalty", not "repetition_penalty"
  RH_QUIRK_THOUGHTS = 1 << 2,          // takes earlier thoughts back as "reasoning_content"
  RH_QUIRK_REASONING = 1 << 3,         // OpenRouter: thoughts are "reasoning", and so is the object that asks for them
  RH_QUIRK_CONTINUE = 1 << 4,          // vLLM: a prefilled answer needs "continue_final_message"
  RH_QUIRK_PREFIX = 1 << 5,            // Mistral, DeepSeek: a prefilled answer is marked "prefix"
  RH_QUIRK_RANDOM_SEED = 1 << 6,       // Mistral calls the seed "random_seed"
  RH_QUIRK_IGNORE_EOS = 1 << 7,        // knows ignore_eos
  RH_QUIRK_FOUR_STOPS = 1 << 8,        // at most four stop strings
  RH_QUIRK_BASE64 = 1 << 9,            // embeddings in base64
  RH_QUIRK_NO_STREAM_USAGE = 1 << 10,  // refuses stream_options
  RH_QUIRK_NEW_TOKEN_FIELD = 1 << 11,  // max_completion_tokens
  RH_QUIRK_NEEDS_KEY = 1 << 12,        // does not answer without one
  RH_QUIRK_PREFILL = 1 << 13,          // continues a last message of the assistant
  RH_QUIRK_IN_PROCESS = 1 << 14,       // our own workers
};

typedef struct rh_known_provider {
  const char *name;
  rh_protocol protocol;
  unsigned quirks;
  const char *base_url;  // NULL = the configuration must say it
  const char *key_variables[3];
} rh_known_provider;

const rh_known_provider *rh_known_provider_find(const char *name);  // NULL = not known
// NULL-terminated; for "did you mean".
const char *const *rh_known_provider_names(void);

#endif
