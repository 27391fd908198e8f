// SPDX-License-Identifier: Apache-2.0
//
// The state database: opening, refusing what is not ours, what others change, named texts.
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "folder_fixture.h"
#include "ledger/database.h"
#include "ledger/schema.h"

static int make(void **state) {
  char *folder = malloc(FOLDER_SIZE);
  folder_make(folder);
  *state = folder;
  return 0;
}

static int clean(void **state) {
  folder_remove(*state);
  free(*state);
  return 0;
}

static rh_database *open_in(const char *folder) {
  rh_database *database = NULL;
  rh_error error = {0};
  if (rh_database_open(folder, &database, &error) != RH_OK) fail_msg("%s", error.message);
  return database;
}

static void run_in_file(const char *folder, const char *sql) {
  sqlite3 *handle = NULL;
  assert_int_equal(sqlite3_open(in_folder(folder, "state.db"), &handle), SQLITE_OK);
  assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(handle);
}

static void test_files_are_ours_alone(void **state) {
  const char *folder = in_folder(*state, "new/state");
  rh_database *database = open_in(folder);
  struct stat info;
  assert_int_equal(stat(folder, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  const char *names[] = {"state.db", "state.db-wal", "state.db-shm"};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(stat(in_folder(*state, "new/state/%s", names[i]), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
  }
  rh_database_close(database);
}

static void test_a_readable_file_is_closed_to_others(void **state) {
  rh_database_close(open_in(*state));
  assert_int_equal(chmod(in_folder(*state, "state.db"), 0644), 0);
  rh_database_close(open_in(*state));
  struct stat info;
  assert_int_equal(stat(in_folder(*state, "state.db"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
}

static void expect_refusal(const char *folder, rh_status status, const char *words) {
  rh_database *database = NULL;
  rh_error error = {0};
  assert_int_equal(rh_database_open(folder, &database, &error), status);
  assert_null(database);
  expect_words(&error, words);
  expect_words(&error, "state.db");
}

static void test_newer_schema_is_refused(void **state) {
  rh_database_close(open_in(*state));
  run_in_file(*state, "PRAGMA user_version = 999");
  expect_refusal(*state, RH_UNSUPPORTED, "newer roundhouse");
}

static void test_foreign_database_is_refused_and_left_alone(void **state) {
  run_in_file(*state, "CREATE TABLE wallpapers(name TEXT)");
  expect_refusal(*state, RH_INVALID, "another program");
  run_in_file(*state, "INSERT INTO wallpapers VALUES('dunes')");
}

static void test_damaged_file_is_refused(void **state) {
  char junk[8192];
  for (size_t i = 0; i < sizeof junk; i++) junk[i] = (char)(i * 7);
  put_bytes(in_folder(*state, "state.db"), junk, sizeof junk);
  expect_refusal(*state, RH_INVALID, "damaged");
  // A good start and a bad end.
  assert_int_equal(unlink(in_folder(*state, "state.db")), 0);
  rh_database_close(open_in(*state));
  int fd = open(in_folder(*state, "state.db"), O_WRONLY);
  assert_int_equal(pwrite(fd, junk, 4000, 96), 4000);
  close(fd);
  expect_refusal(*state, RH_INVALID, "damaged");
}

static void test_a_folder_in_its_place(void **state) {
  assert_int_equal(mkdir(in_folder(*state, "state.db"), 0700), 0);
  expect_refusal(*state, RH_INVALID, "not a file");
}

static void test_opened_again_with_its_content(void **state) {
  rh_error error = {0};
  rh_database *database = open_in(*state);
  assert_int_equal(rh_database_put_text(database, "experiments", "{\"a\":1}", &error), RH_OK);
  assert_int_equal(rh_database_put_text(database, "experiments", "{\"a\":2}", &error), RH_OK);
  rh_database_close(database);
  database = open_in(*state);
  char *text = NULL;
  assert_int_equal(rh_database_get_text(database, "experiments", &text, &error), RH_OK);
  assert_string_equal(text, "{\"a\":2}");
  free(text);
  assert_int_equal(rh_database_put_text(database, "experiments", NULL, &error), RH_OK);
  assert_int_equal(rh_database_get_text(database, "experiments", &text, &error), RH_NOT_FOUND);
  rh_database_close(database);
}

static void test_changes_of_others_are_seen_and_own_ones_not(void **state) {
  rh_error error = {0};
  rh_database *one = open_in(*state), *other = open_in(*state);
  assert_false(rh_database_changed(one));
  assert_int_equal(rh_database_put_text(one, "x", "1", &error), RH_OK);
  assert_false(rh_database_changed(one));
  assert_int_equal(rh_database_put_text(other, "x", "2", &error), RH_OK);
  assert_true(rh_database_changed(one));
  assert_false(rh_database_changed(one));
  rh_database_close(one);
  rh_database_close(other);
}

static void test_a_lock_is_waited_for_and_then_told(void **state) {
  rh_error error = {0};
  rh_database *one = open_in(*state), *other = open_in(*state);
  assert_int_equal(rh_database_begin(one, &error), RH_OK);
  rh_database_set_patience(other, 20);
  assert_int_equal(rh_database_put_text(other, "x", "2", &error), RH_UNAVAILABLE);
  expect_words(&error, "another process");
  assert_int_equal(rh_database_end(one, RH_OK, &error), RH_OK);
  assert_int_equal(rh_database_put_text(other, "x", "2", &error), RH_OK);
  rh_database_close(one);
  rh_database_close(other);
}

static void test_a_failed_transaction_leaves_nothing(void **state) {
  rh_error error = {0};
  rh_database *database = open_in(*state);
  assert_int_equal(rh_database_begin(database, &error), RH_OK);
  assert_int_equal(rh_database_run(database, "INSERT INTO state VALUES('a', 'b')", &error), RH_OK);
  assert_int_equal(rh_database_end(database, RH_INTERNAL, &error), RH_INTERNAL);
  char *text = NULL;
  assert_int_equal(rh_database_get_text(database, "a", &text, &error), RH_NOT_FOUND);
  rh_database_close(database);
}

static void test_eight_processes_make_one_file(void **state) {
  pid_t children[8];
  for (int i = 0; i < 8; i++) {
    children[i] = fork();
    assert_true(children[i] >= 0);
    if (children[i] > 0) continue;
    rh_database *database = NULL;
    rh_error error = {0};
    rh_status status = rh_database_open(*state, &database, &error);
    if (status == RH_OK) rh_database_close(database);
    _exit(status == RH_OK ? 0 : 1);
  }
  for (int i = 0; i < 8; i++) {
    int code = -1;
    assert_int_equal(waitpid(children[i], &code, 0), children[i]);
    assert_int_equal(code, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_files_are_ours_alone, make, clean),
      cmocka_unit_test_setup_teardown(test_a_readable_file_is_closed_to_others, make, clean),
      cmocka_unit_test_setup_teardown(test_newer_schema_is_refused, make, clean),
      cmocka_unit_test_setup_teardown(test_foreign_database_is_refused_and_left_alone, make, clean),
      cmocka_unit_test_setup_teardown(test_damaged_file_is_refused, make, clean),
      cmocka_unit_test_setup_teardown(test_a_folder_in_its_place, make, clean),
      cmocka_unit_test_setup_teardown(test_opened_again_with_its_content, make, clean),
      cmocka_unit_test_setup_teardown(test_changes_of_others_are_seen_and_own_ones_not, make, clean),
      cmocka_unit_test_setup_teardown(test_a_lock_is_waited_for_and_then_told, make, clean),
      cmocka_unit_test_setup_teardown(test_a_failed_transaction_leaves_nothing, make, clean),
      cmocka_unit_test_setup_teardown(test_eight_processes_make_one_file, make, clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
