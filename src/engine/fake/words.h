// SPDX-License-Identifier: Apache-2.0
//
// The fake engine's tokens, for models that do not generate: a word is a token, a punctuation mark is one, and so is a
// directive in its brackets. Private to engine/fake.
#ifndef RH_ENGINE_FAKE_WORDS_H
#define RH_ENGINE_FAKE_WORDS_H

#include "engine/fake/script.h"

#define RH_FAKE_ID_CLS 1
#define RH_FAKE_ID_SEP 2
#define RH_FAKE_ID_WORDS 8            // the first id of a word
#define RH_FAKE_ID_SCRIPTS (1 << 24)  // ids of directives
#define RH_FAKE_SCRIPTS_MAX 4096      // different ones

// What a word looks like; its id says it too.
typedef enum rh_fake_form { RH_FAKE_PLAIN, RH_FAKE_NAME, RH_FAKE_NUMBER } rh_fake_form;

typedef struct rh_fake_directive {
  char *text;  // with its brackets
  size_t length;
  rh_fake_script script;
} rh_fake_directive;

struct rh_fake_infer {
  rh_fake_model model;
  char label_text[256];
  const char *labels[RH_FAKE_LABELS_MAX];
  int32_t label_ids[RH_FAKE_LABELS_MAX];
  size_t label_count;
  char *config;

  rh_graph graph;
  rh_graph_port inputs[3], output;
  float *values;  // of the last answer
  size_t value_room;
  rh_tensor answer;
  rh_tensor *echo;

  // words.c
  int32_t *ids, *types;  // scratch of one text
  uint32_t *starts, *ends;
  size_t count, room;
  rh_fake_directive *directives;
  size_t directive_count;
};

int32_t rh_fake_word_id(const rh_fake_infer *infer, const char *word, size_t length);
rh_fake_form rh_fake_word_form(int64_t id);
rh_status rh_fake_words(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                        bool add_special, rh_token_text *out, rh_error *error);
const rh_fake_script *rh_fake_words_script(const rh_fake_infer *infer, int64_t id);  // NULL = no directive's id
void rh_fake_words_free(rh_fake_infer *infer);

#endif
