// SPDX-License-Identifier: Apache-2.0
//
// base/text and base/clock.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

static int compare_ids(const void *a, const void *b) { return memcmp(a, b, RH_ID_SIZE); }

static void test_ids_have_their_shape_and_differ(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  char(*ids)[RH_ID_SIZE] = calloc(COUNT, RH_ID_SIZE);
  assert_non_null(ids);
  for (int i = 0; i < COUNT; i++) {
    rh_id_make(ids[i], "chatcmpl-");
    assert_int_equal(strlen(ids[i]), 9 + 32);
    assert_memory_equal(ids[i], "chatcmpl-", 9);
    assert_int_equal(strspn(ids[i] + 9, "0123456789abcdef"), 32);
    assert_int_equal(ids[i][9 + 12], '7');
    assert_non_null(strchr("89ab", ids[i][9 + 16]));
  }
  qsort(ids, COUNT, RH_ID_SIZE, compare_ids);
  for (int i = 1; i < COUNT; i++) assert_int_not_equal(compare_ids(ids[i - 1], ids[i]), 0);
  free(ids);
  char id[RH_ID_SIZE];
  rh_id_make(id, "");
  assert_int_equal(strlen(id), 32);
  rh_id_make(id, "fifteen-letters");
  assert_int_equal(strlen(id), RH_ID_SIZE - 1);
}

static void test_ids_are_in_the_order_of_their_time(void **state) {
  (void)state;
  char ids[3][RH_ID_SIZE];
  uint64_t before = rh_clock_wall_ns() / RH_NS_PER_MS;
  for (int i = 0; i < 3; i++) {
    rh_id_make(ids[i], "x-");
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
  }
  uint64_t after = rh_clock_wall_ns() / RH_NS_PER_MS;
  assert_true(strcmp(ids[0], ids[1]) < 0 && strcmp(ids[1], ids[2]) < 0);
  char time[13] = "";
  memcpy(time, ids[1] + 2, 12);
  unsigned long long made = strtoull(time, NULL, 16);
  assert_true(made > before && made < after);
}

static void test_a_forked_child_has_ids_of_its_own(void **state) {
  (void)state;
  char mine[RH_ID_SIZE];
  char theirs[RH_ID_SIZE] = "";
  int ends[2];
  rh_id_make(mine, "");
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    rh_id_make(theirs, "");
    _exit(write(ends[1], theirs, sizeof theirs) == (ssize_t)sizeof theirs ? 0 : 1);
  }
  rh_id_make(mine, "");
  assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_string_not_equal(mine, theirs);
  (void)close(ends[0]);
  (void)close(ends[1]);
}

static void test_sha256_of_the_standards_examples(void **state) {
  (void)state;
  char out[65];
  rh_sha256_hex("", 0, out);  // FIPS 180-4 examples
  assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  rh_sha256_hex(NULL, 0, out);
  assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  rh_sha256_hex("abc", 3, out);
  assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  char million[1000];
  memset(million, 'a', sizeof million);
  rh_sha256_hex(million, sizeof million, out);
  assert_string_equal(out, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
}

static void assert_bytes_text(uint64_t bytes, const char *expected) {
  char out[32];
  rh_text_format_bytes(out, sizeof out, bytes);
  assert_string_equal(out, expected);
}

static void test_sizes_for_people(void **state) {
  (void)state;
  assert_bytes_text(0, "0 B");
  assert_bytes_text(1023, "1023 B");
  assert_bytes_text(1024, "1 KiB");
  assert_bytes_text(1536, "1.5 KiB");
  assert_bytes_text(1048575, "1 MiB");
  assert_bytes_text(UINT64_C(1610612736), "1.5 GiB");
  assert_bytes_text(UINT64_C(2147483648), "2 GiB");
  assert_bytes_text(UINT64_MAX, "16 EiB");
}

static void assert_number_text(double value, const char *expected) {
  char out[32];
  rh_text_format_number(out, sizeof out, value);
  assert_string_equal(out, expected);
}

static void test_numbers_are_short_and_exact(void **state) {
  (void)state;
  assert_number_text(0.0, "0");
  assert_number_text(-0.0, "0");
  assert_number_text(250.0, "250");
  assert_number_text(-3.0, "-3");
  assert_number_text(0.7, "0.7");
  assert_number_text(0.1 + 0.2, "0.30000000000000004");
  assert_number_text(1e300, "1e+300");
  assert_number_text(999999999999999.0, "999999999999999");
  assert_number_text((double)INFINITY, "+Inf");
  assert_number_text(-(double)INFINITY, "-Inf");
  assert_number_text((double)NAN, "NaN");
  unsigned random = 99;
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = 0;
    for (int j = 0; j < 4; j++) {
      random = random * 1103515245u + 12345u;
      bits = (bits << 16) | (random >> 16);
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) continue;
    char out[32];
    rh_text_format_number(out, sizeof out, value);
    if (strtod(out, NULL) != value) fail_msg("%s is not %a", out, value);
  }
}

static void test_whole_numbers(void **state) {
  (void)state;
  const int64_t values[] = {0, 7, -1, 10, 99, 100, -100, 1234567890, INT64_MAX, INT64_MIN, INT64_MIN + 1};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    char out[RH_INT_TEXT_SIZE], expected[32];
    snprintf(expected, sizeof expected, "%" PRId64, values[i]);
    assert_int_equal(rh_text_format_int(out, values[i]), strlen(expected));
    assert_string_equal(out, expected);
  }
}

// What is written without printf must be what printf would write.
static void test_short_numbers_are_as_printf_writes_them(void **state) {
  (void)state;
  assert_number_text(0.0001, "0.0001");
  assert_number_text(0.00005, "5e-05");
  assert_number_text(-12.5, "-12.5");
  assert_number_text(999999999.999999, "999999999.999999");
  assert_number_text(1.000001, "1.000001");
  assert_number_text(1e9 + 0.5, "1000000000.5");
  unsigned random = 7;
  for (int i = 0; i < 50000; i++) {
    random = random * 1103515245u + 12345u;
    double value = (double)(random >> (random % 24)) / (i % 3 == 0 ? 1e6 : i % 3 == 1 ? 1e3 : 7.0);
    char out[32], expected[32];
    int digits = 15;
    do snprintf(expected, sizeof expected, "%.*g", digits, value);
    while (strtod(expected, NULL) != value && digits++ < 17);
    rh_text_format_number(out, sizeof out, value);
    assert_string_equal(out, expected);
  }
}

static void test_copies_are_cut_between_characters(void **state) {
  (void)state;
  char out[4];
  assert_true(rh_text_copy(out, sizeof out, "abc"));
  assert_string_equal(out, "abc");
  assert_false(rh_text_copy(out, sizeof out, "abcd"));
  assert_string_equal(out, "abc");
  assert_false(rh_text_copy(out, sizeof out, "ab\xC3\xA4"));
  assert_string_equal(out, "ab");
  assert_false(rh_text_copy(out, 1, "a"));
  assert_string_equal(out, "");
  assert_true(rh_text_copy(out, 1, ""));
}

static void test_starts_and_ends(void **state) {
  (void)state;
  assert_true(rh_text_starts_with("fake:slots=2", "fake:"));
  assert_true(rh_text_starts_with("x", ""));
  assert_false(rh_text_starts_with("fa", "fake:"));
  assert_true(rh_text_ends_with("model.gguf", ".gguf"));
  assert_true(rh_text_ends_with("x", ""));
  assert_false(rh_text_ends_with("gguf", ".gguf"));
  assert_false(rh_text_ends_with("model.ggu", ".gguf"));
}

static void test_clocks(void **state) {
  (void)state;
  uint64_t before = rh_clock_now_ns();
  struct timespec pause = {0, 2000000};
  (void)nanosleep(&pause, NULL);
  uint64_t after = rh_clock_now_ns();
  assert_true(after - before >= 2 * RH_NS_PER_MS);
  int64_t wall = rh_clock_wall_s();
  assert_true(wall > 1700000000);
  char text[32];
  rh_clock_format_iso(text, sizeof text);
  assert_int_equal(strlen(text), 24);
  struct tm parts = {0};
  int ms;
  assert_int_equal(sscanf(text, "%d-%d-%dT%d:%d:%d.%3dZ", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &parts.tm_hour,
                          &parts.tm_min, &parts.tm_sec, &ms),
                   7);
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  int64_t shown = (int64_t)timegm(&parts);
  assert_true(shown >= wall && shown <= wall + 5);
  assert_true(rh_ns_to_ms(1500000) == 1.5);
  assert_true(rh_ns_to_s(RH_NS_PER_S / 2) == 0.5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ids_have_their_shape_and_differ),
      cmocka_unit_test(test_ids_are_in_the_order_of_their_time),
      cmocka_unit_test(test_a_forked_child_has_ids_of_its_own),
      cmocka_unit_test(test_sha256_of_the_standards_examples),
      cmocka_unit_test(test_sizes_for_people),
      cmocka_unit_test(test_whole_numbers),
      cmocka_unit_test(test_short_numbers_are_as_printf_writes_them),
      cmocka_unit_test(test_numbers_are_short_and_exact),
      cmocka_unit_test(test_copies_are_cut_between_characters),
      cmocka_unit_test(test_starts_and_ends),
      cmocka_unit_test(test_clocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
