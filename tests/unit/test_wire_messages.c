// SPDX-License-Identifier: Apache-2.0
//
// What stands inside frames: every message survives the way there and back, and broken ones are protocol errors.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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
  load.options.onnx = (rh_onnx_options){.device = RH_DEVICE_CUDA,
                                        .optimization = RH_ONNX_OPTIMIZE_BASIC,
                                        .parallel = 1,
                                        .no_arena = 1,
                                        .no_memory_pattern = 1,
                                        .keep_optimized = 1,
                                        .exact_growth = 1,
                                        .int8 = RH_ONNX_INT8_NEVER,
                                        .int8_cosine = 0.75,
                                        .inter_threads = 6,
                                        .device_id = 7,
                                        .gpu_memory = INT64_C(1) << 40};
  rh_load load_back;
  assert_int_equal(rh_load_write(&f->out, &load), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_load_read(&frame, f->arena, &load_back, NULL), RH_OK);
  assert_string_equal(load_back.path, load.path);
  assert_true(load_back.quantization == NULL && load_back.variant == NULL && load_back.variant_quantization == NULL);
  assert_int_equal(load_back.options.context, 1);
  assert_int_equal(load_back.options.slots, 2);
  assert_int_equal(load_back.options.threads, 3);
  assert_int_equal(load_back.options.batch, 4);
  assert_int_equal(load_back.options.prefill_chunk, 5);
  assert_int_equal(load_back.options.gpu_layers, -1);
  assert_true(load_back.options.mlock);
  assert_memory_equal(&load_back.options.onnx, &load.options.onnx, sizeof load.options.onnx);

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
                        .task = "embed",
                        .dimensions = 384,
                        .fallback = "no GPU is here",
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
  assert_string_equal(info_back.task, "embed");
  assert_int_equal(info_back.dimensions, 384);
  assert_string_equal(info_back.fallback, "no GPU is here");
}

static void test_load_for_onnx(void **state) {
  rh_fixture *f = *state;
  rh_load back, load = {.engine = "onnx",
                        .path = "m",
                        .quantization = "fp32",
                        .variant = "m_int8",
                        .variant_quantization = "int8 dynamic"};
  load.options.onnx = (rh_onnx_options){.device = RH_DEVICE_CUDA,
                                        .optimization = RH_ONNX_OPTIMIZE_BASIC,
                                        .no_arena = 1,
                                        .inter_threads = 3,
                                        .gpu_memory = 1 << 30};
  assert_int_equal(rh_load_write(&f->out, &load), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_load_read(&frame, f->arena, &back, NULL), RH_OK);
  assert_memory_equal(&back.options.onnx, &load.options.onnx, sizeof load.options.onnx);
  assert_string_equal(back.quantization, "fp32");
  assert_string_equal(back.variant, "m_int8");
  assert_string_equal(back.variant_quantization, "int8 dynamic");
  static const char *const bad[] = {"{\"engine\":\"onnx\",\"path\":\"m\",\"onnx\":1}",
                                    "{\"engine\":\"onnx\",\"path\":\"m\",\"onnx\":{\"device\":-1}}",
                                    "{\"engine\":\"onnx\",\"path\":\"m\",\"onnx\":{\"device\":99}}",
                                    "{\"engine\":\"onnx\",\"path\":\"m\",\"onnx\":{\"int8\":3}}",
                                    "{\"engine\":\"onnx\",\"path\":\"m\",\"variant\":3}",
                                    "{\"engine\":\"onnx\",\"path\":\"m\",\"onnx\":{\"gpu_memory\":\"1\"}}"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    rh_frame broken = {.type = RH_FRAME_LOAD, .json = bad[i], .json_length = (uint32_t)strlen(bad[i])};
    assert_int_equal(rh_load_read(&broken, f->arena, &back, NULL), RH_PROTOCOL);
  }
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
  const rh_message messages[] = {{.role = "system", .content = "Be \"brief\".\n"},
                                 {.role = "user", .content = "Grüße 🚂"}};
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
  assert_null(back.prefix);
}

static void test_run_with_a_prefix(void **state) {
  rh_fixture *f = *state;
  rh_run run = {.task = RH_TASK_COMPLETE,
                .request_id = "r",
                .prompt = {.kind = RH_PROMPT_TEXT, .text = "Once", .count = 4},
                .prefix = " upon\n\"ä\" "};
  rh_generate_defaults(&run.generate);
  rh_run back;
  uint32_t credit = 0;
  assert_int_equal(rh_run_write(&f->out, 1, &run, 1), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_run_read(&frame, f->arena, &back, &credit, NULL), RH_OK);
  assert_string_equal(back.prefix, run.prefix);
  assert_string_equal(back.prompt.text, "Once");

  size_t length = (size_t)RH_PREFIX_BYTES_MAX + 1;
  char *large = malloc(length + 1);
  assert_non_null(large);
  memset(large, 'x', length);
  large[length] = '\0';
  run.prefix = large;
  rh_dynbuf_clear(&f->out);
  assert_int_equal(rh_run_write(&f->out, 1, &run, 1), RH_TOO_LARGE);
  assert_int_equal(f->out.length, 0);
  free(large);
}

static const rh_infer *infer_there_and_back(rh_fixture *f, rh_task task, const rh_infer *infer) {
  rh_run run = {.task = task, .request_id = "r", .infer = infer}, back;
  uint32_t credit = 0;
  rh_dynbuf_clear(&f->out);
  assert_int_equal(rh_run_write(&f->out, 1, &run, 64), RH_OK);
  rh_frame frame = only_frame(f);
  assert_int_equal(rh_run_read(&frame, f->arena, &back, &credit, NULL), RH_OK);
  assert_int_equal(back.task, task);
  assert_non_null(back.infer);
  return back.infer;
}

static void test_run_with_items(void **state) {
  rh_fixture *f = *state;
  static const int32_t ids[] = {101, 7, 102};
  static const char query[] = "which \"one\"?";
  const rh_item items[] = {
      {.text = "plain\n🚂", .length = 10},
      {.text = "", .length = 0},
      {.tokens = ids, .token_count = 3},
      {.text = query, .length = strlen(query), .pair = "first", .pair_length = 5},
      {.text = query, .length = strlen(query), .pair = "", .pair_length = 0},
      {.tokens = ids + 1, .token_count = 2},
  };
  const char *const labels[] = {"a", "b\""};
  const rh_infer infer = {.items = items,
                          .item_count = 6,
                          .dimensions = 64,
                          .prompt_name = "query",
                          .prompt = "q: ",
                          .normalize = RH_CHOICE_NO,
                          .refuse_long = true,
                          .cut_long = true,
                          .has_stride = true,
                          .stride = 0,
                          .top_k = 3,
                          .multi_label = RH_CHOICE_YES,
                          .raw_scores = true,
                          .aggregation = RH_AGGREGATION_AVERAGE,
                          .labels = labels,
                          .label_count = 2,
                          .hypothesis = "It is {}."};
  const rh_infer *back = infer_there_and_back(f, RH_TASK_ZERO_SHOT, &infer);
  assert_int_equal(back->item_count, 6);
  assert_string_equal(back->items[0].text, items[0].text);
  assert_int_equal(back->items[0].length, 10);
  assert_null(back->items[0].pair);
  assert_string_equal(back->items[1].text, "");
  assert_null(back->items[2].text);
  assert_int_equal(back->items[2].token_count, 3);
  assert_memory_equal(back->items[2].tokens, ids, sizeof ids);
  assert_string_equal(back->items[3].text, query);
  assert_string_equal(back->items[3].pair, "first");
  // The query went over once.
  assert_ptr_equal(back->items[4].text, back->items[3].text);
  assert_string_equal(back->items[4].pair, "");
  assert_int_equal(back->items[5].tokens[0], 7);
  assert_int_equal(back->dimensions, 64);
  assert_string_equal(back->prompt_name, "query");
  assert_string_equal(back->prompt, "q: ");
  assert_int_equal(back->normalize, RH_CHOICE_NO);
  assert_true(back->refuse_long && back->raw_scores && back->cut_long);
  assert_true(back->has_stride && back->stride == 0);
  assert_int_equal(back->top_k, 3);
  assert_int_equal(back->multi_label, RH_CHOICE_YES);
  assert_int_equal(back->aggregation, RH_AGGREGATION_AVERAGE);
  assert_int_equal(back->label_count, 2);
  assert_string_equal(back->labels[1], "b\"");
  assert_string_equal(back->hypothesis, "It is {}.");
  // All zero stays all zero.
  const rh_infer usual = {.items = items, .item_count = 1};
  back = infer_there_and_back(f, RH_TASK_OWN, &usual);
  assert_int_equal(back->dimensions + back->top_k + back->normalize + back->multi_label + (int)back->aggregation, 0);
  assert_false(back->refuse_long || back->raw_scores || back->cut_long || back->has_stride);
  assert_null(back->prompt);
  assert_null(back->labels);
}

static void test_run_with_tensors(void **state) {
  rh_fixture *f = *state;
  static const float floats[] = {1, 2, 3, 4, 5, 6};
  const rh_tensor tensors[] = {{"flags", RH_DTYPE_BOOL, {3}, 1, "\1\0\1", 3},
                               {"x", RH_DTYPE_F32, {2, 3}, 2, floats, sizeof floats},
                               {"words", RH_DTYPE_STRING, {1}, 1, "\2\0\0\0hi", 6},
                               {"none", RH_DTYPE_I64, {0, 4}, 2, NULL, 0}};
  const char *const outputs[] = {"y"};
  const rh_infer infer = {.tensors = tensors, .tensor_count = 4, .outputs = outputs, .output_count = 1};
  const rh_infer *back = infer_there_and_back(f, RH_TASK_TENSOR, &infer);
  assert_int_equal(back->tensor_count, 4);
  for (size_t i = 0; i < 4; i++) {
    assert_string_equal(back->tensors[i].name, tensors[i].name);
    assert_int_equal(back->tensors[i].type, tensors[i].type);
    assert_int_equal(back->tensors[i].rank, tensors[i].rank);
    assert_int_equal(back->tensors[i].bytes, tensors[i].bytes);
    assert_non_null(back->tensors[i].data);
    // Behind three odd bytes, and still where floats may lie.
    assert_int_equal((uintptr_t)back->tensors[i].data % 8, 0);
    if (tensors[i].bytes > 0) assert_memory_equal(back->tensors[i].data, tensors[i].data, tensors[i].bytes);
  }
  assert_int_equal(back->tensors[1].shape[1], 3);
  assert_string_equal(back->outputs[0], "y");
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

static rh_result result_there_and_back(rh_fixture *f, rh_result result) {
  rh_event back = event_there_and_back(f, &(rh_event){.kind = RH_EVENT_RESULT, .as.result = result});
  assert_int_equal(back.as.result.kind, result.kind);
  assert_int_equal(back.as.result.item, result.item);
  assert_int_equal(back.as.result.tokens, result.tokens);
  assert_int_equal(back.as.result.truncated, result.truncated);
  return back.as.result;
}

static void test_results(void **state) {
  rh_fixture *f = *state;
  static const float vector[] = {0.1f, -1e-30f, 3.4e38f};
  rh_result back = result_there_and_back(
      f, (rh_result){
             .kind = RH_RESULT_VECTOR, .item = 2047, .tokens = 9, .truncated = true, .vector = vector, .count = 3});
  assert_int_equal(back.count, 3);
  assert_memory_equal(back.vector, vector, sizeof vector);

  const rh_score scores[] = {{"A\"", 0.1f}, {NULL, NAN}, {"c", -3.5f}};
  back = result_there_and_back(f, (rh_result){.kind = RH_RESULT_SCORES, .tokens = 1, .scores = scores, .count = 3});
  assert_int_equal(back.count, 3);
  assert_string_equal(back.scores[0].label, "A\"");
  assert_true(back.scores[0].score == 0.1f && isnan(back.scores[1].score));
  assert_null(back.scores[1].label);

  const rh_span spans[] = {{"PER", 0.25f, "Ada 🚂", 3, 8, -1}, {"B-LOC", 1, "", 9, 9, 12}};
  back = result_there_and_back(f, (rh_result){.kind = RH_RESULT_SPANS, .spans = spans, .count = 2, .windows = 7});
  assert_int_equal(back.count, 2);
  assert_int_equal(back.windows, 7);
  assert_string_equal(back.spans[0].text, "Ada 🚂");
  assert_int_equal(back.spans[0].end, 8);
  assert_int_equal(back.spans[0].index, -1);
  assert_int_equal(back.spans[1].index, 12);
  back = result_there_and_back(f, (rh_result){.kind = RH_RESULT_SPANS, .spans = spans, .count = 0});
  assert_int_equal(back.count + back.windows, 0);

  const rh_tensor tensors[] = {{"y", RH_DTYPE_I32, {0}, 0, "\1\2\3\4", 4}};
  back = result_there_and_back(f, (rh_result){.kind = RH_RESULT_TENSORS, .tensors = tensors, .count = 1});
  assert_int_equal(back.count, 1);
  assert_memory_equal(back.tensors[0].data, "\1\2\3\4", 4);

  rh_result failed = {.kind = RH_RESULT_FAILED, .item = 1};
  (void)rh_fail_param(&failed.error, RH_CONTEXT_OVERFLOW, "input", "300 of 256");
  back = result_there_and_back(f, failed);
  assert_int_equal(back.error.status, RH_CONTEXT_OVERFLOW);
  assert_string_equal(back.error.message, "300 of 256");
  assert_string_equal(back.error.param, "input");

  rh_event usage = event_there_and_back(
      f, &(rh_event){.kind = RH_EVENT_USAGE, .as.usage.work = {.batch_items = 32, .padding = 0.125}});
  assert_int_equal(usage.as.usage.work.batch_items, 32);
  assert_float_equal(usage.as.usage.work.padding, 0.125, 0);
}

// Offsets and counts that lead out of the frame, and what does not agree with itself.
static void test_broken_inputs_and_results(void **state) {
  rh_fixture *f = *state;
#define RUN(infer) "{\"task\":\"embed\",\"credit\":1,\"infer\":" infer "}"
#define RESULT(members) "{\"event\":\"result\",\"item\":0,\"tokens\":1," members "}"
  static const char *const bad_runs[] = {
      RUN("1"),
      RUN("{}"),
      RUN("{\"items\":[]}"),
      RUN("{\"items\":1}"),
      RUN("{\"items\":[5]}"),
      RUN("{\"items\":[null]}"),
      RUN("{\"items\":[[]]}"),
      RUN("{\"items\":[[\"a\"]]}"),
      RUN("{\"items\":[[null,\"b\"]]}"),
      RUN("{\"items\":[\"a\",[null,3]]}"),
      RUN("{\"items\":[[[1],\"b\"]]}"),
      RUN("{\"items\":[[0,3]]}"),
      RUN("{\"items\":[[5,1]]}"),
      RUN("{\"items\":[[9,0]]}"),
      RUN("{\"items\":[[-1,1]]}"),
      RUN("{\"items\":[[0,-1]]}"),
      RUN("{\"items\":[[0,4611686018427387905]]}"),
      RUN("{\"items\":[\"a\"],\"dimensions\":-1}"),
      RUN("{\"items\":[\"a\"],\"top_k\":-1}"),
      RUN("{\"items\":[\"a\"],\"normalize\":1}"),
      RUN("{\"items\":[\"a\"],\"aggregation\":\"mean\"}"),
      RUN("{\"items\":[\"a\"],\"labels\":[1]}"),
      RUN("{\"items\":[\"a\"],\"prompt\":1}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1],5,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1],0,8]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1],-4,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1],0,-4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[-1],0,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1.5],0,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",1,0,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float99\",[1],0,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"string\",[1],0,8]]}"),
      RUN("{\"tensors\":[[1,\"float32\",[1],0,4]]}"),
      RUN("{\"tensors\":[[\"x\",\"float32\",[1]]]}"),
  };
  static const char *const bad_results[] = {
      RESULT("\"kind\":\"dance\""),
      "{\"event\":\"result\",\"item\":-1,\"kind\":\"vector\"}",
      "{\"event\":\"result\",\"item\":2048,\"kind\":\"vector\"}",
      "{\"event\":\"result\",\"kind\":\"vector\"}",
      RESULT("\"kind\":\"vector\",\"truncated\":1"),
      RESULT("\"kind\":\"spans\",\"windows\":1025,\"spans\":[]"),
      RESULT("\"kind\":\"scores\",\"scores\":[1]"),
      RESULT("\"kind\":\"scores\",\"scores\":[[\"a\"]]"),
      RESULT("\"kind\":\"scores\",\"scores\":[[1,1]]"),
      RESULT("\"kind\":\"spans\",\"spans\":[[\"a\",1,\"b\",3,2,-1]]"),
      RESULT("\"kind\":\"spans\",\"spans\":[[\"a\",1,\"b\",-1,2,-1]]"),
      RESULT("\"kind\":\"spans\",\"spans\":[[\"a\",1,null,0,2,-1]]"),
      RESULT("\"kind\":\"tensors\",\"tensors\":[[\"x\",\"int8\",[9],0,9]]"),
  };
  // Eight bytes; not whole floats for a vector, but for the runs.
  static const uint8_t tail[] = {1, 0, 0, 0, 2, 0, 0, 0};
  for (size_t i = 0; i < sizeof bad_runs / sizeof bad_runs[0]; i++) {
    rh_frame frame = {.type = RH_FRAME_RUN,
                      .stream = 1,
                      .json = bad_runs[i],
                      .json_length = (uint32_t)strlen(bad_runs[i]),
                      .binary = tail,
                      .binary_length = sizeof tail};
    rh_run run;
    uint32_t credit;
    rh_error error = {0};
    if (rh_run_read(&frame, f->arena, &run, &credit, &error) != RH_PROTOCOL) fail_msg("%s", bad_runs[i]);
    assert_true(error.message[0] != '\0');
  }
  for (size_t i = 0; i < sizeof bad_results / sizeof bad_results[0]; i++) {
    rh_frame frame = {.type = RH_FRAME_EVENT,
                      .stream = 1,
                      .json = bad_results[i],
                      .json_length = (uint32_t)strlen(bad_results[i]),
                      .binary = tail,
                      .binary_length = 7};
    rh_event event;
    if (rh_event_read(&frame, f->arena, &event, NULL) != RH_PROTOCOL) fail_msg("%s", bad_results[i]);
  }
  static const char vector[] = RESULT("\"kind\":\"vector\"");
  for (size_t length = 0; length <= sizeof tail; length++) {
    rh_frame frame = {.type = RH_FRAME_EVENT,
                      .stream = 1,
                      .json = vector,
                      .json_length = sizeof vector - 1,
                      .binary = tail,
                      .binary_length = length};
    rh_event event;
    bool whole = length > 0 && length % sizeof(float) == 0;
    assert_int_equal(rh_event_read(&frame, f->arena, &event, NULL), whole ? RH_OK : RH_PROTOCOL);
  }
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
      "{\"task\":\"chat\",\"credit\":1,\"text\":\"x\",\"generate\":{},\"prefix\":1}",
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
      cmocka_unit_test_setup_teardown(test_load_for_onnx, set_up, tear_down),
      cmocka_unit_test(test_vram_is_optional_and_never_negative),
      cmocka_unit_test_setup_teardown(test_run_with_messages, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_run_with_tokens_and_text, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_run_with_a_prefix, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_run_with_items, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_run_with_tensors, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_results, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_broken_inputs_and_results, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_delta_with_logprobs, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_events, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_error_with_bytes_that_are_no_text_still_arrives, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_stats_and_credit, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_broken_messages, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
