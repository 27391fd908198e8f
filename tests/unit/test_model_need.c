// SPDX-License-Identifier: Apache-2.0
//
// The memory estimate: exact numbers for headers made here, and for the tiny model's file. Expected bytes are written as
// the sums that llama.cpp's own log shows for such models.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_builder.h"
#include "model/need_gguf.h"

#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define F32 0
#define Q4_0 2
#define Q8_0 8

static rh_need need_of(gguf_builder *b, const rh_load_options *options, int64_t gpu_free, uint64_t rearranged) {
  rh_gguf_summary summary;
  static rh_gguf_shape shape;
  rh_error error = {0};
  rh_need need;
  gguf_finish(b);
  rh_status status = rh_gguf_parse(b->out.data, b->out.length, true, &summary, &shape, &error);
  if (status != RH_OK) fail_msg("%s", error.message);
  rh_need_of_shape(&summary, &shape, options, gpu_free, rearranged, &need);
  rh_dynbuf_free(&b->out);
  return need;
}

// SmolLM2-135M: 30 layers, 9 heads of 64, 3 of them with keys.
static void smollm(gguf_builder *b) {
  gguf_begin(b, "llama");
  gguf_number(b, "llama.context_length", 8192);
  gguf_number(b, "llama.embedding_length", 576);
  gguf_number(b, "llama.block_count", 30);
  gguf_number(b, "llama.feed_forward_length", 1536);
  gguf_number(b, "llama.attention.head_count", 9);
  gguf_number(b, "llama.attention.head_count_kv", 3);
  gguf_texts(b, "tokenizer.ggml.tokens", 1000);
  gguf_texts(b, "tokenizer.ggml.merges", 100);
}

static void test_keys_and_values_as_llama_allocates_them(void **state) {
  (void)state;
  static const struct {
    int64_t context, slots, bytes;
  } cases[] = {
      {512, 1, 11 * MIB + 256 * KIB}, {2048, 1, 45 * MIB},   {2048, 4, 180 * MIB},
      {4096, 4, 360 * MIB},           {32768, 1, 720 * MIB}, {0, 0, 360 * MIB},  // the engine's defaults: 4096 and 4
      {1, 1, 5 * MIB + 640 * KIB},                                               // a cache has a multiple of 256 cells
      {257, 1, 11 * MIB + 256 * KIB},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    gguf_builder b;
    smollm(&b);
    rh_load_options options = {.context = cases[i].context, .slots = cases[i].slots};
    rh_need need = need_of(&b, &options, 0, 0);
    assert_int_equal(need.kv_bytes, cases[i].bytes);
    assert_int_equal(need.ram_bytes, need.weights_bytes + need.kv_bytes + need.compute_bytes + need.process_bytes);
    assert_int_equal(need.gpu_bytes, 0);
    assert_int_equal(need.gpu_layers, 0);
  }
}

static void test_default_context_is_the_models_own_when_smaller(void **state) {
  (void)state;
  gguf_builder b;
  smollm(&b);
  gguf_number(&b, "llama.context_length", 1024);  // the later one counts
  rh_need need = need_of(&b, &(rh_load_options){.slots = 1}, 0, 0);
  assert_int_equal(need.kv_bytes, 22 * MIB + 512 * KIB);
}

// tokens x 4 x (3 x inner + 4 x width), 1/16 more, the mask, the quantized other side, the logits.
static void test_compute_buffers(void **state) {
  (void)state;
  gguf_builder b;
  smollm(&b);
  rh_need need = need_of(&b, &(rh_load_options){.context = 2048, .slots = 2}, 0, 0);
  int64_t steps = 512 * 4 * (3 * 1536 + 4 * 576);
  int64_t logits = 2 * 1000 * 4;
  assert_int_equal(need.compute_bytes, steps + steps / 16 + 512 * 2048 * 2 + 512 * 1536 * 5 / 4 + logits);
  smollm(&b);
  need = need_of(&b, &(rh_load_options){.context = 2048, .slots = 2, .batch = 64}, 0, 0);
  steps /= 8;
  assert_int_equal(need.compute_bytes, steps + steps / 16 + 64 * 2048 * 2 + 64 * 1536 * 5 / 4 + logits);
}

static void test_the_process_grows_with_the_vocabulary(void **state) {
  (void)state;
  gguf_builder b;
  smollm(&b);
  rh_need need = need_of(&b, &(rh_load_options){.context = 512, .slots = 3}, 0, 0);
  assert_int_equal(need.process_bytes, 20 * MIB + 1000 * 180 + 100 * 150 + 3 * (1000 * 12 + 512 * 192));
}

static void gemma(gguf_builder *b) {
  gguf_begin(b, "gemma3");
  gguf_number(b, "gemma3.context_length", 32768);
  gguf_number(b, "gemma3.embedding_length", 640);
  gguf_number(b, "gemma3.block_count", 18);
  gguf_number(b, "gemma3.feed_forward_length", 2048);
  gguf_number(b, "gemma3.attention.head_count", 4);
  gguf_number(b, "gemma3.attention.head_count_kv", 1);
  gguf_number(b, "gemma3.attention.key_length", 256);
  gguf_number(b, "gemma3.attention.value_length", 256);
  gguf_number(b, "gemma3.attention.sliding_window", 512);
}

// Every sixth layer of Gemma 3 sees everything: 3 of 18. The others keep the window and one step.
static void test_sliding_windows(void **state) {
  (void)state;
  gguf_builder b;
  gemma(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){.context = 512, .slots = 1}, 0, 0).kv_bytes, 9 * MIB);
  gemma(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){.context = 2048, .slots = 4}, 0, 0).kv_bytes, (24 + 60) * MIB);
  gemma(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){.context = 32768, .slots = 1}, 0, 0).kv_bytes, (96 + 15) * MIB);
  // The header says which layers: one of four with a window.
  gguf_begin(&b, "gemma3");
  gguf_number(&b, "gemma3.block_count", 4);
  gguf_number(&b, "gemma3.attention.head_count", 1);
  gguf_number(&b, "gemma3.attention.key_length", 64);
  gguf_number(&b, "gemma3.attention.value_length", 64);
  gguf_number(&b, "gemma3.attention.sliding_window", 512);
  gguf_list(&b, "gemma3.attention.sliding_window_pattern", 7, (const int[]){0, 1, 0, 0}, 4);
  assert_int_equal(need_of(&b, &(rh_load_options){.context = 4096, .slots = 1}, 0, 0).kv_bytes,
                   (3 * 4096 + 1024) * 256);
  // A window in an architecture whose cache does not use it.
  gguf_begin(&b, "mistral-like");
  gguf_number(&b, "mistral-like.block_count", 2);
  gguf_number(&b, "mistral-like.attention.head_count", 1);
  gguf_number(&b, "mistral-like.attention.key_length", 64);
  gguf_number(&b, "mistral-like.attention.value_length", 64);
  gguf_number(&b, "mistral-like.attention.sliding_window", 512);
  assert_int_equal(need_of(&b, &(rh_load_options){.context = 4096, .slots = 1}, 0, 0).kv_bytes, 2 * 4096 * 256);
}

static void test_keys_listed_by_layer(void **state) {
  (void)state;
  gguf_builder b;
  gguf_begin(&b, "lfm2");
  gguf_number(&b, "lfm2.block_count", 4);
  gguf_number(&b, "lfm2.embedding_length", 256);
  gguf_number(&b, "lfm2.attention.head_count", 4);
  gguf_list(&b, "lfm2.attention.head_count_kv", 5, (const int[]){0, 2, 0, 4}, 4);
  gguf_number(&b, "lfm2.shortconv.l_cache", 3);
  rh_need need = need_of(&b, &(rh_load_options){.context = 1024, .slots = 2}, 0, 0);
  int64_t keys = (2 + 4) * 128 * 2 * 1024;
  int64_t states = 4 * 256 * 2 * 4;
  assert_int_equal(need.kv_bytes, 2 * (keys + states));
}

static void test_models_that_keep_no_keys(void **state) {
  (void)state;
  gguf_builder b;
  gguf_begin(&b, "bert");
  gguf_number(&b, "bert.block_count", 6);
  gguf_number(&b, "bert.embedding_length", 384);
  gguf_number(&b, "bert.attention.head_count", 12);
  assert_int_equal(need_of(&b, &(rh_load_options){0}, 0, 0).kv_bytes, 0);
  // A state-space model: (4 - 1) x 1536 columns and 16 x 1536 numbers for each of two layers, whatever the context.
  gguf_begin(&b, "mamba");
  gguf_number(&b, "mamba.block_count", 2);
  gguf_number(&b, "mamba.embedding_length", 768);
  gguf_number(&b, "mamba.attention.head_count", 0);
  gguf_number(&b, "mamba.ssm.conv_kernel", 4);
  gguf_number(&b, "mamba.ssm.inner_size", 1536);
  gguf_number(&b, "mamba.ssm.state_size", 16);
  assert_int_equal(need_of(&b, &(rh_load_options){.slots = 3}, 0, 0).kv_bytes, 3 * 2 * 4 * (3 * 1536 + 16 * 1536));
}

static void with_weights(gguf_builder *b) {
  smollm(b);
  gguf_tensor(b, "token_embd.weight", 64, 1000, Q8_0);   // 68,000 bytes
  gguf_tensor(b, "blk.0.attn_norm.weight", 64, 0, F32);  // 256
  gguf_tensor(b, "blk.0.attn_q.weight", 64, 64, Q4_0);   // 2,304
  gguf_tensor(b, "blk.0.attn_k.weight", 64, 7, Q4_0);    // 252: a count of rows that 8 does not divide
  gguf_tensor(b, "output_norm.weight", 64, 0, F32);      // 256
}

static void test_weights_and_their_rearranged_copies(void **state) {
  (void)state;
  gguf_builder b;
  int64_t stored = 68000 + 256 + 2304 + 252 + 256;
  with_weights(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){0}, 0, 0).weights_bytes, stored);
  with_weights(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){0}, 0, 1u << Q4_0).weights_bytes, stored + 2304);
  // Without an output matrix the embedding is used as one.
  with_weights(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){0}, 0, 1u << Q8_0).weights_bytes, stored + 68000);
  with_weights(&b);
  gguf_tensor(&b, "output.weight", 64, 1000, Q4_0);
  assert_int_equal(need_of(&b, &(rh_load_options){0}, 0, 1u << Q8_0).weights_bytes, stored + 36000);
}

// 10 layers of 100 MiB, an embedding of 50 and an output of 50; no keys to speak of.
static void large(gguf_builder *b) {
  gguf_begin(b, "llama");
  gguf_number(b, "llama.block_count", 10);
  gguf_number(b, "llama.context_length", 256);
  gguf_tensor(b, "token_embd.weight", 1024, 12800, F32);
  gguf_tensor(b, "output.weight", 1024, 12800, F32);
  for (int i = 0; i < 10; i++) {
    char name[32];
    snprintf(name, sizeof name, "blk.%d.ffn_up.weight", i);
    gguf_tensor(b, name, 1024, 25600, F32);
  }
}

static void test_gpu_share(void **state) {
  (void)state;
  gguf_builder b;
  large(&b);
  rh_need none = need_of(&b, &(rh_load_options){.gpu_layers = -1}, 0, 0);
  assert_int_equal(none.gpu_bytes, 0);
  assert_int_equal(none.weights_bytes, 1100 * MIB);
  // Room for everything: only the embedding stays.
  large(&b);
  rh_need all = need_of(&b, &(rh_load_options){.gpu_layers = -1}, 8 * GIB, 0);
  assert_int_equal(all.gpu_layers, 11);
  assert_int_equal(all.gpu_bytes, 1050 * MIB + all.kv_bytes + all.compute_bytes + 512 * MIB);
  assert_true(all.ram_bytes < none.ram_bytes - 500 * MIB);
  // Four layers by request, none by request.
  large(&b);
  rh_need four = need_of(&b, &(rh_load_options){.gpu_layers = 4}, 8 * GIB, 0);
  assert_int_equal(four.gpu_layers, 4);
  assert_int_equal(four.gpu_bytes, 400 * MIB + four.compute_bytes + 512 * MIB);
  large(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){.gpu_layers = 0}, 8 * GIB, 0).gpu_bytes, 0);
  // As many as fit.
  large(&b);
  rh_need some = need_of(&b, &(rh_load_options){.gpu_layers = -1}, 512 * MIB + four.compute_bytes + 350 * MIB, 0);
  assert_int_equal(some.gpu_layers, 3);
  large(&b);
  assert_int_equal(need_of(&b, &(rh_load_options){.gpu_layers = -1}, 100 * MIB, 0).gpu_layers, 0);
}

// The largest numbers a header can hold. Nothing may overflow (a sanitizer watches) or become negative.
static void test_a_header_that_lies(void **state) {
  (void)state;
  static const char *const keys[] = {
      "x.block_count",
      "x.embedding_length",
      "x.feed_forward_length",
      "x.attention.head_count",
      "x.attention.key_length",
      "x.attention.head_count_kv",
      "x.expert_used_count",
      "x.expert_feed_forward_length",
      "x.ssm.inner_size",
      "x.ssm.state_size",
      "x.ssm.group_count",
      "x.ssm.conv_kernel",
      "x.context_length",
      "x.attention.value_length",
      "x.attention.shared_kv_layers",
  };
  for (int with_shared = 0; with_shared < 2; with_shared++) {
    gguf_builder b;
    gguf_begin(&b, "x");
    for (size_t i = 0; i < sizeof keys / sizeof *keys - (with_shared ? 0 : 1); i++) {
      gguf_number(&b, keys[i], INT32_MAX);
    }
    rh_load_options options = {.context = INT64_MAX, .slots = INT64_MAX, .batch = INT64_MAX, .gpu_layers = -1};
    rh_need need = need_of(&b, &options, INT64_MAX, UINT64_MAX);
    assert_true(need.kv_bytes >= 0 && need.compute_bytes >= 0 && need.process_bytes >= 0);
    assert_true(need.ram_bytes > GIB && need.gpu_bytes >= 0);
  }
}

// --- files -----------------------------------------------------------------------------------------------------------

static char folder[64];

static int set_up(void **state) {
  (void)state;
  strcpy(folder, "/tmp/rh-need-XXXXXX");
  return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

static const char *write_file(const char *name, const char *bytes, size_t length) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, length, file), length);
  fclose(file);
  return path;
}

static rh_status estimate(const char *engine, const char *path, rh_need *out, rh_error *error) {
  rh_load_options options = {.gpu_layers = -1};
  *error = (rh_error){0};
  return rh_need_estimate(engine, path, &options, 0, out, error);
}

static void test_the_tiny_model(void **state) {
  (void)state;
  const char *path = getenv("RH_TINY_GGUF");
  if (path == NULL) fail_msg("RH_TINY_GGUF is not set: run by ctest");
  rh_need need;
  rh_error error;
  assert_int_equal(estimate("llama", path, &need, &error), RH_OK);
  // 2 layers x 2 heads x 16 wide x keys and values x 2 bytes x 512 tokens x 4 slots.
  assert_int_equal(need.kv_bytes, 2 * 2 * 16 * 2 * 2 * 512 * 4);
  // All its tensors are f32: 2 x (4 matrices of attention, 3 of the feed forward, 2 norms), embedding, output, norm.
  int64_t layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64;
  rh_gguf_summary summary;
  static rh_gguf_shape shape;
  assert_int_equal(rh_gguf_read(path, &summary, &shape, NULL), RH_OK);
  assert_true(shape.vocabulary > 256);
  assert_int_equal(need.weights_bytes, 4 * (2 * layer + 2 * 64 * shape.vocabulary + 64));
  assert_int_equal(shape.layer_bytes, 4 * 2 * layer);
}

static void test_a_model_in_parts(void **state) {
  (void)state;
  gguf_builder b;
  rh_need need;
  rh_error error;
  char first[512];
  smollm(&b);
  gguf_number(&b, "split.count", 2);
  gguf_tensor(&b, "blk.0.ffn_up.weight", 64, 8, F32);
  gguf_finish(&b);
  strcpy(first, write_file("m-00001-of-00002.gguf", b.out.data, b.out.length));
  rh_dynbuf_free(&b.out);
  assert_int_equal(estimate("llama", first, &need, &error), RH_NOT_FOUND);
  assert_non_null(strstr(error.message, "m-00002-of-00002.gguf"));
  gguf_begin(&b, "llama");
  gguf_tensor(&b, "blk.1.ffn_up.weight", 64, 16, F32);
  gguf_finish(&b);
  (void)write_file("m-00002-of-00002.gguf", b.out.data, b.out.length);
  assert_int_equal(estimate("llama", first, &need, &error), RH_OK);
  assert_int_equal(need.weights_bytes, 4 * 64 * (8 + 16));
  const char *renamed = write_file("renamed.gguf", "", 0);
  assert_int_equal(rename(first, renamed), 0);
  assert_int_equal(estimate("llama", renamed, &need, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "-00001-of-00002.gguf"));
  rh_dynbuf_free(&b.out);
}

static void test_other_files(void **state) {
  (void)state;
  rh_need need;
  rh_error error;
  const char *path = write_file("model.onnx", "\x08\x07\x12 an ONNX graph", 17);
  assert_int_equal(estimate(NULL, path, &need, &error), RH_UNSUPPORTED);
  assert_int_equal(need.weights_bytes, 17);
  assert_true(need.ram_bytes > 17);
  assert_non_null(strstr(error.message, path));
  path = write_file("cut.gguf", "GGUF\3\0\0\0\1", 9);
  assert_int_equal(estimate("llama", path, &need, &error), RH_INVALID);
  assert_int_equal(estimate("llama", "/nonexistent/x.gguf", &need, &error), RH_NOT_FOUND);
  assert_true(error.message[0] != '\0');
}

static void test_the_fake_engine(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int64_t bytes;
  } cases[] = {{"fake:", 0},
               {"fake:slots=2,memory=200MiB", 200 * MIB},
               {"fake:memory=64KiB,slots=2", 64 * KIB},
               {"fake:memory=1GiB", GIB},
               {"fake:memory=12345", 12345}};
  rh_need need;
  rh_error error;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(estimate("fake", cases[i].path, &need, &error), RH_OK);
    assert_int_equal(need.weights_bytes, cases[i].bytes);
    assert_int_equal(need.ram_bytes, cases[i].bytes + need.process_bytes);
    assert_true(need.process_bytes > 0);
  }
  assert_int_equal(estimate(NULL, "fake:memory=lots", &need, &error), RH_INVALID);
  assert_int_equal(estimate(NULL, "fake:memory=99999999999GiB", &need, &error), RH_INVALID);
}

static void test_rough_figures(void **state) {
  (void)state;
  int64_t small = rh_need_rough(98 * MIB, 134515008, 4096, 4);
  int64_t large_model = rh_need_rough(4692 * MIB, 8030261248, 4096, 4);
  assert_in_range((uint64_t)small, 400 * MIB, 700 * MIB);
  assert_in_range((uint64_t)large_model, 6 * GIB, 10 * GIB);
  assert_true(rh_need_rough(98 * MIB, 134515008, 8192, 4) > small);
  assert_true(rh_need_rough(98 * MIB, 134515008, 4096, 8) > small);
  assert_true(rh_need_rough(98 * MIB, 0, 0, 0) > 98 * MIB);
  assert_true(rh_need_rough(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX) > 0);
  assert_true(rh_need_rough(-1, -1, -1, -1) > 0);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keys_and_values_as_llama_allocates_them),
      cmocka_unit_test(test_default_context_is_the_models_own_when_smaller),
      cmocka_unit_test(test_compute_buffers),
      cmocka_unit_test(test_the_process_grows_with_the_vocabulary),
      cmocka_unit_test(test_sliding_windows),
      cmocka_unit_test(test_keys_listed_by_layer),
      cmocka_unit_test(test_models_that_keep_no_keys),
      cmocka_unit_test(test_weights_and_their_rearranged_copies),
      cmocka_unit_test(test_gpu_share),
      cmocka_unit_test(test_a_header_that_lies),
      cmocka_unit_test(test_the_tiny_model),
      WITH_FOLDER(test_a_model_in_parts),
      WITH_FOLDER(test_other_files),
      cmocka_unit_test(test_the_fake_engine),
      cmocka_unit_test(test_rough_figures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
