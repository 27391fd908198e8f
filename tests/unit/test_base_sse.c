// SPDX-License-Identifier: Apache-2.0
//
// The parser of server-sent events: any cut of the bytes gives the same events.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sse.h"

// All events as one text: "event=data|".
typedef struct seen {
  char text[4096];
  rh_status answer;
} seen;

static rh_status note(void *ctx, const rh_sse_event *event) {
  seen *self = ctx;
  size_t used = strlen(self->text);
  assert_int_equal(strlen(event->data), event->length);
  snprintf(self->text + used, sizeof self->text - used, "%s=%s|", event->event, event->data);
  return self->answer;
}

static void check(const char *bytes, const char *expected) {
  size_t length = strlen(bytes);
  for (size_t step = 1; step <= length; step++) {
    rh_sse sse;
    seen got = {.answer = RH_OK};
    rh_sse_init(&sse, 1024);
    for (size_t at = 0; at < length; at += step) {
      size_t size = at + step > length ? length - at : step;
      char *copy = malloc(size);
      memcpy(copy, bytes + at, size);
      assert_int_equal(rh_sse_feed(&sse, copy, size, note, &got), RH_OK);
      free(copy);
    }
    assert_string_equal(got.text, expected);
    rh_sse_free(&sse);
  }
}

static void test_events(void **state) {
  (void)state;
  check("data: a\n\ndata: b\n\n", "message=a|message=b|");
  check("event: x\ndata: 1\n\n", "x=1|");
  check("data: one\ndata: two\n\n", "message=one\ntwo|");
  check("data:none\ndata:  two spaces\n\n", "message=none\n two spaces|");
  check("data\n\n", "message=|");
  check("data: {\"a\": \"b: c\"}\n\n", "message={\"a\": \"b: c\"}|");
}

static void test_line_ends(void **state) {
  (void)state;
  check("data: a\r\n\r\ndata: b\r\n\r\n", "message=a|message=b|");
  check("data: a\r\rdata: b\r\r", "message=a|message=b|");
  check("data: a\r\n\ndata: b\n\r\n", "message=a|message=b|");
}

static void test_what_is_read_over(void **state) {
  (void)state;
  check(": ping\n\n: ping\ndata: a\n: ping\n\n", "message=a|");
  check("id: 5\nretry: 100\nother: x\ndata: a\n\n", "message=a|");
  check("event: lost\n\ndata: a\n\n", "message=a|");
  check(
      "\xef\xbb\xbf"
      "data: a\n\n",
      "message=a|");
  check(
      "data: a\n\n\xef\xbb\xbf"
      "data: b\n\n",
      "message=a|");
  check("data: not finished\n", "");
}

static void test_maximum(void **state) {
  (void)state;
  rh_sse sse;
  seen got = {.answer = RH_OK};
  rh_sse_init(&sse, 64);
  char line[80];
  memset(line, 'x', sizeof line);
  assert_int_equal(rh_sse_feed(&sse, line, sizeof line, note, &got), RH_TOO_LARGE);
  rh_sse_free(&sse);
  rh_sse_init(&sse, 64);
  static const char part[] = "data: 0123456789012345678901234567890123456789\n";
  assert_int_equal(rh_sse_feed(&sse, part, sizeof part - 1, note, &got), RH_OK);
  assert_int_equal(rh_sse_feed(&sse, part, sizeof part - 1, note, &got), RH_TOO_LARGE);
  assert_string_equal(got.text, "");
  rh_sse_free(&sse);
}

static void test_status_of_the_reader_ends_it(void **state) {
  (void)state;
  rh_sse sse;
  seen got = {.answer = RH_CANCELLED};
  rh_sse_init(&sse, 64);
  assert_int_equal(rh_sse_feed(&sse, "data: a\n\ndata: b\n\n", 18, note, &got), RH_CANCELLED);
  assert_string_equal(got.text, "message=a|");
  rh_sse_free(&sse);
}

static void test_long_event_name_is_cut(void **state) {
  (void)state;
  rh_sse sse;
  seen got = {.answer = RH_OK};
  char text[300];
  memset(text, 'n', sizeof text);
  memcpy(text, "event: ", 7);
  memcpy(text + 200, "\ndata: a\n\n", 11);
  rh_sse_init(&sse, 1024);
  assert_int_equal(rh_sse_feed(&sse, text, strlen(text), note, &got), RH_OK);
  assert_int_equal(strlen(got.text), 63 + 3);
  rh_sse_free(&sse);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_events),
      cmocka_unit_test(test_line_ends),
      cmocka_unit_test(test_what_is_read_over),
      cmocka_unit_test(test_maximum),
      cmocka_unit_test(test_status_of_the_reader_ends_it),
      cmocka_unit_test(test_long_event_name_is_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
