// SPDX-License-Identifier: Apache-2.0
//
// One answer of a provider: bytes cut anywhere into JSON values for the dialect, and the dialect's findings into events in their
// right order. Owns its buffers, both bounded. One owner thread. It knows no protocol and no socket.
#include "provider/reader.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "provider/explain.h"

#define STOP_BYTES_MAX 4096

rh_protocol_reader *rh_reader_new(const rh_reader_dialect *dialect, const rh_provider_spec *spec, const rh_run *run,
                                  bool stream) {
  assert(dialect != NULL && spec != NULL && run != NULL);
  rh_protocol_reader *reader = calloc(1, sizeof *reader);
  if (reader == NULL) return NULL;
  reader->dialect = dialect;
  reader->spec = spec;
  reader->run = run;
  reader->stream = stream;
  rh_sse_init(&reader->sse, RH_PROVIDER_EVENT_BYTES_MAX);
  rh_dynbuf_init(&reader->body, RH_PROVIDER_BODY_BYTES_MAX);
  rh_dynbuf_init(&reader->signature, RH_PROVIDER_EVENT_BYTES_MAX);
  size_t prefix = run->prefix != NULL ? strlen(run->prefix) : 0;
  reader->trim_start =
      prefix > 0 && strchr(" \t\r\n", run->prefix[prefix - 1]) != NULL && spec->protocol == RH_PROTOCOL_ANTHROPIC;
  return reader;
}

void rh_reader_free(rh_protocol_reader *reader) {
  if (reader == NULL) return;
  rh_sse_free(&reader->sse);
  rh_dynbuf_free(&reader->body);
  rh_dynbuf_free(&reader->signature);
  free(reader->calls);
  free(reader->stop);
  free(reader);
}

// --- pushing -------------------------------------------------------------------------------------------------------

static void push(rh_protocol_reader *reader, rh_event *event) {
  if (reader->over) return;
  if (rh_event_is_final(event)) reader->over = true;
  if (rh_sink_push(reader->sink, event) == RH_WAIT) reader->verdict = RH_WAIT;
}

void rh_reader_fail_with(rh_protocol_reader *reader, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR, .as.error = *error};
  push(reader, &event);
}

void rh_reader_fail(rh_protocol_reader *reader, const char *format, ...) {
  char words[384];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(words, sizeof words, format, args);
  va_end(args);
  rh_error error = {0};
  (void)rh_fail(&error, RH_UPSTREAM, "%s %s", reader->spec->name != NULL ? reader->spec->name : "the provider", words);
  rh_reader_fail_with(reader, &error);
}

void rh_reader_fail_said(rh_protocol_reader *reader, const json_t *root) {
  rh_error error = {0};
  rh_provider_explain_json(reader->spec, 0, root, &error);
  rh_reader_fail_with(reader, &error);
}

void rh_reader_start(rh_protocol_reader *reader) {
  if (reader->started) return;
  reader->started = true;
  rh_event event = {.kind = RH_EVENT_START};
  event.as.start.prompt_tokens = reader->usage.prompt_tokens;
  event.as.start.cached_tokens = reader->usage.cached_tokens;
  push(reader, &event);
}

void rh_reader_text(rh_protocol_reader *reader, const char *text, size_t length, int32_t tokens,
                    const rh_token_logprob *logprobs, size_t logprob_count) {
  while (reader->trim_start && length > 0) {
    if (strchr(" \t\r\n", *text) == NULL || *text == '\0') reader->trim_start = false;
    if (!reader->trim_start) break;
    text++;
    length--;
  }
  if (length == 0 && logprob_count == 0) return;
  rh_reader_start(reader);
  reader->said_text = true;
  rh_event event = {.kind = RH_EVENT_DELTA};
  event.as.delta.text = text;
  event.as.delta.length = length;
  event.as.delta.token_count = logprob_count > 0 ? (int32_t)logprob_count : tokens;
  event.as.delta.tokens = logprobs;
  event.as.delta.logprob_count = logprob_count;
  push(reader, &event);
}

void rh_reader_thought(rh_protocol_reader *reader, const char *text, size_t length, const char *signature) {
  if (length == 0 && signature == NULL) return;
  rh_reader_start(reader);
  rh_event event = {.kind = RH_EVENT_DELTA};
  event.as.delta.text = text;
  event.as.delta.length = length;
  event.as.delta.token_count = length > 0 && reader->stream ? 1 : 0;
  event.as.delta.reasoning = true;
  event.as.delta.signature = signature;
  push(reader, &event);
}

bool rh_reader_call_known(const rh_protocol_reader *reader, int64_t key) {
  for (size_t i = 0; i < reader->call_count; i++) {
    if (reader->calls[i].key == key) return true;
  }
  return false;
}

void rh_reader_call_begin(rh_protocol_reader *reader, int64_t key, const char *id, const char *name) {
  if (reader->over) return;
  if (reader->calls == NULL) reader->calls = calloc(RH_TOOL_CALLS_MAX, sizeof *reader->calls);
  if (reader->calls == NULL) {
    rh_error error = {0};
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for the calls of an answer");
    rh_reader_fail_with(reader, &error);
    return;
  }
  if (reader->call_count == RH_TOOL_CALLS_MAX) {
    rh_reader_fail(reader, "called more than %d tools in one answer", RH_TOOL_CALLS_MAX);
    return;
  }
  rh_reader_start(reader);
  char made[RH_ID_SIZE];
  if (id == NULL || id[0] == '\0') rh_id_make(made, "call_");
  reader->calls[reader->call_count] = (rh_reader_call){.key = key};
  rh_event event = {.kind = RH_EVENT_TOOL};
  event.as.tool.index = (uint32_t)reader->call_count++;
  event.as.tool.id = id == NULL || id[0] == '\0' ? made : id;
  event.as.tool.name = name;
  event.as.tool.arguments = "";
  push(reader, &event);
}

void rh_reader_call_more(rh_protocol_reader *reader, int64_t key, const char *arguments, size_t length) {
  if (length == 0 || reader->over) return;
  rh_reader_call *last = reader->call_count > 0 ? &reader->calls[reader->call_count - 1] : NULL;
  if (last == NULL || last->key != key) {
    rh_reader_fail(reader, "sent arguments of a tool's call that is over or never began");
    return;
  }
  last->has_arguments = true;
  rh_event event = {.kind = RH_EVENT_TOOL};
  event.as.tool.index = (uint32_t)(reader->call_count - 1);
  event.as.tool.arguments = arguments;
  event.as.tool.length = length;
  push(reader, &event);
}

void rh_reader_finish_as(rh_protocol_reader *reader, rh_finish finish) {
  reader->finish = finish;
  reader->has_finish = true;
}

void rh_reader_set_stop(rh_protocol_reader *reader, const char *stop) {
  free(reader->stop);
  reader->stop = strndup(stop, STOP_BYTES_MAX);
}

void rh_reader_result(rh_protocol_reader *reader, const rh_result *result) {
  rh_reader_start(reader);
  rh_event event = {.kind = RH_EVENT_RESULT, .as.result = *result};
  push(reader, &event);
}

void rh_reader_end(rh_protocol_reader *reader) {
  if (reader->over) return;
  rh_reader_start(reader);
  if (reader->has_usage) {
    rh_event usage = {.kind = RH_EVENT_USAGE, .as.usage = reader->usage};
    push(reader, &usage);
  }
  rh_event end = {.kind = RH_EVENT_END};
  end.as.end.finish = reader->has_finish ? reader->finish : RH_FINISH_STOP;
  // Several servers say "stop" when they mean that the results of the calls are awaited.
  if (reader->call_count > 0 && end.as.end.finish == RH_FINISH_STOP) end.as.end.finish = RH_FINISH_TOOLS;
  end.as.end.stop = reader->stop;
  push(reader, &end);
}

// --- reading -------------------------------------------------------------------------------------------------------

static json_t *parse(const char *text, size_t length) {
  // Models do write NULs; the depth is bounded by jansson itself.
  return json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

// RH_CANCELLED: the answer is over, no more of the stream is wanted.
static rh_status take_event(void *ctx, const rh_sse_event *event) {
  rh_protocol_reader *reader = ctx;
  const char *data = event->data;
  size_t length = event->length;
  if (reader->done) return RH_CANCELLED;
  if (length == 6 && memcmp(data, "[DONE]", 6) == 0) {
    reader->done = true;
    return RH_CANCELLED;
  }
  json_t *root = parse(data, length);
  if (!json_is_object(root)) {
    // An "error" event with plain words is what some proxies send.
    if (strcmp(event->event, "error") == 0) {
      rh_error error = {0};
      rh_provider_explain(reader->spec, 0, data, length, &error);
      rh_reader_fail_with(reader, &error);
    } else {
      rh_reader_fail(reader, "sent an event that is no JSON object");
    }
  } else {
    reader->dialect->event(reader, root);
  }
  json_decref(root);
  return reader->over ? RH_CANCELLED : RH_OK;
}

// What was asked for as a stream may come as one JSON value all the same: a server that cannot stream, or an error.
static void look(rh_protocol_reader *reader, const char *bytes, size_t length) {
  size_t i = 0;
  while (i < length && strchr(" \t\r\n", bytes[i]) != NULL && bytes[i] != '\0') i++;
  if (i == length) return;
  reader->looked = true;
  // And the other way round: no JSON value begins like a field of an event or a comment.
  bool like_events = bytes[i] != '\0' && strchr("deir:\xef", bytes[i]) != NULL;
  reader->in_body = bytes[i] == '{' || (!reader->stream && !like_events);
}

static void end_stream(rh_protocol_reader *reader) {
  if (reader->over) return;
  if (reader->has_finish || (reader->done && (reader->said_text || reader->call_count > 0))) {
    rh_reader_end(reader);
  } else if (!reader->started) {
    rh_reader_fail(reader, "sent an empty answer");
  } else {
    rh_reader_fail(reader, "broke off in the middle of its answer");
  }
}

rh_verdict rh_reader_read(rh_protocol_reader *reader, const char *bytes, size_t length, const rh_sink *sink) {
  assert(reader != NULL && sink != NULL && (bytes != NULL || length == 0));
  reader->sink = sink;
  reader->verdict = RH_GO;
  if (reader->over || reader->done || length == 0) return RH_GO;
  if (!reader->looked) look(reader, bytes, length);
  if (!reader->looked) return RH_GO;
  rh_status status;
  if (reader->in_body)
    status = rh_dynbuf_append(&reader->body, bytes, length);
  else
    status = rh_sse_feed(&reader->sse, bytes, length, take_event, reader);
  if (status == RH_NO_MEMORY) {
    rh_error error = {0};
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for an answer of %s", reader->spec->name);
    rh_reader_fail_with(reader, &error);
  } else if (status != RH_OK && status != RH_CANCELLED) {
    unsigned most = (reader->in_body ? RH_PROVIDER_BODY_BYTES_MAX : RH_PROVIDER_EVENT_BYTES_MAX) >> 20;
    rh_reader_fail(reader, "sent more than %u MiB at once", most);
  }
  if (reader->done) end_stream(reader);
  return reader->verdict;
}

rh_verdict rh_reader_finish(rh_protocol_reader *reader, const rh_sink *sink) {
  assert(reader != NULL && sink != NULL);
  reader->sink = sink;
  reader->verdict = RH_GO;
  if (reader->over) return RH_GO;
  if (!reader->looked) {
    rh_reader_fail(reader, "sent an empty answer");
  } else if (!reader->in_body) {
    rh_status status = rh_sse_end(&reader->sse, take_event, reader);
    if (status != RH_OK && status != RH_CANCELLED) rh_reader_fail(reader, "sent an event that is too long");
    end_stream(reader);
  } else {
    json_t *root = parse(rh_dynbuf_data(&reader->body), reader->body.length);
    if (!json_is_object(root))
      rh_reader_fail(reader, "sent an answer that is no JSON object, or only a part of one");
    else
      reader->dialect->body(reader, root);
    json_decref(root);
    if (!reader->over) rh_reader_end(reader);
  }
  return reader->verdict;
}
