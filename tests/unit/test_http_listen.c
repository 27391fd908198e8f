// SPDX-License-Identifier: Apache-2.0
//
// Addresses to listen on, and what a person reads when one does not work.
#include "test_http_fixture.h"

static rh_status try_address(const char *address, rh_http_server **server, rh_loop *loop, rh_error *error) {
  static app nobody;
  rh_http_options options = app_options();
  options.address = address;
  rh_http_handlers handlers = app_handlers(&nobody);
  *server = NULL;
  *error = (rh_error){0};
  return rh_http_server_new(loop, &options, &handlers, server, error);
}

static void test_any_free_port(void **state) {
  (void)state;
  static const char *const good[][2] = {
      {"127.0.0.1:0", "127.0.0.1:"}, {"[::1]:0", "[::1]:"}, {"0.0.0.0:0", "0.0.0.0:"}, {"localhost:0", ":"}};
  rh_loop *loop = rh_loop_new();
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    rh_http_server *server = NULL;
    rh_error error;
    rh_status status = try_address(good[i][0], &server, loop, &error);
    if (strcmp(good[i][0], "[::1]:0") == 0 && status != RH_OK) continue;  // a machine without IPv6
    assert_int_equal(status, RH_OK);
    const char *address = rh_http_server_address(server);
    assert_non_null(strstr(address, good[i][1]));
    assert_true(atoi(strrchr(address, ':') + 1) > 0);
    assert_int_equal(rh_http_server_connections(server), 0);
    assert_int_equal(rh_http_server_exchanges(server), 0);
    rh_http_server_stop_listening(server);
    rh_http_server_stop_listening(server);  // twice is once
    rh_http_server_free(server);
  }
  rh_http_server_free(NULL);
  rh_loop_free(loop);
}

static void test_bad_addresses(void **state) {
  (void)state;
  static const char *const bad[][2] = {
      {"8080", "the port is missing"},
      {"127.0.0.1", "the port is missing"},
      {":8080", "the host is missing"},
      {"127.0.0.1:", "the port is not a number"},
      {"127.0.0.1:http", "the port is not a number"},
      {"127.0.0.1:65536", "the port is not a number"},
      {"127.0.0.1:99999999999999999999", "the port is not a number"},
      {"::1:8080", "needs brackets"},
      {"[::1:8080", "brackets do not match"},
      {"[]:80", "the host is missing"},
      {"300.1.2.3.4:80", "neither an IP address nor a known name"},
      {"", "the port is missing"},
  };
  rh_loop *loop = rh_loop_new();
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    rh_http_server *server = NULL;
    rh_error error;
    assert_int_equal(try_address(bad[i][0], &server, loop, &error), RH_INVALID);
    assert_null(server);
    assert_non_null(strstr(error.message, bad[i][1]));
    assert_non_null(strstr(error.message, "127.0.0.1:8080"));  // says what a good one looks like
    assert_string_equal(error.param, "listen");
  }
  rh_loop_free(loop);
}

static void test_address_in_use(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  rh_http_server *first = NULL;
  rh_http_server *second = NULL;
  rh_error error;
  assert_int_equal(try_address("127.0.0.1:0", &first, loop, &error), RH_OK);
  assert_int_equal(try_address(rh_http_server_address(first), &second, loop, &error), RH_UNAVAILABLE);
  assert_null(second);
  assert_non_null(strstr(error.message, "address already in use: "));
  assert_non_null(strstr(error.message, rh_http_server_address(first)));
  assert_non_null(strstr(error.message, "Stop it, or choose another port"));
  assert_int_equal(error.status, RH_UNAVAILABLE);
  // An error buffer is the caller's choice.
  rh_http_options options = app_options();
  options.address = rh_http_server_address(first);
  app nobody = {0};
  rh_http_handlers handlers = app_handlers(&nobody);
  assert_int_equal(rh_http_server_new(loop, &options, &handlers, &second, NULL), RH_UNAVAILABLE);
  rh_http_server_free(first);
  rh_loop_free(loop);
}

static void test_address_of_another_machine(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  rh_http_server *server = NULL;
  rh_error error;
  assert_int_equal(try_address("192.0.2.1:0", &server, loop, &error), RH_INVALID);  // reserved for documentation
  assert_non_null(strstr(error.message, "this machine has no such address"));
  rh_loop_free(loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_any_free_port),
      cmocka_unit_test(test_bad_addresses),
      cmocka_unit_test(test_address_in_use),
      cmocka_unit_test(test_address_of_another_machine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
