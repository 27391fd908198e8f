// SPDX-License-Identifier: Apache-2.0
//
// A Hugging Face cache, laid out as the huggingface_hub library does, and used in place.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "folder_fixture.h"
#include "store/store.h"

#define COMMIT_A "1111111111111111111111111111111111111111"
#define COMMIT_B "2222222222222222222222222222222222222222"

static char folder[FOLDER_SIZE];

static int setup(void **state) {
  (void)state;
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  folder_make(folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

// A blob named `fill` 64 times (as the SHA-256 that it would be), and a snapshot's link to it.
static void put_blob(const char *repository, const char *commit, const char *name, char fill, const void *bytes,
                     size_t length) {
  char blob[65], target[128] = "";
  memset(blob, fill, 64);
  blob[64] = '\0';
  put_bytes(in_folder(folder, "%s/blobs/%s", repository, blob), bytes, length);
  for (const char *at = name; (at = strchr(at, '/')) != NULL; at++) strcat(target, "../");
  snprintf(target + strlen(target), sizeof target - strlen(target), "../../blobs/%s", blob);
  const char *link = in_folder(folder, "%s/snapshots/%s/%s", repository, commit, name);
  put_text(link, "");  // makes the folders
  assert_int_equal(unlink(link), 0);
  assert_int_equal(symlink(target, link), 0);
}

// general.architecture and, where it is not -1, general.file_type.
static size_t make_gguf(uint8_t out[256], const char *architecture, int file_type) {
  static const uint8_t head[24] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0";
  static const char key[] = "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0";
  static const char type[] = "\x11\0\0\0\0\0\0\0general.file_type\4\0\0\0";
  memcpy(out, head, sizeof head);
  out[16] = file_type < 0 ? 1 : 2;
  size_t at = sizeof head;
  memcpy(out + at, key, sizeof key - 1);
  at += sizeof key - 1;
  memset(out + at, 0, 8);
  out[at] = (uint8_t)strlen(architecture);
  memcpy(out + at + 8, architecture, strlen(architecture));
  at += 8 + strlen(architecture);
  if (file_type < 0) return at;
  memcpy(out + at, type, sizeof type - 1);
  at += sizeof type - 1;
  memset(out + at, 0, 4);
  out[at] = (uint8_t)file_type;
  return at + 4;
}

static void put_gguf(const char *repository, const char *commit, const char *name, char fill, const char *architecture,
                     int file_type) {
  uint8_t bytes[256];
  size_t length = make_gguf(bytes, architecture, file_type);
  put_blob(repository, commit, name, fill, bytes, length);
}

static const rh_stored *find(const rh_stored_list *list, const char *name, const char *version) {
  for (size_t i = 0; i < list->count; i++) {
    const rh_model_ref *ref = &list->items[i].ref;
    if (strcmp(ref->name, name) == 0 && strcmp(ref->version, version) == 0) return &list->items[i];
  }
  fail_msg("there is no %s:%s among %zu", name, version, list->count);
  return NULL;
}

static void scan(rh_stored_list *out, size_t expected) {
  rh_error error = {0};
  if (rh_store_scan_hub_cache(folder, out, &error) != RH_OK) fail_msg("%s", error.message);
  if (out->count != expected) {
    for (size_t i = 0; i < out->count; i++) {
      print_message("%s:%s\n", out->items[i].ref.name, out->items[i].ref.version);
    }
  }
  assert_int_equal(out->count, expected);
}

static void test_every_quantization_is_a_model(void **state) {
  (void)state;
  static const char repository[] = "models--Some-Org--Smol-GGUF";
  put_text(in_folder(folder, "%s/refs/main", repository), COMMIT_A "\n");
  put_gguf(repository, COMMIT_A, "smol.Q4_K_M.gguf", 'a', "llama", 15);
  put_gguf(repository, COMMIT_A, "smol.Q8_0.gguf", 'b', "llama", 7);
  put_gguf(repository, COMMIT_A, "mmproj-smol.gguf", 'c', "clip", 1);
  put_gguf(repository, COMMIT_A, "BF16/smol-00001-of-00002.gguf", 'd', "llama", 32);
  put_gguf(repository, COMMIT_A, "BF16/smol-00002-of-00002.gguf", 'e', "llama", -1);
  put_gguf(repository, COMMIT_A, "smol-imatrix.Q8_0.gguf", 'f', "llama", 7);  // the same quantization again
  put_blob(repository, COMMIT_A, "README.md", '0', "# Smol", 6);
  rh_stored_list list;
  scan(&list, 4);
  const rh_stored *item = find(&list, "Some-Org/Smol-GGUF", "Q4_K_M");
  assert_true(item->in_place);
  assert_int_equal(item->format, RH_FORMAT_GGUF);
  assert_string_equal(item->quantization, "Q4_K_M");
  assert_string_equal(item->architecture, "llama");
  assert_string_equal(item->entry, "smol.Q4_K_M.gguf");
  assert_string_equal(item->source, "hf:Some-Org/Smol-GGUF@" COMMIT_A);
  assert_string_equal(item->revision, COMMIT_A);
  assert_int_equal(item->file_count, 1);
  assert_int_equal(item->files[0].sha256[63], 'a');
  char *entry = rh_stored_entry_path(item);
  assert_int_equal(access(entry, R_OK), 0);
  free(entry);
  item = find(&list, "Some-Org/Smol-GGUF", "BF16");
  assert_string_equal(item->entry, "BF16/smol-00001-of-00002.gguf");
  assert_int_equal(item->file_count, 2);
  assert_string_equal(find(&list, "Some-Org/Smol-GGUF", "Q8_0")->entry, "smol.Q8_0.gguf");
  (void)find(&list, "Some-Org/Smol-GGUF", "smol-imatrix.q8_0");
  rh_stored_list_release(&list);
}

static void put_safetensors(const char *repository, const char *commit, char fill) {
  static const char weights[] = "\2\0\0\0\0\0\0\0{}";
  put_blob(repository, commit, "model.safetensors", fill, weights, sizeof weights - 1);
  put_blob(repository, commit, "config.json", 'c', "{}", 2);
}

static void test_folders_are_called_by_their_ref(void **state) {
  (void)state;
  put_text(in_folder(folder, "models--gpt2/refs/main"), COMMIT_A);
  put_text(in_folder(folder, "models--gpt2/refs/v1.0"), COMMIT_B);
  put_safetensors("models--gpt2", COMMIT_A, 'a');
  put_safetensors("models--gpt2", COMMIT_B, 'b');
  put_safetensors("models--gpt2", "abcdef0123456789", 'd');  // no ref names it
  rh_stored_list list;
  scan(&list, 3);
  const rh_stored *item = find(&list, "gpt2", "main");
  assert_int_equal(item->format, RH_FORMAT_SAFETENSORS);
  assert_string_equal(item->entry, "config.json");
  assert_int_equal(item->file_count, 2);
  assert_string_equal(find(&list, "gpt2", "v1.0")->revision, COMMIT_B);
  assert_string_equal(find(&list, "gpt2", "abcdef012345")->revision, "abcdef0123456789");
  rh_stored_list_release(&list);
}

static void test_the_same_blob_in_an_older_snapshot_is_one_model(void **state) {
  (void)state;
  static const char repository[] = "models--o--r";
  put_text(in_folder(folder, "%s/refs/main", repository), COMMIT_B);
  put_gguf(repository, COMMIT_A, "m.gguf", 'a', "llama", 7);
  put_gguf(repository, COMMIT_B, "m.gguf", 'a', "llama", 7);
  put_gguf(repository, COMMIT_B, "n.gguf", 'b', "llama", 2);
  rh_stored_list list;
  scan(&list, 2);
  assert_string_equal(find(&list, "o/r", "Q8_0")->revision, COMMIT_B);
  rh_stored_list_release(&list);
}

static void test_what_is_no_model_is_left_out(void **state) {
  (void)state;
  put_text(in_folder(folder, "datasets--o--d/snapshots/x/a.gguf"), "GGUF");
  put_text(in_folder(folder, "models--o--empty/refs/main"), COMMIT_A);  // no such snapshot
  put_text(in_folder(folder, "models--o--evil/refs/main"), "../../../../etc");
  put_text(in_folder(folder, "models--o--bad name/snapshots/x/config.json"), "{}");
  put_text(in_folder(folder, "models--/snapshots/x/config.json"), "{}");
  put_blob("models--o--tok", COMMIT_A, "tokenizer.json", 'a', "{}", 2);
  put_blob("models--o--cut", COMMIT_A, "m-00001-of-00002.gguf", 'b', "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
           24);
  put_text(in_folder(folder, "models--o--broken/snapshots/x/model.safetensors"), "x");
  assert_int_equal(symlink("../../blobs/gone", in_folder(folder, "models--o--broken/snapshots/x/config.json")), 0);
  put_text(in_folder(folder, "version.txt"), "1");
  rh_stored_list list;
  scan(&list, 0);
  rh_stored_list_release(&list);
}

static void test_finds_the_cache_where_the_library_does(void **state) {
  (void)state;
  put_gguf("home/hub/models--o--home", COMMIT_A, "m.gguf", 'a', "llama", 7);
  put_gguf("hub/models--o--hub", COMMIT_A, "m.gguf", 'a', "llama", 7);
  put_gguf("user/.cache/huggingface/hub/models--o--user", COMMIT_A, "m.gguf", 'a', "llama", 7);
  rh_stored_list list;
  rh_error error = {0};
  static const struct {
    const char *variable, *value, *name;
  } places[] = {{"HOME", "user", "o/user"}, {"HF_HOME", "home", "o/home"}, {"HF_HUB_CACHE", "hub", "o/hub"}};
  unsetenv("HF_HUB_CACHE");
  unsetenv("HUGGINGFACE_HUB_CACHE");
  unsetenv("HF_HOME");
  unsetenv("XDG_CACHE_HOME");
  for (size_t i = 0; i < 3; i++) {
    setenv(places[i].variable, in_folder(folder, "%s", places[i].value), 1);
    assert_int_equal(rh_store_scan_hub_cache(NULL, &list, &error), RH_OK);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].ref.name, places[i].name);
    rh_stored_list_release(&list);
  }
  setenv("HF_HUB_CACHE", "/nonexistent", 1);
  assert_int_equal(rh_store_scan_hub_cache(NULL, &list, &error), RH_OK);
  assert_int_equal(list.count, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_every_quantization_is_a_model),
      CASE(test_folders_are_called_by_their_ref),
      CASE(test_the_same_blob_in_an_older_snapshot_is_one_model),
      CASE(test_what_is_no_model_is_left_out),
      CASE(test_finds_the_cache_where_the_library_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
