// SPDX-License-Identifier: Apache-2.0
//
// What providers say when they refuse: the right status, their words, and never a key.
#include "protocol_fixture.h"

#include "provider/explain.h"

static const struct {
  unsigned http_status;
  const char *body;
  rh_status status;
  const char *words;
} SAID[] = {
    {400,
     "{\"error\":{\"message\":\"Invalid value: "
     "'x'\",\"type\":\"invalid_request_error\",\"param\":\"messages[0].role\",\"code\":null}}",
     RH_INVALID, "Invalid value"},
    {400,
     "{\"error\":{\"message\":\"This model's maximum context length is 8192 "
     "tokens.\",\"code\":\"context_length_exceeded\"}}",
     RH_CONTEXT_OVERFLOW, "8192"},
    {400,
     "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 209 tokens > "
     "200 maximum\"}}",
     RH_CONTEXT_OVERFLOW, "209"},
    {400,
     "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Your credit balance is too "
     "low\"}}",
     RH_UPSTREAM, "credit"},
    {400, "{\"error\":{\"message\":\"Failed to call a function\",\"code\":\"tool_use_failed\"}}", RH_UPSTREAM,
     "function"},
    {401, "{\"error\":{\"message\":\"Incorrect API key provided: sk-proj-abc*****xyz.\"}}", RH_UPSTREAM,
     "check apiKey"},
    {402, "{\"error\":{\"message\":\"Insufficient credits\",\"code\":402}}", RH_UPSTREAM, "no money"},
    {403, "{\"error\":{\"message\":\"Country not supported\"}}", RH_UPSTREAM, "Country"},
    {404, "{\"error\":{\"message\":\"The model `x` does not exist\",\"code\":\"model_not_found\"}}", RH_NOT_FOUND,
     "does not exist"},
    {413,
     "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"Request exceeds the maximum size\"}}",
     RH_INVALID, "exceeds"},
    {422, "{\"detail\":[{\"loc\":[\"body\",\"x\"],\"msg\":\"Extra inputs are not permitted\",\"type\":\"extra\"}]}",
     RH_INVALID, "Extra inputs"},
    {429, "{\"error\":{\"message\":\"Rate limit reached\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}",
     RH_LIMITED, "Rate limit"},
    {500, "{\"error\":\"model runner has unexpectedly stopped\"}", RH_UPSTREAM, "runner"},
    {502, "<html><head><title>502 Bad Gateway</title></head></html>", RH_UPSTREAM, "HTTP 502, without saying why"},
    {503, "upstream connect error", RH_UPSTREAM, "upstream connect error"},
    {529, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}", RH_UPSTREAM,
     "Overloaded"},
    {429, "[{\"error\":{\"code\":429,\"message\":\"Quota exceeded\",\"status\":\"RESOURCE_EXHAUSTED\"}}]", RH_LIMITED,
     "Quota"},
    {502,
     "{\"error\":{\"code\":502,\"message\":\"Provider returned "
     "error\",\"metadata\":{\"raw\":\"boom\",\"provider_name\":\"P\"}}}",
     RH_UPSTREAM, "Provider returned error; boom"},
    {400, "{\"object\":\"error\",\"message\":\"bad thing\",\"type\":\"BadRequestError\",\"code\":400}", RH_INVALID,
     "bad thing"},
    {500, "", RH_UPSTREAM, "HTTP 500, without saying why"},
    {400, "{\"error\":7}", RH_INVALID, "without saying why"},
};

static void test_statuses_and_words(void **state) {
  (void)state;
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  for (size_t i = 0; i < COUNT(SAID); i++) {
    rh_error error = {0};
    rh_protocol_find(RH_PROTOCOL_CHAT)->explain(&spec, SAID[i].http_status, SAID[i].body, strlen(SAID[i].body), &error);
    if (error.status != SAID[i].status) fail_msg("%s: %s", SAID[i].body, rh_status_name(error.status));
    if (strstr(error.message, SAID[i].words) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.message, SAID[i].words);
    assert_non_null(strstr(error.message, "openai"));
    assert_null(strstr(error.message, "sk-proj"));
    if (i == 0) assert_string_equal(error.param, "messages[0].role");
  }
}

static void test_no_key_gets_through(void **state) {
  (void)state;
  char *headers[] = {(char *)(uintptr_t) "X-Secret: hush-hush-hush",
                     (char *)(uintptr_t) "Authorization:Token my.own+key.2", NULL};
  rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  spec.key = (char *)(uintptr_t) "my.own+key";
  spec.headers = headers;
  static const struct {
    const char *in, *out;
  } texts[] = {
      {"key my.own+key!", "key [hidden]!"},
      {"xmy.own+keyx", "x[hidden]x"},
      {"got hush-hush-hush", "got [hidden]"},
      {"got my.own+key.2 and Token my.own+key.2", "got [hidden] and [hidden]"},
      {"Authorization: Bearer abcdefgh1234, bad", "Authorization: Bearer [hidden], bad"},
      {"bearer  abcdefgh", "Bearer [hidden]"},
      {"sk-abcdef123456.", "[hidden]"},
      {"task-abcdef123456", "task-abcdef123456"},
      {"sk-1 is short", "sk-1 is short"},
      {"a\n\n\tb\x01 c", "a b c"},
      {"bad \xff\xc3 utf", "bad ?? utf"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
  };
  for (size_t i = 0; i < COUNT(texts); i++) {
    char out[100];
    rh_provider_clean_text(&spec, texts[i].in, strlen(texts[i].in), out, sizeof out);
    assert_string_equal(out, texts[i].out);
  }
  char small[16];
  rh_provider_clean_text(&spec, "abcdefghijklmnopqrstuvwxyz", 26, small, sizeof small);
  assert_string_equal(small, "abcdefghijkl...");
}

// Whoever wrote an error: what stands in the configuration does not leave. Names that only look like keys are ours.
static void test_errors_leave_without_our_secrets(void **state) {
  (void)state;
  char *headers[] = {(char *)(uintptr_t) "Authorization: Bearer hush-hush", NULL};
  rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  spec.key = (char *)(uintptr_t) "abcd.efgh";
  spec.headers = headers;
  rh_error error = {.status = RH_UPSTREAM, .retry_after_ms = 7, .param = "model"};
  strcpy(error.message, "provider \"hf_inference\":  abcd.efgh, hush-hush\nand Bearer hush-hush");
  rh_provider_hide_secrets(&spec, &error);
  assert_string_equal(error.message, "provider \"hf_inference\":  [hidden], [hidden]\nand [hidden]");
  assert_true(error.status == RH_UPSTREAM && error.retry_after_ms == 7 && strcmp(error.param, "model") == 0);
  // A key that is no secret may be a word of ours.
  spec.key = (char *)(uintptr_t) "ollama";
  strcpy(error.message, "provider \"ollama\": no connection");
  rh_provider_hide_secrets(&spec, &error);
  assert_string_equal(error.message, "provider \"ollama\": no connection");
  // As long as a message can be.
  spec.key = (char *)(uintptr_t) "xyxyxyxyz";
  memset(error.message, 'x', sizeof error.message - 1);
  error.message[sizeof error.message - 1] = '\0';
  memcpy(error.message + sizeof error.message - 10, spec.key, 9);
  rh_provider_hide_secrets(&spec, &error);
  assert_int_equal(strlen(error.message), sizeof error.message - 2);
  assert_string_equal(error.message + strlen(error.message) - 10, "xx[hidden]");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_statuses_and_words),
      cmocka_unit_test(test_no_key_gets_through),
      cmocka_unit_test(test_errors_leave_without_our_secrets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
