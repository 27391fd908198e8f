// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/chat/completions: bodies to requests, and every body that must be refused with its field and reason.
#include "test_api_support.h"

#define PATH "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define WITH(fields) "{" HI "," fields "}"
#define MESSAGE(fields) "{\"messages\":[{" fields "}]}"

static const bad_body BAD[] = {
    {"", RH_INVALID, "", "no body"},
    {"{", RH_INVALID, "", "the request's body is not valid JSON"},
    {"[]", RH_INVALID, "", "must be a JSON object, not an array"},
    {"{\"a\":1,\"a\":2}", RH_INVALID, "", "not valid JSON"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", RH_INVALID, "", "not valid JSON"},
    {"{}", RH_INVALID, "messages", "missing"},
    {"{\"messages\":null}", RH_INVALID, "messages", "missing"},
    {"{\"messages\":\"hi\"}", RH_INVALID, "messages", "an array"},
    {"{\"messages\":[]}", RH_INVALID, "messages", "empty"},
    {"{\"messages\":[1]}", RH_INVALID, "messages[0]", "must be an object, not a number"},
    {MESSAGE("\"content\":\"x\""), RH_INVALID, "messages[0].role", "missing"},
    {MESSAGE("\"role\":1"), RH_INVALID, "messages[0].role", "a string"},
    {MESSAGE("\"role\":\"boss\",\"content\":\"x\""), RH_INVALID, "messages[0].role", "\"boss\""},
    {MESSAGE("\"role\":\"function\",\"content\":\"x\""), RH_UNSUPPORTED, "messages[0].role", "functions"},
    {MESSAGE("\"role\":\"user\""), RH_INVALID, "messages[0].content", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":null"), RH_INVALID, "messages[0].content", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":7"), RH_INVALID, "messages[0].content", "not a number"},
    {MESSAGE("\"role\":\"user\",\"content\":[]"), RH_INVALID, "messages[0].content", "empty"},
    {MESSAGE("\"role\":\"user\",\"content\":[\"x\"]"), RH_INVALID, "messages[0].content[0]", "an object"},
    {MESSAGE("\"role\":\"user\",\"content\":[{}]"), RH_INVALID, "messages[0].content[0].type", "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"x\"}]"), RH_INVALID, "messages[0].content[0].type", "\"x\""},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"text\"}]"), RH_INVALID, "messages[0].content[0].text",
     "missing"},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]"), RH_UNSUPPORTED, "messages[0].content[0]",
     "sound"},
    {MESSAGE("\"role\":\"user\",\"content\":[{\"type\":\"file\"}]"), RH_UNSUPPORTED, "messages[0].content[0]", "files"},
    {MESSAGE("\"role\":\"assistant\",\"audio\":{\"id\":\"x\"}"), RH_UNSUPPORTED, "messages[0].audio", "sound"},
    {WITH("\"model\":3"), RH_INVALID, "model", "a string"},
    {WITH("\"stream\":\"yes\""), RH_INVALID, "stream", "true or false"},
    {WITH("\"max_tokens\":0"), RH_INVALID, "max_tokens", "0"},
    {WITH("\"max_tokens\":1.5"), RH_INVALID, "max_tokens", "whole number"},
    {WITH("\"max_completion_tokens\":-1"), RH_INVALID, "max_completion_tokens", "-1"},
    {WITH("\"temperature\":2.1"), RH_INVALID, "temperature", "from 0 to 2"},
    {WITH("\"temperature\":\"hot\""), RH_INVALID, "temperature", "a string"},
    {WITH("\"top_p\":1.1"), RH_INVALID, "top_p", "from 0 to 1"},
    {WITH("\"top_p\":-0.1"), RH_INVALID, "top_p", "from 0 to 1"},
    {WITH("\"min_p\":2"), RH_INVALID, "min_p", "from 0 to 1"},
    {WITH("\"top_k\":-2"), RH_INVALID, "top_k", "-2"},
    {WITH("\"repeat_penalty\":0"), RH_INVALID, "repeat_penalty", "0.1"},
    {WITH("\"repetition_penalty\":11"), RH_INVALID, "repetition_penalty", "10"},
    {WITH("\"presence_penalty\":3"), RH_INVALID, "presence_penalty", "from -2 to 2"},
    {WITH("\"frequency_penalty\":-3"), RH_INVALID, "frequency_penalty", "from -2 to 2"},
    {WITH("\"n\":0"), RH_INVALID, "n", "0"},
    {WITH("\"n\":17"), RH_INVALID, "n", "16"},
    {WITH("\"seed\":1.5"), RH_INVALID, "seed", "whole number"},
    {WITH("\"seed\":99999999999999999999"), RH_INVALID, "", "not valid JSON"},
    {WITH("\"stop\":1"), RH_INVALID, "stop", "a string or an array"},
    {WITH("\"stop\":\"\""), RH_INVALID, "stop", "empty"},
    {WITH("\"stop\":[\"a\",\"\"]"), RH_INVALID, "stop[1]", "empty"},
    {WITH("\"stop\":[\"a\",2]"), RH_INVALID, "stop[1]", "a string"},
    {WITH("\"stop\":[\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\","
          "\"1\"]"),
     RH_INVALID, "stop", "at most 16"},
    {WITH("\"logit_bias\":[]"), RH_INVALID, "logit_bias", "an object"},
    {WITH("\"logit_bias\":{\"cat\":1}"), RH_INVALID, "logit_bias", "\"cat\""},
    {WITH("\"logit_bias\":{\" 1\":1}"), RH_INVALID, "logit_bias", "token ids"},
    {WITH("\"logit_bias\":{\"-1\":1}"), RH_INVALID, "logit_bias", "token ids"},
    {WITH("\"logit_bias\":{\"99999999999999999999\":1}"), RH_INVALID, "logit_bias", "token ids"},
    {WITH("\"logit_bias\":{\"4294967296\":1}"), RH_INVALID, "logit_bias", "token ids"},
    {WITH("\"logit_bias\":{\"5\":101}"), RH_INVALID, "logit_bias", "from -100 to 100"},
    {WITH("\"logit_bias\":{\"5\":\"x\"}"), RH_INVALID, "logit_bias", "token 5"},
    {WITH("\"top_logprobs\":2"), RH_INVALID, "top_logprobs", "needs \"logprobs\": true"},
    {WITH("\"logprobs\":false,\"top_logprobs\":2"), RH_INVALID, "top_logprobs", "needs"},
    {WITH("\"logprobs\":true,\"top_logprobs\":21"), RH_INVALID, "top_logprobs", "20"},
    {WITH("\"logprobs\":3"), RH_INVALID, "logprobs", "true or false"},
    {WITH("\"stream_options\":3"), RH_INVALID, "stream_options", "an object"},
    {WITH("\"stream_options\":{\"include_usage\":1}"), RH_INVALID, "stream_options.include_usage", "true or false"},
    {WITH("\"modalities\":[\"text\",\"audio\"]"), RH_UNSUPPORTED, "modalities", "text only"},
    {WITH("\"modalities\":[1]"), RH_INVALID, "modalities", "strings"},
    {WITH("\"audio\":{\"voice\":\"x\"}"), RH_UNSUPPORTED, "audio", "spoken"},
    {WITH("\"prediction\":{\"type\":\"content\"}"), RH_UNSUPPORTED, "prediction", "predicted"},
    {WITH("\"web_search_options\":{}"), RH_UNSUPPORTED, "web_search_options", "web"},
    {WITH("\"timeout\":0"), RH_INVALID, "timeout", "0.001"},
    {WITH("\"timeout\":90000"), RH_INVALID, "timeout", "86400"},
    {WITH("\"keep_alive\":\"soon\""), RH_INVALID, "keep_alive", "no time to stay in memory"},
    {WITH("\"keep_alive\":true"), RH_INVALID, "keep_alive", "number of seconds"},
    {WITH("\"priority\":101"), RH_INVALID, "priority", "100"},
    {WITH("\"session\":5"), RH_INVALID, "session", "a string"},
    {WITH("\"ignore_eos\":1"), RH_INVALID, "ignore_eos", "true or false"},
    {WITH("\"user\":{}"), RH_INVALID, "user", "a string"},
};

static void refused(void **state) {
  (void)state;
  expect_refused(PATH, BAD, COUNT(BAD));
}

// Bodies too long to stand in a table.
static void limits(void **state) {
  (void)state;
  char *body = malloc(RH_MESSAGES_MAX * 40 + 1000);
  char *at = body;
  assert_non_null(body);
  at += sprintf(at, "{\"messages\":[");
  for (int i = 0; i <= RH_MESSAGES_MAX; i++) at += sprintf(at, "%s{\"role\":\"user\",\"content\":\"\"}", i ? "," : "");
  (void)sprintf(at, "]}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "messages", "may have 4096"}, 1);
  (void)sprintf(body, "{" HI ",\"model\":\"%0129d\"}", 0);
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "model", "128 bytes"}, 1);
  (void)sprintf(body, "{" HI ",\"stop\":[\"%0257d\"]}", 0);
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "stop[0]", "256"}, 1);
  (void)sprintf(body, "{" HI ",\"user\":\"%0257d\"}", 0);
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "user", "256 bytes"}, 1);
  at = body + sprintf(body, "{" HI ",\"logit_bias\":{");
  for (int i = 0; i <= RH_LOGIT_BIAS_MAX; i++) at += sprintf(at, "%s\"%d\":1", i ? "," : "", i);
  (void)sprintf(at, "}}");
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "logit_bias", "at most 1024"}, 1);
  at = body;
  for (int i = 0; i < 100; i++) *at++ = '[';
  *at = '\0';
  expect_refused(PATH, &(bad_body){body, RH_INVALID, "", "nested"}, 1);
  free(body);
}

static void all_fields(void **state) {
  (void)state;
  test_case test;
  rh_status status = test_decode(
      &test, PATH,
      WITH("\"model\":\"tiny\",\"max_tokens\":5,\"max_completion_tokens\":7,\"temperature\":0.5,\"top_p\":0.9,\"n\":3,"
           "\"stop\":[\"a\",\"b\"],\"seed\":42,\"presence_penalty\":-1,\"frequency_penalty\":1.5,"
           "\"logit_bias\":{\"5\":-100,\"7\":2.5},\"logprobs\":true,\"top_logprobs\":4,\"stream\":true,"
           "\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false},\"top_k\":40,\"min_p\":0.05,"
           "\"repeat_penalty\":1.1,\"ignore_eos\":true,\"timeout\":1.5,\"keep_alive\":\"1h30m\",\"priority\":-3,"
           "\"session\":\"s\",\"user\":\"u\","
           "\"metadata\":{\"a\":\"b\"},\"store\":true,\"parallel_tool_calls\":true,\"service_tier\":\"auto\","
           "\"prompt_cache_key\":\"k\",\"safety_identifier\":\"i\",\"tools\":[],\"tool_choice\":\"none\","
           "\"functions\":[],\"function_call\":\"auto\",\"response_format\":{\"type\":\"text\"},"
           "\"modalities\":[\"text\"],\"audio\":null,\"prediction\":null"));
  assert_int_equal(status, RH_OK);
  const rh_request *request = &test.request;
  const rh_generate *generate = &request->generate;
  assert_string_equal(request->id, TEST_ID);
  assert_string_equal(request->model, "tiny");
  assert_int_equal(generate->max_tokens, 7);
  assert_float_equal(generate->temperature, 0.5, 1e-6);
  assert_float_equal(generate->top_p, 0.9, 1e-6);
  assert_int_equal(request->choices, 3);
  assert_int_equal(generate->stop_count, 2);
  assert_string_equal(generate->stops[1], "b");
  assert_true(generate->has_seed);
  assert_int_equal(generate->seed, 42);
  assert_float_equal(generate->presence_penalty, -1, 0);
  assert_float_equal(generate->frequency_penalty, 1.5, 0);
  assert_int_equal(generate->logit_bias_count, 2);
  assert_int_equal(generate->logit_bias[1].token, 7);
  assert_float_equal(generate->logit_bias[1].bias, 2.5, 0);
  assert_int_equal(generate->top_logprobs, 4);
  assert_true(request->stream);
  assert_int_equal(generate->top_k, 40);
  assert_float_equal(generate->min_p, 0.05, 1e-6);
  assert_float_equal(generate->repeat_penalty, 1.1, 1e-6);
  assert_true(generate->ignore_eos);
  assert_int_equal(request->timeout_ns, 1500000000);
  assert_true(request->keep_alive == (int64_t)5400 * 1000000000);
  assert_int_equal(request->priority, -3);
  assert_string_equal(request->session, "s");
  assert_string_equal(request->user, "u");
  assert_null(request->extras);  // empty lists and words of habit say nothing
  assert_int_equal(request->needs, 0);
  assert_int_equal(generate->given, 0xff);
  assert_string_equal(rh_dynbuf_data(&test.warnings), "");
  test_end(&test);
}

static void keep_alive_is(const char *value, int64_t expected) {
  test_case test;
  char body[256];
  snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s%s}",
           value != NULL ? ",\"keep_alive\":" : "", value != NULL ? value : "");
  assert_int_equal(test_decode(&test, PATH, body), RH_OK);
  if (test.request.keep_alive != expected) {
    fail_msg("keep_alive %s became %lld", value != NULL ? value : "(none)", (long long)test.request.keep_alive);
  }
  test_end(&test);
}

static void keep_alive(void **state) {
  (void)state;
  keep_alive_is(NULL, RH_KEEP_ALIVE_UNSET);
  keep_alive_is("null", RH_KEEP_ALIVE_UNSET);
  keep_alive_is("\"5m\"", (int64_t)300 * 1000000000);
  keep_alive_is("\"0\"", 0);
  keep_alive_is("0", 0);
  keep_alive_is("2.5", 2500000000);
  keep_alive_is("-1", RH_KEEP_ALIVE_FOREVER);
  keep_alive_is("\"-1m\"", RH_KEEP_ALIVE_FOREVER);
  keep_alive_is("\"forever\"", RH_KEEP_ALIVE_FOREVER);
}

static void messages_become_ours(void **state) {
  (void)state;
  static const struct {
    const char *role, *content;
  } WANTED[] = {
      {"system", "be kind"}, {"system", ""}, {"user", "one\ntwo"}, {"assistant", "no"}, {"assistant", "never"}};
  test_case test;
  rh_status status = test_decode(
      &test, PATH,
      "{\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"},{\"role\":\"system\",\"content\":\"\"},"
      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]},"
      "{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\",\"tool_calls\":[]},"
      "{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"never\"}]}]}");
  assert_int_equal(status, RH_OK);
  assert_int_equal(test.request.prompt_count, 1);
  const rh_prompt *prompt = &test.request.prompts[0];
  assert_int_equal(prompt->kind, RH_PROMPT_MESSAGES);
  assert_int_equal(prompt->count, COUNT(WANTED));
  for (size_t i = 0; i < COUNT(WANTED); i++) {
    assert_string_equal(prompt->messages[i].role, WANTED[i].role);
    assert_string_equal(prompt->messages[i].content, WANTED[i].content);
  }
  test_end(&test);
}

static void warned(void **state) {
  (void)state;
  static const struct {
    const char *body, *warnings;
  } ROWS[] = {
      {WITH("\"verbosity\":\"low\",\"metadata\":{\"cache\":\"x\"}"), "metadata.cache, verbosity"},
      {WITH("\"temprature\":1,\"zzzzzzzzzzzz\":1"), "temprature (did you mean temperature?), zzzzzzzzzzzz"},
      {WITH("\"a,b\\nc<\\u00e9\":1"), "a?b?c???"},
      {WITH("\"stream_options\":{\"x\":1}"), "stream_options.x"},
      {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"bob\"},"
       "{\"role\":\"user\",\"content\":\"b\",\"name\":\"eve\"}]}",
       "messages.name"},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    assert_int_equal(test_decode(&test, PATH, ROWS[i].body), RH_OK);
    assert_string_equal(rh_dynbuf_data(&test.warnings), ROWS[i].warnings);
    test_end(&test);
  }
}

static void warnings_are_bounded(void **state) {
  (void)state;
  char body[64 * 1024];
  char *at = body + sprintf(body, "{" HI);
  for (int i = 0; i < 1000; i++) at += sprintf(at, ",\"a_rather_long_unknown_field_number_%d\":1", i);
  (void)sprintf(at, "}");
  test_case test;
  assert_int_equal(test_decode(&test, PATH, body), RH_OK);
  const char *warnings = rh_dynbuf_data(&test.warnings);
  assert_non_null(strstr(warnings, "field_number_15"));
  assert_null(strstr(warnings, "field_number_16"));
  assert_non_null(strstr(warnings, ", more unknown fields"));
  assert_false(test.warnings.failed);
  test_end(&test);
}

// Once looked for an empty word in the warnings for ever.
static void a_field_without_a_name_is_a_warning(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(test_decode(&test, PATH, "{" HI ",\"\":1,\"x\":2}"), RH_OK);
  assert_non_null(strstr(rh_dynbuf_data(&test.warnings), "a field without a name"));
  test_end(&test);
}

static void seeds(void **state) {
  (void)state;
  static const struct {
    const char *body;
    uint32_t seed;
  } ROWS[] = {
      {WITH("\"seed\":0"), 0},  {WITH("\"seed\":4294967295"), 4294967295u},          {WITH("\"seed\":4294967296"), 1},
      {WITH("\"seed\":-2"), 1}, {WITH("\"seed\":9223372036854775807"), 0x80000000u},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    assert_int_equal(test_decode(&test, PATH, ROWS[i].body), RH_OK);
    assert_true(test.request.generate.has_seed);
    assert_int_equal(test.request.generate.seed, ROWS[i].seed);
    test_end(&test);
  }
}

static void odd_but_fine(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(test_decode(&test, PATH, WITH("\"top_p\":0,\"stop\":[],\"top_k\":-1,\"logit_bias\":{}")), RH_OK);
  assert_float_equal(test.request.generate.temperature, 0, 0);
  assert_float_equal(test.request.generate.top_p, 1, 0);
  assert_int_equal(test.request.generate.stop_count, 0);
  assert_int_equal(test.request.generate.top_k, 0);
  test_end(&test);
  assert_int_equal(test_decode(&test, PATH,
                               WITH("\"stop\":null,\"seed\":null,\"n\":null,\"max_tokens\":64.0,"
                                    "\"logprobs\":true,\"repetition_penalty\":1.2")),
                   RH_OK);
  assert_false(test.request.generate.has_seed);
  assert_int_equal(test.request.generate.max_tokens, 64);
  assert_int_equal(test.request.generate.top_logprobs, 0);
  assert_float_equal(test.request.generate.repeat_penalty, 1.2, 1e-6);
  test_end(&test);
}

// The caller may want a stream for a reason outside the body (an Accept header); the body's word counts for more.
static void the_caller_sets_the_default_of_stream(void **state) {
  (void)state;
  static const struct {
    bool before;
    const char *body;
    bool after;
  } ROWS[] = {
      {true, "{" HI "}", true},
      {false, "{" HI "}", false},
      {true, WITH("\"stream\":null"), true},
      {true, WITH("\"stream\":false"), false},
      {false, WITH("\"stream\":true"), true},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    rh_request request = {.stream = ROWS[i].before};
    rh_arena *arena = rh_arena_new(65536);
    rh_status status = rh_api_find(PATH)->decode(ROWS[i].body, strlen(ROWS[i].body), arena, &request, NULL, NULL);
    assert_int_equal(status, RH_OK);
    assert_int_equal(request.stream, ROWS[i].after);
    rh_arena_free(arena);
  }
}

static void memory_is_bounded(void **state) {
  (void)state;
  expect_bounded_memory(PATH,
                        "{\"messages\":[{\"role\":\"system\",\"content\":\"be kind\"},{\"role\":\"user\",\"content\":"
                        "[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]}],"
                        "\"model\":\"m\",\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"1\":1},\"user\":\"u\","
                        "\"session\":\"s\",\"unknown_one\":1,\"unknown_two\":2}");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refused),
      cmocka_unit_test(limits),
      cmocka_unit_test(all_fields),
      cmocka_unit_test(keep_alive),
      cmocka_unit_test(messages_become_ours),
      cmocka_unit_test(warned),
      cmocka_unit_test(warnings_are_bounded),
      cmocka_unit_test(a_field_without_a_name_is_a_warning),
      cmocka_unit_test(seeds),
      cmocka_unit_test(odd_but_fine),
      cmocka_unit_test(the_caller_sets_the_default_of_stream),
      cmocka_unit_test(memory_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
