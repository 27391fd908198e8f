// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a tokenizer.json would hold for a BERT that has only its vocab.txt: WordPiece, BERT's normalizer and words,
// [CLS] and [SEP] around the text.
// Data owned: none; the JSON is the caller's. Threads: any. Not here: reading files (open.c).
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "text/model.h"
#include "text/private.h"

static rh_status no_memory(rh_error *error) { return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer"); }

// {"token": line number}; of two lines with one text, the later counts.
static rh_status read_lines(const char *text, size_t length, json_t *vocabulary, rh_error *error) {
  const char *end = text + length;
  rh_dynbuf line;
  rh_dynbuf_init(&line, length + 1);
  rh_status status = RH_OK;
  for (json_int_t id = 0; text < end && status == RH_OK; id++) {
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    size_t size = (size_t)((stop != NULL ? stop : end) - text);
    if (size > 0 && text[size - 1] == '\r') size--;
    rh_dynbuf_clear(&line);
    if (memchr(text, '\0', size) != NULL || !rh_utf8_valid(text, size)) {
      status = rh_fail(error, RH_INVALID, "vocab.txt, line %lld is no text in UTF-8", (long long)id + 1);
    } else if (rh_dynbuf_append(&line, text, size) != RH_OK ||
               json_object_set_new(vocabulary, rh_dynbuf_data(&line), json_integer(id)) != 0) {
      status = no_memory(error);
    }
    text = stop != NULL ? stop + 1 : end;
  }
  rh_dynbuf_free(&line);
  return status;
}

typedef struct named {
  const char *key, *otherwise;
} named;

enum { UNK, SEP, PAD, CLS, MASK, NAMES };
static const named names[NAMES] = {{"unk_token", "[UNK]"},
                                   {"sep_token", "[SEP]"},
                                   {"pad_token", "[PAD]"},
                                   {"cls_token", "[CLS]"},
                                   {"mask_token", "[MASK]"}};

static const char *token_named(int which, const json_t *settings, const json_t *special_tokens) {
  const char *text = rh_tokenizer_token_text(json_object_get(settings, names[which].key));
  if (text == NULL) text = rh_tokenizer_token_text(json_object_get(special_tokens, names[which].key));
  return text != NULL ? text : names[which].otherwise;
}

static json_t *template_piece(const char *kind, const char *id, int type) {
  return json_pack("{s:{s:s, s:i}}", kind, "id", id, "type_id", type);
}

// [CLS] A [SEP] B [SEP]; nothing when the vocabulary has no such tokens.
static json_t *surrounding(const json_t *vocabulary, const char *cls, const char *sep) {
  const json_t *cls_id = json_object_get(vocabulary, cls), *sep_id = json_object_get(vocabulary, sep);
  if (cls_id == NULL || sep_id == NULL) return json_null();
  json_t *single = json_pack("[o, o, o]", template_piece("SpecialToken", cls, 0), template_piece("Sequence", "A", 0),
                             template_piece("SpecialToken", sep, 0));
  json_t *pair = json_pack("[o, o, o, o, o]", template_piece("SpecialToken", cls, 0),
                           template_piece("Sequence", "A", 0), template_piece("SpecialToken", sep, 0),
                           template_piece("Sequence", "B", 1), template_piece("SpecialToken", sep, 1));
  return json_pack("{s:s, s:o, s:o, s:{s:{s:[I]}, s:{s:[I]}}}", "type", "TemplateProcessing", "single", single, "pair",
                   pair, "special_tokens", cls, "ids", json_integer_value(cls_id), sep, "ids",
                   json_integer_value(sep_id));
}

static json_t *added_token(const char *text, json_int_t id, bool special) {
  return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word", 0, "lstrip", 0,
                   "rstrip", 0, "normalized", !special, "special", special);
}

// The five that every BERT has, and what tokenizer_config.json lists.
static rh_status read_added(const json_t *vocabulary, const json_t *settings, const json_t *special_tokens,
                            json_t *added, rh_error *error) {
  json_t *seen = json_object(), *listed = json_object_get(settings, "added_tokens_decoder"), *token;
  const char *key;
  bool fine = seen != NULL;
  json_object_foreach(listed, key, token) {
    const char *text = rh_tokenizer_token_text(token);
    char *end;
    long long id = strtoll(key, &end, 10);
    if (text == NULL || *end != '\0' || id < 0 || json_object_get(token, "content") == NULL) continue;
    json_t *copy = json_copy(token);
    fine = fine && copy != NULL && json_object_set_new(copy, "id", json_integer(id)) == 0 &&
           json_object_set_new(seen, text, json_true()) == 0;
    fine = json_array_append_new(added, copy) == 0 && fine;
  }
  for (int i = 0; i < NAMES; i++) {
    const char *text = token_named(i, settings, special_tokens);
    const json_t *id = json_object_get(vocabulary, text);
    if (id == NULL || json_object_get(seen, text) != NULL) continue;
    fine = json_object_set_new(seen, text, json_true()) == 0 && fine;
    fine = json_array_append_new(added, added_token(text, json_integer_value(id), true)) == 0 && fine;
  }
  json_decref(seen);
  return fine ? RH_OK : no_memory(error);
}

static json_t *normalizer_of(const json_t *settings) {
  const json_t *strip = json_object_get(settings, "strip_accents");
  json_t *accents = json_is_boolean(strip) ? json_boolean(json_is_true(strip)) : json_null();
  return json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars",
                   rh_text_json_bool(settings, "tokenize_chinese_chars", true), "strip_accents", accents, "lowercase",
                   rh_text_json_bool(settings, "do_lower_case", true));
}

rh_status rh_tokenizer_json_of_vocabulary(const char *text, size_t length, const json_t *settings,
                                          const json_t *special_tokens, json_t **out, rh_error *error) {
  json_t *vocabulary = json_object(), *added = json_array();
  *out = NULL;
  rh_status status = vocabulary != NULL && added != NULL ? RH_OK : no_memory(error);
  if (status == RH_OK) status = read_lines(text, length, vocabulary, error);
  if (status == RH_OK && json_object_size(vocabulary) == 0)
    status = rh_fail(error, RH_INVALID, "vocab.txt has no tokens");
  if (status == RH_OK) status = read_added(vocabulary, settings, special_tokens, added, error);
  if (status == RH_OK) {
    json_t *after =
        surrounding(vocabulary, token_named(CLS, settings, special_tokens), token_named(SEP, settings, special_tokens));
    *out = json_pack("{s:O, s:o, s:{s:s}, s:o, s:{s:s, s:s, s:b}, s:{s:s, s:s, s:s, s:i, s:O}}", "added_tokens", added,
                     "normalizer", normalizer_of(settings), "pre_tokenizer", "type", "BertPreTokenizer",
                     "post_processor", after, "decoder", "type", "WordPiece", "prefix", "##", "cleanup", 1, "model",
                     "type", "WordPiece", "unk_token", token_named(UNK, settings, special_tokens),
                     "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", vocabulary);
    if (*out == NULL) status = no_memory(error);
  }
  json_decref(vocabulary);
  json_decref(added);
  return status;
}
