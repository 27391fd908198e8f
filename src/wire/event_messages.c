// SPDX-License-Identifier: Apache-2.0
//
// EVENT: what a worker reports on a stream. Deltas are the hot path (one per token), so events are written straight as
// text without building a JSON tree. A token's bytes may be part of a character, so they travel as an array of numbers.
// What a result holds is in infer_messages.c.
#include <string.h>

#include "wire/internal.h"

static const char *const event_names[] = {
    [RH_EVENT_START] = "start",       [RH_EVENT_DELTA] = "delta", [RH_EVENT_RESULT] = "result",
    [RH_EVENT_PROGRESS] = "progress", [RH_EVENT_USAGE] = "usage", [RH_EVENT_ERROR] = "error",
    [RH_EVENT_END] = "end",           [RH_EVENT_TOOL] = "tool",
};
static const char *const finish_names[] = {
    [RH_FINISH_STOP] = "stop",
    [RH_FINISH_LENGTH] = "length",
    [RH_FINISH_TOOLS] = "tool_calls",
    [RH_FINISH_FILTER] = "content_filter",
};
#define EVENT_KINDS (sizeof event_names / sizeof event_names[0])

static void append_bytes(rh_dynbuf *out, const char *bytes, size_t length) {
  (void)rh_dynbuf_append_char(out, '[');
  for (size_t i = 0; i < length; i++) (void)rh_dynbuf_printf(out, i == 0 ? "%u" : ",%u", (unsigned char)bytes[i]);
  (void)rh_dynbuf_append_char(out, ']');
}

// [[token, logprob, [bytes], [[token, logprob, [bytes]], ...]], ...]
static void append_logprobs(rh_dynbuf *out, const rh_event *event) {
  (void)rh_dynbuf_append_text(out, ",\"logprobs\":[");
  for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &event->as.delta.tokens[i];
    (void)rh_dynbuf_printf(out, "%s[%d,%.7g,", i == 0 ? "" : ",", token->token, (double)token->logprob);
    append_bytes(out, token->bytes, token->length);
    (void)rh_dynbuf_append_text(out, ",[");
    for (size_t j = 0; j < token->top_count; j++) {
      (void)rh_dynbuf_printf(out, "%s[%d,%.7g,", j == 0 ? "" : ",", token->top[j].token, (double)token->top[j].logprob);
      append_bytes(out, token->top[j].bytes, token->top[j].length);
      (void)rh_dynbuf_append_char(out, ']');
    }
    (void)rh_dynbuf_append_text(out, "]]");
  }
  (void)rh_dynbuf_append_char(out, ']');
}

static void append_usage(rh_dynbuf *json, const rh_usage *usage) {
  (void)rh_dynbuf_printf(json,
                         ",\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"cached_tokens\":%lld,"
                         "\"prompt_ms\":%.9g,\"decode_ms\":%.9g",
                         (long long)usage->prompt_tokens, (long long)usage->completion_tokens,
                         (long long)usage->cached_tokens, usage->prompt_ms, usage->decode_ms);
  if (usage->work.batch_items <= 0) return;
  (void)rh_dynbuf_printf(json, ",\"batch_items\":%lld,\"padding\":%.9g", (long long)usage->work.batch_items,
                         usage->work.padding);
}

// rh_json_append_string replaces bytes that are no text: an engine's message may quote a stranger's file.
void rh_error_write(rh_dynbuf *json, const rh_error *error) {
  (void)rh_dynbuf_printf(json, ",\"status\":\"%s\",\"param\":", rh_status_name(error->status));
  (void)rh_json_append_string(json, error->param, strlen(error->param));
  (void)rh_dynbuf_append_text(json, ",\"message\":");
  (void)rh_json_append_string(json, error->message, strlen(error->message));
}

static void append_delta(rh_dynbuf *json, const rh_event *event) {
  (void)rh_dynbuf_append_text(json, ",\"text\":");
  (void)rh_json_append_string(json, event->as.delta.text, event->as.delta.length);
  (void)rh_dynbuf_printf(json, ",\"tokens\":%d", event->as.delta.token_count);
  if (event->as.delta.reasoning) (void)rh_dynbuf_append_text(json, ",\"reasoning\":true");
  if (event->as.delta.logprob_count > 0) append_logprobs(json, event);
}

static void append_tool(rh_dynbuf *json, const rh_event *event) {
  (void)rh_dynbuf_printf(json, ",\"index\":%u,\"tokens\":%d", event->as.tool.index, event->as.tool.token_count);
  const char *const members[][2] = {{",\"id\":", event->as.tool.id}, {",\"name\":", event->as.tool.name}};
  for (size_t i = 0; i < 2; i++) {
    if (members[i][1] == NULL) continue;
    (void)rh_dynbuf_append_text(json, members[i][0]);
    (void)rh_json_append_string(json, members[i][1], strlen(members[i][1]));
  }
  (void)rh_dynbuf_append_text(json, ",\"arguments\":");
  (void)rh_json_append_string(json, event->as.tool.arguments, event->as.tool.length);
}

static void append_end(rh_dynbuf *json, const rh_event *event) {
  (void)rh_dynbuf_printf(json, ",\"finish\":\"%s\"", finish_names[event->as.end.finish]);
  if (event->as.end.stop == NULL) return;
  (void)rh_dynbuf_append_text(json, ",\"stop\":");
  (void)rh_json_append_string(json, event->as.end.stop, strlen(event->as.end.stop));
}

rh_status rh_event_write(rh_dynbuf *out, uint32_t stream, const rh_event *event) {
  rh_dynbuf json, tail;
  rh_dynbuf_init(&json, RH_FRAME_BYTES_MAX / 2);
  rh_dynbuf_init(&tail, RH_FRAME_BYTES_MAX);
  (void)rh_dynbuf_printf(&json, "{\"event\":\"%s\"", event_names[event->kind]);
  switch (event->kind) {
    case RH_EVENT_START:
      (void)rh_dynbuf_printf(&json, ",\"prompt_tokens\":%lld,\"cached_tokens\":%lld",
                             (long long)event->as.start.prompt_tokens, (long long)event->as.start.cached_tokens);
      break;
    case RH_EVENT_DELTA: append_delta(&json, event); break;
    case RH_EVENT_TOOL: append_tool(&json, event); break;
    case RH_EVENT_RESULT: rh_result_write(&json, &tail, &event->as.result); break;
    case RH_EVENT_PROGRESS: (void)rh_dynbuf_printf(&json, ",\"fraction\":%.9g", event->as.progress.fraction); break;
    case RH_EVENT_USAGE: append_usage(&json, &event->as.usage); break;
    case RH_EVENT_ERROR: rh_error_write(&json, &event->as.error); break;
    case RH_EVENT_END: append_end(&json, event); break;
  }
  (void)rh_dynbuf_append_char(&json, '}');
  rh_status status = json.failed || tail.failed ? RH_TOO_LARGE
                                                : rh_frame_encode(out, RH_FRAME_EVENT, stream, rh_dynbuf_data(&json),
                                                                  json.length, rh_dynbuf_data(&tail), tail.length);
  rh_dynbuf_free(&json);
  rh_dynbuf_free(&tail);
  return status;
}

static char *read_bytes(const json_t *array, rh_arena *arena, size_t *length) {
  *length = json_array_size(array);
  char *bytes = rh_arena_alloc(arena, *length + 1);
  for (size_t i = 0; bytes != NULL && i < *length; i++) {
    bytes[i] = (char)json_integer_value(json_array_get(array, i));
  }
  return bytes;
}

static bool read_logprob(const json_t *row, rh_arena *arena, rh_token_logprob *token) {
  token->token = (int32_t)json_integer_value(json_array_get(row, 0));
  token->logprob = (float)json_number_value(json_array_get(row, 1));
  token->bytes = read_bytes(json_array_get(row, 2), arena, &token->length);
  const json_t *top = json_array_get(row, 3);
  token->top_count = json_array_size(top);
  if (token->bytes == NULL || token->top_count > RH_TOP_LOGPROBS_MAX) return false;
  rh_top_logprob *list = rh_arena_alloc_array(arena, token->top_count + 1, sizeof *list);
  for (size_t i = 0; list != NULL && i < token->top_count; i++) {
    const json_t *item = json_array_get(top, i);
    list[i].token = (int32_t)json_integer_value(json_array_get(item, 0));
    list[i].logprob = (float)json_number_value(json_array_get(item, 1));
    list[i].bytes = read_bytes(json_array_get(item, 2), arena, &list[i].length);
    if (list[i].bytes == NULL) return false;
  }
  token->top = list;
  return list != NULL;
}

static void read_delta(rh_reader *reader, rh_arena *arena, rh_event *event) {
  const json_t *text = json_object_get(reader->object, "text");
  event->as.delta.length = json_string_length(text);
  event->as.delta.text =
      rh_arena_strndup(arena, json_is_string(text) ? json_string_value(text) : "", event->as.delta.length);
  event->as.delta.token_count = (int32_t)rh_frame_reader_int(reader, "tokens", 0);
  event->as.delta.reasoning = rh_frame_reader_bool(reader, "reasoning", false);
  const json_t *rows = rh_frame_reader_array(reader, "logprobs");
  size_t count = json_array_size(rows);
  if (event->as.delta.text == NULL) rh_frame_reader_fail(reader, "a delta is too large");
  if (count == 0) return;
  rh_token_logprob *tokens = rh_arena_alloc_array(arena, count, sizeof *tokens);
  for (size_t i = 0; tokens != NULL && i < count; i++) {
    if (!read_logprob(json_array_get(rows, i), arena, &tokens[i])) tokens = NULL;
  }
  if (tokens == NULL) {
    rh_frame_reader_fail(reader, "a delta's logprobs are malformed");
    return;
  }
  event->as.delta.tokens = tokens;
  event->as.delta.logprob_count = count;
}

void rh_error_read(rh_reader *reader, rh_error *out) {
  const char *status = rh_frame_reader_string(reader, "status");
  const char *param = rh_frame_reader_string(reader, "param");
  const char *message = rh_frame_reader_string(reader, "message");
  out->status = rh_status_from_name(status != NULL ? status : "");
  if (out->status == RH_OK) out->status = RH_INTERNAL;
  rh_text_copy(out->param, sizeof out->param, param != NULL ? param : "");
  rh_text_copy(out->message, sizeof out->message, message != NULL ? message : "");
}

static void read_usage(rh_reader *reader, rh_event *event) {
  event->as.usage.prompt_tokens = rh_frame_reader_int(reader, "prompt_tokens", 0);
  event->as.usage.completion_tokens = rh_frame_reader_int(reader, "completion_tokens", 0);
  event->as.usage.cached_tokens = rh_frame_reader_int(reader, "cached_tokens", 0);
  event->as.usage.prompt_ms = rh_frame_reader_number(reader, "prompt_ms", 0);
  event->as.usage.decode_ms = rh_frame_reader_number(reader, "decode_ms", 0);
  event->as.usage.work.batch_items = rh_frame_reader_int(reader, "batch_items", 0);
  event->as.usage.work.padding = rh_frame_reader_number(reader, "padding", 0);
}

static void read_tool(rh_reader *reader, rh_arena *arena, rh_event *event) {
  int64_t index = rh_frame_reader_int(reader, "index", 0);
  if (index < 0 || index >= RH_TOOL_CALLS_MAX) rh_frame_reader_fail(reader, "a tool call's index is out of bounds");
  event->as.tool.index = (uint32_t)index;
  event->as.tool.token_count = (int32_t)rh_frame_reader_int(reader, "tokens", 0);
  event->as.tool.id = rh_arena_strdup(arena, rh_frame_reader_string(reader, "id"));
  event->as.tool.name = rh_arena_strdup(arena, rh_frame_reader_string(reader, "name"));
  const char *arguments = rh_arena_strdup(arena, rh_frame_reader_string(reader, "arguments"));
  event->as.tool.arguments = arguments != NULL ? arguments : "";
  event->as.tool.length = strlen(event->as.tool.arguments);
}

static void read_end(rh_reader *reader, rh_arena *arena, rh_event *event) {
  const char *finish = rh_frame_reader_string(reader, "finish");
  event->as.end.finish = RH_FINISH_STOP;
  for (size_t i = 0; finish != NULL && i < sizeof finish_names / sizeof finish_names[0]; i++) {
    if (strcmp(finish, finish_names[i]) == 0) event->as.end.finish = (rh_finish)i;
  }
  event->as.end.stop = rh_arena_strdup(arena, rh_frame_reader_string(reader, "stop"));
}

rh_status rh_event_read(const rh_frame *frame, rh_arena *arena, rh_event *event, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "EVENT", &root, &reader, error);
  if (status != RH_OK) return status;
  const char *name = rh_frame_reader_string(&reader, "event");
  size_t kind = 0;
  while (kind < EVENT_KINDS && (name == NULL || strcmp(name, event_names[kind]) != 0)) kind++;
  *event = (rh_event){.kind = (rh_event_kind)(kind < EVENT_KINDS ? kind : 0)};
  if (kind == EVENT_KINDS) rh_frame_reader_fail(&reader, "EVENT of a kind that is not known");
  if (reader.status == RH_OK) {
    switch (event->kind) {
      case RH_EVENT_TOOL: read_tool(&reader, arena, event); break;
      case RH_EVENT_START:
        event->as.start.prompt_tokens = rh_frame_reader_int(&reader, "prompt_tokens", 0);
        event->as.start.cached_tokens = rh_frame_reader_int(&reader, "cached_tokens", 0);
        break;
      case RH_EVENT_DELTA: read_delta(&reader, arena, event); break;
      case RH_EVENT_RESULT: rh_result_read(&reader, frame, arena, &event->as.result); break;
      case RH_EVENT_PROGRESS: event->as.progress.fraction = rh_frame_reader_number(&reader, "fraction", 0); break;
      case RH_EVENT_USAGE: read_usage(&reader, event); break;
      case RH_EVENT_ERROR: rh_error_read(&reader, &event->as.error); break;
      case RH_EVENT_END: read_end(&reader, arena, event); break;
    }
  }
  json_decref(root);
  return reader.status;
}
