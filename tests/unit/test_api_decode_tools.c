// SPDX-License-Identifier: Apache-2.0
//
// What only some models can do, as OpenAI's clients ask for it: tools, images, JSON, thinking; and the hints of all dialects.
#include <stdlib.h>

#include "test_api_support.h"

#define PATH "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define WITH(fields) "{" HI "," fields "}"

#define MESSAGE(fields) "{\"messages\":[{" fields "}]}"
#define IMAGE(url) \
  MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url "\"}}]")
#define IMAGE_URL "messages[0].content[0].image_url.url"
#define TOOL_F "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"

static const bad_body BAD[] = {
    {MESSAGE("\"role\":\"tool\",\"content\":\"x\""), RH_INVALID, "messages[0].tool_call_id", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":\"x\",\"tool_call_id\":\"c\""), RH_INVALID, "messages[0].tool_call_id",
     "role \"tool\""},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\"}]"), RH_INVALID,
     "messages[0].content[1].image_url", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]"), RH_INVALID,
     "messages[0].content[0].image_url.url", "missing"},
    {IMAGE("file:///etc/passwd"), RH_INVALID, IMAGE_URL, "http(s) URL"},
    {IMAGE("https://x/a b"), RH_INVALID, IMAGE_URL, "blanks"},
    {IMAGE("data:image/png,abc"), RH_INVALID, IMAGE_URL, "without base64"},
    {IMAGE("data:;base64,AA=="), RH_INVALID, IMAGE_URL, "an image such as"},
    {IMAGE("data:text/html;base64,AA=="), RH_INVALID, IMAGE_URL, "\"text/html\""},
    {IMAGE("data:image/png;base64,"), RH_INVALID, IMAGE_URL, "not base64"},
    {IMAGE("data:image/png;base64,A A="), RH_INVALID, IMAGE_URL, "not base64"},
    {IMAGE("data:image/png;base64,A==="), RH_INVALID, IMAGE_URL, "not base64"},
    {MESSAGE("\"role\":\"assistant\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"https://x\"}]"), RH_INVALID,
     "messages[0].content[0]", "of the user"},
    {MESSAGE("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]"), RH_INVALID, "messages[0].tool_calls[0].id",
     "missing"},
    {MESSAGE("\"role\":\"assistant\",\"tool_calls\":{\"a\":1}"), RH_INVALID, "messages[0].tool_calls", "an array"},
    {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[5]"), RH_INVALID, "messages[0].tool_calls[0]", "an object"},
    {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]"), RH_INVALID,
     "messages[0].tool_calls[0].function", "missing"},
    {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"function\":{}}]"), RH_INVALID,
     "messages[0].tool_calls[0].function.name", "missing"},
    {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"custom\"}]"), RH_UNSUPPORTED,
     "messages[0].tool_calls[0]", "\"custom\""},
    {MESSAGE("\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[{}]"), RH_INVALID, "messages[0].tool_calls",
     "of the assistant"},
    {MESSAGE("\"role\":\"assistant\",\"function_call\":{}"), RH_UNSUPPORTED, "messages[0].function_call", "older form"},
    {MESSAGE("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]"), RH_INVALID, "messages[0].content",
     "missing"},
    {WITH("\"tools\":[{\"type\":\"function\"}]"), RH_INVALID, "tools[0].function", "missing"},
    {WITH("\"tools\":[{\"function\":{}}]"), RH_INVALID, "tools[0].type", "missing"},
    {WITH("\"tools\":[{\"type\":\"custom\"}]"), RH_UNSUPPORTED, "tools[0]", "\"custom\""},
    {WITH("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]"), RH_INVALID, "tools[0].function.name",
     "empty"},
    {WITH("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":1}}]"), RH_INVALID,
     "tools[0].function.parameters", "an object"},
    {WITH("\"tools\":[1]"), RH_INVALID, "tools[0]", "an object"},
    {WITH("\"tools\":{}"), RH_INVALID, "tools", "an array"},
    {WITH("\"tool_choice\":\"required\""), RH_INVALID, "tool_choice", "there is none"},
    {WITH("\"tool_choice\":\"perhaps\""), RH_INVALID, "tool_choice", "\"perhaps\""},
    {WITH("\"tool_choice\":{\"type\":\"function\"}"), RH_INVALID, "tool_choice.function", "missing"},
    {WITH("\"tool_choice\":{\"type\":\"allowed_tools\"}"), RH_UNSUPPORTED, "tool_choice", "\"allowed_tools\""},
    {WITH(TOOL_F ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}"), RH_INVALID, "tool_choice",
     "\"g\", which is not"},
    {WITH("\"parallel_tool_calls\":1"), RH_INVALID, "parallel_tool_calls", "true or false"},
    {WITH("\"reasoning_effort\":1"), RH_INVALID, "reasoning_effort", "a string"},
    {WITH("\"functions\":[{}]"), RH_UNSUPPORTED, "functions", "older form"},
    {WITH("\"function_call\":{\"name\":\"f\"}"), RH_UNSUPPORTED, "function_call", "older form"},
    {WITH("\"response_format\":{\"type\":\"json_schema\"}"), RH_INVALID, "response_format.json_schema", "missing"},
    {WITH("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}"), RH_INVALID,
     "response_format.json_schema.name", "missing"},
    {WITH("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":1}}"), RH_INVALID,
     "response_format.json_schema.schema", "an object"},
    {WITH("\"privacy\":\"secret\""), RH_INVALID, "privacy", "\"secret\""},
    {WITH("\"privacy\":true"), RH_INVALID, "privacy", "\"low\""},
    {WITH("\"localOnly\":\"yes\""), RH_INVALID, "localOnly", "true or false"},
    {WITH("\"local_only\":1"), RH_INVALID, "local_only", "not a number"},
    {WITH("\"complexity\":\"extreme\""), RH_INVALID, "complexity", "\"extreme\""},
    {WITH("\"cache\":\"maybe\""), RH_INVALID, "cache", "\"fresh\" or \"only\""},
    {WITH("\"agent_type\":1"), RH_INVALID, "agent_type", "a string"},
    {WITH("\"response_format\":{\"type\":\"poem\"}"), RH_INVALID, "response_format.type", "poem"},
    {WITH("\"response_format\":{}"), RH_INVALID, "response_format.type", "missing"},
    {WITH("\"response_format\":\"text\""), RH_INVALID, "response_format", "an object"},
};

static void refused(void **state) {
  (void)state;
  expect_refused(PATH, BAD, COUNT(BAD));
}

static void decode_ok(test_case *test, const char *path, const char *body) {
  rh_status status = test_decode(test, path, body);
  if (status != RH_OK) fail_msg("%s: %s", body, test->error.message);
}

static void tools(void **state) {
  (void)state;
  test_case test;
  decode_ok(
      &test, PATH,
      WITH("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"of a \\\"city\\\"\","
           "\"parameters\":{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"number\",\"minimum\":0.1},\"a\":{}}},"
           "\"strict\":true}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}],"
           "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"now\"}},\"parallel_tool_calls\":false,"
           "\"reasoning_effort\":\"low\""));
  const rh_extras *extras = test.request.extras;
  assert_non_null(extras);
  assert_int_equal(extras->tool_count, 2);
  assert_string_equal(extras->tools[0].name, "weather");
  assert_string_equal(extras->tools[0].description, "of a \"city\"");
  assert_string_equal(extras->tools[0].schema,
                      "{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"number\",\"minimum\":0.1},\"a\":{}}}");
  assert_true(extras->tools[0].strict);
  assert_null(extras->tools[1].description);
  assert_string_equal(extras->tools[1].schema, "{\"type\":\"object\",\"properties\":{}}");
  assert_int_equal(extras->tool_choice, RH_TOOLS_NAMED);
  assert_string_equal(extras->tool_name, "now");
  assert_int_equal(extras->parallel_tools, 0);
  assert_string_equal(extras->reasoning_effort, "low");
  assert_int_equal(extras->format, RH_ANSWER_TEXT);
  assert_int_equal(test.request.needs, RH_NEEDS_TOOLS);
  test_end(&test);
}

#define TOOL "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"

static void needs(void **state) {
  (void)state;
  static const struct {
    const char *body;
    uint32_t needs;
  } ROWS[] = {
      {WITH(TOOL), RH_NEEDS_TOOLS},
      {WITH(TOOL ",\"tool_choice\":\"auto\""), RH_NEEDS_TOOLS},
      {WITH(TOOL ",\"tool_choice\":\"required\""), RH_NEEDS_TOOLS},
      {WITH(TOOL ",\"tool_choice\":\"none\""), 0},
      {WITH("\"tools\":[],\"tool_choice\":\"auto\""), 0},
      {WITH("\"response_format\":{\"type\":\"json_object\"}"), RH_NEEDS_JSON},
      {WITH("\"response_format\":{\"type\":\"text\"}"), 0},
      {WITH("\"reasoning_effort\":\"high\""), 0},
      {"{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"5\"}]}", RH_NEEDS_TOOLS},
      {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"https://x/"
       "y.png\"}]}]," TOOL "}",
       RH_NEEDS_IMAGES | RH_NEEDS_TOOLS},
      {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"only\"}]}]}", 0},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    decode_ok(&test, PATH, ROWS[i].body);
    if (test.request.needs != ROWS[i].needs) fail_msg("%s needs %u", ROWS[i].body, test.request.needs);
    test_end(&test);
  }
}

static void formats(void **state) {
  (void)state;
  test_case test;
  decode_ok(&test, PATH, WITH("\"response_format\":{\"type\":\"json_object\"}"));
  assert_int_equal(test.request.extras->format, RH_ANSWER_JSON);
  assert_int_equal(test.request.extras->parallel_tools, -1);
  test_end(&test);
  decode_ok(
      &test, PATH,
      WITH("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":true,\"schema\":"
           "{\"type\":\"object\"}}}"));
  assert_int_equal(test.request.extras->format, RH_ANSWER_SCHEMA);
  assert_string_equal(test.request.extras->schema_name, "n");
  assert_string_equal(test.request.extras->schema, "{\"type\":\"object\"}");
  assert_true(test.request.extras->schema_strict);
  test_end(&test);
}

static void conversation(void **state) {
  (void)state;
  test_case test;
  decode_ok(
      &test, PATH,
      "{\"messages\":[{\"role\":\"user\",\"content\":\"weather?\"},"
      "{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"annotations\":[],\"reasoning_content\":\"let me "
      "see\","
      "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": "
      "1}\"}},"
      "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}},"
      "{\"id\":\"c3\",\"function\":{\"name\":\"h\",\"arguments\":\"{\\\"cut\\\":\"}},"
      "{\"id\":\"c4\",\"function\":{\"name\":\"h\",\"arguments\":{\"x\":[1]}}}]},"
      "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"name\":\"f\",\"content\":\"sun\"},"
      "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
      "\"text\":\"b\"}]},{\"role\":\"tool\",\"tool_call_id\":\"c3\"}]}");
  const rh_prompt *prompt = &test.request.prompts[0];
  assert_int_equal(prompt->count, 5);
  assert_null(prompt->messages[0].pieces);
  const rh_message *called = &prompt->messages[1];
  assert_string_equal(called->role, "assistant");
  assert_string_equal(called->content, "");
  assert_int_equal(called->piece_count, 5);
  assert_int_equal(called->pieces[0].kind, RH_PIECE_REASONING);
  assert_string_equal(called->pieces[0].text, "let me see");
  static const char *const ARGUMENTS[] = {"{\"a\": 1}", "{}", "{\"invalid_arguments\":\"{\\\"cut\\\":\"}",
                                          "{\"x\":[1]}"};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(called->pieces[i + 1].kind, RH_PIECE_TOOL_CALL);
    assert_string_equal(called->pieces[i + 1].arguments, ARGUMENTS[i]);
  }
  assert_string_equal(called->pieces[1].id, "c1");
  assert_string_equal(called->pieces[1].name, "f");
  static const char *const RESULTS[] = {"sun", "a\nb", ""};
  for (size_t i = 0; i < 3; i++) {
    const rh_message *message = &prompt->messages[2 + i];
    assert_string_equal(message->role, "tool");
    assert_int_equal(message->piece_count, 1);
    assert_int_equal(message->pieces[0].kind, RH_PIECE_TOOL_RESULT);
    assert_string_equal(message->pieces[0].text, RESULTS[i]);
    assert_string_equal(message->content, RESULTS[i]);
    assert_false(message->pieces[0].failed);
  }
  assert_string_equal(prompt->messages[3].pieces[0].id, "c2");
  assert_int_equal(test.request.needs, RH_NEEDS_TOOLS);
  assert_string_equal(rh_dynbuf_data(&test.warnings), "");
  test_end(&test);
}

static void images(void **state) {
  (void)state;
  test_case test;
  decode_ok(
      &test, PATH,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"what\"},"
      "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/PNG;base64,iVBORw0KGgo=\",\"detail\":\"low\"}},"
      "{\"type\":\"image_url\",\"image_url\":{\"url\":\"HTTPS://example.org/a.jpg\"}},"
      "{\"type\":\"text\",\"text\":\"is it\"}]}]}");
  const rh_message *message = &test.request.prompts[0].messages[0];
  assert_string_equal(message->content, "what\nis it");
  assert_int_equal(message->piece_count, 4);
  assert_int_equal(message->pieces[0].kind, RH_PIECE_TEXT);
  assert_int_equal(message->pieces[1].kind, RH_PIECE_IMAGE);
  assert_string_equal(message->pieces[1].media_type, "image/png");
  assert_string_equal(message->pieces[1].data, "iVBORw0KGgo=");
  assert_string_equal(message->pieces[1].detail, "low");
  assert_null(message->pieces[1].url);
  assert_string_equal(message->pieces[2].url, "HTTPS://example.org/a.jpg");
  assert_null(message->pieces[2].data);
  assert_string_equal(message->pieces[3].text, "is it");
  test_end(&test);
}

static void hints(void **state) {
  (void)state;
  test_case test;
  decode_ok(&test, PATH,
            WITH("\"privacy\":\"high\",\"localOnly\":true,\"agentType\":\"coder\",\"complexity\":\"low\","
                 "\"route_strategy\":\"cost\",\"cache\":\"fresh\",\"metadata\":{\"agent_type\":\"other\",\"session\":"
                 "\"s1\"}"));
  assert_int_equal(test.request.hints.privacy, RH_PRIVACY_HIGH);
  assert_true(test.request.hints.local_only);
  assert_string_equal(test.request.hints.agent_type, "coder");
  assert_string_equal(test.request.hints.complexity, "low");
  assert_string_equal(test.request.hints.strategy, "cost");
  assert_int_equal(test.request.hints.cache, RH_CACHE_FRESH);
  assert_true(test.request.hints.cache_age_max_s < 0);
  assert_string_equal(test.request.session, "s1");
  assert_string_equal(rh_dynbuf_data(&test.warnings), "");
  test_end(&test);
  // The notes of a client that can send nothing else; words that are not ours are its own.
  decode_ok(
      &test, PATH,
      WITH(
          "\"metadata\":{\"privacy\":\"medium\",\"local_only\":\"true\",\"agentType\":\"coder\",\"complexity\":\"n/a\","
          "\"cache\":\"only\",\"mine\":\"x\",\"session\":7}"));
  assert_int_equal(test.request.hints.privacy, RH_PRIVACY_MEDIUM);
  assert_true(test.request.hints.local_only);
  assert_string_equal(test.request.hints.agent_type, "coder");
  assert_null(test.request.hints.complexity);
  assert_int_equal(test.request.hints.cache, RH_CACHE_ONLY);
  assert_null(test.request.session);
  assert_string_equal(rh_dynbuf_data(&test.warnings), "metadata.complexity, metadata.session");
  test_end(&test);
}

// Every dialect takes them: what must not leave the machine must not leave it from any endpoint.
static void hints_of_all_dialects(void **state) {
  (void)state;
#define HINTS ",\"privacy\":\"high\",\"local_only\":true,\"cache\":false}"
  static const struct {
    const char *path, *body;
  } ROWS[] = {
      {"/v1/completions", "{\"prompt\":\"x\"" HINTS},  {"/generate", "{\"prompt\":\"x\"" HINTS},
      {"/v1/embeddings", "{\"input\":\"x\"" HINTS},    {"/v1/rerank", "{\"query\":\"q\",\"documents\":[\"d\"]" HINTS},
      {"/api/embed", "{\"input\":\"x\"" HINTS},        {"/api/inference", "{\"inputs\":\"x\"" HINTS},
      {"/v1/messages", "{\"max_tokens\":5," HI HINTS},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    decode_ok(&test, ROWS[i].path, ROWS[i].body);
    assert_int_equal(test.request.hints.privacy, RH_PRIVACY_HIGH);
    assert_true(test.request.hints.local_only);
    assert_int_equal(test.request.hints.cache, RH_CACHE_NEVER);
    test_end(&test);
  }
}

static void given(void **state) {
  (void)state;
  static const struct {
    const char *path, *body;
    uint32_t given;
  } ROWS[] = {
      {PATH, "{" HI "}", 0},
      {PATH, WITH("\"max_completion_tokens\":5"), RH_GIVEN_MAX_TOKENS},
      {PATH, WITH("\"temperature\":0"), RH_GIVEN_TEMPERATURE},
      {PATH, WITH("\"temperature\":null,\"top_k\":-1"), RH_GIVEN_TOP_K},
      {PATH, WITH("\"top_p\":0"), RH_GIVEN_TEMPERATURE},  // it is told as greedy choice
      {PATH, WITH("\"repetition_penalty\":1.1,\"min_p\":0.1"), RH_GIVEN_REPEAT_PENALTY | RH_GIVEN_MIN_P},
      {PATH, WITH("\"presence_penalty\":1"), RH_GIVEN_PRESENCE_PENALTY},
      {PATH, WITH("\"frequency_penalty\":1"), RH_GIVEN_FREQUENCY_PENALTY},
      {"/v1/completions", "{\"prompt\":\"x\",\"top_p\":0.5}", RH_GIVEN_MAX_TOKENS | RH_GIVEN_TOP_P},
      {"/generate", "{\"prompt\":\"x\",\"temp\":0.5}", RH_GIVEN_MAX_TOKENS | RH_GIVEN_TEMPERATURE},
      {"/v1/messages", "{\"max_tokens\":5,\"top_k\":3," HI "}", RH_GIVEN_MAX_TOKENS | RH_GIVEN_TOP_K},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    decode_ok(&test, ROWS[i].path, ROWS[i].body);
    if (test.request.generate.given != ROWS[i].given) fail_msg("%s gave %x", ROWS[i].body, test.request.generate.given);
    test_end(&test);
  }
}

static void limits(void **state) {
  (void)state;
  char *body = malloc(RH_TOOLS_MAX * 64 + 1000);
  char *at = body;
  assert_non_null(body);
  at += sprintf(at, "{" HI ",\"tools\":[");
  for (int i = 0; i <= RH_TOOLS_MAX; i++) {
    at += sprintf(at, "%s{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", i ? "," : "");
  }
  (void)sprintf(at, "]}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "tools", "may have 512"}, 1);
  (void)sprintf(body, "{" HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"%0129d\"}}]}", 0);
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "tools[0].function.name", "128 bytes"}, 1);
  at = body + sprintf(body, "{\"messages\":[{\"role\":\"user\",\"content\":[");
  for (int i = 0; i < 4096; i++) at += sprintf(at, "%s1", i ? "," : "");
  (void)sprintf(at, "]}]}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "messages[0]", "more than 4096"}, 1);
  free(body);
}

static void memory_is_bounded(void **state) {
  (void)state;
  expect_bounded_memory(
      PATH,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
      "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\",\"detail\":\"low\"}}]},"
      "{\"role\":\"assistant\",\"reasoning\":\"r\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\","
      "\"arguments\":\"[\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"x\"}]," TOOL
      ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},\"reasoning_effort\":\"low\","
      "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"a\":1}}},"
      "\"agent_type\":\"x\",\"metadata\":{\"route_strategy\":\"cost\"}}");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refused),
      cmocka_unit_test(tools),
      cmocka_unit_test(needs),
      cmocka_unit_test(formats),
      cmocka_unit_test(conversation),
      cmocka_unit_test(images),
      cmocka_unit_test(hints),
      cmocka_unit_test(hints_of_all_dialects),
      cmocka_unit_test(given),
      cmocka_unit_test(limits),
      cmocka_unit_test(memory_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
