// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a tokenizer.json would hold for a model that has only its SentencePiece file: Unigram, or BPE with the merges
// that its scores amount to.
// Data owned: none; the JSON is the caller's. Threads: any. Not here: the walk over the file (sentencepiece.c).
//
// SentencePiece joins two neighbours when their text together is a piece, the highest score first. A list of all pairs that
// make a piece, sorted by its score, does the same.
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/model.h"
#include "text/private.h"
#include "text/sentencepiece.h"

#define SPACE_MARK "\xe2\x96\x81"

typedef enum surround { ENDS, BEGINS, BERT, ROBERTA } surround;

// What stands around a text, by the name of the class that reads such files. Others number or surround differently.
static rh_status find_class(const rh_sentencepiece *model, const json_t *settings, surround *out, rh_error *error) {
  static const struct {
    const char *name;
    surround what;
  } classes[] = {
      {"T5Tokenizer", ENDS},
      {"T5TokenizerFast", ENDS},
      {"MT5Tokenizer", ENDS},
      {"LlamaTokenizer", BEGINS},
      {"LlamaTokenizerFast", BEGINS},
      {"GemmaTokenizer", BEGINS},
      {"GemmaTokenizerFast", BEGINS},
      {"AlbertTokenizer", BERT},
      {"AlbertTokenizerFast", BERT},
      {"DebertaV2Tokenizer", BERT},
      {"DebertaV2TokenizerFast", BERT},
      {"XLMRobertaTokenizer", ROBERTA},
      {"XLMRobertaTokenizerFast", ROBERTA},
  };
  const char *name = rh_text_json_string(settings, "tokenizer_class");
  *out = model->model == RH_SENTENCEPIECE_BPE ? BEGINS : ENDS;
  if (name == NULL) return RH_OK;
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    *out = classes[i].what;
    if (strcmp(name, classes[i].name) == 0) return RH_OK;
  }
  return rh_fail(
      error, RH_UNSUPPORTED,
      "the tokenizer class \"%.60s\" is not known for a SentencePiece file alone; a tokenizer.json is needed", name);
}

static json_t *text_of(const rh_sentence_piece *piece) { return json_stringn(piece->text, piece->length); }

// --- vocabulary ------------------------------------------------------------------------------------------------------

// XLM-RoBERTa's ids: four of its own, then the pieces from the fourth on, then <mask>.
static json_t *roberta_pieces(const rh_sentencepiece *model) {
  json_t *out = json_pack("[[s, f], [s, f], [s, f], [s, f]]", "<s>", 0.0, "<pad>", 0.0, "</s>", 0.0, "<unk>", 0.0);
  for (size_t i = 3; i < model->count; i++)
    (void)json_array_append_new(out, json_pack("[o, f]", text_of(&model->pieces[i]), (double)model->pieces[i].score));
  (void)json_array_append_new(out, json_pack("[s, f]", "<mask>", 0.0));
  return out;
}

static json_t *scored_pieces(const rh_sentencepiece *model) {
  json_t *out = json_array();
  for (size_t i = 0; i < model->count; i++)
    (void)json_array_append_new(out, json_pack("[o, f]", text_of(&model->pieces[i]), (double)model->pieces[i].score));
  return out;
}

typedef struct merge {
  float score;
  uint32_t piece, cut, left, right;  // the first `cut` bytes are the piece `left`
} merge;

static int by_score(const void *a, const void *b) {
  const merge *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
  if (x->left != y->left) return x->left < y->left ? -1 : 1;
  return x->right < y->right ? -1 : x->right > y->right;
}

static bool joins(int type) { return type == 1 || type == 4; }

static json_t *merges_of(const rh_sentencepiece *model, const rh_vocabulary *vocabulary) {
  merge *list = NULL;
  size_t room = 0, count = 0;
  for (size_t i = 0; i < model->count; i++) {
    const rh_sentence_piece *piece = &model->pieces[i];
    if (piece->type != 1) continue;
    for (size_t cut = 1; cut < piece->length; cut++) {
      if (((uint8_t)piece->text[cut] & 0xc0) == 0x80) continue;  // within a character
      int32_t left = rh_vocabulary_find(vocabulary, piece->text, cut);
      int32_t right = left >= 0 ? rh_vocabulary_find(vocabulary, piece->text + cut, piece->length - cut) : -1;
      if (right < 0 || !joins(model->pieces[left].type) || !joins(model->pieces[right].type)) continue;
      if (!rh_model_reserve((void **)&list, &room, count + 1, sizeof *list)) {
        free(list);
        return NULL;
      }
      list[count++] = (merge){piece->score, (uint32_t)i, (uint32_t)cut, (uint32_t)left, (uint32_t)right};
    }
  }
  if (count > 0) qsort(list, count, sizeof *list, by_score);
  json_t *out = json_array();
  for (size_t i = 0; i < count; i++) {
    const rh_sentence_piece *piece = &model->pieces[list[i].piece];
    (void)json_array_append_new(out, json_pack("[o, o]", json_stringn(piece->text, list[i].cut),
                                               json_stringn(piece->text + list[i].cut, piece->length - list[i].cut)));
  }
  free(list);
  return out;
}

static json_t *bpe_model(const rh_sentencepiece *model, rh_error *error) {
  json_t *pieces = scored_pieces(model), *ids = json_object(), *merges = NULL;
  rh_vocabulary vocabulary = {0};
  if (rh_vocabulary_init(&vocabulary, pieces, error) == RH_OK) merges = merges_of(model, &vocabulary);
  bool bytes = false;
  const char *unk = NULL;
  for (size_t i = 0; i < model->count; i++) {
    const json_t *text = json_array_get(json_array_get(pieces, i), 0);
    (void)json_object_set_new(ids, json_string_value(text), json_integer((json_int_t)i));
    bytes = bytes || model->pieces[i].type == 6;
    if (model->pieces[i].type == 2 && unk == NULL) unk = json_string_value(text);
  }
  json_t *out = merges == NULL ? NULL
                               : json_pack("{s:s, s:s?, s:b, s:b, s:O, s:O}", "type", "BPE", "unk_token", unk,
                                           "fuse_unk", 1, "byte_fallback", bytes, "vocab", ids, "merges", merges);
  rh_vocabulary_free(&vocabulary);
  json_decref(pieces);
  json_decref(ids);
  json_decref(merges);
  return out;
}

static json_t *unigram_model(const rh_sentencepiece *model, bool roberta) {
  bool bytes = false;
  json_int_t unk = 3;
  for (size_t i = model->count; i-- > 0;) {
    bytes = bytes || model->pieces[i].type == 6;
    if (model->pieces[i].type == 2 && !roberta) unk = (json_int_t)i;
  }
  return json_pack("{s:s, s:I, s:b, s:o}", "type", "Unigram", "unk_id", unk, "byte_fallback", bytes, "vocab",
                   roberta ? roberta_pieces(model) : scored_pieces(model));
}

// --- around it -------------------------------------------------------------------------------------------------------

static json_t *base64_of(const uint8_t *bytes, size_t length) {
  unsigned char *text = length <= RH_TOKENIZER_FILE_MAX ? malloc(length / 3 * 4 + 5) : NULL;
  if (text == NULL) return NULL;
  json_t *out = json_stringn((const char *)text, (size_t)EVP_EncodeBlock(text, bytes, (int)length));
  free(text);
  return out;
}

// Where spaces stay as they are, one more is put before the text even when it begins with one.
static bool prepends_always(const rh_sentencepiece *model) {
  return model->add_dummy_prefix && !model->remove_extra_whitespaces;
}

static json_t *normalizer_of(const rh_sentencepiece *model) {
  json_t *steps = json_array();
  if (model->charsmap != NULL && model->charsmap_bytes > 0)
    (void)json_array_append_new(steps, json_pack("{s:s, s:o}", "type", "Precompiled", "precompiled_charsmap",
                                                 base64_of(model->charsmap, model->charsmap_bytes)));
  if (model->remove_extra_whitespaces) {
    // A space put before the text takes the place of those that stood there, so these may stay until they are one.
    (void)json_array_append_new(
        steps, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", !model->add_dummy_prefix, "strip_right", 1));
    (void)json_array_append_new(
        steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", " {2,}", "content", " "));
  }
  if (prepends_always(model)) {
    (void)json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE_MARK));
    (void)json_array_append_new(
        steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", SPACE_MARK));
  }
  if (json_array_size(steps) > 0) return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
  json_decref(steps);
  return json_null();
}

// Words can be looked at one by one where no piece goes from one to the next and no run of spaces is left.
static bool has_whole_words(const rh_sentencepiece *model) {
  if (!model->remove_extra_whitespaces) return false;
  for (size_t i = 0; i < model->count; i++) {
    const rh_sentence_piece *piece = &model->pieces[i];
    if (piece->length > 3 && memmem(piece->text + 1, piece->length - 1, SPACE_MARK, 3) != NULL) return false;
  }
  return true;
}

static json_t *spaces_of(const rh_sentencepiece *model, bool split) {
  if (prepends_always(model)) return json_null();
  return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", SPACE_MARK, "prepend_scheme",
                   model->add_dummy_prefix ? "first" : "never", "split", split);
}

// With a space put before the text, only the first of the decoded text's goes again.
static json_t *decoder_of(const rh_sentencepiece *model) {
  json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", SPACE_MARK,
                            "content", " ", "type", "ByteFallback", "type", "Fuse");
  if (model->add_dummy_prefix)
    (void)json_array_append_new(
        steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
  return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static json_t *added_of(const rh_sentencepiece *model, bool roberta) {
  static const char *const own[] = {"<s>", "<pad>", "</s>", "<unk>"};
  json_t *out = json_array();
  for (size_t i = 0; i < (roberta ? 4 : model->count); i++) {
    int type = roberta ? 3 : model->pieces[i].type;
    if (type < 2 || type > 4) continue;
    json_t *text = roberta ? json_string(own[i]) : text_of(&model->pieces[i]);
    (void)json_array_append_new(out, json_pack("{s:I, s:o, s:b, s:b}", "id", (json_int_t)i, "content", text, "special",
                                               type != 4, "normalized", 0));
  }
  if (roberta)
    (void)json_array_append_new(out, json_pack("{s:I, s:s, s:b, s:b, s:b}", "id", (json_int_t)model->count + 1,
                                               "content", "<mask>", "special", 1, "normalized", 0, "lstrip", 1));
  return out;
}

static json_t *template_of(const char *const *pieces) {
  json_t *out = json_array();
  for (; *pieces != NULL; pieces++) {
    bool text = strlen(*pieces) == 1;
    (void)json_array_append_new(
        out, json_pack("{s:{s:s, s:i}}", text ? "Sequence" : "SpecialToken", "id", *pieces, "type_id", 0));
  }
  return out;
}

static const char *text_at(const json_t *vocabulary, int64_t id) {
  return id >= 0 ? json_string_value(json_array_get(json_array_get(vocabulary, (size_t)id), 0)) : NULL;
}

static void add_special(json_t *special, const char *name, int64_t id) {
  if (name != NULL) (void)json_object_set_new(special, name, json_pack("{s:[I]}", "ids", (json_int_t)id));
}

static int64_t find_piece(const rh_sentencepiece *model, const char *text) {
  for (size_t i = 0; i < model->count; i++) {
    if (model->pieces[i].length == strlen(text) && memcmp(model->pieces[i].text, text, strlen(text)) == 0)
      return (int64_t)i;
  }
  return -1;
}

static json_t *surrounding(const rh_sentencepiece *model, surround what, const json_t *settings) {
  json_t *pieces = scored_pieces(model), *special = json_object(), *single = NULL, *pair = NULL;
  int64_t first = model->bos_id, last = model->eos_id;
  if (what == BERT) first = find_piece(model, "[CLS]"), last = find_piece(model, "[SEP]");
  const char *bos = what == ROBERTA ? "<s>" : text_at(pieces, first);
  const char *eos = what == ROBERTA ? "</s>" : text_at(pieces, last);
  if (what == ROBERTA) first = 0, last = 2;
  if (!rh_text_json_bool(settings, "add_bos_token", what != ENDS)) bos = NULL;
  if (!rh_text_json_bool(settings, "add_eos_token", what != BEGINS)) eos = NULL;
  add_special(special, bos, first);
  add_special(special, eos, last);
  const char *one[4], *two[8];
  size_t ones = 0, twos = 0;
  if (bos != NULL) one[ones++] = two[twos++] = bos;
  one[ones++] = two[twos++] = "A";
  if (eos != NULL) one[ones++] = two[twos++] = eos;
  if (what == ROBERTA && eos != NULL) two[twos++] = eos;
  if (what == BEGINS && bos != NULL) two[twos++] = bos;
  two[twos++] = "B";
  if (eos != NULL) two[twos++] = eos;
  one[ones] = two[twos] = NULL;
  single = template_of(one);
  pair = template_of(two);
  json_t *out = json_pack("{s:s, s:o, s:o, s:O}", "type", "TemplateProcessing", "single", single, "pair", pair,
                          "special_tokens", special);
  json_decref(special);
  json_decref(pieces);
  return out;
}

rh_status rh_tokenizer_json_of_sentencepiece(const void *bytes, size_t length, const json_t *settings, json_t **out,
                                             rh_error *error) {
  rh_sentencepiece model;
  surround what;
  *out = NULL;
  rh_status status = rh_sentencepiece_parse(bytes, length, &model, error);
  if (status != RH_OK) return status;
  status = find_class(&model, settings, &what, error);
  bool bpe = model.model == RH_SENTENCEPIECE_BPE, roberta = what == ROBERTA && !bpe;
  if (status == RH_OK && !bpe && model.model != RH_SENTENCEPIECE_UNIGRAM)
    status = rh_fail(error, RH_UNSUPPORTED, "SentencePiece models that are neither Unigram nor BPE are not known here");
  if (status == RH_OK && roberta && model.count < 4)
    status = rh_fail(error, RH_INVALID, "the SentencePiece model has only %zu pieces", model.count);
  if (status == RH_OK) {
    json_t *core = bpe ? bpe_model(&model, error) : unigram_model(&model, roberta);
    *out =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "added_tokens", added_of(&model, roberta), "normalizer",
                  normalizer_of(&model), "pre_tokenizer", spaces_of(&model, has_whole_words(&model)), "post_processor",
                  surrounding(&model, what, settings), "decoder", decoder_of(&model), "model", core);
    if (*out == NULL)
      status = rh_fail(error, RH_NO_MEMORY, "out of memory for a SentencePiece model, or it is damaged");
  }
  rh_sentencepiece_free(&model);
  return status;
}
