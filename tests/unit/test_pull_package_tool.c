// SPDX-License-Identifier: Apache-2.0
//
// pip and npm: which ones are run, how, and what their complaints mean.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "pull/package_licence.h"
#include "pull/package_tool.h"

static char folder[256];

static void put(const char *name, const char *text, mode_t mode) {
  char path[512];
  rh_error error = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  char *slash = strrchr(path, '/');
  *slash = '\0';
  assert_int_equal(rh_file_make_folders(path, 0755, &error), RH_OK);
  *slash = '/';
  assert_int_equal(rh_file_write_atomic(path, text, strlen(text), mode, &error), RH_OK);
  assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/rh_tool_XXXXXX");
  unsetenv("ROUNDHOUSE_PIP");
  return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  rh_error error = {0};
  return rh_file_remove_tree(folder, &error) == RH_OK ? 0 : -1;
}

// --- which program -------------------------------------------------------------------------------------------------

static void test_pip_of_the_path(void **state) {
  (void)state;
  rh_tool tool;
  rh_error error = {0};
  rh_pull_options options = {.source = ""};
  assert_int_equal(setenv("PATH", folder, 1), 0);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_NOT_FOUND);
  assert_non_null(strstr(error.message, "ROUNDHOUSE_PIP"));
  put("python3", "#!/bin/sh\n", 0755);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], "python3");
  assert_string_equal(tool.words[2], "pip");
  put("pip", "#!/bin/sh\n", 0755);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], "pip");
  put("pip3", "#!/bin/sh\n", 0644);  // not a program
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], "pip");
  put("pip3", "#!/bin/sh\n", 0755);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], "pip3");
  assert_null(tool.words[1]);
}

static void test_pip_that_was_named(void **state) {
  (void)state;
  rh_tool tool, python;
  rh_error error = {0};
  char path[300], command[400];
  const char *const own[] = {"python3", "-m", "pip", NULL};
  rh_pull_options options = {.source = ""};
  put("with blanks/pip", "#!/bin/sh\n", 0755);
  put("with blanks/python3", "#!/bin/sh\n", 0755);
  put("py", "#!/bin/sh\n", 0755);
  snprintf(path, sizeof path, "%s/with blanks/pip", folder);
  setenv("ROUNDHOUSE_PIP", path, 1);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], path);
  assert_null(tool.words[1]);
  rh_tool_find_python(&tool, &python);
  snprintf(path, sizeof path, "%s/with blanks/python3", folder);
  assert_string_equal(python.words[0], path);

  snprintf(command, sizeof command, "%s/py -m pip", folder);
  setenv("ROUNDHOUSE_PIP", command, 1);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_int_equal(tool.count, 3);
  rh_tool_find_python(&tool, &python);
  snprintf(path, sizeof path, "%s/py", folder);
  assert_string_equal(python.words[0], path);

  setenv("ROUNDHOUSE_PIP", "/nowhere/pip", 1);
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_NOT_FOUND);
  // The caller's word wins over the variable.
  assert_int_equal(setenv("PATH", folder, 1), 0);
  put("python3", "#!/bin/sh\n", 0755);
  options.pip = own;
  assert_int_equal(rh_tool_find_pip(&options, &tool, &error), RH_OK);
  assert_string_equal(tool.words[0], "python3");
}

// --- running -------------------------------------------------------------------------------------------------------

static rh_status remember(void *ctx, const char *line) {
  snprintf(ctx, 300, "%s", line);
  return RH_OK;
}

static void test_run(void **state) {
  (void)state;
  char heard[300] = "";
  rh_error error = {0};
  rh_tool tool = {.count = 0};
  setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  rh_tool_add(&tool, "sh");
  rh_tool_add(&tool, "-c");
  rh_tool_add(&tool, "echo \"$TMPDIR $PIP_NO_INPUT\"; read x; exit 0");
  assert_int_equal(rh_tool_run(&tool, "sh", folder, remember, heard, &error), RH_OK);
  assert_memory_equal(heard, folder, strlen(folder));
  assert_non_null(strstr(heard, " 1"));
}

static void test_failing_run_says_why(void **state) {
  (void)state;
  rh_error error = {0};
  rh_tool tool = {.count = 0};
  setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  rh_tool_add(&tool, "sh");
  rh_tool_add(&tool, "-c");
  rh_tool_add(&tool, "echo 'ERROR: No matching distribution found for x==1' >&2; exit 1");
  assert_int_equal(rh_tool_run(&tool, "pip", folder, NULL, NULL, &error), RH_NOT_FOUND);
  assert_string_equal(error.message, "pip says: ERROR: No matching distribution found for x==1");
  tool.words[2] = "exit 7";
  assert_int_equal(rh_tool_run(&tool, "pip", folder, NULL, NULL, &error), RH_IO);
  assert_non_null(strstr(error.message, "status 7"));
  tool.words[2] = "kill -INT $$";
  assert_int_equal(rh_tool_run(&tool, "pip", folder, NULL, NULL, &error), RH_CANCELLED);
}

// --- what they say -------------------------------------------------------------------------------------------------

static void test_judge(void **state) {
  (void)state;
  static const struct {
    const char *complaints;
    rh_status status;
    const char *line;
  } cases[] = {
      {"WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'\n"
       "ERROR: Could not find a version that satisfies the requirement x (from versions: none)\n"
       "ERROR: No matching distribution found for x\n",
       RH_UNAVAILABLE, "ERROR: No matching distribution found for x"},
      {"ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n", RH_NO_SPACE,
       "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"},
      {"npm error code E404\nnpm error 404 Not Found - GET x\nnpm error 404  'y' is not in this registry.\n"
       "npm error A complete log of this run can be found in: /home/me/x.log\n",
       RH_NOT_FOUND, "npm error 404 Not Found - GET x"},
      {"npm ERR! code ENOTFOUND\nnpm ERR! network request failed\n", RH_UNAVAILABLE, "npm ERR! network request failed"},
      {"something\nlast words\n", RH_IO, "last words"},
      {"\n", RH_IO, ""},
      {"", RH_IO, ""},
      {"ERROR: Operation cancelled by user\n", RH_CANCELLED, "ERROR: Operation cancelled by user"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char line[300];
    assert_int_equal(rh_tool_judge(cases[i].complaints, line, sizeof line), cases[i].status);
    assert_string_equal(line, cases[i].line);
  }
}

static void test_no_secret_of_a_url_is_told(void **state) {
  (void)state;
  static const struct {
    const char *said, *told;
  } cases[] = {
      {"ERROR: cannot read https://me:s3cret@host/simple/x?token=s3cret: 403",
       "ERROR: cannot read https://host/simple/x 403"},
      {"ERROR: 'https://s3cret@host/x#s3cret' and http://a/b", "ERROR: 'https://host/x' and http://a/b"},
      {"ERROR: https://u:s3cret@tw@ce@host", "ERROR: https://host"},
      {"ERROR: https://", "ERROR: https://"},
      {"ERROR: https://h?s3cret", "ERROR: https://h"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char line[300];
    (void)rh_tool_judge(cases[i].said, line, sizeof line);
    assert_null(strstr(line, "s3cret"));
    assert_string_equal(line, cases[i].told);
    // Cut anywhere, still nothing.
    for (size_t size = 1; size < 40; size++) {
      (void)rh_tool_judge(cases[i].said, line, size);
      assert_true(strlen(line) < size);
      assert_null(strstr(line, "s3"));
    }
  }
}

static void test_progress(void **state) {
  (void)state;
  int64_t done = -1, total = -1;
  assert_true(rh_tool_parse_progress("Progress 12 of 34", &done, &total));
  assert_int_equal(done, 12);
  assert_int_equal(total, 34);
  assert_false(rh_tool_parse_progress("Progress 35 of 34", &done, &total));
  assert_false(rh_tool_parse_progress("Progress 12 of 34 files", &done, &total));
  assert_false(rh_tool_parse_progress("Collecting x", &done, &total));
  assert_int_equal(rh_tool_parse_pip_version("pip 24.1.2 from /x (python 3.12)"), 2401);
  assert_int_equal(rh_tool_parse_pip_version("pip 9.0"), 900);
  assert_int_equal(rh_tool_parse_pip_version("pip23"), 0);
  assert_int_equal(rh_tool_parse_pip_version(""), 0);
}

// --- licences ------------------------------------------------------------------------------------------------------

static void test_licence(void **state) {
  (void)state;
  char licence[64];
  rh_package_licence(folder, licence, sizeof licence);
  assert_string_equal(licence, "");
  put("package.json", "{\"name\":\"x\",\"license\":\"ISC\"}", 0644);
  rh_package_licence(folder, licence, sizeof licence);
  assert_string_equal(licence, "ISC");
  put("x-1.dist-info/METADATA", "Name: x\nLicense: Apache 2.0\r\n\nLicense-Expression: no header any more\n", 0644);
  rh_package_licence(folder, licence, sizeof licence);
  assert_string_equal(licence, "Apache 2.0");
  put("x-1.dist-info/METADATA", "License: old words\nLicense-Expression: MIT OR Apache-2.0\n", 0644);
  rh_package_licence(folder, licence, sizeof licence);
  assert_string_equal(licence, "MIT OR Apache-2.0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_pip_of_the_path, setup, teardown),
      cmocka_unit_test_setup_teardown(test_pip_that_was_named, setup, teardown),
      cmocka_unit_test_setup_teardown(test_run, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failing_run_says_why, setup, teardown),
      cmocka_unit_test(test_judge),
      cmocka_unit_test(test_no_secret_of_a_url_is_told),
      cmocka_unit_test(test_progress),
      cmocka_unit_test_setup_teardown(test_licence, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
