// SPDX-License-Identifier: Apache-2.0
//
// The store's models: drafts, commits, lists, names, and what crashes leave behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "store_fixture.h"

static void test_an_absent_store_is_empty(void **state) {
  fixture *f = *state;
  rh_store *store;
  rh_error error = {0};
  const char *path = in_folder(f->folder, "nowhere");
  assert_int_equal(rh_store_open(path, false, &store, &error), RH_OK);
  assert_false(is_there(path));
  assert_int_equal(count_models(store), 0);
  rh_stored found;
  assert_int_equal(find(store, "x", &found, &error), RH_NOT_FOUND);
  rh_store_usage usage;
  assert_int_equal(rh_store_disk_usage(store, &usage, &error), RH_OK);
  assert_int_equal(usage.model_bytes, 0);
  json_t *aliases;
  assert_int_equal(rh_store_aliases(store, &aliases, &error), RH_OK);
  assert_int_equal(json_object_size(aliases), 0);
  json_decref(aliases);
  rh_store_close(store);
}

static void test_a_commit_makes_a_model_whole(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_draft *draft = begin(f->store, "org/smol:q4", "hf:org/smol");
  put_text(in_folder(rh_draft_folder(draft), "weights/a.bin"), "abc");
  put_text(in_folder(rh_draft_folder(draft), "config.json"), "{}");
  put_text(in_folder(rh_draft_folder(draft), ".pull/state"), "scratch");
  put_text(in_folder(rh_draft_folder(draft), "stray"), "not listed");
  assert_int_equal(count_models(f->store), 0);  // not before the commit

  char a[] = "weights/a.bin", b[] = "config.json";
  rh_stored_file files[] = {{.path = a, .bytes = 3}, {.path = b, .bytes = 2}};
  memset(files[1].sha256, 'e', RH_SHA256_HEX - 1);
  rh_stored stored = {.entry = b,
                      .format = RH_FORMAT_SAFETENSORS,
                      .quantization = "F16",
                      .task = "chat",
                      .licence = "apache-2.0",
                      .source = "hf:org/smol",
                      .revision = "abcdef",
                      .architecture = "llama",
                      .parameters = 135,
                      .context = 2048,
                      .memory_min_bytes = 77,
                      .gpu_required = true,
                      .files = files,
                      .file_count = 2};
  assert_int_equal(rh_draft_commit(draft, &stored, &error), RH_OK);

  rh_stored found;
  assert_int_equal(find(f->store, "org/smol:q4", &found, &error), RH_OK);
  assert_string_equal(found.ref.name, "org/smol");
  assert_string_equal(found.ref.version, "q4");
  assert_int_equal(found.format, RH_FORMAT_SAFETENSORS);
  assert_string_equal(found.entry, "config.json");
  assert_string_equal(found.quantization, "F16");
  assert_string_equal(found.task, "chat");
  assert_string_equal(found.licence, "apache-2.0");
  assert_string_equal(found.source, "hf:org/smol");
  assert_string_equal(found.revision, "abcdef");
  assert_string_equal(found.architecture, "llama");
  assert_int_equal(found.parameters, 135);
  assert_int_equal(found.context, 2048);
  assert_int_equal(found.memory_min_bytes, 77);
  assert_true(found.gpu_required);
  assert_false(found.in_place);
  assert_int_equal(found.bytes, 5);
  assert_true(found.created_s > 1600000000);
  assert_int_equal(found.file_count, 2);
  // The digest that nobody promised was made.
  assert_string_equal(found.files[1].path, "weights/a.bin");
  assert_string_equal(found.files[1].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  char *entry = rh_stored_entry_path(&found);
  expect_text(entry, "{}");
  free(entry);
  assert_false(is_there(in_folder(found.folder, ".pull")));
  assert_false(is_there(in_folder(found.folder, "stray")));
  assert_false(is_there(in_folder(f->folder, "partial/org@smol")));
  assert_true(is_there(in_folder(f->folder, "models/org@smol/q4/manifest.json")));
  rh_stored_release(&found);
}

static void expect_refused(rh_store *store, rh_stored *stored, const char *words) {
  rh_error error = {0};
  rh_draft *draft = begin(store, "m:1", "s");
  put_text(in_folder(rh_draft_folder(draft), "a"), "abc");
  assert_int_equal(rh_draft_commit(draft, stored, &error), RH_INVALID);
  expect_words(&error, words);
  assert_int_equal(count_models(store), 0);
  // What was fetched is still there for the next pull, and no manifest that would make it look whole.
  draft = begin(store, "m:1", "s");
  expect_text(in_folder(rh_draft_folder(draft), "a"), "abc");
  assert_false(is_there(in_folder(rh_draft_folder(draft), "manifest.json")));
  rh_draft_end(draft, false);
}

static void test_a_commit_believes_nothing(void **state) {
  fixture *f = *state;
  char a[] = "a", none[] = "../a", manifest[] = "manifest.json", empty[] = "";
  rh_stored_file file = {.path = a, .bytes = 3};
  rh_stored stored = {.entry = a, .files = &file, .file_count = 1, .format = RH_FORMAT_GGUF};
  file.bytes = 4;
  expect_refused(f->store, &stored, "has 3 bytes, but 4 are expected");
  file.bytes = 3;
  stored.entry = manifest;
  expect_refused(f->store, &stored, "not among its files");
  stored.entry = empty;
  file.path = none;
  expect_refused(f->store, &stored, "cannot be called");
  file.path = manifest;
  expect_refused(f->store, &stored, "store's own file");
  rh_stored_file twice[] = {{.path = a, .bytes = 3}, {.path = a, .bytes = 3}};
  stored.files = twice;
  stored.file_count = 2;
  expect_refused(f->store, &stored, "cannot be called");
  stored.file_count = 0;
  expect_refused(f->store, &stored, "1 to 4096 files");
}

static void test_names_mean_the_latest_or_the_newest(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_stored found;
  add_model(f->store, "Smol:a", "1", 100);
  add_model(f->store, "Smol:c", "1", 300);
  add_model(f->store, "Smol:b", "1", 200);
  add_model(f->store, "other", "1", 50);
  expect_version(f->store, "Smol", "c");
  expect_version(f->store, "smol", "c");
  expect_version(f->store, "smol:A", "a");
  expect_version(f->store, "other", "latest");
  add_model(f->store, "Smol:latest", "1", 10);
  expect_version(f->store, "Smol", "latest");
  assert_int_equal(find(f->store, "smoll", &found, &error), RH_NOT_FOUND);
  expect_words(&error, "did you mean \"Smol\"");
  assert_int_equal(find(f->store, "smol:zzz", &found, &error), RH_NOT_FOUND);
  expect_words(&error, "versions of smol: a, b, c, latest");
  assert_int_equal(find(f->store, "quite-different", &found, &error), RH_NOT_FOUND);

  rh_stored_list list;
  assert_int_equal(rh_store_list(f->store, &list, &error), RH_OK);
  assert_int_equal(list.count, 5);
  for (size_t i = 1; i < list.count; i++) {
    const rh_model_ref *a = &list.items[i - 1].ref, *b = &list.items[i].ref;
    int order = strcmp(a->name, b->name);
    assert_true(order < 0 || (order == 0 && strcmp(a->version, b->version) < 0));
  }
  rh_stored_list_release(&list);
}

static void test_a_commit_replaces_and_readers_keep_the_old(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_stored found;
  add_model(f->store, "m:1", "old content", 1);
  assert_int_equal(find(f->store, "m:1", &found, &error), RH_OK);
  char *entry = rh_stored_entry_path(&found);
  FILE *reader = fopen(entry, "rb");
  add_model(f->store, "m:1", "new", 2);
  expect_text(entry, "new");
  char text[32] = "";
  assert_int_equal(fread(text, 1, sizeof text, reader), strlen("old content"));
  assert_string_equal(text, "old content");
  fclose(reader);
  free(entry);
  rh_stored_release(&found);
  assert_int_equal(count_models(f->store), 1);
  assert_false(is_there(in_folder(f->folder, "partial/m")));
}

static void test_a_partial_pull_goes_on_unless_its_source_changed(void **state) {
  fixture *f = *state;
  rh_draft *draft = begin(f->store, "m:1", "https://host/secret-token");
  put_text(in_folder(rh_draft_folder(draft), "half"), "12");
  rh_draft_end(draft, true);
  // The store may be opened by others meanwhile.
  rh_store *other;
  rh_error error = {0};
  assert_int_equal(rh_store_open(f->folder, true, &other, &error), RH_OK);
  draft = begin(other, "m:1", "https://host/secret-token");
  expect_text(in_folder(rh_draft_folder(draft), "half"), "12");
  rh_draft_end(draft, true);
  rh_store_close(other);
  // A source may hold a token: no byte of it may be on disk.
  char command[2 * FOLDER_SIZE];
  snprintf(command, sizeof command, "grep -rq secret-token '%s'", f->folder);
  assert_int_equal(WEXITSTATUS(system(command)), 1);
  draft = begin(f->store, "m:1", "another source");
  assert_false(is_there(in_folder(rh_draft_folder(draft), "half")));
  rh_draft_end(draft, false);
  assert_false(is_there(in_folder(f->folder, "partial/m")));
}

static bool give_up(void *ctx) {
  ++*(int *)ctx;
  return *(int *)ctx < 2;
}

static void test_two_cannot_make_the_same_model(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_draft *draft = begin(f->store, "m:1", "s"), *second = NULL;
  rh_model_ref ref = ref_of("m:1");
  assert_int_equal(rh_store_draft_begin(f->store, &ref, "s", false, NULL, NULL, &second, &error), RH_CONFLICT);
  char pid[32];
  snprintf(pid, sizeof pid, "%ld", (long)getpid());
  expect_words(&error, pid);
  int calls = 0;
  assert_int_equal(rh_store_draft_begin(f->store, &ref, "s", true, give_up, &calls, &second, &error), RH_CANCELLED);
  assert_int_equal(calls, 2);
  assert_null(second);
  rh_draft *different = begin(f->store, "m:2", "s");  // another version does not wait
  rh_draft_end(different, false);
  rh_draft_end(draft, false);
  draft = begin(f->store, "m:1", "s");
  rh_draft_end(draft, false);
}

static void test_a_killed_pull_leaves_its_part_and_no_lock(void **state) {
  fixture *f = *state;
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    rh_store *store;
    if (rh_store_open(f->folder, true, &store, NULL) != RH_OK) _exit(1);
    rh_draft *draft = begin(store, "m:1", "s");
    put_text(in_folder(rh_draft_folder(draft), "half"), "12");
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  assert_int_equal(read(ready[0], &byte, 1), 1);
  rh_draft *draft = NULL;
  rh_model_ref ref = ref_of("m:1");
  rh_error error = {0};
  assert_int_equal(rh_store_draft_begin(f->store, &ref, "s", false, NULL, NULL, &draft, &error), RH_CONFLICT);
  kill(child, SIGKILL);
  assert_int_equal(waitpid(child, NULL, 0), child);
  draft = begin(f->store, "m:1", "s");
  expect_text(in_folder(rh_draft_folder(draft), "half"), "12");
  rh_draft_end(draft, false);
  close(ready[0]);
  close(ready[1]);
}

static void reopen(fixture *f) {
  rh_error error = {0};
  rh_store_close(f->store);
  assert_int_equal(rh_store_open(f->folder, true, &f->store, &error), RH_OK);
}

static void test_opening_cleans_what_crashes_left(void **state) {
  fixture *f = *state;
  add_model(f->store, "m:1", "whole", 1);
  // A removal that was cut off; a replaced version that was not deleted yet; a partial folder without a source.
  put_text(in_folder(f->folder, "trash/abc/model.gguf"), "x");
  put_text(in_folder(f->folder, "partial/m/1/manifest.json"), "{}");
  put_text(in_folder(f->folder, "partial/lost/1/half"), "x");
  // A real partial pull and one that somebody works on right now stay.
  rh_draft *draft = begin(f->store, "kept:1", "s");
  put_text(in_folder(rh_draft_folder(draft), "half"), "12");
  rh_draft_end(draft, true);
  rh_store *other;
  rh_error error = {0};
  assert_int_equal(rh_store_open(f->folder, true, &other, &error), RH_OK);
  rh_draft *busy = begin(other, "busy:1", "s");
  put_text(in_folder(rh_draft_folder(busy), "manifest.json"), "{}");
  reopen(f);
  assert_false(is_there(in_folder(f->folder, "trash/abc")));
  assert_false(is_there(in_folder(f->folder, "partial/m")));
  assert_false(is_there(in_folder(f->folder, "partial/lost")));
  assert_true(is_there(in_folder(f->folder, "partial/kept/1/half")));
  assert_true(is_there(in_folder(f->folder, "partial/busy/1/manifest.json")));
  expect_version(f->store, "m", "1");
  rh_draft_end(busy, false);
  rh_store_close(other);
}

static void test_a_replacement_cut_in_two_brings_the_old_back(void **state) {
  fixture *f = *state;
  add_model(f->store, "m:1", "old", 1);
  // What a crash leaves on a file system that cannot exchange two folders.
  assert_int_equal(rename(in_folder(f->folder, "models/m/1"), in_folder(f->folder, "models/m/.old+1")), 0);
  assert_int_equal(count_models(f->store), 0);
  reopen(f);
  expect_version(f->store, "m", "1");
  // And the other way: the new one is in place, the old one was not deleted.
  put_text(in_folder(f->folder, "models/m/.old+1/model.gguf"), "older");
  reopen(f);
  assert_false(is_there(in_folder(f->folder, "models/m/.old+1")));
  expect_version(f->store, "m", "1");
}

static void test_a_damaged_manifest_hides_one_model_only(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_stored found;
  add_model(f->store, "good:1", "x", 1);
  static const char *const bad[] = {
      "",
      "[]",
      "{\"manifest\":1",
      "{\"manifest\":2,\"entry\":\"a\",\"files\":[]}",
      "{\"name\":\"x\"}",
      "{\"manifest\":1,\"entry\":\"../../etc/passwd\",\"files\":[{\"path\":\"a\",\"bytes\":1,\"sha256\":\"00\"}]}",
      "{\"manifest\":1,\"entry\":\"a\",\"files\":[{\"path\":\"/etc/passwd\",\"bytes\":1}]}",
      "{\"manifest\":1,\"entry\":7,\"files\":[]}",
      "{\"manifest\":1,\"entry\":\"a\",\"files\":[]}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    put_text(in_folder(f->folder, "models/bad/1/manifest.json"), bad[i]);
    assert_int_equal(count_models(f->store), 1);
  }
  put_text(in_folder(f->folder, "models/no/1/model.gguf"), "no manifest at all");
  put_text(in_folder(f->folder, "models/stray-file"), "x");
  assert_int_equal(count_models(f->store), 1);
  // Keys of a later version are no damage.
  put_text(
      in_folder(f->folder, "models/bad/1/manifest.json"),
      "{\"manifest\":1,\"format\":\"of-tomorrow\",\"entry\":\"a\",\"later\":{},\"files\":[{\"path\":\"a\","
      "\"bytes\":1,\"more\":true,\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}");
  assert_int_equal(find(f->store, "bad:1", &found, &error), RH_OK);
  assert_int_equal(found.format, RH_FORMAT_UNKNOWN);
  rh_stored_release(&found);
}

static void read_news(const fixture *f, char out[64]) {
  memset(out, 0, 64);
  FILE *file = fopen(in_folder(f->folder, "changed"), "rb");
  assert_non_null(file);
  assert_int_equal(fread(out, 1, 63, file), 32);
  fclose(file);
}

static void test_every_change_is_told(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_model_ref ref = ref_of("m:1"), to = ref_of("m:2");
  char before[64] = "", now[64];
  assert_false(is_there(in_folder(f->folder, "changed")));
  for (int i = 0; i < 5; i++) {
    switch (i) {
      case 0: add_model(f->store, "m:1", "x", 1); break;
      case 1: assert_int_equal(rh_store_copy(f->store, &ref, &to, &error), RH_OK); break;
      case 2: assert_int_equal(rh_store_remove(f->store, &to, &error), RH_OK); break;
      case 3: assert_int_equal(rh_store_alias_set(f->store, "fast", "m:1", &error), RH_OK); break;
      default: assert_int_equal(rh_store_alias_set(f->store, "fast", NULL, &error), RH_OK); break;
    }
    read_news(f, now);
    assert_string_not_equal(now, before);
    memcpy(before, now, sizeof now);
  }
  // What changes nothing is no news.
  assert_int_equal(rh_store_alias_set(f->store, "fast", NULL, &error), RH_OK);
  assert_int_equal(count_models(f->store), 1);
  read_news(f, now);
  assert_string_equal(now, before);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_an_absent_store_is_empty),
      CASE(test_a_commit_makes_a_model_whole),
      CASE(test_a_commit_believes_nothing),
      CASE(test_names_mean_the_latest_or_the_newest),
      CASE(test_a_commit_replaces_and_readers_keep_the_old),
      CASE(test_a_partial_pull_goes_on_unless_its_source_changed),
      CASE(test_two_cannot_make_the_same_model),
      CASE(test_a_killed_pull_leaves_its_part_and_no_lock),
      CASE(test_opening_cleans_what_crashes_left),
      CASE(test_a_replacement_cut_in_two_brings_the_old_back),
      CASE(test_a_damaged_manifest_hides_one_model_only),
      CASE(test_every_change_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
