// SPDX-License-Identifier: Apache-2.0
//
// Redis URLs: what is understood, and that nothing of a wrong one comes out.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "redis/redis_private.h"

static void good(const char *url, const char *label, const char *user, const char *password, unsigned database,
                 bool fixed) {
  rh_redis_place place;
  rh_error error = {0};
  rh_status status = rh_redis_place_parse(url, &place, &error);
  if (status != RH_OK) fail_msg("%s: %s", url, error.message);
  assert_string_equal(place.label, label);
  if (user == NULL)
    assert_null(place.user);
  else
    assert_string_equal(place.user, user);
  if (password == NULL)
    assert_null(place.password);
  else
    assert_string_equal(place.password, password);
  assert_int_equal(place.database, database);
  assert_int_equal(place.fixed, fixed);
  assert_int_equal(place.socket_count, fixed ? 1 : 0);
  rh_redis_place_release(&place);
}

static void test_good(void **state) {
  (void)state;
  good("redis://127.0.0.1", "127.0.0.1:6379", NULL, NULL, 0, true);
  good("redis://127.0.0.1:7000/3", "127.0.0.1:7000", NULL, NULL, 3, true);
  good("redis://127.0.0.1:7000/", "127.0.0.1:7000", NULL, NULL, 0, true);
  good("redis://127.0.0.1?db=9", "127.0.0.1:6379", NULL, NULL, 9, true);
  good("redis://cache.example:7000", "cache.example:7000", NULL, NULL, 0, false);
  good("redis://:secret@127.0.0.1", "127.0.0.1:6379", NULL, "secret", 0, true);
  good("redis://:@127.0.0.1", "127.0.0.1:6379", NULL, "", 0, true);
  good("redis://me:se%40c%2fr:et@127.0.0.1/2", "127.0.0.1:6379", "me", "se@c/r:et", 2, true);
  good("redis://me:a@b@127.0.0.1/2", "127.0.0.1:6379", "me", "a@b", 2, true);
  good("redis://[::1]:7000/1", "[::1]:7000", NULL, NULL, 1, true);
  good("redis://[::1]", "[::1]:6379", NULL, NULL, 0, true);
  good("unix:///run/redis.sock", "/run/redis.sock", NULL, NULL, 0, true);
  good("unix:///run/redis.sock?db=4", "/run/redis.sock", NULL, NULL, 4, true);
  good("unix://:pw@/run/a@b?db=4", "/run/a@b", NULL, "pw", 4, true);
}

static void test_port_reaches_the_socket(void **state) {
  (void)state;
  rh_redis_place place;
  assert_int_equal(rh_redis_place_parse("redis://127.0.0.1:7001", &place, NULL), RH_OK);
  struct sockaddr_in address;
  memcpy(&address, &place.sockets[0].address, sizeof address);
  assert_int_equal(ntohs(address.sin_port), 7001);
  assert_int_equal(ntohl(address.sin_addr.s_addr), INADDR_LOOPBACK);
  rh_redis_place_release(&place);
}

static void test_bad_urls_are_refused_and_not_repeated(void **state) {
  (void)state;
  static const char *const urls[] = {
      "hunter2@127.0.0.1",
      "http://:hunter2@h",
      "redis://",
      "redis://hunter2@h",
      "redis://:hunter2@",
      "redis://:hunter2@h:0",
      "redis://:hunter2@h:65536",
      "redis://:hunter2@h:6379x",
      "redis://:hunter2@h:99999999999999999999",
      "redis://:hunter2@h/x",
      "redis://:hunter2@h/123456",
      "redis://:hunter2@h?user=hunter2",
      "redis://:hunter2@h/1?db=x",
      "redis://:hunter2%@h",
      "redis://:hunter2%4@h",
      "redis://:hunter2%zz@h",
      "redis://:hunter2%00@h",
      "redis://:hunter2/x@h",
      "redis://:hunter2#x@h",
      "unix://hunter2",
      "unix://:hunter2@relative",
      "redis://:hunter2@[::1",
      "redis://:hunter2@[::1]x",
      "redis://:hunter2@h:",
      "rediss://:hunter2@h",
      "redis:hunter2",
      "",
      "unix:///x?timeout=hunter2",
  };
  for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
    rh_redis_place place;
    rh_error error = {0};
    rh_status status = rh_redis_place_parse(urls[i], &place, &error);
    if (status == RH_OK) fail_msg("%s was taken", urls[i]);
    assert_true(status == RH_INVALID || status == RH_UNSUPPORTED);
    assert_true(strlen(error.message) > 20);
    assert_null(strstr(error.message, "hunter2"));
    assert_null(place.password);
  }
}

static void test_tls_is_refused_with_words(void **state) {
  (void)state;
  rh_redis_place place;
  rh_error error = {0};
  assert_int_equal(rh_redis_place_parse("rediss://h", &place, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "TLS"));
}

static void test_long_parts_are_refused(void **state) {
  (void)state;
  char url[4096];
  rh_redis_place place;
  memcpy(url, "redis://", 8);
  memset(url + 8, 'a', 2000);
  url[2008] = '\0';
  assert_int_equal(rh_redis_place_parse(url, &place, NULL), RH_INVALID);
  memcpy(url, "unix:///", 8);
  assert_int_equal(rh_redis_place_parse(url, &place, NULL), RH_INVALID);
  memcpy(url, "redis://:", 9);
  memcpy(url + 2008, "@h", 3);
  assert_int_equal(rh_redis_place_parse(url, &place, NULL), RH_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good),
      cmocka_unit_test(test_port_reaches_the_socket),
      cmocka_unit_test(test_bad_urls_are_refused_and_not_repeated),
      cmocka_unit_test(test_tls_is_refused_with_words),
      cmocka_unit_test(test_long_parts_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
