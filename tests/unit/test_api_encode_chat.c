// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/chat/completions: events to exact bytes, whole and streamed.
#include <math.h>
#include <stdlib.h>

#include "test_api_support.h"

#define PATH "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define HEAD                                                  \
  "{\"id\":\"chatcmpl-" TEST_ID_DIGITS                        \
  "\",\"object\":\"chat.completion\",\"created\":1700000000," \
  "\"model\":\"tiny\",\"system_fingerprint\":\"rh-" RH_VERSION "\",\"choices\":["
#define CHUNK                                                       \
  "data: {\"id\":\"chatcmpl-" TEST_ID_DIGITS                        \
  "\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
  "\"model\":\"tiny\",\"system_fingerprint\":\"rh-" RH_VERSION "\",\"choices\":["
#define ROLE(index)                                                                                \
  CHUNK "{\"index\":" index                                                                        \
        ",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null," \
        "\"finish_reason\":null}"
#define TEXT(index, text) \
  CHUNK "{\"index\":" index ",\"delta\":{\"content\":" text "},\"logprobs\":null,\"finish_reason\":null}"
#define FINISH(index, reason) \
  CHUNK "{\"index\":" index ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" reason "\"}"
#define DONE "data: [DONE]\n\n"

static void whole(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"verbosity\":\"low\",\"foo\":1}", &info);
  push_start(&test, 0, 9, 4);
  push_text(&test, 0, "Hel\"lo");
  push_text(&test, 0, "");
  push(&test, &(rh_event){.kind = RH_EVENT_PROGRESS, .as.progress.fraction = 0.5});
  push_text(&test, 0, " w\n\xc3\xb6rld");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 11, .cached_tokens = 4, .decode_ms = 40});
  expect_out(&test, "");
  assert_false(test.finished);
  push_end(&test, 0, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(&test, HEAD
             "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hel\\\"lo w\\n\xc3\xb6rld\","
             "\"refusal\":null},"
             "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":11,"
             "\"total_tokens\":20,\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":"
             "{\"reasoning_tokens\":0}},\"roundhouse\":{" TEST_ORIGIN("250.000") "},"
             "\"warnings\":[\"verbosity\",\"foo\"]}");
  assert_null(rh_encoder_error(test.encoder));
  test_end(&test);
}

// Nothing is known but the name: nulls, not invented words. The counts come from the events themselves.
static void whole_with_little_known(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  test.meta = (rh_answer_meta){.model = "tiny", .created = 1700000000, .received_ns = 5, .finished_ns = 1000005};
  push_start(&test, 0, 3, 0);
  push_text(&test, 0, "a");
  push_end(&test, 0, RH_FINISH_LENGTH);
  expect_out(&test, HEAD
             "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"refusal\":null},\"logprobs\":null,"
             "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,"
             "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
             "\"roundhouse\":{\"version\":null,\"provider\":null,\"host\":null,\"engine\":null,\"device\":null,"
             "\"quantization\":null,\"acceleration\":null,\"route_reason\":null,\"cache\":null,\"cost_usd\":0,"
             "\"latency_ms\":1.000,"
             "\"first_token_latency_ms\":null,\"tokens_per_second\":null}}");
  test_end(&test);
}

// Two answers to one prompt, mixed on the way: in order in the body, the prompt counted once, one clock for both.
static void whole_with_choices(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"n\":2}", &info);
  push_start(&test, 1, 9, 9);
  push_start(&test, 0, 9, 0);
  push_text(&test, 1, "b");
  push_text(&test, 0, "a");
  push_usage(&test, 1, (rh_usage){.prompt_tokens = 9, .completion_tokens = 8, .cached_tokens = 9, .decode_ms = 1});
  push_end(&test, 1, RH_FINISH_LENGTH);
  assert_false(test.finished);
  expect_out(&test, "");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 8, .cached_tokens = 0, .decode_ms = 1});
  push_end(&test, 0, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(&test, HEAD
             "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"refusal\":null},\"logprobs\":null,"
             "\"finish_reason\":\"stop\"},{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"b\","
             "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":9,"
             "\"completion_tokens\":16,\"total_tokens\":25,\"prompt_tokens_details\":{\"cached_tokens\":0},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"roundhouse\":{" TEST_ORIGIN("2000.000") "}}");
  test_end(&test);
}

static void stream(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", &info);
  push_start(&test, 0, 9, 0);
  expect_out(&test, ROLE("0") "]}\n\n");
  push_text(&test, 0, "Hi \"you\"");
  expect_out(&test, TEXT("0", "\"Hi \\\"you\\\"\"") "]}\n\n");
  push_text(&test, 0, "");
  expect_out(&test, "");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 11, .decode_ms = 20});
  expect_out(&test, "");
  assert_false(test.finished);
  push_end(&test, 0, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(&test, FINISH("0", "stop") "],\"roundhouse\":{" TEST_ORIGIN("500.000") "}}\n\n" DONE);
  test_end(&test);
}

static void stream_with_usage_and_choices(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":2,\"foo\":1}",
             &info);
  push_start(&test, 1, 9, 2);
  expect_out(&test, ROLE("1") "],\"usage\":null}\n\n");
  // A choice that never said START still begins with its role.
  push_text(&test, 0, "a");
  expect_out(&test, ROLE("0") "],\"usage\":null}\n\n" TEXT("0", "\"a\"") "],\"usage\":null}\n\n");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 1, .cached_tokens = 2});
  push_end(&test, 0, RH_FINISH_LENGTH);
  assert_false(test.finished);
  expect_out(&test, FINISH("0", "length") "],\"usage\":null}\n\n");
  push_text(&test, 1, "b");
  rh_dynbuf_clear(&test.out);
  push_end(&test, 1, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(&test, FINISH("1", "stop") "],\"usage\":null}\n\n" CHUNK
                                        "],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,"
                                        "\"prompt_tokens_details\":"
                                        "{\"cached_tokens\":2},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
                                        "\"roundhouse\":{" TEST_ORIGIN("null") "},\"warnings\":[\"foo\"]}\n\n" DONE);
  test_end(&test);
}

// A token with alternatives, one of them part of a character, one impossible.
static void push_logprobs(test_case *test) {
  const rh_top_logprob top[] = {{.logprob = -0.5f, .bytes = "Hi", .length = 2},
                                {.logprob = -INFINITY, .bytes = "\xe2\x82", .length = 2}};
  const rh_token_logprob token = {.logprob = -0.5f, .bytes = "Hi", .length = 2, .top = top, .top_count = 2};
  push(test,
       &(rh_event){.kind = RH_EVENT_DELTA,
                   .as.delta = {.text = "Hi", .length = 2, .token_count = 1, .tokens = &token, .logprob_count = 1}});
}

#define HI_LOGPROB                                                                                  \
  "{\"token\":\"Hi\",\"logprob\":-0.5,\"bytes\":[72,105],\"top_logprobs\":[{\"token\":\"Hi\","      \
  "\"logprob\":-0.5,\"bytes\":[72,105]},{\"token\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"logprob\":-9999," \
  "\"bytes\":[226,130]}]}"

static void logprobs(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"logprobs\":true,\"top_logprobs\":2,\"stream\":true}", NULL);
  push_start(&test, 0, 1, 0);
  rh_dynbuf_clear(&test.out);
  for (int i = 0; i < 2; i++) {
    push_logprobs(&test);
    expect_out(&test, CHUNK "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":{\"content\":[" HI_LOGPROB
                            "],\"refusal\":null},\"finish_reason\":null}]}\n\n");
  }
  test_end(&test);
  test_begin(&test, PATH, "{" HI ",\"logprobs\":true,\"top_logprobs\":2}", NULL);
  push_start(&test, 0, 1, 0);
  push_logprobs(&test);
  push_logprobs(&test);
  push_end(&test, 0, RH_FINISH_STOP);
  assert_non_null(strstr(rh_dynbuf_data(&test.out),
                         "\"content\":\"HiHi\",\"refusal\":null},\"logprobs\":{\"content\":[" HI_LOGPROB "," HI_LOGPROB
                         "],\"refusal\":null},\"finish_reason\""));
  test_end(&test);
}

// An error of one choice is the end of the answer, streamed or not; what other choices say afterwards is not heard.
static void error_ends_the_answer(void **state) {
  (void)state;
  static const char *const BODIES[] = {"{" HI ",\"n\":2}", "{" HI ",\"n\":2,\"stream\":true}"};
  for (size_t i = 0; i < COUNT(BODIES); i++) {
    test_case test;
    test_begin(&test, PATH, BODIES[i], NULL);
    push_start(&test, 0, 1, 0);
    rh_dynbuf_clear(&test.out);
    rh_event error = {.kind = RH_EVENT_ERROR, .choice = 1};
    (void)rh_fail(&error.as.error, RH_UNAVAILABLE, "the worker was lost");
    push(&test, &error);
    assert_true(test.finished);
    assert_int_equal(rh_encoder_error(test.encoder)->status, RH_UNAVAILABLE);
    assert_string_equal(rh_encoder_error(test.encoder)->message, "the worker was lost");
    push_text(&test, 0, "late");
    push_end(&test, 0, RH_FINISH_STOP);
    assert_true(test.finished);
    expect_out(&test, "");
    test_end(&test);
  }
}

static void push_bytes(test_case *test, const char *bytes, size_t length, rh_status wanted) {
  rh_event event = {.kind = RH_EVENT_DELTA, .as.delta = {.text = bytes, .length = length, .token_count = 1}};
  assert_int_equal(rh_encoder_push(test->encoder, &event, &test->out, &test->finished), wanted);
}

static void whole_answers_are_bounded(void **state) {
  (void)state;
  size_t half = 8u * 1024 * 1024;
  char *text = malloc(half);
  assert_non_null(text);
  memset(text, 'x', half);
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  push_bytes(&test, text, half, RH_OK);
  push_bytes(&test, text, half, RH_OK);
  assert_false(test.finished);
  push_bytes(&test, text, 1, RH_TOO_LARGE);
  assert_true(test.finished);
  assert_int_equal(rh_encoder_error(test.encoder)->status, RH_TOO_LARGE);
  test_end(&test);
  // The bound is the answer's, not the choice's.
  test_begin(&test, PATH, "{" HI ",\"n\":3}", NULL);
  rh_event event = {.kind = RH_EVENT_DELTA, .as.delta = {.text = text, .length = half, .token_count = 1}};
  for (event.choice = 0; event.choice < 2; event.choice++) push(&test, &event);
  assert_int_equal(rh_encoder_push(test.encoder, &event, &test.out, &test.finished), RH_TOO_LARGE);
  test_end(&test);
  // A stream holds nothing, but its output may be full.
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", NULL);
  for (int i = 0; i < 4; i++) {
    push_bytes(&test, text, half, RH_OK);
    rh_dynbuf_clear(&test.out);
  }
  rh_dynbuf_free(&test.out);
  rh_dynbuf_init(&test.out, 100);
  push_bytes(&test, text, 200, RH_TOO_LARGE);
  assert_true(test.finished);
  test_end(&test);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole),
      cmocka_unit_test(whole_with_little_known),
      cmocka_unit_test(whole_with_choices),
      cmocka_unit_test(stream),
      cmocka_unit_test(stream_with_usage_and_choices),
      cmocka_unit_test(logprobs),
      cmocka_unit_test(error_ends_the_answer),
      cmocka_unit_test(whole_answers_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
