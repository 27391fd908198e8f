// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/messages: events to exact bytes, whole and streamed.
#include "test_api_support.h"

#define PATH "/v1/messages"
#define HI "\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi there, you\"}]"
#define THINK ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}"
#define START_OF(input, cached)                                                                            \
  "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_" TEST_ID_DIGITS      \
  "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\",\"content\":[],\"stop_reason\":null," \
  "\"stop_sequence\":null,\"usage\":{\"input_tokens\":" input                                              \
  ",\"cache_creation_input_tokens\":0,"                                                                    \
  "\"cache_read_input_tokens\":" cached ",\"output_tokens\":1}}}\n\n"
#define BLOCK(index, block)                                                                                          \
  "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":" index ",\"content_block\":" block \
  "}\n\n"
#define DELTA(index, delta) \
  "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":" index ",\"delta\":" delta "}\n\n"
#define STOP(index) "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":" index "}\n\n"

static void push_thought(test_case *test, const char *text, const char *signature) {
  push(test,
       &(rh_event){
           .kind = RH_EVENT_DELTA,
           .as.delta = {
               .text = text, .length = strlen(text), .token_count = 1, .reasoning = true, .signature = signature}});
}

static void push_tool(test_case *test, uint32_t index, const char *id, const char *name, const char *arguments) {
  push(test,
       &(rh_event){
           .kind = RH_EVENT_TOOL,
           .as.tool = {.index = index, .id = id, .name = name, .arguments = arguments, .length = strlen(arguments)}});
}

static void stream(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI THINK ",\"stream\":true}", &info);
  push_start(&test, 0, 9, 4);
  expect_out(&test, START_OF("5", "4"));
  push_thought(&test, "h\"m", NULL);
  expect_out(&test, BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
                        DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\"h\\\"m\"}"));
  push_thought(&test, "", "proof");
  expect_out(&test, DELTA("0", "{\"type\":\"signature_delta\",\"signature\":\"proof\"}"));
  push_thought(&test, "more", NULL);  // the first was complete
  expect_out(&test, STOP("0") BLOCK("1", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
                        DELTA("1", "{\"type\":\"thinking_delta\",\"thinking\":\"more\"}"));
  push_thought(&test, "", "redacted_thinking:blob");
  expect_out(&test, STOP("1") BLOCK("2", "{\"type\":\"redacted_thinking\",\"data\":\"blob\"}"));
  push_text(&test, 0, "Hi");
  expect_out(&test, STOP("2") BLOCK("3", "{\"type\":\"text\",\"text\":\"\"}")
                        DELTA("3", "{\"type\":\"text_delta\",\"text\":\"Hi\"}"));
  push_text(&test, 0, "");
  expect_out(&test, "");
  push_text(&test, 0, " \"you\"");
  expect_out(&test, DELTA("3", "{\"type\":\"text_delta\",\"text\":\" \\\"you\\\"\"}"));
  push_tool(&test, 0, "t1", "f", "");
  expect_out(&test, STOP("3") BLOCK("4", "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{}}"));
  push_tool(&test, 0, NULL, NULL, "{\"a\":1}");
  expect_out(&test, DELTA("4", "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":1}\"}"));
  push_tool(&test, 1, NULL, "g", "{}");
  expect_out(&test, STOP("4") BLOCK("5", "{\"type\":\"tool_use\",\"id\":\"call_0_1_" TEST_ID_DIGITS
                                         "\",\"name\":\"g\",\"input\":{}}")
                        DELTA("5", "{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}"));
  push_usage(
      &test, 0,
      (rh_usage){
          .prompt_tokens = 9, .completion_tokens = 11, .cached_tokens = 4, .written_tokens = 2, .decode_ms = 20});
  assert_false(test.finished);
  push_end(&test, 0, RH_FINISH_TOOLS);
  assert_true(test.finished);
  expect_out(&test, STOP("5") "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
                              "\"tool_use\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":3,"
                              "\"cache_creation_input_tokens\":2,\"cache_read_input_tokens\":4,\"output_tokens\":11},"
                              "\"roundhouse\":{" TEST_ORIGIN("500.000") "}}\n\nevent: message_stop\ndata: "
                              "{\"type\":\"message_stop\"}\n\n");
  test_end(&test);
}

// An upstream that counts the prompt only at the end; an answer without anything in it; a second START.
static void stream_with_little_known(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", NULL);
  push_start(&test, 0, 0, 0);
  expect_out(&test, START_OF("5", "0"));  // estimated from the bytes
  push_start(&test, 0, 0, 0);
  expect_out(&test, "");
  push_thought(&test, "nobody asked", "proof");
  expect_out(&test, "");
  push_end(&test, 0, RH_FINISH_STOP);
  const char *out = rh_dynbuf_data(&test.out);
  assert_int_equal(strncmp(out, "event: message_delta\n", 21), 0);
  assert_non_null(strstr(out, "\"stop_reason\":\"end_turn\""));
  test_end(&test);
  // All of the prompt came from the cache; clients still must not see zero at the start.
  test_begin(&test, PATH, "{" HI ",\"stream\":true}", NULL);
  push_start(&test, 0, 9, 9);
  expect_out(&test, START_OF("1", "9"));
  test_end(&test);
}

#define WHOLE \
  "{\"id\":\"msg_" TEST_ID_DIGITS "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\",\"content\":["

static void whole(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, PATH, "{" HI THINK ",\"foo\":1}", &info);
  push_start(&test, 0, 9, 4);
  push_thought(&test, "h", NULL);
  push_thought(&test, "m", "proof");
  push_thought(&test, "", "redacted_thinking:blob");
  push_text(&test, 0, "a");
  push_tool(&test, 0, "t1", "f", " {\"a\":");
  push_tool(&test, 0, NULL, NULL, "1}");
  push_text(&test, 0, "b\n");
  push_tool(&test, 1, "t2", "g", "");
  push_tool(&test, 2, "t3", "g", "{\"cut");
  push_usage(&test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 11, .cached_tokens = 4, .decode_ms = 20});
  expect_out(&test, "");
  push_end(&test, 0, RH_FINISH_STOP);
  assert_true(test.finished);
  expect_out(
      &test, WHOLE
      "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"proof\"},"
      "{\"type\":\"redacted_thinking\",\"data\":\"blob\"},{\"type\":\"text\",\"text\":\"a\"},"
      "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\": {\"a\":1}},{\"type\":\"text\",\"text\":"
      "\"b\\n\"},{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}},{\"type\":\"tool_use\",\"id\":"
      "\"t3\",\"name\":\"g\",\"input\":{\"invalid_arguments\":\"{\\\"cut\"}}],\"stop_reason\":\"tool_use\","
      "\"stop_sequence\":null,\"usage\":{\"input_tokens\":5,\"cache_creation_input_tokens\":0,"
      "\"cache_read_input_tokens\":4,\"output_tokens\":11},\"roundhouse\":{" TEST_ORIGIN(
          "500.000") "},\"warnings\":[\"foo\"]}");
  test_end(&test);
}

static void stop_sequence(void **state) {
  (void)state;
  test_case test;
  test_begin(&test, PATH, "{" HI ",\"stop_sequences\":[\"END\"]}", NULL);
  push_start(&test, 0, 9, 0);
  push_thought(&test, "nobody asked", NULL);
  push_text(&test, 0, "old");
  push_start(&test, 0, 9, 0);
  push_text(&test, 0, "a");
  push(&test, &(rh_event){.kind = RH_EVENT_END, .as.end = {.finish = RH_FINISH_STOP, .stop = "END"}});
  const char *out = rh_dynbuf_data(&test.out);
  const char *begin =
      WHOLE "{\"type\":\"text\",\"text\":\"a\"}],\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"";
  assert_int_equal(strncmp(out, begin, strlen(begin)), 0);
  test_end(&test);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stream),
      cmocka_unit_test(stream_with_little_known),
      cmocka_unit_test(whole),
      cmocka_unit_test(stop_sequence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
