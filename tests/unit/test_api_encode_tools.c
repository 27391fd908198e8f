// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/chat/completions: calls of tools and thoughts to exact bytes, and what the gateway tells of an answer.
#include "test_api_support.h"

#define PATH "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHUNK                                                       \
  "data: {\"id\":\"chatcmpl-" TEST_ID_DIGITS                        \
  "\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
  "\"model\":\"tiny\",\"system_fingerprint\":\"rh-" RH_VERSION "\",\"choices\":["
#define DELTA(members) CHUNK "{\"index\":0,\"delta\":{" members "},\"logprobs\":null,\"finish_reason\":null}]}\n\n"

static void push_thought(test_case *test, const char *text, const char *signature) {
  push(test,
       &(rh_event){
           .kind = RH_EVENT_DELTA,
           .as.delta = {
               .text = text, .length = strlen(text), .token_count = 1, .reasoning = true, .signature = signature}});
}

static void push_tool(test_case *test, uint32_t index, const char *id, const char *name, const char *arguments) {
  push(test, &(rh_event){.kind = RH_EVENT_TOOL,
                         .as.tool = {.index = index,
                                     .id = id,
                                     .name = name,
                                     .arguments = arguments,
                                     .length = strlen(arguments),
                                     .token_count = 2}});
}

static void stream(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", NULL);
  push_start(&test, 0, 9, 0);
  rh_dynbuf_clear(&test.out);
  push_thought(&test, "h\"m", NULL);
  expect_out(&test, DELTA("\"reasoning_content\":\"h\\\"m\",\"reasoning\":\"h\\\"m\""));
  push_thought(&test, "", "proof");
  expect_out(&test, "");
  push_text(&test, 0, "so");
  expect_out(&test, DELTA("\"content\":\"so\""));
  push_tool(&test, 0, "c1", "f", "");
  expect_out(&test,
             DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                   "\"arguments\":\"\"}}]"));
  push_tool(&test, 0, NULL, NULL, "{\"a\":");
  expect_out(&test, DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]"));
  push_tool(&test, 0, NULL, NULL, "");
  expect_out(&test, "");
  push_tool(&test, 1, NULL, "g", "{}");
  expect_out(&test, DELTA("\"tool_calls\":[{\"index\":1,\"id\":\"call_0_1_" TEST_ID_DIGITS
                          "\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]"));
  push_end(&test, 0, RH_FINISH_TOOLS);
  assert_true(test.finished);
  assert_non_null(
      strstr(rh_dynbuf_data(&test.out), "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}]"));
  test_end(&test);
}

static void whole(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  push_start(&test, 0, 9, 0);
  push_thought(&test, "h", NULL);
  push_thought(&test, "m", NULL);
  push_tool(&test, 0, "c1", "f", "{\"a\":");
  push_tool(&test, 0, NULL, NULL, "1}");
  push_tool(&test, 1, "c2", "g", "");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 7, .reasoning_tokens = 2});
  push_end(&test, 0, RH_FINISH_STOP);  // the server's word; the calls say otherwise
  const char *out = rh_dynbuf_data(&test.out);
  const char *message =
      "\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"reasoning_content\":\"hm\","
      "\"reasoning\":\"hm\","
      "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}"
      "\"}},"
      "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},\"logprobs\":null,"
      "\"finish_reason\":\"tool_calls\"}";
  assert_non_null(strstr(out, message));
  assert_non_null(strstr(out, "\"completion_tokens_details\":{\"reasoning_tokens\":2}"));
  test_end(&test);
}

// Another member of a chain began the answer anew: nothing of the first is left.
static void begun_again(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  push_start(&test, 0, 9, 0);
  push_thought(&test, "old", NULL);
  push_text(&test, 0, "old");
  push_tool(&test, 0, "old", "old", "old");
  push_start(&test, 0, 7, 0);
  push_text(&test, 0, "new");
  push_end(&test, 0, RH_FINISH_STOP);
  assert_null(strstr(rh_dynbuf_data(&test.out), "old"));
  assert_non_null(strstr(rh_dynbuf_data(&test.out),
                         "\"content\":\"new\",\"refusal\":null},\"logprobs\":null,"
                         "\"finish_reason\":\"stop\""));
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"prompt_tokens\":7,\"completion_tokens\":1"));
  test_end(&test);
  // In a stream it goes on; the role is said once.
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", NULL);
  push_start(&test, 0, 9, 0);
  push_text(&test, 0, "a");
  rh_dynbuf_clear(&test.out);
  push_start(&test, 0, 9, 0);
  expect_out(&test, "");
  push_text(&test, 0, "b");
  expect_out(&test, DELTA("\"content\":\"b\""));
  test_end(&test);
}

static void finish_words(void **state) {
  (void)state;
  static const struct {
    rh_finish finish;
    const char *word, *anthropic;
  } ROWS[] = {
      {RH_FINISH_STOP, "\"finish_reason\":\"stop\"", "\"stop_reason\":\"end_turn\",\"stop_sequence\":null"},
      {RH_FINISH_LENGTH, "\"finish_reason\":\"length\"", "\"stop_reason\":\"max_tokens\""},
      {RH_FINISH_TOOLS, "\"finish_reason\":\"tool_calls\"", "\"stop_reason\":\"tool_use\""},
      {RH_FINISH_FILTER, "\"finish_reason\":\"content_filter\"", "\"stop_reason\":\"refusal\""},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    test_begin(&test, PATH, "{" HI "}", NULL);
    push_end(&test, 0, ROWS[i].finish);
    assert_non_null(strstr(rh_dynbuf_data(&test.out), ROWS[i].word));
    test_end(&test);
    test_begin(&test, "/v1/messages", "{\"max_tokens\":5," HI "}", NULL);
    push_end(&test, 0, ROWS[i].finish);
    assert_non_null(strstr(rh_dynbuf_data(&test.out), ROWS[i].anthropic));
    test_end(&test);
  }
}

static void told_by_the_gateway(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  test.meta.provider = "anthropic";
  test.meta.cost_usd = 0.00123;
  test.meta.cache = "hit";
  test.meta.cache_age_s = 2.5;
  test.meta.attempts = 2;
  test.meta.experiment = "e\"1";
  test.meta.arm = "b";
  test.meta.confidence = 0.75;
  push_end(&test, 0, RH_FINISH_STOP);
  const char *out = rh_dynbuf_data(&test.out);
  assert_non_null(strstr(out, "\"provider\":\"anthropic\""));
  assert_non_null(strstr(out,
                         "\"cache\":\"hit\",\"cost_usd\":0.00123,\"attempts\":2,\"cache_age_s\":2.500,\"experiment\":"
                         "\"e\\\"1\",\"arm\":\"b\",\"latency_ms\""));
  assert_non_null(strstr(out, "\"confidence\":0.75}"));
  test_end(&test);
  test_begin(&test, "/generate", "{\"prompt\":\"x\"}", NULL);
  test.meta.confidence = 0.5;
  push_end(&test, 0, RH_FINISH_STOP);
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"confidence\":0.5,\"features\":null"));
  test_end(&test);
}

// Endpoints of plain text have no place for thoughts and calls, and must not take them for text.
static void plain_text_has_no_thoughts(void **state) {
  (void)state;
  static const struct {
    const char *path, *body;
  } ROWS[] = {
      {"/v1/completions", "{\"prompt\":\"x\"}"},
      {"/v1/completions", "{\"prompt\":\"x\",\"stream\":true}"},
      {"/generate", "{\"prompt\":\"x\"}"},
      {"/generate", "{\"prompt\":\"x\",\"stream\":false}"},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    test_begin(&test, ROWS[i].path, ROWS[i].body, NULL);
    push_start(&test, 0, 1, 0);
    push_thought(&test, "secret", NULL);
    push_tool(&test, 0, "c1", "secret", "{\"secret\":1}");
    push_text(&test, 0, "said");
    push_end(&test, 0, RH_FINISH_STOP);
    assert_null(strstr(rh_dynbuf_data(&test.out), "secret"));
    assert_non_null(strstr(rh_dynbuf_data(&test.out), "said"));
    test_end(&test);
  }
}

// A model that changes between text and thoughts with every token must not take memory without end.
static void changes_are_bounded(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI "}", NULL);
  rh_status status = RH_OK;
  size_t pushed = 0;
  while (status == RH_OK && pushed < 100000) {
    rh_event event = {.kind = RH_EVENT_DELTA,
                      .as.delta = {.text = "x", .length = 1, .token_count = 1, .reasoning = pushed % 2 == 0}};
    status = rh_encoder_push(test.encoder, &event, &test.out, &test.finished);
    pushed++;
  }
  assert_int_equal(status, RH_TOO_LARGE);
  assert_true(test.finished && pushed > 8000 && pushed < 10000);
  test_end(&test);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stream),
      cmocka_unit_test(whole),
      cmocka_unit_test(begun_again),
      cmocka_unit_test(finish_words),
      cmocka_unit_test(told_by_the_gateway),
      cmocka_unit_test(plain_text_has_no_thoughts),
      cmocka_unit_test(changes_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
