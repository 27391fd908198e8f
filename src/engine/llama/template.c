// SPDX-License-Identifier: Apache-2.0
//
// Purpose: chat messages as the text the model was trained on, by the model's own chat template.
// Data owned: makes the engine's template at load (load.c frees it); the text belongs to the caller.
// Threads: the engine thread.
// Not here: the template language (src/template). Where it cannot read a template, llama writes the messages: it
// recognizes well-known templates by their text, but what they add of their own accord is not written then.
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/llama/internal.h"

// Much more text than any context holds.
#define TEXT_BYTES_MAX ((size_t)64 << 20)
#define SPECIAL_BYTES_MAX 256

// Room for the marks around one message; the exact need is asked for when this is too little.
#define MARK_BYTES 96

#define ELSEWHERE "send a plain prompt to /v1/completions, or raw:true to /generate"

static rh_status out_of_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "not enough memory to write the messages as one prompt");
}

// Where the text really begins and ends. When the tokenizer adds the begin and end tokens itself, a template that has
// written them as text too would double them, which confuses models that never saw that.
static void trim_special(const rh_engine *engine, char *text, size_t *length) {
  char mark[256];
  llama_token bos = llama_vocab_bos(engine->vocab);
  if (bos >= 0 && llama_vocab_get_add_bos(engine->vocab)) {
    int32_t size = llama_token_to_piece(engine->vocab, bos, mark, sizeof mark, 0, true);
    if (size > 0 && (size_t)size <= *length && memcmp(text, mark, (size_t)size) == 0) {
      *length -= (size_t)size;
      memmove(text, text + size, *length);
    }
  }
  llama_token eos = llama_vocab_eos(engine->vocab);
  if (eos >= 0 && llama_vocab_get_add_eos(engine->vocab)) {
    int32_t size = llama_token_to_piece(engine->vocab, eos, mark, sizeof mark, 0, true);
    if (size > 0 && (size_t)size <= *length && memcmp(text + *length - (size_t)size, mark, (size_t)size) == 0) {
      *length -= (size_t)size;
    }
  }
  text[*length] = '\0';
}

// By llama's own knowledge of templates.
static rh_status write_text(const rh_engine *engine, const struct llama_chat_message *messages, size_t count,
                            size_t guess, char **out, size_t *length, rh_error *error) {
  size_t size = guess;
  for (int attempt = 0; attempt < 2; attempt++) {
    if (size > INT32_MAX) return rh_fail_param(error, RH_TOO_LARGE, "messages", "the messages are larger than 2 GiB");
    char *text = malloc(size + 1);
    if (!text) return out_of_memory(error);
    int32_t need = llama_chat_apply_template(engine->chat_template, messages, count, true, text, (int32_t)size);
    if (need < 0) {
      free(text);
      return rh_fail(error, RH_UNSUPPORTED, "the chat template of %s is none that this engine knows; " ELSEWHERE,
                     engine->name);
    }
    if ((size_t)need <= size) {
      *out = text;
      *length = (size_t)need;
      return RH_OK;
    }
    free(text);
    size = (size_t)need;
  }
  return rh_fail(error, RH_INTERNAL, "the chat template of %s changed its mind about its length", engine->name);
}

static rh_status apply_known(const rh_engine *engine, const rh_prompt *prompt, char **text, size_t *length,
                             rh_error *error) {
  struct llama_chat_message *messages = calloc(prompt->count, sizeof *messages);
  if (!messages) return out_of_memory(error);
  size_t guess = 1024;
  for (size_t i = 0; i < prompt->count; i++) {
    messages[i].role = prompt->messages[i].role;
    messages[i].content = prompt->messages[i].content;
    guess += strlen(messages[i].role) + strlen(messages[i].content) + MARK_BYTES;
  }
  rh_status status = write_text(engine, messages, prompt->count, guess, text, length, error);
  free(messages);
  return status;
}

// The text of a special token; NULL where the model has none.
static const char *special_text(const rh_engine *engine, llama_token token, char out[SPECIAL_BYTES_MAX]) {
  int32_t size = token < 0 ? -1 : llama_token_to_piece(engine->vocab, token, out, SPECIAL_BYTES_MAX - 1, 0, true);
  if (size < 0) return NULL;
  out[size] = '\0';
  return out;
}

static rh_status apply_template(const rh_engine *engine, const rh_prompt *prompt, char **text, size_t *length,
                                rh_error *error) {
  char bos[SPECIAL_BYTES_MAX], eos[SPECIAL_BYTES_MAX], pad[SPECIAL_BYTES_MAX];
  rh_chat_tokens tokens = {.bos = special_text(engine, llama_vocab_bos(engine->vocab), bos),
                           .eos = special_text(engine, llama_vocab_eos(engine->vocab), eos),
                           .pad = special_text(engine, llama_vocab_pad(engine->vocab), pad)};
  rh_dynbuf out;
  rh_error reason = {0};
  rh_dynbuf_init(&out, TEXT_BYTES_MAX);
  rh_status status = rh_chat_render(engine->template, prompt->messages, prompt->count, &tokens, &out, &reason);
  if (status == RH_OK) {
    *text = rh_dynbuf_take(&out, length);
    return *text ? RH_OK : out_of_memory(error);
  }
  rh_dynbuf_free(&out);
  return rh_fail_param(error, status, "messages", "%s", reason.message);
}

rh_status rh_llama_template_apply(const rh_engine *engine, const rh_prompt *prompt, char **text, size_t *length,
                                  rh_error *error) {
  if (!engine->chat_template) {
    return rh_fail(error, RH_UNSUPPORTED, "the model %s has no chat template; " ELSEWHERE, engine->name);
  }
  if (prompt->count == 0) return rh_fail_param(error, RH_INVALID, "messages", "there are no messages");
  rh_status status = engine->template ? apply_template(engine, prompt, text, length, error)
                                      : apply_known(engine, prompt, text, length, error);
  if (status == RH_OK) trim_special(engine, *text, length);
  return status;
}

// A template that cannot be read is no reason not to load: llama may know it, and prompts need none.
void rh_llama_template_open(rh_engine *engine) {
  rh_error reason = {0};
  if (!engine->chat_template) return;
  rh_status status = rh_template_new(engine->chat_template, strlen(engine->chat_template), &engine->template, &reason);
  if (status == RH_OK) return;
  RH_LOG(RH_LOG_WARN, "the model's own chat template is not used; llama.cpp writes the messages if it knows the model",
         rh_log_str("model", engine->name), rh_log_str("reason", reason.message));
}
