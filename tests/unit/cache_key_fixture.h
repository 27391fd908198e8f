// SPDX-License-Identifier: Apache-2.0
//
// For tests of cache keys: requests with something in every place, of which a test changes a copy.
#ifndef RH_TEST_CACHE_KEY_FIXTURE_H
#define RH_TEST_CACHE_KEY_FIXTURE_H

#include <string.h>

#include "admit/cache.h"

// A request with something in every place; a test changes a copy.
typedef struct sample {
  rh_request request;
  rh_prompt prompts[2];
  rh_message messages[4];
  rh_piece pieces[4];
  rh_extras extras;
  rh_tool tools[2];
  const char *stops[2];
  rh_logit_bias bias[2];
  rh_infer infer;
  rh_item items[2];
  rh_tensor tensors[1];
  const char *labels[2];
  const char *outputs[1];
  const char *identity, *scope;
  bool local_only;
} sample;

static inline void make_chat(sample *s) {
  memset(s, 0, sizeof *s);
  s->identity = "local/tiny@1";
  s->scope = "";
  s->request.task = RH_TASK_CHAT;
  s->request.choices = 1;
  s->request.prompts = s->prompts;
  s->request.prompt_count = 1;
  s->prompts[0] = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = s->messages, .count = 2};
  s->messages[0] = (rh_message){.role = "system", .content = "Be brief."};
  s->messages[1] = (rh_message){.role = "user", .content = "Hello"};
  rh_generate_defaults(&s->request.generate);
  s->request.generate.max_tokens = 20;
  s->request.generate.given = RH_GIVEN_MAX_TOKENS;
}

static inline void make_tensors(sample *s) {
  make_chat(s);
  s->request.task = RH_TASK_TENSOR;
  s->request.infer = &s->infer;
  s->items[0] = (rh_item){.text = "ab", .length = 2};
  s->items[1] = (rh_item){.text = "c", .length = 1};
  s->tensors[0] = (rh_tensor){.name = "x", .type = RH_DTYPE_U8, .shape = {2}, .rank = 1, .data = "ab", .bytes = 2};
  s->labels[0] = "p";
  s->labels[1] = "q";
  s->outputs[0] = "y";
  s->infer = (rh_infer){.items = s->items,
                        .item_count = 2,
                        .tensors = s->tensors,
                        .tensor_count = 1,
                        .labels = s->labels,
                        .label_count = 2,
                        .outputs = s->outputs,
                        .output_count = 1};
}

static inline rh_cache_key key_of(const sample *s) {
  rh_cache_key key;
  rh_cache_key_make(&s->request, s->identity, s->scope, s->local_only, &key);
  return key;
}

static inline bool same(const rh_cache_key *a, const rh_cache_key *b) { return memcmp(a, b, sizeof *a) == 0; }

#endif
