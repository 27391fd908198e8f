// SPDX-License-Identifier: Apache-2.0
//
// Does a prompt and its answer fit in the context? One set of words for every engine that generates. Engine thread.
#ifndef RH_ENGINE_COMMON_FIT_H
#define RH_ENGINE_COMMON_FIT_H

#include "base/status.h"
#include "flow/request.h"

typedef struct rh_context_size {
  int64_t tokens;      // of one request, prompt and answer
  int64_t trained;     // what the model could do; 0 = unknown
  int32_t vocabulary;  // ids are 0 .. vocabulary-1
} rh_context_size;

// The part of the request at fault, for error messages: "messages" or "prompt".
const char *rh_prompt_param(const rh_prompt *prompt);

// RH_CONTEXT_OVERFLOW with the numbers. `qualifier` stands before the count: "", "at least ".
rh_status rh_prompt_overflow(const rh_context_size *size, const rh_run *run, int64_t count, const char *qualifier,
                             rh_error *error);
// Prompt and answer together must fit; an answer of unknown length needs one token at least.
rh_status rh_prompt_check_fit(const rh_context_size *size, const rh_run *run, int64_t count, const char *qualifier,
                              rh_error *error);
// Ids given by the client, checked, into `tokens`, which has room for a context.
rh_status rh_prompt_take_tokens(const rh_context_size *size, const rh_run *run, int32_t *tokens, int64_t *count,
                                rh_error *error);

// What is to be tokenized for a prompt whose text (the template's generation prompt included) is `text`: the answer's
// beginning stands right behind it, if the run has one. Both go to the tokenizer as one text, since a token may reach over
// the seam. free(owned) afterwards, after a failure too.
typedef struct rh_prompt_text {
  const char *text;
  size_t length;
  char *owned;
} rh_prompt_text;
rh_status rh_prompt_join(const rh_run *run, const char *text, size_t length, rh_prompt_text *out, rh_error *error);

// The end of every engine's way from a prompt to tokens, `status` being how it went so far: an empty prompt becomes `bos` (-1: the model
// has none), both must fit, and `room` (room for a context, on the heap) becomes *tokens, or is freed after a failure.
rh_status rh_prompt_settle(const rh_context_size *size, const rh_run *run, int32_t bos, rh_status status, int32_t *room,
                           int32_t **tokens, int64_t *count, rh_error *error);

#endif
