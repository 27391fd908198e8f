// SPDX-License-Identifier: Apache-2.0
//
// A generation over the fake engine: every way a run can end, and what its events say on the way.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "task/generate.h"

// What a sink saw, in a form that a test can compare.
typedef struct record {
  char text[4096];
  size_t length;
  int starts, deltas, progresses, usages, errors, ends;
  int32_t tokens;       // sum over the deltas
  char logprobs[1024];  // "id:bytes " of each, "|" between deltas
  rh_usage usage;
  rh_error error;
  rh_finish finish;
  char stop[64];
  int64_t prompt_tokens;
  int wait_at_delta;  // says RH_WAIT at this delta, counting from 1; 0 = never
  float logprob;      // of the last token
  size_t top_count;
  char top0[16];
} record;

static void note_delta(record *r, const rh_event *event) {
  assert_true(rh_utf8_valid(event->as.delta.text, event->as.delta.length));
  memcpy(r->text + r->length, event->as.delta.text, event->as.delta.length);
  r->length += event->as.delta.length;
  r->text[r->length] = '\0';
  r->tokens += event->as.delta.token_count;
  for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &event->as.delta.tokens[i];
    size_t used = strlen(r->logprobs);
    snprintf(r->logprobs + used, sizeof r->logprobs - used, "%d:%.*s ", token->token, (int)token->length, token->bytes);
    r->logprob = token->logprob;
    r->top_count = token->top_count;
    if (token->top_count > 0) snprintf(r->top0, sizeof r->top0, "%.*s", (int)token->top[0].length, token->top[0].bytes);
  }
  size_t used = strlen(r->logprobs);
  snprintf(r->logprobs + used, sizeof r->logprobs - used, "|");
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  record *r = ctx;
  assert_int_equal(r->errors + r->ends, 0);  // nothing follows the final event
  switch (event->kind) {
    case RH_EVENT_START:
      r->starts++;
      r->prompt_tokens = event->as.start.prompt_tokens;
      break;
    case RH_EVENT_DELTA:
      r->deltas++;
      note_delta(r, event);
      if (r->deltas == r->wait_at_delta) return RH_WAIT;
      break;
    case RH_EVENT_TOOL:
    case RH_EVENT_RESULT: break;
    case RH_EVENT_PROGRESS: r->progresses++; break;
    case RH_EVENT_USAGE:
      r->usages++;
      r->usage = event->as.usage;
      break;
    case RH_EVENT_ERROR:
      r->errors++;
      r->error = event->as.error;
      break;
    case RH_EVENT_END:
      r->ends++;
      r->finish = event->as.end.finish;
      if (event->as.end.stop != NULL) snprintf(r->stop, sizeof r->stop, "%s", event->as.end.stop);
      break;
  }
  return RH_GO;
}

typedef struct fixture {
  const rh_engine_ops *ops;
  rh_engine *engine;
  record record;
  rh_generation *generation;
} fixture;

static void open_engine(fixture *f, const char *path) {
  *f = (fixture){.ops = rh_engine_find("fake")};
  assert_non_null(f->ops);
  rh_load load = {.engine = "fake", .path = path};
  rh_error error = {0};
  assert_int_equal(f->ops->load(&load, NULL, NULL, &f->engine, &error), RH_OK);
}

static void close_engine(fixture *f) {
  rh_generation_free(f->generation);
  f->ops->unload(f->engine);
}

static rh_run text_run(const char *text) {
  rh_run run = {.task = RH_TASK_COMPLETE};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = text, .count = strlen(text)};
  rh_generate_defaults(&run.generate);
  return run;
}

static rh_status start(fixture *f, const rh_run *run, rh_error *error) {
  rh_sink sink = {.push = on_event, .ctx = &f->record};
  return rh_generation_start(f->ops, f->engine, run, &sink, &f->generation, error);
}

static void step(fixture *f) {
  bool worked = false;
  rh_error error = {0};
  assert_int_equal(f->ops->step(f->engine, &worked, &error), RH_OK);
  if (!worked) usleep(500);
}

static void finish(fixture *f) {
  for (int i = 0; i < 20000 && !rh_generation_finished(f->generation); i++) step(f);
  assert_true(rh_generation_finished(f->generation));
}

// Runs `run` to its end on a fresh engine.
static record run_all(const char *path, const rh_run *run) {
  fixture f;
  open_engine(&f, path);
  rh_error error = {0};
  assert_int_equal(start(&f, run, &error), RH_OK);
  finish(&f);
  record result = f.record;
  close_engine(&f);
  return result;
}

static void test_end_of_the_model(void **state) {
  (void)state;
  rh_run run = text_run("one two three");
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "This is the fake engine speaking; it repeats");
  assert_int_equal(r.starts, 1);
  assert_int_equal(r.deltas, 8);
  assert_int_equal(r.usages, 1);
  assert_int_equal(r.ends, 1);
  assert_int_equal(r.finish, RH_FINISH_STOP);
  assert_string_equal(r.stop, "");
  assert_int_equal(r.prompt_tokens, 3);
  assert_int_equal(r.usage.prompt_tokens, 3);
  assert_int_equal(r.usage.completion_tokens, 8);  // the end token does not count
  assert_int_equal(r.tokens, 8);
  assert_int_equal(r.usage.cached_tokens, 0);
  assert_string_equal(r.logprobs, "||||||||");  // none were asked for
}

static void test_no_token_at_all(void **state) {
  (void)state;
  rh_run run = text_run("[[tokens=0]]");
  record r = run_all("fake:", &run);
  assert_int_equal(r.deltas, 0);
  assert_int_equal(r.usage.completion_tokens, 0);
  assert_int_equal(r.finish, RH_FINISH_STOP);
}

static void test_max_tokens(void **state) {
  (void)state;
  rh_run run = text_run("[[end=0]]");
  run.generate.max_tokens = 11;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "This is the fake engine speaking; it repeats itself. This is");
  assert_int_equal(r.finish, RH_FINISH_LENGTH);
  assert_int_equal(r.usage.completion_tokens, 11);
}

static void test_max_tokens_releases_held_text(void **state) {
  (void)state;
  const char *const stops[] = {" b c d"};
  rh_run run = text_run("[[text=a b c e]]");
  run.generate.stops = stops;
  run.generate.stop_count = 1;
  run.generate.max_tokens = 3;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "a b c");
  assert_int_equal(r.deltas, 2);
  assert_int_equal(r.tokens, 3);
  assert_int_equal(r.finish, RH_FINISH_LENGTH);
}

static void test_stop_string_over_tokens(void **state) {
  (void)state;
  const char *const stops[] = {"nope", "engine speak"};
  rh_run run = text_run("hello");
  run.generate.stops = stops;
  run.generate.stop_count = 2;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "This is the fake ");
  assert_int_equal(r.finish, RH_FINISH_STOP);
  assert_string_equal(r.stop, "engine speak");
  assert_int_equal(r.usage.completion_tokens, 6);
}

static void test_stop_wins_over_max_tokens_on_one_token(void **state) {
  (void)state;
  const char *const stops[] = {" is"};
  rh_run run = text_run("hello");
  run.generate.stops = stops;
  run.generate.stop_count = 1;
  run.generate.max_tokens = 2;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "This");
  assert_int_equal(r.finish, RH_FINISH_STOP);
  assert_string_equal(r.stop, " is");
}

static void test_context_full(void **state) {
  (void)state;
  rh_run run = text_run("[[end=0]] b c d");
  record r = run_all("fake:context=10", &run);
  assert_int_equal(r.finish, RH_FINISH_LENGTH);
  assert_int_equal(r.usage.prompt_tokens, 4);
  assert_int_equal(r.usage.completion_tokens, 6);
  assert_int_equal(r.errors, 0);
}

static void test_context_overflow_pushes_nothing(void **state) {
  (void)state;
  fixture f;
  open_engine(&f, "fake:context=4");
  rh_run run = text_run("a b c d");
  rh_error error = {0};
  assert_int_equal(start(&f, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "4"));
  assert_int_equal(f.record.starts + f.record.errors, 0);
  close_engine(&f);
}

static void test_failure_in_the_middle(void **state) {
  (void)state;
  rh_run run = text_run("[[fail_at=3]]");
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "This is the");
  assert_int_equal(r.errors, 1);
  assert_int_equal(r.ends + r.usages, 0);
  assert_int_equal(r.error.status, RH_INTERNAL);
  assert_string_equal(r.error.message, "the fake engine was told to fail");
}

static void test_bytewise_text_comes_in_whole_characters(void **state) {
  (void)state;
  rh_run run = text_run("[[bytewise=1 text=a\xF0\x9F\x98\x80\xC3\xA9]]");
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "a\xF0\x9F\x98\x80\xC3\xA9");
  assert_int_equal(r.deltas, 3);
  assert_int_equal(r.tokens, 7);
  assert_int_equal(r.usage.completion_tokens, 7);
}

static void test_character_cut_by_max_tokens(void **state) {
  (void)state;
  rh_run run = text_run("[[bytewise=1 text=a\xF0\x9F\x98\x80]]");
  run.generate.max_tokens = 3;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "a\xEF\xBF\xBD");
  assert_int_equal(r.finish, RH_FINISH_LENGTH);
}

static void test_logprobs_travel_with_their_text(void **state) {
  (void)state;
  const char *const stops[] = {" b c d"};
  rh_run run = text_run("[[text=a b c e f]]");
  run.generate.stops = stops;
  run.generate.stop_count = 1;
  run.generate.top_logprobs = 2;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "a b c e f");
  // " b" and " c" are held back until " e" shows that they are no stop string; " " of "e" begins to appear with them.
  assert_string_equal(r.logprobs, "0:a |1: b 2: c 3: e |4: f |");
  assert_true(r.logprob > -0.51f && r.logprob < -0.49f);
  assert_int_equal(r.top_count, 2);
  assert_string_equal(r.top0, "alt0");
}

static void test_logprobs_of_tokens_behind_a_stop_are_not_shown(void **state) {
  (void)state;
  const char *const stops[] = {" b c"};
  rh_run run = text_run("[[text=a b c d]]");
  run.generate.stops = stops;
  run.generate.stop_count = 1;
  run.generate.top_logprobs = 0;
  record r = run_all("fake:", &run);
  assert_string_equal(r.text, "a");
  assert_string_equal(r.logprobs, "0:a |");
  assert_int_equal(r.usage.completion_tokens, 3);
}

static void test_logprobs_of_a_split_character(void **state) {
  (void)state;
  rh_run run = text_run("[[bytewise=1 text=\xC3\xA9z]]");
  run.generate.top_logprobs = 0;
  record r = run_all("fake:", &run);
  assert_string_equal(r.logprobs, "0:\xC3 1:\xA9 |2:z |");
}

static void test_sink_that_says_wait_pauses(void **state) {
  (void)state;
  fixture f;
  open_engine(&f, "fake:");
  f.record.wait_at_delta = 3;
  rh_run run = text_run("hello");
  rh_error error = {0};
  assert_int_equal(start(&f, &run, &error), RH_OK);
  for (int i = 0; i < 20; i++) step(&f);
  assert_int_equal(f.record.deltas, 3);
  usleep(30000);
  rh_generation_pause(f.generation, false);
  finish(&f);
  assert_int_equal(f.record.deltas, 8);
  assert_int_equal(f.record.ends, 1);
  // The pause is nobody's decoding time.
  assert_true(f.record.usage.decode_ms < 25);
  close_engine(&f);
}

static void test_freed_in_the_middle_gives_the_slot_back(void **state) {
  (void)state;
  fixture f;
  open_engine(&f, "fake:slots=1");
  rh_run run = text_run("[[end=0]]");
  rh_error error = {0};
  assert_int_equal(start(&f, &run, &error), RH_OK);
  step(&f);
  rh_generation *first = f.generation;
  assert_int_equal(start(&f, &run, &error), RH_AGAIN);
  rh_generation_free(first);
  f.generation = NULL;
  assert_int_equal(f.record.errors + f.record.ends, 0);
  assert_int_equal(start(&f, &run, &error), RH_OK);
  close_engine(&f);
}

static void test_times_of_a_slow_engine(void **state) {
  (void)state;
  rh_run run = text_run("[[tokens=4 first_delay_ms=30 delay_ms=10]]");
  record r = run_all("fake:", &run);
  assert_true(r.usage.prompt_ms >= 29);
  assert_true(r.usage.decode_ms >= 29);
}

static void test_long_prompt_reports_progress(void **state) {
  (void)state;
  char prompt[4096] = "";
  for (int i = 0; i < 1200; i++) strcat(prompt, "a ");
  rh_run run = text_run(prompt);
  record r = run_all("fake:", &run);
  assert_int_equal(r.prompt_tokens, 1200);
  assert_int_equal(r.progresses, 2);  // 512, 1024; the last part needs none
}

// An engine that gives one token and finds its context full in the same step.
struct rh_engine {
  rh_sequence_listener listener;
  bool started;
};
struct rh_sequence {
  int unused;
};

static rh_status abrupt_start(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener,
                              rh_sequence **out, int64_t *prompt, int64_t *cached, rh_error *error) {
  static rh_sequence only;
  (void)run, (void)error;
  engine->listener = *listener;
  engine->started = true;
  *out = &only;
  *prompt = 1;
  *cached = 0;
  return RH_OK;
}
static void abrupt_stop(rh_engine *engine, rh_sequence *sequence) {
  (void)sequence;
  engine->started = false;
}
static void abrupt_pause(rh_engine *engine, rh_sequence *sequence, bool paused) {
  (void)engine, (void)sequence, (void)paused;
}
static rh_status abrupt_step(rh_engine *engine, bool *worked, rh_error *error) {
  (void)error;
  *worked = engine->started;
  if (!engine->started) return RH_OK;
  rh_token token = {.bytes = "ab", .length = 2};
  (void)engine->listener.token(engine->listener.ctx, &token);
  engine->started = false;
  engine->listener.context_full(engine->listener.ctx);
  return RH_OK;
}

static void test_context_full_while_paused_waits_with_its_delta(void **state) {
  (void)state;
  static const rh_engine_ops abrupt = {
      .name = "abrupt", .start = abrupt_start, .stop = abrupt_stop, .pause = abrupt_pause, .step = abrupt_step};
  rh_engine engine = {0};
  fixture f = {.ops = &abrupt, .engine = &engine};
  f.record.wait_at_delta = 1;
  const char *const stops[] = {"bc"};
  rh_run run = text_run("x");
  run.generate.stops = stops;
  run.generate.stop_count = 1;
  rh_error error = {0};
  assert_int_equal(start(&f, &run, &error), RH_OK);
  step(&f);
  assert_int_equal(f.record.deltas, 1);
  assert_false(rh_generation_finished(f.generation));
  rh_generation_pause(f.generation, false);
  assert_true(rh_generation_finished(f.generation));
  assert_string_equal(f.record.text, "ab");
  assert_int_equal(f.record.deltas, 2);
  assert_int_equal(f.record.finish, RH_FINISH_LENGTH);
  rh_generation_free(f.generation);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_end_of_the_model),
      cmocka_unit_test(test_no_token_at_all),
      cmocka_unit_test(test_max_tokens),
      cmocka_unit_test(test_max_tokens_releases_held_text),
      cmocka_unit_test(test_stop_string_over_tokens),
      cmocka_unit_test(test_stop_wins_over_max_tokens_on_one_token),
      cmocka_unit_test(test_context_full),
      cmocka_unit_test(test_context_overflow_pushes_nothing),
      cmocka_unit_test(test_failure_in_the_middle),
      cmocka_unit_test(test_bytewise_text_comes_in_whole_characters),
      cmocka_unit_test(test_character_cut_by_max_tokens),
      cmocka_unit_test(test_logprobs_travel_with_their_text),
      cmocka_unit_test(test_logprobs_of_tokens_behind_a_stop_are_not_shown),
      cmocka_unit_test(test_logprobs_of_a_split_character),
      cmocka_unit_test(test_sink_that_says_wait_pauses),
      cmocka_unit_test(test_freed_in_the_middle_gives_the_slot_back),
      cmocka_unit_test(test_times_of_a_slow_engine),
      cmocka_unit_test(test_long_prompt_reports_progress),
      cmocka_unit_test(test_context_full_while_paused_waits_with_its_delta),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
