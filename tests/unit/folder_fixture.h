// SPDX-License-Identifier: Apache-2.0
//
// A temporary folder for tests of files, and small files in it.
#ifndef RH_TESTS_FOLDER_FIXTURE_H
#define RH_TESTS_FOLDER_FIXTURE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define FOLDER_SIZE 256

static inline void folder_make(char folder[FOLDER_SIZE]) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, FOLDER_SIZE, "%.200s/rh-test-XXXXXX", base == NULL || base[0] == '\0' ? "/tmp" : base);
  assert_non_null(mkdtemp(folder));
}

static inline void folder_remove(const char *folder) {
  rh_error error = {0};
  if (rh_file_remove_tree(folder, &error) != RH_OK) fail_msg("%s", error.message);
}

// Paths live until eight more are made.
RH_PRINTF(2, 3)
static inline const char *in_folder(const char *folder, const char *format, ...) {
  static char paths[8][1024];
  static unsigned next;
  char *out = paths[next++ % 8];
  int used = snprintf(out, sizeof paths[0], "%s/", folder);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(out + used, sizeof paths[0] - (size_t)used, format, arguments);
  va_end(arguments);
  return out;
}

static inline void put_bytes(const char *path, const void *bytes, size_t length) {
  char folder[1024];
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = '\0';
  rh_error error = {0};
  assert_int_equal(rh_file_make_folders(folder, 0755, &error), RH_OK);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, length, file), length);
  assert_int_equal(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text) { put_bytes(path, text, strlen(text)); }

static inline bool is_there(const char *path) {
  struct stat info;
  return lstat(path, &info) == 0;
}

static inline void expect_text(const char *path, const char *expected) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, 65536);
  rh_error error = {0};
  if (rh_file_read(path, &text, &error) != RH_OK) fail_msg("%s", error.message);
  assert_string_equal(rh_dynbuf_data(&text), expected);
  rh_dynbuf_free(&text);
}

static inline void expect_words(const rh_error *error, const char *words) {
  if (strstr(error->message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error->message, words);
}

#endif
