// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the providers' protocols share: a run, what it becomes on the wire, and an answer's events as one text.
#ifndef RH_TEST_PROTOCOL_FIXTURE_H
#define RH_TEST_PROTOCOL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "provider/known.h"
#include "provider/protocol.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static inline rh_provider_spec spec_of(const char *type, rh_protocol protocol) {
  const rh_known_provider *known = rh_known_provider_find(type);
  assert_non_null(known);
  return (rh_provider_spec){.name = (char *)(uintptr_t)type,
                            .type = known->name,
                            .quirks = known->quirks,
                            .protocol = protocol,
                            .prefill = (known->quirks & RH_QUIRK_PREFILL) != 0,
                            .stream_usage = (known->quirks & RH_QUIRK_NO_STREAM_USAGE) == 0,
                            .new_token_field = (known->quirks & RH_QUIRK_NEW_TOKEN_FIELD) != 0};
}

static inline rh_run chat_run(const rh_message *messages, size_t count) {
  rh_run run = {.task = RH_TASK_CHAT};
  rh_generate_defaults(&run.generate);
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
  return run;
}

// --- events --------------------------------------------------------------------------------------------------------

typedef struct events {
  rh_dynbuf text;
  unsigned finals;
  rh_error error;
} events;

static inline rh_verdict note_event(void *ctx, const rh_event *event) {
  events *self = ctx;
  rh_dynbuf *out = &self->text;
  assert_int_equal(self->finals, 0);
  switch (event->kind) {
    case RH_EVENT_START: (void)rh_dynbuf_append_text(out, "START|"); break;
    case RH_EVENT_DELTA:
      (void)rh_dynbuf_printf(out, "%s:%.*s", event->as.delta.reasoning ? "think" : "text", (int)event->as.delta.length,
                             event->as.delta.text);
      if (event->as.delta.signature != NULL) (void)rh_dynbuf_printf(out, "<%s>", event->as.delta.signature);
      for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
        const rh_token_logprob *token = &event->as.delta.tokens[i];
        (void)rh_dynbuf_printf(out, "{%.*s %.2f/%zu}", (int)token->length, token->bytes, (double)token->logprob,
                               token->top_count);
      }
      (void)rh_dynbuf_append_text(out, "|");
      break;
    case RH_EVENT_TOOL:
      if (event->as.tool.id != NULL)
        (void)rh_dynbuf_printf(
            out, "call%u:%s:%s|", event->as.tool.index,
            strncmp(event->as.tool.id, "call_", 5) == 0 && strlen(event->as.tool.id) > 30 ? "made" : event->as.tool.id,
            event->as.tool.name);
      else
        (void)rh_dynbuf_printf(out, "args%u:%.*s|", event->as.tool.index, (int)event->as.tool.length,
                               event->as.tool.arguments);
      break;
    case RH_EVENT_RESULT:
      (void)rh_dynbuf_printf(out, "result%u:", event->as.result.item);
      for (size_t i = 0; i < event->as.result.count; i++) {
        double value = event->as.result.kind == RH_RESULT_VECTOR ? (double)event->as.result.vector[i]
                                                                 : (double)event->as.result.scores[i].score;
        (void)rh_dynbuf_printf(out, "%s%g", i > 0 ? "," : "", value);
      }
      (void)rh_dynbuf_append_text(out, "|");
      break;
    case RH_EVENT_PROGRESS: break;
    case RH_EVENT_USAGE:
      (void)rh_dynbuf_printf(out, "usage:%lld+%lld cached %lld written %lld thought %lld|",
                             (long long)event->as.usage.prompt_tokens, (long long)event->as.usage.completion_tokens,
                             (long long)event->as.usage.cached_tokens, (long long)event->as.usage.written_tokens,
                             (long long)event->as.usage.reasoning_tokens);
      break;
    case RH_EVENT_ERROR:
      self->finals++;
      self->error = event->as.error;
      (void)rh_dynbuf_printf(out, "ERROR:%s", rh_status_name(event->as.error.status));
      break;
    case RH_EVENT_END: {
      static const char *const words[] = {"stop", "length", "tools", "filter"};
      self->finals++;
      (void)rh_dynbuf_printf(out, "END:%s%s%s", words[event->as.end.finish], event->as.end.stop != NULL ? ":" : "",
                             event->as.end.stop != NULL ? event->as.end.stop : "");
      break;
    }
  }
  return RH_GO;
}

// The answer, in pieces cut at `cut`, or of `piece` bytes each when that is not 0. The text lives in `seen`.
static inline const char *read_pieces(const rh_provider_spec *spec, const rh_run *run, bool stream, const char *answer,
                                      size_t length, size_t cut, size_t piece, events *seen) {
  const rh_protocol_ops *ops = rh_protocol_find(spec->protocol);
  rh_protocol_reader *reader = ops->reader_new(spec, run, stream);
  assert_non_null(reader);
  memset(seen, 0, sizeof *seen);
  rh_dynbuf_init(&seen->text, 1u << 24);
  const rh_sink sink = {.push = note_event, .ctx = seen};
  if (piece == 0) {
    (void)ops->read(reader, answer, cut, &sink);
    (void)ops->read(reader, answer + cut, length - cut, &sink);
  }
  for (size_t i = 0; piece > 0 && i < length; i += piece) {
    (void)ops->read(reader, answer + i, length - i < piece ? length - i : piece, &sink);
  }
  (void)ops->finish(reader, &sink);
  (void)ops->finish(reader, &sink);  // once more does nothing
  (void)ops->read(reader, "data: x\n\n", 9, &sink);
  assert_int_equal(seen->finals, 1);
  ops->reader_free(reader);
  return rh_dynbuf_data(&seen->text);
}

// The same events wherever the bytes are cut.
static inline void assert_reads(const rh_provider_spec *spec, const rh_run *run, bool stream, const char *answer,
                                const char *wanted) {
  events seen;
  size_t length = strlen(answer);
  for (size_t cut = 0; cut <= length; cut++) {
    const char *got = read_pieces(spec, run, stream, answer, length, cut, 0, &seen);
    if (cut == 0 || strcmp(got, wanted) != 0) assert_string_equal(got, wanted);
    rh_dynbuf_free(&seen.text);
  }
  assert_string_equal(read_pieces(spec, run, stream, answer, length, 0, 1, &seen), wanted);
  rh_dynbuf_free(&seen.text);
}

#endif
