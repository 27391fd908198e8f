// SPDX-License-Identifier: Apache-2.0
//
// Answers of Anthropic's Messages API, streamed and whole. A stream is message_start, blocks with a start, deltas and a stop, then
// message_delta and message_stop, with pings between. Owns nothing; one thread.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "provider/body.h"
#include "provider/reader.h"

enum { BLOCK_NONE, BLOCK_TEXT, BLOCK_THOUGHT, BLOCK_CALL, BLOCK_OTHER };

static void read_usage(rh_protocol_reader *reader, const json_t *usage) {
  if (!json_is_object(usage)) return;
  rh_usage *to = &reader->usage;
  int64_t fresh = 0;
  // Each count is a whole, not an addition; the prompt's has three parts that come together.
  if (rh_reader_count(usage, "input_tokens", &fresh)) {
    (void)rh_reader_count(usage, "cache_read_input_tokens", &to->cached_tokens);
    (void)rh_reader_count(usage, "cache_creation_input_tokens", &to->written_tokens);
    to->prompt_tokens = fresh + to->cached_tokens + to->written_tokens;
    reader->has_usage = true;
  }
  if (rh_reader_count(usage, "output_tokens", &to->completion_tokens)) reader->has_usage = true;
}

static void read_stop(rh_protocol_reader *reader, const json_t *from) {
  const char *word = rh_reader_string(reader, from, "stop_reason", NULL);
  if (word == NULL) return;
  rh_finish finish = RH_FINISH_STOP;  // end_turn, stop_sequence, pause_turn
  if (strcmp(word, "max_tokens") == 0 || strcmp(word, "model_context_window_exceeded") == 0) finish = RH_FINISH_LENGTH;
  if (strcmp(word, "tool_use") == 0) finish = RH_FINISH_TOOLS;
  if (strcmp(word, "refusal") == 0) finish = RH_FINISH_FILTER;
  const char *stop = rh_reader_string(reader, from, "stop_sequence", NULL);
  if (stop != NULL) rh_reader_set_stop(reader, stop);
  rh_reader_finish_as(reader, finish);
}

// --- blocks --------------------------------------------------------------------------------------------------------

static void push_text(rh_protocol_reader *reader, const json_t *from) {
  size_t length;
  const char *text = rh_reader_string(reader, from, "text", &length);
  int64_t all = reader->usage.completion_tokens;
  int32_t tokens = !reader->in_body ? 1 : all < INT32_MAX ? (int32_t)all : 0;
  if (length > 0) rh_reader_text(reader, text, length, tokens, NULL, 0);
}

static void push_thought(rh_protocol_reader *reader, const json_t *from) {
  size_t length;
  const char *text = rh_reader_string(reader, from, "thinking", &length);
  if (length > 0) rh_reader_thought(reader, text, length, NULL);
}

static void keep_signature(rh_protocol_reader *reader, const char *mark, const char *text, size_t length) {
  if (rh_dynbuf_append_text(&reader->signature, mark) != RH_OK ||
      rh_dynbuf_append(&reader->signature, text, length) != RH_OK)
    rh_reader_fail(reader, "signed a thought with too many bytes");
}

static void push_input(rh_protocol_reader *reader, const json_t *input, int64_t key) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_PROVIDER_EVENT_BYTES_MAX);
  if (rh_json_append_value(&text, input) == RH_OK)
    rh_reader_call_more(reader, key, rh_dynbuf_data(&text), text.length);
  else
    rh_reader_fail(reader, "sent arguments of a tool's call that are too large");
  rh_dynbuf_free(&text);
}

static void close_block(rh_protocol_reader *reader) {
  if (reader->block == BLOCK_THOUGHT && reader->signature.length > 0)
    rh_reader_thought(reader, "", 0, rh_dynbuf_data(&reader->signature));
  // A call without arguments is one with none of them.
  if (reader->block == BLOCK_CALL && reader->call_count > 0) {
    const rh_reader_call *call = &reader->calls[reader->call_count - 1];
    if (!call->has_arguments) rh_reader_call_more(reader, call->key, "{}", 2);
  }
  rh_dynbuf_clear(&reader->signature);
  reader->block = BLOCK_NONE;
}

static void open_block(rh_protocol_reader *reader, const json_t *block, int64_t key) {
  close_block(reader);
  const char *type = rh_reader_string(reader, block, "type", NULL);
  size_t length;
  reader->block = BLOCK_OTHER;
  if (type == NULL) {
    rh_reader_fail(reader, "sent a block without its type");
  } else if (strcmp(type, "text") == 0) {
    reader->block = BLOCK_TEXT;
    push_text(reader, block);
  } else if (strcmp(type, "thinking") == 0) {
    reader->block = BLOCK_THOUGHT;
    push_thought(reader, block);
    const char *signature = rh_reader_string(reader, block, "signature", &length);
    if (length > 0) keep_signature(reader, "", signature, length);
  } else if (strcmp(type, "redacted_thinking") == 0) {
    reader->block = BLOCK_THOUGHT;
    const char *data = rh_reader_string(reader, block, "data", &length);
    if (length > 0) keep_signature(reader, RH_REDACTED_THOUGHT, data, length);
  } else if (strcmp(type, "tool_use") == 0) {
    const char *name = rh_reader_string(reader, block, "name", NULL);
    const char *id = rh_reader_string(reader, block, "id", NULL);
    if (name == NULL || name[0] == '\0') {
      rh_reader_fail(reader, "sent a tool's call without the tool's name");
      return;
    }
    reader->block = BLOCK_CALL;
    rh_reader_call_begin(reader, key, id, name);
    const json_t *input = rh_reader_object(reader, block, "input");
    if (json_object_size(input) > 0) push_input(reader, input, key);
  }
}

static void read_delta(rh_protocol_reader *reader, const json_t *delta, int64_t key) {
  size_t length;
  const char *type = rh_reader_string(reader, delta, "type", NULL);
  if (type == NULL) return;
  if (strcmp(type, "text_delta") == 0) push_text(reader, delta);
  if (strcmp(type, "thinking_delta") == 0) push_thought(reader, delta);
  if (strcmp(type, "signature_delta") == 0) {
    const char *signature = rh_reader_string(reader, delta, "signature", &length);
    if (length > 0 && reader->block == BLOCK_THOUGHT) keep_signature(reader, "", signature, length);
  }
  // The pieces of a server's own tools are none of the client's.
  if (strcmp(type, "input_json_delta") == 0 && reader->block != BLOCK_OTHER) {
    const char *json = rh_reader_string(reader, delta, "partial_json", &length);
    if (length > 0) rh_reader_call_more(reader, key, json, length);
  }
}

// --- events --------------------------------------------------------------------------------------------------------

static bool is_error(const json_t *root) {
  const char *type = json_string_value(json_object_get(root, "type"));
  return (type != NULL && strcmp(type, "error") == 0) || json_is_object(json_object_get(root, "error"));
}

static void read_event(rh_protocol_reader *reader, const json_t *root) {
  const char *type = rh_reader_string(reader, root, "type", NULL);
  int64_t key = 0;
  (void)rh_reader_count(root, "index", &key);
  if (is_error(root)) {
    rh_reader_fail_said(reader, root);
  } else if (type == NULL) {
    rh_reader_fail(reader, "sent an event without its type");
  } else if (strcmp(type, "message_start") == 0) {
    const json_t *message = rh_reader_object(reader, root, "message");
    read_usage(reader, json_object_get(message, "usage"));
    rh_reader_start(reader);
  } else if (strcmp(type, "content_block_start") == 0) {
    open_block(reader, rh_reader_object(reader, root, "content_block"), key);
  } else if (strcmp(type, "content_block_delta") == 0) {
    read_delta(reader, rh_reader_object(reader, root, "delta"), key);
  } else if (strcmp(type, "content_block_stop") == 0) {
    close_block(reader);
  } else if (strcmp(type, "message_delta") == 0) {
    read_usage(reader, json_object_get(root, "usage"));
    read_stop(reader, rh_reader_object(reader, root, "delta"));
  } else if (strcmp(type, "message_stop") == 0) {
    close_block(reader);
    reader->done = true;
  }
  // "ping" and what is yet to be invented: nothing.
}

static void read_body(rh_protocol_reader *reader, const json_t *root) {
  if (is_error(root)) {
    rh_reader_fail_said(reader, root);
    return;
  }
  read_usage(reader, json_object_get(root, "usage"));
  const json_t *content = rh_reader_array(reader, root, "content");
  if (content == NULL) {
    rh_reader_fail(reader, "sent an answer without content");
    return;
  }
  for (size_t i = 0; i < json_array_size(content) && !reader->over; i++) {
    const json_t *block = json_array_get(content, i);
    if (!json_is_object(block)) rh_reader_fail(reader, "sent a block that is no object");
    open_block(reader, block, (int64_t)i);
  }
  close_block(reader);
  read_stop(reader, root);
  rh_reader_end(reader);
}

static const rh_reader_dialect dialect = {.event = read_event, .body = read_body};

rh_protocol_reader *rh_anthropic_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream) {
  return rh_reader_new(&dialect, spec, run, stream);
}
