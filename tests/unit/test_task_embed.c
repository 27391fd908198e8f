// SPDX-License-Identifier: Apache-2.0
//
// Tokens' vectors to one: every pooling, normalization, cut dimensions, ready embeddings. Expected numbers are worked out
// by hand from the formulas of sentence-transformers.
#include <math.h>

#include "task/internal.h"
#include "test_task_fixture.h"

static const float three[] = {1, -2, /**/ 3, 0, /**/ 8, 5};

static void each_pooling(void **state) {
  (void)state;
  static const struct {
    unsigned mode;
    size_t skip;
    double x, y;
  } rows[] = {
      {RH_POOLING_CLS, 0, 1, -2},
      {RH_POOLING_MAX, 0, 8, 5},
      {RH_POOLING_MEAN, 0, 4, 1},
      {RH_POOLING_MEAN_SQRT, 0, 12 / 1.7320508075688772, 3 / 1.7320508075688772},
      {RH_POOLING_WEIGHTED, 0, (1.0 + 6 + 24) / 6, (-2.0 + 0 + 15) / 6},
      {RH_POOLING_LAST, 0, 8, 5},
      // A prompt's tokens are left out of sums and maxima, and keep their places for the weights.
      {RH_POOLING_MEAN, 1, 5.5, 2.5},
      {RH_POOLING_WEIGHTED, 1, (6.0 + 24) / 5, 15.0 / 5},
      {RH_POOLING_MAX, 2, 8, 5},
      {RH_POOLING_CLS, 1, 1, -2},
      {RH_POOLING_MEAN, 9, 0, 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    float out[2] = {0};
    assert_int_equal(rh_embed_pool(rows[i].mode, three, 3, 2, rows[i].skip, out), RH_OK);
    expect_near(out[0], rows[i].x);
    expect_near(out[1], rows[i].y);
  }
  float both[4];
  assert_int_equal(rh_embed_pool(RH_POOLING_MEAN | RH_POOLING_CLS, three, 3, 2, 0, both), RH_OK);
  expect_near(both[0], 1);
  expect_near(both[2], 4);
  assert_int_not_equal(rh_embed_pool(0, three, 3, 2, 0, both), RH_OK);
}

static void normalized_vectors_have_length_one(void **state) {
  (void)state;
  float v[2] = {3, -4}, zero[2] = {0, 0};
  rh_embed_normalize(v, 2);
  expect_near(v[0], 0.6);
  expect_near(v[1], -0.8);
  rh_embed_normalize(zero, 2);
  expect_near(zero[0], 0);
}

// A token's vector is (its id, 1, 0, place); what is padding gets nonsense that must not be seen.
static void by_token(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  for (size_t i = 0; i < length; i++) {
    for (size_t d = 0; d < width; d++) out[i * width + d] = mask[i] == 0 ? 1e6f : 0;
    if (mask[i] == 0) continue;
    out[i * width] = (float)ids[i];
    out[i * width + 1] = 1;
    out[i * width + 3] = (float)i;
  }
}

static void padding_is_not_pooled(void **state) {
  (void)state;
  stub *s = stub_open("{\"architectures\":[\"XModel\"]}", "last_hidden_state", 3, 4);
  s->engine.answer = by_token;
  stub_start(s);
  assert_string_equal(s->info.task, "embed");
  assert_int_equal(s->info.dimensions, 4);
  static const rh_item items[2] = {STUB_ITEM("\x02\x04"), STUB_ITEM("\x01\x02\x03\x04\x05")};
  rh_infer infer = {.items = items, .item_count = 2};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_EMBED, &infer, &error), RH_OK);
  assert_int_equal(s->engine.rows, 2);  // both in one batch, the first padded
  assert_int_equal(s->engine.length, 5);
  expect_near(s->results[0].values[0], 3);
  expect_near(s->results[0].values[3], 0.5);
  expect_near(s->results[1].values[0], 3);
  expect_near(s->results[1].values[3], 2);
  infer.dimensions = 2;
  infer.normalize = RH_CHOICE_YES;
  assert_int_equal(stub_compute(s, RH_TASK_EMBED, &infer, &error), RH_OK);
  assert_int_equal(s->results[0].count, 2);
  expect_near(s->results[0].values[0], 3 / sqrt(10));
  expect_near(s->results[0].values[1], 1 / sqrt(10));
  stub_close(s);
}

static void ready(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  (void)mask;
  (void)length;
  for (size_t d = 0; d < width; d++) out[d] = (float)ids[0];
}

static void a_ready_embedding_is_taken_as_it_is(void **state) {
  (void)state;
  stub *s = stub_open("{\"architectures\":[\"XModel\"]}", "sentence_embedding", 2, 4);
  s->engine.answer = ready;
  stub_start(s);
  static const rh_item items[1] = {STUB_ITEM("\x07")};
  rh_infer infer = {.items = items, .item_count = 1};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_EMBED, &infer, &error), RH_OK);
  expect_near(s->results[0].values[3], 7);
  stub_close(s);
}

static void pooling_is_the_models_own(void **state) {
  (void)state;
  stub *s = stub_open(
      "{\"architectures\":[\"XModel\"],\"roundhouse\":{\"pooling\":\"lasttoken\",\"normalize\":false,"
      "\"prompts\":{\"q\":\"\\u0001\\u0002\"},\"default_prompt_name\":\"q\"}}",
      "last_hidden_state", 3, 4);
  s->engine.answer = by_token;
  stub_start(s);
  static const rh_item items[1] = {STUB_ITEM("\x07\x09")};
  rh_infer infer = {.items = items, .item_count = 1};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_EMBED, &infer, &error), RH_OK);
  expect_near(s->results[0].values[0], 9);
  expect_near(s->results[0].values[3], 3);  // behind the default prompt's two tokens
  infer.prompt = "";
  assert_int_equal(stub_compute(s, RH_TASK_EMBED, &infer, &error), RH_OK);
  expect_near(s->results[0].values[3], 1);
  stub_close(s);
}

static void half_precision_is_read(void **state) {
  (void)state;
  // 1, -2, the largest, the smallest above zero, infinity, 0.333.
  static const uint16_t halves[] = {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x7C00, 0x3555};
  static const uint16_t bfloats[] = {0x3F80, 0xC000};
  rh_tensor tensor = {.name = "x", .type = RH_DTYPE_F16, .data = halves, .bytes = sizeof halves};
  float out[6];
  rh_error error = {0};
  assert_int_equal(rh_compute_floats(&tensor, 6, out, &error), RH_OK);
  expect_near(out[0], 1);
  expect_near(out[1], -2);
  expect_near(out[2], 65504);
  assert_true(out[3] > 5.9e-8f && out[3] < 6.0e-8f);
  assert_true(isinf(out[4]));
  expect_near(out[5], 0.33325195);
  tensor = (rh_tensor){.name = "x", .type = RH_DTYPE_BF16, .data = bfloats, .bytes = sizeof bfloats};
  assert_int_equal(rh_compute_floats(&tensor, 2, out, &error), RH_OK);
  expect_near(out[1], -2);
  tensor.type = RH_DTYPE_I64;
  assert_int_equal(rh_compute_floats(&tensor, 2, out, &error), RH_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_pooling),
      cmocka_unit_test(normalized_vectors_have_length_one),
      cmocka_unit_test(padding_is_not_pooled),
      cmocka_unit_test(a_ready_embedding_is_taken_as_it_is),
      cmocka_unit_test(pooling_is_the_models_own),
      cmocka_unit_test(half_precision_is_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
