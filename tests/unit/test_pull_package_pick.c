// SPDX-License-Identifier: Apache-2.0
//
// Which files of a package are the model; and that links lead nowhere.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "pull/package_pick.h"

static char folder[256];

static void put(const char *name, const void *bytes, size_t length) {
  char path[512];
  rh_error error = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  char *slash = strrchr(path, '/');
  *slash = '\0';
  assert_int_equal(rh_file_make_folders(path, 0755, &error), RH_OK);
  *slash = '/';
  assert_int_equal(rh_file_write_atomic(path, bytes, length, 0644, &error), RH_OK);
}

static void put_text(const char *name, const char *text) { put(name, text, strlen(text)); }

static void put_model(const char *name) {
  rh_error error = {0};
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, 16 * 1024 * 1024);
  assert_int_equal(rh_file_read(getenv("RH_TINY_GGUF"), &bytes, &error), RH_OK);
  put(name, rh_dynbuf_data(&bytes), bytes.length);
  rh_dynbuf_free(&bytes);
}

// A safetensors folder: one tensor of four bytes.
static void put_safetensors(const char *name) {
  static const char header[] = "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  char path[300], bytes[128] = {0};
  size_t length = sizeof header - 1;
  bytes[0] = (char)length;
  memcpy(bytes + 8, header, length);
  snprintf(path, sizeof path, "%s/model.safetensors", name);
  put(path, bytes, 8 + length + 4);
  snprintf(path, sizeof path, "%s/config.json", name);
  put_text(path, "{\"model_type\":\"bert\",\"architectures\":[\"BertModel\"]}");
}

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/rh_pick_XXXXXX");
  return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  rh_error error = {0};
  return rh_file_remove_tree(folder, &error) == RH_OK ? 0 : -1;
}

static rh_picked pick(const char *path) {
  rh_picked picked;
  rh_error error = {0};
  if (rh_package_pick(folder, path, &picked, &error) != RH_OK) fail_msg("%s", error.message);
  return picked;
}

static rh_status refuse(const char *path, const char *says) {
  rh_picked picked;
  rh_error error = {0};
  rh_status status = rh_package_pick(folder, path, &picked, &error);
  assert_int_not_equal(status, RH_OK);
  assert_null(picked.paths);
  if (strstr(error.message, says) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, says);
  return status;
}

static void test_the_only_model(void **state) {
  (void)state;
  put_model("pkg/data/m.gguf");
  put_text("pkg/__init__.py", "x");
  put_text("pkg-1.dist-info/METADATA", "x");
  rh_picked picked = pick("");
  assert_string_equal(picked.base, "pkg/data");
  assert_int_equal(picked.count, 1);
  assert_string_equal(picked.paths[0], "m.gguf");
  rh_picked_release(&picked);
}

static void test_several_models_need_a_word(void **state) {
  (void)state;
  put_model("pkg/a.gguf");
  put_model("pkg/b.gguf");
  assert_int_equal(refuse("", "pkg/b.gguf"), RH_INVALID);
  rh_picked picked = pick("pkg/b.gguf");
  assert_int_equal(picked.count, 1);
  assert_string_equal(picked.paths[0], "b.gguf");
  rh_picked_release(&picked);
}

static void test_a_folder(void **state) {
  (void)state;
  put_safetensors("pkg/model");
  put_text("pkg/model/1_Pooling/config.json", "{}");
  put_text("pkg/model/loader.py", "x");
  put_text("pkg/cli.py", "x");
  rh_picked picked = pick("");
  assert_string_equal(picked.base, "pkg/model");
  assert_int_equal(picked.count, 3);
  assert_string_equal(picked.paths[0], "1_Pooling/config.json");
  assert_string_equal(picked.paths[1], "config.json");
  assert_string_equal(picked.paths[2], "model.safetensors");
  rh_picked_release(&picked);
  picked = pick("pkg/model");
  assert_int_equal(picked.count, 3);
  rh_picked_release(&picked);
}

static void test_nothing_there(void **state) {
  (void)state;
  put_text("pkg/readme.txt", "x");
  put_text("pkg/false.gguf", "this is no model");
  assert_int_equal(refuse("", "pkg/readme.txt"), RH_UNSUPPORTED);
  assert_int_equal(refuse("pkg/m.gguf", "pkg/false.gguf"), RH_NOT_FOUND);
}

// A package may come with links; what they lead to is not ours to give away.
static void test_links_are_not_followed(void **state) {
  (void)state;
  char path[300];
  put_text("pkg/readme.txt", "x");
  snprintf(path, sizeof path, "%s/pkg/m.gguf", folder);
  assert_int_equal(symlink(getenv("RH_TINY_GGUF"), path), 0);
  snprintf(path, sizeof path, "%s/pkg/etc", folder);
  assert_int_equal(symlink("/etc", path), 0);
  assert_int_equal(refuse("", "readme"), RH_UNSUPPORTED);
  assert_int_equal(refuse("pkg/m.gguf", "readme"), RH_NOT_FOUND);
  assert_int_equal(refuse("pkg/etc/passwd", "readme"), RH_NOT_FOUND);
  assert_int_equal(refuse("pkg/etc", "readme"), RH_NOT_FOUND);
}

static void test_weights_beside_a_graph_come_along(void **state) {
  (void)state;
  put_text("w/model.onnx", "g");
  put_text("w/model.onnx_data", "d");
  put_text("w/other.onnx", "g");
  rh_picked picked = pick("w/model.onnx");
  assert_int_equal(picked.count, 2);
  assert_string_equal(picked.paths[1], "model.onnx_data");
  rh_picked_release(&picked);
}

static void test_parts_come_together(void **state) {
  (void)state;
  put_text("w/m-00001-of-00002.gguf", "g");
  put_text("w/m-00002-of-00002.gguf", "g");
  put_text("w/n-00002-of-00002.gguf", "g");
  rh_picked picked = pick("w/m-00001-of-00002.gguf");
  assert_int_equal(picked.count, 2);
  assert_string_equal(picked.paths[0], "m-00001-of-00002.gguf");
  assert_string_equal(picked.paths[1], "m-00002-of-00002.gguf");
  rh_picked_release(&picked);
}

// Without its configuration and tokenizer a graph could only be run raw.
static void test_a_graph_comes_with_its_configuration(void **state) {
  (void)state;
  static const char graph[] = {0x08, 0x08, 0x3a, 0x00};
  put("pkg/models/ner/onnx/model_q4.onnx", graph, sizeof graph);
  put_text("pkg/models/ner/config.json", "{}");
  put_text("pkg/models/ner/tokenizer.json", "{}");
  put_text("pkg/notes.txt", "x");
  rh_picked picked = pick("");
  assert_string_equal(picked.base, "pkg/models/ner");
  assert_int_equal(picked.count, 3);
  assert_string_equal(picked.paths[0], "config.json");
  assert_string_equal(picked.paths[1], "onnx/model_q4.onnx");
  assert_string_equal(picked.paths[2], "tokenizer.json");
  rh_picked_release(&picked);
  picked = pick("pkg/models/ner");
  assert_int_equal(picked.count, 3);
  rh_picked_release(&picked);
}

static void test_a_graph_without_configuration_is_a_file(void **state) {
  (void)state;
  static const char graph[] = {0x08, 0x08, 0x3a, 0x00};
  put("pkg/models/raw/model.onnx", graph, sizeof graph);
  put_text("pkg/models/raw/other.json", "{}");
  rh_picked picked = pick("");
  assert_string_equal(picked.base, "pkg/models/raw");
  assert_int_equal(picked.count, 1);
  assert_string_equal(picked.paths[0], "model.onnx");
  rh_picked_release(&picked);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_the_only_model, setup, teardown),
      cmocka_unit_test_setup_teardown(test_several_models_need_a_word, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_folder, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
      cmocka_unit_test_setup_teardown(test_links_are_not_followed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_weights_beside_a_graph_come_along, setup, teardown),
      cmocka_unit_test_setup_teardown(test_parts_come_together, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_graph_comes_with_its_configuration, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_graph_without_configuration_is_a_file, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
