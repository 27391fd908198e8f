// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/address.h"

static void test_which_hosts_are_this_machine(void **state) {
  (void)state;
  static const struct {
    const char *host;
    bool own;
  } hosts[] = {
      {"localhost", true},
      {"LocalHost", true},
      {"127.0.0.1", true},
      {"127.255.0.9", true},
      {"::1", true},
      {"0:0:0:0:0:0:0:1", true},
      {"::ffff:127.0.0.1", true},
      {"127.evil.example", false},
      {"127.0.0.1.example.com", false},
      {"localhost.example.com", false},
      {"127.1", false},
      {"128.0.0.1", false},
      {"0.0.0.0", false},
      {"::", false},
      {"::2", false},
      {"::ffff:10.0.0.1", false},
      {"[::1]", false},
      {"", false},
  };
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    if (rh_host_is_loopback(hosts[i].host) != hosts[i].own) fail_msg("%s", hosts[i].host);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_which_hosts_are_this_machine)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
