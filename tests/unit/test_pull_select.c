// SPDX-License-Identifier: Apache-2.0
//
// Which files of a repository are chosen, and S3's lists.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pull/hub_select.h"
#include "pull/s3_list.h"

#define FILES_MAX 16

typedef struct sample {
  const char *title;
  const char *files[FILES_MAX];
  const char *selection;
  rh_status status;
  const char *chosen;  // "path>as path>as", in the order of the files; part of the message when it fails
} sample;

static const sample samples[] = {
    {"one GGUF", {"README.md", "a.gguf"}, "", RH_OK, "a.gguf>a.gguf"},
    {"the usual one", {"x-Q8_0.gguf", "x-Q4_K_M.gguf", "x-F16.gguf"}, "", RH_OK, "x-Q4_K_M.gguf>x-Q4_K_M.gguf"},
    {"the next best", {"x-Q8_0.gguf", "x-Q2_K.gguf", "x-Q4_0.gguf"}, "", RH_OK, "x-Q4_0.gguf>x-Q4_0.gguf"},
    {"by quantization", {"x-Q8_0.gguf", "x-Q4_K_M.gguf"}, "q8_0", RH_OK, "x-Q8_0.gguf>x-Q8_0.gguf"},
    {"exact before UD", {"x-UD-Q4_K_M.gguf", "x-Q4_K_M.gguf"}, "Q4_K_M", RH_OK, "x-Q4_K_M.gguf>x-Q4_K_M.gguf"},
    {"UD when it is the only one",
     {"x-UD-Q4_K_XL.gguf", "x-Q8_0.gguf"},
     "Q4_K_XL",
     RH_OK,
     "x-UD-Q4_K_XL.gguf>x-UD-Q4_K_XL.gguf"},
    {"in parts",
     {"q/x-Q4_0-00001-of-00002.gguf", "q/x-Q4_0-00002-of-00002.gguf", "y-Q8_0.gguf"},
     "Q4_0",
     RH_OK,
     "q/x-Q4_0-00001-of-00002.gguf>x-Q4_0-00001-of-00002.gguf q/x-Q4_0-00002-of-00002.gguf>x-Q4_0-00002-of-00002.gguf"},
    {"one of the parts names all",
     {"x-00001-of-00002.gguf", "x-00002-of-00002.gguf"},
     "x-00002-of-00002.gguf",
     RH_OK,
     "x-00001-of-00002.gguf>x-00001-of-00002.gguf x-00002-of-00002.gguf>x-00002-of-00002.gguf"},
    {"a part is missing", {"x-00001-of-00003.gguf", "x-00003-of-00003.gguf"}, "", RH_NOT_FOUND, "2 of 3"},
    {"no projector, no matrix",
     {"mmproj-x-F16.gguf", "x.imatrix.gguf", "x-Q5_K_M.gguf"},
     "",
     RH_OK,
     "x-Q5_K_M.gguf>x-Q5_K_M.gguf"},
    {"two models", {"a-Q4_0.gguf", "b-Q4_0.gguf"}, "Q4_0", RH_INVALID, "2 models"},
    {"not there", {"a-Q4_0.gguf", "a-Q8_0.gguf"}, "Q2_K", RH_NOT_FOUND, "Q4_0 (1000 B), Q8_0 (1000 B)"},
    {"safetensors",
     {"config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "onnx/model.onnx",
      "1_Pooling/config.json", "flax_model.msgpack", "README.md", ".gitattributes"},
     "",
     RH_OK,
     "config.json>config.json model.safetensors>model.safetensors tokenizer.json>tokenizer.json "
     "1_Pooling/config.json>1_Pooling/config.json"},
    {"shards without the second copy",
     {"config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
      "model.safetensors.index.json"},
     "",
     RH_OK,
     "config.json>config.json model-00001-of-00002.safetensors>model-00001-of-00002.safetensors "
     "model-00002-of-00002.safetensors>model-00002-of-00002.safetensors "
     "model.safetensors.index.json>model.safetensors.index.json"},
    {"ONNX",
     {"config.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_quantized.onnx", "tokenizer.json"},
     "",
     RH_OK,
     "config.json>config.json onnx/model.onnx>model.onnx onnx/model.onnx_data>model.onnx_data "
     "tokenizer.json>tokenizer.json"},
    {"a decoder in three parts",
     {"config.json", "onnx/decoder_model.onnx", "onnx/decoder_model_merged.onnx", "onnx/decoder_with_past_model.onnx"},
     "",
     RH_OK,
     "config.json>config.json onnx/decoder_model_merged.onnx>decoder_model_merged.onnx"},
    {"a decoder beside an encoder",
     {"config.json", "decoder_model_merged.onnx", "encoder_model.onnx"},
     "",
     RH_UNSUPPORTED,
     "decoder_model_merged.onnx"},
    {"genai for the processor",
     {"cuda/int4/genai_config.json", "cuda/int4/m.onnx", "cpu/int4/genai_config.json", "cpu/int4/m.onnx",
      "cpu/int4/m.onnx.data"},
     "",
     RH_OK,
     "cpu/int4/genai_config.json>genai_config.json cpu/int4/m.onnx>m.onnx cpu/int4/m.onnx.data>m.onnx.data"},
    {"a folder",
     {"cuda/int4/genai_config.json", "cuda/int4/m.onnx", "cpu/m.onnx"},
     "cuda/int4",
     RH_OK,
     "cuda/int4/genai_config.json>genai_config.json cuda/int4/m.onnx>m.onnx"},
    {"a file", {"a/b.bin", "c"}, "a/b.bin", RH_OK, "a/b.bin>b.bin"},
    {"pickles only", {"config.json", "pytorch_model.bin"}, "", RH_UNSUPPORTED, "pytorch_model.bin"},
    {"weights without config", {"model.safetensors"}, "", RH_UNSUPPORTED, "model.safetensors"},
};

static void check_sample(const sample *one) {
  rh_hub_entry entries[FILES_MAX] = {0};
  size_t count = 0;
  while (count < FILES_MAX && one->files[count] != NULL) {
    entries[count] = (rh_hub_entry){.path = one->files[count], .bytes = 1000};
    count++;
  }
  rh_hub_choice choice;
  rh_error error = {0};
  rh_status status = rh_hub_select(entries, count, one->selection, &choice, &error);
  if (status != one->status) fail_msg("%s: %s (%s)", one->title, rh_status_name(status), error.message);
  if (status != RH_OK) {
    if (strstr(error.message, one->chosen) == NULL) fail_msg("%s: %s", one->title, error.message);
    return;
  }
  char got[1024] = "";
  for (size_t i = 0; i < count; i++) {
    size_t at = strlen(got);
    if (entries[i].chosen)
      (void)snprintf(got + at, sizeof got - at, "%s%s>%s", at == 0 ? "" : " ", entries[i].path, entries[i].as);
  }
  if (strcmp(got, one->chosen) != 0) fail_msg("%s: %s", one->title, got);
}

static void test_selection(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) check_sample(&samples[i]);
}

static void test_files_of_the_catalogue(void **state) {
  (void)state;
  const rh_known_file files[] = {{.path = "a/b/x.onnx"}, {.path = "a/b/sub/y.json"}};
  const rh_known known = {.name = "n", .version = "v", .files = files, .file_count = 2, .format = RH_FORMAT_ONNX};
  rh_hub_entry entries[] = {{.path = "a/b/sub/y.json"}, {.path = "a/c"}, {.path = "a/b/x.onnx"}};
  rh_hub_choice choice;
  rh_error error = {0};
  assert_int_equal(rh_hub_select_known(entries, 3, &known, &choice, &error), RH_OK);
  assert_string_equal(entries[0].as, "sub/y.json");
  assert_false(entries[1].chosen);
  assert_string_equal(entries[2].as, "x.onnx");
  assert_int_equal(rh_hub_select_known(entries, 2, &known, &choice, &error), RH_NOT_FOUND);
}

// --- S3 ---

static char listed[512];

static rh_status note(void *ctx, const char *key, int64_t bytes, const char *etag, rh_error *error) {
  (void)ctx;
  (void)error;
  size_t at = strlen(listed);
  (void)snprintf(listed + at, sizeof listed - at, "[%s|%lld|%s]", key, (long long)bytes, etag);
  return RH_OK;
}

static rh_status list(const char *xml, char *token, size_t size) {
  rh_error error;
  listed[0] = '\0';
  return rh_s3_list_parse(xml, strlen(xml), note, NULL, token, size, &error);
}

static void test_s3_list(void **state) {
  (void)state;
  char token[64];
  assert_int_equal(
      list("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
           "<Contents><Key>a/b &amp; "
           "c&#x20;&lt;d&gt;&#252;.gguf</Key><ETag>&quot;e1&quot;</ETag><Size>12</Size></Contents>"
           "<Contents><Size>0</Size><Key>x</Key></Contents><IsTruncated>false</IsTruncated></ListBucketResult>",
           token, sizeof token),
      RH_OK);
  assert_string_equal(listed, "[a/b & c <d>\xc3\xbc.gguf|12|\"e1\"][x|0|]");
  assert_string_equal(token, "");
  assert_int_equal(list("<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a+b/=</"
                        "NextContinuationToken></ListBucketResult>",
                        token, sizeof token),
                   RH_OK);
  assert_string_equal(token, "a+b/=");
}

static void test_s3_lists_that_are_none(void **state) {
  (void)state;
  static const char *const broken[] = {
      "",
      "<html></html>",
      "<ListBucketResult>",
      "<ListBucketResult",
      "<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Key>x</Key><Size>-1</Size></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Key>x</Key><Size>1x</Size></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Key>&bomb;</Key><Size>1</Size></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Key>&#0;</Key><Size>1</Size></Contents></ListBucketResult>",
      "<ListBucketResult><Contents><Key>a<b>c</b></Key><Size>1</Size></Contents></ListBucketResult>",
      "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
  };
  char token[64];
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    if (list(broken[i], token, sizeof token) == RH_OK) fail_msg("taken: %s", broken[i]);
  }
  // Cut at any place it is refused or short, never read beyond its end.
  static const char whole[] =
      "<ListBucketResult><Contents><Key>x&amp;</Key><Size>1</Size></Contents></ListBucketResult>";
  for (size_t length = 0; length < sizeof whole - 1; length++) {
    char part[sizeof whole];
    memcpy(part, whole, length);
    part[length] = '\0';
    assert_int_not_equal(list(part, token, sizeof token), RH_OK);
  }
}

static void test_s3_errors(void **state) {
  (void)state;
  char code[32];
  assert_true(rh_s3_error_code("<?xml?><Error><Code>NoSuchKey</Code><Message>m</Message></Error>", code, sizeof code));
  assert_string_equal(code, "NoSuchKey");
  assert_false(rh_s3_error_code("<html>", code, sizeof code));
  assert_false(rh_s3_error_code("", code, sizeof code));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_selection), cmocka_unit_test(test_files_of_the_catalogue),
      cmocka_unit_test(test_s3_list),   cmocka_unit_test(test_s3_lists_that_are_none),
      cmocka_unit_test(test_s3_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
