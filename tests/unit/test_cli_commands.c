// SPDX-License-Identifier: Apache-2.0
//
// The table of commands, the shared reading of flags, and addresses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/output.h"

typedef struct test_options {
  char *name;
  int64_t number;
  bool loud;
} test_options;

static const rh_setting test_flags[] = {
    RH_CLI_FLAG(RH_SETTING_STRING, test_options, name, "x", 0, 0, "a name"),
    RH_CLI_FLAG(RH_SETTING_INT, test_options, number, "7", 0, 10, "a number"),
    RH_CLI_FLAG(RH_SETTING_BOOL, test_options, loud, "false", 0, 0, "a switch"),
};

static const rh_cli_command test_command = {
    .name = "test", .arguments = "", .help = "Test", .details = "", .flags = test_flags, .flag_count = 3};

// Commands complain on standard error; between these two it goes nowhere.
static int kept_stderr;

static void hush(void) {
  int none = open("/dev/null", O_WRONLY);
  kept_stderr = dup(STDERR_FILENO);
  assert_true(none >= 0 && kept_stderr >= 0);
  dup2(none, STDERR_FILENO);
  close(none);
}

static void unhush(void) {
  dup2(kept_stderr, STDERR_FILENO);
  close(kept_stderr);
}

static int parse(int argc, const char *const *argv, test_options *options, rh_cli_args *args) {
  memset(options, 0, sizeof *options);
  return rh_cli_parse(&test_command, argc, (char **)(uintptr_t)argv, options, NULL, args);
}

static void test_flags_and_words_in_any_order(void **state) {
  (void)state;
  static const char *const argv[] = {"test", "one", "--number=3", "-",      "--loud", "--name",
                                     "n",    "two", "--",         "--name", NULL};
  test_options options;
  rh_cli_args args;
  assert_int_equal(parse(10, argv, &options, &args), -1);
  assert_int_equal(options.number, 3);
  assert_true(options.loud);
  assert_string_equal(options.name, "n");
  assert_int_equal(args.count, 4);
  assert_string_equal(args.words[1], "-");
  assert_string_equal(args.words[3], "--name");
  rh_cli_args_free(&args);
  rh_config_release(test_flags, 3, &options);
}

static void test_wrong_flags_are_usage_errors(void **state) {
  (void)state;
  static const char *const cases[][3] = {
      {"test", "--numbr", "3"}, {"test", "--number", "11"}, {"test", "--number", "x"}, {"test", "word", "--name"}};
  for (size_t i = 0; i < 4; i++) {
    test_options options;
    rh_cli_args args;
    hush();
    int code = parse(3, cases[i], &options, &args);
    unhush();
    assert_int_equal(code, RH_EXIT_USAGE);
  }
}

static void test_every_command_is_complete(void **state) {
  (void)state;
  size_t count = 0;
  for (; rh_cli_commands[count] != NULL; count++) {
    const rh_cli_command *command = rh_cli_commands[count];
    assert_ptr_equal(rh_cli_find(command->name), command);
    assert_non_null(command->run);
    assert_true(strlen(command->help) > 0 && strlen(command->help) < 80);
    assert_non_null(command->arguments);
    assert_non_null(command->details);
  }
  assert_int_equal(count, 30);
  assert_null(rh_cli_find("nothing"));
}

static int code_of(rh_status status) {
  rh_error error = {.status = status, .message = "x"};
  hush();
  int code = rh_cli_fail_status(&error);
  unhush();
  return code;
}

static void test_exit_codes(void **state) {
  (void)state;
  assert_int_equal(code_of(RH_IO), RH_EXIT_UNREACHABLE);
  assert_int_equal(code_of(RH_CANCELLED), RH_EXIT_INTERRUPTED);
  assert_int_equal(code_of(RH_INVALID), RH_EXIT_ERROR);
  static const char *const unknown[] = {"roundhouse", "nothing", NULL};
  hush();
  int code = rh_cli_main(2, (char **)(uintptr_t)unknown);
  unhush();
  assert_int_equal(code, RH_EXIT_USAGE);
}

static void check_url(const char *address, const char *expected) {
  char *url = rh_connect_url(address);
  assert_string_equal(url, expected);
  free(url);
}

static void test_addresses(void **state) {
  (void)state;
  check_url("127.0.0.1:8080", "http://127.0.0.1:8080");
  check_url("https://host/", "https://host");
  check_url("0.0.0.0:80", "http://127.0.0.1:80");
  check_url(":9000", "http://127.0.0.1:9000");
  check_url("[::]:9000", "http://[::1]:9000");
  check_url("[::1]:9000", "http://[::1]:9000");
  check_url("host", "http://host");
}

static void test_server_named_by_a_person(void **state) {
  (void)state;
  bool chosen = false;
  setenv("ROUNDHOUSE_SERVER", "box:1", 1);
  char *address = rh_connect_address(NULL, &chosen);
  assert_string_equal(address, "http://box:1");
  assert_true(chosen);
  free(address);
  address = rh_connect_address("other:2", &chosen);
  assert_string_equal(address, "http://other:2");
  free(address);
  unsetenv("ROUNDHOUSE_SERVER");
}

static void test_table_lines_up(void **state) {
  (void)state;
  static const char *const headings[] = {"NAME", ">N", NULL};
  rh_table *table = rh_table_new(headings);
  rh_table_add(table, (const char *const[]){"caf\xc3\xa9", "1"});
  rh_table_add(table, (const char *const[]){NULL, "1000"});
  char *text = NULL;
  size_t length = 0;
  FILE *stream = tmpfile();
  assert_non_null(stream);
  assert_int_equal(rh_table_print_free(table, stream), RH_EXIT_OK);
  rewind(stream);
  size_t size = 0;
  length = (size_t)getdelim(&text, &size, '\0', stream);
  assert_int_equal(length, strlen(text));
  assert_string_equal(text, "NAME     N\ncaf\xc3\xa9     1\n-     1000\n");
  free(text);
  fclose(stream);
}

static void test_durations(void **state) {
  (void)state;
  char text[32];
  rh_cli_format_seconds(text, sizeof text, 7.2);
  assert_string_equal(text, "7s");
  rh_cli_format_seconds(text, sizeof text, 75);
  assert_string_equal(text, "1m 15s");
  rh_cli_format_seconds(text, sizeof text, 7265);
  assert_string_equal(text, "2h 1m");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_flags_and_words_in_any_order),
      cmocka_unit_test(test_wrong_flags_are_usage_errors),
      cmocka_unit_test(test_every_command_is_complete),
      cmocka_unit_test(test_exit_codes),
      cmocka_unit_test(test_addresses),
      cmocka_unit_test(test_server_named_by_a_person),
      cmocka_unit_test(test_table_lines_up),
      cmocka_unit_test(test_durations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
