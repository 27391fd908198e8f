// SPDX-License-Identifier: Apache-2.0
//
// admit/semantic: the nearest prompt by cosine against a plain computation, thresholds, shapes and dimensions kept apart, the bound and
// expiry; which text stands for a request and what belongs to its shape.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache_fixture.h"
#include "cache_key_fixture.h"

#define NEVER UINT64_MAX

static uint32_t seed = 7;
static float draw(void) {
  seed = seed * 1664525u + 1013904223u;
  return (float)(seed >> 8) / (float)(1u << 24) - 0.5f;
}

static double plain_cosine(const float *a, const float *b, size_t count) {
  double dot = 0, left = 0, right = 0;
  for (size_t i = 0; i < count; i++) {
    dot += (double)a[i] * (double)b[i];
    left += (double)a[i] * (double)a[i];
    right += (double)b[i] * (double)b[i];
  }
  return dot / sqrt(left * right);
}

// Found, which answer, and how near; -1 = nothing.
static int find(rh_semantic *semantic, int shape, const float *vector, size_t dimensions, double threshold,
                uint64_t now_ns, double *cosine) {
  rh_cache_key key = key_number(shape), answer = {{0}};
  if (!rh_semantic_find(semantic, &key, vector, dimensions, threshold, now_ns, &answer, cosine)) return -1;
  int number;
  memcpy(&number, answer.bytes, sizeof number);
  return number;
}

static void put(rh_semantic *semantic, int shape, const float *vector, size_t dimensions, int answer,
                uint64_t expires_ns) {
  rh_cache_key key = key_number(shape), number = key_number(answer);
  rh_semantic_put(semantic, &key, vector, dimensions, &number, expires_ns);
}

static void test_the_nearest_is_exact(void **state) {
  (void)state;
  enum { COUNT = 60, MOST = 70 };
  static float vectors[COUNT][MOST];
  for (size_t dimensions = 1; dimensions <= MOST; dimensions = dimensions * 3 / 2 + 1) {
    rh_semantic *semantic = rh_semantic_new(1000, MOST);
    for (int i = 0; i < COUNT; i++) {
      for (size_t k = 0; k < dimensions; k++) vectors[i][k] = draw() * 10;
      put(semantic, 1, vectors[i], dimensions, i, NEVER);
    }
    for (int round = 0; round < 20; round++) {
      float question[MOST];
      double nearest = -2, cosine = -3;
      int best = -1;
      for (size_t k = 0; k < dimensions; k++) question[k] = draw();
      for (int i = 0; i < COUNT; i++) {
        double found = plain_cosine(question, vectors[i], dimensions);
        if (found > nearest) nearest = found, best = i;
      }
      int found = find(semantic, 1, question, dimensions, -1, 0, &cosine);
      assert_true(fabs(cosine - nearest) < 1e-5);
      if (dimensions > 1) assert_int_equal(found, best);
      assert_int_equal(find(semantic, 1, question, dimensions, nearest + 1e-4, 0, NULL), -1);
    }
    rh_semantic_free(semantic);
  }
}

static void test_thresholds(void **state) {
  (void)state;
  rh_semantic *semantic = rh_semantic_new(10, 8);
  const float east[] = {3, 0, 0}, near_east[] = {1, 0.1f, 0}, west[] = {-1, 0, 0}, none[] = {0, 0, 0},
              broken[] = {1, NAN, 0};
  double cosine = 0;
  assert_int_equal(find(semantic, 1, east, 3, 0.5, 0, &cosine), -1);
  put(semantic, 1, east, 3, 5, NEVER);
  assert_int_equal(find(semantic, 1, east, 3, 1.0, 0, &cosine), 5);
  assert_true(cosine > 0.999999 && cosine <= 1.0);
  assert_int_equal(find(semantic, 1, near_east, 3, 0.99, 0, &cosine), 5);
  assert_int_equal(find(semantic, 1, near_east, 3, 0.999, 0, &cosine), -1);
  assert_int_equal(find(semantic, 1, west, 3, 0, 0, &cosine), -1);
  assert_int_equal(find(semantic, 1, none, 3, -1, 0, &cosine), -1);
  assert_int_equal(find(semantic, 1, broken, 3, -1, 0, &cosine), -1);
  put(semantic, 1, none, 3, 6, NEVER);
  put(semantic, 1, broken, 3, 6, NEVER);
  put(semantic, 1, (const float[9]){1}, 9, 6, NEVER);  // more dimensions than it takes
  assert_int_equal(find(semantic, 1, (const float[9]){1}, 9, -1, 0, &cosine), -1);
  assert_int_equal(rh_semantic_count(semantic), 1);
  rh_semantic_free(semantic);
}

static void test_shapes_and_dimensions_are_apart(void **state) {
  (void)state;
  rh_semantic *semantic = rh_semantic_new(200, 8);
  const float vector[] = {1, 2, 3, 4};
  for (int shape = 0; shape < 100; shape++) put(semantic, shape, vector, 4, 1000 + shape, NEVER);
  for (int shape = 0; shape < 100; shape++) {
    assert_int_equal(find(semantic, shape, vector, 4, 0.9, 0, NULL), 1000 + shape);
    assert_int_equal(find(semantic, shape, vector, 3, -1, 0, NULL), -1);
  }
  put(semantic, 3, vector, 3, 7, NEVER);
  assert_int_equal(find(semantic, 3, vector, 3, 0.9, 0, NULL), 7);
  assert_int_equal(find(semantic, 3, vector, 4, 0.9, 0, NULL), 1003);
  assert_int_equal(find(semantic, 100, vector, 4, -1, 0, NULL), -1);
  rh_semantic_free(semantic);
}

static void test_the_bound_and_expiry(void **state) {
  (void)state;
  rh_semantic *semantic = rh_semantic_new(3, 4);
  const float axes[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
  for (int i = 0; i < 3; i++) put(semantic, 1, axes[i], 4, i, 100);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 0, NULL), 0);  // now the one that was used last
  put(semantic, 1, axes[3], 4, 3, 200);
  assert_int_equal(rh_semantic_count(semantic), 3);
  assert_int_equal(find(semantic, 1, axes[1], 4, 0.9, 0, NULL), -1);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 0, NULL), 0);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 99, NULL), 0);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 100, NULL), -1);
  assert_int_equal(find(semantic, 1, axes[3], 4, 0.9, 100, NULL), 3);
  assert_int_equal(rh_semantic_count(semantic), 1);
  put(semantic, 1, axes[0], 4, 3, 300);  // the same answer for another wording takes its place
  assert_int_equal(rh_semantic_count(semantic), 1);
  assert_int_equal(find(semantic, 1, axes[3], 4, 0.9, 0, NULL), -1);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 250, NULL), 3);
  put(semantic, 2, axes[1], 4, 4, 300);
  rh_cache_key gone = key_number(3);
  rh_semantic_drop(semantic, &gone);
  assert_int_equal(find(semantic, 1, axes[0], 4, 0.9, 0, NULL), -1);
  assert_int_equal(find(semantic, 2, axes[1], 4, 0.9, 0, NULL), 4);
  rh_semantic_drop(semantic, NULL);
  assert_int_equal(rh_semantic_count(semantic), 0);
  rh_semantic_free(semantic);
  rh_semantic_free(NULL);
}

static rh_cache_key shape_of(const sample *s) {
  rh_cache_key key;
  rh_cache_shape_make(&s->request, s->identity, s->scope, s->local_only, &key);
  return key;
}

static void test_a_shape_is_all_but_the_question(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  b.messages[1].content = "Good day";
  rh_cache_key x = shape_of(&a), y = shape_of(&b), z = key_of(&a);
  assert_true(same(&x, &y));
  assert_false(same(&x, &z));
  b.messages[0].content = "Be long.";
  y = shape_of(&b);
  assert_false(same(&x, &y));
  make_chat(&b);
  b.request.generate.max_tokens = 5;
  y = shape_of(&b);
  assert_false(same(&x, &y));
  make_chat(&b);
  b.scope = "key_b";
  y = shape_of(&b);
  assert_false(same(&x, &y));
  make_chat(&b);
  b.local_only = true;
  y = shape_of(&b);
  assert_false(same(&x, &y));
  // What came before the last question belongs to the shape.
  for (sample *s = &a; s != NULL; s = s == &a ? &b : NULL) {
    make_chat(s);
    s->messages[2] = (rh_message){.role = "assistant", .content = "Yes?"};
    s->messages[3] = (rh_message){.role = "user", .content = s == &a ? "More" : "Less"};
    s->prompts[0].count = 4;
  }
  x = shape_of(&a), y = shape_of(&b);
  assert_true(same(&x, &y));
  b.messages[1].content = "Other";
  y = shape_of(&b);
  assert_false(same(&x, &y));
}

static void test_the_text_of_a_request(void **state) {
  (void)state;
  sample s;
  make_chat(&s);
  assert_string_equal(rh_semantic_text(&s.request), "Hello");
  s.messages[1].content = "";
  assert_null(rh_semantic_text(&s.request));
  make_chat(&s);
  s.messages[1].role = "assistant";
  assert_null(rh_semantic_text(&s.request));
  make_chat(&s);
  s.request.task = RH_TASK_COMPLETE;
  s.prompts[0] = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = "Hello", .count = 5};
  assert_null(rh_semantic_text(&s.request));
  make_chat(&s);
  s.request.prompt_count = 2;
  assert_null(rh_semantic_text(&s.request));
  make_chat(&s);
  s.request.extras = &s.extras;
  assert_non_null(rh_semantic_text(&s.request));
  s.extras.tool_count = 1;
  assert_null(rh_semantic_text(&s.request));
  make_chat(&s);
  s.pieces[0] = (rh_piece){.kind = RH_PIECE_TEXT, .text = "Hello"};
  s.pieces[1] = (rh_piece){.kind = RH_PIECE_IMAGE, .url = "http://x/y"};
  s.messages[1].pieces = s.pieces;
  s.messages[1].piece_count = 1;
  assert_non_null(rh_semantic_text(&s.request));
  s.messages[1].piece_count = 2;
  assert_null(rh_semantic_text(&s.request));
  make_tensors(&s);
  assert_null(rh_semantic_text(&s.request));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_nearest_is_exact),
      cmocka_unit_test(test_thresholds),
      cmocka_unit_test(test_shapes_and_dimensions_are_apart),
      cmocka_unit_test(test_the_bound_and_expiry),
      cmocka_unit_test(test_a_shape_is_all_but_the_question),
      cmocka_unit_test(test_the_text_of_a_request),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
