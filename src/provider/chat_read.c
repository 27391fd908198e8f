// SPDX-License-Identifier: Apache-2.0
//
// Answers of chat completions and of plain completions, streamed and whole. The forms are OpenAI's with what others added to them:
// thoughts as "reasoning_content" (DeepSeek, vLLM, llama-server), "reasoning" (OpenRouter, Ollama, Groq) or "reasoning_details"
// (OpenRouter), and as parts of the content (Mistral); calls whose pieces have no index (Google). Owns nothing; one thread.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "provider/body.h"
#include "provider/reader.h"

void rh_chat_read_usage(rh_protocol_reader *reader, const json_t *usage) {
  rh_usage *to = &reader->usage;
  if (!json_is_object(usage)) return;
  bool any = rh_reader_count(usage, "prompt_tokens", &to->prompt_tokens);
  any = rh_reader_count(usage, "completion_tokens", &to->completion_tokens) || any;
  const json_t *prompt = json_object_get(usage, "prompt_tokens_details");
  if (!rh_reader_count(prompt, "cached_tokens", &to->cached_tokens))
    (void)rh_reader_count(usage, "prompt_cache_hit_tokens", &to->cached_tokens);  // DeepSeek's word
  (void)rh_reader_count(prompt, "cache_write_tokens", &to->written_tokens);       // OpenRouter's
  (void)rh_reader_count(json_object_get(usage, "completion_tokens_details"), "reasoning_tokens", &to->reasoning_tokens);
  reader->has_usage = reader->has_usage || any;
}

// --- one choice ----------------------------------------------------------------------------------------------------

// Tokens that a piece of text stands for, where nobody says: about one in a stream, all of them in a whole answer.
static int32_t tokens_of_piece(const rh_protocol_reader *reader) {
  if (!reader->in_body) return 1;
  int64_t all = reader->usage.completion_tokens;
  return all > 0 && all < INT32_MAX ? (int32_t)all : 0;
}

static void read_thought_parts(rh_protocol_reader *reader, const json_t *list) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *part = json_array_get(list, i);
    const json_t *text = json_object_get(part, "text");
    if (text == NULL) text = json_object_get(part, "summary");
    if (json_is_string(text)) rh_reader_thought(reader, json_string_value(text), json_string_length(text), NULL);
  }
}

// The first of the forms that holds something: some servers send the same thought in two.
static void read_thoughts(rh_protocol_reader *reader, const json_t *part) {
  static const char *const keys[] = {"reasoning_content", "reasoning"};
  for (size_t i = 0; i < 2; i++) {
    const json_t *value = json_object_get(part, keys[i]);
    if (!json_is_string(value) || json_string_length(value) == 0) continue;
    rh_reader_thought(reader, json_string_value(value), json_string_length(value), NULL);
    return;
  }
  read_thought_parts(reader, json_object_get(part, "reasoning_details"));
}

static void read_content_parts(rh_protocol_reader *reader, const json_t *list) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *part = json_array_get(list, i), *text = json_object_get(part, "text");
    const json_t *thought = json_object_get(part, "thinking");
    if (json_is_array(thought)) read_thought_parts(reader, thought);
    if (json_is_string(text))
      rh_reader_text(reader, json_string_value(text), json_string_length(text), tokens_of_piece(reader), NULL, 0);
  }
}

static void read_content(rh_protocol_reader *reader, const json_t *part, const json_t *logprobs) {
  const json_t *content = json_object_get(part, "content");
  if (json_is_array(content)) {
    read_content_parts(reader, content);
    return;
  }
  size_t length, refusal_length;
  const char *text = rh_reader_string(reader, part, "content", &length);
  rh_reader_text_logprobs(reader, text != NULL ? text : "", length, tokens_of_piece(reader), logprobs);
  // What the model says when it will not answer. A person is to read it like any text.
  const char *refusal = rh_reader_string(reader, part, "refusal", &refusal_length);
  if (refusal_length > 0) rh_reader_text(reader, refusal, refusal_length, tokens_of_piece(reader), NULL, 0);
}

// --- calls of tools ------------------------------------------------------------------------------------------------

static int64_t key_of_call(rh_protocol_reader *reader, const json_t *call, const char *id) {
  int64_t key;
  if (rh_reader_count(call, "index", &key)) return key;
  // Without a number, an id or a name begins a call, and what has neither belongs to the last one.
  bool begins =
      (id != NULL && id[0] != '\0') || json_is_string(json_object_get(json_object_get(call, "function"), "name"));
  int64_t count = (int64_t)reader->call_count;
  return begins || count == 0 ? 1000000 + count : reader->calls[count - 1].key;
}

static void read_arguments(rh_protocol_reader *reader, int64_t key, const json_t *function) {
  const json_t *arguments = json_object_get(function, "arguments");
  if (json_is_object(arguments)) {  // as Ollama's own API has them
    rh_dynbuf text;
    rh_dynbuf_init(&text, RH_PROVIDER_EVENT_BYTES_MAX);
    if (rh_json_append_value(&text, arguments) == RH_OK)
      rh_reader_call_more(reader, key, rh_dynbuf_data(&text), text.length);
    else
      rh_reader_fail(reader, "sent arguments of a tool's call that are too large");
    rh_dynbuf_free(&text);
    return;
  }
  size_t length;
  const char *text = rh_reader_string(reader, function, "arguments", &length);
  if (length > 0) rh_reader_call_more(reader, key, text, length);
}

static void read_call(rh_protocol_reader *reader, const json_t *call) {
  if (!json_is_object(call)) {
    rh_reader_fail(reader, "sent a tool's call that is no object");
    return;
  }
  const char *id = rh_reader_string(reader, call, "id", NULL);
  const json_t *function = rh_reader_object(reader, call, "function");
  const char *name = rh_reader_string(reader, function, "name", NULL);
  if (reader->over) return;
  int64_t key = key_of_call(reader, call, id);
  if (!rh_reader_call_known(reader, key)) {
    bool waited = reader->pending_id[0] != '\0' && reader->pending_key == key;
    if (id == NULL && waited) id = reader->pending_id;
    if (name == NULL || name[0] == '\0') {
      // Its name may come with the next piece.
      size_t length = 0;
      const char *text = rh_reader_string(reader, function, "arguments", &length);
      if (text != NULL && length > 0) rh_reader_fail(reader, "sent a tool's call without the tool's name");
      (void)rh_text_copy(reader->pending_id, sizeof reader->pending_id, id != NULL ? id : "");
      reader->pending_key = key;
      return;
    }
    rh_reader_call_begin(reader, key, id, name);
    reader->pending_id[0] = '\0';
  }
  read_arguments(reader, key, function);
}

static void read_calls(rh_protocol_reader *reader, const json_t *part) {
  const json_t *list = rh_reader_array(reader, part, "tool_calls");
  for (size_t i = 0; i < json_array_size(list) && !reader->over; i++) read_call(reader, json_array_get(list, i));
}

// --- the end -------------------------------------------------------------------------------------------------------

static void read_finish(rh_protocol_reader *reader, const json_t *choice, const json_t *root) {
  const char *word = rh_reader_string(reader, choice, "finish_reason", NULL);
  if (word == NULL || word[0] == '\0') return;
  if (strcmp(word, "error") == 0) {  // OpenRouter: the provider behind it broke off
    const json_t *error = json_object_get(choice, "error");
    if (json_is_object(error))
      rh_reader_fail_said(reader, choice);
    else if (json_object_get(root, "error") == NULL)
      rh_reader_fail(reader, "ended its answer with an error that it does not name");
    return;
  }
  rh_finish finish = RH_FINISH_STOP;
  if (strcmp(word, "length") == 0 || strcmp(word, "max_tokens") == 0 || strcmp(word, "model_length") == 0)
    finish = RH_FINISH_LENGTH;
  else if (strcmp(word, "tool_calls") == 0 || strcmp(word, "function_call") == 0)
    finish = RH_FINISH_TOOLS;
  else if (strcmp(word, "content_filter") == 0)
    finish = RH_FINISH_FILTER;
  const json_t *stop = json_object_get(choice, "stop_reason");  // vLLM: the string that was met
  if (json_is_string(stop)) rh_reader_set_stop(reader, json_string_value(stop));
  rh_reader_finish_as(reader, finish);
}

static void read_choice(rh_protocol_reader *reader, const json_t *choice, const json_t *root) {
  int64_t index = 0;
  (void)rh_reader_count(choice, "index", &index);
  if (index != 0) return;  // one answer was asked for
  if (!json_is_object(choice)) {
    rh_reader_fail(reader, "sent a choice that is no object");
    return;
  }
  rh_reader_start(reader);
  const json_t *logprobs = rh_reader_object(reader, choice, "logprobs");
  if (reader->run->task == RH_TASK_COMPLETE) {
    size_t length;
    const char *text = rh_reader_string(reader, choice, "text", &length);
    rh_reader_text_logprobs(reader, text != NULL ? text : "", length, tokens_of_piece(reader),
                            json_object_get(logprobs, "content"));
  } else {
    // A whole answer to a question for a stream, and the other way round, are read alike.
    const json_t *part = rh_reader_object(reader, choice, "delta");
    if (part == NULL) part = rh_reader_object(reader, choice, "message");
    read_thoughts(reader, part);
    read_content(reader, part, json_object_get(logprobs, "content"));
    read_calls(reader, part);
  }
  read_finish(reader, choice, root);
}

static bool has_error(const json_t *root) {
  const json_t *error = json_object_get(root, "error");
  if (error != NULL && !json_is_null(error)) return true;
  // vLLM and Mistral: the error is the object itself.
  const char *kind = json_string_value(json_object_get(root, "object"));
  return kind != NULL && strcmp(kind, "error") == 0;
}

static void read_root(rh_protocol_reader *reader, const json_t *root) {
  if (has_error(root)) {
    rh_reader_fail_said(reader, root);
    return;
  }
  rh_chat_read_usage(reader, json_object_get(root, "usage"));
  rh_chat_read_usage(reader, json_object_get(json_object_get(root, "x_groq"), "usage"));
  const json_t *choices = rh_reader_array(reader, root, "choices");
  for (size_t i = 0; i < json_array_size(choices) && !reader->over; i++) {
    read_choice(reader, json_array_get(choices, i), root);
  }
}

static void read_body(rh_protocol_reader *reader, const json_t *root) {
  if (!rh_task_generates(reader->run->task)) {
    if (has_error(root))
      rh_reader_fail_said(reader, root);
    else
      rh_body_read_infer(reader, root);
    return;
  }
  read_root(reader, root);
  if (!reader->started) rh_reader_fail(reader, "sent an answer without any choice");
  rh_reader_end(reader);
}

static const rh_reader_dialect dialect = {.event = read_root, .body = read_body};

rh_protocol_reader *rh_chat_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream) {
  return rh_reader_new(&dialect, spec, run, stream && rh_task_generates(run->task));
}
