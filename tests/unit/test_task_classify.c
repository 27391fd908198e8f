// SPDX-License-Identifier: Apache-2.0
//
// Scores out of logits: which function is applied, by what the model's configuration says. The expected numbers are those
// of the formulas, worked out with numpy.
#include <math.h>

#include "test_task_fixture.h"

static const float logits[3] = {2, -1, 0.5f};

static void answer(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  (void)ids;
  (void)mask;
  (void)length;
  for (size_t i = 0; i < width; i++) out[i] = logits[i];
}

static stub *open_classifier(const char *config, size_t width) {
  stub *s = stub_open(config, "logits", 2, width);
  s->engine.answer = answer;
  stub_start(s);
  return s;
}

#define HEAD "{\"architectures\":[\"XForSequenceClassification\"],"
#define THREE "\"id2label\":{\"0\":\"a\",\"2\":\"c\",\"1\":\"b\"}"
static const rh_item item = STUB_ITEM("text");

static const stub_result *classify(stub *s, rh_infer infer) {
  infer.items = &item;
  infer.item_count = 1;
  rh_error error = {0};
  if (stub_compute(s, RH_TASK_CLASSIFY, &infer, &error) != RH_OK) fail_msg("%s", error.message);
  assert_int_equal(s->result_count, 1);
  assert_int_equal(s->results[0].kind, RH_RESULT_SCORES);
  return &s->results[0];
}

static void several_labels_get_a_softmax(void **state) {
  (void)state;
  stub *s = open_classifier(HEAD THREE "}", 3);
  assert_string_equal(s->info.task, "classify");
  const stub_result *r = classify(s, (rh_infer){0});
  assert_int_equal(r->count, 3);
  assert_string_equal(r->labels[0], "a");
  assert_string_equal(r->labels[1], "c");
  assert_string_equal(r->labels[2], "b");
  expect_near(r->values[0], 0.78559703);
  expect_near(r->values[1], 0.17529039);
  expect_near(r->values[2], 0.03911257);
  r = classify(s, (rh_infer){.top_k = 2, .raw_scores = true});
  assert_int_equal(r->count, 2);
  expect_near(r->values[1], 0.5);
  r = classify(s, (rh_infer){.multi_label = RH_CHOICE_YES});
  expect_near(r->values[0], 0.88079708);
  stub_close(s);
}

static void problem_types_are_honoured(void **state) {
  (void)state;
  stub *s = open_classifier(HEAD THREE ",\"problem_type\":\"multi_label_classification\"}", 3);
  const stub_result *r = classify(s, (rh_infer){0});
  expect_near(r->values[0], 0.88079708);
  expect_near(r->values[2], 0.26894142);
  r = classify(s, (rh_infer){.multi_label = RH_CHOICE_NO});
  expect_near(r->values[0], 0.78559703);
  stub_close(s);
  s = open_classifier(HEAD THREE ",\"problem_type\":\"regression\"}", 3);
  r = classify(s, (rh_infer){0});
  expect_near(r->values[0], 2);
  expect_near(r->values[2], -1);
  stub_close(s);
}

static void labels_without_a_name_get_a_number(void **state) {
  (void)state;
  stub *s = open_classifier(HEAD "\"num_labels\":3}", 3);
  assert_string_equal(classify(s, (rh_infer){0})->labels[0], "LABEL_0");
  stub_close(s);
}

static void one_label_is_a_reranker(void **state) {
  (void)state;
  static const rh_item pair = {.text = "q", .length = 1, .pair = "d", .pair_length = 1};
  rh_infer infer = {.items = &pair, .item_count = 1};
  rh_error error = {0};
  stub *s = open_classifier(HEAD "\"id2label\":{\"0\":\"LABEL_0\"}}", 1);
  assert_string_equal(s->info.task, "rerank");
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  expect_near(s->results[0].values[0], 0.88079708);
  assert_string_equal(s->results[0].labels[0], "");
  infer.raw_scores = true;
  assert_int_equal(stub_compute(s, RH_TASK_RERANK, &infer, &error), RH_OK);
  expect_near(s->results[0].values[0], 2);
  expect_near(classify(s, (rh_infer){0})->values[0], 0.88079708);  // a pipeline takes the sigmoid too
  stub_close(s);
  // A cross-encoder that was trained to give its logits as they are says so.
  s = open_classifier(HEAD
                      "\"id2label\":{\"0\":\"LABEL_0\"},\"sentence_transformers\":{\"activation_fn\":"
                      "\"torch.nn.modules.linear.Identity\"}}",
                      1);
  infer.raw_scores = false;
  assert_int_equal(stub_compute(s, RH_TASK_RERANK, &infer, &error), RH_OK);
  expect_near(s->results[0].values[0], 2);
  stub_close(s);
  s = open_classifier(HEAD THREE "}", 3);
  assert_int_equal(stub_compute(s, RH_TASK_RERANK, &infer, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "3 labels"));
  stub_close(s);
}

// A graph that needs more memory for many texts than there is still serves them one by one.
static void a_batch_that_fails_is_taken_apart(void **state) {
  (void)state;
  static const rh_item items[4] = {STUB_ITEM("aaaa"), STUB_ITEM("bbbb"), STUB_ITEM("cccc"), STUB_ITEM("dddd")};
  stub *s = open_classifier(HEAD THREE "}", 3);
  s->engine.fails_above = 1;
  rh_infer infer = {.items = items, .item_count = 4};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_CLASSIFY, &infer, &error), RH_OK);
  assert_int_equal(s->result_count, 4);
  for (size_t i = 0; i < 4; i++) assert_int_equal(s->results[i].kind, RH_RESULT_SCORES);
  assert_int_equal(s->engine.batches, 5);
  stub_close(s);
}

static void a_graph_that_reads_no_text_can_be_run_raw(void **state) {
  (void)state;
  stub *s = stub_open(HEAD THREE "}", "logits", 2, 3);
  s->engine.answer = answer;
  s->engine.inputs[1].name = "pixel_values";
  stub_start(s);
  assert_string_equal(s->info.task, "tensor");
  rh_infer infer = {.items = &item, .item_count = 1};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_CLASSIFY, &infer, &error), RH_UNSUPPORTED);
  stub_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(several_labels_get_a_softmax),       cmocka_unit_test(problem_types_are_honoured),
      cmocka_unit_test(labels_without_a_name_get_a_number), cmocka_unit_test(one_label_is_a_reranker),
      cmocka_unit_test(a_batch_that_fails_is_taken_apart),  cmocka_unit_test(a_graph_that_reads_no_text_can_be_run_raw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
