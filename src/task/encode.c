// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a text, a pair or a client's ids as one row of tokens, cut to what the model takes; with offsets where spans are
// to be found. The tokens come from the model's tokenizer files, or from the engine where it has a tokenizer of its own.
// Data owned: the tokenizer and its working memory; a row belongs to the caller. Threads: the engine thread.
// Not here: prompts and hypotheses; the tasks write them.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

#define LENGTH_UNKNOWN 512

static void read_facts(rh_text_encoder *encoder) {
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(encoder->tokenizer);
  encoder->continues = strcmp(facts->model, "WordPiece") == 0;
  encoder->unknown = facts->unk;
  encoder->ends[0] = facts->sep;
  encoder->ends[1] = facts->eos;
  if (facts->pad >= 0) encoder->pad = facts->pad;
  encoder->vocabulary = rh_tokenizer_size(encoder->tokenizer);
  // Where nothing is known the packages write an astronomical number.
  bool known = facts->length_max > 0 && facts->length_max < 1 << 24;
  if (encoder->length_max == 0 && known) encoder->length_max = facts->length_max;
}

rh_status rh_text_encoder_init(rh_text_encoder *encoder, const rh_engine_ops *ops, rh_engine *engine,
                               const rh_model_files *files, const rh_model_info *info, rh_error *error) {
  *encoder = (rh_text_encoder){.ops = ops, .infer = ops->infer(engine), .engine = engine};
  encoder->unknown = encoder->ends[0] = encoder->ends[1] = -1;
  encoder->pad = files->pad_id >= 0 ? (int32_t)files->pad_id : 0;
  encoder->length_max = files->length_max;
  encoder->vocabulary = info->vocabulary;
  if (encoder->infer->tokenize == NULL) {
    if (files->folder == NULL) return rh_fail(error, RH_UNSUPPORTED, "this model has no tokenizer");
    rh_status status = rh_tokenizer_open(files->folder, &encoder->tokenizer, error);
    if (status == RH_OK) status = rh_encoding_new(&encoder->encoding, error);
    if (status != RH_OK) return status;
    read_facts(encoder);
  }
  if (info->context > 0 && (encoder->length_max == 0 || info->context < encoder->length_max)) {
    encoder->length_max = info->context;
  }
  if (encoder->length_max == 0) encoder->length_max = LENGTH_UNKNOWN;
  return RH_OK;
}

void rh_text_encoder_free(rh_text_encoder *encoder) {
  rh_encoding_free(encoder->encoding);
  rh_tokenizer_close(encoder->tokenizer);
}

// The row and its arrays in one block, freed with free().
rh_row *rh_row_new(size_t count, bool offsets) {
  size_t arrays = offsets ? 4 * sizeof(int32_t) + 2 : 2 * sizeof(int32_t);
  rh_row *row = malloc(sizeof *row + count * arrays);
  if (row == NULL) return NULL;
  *row = (rh_row){.count = count};
  row->ids = (int32_t *)(row + 1);
  row->types = row->ids + count;
  if (!offsets) return row;
  row->starts = (uint32_t *)(row->types + count);
  row->ends = row->starts + count;
  row->special = (uint8_t *)(row->ends + count);
  row->subword = row->special + count;
  return row;
}

static rh_status no_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "There is no memory for the tokens of a text.");
}

static rh_status too_long(size_t count, int64_t length_max, rh_error *error) {
  return rh_fail_param(error, RH_CONTEXT_OVERFLOW, "input", "the text has %zu tokens, but the model takes %lld", count,
                       (long long)length_max);
}

// --- the model's own tokenizer -------------------------------------------------------------------------------------

static size_t code_points(const char *bytes, size_t length) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)bytes[i] & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

// Is there white space on neither side of the place?
static bool joins(rh_text_walker *w, uint32_t start) {
  if (start == 0) return false;
  rh_text_walk(w, start);
  bool before = w->byte > 0 && w->text[w->byte - 1] == ' ';
  bool here = w->byte < w->length && w->text[w->byte] == ' ';
  return !before && !here;
}

// Which tokens continue a word, as transformers' pipeline decides it: by the "##" of tokenizers that write one, else by
// the blank before.
static void mark_subwords(const rh_text_encoder *encoder, const rh_row_text *text, rh_row *row) {
  rh_text_walker w = {.text = text->text, .length = text->length};
  for (size_t i = 0; i < row->count; i++) {
    row->subword[i] = 0;
    if (row->special[i] != 0 || row->ids[i] == encoder->unknown) continue;
    if (encoder->continues) {
      size_t bytes = 0;
      const char *token = rh_tokenizer_token(encoder->tokenizer, row->ids[i], &bytes);
      row->subword[i] = token != NULL && code_points(token, bytes) != row->ends[i] - row->starts[i];
    } else {
      row->subword[i] = joins(&w, row->starts[i]);
    }
  }
}

static rh_status encode_with_files(rh_text_encoder *encoder, const rh_row_text *text, rh_row **out, rh_error *error) {
  rh_encode_options options = {.add_special = true,
                               .parse_special = true,
                               .want_offsets = text->offsets,
                               .length_max = encoder->length_max,
                               .truncate = RH_TRUNCATE_LONGEST_FIRST};
  if (text->keep_pair) options.truncate = RH_TRUNCATE_FIRST;
  if (text->refuse_long) options.truncate = RH_TRUNCATE_NONE;
  if (text->whole) options.length_max = 0;
  const rh_encoding *encoding = encoder->encoding;
  rh_status status = rh_tokenizer_encode(encoder->tokenizer, text->text, text->length, text->pair, text->pair_length,
                                         &options, encoder->encoding, error);
  if (status != RH_OK) return status;
  rh_row *row = rh_row_new(encoding->count, text->offsets);
  if (row == NULL) return no_memory(error);
  size_t words = encoding->count * sizeof(int32_t);
  memcpy(row->ids, encoding->ids, words);
  memcpy(row->types, encoding->types, words);
  row->truncated = encoding->truncated;
  if (text->offsets) {
    memcpy(row->starts, encoding->starts, words);
    memcpy(row->ends, encoding->ends, words);
    memcpy(row->special, encoding->special, encoding->count);
    mark_subwords(encoder, text, row);
  }
  *out = row;
  return RH_OK;
}

// --- the engine's tokenizer ----------------------------------------------------------------------------------------

// What is kept of [head | first text | tail | second text | tail] when it is too long.
typedef struct cut {
  size_t first_end, second_start, second_end;  // tokens between the ends of the texts and their tails go
} cut;

static size_t second_begins(const rh_token_text *tokens) {
  size_t at = tokens->head;
  while (at < tokens->count && tokens->types[at] == 0) at++;
  return at;
}

static cut cut_tokens(const rh_token_text *tokens, const rh_row_text *text, size_t length_max) {
  size_t split = text->pair != NULL && tokens->types != NULL ? second_begins(tokens) : tokens->count;
  cut c = {.first_end = split - tokens->tail, .second_start = split, .second_end = tokens->count - tokens->tail};
  if (split == tokens->count) c.second_end = split;
  size_t excess = tokens->count > length_max ? tokens->count - length_max : 0;
  for (; excess > 0; excess--) {
    size_t first = c.first_end > tokens->head ? c.first_end - tokens->head : 0;
    size_t second = c.second_end > c.second_start ? c.second_end - c.second_start : 0;
    if (first == 0 && second == 0) break;
    if (second == 0 || (first > 0 && (text->keep_pair || first > second))) {
      c.first_end--;
    } else {
      c.second_end--;
    }
  }
  return c;
}

static void copy_tokens(const rh_token_text *tokens, size_t from, size_t to, rh_row *row, bool offsets) {
  for (size_t i = from; i < to; i++) {
    size_t at = row->count++;
    row->ids[at] = tokens->ids[i];
    row->types[at] = tokens->types != NULL ? tokens->types[i] : 0;
    if (!offsets) continue;
    row->starts[at] = tokens->starts[i];
    row->ends[at] = tokens->ends[i];
    row->special[at] = i < tokens->head || i >= tokens->count - tokens->tail;
    row->subword[at] = 0;
  }
}

static rh_status encode_with_engine(rh_text_encoder *encoder, const rh_row_text *text, rh_row **out, rh_error *error) {
  rh_token_text tokens = {0};
  rh_status status = encoder->infer->tokenize(encoder->engine, text->text, text->length, text->pair, text->pair_length,
                                              true, &tokens, error);
  if (status != RH_OK) return status;
  if (text->offsets && tokens.starts == NULL) {
    return rh_fail(error, RH_UNSUPPORTED, "the engine %s does not say where in the text its tokens stand",
                   encoder->ops->name);
  }
  size_t length_max = text->whole ? SIZE_MAX : (size_t)encoder->length_max;
  if (tokens.count > length_max && text->refuse_long) return too_long(tokens.count, encoder->length_max, error);
  rh_row *row = rh_row_new(tokens.count, text->offsets);
  if (row == NULL) return no_memory(error);
  cut c = cut_tokens(&tokens, text, length_max);
  row->count = 0;
  copy_tokens(&tokens, 0, c.first_end, row, text->offsets);
  copy_tokens(&tokens, c.second_start - tokens.tail, c.second_start, row, text->offsets);
  copy_tokens(&tokens, c.second_start, c.second_end, row, text->offsets);
  if (c.second_start < tokens.count) copy_tokens(&tokens, tokens.count - tokens.tail, tokens.count, row, text->offsets);
  row->truncated = row->count < tokens.count;
  *out = row;
  return RH_OK;
}

rh_status rh_text_encode(rh_text_encoder *encoder, const rh_row_text *text, rh_row **out, rh_error *error) {
  rh_row *row = NULL;
  rh_status status = encoder->tokenizer != NULL ? encode_with_files(encoder, text, &row, error)
                                                : encode_with_engine(encoder, text, &row, error);
  if (status == RH_OK && row->count == 0) {
    free(row);
    return rh_fail_param(error, RH_INVALID, "input", "the text is empty: it has no tokens");
  }
  if (status == RH_OK) *out = row;
  return status;
}

rh_status rh_text_encode_ids(const rh_text_encoder *encoder, const int32_t *ids, size_t count, bool refuse_long,
                             rh_row **out, rh_error *error) {
  if (count == 0) return rh_fail_param(error, RH_INVALID, "input", "the list of tokens is empty");
  if (refuse_long && (int64_t)count > encoder->length_max) return too_long(count, encoder->length_max, error);
  size_t kept = (int64_t)count > encoder->length_max ? (size_t)encoder->length_max : count;
  for (size_t i = 0; i < kept; i++) {
    if (ids[i] >= 0 && (encoder->vocabulary == 0 || ids[i] < encoder->vocabulary)) continue;
    return rh_fail_param(error, RH_INVALID, "input",
                         "token %d at place %zu is not in this model's vocabulary of %lld; were these ids made by "
                         "another model's tokenizer?",
                         ids[i], i, (long long)encoder->vocabulary);
  }
  rh_row *row = rh_row_new(kept, false);
  if (row == NULL) return no_memory(error);
  memcpy(row->ids, ids, kept * sizeof *ids);
  memset(row->types, 0, kept * sizeof *row->types);
  row->truncated = kept < count;
  *out = row;
  return RH_OK;
}

rh_status rh_text_encoder_prompt(rh_text_encoder *encoder, const char *prompt, size_t *count, rh_error *error) {
  rh_row *row = NULL;
  rh_row_text text = {.text = prompt, .length = strlen(prompt)};
  rh_status status = rh_text_encode(encoder, &text, &row, error);
  if (status != RH_OK) return status;
  *count = row->count;
  int32_t last = row->ids[row->count - 1];
  // The end of the prompt alone is not the end of prompt and text.
  if (last >= 0 && (last == encoder->ends[0] || last == encoder->ends[1])) (*count)--;
  free(row);
  return RH_OK;
}
