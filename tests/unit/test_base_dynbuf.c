// SPDX-License-Identifier: Apache-2.0
//
// base/dynbuf: growth, the maximum, consuming from the front, and what a failure leaves behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"

static void test_empty_is_a_string(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 10);
  assert_string_equal(rh_dynbuf_data(&buf), "");
  assert_int_equal(rh_dynbuf_append(&buf, NULL, 0), RH_OK);
  assert_string_equal(rh_dynbuf_data(&buf), "");
  rh_dynbuf_clear(&buf);
  rh_dynbuf_consume(&buf, 0);
  rh_dynbuf_free(&buf);
  rh_dynbuf_free(&buf);
  assert_int_equal(buf.max, 10);
}

static void test_appends_add_up(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 1 << 20);
  assert_int_equal(rh_dynbuf_append_text(&buf, "ab"), RH_OK);
  assert_int_equal(rh_dynbuf_append_char(&buf, 'c'), RH_OK);
  assert_int_equal(rh_dynbuf_append(&buf, "d\0e", 3), RH_OK);
  assert_int_equal(rh_dynbuf_printf(&buf, "%d-%s", 42, "x"), RH_OK);
  assert_int_equal(buf.length, 10);
  assert_memory_equal(rh_dynbuf_data(&buf), "abcd\0e42-x", 11);
  rh_dynbuf_clear(&buf);
  assert_int_equal(buf.length, 0);
  assert_string_equal(rh_dynbuf_data(&buf), "");
  for (int i = 0; i < 5000; i++) assert_int_equal(rh_dynbuf_printf(&buf, "%05d", i), RH_OK);
  assert_int_equal(buf.length, 25000);
  assert_memory_equal(rh_dynbuf_data(&buf) + 24995, "04999", 6);
  rh_dynbuf_free(&buf);
}

static void test_the_maximum_is_exact_and_failure_keeps_the_content(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 5);
  assert_int_equal(rh_dynbuf_append(&buf, "12345", 5), RH_OK);
  assert_int_equal(rh_dynbuf_append_char(&buf, '6'), RH_TOO_LARGE);
  assert_true(buf.failed);
  assert_string_equal(rh_dynbuf_data(&buf), "12345");
  rh_dynbuf_free(&buf);
  rh_dynbuf_init(&buf, 0);
  assert_int_equal(rh_dynbuf_append_char(&buf, '6'), RH_TOO_LARGE);
  rh_dynbuf_free(&buf);
}

static void test_failure_is_sticky_until_cleared(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 5);
  assert_int_equal(rh_dynbuf_append_text(&buf, "abc"), RH_OK);
  assert_int_equal(rh_dynbuf_append_text(&buf, "too long"), RH_TOO_LARGE);
  assert_int_equal(rh_dynbuf_append_text(&buf, "d"), RH_TOO_LARGE);  // no hole in the middle of a text
  assert_int_equal(rh_dynbuf_printf(&buf, "d"), RH_TOO_LARGE);
  assert_null(rh_dynbuf_reserve(&buf, 1));
  assert_string_equal(rh_dynbuf_data(&buf), "abc");
  rh_dynbuf_clear(&buf);
  assert_false(buf.failed);
  assert_int_equal(rh_dynbuf_append_text(&buf, "d"), RH_OK);
  assert_string_equal(rh_dynbuf_data(&buf), "d");
  rh_dynbuf_free(&buf);
}

static void test_printf_at_the_border(void **state) {
  (void)state;
  // Every combination of content and maximum around the first allocation and the length of the text.
  for (size_t max = 120; max < 140; max++) {
    for (size_t before = 100; before < 132 && before <= max; before++) {
      rh_dynbuf buf;
      rh_dynbuf_init(&buf, max);
      for (size_t i = 0; i < before; i++) assert_int_equal(rh_dynbuf_append_char(&buf, 'x'), RH_OK);
      rh_status status = rh_dynbuf_printf(&buf, "%s", "0123456789");
      assert_int_equal(status, before + 10 <= max ? RH_OK : RH_TOO_LARGE);
      assert_int_equal(buf.length, status == RH_OK ? before + 10 : before);
      assert_int_equal(strlen(rh_dynbuf_data(&buf)), buf.length);
      assert_int_equal(buf.failed, status != RH_OK);
      rh_dynbuf_free(&buf);
    }
  }
}

static void test_reserve_and_grow(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 300);
  char *room = rh_dynbuf_reserve(&buf, 300);
  assert_non_null(room);
  memset(room, 'r', 300);
  rh_dynbuf_grow(&buf, 200);
  assert_int_equal(strlen(rh_dynbuf_data(&buf)), 200);
  assert_null(rh_dynbuf_reserve(&buf, 101));
  assert_false(buf.failed);
  rh_dynbuf_consume(&buf, 50);
  room = rh_dynbuf_reserve(&buf, 150);
  assert_non_null(room);
  memset(room, 's', 150);
  rh_dynbuf_grow(&buf, 150);
  assert_int_equal(buf.length, 300);
  assert_int_equal(rh_dynbuf_data(&buf)[149], 'r');
  assert_int_equal(rh_dynbuf_data(&buf)[150], 's');
  assert_int_equal(rh_dynbuf_data(&buf)[300], '\0');
  rh_dynbuf_free(&buf);
}

// A queue of bytes: the memory stays near the maximum and the order stays right over a long run.
static void test_a_queue_stays_small_and_in_order(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 1000);
  unsigned char written = 0;
  unsigned char seen = 0;
  unsigned random = 12345;
  for (int i = 0; i < 20000; i++) {
    random = random * 1103515245u + 12345u;
    size_t count = (random >> 16) % 300;
    if (count > buf.max - buf.length) count = buf.max - buf.length;
    char *room = rh_dynbuf_reserve(&buf, count);
    assert_non_null(room);
    for (size_t j = 0; j < count; j++) room[j] = (char)written++;
    rh_dynbuf_grow(&buf, count);
    random = random * 1103515245u + 12345u;
    size_t take = (random >> 16) % 300;
    if (take > buf.length) take = buf.length;
    for (size_t j = 0; j < take; j++) assert_int_equal((unsigned char)rh_dynbuf_data(&buf)[j], seen++);
    rh_dynbuf_consume(&buf, take);
    assert_true(buf.capacity <= buf.max + 1);
    assert_int_equal(rh_dynbuf_data(&buf)[buf.length], '\0');
  }
  rh_dynbuf_free(&buf);
}

static void test_take_hands_the_content_over(void **state) {
  (void)state;
  rh_dynbuf buf;
  size_t length = 99;
  rh_dynbuf_init(&buf, 100);
  char *text = rh_dynbuf_take(&buf, &length);
  assert_non_null(text);
  assert_string_equal(text, "");
  assert_int_equal(length, 0);
  free(text);
  assert_int_equal(rh_dynbuf_append_text(&buf, "headtail"), RH_OK);
  rh_dynbuf_consume(&buf, 4);
  text = rh_dynbuf_take(&buf, &length);
  assert_string_equal(text, "tail");
  assert_int_equal(length, 4);
  free(text);
  assert_int_equal(buf.length, 0);
  assert_int_equal(buf.max, 100);
  assert_int_equal(rh_dynbuf_append_text(&buf, "again"), RH_OK);
  text = rh_dynbuf_take(&buf, NULL);
  assert_string_equal(text, "again");
  free(text);
}

static void test_take_after_a_failure_gives_nothing(void **state) {
  (void)state;
  rh_dynbuf buf;
  size_t length = 99;
  rh_dynbuf_init(&buf, 4);
  (void)rh_dynbuf_append_text(&buf, "half");
  (void)rh_dynbuf_append_text(&buf, " of it");
  assert_null(rh_dynbuf_take(&buf, &length));
  assert_int_equal(length, 0);
  assert_false(buf.failed);
  assert_null(buf.data);
}

static void test_an_unlimited_maximum_does_not_overflow(void **state) {
  (void)state;
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, SIZE_MAX);
  assert_int_equal(rh_dynbuf_append_text(&buf, "x"), RH_OK);
  assert_null(rh_dynbuf_reserve(&buf, SIZE_MAX));
  assert_null(rh_dynbuf_reserve(&buf, SIZE_MAX / 2));
  assert_string_equal(rh_dynbuf_data(&buf), "x");
  rh_dynbuf_free(&buf);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_empty_is_a_string),
      cmocka_unit_test(test_appends_add_up),
      cmocka_unit_test(test_the_maximum_is_exact_and_failure_keeps_the_content),
      cmocka_unit_test(test_failure_is_sticky_until_cleared),
      cmocka_unit_test(test_printf_at_the_border),
      cmocka_unit_test(test_reserve_and_grow),
      cmocka_unit_test(test_a_queue_stays_small_and_in_order),
      cmocka_unit_test(test_take_hands_the_content_over),
      cmocka_unit_test(test_take_after_a_failure_gives_nothing),
      cmocka_unit_test(test_an_unlimited_maximum_does_not_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
