// SPDX-License-Identifier: Apache-2.0
//
// Zero-shot classification: which logits of a model of natural language inference count, and how they are put together.
#include "test_task_fixture.h"

// The pair's second text ends in the label, whose last byte decides: 'a' follows, 'b' contradicts, others neither.
static void answer(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  size_t count = 0;
  while (count < length && mask[count] != 0) count++;
  int64_t last = ids[count - 1];
  for (size_t i = 0; i < width; i++) out[i] = 0;
  if (last == 'a') out[0] = 2;          // entailment, in these models' first order
  if (last == 'b') out[width - 1] = 3;  // contradiction
}

static const rh_item item = STUB_ITEM("premise");
static const char *const labels[] = {"xa", "xb", "xc"};

static stub *open_nli(const char *id2label) {
  static char config[512];
  snprintf(config, sizeof config, "{\"architectures\":[\"XForSequenceClassification\"],\"id2label\":%s}", id2label);
  stub *s = stub_open(config, "logits", 2, 3);
  s->engine.answer = answer;
  stub_start(s);
  return s;
}

static const stub_result *compute(stub *s, rh_infer infer) {
  infer.items = &item;
  infer.item_count = 1;
  infer.hypothesis = "{}";
  rh_error error = {0};
  if (stub_compute(s, RH_TASK_ZERO_SHOT, &infer, &error) != RH_OK) fail_msg("%s", error.message);
  return &s->results[0];
}

static void entailments_are_weighed_against_each_other(void **state) {
  (void)state;
  stub *s = open_nli("{\"0\":\"entailment\",\"1\":\"neutral\",\"2\":\"contradiction\"}");
  assert_string_equal(s->info.task, "classify");
  const stub_result *r = compute(s, (rh_infer){.labels = labels, .label_count = 3});
  assert_int_equal(r->count, 3);
  assert_string_equal(r->labels[0], "xa");
  expect_near(r->values[0], 0.78698604);  // softmax of 2, 0, 0
  expect_near(r->values[1], 0.10650698);
  stub_close(s);
}

static void each_label_by_itself_against_its_contradiction(void **state) {
  (void)state;
  stub *s = open_nli("{\"0\":\"ENTAILMENT\",\"1\":\"NEUTRAL\",\"2\":\"CONTRADICTION\"}");
  const stub_result *r = compute(s, (rh_infer){.labels = labels, .label_count = 3, .multi_label = RH_CHOICE_YES});
  expect_near(r->values[0], 0.88079708);  // 2 against 0
  expect_near(r->values[1], 0.5);
  expect_near(r->values[2], 0.04742587);  // 0 against 3
  assert_string_equal(r->labels[2], "xb");
  r = compute(s, (rh_infer){.labels = labels, .label_count = 1});
  expect_near(r->values[0], 0.88079708);  // one label alone has nothing to be weighed against
  stub_close(s);
}

static void the_order_of_labels_is_the_models(void **state) {
  (void)state;
  // Here the third logit is the entailment and the first the contradiction.
  stub *s = open_nli("{\"0\":\"contradiction\",\"1\":\"neutral\",\"2\":\"entailment\"}");
  const stub_result *r = compute(s, (rh_infer){.labels = labels, .label_count = 3});
  assert_string_equal(r->labels[0], "xb");
  expect_near(r->values[0], 0.90944300);  // softmax of 0, 3, 0
  stub_close(s);
}

static void own_task_with_labels_is_zero_shot(void **state) {
  (void)state;
  stub *s = open_nli("{\"0\":\"entailment\",\"1\":\"neutral\",\"2\":\"contradiction\"}");
  rh_infer infer = {.items = &item, .item_count = 1, .labels = labels, .label_count = 2, .hypothesis = "{}"};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_string_equal(s->results[0].labels[0], "xa");
  infer.label_count = 0;
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_string_equal(s->results[0].labels[0], "entailment");
  infer.label_count = 1;
  infer.hypothesis = "no hole";
  assert_int_equal(stub_compute(s, RH_TASK_ZERO_SHOT, &infer, &error), RH_INVALID);
  assert_string_equal(error.param, "hypothesis");
  stub_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(entailments_are_weighed_against_each_other),
      cmocka_unit_test(each_label_by_itself_against_its_contradiction),
      cmocka_unit_test(the_order_of_labels_is_the_models),
      cmocka_unit_test(own_task_with_labels_is_zero_shot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
