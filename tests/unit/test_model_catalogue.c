// SPDX-License-Identifier: Apache-2.0
//
// The list of models: names, formats, folders, errors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "model/catalogue.h"
#include "model/names.h"

typedef struct fixture {
  char folder[64];
  rh_catalogue *catalogue;
} fixture;

// The smallest GGUF: version 3, no tensors, one key.
static void write_gguf(const char *folder, const char *name, const char *architecture) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  static const char key[] = "general.architecture";
  uint32_t version = 3, type = 8;
  uint64_t tensors = 0, pairs = 1, key_length = sizeof key - 1, length = strlen(architecture);
  fwrite("GGUF", 1, 4, file);
  fwrite(&version, 4, 1, file);
  fwrite(&tensors, 8, 1, file);
  fwrite(&pairs, 8, 1, file);
  fwrite(&key_length, 8, 1, file);
  fwrite(key, 1, sizeof key - 1, file);
  fwrite(&type, 4, 1, file);
  fwrite(&length, 8, 1, file);
  fwrite(architecture, 1, length, file);
  fclose(file);
}

static void write_text(const char *folder, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  strcpy(f->folder, "/tmp/rh-models-XXXXXX");
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  if (mkdtemp(f->folder) == NULL) return -1;
  f->catalogue = rh_catalogue_new();
  *state = f;
  return f->catalogue == NULL ? -1 : 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
  int failed = system(command);
  rh_catalogue_free(f->catalogue);
  free(f);
  return failed;
}

static void test_scan_finds_models_and_skips_the_rest(void **state) {
  fixture *f = *state;
  write_gguf(f->folder, "Zeta-7B.Q4_K_M.gguf", "llama");
  write_gguf(f->folder, "alpha.GGUF", "qwen3");
  write_gguf(f->folder, "big-00001-of-00002.gguf", "llama");
  write_gguf(f->folder, "big-00002-of-00002.gguf", "llama");
  write_gguf(f->folder, "mmproj-x.gguf", "clip");
  write_text(f->folder, "page.gguf", "<html>not found</html>");
  write_text(f->folder, "notes.txt", "GGUF");
  write_gguf(f->folder, ".hidden.gguf", "llama");
  char path[128];
  snprintf(path, sizeof path, "%s/folder.gguf", f->folder);
  assert_int_equal(mkdir(path, 0700), 0);
  rh_error error = {0};
  rh_load_options defaults = {.context = 512, .gpu_layers = -1};
  assert_int_equal(rh_catalogue_scan(f->catalogue, f->folder, &defaults, 7, &error), RH_OK);
  assert_int_equal(rh_catalogue_count(f->catalogue), 3);
  assert_string_equal(rh_catalogue_at(f->catalogue, 0)->name, "alpha");
  assert_string_equal(rh_catalogue_at(f->catalogue, 1)->name, "big");
  const rh_model_spec *spec = rh_catalogue_at(f->catalogue, 2);
  assert_string_equal(spec->name, "zeta-7b.q4_k_m");
  assert_string_equal(spec->engine, "llama");
  assert_int_equal(spec->options.context, 512);
  assert_int_equal(spec->queue_max, 7);
  assert_true(spec->file_bytes > 0);
  assert_true(spec->modified_s > 1600000000);
  assert_non_null(strstr(rh_catalogue_at(f->catalogue, 1)->path, "00001-of-00002"));
}

static void test_a_folder_that_is_not_there_holds_no_models(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  assert_int_equal(rh_catalogue_scan(f->catalogue, "/nonexistent/models", NULL, 1, &error), RH_OK);
  assert_int_equal(rh_catalogue_count(f->catalogue), 0);
  write_text(f->folder, "file", "x");
  char path[128];
  snprintf(path, sizeof path, "%s/file", f->folder);
  assert_int_equal(rh_catalogue_scan(f->catalogue, path, NULL, 1, &error), RH_IO);
}

static rh_status add(fixture *f, const char *name, const char *json, rh_error *error) {
  json_t *settings = json_loads(json, JSON_DECODE_ANY, NULL);
  assert_non_null(settings);
  rh_load_options defaults = {.context = 1024, .slots = 2, .gpu_layers = -1};
  rh_status status = rh_catalogue_add_json(f->catalogue, name, settings, &defaults, 9, error);
  json_decref(settings);
  return status;
}

static void test_json_settings_over_defaults(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  const char *json = "{\"path\":\"fake:slots=2\",\"context\":99,\"gpu_layers\":0,\"mlock\":true,\"queue_max\":3}";
  assert_int_equal(add(f, "m", json, &error), RH_OK);
  const rh_model_spec *spec = rh_catalogue_find(f->catalogue, "m");
  assert_non_null(spec);
  assert_string_equal(spec->engine, "fake");
  assert_string_equal(spec->path, "fake:slots=2");
  assert_int_equal(spec->options.context, 99);
  assert_int_equal(spec->options.slots, 2);
  assert_int_equal(spec->options.gpu_layers, 0);
  assert_true(spec->options.mlock);
  assert_int_equal(spec->queue_max, 3);
  assert_int_equal(spec->file_bytes, 0);
  assert_int_equal(add(f, "n", "{\"path\":\"fake:\",\"engine\":\"fake\"}", &error), RH_OK);
  assert_int_equal(rh_catalogue_find(f->catalogue, "n")->queue_max, 9);
}

static void expect_error(fixture *f, const char *name, const char *json, rh_status status, const char *words) {
  rh_error error = {0};
  assert_int_equal(add(f, name, json, &error), status);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
  assert_null(rh_catalogue_find(f->catalogue, name));
}

static void test_json_errors_say_what_is_wrong(void **state) {
  fixture *f = *state;
  expect_error(f, "m", "{}", RH_INVALID, "has no path");
  expect_error(f, "m", "\"x.gguf\"", RH_INVALID, "must be an object");
  expect_error(f, "m", "{\"path\":\"/nonexistent/x.gguf\"}", RH_NOT_FOUND, "there is no file /nonexistent/x.gguf");
  expect_error(f, "m", "{\"path\":\"fake:\",\"contxt\":1}", RH_INVALID, "context");
  expect_error(f, "m", "{\"path\":\"fake:\",\"context\":-1}", RH_INVALID, "context");
  expect_error(f, "m", "{\"path\":\"fake:\",\"engine\":\"onnx\"}", RH_INVALID, "belong to engine fake");
  expect_error(f, "m", "{\"path\":\"fake:\",\"engine\":\"vllm\"}", RH_INVALID, "no engine \"vllm\"");
  expect_error(f, "m", "{\"path\":\"fake:\",\"engine\":\"llama\"}", RH_INVALID, "belong to engine fake");
  expect_error(f, "a b", "{\"path\":\"fake:\"}", RH_INVALID, "cannot be a model's name");
  expect_error(f, "", "{\"path\":\"fake:\"}", RH_INVALID, "cannot be a model's name");
  write_text(f->folder, "x.gguf", "not a model");
  char json[128];
  snprintf(json, sizeof json, "{\"path\":\"%s/x.gguf\"}", f->folder);
  expect_error(f, "m", json, RH_UNSUPPORTED, "x.gguf is a text file and no model");
  snprintf(json, sizeof json, "{\"path\":\"%s\"}", f->folder);
  expect_error(f, "m", json, RH_UNSUPPORTED, "is a folder with x.gguf (a text file)");
  expect_error(f, "m", "{\"path\":\"/dev/null\"}", RH_INVALID, "not a regular file");
}

static void make_folder(const fixture *f, const char *name, char out[128]) {
  snprintf(out, 128, "%s/%s", f->folder, name);
  assert_int_equal(mkdir(out, 0700), 0);
}

static void test_folders_and_parts_are_models_in_place(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  char one[128], parts[128], two[128], other[128], folder[128];
  make_folder(f, "Qwen3-4B", one);
  make_folder(f, "big.parts", parts);
  make_folder(f, "several", two);
  make_folder(f, "holiday-pictures", other);
  make_folder(f, "hf", folder);
  write_gguf(one, "weights.bin", "qwen3");  // the name does not matter
  write_gguf(one, "mmproj.gguf", "clip");
  write_text(one, "README.md", "# Qwen");
  write_gguf(parts, "x-00001-of-00002.gguf", "llama");
  write_gguf(parts, "x-00002-of-00002.gguf", "llama");
  write_gguf(two, "a.gguf", "llama");
  write_gguf(two, "b.gguf", "llama");
  write_text(other, "beach.jpg", "\xff\xd8\xff");
  write_text(folder, "config.json", "{}");
  write_text(folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
  write_gguf(f->folder, "cut-00001-of-00002.gguf", "llama");  // its second part is missing
  assert_int_equal(rh_catalogue_scan(f->catalogue, f->folder, NULL, 7, &error), RH_OK);
  assert_int_equal(rh_catalogue_count(f->catalogue), 2);
  const rh_model_spec *spec = rh_catalogue_find(f->catalogue, "big.parts");
  assert_non_null(spec);
  assert_non_null(strstr(spec->path, "/big.parts/x-00001-of-00002.gguf"));
  assert_int_equal(spec->format, RH_FORMAT_GGUF);
  spec = rh_catalogue_find(f->catalogue, "qwen3-4b");
  assert_non_null(spec);
  assert_non_null(strstr(spec->path, "/Qwen3-4B/weights.bin"));
  char json[192];
  snprintf(json, sizeof json, "{\"path\":\"%s\"}", two);
  expect_error(f, "m", json, RH_INVALID, "holds 2 GGUF models (a.gguf, b.gguf)");
  snprintf(json, sizeof json, "{\"path\":\"%s/cut-00001-of-00002.gguf\"}", f->folder);
  expect_error(f, "m", json, RH_INVALID, "cut-00002-of-00002.gguf, which is not there");
  snprintf(json, sizeof json, "{\"path\":\"%s\"}", folder);
  expect_error(f, "m", json, RH_INVALID, "model-1.safetensors, which is not there");
}

static void test_formats_without_an_engine_get_advice(void **state) {
  fixture *f = *state;
  char folder[128], path[192], json[256];
  make_folder(f, "hf", folder);
  write_text(folder, "config.json", "{}");
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fwrite("\x02\0\0\0\0\0\0\0{}", 1, 10, file);
  fclose(file);
  snprintf(json, sizeof json, "{\"path\":\"%s\"}", folder);
  expect_error(f, "m", json, RH_UNSUPPORTED, "roundhouse pull file:FOLDER converts it once");
  snprintf(path, sizeof path, "%s/x.engine", f->folder);
  write_text(f->folder, "x.engine", "ftrt....................");
  snprintf(json, sizeof json, "{\"path\":\"%s\"}", path);
  expect_error(f, "m", json, RH_UNSUPPORTED, "format tensorrt, which no engine of this build serves");
}

static void test_names_are_unique_and_sorted(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  static const char *const names[] = {"m", "b", "z", "a", "c"};
  for (size_t i = 0; i < 5; i++) {
    assert_int_equal(rh_catalogue_add_file(f->catalogue, names[i], "fake:", NULL, 1, &error), RH_OK);
  }
  assert_int_equal(rh_catalogue_add_file(f->catalogue, "b", "fake:x=1", NULL, 1, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "two models are named"));
  assert_int_equal(rh_catalogue_count(f->catalogue), 5);
  for (size_t i = 1; i < 5; i++) {
    assert_true(strcmp(rh_catalogue_at(f->catalogue, i - 1)->name, rh_catalogue_at(f->catalogue, i)->name) < 0);
  }
}

static void test_nearest_name(void **state) {
  fixture *f = *state;
  rh_error error = {0};
  assert_null(rh_catalogue_nearest(f->catalogue, "x"));
  assert_int_equal(rh_catalogue_add_file(f->catalogue, "smollm2", "fake:", NULL, 1, &error), RH_OK);
  assert_string_equal(rh_catalogue_nearest(f->catalogue, "smolm2"), "smollm2");
  assert_null(rh_catalogue_nearest(f->catalogue, "qwen"));
}

static void check_name(const char *path, const char *expected) {
  char name[129];
  rh_model_name_from_path(path, name, sizeof name);
  assert_string_equal(name, expected);
}

static void test_names_from_paths(void **state) {
  (void)state;
  check_name("/x/SmolLM2-135M.Q4_1.gguf", "smollm2-135m.q4_1");
  check_name("a b+c.gguf", "a-b-c");
  check_name("fake:slots=2", "fake");
  check_name("m-00001-of-00003.gguf", "m");
  check_name("/x/.gguf", ".gguf");
  check_name("/x/", "model");
  assert_true(rh_model_is_first_part("m.gguf"));
  assert_true(rh_model_is_first_part("m-00001-of-00003.gguf"));
  assert_false(rh_model_is_first_part("m-00002-of-00003.gguf"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_scan_finds_models_and_skips_the_rest, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_folder_that_is_not_there_holds_no_models, setup, teardown),
      cmocka_unit_test_setup_teardown(test_json_settings_over_defaults, setup, teardown),
      cmocka_unit_test_setup_teardown(test_json_errors_say_what_is_wrong, setup, teardown),
      cmocka_unit_test_setup_teardown(test_folders_and_parts_are_models_in_place, setup, teardown),
      cmocka_unit_test_setup_teardown(test_formats_without_an_engine_get_advice, setup, teardown),
      cmocka_unit_test_setup_teardown(test_names_are_unique_and_sorted, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nearest_name, setup, teardown),
      cmocka_unit_test(test_names_from_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
