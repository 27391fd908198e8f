// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/messages: bodies to requests, and every body that must be refused with its field and reason.
#include <stdlib.h>

#include "test_api_support.h"

#define PATH "/v1/messages"
#define HI "\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define WITH(fields) "{" HI "," fields "}"
#define MESSAGE(fields) "{\"max_tokens\":5,\"messages\":[{" fields "}]}"
#define USER(block) MESSAGE("\"role\":\"user\",\"content\":[" block "]")
#define ASSISTANT(block) MESSAGE("\"role\":\"assistant\",\"content\":[" block "]")
#define BLOCK "messages[0].content[0]"

static const bad_body BAD[] = {
    {"{}", RH_INVALID, "messages", "missing"},
    {"{\"max_tokens\":5,\"messages\":[]}", RH_INVALID, "messages", "empty"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", RH_INVALID, "max_tokens", "\"max_tokens\" is missing"},
    {"{\"max_tokens\":null,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", RH_INVALID, "max_tokens",
     "missing"},
    {MESSAGE("\"content\":\"x\""), RH_INVALID, "messages[0].role", "missing"},
    {MESSAGE("\"role\":\"tool\",\"content\":\"x\""), RH_INVALID, "messages[0].role", "\"tool\""},
    {MESSAGE("\"role\":\"user\""), RH_INVALID, "messages[0].content", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":5"), RH_INVALID, "messages[0].content", "not a number"},
    {USER("5"), RH_INVALID, BLOCK, "an object"},
    {USER("{}"), RH_INVALID, BLOCK ".type", "missing"},
    {USER("{\"type\":\"text\"}"), RH_INVALID, BLOCK ".text", "missing"},
    {USER("{\"type\":\"document\",\"source\":{}}"), RH_UNSUPPORTED, BLOCK, "\"document\""},
    {USER("{\"type\":\"web_search_tool_result\"}"), RH_UNSUPPORTED, BLOCK, "not supported"},
    {USER("{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}"), RH_INVALID, BLOCK,
     "of the assistant only"},
    {USER("{\"type\":\"thinking\",\"thinking\":\"x\"}"), RH_INVALID, BLOCK, "of the assistant only"},
    {USER("{\"type\":\"image\"}"), RH_INVALID, BLOCK ".source", "missing"},
    {USER("{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"x\"}}"), RH_UNSUPPORTED, BLOCK ".source",
     "\"file\""},
    {USER("{\"type\":\"image\",\"source\":{\"type\":\"url\"}}"), RH_INVALID, BLOCK ".source.url", "missing"},
    {USER("{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"ftp://x\"}}"), RH_INVALID, BLOCK ".source",
     "http(s)"},
    {USER("{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"data\":\"AA==\"}}"), RH_INVALID,
     BLOCK ".source.media_type", "missing"},
    {USER("{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"<>\"}}"),
     RH_INVALID, BLOCK ".source", "not base64"},
    {USER("{\"type\":\"tool_result\"}"), RH_INVALID, BLOCK ".tool_use_id", "missing"},
    {USER("{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":5}"), RH_INVALID, BLOCK ".content",
     "not a number"},
    {USER("{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"is_error\":5}"), RH_INVALID, BLOCK ".is_error",
     "true or false"},
    {USER("{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"document\"}]}"), RH_UNSUPPORTED,
     BLOCK ".content[0]", "\"document\""},
    {ASSISTANT("{\"type\":\"image\",\"source\":{}}"), RH_INVALID, BLOCK, "of the user only"},
    {ASSISTANT("{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}"), RH_INVALID, BLOCK, "of the user only"},
    {ASSISTANT("{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\"}"), RH_INVALID, BLOCK ".input", "missing"},
    {ASSISTANT("{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":\"{}\"}"), RH_INVALID, BLOCK ".input",
     "an object"},
    {ASSISTANT("{\"type\":\"tool_use\",\"id\":\"a\",\"input\":{}}"), RH_INVALID, BLOCK ".name", "missing"},
    {ASSISTANT("{\"type\":\"thinking\"}"), RH_INVALID, BLOCK ".thinking", "missing"},
    {ASSISTANT("{\"type\":\"redacted_thinking\"}"), RH_INVALID, BLOCK ".data", "missing"},
    {WITH("\"system\":5"), RH_INVALID, "system", "not a number"},
    {WITH("\"system\":[{\"type\":\"image\"}]"), RH_UNSUPPORTED, "system[0]", "\"image\""},
    {WITH("\"temperature\":1.5"), RH_INVALID, "temperature", "from 0 to 1"},
    {WITH("\"stop_sequences\":[5]"), RH_INVALID, "stop_sequences[0]", "a string"},
    {WITH("\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]"), RH_UNSUPPORTED, "tools[0]",
     "\"web_search_20250305\""},
    {WITH("\"tools\":[{\"input_schema\":{}}]"), RH_INVALID, "tools[0].name", "missing"},
    {WITH("\"tool_choice\":{\"type\":\"any\"}"), RH_INVALID, "tool_choice", "there is none"},
    {WITH("\"tool_choice\":{\"type\":\"maybe\"}"), RH_INVALID, "tool_choice.type", "\"maybe\""},
    {WITH("\"tool_choice\":{\"type\":\"tool\"}"), RH_INVALID, "tool_choice.name", "missing"},
    {WITH("\"tools\":[{\"name\":\"f\"}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"g\"}"), RH_INVALID, "tool_choice",
     "\"g\""},
    {WITH("\"thinking\":{}"), RH_INVALID, "thinking.type", "missing"},
    {WITH("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":0}"), RH_INVALID, "thinking.budget_tokens", "0"},
    {WITH("\"output_config\":{\"format\":{\"type\":\"xml\"}}"), RH_INVALID, "output_config.format", "\"xml\""},
    {WITH("\"output_format\":{\"type\":\"json_schema\"}"), RH_INVALID, "output_format.schema", "missing"},
    {WITH("\"mcp_servers\":[{}]"), RH_UNSUPPORTED, "mcp_servers", "not supported"},
    {WITH("\"metadata\":[]"), RH_INVALID, "metadata", "an object"},
};

static void refused(void **state) {
  (void)state;
  expect_refused(PATH, BAD, COUNT(BAD));
}

static void decode_ok(test_case *test, const char *body) {
  rh_status status = test_decode(test, PATH, body);
  if (status != RH_OK) fail_msg("%s: %s", body, test->error.message);
}

static void all_fields(void **state) {
  (void)state;
  test_case test;
  decode_ok(
      &test,
      WITH("\"model\":\"m\",\"system\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}},"
           "{\"type\":\"text\",\"text\":\"b\"}],\"stop_sequences\":[\"x\",\"y\"],\"temperature\":0.5,\"top_p\":0.9,"
           "\"top_k\":7,\"stream\":true,\"metadata\":{\"user_id\":\"u\",\"agent_type\":\"coder\"},"
           "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2048},\"service_tier\":\"auto\",\"mcp_servers\":[],"
           "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"},\"cache_control\":"
           "null},"
           "{\"type\":\"custom\",\"name\":\"g\"}],"
           "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true},"
           "\"output_config\":{\"effort\":\"low\",\"format\":{\"type\":\"json_schema\",\"schema\":{\"a\":1}}}"));
  const rh_request *request = &test.request;
  assert_int_equal(request->task, RH_TASK_CHAT);
  assert_string_equal(request->model, "m");
  assert_int_equal(request->generate.max_tokens, 5);
  assert_int_equal(request->generate.stop_count, 2);
  assert_float_equal(request->generate.temperature, 0.5, 0);
  assert_int_equal(request->generate.top_k, 7);
  assert_int_equal(request->generate.given,
                   RH_GIVEN_MAX_TOKENS | RH_GIVEN_TEMPERATURE | RH_GIVEN_TOP_P | RH_GIVEN_TOP_K);
  assert_true(request->stream);
  assert_string_equal(request->user, "u");
  assert_string_equal(request->hints.agent_type, "coder");
  assert_int_equal(request->needs, RH_NEEDS_TOOLS | RH_NEEDS_JSON);
  const rh_extras *extras = request->extras;
  assert_int_equal(extras->tool_count, 2);
  assert_string_equal(extras->tools[0].schema, "{\"type\":\"object\"}");
  assert_string_equal(extras->tools[0].description, "d");
  assert_int_equal(extras->tool_choice, RH_TOOLS_REQUIRED);
  assert_int_equal(extras->parallel_tools, 0);
  assert_int_equal(extras->reasoning_tokens, 2048);
  assert_string_equal(extras->reasoning_effort, "low");
  assert_int_equal(extras->format, RH_ANSWER_SCHEMA);
  assert_string_equal(extras->schema, "{\"a\":1}");
  assert_int_equal(request->prompts[0].count, 2);
  assert_string_equal(request->prompts[0].messages[0].role, "system");
  assert_string_equal(request->prompts[0].messages[0].content, "a\nb");
  // Kept in pieces for its mark alone.
  assert_int_equal(request->prompts[0].messages[0].piece_count, 2);
  assert_true(request->prompts[0].messages[0].pieces[0].cache_mark);
  assert_false(request->prompts[0].messages[0].pieces[1].cache_mark);
  assert_false(extras->tools[0].cache_mark);
  assert_string_equal(request->prompts[0].messages[1].content, "hi");
  assert_string_equal(rh_dynbuf_data(&test.warnings), "");
  test_end(&test);
}

static void plain(void **state) {
  (void)state;
  test_case test;
  decode_ok(&test, WITH("\"thinking\":{\"type\":\"adaptive\"}"));
  assert_true(test.request.extras->reasoning_adaptive);
  test_end(&test);
  decode_ok(&test, WITH("\"system\":\"\",\"foo\":1,\"context_management\":{}"));
  assert_int_equal(test.request.prompts[0].count, 1);
  assert_null(test.request.prompts[0].messages[0].pieces);
  assert_null(test.request.extras);
  assert_int_equal(test.request.needs, 0);
  assert_string_equal(rh_dynbuf_data(&test.warnings), "context_management, foo");
  test_end(&test);
}

static void expect_message(const rh_message *message, const char *role, const char *content, size_t pieces) {
  assert_string_equal(message->role, role);
  assert_string_equal(message->content, content);
  assert_int_equal(message->piece_count, pieces);
}

static void conversation(void **state) {
  (void)state;
  test_case test;
  decode_ok(&test,
            "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"look\"},{"
            "\"type\":\"image\","
            "\"source\":{\"type\":\"base64\",\"media_type\":\"image/jpeg\",\"data\":\"/9j/"
            "\"}},{\"type\":\"image\",\"source\":{\"type\":"
            "\"url\",\"url\":\"https://x/y\"}}]},"
            "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s1g\"},"
            "{\"type\":\"redacted_thinking\",\"data\":\"blob\"},{\"type\":\"text\",\"text\":\"ok\"},"
            "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":[1,2]}},"
            "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}}]},"
            "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"one\"},"
            "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,\"cache_control\":{\"type\":"
            "\"ephemeral\"},\"content\":"
            "[{\"type\":\"text\",\"text\":\"b\"},{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":"
            "\"image/png\","
            "\"data\":\"AAAA\"}},{\"type\":\"text\",\"text\":\"c\"}]},{\"type\":\"text\",\"text\":\"and now?\"}]},"
            "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t3\"}]},"
            "{\"role\":\"assistant\",\"content\":[]}]}");
  const rh_prompt *prompt = &test.request.prompts[0];
  assert_int_equal(prompt->count, 6);
  const rh_message *messages = prompt->messages;
  expect_message(&messages[0], "user", "look", 3);
  assert_string_equal(messages[0].pieces[1].media_type, "image/jpeg");
  assert_string_equal(messages[0].pieces[1].data, "/9j/");
  assert_string_equal(messages[0].pieces[2].url, "https://x/y");
  expect_message(&messages[1], "assistant", "ok", 5);
  assert_int_equal(messages[1].pieces[0].kind, RH_PIECE_REASONING);
  assert_string_equal(messages[1].pieces[0].signature, "s1g");
  assert_string_equal(messages[1].pieces[1].signature, "redacted_thinking:blob");
  assert_string_equal(messages[1].pieces[3].arguments, "{\"a\":[1,2]}");
  assert_string_equal(messages[1].pieces[4].name, "g");
  // The results stand in a message of their own; a tool's image goes with what the user says.
  expect_message(&messages[2], "tool", "one\nb\nc", 2);
  assert_string_equal(messages[2].pieces[0].id, "t1");
  assert_string_equal(messages[2].pieces[1].text, "b\nc");
  assert_true(messages[2].pieces[1].failed);
  assert_true(messages[2].pieces[1].cache_mark);
  assert_false(messages[2].pieces[0].cache_mark);
  expect_message(&messages[3], "user", "and now?", 2);
  assert_int_equal(messages[3].pieces[0].kind, RH_PIECE_IMAGE);
  expect_message(&messages[4], "tool", "", 1);
  assert_string_equal(messages[4].pieces[0].text, "");
  expect_message(&messages[5], "assistant", "", 0);
  assert_int_equal(test.request.needs, RH_NEEDS_TOOLS | RH_NEEDS_IMAGES);
  test_end(&test);
}

// Messages that become two each pass the limit with half as many.
static void limits(void **state) {
  (void)state;
  char *body = malloc(RH_MESSAGES_MAX * 120 + 1000);
  char *at = body;
  assert_non_null(body);
  at += sprintf(at, "{\"max_tokens\":5,\"messages\":[");
  for (int i = 0; i < RH_MESSAGES_MAX / 2 + 1; i++) {
    at +=
        sprintf(at,
                "%s{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\"},{\"type\":\"text\","
                "\"text\":\"b\"}]}",
                i ? "," : "");
  }
  (void)sprintf(at, "]}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "messages", "may have 4096"}, 1);
  at = body + sprintf(body, "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[");
  for (int i = 0; i < 4097; i++) at += sprintf(at, "%s1", i ? "," : "");
  (void)sprintf(at, "]}]}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "messages[0].content", "more than 4096"}, 1);
  free(body);
}

static void memory_is_bounded(void **state) {
  (void)state;
  expect_bounded_memory(
      PATH,
      "{\"max_tokens\":5,\"system\":[{\"type\":\"text\",\"text\":\"s\"}],\"messages\":[{\"role\":\"assistant\","
      "\"content\":["
      "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"},{\"type\":\"redacted_thinking\",\"data\":\"d\"},"
      "{\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"n\",\"input\":{\"a\":1}}]},{\"role\":\"user\",\"content\":["
      "{\"type\":\"tool_result\",\"tool_use_id\":\"i\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":"
      "\"image\","
      "\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
      "png\",\"data\":\"AAAA\"}}]}]}],\"tools\":[{\"name\":\"f\","
      "\"description\":\"d\",\"input_schema\":{\"a\":1}}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"},"
      "\"thinking\":{\"type\":\"enabled\"},\"output_config\":{\"effort\":\"low\",\"format\":{\"type\":\"json_schema\","
      "\"schema\":{}}},"
      "\"metadata\":{\"user_id\":\"u\"}}");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refused),      cmocka_unit_test(all_fields), cmocka_unit_test(plain),
      cmocka_unit_test(conversation), cmocka_unit_test(limits),     cmocka_unit_test(memory_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
