// SPDX-License-Identifier: Apache-2.0
//
// Log probabilities in OpenAI's two shapes. Elements are written into the choice's columns as they come, so that a
// whole answer and a stream's chunk only have to put brackets around them. The encoder owns and bounds the columns.
#include <assert.h>
#include <stdio.h>

#include "api/encoder.h"
#include "base/utf8.h"

enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSETS };  // the columns of completions

static void put_bytes(rh_dynbuf *out, const char *bytes, size_t length) {
  rh_put(out, "[");
  for (size_t i = 0; i < length; i++) {
    if (i > 0) rh_put(out, ",");
    rh_put_int(out, (unsigned char)bytes[i]);
  }
  rh_put(out, "]");
}

// The members of a token without the closing brace. `token` shows U+FFFD for parts of characters; `bytes` is exact.
static void put_chat_token(rh_dynbuf *out, const char *bytes, size_t length, double logprob) {
  rh_put(out, "{\"token\":");
  (void)rh_json_append_string(out, bytes, length);
  rh_put(out, ",\"logprob\":");
  rh_put_number(out, logprob);
  rh_put(out, ",\"bytes\":");
  put_bytes(out, bytes, length);
}

void rh_logprobs_add_chat(rh_encoder_choice *choice, const rh_event *delta) {
  assert(delta->kind == RH_EVENT_DELTA);
  rh_dynbuf *out = &choice->logprobs[0];
  for (size_t i = 0; i < delta->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &delta->as.delta.tokens[i];
    if (choice->logprob_count++ > 0) rh_put(out, ",");
    put_chat_token(out, token->bytes, token->length, (double)token->logprob);
    rh_put(out, ",\"top_logprobs\":[");
    for (size_t k = 0; k < token->top_count; k++) {
      if (k > 0) rh_put(out, ",");
      put_chat_token(out, token->top[k].bytes, token->top[k].length, (double)token->top[k].logprob);
      rh_put(out, "}");
    }
    rh_put(out, "]}");
  }
}

// The older shape has no byte lists. A token that is part of a character is written as OpenAI does it,
// "bytes:\xe2\x80", which also keeps the keys of top_logprobs apart.
static void put_classic_token(rh_dynbuf *out, const char *bytes, size_t length) {
  if (rh_utf8_valid(bytes, length)) {
    (void)rh_json_append_string(out, bytes, length);
    return;
  }
  rh_put(out, "\"bytes:");
  for (size_t i = 0; i < length; i++) (void)rh_dynbuf_printf(out, "\\\\x%02x", (unsigned)(unsigned char)bytes[i]);
  rh_put(out, "\"");
}

static bool same_bytes(const rh_token_logprob *token, const rh_top_logprob *top) {
  return token->length == top->length && memcmp(token->bytes, top->bytes, top->length) == 0;
}

// True when an earlier alternative is written the same way: two token ids may stand for the same bytes.
static bool is_repeated(const rh_token_logprob *token, size_t index) {
  const rh_top_logprob *top = &token->top[index];
  for (size_t i = 0; i < index; i++) {
    const rh_top_logprob *other = &token->top[i];
    if (other->length == top->length && memcmp(other->bytes, top->bytes, top->length) == 0) return true;
  }
  return false;
}

// {"token": logprob, ...}: the alternatives, and the token that was taken when it is not among them.
static void put_classic_top(rh_dynbuf *out, const rh_token_logprob *token) {
  bool has_taken = false;
  bool first = true;
  rh_put(out, "{");
  for (size_t i = 0; i < token->top_count; i++) {
    if (is_repeated(token, i)) continue;
    if (!first) rh_put(out, ",");
    first = false;
    put_classic_token(out, token->top[i].bytes, token->top[i].length);
    rh_put(out, ":");
    rh_put_number(out, (double)token->top[i].logprob);
    has_taken = has_taken || same_bytes(token, &token->top[i]);
  }
  if (!has_taken) {
    if (!first) rh_put(out, ",");
    put_classic_token(out, token->bytes, token->length);
    rh_put(out, ":");
    rh_put_number(out, (double)token->logprob);
  }
  rh_put(out, "}");
}

// Characters that begin in these bytes.
static size_t count_characters(const char *bytes, size_t length) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)bytes[i] & 0xC0) != 0x80;
  return count;
}

void rh_logprobs_add_classic(rh_encoder_choice *choice, const rh_event *delta, int32_t top) {
  assert(delta->kind == RH_EVENT_DELTA);
  for (size_t i = 0; i < delta->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &delta->as.delta.tokens[i];
    if (choice->logprob_count++ > 0) {
      for (size_t k = 0; k < RH_API_LOGPROB_COLUMNS; k++) rh_put(&choice->logprobs[k], ",");
    }
    put_classic_token(&choice->logprobs[TOKENS], token->bytes, token->length);
    rh_put_number(&choice->logprobs[TOKEN_LOGPROBS], (double)token->logprob);
    if (top > 0) put_classic_top(&choice->logprobs[TOP_LOGPROBS], token);
    rh_put_int(&choice->logprobs[TEXT_OFFSETS], (int64_t)choice->text_offset);
    choice->text_offset += count_characters(token->bytes, token->length);
  }
}

void rh_logprobs_clear(rh_encoder_choice *choice) {
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) rh_dynbuf_clear(&choice->logprobs[i]);
  choice->logprob_count = 0;
}

bool rh_logprobs_failed(const rh_encoder_choice *choice) {
  bool failed = false;
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) failed = failed || choice->logprobs[i].failed;
  return failed;
}
