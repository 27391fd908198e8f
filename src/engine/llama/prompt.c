// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the tokens of a prompt, and whether prompt and answer fit in the context.
// Data owned: none; the tokens belong to the caller.
// Threads: the engine thread.
// Not here: cutting prompts, and the words of a refusal (engine/common/fit.c).
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/llama/internal.h"

static rh_context_size size_of(const rh_engine *engine) {
  return (rh_context_size){
      .tokens = engine->context_size, .trained = engine->context_trained, .vocabulary = engine->vocabulary};
}

static rh_status overflow(const rh_engine *engine, const rh_run *run, int64_t count, const char *qualifier,
                          rh_error *error) {
  rh_context_size size = size_of(engine);
  return rh_prompt_overflow(&size, run, count, qualifier, error);
}

static rh_status check_fit(const rh_engine *engine, const rh_run *run, int64_t count, const char *qualifier,
                           rh_error *error) {
  rh_context_size size = size_of(engine);
  return rh_prompt_check_fit(&size, run, count, qualifier, error);
}

// Refuse a hopelessly long text before the tokenizer spends seconds on it: no token stands for more than
// piece_bytes_max bytes, so the number of tokens is at least bytes / piece_bytes_max. White space beside tokens that
// swallow it does not count.
static rh_status check_bytes(const rh_engine *engine, const rh_run *run, size_t bytes, size_t space, rh_error *error) {
  if (!engine->bytes_bound_tokens) return RH_OK;
  size_t counted = engine->tokens_strip_space ? bytes - space : bytes;
  size_t least = counted / (size_t)engine->piece_bytes_max;
  return check_fit(engine, run, (int64_t)least, "at least ", error);
}

static size_t count_space(const rh_engine *engine, const char *text, size_t length) {
  size_t space = 0;
  if (!engine->tokens_strip_space) return 0;
  for (size_t i = 0; i < length; i++) space += isspace((unsigned char)text[i]) ? 1 : 0;
  return space;
}

// Adds to the `*count` tokens that are there.
static rh_status tokenize(const rh_engine *engine, const rh_run *run, const char *text, size_t length, bool add_special,
                          llama_token *tokens, int64_t *count, rh_error *error) {
  if (length > INT32_MAX) {
    return rh_fail_param(error, RH_TOO_LARGE, rh_prompt_param(&run->prompt), "the prompt is larger than 2 GiB");
  }
  // Text may spell special tokens, as llama-server allows for chats and completions alike.
  int32_t room = (int32_t)(engine->context_size - *count);
  int32_t result = llama_tokenize(engine->vocab, text, (int32_t)length, tokens + *count, room, add_special, true);
  // A negative result is the count that would have been needed; the smallest stands for "too many to count".
  if (result == INT32_MIN) return overflow(engine, run, INT32_MAX, "more than ", error);
  if (result < 0) return overflow(engine, run, *count - (int64_t)result, "", error);
  *count += result;
  return RH_OK;
}

// The prompt's text and the answer's beginning after it.
static rh_status tokenize_joined(const rh_engine *engine, const rh_run *run, const char *text, size_t length,
                                 llama_token *tokens, int64_t *count, rh_error *error) {
  rh_prompt_text whole;
  rh_status status = rh_prompt_join(run, text, length, &whole, error);
  if (status == RH_OK) status = tokenize(engine, run, whole.text, whole.length, true, tokens, count, error);
  free(whole.owned);
  return status;
}

static rh_status check_prefix(const rh_engine *engine, const rh_run *run, rh_error *error) {
  size_t length = run->prefix ? strlen(run->prefix) : 0;
  if (length == 0) return RH_OK;
  return check_bytes(engine, run, length, count_space(engine, run->prefix, length), error);
}

static rh_status from_tokens(const rh_engine *engine, const rh_run *run, llama_token *tokens, int64_t *count,
                             rh_error *error) {
  rh_context_size size = size_of(engine);
  rh_status status = rh_prompt_take_tokens(&size, run, tokens, count, error);
  if (status != RH_OK || !run->prefix || !run->prefix[0]) return status;
  return tokenize(engine, run, run->prefix, strlen(run->prefix), false, tokens, count, error);
}

static rh_status from_text(const rh_engine *engine, const rh_run *run, llama_token *tokens, int64_t *count,
                           rh_error *error) {
  const rh_prompt *prompt = &run->prompt;
  rh_status status = check_bytes(engine, run, prompt->count, count_space(engine, prompt->text, prompt->count), error);
  if (status != RH_OK) return status;
  return tokenize_joined(engine, run, prompt->text, prompt->count, tokens, count, error);
}

static rh_status from_messages(const rh_engine *engine, const rh_run *run, llama_token *tokens, int64_t *count,
                               rh_error *error) {
  const rh_prompt *prompt = &run->prompt;
  size_t bytes = 0;
  size_t space = 0;
  for (size_t i = 0; i < prompt->count; i++) {
    size_t length = strlen(prompt->messages[i].content);
    bytes += length;
    space += count_space(engine, prompt->messages[i].content, length);
  }
  // Without a template the answer is "no template", however long the messages are.
  rh_status status = engine->chat_template ? check_bytes(engine, run, bytes, space, error) : RH_OK;
  char *text = NULL;
  size_t length = 0;
  if (status == RH_OK) status = rh_llama_template_apply(engine, prompt, &text, &length, error);
  if (status == RH_OK) status = tokenize_joined(engine, run, text, length, tokens, count, error);
  free(text);
  return status;
}

static rh_status make_tokens(const rh_engine *engine, const rh_run *run, llama_token *tokens, int64_t *count,
                             rh_error *error) {
  switch (run->prompt.kind) {
    case RH_PROMPT_MESSAGES: return from_messages(engine, run, tokens, count, error);
    case RH_PROMPT_TEXT: return from_text(engine, run, tokens, count, error);
    case RH_PROMPT_TOKENS: return from_tokens(engine, run, tokens, count, error);
  }
  return rh_fail(error, RH_INTERNAL, "the run has a prompt of an unknown kind");
}

rh_status rh_llama_prompt_make(const rh_engine *engine, const rh_run *run, llama_token **tokens, int64_t *count,
                               rh_error *error) {
  llama_token *room = malloc((size_t)engine->context_size * sizeof *room);
  if (!room) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the prompt's tokens");
  rh_context_size size = size_of(engine);
  *count = 0;
  rh_status status = check_prefix(engine, run, error);
  if (status == RH_OK) status = make_tokens(engine, run, room, count, error);
  return rh_prompt_settle(&size, run, llama_vocab_bos(engine->vocab), status, room, tokens, count, error);
}
