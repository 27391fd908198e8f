// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/completions and POST /generate: events to exact bytes, whole and streamed.
#include "test_api_support.h"

#define COMPLETIONS "/v1/completions"
#define GENERATE "/generate"
#define HEAD                                                  \
  "{\"id\":\"cmpl-" TEST_ID_DIGITS                            \
  "\",\"object\":\"text_completion\",\"created\":1700000000," \
  "\"model\":\"tiny\",\"system_fingerprint\":\"rh-" RH_VERSION "\",\"choices\":["
#define CHUNK "data: " HEAD
#define TEXT(index, text) "{\"index\":" index ",\"text\":" text ",\"logprobs\":null,\"finish_reason\":null}"
#define FINISHED(index, text, reason) \
  "{\"index\":" index ",\"text\":" text ",\"logprobs\":null,\"finish_reason\":\"" reason "\"}"
#define NO_DETAILS \
  "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}"

// Two prompts with two answers each: index = prompt * n + choice; each prompt counts once.
static void completions_whole(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, COMPLETIONS, "{\"prompt\":[\"A\",\"B\"],\"n\":2,\"echo\":true}", &info);
  for (uint32_t i = 0; i < 4; i++) {
    push_start(&test, i, i < 2 ? 3 : 5, 0);
    push_text(&test, i, (const char *[]){"0", "1", "2", "3"}[i]);
    expect_out(&test, "");
  }
  for (uint32_t i = 4; i > 0; i--) push_end(&test, i - 1, RH_FINISH_LENGTH);
  assert_true(test.finished);
  expect_out(&test,
             HEAD FINISHED("0", "\"A0\"", "length") "," FINISHED("1", "\"A1\"", "length") ","
             FINISHED("2", "\"B2\"", "length") "," FINISHED("3", "\"B3\"", "length") "],\"usage\":{\"prompt_tokens\":8,"
             "\"completion_tokens\":4,\"total_tokens\":12," NO_DETAILS ",\"roundhouse\":{" TEST_ORIGIN("null") "}}");
  test_end(&test);
}

static void completions_stream(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, COMPLETIONS, "{\"prompt\":[1,2],\"stream\":true}", &info);
  push_start(&test, 0, 2, 0);
  expect_out(&test, "");
  push_text(&test, 0, "a");
  expect_out(&test, CHUNK TEXT("0", "\"a\"") "]}\n\n");
  push_end(&test, 0, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(&test, CHUNK FINISHED("0", "\"\"", "stop") "],\"roundhouse\":{" TEST_ORIGIN("null") "}}\n\n"
                    "data: [DONE]\n\n");
  test_end(&test);
}

static void completions_stream_echo_and_usage(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, COMPLETIONS,
             "{\"prompt\":[\"A\",\"B\"],\"echo\":true,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             &info);
  push_start(&test, 1, 2, 0);
  expect_out(&test, CHUNK TEXT("1", "\"B\"") "],\"usage\":null}\n\n");
  push_start(&test, 0, 1, 0);
  expect_out(&test, CHUNK TEXT("0", "\"A\"") "],\"usage\":null}\n\n");
  push_end(&test, 1, RH_FINISH_STOP);
  rh_dynbuf_clear(&test.out);
  push_end(&test, 0, RH_FINISH_STOP);
  expect_out(
      &test,
      CHUNK FINISHED("0", "\"\"",
                     "stop") "],\"usage\":null}\n\n" CHUNK
                             "],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3," NO_DETAILS
                             ",\"roundhouse\":{" TEST_ORIGIN("null") "}}\n\ndata: [DONE]\n\n");
  test_end(&test);
}

// "é" in two tokens, then "!": offsets count characters, parts of characters are shown as bytes.
static void push_classic_logprobs(test_case *test) {
  const rh_top_logprob top[] = {{.logprob = -0.25f, .bytes = "\xc3", .length = 1},
                                {.logprob = -0.75f, .bytes = "\xc3", .length = 1},
                                {.logprob = -2, .bytes = "e", .length = 1}};
  const rh_top_logprob other[] = {{.logprob = -1, .bytes = "?", .length = 1}};
  const rh_token_logprob tokens[] = {
      {.logprob = -0.25f, .bytes = "\xc3", .length = 1, .top = top, .top_count = 3},
      {.logprob = -0.5f, .bytes = "\xa9", .length = 1, .top = NULL, .top_count = 0},
      {.logprob = -1.5f, .bytes = "!", .length = 1, .top = other, .top_count = 1},
  };
  push(test,
       &(rh_event){
           .kind = RH_EVENT_DELTA,
           .as.delta = {.text = "\xc3\xa9!", .length = 3, .token_count = 3, .tokens = tokens, .logprob_count = 3}});
}

#define CLASSIC(top, offsets)                                                                                      \
  "\"logprobs\":{\"tokens\":[\"bytes:\\\\xc3\",\"bytes:\\\\xa9\",\"!\"],\"token_logprobs\":[-0.25,-0.5,-1.5]," top \
  ",\"text_offset\":[" offsets "]},"
#define CLASSIC_TOP \
  "\"top_logprobs\":[{\"bytes:\\\\xc3\":-0.25,\"e\":-2},{\"bytes:\\\\xa9\":-0.5},{\"?\":-1,\"!\":-1.5}]"

static void completions_logprobs(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, COMPLETIONS, "{\"prompt\":\"x\",\"logprobs\":3}", NULL);
  push_start(&test, 0, 1, 0);
  push_classic_logprobs(&test);
  push_end(&test, 0, RH_FINISH_STOP);
  const char *body = rh_dynbuf_data(&test.out);
  assert_non_null(strstr(body, "\"text\":\"\xc3\xa9!\"," CLASSIC(CLASSIC_TOP, "0,1,1") "\"finish_reason\":\"stop\"}"));
  json_t *value = rh_json_parse(body, strlen(body), NULL);
  assert_non_null(value);
  json_decref(value);
  test_end(&test);
  test_begin(&test, COMPLETIONS, "{\"prompt\":\"x\",\"logprobs\":0,\"stream\":true}", NULL);
  push_start(&test, 0, 1, 0);
  push_classic_logprobs(&test);
  expect_out(&test, CHUNK "{\"index\":0,\"text\":\"\xc3\xa9!\"," CLASSIC("\"top_logprobs\":null",
                                                                         "0,1,1") "\"finish_reason\":null}]}\n\n");
  push_classic_logprobs(&test);
  expect_out(&test, CHUNK "{\"index\":0,\"text\":\"\xc3\xa9!\"," CLASSIC("\"top_logprobs\":null",
                                                                         "2,3,3") "\"finish_reason\":null}]}\n\n");
  test_end(&test);
}

#define DONE_MEMBERS(finish)                                                                     \
  ",\"model\":\"tiny\"," TEST_ORIGIN("500.000") ",\"confidence\":null,\"features\":null," finish \
                                                ",\"prompt_tokens\":9,\"cached_tokens\":4,\"tokens\":11}"

static const rh_usage USAGE = {.prompt_tokens = 9, .completion_tokens = 11, .cached_tokens = 4, .decode_ms = 20};

static void generate_stream(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, GENERATE, "{\"prompt\":\"x\",\"stop\":[\"END\"]}", &info);
  push_start(&test, 0, 9, 4);
  expect_out(&test, "");
  push_text(&test, 0, "a\n");
  expect_out(&test, "event: token\ndata: {\"request_id\":\"" TEST_ID "\",\"index\":0,\"text\":\"a\\n\"}\n\n");
  push_text(&test, 0, "");
  expect_out(&test, "");
  push_text(&test, 0, "b");
  expect_out(&test, "event: token\ndata: {\"request_id\":\"" TEST_ID "\",\"index\":2,\"text\":\"b\"}\n\n");
  push_usage(&test, 0, USAGE);
  char stop[] = "END";
  push(&test, &(rh_event){.kind = RH_EVENT_END, .as.end = {.finish = RH_FINISH_STOP, .stop = stop}});
  assert_true(test.finished);
  expect_out(&test, "event: done\ndata: {\"request_id\":\"" TEST_ID
                    "\"" DONE_MEMBERS("\"finish_reason\":\"stop\",\"stop\":\"END\"") "\n\n");
  test_end(&test);
}

static void generate_whole(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, GENERATE, "{\"prompt\":\"x\",\"stream\":false}", &info);
  push_start(&test, 0, 9, 4);
  push_text(&test, 0, "a\n");
  push_text(&test, 0, "b");
  push_usage(&test, 0, USAGE);
  expect_out(&test, "");
  push_end(&test, 0, RH_FINISH_LENGTH);
  assert_true(test.finished);
  expect_out(&test, "{\"request_id\":\"" TEST_ID
                    "\",\"text\":\"a\\nb\"" DONE_MEMBERS("\"finish_reason\":\"length\",\"stop\":null"));
  test_end(&test);
}

// An id that a client chose is taken whole.
static void foreign_id(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, COMPLETIONS, "{\"prompt\":\"x\"}", NULL);
  (void)snprintf(test.request.id, sizeof test.request.id, "my-own-id");
  push_end(&test, 0, RH_FINISH_STOP);
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "{\"id\":\"cmpl-my-own-id\","));
  test_end(&test);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(completions_whole),
      cmocka_unit_test(completions_stream),
      cmocka_unit_test(completions_stream_echo_and_usage),
      cmocka_unit_test(completions_logprobs),
      cmocka_unit_test(generate_stream),
      cmocka_unit_test(generate_whole),
      cmocka_unit_test(foreign_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
