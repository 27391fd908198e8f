// SPDX-License-Identifier: Apache-2.0
//
// Starting programs: what the child gets and does not get, how its end is told, reading its output.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/subprocess.h"

#define LINES_MAX 16

typedef struct lines {
  char text[LINES_MAX][256];
  size_t longest;
  size_t count;
  size_t stop_after;  // 0 = never
} lines;

static rh_status on_line(void *ctx, const char *line) {
  lines *seen = ctx;
  if (seen->count < LINES_MAX) snprintf(seen->text[seen->count], sizeof seen->text[0], "%s", line);
  if (strlen(line) > seen->longest) seen->longest = strlen(line);
  seen->count++;
  return seen->count == seen->stop_after ? RH_CANCELLED : RH_OK;
}

static rh_subprocess_options shell(const char *const *argv) {
  return (rh_subprocess_options){.argv = argv, .input = -1, .output = -1, .error_output = -1, .extra = -1};
}

static int run(const char *script, lines *seen) {
  const char *argv[] = {"sh", "-c", script, NULL};
  rh_subprocess_options options = shell(argv);
  int code = -1;
  rh_error error = {0};
  memset(seen, 0, sizeof *seen);
  if (rh_subprocess_run(&options, on_line, seen, NULL, &code, &error) != RH_OK) fail_msg("%s", error.message);
  return code;
}

static void test_lines_and_exit_status(void **state) {
  (void)state;
  lines seen;
  assert_int_equal(run("echo one; echo; printf 'last'; exit 3", &seen), 3);
  assert_int_equal(seen.count, 3);
  assert_string_equal(seen.text[0], "one");
  assert_string_equal(seen.text[1], "");
  assert_string_equal(seen.text[2], "last");
  assert_int_equal(run("kill -9 $$", &seen), 128 + SIGKILL);
  assert_int_equal(seen.count, 0);
}

static void test_long_lines_are_cut(void **state) {
  (void)state;
  lines seen;
  assert_int_equal(run("head -c 200000 /dev/zero | tr '\\0' x; echo; echo after", &seen), 0);
  assert_int_equal(seen.count, 2);
  assert_int_equal(seen.longest, 64 * 1024);
  assert_string_equal(seen.text[1], "after");
}

static void test_the_end_of_complaints_is_kept(void **state) {
  (void)state;
  const char *argv[] = {"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo complaint $i >&2; done; exit 1", NULL};
  rh_subprocess_options options = shell(argv);
  rh_dynbuf complaints;
  rh_dynbuf_init(&complaints, 24);
  int code = -1;
  assert_int_equal(rh_subprocess_run(&options, NULL, NULL, &complaints, &code, NULL), RH_OK);
  assert_int_equal(code, 1);
  assert_string_equal(rh_dynbuf_data(&complaints), "complaint 8\ncomplaint 9\n");
  rh_dynbuf_free(&complaints);
}

static void test_a_status_from_line_kills_the_child(void **state) {
  (void)state;
  const char *argv[] = {"sh", "-c", "while :; do echo again; done", NULL};
  rh_subprocess_options options = shell(argv);
  options.own_group = true;
  lines seen = {.stop_after = 5};
  int code = -1;
  assert_int_equal(rh_subprocess_run(&options, on_line, &seen, NULL, &code, NULL), RH_CANCELLED);
  assert_int_equal(code, 128 + SIGKILL);
  assert_int_equal(seen.count, 5);
}

static void test_it_does_not_wait_for_what_was_left_running(void **state) {
  (void)state;
  lines seen;
  assert_int_equal(run("sleep 600 & echo $!", &seen), 0);
  assert_int_equal(seen.count, 1);
  // The one left behind still held the pipe: had its end been waited for, we would not be here.
  assert_int_equal(kill((pid_t)atoi(seen.text[0]), SIGKILL), 0);
}

static void test_a_missing_program(void **state) {
  (void)state;
  const char *const *cases[] = {(const char *const[]){"no-such-program-here", NULL},
                                (const char *const[]){"/nowhere/program", NULL}, (const char *const[]){"", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rh_subprocess_options options = shell(cases[i]);
    pid_t pid = -1;
    rh_error error = {0};
    assert_int_equal(rh_subprocess_spawn(&options, &pid, &error), RH_NOT_FOUND);
    assert_int_equal(pid, 0);
    assert_non_null(strstr(error.message, cases[i][0]));
  }
  // A file that is there but is no program is another matter; and no child is left behind.
  const char *argv[] = {"/etc/passwd", NULL};
  rh_subprocess_options options = shell(argv);
  pid_t pid = -1;
  assert_int_equal(rh_subprocess_spawn(&options, &pid, NULL), RH_IO);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(errno, ECHILD);
}

// The child lists its descriptors: ours are gone, also one that somebody left without close-on-exec.
static void test_descriptors(void **state) {
  (void)state;
  int pair[2];
  assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
  int secret = open("/etc/passwd", O_RDONLY);
  assert_true(secret > 3);
  const char *argv[] = {"sh", "-c",
                        "echo from the child >&3; ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0", NULL};
  rh_subprocess_options options = shell(argv);
  options.extra = pair[1];
  lines seen = {0};
  int code = -1;
  assert_int_equal(rh_subprocess_run(&options, on_line, &seen, NULL, &code, NULL), RH_OK);
  assert_int_equal(code, 0);
  assert_string_equal(seen.text[0], "0 1 2 3 4 /dev/null");  // 4 is the folder that ls reads
  char text[32] = {0};
  close(pair[1]);
  assert_int_equal(read(pair[0], text, sizeof text - 1), strlen("from the child\n"));
  assert_string_equal(text, "from the child\n");
  close(pair[0]);
  close(secret);
}

static void test_extra_may_be_three_already(void **state) {
  (void)state;
  int pair[2];
  assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
  int was = fcntl(3, F_DUPFD_CLOEXEC, 10);
  assert_int_equal(dup3(pair[1], 3, O_CLOEXEC) >= 0 || pair[1] == 3, 1);
  const char *argv[] = {"sh", "-c", "echo three >&3", NULL};
  rh_subprocess_options options = shell(argv);
  options.extra = 3;
  pid_t pid = 0;
  assert_int_equal(rh_subprocess_spawn(&options, &pid, NULL), RH_OK);
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  char text[16] = {0};
  if (pair[0] != 3) assert_int_equal(read(pair[0], text, sizeof text - 1), 6);
  if (was >= 0) {
    assert_int_equal(dup3(was, 3, O_CLOEXEC), 3);
    close(was);
  } else {
    close(3);
  }
  if (pair[0] != 3) close(pair[0]);
  if (pair[1] != 3) close(pair[1]);
}

static void test_environment_name_and_group(void **state) {
  (void)state;
  char kept[] = "KEPT=yes", path[] = "PATH=/usr/bin:/bin";
  char *const environment[] = {kept, path, NULL};
  setenv("RH_SECRET", "no", 1);
  const char *argv[] = {"sh", "-c", "echo $0 $KEPT $RH_SECRET; test $(ps -o pgid= $$) = $$ && echo own group", NULL};
  rh_subprocess_options options = shell(argv);
  options.environment = environment;
  options.own_group = true;
  options.argv0 = "another-name";
  lines seen = {0};
  int code = -1;
  assert_int_equal(rh_subprocess_run(&options, on_line, &seen, NULL, &code, NULL), RH_OK);
  assert_string_equal(seen.text[0], "another-name yes");
  assert_string_equal(seen.text[1], "own group");
  unsetenv("RH_SECRET");
}

static void test_signals_are_as_new(void **state) {
  (void)state;
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  void (*old)(int) = signal(SIGPIPE, SIG_IGN);
  lines seen;
  assert_int_equal(run("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\t'", &seen), 0);
  assert_string_equal(seen.text[0], "SigBlk:0000000000000000");
  // Signals 32 and 33 belong to the C library, which lets nobody change them: they stay as whoever started us left them.
  unsigned long long ignored = 0;
  assert_int_equal(sscanf(seen.text[1], "SigIgn:%llx", &ignored), 1);
  assert_int_equal(ignored & ~0x180000000ull, 0);
  sigprocmask(SIG_SETMASK, NULL, &blocked);
  assert_true(sigismember(&blocked, SIGTERM));
  signal(SIGPIPE, old);
  sigprocmask(SIG_SETMASK, &before, NULL);
}

// A parent in the middle starts a child and is killed without a chance to tidy up.
static void test_it_ends_with_us(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  pid_t middle = fork();
  assert_true(middle >= 0);
  if (middle == 0) {
    const char *argv[] = {"sleep", "600", NULL};
    rh_subprocess_options options = shell(argv);
    options.ends_with_us = true;
    options.extra = ends[1];
    pid_t pid = 0;
    if (rh_subprocess_spawn(&options, &pid, NULL) != RH_OK) _exit(1);
    raise(SIGKILL);
  }
  close(ends[1]);
  assert_int_equal(waitpid(middle, NULL, 0), middle);
  char byte;
  assert_int_equal(read(ends[0], &byte, 1), 0);  // the end of file: the sleeper held the other end, and is gone
  close(ends[0]);
}

static void test_too_many_arguments(void **state) {
  (void)state;
  const char *argv[RH_SUBPROCESS_ARGUMENTS_MAX + 2];
  for (size_t i = 0; i <= RH_SUBPROCESS_ARGUMENTS_MAX; i++) argv[i] = "true";
  argv[RH_SUBPROCESS_ARGUMENTS_MAX + 1] = NULL;
  rh_subprocess_options options = shell(argv);
  pid_t pid = 0;
  assert_int_equal(rh_subprocess_spawn(&options, &pid, NULL), RH_TOO_LARGE);
}

static void test_describe(void **state) {
  (void)state;
  char text[64];
  rh_subprocess_describe(SIGKILL, text, sizeof text);
  assert_string_equal(text, "was ended by signal 9 (Killed)");
  rh_subprocess_describe(3 << 8, text, sizeof text);
  assert_string_equal(text, "ended with exit status 3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lines_and_exit_status),
      cmocka_unit_test(test_long_lines_are_cut),
      cmocka_unit_test(test_the_end_of_complaints_is_kept),
      cmocka_unit_test(test_a_status_from_line_kills_the_child),
      cmocka_unit_test(test_it_does_not_wait_for_what_was_left_running),
      cmocka_unit_test(test_a_missing_program),
      cmocka_unit_test(test_descriptors),
      cmocka_unit_test(test_extra_may_be_three_already),
      cmocka_unit_test(test_environment_name_and_group),
      cmocka_unit_test(test_signals_are_as_new),
      cmocka_unit_test(test_it_ends_with_us),
      cmocka_unit_test(test_too_many_arguments),
      cmocka_unit_test(test_describe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
