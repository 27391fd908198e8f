// SPDX-License-Identifier: Apache-2.0
//
// base/log: lines as they arrive at the other end of a pipe.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

static int ends[2];
static char text[1 << 18];

static int set_up(void **state) {
  (void)state;
  if (pipe2(ends, O_NONBLOCK) != 0) return -1;
  (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  rh_log_setup(STDERR_FILENO, RH_LOG_INFO, RH_LOG_JSON);
  (void)close(ends[0]);
  (void)close(ends[1]);
  return 0;
}

// All that was written since the last call, NUL-terminated.
static const char *written(void) {
  size_t used = 0;
  ssize_t got;
  while ((got = read(ends[0], text + used, sizeof text - 1 - used)) > 0) used += (size_t)got;
  text[used] = '\0';
  return text;
}

static json_t *one_json_line(void) {
  const char *line = written();
  size_t length = strlen(line);
  assert_true(length > 1);
  assert_ptr_equal(strchr(line, '\n'), line + length - 1);
  json_t *value = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
  if (value == NULL) fail_msg("not JSON: %s", line);
  return value;
}

static const char *string_of(const json_t *line, const char *key) {
  return json_string_value(json_object_get(line, key));
}

static void test_a_json_line_has_all_fields(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  RH_LOG(RH_LOG_WARN, "worker \"ready\"", rh_log_str("model", "smollm2\n"), rh_log_int("pid", -12),
         rh_log_num("seconds", 0.25), rh_log_num("odd", (double)NAN), rh_log_bool("ok", true),
         rh_log_str("none", NULL));
  json_t *line = one_json_line();
  assert_int_equal(strlen(string_of(line, "time")), 24);
  assert_string_equal(string_of(line, "level"), "warn");
  assert_string_equal(string_of(line, "message"), "worker \"ready\"");
  assert_string_equal(string_of(line, "model"), "smollm2\n");
  assert_int_equal(json_integer_value(json_object_get(line, "pid")), -12);
  assert_true(json_real_value(json_object_get(line, "seconds")) == 0.25);
  assert_true(json_is_null(json_object_get(line, "odd")));
  assert_true(json_is_true(json_object_get(line, "ok")));
  assert_true(json_is_null(json_object_get(line, "none")));
  assert_int_equal(json_object_size(line), 9);
  json_decref(line);
}

static void test_no_fields_is_fine(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_log_write(RH_LOG_ERROR, "alone", NULL);
  json_t *line = one_json_line();
  assert_int_equal(json_object_size(line), 3);
  json_decref(line);
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_PLAIN);
  rh_log_write(RH_LOG_ERROR, "alone", NULL);
  assert_string_equal(written() + 8, " error alone\n");
}

static void test_the_plain_form(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_DEBUG, RH_LOG_PLAIN);
  RH_LOG(RH_LOG_INFO, "worker ready", rh_log_str("model", "smollm2"), rh_log_int("pid", 12));
  const char *line = written();
  assert_int_equal(strspn(line, "0123456789:"), 8);
  assert_string_equal(line + 8, " info  worker ready  model=smollm2 pid=12\n");
  RH_LOG(RH_LOG_DEBUG, "x", rh_log_str("a", "two words"), rh_log_str("b", ""), rh_log_str("c", "k=v"),
         rh_log_str("d", NULL), rh_log_str("e", "\xFF"), rh_log_bool("f", false), rh_log_num("g", 1.5));
  assert_string_equal(written() + 8,
                      " debug x  a=\"two words\" b=\"\" c=\"k=v\" d=null e=\"\xEF\xBF\xBD\" f=false g=1.5\n");
}

static void test_a_message_cannot_forge_a_line(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_PLAIN);
  RH_LOG(RH_LOG_INFO, "bad\n08:00:00 info  forged", rh_log_str("k", "a\nb"));
  const char *line = written();
  assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
  RH_LOG(RH_LOG_INFO, "\x1B[2J", rh_log_int("n", 1));
  assert_null(strchr(written(), '\x1B'));
}

static void test_levels(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_WARN, RH_LOG_JSON);
  assert_false(rh_log_enabled(RH_LOG_INFO));
  assert_true(rh_log_enabled(RH_LOG_WARN));
  RH_LOG(RH_LOG_INFO, "unseen", rh_log_int("n", 1));
  rh_log_write(RH_LOG_DEBUG, "unseen", NULL);
  assert_string_equal(written(), "");
  rh_log_setup(ends[1], RH_LOG_OFF, RH_LOG_JSON);
  RH_LOG(RH_LOG_ERROR, "unseen", rh_log_int("n", 1));
  rh_log_write(RH_LOG_OFF, "unseen", NULL);
  assert_string_equal(written(), "");
  rh_log_level level = RH_LOG_OFF;
  assert_int_equal(rh_log_level_from_name("debug", &level), RH_OK);
  assert_int_equal(level, RH_LOG_DEBUG);
  assert_int_equal(rh_log_level_from_name("off", &level), RH_OK);
  assert_int_equal(level, RH_LOG_OFF);
  assert_int_equal(rh_log_level_from_name("loud", &level), RH_INVALID);
}

static void test_long_values_are_cut(void **state) {
  (void)state;
  static char value[5002];
  for (int format = RH_LOG_JSON; format <= RH_LOG_PLAIN; format++) {
    rh_log_setup(ends[1], RH_LOG_INFO, (rh_log_format)format);
    value[0] = 'a';
    for (size_t i = 1; i + 2 < sizeof value; i += 2) memcpy(value + i, "\xC3\xA4", 3);
    RH_LOG(RH_LOG_INFO, value, rh_log_str("v", value), rh_log_int("after", 1));
    const char *line = written();
    assert_in_range(strlen(line), 4000, 4400);
    assert_true(rh_utf8_valid(line, strlen(line)));
    assert_non_null(strstr(line, "\xE2\x80\xA6"));
    assert_non_null(strstr(line, "after"));
  }
}

static void test_a_line_that_is_too_long_keeps_its_message(void **state) {
  (void)state;
  static char value[2000];
  memset(value, 1, sizeof value - 1);  // each becomes six bytes
  rh_log_field fields[11];
  for (size_t i = 0; i < 10; i++) fields[i] = rh_log_str("v", value);
  fields[10] = (rh_log_field){.type = RH_FIELD_END, .key = NULL};
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_log_write(RH_LOG_INFO, "the message", fields);
  json_t *line = one_json_line();
  assert_string_equal(string_of(line, "message"), "the message");
  assert_int_equal(json_object_size(line), 3);
  json_decref(line);
}

static void test_errno_survives_and_a_dead_log_is_ignored(void **state) {
  (void)state;
  rh_log_setup(-1, RH_LOG_INFO, RH_LOG_JSON);
  errno = ENOENT;
  RH_LOG(RH_LOG_INFO, "nowhere", rh_log_int("n", 1));
  assert_int_equal(errno, ENOENT);
}

static void *log_a_lot(void *name) {
  for (int i = 0; i < 200; i++) RH_LOG(RH_LOG_INFO, "from a thread", rh_log_str("name", name), rh_log_int("i", i));
  return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  pthread_t threads[2];
  char names[2][8] = {"one", "two"};
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, log_a_lot, names[i]), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
  (void)written();
  int lines = 0;
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    json_t *value = json_loadb(line, (size_t)(end - line), 0, NULL);
    assert_non_null(value);
    json_decref(value);
    lines++;
  }
  assert_int_equal(lines, 400);
}

static void test_held_lines_wait_and_keep_their_order(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_PLAIN);
  rh_log_hold();
  RH_LOG(RH_LOG_INFO, "one", rh_log_int("n", 1));
  RH_LOG(RH_LOG_INFO, "two", rh_log_int("n", 2));
  assert_string_equal(written(), "");
  rh_log_release();
  const char *both = written();
  const char *second = strchr(both, '\n') + 1;
  assert_memory_equal(both + 8, " info  one  n=1\n", 16);
  assert_string_equal(second + 8, " info  two  n=2\n");
}

static void log_one(const char *message, rh_log_level level) { rh_log_write(level, message, NULL); }

// The messages of the lines that came, in their order: "one two ".
static const char *messages(void) {
  static char out[1 << 16];
  size_t used = 0;
  (void)written();
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    json_t *value = json_loadb(line, (size_t)(end - line), 0, NULL);
    assert_non_null(value);
    used += (size_t)snprintf(out + used, sizeof out - used, "%s ", string_of(value, "message"));
    json_decref(value);
  }
  out[used] = '\0';
  return out;
}

static void *log_from_a_thread(void *ctx) {
  (void)ctx;
  log_one("other", RH_LOG_INFO);
  return NULL;
}

static void test_what_takes_held_lines_along(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_log_hold();
  log_one("held", RH_LOG_INFO);
  log_one("grave", RH_LOG_WARN);
  assert_string_equal(messages(), "held grave ");
  log_one("held", RH_LOG_INFO);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, log_from_a_thread, NULL), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_string_equal(messages(), "held other ");
  log_one("held", RH_LOG_INFO);
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);  // goes where it was meant to
  assert_string_equal(messages(), "held ");
  rh_log_release();
  log_one("free", RH_LOG_INFO);
  assert_string_equal(messages(), "free ");
}

static void test_many_held_lines_are_written_in_whole_lines(void **state) {
  (void)state;
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_log_hold();
  static char large[2000];
  memset(large, 'x', sizeof large - 1);
  char name[16];
  char expected[2048] = "";
  size_t seen = 0;
  for (int i = 0; i < 200; i++) {
    (void)snprintf(name, sizeof name, "m%d", i);
    RH_LOG(RH_LOG_INFO, name, rh_log_str("v", i % 7 == 0 ? large : "v"), rh_log_str("w", i % 50 == 0 ? large : "w"),
           rh_log_str("x", i % 50 == 0 ? large : "x"));
    (void)strcat(strcat(expected, name), " ");
    const char *came = messages();
    assert_memory_equal(came, expected + seen, strlen(came));
    seen += strlen(came);
  }
  assert_in_range(strlen(expected) - seen, 1, 400);  // some wait, no more than a few thousand bytes
  rh_log_release();
  assert_string_equal(messages(), expected + seen);
}

// What a process that holds a line, and ends like this, has written.
static void expect_of_child(void (*end)(void), int killed_by, const char *expected) {
  rh_log_setup(ends[1], RH_LOG_INFO, RH_LOG_JSON);
  rh_log_hold();
  log_one("before", RH_LOG_INFO);
  pid_t child = fork();  // writes it, once
  assert_true(child >= 0);
  if (child == 0) {
    log_one("alone", RH_LOG_INFO);  // no loop of ours runs here: at once
    rh_log_hold();
    log_one("last", RH_LOG_INFO);
    end();
  }
  int ended = 0;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_int_equal(WIFSIGNALED(ended) ? WTERMSIG(ended) : 0, killed_by);
  rh_log_release();
  assert_string_equal(messages(), expected);
}

static void exit_well(void) { exit(0); }

static void no_core(void) { (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); }

static void abort_bare(void) {
  no_core();
  abort();
}

// As a watchdog does it, and as a crash.
static void be_aborted(void) {
  no_core();
  (void)kill(getpid(), SIGABRT);
}

static void be_ended_by_a_fault(void) {
  no_core();
  (void)raise(SIGBUS);
}

static void be_killed(void) { (void)kill(getpid(), SIGKILL); }

static void test_held_lines_outlive_their_process(void **state) {
  (void)state;
  expect_of_child(exit_well, 0, "before alone last ");
  expect_of_child(abort_bare, SIGABRT, "before alone last ");
  expect_of_child(be_aborted, SIGABRT, "before alone last ");
  struct sigaction action;
  assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
  bool ours = action.sa_flags == (int)SA_RESETHAND || action.sa_handler == SIG_DFL;  // a sanitizer has its own
  if (ours) expect_of_child(be_ended_by_a_fault, SIGBUS, "before alone last ");
  expect_of_child(be_killed, SIGKILL, "before alone ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_json_line_has_all_fields),
      cmocka_unit_test(test_no_fields_is_fine),
      cmocka_unit_test(test_the_plain_form),
      cmocka_unit_test(test_a_message_cannot_forge_a_line),
      cmocka_unit_test(test_levels),
      cmocka_unit_test(test_long_values_are_cut),
      cmocka_unit_test(test_a_line_that_is_too_long_keeps_its_message),
      cmocka_unit_test(test_errno_survives_and_a_dead_log_is_ignored),
      cmocka_unit_test(test_lines_of_threads_do_not_mix),
      cmocka_unit_test(test_held_lines_wait_and_keep_their_order),
      cmocka_unit_test(test_what_takes_held_lines_along),
      cmocka_unit_test(test_many_held_lines_are_written_in_whole_lines),
      cmocka_unit_test(test_held_lines_outlive_their_process),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
