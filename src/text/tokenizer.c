// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a tokenizer from its parts' JSON, tokens by id and by text, and the facts that callers ask for.
// Data owned: the tokenizer, read-only once built. Threads: one builds, any number read. Not here: texts (encode.c,
// decoder.c), files and folders (open.c).
#include "text/tokenizer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/private.h"

static atomic_uint_fast64_t serials;

// Which token an id is that was added; by it decoding finds the special ones.
static rh_status index_added(rh_tokenizer *self, rh_error *error) {
  size_t count = rh_added_count(self->added), length;
  int32_t id;
  bool special;
  self->size = rh_text_model_size(self->model);
  for (size_t i = 0; i < count; i++) {
    (void)rh_added_at(self->added, i, &length, &id, &special);
    if (id < 0 || id >= RH_TOKENIZER_VOCABULARY_MAX)
      return rh_fail(error, RH_INVALID, "tokenizer.json: added token %zu has the id %d; ids are 0 to %d", i, id,
                     RH_TOKENIZER_VOCABULARY_MAX - 1);
    if (id >= self->size) self->size = id + 1;
  }
  self->added_by_id = calloc((size_t)self->size + 1, sizeof *self->added_by_id);
  self->special = calloc((size_t)self->size + 1, 1);
  if (self->added_by_id == NULL || self->special == NULL)
    return rh_fail(error, RH_NO_MEMORY, "out of memory for %d tokens", self->size);
  for (size_t i = 0; i < count; i++) {
    (void)rh_added_at(self->added, i, &length, &id, &special);
    self->added_by_id[id] = (uint32_t)i + 1;
    self->special[id] = special;
  }
  return RH_OK;
}

static rh_status name_part(rh_status status, const char *part, rh_error *error) {
  if (status == RH_OK || error == NULL) return status;
  char message[sizeof error->message];
  (void)snprintf(message, sizeof message, "%s", error->message);
  return rh_fail(error, status, "tokenizer.json, %s: %.700s", part, message);
}

static rh_status build(rh_tokenizer *self, const json_t *json, rh_error *error) {
  rh_status status = name_part(rh_normalizer_from_json(json_object_get(json, "normalizer"), &self->normalizer, error),
                               "normalizer", error);
  if (status == RH_OK)
    status = name_part(rh_pretokenizer_from_json(json_object_get(json, "pre_tokenizer"), &self->pretokenizer, error),
                       "pre_tokenizer", error);
  if (status == RH_OK)
    status = name_part(rh_text_model_from_json(json_object_get(json, "model"), &self->model, error), "model", error);
  if (status == RH_OK)
    status = name_part(rh_added_from_json(json_object_get(json, "added_tokens"), self->normalizer, &self->added, error),
                       "added_tokens", error);
  if (status == RH_OK)
    status = name_part(rh_postprocessor_from_json(json_object_get(json, "post_processor"), &self->postprocessor, error),
                       "post_processor", error);
  if (status == RH_OK)
    status = name_part(rh_decoding_steps_from_json(json_object_get(json, "decoder"), &self->decoding, error), "decoder",
                       error);
  return status == RH_OK ? index_added(self, error) : status;
}

static void first_facts(rh_tokenizer *self, const json_t *json) {
  rh_tokenizer_facts *facts = &self->facts;
  *facts = (rh_tokenizer_facts){
      .bos = -1, .eos = -1, .unk = rh_text_model_unk(self->model), .sep = -1, .pad = -1, .cls = -1, .mask = -1};
  (void)snprintf(facts->model, sizeof facts->model, "%s", rh_text_model_name(self->model));
  const json_t *padding = json_object_get(json, "padding"), *id = json_object_get(padding, "pad_id"),
               *type = json_object_get(padding, "pad_type_id");
  const char *direction = json_string_value(json_object_get(padding, "direction"));
  if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < self->size)
    facts->pad = (int32_t)json_integer_value(id);
  if (json_is_integer(type) && json_integer_value(type) >= 0 && json_integer_value(type) <= INT32_MAX)
    facts->pad_type = (int32_t)json_integer_value(type);
  facts->pads_left = direction != NULL && strcmp(direction, "Left") == 0;
}

rh_status rh_tokenizer_from_json(const json_t *json, rh_tokenizer **out, rh_error *error) {
  *out = NULL;
  if (!json_is_object(json)) return rh_fail(error, RH_INVALID, "tokenizer.json is no object");
  rh_tokenizer *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
  self->serial = atomic_fetch_add(&serials, 1) + 1;
  rh_status status = build(self, json, error);
  if (status == RH_OK) {
    first_facts(self, json);
    *out = self;
  } else {
    rh_tokenizer_close(self);
  }
  return status;
}

rh_status rh_tokenizer_open_json(const char *json, size_t length, rh_tokenizer **out, rh_error *error) {
  *out = NULL;
  if (length > RH_TOKENIZER_FILE_MAX)
    return rh_fail(error, RH_TOO_LARGE, "tokenizer.json has %zu bytes; at most %zu are read", length,
                   RH_TOKENIZER_FILE_MAX);
  json_t *parsed = rh_json_parse(json, length, error);
  if (parsed == NULL)
    return name_part(error != NULL && error->status == RH_NO_MEMORY ? RH_NO_MEMORY : RH_INVALID, "its text", error);
  rh_status status = rh_tokenizer_from_json(parsed, out, error);
  json_decref(parsed);
  return status;
}

void rh_tokenizer_close(rh_tokenizer *tokenizer) {
  if (tokenizer == NULL) return;
  rh_decoding_steps_free(tokenizer->decoding);
  rh_postprocessor_free(tokenizer->postprocessor);
  rh_added_free(tokenizer->added);
  rh_text_model_free(tokenizer->model);
  rh_pretokenizer_free(tokenizer->pretokenizer);
  rh_normalizer_free(tokenizer->normalizer);
  free(tokenizer->added_by_id);
  free(tokenizer->special);
  free(tokenizer);
}

// --- tokens ----------------------------------------------------------------------------------------------------------

int32_t rh_tokenizer_size(const rh_tokenizer *tokenizer) { return tokenizer->size; }

int32_t rh_tokenizer_find(const rh_tokenizer *tokenizer, const char *token, size_t length) {
  int32_t id = rh_added_find(tokenizer->added, token, length);
  return id >= 0 ? id : rh_text_model_find(tokenizer->model, token, length);
}

const char *rh_tokenizer_token(const rh_tokenizer *tokenizer, int32_t id, size_t *length) {
  if (id < 0 || id >= tokenizer->size) return NULL;
  uint32_t added = tokenizer->added_by_id[id];
  int32_t same;
  bool special;
  if (added > 0) return rh_added_at(tokenizer->added, added - 1, length, &same, &special);
  return rh_text_model_token(tokenizer->model, id, length);
}

bool rh_tokenizer_is_special(const rh_tokenizer *tokenizer, int32_t id) {
  return id >= 0 && id < tokenizer->size && tokenizer->special[id] != 0;
}

// --- facts -----------------------------------------------------------------------------------------------------------

const rh_tokenizer_facts *rh_tokenizer_facts_of(const rh_tokenizer *tokenizer) { return &tokenizer->facts; }

const char *rh_tokenizer_token_text(const json_t *value) {
  return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

// What tokenizer_config.json names counts before special_tokens_map.json, and a number in config.json last.
static void read_name(const rh_tokenizer *self, const json_t *const files[2], const json_t *config, const char *key,
                      const char *id_key, int32_t *out) {
  for (size_t i = 0; i < 2; i++) {
    const char *text = rh_tokenizer_token_text(json_object_get(files[i], key));
    int32_t id = text != NULL ? rh_tokenizer_find(self, text, strlen(text)) : -1;
    if (id < 0) continue;
    *out = id;
    return;
  }
  const json_t *id = json_object_get(config, id_key);
  if (json_is_array(id)) id = json_array_get(id, 0);
  double number = json_is_number(id) ? json_number_value(id) : -1.0;
  if (*out < 0 && number >= 0.0 && number < self->size) *out = (int32_t)number;
}

void rh_tokenizer_read_facts(rh_tokenizer *self, const json_t *tokenizer_config, const json_t *special_tokens,
                             const json_t *config) {
  rh_tokenizer_facts *facts = &self->facts;
  const struct {
    const char *key, *id_key;
    int32_t *out;
  } names[] = {
      {"bos_token", "bos_token_id", &facts->bos},    {"eos_token", "eos_token_id", &facts->eos},
      {"unk_token", "unk_token_id", &facts->unk},    {"sep_token", "sep_token_id", &facts->sep},
      {"pad_token", "pad_token_id", &facts->pad},    {"cls_token", "cls_token_id", &facts->cls},
      {"mask_token", "mask_token_id", &facts->mask},
  };
  const json_t *const files[2] = {tokenizer_config, special_tokens};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    read_name(self, files, config, names[i].key, names[i].id_key, names[i].out);
  // Where no length is known, the files have a number beyond all measure.
  double length = json_number_value(json_object_get(tokenizer_config, "model_max_length"));
  if (length >= 1.0 && length < 1e9) facts->length_max = llround(length);
  const char *side = json_string_value(json_object_get(tokenizer_config, "padding_side"));
  if (side != NULL) facts->pads_left = strcmp(side, "left") == 0;
}
