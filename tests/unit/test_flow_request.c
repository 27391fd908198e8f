// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flow/request.h"

static void test_tokens_are_about_a_quarter_of_the_bytes(void **state) {
  (void)state;
  assert_int_equal(rh_tokens_of_bytes(0), 0);
  assert_int_equal(rh_tokens_of_bytes(3), 0);
  assert_int_equal(rh_tokens_of_bytes(4), 1);
  assert_int_equal(rh_tokens_of_bytes(4003), 1000);
  assert_true(rh_tokens_of_bytes(SIZE_MAX) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tokens_are_about_a_quarter_of_the_bytes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
