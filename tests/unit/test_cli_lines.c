// SPDX-License-Identifier: Apache-2.0
//
// NDJSON in pieces of every size, and lines that end a call.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/lines.h"

typedef struct heard {
  int count;
  json_int_t sum;
  int give_up_at;  // 0 = never
} heard;

static rh_status on_line(void *ctx, const json_t *value, rh_error *error) {
  heard *self = ctx;
  self->count++;
  self->sum += json_integer_value(json_object_get(value, "n"));
  if (self->count == self->give_up_at) return rh_fail(error, RH_CANCELLED, "enough");
  return RH_OK;
}

static const char three[] = "{\"n\":1}\r\n\n{\"n\":20, \"error\": null}\n{\"n\":300}";

static void test_pieces_of_every_size(void **state) {
  (void)state;
  for (size_t piece = 1; piece <= sizeof three - 1; piece++) {
    heard self = {.count = 0};
    rh_error error = {0};
    rh_lines lines;
    rh_lines_init(&lines, on_line, &self);
    for (size_t at = 0; at < sizeof three - 1; at += piece) {
      size_t left = sizeof three - 1 - at;
      assert_int_equal(rh_lines_feed(&lines, three + at, left < piece ? left : piece, &error), RH_OK);
    }
    assert_int_equal(self.count, 2);  // the last one has no newline yet
    assert_int_equal(rh_lines_end(&lines, &error), RH_OK);
    assert_int_equal(self.count, 3);
    assert_int_equal(self.sum, 321);
    rh_lines_free(&lines);
  }
}

static rh_status feed(const char *text, heard *self, rh_error *error) {
  rh_lines lines;
  rh_lines_init(&lines, on_line, self);
  rh_status status = rh_lines_feed(&lines, text, strlen(text), error);
  if (status == RH_OK) status = rh_lines_end(&lines, error);
  rh_lines_free(&lines);
  return status;
}

static void test_an_error_line_ends_it(void **state) {
  (void)state;
  heard self = {.count = 0};
  rh_error error = {0};
  assert_int_equal(feed("{\"n\":1}\n{\"error\":\"it broke\"}\n{\"n\":2}\n", &self, &error), RH_LOAD_FAILED);
  assert_string_equal(error.message, "it broke");
  assert_int_equal(self.count, 1);
  assert_int_equal(feed("{\"error\":{\"message\":\"no room\",\"status\":\"no_room\"}}\n", &self, &error), RH_NO_ROOM);
  assert_string_equal(error.message, "no room");
  assert_int_equal(feed("{\"error\":{}}\n", &self, &error), RH_LOAD_FAILED);
  assert_true(error.message[0] != '\0');
}

// "io" would be taken for a server that is not there.
static void test_an_error_line_is_never_an_unreachable_server(void **state) {
  (void)state;
  heard self = {.count = 0};
  rh_error error = {0};
  assert_int_equal(feed("{\"error\":{\"message\":\"x\",\"status\":\"io\"}}\n", &self, &error), RH_LOAD_FAILED);
}

static void test_no_json(void **state) {
  (void)state;
  heard self = {.count = 0};
  rh_error error = {0};
  assert_int_equal(feed("{\"n\":1}\n<html>\n", &self, &error), RH_PROTOCOL);
  assert_int_equal(self.count, 1);
  assert_true(error.message[0] != '\0');
}

static void test_the_listener_may_give_up(void **state) {
  (void)state;
  heard self = {.give_up_at = 2};
  rh_error error = {0};
  assert_int_equal(feed("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n", &self, &error), RH_CANCELLED);
  assert_int_equal(self.count, 2);
}

static void test_a_line_has_a_limit(void **state) {
  (void)state;
  heard self = {.count = 0};
  rh_error error = {0};
  rh_lines lines;
  char *piece = malloc(65536);
  assert_non_null(piece);
  memset(piece, ' ', 65536);
  rh_lines_init(&lines, on_line, &self);
  rh_status status = RH_OK;
  size_t fed = 0;
  while (status == RH_OK && fed < 2 * RH_LINE_BYTES_MAX) {
    status = rh_lines_feed(&lines, piece, 65536, &error);
    fed += 65536;
  }
  assert_int_equal(status, RH_TOO_LARGE);
  assert_true(fed <= RH_LINE_BYTES_MAX + 65536);
  rh_lines_free(&lines);
  free(piece);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pieces_of_every_size),
      cmocka_unit_test(test_an_error_line_ends_it),
      cmocka_unit_test(test_an_error_line_is_never_an_unreachable_server),
      cmocka_unit_test(test_no_json),
      cmocka_unit_test(test_the_listener_may_give_up),
      cmocka_unit_test(test_a_line_has_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
