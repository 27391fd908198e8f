// SPDX-License-Identifier: Apache-2.0
//
// Answers of OpenAI's responses, streamed and whole. Every event names itself in "type"; the last one carries the whole answer with
// its counts. Owns nothing; one thread.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "provider/body.h"
#include "provider/reader.h"

static void read_usage(rh_protocol_reader *reader, const json_t *usage) {
  rh_usage *to = &reader->usage;
  bool any = rh_reader_count(usage, "input_tokens", &to->prompt_tokens);
  any = rh_reader_count(usage, "output_tokens", &to->completion_tokens) || any;
  (void)rh_reader_count(json_object_get(usage, "input_tokens_details"), "cached_tokens", &to->cached_tokens);
  (void)rh_reader_count(json_object_get(usage, "output_tokens_details"), "reasoning_tokens", &to->reasoning_tokens);
  reader->has_usage = reader->has_usage || any;
}

static int32_t tokens_of_piece(const rh_protocol_reader *reader) {
  if (!reader->in_body) return 1;
  int64_t all = reader->usage.completion_tokens;
  return all < INT32_MAX ? (int32_t)all : 0;
}

// --- items of a whole answer ---------------------------------------------------------------------------------------

static void read_texts(rh_protocol_reader *reader, const json_t *list, bool thought) {
  for (size_t i = 0; i < json_array_size(list) && !reader->over; i++) {
    const json_t *part = json_array_get(list, i);
    size_t length;
    const char *text = rh_reader_string(reader, part, "text", &length);
    if (text == NULL) text = rh_reader_string(reader, part, "refusal", &length);
    if (text == NULL) continue;
    if (thought)
      rh_reader_thought(reader, text, length, NULL);
    else
      rh_reader_text_logprobs(reader, text, length, tokens_of_piece(reader), json_object_get(part, "logprobs"));
  }
}

static void begin_call(rh_protocol_reader *reader, const json_t *item, int64_t key) {
  const char *name = rh_reader_string(reader, item, "name", NULL);
  const char *id = rh_reader_string(reader, item, "call_id", NULL);
  if (id == NULL) id = rh_reader_string(reader, item, "id", NULL);
  if (name == NULL || name[0] == '\0') {
    rh_reader_fail(reader, "sent a tool's call without the tool's name");
    return;
  }
  rh_reader_call_begin(reader, key, id, name);
  size_t length;
  const char *arguments = rh_reader_string(reader, item, "arguments", &length);
  if (length > 0) rh_reader_call_more(reader, key, arguments, length);
}

static void read_output(rh_protocol_reader *reader, const json_t *output) {
  for (size_t i = 0; i < json_array_size(output) && !reader->over; i++) {
    const json_t *item = json_array_get(output, i);
    const char *type = rh_reader_string(reader, item, "type", NULL);
    if (type == NULL) continue;
    if (strcmp(type, "message") == 0) read_texts(reader, rh_reader_array(reader, item, "content"), false);
    if (strcmp(type, "function_call") == 0) begin_call(reader, item, (int64_t)i);
    if (strcmp(type, "reasoning") == 0) {
      const json_t *list = rh_reader_array(reader, item, "content");
      if (json_array_size(list) == 0) list = rh_reader_array(reader, item, "summary");
      read_texts(reader, list, true);
    }
  }
}

static bool failed(const json_t *response) {
  const char *status = json_string_value(json_object_get(response, "status"));
  return json_is_object(json_object_get(response, "error")) || (status != NULL && strcmp(status, "failed") == 0);
}

// The answer's last state. What was not streamed is taken from it.
static void read_final(rh_protocol_reader *reader, const json_t *response) {
  if (failed(response)) {
    rh_reader_fail_said(reader, response);
    return;
  }
  read_usage(reader, json_object_get(response, "usage"));
  if (!reader->said_text && reader->call_count == 0) read_output(reader, rh_reader_array(reader, response, "output"));
  const char *status = rh_reader_string(reader, response, "status", NULL);
  rh_finish finish = RH_FINISH_STOP;
  if (status != NULL && strcmp(status, "incomplete") == 0) {
    const json_t *details = rh_reader_object(reader, response, "incomplete_details");
    const char *reason = rh_reader_string(reader, details, "reason", NULL);
    finish = reason != NULL && strcmp(reason, "content_filter") == 0 ? RH_FINISH_FILTER : RH_FINISH_LENGTH;
  }
  rh_reader_finish_as(reader, finish);
  rh_reader_end(reader);
}

// --- events --------------------------------------------------------------------------------------------------------

static void read_text_delta(rh_protocol_reader *reader, const json_t *root, bool thought) {
  size_t length;
  const char *text = rh_reader_string(reader, root, "delta", &length);
  if (text == NULL) return;
  if (thought)
    rh_reader_thought(reader, text, length, NULL);
  else
    rh_reader_text_logprobs(reader, text, length, 1, json_object_get(root, "logprobs"));
}

static void read_arguments(rh_protocol_reader *reader, const json_t *root, int64_t key, bool whole) {
  size_t length;
  const char *text = rh_reader_string(reader, root, whole ? "arguments" : "delta", &length);
  const rh_reader_call *last = reader->call_count > 0 ? &reader->calls[reader->call_count - 1] : NULL;
  // The whole is a repetition, unless nothing came before it.
  if (whole && (last == NULL || last->key != key || last->has_arguments)) return;
  if (length > 0) rh_reader_call_more(reader, key, text, length);
}

static void read_added(rh_protocol_reader *reader, const json_t *root, int64_t key) {
  const json_t *item = rh_reader_object(reader, root, "item");
  const char *type = rh_reader_string(reader, item, "type", NULL);
  if (type != NULL && strcmp(type, "function_call") == 0 && !rh_reader_call_known(reader, key))
    begin_call(reader, item, key);
}

static void read_part_added(rh_protocol_reader *reader, const json_t *root) {
  int64_t part = 0;
  if (rh_reader_count(root, "summary_index", &part) && part > 0) rh_reader_thought(reader, "\n\n", 2, NULL);
}

static void read_response_event(rh_protocol_reader *reader, const json_t *root, const char *type) {
  static const char *const finals[] = {"completed", "incomplete", "failed"};
  int64_t key = 0;
  (void)rh_reader_count(root, "output_index", &key);
  rh_reader_start(reader);
  for (size_t i = 0; i < sizeof finals / sizeof *finals; i++) {
    if (strcmp(type, finals[i]) != 0) continue;
    const json_t *response = rh_reader_object(reader, root, "response");
    if (response == NULL) rh_reader_fail(reader, "ended its answer without saying how");
    read_final(reader, response);
    return;
  }
  if (strcmp(type, "output_text.delta") == 0 || strcmp(type, "refusal.delta") == 0)
    read_text_delta(reader, root, false);
  if (strcmp(type, "reasoning_summary_text.delta") == 0 || strcmp(type, "reasoning_text.delta") == 0)
    read_text_delta(reader, root, true);
  if (strcmp(type, "reasoning_summary_part.added") == 0) read_part_added(reader, root);
  if (strcmp(type, "output_item.added") == 0) read_added(reader, root, key);
  if (strcmp(type, "function_call_arguments.delta") == 0) read_arguments(reader, root, key, false);
  if (strcmp(type, "function_call_arguments.done") == 0) read_arguments(reader, root, key, true);
}

static void read_event(rh_protocol_reader *reader, const json_t *root) {
  const char *type = rh_reader_string(reader, root, "type", NULL);
  if (reader->over) return;
  if (json_is_object(json_object_get(root, "error")) || (type != NULL && strcmp(type, "error") == 0))
    rh_reader_fail_said(reader, root);
  else if (type == NULL)
    rh_reader_fail(reader, "sent an event without its type");
  else if (strncmp(type, "response.", 9) == 0)
    read_response_event(reader, root, type + 9);
}

static void read_body(rh_protocol_reader *reader, const json_t *root) {
  const json_t *error = json_object_get(root, "error");
  if ((error != NULL && !json_is_null(error)) || failed(root)) {
    rh_reader_fail_said(reader, root);
    return;
  }
  if (rh_reader_array(reader, root, "output") == NULL) {
    rh_reader_fail(reader, "sent an answer without output");
    return;
  }
  read_final(reader, root);
}

static const rh_reader_dialect dialect = {.event = read_event, .body = read_body};

rh_protocol_reader *rh_responses_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream) {
  if (run->task != RH_TASK_CHAT) return rh_chat_reader_new(spec, run, stream);
  return rh_reader_new(&dialect, spec, run, stream);
}
