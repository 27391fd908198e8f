// SPDX-License-Identifier: Apache-2.0
//
// The GGUF header parser: what it finds, and that no damage makes it read past its bytes.
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

#include "base/dynbuf.h"
#include "gguf_builder.h"
#include "model/gguf.h"

static void put(rh_dynbuf *out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) (void)rh_dynbuf_append_char(out, (char)(value >> (8 * i) & 0xff));
}

static void put_text(rh_dynbuf *out, const char *text) {
  put(out, strlen(text), 8);
  (void)rh_dynbuf_append_text(out, text);
}

static void put_string_pair(rh_dynbuf *out, const char *key, const char *value) {
  put_text(out, key);
  put(out, 8, 4);
  put_text(out, value);
}

static void put_u32_pair(rh_dynbuf *out, const char *key, uint32_t value) {
  put_text(out, key);
  put(out, 4, 4);
  put(out, value, 4);
}

static void put_head(rh_dynbuf *out, uint32_t version, uint64_t tensors, uint64_t pairs) {
  (void)rh_dynbuf_append_text(out, "GGUF");
  put(out, version, 4);
  put(out, tensors, 8);
  put(out, pairs, 8);
}

static void put_tensor(rh_dynbuf *out, const char *name, uint64_t rows, uint64_t columns, uint32_t type) {
  put_text(out, name);
  put(out, 2, 4);
  put(out, rows, 8);
  put(out, columns, 8);
  put(out, type, 4);
  put(out, 0, 8);
}

// A small model with every kind of value that the parser has to step over.
static void make_model(rh_dynbuf *out, bool with_file_type) {
  rh_dynbuf_init(out, 1 << 20);
  put_head(out, 3, 2, with_file_type ? 9 : 8);
  put_string_pair(out, "general.architecture", "llama");
  put_string_pair(out, "general.name", "A \x1b[31mname");
  if (with_file_type) put_u32_pair(out, "general.file_type", 15);
  put_u32_pair(out, "other.context_length", 77);
  put_u32_pair(out, "llama.context_length", 8192);
  put_text(out, "tokenizer.ggml.tokens");  // array of strings
  put(out, 9, 4);
  put(out, 8, 4);
  put(out, 3, 8);
  put_text(out, "a");
  put_text(out, "");
  put_text(out, "bc");
  put_text(out, "tokenizer.ggml.scores");  // array of floats
  put(out, 9, 4);
  put(out, 6, 4);
  put(out, 3, 8);
  put(out, 0, 8);
  put(out, 0, 4);
  put_text(out, "some.flag");
  put(out, 7, 4);
  put(out, 1, 1);
  put_string_pair(out, "tokenizer.chat_template", "{{ messages }}");
  put_tensor(out, "token_embd.weight", 10, 20, 12);
  put_tensor(out, "output_norm.weight", 10, 1, 0);
  assert_false(out->failed);
}

static void test_reads_what_people_ask_for(void **state) {
  (void)state;
  rh_dynbuf model;
  rh_gguf_summary summary;
  rh_error error = {0};
  make_model(&model, true);
  assert_int_equal(rh_gguf_parse_summary(model.data, model.length, true, &summary, &error), RH_OK);
  assert_int_equal(summary.version, 3);
  assert_int_equal(summary.tensor_count, 2);
  assert_string_equal(summary.architecture, "llama");
  assert_string_equal(summary.name, "A ?[31mname");
  assert_string_equal(summary.quantization, "Q4_K_M");
  assert_int_equal(summary.context_trained, 8192);
  assert_int_equal(summary.parameters, 210);
  assert_true(summary.has_chat_template);
  rh_dynbuf_free(&model);
}

static void test_quantization_of_most_weights_without_file_type(void **state) {
  (void)state;
  rh_dynbuf model;
  rh_gguf_summary summary;
  make_model(&model, false);
  assert_int_equal(rh_gguf_parse_summary(model.data, model.length, true, &summary, NULL), RH_OK);
  assert_string_equal(summary.quantization, "Q4_K");
  rh_dynbuf_free(&model);
}

// Every prefix, in an allocation of exactly its size so that a sanitizer sees any byte read past it.
static void test_every_prefix_is_short(void **state) {
  (void)state;
  rh_dynbuf model;
  rh_gguf_summary summary;
  rh_error error = {0};
  make_model(&model, true);
  for (size_t length = 0; length < model.length; length++) {
    char *copy = malloc(length + 1);
    char *bytes = copy + 1;  // unaligned on purpose
    memcpy(bytes, model.data, length);
    assert_int_equal(rh_gguf_parse_summary(bytes, length, false, &summary, &error), RH_AGAIN);
    assert_int_equal(rh_gguf_parse_summary(bytes, length, true, &summary, &error), RH_INVALID);
    free(copy);
  }
  rh_dynbuf_free(&model);
}

static void test_every_byte_damaged(void **state) {
  (void)state;
  rh_dynbuf model;
  rh_gguf_summary summary;
  rh_error error = {0};
  make_model(&model, true);
  for (size_t i = 0; i < model.length; i++) {
    char kept = model.data[i];
    for (int value = 0; value < 256; value += 51) {
      model.data[i] = (char)value;
      rh_status status = rh_gguf_parse_summary(model.data, model.length, true, &summary, &error);
      assert_true(status == RH_OK || status == RH_INVALID || status == RH_UNSUPPORTED);
      assert_true(summary.parameters >= 0);
    }
    model.data[i] = kept;
  }
  rh_dynbuf_free(&model);
}

static rh_status parse_head(uint32_t version, uint64_t tensors, uint64_t pairs, rh_error *error) {
  rh_dynbuf out;
  rh_gguf_summary summary;
  rh_dynbuf_init(&out, 4096);
  put_head(&out, version, tensors, pairs);
  rh_status status = rh_gguf_parse_summary(out.data, out.length, true, &summary, error);
  rh_dynbuf_free(&out);
  return status;
}

static void test_versions_and_absurd_counts(void **state) {
  (void)state;
  rh_error error = {0};
  assert_int_equal(parse_head(3, 0, 0, &error), RH_OK);
  assert_int_equal(parse_head(2, 0, 0, &error), RH_OK);
  assert_int_equal(parse_head(1, 0, 0, &error), RH_UNSUPPORTED);
  assert_int_equal(parse_head(4, 0, 0, &error), RH_UNSUPPORTED);
  assert_int_equal(parse_head(0x03000000, 0, 0, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "big-endian"));
  assert_int_equal(parse_head(3, UINT64_MAX, 0, &error), RH_INVALID);
  assert_int_equal(parse_head(3, 0, UINT64_MAX, &error), RH_INVALID);
  rh_gguf_summary summary;
  assert_int_equal(rh_gguf_parse_summary("<html>...", 9, true, &summary, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "not a GGUF"));
}

static void test_array_count_that_overflows(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_gguf_summary summary;
  rh_dynbuf_init(&out, 4096);
  put_head(&out, 3, 0, 1);
  put_text(&out, "x");
  put(&out, 9, 4);
  put(&out, 10, 4);  // unsigned 64
  put(&out, UINT64_MAX / 4, 8);
  assert_int_equal(rh_gguf_parse_summary(out.data, out.length, true, &summary, NULL), RH_INVALID);
  rh_dynbuf_free(&out);
}

static void test_tensor_sizes_that_overflow(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_gguf_summary summary;
  rh_dynbuf_init(&out, 4096);
  put_head(&out, 3, 1, 0);
  put_tensor(&out, "t", UINT64_MAX / 2, 3, 0);
  assert_int_equal(rh_gguf_parse_summary(out.data, out.length, true, &summary, NULL), RH_INVALID);
  rh_dynbuf_free(&out);
  rh_dynbuf_init(&out, 4096);
  put_head(&out, 3, 2, 0);
  put_tensor(&out, "t", INT64_MAX, 1, 0);
  put_tensor(&out, "u", INT64_MAX, 1, 0);
  assert_int_equal(rh_gguf_parse_summary(out.data, out.length, true, &summary, NULL), RH_INVALID);
  rh_dynbuf_free(&out);
}

static void test_shape_of_a_model(void **state) {
  (void)state;
  gguf_builder b;
  rh_gguf_summary summary;
  static rh_gguf_shape shape;
  gguf_begin(&b, "llama");
  gguf_number(&b, "llama.block_count", 3);
  gguf_number(&b, "other.block_count", 99);
  gguf_number(&b, "llama.embedding_length", 64);
  gguf_list(&b, "llama.attention.head_count_kv", 5, (const int[]){2, 0, 4}, 3);
  gguf_list(&b, "llama.feed_forward_length", 4, (const int[]){128, 256, 128}, 3);
  gguf_list(&b, "llama.attention.sliding_window_pattern", 7, (const int[]){1, 1, 0}, 3);
  gguf_list(&b, "llama.attention.head_count", 5, (const int[]){-1, 8, 8}, 3);
  gguf_texts(&b, "tokenizer.ggml.tokens", 300);
  gguf_texts(&b, "tokenizer.ggml.merges", 40);
  gguf_tensor(&b, "token_embd.weight", 64, 300, 2);     // Q4_0: 300 x 2 blocks of 18 bytes; 8 does not divide 300
  gguf_tensor(&b, "blk.0.attn_q.weight", 256, 16, 12);  // Q4_K: 16 blocks of 144 bytes
  gguf_tensor(&b, "blk.0.attn_norm.weight", 64, 0, 0);
  gguf_tensor(&b, "output.weight", 64, 304, 8);
  gguf_tensor(&b, "blk.2.odd.weight", 64, 8, 63);
  gguf_finish(&b);
  assert_int_equal(rh_gguf_parse(b.out.data, b.out.length, true, &summary, &shape, NULL), RH_OK);
  assert_int_equal(shape.layers, 3);
  assert_int_equal(shape.width, 64);
  assert_int_equal(shape.kv_heads, 4);
  assert_int_equal(shape.kv_heads_listed, 3);
  assert_int_equal(shape.kv_heads_of[1], 0);
  assert_int_equal(shape.kv_heads_of[2], 4);
  assert_int_equal(shape.feed_forward, 256);
  assert_int_equal(shape.heads, 8);
  assert_int_equal(shape.windows_listed, 3);
  assert_true(shape.window_of[1] && !shape.window_of[2]);
  assert_int_equal(shape.vocabulary, 300);
  assert_int_equal(shape.merges, 40);
  assert_int_equal(shape.embedding_bytes, 300 * 2 * 18);
  assert_int_equal(shape.embedding_bytes_of[2], 0);
  assert_int_equal(shape.layer_bytes, 16 * 144 + 64 * 4);
  assert_int_equal(shape.matrix_bytes_of[12], 16 * 144);
  assert_int_equal(shape.other_bytes, 304 * 2 * 34);
  assert_true(shape.has_output);
  assert_true(shape.unknown_type);
  rh_dynbuf_free(&b.out);
}

// More layers than llama.cpp allows are listed: the first ones are kept, and nothing is written past them.
static void test_shape_with_too_many_layers(void **state) {
  (void)state;
  gguf_builder b;
  rh_gguf_summary summary;
  static rh_gguf_shape shape;
  static int values[RH_GGUF_LAYERS_MAX + 100];
  for (size_t i = 0; i < RH_GGUF_LAYERS_MAX + 100; i++) values[i] = 1;
  gguf_begin(&b, "x");
  gguf_list(&b, "x.attention.head_count_kv", 4, values, RH_GGUF_LAYERS_MAX + 100);
  gguf_list(&b, "x.attention.sliding_window_pattern", 7, values, RH_GGUF_LAYERS_MAX + 100);
  gguf_finish(&b);
  assert_int_equal(rh_gguf_parse(b.out.data, b.out.length, true, &summary, &shape, NULL), RH_OK);
  assert_int_equal(shape.kv_heads_listed, RH_GGUF_LAYERS_MAX);
  assert_int_equal(shape.windows_listed, RH_GGUF_LAYERS_MAX);
  assert_int_equal(shape.layer_bytes, 0);
  rh_dynbuf_free(&b.out);
}

// The vocabulary is larger than the first window, so the reader must grow it.
static void test_file_with_a_large_vocabulary(void **state) {
  (void)state;
  char path[] = "/tmp/rh-gguf-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  rh_dynbuf out;
  rh_dynbuf_init(&out, 8 << 20);
  put_head(&out, 3, 0, 2);
  put_text(&out, "tokenizer.ggml.tokens");
  put(&out, 9, 4);
  put(&out, 8, 4);
  put(&out, 100000, 8);
  for (int i = 0; i < 100000; i++) put_text(&out, "token");
  put_string_pair(&out, "general.architecture", "late");
  assert_int_equal(write(fd, out.data, out.length), (ssize_t)out.length);
  rh_gguf_summary summary;
  rh_error error = {0};
  assert_int_equal(rh_gguf_read_summary(path, &summary, &error), RH_OK);
  assert_string_equal(summary.architecture, "late");
  assert_int_equal(ftruncate(fd, 1000000), 0);
  assert_int_equal(rh_gguf_read_summary(path, &summary, &error), RH_INVALID);
  assert_non_null(strstr(error.message, path));
  assert_non_null(strstr(error.message, "cut off"));
  close(fd);
  unlink(path);
  rh_dynbuf_free(&out);
}

static void test_what_is_no_file(void **state) {
  (void)state;
  rh_gguf_summary summary;
  rh_error error = {0};
  assert_int_equal(rh_gguf_read_summary("/nonexistent/x.gguf", &summary, &error), RH_NOT_FOUND);
  assert_int_equal(rh_gguf_read_summary("/tmp", &summary, &error), RH_INVALID);
  char path[] = "/tmp/rh-fifo-XXXXXX";
  assert_int_equal(close(mkstemp(path)), 0);
  unlink(path);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(rh_gguf_read_summary(path, &summary, &error), RH_INVALID);  // and does not hang
  unlink(path);
}

static void check_text(const rh_dynbuf *model, const char *key, const char *expected) {
  const char *text = NULL;
  size_t length = 0;
  rh_error error = {0};
  assert_int_equal(rh_gguf_parse_text(model->data, model->length, true, key, &text, &length, &error), RH_OK);
  assert_int_equal(length, strlen(expected));
  assert_memory_equal(text, expected, length);
}

static void test_one_text_of_the_header(void **state) {
  (void)state;
  rh_dynbuf model;
  const char *text = NULL;
  size_t length = 0;
  rh_error error = {0};
  make_model(&model, true);
  check_text(&model, "general.architecture", "llama");
  check_text(&model, "general.name", "A \x1b[31mname");
  check_text(&model, "tokenizer.chat_template", "{{ messages }}");
  // No such key, the beginning of one, and one that is no text.
  static const char *const others[] = {"nope", "tokenizer.chat", "", "llama.context_length", "tokenizer.ggml.tokens"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    rh_status status = rh_gguf_parse_text(model.data, model.length, true, others[i], &text, &length, &error);
    assert_int_equal(status, RH_NOT_FOUND);
    assert_null(text);
  }
  // Every prefix, in an allocation of exactly its size: it is found or more is asked for, and nothing past it is read.
  size_t found = 0;
  for (size_t size = 0; size < model.length; size++) {
    char *copy = malloc(size + 1);
    memcpy(copy + 1, model.data, size);
    rh_status status = rh_gguf_parse_text(copy + 1, size, false, "tokenizer.chat_template", &text, &length, &error);
    assert_true(status == RH_OK || status == RH_AGAIN);
    if (status == RH_OK) found++;
    if (status == RH_OK) assert_memory_equal(text, "{{ messages }}", length);
    free(copy);
  }
  assert_true(found > 0);
  rh_dynbuf_free(&model);
}

static rh_status read_template(const char *bytes, size_t length, char **text, rh_error *error) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, (size_t)4 << 20);
  put_head(&out, 3, 0, 3);
  put_string_pair(&out, "general.architecture", "late");
  // More than the first window holds.
  put_text(&out, "tokenizer.ggml.scores");
  put(&out, 9, 4);
  put(&out, 6, 4);
  put(&out, 150000, 8);
  for (size_t i = 0; i < 150000; i++) put(&out, 0, 4);
  put_text(&out, "tokenizer.chat_template");
  put(&out, 8, 4);
  put(&out, length, 8);
  (void)rh_dynbuf_append(&out, bytes, length);
  assert_false(out.failed);
  char path[] = "/tmp/rh-gguf-XXXXXX";
  int fd = mkstemp(path);
  assert_int_equal(write(fd, out.data, out.length), (ssize_t)out.length);
  close(fd);
  rh_dynbuf_free(&out);
  rh_status status = rh_gguf_read_text(path, "tokenizer.chat_template", text, error);
  unlink(path);
  return status;
}

static void test_one_text_of_a_file(void **state) {
  (void)state;
  char *text = NULL;
  rh_error error = {0};
  assert_int_equal(read_template("{{ caf\xc3\xa9 }}", 11, &text, &error), RH_OK);
  assert_string_equal(text, "{{ caf\xc3\xa9 }}");
  free(text);
  // What is no text must not reach JSON.
  assert_int_equal(read_template("a\xff", 2, &text, &error), RH_INVALID);
  assert_null(text);
  assert_int_equal(read_template("a\0b", 3, &text, &error), RH_INVALID);
  assert_null(text);
  assert_int_equal(rh_gguf_read_text("/nonexistent/x.gguf", "x", &text, &error), RH_NOT_FOUND);
  assert_null(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reads_what_people_ask_for),
      cmocka_unit_test(test_quantization_of_most_weights_without_file_type),
      cmocka_unit_test(test_every_prefix_is_short),
      cmocka_unit_test(test_every_byte_damaged),
      cmocka_unit_test(test_versions_and_absurd_counts),
      cmocka_unit_test(test_array_count_that_overflows),
      cmocka_unit_test(test_tensor_sizes_that_overflow),
      cmocka_unit_test(test_shape_of_a_model),
      cmocka_unit_test(test_shape_with_too_many_layers),
      cmocka_unit_test(test_file_with_a_large_vocabulary),
      cmocka_unit_test(test_what_is_no_file),
      cmocka_unit_test(test_one_text_of_the_header),
      cmocka_unit_test(test_one_text_of_a_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
