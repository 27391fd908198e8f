// SPDX-License-Identifier: Apache-2.0
//
// What the ledger promises when its process dies: nothing is lost at a clean end, at most a second at SIGKILL; and a full disk is
// counted and survived. Each case has a process of its own.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "ledger_fixture.h"

#define EVERY_NS (RH_NS_PER_MS / 2)
// So long that hundreds of records are older than the promise.
#define RUN_NS (600 * RH_NS_PER_MS + rh_scaled_ns(RH_NS_PER_S))

// When each record was added, by its number.
typedef struct acknowledged {
  uint64_t added_ns;
} acknowledged;

static void child_starts(ledger_fixture *f, rh_ledger_options *options) {
  f->loop = rh_loop_new();
  rh_error error = {0};
  if (rh_ledger_new(f->loop, options, &f->ledger, &error) == RH_OK) return;
  fprintf(stderr, "%s\n", error.message);
  _exit(2);
}

// Adds a record and then says so; until it is killed, or `count` are done.
static void add_and_tell(ledger_fixture *f, int log, int64_t count) {
  uint64_t next = rh_clock_now_ns();
  for (int64_t i = 0; i < count; i++) {
    rh_ledger_record record = a_record("");
    record.time_ms = i;
    snprintf(record.request_id, sizeof record.request_id, "req_%lld", (long long)i);
    rh_ledger_add(f->ledger, &record);
    acknowledged line = {.added_ns = rh_clock_now_ns()};
    if (write(log, &line, sizeof line) != (ssize_t)sizeof line) _exit(3);
    next += EVERY_NS;
    uint64_t now = rh_clock_now_ns();
    if (next > now) nanosleep(&(struct timespec){.tv_nsec = (long)(next - now)}, NULL);
  }
}

static size_t read_log(const char *path, acknowledged *out, size_t max) {
  int fd = open(path, O_RDONLY);
  assert_true(fd >= 0);
  size_t count = 0;
  while (count < max && read(fd, &out[count], sizeof *out) == (ssize_t)sizeof *out) count++;
  close(fd);
  return count;
}

static pid_t start_adding(ledger_fixture *f, int64_t count) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child > 0) return child;
  int log = open(in_folder(f->folder, "log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  rh_ledger_options options = ledger_options(f);
  options.flush_ns = RH_NS_PER_S;  // the longest that is allowed
  options.ring_max = 65536;
  child_starts(f, &options);
  add_and_tell(f, log, count);
  rh_ledger_free(f->ledger);
  _exit(0);
}

static bool ran_long_enough(void *ctx) {
  static acknowledged lines[1];
  ledger_fixture *f = ctx;
  if (!is_there(in_folder(f->folder, "log")) || read_log(in_folder(f->folder, "log"), lines, 1) == 0) return false;
  return rh_clock_now_ns() - lines[0].added_ns > RUN_NS;
}

static void test_sigkill_loses_at_most_a_second(void **state) {
  ledger_fixture *f = *state;
  pid_t child = start_adding(f, INT64_MAX);
  assert_true(rh_run_until(f->loop, ran_long_enough, f));
  uint64_t killed_ns = rh_clock_now_ns();
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, NULL, 0), child);
  const size_t max = 200000;
  acknowledged *lines = calloc(max, sizeof *lines);
  size_t count = read_log(in_folder(f->folder, "log"), lines, max), older = 0;
  while (older < count && lines[older].added_ns + rh_scaled_ns(RH_NS_PER_S) < killed_ns) older++;
  free(lines);
  int64_t rows = ledger_number(f->folder, "SELECT count(*) FROM usage");
  int64_t known = ledger_number(f->folder, "SELECT count(DISTINCT request_id) FROM usage");
  int64_t last = ledger_number(f->folder, "SELECT max(time_ms) FROM usage");
  printf("%zu added, %zu of them more than a second ago, %lld written\n", count, older, (long long)rows);
  assert_true(older > 100);  // otherwise nothing was shown
  assert_true(rows >= (int64_t)older);
  assert_true(rows <= (int64_t)count + 1);  // the last one may have been added and not told
  // The first ones, each once, none left out.
  assert_int_equal(known, rows);
  assert_int_equal(last + 1, rows);
}

static void test_clean_end_loses_nothing(void **state) {
  ledger_fixture *f = *state;
  const int64_t count = 3000;
  pid_t child = start_adding(f, count);
  int code = -1;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  assert_int_equal(ledger_number(f->folder, "SELECT count(DISTINCT request_id) FROM usage"), count);
}

static bool has_failed(void *ctx) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(((ledger_fixture *)ctx)->ledger, &counts);
  return counts.failures > 0;
}

static bool has_written_all(void *ctx) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(((ledger_fixture *)ctx)->ledger, &counts);
  return counts.waiting == 0;
}

#define CHILD_EXPECTS(what)                   \
  do {                                        \
    if (!(what)) {                            \
      fprintf(stderr, "not so: %s\n", #what); \
      _exit(1);                               \
    }                                         \
  } while (0)

// A limit on the size of files stands for a disk that is full: writes beyond it fail.
static void fill_the_disk(ledger_fixture *f) {
  rh_ledger_options options = ledger_options(f);
  options.ring_max = 2048;
  child_starts(f, &options);
  struct stat journal;
  CHILD_EXPECTS(stat(in_folder(f->folder, "state.db-wal"), &journal) == 0);
  struct rlimit before, now;
  CHILD_EXPECTS(getrlimit(RLIMIT_FSIZE, &before) == 0);
  now = (struct rlimit){.rlim_cur = (rlim_t)journal.st_size + 65536, .rlim_max = before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  CHILD_EXPECTS(setrlimit(RLIMIT_FSIZE, &now) == 0);
  rh_ledger_record record = a_record("x");
  for (int i = 0; i < 4000; i++) rh_ledger_add(f->ledger, &record);
  CHILD_EXPECTS(rh_run_until(f->loop, has_failed, f));
  rh_ledger_counts counts;
  rh_ledger_get_counts(f->ledger, &counts);
  CHILD_EXPECTS(counts.written + counts.dropped + counts.waiting == 4000);
  CHILD_EXPECTS(counts.dropped > 0);
  CHILD_EXPECTS(setrlimit(RLIMIT_FSIZE, &before) == 0);  // somebody made room
  CHILD_EXPECTS(rh_run_until(f->loop, has_written_all, f));
  rh_ledger_add(f->ledger, &record);
  CHILD_EXPECTS(rh_run_until(f->loop, has_written_all, f));
  rh_ledger_get_counts(f->ledger, &counts);
  CHILD_EXPECTS(counts.written + counts.dropped == 4001);
  rh_ledger_free(f->ledger);
  CHILD_EXPECTS(ledger_number(f->folder, "SELECT count(*) FROM usage") == (int64_t)counts.written);
  _exit(0);
}

static void test_a_full_disk_is_counted_and_survived(void **state) {
  ledger_fixture *f = *state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) fill_the_disk(f);
  int code = -1;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
}

static void test_two_ledgers_share_a_file(void **state) {
  ledger_fixture *f = *state;
  pid_t one = start_adding(f, 1500);
  pid_t other = start_adding(f, 1500);
  int code = -1;
  assert_int_equal(waitpid(one, &code, 0), one);
  assert_int_equal(code, 0);
  assert_int_equal(waitpid(other, &code, 0), other);
  assert_int_equal(code, 0);
  assert_int_equal(ledger_number(f->folder, "SELECT count(*) FROM usage"), 3000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_sigkill_loses_at_most_a_second, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_clean_end_loses_nothing, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_full_disk_is_counted_and_survived, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_two_ledgers_share_a_file, ledger_make, ledger_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
