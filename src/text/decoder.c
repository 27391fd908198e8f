// SPDX-License-Identifier: Apache-2.0
//
// Purpose: decoders read from JSON, and ids to text: all at once or one by one.
// Data owned: the steps (read-only once built); a decoder and what it holds back (one thread's).
// Threads: see above. Not here: what each step does (decoder_steps.c).
//
// All at once is one by one and an end, so the two cannot differ.
#include <stdlib.h>
#include <string.h>

#include "text/decoder_private.h"
#include "text/model.h"
#include "text/private.h"

#define DEPTH_MAX 8

// --- reading ---------------------------------------------------------------------------------------------------------

static rh_status no_memory(rh_error *error) { return rh_fail(error, RH_NO_MEMORY, "out of memory for a decoder"); }

static rh_status copy_text(const char *text, char **out, rh_error *error) {
  *out = strdup(text);
  return *out != NULL ? RH_OK : no_memory(error);
}

static rh_status read_text(const json_t *json, const char *key, const char *otherwise, char **out, rh_error *error) {
  const char *text = rh_text_json_string(json, key);
  if (text == NULL) text = otherwise;
  if (text == NULL) return rh_fail(error, RH_INVALID, "a decoder has no \"%s\"", key);
  return copy_text(text, out, error);
}

static rh_status read_metaspace(rh_decoding_step *self, const json_t *json, rh_error *error) {
  const char *scheme = rh_text_json_string(json, "prepend_scheme");
  self->flag = scheme != NULL ? strcmp(scheme, "never") != 0 : rh_text_json_bool(json, "add_prefix_space", true);
  return read_text(json, "replacement", "\xe2\x96\x81", &self->text, error);
}

static rh_status read_strip(rh_decoding_step *self, const json_t *json, rh_error *error) {
  const json_t *start = json_object_get(json, "start"), *stop = json_object_get(json, "stop");
  if (!json_is_integer(start) || !json_is_integer(stop) || json_integer_value(start) < 0 ||
      json_integer_value(stop) < 0)
    return rh_fail(error, RH_INVALID, "a Strip decoder's start and stop are to be numbers from 0 on");
  self->start = (size_t)json_integer_value(start);
  self->stop = (size_t)json_integer_value(stop);
  return read_text(json, "content", NULL, &self->text, error);
}

static rh_status read_replace(rh_decoding_step *self, const json_t *json, rh_error *error) {
  const json_t *pattern = json_object_get(json, "pattern");
  const char *plain = rh_text_json_string(pattern, "String"), *regex = rh_text_json_string(pattern, "Regex");
  rh_status status = read_text(json, "content", NULL, &self->text, error);
  if (status != RH_OK) return status;
  if (plain != NULL && plain[0] != '\0') return copy_text(plain, &self->pattern, error);
  if (regex != NULL) return rh_regex_new(regex, strlen(regex), &self->regex, error);
  return rh_fail(error, RH_INVALID, "a Replace decoder has no pattern");
}

static rh_status read_step(rh_decoding_step *self, const json_t *json, rh_error *error) {
  rh_status status = RH_OK;
  switch (self->kind) {
    case RH_DECODE_JOIN:
    case RH_DECODE_BYTE_LEVEL:
    case RH_DECODE_BYTES:
    case RH_DECODE_FUSE: break;
    case RH_DECODE_METASPACE: return read_metaspace(self, json, error);
    case RH_DECODE_WORDPIECE:
      self->flag = rh_text_json_bool(json, "cleanup", true);
      return read_text(json, "prefix", "##", &self->text, error);
    case RH_DECODE_BPE: return read_text(json, "suffix", "</w>", &self->text, error);
    case RH_DECODE_STRIP: return read_strip(self, json, error);
    case RH_DECODE_REPLACE: return read_replace(self, json, error);
    case RH_DECODE_CTC:
      self->flag = rh_text_json_bool(json, "cleanup", true);
      status = read_text(json, "pad_token", "<pad>", &self->text, error);
      if (status == RH_OK) status = read_text(json, "word_delimiter_token", "|", &self->second, error);
      break;
  }
  return status;
}

static bool kind_of(const char *type, rh_decoding_kind *out) {
  static const struct {
    const char *type;
    rh_decoding_kind kind;
  } kinds[] = {
      {"ByteLevel", RH_DECODE_BYTE_LEVEL}, {"Metaspace", RH_DECODE_METASPACE}, {"WordPiece", RH_DECODE_WORDPIECE},
      {"BPEDecoder", RH_DECODE_BPE},       {"ByteFallback", RH_DECODE_BYTES},  {"Fuse", RH_DECODE_FUSE},
      {"Strip", RH_DECODE_STRIP},          {"Replace", RH_DECODE_REPLACE},     {"CTC", RH_DECODE_CTC},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    *out = kinds[i].kind;
    if (strcmp(type, kinds[i].type) == 0) return true;
  }
  return false;
}

static rh_status add_steps(rh_decoding_steps *self, const json_t *json, int depth, rh_error *error) {
  const char *type = rh_text_json_string(json, "type");
  if (type == NULL) return rh_fail(error, RH_INVALID, "a decoder has no type");
  if (strcmp(type, "Sequence") == 0) {
    const json_t *steps = json_object_get(json, "decoders");
    rh_status status = depth < DEPTH_MAX ? RH_OK : rh_fail(error, RH_INVALID, "decoders are nested too deep");
    for (size_t i = 0; i < json_array_size(steps) && status == RH_OK; i++)
      status = add_steps(self, json_array_get(steps, i), depth + 1, error);
    return status;
  }
  if (self->count == RH_DECODING_STEPS_MAX)
    return rh_fail(error, RH_TOO_LARGE, "the decoder has more than %d steps", RH_DECODING_STEPS_MAX);
  rh_decoding_step *step = &self->items[self->count];
  if (!kind_of(type, &step->kind))
    return rh_fail(error, RH_UNSUPPORTED, "decoders of the type \"%.40s\" are not known here", type);
  if (self->count > 0) {
    const rh_decoding_step *before = step - 1;
    step->fused = before->fused || before->kind == RH_DECODE_FUSE || before->kind == RH_DECODE_BYTE_LEVEL;
  }
  self->count++;
  return read_step(step, json, error);
}

rh_status rh_decoding_steps_from_json(const json_t *json, rh_decoding_steps **out, rh_error *error) {
  *out = NULL;
  rh_decoding_steps *self = calloc(1, sizeof *self);
  if (self == NULL) return no_memory(error);
  rh_status status = RH_OK;
  if (json == NULL || json_is_null(json)) {
    self->items[self->count++].kind = RH_DECODE_JOIN;
  } else {
    status = add_steps(self, json, 0, error);
  }
  if (status == RH_OK) {
    *out = self;
  } else {
    rh_decoding_steps_free(self);
  }
  return status;
}

void rh_decoding_steps_free(rh_decoding_steps *steps) {
  if (steps == NULL) return;
  for (size_t i = 0; i < steps->count; i++) {
    free(steps->items[i].text);
    free(steps->items[i].second);
    free(steps->items[i].pattern);
    rh_regex_free(steps->items[i].regex);
  }
  free(steps);
}

// --- decoding --------------------------------------------------------------------------------------------------------

rh_status rh_decoder_new(const rh_tokenizer *tokenizer, bool skip_special, rh_decoder **out, rh_error *error) {
  rh_decoder *self = calloc(1, sizeof *self);
  *out = self;
  if (self == NULL) return no_memory(error);
  self->tokenizer = tokenizer;
  self->skip_special = skip_special;
  self->count = tokenizer->decoding->count;
  for (size_t i = 0; i < self->count; i++) {
    rh_decoding_stage *stage = &self->stages[i];
    stage->step = &tokenizer->decoding->items[i];
    rh_dynbuf_init(&stage->held, RH_DECODER_HELD_MAX);
    rh_dynbuf_init(&stage->out, RH_DECODER_HELD_MAX);
    rh_dynbuf_init(&stage->spare, RH_DECODER_HELD_MAX);
  }
  return RH_OK;
}

void rh_decoder_free(rh_decoder *decoder) {
  if (decoder == NULL) return;
  for (size_t i = 0; i < decoder->count; i++) {
    rh_dynbuf_free(&decoder->stages[i].held);
    rh_dynbuf_free(&decoder->stages[i].out);
    rh_dynbuf_free(&decoder->stages[i].spare);
  }
  free(decoder);
}

rh_status rh_decoder_feed(rh_decoder *decoder, int32_t id, rh_dynbuf *out) {
  size_t length;
  const char *text = rh_tokenizer_token(decoder->tokenizer, id, &length);
  if (text == NULL || (decoder->skip_special && rh_tokenizer_is_special(decoder->tokenizer, id))) return RH_OK;
  decoder->sink = out;
  rh_status status = rh_decoder_push(decoder, 0, text, length);
  decoder->sink = NULL;
  return status;
}

rh_status rh_decoder_finish(rh_decoder *decoder, rh_dynbuf *out) {
  decoder->sink = out;
  rh_status status = rh_decoder_end(decoder, 0);
  decoder->sink = NULL;
  return status;
}

rh_status rh_tokenizer_decode(const rh_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                              rh_dynbuf *out) {
  rh_decoder *decoder;
  rh_status status = rh_decoder_new(tokenizer, skip_special, &decoder, NULL);
  for (size_t i = 0; i < count && status == RH_OK; i++) status = rh_decoder_feed(decoder, ids[i], out);
  if (status == RH_OK) status = rh_decoder_finish(decoder, out);
  rh_decoder_free(decoder);
  return status;
}
