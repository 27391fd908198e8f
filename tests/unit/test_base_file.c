// SPDX-License-Identifier: Apache-2.0
//
// Whole files, replacement, trees, links and copies, digests.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "folder_fixture.h"

static char folder[FOLDER_SIZE];

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

static void test_reads_up_to_the_limit(void **state) {
  (void)state;
  const char *path = in_folder(folder, "a");
  put_text(path, "12345678");
  rh_dynbuf out;
  rh_error error = {0};
  rh_dynbuf_init(&out, 8);
  assert_int_equal(rh_file_read(path, &out, &error), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "12345678");
  rh_dynbuf_free(&out);
  rh_dynbuf_init(&out, 7);
  assert_int_equal(rh_file_read(path, &out, &error), RH_TOO_LARGE);
  expect_words(&error, "larger than the 7 bytes");
  rh_dynbuf_free(&out);
  put_text(path, "");
  assert_int_equal(rh_file_read(path, &out, &error), RH_OK);
  assert_int_equal(out.length, 0);
  assert_int_equal(rh_file_read(in_folder(folder, "none"), &out, &error), RH_NOT_FOUND);
  assert_int_equal(rh_file_read(folder, &out, &error), RH_INVALID);
  rh_dynbuf_free(&out);
}

static unsigned count_entries(void) {
  char command[FOLDER_SIZE + 64];
  snprintf(command, sizeof command, "exit $(ls -A '%s' | wc -l)", folder);
  return (unsigned)WEXITSTATUS(system(command));
}

static void test_replaces_in_one_step(void **state) {
  (void)state;
  const char *path = in_folder(folder, "a");
  rh_error error = {0};
  assert_int_equal(rh_file_write_atomic(path, "old", 3, 0600, &error), RH_OK);
  int fd = open(path, O_RDONLY);
  assert_int_equal(rh_file_write_atomic(path, "new one", 7, 0640, &error), RH_OK);
  expect_text(path, "new one");
  char before[8] = "";
  assert_int_equal(read(fd, before, sizeof before), 3);  // who had it open still reads the old one
  assert_string_equal(before, "old");
  close(fd);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777 & ~0640u, 0);
  assert_int_equal(count_entries(), 1);  // nothing is left beside it
}

static void test_a_failed_replacement_leaves_the_old_file(void **state) {
  (void)state;
  const char *path = in_folder(folder, "a");
  put_text(path, "old");
  pid_t child = fork();
  if (child == 0) {
    // A limit on file size stands for a full disk here; the store's tests have a real one.
    struct rlimit limit = {.rlim_cur = 10, .rlim_max = 10};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    rh_error error = {0};
    rh_status status = rh_file_write_atomic(path, "longer than ten bytes", 21, 0600, &error);
    _exit(status == RH_NO_SPACE && strstr(error.message, "free some space") != NULL ? 0 : 1);
  }
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
  expect_text(path, "old");
  assert_int_equal(count_entries(), 1);
  rh_error error = {0};
  assert_int_equal(rh_file_write_atomic(in_folder(folder, "no/such/x"), "", 0, 0600, &error), RH_NOT_FOUND);
}

static void test_makes_folders(void **state) {
  (void)state;
  rh_error error = {0};
  const char *deep = in_folder(folder, "a//b/c/");
  assert_int_equal(rh_file_make_folders(deep, 0755, &error), RH_OK);
  assert_int_equal(rh_file_make_folders(deep, 0755, &error), RH_OK);
  assert_true(is_there(in_folder(folder, "a/b/c")));
  put_text(in_folder(folder, "file"), "x");
  assert_int_equal(rh_file_make_folders(in_folder(folder, "file/b"), 0755, &error), RH_IO);
  expect_words(&error, "there is a file of that name");
}

static void test_removes_trees_and_follows_no_link(void **state) {
  (void)state;
  rh_error error = {0};
  put_text(in_folder(folder, "outside/precious"), "x");
  put_text(in_folder(folder, "tree/a/b"), "x");
  put_text(in_folder(folder, "tree/.hidden"), "x");
  assert_int_equal(symlink("../../outside", in_folder(folder, "tree/a/link")), 0);
  assert_int_equal(rh_file_remove_tree(in_folder(folder, "tree"), &error), RH_OK);
  assert_false(is_there(in_folder(folder, "tree")));
  assert_true(is_there(in_folder(folder, "outside/precious")));
  assert_int_equal(symlink("outside", in_folder(folder, "link")), 0);
  assert_int_equal(rh_file_remove_tree(in_folder(folder, "link"), &error), RH_OK);
  assert_true(is_there(in_folder(folder, "outside/precious")));
  assert_false(is_there(in_folder(folder, "link")));
  assert_int_equal(rh_file_remove_tree(in_folder(folder, "outside/precious"), &error), RH_OK);
  assert_int_equal(rh_file_remove_tree(in_folder(folder, "never"), &error), RH_OK);
}

static void test_counts_each_inode_once(void **state) {
  (void)state;
  rh_error error = {0};
  static char bytes[1 << 20];
  memset(bytes, 'x', sizeof bytes);
  put_bytes(in_folder(folder, "a/one"), bytes, sizeof bytes);
  int64_t single = rh_file_tree_bytes(folder);
  assert_true(single >= (int64_t)sizeof bytes && single < 3 * (int64_t)sizeof bytes / 2);
  for (int i = 0; i < 200; i++) {
    assert_int_equal(rh_file_link_or_copy(in_folder(folder, "a/one"), in_folder(folder, "a/link%d", i), &error), RH_OK);
  }
  assert_int_equal(rh_file_tree_bytes(folder), single);
  put_bytes(in_folder(folder, "b"), bytes, sizeof bytes);
  assert_int_equal(rh_file_tree_bytes(folder), 2 * single);
  assert_int_equal(rh_file_tree_bytes(in_folder(folder, "none")), 0);
  assert_int_equal(rh_file_tree_bytes(in_folder(folder, "b")), single);
}

static void test_knows_free_space_also_of_what_will_be(void **state) {
  (void)state;
  int64_t there = rh_file_free_bytes(folder);
  int64_t later = rh_file_free_bytes(in_folder(folder, "not/yet/there"));
  assert_true(there > 0 && later > 0);
  assert_true(rh_file_free_bytes("relative-and-not-there") > 0);
}

static void test_links_or_copies(void **state) {
  (void)state;
  rh_error error = {0};
  const char *from = in_folder(folder, "from"), *to = in_folder(folder, "to");
  put_text(from, "content");
  assert_int_equal(rh_file_link_or_copy(from, to, &error), RH_OK);
  struct stat a, b;
  assert_int_equal(stat(from, &a), 0);
  assert_int_equal(stat(to, &b), 0);
  assert_int_equal(a.st_ino, b.st_ino);
  assert_int_equal(rh_file_link_or_copy(from, to, &error), RH_CONFLICT);
  assert_int_equal(rh_file_link_or_copy(in_folder(folder, "none"), in_folder(folder, "x"), &error), RH_NOT_FOUND);
  assert_int_equal(rh_file_link_or_copy(folder, in_folder(folder, "x"), &error), RH_INVALID);
  // What a link points to, not the link.
  assert_int_equal(symlink("from", in_folder(folder, "link")), 0);
  assert_int_equal(rh_file_link_or_copy(in_folder(folder, "link"), in_folder(folder, "y"), &error), RH_OK);
  assert_int_equal(lstat(in_folder(folder, "y"), &b), 0);
  assert_true(S_ISREG(b.st_mode));
}

static void test_copies_between_file_systems(void **state) {
  (void)state;
  struct stat here, there;
  assert_int_equal(stat(folder, &here), 0);
  char other[] = "/dev/shm/rh-test-XXXXXX";
  if (stat("/dev/shm", &there) != 0 || here.st_dev == there.st_dev) {
    // One file system alone: procfs is always another one, and tells no sizes besides.
    rh_error error = {0};
    assert_int_equal(rh_file_link_or_copy("/proc/version", in_folder(folder, "version"), &error), RH_OK);
    assert_true(stat(in_folder(folder, "version"), &there) == 0 && there.st_size > 0);
    return;
  }
  assert_non_null(mkdtemp(other));
  static char bytes[3000001];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 7 + i / 251);
  put_bytes(in_folder(folder, "big"), bytes, sizeof bytes);
  rh_error error = {0};
  assert_int_equal(rh_file_link_or_copy(in_folder(folder, "big"), in_folder(other, "big"), &error), RH_OK);
  char a[RH_SHA256_HEX], b[RH_SHA256_HEX];
  assert_int_equal(rh_sha256_file(in_folder(folder, "big"), a, NULL, NULL, &error), RH_OK);
  assert_int_equal(rh_sha256_file(in_folder(other, "big"), b, NULL, NULL, &error), RH_OK);
  assert_string_equal(a, b);
  // procfs tells sizes of 0: only reading gets what is in it.
  assert_int_equal(rh_file_link_or_copy("/proc/version", in_folder(folder, "version"), &error), RH_OK);
  assert_true(stat(in_folder(folder, "version"), &there) == 0 && there.st_size > 0);
  folder_remove(other);
}

static bool stop_at_once(void *ctx, int64_t done) {
  *(int64_t *)ctx = done;
  return false;
}

static bool note_progress(void *ctx, int64_t done) {
  assert_true(done > *(int64_t *)ctx);
  *(int64_t *)ctx = done;
  return true;
}

static void test_digests(void **state) {
  (void)state;
  // FIPS 180-2, appendix B.
  static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  static const char nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  char out[RH_SHA256_HEX];
  rh_sha256 *digest = rh_sha256_new();
  rh_sha256_update(digest, "a", 1);
  rh_sha256_update(digest, NULL, 0);
  rh_sha256_update(digest, "bc", 2);
  rh_sha256_finish(digest, out);
  assert_string_equal(out, abc);
  rh_sha256_finish(rh_sha256_new(), out);
  assert_string_equal(out, nothing);
  rh_sha256_free(rh_sha256_new());
  rh_sha256_free(NULL);

  rh_error error = {0};
  int64_t done = 0;
  put_text(in_folder(folder, "abc"), "abc");
  assert_int_equal(rh_sha256_file(in_folder(folder, "abc"), out, note_progress, &done, &error), RH_OK);
  assert_string_equal(out, abc);
  assert_int_equal(done, 3);
  assert_int_equal(rh_sha256_file(in_folder(folder, "abc"), out, stop_at_once, &done, &error), RH_CANCELLED);
  assert_string_equal(out, "");
  assert_int_equal(rh_sha256_file(in_folder(folder, "none"), out, NULL, NULL, &error), RH_NOT_FOUND);
  assert_int_equal(rh_sha256_file(folder, out, NULL, NULL, &error), RH_INVALID);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_reads_up_to_the_limit),
      CASE(test_replaces_in_one_step),
      CASE(test_a_failed_replacement_leaves_the_old_file),
      CASE(test_makes_folders),
      CASE(test_removes_trees_and_follows_no_link),
      CASE(test_counts_each_inode_once),
      CASE(test_knows_free_space_also_of_what_will_be),
      CASE(test_links_or_copies),
      CASE(test_copies_between_file_systems),
      CASE(test_digests),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
