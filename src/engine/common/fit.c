// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the checks of a prompt against the context and the vocabulary, with their messages.
// Data owned: none; a prompt's tokens belong to the caller. Threads: the engine thread.
// Not here: cutting prompts. One that does not fit is refused with the numbers; which part to leave out is the client's
// decision.
#include "engine/common/fit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rh_prompt_param(const rh_prompt *prompt) {
  return prompt->kind == RH_PROMPT_MESSAGES ? "messages" : "prompt";
}

rh_status rh_prompt_overflow(const rh_context_size *size, const rh_run *run, int64_t count, const char *qualifier,
                             rh_error *error) {
  long long tokens = (long long)count;
  long long asked = (long long)run->generate.max_tokens;
  long long context = (long long)size->tokens;
  char larger[128] = "start the model with a larger context";
  if (size->trained > size->tokens) {
    (void)snprintf(larger, sizeof larger, "start the model with a larger context (it was trained for %lld)",
                   (long long)size->trained);
  }
  if (tokens >= context) {
    return rh_fail_param(error, RH_CONTEXT_OVERFLOW, rh_prompt_param(&run->prompt),
                         "the prompt has %s%lld tokens, but the context of this model here is %lld tokens and the "
                         "answer needs room in it too; shorten the prompt or %s",
                         qualifier, tokens, context, larger);
  }
  // A client's max_tokens may be any number; the sum must not overflow.
  long long together = asked > LLONG_MAX - tokens ? LLONG_MAX : tokens + asked;
  return rh_fail_param(error, RH_CONTEXT_OVERFLOW, "max_tokens",
                       "the prompt has %s%lld tokens and max_tokens asks for %lld more, together %lld, but the context "
                       "of this model here is %lld tokens; shorten the prompt, lower max_tokens to %lld or less, or %s",
                       qualifier, tokens, asked, together, context, context - tokens, larger);
}

rh_status rh_prompt_check_fit(const rh_context_size *size, const rh_run *run, int64_t count, const char *qualifier,
                              rh_error *error) {
  int64_t answer = run->generate.max_tokens > 0 ? run->generate.max_tokens : 1;
  if (count < size->tokens && answer <= size->tokens - count) return RH_OK;
  return rh_prompt_overflow(size, run, count, qualifier, error);
}

rh_status rh_prompt_take_tokens(const rh_context_size *size, const rh_run *run, int32_t *tokens, int64_t *count,
                                rh_error *error) {
  const rh_prompt *prompt = &run->prompt;
  if (prompt->count >= (size_t)size->tokens) return rh_prompt_overflow(size, run, (int64_t)prompt->count, "", error);
  for (size_t i = 0; i < prompt->count; i++) {
    if (prompt->tokens[i] < 0 || prompt->tokens[i] >= size->vocabulary) {
      return rh_fail_param(error, RH_INVALID, "prompt",
                           "token %d at place %zu of the prompt is not in this model's "
                           "vocabulary (0 to %d); were these ids made by another model's tokenizer?",
                           prompt->tokens[i], i, size->vocabulary - 1);
    }
    tokens[i] = prompt->tokens[i];
  }
  *count = (int64_t)prompt->count;
  return RH_OK;
}

rh_status rh_prompt_join(const rh_run *run, const char *text, size_t length, rh_prompt_text *out, rh_error *error) {
  *out = (rh_prompt_text){.text = text, .length = length};
  size_t more = run->prefix ? strlen(run->prefix) : 0;
  if (more == 0) return RH_OK;
  if (length > SIZE_MAX - more - 1) {
    return rh_fail_param(error, RH_TOO_LARGE, rh_prompt_param(&run->prompt), "the prompt is too large to be held");
  }
  char *whole = malloc(length + more + 1);
  if (!whole) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the prompt and the answer's beginning");
  if (length > 0) memcpy(whole, text, length);
  memcpy(whole + length, run->prefix, more + 1);
  *out = (rh_prompt_text){.text = whole, .length = length + more, .owned = whole};
  return RH_OK;
}

// A model must have something to go on from.
static rh_status fill_empty(const rh_context_size *size, const rh_run *run, int32_t bos, int32_t *tokens,
                            int64_t *count, rh_error *error) {
  if (*count > 0) return RH_OK;
  if (bos < 0 || bos >= size->vocabulary) {
    return rh_fail_param(error, RH_INVALID, rh_prompt_param(&run->prompt),
                         "the prompt is empty, and this model has no begin-of-text token that could stand in for it");
  }
  tokens[0] = bos;
  *count = 1;
  return RH_OK;
}

rh_status rh_prompt_settle(const rh_context_size *size, const rh_run *run, int32_t bos, rh_status status, int32_t *room,
                           int32_t **tokens, int64_t *count, rh_error *error) {
  if (status == RH_OK) status = fill_empty(size, run, bos, room, count, error);
  if (status == RH_OK) status = rh_prompt_check_fit(size, run, *count, "", error);
  if (status != RH_OK) {
    free(room);
    return status;
  }
  // Most prompts are far shorter than the context. When shrinking fails the larger block serves as well.
  int32_t *fitting = realloc(room, (size_t)*count * sizeof *room);
  *tokens = fitting ? fitting : room;
  return RH_OK;
}
