// SPDX-License-Identifier: Apache-2.0
//
// Formats found from content: models, broken models, and what is no model at all.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "folder_fixture.h"
#include "model/format.h"

static char folder[FOLDER_SIZE];
static rh_format_report report;
static rh_error error;

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

static void expect(const char *path, rh_format format, const char *entry, int64_t bytes) {
  error = (rh_error){.message = ""};
  if (rh_format_detect(path, &report, &error) != RH_OK) fail_msg("%s: %s", path, error.message);
  assert_string_equal(rh_format_name(report.format), rh_format_name(format));
  assert_string_equal(report.entry, entry);
  assert_int_equal(report.bytes, bytes);
  assert_string_equal(report.missing, "");
}

static void refuse(const char *path, rh_status status, const char *words) {
  error = (rh_error){.message = ""};
  rh_status got = rh_format_detect(path, &report, &error);
  if (got != status) fail_msg("%s: %s, \"%s\"", path, rh_status_name(got), error.message);
  expect_words(&error, words);
}

// --- bytes of models ------------------------------------------------------------------------------------------------

// A GGUF header with one text and, when `parts` is not 0, the three keys of a part.
static void put_gguf(const char *path, unsigned number, unsigned parts) {
  uint8_t bytes[256] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0";
  bytes[16] = parts == 0 ? 1 : 3;
  size_t at = 24;
  static const char arch[] = "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\5\0\0\0\0\0\0\0llama";
  memcpy(bytes + at, arch, sizeof arch - 1);
  at += sizeof arch - 1;
  if (parts != 0) {
    static const char no[] = "\x08\0\0\0\0\0\0\0split.no\2\0\0\0", count[] = "\x0b\0\0\0\0\0\0\0split.count\2\0\0\0";
    memcpy(bytes + at, no, sizeof no - 1);
    at += sizeof no - 1;
    bytes[at] = (uint8_t)number;
    at += 2;
    memcpy(bytes + at, count, sizeof count - 1);
    at += sizeof count - 1;
    bytes[at] = (uint8_t)parts;
    at += 2;
  }
  put_bytes(path, bytes, at);
}

// Protobuf: a field with bytes. All lengths here are below 128.
static size_t put_field(uint8_t *out, unsigned number, const void *bytes, size_t length) {
  assert_true(length < 128);
  size_t at = 0;
  unsigned key = number << 3 | 2;
  if (key >= 128) out[at++] = (uint8_t)(key | 0x80);
  out[at++] = (uint8_t)(key >= 128 ? key >> 7 : key);
  out[at++] = (uint8_t)length;
  memcpy(out + at, bytes, length);
  return at + length;
}

static size_t put_pair(uint8_t *out, const char *key, const char *value) {
  uint8_t pair[128];
  size_t length = put_field(pair, 1, key, strlen(key));
  length += put_field(pair + length, 2, value, strlen(value));
  return put_field(out, 13, pair, length);
}

// A graph that keeps one tensor in `location` (NULL = inside); `deep`: as a constant of a node.
static size_t make_onnx(uint8_t out[512], const char *location, const char *length_text, bool deep) {
  uint8_t tensor[128], inner[128], graph[256];
  size_t length = 0;
  if (location != NULL) {
    length += put_pair(tensor, "location", location);
    length += put_pair(tensor + length, "length", length_text);
    tensor[length++] = 14 << 3;
    tensor[length++] = 1;
  } else {
    length = put_field(tensor, 9, "raw", 3);
  }
  if (deep) {
    length = put_field(inner, 5, tensor, length);  // attribute.t
    length = put_field(graph, 5, inner, length);   // node.attribute
    length = put_field(inner, 1, graph, length);   // graph.node
    memcpy(graph, inner, length);
  } else {
    length = put_field(graph, 5, tensor, length);
  }
  size_t at = 0;
  out[at++] = 0x08;  // ir_version 9
  out[at++] = 9;
  at += put_field(out + at, 2, "maker", 5);
  at += put_field(out + at, 7, graph, length);
  return at + put_field(out + at, 8, "\x10\x11", 2);
}

static size_t put_onnx(const char *path, const char *location, const char *length_text) {
  uint8_t bytes[512];
  size_t length = make_onnx(bytes, location, length_text, false);
  put_bytes(path, bytes, length);
  return length;
}

// One tensor of 4 bytes; `data` says how many of them are there.
static size_t put_safetensors(const char *path, size_t data) {
  static const char header[] =
      "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F32\",\"shape\":[1],"
      "\"data_offsets\":[0,4]}}";
  uint8_t bytes[256] = {sizeof header - 1};
  memcpy(bytes + 8, header, sizeof header - 1);
  put_bytes(path, bytes, 8 + sizeof header - 1 + data);
  return 8 + sizeof header - 1 + data;
}

// --- GGUF -----------------------------------------------------------------------------------------------------------

static void test_gguf(void **state) {
  (void)state;
  put_gguf(in_folder(folder, "weights.bin"), 0, 0);
  struct stat info;
  assert_int_equal(stat(in_folder(folder, "weights.bin"), &info), 0);
  expect(in_folder(folder, "weights.bin"), RH_FORMAT_GGUF, "weights.bin", info.st_size);
  expect(folder, RH_FORMAT_GGUF, "weights.bin", info.st_size);
  assert_string_equal(rh_format_engine(report.format), "llama");
  put_bytes(in_folder(folder, "cut/x.gguf"), "GGUF\3\0\0\0", 8);
  refuse(in_folder(folder, "cut/x.gguf"), RH_INVALID, "cut off");
  put_bytes(in_folder(folder, "old/x.gguf"), "GGUF\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
  refuse(in_folder(folder, "old/x.gguf"), RH_UNSUPPORTED, "version 1");
  put_gguf(in_folder(folder, "other.gguf"), 0, 0);
  refuse(folder, RH_INVALID, "holds 2 GGUF models (other.gguf, weights.bin)");
}

static void test_split_gguf(void **state) {
  (void)state;
  struct stat info;
  for (unsigned i = 1; i <= 3; i++) put_gguf(in_folder(folder, "m-%05u-of-00003.gguf", i), i - 1, 3);
  assert_int_equal(stat(in_folder(folder, "m-00001-of-00003.gguf"), &info), 0);
  expect(folder, RH_FORMAT_GGUF, "m-00001-of-00003.gguf", 3 * info.st_size);
  assert_string_equal(report.parts, "3 parts");
  expect(in_folder(folder, "m-00002-of-00003.gguf"), RH_FORMAT_GGUF, "m-00001-of-00003.gguf", 3 * info.st_size);

  put_gguf(in_folder(folder, "m-00002-of-00003.gguf"), 1, 4);
  refuse(folder, RH_INVALID, "says that it is part 2 of 4");
  put_gguf(in_folder(folder, "m-00002-of-00003.gguf"), 2, 3);
  refuse(folder, RH_INVALID, "says that it is part 3 of 3");
  put_text(in_folder(folder, "m-00002-of-00003.gguf"), "<html><body>Not found");
  refuse(folder, RH_INVALID, "should be a part of a GGUF model, but is an HTML page");
  assert_int_equal(unlink(in_folder(folder, "m-00002-of-00003.gguf")), 0);
  refuse(folder, RH_INVALID, "m-00002-of-00003.gguf, which is not there");
  assert_non_null(strstr(report.missing, "m-00002-of-00003.gguf"));
  // The first part is the one that is missing.
  assert_int_equal(unlink(in_folder(folder, "m-00001-of-00003.gguf")), 0);
  refuse(folder, RH_INVALID, "m-00001-of-00003.gguf, which is not there");
}

// --- ONNX -----------------------------------------------------------------------------------------------------------

static void test_onnx(void **state) {
  (void)state;
  int64_t bytes = (int64_t)put_onnx(in_folder(folder, "net"), NULL, NULL);
  expect(in_folder(folder, "net"), RH_FORMAT_ONNX, "net", bytes);
  expect(folder, RH_FORMAT_ONNX, "net", bytes);
  assert_string_equal(rh_format_engine(report.format), "onnx");
  put_onnx(in_folder(folder, "other"), NULL, NULL);
  refuse(folder, RH_INVALID, "holds 2 ONNX models (net, other)");
  put_onnx(in_folder(folder, "decoder_model_merged.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "decoder_model_merged.onnx", bytes);
  put_onnx(in_folder(folder, "encoder_model.onnx"), NULL, NULL);
  refuse(folder, RH_INVALID, "holds 4 ONNX models");  // two halves of one model
  put_onnx(in_folder(folder, "model.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "model.onnx", bytes);  // the usual name is meant
}

// As hubs keep it: the graphs in a folder of their own.
static void test_onnx_in_a_folder_of_its_own(void **state) {
  (void)state;
  put_text(in_folder(folder, "config.json"), "{}");
  int64_t bytes = (int64_t)put_onnx(in_folder(folder, "onnx/model.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "onnx/model.onnx", bytes);
  put_onnx(in_folder(folder, "onnx/model_quantized.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "onnx/model.onnx", bytes);
  // A decoder in three parts.
  assert_int_equal(unlink(in_folder(folder, "onnx/model.onnx")), 0);
  put_onnx(in_folder(folder, "onnx/decoder_model_merged.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "onnx/decoder_model_merged.onnx", bytes);
}

// Under another name it is meant when it is the only one.
static void test_the_only_graph_in_a_folder_of_its_own(void **state) {
  (void)state;
  put_text(in_folder(folder, "config.json"), "{}");
  put_text(in_folder(folder, "onnx/notes.txt"), "nothing");
  refuse(folder, RH_UNSUPPORTED, "config.json");
  int64_t bytes = (int64_t)put_onnx(in_folder(folder, "onnx/model_q4.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "onnx/model_q4.onnx", bytes);
  put_onnx(in_folder(folder, "onnx/model_q8.onnx"), NULL, NULL);
  refuse(folder, RH_UNSUPPORTED, "config.json");
}

static void test_onnx_with_external_data(void **state) {
  (void)state;
  uint8_t graph[512];
  for (int deep = 0; deep < 2; deep++) {
    size_t length = make_onnx(graph, "data/w.bin", "6", deep == 1);
    put_bytes(in_folder(folder, "%d/m.onnx", deep), graph, length);
    refuse(in_folder(folder, "%d/m.onnx", deep), RH_INVALID, "weights in data/w.bin, which is not there");
    assert_string_equal(report.missing, "data/w.bin");
    put_text(in_folder(folder, "%d/data/w.bin", deep), "12345");
    refuse(in_folder(folder, "%d/m.onnx", deep), RH_INVALID, "wants 6 bytes of it, 5 are there");
    put_text(in_folder(folder, "%d/data/w.bin", deep), "123456");
    expect(in_folder(folder, "%d/m.onnx", deep), RH_FORMAT_ONNX, "m.onnx", (int64_t)length + 6);
    assert_string_equal(report.parts, "external data in data/w.bin");
  }
  put_onnx(in_folder(folder, "evil.onnx"), "../../etc/passwd", "1");
  refuse(in_folder(folder, "evil.onnx"), RH_INVALID, "outside its folder");
  put_onnx(in_folder(folder, "evil.onnx"), "/etc/passwd", "1");
  refuse(in_folder(folder, "evil.onnx"), RH_INVALID, "outside its folder");
}

static void test_onnx_cut_short_is_no_other_format(void **state) {
  (void)state;
  uint8_t graph[512];
  size_t length = make_onnx(graph, NULL, NULL, true);
  // From the second field on it is known for what it is. Cut between two fields it may be whole.
  for (size_t cut = 10; cut < length - 4; cut++) {
    put_bytes(in_folder(folder, "m"), graph, cut);
    refuse(in_folder(folder, "m"), RH_INVALID, "damaged or cut short");
  }
}

static void test_genai(void **state) {
  (void)state;
  static const char config[] =
      "{\"model\":{\"decoder\":{\"session_options\":{},\"filename\":\"dec.onnx\"},\"vision\":{\"filename\":\"vis/"
      "v.onnx\"}}}";
  put_text(in_folder(folder, "genai_config.json"), config);
  refuse(folder, RH_INVALID, "dec.onnx, which is not there");
  int64_t bytes = (int64_t)put_onnx(in_folder(folder, "dec.onnx"), "dec.onnx.data", "3");
  refuse(folder, RH_INVALID, "dec.onnx.data, which is not there");
  put_text(in_folder(folder, "dec.onnx.data"), "123");
  bytes += 3 + (int64_t)put_onnx(in_folder(folder, "vis/v.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX_GENAI, "genai_config.json", bytes);
  assert_string_equal(report.parts, "2 graphs");
  put_text(in_folder(folder, "dec.onnx"), "<html>");
  refuse(folder, RH_INVALID, "should be an ONNX graph");
  put_text(in_folder(folder, "genai_config.json"), "{\"model\":{}}");
  refuse(folder, RH_INVALID, "names no graphs");
  put_text(in_folder(folder, "genai_config.json"), "{\"model\":");
  refuse(folder, RH_INVALID, "not valid JSON");
  put_text(in_folder(folder, "genai_config.json"), "{\"model\":{\"decoder\":{\"filename\":\"../x.onnx\"}}}");
  refuse(folder, RH_INVALID, "outside its folder");
}

// --- safetensors ----------------------------------------------------------------------------------------------------

static void test_safetensors_folder(void **state) {
  (void)state;
  int64_t bytes = (int64_t)put_safetensors(in_folder(folder, "model.safetensors"), 4);
  refuse(folder, RH_UNSUPPORTED, "safetensors but without config.json");
  refuse(in_folder(folder, "model.safetensors"), RH_UNSUPPORTED, "without config.json beside it");
  put_text(in_folder(folder, "config.json"), "{}");
  put_text(in_folder(folder, "tokenizer.json"), "{}");
  expect(folder, RH_FORMAT_SAFETENSORS, "config.json", bytes + 4);
  expect(in_folder(folder, "model.safetensors"), RH_FORMAT_SAFETENSORS, "model.safetensors", bytes);
  put_safetensors(in_folder(folder, "model.safetensors"), 3);
  refuse(folder, RH_INVALID, "cut short: 3 of 4 bytes");
  put_bytes(in_folder(folder, "model.safetensors"), "\x60\0\0\0\0\0\0\0{\"w\"", 12);
  refuse(folder, RH_INVALID, "ends inside its header");
  put_bytes(in_folder(folder, "model.safetensors"), "\5\0\0\0\0\0\0\0{\"w\":12", 15);
  refuse(folder, RH_INVALID, "header of the safetensors file is damaged");
  put_text(in_folder(folder, "model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  refuse(folder, RH_INVALID, "git-lfs pointer");
}

// The same model twice: the graph can be served as it is, unless it is broken or one of several.
static void test_safetensors_beside_a_graph(void **state) {
  (void)state;
  int64_t weights = (int64_t)put_safetensors(in_folder(folder, "model.safetensors"), 4);
  put_text(in_folder(folder, "config.json"), "{}");
  int64_t bytes = (int64_t)put_onnx(in_folder(folder, "onnx/model.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "onnx/model.onnx", bytes);
  put_onnx(in_folder(folder, "onnx/model.onnx"), "nowhere.bin", "3");
  expect(folder, RH_FORMAT_SAFETENSORS, "config.json", weights + 2);
  put_onnx(in_folder(folder, "a.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "a.onnx", bytes);
  put_onnx(in_folder(folder, "b.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_SAFETENSORS, "config.json", weights + 2);
  put_onnx(in_folder(folder, "model.onnx"), NULL, NULL);
  expect(folder, RH_FORMAT_ONNX, "model.onnx", bytes);
}

static void test_safetensors_shards(void **state) {
  (void)state;
  put_text(in_folder(folder, "config.json"), "{}");
  put_text(in_folder(folder, "model.safetensors.index.json"),
           "{\"weight_map\":{\"a\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\",\"c\":\"s-1.safetensors\"}}");
  int64_t bytes = (int64_t)put_safetensors(in_folder(folder, "s-1.safetensors"), 4);
  refuse(folder, RH_INVALID, "s-2.safetensors, which is not there");
  bytes += (int64_t)put_safetensors(in_folder(folder, "s-2.safetensors"), 4);
  error = (rh_error){.message = ""};
  assert_int_equal(rh_format_detect(folder, &report, &error), RH_OK);
  assert_int_equal(report.format, RH_FORMAT_SAFETENSORS);
  assert_string_equal(report.parts, "2 shards");
  assert_true(report.bytes > bytes);  // and the small files
  put_text(in_folder(folder, "model.safetensors.index.json"), "{\"weight_map\":{\"a\":\"../x\"}}");
  refuse(folder, RH_INVALID, "cannot be a file of this folder");
  put_text(in_folder(folder, "model.safetensors.index.json"), "{}");
  refuse(folder, RH_INVALID, "names no shards");
}

// --- TensorRT, the rest ---------------------------------------------------------------------------------------------

static void test_tensorrt(void **state) {
  (void)state;
  put_text(in_folder(folder, "a"), "ftrt............................");
  expect(in_folder(folder, "a"), RH_FORMAT_TENSORRT, "a", 32);
  expect(folder, RH_FORMAT_TENSORRT, "a", 32);
  put_bytes(in_folder(folder, "b"), "\x13\0\0\0{\"names\":{\"0\":\"a\"}}ptrt........................", 50);
  expect(in_folder(folder, "b"), RH_FORMAT_TENSORRT, "b", 50);
  put_text(in_folder(folder, "c"), "ftrt");
  refuse(in_folder(folder, "c"), RH_UNSUPPORTED, "a text file");
}

static void see(const void *bytes, size_t length, const char *words) {
  const char *path = in_folder(folder, "x.gguf");
  put_bytes(path, bytes, length);
  refuse(path, RH_UNSUPPORTED, words);
  assert_non_null(strstr(error.message, report.seen));
  assert_true(report.seen[0] != '\0');
}
#define SEE(bytes, words) see(bytes, sizeof(bytes) - 1, words)

static void test_says_what_was_seen(void **state) {
  (void)state;
  SEE("", "an empty file");
  SEE("<!DOCTYPE HTML>\n<html>", "an HTML page");
  SEE("\n  <html lang=en>", "a web page was saved in place of the model");
  SEE("<?xml version=\"1.0\"?><Error>", "an XML document");
  SEE("{\"error\":\"Repository not found\"}", "a JSON document");
  SEE("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "git-lfs pointer");
  SEE("PK\3\4..........................archive/data.pkl\x80\2", "a PyTorch checkpoint");
  SEE("PK\3\4..........................a.txt", "a ZIP archive");
  SEE("\x80\2}q\0X\5\0\0\0", "pickle");
  SEE("\x1f\x8b\x08\0", "a gzip archive");
  SEE("\x7f"
      "ELF\2\1\1",
      "a program or library (ELF)");
  SEE("lmgg\0\0\0\0", "a GGML file of the old kind (ggml)");
  SEE("tjgg\3\0\0\0", "a GGML file of the old kind (ggjt)");
  SEE("\x89HDF\r\n\x1a\n", "an HDF5 file");
  SEE("\x1c\0\0\0TFL3", "a TensorFlow Lite model");
  SEE("\0\0\0\0\0\0\0\0\0\0", "nothing but zero bytes");
  SEE("\x01\x02\xfe\x00", "it begins with 01 02 fe 00");
  SEE("Gr\xc3\xbc\xc3\x9f"
      "e",
      "a text file");
  char tar[512] = "name";
  memcpy(tar + 257, "ustar", 5);
  see(tar, sizeof tar, "a tar archive");
}

static void test_folders_without_a_model(void **state) {
  (void)state;
  refuse(folder, RH_UNSUPPORTED, "an empty folder");
  put_text(in_folder(folder, "a/b"), "x");
  refuse(folder, RH_UNSUPPORTED, "only folders in it");
  put_bytes(in_folder(folder, "pytorch_model.bin"), "\x80\2}q", 4);
  refuse(folder, RH_UNSUPPORTED, "pytorch_model.bin (a PyTorch or Python pickle)");
  put_safetensors(in_folder(folder, "adapter_model.safetensors"), 4);
  put_text(in_folder(folder, "adapter_config.json"), "{}");
  refuse(folder, RH_UNSUPPORTED, "LoRA");
  refuse(in_folder(folder, "never"), RH_NOT_FOUND, "there is no file");
  refuse("/dev/null", RH_INVALID, "not a regular file");
  expect("fake:slots=2", RH_FORMAT_FAKE, "fake:slots=2", 0);
}

static void test_words(void **state) {
  (void)state;
  for (int i = 0; i < RH_FORMAT_COUNT; i++) {
    assert_int_equal(rh_format_from_name(rh_format_name((rh_format)i)), i);
  }
  assert_int_equal(rh_format_from_name("no such format"), RH_FORMAT_UNKNOWN);
  assert_int_equal(rh_format_from_name(NULL), RH_FORMAT_UNKNOWN);
  assert_string_equal(rh_format_name(RH_FORMAT_COUNT), "unknown");
  assert_string_equal(rh_format_engine(RH_FORMAT_FAKE), "fake");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_gguf),
      CASE(test_split_gguf),
      CASE(test_onnx),
      CASE(test_onnx_in_a_folder_of_its_own),
      CASE(test_the_only_graph_in_a_folder_of_its_own),
      CASE(test_onnx_with_external_data),
      CASE(test_onnx_cut_short_is_no_other_format),
      CASE(test_genai),
      CASE(test_safetensors_folder),
      CASE(test_safetensors_beside_a_graph),
      CASE(test_safetensors_shards),
      CASE(test_tensorrt),
      CASE(test_says_what_was_seen),
      CASE(test_folders_without_a_model),
      CASE(test_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
