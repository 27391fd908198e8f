// SPDX-License-Identifier: Apache-2.0
//
// Normalizers: the JSON to a row of steps, and a text through them. Owns the steps; read-only once made, any thread. The
// text is first copied with each byte's own offsets, then goes back and forth between `out` and `scratch`. What the
// steps do is in normalizer_*.c.
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/normalizer_private.h"

#define STEPS_MAX 64
#define DEPTH_MAX 8

struct rh_normalizer {
  size_t count;
  rh_normalizer_step steps[STEPS_MAX];
};

void rh_normalizer_free(rh_normalizer *normalizer) {
  if (normalizer == NULL) return;
  for (size_t i = 0; i < normalizer->count; i++) {
    rh_normalizer_step *step = &normalizer->steps[i];
    free(step->content);
    free(step->literal);
    rh_regex_free(step->regex);
    rh_charsmap_free(step->charsmap);
  }
  free(normalizer);
}

// --- from JSON -----------------------------------------------------------------------------------------------------

static bool flag_of(const json_t *json, const char *key) { return json_is_true(json_object_get(json, key)); }

static rh_status copy_string(const json_t *json, const char *path, const char *key, char **out, size_t *length,
                             rh_error *error) {
  const json_t *value = json_object_get(json, key);
  if (!json_is_string(value)) return rh_fail_param(error, RH_INVALID, path, "%s: '%s' has to be a string", path, key);
  *length = json_string_length(value);
  *out = malloc(*length + 1);
  if (*out == NULL) return rh_fail(error, RH_NO_MEMORY, "%s: out of memory", path);
  memcpy(*out, json_string_value(value), *length + 1);
  return RH_OK;
}

static rh_status add_bert(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error) {
  (void)path, (void)error;
  const json_t *accents = json_object_get(json, "strip_accents");
  step->run = rh_step_bert;
  step->clean = flag_of(json, "clean_text");
  step->chinese = flag_of(json, "handle_chinese_chars");
  step->lower = flag_of(json, "lowercase");
  step->accents = json_is_boolean(accents) ? json_is_true(accents) : step->lower;
  return RH_OK;
}

static rh_status add_strip(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error) {
  (void)path, (void)error;
  step->run = rh_step_strip;
  step->left = flag_of(json, "strip_left");
  step->right = flag_of(json, "strip_right");
  return RH_OK;
}

static rh_status add_replace(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error) {
  const json_t *pattern = json_object_get(json, "pattern");
  const json_t *regex = json_object_get(pattern, "Regex");
  step->run = rh_step_replace;
  rh_status status = copy_string(json, path, "content", &step->content, &step->content_length, error);
  if (status != RH_OK) return status;
  if (json_is_string(regex))
    return rh_regex_new(json_string_value(regex), json_string_length(regex), &step->regex, error);
  if (json_string_length(json_object_get(pattern, "String")) == 0 &&
      json_is_string(json_object_get(pattern, "String"))) {
    return rh_regex_new("", 0, &step->regex, error);  // an empty string is found between all characters
  }
  return copy_string(pattern, path, "String", &step->literal, &step->literal_length, error);
}

static rh_status add_prepend(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error) {
  step->run = rh_step_prepend;
  return copy_string(json, path, "prepend", &step->content, &step->content_length, error);
}

static rh_status add_precompiled(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error) {
  const json_t *map = json_object_get(json, "precompiled_charsmap");
  if (!json_is_string(map)) {
    return rh_fail_param(error, RH_INVALID, path, "%s: 'precompiled_charsmap' has to be a string in base64", path);
  }
  const char *text = json_string_value(map);
  size_t length = json_string_length(map);
  if (length > INT_MAX / 2) return rh_fail_param(error, RH_TOO_LARGE, path, "%s: the map is too long", path);
  uint8_t *bytes = malloc(length + 1);
  if (bytes == NULL) return rh_fail(error, RH_NO_MEMORY, "%s: out of memory", path);
  int decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length);
  for (size_t i = length; i-- > 0 && text[i] == '=' && decoded > 0;) decoded--;  // it counts the padding too
  step->run = rh_step_charsmap;
  rh_status status = RH_OK;
  if (decoded >= 0)
    status = rh_charsmap_new(bytes, (size_t)decoded, &step->charsmap, error);
  else
    status = rh_fail_param(error, RH_INVALID, path, "%s: 'precompiled_charsmap' is not base64", path);
  free(bytes);
  return status;
}

typedef struct kind {
  const char *name;
  rh_status (*add)(const json_t *json, rh_normalizer_step *step, const char *path, rh_error *error);
  rh_normalizer_step step;  // when there is nothing to read
} kind;

static const kind kinds[] = {
    {"NFC", NULL, {.run = rh_step_form, .composes = true}},
    {"NFD", NULL, {.run = rh_step_form}},
    {"NFKC", NULL, {.run = rh_step_form, .composes = true, .compatible = true}},
    {"NFKD", NULL, {.run = rh_step_form, .compatible = true}},
    {"Lowercase", NULL, {.run = rh_step_lowercase}},
    {"StripAccents", NULL, {.run = rh_step_strip_accents}},
    {"Nmt", NULL, {.run = rh_step_nmt}},
    {"ByteLevel", NULL, {.run = rh_step_byte_level}},
    {"Strip", add_strip, {0}},
    {"BertNormalizer", add_bert, {0}},
    {"Replace", add_replace, {0}},
    {"Prepend", add_prepend, {0}},
    {"Precompiled", add_precompiled, {0}},
};

static rh_status add_json(rh_normalizer *normalizer, const json_t *json, const char *path, int depth, rh_error *error);

static rh_status add_sequence(rh_normalizer *normalizer, const json_t *json, const char *path, int depth,
                              rh_error *error) {
  const json_t *list = json_object_get(json, "normalizers");
  if (!json_is_array(list)) return rh_fail_param(error, RH_INVALID, path, "%s: 'normalizers' has to be a list", path);
  rh_status status = RH_OK;
  for (size_t i = 0; i < json_array_size(list) && status == RH_OK; i++) {
    char inner[64];
    snprintf(inner, sizeof inner, "%.40s[%zu]", path, i);
    status = add_json(normalizer, json_array_get(list, i), inner, depth + 1, error);
  }
  return status;
}

static rh_status add_json(rh_normalizer *normalizer, const json_t *json, const char *path, int depth, rh_error *error) {
  const char *type = json_string_value(json_object_get(json, "type"));
  if (type == NULL) return rh_fail_param(error, RH_INVALID, path, "%s: an object with a 'type' is expected", path);
  if (depth > DEPTH_MAX) return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: nested too deeply", path);
  if (strcmp(type, "Sequence") == 0) return add_sequence(normalizer, json, path, depth, error);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, type) != 0) continue;
    if (normalizer->count == STEPS_MAX) {
      return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: more than %d steps", path, STEPS_MAX);
    }
    rh_normalizer_step *step = &normalizer->steps[normalizer->count++];
    *step = kinds[i].step;
    return kinds[i].add != NULL ? kinds[i].add(json, step, path, error) : RH_OK;
  }
  return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: this build knows no normalizer '%.64s'", path, type);
}

rh_status rh_normalizer_from_json(const json_t *json, rh_normalizer **out, rh_error *error) {
  *out = NULL;
  if (json == NULL || json_is_null(json)) return RH_OK;
  rh_unicode_prepare();
  rh_normalizer *normalizer = calloc(1, sizeof *normalizer);
  if (normalizer == NULL) return rh_fail(error, RH_NO_MEMORY, "normalizer: out of memory");
  rh_status status = add_json(normalizer, json, "normalizer", 0, error);
  if (status == RH_OK)
    *out = normalizer;
  else
    rh_normalizer_free(normalizer);
  return status;
}

rh_status rh_normalizer_from_charsmap(const uint8_t *map, size_t length, rh_normalizer **out, rh_error *error) {
  *out = NULL;
  rh_unicode_prepare();
  rh_normalizer *normalizer = calloc(1, sizeof *normalizer);
  if (normalizer == NULL) return rh_fail(error, RH_NO_MEMORY, "normalizer: out of memory");
  normalizer->count = 1;
  normalizer->steps[0].run = rh_step_charsmap;
  rh_status status = rh_charsmap_new(map, length, &normalizer->steps[0].charsmap, error);
  if (status == RH_OK)
    *out = normalizer;
  else
    rh_normalizer_free(normalizer);
  return status;
}

// --- a text --------------------------------------------------------------------------------------------------------

// The text as it is, each byte with the range of its character.
static rh_status copy_original(const char *text, size_t length, uint32_t base, rh_mapped *out) {
  rh_status status = rh_mapped_reserve(out, length, out->from != NULL);
  if (status != RH_OK) return status;
  if (length != 0) memcpy(out->bytes + out->length, text, length);
  if (out->from != NULL) {
    uint32_t *from = out->from + out->length, *to = out->to + out->length;
    size_t i = 0;
    while (i < length) {
      for (; i < length && (uint8_t)text[i] < 0x80; i++) {
        from[i] = base + (uint32_t)i;
        to[i] = base + (uint32_t)i + 1;
      }
      if (i == length) break;
      uint32_t code;
      size_t step = rh_char_read(text + i, text + length, &code);
      for (size_t k = 0; k < step; k++) {
        from[i + k] = base + (uint32_t)i;
        to[i + k] = base + (uint32_t)(i + step);
      }
      i += step;
    }
  }
  out->length += length;
  return RH_OK;
}

rh_status rh_normalizer_apply(const rh_normalizer *normalizer, const char *text, size_t length, uint32_t base,
                              rh_mapped *out, rh_mapped *scratch) {
  size_t before = out->length;
  rh_status status = copy_original(text, length, base, out);
  if (status != RH_OK || normalizer == NULL || length == 0) return status;
  rh_normalizing going = {.now = out, .other = scratch, .start = before, .other_start = 0, .base = base};
  for (size_t i = 0; i < normalizer->count && status == RH_OK && rh_normalizing_length(&going) > 0; i++) {
    status = normalizer->steps[i].run(&normalizer->steps[i], &going);
  }
  if (status != RH_OK || going.now == out) return status;
  out->length = before;
  return rh_mapped_append(out, scratch, 0, scratch->length);
}

rh_status rh_normalizing_begin(rh_normalizing *text, size_t bytes) {
  text->other->length = text->other_start;
  return rh_mapped_reserve(text->other, bytes, text->now->from != NULL);
}

void rh_normalizing_swap(rh_normalizing *text) {
  rh_mapped *now = text->now;
  size_t start = text->start;
  text->now = text->other;
  text->start = text->other_start;
  text->other = now;
  text->other_start = start;
}

rh_status rh_normalizing_put(rh_normalizing *text, const char *bytes, size_t length, size_t like) {
  rh_mapped *other = text->other;
  if (other->capacity - other->length < length) {
    rh_status status = rh_mapped_reserve(other, length, text->now->from != NULL);
    if (status != RH_OK) return status;
  }
  if (text->now->from != NULL) {
    for (size_t i = 0; i < length; i++) {
      other->from[other->length + i] = text->now->from[text->start + like];
      other->to[other->length + i] = text->now->to[text->start + like];
    }
  }
  if (length != 0) memcpy(other->bytes + other->length, bytes, length);
  other->length += length;
  return RH_OK;
}

void rh_transform_put(rh_transform *transform, uint32_t code, int change) {
  rh_normalizing *text = transform->text;
  rh_mapped *other = text->other;
  const char *end = text->now->bytes + text->now->length;
  if (transform->status != RH_OK) return;
  if (other->capacity - other->length < 4) {
    transform->status = rh_mapped_reserve(other, 4, text->now->from != NULL);
    if (transform->status != RH_OK) return;
  }
  size_t length = rh_char_write(code, other->bytes + other->length);
  if (text->now->from != NULL) {
    size_t last = rh_normalizing_length(text) - 1;
    uint32_t from = text->base, to = text->base;  // what is added before everything comes from nowhere
    if (change <= 0 || transform->at > 0) {
      size_t like = text->start + (change > 0 ? transform->at - 1 : transform->at <= last ? transform->at : last);
      from = text->now->from[like];
      to = text->now->to[like];
    }
    for (size_t i = 0; i < length; i++) {
      other->from[other->length + i] = from;
      other->to[other->length + i] = to;
    }
  }
  other->length += length;
  for (int gone = change; gone <= 0; gone++) {
    const char *at = text->now->bytes + text->start + transform->at;
    uint32_t replaced;
    if (at == end) break;
    transform->at += rh_char_read(at, end, &replaced);
  }
}
