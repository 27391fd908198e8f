// SPDX-License-Identifier: Apache-2.0
//
// The frame codec: round trips, every kind of lie about lengths, and any cut of the input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "flow/limits.h"
#include "wire/frame.h"

static void test_round_trip(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 1 << 20);
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_RUN, 77, "{\"a\":1}", 7, "\x01\x02\x03", 3), RH_OK);
  assert_int_equal(out.length, RH_FRAME_HEADER_BYTES + 10);
  rh_frame frame;
  size_t consumed = 0;
  assert_int_equal(rh_frame_decode(rh_dynbuf_data(&out), out.length, &frame, &consumed, NULL), RH_OK);
  assert_int_equal(consumed, out.length);
  assert_int_equal(frame.type, RH_FRAME_RUN);
  assert_int_equal(frame.stream, 77);
  assert_int_equal(frame.json_length, 7);
  assert_memory_equal(frame.json, "{\"a\":1}", 7);
  assert_int_equal(frame.binary_length, 3);
  assert_memory_equal(frame.binary, "\x01\x02\x03", 3);
  rh_dynbuf_free(&out);
}

static void test_exact_bytes(void **state) {
  (void)state;
  static const uint8_t expected[] = {14, 0, 0, 0, 11, 0, 0, 0, 4, 3, 2, 1, 2, 0, 0, 0, '{', '}'};
  rh_dynbuf out;
  rh_dynbuf_init(&out, 64);
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_PING, 0x01020304, "{}", 2, NULL, 0), RH_OK);
  assert_int_equal(out.length, sizeof expected);
  assert_memory_equal(rh_dynbuf_data(&out), expected, sizeof expected);
  rh_dynbuf_free(&out);
}

static void test_every_cut_asks_for_more(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 1024);
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_EVENT, 1, "{\"event\":\"end\"}", 15, NULL, 0), RH_OK);
  rh_frame frame;
  size_t consumed = 0;
  for (size_t cut = 0; cut < out.length; cut++) {
    assert_int_equal(rh_frame_decode(rh_dynbuf_data(&out), cut, &frame, &consumed, NULL), RH_AGAIN);
  }
  rh_dynbuf_free(&out);
}

static void expect_protocol_error(const uint8_t *bytes, size_t length, const char *words) {
  rh_frame frame;
  size_t consumed = 0;
  rh_error error = {0};
  assert_int_equal(rh_frame_decode(bytes, length, &frame, &consumed, &error), RH_PROTOCOL);
  assert_non_null(strstr(error.message, words));
}

static void test_lies(void **state) {
  (void)state;
  const uint8_t too_short[4] = {11, 0, 0, 0};
  expect_protocol_error(too_short, 4, "11 bytes");
  const uint8_t huge[4] = {0xff, 0xff, 0xff, 0xff};
  expect_protocol_error(huge, 4, "4294967295 bytes");
  uint8_t header[16] = {20, 0, 0, 0, 99};
  expect_protocol_error(header, 16, "type 99");
  header[4] = 0;
  expect_protocol_error(header, 16, "type 0");
  // More JSON than the frame has room for is found out before the rest of the frame is waited for.
  uint8_t lying[16] = {20, 0, 0, 0, RH_FRAME_EVENT, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0};
  expect_protocol_error(lying, 16, "claims 9 bytes of JSON");
}

static void test_too_large_is_refused_on_the_way_out(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 32);
  char text[64] = {0};
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_RUN, 1, text, sizeof text, NULL, 0), RH_TOO_LARGE);
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_RUN, 1, text, RH_FRAME_BYTES_MAX + 1u, NULL, 0), RH_TOO_LARGE);
  assert_int_equal(out.length, 0);
  rh_dynbuf_free(&out);
}

static void test_names(void **state) {
  (void)state;
  assert_string_equal(rh_frame_type_name(RH_FRAME_GOODBYE), "GOODBYE");
  assert_string_equal(rh_frame_type_name(0), "unknown");
  assert_string_equal(rh_frame_type_name(200), "unknown");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_exact_bytes),
      cmocka_unit_test(test_every_cut_asks_for_more),
      cmocka_unit_test(test_lies),
      cmocka_unit_test(test_too_large_is_refused_on_the_way_out),
      cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
