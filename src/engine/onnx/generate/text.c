// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a row's logits to a token with its text, handed to the run's listener.
// Data owned: a run's decoder and the bytes of the token that is being handed over.
// Threads: the engine thread.
// Not here: stop strings and max_tokens (the task layer's), which token is chosen (src/sample).
#include <string.h>

#include "engine/onnx/generate/generate.h"

#define TEXT_BYTES_MAX ((size_t)1 << 20)
// A token's text can depend on those before it: a mark of a word's beginning is dropped at the beginning of all.
#define PROMPT_TOKENS 4

rh_status rh_gen_text_init(rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error) {
  rh_gen_text *text = &sequence->text;
  rh_dynbuf_init(&text->bytes, TEXT_BYTES_MAX);
  rh_status status = rh_decoder_new(engine->generator->tokenizer, true, &text->stream, error);
  // An answer in a chat begins anew; a completion goes on in the middle of a text.
  if (status != RH_OK || run->prompt.kind == RH_PROMPT_MESSAGES) return status;
  int64_t first = sequence->prompt_count > PROMPT_TOKENS ? sequence->prompt_count - PROMPT_TOKENS : 0;
  for (int64_t i = first; status == RH_OK && i < sequence->prompt_count; i++) {
    status = rh_decoder_feed(text->stream, sequence->prompt[i], &text->bytes);
  }
  rh_dynbuf_clear(&text->bytes);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "no memory for the text of a run");
}

void rh_gen_text_free(rh_gen_text *text) {
  rh_decoder_free(text->stream);
  rh_dynbuf_free(&text->bytes);
}

static bool is_end(const rh_generator *generator, int32_t id) {
  for (size_t i = 0; i < generator->files.end_count; i++) {
    if (generator->files.ends[i] == id) return true;
  }
  return false;
}

// The likeliest tokens' texts lie in the buffer behind the chosen one's; their addresses are known only when all are there.
static rh_status fill_logprobs(rh_engine *engine, rh_sequence *sequence, const float *logits, rh_token *token,
                               rh_top_logprob *top) {
  const rh_generator *generator = engine->generator;
  rh_dynbuf *bytes = &sequence->text.bytes;
  size_t count = (size_t)sequence->top_logprobs;
  size_t begins[RH_TOP_LOGPROBS_MAX + 1];
  if (count > (size_t)generator->size.vocabulary) count = (size_t)generator->size.vocabulary;
  token->logprob = rh_sampler_logprobs(logits, generator->size.vocabulary, token->id, top, count);
  for (size_t i = 0; i < count; i++) {
    begins[i] = bytes->length;
    rh_status status = rh_tokenizer_decode(generator->tokenizer, &top[i].token, 1, true, bytes);
    if (status != RH_OK) return status;
  }
  begins[count] = bytes->length;
  for (size_t i = 0; i < count; i++) {
    top[i].bytes = rh_dynbuf_data(bytes) + begins[i];
    top[i].length = begins[i + 1] - begins[i];
  }
  token->top = top;
  token->top_count = count;
  return RH_OK;
}

static rh_next fail(rh_sequence *sequence, rh_status status) {
  rh_error error;
  (void)rh_fail(&error, status, "no memory for a token's text");
  if (sequence->listener.failed) sequence->listener.failed(sequence->listener.ctx, &error);
  return RH_NEXT_STOP;
}

rh_next rh_gen_tell(rh_engine *engine, rh_sequence *sequence, const float *logits) {
  rh_top_logprob top[RH_TOP_LOGPROBS_MAX];
  rh_dynbuf *bytes = &sequence->text.bytes;
  rh_token token = {.id = rh_sampler_pick(sequence->sampler, logits)};
  token.end = is_end(engine->generator, token.id);
  sequence->next = token.id;
  engine->counts.generated_tokens++;
  rh_dynbuf_clear(bytes);
  rh_status status = token.end ? RH_OK : rh_decoder_feed(sequence->text.stream, token.id, bytes);
  token.length = bytes->length;
  if (status == RH_OK && sequence->top_logprobs >= 0) status = fill_logprobs(engine, sequence, logits, &token, top);
  if (status != RH_OK) return fail(sequence, status);
  token.bytes = rh_dynbuf_data(bytes);
  rh_next next = sequence->listener.token(sequence->listener.ctx, &token);
  return token.end ? RH_NEXT_STOP : next;
}
