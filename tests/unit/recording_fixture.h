// SPDX-License-Identifier: Apache-2.0
//
// For tests of recordings: a sink that writes events down as text, and a recording that holds an event of every kind.
#ifndef RH_TEST_RECORDING_FIXTURE_H
#define RH_TEST_RECORDING_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "admit/recording.h"

// --- a sink that writes down what it is given, as text -----------------------------------------------------------------------

typedef struct reader_book {
  rh_dynbuf text;
  size_t events;
  bool always_wait;
  rh_recording *grows;  // gets another delta at each push, so that its buffer moves below the event
  size_t more;
} reader_book;

static inline void note_result(rh_dynbuf *out, const rh_result *result) {
  rh_dynbuf_printf(out, " item=%u tokens=%lld windows=%u%s", result->item, (long long)result->tokens, result->windows,
                   result->truncated ? " truncated" : "");
  if (result->kind == RH_RESULT_FAILED) {
    rh_dynbuf_printf(out, " failed=%s,%s,%s,%u", rh_status_name(result->error.status), result->error.param,
                     result->error.message, result->error.retry_after_ms);
    return;
  }
  for (size_t i = 0; i < result->count; i++) {
    if (result->kind == RH_RESULT_VECTOR) {
      assert_int_equal((uintptr_t)result->vector % _Alignof(float), 0);
      rh_dynbuf_printf(out, " %a", (double)result->vector[i]);
    } else if (result->kind == RH_RESULT_SCORES) {
      const rh_score *score = &result->scores[i];
      rh_dynbuf_printf(out, " %s=%a", score->label == NULL ? "-" : score->label, (double)score->score);
    } else if (result->kind == RH_RESULT_SPANS) {
      const rh_span *span = &result->spans[i];
      rh_dynbuf_printf(out, " %s,%a,%s,%u,%u,%d", span->label, (double)span->score,
                       span->text == NULL ? "-" : span->text, span->start, span->end, span->index);
    } else {
      const rh_tensor *tensor = &result->tensors[i];
      assert_int_equal((uintptr_t)tensor->data % 16, 0);
      rh_dynbuf_printf(out, " %s:%s:", tensor->name, rh_dtype_name(tensor->type));
      for (size_t k = 0; k < tensor->rank; k++) rh_dynbuf_printf(out, "[%lld]", (long long)tensor->shape[k]);
      for (size_t k = 0; k < tensor->bytes; k++)
        rh_dynbuf_printf(out, "%02x", ((const unsigned char *)tensor->data)[k]);
    }
  }
}

static inline void note_delta(rh_dynbuf *out, const rh_event *event) {
  assert_int_equal(event->as.delta.text[event->as.delta.length], '\0');
  rh_dynbuf_printf(out, " \"%s\" length=%zu tokens=%d%s sign=%s", event->as.delta.text, event->as.delta.length,
                   event->as.delta.token_count, event->as.delta.reasoning ? " thought" : "",
                   event->as.delta.signature == NULL ? "-" : event->as.delta.signature);
  for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &event->as.delta.tokens[i];
    rh_dynbuf_printf(out, " %d:%a:", token->token, (double)token->logprob);
    rh_dynbuf_append(out, token->bytes, token->length);
    for (size_t k = 0; k < token->top_count; k++) {
      rh_dynbuf_printf(out, "/%d:%a:", token->top[k].token, (double)token->top[k].logprob);
      rh_dynbuf_append(out, token->top[k].bytes, token->top[k].length);
    }
  }
}

static inline void note_event(rh_dynbuf *out, const rh_event *event) {
  rh_dynbuf_printf(out, "%d.%u", (int)event->kind, event->choice);
  switch (event->kind) {
    case RH_EVENT_START:
      rh_dynbuf_printf(out, " %lld %lld", (long long)event->as.start.prompt_tokens,
                       (long long)event->as.start.cached_tokens);
      break;
    case RH_EVENT_DELTA: note_delta(out, event); break;
    case RH_EVENT_TOOL:
      rh_dynbuf_printf(out, " %u id=%s name=%s \"%s\" length=%zu tokens=%d", event->as.tool.index,
                       event->as.tool.id == NULL ? "-" : event->as.tool.id,
                       event->as.tool.name == NULL ? "-" : event->as.tool.name, event->as.tool.arguments,
                       event->as.tool.length, event->as.tool.token_count);
      break;
    case RH_EVENT_RESULT: note_result(out, &event->as.result); break;
    case RH_EVENT_USAGE: {
      const rh_usage *usage = &event->as.usage;
      rh_dynbuf_printf(out, " %lld %lld %lld %lld %lld %a %a %a %lld %a", (long long)usage->prompt_tokens,
                       (long long)usage->completion_tokens, (long long)usage->cached_tokens,
                       (long long)usage->written_tokens, (long long)usage->reasoning_tokens, usage->queue_ms,
                       usage->prompt_ms, usage->decode_ms, (long long)usage->work.batch_items, usage->work.padding);
      break;
    }
    case RH_EVENT_ERROR:
      rh_dynbuf_printf(out, " %s,%s,%s,%u", rh_status_name(event->as.error.status), event->as.error.param,
                       event->as.error.message, event->as.error.retry_after_ms);
      break;
    case RH_EVENT_END:
      rh_dynbuf_printf(out, " %d %s", (int)event->as.end.finish, event->as.end.stop == NULL ? "-" : event->as.end.stop);
      break;
    case RH_EVENT_PROGRESS: break;
  }
  rh_dynbuf_append_char(out, '\n');
}

static inline rh_event delta(uint32_t choice, const char *text) {
  rh_event event = {.kind = RH_EVENT_DELTA, .choice = choice};
  event.as.delta.text = text;
  event.as.delta.length = strlen(text);
  event.as.delta.token_count = 1;
  return event;
}

static inline rh_verdict take(void *ctx, const rh_event *event) {
  reader_book *book = ctx;
  book->events++;
  if (book->more > 0) {
    book->more--;
    rh_event another = delta(event->choice, "a longer text that fills the buffer quickly and makes it move");
    for (int i = 0; i < 40; i++) assert_int_equal(rh_recording_append(book->grows, &another), RH_OK);
  }
  note_event(&book->text, event);
  return book->always_wait ? RH_WAIT : RH_GO;
}

static inline void open_book(reader_book *book) {
  memset(book, 0, sizeof *book);
  rh_dynbuf_init(&book->text, 16 << 20);
}

// All events as text, to be freed by the caller.
static inline char *read_all(rh_recording *recording) {
  reader_book book;
  bool waiting = true;
  rh_replay replay = {0};
  open_book(&book);
  const rh_sink sink = {.push = take, .ctx = &book};
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_false(waiting);
  assert_true(rh_recording_at_end(recording, &replay));
  return rh_dynbuf_take(&book.text, NULL);
}

static inline void assert_reads(rh_recording *recording, const char *expected) {
  char *text = read_all(recording);
  assert_string_equal(text, expected);
  free(text);
}

// --- events of every kind ----------------------------------------------------------------------------------------------------

static inline void append(rh_recording *recording, rh_event event) {
  assert_int_equal(rh_recording_append(recording, &event), RH_OK);
}

static inline void start(rh_recording *recording, uint32_t choice) {
  rh_event event = {.kind = RH_EVENT_START, .choice = choice};
  event.as.start.prompt_tokens = 12;
  event.as.start.cached_tokens = 3;
  append(recording, event);
}

static inline void end(rh_recording *recording, uint32_t choice) {
  append(recording, (rh_event){.kind = RH_EVENT_END, .choice = choice, .as.end = {.finish = RH_FINISH_LENGTH}});
}

static inline void break_off(rh_recording *recording, uint32_t choice) {
  rh_event event = {.kind = RH_EVENT_ERROR, .choice = choice};
  (void)rh_fail_param(&event.as.error, RH_LIMITED, "model", "too many; wait");
  event.as.error.retry_after_ms = 1500;
  append(recording, event);
}

static inline void add_texts(rh_recording *recording) {
  const rh_top_logprob top[] = {{.token = 7, .logprob = -0.25f, .bytes = "a", .length = 1},
                                {.token = -1, .logprob = -9.0f, .bytes = "\xc3", .length = 1}};
  const rh_token_logprob tokens[] = {
      {.token = 7, .logprob = -0.25f, .bytes = "a", .length = 1, .top = top, .top_count = 2},
      {.token = 2000000000, .logprob = -1.5f, .bytes = NULL, .length = 0}};
  rh_event event = delta(1, "a\xc3\xa9");
  event.as.delta.tokens = tokens;
  event.as.delta.logprob_count = 2;
  append(recording, event);
  event = delta(1, "hm");
  event.as.delta.reasoning = true;
  event.as.delta.signature = "proof";
  event.as.delta.token_count = 300;
  append(recording, event);
  event = (rh_event){.kind = RH_EVENT_TOOL, .choice = 1};
  event.as.tool.index = 2;
  event.as.tool.id = "call_1";
  event.as.tool.name = "weather";
  event.as.tool.arguments = "{\"a\"";
  event.as.tool.length = 4;
  append(recording, event);
  event.as.tool.id = event.as.tool.name = NULL;
  event.as.tool.arguments = ":1}";
  event.as.tool.length = 3;
  event.as.tool.token_count = 2;
  append(recording, event);
}

static inline void add_results(rh_recording *recording) {
  const float vector[] = {1.5f, -2.25f, 0.0f};
  const rh_score scores[] = {{.label = "good", .score = 0.75f}, {.label = NULL, .score = -3.5f}};
  const rh_span spans[] = {{.label = "PER", .score = 0.5f, .text = "Ada", .start = 1, .end = 4, .index = -1},
                           {.label = "B-LOC", .score = 1.0f, .text = NULL, .start = 9, .end = 90000, .index = 7}};
  const unsigned char bytes[] = {3, 0, 0, 0, 255, 255, 255, 255};
  const rh_tensor tensors[] = {
      {.name = "out", .type = RH_DTYPE_I32, .shape = {1, 2}, .rank = 2, .data = bytes, .bytes = 8},
      {.name = "empty", .type = RH_DTYPE_F32, .shape = {0}, .rank = 1},
      {.name = "one", .type = RH_DTYPE_U8, .rank = 0, .data = bytes, .bytes = 1}};
  rh_event event = {.kind = RH_EVENT_RESULT};
  event.as.result = (rh_result){.kind = RH_RESULT_VECTOR, .tokens = 5, .vector = vector, .count = 3, .truncated = true};
  append(recording, event);
  event.as.result = (rh_result){.kind = RH_RESULT_SCORES, .item = 1, .scores = scores, .count = 2, .windows = 3};
  append(recording, event);
  event.as.result = (rh_result){.kind = RH_RESULT_SPANS, .item = 2, .spans = spans, .count = 2};
  append(recording, event);
  event.as.result = (rh_result){.kind = RH_RESULT_TENSORS, .item = 3, .tensors = tensors, .count = 3};
  append(recording, event);
  event.as.result = (rh_result){.kind = RH_RESULT_FAILED, .item = 4};
  (void)rh_fail(&event.as.result.error, RH_TOO_LARGE, "too long");
  append(recording, event);
}

static const char everything[] =
    "0.1 12 3\n"
    "1.1 \"a\xc3\xa9\" length=3 tokens=1 sign=- 7:-0x1p-2:a/7:-0x1p-2:a/-1:-0x1.2p+3:\xc3 2000000000:-0x1.8p+0:\n"
    "1.1 \"hm\" length=2 tokens=300 thought sign=proof\n"
    "2.1 2 id=call_1 name=weather \"{\"a\"\" length=4 tokens=0\n"
    "2.1 2 id=- name=- \":1}\" length=3 tokens=2\n"
    "5.1 10 20 3 4 5 0x0p+0 0x1.4p+0 0x1p+1 8 0x1p-3\n"
    "7.1 2 \n\n\n"
    "0.0 12 3\n"
    "3.0 item=0 tokens=5 windows=0 truncated 0x1.8p+0 -0x1.2p+1 0x0p+0\n"
    "3.0 item=1 tokens=0 windows=3 good=0x1.8p-1 -=-0x1.cp+1\n"
    "3.0 item=2 tokens=0 windows=0 PER,0x1p-1,Ada,1,4,-1 B-LOC,0x1p+0,-,9,90000,7\n"
    "3.0 item=3 tokens=0 windows=0 out:int32:[1][2]03000000ffffffff empty:float32:[0] one:uint8:03\n"
    "3.0 item=4 tokens=0 windows=0 failed=too_large,,too long,0\n"
    "7.0 1 -\n";

static inline rh_recording *record_everything(void) {
  rh_recording *recording = rh_recording_new(1 << 20);
  assert_non_null(recording);
  start(recording, 1);
  add_texts(recording);
  rh_event usage = {.kind = RH_EVENT_USAGE, .choice = 1};
  usage.as.usage = (rh_usage){.prompt_tokens = 10,
                              .completion_tokens = 20,
                              .cached_tokens = 3,
                              .written_tokens = 4,
                              .reasoning_tokens = 5,
                              .queue_ms = 99,
                              .prompt_ms = 1.25,
                              .decode_ms = 2,
                              .work = {.batch_items = 8, .padding = 0.125}};
  append(recording, usage);
  append(recording, (rh_event){.kind = RH_EVENT_PROGRESS, .choice = 1, .as.progress = {.fraction = 0.5}});
  append(recording,
         (rh_event){.kind = RH_EVENT_END, .choice = 1, .as.end = {.finish = RH_FINISH_TOOLS, .stop = "\n\n"}});
  start(recording, 0);
  add_results(recording);
  end(recording, 0);
  return recording;
}

#endif
