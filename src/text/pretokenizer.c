// SPDX-License-Identifier: Apache-2.0
//
// Pre-tokenizers: the JSON to a row of steps, and pieces through them. Owns the steps; read-only once made, any thread. What
// the steps do is in pretokenizer_*.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/pretokenizer_private.h"

#define STEPS_MAX 64
#define DEPTH_MAX 8

struct rh_pretokenizer {
  size_t count;
  rh_pretokenizer_step steps[STEPS_MAX];
};

void rh_pretokenizer_free(rh_pretokenizer *pretokenizer) {
  if (pretokenizer == NULL) return;
  for (size_t i = 0; i < pretokenizer->count; i++) {
    rh_regex_free(pretokenizer->steps[i].regex);
    free(pretokenizer->steps[i].literal);
  }
  free(pretokenizer);
}

// --- from JSON -----------------------------------------------------------------------------------------------------

static rh_status behavior_of(const json_t *json, const char *path, rh_split_behavior *out, rh_error *error) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const char *name = json_string_value(json_object_get(json, "behavior"));
  for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++) {
    if (strcmp(name, names[i]) == 0) {
      *out = (rh_split_behavior)i;
      return RH_OK;
    }
  }
  return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: this build knows no behavior '%.64s'", path,
                       name != NULL ? name : "(none)");
}

static bool default_true(const json_t *json, const char *key) { return !json_is_false(json_object_get(json, key)); }

static rh_status add_byte_level(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  (void)path, (void)error;
  step->rewrite = rh_rewrite_byte_level;
  step->prepend = json_is_true(json_object_get(json, "add_prefix_space")) ? RH_PREPEND_ALWAYS : RH_PREPEND_NEVER;
  step->splits = default_true(json, "use_regex");
  return RH_OK;
}

// One character as UTF-8.
static rh_status character_of(const json_t *json, const char *path, const char *key, uint32_t *code, rh_error *error) {
  const json_t *value = json_object_get(json, key);
  const char *text = json_string_value(value);
  size_t length = json_string_length(value);
  if (length == 0 || rh_char_read(text, text + length, code) != length) {
    return rh_fail_param(error, RH_INVALID, path, "%s: '%s' has to be one character", path, key);
  }
  return RH_OK;
}

static rh_status add_metaspace(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  uint32_t code = 0;
  rh_status status = character_of(json, path, "replacement", &code, error);
  if (status != RH_OK) return status;
  step->rewrite = rh_rewrite_metaspace;
  step->replacement_length = rh_char_write(code, step->replacement);
  step->splits = default_true(json, "split");
  step->prepend = RH_PREPEND_ALWAYS;
  const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
  if (scheme != NULL) {
    if (strcmp(scheme, "first") == 0)
      step->prepend = RH_PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
      step->prepend = RH_PREPEND_NEVER;
    else if (strcmp(scheme, "always") != 0)
      return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: this build knows no prepend_scheme '%.64s'", path, scheme);
  }
  // Files from before there were schemes.
  if (json_is_false(json_object_get(json, "add_prefix_space"))) {
    if (scheme != NULL && step->prepend != RH_PREPEND_NEVER) {
      return rh_fail_param(error, RH_INVALID, path, "%s: add_prefix_space is false but prepend_scheme is '%.64s'", path,
                           scheme);
    }
    step->prepend = RH_PREPEND_NEVER;
  }
  return RH_OK;
}

static rh_status add_split(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  const json_t *pattern = json_object_get(json, "pattern");
  const json_t *regex = json_object_get(pattern, "Regex"), *literal = json_object_get(pattern, "String");
  rh_status status = behavior_of(json, path, &step->behavior, error);
  if (status != RH_OK) return status;
  step->invert = json_is_true(json_object_get(json, "invert"));
  if (json_is_string(regex)) {
    bool every = (step->behavior == RH_SPLIT_ISOLATED) || (step->behavior == RH_SPLIT_REMOVED && step->invert);
    if (every && rh_scan_for(json_string_value(regex), json_string_length(regex), step)) return RH_OK;
    step->rewrite = rh_rewrite_regex;
    return rh_regex_new(json_string_value(regex), json_string_length(regex), &step->regex, error);
  }
  if (!json_is_string(literal)) {
    return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: 'pattern' has to hold a String or a Regex", path);
  }
  step->literal_length = json_string_length(literal);
  if (step->literal_length == 0) {  // is found between all characters
    step->rewrite = rh_rewrite_regex;
    return rh_regex_new("", 0, &step->regex, error);
  }
  step->cut = rh_cut_literal;
  step->literal = malloc(step->literal_length);
  if (step->literal == NULL) return rh_fail(error, RH_NO_MEMORY, "%s: out of memory", path);
  memcpy(step->literal, json_string_value(literal), step->literal_length);
  return RH_OK;
}

static rh_status add_punctuation(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  step->cut = rh_cut_flags;
  step->flags = RH_CHAR_PUNCTUATION;
  step->behavior = RH_SPLIT_ISOLATED;
  return json_object_get(json, "behavior") != NULL ? behavior_of(json, path, &step->behavior, error) : RH_OK;
}

static rh_status add_digits(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  (void)path, (void)error;
  step->cut = rh_cut_flags;
  step->flags = RH_CHAR_NUMERIC;
  step->behavior = json_is_true(json_object_get(json, "individual_digits")) ? RH_SPLIT_ISOLATED : RH_SPLIT_CONTIGUOUS;
  return RH_OK;
}

static rh_status add_delimiter(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  step->cut = rh_cut_code;
  step->behavior = RH_SPLIT_REMOVED;
  return character_of(json, path, "delimiter", &step->code, error);
}

static rh_status add_fixed(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error) {
  const json_t *length = json_object_get(json, "length");
  json_int_t value = length != NULL ? json_integer_value(length) : 5;
  if (value < 1 || value > UINT32_MAX) {
    return rh_fail_param(error, RH_INVALID, path, "%s: 'length' has to be a positive number", path);
  }
  step->cut = rh_cut_fixed;
  step->length = (size_t)value;
  return RH_OK;
}

typedef struct kind {
  const char *name;
  rh_status (*add)(const json_t *json, rh_pretokenizer_step *step, const char *path, rh_error *error);
  rh_pretokenizer_step step;  // when there is nothing to read
} kind;

static const kind kinds[] = {
    {"BertPreTokenizer", NULL, {.cut = rh_cut_bert}},
    {"Whitespace", NULL, {.cut = rh_cut_whitespace}},
    {"WhitespaceSplit", NULL, {.cut = rh_cut_flags, .flags = RH_CHAR_SPACE, .behavior = RH_SPLIT_REMOVED}},
    {"UnicodeScripts", NULL, {.cut = rh_cut_scripts}},
    {"ByteLevel", add_byte_level, {0}},
    {"Metaspace", add_metaspace, {0}},
    {"Split", add_split, {0}},
    {"Punctuation", add_punctuation, {0}},
    {"Digits", add_digits, {0}},
    {"CharDelimiterSplit", add_delimiter, {0}},
    {"Delimiter", add_delimiter, {0}},  // its name in newer files
    {"FixedLength", add_fixed, {0}},
};

static rh_status add_json(rh_pretokenizer *pretokenizer, const json_t *json, const char *path, int depth,
                          rh_error *error);

static rh_status add_sequence(rh_pretokenizer *pretokenizer, const json_t *json, const char *path, int depth,
                              rh_error *error) {
  const json_t *list = json_object_get(json, "pretokenizers");
  if (!json_is_array(list)) return rh_fail_param(error, RH_INVALID, path, "%s: 'pretokenizers' has to be a list", path);
  rh_status status = RH_OK;
  for (size_t i = 0; i < json_array_size(list) && status == RH_OK; i++) {
    char inner[64];
    snprintf(inner, sizeof inner, "%.40s[%zu]", path, i);
    status = add_json(pretokenizer, json_array_get(list, i), inner, depth + 1, error);
  }
  return status;
}

static rh_status add_json(rh_pretokenizer *pretokenizer, const json_t *json, const char *path, int depth,
                          rh_error *error) {
  const char *type = json_string_value(json_object_get(json, "type"));
  if (type == NULL) return rh_fail_param(error, RH_INVALID, path, "%s: an object with a 'type' is expected", path);
  if (depth > DEPTH_MAX) return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: nested too deeply", path);
  if (strcmp(type, "Sequence") == 0) return add_sequence(pretokenizer, json, path, depth, error);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, type) != 0) continue;
    if (pretokenizer->count == STEPS_MAX) {
      return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: more than %d steps", path, STEPS_MAX);
    }
    rh_pretokenizer_step *step = &pretokenizer->steps[pretokenizer->count++];
    *step = kinds[i].step;
    return kinds[i].add != NULL ? kinds[i].add(json, step, path, error) : RH_OK;
  }
  return rh_fail_param(error, RH_UNSUPPORTED, path, "%s: this build knows no pre-tokenizer '%.64s'", path, type);
}

rh_status rh_pretokenizer_from_json(const json_t *json, rh_pretokenizer **out, rh_error *error) {
  *out = NULL;
  if (json == NULL || json_is_null(json)) return RH_OK;
  rh_unicode_prepare();
  rh_pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
  if (pretokenizer == NULL) return rh_fail(error, RH_NO_MEMORY, "pre_tokenizer: out of memory");
  rh_status status = add_json(pretokenizer, json, "pre_tokenizer", 0, error);
  if (status == RH_OK)
    *out = pretokenizer;
  else
    rh_pretokenizer_free(pretokenizer);
  return status;
}

// --- pieces --------------------------------------------------------------------------------------------------------

static void flush(rh_cutter *cutter) {
  if (cutter->holds) rh_cutter_add(cutter, cutter->held_start, cutter->held_end);
  cutter->holds = false;
}

void rh_cutter_take(rh_cutter *cutter, uint32_t start, uint32_t end, bool found) {
  bool match = found != cutter->invert;
  bool grows = false;
  switch (cutter->behavior) {
    case RH_SPLIT_REMOVED:
      if (!match) rh_cutter_add(cutter, start, end);
      return;
    case RH_SPLIT_ISOLATED: rh_cutter_add(cutter, start, end); return;
    case RH_SPLIT_CONTIGUOUS: grows = match == cutter->held_match; break;
    case RH_SPLIT_MERGED_WITH_PREVIOUS: grows = match && !cutter->held_match; break;
    case RH_SPLIT_MERGED_WITH_NEXT: grows = cutter->held_match && !match; break;
  }
  if (!grows || !cutter->holds) {
    flush(cutter);
    cutter->held_start = start;
    cutter->holds = true;
  }
  cutter->held_end = end;
  cutter->held_match = match;
}

void rh_cutter_finish(rh_cutter *cutter) {
  flush(cutter);
  cutter->held_match = false;
}

static void swap_pieces(rh_pretokenizing *going) {
  rh_pieces swapped = *going->pieces;
  *going->pieces = *going->other_pieces;
  *going->other_pieces = swapped;
}

rh_status rh_cut_pieces(const rh_pretokenizer_step *step, rh_cut cut, rh_pretokenizing *going) {
  rh_cutter cutter = {.out = going->other_pieces, .behavior = step->behavior, .invert = step->invert};
  going->other_pieces->count = 0;
  for (size_t i = 0; i < going->pieces->count && cutter.status == RH_OK; i++) {
    const rh_piece *piece = &going->pieces->items[i];
    if (piece->token >= 0) {
      cutter.status = rh_pieces_add(cutter.out, piece->start, piece->end, piece->token);
    } else if (piece->end > piece->start) {
      cut(step, going->text->bytes, piece->start, piece->end, &cutter);
      rh_cutter_finish(&cutter);
    }
  }
  if (cutter.status == RH_OK) swap_pieces(going);
  return cutter.status;
}

rh_status rh_pretokenizer_apply(const rh_pretokenizer *pretokenizer, rh_mapped *text, rh_pieces *pieces,
                                rh_mapped *scratch, rh_pieces *scratch_pieces) {
  rh_pretokenizing going = {text, scratch, pieces, scratch_pieces};
  rh_status status = RH_OK;
  for (size_t i = 0; pretokenizer != NULL && i < pretokenizer->count && status == RH_OK; i++) {
    const rh_pretokenizer_step *step = &pretokenizer->steps[i];
    status = step->rewrite != NULL ? step->rewrite(step, &going) : rh_cut_pieces(step, step->cut, &going);
  }
  return status;
}

bool rh_pretokenizer_needs_offsets(const rh_pretokenizer *pretokenizer) {
  for (size_t i = 0; pretokenizer != NULL && i < pretokenizer->count; i++) {
    const rh_pretokenizer_step *step = &pretokenizer->steps[i];
    if (step->rewrite == rh_rewrite_metaspace && step->prepend == RH_PREPEND_FIRST) return true;
  }
  return false;
}
