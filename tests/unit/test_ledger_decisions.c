// SPDX-License-Identifier: Apache-2.0
//
// The decision log: whole lines, rotation, several writers, and a path or disk that does not want them.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ledger/ledger_private.h"
#include "ledger_fixture.h"

static void write_lines(rh_decision_log *log, const char *lines, rh_status expected, uint64_t expected_lost) {
  uint64_t lost = 99;
  rh_error error = {0};
  rh_status status = rh_decision_log_write(log, lines, strlen(lines), &lost, &error);
  if (status != expected) fail_msg("%s: %s", rh_status_name(status), error.message);
  assert_int_equal(lost, expected_lost);
}

static void test_through_the_ledger(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.decision_log = in_folder(f->folder, "logs/decisions.jsonl");
  ledger_start(f, &options);
  assert_true(rh_ledger_logs_decisions(f->ledger));
  rh_ledger_decision(f->ledger, "{\"a\":1}", 7);
  rh_ledger_decision(f->ledger, "{\"a\":2}", 7);
  ledger_end(f);
  expect_text(in_folder(f->folder, "logs/decisions.jsonl"), "{\"a\":1}\n{\"a\":2}\n");
  struct stat info;
  assert_int_equal(stat(in_folder(f->folder, "logs/decisions.jsonl"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
}

static bool lines_written(void *ctx) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(((ledger_fixture *)ctx)->ledger, &counts);
  return counts.decisions + counts.decisions_dropped == 1;
}

static void test_a_path_that_cannot_be_is_a_warning(void **state) {
  ledger_fixture *f = *state;
  assert_int_equal(mkdir(in_folder(f->folder, "folder"), 0700), 0);
  rh_ledger_options options = ledger_options(f);
  options.decision_log = in_folder(f->folder, "folder");
  ledger_start(f, &options);
  rh_ledger_decision(f->ledger, "{}", 2);
  assert_true(rh_run_until(f->loop, lines_written, f));  // also: a line alone wakes the thread
  rh_ledger_counts counts;
  rh_ledger_get_counts(f->ledger, &counts);
  assert_int_equal(counts.decisions_dropped, 1);
}

static void test_too_long_a_line_is_counted(void **state) {
  ledger_fixture *f = *state;
  rh_ledger_options options = ledger_options(f);
  options.decision_log = in_folder(f->folder, "log");
  ledger_start(f, &options);
  char *line = calloc(1, RH_LEDGER_DECISION_LINE_MAX + 1);
  memset(line, 'x', RH_LEDGER_DECISION_LINE_MAX + 1);
  rh_ledger_decision(f->ledger, line, RH_LEDGER_DECISION_LINE_MAX + 1);
  free(line);
  rh_ledger_counts counts;
  rh_ledger_get_counts(f->ledger, &counts);
  assert_int_equal(counts.decisions_dropped, 1);
}

static void test_rotation(void **state) {
  ledger_fixture *f = *state;
  const char *path = in_folder(f->folder, "log");
  rh_decision_log *log = rh_decision_log_new(path, 4096, 2);
  char line[1025];
  for (int i = 0; i < 16; i++) {  // four fill a file
    memset(line, 'a' + i, 1023);
    memcpy(line + 1023, "\n", 2);
    write_lines(log, line, RH_OK, 0);
  }
  rh_decision_log_free(log);
  rh_dynbuf text;
  rh_dynbuf_init(&text, 65536);
  assert_int_equal(rh_file_read(path, &text, NULL), RH_OK);
  assert_int_equal(text.length, 4096);
  assert_int_equal(rh_dynbuf_data(&text)[0], 'm');
  rh_dynbuf_clear(&text);
  assert_int_equal(rh_file_read(in_folder(f->folder, "log.1"), &text, NULL), RH_OK);
  assert_int_equal(rh_dynbuf_data(&text)[0], 'i');
  rh_dynbuf_clear(&text);
  assert_int_equal(rh_file_read(in_folder(f->folder, "log.2"), &text, NULL), RH_OK);
  assert_int_equal(rh_dynbuf_data(&text)[0], 'e');
  rh_dynbuf_free(&text);
  assert_false(is_there(in_folder(f->folder, "log.3")));
}

static void test_one_batch_over_several_files(void **state) {
  ledger_fixture *f = *state;
  rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 4096, 9);
  rh_dynbuf lines;
  rh_dynbuf_init(&lines, 65536);
  for (int i = 0; i < 1500; i++) assert_int_equal(rh_dynbuf_printf(&lines, "line %04d\n", i), RH_OK);
  write_lines(log, rh_dynbuf_data(&lines), RH_OK, 0);
  rh_decision_log_free(log);
  rh_dynbuf all;
  rh_dynbuf_init(&all, 65536);
  for (int i = 9; i >= 0; i--) {
    const char *path = i == 0 ? in_folder(f->folder, "log") : in_folder(f->folder, "log.%d", i);
    if (!is_there(path)) continue;
    rh_dynbuf one;
    rh_dynbuf_init(&one, 4096);  // none is larger
    assert_int_equal(rh_file_read(path, &one, NULL), RH_OK);
    assert_int_equal(rh_dynbuf_append(&all, rh_dynbuf_data(&one), one.length), RH_OK);
    rh_dynbuf_free(&one);
  }
  assert_string_equal(rh_dynbuf_data(&all), rh_dynbuf_data(&lines));
  rh_dynbuf_free(&all);
  rh_dynbuf_free(&lines);
}

static void test_without_old_files_it_begins_anew(void **state) {
  ledger_fixture *f = *state;
  rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 4096, 0);
  char line[4001];
  memset(line, 'x', 3999);
  memcpy(line + 3999, "\n", 2);
  write_lines(log, line, RH_OK, 0);
  write_lines(log, "{}\n{}\n", RH_OK, 0);
  for (int i = 0; i < 40; i++) write_lines(log, "{\"padding\": \"ppppppppppppp\"}\n", RH_OK, 0);
  rh_decision_log_free(log);
  struct stat info;
  assert_int_equal(stat(in_folder(f->folder, "log"), &info), 0);
  assert_true(info.st_size < 4096);
  assert_false(is_there(in_folder(f->folder, "log.1")));
}

static void test_a_file_moved_away_is_made_again(void **state) {
  ledger_fixture *f = *state;
  rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 0, 3);
  write_lines(log, "one\n", RH_OK, 0);
  assert_int_equal(rename(in_folder(f->folder, "log"), in_folder(f->folder, "moved")), 0);
  write_lines(log, "two\n", RH_OK, 0);
  expect_text(in_folder(f->folder, "moved"), "one\n");
  expect_text(in_folder(f->folder, "log"), "two\n");
  rh_decision_log_free(log);
}

static void test_half_a_line_is_ended(void **state) {
  ledger_fixture *f = *state;
  put_text(in_folder(f->folder, "log"), "{\"torn");
  rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 0, 3);
  write_lines(log, "{}\n", RH_OK, 0);
  expect_text(in_folder(f->folder, "log"), "{\"torn\n{}\n");
  rh_decision_log_free(log);
}

static void test_a_full_disk_leaves_whole_lines(void **state) {
  ledger_fixture *f = *state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 0, 3);
    uint64_t lost = 0;
    bool good = rh_decision_log_write(log, "one\n", 4, &lost, NULL) == RH_OK;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before;
    good = good && getrlimit(RLIMIT_FSIZE, &before) == 0;
    struct rlimit now = {.rlim_cur = 10, .rlim_max = before.rlim_max};
    good = good && setrlimit(RLIMIT_FSIZE, &now) == 0;
    good = good && rh_decision_log_write(log, "two\nthree\nfour\n", 15, &lost, NULL) == RH_NO_SPACE && lost == 3;
    good = good && setrlimit(RLIMIT_FSIZE, &before) == 0;
    good = good && rh_decision_log_write(log, "five\n", 5, &lost, NULL) == RH_OK && lost == 0;
    _exit(good ? 0 : 1);
  }
  int code = -1;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  expect_text(in_folder(f->folder, "log"), "one\nfive\n");
}

// Four processes, small files: no line is torn, none is lost.
static void test_several_writers_rotate_together(void **state) {
  ledger_fixture *f = *state;
  enum { WRITERS = 4, BATCHES = 100, FILES = 60 };
  pid_t children[WRITERS];
  for (int w = 0; w < WRITERS; w++) {
    children[w] = fork();
    assert_true(children[w] >= 0);
    if (children[w] > 0) continue;
    rh_decision_log *log = rh_decision_log_new(in_folder(f->folder, "log"), 4096, FILES);
    bool good = true;
    for (int i = 0; i < BATCHES && good; i++) {
      char lines[256];
      snprintf(lines, sizeof lines, "%d %06d aaaaaaaaaaaaaaaaaaaaaaaaaaaa .\n%d %06d bbbbbbbbbbbbbbbbbbbbbbbbbbbb .\n",
               w, 2 * i, w, 2 * i + 1);
      uint64_t lost;
      good = rh_decision_log_write(log, lines, strlen(lines), &lost, NULL) == RH_OK;
    }
    _exit(good ? 0 : 1);
  }
  for (int w = 0; w < WRITERS; w++) {
    int code = -1;
    assert_int_equal(waitpid(children[w], &code, 0), children[w]);
    assert_int_equal(code, 0);
  }
  int next[WRITERS] = {0}, files = 0;
  for (int i = FILES; i >= 0; i--) {
    const char *path = i == 0 ? in_folder(f->folder, "log") : in_folder(f->folder, "log.%d", i);
    FILE *file = fopen(path, "r");
    if (file == NULL) continue;
    files++;
    int writer, number;
    char word[64], end;
    while (fscanf(file, "%d %d %63s %c\n", &writer, &number, word, &end) == 4) {
      assert_in_range(writer, 0, WRITERS - 1);
      assert_int_equal(number, next[writer]);
      assert_int_equal(strlen(word), 28);
      assert_int_equal(end, '.');
      next[writer]++;
    }
    assert_true(feof(file));
    fclose(file);
  }
  for (int w = 0; w < WRITERS; w++) assert_int_equal(next[w], 2 * BATCHES);
  assert_true(files > 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_through_the_ledger, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_path_that_cannot_be_is_a_warning, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_too_long_a_line_is_counted, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_rotation, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_one_batch_over_several_files, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_without_old_files_it_begins_anew, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_file_moved_away_is_made_again, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_half_a_line_is_ended, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_a_full_disk_leaves_whole_lines, ledger_make, ledger_clean),
      cmocka_unit_test_setup_teardown(test_several_writers_rotate_together, ledger_make, ledger_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
