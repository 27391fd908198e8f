// SPDX-License-Identifier: Apache-2.0
//
// Removing, copying, checking, disk use and tidying.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>
#include <utime.h>

#include "store_fixture.h"

#define BIG 40000

// Content of `BIG` bytes and more, so that sizes on disk tell models apart.
static const char *big(char fill) {
  static char text[BIG + 1];
  memset(text, fill, BIG);
  return text;
}

static rh_status remove_model(rh_store *store, const char *name, rh_error *error) {
  rh_model_ref ref = ref_of(name);
  return rh_store_remove(store, &ref, error);
}

static rh_status copy_model(rh_store *store, const char *from, const char *to, rh_error *error) {
  rh_model_ref a = ref_of(from), b = ref_of(to);
  return rh_store_copy(store, &a, &b, error);
}

static void test_remove(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  add_model(f->store, "m:1", "x", 1);
  add_model(f->store, "m:2", "x", 2);
  assert_int_equal(remove_model(f->store, "m:3", &error), RH_NOT_FOUND);
  assert_int_equal(remove_model(f->store, "m", &error), RH_OK);  // the newest
  expect_version(f->store, "m", "1");
  assert_int_equal(remove_model(f->store, "m:1", &error), RH_OK);
  assert_int_equal(remove_model(f->store, "m:1", &error), RH_NOT_FOUND);
  assert_false(is_there(in_folder(f->folder, "models/m")));
  assert_int_equal(rmdir(in_folder(f->folder, "trash")), 0);  // nothing is left in it
}

static void test_copies_share_their_bytes(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_store_usage before, after;
  add_model(f->store, "m:1", big('x'), 5);
  assert_int_equal(rh_store_disk_usage(f->store, &before, &error), RH_OK);
  assert_true(before.model_bytes >= BIG);
  assert_int_equal(copy_model(f->store, "m:1", "org/other:v", &error), RH_OK);
  assert_int_equal(rh_store_disk_usage(f->store, &after, &error), RH_OK);
  assert_int_equal(after.model_count, 2);
  assert_true(after.model_bytes - before.model_bytes < BIG / 2);  // only a manifest more
  rh_stored found;
  assert_int_equal(find(f->store, "org/other", &found, &error), RH_OK);
  assert_string_equal(found.ref.version, "v");
  assert_string_equal(found.source, "test:source");
  assert_int_not_equal(found.created_s, 5);
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_OK);
  rh_stored_release(&found);
  assert_int_equal(remove_model(f->store, "m:1", &error), RH_OK);
  assert_int_equal(find(f->store, "org/other:v", &found, &error), RH_OK);
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_OK);
  rh_stored_release(&found);
}

static void test_copies_never_overwrite(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  add_model(f->store, "a:1", "a", 1);
  add_model(f->store, "b:1", "b", 1);
  assert_int_equal(copy_model(f->store, "a:1", "b:1", &error), RH_CONFLICT);
  expect_words(&error, "there is a model b:1 already");
  assert_int_equal(copy_model(f->store, "a:1", "a:1", &error), RH_CONFLICT);
  assert_int_equal(copy_model(f->store, "none", "c", &error), RH_NOT_FOUND);
  assert_int_equal(copy_model(f->store, "a:1", "c", &error), RH_OK);
  expect_version(f->store, "c", "latest");
  // A file that went away under us: nothing half-made is left.
  assert_int_equal(unlink(in_folder(f->folder, "models/a/1/model.gguf")), 0);
  assert_int_equal(copy_model(f->store, "a:1", "d", &error), RH_NOT_FOUND);
  assert_false(is_there(in_folder(f->folder, "models/d")));
  assert_false(is_there(in_folder(f->folder, "partial/d")));
}

typedef struct steps {
  int64_t done, total;
  int calls, stop_after;
} steps;

static bool on_step(void *ctx, const char *file, int64_t done, int64_t total) {
  steps *s = ctx;
  assert_string_equal(file, "model.gguf");
  assert_true(done >= s->done);
  s->done = done;
  s->total = total;
  return ++s->calls != s->stop_after;
}

static void test_verify_names_what_is_damaged(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  rh_stored found;
  add_model(f->store, "m:1", "content", 1);
  assert_int_equal(find(f->store, "m:1", &found, &error), RH_OK);
  steps s = {0};
  assert_int_equal(rh_store_verify(f->store, &found, on_step, &s, &error), RH_OK);
  assert_int_equal(s.done, 7);
  assert_int_equal(s.total, 7);
  steps stop = {.stop_after = 1};
  assert_int_equal(rh_store_verify(f->store, &found, on_step, &stop, &error), RH_CANCELLED);
  const char *path = in_folder(found.folder, "model.gguf");
  put_text(path, "kontent");
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_INVALID);
  expect_words(&error, "model.gguf is damaged");
  expect_words(&error, "1 of 1 files of m:1");
  put_text(path, "conten");
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_INVALID);
  expect_words(&error, "model.gguf is cut short");
  unlink(path);
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_INVALID);
  expect_words(&error, "model.gguf is missing");
  // Replaced since it was looked up: what is there now is not damaged.
  put_text(path, "content");
  add_model(f->store, "m:1", "other content", 2);
  assert_int_equal(rh_store_verify(f->store, &found, NULL, NULL, &error), RH_CONFLICT);
  expect_words(&error, "was replaced");
  rh_stored_release(&found);
}

// --- tidying --------------------------------------------------------------------------------------------------------

typedef struct log {
  char text[1024];
  int64_t bytes;
  const char *kept;
} log;

static void on_removed(void *ctx, const char *what, int64_t bytes, const char *why) {
  log *l = ctx;
  assert_true(strlen(why) > 5);
  strcat(l->text, what);
  strcat(l->text, ";");
  l->bytes += bytes;
}

static bool keeps(void *ctx, const rh_model_ref *ref) {
  const log *l = ctx;
  return l->kept != NULL && strcmp(ref->name, l->kept) == 0;
}

static int64_t model_bytes(rh_store *store) {
  rh_store_usage usage;
  assert_int_equal(rh_store_disk_usage(store, &usage, NULL), RH_OK);
  return usage.model_bytes + usage.partial_bytes;
}

static rh_status tidy(fixture *f, rh_gc_options options, log *l, int64_t *freed, rh_error *error) {
  options.removed = on_removed;
  options.keep = keeps;
  options.ctx = l;
  if (options.partial_age_s == 0) options.partial_age_s = 3600;
  return rh_store_gc(f->store, &options, freed, error);
}

static void note_use(rh_store *store, const char *key, int64_t last_used_s) {
  rh_usage_facts facts = {.last_used_s = last_used_s};
  rh_store_note(store, &key, &facts, 1);
}

static void test_gc_removes_what_was_used_longest_ago(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  int64_t freed = -1, all;
  log l = {0};
  add_model(f->store, "a:1", big('a'), 1000);
  add_model(f->store, "b:1", big('b'), 2000);
  add_model(f->store, "c:1", big('c'), 3000);
  note_use(f->store, "a:1", 9000);
  all = model_bytes(f->store);

  assert_int_equal(tidy(f, (rh_gc_options){.limit_bytes = all}, &l, &freed, &error), RH_OK);
  assert_int_equal(freed, 0);
  assert_int_equal(tidy(f, (rh_gc_options){.limit_bytes = 0}, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "");

  rh_gc_options one = {.limit_bytes = all - 100, .dry_run = true};
  assert_int_equal(tidy(f, one, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "b:1;");
  assert_int_equal(count_models(f->store), 3);
  assert_int_equal(l.bytes, freed);

  l = (log){.text = ""};
  one.dry_run = false;
  assert_int_equal(tidy(f, one, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "b:1;");
  assert_int_equal(count_models(f->store), 2);
  assert_int_equal(model_bytes(f->store), all - freed);

  l = (log){.kept = "c"};
  assert_int_equal(tidy(f, (rh_gc_options){.limit_bytes = 1}, &l, &freed, &error), RH_NO_SPACE);
  assert_string_equal(l.text, "a:1;");
  expect_words(&error, "cannot be brought below 1 B");
  expect_version(f->store, "c", "1");
}

static void test_gc_keeps_what_an_alias_names(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  int64_t freed;
  log l = {0};
  add_model(f->store, "a:1", big('a'), 1);
  add_model(f->store, "b:1", big('b'), 2);
  add_model(f->store, "b:2", big('c'), 3);
  assert_int_equal(rh_store_alias_set(f->store, "default", "a:1", &error), RH_OK);
  assert_int_equal(rh_store_alias_set(f->store, "fast", "b", &error), RH_OK);
  assert_int_equal(tidy(f, (rh_gc_options){.limit_bytes = 1}, &l, &freed, &error), RH_NO_SPACE);
  assert_int_equal(count_models(f->store), 3);
  assert_int_equal(rh_store_alias_set(f->store, "fast", "b:2", &error), RH_OK);
  assert_int_equal(tidy(f, (rh_gc_options){.limit_bytes = 1}, &l, &freed, &error), RH_NO_SPACE);
  assert_string_equal(l.text, "b:1;");
}

static void test_gc_knows_that_links_share_bytes(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  int64_t freed;
  log l = {0};
  add_model(f->store, "a:1", big('a'), 1);
  assert_int_equal(copy_model(f->store, "a:1", "twin:1", &error), RH_OK);
  add_model(f->store, "c:1", big('c'), 1 << 30);
  note_use(f->store, "twin:1", 2);
  int64_t all = model_bytes(f->store);
  // One twin alone brings back only its manifest: both must go.
  rh_gc_options options = {.limit_bytes = all - BIG / 2, .dry_run = true};
  l.kept = "c";
  assert_int_equal(tidy(f, options, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "a:1;twin:1;");
  options.dry_run = false;
  l = (log){.kept = "c"};
  int64_t promised = freed;
  assert_int_equal(tidy(f, options, &l, &freed, &error), RH_OK);
  assert_int_equal(freed, promised);
  assert_int_equal(model_bytes(f->store), all - freed);
}

static void set_age(const char *path, int64_t age_s) {
  struct utimbuf times = {.modtime = time(NULL) - age_s};
  assert_int_equal(utime(path, &times), 0);
}

static void test_gc_removes_old_partial_pulls_that_nobody_works_on(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  int64_t freed;
  log l = {0};
  static const char *const names[] = {"old:1", "busy:1", "fresh:1"};
  rh_draft *busy = NULL;
  for (size_t i = 0; i < 3; i++) {
    rh_draft *draft = begin(f->store, names[i], "s");
    char folder[512];
    snprintf(folder, sizeof folder, "%s", rh_draft_folder(draft));
    put_text(in_folder(folder, "half"), big('h'));
    if (i < 2) set_age(in_folder(folder, "half"), 7200);
    if (i < 2) set_age(folder, 7200);
    if (i == 1) busy = draft;
    if (i != 1) rh_draft_end(draft, true);
  }
  rh_gc_options options = {.partial_age_s = 3600, .dry_run = true};
  assert_int_equal(tidy(f, options, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "partial old:1;");
  assert_true(is_there(in_folder(f->folder, "partial/old/1/half")));
  options.dry_run = false;
  l = (log){.text = ""};
  assert_int_equal(tidy(f, options, &l, &freed, &error), RH_OK);
  assert_string_equal(l.text, "partial old:1;");
  assert_true(freed >= BIG);
  assert_false(is_there(in_folder(f->folder, "partial/old/1")));
  assert_true(is_there(in_folder(f->folder, "partial/busy/1/half")));
  assert_true(is_there(in_folder(f->folder, "partial/fresh/1/half")));
  rh_draft_end(busy, false);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_remove),
      CASE(test_copies_share_their_bytes),
      CASE(test_copies_never_overwrite),
      CASE(test_verify_names_what_is_damaged),
      CASE(test_gc_removes_what_was_used_longest_ago),
      CASE(test_gc_keeps_what_an_alias_names),
      CASE(test_gc_knows_that_links_share_bytes),
      CASE(test_gc_removes_old_partial_pulls_that_nobody_works_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
