// SPDX-License-Identifier: Apache-2.0
//
// Headers of files: models in parts, and what is remembered of files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "folder_fixture.h"
#include "gguf_builder.h"
#include "model/gguf.h"

// A model with one matrix of `rows` rows of 10 numbers, as the file `name`.
static void write_model(const char *path, uint64_t rows) {
  gguf_builder b;
  gguf_begin(&b, "llama");
  gguf_tensor(&b, "blk.0.attn_q.weight", 10, rows, 0);
  gguf_finish(&b);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(b.out.data, 1, b.out.length, file), b.out.length);
  fclose(file);
  rh_dynbuf_free(&b.out);
}

static int64_t parameters_of(const char *path) {
  rh_gguf_summary summary;
  rh_error error = {0};
  if (rh_gguf_read_summary(path, &summary, &error) != RH_OK) fail_msg("%s", error.message);
  return summary.parameters;
}

static void test_parts_count_together(void **state) {
  (void)state;
  char folder[FOLDER_SIZE];
  folder_make(folder);
  for (unsigned i = 1; i <= 3; i++) write_model(in_folder(folder, "m-%05u-of-00003.gguf", i), i);
  assert_int_equal(parameters_of(in_folder(folder, "m-00001-of-00003.gguf")), 60);
  assert_int_equal(parameters_of(in_folder(folder, "m-00002-of-00003.gguf")), 20);
  unlink(in_folder(folder, "m-00003-of-00003.gguf"));
  assert_int_equal(parameters_of(in_folder(folder, "m-00001-of-00003.gguf")), 30);
  folder_remove(folder);
}

// What was read once is remembered, but never for another file of the same name.
static void test_a_file_that_changes_is_read_again(void **state) {
  (void)state;
  char folder[FOLDER_SIZE];
  folder_make(folder);
  const char *path = in_folder(folder, "m.gguf");
  const struct timespec settled = {.tv_nsec =
                                       150000000};  // only files that are older than a clock's tick are remembered
  for (uint64_t rows = 1; rows <= 300; rows++) {
    write_model(path, rows);
    if (rows % 100 == 0) nanosleep(&settled, NULL);
    for (int again = 0; again < 2; again++) assert_int_equal(parameters_of(path), 10 * rows);
    if (rows % 2 == 0) unlink(path);
  }
  folder_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_parts_count_together),
      cmocka_unit_test(test_a_file_that_changes_is_read_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
