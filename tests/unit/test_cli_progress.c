// SPDX-License-Identifier: Apache-2.0
//
// Lines of progress: what they say, and that they never are wider than the screen.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"

#define MIB (INT64_C(1) << 20)

static size_t columns_of(const char *text) {
  size_t columns = 0;
  for (; *text != '\0'; text++) columns += ((unsigned char)*text & 0xc0) != 0x80;
  return columns;
}

static size_t count(const char *text, const char *what) {
  size_t found = 0;
  for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) found++;
  return found;
}

static void test_sizes(void **state) {
  (void)state;
  char text[64];
  rh_progress_format_sizes(text, sizeof text, 0, 0);
  assert_string_equal(text, "0.0 KiB");
  rh_progress_format_sizes(text, sizeof text, 512, 2048);
  assert_string_equal(text, "0.5/2.0 KiB");
  rh_progress_format_sizes(text, sizeof text, 46 * MIB + MIB / 2, 93 * MIB);
  assert_string_equal(text, "46.5/93.0 MiB");
  rh_progress_format_sizes(text, sizeof text, 3 * MIB, -1);
  assert_string_equal(text, "3.0 MiB");
  rh_progress_format_sizes(text, sizeof text, 1024 * MIB, 4096 * MIB);
  assert_string_equal(text, "1.0/4.0 GiB");
}

static void test_half(void **state) {
  (void)state;
  char line[1024];
  rh_progress_format(line, sizeof line, "model.gguf", 50 * MIB, 100 * MIB, 10.0 * MIB, 5, 140);
  assert_non_null(strstr(line, "model.gguf "));
  assert_non_null(strstr(line, " 50%  50.0/100.0 MiB  10 MiB/s  5s left"));
  assert_int_equal(count(line, "█"), 15);
}

static void test_ends_of_a_bar(void **state) {
  (void)state;
  char line[1024];
  rh_progress_format(line, sizeof line, "m", 0, 100, -1, -1, 140);
  assert_int_equal(count(line, "█"), 0);
  assert_non_null(strstr(line, "  0%"));
  rh_progress_format(line, sizeof line, "m", 100, 100, -1, -1, 140);
  assert_int_equal(count(line, "█"), 30);
  assert_non_null(strstr(line, "100%"));
  // A little is missing: neither the share nor the bar may say that all is there.
  rh_progress_format(line, sizeof line, "m", 1000 * MIB - 1, 1000 * MIB, -1, -1, 140);
  assert_int_equal(count(line, "█"), 29);
  assert_non_null(strstr(line, " 99%"));
  // More than was promised is no reason to write beyond the bar.
  rh_progress_format(line, sizeof line, "m", 300, 100, -1, -1, 140);
  assert_int_equal(count(line, "█"), 30);
}

static void test_unknown_total_has_no_bar(void **state) {
  (void)state;
  char line[1024];
  rh_progress_format(line, sizeof line, "m", 7 * MIB, -1, 2.0 * MIB, -1, 100);
  assert_null(strchr(line, '%'));
  assert_null(strstr(line, "▕"));
  assert_non_null(strstr(line, "7.0 MiB  2 MiB/s"));
}

static void test_never_wider_than_the_screen(void **state) {
  (void)state;
  static const char *const labels[] = {"m", "größer-als-alles-was-in-eine-Zeile-passt/und/noch/mehr/modell.gguf", ""};
  char line[1024];
  for (size_t width = 1; width <= 300; width++) {
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
      rh_progress_format(line, sizeof line, labels[i], 50 * MIB, 100 * MIB, 999.0 * MIB, 86399, width);
      assert_true(columns_of(line) <= width);
      rh_progress_format(line, sizeof line, labels[i], 50 * MIB, 0, -1, -1, width);
      assert_true(columns_of(line) <= width);
    }
  }
}

static void test_long_label_keeps_its_end(void **state) {
  (void)state;
  char line[1024];
  rh_progress_format(line, sizeof line, "a/very/long/path/that/goes/on/model-00001-of-00002.gguf", 1, 2, -1, -1, 100);
  assert_non_null(strstr(line, "…"));
  assert_non_null(strstr(line, "model-00001-of-00002.gguf "));
}

// Everything that was written to a stream that is no terminal.
static char *written(void (*write)(rh_progress *progress)) {
  char *text = NULL;
  size_t length = 0;
  FILE *file = tmpfile();
  assert_non_null(file);
  rh_progress *progress = rh_progress_new(file);
  assert_false(rh_progress_has_bars(progress));
  write(progress);
  rh_progress_free(progress);
  length = (size_t)ftell(file);
  rewind(file);
  text = calloc(1, length + 1);
  assert_non_null(text);
  assert_int_equal(fread(text, 1, length, file), length);
  fclose(file);
  return text;
}

static void many_steps(rh_progress *progress) {
  for (int64_t done = 0; done <= 1000; done++) rh_progress_show_one(progress, "m", done * MIB, 1000 * MIB);
}

static void test_plain_lines_are_few(void **state) {
  (void)state;
  char *text = written(many_steps);
  assert_null(strchr(text, '\x1b'));
  assert_non_null(strstr(text, "m:   0%"));
  assert_non_null(strstr(text, "m:  50%"));
  assert_non_null(strstr(text, "m: 100%"));
  assert_int_equal(count(text, "\n"), 5);
  free(text);
}

static void same_words(rh_progress *progress) {
  rh_progress_status(progress, "converting to GGUF:   3%");
  rh_progress_status(progress, "converting to GGUF:  74%");
  rh_progress_status(progress, "loading it");
}

static void test_plain_status_is_said_once(void **state) {
  (void)state;
  char *text = written(same_words);
  assert_string_equal(text, "converting to GGUF:   3%\nloading it\n");
  free(text);
}

static void test_no_memory_is_no_crash(void **state) {
  (void)state;
  rh_progress_show(NULL, "m", NULL);
  rh_progress_show_one(NULL, "m", 1, 2);
  rh_progress_note(NULL, "x");
  rh_progress_status(NULL, "x");
  rh_progress_end(NULL, true);
  rh_progress_free(NULL);
  assert_false(rh_progress_has_bars(NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_half),
      cmocka_unit_test(test_ends_of_a_bar),
      cmocka_unit_test(test_unknown_total_has_no_bar),
      cmocka_unit_test(test_never_wider_than_the_screen),
      cmocka_unit_test(test_long_label_keeps_its_end),
      cmocka_unit_test(test_plain_lines_are_few),
      cmocka_unit_test(test_plain_status_is_said_once),
      cmocka_unit_test(test_no_memory_is_no_crash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
