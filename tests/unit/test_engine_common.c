// SPDX-License-Identifier: Apache-2.0
//
// Which slot a run gets, and when a prompt does not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/common/fit.h"
#include "engine/common/prefix.h"

static int32_t first[] = {1, 2, 3, 4}, second[] = {1, 2, 9};

static void the_longest_common_beginning_wins(void **state) {
  (void)state;
  rh_prefix slots[] = {{.tokens = second, .count = 3, .last_used = 1}, {.tokens = first, .count = 4, .last_used = 9}};
  const int32_t prompt[] = {1, 2, 3, 7, 8};
  int64_t held = -1;
  assert_int_equal(rh_prefix_choose(slots, 2, prompt, 5, true, &held), 1);
  assert_int_equal(held, 3);
  // Not more than the prompt has, and never the slot of another run.
  assert_int_equal(rh_prefix_choose(slots, 2, prompt, 1, true, &held), 0);
  assert_int_equal(held, 1);
  slots[1].holder = slots;
  assert_int_equal(rh_prefix_choose(slots, 2, prompt, 5, true, &held), 0);
  assert_int_equal(held, 2);
}

static void without_reuse_the_oldest_is_taken(void **state) {
  (void)state;
  rh_prefix slots[] = {{.tokens = first, .count = 4, .last_used = 5}, {.tokens = second, .count = 3, .last_used = 2}};
  const int32_t prompt[] = {1, 2, 3, 4};
  int64_t held = -1;
  assert_int_equal(rh_prefix_choose(slots, 2, prompt, 4, false, &held), 1);
  assert_int_equal(held, 0);
}

static void no_slot_is_free(void **state) {
  (void)state;
  rh_prefix slots[] = {{.holder = first}, {.holder = first}};
  int64_t held = -1;
  assert_false(rh_prefix_any_free(slots, 2));
  assert_int_equal(rh_prefix_choose(slots, 2, first, 4, true, &held), 2);
  slots[1].holder = NULL;
  assert_true(rh_prefix_any_free(slots, 2));
}

static const rh_context_size size = {.tokens = 100, .trained = 2048, .vocabulary = 50};

static void an_answers_beginning_stands_behind_the_prompt(void **state) {
  (void)state;
  rh_run run = {0};
  rh_prompt_text text = {0};
  assert_int_equal(rh_prompt_join(&run, "Once", 4, &text, NULL), RH_OK);
  assert_string_equal(text.text, "Once");
  assert_null(text.owned);
  run.prefix = " upon";
  assert_int_equal(rh_prompt_join(&run, "Once more", 4, &text, NULL), RH_OK);
  assert_string_equal(text.text, "Once upon");
  assert_int_equal(text.length, 9);
  free(text.owned);
  assert_int_equal(rh_prompt_join(&run, NULL, 0, &text, NULL), RH_OK);
  assert_string_equal(text.text, " upon");
  free(text.owned);
}

static void an_answer_needs_room_too(void **state) {
  (void)state;
  rh_run run = {.prompt = {.kind = RH_PROMPT_TEXT}, .generate = {.max_tokens = 10}};
  rh_error error = {0};
  assert_int_equal(rh_prompt_check_fit(&size, &run, 90, "", &error), RH_OK);
  assert_int_equal(rh_prompt_check_fit(&size, &run, 91, "", &error), RH_CONTEXT_OVERFLOW);
  assert_string_equal(error.param, "max_tokens");
  assert_non_null(strstr(error.message, "together 101"));
  assert_non_null(strstr(error.message, "trained for 2048"));
  run.generate.max_tokens = 0;
  assert_int_equal(rh_prompt_check_fit(&size, &run, 99, "", &error), RH_OK);
  assert_int_equal(rh_prompt_check_fit(&size, &run, 100, "at least ", &error), RH_CONTEXT_OVERFLOW);
  assert_string_equal(error.param, "prompt");
  assert_non_null(strstr(error.message, "at least 100 tokens"));
  run.generate.max_tokens = INT64_MAX;
  assert_int_equal(rh_prompt_check_fit(&size, &run, 5, "", &error), RH_CONTEXT_OVERFLOW);
}

static void foreign_tokens_are_named(void **state) {
  (void)state;
  int32_t out[100];
  int64_t count = 0;
  const int32_t good[] = {0, 49}, bad[] = {0, 50};
  rh_run run = {.prompt = {.kind = RH_PROMPT_TOKENS, .tokens = good, .count = 2}};
  rh_error error = {0};
  assert_int_equal(rh_prompt_take_tokens(&size, &run, out, &count, &error), RH_OK);
  assert_int_equal(count, 2);
  assert_int_equal(out[1], 49);
  run.prompt.tokens = bad;
  assert_int_equal(rh_prompt_take_tokens(&size, &run, out, &count, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "token 50 at place 1"));
  run.prompt.count = 100;
  assert_int_equal(rh_prompt_take_tokens(&size, &run, out, &count, &error), RH_CONTEXT_OVERFLOW);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_longest_common_beginning_wins),
      cmocka_unit_test(without_reuse_the_oldest_is_taken),
      cmocka_unit_test(no_slot_is_free),
      cmocka_unit_test(an_answers_beginning_stands_behind_the_prompt),
      cmocka_unit_test(an_answer_needs_room_too),
      cmocka_unit_test(foreign_tokens_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
