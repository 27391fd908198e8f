// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a model expects around its texts, read from JSON into two templates (one text, two texts), and the trimming
// of offsets.
// Data owned: the templates (read-only once built). Threads: any. Not here: truncation; laying out the result
// (tokenizer.c).
//
// BertProcessing and RobertaProcessing are templates too. Of a Sequence, at most one step may surround the texts.
#include <stdlib.h>
#include <string.h>

#include "text/model.h"
#include "text/unicode.h"

#define PIECES_MAX 256
#define TRIMS_MAX 8
#define DEPTH_MAX 8
#define BYTE_LEVEL_SPACE 0x0120

typedef struct template {
  rh_template_piece pieces[PIECES_MAX];
  size_t count, added;
}
template;

struct rh_postprocessor {
  template single, pair;
  bool surrounds;                // a step has given the templates
  bool prefix_space[TRIMS_MAX];  // one a step that trims: whether the first text may have got a space before it
  size_t trims;
};

static rh_status add_piece(template *self, int32_t text, int64_t id, int64_t type, rh_error *error) {
  if (self->count == PIECES_MAX)
    return rh_fail(error, RH_TOO_LARGE, "the post-processor's template has more than %d pieces", PIECES_MAX);
  if (id < 0 || id >= RH_TOKENIZER_VOCABULARY_MAX || type < 0 || type > INT32_MAX)
    return rh_fail(error, RH_INVALID, "the post-processor's template has the token id %lld with the type %lld",
                   (long long)id, (long long)type);
  self->pieces[self->count++] = (rh_template_piece){text, (int32_t)id, (int32_t)type};
  self->added += text < 0;
  return RH_OK;
}

// --- TemplateProcessing ----------------------------------------------------------------------------------------------

static rh_status add_special(template *self, const json_t *tokens, const char *name, int64_t type, rh_error *error) {
  const json_t *ids = json_object_get(name != NULL ? json_object_get(tokens, name) : NULL, "ids");
  if (!json_is_array(ids))
    return rh_fail(error, RH_INVALID, "the post-processor's template names the token \"%.60s\" and gives no ids for it",
                   name != NULL ? name : "");
  rh_status status = RH_OK;
  for (size_t i = 0; i < json_array_size(ids) && status == RH_OK; i++) {
    const json_t *id = json_array_get(ids, i);
    status = add_piece(self, -1, json_is_integer(id) ? json_integer_value(id) : -1, type, error);
  }
  return status;
}

static rh_status read_template(template *self, const json_t *pieces, const json_t *tokens, rh_error *error) {
  if (!json_is_array(pieces)) return rh_fail(error, RH_INVALID, "the post-processor's template is no list");
  rh_status status = RH_OK;
  for (size_t i = 0; i < json_array_size(pieces) && status == RH_OK; i++) {
    const json_t *piece = json_array_get(pieces, i), *special = json_object_get(piece, "SpecialToken"),
                 *text = json_object_get(piece, "Sequence"), *what = special != NULL ? special : text;
    const char *name = rh_text_json_string(what, "id");
    int64_t type = json_integer_value(json_object_get(what, "type_id"));
    if (special != NULL) {
      status = add_special(self, tokens, name, type, error);
    } else if (name != NULL && (strcmp(name, "A") == 0 || strcmp(name, "B") == 0)) {
      status = add_piece(self, name[0] - 'A', 0, type, error);
    } else {
      status = rh_fail(error, RH_INVALID, "piece %zu of the post-processor's template is unknown", i);
    }
  }
  return status;
}

static rh_status read_templates(rh_postprocessor *self, const json_t *json, rh_error *error) {
  const json_t *tokens = json_object_get(json, "special_tokens");
  rh_status status = read_template(&self->single, json_object_get(json, "single"), tokens, error);
  if (status == RH_OK) status = read_template(&self->pair, json_object_get(json, "pair"), tokens, error);
  for (size_t i = 0; i < self->single.count && status == RH_OK; i++) {
    if (self->single.pieces[i].text == 1)
      status = rh_fail(error, RH_INVALID, "the post-processor's template for one text has a second one");
  }
  return status;
}

// --- BertProcessing, RobertaProcessing -------------------------------------------------------------------------------

// ["[SEP]", 102]
static int64_t named_id(const json_t *json, const char *key) {
  const json_t *id = json_array_get(json_object_get(json, key), 1);
  return json_is_integer(id) ? json_integer_value(id) : -1;
}

// [CLS] A [SEP], and B [SEP], or for RoBERTa [SEP] B [SEP] and no types.
static rh_status read_bert(rh_postprocessor *self, const json_t *json, bool roberta, rh_error *error) {
  int64_t cls = named_id(json, "cls"), sep = named_id(json, "sep");
  int32_t second = roberta ? 0 : 1;
  rh_status status = RH_OK;
  template *const both[] = {&self->single, &self->pair};
  for (size_t i = 0; i < 2 && status == RH_OK; i++) {
    status = add_piece(both[i], -1, cls, 0, error);
    if (status == RH_OK) status = add_piece(both[i], 0, 0, 0, error);
    if (status == RH_OK) status = add_piece(both[i], -1, sep, 0, error);
  }
  if (status == RH_OK && roberta) status = add_piece(&self->pair, -1, sep, 0, error);
  if (status == RH_OK) status = add_piece(&self->pair, 1, 0, second, error);
  if (status == RH_OK) status = add_piece(&self->pair, -1, sep, second, error);
  return status;
}

// --- all of them -----------------------------------------------------------------------------------------------------

static rh_status add_trim(rh_postprocessor *self, const json_t *json, rh_error *error) {
  if (!rh_text_json_bool(json, "trim_offsets", true)) return RH_OK;
  if (self->trims == TRIMS_MAX) return rh_fail(error, RH_TOO_LARGE, "the post-processor has too many steps");
  self->prefix_space[self->trims++] = rh_text_json_bool(json, "add_prefix_space", true);
  return RH_OK;
}

static rh_status read_step(rh_postprocessor *self, const json_t *json, int depth, rh_error *error) {
  const char *type = rh_text_json_string(json, "type");
  if (type == NULL) return rh_fail(error, RH_INVALID, "a post-processor has no type");
  if (strcmp(type, "ByteLevel") == 0) return add_trim(self, json, error);
  if (strcmp(type, "Sequence") == 0) {
    const json_t *steps = json_object_get(json, "processors");
    if (depth == DEPTH_MAX) return rh_fail(error, RH_INVALID, "post-processors are nested too deep");
    rh_status status = RH_OK;
    for (size_t i = 0; i < json_array_size(steps) && status == RH_OK; i++)
      status = read_step(self, json_array_get(steps, i), depth + 1, error);
    return status;
  }
  bool roberta = strcmp(type, "RobertaProcessing") == 0, bert = strcmp(type, "BertProcessing") == 0;
  if (!roberta && !bert && strcmp(type, "TemplateProcessing") != 0)
    return rh_fail(error, RH_UNSUPPORTED, "post-processors of the type \"%.40s\" are not known here", type);
  if (self->surrounds)
    return rh_fail(error, RH_UNSUPPORTED, "two steps of the post-processor surround the text; only one is known here");
  self->surrounds = true;
  rh_status status = roberta ? add_trim(self, json, error) : RH_OK;
  if (status != RH_OK) return status;
  return roberta || bert ? read_bert(self, json, roberta, error) : read_templates(self, json, error);
}

rh_status rh_postprocessor_from_json(const json_t *json, rh_postprocessor **out, rh_error *error) {
  *out = NULL;
  if (json == NULL || json_is_null(json)) return RH_OK;
  rh_postprocessor *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
  rh_status status = read_step(self, json, 0, error);
  if (status == RH_OK) {
    *out = self;
  } else {
    free(self);
  }
  return status;
}

void rh_postprocessor_free(rh_postprocessor *postprocessor) { free(postprocessor); }

size_t rh_postprocessor_added(const rh_postprocessor *postprocessor, bool pair) {
  if (postprocessor == NULL) return 0;
  return pair ? postprocessor->pair.added : postprocessor->single.added;
}

const rh_template_piece *rh_postprocessor_template(const rh_postprocessor *postprocessor, bool pair, size_t *count) {
  static const rh_template_piece plain[] = {{0, 0, 0}, {1, 0, 1}};
  if (postprocessor == NULL || !postprocessor->surrounds) {
    *count = pair ? 2 : 1;
    return plain;
  }
  const template *chosen = pair ? &postprocessor->pair : &postprocessor->single;
  *count = chosen->count;
  return chosen->pieces;
}

// --- offsets ---------------------------------------------------------------------------------------------------------

bool rh_postprocessor_trims(const rh_postprocessor *postprocessor) {
  return postprocessor != NULL && postprocessor->trims > 0;
}

static bool is_space(uint32_t code) { return code == BYTE_LEVEL_SPACE || rh_char_is(code, RH_CHAR_SPACE); }

// How many characters of white space a token shows at its beginning and its end; all of it counts for both.
static void count_spaces(const rh_shown *shown, uint32_t *leading, uint32_t *trailing) {
  const char *end = shown->text + shown->length;
  bool begun = false;
  *leading = *trailing = 0;
  for (const char *at = shown->text; at < end;) {
    uint32_t code;
    at += rh_char_read(at, end, &code);
    bool space = is_space(code);
    begun = begun || !space;
    *leading += !begun;
    *trailing = space ? *trailing + 1 : 0;
  }
}

static void trim_once(rh_model_token *token, bool first, bool prefix_space, uint32_t leading, uint32_t trailing) {
  // The one space in front may be one that was added; then it is in no offset.
  if (first && prefix_space && leading == 1) leading = 0;
  uint32_t start = token->start + leading;
  token->start = start < token->end ? start : token->end;
  if (trailing == 0 || token->end < trailing) return;
  uint32_t end = token->end - trailing;
  token->end = end > token->start ? end : token->start;
}

void rh_postprocessor_trim(const rh_postprocessor *postprocessor, rh_model_token *token, size_t index,
                           const rh_shown *shown) {
  uint32_t leading, trailing;
  count_spaces(shown, &leading, &trailing);
  if (leading == 0 && trailing == 0) return;
  for (size_t i = 0; i < postprocessor->trims; i++)
    trim_once(token, index == 0 || token->start == 0, postprocessor->prefix_space[i], leading, trailing);
}
