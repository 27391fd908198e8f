// SPDX-License-Identifier: Apache-2.0
//
// Purpose: chat messages as the text the model was trained on, by the model's own chat template.
// Data owned: none; the text belongs to the caller.
// Threads: the engine thread.
// Not here: a template language. llama recognizes the well-known templates by their text and writes them itself; what a
// template adds of its own accord (a default system message, say) is therefore not written.
#include <stdlib.h>
#include <string.h>

#include "engine/llama/internal.h"

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

rh_status rh_llama_template_apply(const rh_engine *engine, const rh_prompt *prompt, char **text, size_t *length,
                                  rh_error *error) {
  if (!engine->chat_template) {
    return rh_fail(error, RH_UNSUPPORTED, "the model %s has no chat template; " ELSEWHERE, engine->name);
  }
  if (prompt->count == 0) return rh_fail_param(error, RH_INVALID, "messages", "there are no messages");
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
  if (status == RH_OK) trim_special(engine, *text, length);
  return status;
}
