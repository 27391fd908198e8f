// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the tokens of a run's prompt, and whether prompt and answer fit in the context.
// Data owned: none; the tokens belong to the caller. Threads: the engine thread.
// Not here: cutting prompts (see engine/common/fit.c).
#include <stdlib.h>
#include <string.h>

#include "engine/onnx/generate/generate.h"

#define ELSEWHERE "send a plain prompt to /v1/completions, or raw:true to /generate"
#define CHAT_BYTES_MAX ((size_t)64 << 20)

// Text may spell special tokens, as with every engine. A chat template writes the begin of a text itself. Adds to the
// `*count` tokens that are there.
static rh_status tokenize(rh_engine *engine, const rh_run *run, const char *text, size_t length, bool add_special,
                          int32_t *tokens, int64_t *count, rh_error *error) {
  rh_generator *generator = engine->generator;
  const rh_encode_options options = {.add_special = add_special, .parse_special = true};
  rh_encoding *encoding = generator->encoding;
  rh_status status = rh_tokenizer_encode(generator->tokenizer, text, length, NULL, 0, &options, encoding, error);
  if (status != RH_OK) return status;
  if (encoding->count >= (size_t)(generator->size.tokens - *count)) {
    return rh_prompt_overflow(&generator->size, run, *count + (int64_t)encoding->count, "", error);
  }
  for (size_t i = 0; i < encoding->count; i++) {
    // A token that the graph has no row for would make it read beside its table.
    if (encoding->ids[i] >= generator->size.vocabulary) {
      return rh_fail_param(error, RH_UNSUPPORTED, rh_prompt_param(&run->prompt),
                           "the tokenizer of %s makes token %d of the prompt, but the graph knows tokens 0 to %d only",
                           engine->name, encoding->ids[i], generator->size.vocabulary - 1);
    }
    tokens[*count + (int64_t)i] = encoding->ids[i];
  }
  *count += (int64_t)encoding->count;
  return RH_OK;
}

// The prompt's text and the answer's beginning after it.
static rh_status tokenize_joined(rh_engine *engine, const rh_run *run, const char *text, size_t length,
                                 bool add_special, int32_t *tokens, int64_t *count, rh_error *error) {
  rh_prompt_text whole;
  rh_status status = rh_prompt_join(run, text, length, &whole, error);
  if (status == RH_OK) {
    status = tokenize(engine, run, whole.text, whole.length, add_special, tokens, count, error);
  }
  free(whole.owned);
  return status;
}

static rh_status from_tokens(rh_engine *engine, const rh_run *run, int32_t *tokens, int64_t *count, rh_error *error) {
  rh_status status = rh_prompt_take_tokens(&engine->generator->size, run, tokens, count, error);
  if (status != RH_OK || !run->prefix || !run->prefix[0]) return status;
  return tokenize(engine, run, run->prefix, strlen(run->prefix), false, tokens, count, error);
}

static rh_status from_messages(rh_engine *engine, const rh_run *run, int32_t *tokens, int64_t *count, rh_error *error) {
  rh_generator *generator = engine->generator;
  const rh_prompt *prompt = &run->prompt;
  if (!generator->chat_template) {
    const char *reason = generator->template_reason;
    return rh_fail(error, RH_UNSUPPORTED, "the model %s has no chat template%s%s; " ELSEWHERE, engine->name,
                   reason[0] ? " that can be used: " : "", reason);
  }
  if (prompt->count == 0) return rh_fail_param(error, RH_INVALID, "messages", "there are no messages");
  const rh_chat_tokens names = {.bos = generator->bos[0] ? generator->bos : NULL,
                                .eos = generator->eos[0] ? generator->eos : NULL,
                                .pad = generator->pad[0] ? generator->pad : NULL,
                                .unk = generator->unk[0] ? generator->unk : NULL};
  rh_dynbuf text;
  rh_dynbuf_init(&text, CHAT_BYTES_MAX);
  rh_status status = rh_chat_render(generator->chat_template, prompt->messages, prompt->count, &names, &text, error);
  if (status == RH_OK) {
    status = tokenize_joined(engine, run, rh_dynbuf_data(&text), text.length, false, tokens, count, error);
  }
  rh_dynbuf_free(&text);
  return status;
}

rh_status rh_gen_prompt(rh_engine *engine, const rh_run *run, int32_t **tokens, int64_t *count, rh_error *error) {
  const rh_context_size *size = &engine->generator->size;
  const rh_prompt *prompt = &run->prompt;
  int32_t *room = malloc((size_t)size->tokens * sizeof *room);
  if (!room) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the prompt's tokens");
  *count = 0;
  rh_status status = RH_INTERNAL;
  switch (prompt->kind) {
    case RH_PROMPT_MESSAGES: status = from_messages(engine, run, room, count, error); break;
    case RH_PROMPT_TEXT:
      status = tokenize_joined(engine, run, prompt->text, prompt->count, true, room, count, error);
      break;
    case RH_PROMPT_TOKENS: status = from_tokens(engine, run, room, count, error); break;
  }
  int32_t bos = rh_tokenizer_facts_of(engine->generator->tokenizer)->bos;
  return rh_prompt_settle(size, run, bos, status, room, tokens, count, error);
}
