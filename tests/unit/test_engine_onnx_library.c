// SPDX-License-Identifier: Apache-2.0
//
// How the ONNX engine finds its library. A process looks once, so each case is a process of its own. RH_OLD_ORT is a library
// that says it is old (tests/tools/old_ort.c), RH_ORT_FOLDER the folder of a good one.
#include <sys/wait.h>

#include "onnx_fixture.h"

// What a load says in a process where ROUNDHOUSE_ORT is `wish`: "" when it succeeds.
static void load_in_child(const char *wish, char *out, size_t size) {
  int ends[2], status = 0;
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    rh_engine *engine = NULL;
    rh_error error;
    if (setenv("ROUNDHOUSE_ORT", wish, 1) != 0) _exit(3);
    if (try_load("add.onnx", &(rh_load_options){.gpu_layers = -1}, &engine, &error) == RH_OK) OPS->unload(engine);
    ssize_t written = write(ends[1], error.message, strlen(error.message));
    _exit(written == (ssize_t)strlen(error.message) ? 0 : 2);
  }
  close(ends[1]);
  size_t used = 0;
  for (ssize_t n; (n = read(ends[0], out + used, size - 1 - used)) > 0;) used += (size_t)n;
  out[used] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static void expect(const char *wish, const char *words) {
  char message[sizeof((rh_error *)0)->message];
  load_in_child(wish, message, sizeof message);
  if (words[0] == '\0') {
    assert_string_equal(message, "");
  } else if (strstr(message, words) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", message, words);
  }
}

static const char *environment(const char *name) {
  const char *value = getenv(name);
  if (value == NULL) fail_msg("%s is not set: run by ctest", name);
  return value;
}

static void test_file_and_folders(void **state) {
  (void)state;
  char path[1024];
  const char *lib = environment("RH_ORT_FOLDER");
  expect(lib, "");
  (void)snprintf(path, sizeof path, "%s/..", lib);  // which has it in "lib"
  expect(path, "");
  expect("", "");  // nobody wishes anything: the build's own
}

static void test_wrong_wishes(void **state) {
  (void)state;
  expect("/nonexistent/lib.so", "which is not there");
  expect(folder, "holds no libonnxruntime.so");
  expect(path_of("add.onnx"), "cannot open ONNX Runtime");
  expect("/proc/self/exe", "ONNX Runtime");
}

static void test_an_old_library(void **state) {
  (void)state;
  expect(environment("RH_OLD_ORT"), "is ONNX Runtime 1.5.2; 1.17 or newer is needed");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_file_and_folders),
      cmocka_unit_test(test_wrong_wishes),
      cmocka_unit_test(test_an_old_library),
  };
  if (onnx_folder() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
