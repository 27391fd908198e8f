// SPDX-License-Identifier: Apache-2.0
//
// What stands inside frames: every message survives the way there and back, and broken ones are protocol errors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/message.h"

typedef struct rh_fixture {
  rh_arena *arena;
  rh_dynbuf out;
} rh_fixture;

static int set_up(void **state) {
  static rh_fixture fixture;
  fixture.arena = rh_arena_new(1 << 20);
  rh_dynbuf_init(&fixture.out, 1 << 20);
  *state = &fixture;
  return fixture.arena == NULL;
}

static int tear_down(void **state) {
  rh_fixture *fixture = *state;
  rh_arena_free(fixture->arena);
  rh_dynbuf_free(&fixture->out);
  return 0;
}

static rh_frame only_frame(rh_fixture *fixture) {
  rh_frame frame = {0};
  size_t consumed = 0;
  assert_int_equal(rh_frame_decode(rh_dynbuf_data(&fixture->out), fixture->out.length, &frame, &consumed, NULL), RH_OK);
  assert_int_equal(consumed, fixture->out.length);
  return frame;
}

static void test_hello(void **state) {
  rh_fixture *f = *state;
  rh_hello hello = {.version = 7, .name = "worker 1", .engines = "fake llama", .pid = 42}, back;
  assert_int_equal(rh_hello_write(&f->out, &hello), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_hello_read(&frame, &back, NULL), RH_OK);
  assert_int_equal(back.version, 7);
  assert_int_equal(back.pid, 42);
  assert_string_equal(back.name, "worker 1");
  assert_string_equal(back.engines, "fake llama");
}

static void test_load_and_loaded(void **state) {
  rh_fixture *f = *state;
  rh_load load = {
      .engine = "llama",
      .path = "/models/ü.gguf",
      .options = {
          .context = 1, .slots = 2, .threads = 3, .batch = 4, .prefill_chunk = 5, .gpu_layers = -1, .mlock = true}};
  rh_load load_back;
  assert_int_equal(rh_load_write(&f->out, &load), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_load_read(&frame, f->arena, &load_back, NULL), RH_OK);
  assert_string_equal(load_back.path, load.path);
  assert_int_equal(load_back.options.context, 1);
  assert_int_equal(load_back.options.slots, 2);
  assert_int_equal(load_back.options.threads, 3);
  assert_int_equal(load_back.options.batch, 4);
  assert_int_equal(load_back.options.prefill_chunk, 5);
  assert_int_equal(load_back.options.gpu_layers, -1);
  assert_true(load_back.options.mlock);

  rh_dynbuf_clear(&f->out);
  rh_model_info info = {.engine = "llama",
                        .quantization = "Q4_1",
                        .context = 4096,
                        .slots = 4,
                        .vocabulary = 49152,
                        .parameters = 135000000,
                        .bytes = 98000000,
                        .context_trained = 8192,
                        .vram_bytes = 7,
                        .has_chat_template = true,
                        .load_ms = 12.5};
  rh_model_info info_back;
  assert_int_equal(rh_loaded_write(&f->out, &info), RH_OK);
  frame = only_frame(f);
  assert_int_equal(rh_loaded_read(&frame, &info_back, NULL), RH_OK);
  assert_string_equal(info_back.quantization, "Q4_1");
  assert_int_equal(info_back.bytes, info.bytes);
  assert_true(info_back.has_chat_template);
  assert_float_equal(info_back.load_ms, 12.5, 1e-9);
  assert_int_equal(info_back.vram_bytes, 7);
}

// A worker of before, or one that makes numbers up: no GPU memory.
static void test_vram_is_optional_and_never_negative(void **state) {
  (void)state;
  static const struct {
    const char *json;
    int64_t vram;
  } cases[] = {{"{\"slots\":1}", 0}, {"{\"slots\":1,\"vram_bytes\":-5}", 0}, {"{\"slots\":1,\"vram_bytes\":5}", 5}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rh_frame frame = {.type = RH_FRAME_LOADED, .json = cases[i].json, .json_length = (uint32_t)strlen(cases[i].json)};
    rh_model_info info = {.vram_bytes = 99};
    assert_int_equal(rh_loaded_read(&frame, &info, NULL), RH_OK);
    assert_int_equal(info.vram_bytes, cases[i].vram);
    frame.type = RH_FRAME_STATS;
    rh_worker_stats stats = {.vram_bytes = 99};
    assert_int_equal(rh_stats_read(&frame, &stats, NULL), RH_OK);
    assert_int_equal(stats.vram_bytes, cases[i].vram);
  }
}

static void test_run_with_messages(void **state) {
  rh_fixture *f = *state;
  const rh_message messages[] = {{"system", "Be \"brief\".\n"}, {"user", "Grüße 🚂"}};
  const char *const stops[] = {"\n\n", "END"};
  const rh_logit_bias bias[] = {{7, -100}, {9, 1.5f}};
  rh_run run = {.task = RH_TASK_CHAT,
                .request_id = "req-1",
                .prompt = {.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 2}};
  rh_generate_defaults(&run.generate);
  run.generate.max_tokens = 12;
  run.generate.temperature = 0.25f;
  run.generate.has_seed = true;
  run.generate.seed = 4294967295u;
  run.generate.stops = stops;
  run.generate.stop_count = 2;
  run.generate.logit_bias = bias;
  run.generate.logit_bias_count = 2;
  run.generate.top_logprobs = 3;
  run.generate.ignore_eos = true;
  assert_int_equal(rh_run_write(&f->out, 5, &run, 64), RH_OK);
  rh_frame frame = only_frame(f);
  rh_run back;
  uint32_t credit = 0;
  assert_int_equal(frame.stream, 5);
  assert_int_equal(rh_run_read(&frame, f->arena, &back, &credit, NULL), RH_OK);
  assert_int_equal(credit, 64);
  assert_int_equal(back.task, RH_TASK_CHAT);
  assert_string_equal(back.request_id, "req-1");
  assert_int_equal(back.prompt.kind, RH_PROMPT_MESSAGES);
  assert_int_equal(back.prompt.count, 2);
  assert_string_equal(back.prompt.messages[1].content, "Grüße 🚂");
  assert_int_equal(back.generate.max_tokens, 12);
  assert_float_equal(back.generate.temperature, 0.25, 1e-6);
  assert_true(back.generate.has_seed);
  assert_int_equal(back.generate.seed, 4294967295u);
  assert_int_equal(back.generate.stop_count, 2);
  assert_string_equal(back.generate.stops[1], "END");
  assert_int_equal(back.generate.logit_bias_count, 2);
  assert_int_equal(back.generate.logit_bias[0].token, 7);
  assert_float_equal(back.generate.logit_bias[1].bias, 1.5, 1e-6);
  assert_int_equal(back.generate.top_logprobs, 3);
  assert_true(back.generate.ignore_eos);
}

static void test_run_with_tokens_and_text(void **state) {
  rh_fixture *f = *state;
  const int32_t tokens[] = {1, 2, 49151, -5};
  rh_run run = {
      .task = RH_TASK_COMPLETE, .request_id = "r", .prompt = {.kind = RH_PROMPT_TOKENS, .tokens = tokens, .count = 4}};
  rh_generate_defaults(&run.generate);
  rh_run back;
  uint32_t credit = 0;
  assert_int_equal(rh_run_write(&f->out, 1, &run, 1), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_run_read(&frame, f->arena, &back, &credit, NULL), RH_OK);
  assert_int_equal(back.prompt.kind, RH_PROMPT_TOKENS);
  assert_int_equal(back.prompt.count, 4);
  assert_memory_equal(back.prompt.tokens, tokens, sizeof tokens);
  assert_false(back.generate.has_seed);

  rh_dynbuf_clear(&f->out);
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = "", .count = 0};
  assert_int_equal(rh_run_write(&f->out, 1, &run, 1), RH_OK);
  frame = only_frame(f);
  assert_int_equal(rh_run_read(&frame, f->arena, &back, &credit, NULL), RH_OK);
  assert_int_equal(back.prompt.kind, RH_PROMPT_TEXT);
  assert_int_equal(back.prompt.count, 0);
}

static rh_event event_there_and_back(rh_fixture *f, const rh_event *event) {
  rh_dynbuf_clear(&f->out);
  assert_int_equal(rh_event_write(&f->out, 3, event), RH_OK);
  rh_frame frame = only_frame(f);
  rh_event back;
  assert_int_equal(rh_event_read(&frame, f->arena, &back, NULL), RH_OK);
  assert_int_equal(back.kind, event->kind);
  return back;
}

static void test_delta_with_logprobs(void **state) {
  rh_fixture *f = *state;
  // A token's bytes may be half a character.
  const rh_top_logprob top[] = {{8, -1.25f, "\xf0\x9f", 2}};
  const rh_token_logprob tokens[] = {{7, -0.5f, "\xf0\x9f\x9a\x82", 4, top, 1}, {8, -0.25f, "", 0, NULL, 0}};
  rh_event event = {.kind = RH_EVENT_DELTA,
                    .as.delta = {.text = "🚂\"\n", .length = 6, .token_count = 2, .tokens = tokens, .logprob_count = 2}};
  rh_event back = event_there_and_back(f, &event);
  assert_int_equal(back.as.delta.length, 6);
  assert_string_equal(back.as.delta.text, "🚂\"\n");
  assert_int_equal(back.as.delta.token_count, 2);
  assert_int_equal(back.as.delta.logprob_count, 2);
  assert_memory_equal(back.as.delta.tokens[0].bytes, "\xf0\x9f\x9a\x82", 4);
  assert_float_equal(back.as.delta.tokens[0].logprob, -0.5, 1e-6);
  assert_int_equal(back.as.delta.tokens[0].top_count, 1);
  assert_int_equal(back.as.delta.tokens[0].top[0].length, 2);
  assert_int_equal(back.as.delta.tokens[1].length, 0);
}

static void test_other_events(void **state) {
  rh_fixture *f = *state;
  rh_event back = event_there_and_back(
      f, &(rh_event){.kind = RH_EVENT_START, .as.start = {.prompt_tokens = 10, .cached_tokens = 4}});
  assert_int_equal(back.as.start.prompt_tokens, 10);
  assert_int_equal(back.as.start.cached_tokens, 4);
  back =
      event_there_and_back(f, &(rh_event){.kind = RH_EVENT_END, .as.end = {.finish = RH_FINISH_LENGTH, .stop = NULL}});
  assert_int_equal(back.as.end.finish, RH_FINISH_LENGTH);
  assert_null(back.as.end.stop);
  back = event_there_and_back(f, &(rh_event){.kind = RH_EVENT_END, .as.end = {.stop = "STOP"}});
  assert_string_equal(back.as.end.stop, "STOP");
  rh_event error = {.kind = RH_EVENT_ERROR};
  (void)rh_fail_param(&error.as.error, RH_CONTEXT_OVERFLOW, "messages", "5000 of 4096");
  back = event_there_and_back(f, &error);
  assert_int_equal(back.as.error.status, RH_CONTEXT_OVERFLOW);
  assert_string_equal(back.as.error.param, "messages");
  assert_string_equal(back.as.error.message, "5000 of 4096");
  back = event_there_and_back(
      f, &(rh_event){
             .kind = RH_EVENT_USAGE,
             .as.usage = {
                 .prompt_tokens = 1, .completion_tokens = 2, .cached_tokens = 3, .prompt_ms = 4.5, .decode_ms = 5.5}});
  assert_int_equal(back.as.usage.completion_tokens, 2);
  assert_float_equal(back.as.usage.decode_ms, 5.5, 1e-9);
}

static void test_error_with_bytes_that_are_no_text_still_arrives(void **state) {
  rh_fixture *f = *state;
  rh_event error = {.kind = RH_EVENT_ERROR};
  (void)rh_fail(&error.as.error, RH_LOAD_FAILED, "bad name \xff\xfe");
  rh_event back = event_there_and_back(f, &error);
  assert_int_equal(back.as.error.status, RH_LOAD_FAILED);
  assert_true(back.as.error.message[0] != '\0');
}

static void test_stats_and_credit(void **state) {
  rh_fixture *f = *state;
  rh_worker_stats stats = {.rss_bytes = 1,
                           .vram_bytes = 10,
                           .active_runs = 2,
                           .waiting_runs = 3,
                           .paused_runs = 4,
                           .steps = 5,
                           .prompt_tokens = 6,
                           .cached_tokens = 7,
                           .generated_tokens = 8,
                           .cancelled_runs = 9,
                           .step_age_ms = 1.5};
  rh_worker_stats back;
  assert_int_equal(rh_stats_write(&f->out, RH_FRAME_PONG, &stats), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(frame.type, RH_FRAME_PONG);
  assert_int_equal(rh_stats_read(&frame, &back, NULL), RH_OK);
  assert_memory_equal(&back, &stats, sizeof stats);
  rh_dynbuf_clear(&f->out);
  uint32_t credit = 0;
  assert_int_equal(rh_credit_write(&f->out, 9, 33), RH_OK);
  frame = only_frame(f);
  assert_int_equal(frame.stream, 9);
  assert_int_equal(rh_credit_read(&frame, &credit, NULL), RH_OK);
  assert_int_equal(credit, 33);
}

static void test_broken_messages(void **state) {
  rh_fixture *f = *state;
  static const char *const bad_runs[] = {
      "",
      "[]",
      "{}",
      "{\"task\":\"chat\",\"credit\":1}",
      "{\"task\":\"dance\",\"credit\":1,\"text\":\"x\",\"generate\":{}}",
      "{\"task\":\"chat\",\"credit\":0,\"text\":\"x\",\"generate\":{}}",
      "{\"task\":\"chat\",\"credit\":1,\"messages\":[],\"generate\":{}}",
      "{\"task\":\"chat\",\"credit\":1,\"messages\":[{\"role\":1}],\"generate\":{}}",
      "{\"task\":\"chat\",\"credit\":1,\"text\":\"x\"}",
      "{\"task\":\"chat\",\"credit\":1,\"text\":\"x\",\"generate\":{\"max_tokens\":-1}}",
      "{\"task\":\"chat\",\"credit\":1,\"text\":\"x\",\"generate\":{\"stop\":[1]}}",
  };
  for (size_t i = 0; i < sizeof bad_runs / sizeof bad_runs[0]; i++) {
    rh_frame frame = {
        .type = RH_FRAME_RUN, .stream = 1, .json = bad_runs[i], .json_length = (uint32_t)strlen(bad_runs[i])};
    rh_run run;
    uint32_t credit;
    rh_error error = {0};
    assert_int_equal(rh_run_read(&frame, f->arena, &run, &credit, &error), RH_PROTOCOL);
    assert_true(error.message[0] != '\0');
  }
  static const char *const bad_events[] = {"{\"event\":\"dance\"}", "{}",
                                           "{\"event\":\"delta\",\"text\":\"x\",\"logprobs\":1}"};
  for (size_t i = 0; i < sizeof bad_events / sizeof bad_events[0]; i++) {
    rh_frame frame = {
        .type = RH_FRAME_EVENT, .stream = 1, .json = bad_events[i], .json_length = (uint32_t)strlen(bad_events[i])};
    rh_event event;
    assert_int_equal(rh_event_read(&frame, f->arena, &event, NULL), RH_PROTOCOL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_hello, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_load_and_loaded, set_up, tear_down),
      cmocka_unit_test(test_vram_is_optional_and_never_negative),
      cmocka_unit_test_setup_teardown(test_run_with_messages, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_run_with_tokens_and_text, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_delta_with_logprobs, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_events, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_error_with_bytes_that_are_no_text_still_arrives, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_stats_and_credit, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_broken_messages, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
