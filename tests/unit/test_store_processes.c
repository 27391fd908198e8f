// SPDX-License-Identifier: Apache-2.0
//
// Several processes at one store at once, processes that are killed, and a full disk.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "store_fixture.h"

#define PROCESSES 6
#define ROUNDS 40

// In a child, where an assertion of cmocka would go on with the parent's tests.
#define MUST(condition)                                                          \
  do {                                                                           \
    if (!(condition)) {                                                          \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, error.message); \
      _exit(1);                                                                  \
    }                                                                            \
  } while (0)

static bool patient(void *ctx) {
  (void)ctx;
  return true;
}

static rh_status put_model(rh_store *store, const rh_model_ref *ref, unsigned who, unsigned round, rh_error *error) {
  rh_draft *draft;
  rh_status status = rh_store_draft_begin(store, ref, "s", true, patient, NULL, &draft, error);
  if (status != RH_OK) return status;
  char path[1100], a[] = "a", b[] = "b", text[64];
  snprintf(text, sizeof text, "%u %u", who, round);
  rh_stored_file files[] = {{.path = a, .bytes = (int64_t)strlen(text)}, {.path = b, .bytes = (int64_t)strlen(text)}};
  for (size_t i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", rh_draft_folder(draft), files[i].path);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) return RH_IO;
  }
  rh_stored stored = {.entry = a, .format = RH_FORMAT_GGUF, .files = files, .file_count = 2};
  return rh_draft_commit(draft, &stored, error);
}

// Every model in the list must be whole: both files there, of one and the same commit.
static void check_list(rh_store *store) {
  rh_error error = {0};
  rh_stored_list list;
  MUST(rh_store_list(store, &list, &error) == RH_OK);
  for (size_t i = 0; i < list.count; i++) {
    const rh_stored *item = &list.items[i];
    MUST(item->file_count == 2 && strcmp(item->files[0].sha256, item->files[1].sha256) == 0);
  }
  rh_stored_list_release(&list);
}

static void hammer(const char *folder, unsigned who) {
  rh_error error = {0};
  rh_store *store;
  unsigned random = who * 2654435761u + 12345u;
  for (unsigned round = 0; round < ROUNDS; round++) {
    // Opened anew each time: opening cleans, and must not clean what others are at.
    MUST(rh_store_open(folder, true, &store, &error) == RH_OK);
    random = random * 1103515245u + 12345u;
    rh_model_ref ref = {.version = "v"}, to = {.name = "copy"};
    snprintf(ref.name, sizeof ref.name, "m%u", random >> 16 & 3);
    snprintf(to.version, sizeof to.version, "%u", random >> 18 & 3);
    rh_status status = RH_OK;
    switch (random >> 20 & 7) {
      case 0:
      case 1:
      case 2: MUST(put_model(store, &ref, who, round, &error) == RH_OK); break;
      case 3:
        status = rh_store_remove(store, &ref, &error);
        MUST(status == RH_OK || status == RH_NOT_FOUND);
        break;
      case 4:
        status = rh_store_copy(store, &ref, &to, &error);
        MUST(status == RH_OK || status == RH_NOT_FOUND || status == RH_CONFLICT);
        break;
      case 5:
        status = rh_store_remove(store, &to, &error);
        MUST(status == RH_OK || status == RH_NOT_FOUND);
        break;
      default: break;
    }
    char alias[32];
    snprintf(alias, sizeof alias, "p%u-%u", who, round);
    MUST(rh_store_alias_set(store, alias, ref.name, &error) == RH_OK);
    if (round % 2 == 1) {
      snprintf(alias, sizeof alias, "p%u-%u", who, round - 1);
      MUST(rh_store_alias_set(store, alias, NULL, &error) == RH_OK);
    }
    rh_usage_facts facts = {.requests = 24};
    const char *key = "shared";
    rh_store_note(store, &key, &facts, 1);
    check_list(store);
    rh_store_close(store);
  }
}

static void test_processes_do_not_get_into_each_others_way(void **state) {
  fixture *f = *state;
  pid_t children[PROCESSES];
  for (unsigned i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      hammer(f->folder, i);
      _exit(0);
    }
  }
  for (unsigned i = 0; i < PROCESSES; i++) {
    int result;
    assert_int_equal(waitpid(children[i], &result, 0), children[i]);
    assert_int_equal(result, 0);
  }
  // No alias was lost and none came back; no request went uncounted.
  rh_error error = {0};
  json_t *aliases;
  assert_int_equal(rh_store_aliases(f->store, &aliases, &error), RH_OK);
  assert_int_equal(json_object_size(aliases), PROCESSES * ROUNDS / 2);
  json_decref(aliases);
  rh_usage_facts facts;
  assert_int_equal(rh_store_facts(f->store, "shared", &facts), RH_OK);
  assert_true(facts.frequency > PROCESSES * ROUNDS * 0.98 && facts.frequency <= PROCESSES * ROUNDS);
  // Whatever there is now can be verified, and nothing else is left.
  rh_stored_list list;
  assert_int_equal(rh_store_list(f->store, &list, &error), RH_OK);
  for (size_t i = 0; i < list.count; i++) {
    if (rh_store_verify(f->store, &list.items[i], NULL, NULL, &error) != RH_OK) fail_msg("%s", error.message);
  }
  rh_stored_list_release(&list);
  assert_int_equal(rmdir(in_folder(f->folder, "locks")), 0);
  assert_int_equal(rmdir(in_folder(f->folder, "trash")), 0);
  rh_store_usage usage;
  assert_int_equal(rh_store_disk_usage(f->store, &usage, &error), RH_OK);
  assert_int_equal(usage.partial_count, 0);
}

static void test_killed_in_mid_commit_there_is_the_old_or_the_new(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_model_ref ref = ref_of("m:v");
  assert_int_equal(put_model(f->store, &ref, 0, 0, &error), RH_OK);
  for (unsigned round = 0; round < 30; round++) {
    pid_t child = fork();
    if (child == 0) {
      rh_store *store;
      MUST(rh_store_open(f->folder, true, &store, &error) == RH_OK);
      for (unsigned i = 0;; i++) MUST(put_model(store, &ref, 1, i, &error) == RH_OK);
    }
    struct timespec pause = {.tv_nsec = 3000000 + round * 700000};  // any moment will do: each hits another step
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    rh_store *store;
    assert_int_equal(rh_store_open(f->folder, true, &store, &error), RH_OK);
    rh_stored found;
    if (rh_store_find(store, &ref, &found, &error) != RH_OK) fail_msg("%s", error.message);
    if (rh_store_verify(store, &found, NULL, NULL, &error) != RH_OK) fail_msg("%s", error.message);
    rh_stored_release(&found);
    rh_store_close(store);
  }
}

// --- a full disk ----------------------------------------------------------------------------------------------------

static void fill_up(const char *folder) {
  char path[700];
  static char block[4096];
  snprintf(path, sizeof path, "%s/filler", folder);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  while (write(fd, block, sizeof block) > 0) continue;
  close(fd);
}

// On a file system of its own of 256 KiB.
static void run_out_of_space(const char *folder) {
  rh_error error = {0};
  rh_store *store;
  rh_store_usage usage;
  rh_model_ref old = {.name = "old", .version = "v"}, ref = {.name = "m", .version = "v"};
  MUST(rh_store_open(folder, true, &store, &error) == RH_OK);
  MUST(put_model(store, &old, 1, 1, &error) == RH_OK);
  // The weights fit, but not the manifest.
  rh_draft *draft;
  char path[1100], a[] = "a", text[] = "abc";
  MUST(rh_store_draft_begin(store, &ref, "s", false, NULL, NULL, &draft, &error) == RH_OK);
  snprintf(path, sizeof path, "%s/a", rh_draft_folder(draft));
  FILE *file = fopen(path, "wb");
  MUST(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
  fill_up(folder);
  rh_stored_file listed = {.path = a, .bytes = 3};
  rh_stored stored = {.entry = a, .format = RH_FORMAT_GGUF, .files = &listed, .file_count = 1};
  MUST(rh_draft_commit(draft, &stored, &error) == RH_NO_SPACE);
  MUST(strstr(error.message, "free some space") != NULL);
  MUST(rh_store_disk_usage(store, &usage, &error) == RH_OK);
  MUST(usage.model_count == 1 && usage.partial_count == 1 && usage.free_bytes < 8192);
  // Nothing was damaged: aliases cannot be written, models can be listed, found and removed.
  MUST(rh_store_alias_set(store, "x", "old", &error) == RH_NO_SPACE);
  rh_usage_facts facts = {.requests = 1};
  const char *key = "old:v";
  rh_store_note(store, &key, &facts, 1);
  check_list(store);
  MUST(rh_store_remove(store, &old, &error) == RH_OK);
  // With room again the same draft goes on and ends well.
  snprintf(path, sizeof path, "%s/filler", folder);
  MUST(unlink(path) == 0);
  MUST(rh_store_draft_begin(store, &ref, "s", false, NULL, NULL, &draft, &error) == RH_OK);
  snprintf(path, sizeof path, "%s/a", rh_draft_folder(draft));
  MUST(access(path, F_OK) == 0);
  MUST(rh_draft_commit(draft, &stored, &error) == RH_OK);
  rh_store_close(store);
}

// Where no file system may be mounted: no file may grow at all, as on a full disk.
static void run_out_of_file_size(const char *folder) {
  rh_error error = {0};
  rh_store *store;
  rh_store_usage usage;
  rh_model_ref ref = {.name = "m", .version = "v"};
  MUST(rh_store_open(folder, true, &store, &error) == RH_OK);
  rh_draft *draft;
  char path[1100], a[] = "a";
  MUST(rh_store_draft_begin(store, &ref, "s", false, NULL, NULL, &draft, &error) == RH_OK);
  snprintf(path, sizeof path, "%s/a", rh_draft_folder(draft));
  FILE *file = fopen(path, "wb");
  MUST(file != NULL && fputs("abc", file) >= 0 && fclose(file) == 0);
  struct rlimit none = {.rlim_cur = 3, .rlim_max = RLIM_INFINITY}, any = {RLIM_INFINITY, RLIM_INFINITY};
  signal(SIGXFSZ, SIG_IGN);
  MUST(setrlimit(RLIMIT_FSIZE, &none) == 0);
  rh_stored_file listed = {.path = a, .bytes = 3};
  rh_stored stored = {.entry = a, .format = RH_FORMAT_GGUF, .files = &listed, .file_count = 1};
  MUST(rh_draft_commit(draft, &stored, &error) == RH_NO_SPACE);
  MUST(rh_store_disk_usage(store, &usage, &error) == RH_OK);
  MUST(usage.model_count == 0 && usage.partial_count == 1);
  MUST(setrlimit(RLIMIT_FSIZE, &any) == 0);
  MUST(rh_store_draft_begin(store, &ref, "s", false, NULL, NULL, &draft, &error) == RH_OK);
  MUST(rh_draft_commit(draft, &stored, &error) == RH_OK);
  rh_store_close(store);
}

static void test_a_full_disk_leaves_nothing_half_made(void **state) {
  fixture *f = *state;
  pid_t child = fork();
  if (child == 0) {
    char path[600];
    snprintf(path, sizeof path, "%s/disk", f->folder);
    // A mount namespace of our own, so that nobody else sees the small disk and it goes with this process.
    bool mounted = mkdir(path, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
                   mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("tmpfs", path, "tmpfs", 0, "size=256k") == 0;
    if (mounted) {
      run_out_of_space(path);
    } else {
      run_out_of_file_size(path);
    }
    _exit(0);
  }
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_processes_do_not_get_into_each_others_way),
      CASE(test_killed_in_mid_commit_there_is_the_old_or_the_new),
      CASE(test_a_full_disk_leaves_nothing_half_made),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
