// SPDX-License-Identifier: Apache-2.0
//
// A store in a temporary folder, and models in it.
#ifndef RH_TESTS_STORE_FIXTURE_H
#define RH_TESTS_STORE_FIXTURE_H

#include "base/log.h"
#include "folder_fixture.h"
#include "store/store.h"

typedef struct fixture {
  char folder[FOLDER_SIZE];
  rh_store *store;
} fixture;

static inline int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  rh_error error = {0};
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  folder_make(f->folder);
  *state = f;
  return rh_store_open(f->folder, true, &f->store, &error) == RH_OK ? 0 : -1;
}

static inline int teardown(void **state) {
  fixture *f = *state;
  rh_store_close(f->store);
  folder_remove(f->folder);
  free(f);
  return 0;
}

static inline rh_model_ref ref_of(const char *text) {
  rh_model_ref ref;
  assert_int_equal(rh_model_ref_parse(text, &ref, NULL), RH_OK);
  return ref;
}

static inline rh_draft *begin(rh_store *store, const char *name, const char *source) {
  rh_error error = {0};
  rh_draft *draft = NULL;
  rh_model_ref ref = ref_of(name);
  if (rh_store_draft_begin(store, &ref, source, false, NULL, NULL, &draft, &error) != RH_OK) {
    fail_msg("%s", error.message);
  }
  return draft;
}

// Commits a draft whose only file is "model.gguf" with `content`.
static inline rh_status commit_content(rh_draft *draft, const char *content, int64_t created_s, rh_error *error) {
  char path[] = "model.gguf";
  rh_stored_file file = {.path = path, .bytes = (int64_t)strlen(content)};
  rh_stored stored = {.entry = path, .format = RH_FORMAT_GGUF, .created_s = created_s, .files = &file, .file_count = 1};
  snprintf(stored.source, sizeof stored.source, "test:source");
  put_text(in_folder(rh_draft_folder(draft), "model.gguf"), content);
  return rh_draft_commit(draft, &stored, error);
}

static inline void add_model(rh_store *store, const char *name, const char *content, int64_t created_s) {
  rh_error error = {0};
  if (commit_content(begin(store, name, "test:source"), content, created_s, &error) != RH_OK) {
    fail_msg("%s", error.message);
  }
}

static inline rh_status find(rh_store *store, const char *name, rh_stored *out, rh_error *error) {
  rh_model_ref ref = ref_of(name);
  return rh_store_find(store, &ref, out, error);
}

static inline void expect_version(rh_store *store, const char *name, const char *version) {
  rh_stored found;
  rh_error error = {0};
  if (find(store, name, &found, &error) != RH_OK) fail_msg("%s", error.message);
  assert_string_equal(found.ref.version, version);
  rh_stored_release(&found);
}

static inline size_t count_models(rh_store *store) {
  rh_stored_list list;
  rh_error error = {0};
  assert_int_equal(rh_store_list(store, &list, &error), RH_OK);
  size_t count = list.count;
  rh_stored_list_release(&list);
  return count;
}

#endif
