// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/completions and POST /generate: bodies to requests, and every body that must be refused.
#include "test_api_support.h"

#define COMPLETIONS "/v1/completions"
#define GENERATE "/generate"

static const bad_body BAD_COMPLETIONS[] = {
    {"{}", RH_INVALID, "prompt", "missing"},
    {"{\"prompt\":null}", RH_INVALID, "prompt", "missing"},
    {"{\"prompt\":5}", RH_INVALID, "prompt", "must be a string"},
    {"{\"prompt\":{}}", RH_INVALID, "prompt", "must be a string"},
    {"{\"prompt\":[]}", RH_INVALID, "prompt", "empty"},
    {"{\"prompt\":[null]}", RH_INVALID, "prompt", "must be a string"},
    {"{\"prompt\":[\"a\",1]}", RH_INVALID, "prompt[1]", "one kind"},
    {"{\"prompt\":[1,\"a\"]}", RH_INVALID, "prompt[1]", "token id"},
    {"{\"prompt\":[1,2.5]}", RH_INVALID, "prompt[1]", "token id"},
    {"{\"prompt\":[1,-2]}", RH_INVALID, "prompt[1]", "token id"},
    {"{\"prompt\":[4294967296]}", RH_INVALID, "prompt[0]", "token id"},
    {"{\"prompt\":[[1],\"a\"]}", RH_INVALID, "prompt[1]", "one kind"},
    {"{\"prompt\":[[1],[]]}", RH_INVALID, "prompt[1]", "empty"},
    {"{\"prompt\":[[1],[2,\"x\"]]}", RH_INVALID, "prompt[1][1]", "token id"},
    {"{\"prompt\":\"x\",\"max_tokens\":0}", RH_INVALID, "max_tokens", "0"},
    {"{\"prompt\":\"x\",\"suffix\":\"y\"}", RH_UNSUPPORTED, "suffix", "suffix"},
    {"{\"prompt\":\"x\",\"suffix\":1}", RH_INVALID, "suffix", "a string"},
    {"{\"prompt\":\"x\",\"best_of\":2}", RH_UNSUPPORTED, "best_of", "must equal"},
    {"{\"prompt\":\"x\",\"best_of\":2,\"n\":3}", RH_UNSUPPORTED, "best_of", "must equal"},
    {"{\"prompt\":\"x\",\"best_of\":0}", RH_INVALID, "best_of", "0"},
    {"{\"prompt\":\"x\",\"logprobs\":6}", RH_INVALID, "logprobs", "5"},
    {"{\"prompt\":\"x\",\"logprobs\":true}", RH_INVALID, "logprobs", "whole number"},
    {"{\"prompt\":\"x\",\"echo\":1}", RH_INVALID, "echo", "true or false"},
    {"{\"prompt\":\"x\",\"echo\":true,\"logprobs\":0}", RH_UNSUPPORTED, "echo", "logprobs"},
    {"{\"prompt\":[1],\"echo\":true}", RH_UNSUPPORTED, "echo", "token ids"},
    {"{\"prompt\":[\"1\",\"2\",\"3\",\"4\",\"5\"],\"n\":16}", RH_INVALID, "n", "5 prompts with 16 answers"},
};

static const bad_body BAD_GENERATE[] = {
    {"{}", RH_INVALID, "prompt", "missing"},
    {"{\"prompt\":\"\"}", RH_INVALID, "prompt", "empty"},
    {"{\"prompt\":[1]}", RH_INVALID, "prompt", "a string"},
    {"{\"prompt\":\"x\",\"temp\":3}", RH_INVALID, "temp", "from 0 to 2"},
    {"{\"prompt\":\"x\",\"temperature\":-1}", RH_INVALID, "temperature", "from 0 to 2"},
    {"{\"prompt\":\"x\",\"max_tokens\":\"9\"}", RH_INVALID, "max_tokens", "whole number"},
    {"{\"prompt\":\"x\",\"prefer_backend\":\"tpu\"}", RH_INVALID, "prefer_backend", "\"tpu\""},
    {"{\"prompt\":\"x\",\"prefer_backend\":1}", RH_INVALID, "prefer_backend", "a string"},
    {"{\"prompt\":\"x\",\"raw\":1}", RH_INVALID, "raw", "true or false"},
    {"{\"prompt\":\"x\",\"max_token\":1}", RH_INVALID, "max_token", "did you mean \"max_tokens\"?"},
    {"{\"prompt\":\"x\",\"messages\":[]}", RH_INVALID, "messages", "unknown field \"messages\""},
    {"{\"prompt\":\"x\",\"n\":2}", RH_INVALID, "n", "unknown field"},
    {"{\"prompt\":\"x\",\"zzz\\n\\\"\":2}", RH_INVALID, "zzz??", "unknown field \"zzz??\""},
};

static void refused(void **state) {
  (void)state;
  expect_refused(COMPLETIONS, BAD_COMPLETIONS, COUNT(BAD_COMPLETIONS));
  expect_refused(GENERATE, BAD_GENERATE, COUNT(BAD_GENERATE));
}

static void too_many_prompts(void **state) {
  (void)state;
  char body[1024];
  char *at = body + sprintf(body, "{\"prompt\":[");
  for (int i = 0; i <= RH_PROMPTS_MAX; i++) at += sprintf(at, "%s\"x\"", i ? "," : "");
  (void)sprintf(at, "]}");
  expect_refused(COMPLETIONS, &(bad_body){body, RH_INVALID, "prompt", "may have 64"}, 1);
}

static void prompt_shapes(void **state) {
  (void)state;
  static const struct {
    const char *body;
    size_t prompts;
    rh_prompt_kind kind;
    size_t last_count;
  } ROWS[] = {
      {"{\"prompt\":\"hello\"}", 1, RH_PROMPT_TEXT, 5},
      {"{\"prompt\":\"\"}", 1, RH_PROMPT_TEXT, 0},
      {"{\"prompt\":[\"a\",\"bcd\"]}", 2, RH_PROMPT_TEXT, 3},
      {"{\"prompt\":[1,2,3]}", 1, RH_PROMPT_TOKENS, 3},
      {"{\"prompt\":[[9],[7,2147483647]]}", 2, RH_PROMPT_TOKENS, 2},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    assert_int_equal(test_decode(&test, COMPLETIONS, ROWS[i].body), RH_OK);
    assert_int_equal(test.request.prompt_count, ROWS[i].prompts);
    const rh_prompt *last = &test.request.prompts[ROWS[i].prompts - 1];
    assert_int_equal(last->kind, ROWS[i].kind);
    assert_int_equal(last->count, ROWS[i].last_count);
    if (last->kind == RH_PROMPT_TEXT) assert_int_equal(strlen(last->text), last->count);
    if (i == 4) assert_int_equal(last->tokens[1], 2147483647);
    test_end(&test);
  }
}

static void completions_fields(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(test_decode(&test, COMPLETIONS,
                               "{\"prompt\":\"x\",\"n\":2,\"best_of\":2,\"suffix\":\"\",\"logprobs\":5,\"echo\":false,"
                               "\"stream\":true,\"stream_options\":null,\"user\":\"u\",\"seed\":1}"),
                   RH_OK);
  assert_int_equal(test.request.choices, 2);
  assert_int_equal(test.request.generate.top_logprobs, 5);
  assert_true(test.request.stream);
  assert_int_equal(test.warnings.length, 0);
  test_end(&test);
}

static void generate_fields(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(
      test_decode(&test, GENERATE,
                  "{\"prompt\":\"Hello\",\"max_tokens\":32,\"temp\":0.25,\"top_p\":0.5,\"top_k\":3,"
                  "\"min_p\":0.1,\"repeat_penalty\":1.5,\"seed\":7,\"stop\":\"END\",\"prefer_backend\":\"gpu\","
                  "\"model\":\"m\",\"stream\":false,\"priority\":5,\"session\":\"s\",\"timeout\":2}"),
      RH_OK);
  const rh_request *request = &test.request;
  assert_int_equal(request->task, RH_TASK_CHAT);
  assert_int_equal(request->prompts[0].kind, RH_PROMPT_MESSAGES);
  assert_string_equal(request->prompts[0].messages[0].role, "user");
  assert_string_equal(request->prompts[0].messages[0].content, "Hello");
  assert_int_equal(request->generate.max_tokens, 32);
  assert_float_equal(request->generate.temperature, 0.25, 0);
  assert_string_equal(request->generate.stops[0], "END");
  assert_string_equal(request->prefer_backend, "gpu");
  assert_false(request->stream);
  assert_int_equal(request->priority, 5);
  assert_int_equal(request->timeout_ns, 2000000000);
  test_end(&test);
  assert_int_equal(test_decode(&test, GENERATE, "{\"prompt\":\"Hello\",\"raw\":true,\"temperature\":0.5}"), RH_OK);
  assert_int_equal(test.request.task, RH_TASK_COMPLETE);
  assert_int_equal(test.request.prompts[0].kind, RH_PROMPT_TEXT);
  assert_string_equal(test.request.prompts[0].text, "Hello");
  assert_int_equal(test.request.prompts[0].count, 5);
  assert_float_equal(test.request.generate.temperature, 0.5, 0);
  assert_null(test.request.prefer_backend);
  test_end(&test);
}

static void memory_is_bounded(void **state) {
  (void)state;
  expect_bounded_memory(COMPLETIONS, "{\"prompt\":[\"a\",\"b\"],\"stop\":\"x\",\"junk\":1}");
  expect_bounded_memory(COMPLETIONS, "{\"prompt\":[[1,2],[3]]}");
  expect_bounded_memory(COMPLETIONS, "{\"prompt\":[1,2,3]}");
  expect_bounded_memory(GENERATE, "{\"prompt\":\"a\",\"stop\":[\"x\"],\"session\":\"s\"}");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refused),         cmocka_unit_test(too_many_prompts),   cmocka_unit_test(prompt_shapes),
      cmocka_unit_test(generate_fields), cmocka_unit_test(completions_fields), cmocka_unit_test(memory_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
