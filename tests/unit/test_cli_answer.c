// SPDX-License-Identifier: Apache-2.0
//
// From chunks to words, numbers and errors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "cli/answer.h"

// Feeds one event; the words as they came, or "" .
static rh_status take(rh_answer *answer, const char *data, uint64_t now, const char *expected, rh_error *error) {
  json_t *chunk = NULL;
  const char *words = NULL;
  rh_status status = rh_answer_take(answer, data, strlen(data), now, &chunk, &words, error);
  if (status == RH_OK) assert_string_equal(words != NULL ? words : "", expected);
  json_decref(chunk);
  return status;
}

static void test_chat_stream(void **state) {
  (void)state;
  rh_answer answer;
  rh_error error = {0};
  rh_answer_init(&answer);
  const uint64_t s = RH_NS_PER_S;
  assert_int_equal(
      take(&answer, "{\"model\":\"m\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}", s, "",
           &error),
      RH_OK);
  assert_true(answer.first_ns == 0);
  assert_int_equal(
      take(&answer, "{\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}", 2 * s, "Hel", &error),
      RH_OK);
  assert_int_equal(take(&answer, "{\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}", 4 * s, "lo", &error), RH_OK);
  assert_int_equal(take(&answer, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}", 5 * s, "", &error),
                   RH_OK);
  assert_int_equal(
      take(&answer, "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}", 5 * s, "", &error),
      RH_OK);
  assert_false(answer.done);
  assert_int_equal(take(&answer, "[DONE]", 5 * s, "", &error), RH_OK);
  assert_true(answer.done);
  assert_string_equal(rh_dynbuf_data(&answer.text), "Hello");
  assert_string_equal(answer.finish, "length");
  assert_string_equal(answer.model, "m");
  assert_int_equal(answer.prompt_tokens, 7);
  assert_int_equal(answer.completion_tokens, 5);
  assert_true(rh_answer_tokens_per_s(&answer) == 2.0);  // four tokens after the first, in two seconds
  rh_answer_free(&answer);
}

static void test_completion_stream(void **state) {
  (void)state;
  rh_answer answer;
  rh_answer_init(&answer);
  assert_int_equal(take(&answer, "{\"choices\":[{\"text\":\" x\"}]}", 1, " x", NULL), RH_OK);
  assert_true(rh_answer_tokens_per_s(&answer) == 0);
  assert_int_equal(answer.prompt_tokens, -1);
  rh_answer_free(&answer);
}

static void test_errors(void **state) {
  (void)state;
  rh_answer answer;
  rh_error error = {0};
  rh_answer_init(&answer);
  assert_int_equal(take(&answer, "{\"error\":{\"message\":\"engine broke\"}}", 1, "", &error), RH_INTERNAL);
  assert_string_equal(error.message, "engine broke");
  assert_int_equal(take(&answer, "{\"error\":\"text\"}", 1, "", &error), RH_INTERNAL);
  assert_string_equal(error.message, "text");
  assert_int_equal(take(&answer, "{\"error\":null,\"choices\":[]}", 1, "", &error), RH_OK);
  assert_int_equal(take(&answer, "nonsense", 1, "", &error), RH_PROTOCOL);
  assert_int_equal(take(&answer, "[]", 1, "", &error), RH_OK);
  assert_int_equal(take(&answer, "{\"choices\":3}", 1, "", &error), RH_OK);
  rh_answer_free(&answer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chat_stream),
      cmocka_unit_test(test_completion_stream),
      cmocka_unit_test(test_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
