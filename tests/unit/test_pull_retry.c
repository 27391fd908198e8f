// SPDX-License-Identifier: Apache-2.0
//
// Back-off, Retry-After, URLs and redirects: the pure parts of how a pull talks to servers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pull/retry.h"
#include "pull/url.h"

static void test_delay_grows_and_is_bounded(void **state) {
  (void)state;
  uint64_t before = 0;
  for (int attempt = 1; attempt <= 100; attempt++) {
    uint64_t least = rh_retry_delay_ns(attempt, 0, -1), most = rh_retry_delay_ns(attempt, 1, -1);
    assert_true(least >= before && least * 2 == most && most <= RH_RETRY_MAX_NS);
    assert_true(least >= RH_RETRY_FIRST_NS / 2);
    before = least;
  }
  assert_int_equal(before, RH_RETRY_MAX_NS / 2);
}

static void test_delay_obeys_the_server(void **state) {
  (void)state;
  assert_int_equal(rh_retry_delay_ns(1, 0.5, 7), 7 * RH_NS_PER_S);
  assert_true(rh_retry_delay_ns(20, 0, 1) > RH_NS_PER_S);  // never less than our own
  assert_int_equal(rh_retry_delay_ns(1, 0, INT64_MAX), RH_RETRY_AFTER_MAX_S * RH_NS_PER_S);
}

static void test_retry_after(void **state) {
  (void)state;
  const int64_t now = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
  assert_int_equal(rh_retry_after_s("5", now), 5);
  assert_int_equal(rh_retry_after_s("0", now), 0);
  assert_int_equal(rh_retry_after_s("99999999999999999999", now), RH_RETRY_AFTER_MAX_S);
  assert_int_equal(rh_retry_after_s("Sun, 06 Nov 1994 08:49:47 GMT", now), 10);
  assert_int_equal(rh_retry_after_s("Sunday, 06-Nov-94 08:49:47 GMT", now), 10);
  assert_int_equal(rh_retry_after_s("Sun, 06 Nov 1994 08:00:00 GMT", now), 0);
  assert_int_equal(rh_retry_after_s("Mon, 07 Nov 2094 08:00:00 GMT", now), RH_RETRY_AFTER_MAX_S);
  static const char *const none[] = {"", "soon", "5 minutes", "-3", "1.5"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_int_equal(rh_retry_after_s(none[i], now), -1);
}

static void test_what_may_pass(void **state) {
  (void)state;
  static const long pass[] = {408, 425, 429, 500, 502, 503, 504, 520, 599};
  static const long stay[] = {200, 301, 400, 401, 403, 404, 410, 416, 501, 505};
  for (size_t i = 0; i < sizeof pass / sizeof *pass; i++) assert_true(rh_retry_answer(pass[i]));
  for (size_t i = 0; i < sizeof stay / sizeof *stay; i++) assert_false(rh_retry_answer(stay[i]));
  assert_true(rh_retry_transport(CURLE_PARTIAL_FILE));
  assert_true(rh_retry_transport(CURLE_COULDNT_RESOLVE_HOST));
  assert_false(rh_retry_transport(CURLE_PEER_FAILED_VERIFICATION));
  assert_false(rh_retry_transport(CURLE_UNSUPPORTED_PROTOCOL));
}

static void test_origins(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"https://Host/a?b", "https://host:443"},
      {"http://h:8080/", "http://h:8080"},
      {"http://[::1]:1/", "http://[::1]:1"},
      {"https://u:p@h/", "https://h:443"},
      {"ftp://h/", ""},
      {"file:///etc/passwd", ""},
      {"nonsense://", ""},
      {"https://h:443/x", "https://h:443"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char origin[320];
    bool fine = rh_url_origin(cases[i][0], origin, sizeof origin);
    assert_string_equal(fine ? origin : "", cases[i][1]);
  }
}

static void test_redirects(void **state) {
  (void)state;
  rh_error error = {0};
  assert_int_equal(rh_url_check_redirect("https://a/", "https://b/?s=1", &error), RH_OK);
  assert_int_equal(rh_url_check_redirect("http://a/", "https://b/", &error), RH_OK);
  assert_int_equal(rh_url_check_redirect("http://a/", "http://b/", &error), RH_OK);
  assert_int_equal(rh_url_check_redirect("https://a/", "http://a/?hush=1", &error), RH_UNAVAILABLE);
  assert_null(strstr(error.message, "hush"));
  assert_int_equal(rh_url_check_redirect("https://a/", "file:///etc/passwd", &error), RH_UNAVAILABLE);
  assert_int_equal(rh_url_check_redirect("http://a/", "ftp://b/", &error), RH_UNAVAILABLE);
}

static void test_shown_and_encoded(void **state) {
  (void)state;
  char text[128];
  rh_url_public("https://user:word@h:1/a/b?token=x#y", text, sizeof text);
  assert_string_equal(text, "https://h:1/a/b");
  rh_url_file_name("https://h/a/b%20c.gguf?x=/d", text, sizeof text);
  assert_string_equal(text, "b c.gguf");
  rh_url_file_name("https://h/a/", text, sizeof text);
  assert_string_equal(text, "");
  assert_true(rh_url_has_credentials("https://u@h/"));
  assert_false(rh_url_has_credentials("https://h/u@x"));
  rh_dynbuf out;
  rh_dynbuf_init(&out, 256);
  assert_int_equal(rh_url_append_encoded(&out, "a/b c+~_.-\xc3\xbc&=", true), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "a/b%20c%2B~_.-%C3%BC%26%3D");
  rh_dynbuf_clear(&out);
  assert_int_equal(rh_url_append_encoded(&out, "a/b", false), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "a%2Fb");
  rh_dynbuf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_delay_grows_and_is_bounded),
      cmocka_unit_test(test_delay_obeys_the_server),
      cmocka_unit_test(test_retry_after),
      cmocka_unit_test(test_what_may_pass),
      cmocka_unit_test(test_origins),
      cmocka_unit_test(test_redirects),
      cmocka_unit_test(test_shown_and_encoded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
