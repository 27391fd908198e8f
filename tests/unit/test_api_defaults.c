// SPDX-License-Identifier: Apache-2.0
//
// The neutral defaults of a generation, and what each endpoint makes of an almost empty request.
#include "test_api_support.h"

static void neutral_defaults(void **state) {
  (void)state;
  rh_generate generate;
  memset(&generate, 0xff, sizeof generate);
  rh_generate_defaults(&generate);
  assert_int_equal(generate.max_tokens, 0);
  assert_float_equal(generate.temperature, 1, 0);
  assert_float_equal(generate.top_p, 1, 0);
  assert_float_equal(generate.min_p, 0, 0);
  assert_int_equal(generate.top_k, 0);
  assert_float_equal(generate.repeat_penalty, 1, 0);
  assert_float_equal(generate.presence_penalty, 0, 0);
  assert_float_equal(generate.frequency_penalty, 0, 0);
  assert_int_equal(generate.penalty_last_n, 64);
  assert_false(generate.has_seed);
  assert_int_equal(generate.stop_count, 0);
  assert_int_equal(generate.logit_bias_count, 0);
  assert_int_equal(generate.top_logprobs, -1);
  assert_false(generate.ignore_eos);
}

static void dialect_defaults(void **state) {
  (void)state;
  static const struct {
    const char *path, *body;
    rh_task task;
    int64_t max_tokens;
    double temperature;
    bool stream;
  } ROWS[] = {
      {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", RH_TASK_CHAT, 0, 0.8, false},
      {"/v1/completions", "{\"prompt\":\"x\"}", RH_TASK_COMPLETE, 16, 0.8, false},
      {"/generate", "{\"prompt\":\"x\"}", RH_TASK_CHAT, 256, 0.8, true},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    assert_int_equal(test_decode(&test, ROWS[i].path, ROWS[i].body), RH_OK);
    const rh_request *request = &test.request;
    assert_int_equal(request->task, ROWS[i].task);
    assert_int_equal(request->generate.max_tokens, ROWS[i].max_tokens);
    assert_float_equal(request->generate.temperature, ROWS[i].temperature, 1e-6);
    assert_int_equal(request->generate.top_k, 40);
    assert_float_equal(request->generate.top_p, 0.95, 1e-6);
    assert_float_equal(request->generate.min_p, 0.05, 1e-6);
    assert_int_equal(request->stream, ROWS[i].stream);
    assert_int_equal(request->stream, test.endpoint->streams_by_default);
    assert_int_equal(request->choices, 1);
    assert_int_equal(request->prompt_count, 1);
    assert_null(request->model);
    assert_int_equal(request->timeout_ns, 0);
    assert_int_equal(test.warnings.length, 0);
    test_end(&test);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(neutral_defaults),
      cmocka_unit_test(dialect_defaults),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
