// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a row's logits to a token with its text, handed to the run's listener.
// Data owned: a run's last tokens and the bytes of the one that is being handed over.
// Threads: the engine thread.
// Not here: stop strings and max_tokens (the task layer's), which token is chosen (src/sample).
#include <string.h>

#include "engine/onnx/generate/generate.h"

#define TEXT_BYTES_MAX ((size_t)1 << 20)
// A token's text can depend on those before it: a mark of a word's beginning is dropped at the beginning of all.
#define PROMPT_TOKENS 5
// As many tokens without a whole character among them are no character at all.
#define PARTS_MAX 8

static rh_status no_memory(rh_error *error) { return rh_fail(error, RH_NO_MEMORY, "no memory for the text of a run"); }

static rh_status read_kept(const rh_engine *engine, rh_gen_text *text) {
  rh_dynbuf_clear(&text->kept);
  return rh_tokenizer_decode(engine->generator->tokenizer, text->ids, text->count, true, &text->kept);
}

rh_status rh_gen_text_init(const rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error) {
  rh_gen_text *text = &sequence->text;
  rh_dynbuf_init(&text->bytes, TEXT_BYTES_MAX);
  rh_dynbuf_init(&text->kept, TEXT_BYTES_MAX);
  // An answer in a chat begins anew; a completion goes on in the middle of a text.
  if (run->prompt.kind == RH_PROMPT_MESSAGES) return RH_OK;
  int64_t first = sequence->prompt_count > PROMPT_TOKENS ? sequence->prompt_count - PROMPT_TOKENS : 0;
  for (int64_t i = first; i < sequence->prompt_count; i++) text->ids[text->count++] = sequence->prompt[i];
  if (read_kept(engine, text) != RH_OK) return no_memory(error);
  text->known = text->count;
  text->known_bytes = text->kept.length;
  return RH_OK;
}

void rh_gen_text_free(rh_gen_text *text) {
  rh_dynbuf_free(&text->kept);
  rh_dynbuf_free(&text->bytes);
}

static bool ends_in_part(const rh_dynbuf *text) {
  static const char replacement[] = "\xef\xbf\xbd";
  size_t length = sizeof replacement - 1;
  return text->length >= length && memcmp(rh_dynbuf_data(text) + text->length - length, replacement, length) == 0;
}

// What one more token adds to the text, into `bytes`; nothing while a character is unfinished.
static rh_status add_token(const rh_engine *engine, rh_gen_text *text, int32_t id) {
  text->ids[text->count++] = id;
  rh_status status = read_kept(engine, text);
  if (status != RH_OK) return status;
  bool parts = ends_in_part(&text->kept) && text->count - text->known < PARTS_MAX;
  if (parts || text->kept.length <= text->known_bytes) {
    // Nothing was added, and nothing is unfinished: a special token, say. Room for the next must stay.
    if (text->count < RH_GEN_TEXT_TOKENS) return RH_OK;
  } else {
    const char *kept = rh_dynbuf_data(&text->kept);
    size_t from = text->known_bytes;
    while (from < text->kept.length && ((unsigned char)kept[from] & 0xc0) == 0x80) from++;
    status = rh_dynbuf_append(&text->bytes, kept + from, text->kept.length - from);
  }
  // The tokens that were new a moment ago are what the next one is read after.
  size_t dropped = text->known;
  memmove(text->ids, text->ids + dropped, (text->count - dropped) * sizeof *text->ids);
  text->count -= dropped;
  if (text->count > RH_GEN_TEXT_TOKENS / 2) text->count = 0;
  text->known = text->count;
  if (status == RH_OK) status = read_kept(engine, text);
  text->known_bytes = text->kept.length;
  return status;
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
  rh_status status = token.end ? RH_OK : add_token(engine, &sequence->text, token.id);
  token.length = bytes->length;
  if (status == RH_OK && sequence->top_logprobs >= 0) status = fill_logprobs(engine, sequence, logits, &token, top);
  if (status != RH_OK) return fail(sequence, status);
  token.bytes = rh_dynbuf_data(bytes);
  rh_next next = sequence->listener.token(sequence->listener.ctx, &token);
  return token.end ? RH_NEXT_STOP : next;
}
