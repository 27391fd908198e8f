// SPDX-License-Identifier: Apache-2.0
//
// Models that come and go while the manager runs; what lies in the store; retiring.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager_fixture.h"

static int setup(void **state) {
  rh_model_yard *yard = malloc(sizeof *yard);
  rh_yard_init(yard);
  rh_yard_add(yard, "a", "{\"path\":\"fake:slots=1,context=100000\"}");
  rh_yard_add(yard, "b", "{\"path\":\"fake:slots=2\"}");
  *state = yard;
  return 0;
}

static int teardown(void **state) {
  rh_yard_close(*state);
  free(*state);
  return 0;
}

static void refresh(rh_model_yard *yard) {
  rh_error error = {0};
  if (rh_manager_refresh(yard->manager, &error) != RH_OK) fail_msg("%s", error.message);
}

static rh_status resolve(rh_model_yard *yard, const char *name, rh_error *error) {
  rh_resolution found;
  return rh_manager_resolve(yard->manager, name, &found, error);
}

static void test_new_models_appear_and_others_are_not_disturbed(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_yard_load(yard, "a");
  rh_served *a = rh_yard_find(yard, "a");
  assert_int_equal(resolve(yard, "c", NULL), RH_NOT_FOUND);
  rh_yard_add(yard, "c", "{\"path\":\"fake:\"}");
  refresh(yard);
  assert_int_equal(resolve(yard, "c", NULL), RH_OK);
  assert_ptr_equal(rh_yard_find(yard, "a"), a);
  assert_int_equal(rh_yard_state(yard, "a"), RH_MEMBER_READY);
  assert_int_equal(yard->loaded, 1);
}

static void test_settings_that_need_no_load_change_in_place(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_yard_load(yard, "b");
  yard->models[1].json = "{\"path\":\"fake:slots=2\",\"keep_alive\":\"50ms\",\"task\":\"chat\"}";
  refresh(yard);
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "b"))->task, "chat");
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
  assert_string_equal(yard->left_why, "idle");
}

static void test_a_removed_model_finishes_and_leaves(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_alias(yard->manager, "fast", rh_yard_find(yard, "a"), false, &callback, NULL, NULL),
                   RH_OK);
  rh_yard_client running, waiting;
  rh_yard_ask(yard, &running, "a", "[[tokens=40 delay_ms=5]]");
  rh_yard_ask(yard, &waiting, "a", "hello");
  yard->models[0] = yard->models[1];
  yard->count = 1;
  refresh(yard);
  rh_error error = {0};
  assert_int_equal(resolve(yard, "a", &error), RH_NOT_FOUND);
  assert_int_equal(resolve(yard, "fast", &error), RH_NOT_FOUND);
  assert_non_null(strstr(error.message, "the alias fast means a"));
  assert_int_equal(rh_manager_count(yard->manager), 1);
  rh_yard_answer(yard, &running);
  rh_yard_answer(yard, &waiting);
  assert_int_equal(running.seen.ends, 1);
  assert_int_equal(waiting.seen.ends, 1);
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
  assert_string_equal(yard->left_why, "removed");
  // It comes back: the alias leads there again.
  rh_yard_add(yard, "a", "{\"path\":\"fake:slots=3\"}");
  refresh(yard);
  assert_int_equal(resolve(yard, "fast", NULL), RH_OK);
}

static void test_a_changed_model_is_served_anew(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_yard_load(yard, "a");
  rh_yard_client running, later;
  rh_yard_ask(yard, &running, "a", "[[tokens=40 delay_ms=5]]");
  rh_served *before = running.served;
  assert_int_equal(rh_manager_pin(yard->manager, before, true, NULL), RH_OK);
  yard->models[0].json = "{\"path\":\"fake:slots=3\"}";
  refresh(yard);
  rh_yard_ask(yard, &later, "a", "hello");
  assert_ptr_not_equal(later.served, before);
  assert_true(rh_served_pinned(later.served));
  rh_yard_answer(yard, &later);
  rh_yard_answer(yard, &running);
  assert_int_equal(running.seen.ends, 1);
  assert_int_equal(later.seen.ends, 1);
  assert_int_equal(rh_member_info(rh_served_member(rh_yard_find(yard, "a")))->slots, 3);
  assert_true(rh_run_until(yard->loop, rh_yard_one_left, yard));
}

static void test_who_waits_for_a_changed_model_gets_the_new_one(void **state) {
  rh_model_yard *yard = *state;
  yard->models[0].json = "{\"path\":\"fake:load_delay_ms=200\"}";
  rh_yard_open(yard);
  rh_yard_call call, removed;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_load(yard->manager, rh_yard_find(yard, "a"), &callback, NULL, NULL), RH_OK);
  callback = rh_yard_callback(&removed);
  assert_int_equal(rh_manager_load(yard->manager, rh_yard_find(yard, "b"), &callback, NULL, NULL), RH_OK);
  yard->models[0].json = "{\"path\":\"fake:slots=3\"}";
  yard->count = 1;
  refresh(yard);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_OK);
  assert_int_equal(rh_yard_state(yard, "a"), RH_MEMBER_READY);
  rh_yard_wait(yard, &removed);
  assert_int_equal(removed.status, RH_NOT_FOUND);
}

static void test_a_swap_to_a_model_that_vanishes_fails(void **state) {
  rh_model_yard *yard = *state;
  yard->models[1].json = "{\"path\":\"fake:load_delay_ms=300\"}";
  rh_yard_open(yard);
  rh_manager *manager = yard->manager;
  assert_int_equal(rh_manager_alias(manager, "prod", rh_yard_find(yard, "a"), false, NULL, NULL, NULL), RH_OK);
  rh_yard_load(yard, "a");
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_alias(manager, "prod", rh_yard_find(yard, "b"), false, &callback, NULL, NULL), RH_OK);
  rh_yard_turn(yard, 50 * RH_NS_PER_MS);
  yard->count = 1;
  refresh(yard);
  rh_yard_wait(yard, &call);
  assert_int_equal(call.status, RH_CONFLICT);
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "prod"))->name, "a");
}

static void test_retiring(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_served *a = rh_yard_find(yard, "a");
  rh_yard_load(yard, "a");
  rh_yard_client client;
  rh_error error = {0};
  rh_yard_ask(yard, &client, "a", "[[tokens=20 delay_ms=5]]");
  assert_int_equal(rh_manager_retire(yard->manager, a, false, NULL, NULL, &error), RH_CONFLICT);
  assert_non_null(strstr(error.message, "requests run"));
  rh_yard_answer(yard, &client);
  assert_int_equal(rh_manager_alias(yard->manager, "fast", a, false, NULL, NULL, NULL), RH_OK);
  assert_int_equal(rh_manager_retire(yard->manager, a, false, NULL, NULL, &error), RH_CONFLICT);
  assert_non_null(strstr(error.message, "alias"));
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  assert_int_equal(rh_manager_retire(yard->manager, a, true, &callback, NULL, NULL), RH_OK);
  assert_int_equal(resolve(yard, "a", &error), RH_NOT_FOUND);
  assert_non_null(strstr(error.message, "being deleted"));
  rh_yard_wait(yard, &call);
  assert_int_equal(rh_member_pid(rh_served_member(a)), 0);
  // It was not deleted after all: the next look brings it back.
  refresh(yard);
  assert_int_equal(resolve(yard, "a", NULL), RH_OK);
}

static void test_a_list_that_cannot_be_made_changes_nothing(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_yard_add(yard, "bad name", "{\"path\":\"fake:\"}");
  rh_error error = {0};
  assert_int_equal(rh_manager_refresh(yard->manager, &error), RH_INVALID);
  assert_int_equal(rh_manager_count(yard->manager), 2);
  assert_int_equal(resolve(yard, "a", NULL), RH_OK);
}

// --- changes on disk -----------------------------------------------------------------------------------------------

static bool three_models(void *ctx) { return rh_manager_count(((rh_model_yard *)ctx)->manager) == 3; }

static void test_a_change_on_disk_is_noticed(void **state) {
  rh_model_yard *yard = *state;
  char changed[96], models[96], file[128];
  snprintf(changed, sizeof changed, "%s/changed", yard->folder);
  snprintf(models, sizeof models, "%s/local", yard->folder);
  snprintf(file, sizeof file, "%s/x.gguf", models);
  yard->options.changed_path = changed;
  yard->options.models_dir = models;  // does not exist yet
  rh_yard_open(yard);
  rh_yard_add(yard, "c", "{\"path\":\"fake:\"}");
  rh_yard_turn(yard, 300 * RH_NS_PER_MS);
  assert_int_equal(rh_manager_count(yard->manager), 2);  // nothing has told it
  assert_int_equal(rh_file_write_atomic(changed, "1", 1, 0600, NULL), RH_OK);
  assert_true(rh_run_until(yard->loop, three_models, yard));
  yard->count = 2;
  // The folder is found by the background work, and what lies in it is noticed.
  assert_int_equal(mkdir(models, 0700), 0);
  rh_yard_turn(yard, 500 * RH_NS_PER_MS);
  assert_int_equal(rh_manager_count(yard->manager), 2);
  yard->count = 3;
  assert_int_equal(rh_file_write_atomic(file, "x", 1, 0600, NULL), RH_OK);
  assert_true(rh_run_until(yard->loop, three_models, yard));
}

static void test_a_request_right_after_a_pull_finds_the_model(void **state) {
  rh_model_yard *yard = *state;
  char changed[96];
  snprintf(changed, sizeof changed, "%s/changed", yard->folder);
  yard->options.changed_path = changed;
  rh_yard_open(yard);
  rh_yard_add(yard, "c", "{\"path\":\"fake:\"}");
  assert_int_equal(rh_file_write_atomic(changed, "1", 1, 0600, NULL), RH_OK);
  assert_int_equal(resolve(yard, "c", NULL), RH_OK);  // the loop has not turned
}

static void test_aliases_of_another_process_are_followed(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  assert_int_equal(rh_manager_alias(yard->manager, "prod", rh_yard_find(yard, "a"), false, NULL, NULL, NULL), RH_OK);
  rh_store *other = NULL;
  assert_int_equal(rh_store_open(yard->folder, false, &other, NULL), RH_OK);
  assert_int_equal(rh_store_alias_set(other, "prod", "b", NULL), RH_OK);
  assert_int_equal(rh_store_alias_set(other, "new", "a", NULL), RH_OK);
  refresh(yard);
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "prod"))->name, "b");
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "new"))->name, "a");
  assert_int_equal(rh_store_alias_set(other, "new", NULL, NULL), RH_OK);
  refresh(yard);
  assert_int_equal(resolve(yard, "new", NULL), RH_NOT_FOUND);
  rh_store_close(other);
}

static const char *stored_alias(rh_store *store, const char *name) {
  static char text[64];
  json_t *all = NULL;
  assert_int_equal(rh_store_aliases(store, &all, NULL), RH_OK);
  snprintf(text, sizeof text, "%s", json_string_value(json_object_get(all, name)));
  json_decref(all);
  return text;
}

static bool one_swapped(void *ctx) {
  const rh_model_yard *yard = ctx;
  return yard->swapped > 0;
}

// Following takes as long as a load. What is written meanwhile is newer than what is being followed.
static void test_following_slowly_undoes_nothing(void **state) {
  rh_model_yard *yard = *state;
  yard->models[1].json = "{\"path\":\"fake:load_delay_ms=200\"}";
  rh_yard_open(yard);
  assert_int_equal(rh_manager_alias(yard->manager, "prod", rh_yard_find(yard, "a"), false, NULL, NULL, NULL), RH_OK);
  rh_yard_load(yard, "a");
  rh_store *other = NULL;
  assert_int_equal(rh_store_open(yard->folder, false, &other, NULL), RH_OK);
  // Not noticed before the swap has ended: what was written stays, and is followed then.
  assert_int_equal(rh_store_alias_set(other, "prod", "b", NULL), RH_OK);
  refresh(yard);
  assert_int_equal(rh_store_alias_set(other, "prod", "a", NULL), RH_OK);
  assert_true(rh_run_until(yard->loop, one_swapped, yard));
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "prod"))->name, "b");
  rh_yard_turn(yard, 1200 * RH_NS_PER_MS);
  assert_string_equal(stored_alias(other, "prod"), "a");
  yard->swapped = 0;
  refresh(yard);
  assert_true(rh_run_until(yard->loop, one_swapped, yard));
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "prod"))->name, "a");
  // Noticed while the swap is under way: it is given up.
  rh_manager_callback gone = {0};
  assert_int_equal(rh_manager_unload(yard->manager, rh_yard_find(yard, "b"), true, &gone, NULL, NULL), RH_OK);
  rh_yard_turn(yard, 200 * RH_NS_PER_MS);
  yard->swapped = 0;
  assert_int_equal(rh_store_alias_set(other, "prod", "b", NULL), RH_OK);
  refresh(yard);
  rh_yard_turn(yard, 50 * RH_NS_PER_MS);
  assert_int_equal(yard->swapped, 0);
  assert_int_equal(rh_store_alias_set(other, "prod", "a", NULL), RH_OK);
  refresh(yard);
  assert_int_equal(yard->swapped, 1);
  rh_yard_turn(yard, 500 * RH_NS_PER_MS);
  assert_string_equal(rh_served_spec(rh_yard_find(yard, "prod"))->name, "a");
  assert_string_equal(stored_alias(other, "prod"), "a");
  rh_store_close(other);
}

static void test_an_alias_removed_elsewhere_ends_its_following(void **state) {
  rh_model_yard *yard = *state;
  yard->models[1].json = "{\"path\":\"fake:load_delay_ms=200\"}";
  rh_yard_open(yard);
  assert_int_equal(rh_manager_alias(yard->manager, "prod", rh_yard_find(yard, "a"), false, NULL, NULL, NULL), RH_OK);
  rh_yard_load(yard, "a");
  rh_store *other = NULL;
  assert_int_equal(rh_store_open(yard->folder, false, &other, NULL), RH_OK);
  assert_int_equal(rh_store_alias_set(other, "prod", "b", NULL), RH_OK);
  refresh(yard);
  assert_int_equal(rh_store_alias_set(other, "prod", NULL, NULL), RH_OK);
  refresh(yard);
  assert_int_equal(resolve(yard, "prod", NULL), RH_NOT_FOUND);
  rh_yard_turn(yard, 400 * RH_NS_PER_MS);
  assert_int_equal(resolve(yard, "prod", NULL), RH_NOT_FOUND);
  rh_store_close(other);
}

// --- the store -----------------------------------------------------------------------------------------------------

static void test_stored_models_become_specs(void **state) {
  (void)state;
  rh_stored_file file = {.path = (char[]){"m.gguf"}, .bytes = 7};
  memset(file.sha256, 'a', RH_SHA256_HEX - 1);
  rh_stored items[] = {
      {.ref = {.name = "x", .version = "q4"},
       .folder = (char[]){"/store/x/q4"},
       .entry = (char[]){"m.gguf"},
       .format = RH_FORMAT_GGUF,
       .quantization = "Q4_K_M",
       .licence = "Apache-2.0",
       .created_s = 5,
       .bytes = 7,
       .memory_min_bytes = 9,
       .gpu_required = true,
       .files = &file,
       .file_count = 1},
      {.ref = {.name = "t", .version = "1"},
       .folder = (char[]){"/store/t/1"},
       .entry = (char[]){"engine.plan"},
       .format = RH_FORMAT_TENSORRT},
  };
  rh_stored_list list = {.items = items, .count = 2};
  rh_load_options defaults = {.context = 77, .gpu_layers = -1};
  rh_catalogue *catalogue = rh_catalogue_new();
  assert_int_equal(rh_manager_collect_stored(catalogue, &list, RH_ORIGIN_STORE, &defaults, 3, NULL), RH_OK);
  assert_int_equal(rh_catalogue_count(catalogue), rh_format_engine(RH_FORMAT_TENSORRT) != NULL ? 2 : 1);
  const rh_model_spec *spec = rh_catalogue_find(catalogue, "x:q4");
  assert_non_null(spec);
  assert_string_equal(spec->path, "/store/x/q4/m.gguf");
  assert_string_equal(spec->engine, "llama");
  assert_string_equal(spec->quantization, "Q4_K_M");
  assert_true(rh_text_starts_with(spec->digest, "sha256:aaaa"));
  assert_int_equal(spec->keep_alive, RH_KEEP_ALIVE_UNSET);
  assert_int_equal(spec->options.context, 77);
  assert_int_equal(spec->queue_max, 3);
  assert_int_equal(spec->memory_min_bytes, 9);
  assert_true(spec->gpu_required);
  // What is named already stays as it is.
  assert_int_equal(rh_manager_collect_stored(catalogue, &list, RH_ORIGIN_STORE, NULL, 99, NULL), RH_OK);
  assert_int_equal(rh_catalogue_find(catalogue, "x:q4")->queue_max, 3);
  rh_catalogue_free(catalogue);
}

#define REFRESH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      REFRESH_TEST(test_new_models_appear_and_others_are_not_disturbed),
      REFRESH_TEST(test_settings_that_need_no_load_change_in_place),
      REFRESH_TEST(test_a_removed_model_finishes_and_leaves),
      REFRESH_TEST(test_a_changed_model_is_served_anew),
      REFRESH_TEST(test_who_waits_for_a_changed_model_gets_the_new_one),
      REFRESH_TEST(test_a_swap_to_a_model_that_vanishes_fails),
      REFRESH_TEST(test_retiring),
      REFRESH_TEST(test_a_list_that_cannot_be_made_changes_nothing),
      REFRESH_TEST(test_a_change_on_disk_is_noticed),
      REFRESH_TEST(test_a_request_right_after_a_pull_finds_the_model),
      REFRESH_TEST(test_aliases_of_another_process_are_followed),
      REFRESH_TEST(test_following_slowly_undoes_nothing),
      REFRESH_TEST(test_an_alias_removed_elsewhere_ends_its_following),
      cmocka_unit_test(test_stored_models_become_specs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
