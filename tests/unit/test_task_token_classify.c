// SPDX-License-Identifier: Apache-2.0
//
// Tokens to spans with transformers' five aggregation strategies. Expected spans follow from its rules; the example in its
// documentation (micro|soft| com|pany) is among them.
#include "task/internal.h"
#include "test_task_fixture.h"

enum { O, B_ENT, I_ENT, B_NAME, I_NAME, PLAIN, TWO, LABELS };
static const char *const labels[LABELS] = {"O", "B-ENT", "I-ENT", "B-NAME", "I-NAME", "plain", "B-FIRST-NAME"};

#define TOKENS_MAX 8
typedef struct sentence {
  rh_tagged tokens[TOKENS_MAX];
  float scores[TOKENS_MAX][LABELS];
  size_t count;
} sentence;

// A token of three characters behind the last one, or after a blank, whose best label has the score.
static void add(sentence *s, int label, float score, bool subword) {
  size_t at = s->count++;
  for (int l = 0; l < LABELS; l++) s->scores[at][l] = (1 - score) / (LABELS - 1);
  s->scores[at][label] = score;
  uint32_t start = at == 0 ? 0 : s->tokens[at - 1].end + (subword ? 0 : 1);
  s->tokens[at] = (rh_tagged){
      .scores = s->scores[at], .start = start, .end = start + 3, .index = (int32_t)at + 1, .subword = subword};
}

static size_t aggregate(const sentence *s, rh_aggregation how, rh_tagged_span *out) {
  float scratch[LABELS];
  return rh_token_aggregate(s->tokens, s->count, labels, LABELS, how, scratch, out);
}

static void expect_span(const rh_tagged_span *span, int label, double score, uint32_t start, uint32_t end) {
  assert_int_equal(span->label, label);
  expect_near(span->score, score);
  assert_int_equal(span->start, start);
  assert_int_equal(span->end, end);
}

// micro|soft| com|pany, tagged B-ENT I-NAME I-ENT I-ENT.
static void make_microsoft(sentence *s) {
  *s = (sentence){.count = 0};
  add(s, B_ENT, 0.8f, false);
  add(s, I_NAME, 0.9f, true);
  add(s, I_ENT, 0.6f, false);
  add(s, I_ENT, 0.7f, true);
}

static void none_gives_every_token(void **state) {
  (void)state;
  sentence s;
  make_microsoft(&s);
  add(&s, O, 0.9f, false);
  rh_tagged_span out[TOKENS_MAX];
  assert_int_equal(aggregate(&s, RH_AGGREGATION_NONE, out), 4);
  expect_span(&out[1], I_NAME, 0.9, 3, 6);
  assert_int_equal(out[1].index, 2);
  assert_false(out[1].group);
}

static void simple_joins_tokens_of_one_tag(void **state) {
  (void)state;
  sentence s;
  make_microsoft(&s);
  rh_tagged_span out[TOKENS_MAX];
  assert_int_equal(aggregate(&s, RH_AGGREGATION_SIMPLE, out), 3);
  expect_span(&out[0], B_ENT, 0.8, 0, 3);
  expect_span(&out[1], I_NAME, 0.9, 3, 6);
  expect_span(&out[2], I_ENT, 0.65, 7, 13);
  assert_true(out[2].group);
  assert_int_equal(out[2].index, -1);
}

static void words_agree_with_their_first_or_surest_token(void **state) {
  (void)state;
  sentence s;
  make_microsoft(&s);
  rh_tagged_span out[TOKENS_MAX];
  // first: microsoft B-ENT, company I-ENT: one span.
  assert_int_equal(aggregate(&s, RH_AGGREGATION_FIRST, out), 1);
  expect_span(&out[0], B_ENT, 0.7, 0, 13);
  // max: microsoft I-NAME, company I-ENT of 0.7.
  assert_int_equal(aggregate(&s, RH_AGGREGATION_MAX, out), 2);
  expect_span(&out[0], I_NAME, 0.9, 0, 6);
  expect_span(&out[1], I_ENT, 0.7, 7, 13);
  // average: I-NAME (0.9 + 0.2/6) / 2 wins over B-ENT (0.8 + 0.1/6) / 2.
  assert_int_equal(aggregate(&s, RH_AGGREGATION_AVERAGE, out), 2);
  expect_span(&out[0], I_NAME, 0.46666667, 0, 6);
  expect_span(&out[1], I_ENT, 0.65, 7, 13);
}

static void a_beginning_ends_the_span_before(void **state) {
  (void)state;
  sentence s = {.count = 0};
  add(&s, B_ENT, 0.9f, false);
  add(&s, I_ENT, 0.9f, false);
  add(&s, B_ENT, 0.9f, false);
  add(&s, B_NAME, 0.9f, false);
  rh_tagged_span out[TOKENS_MAX];
  assert_int_equal(aggregate(&s, RH_AGGREGATION_SIMPLE, out), 3);
  expect_span(&out[0], B_ENT, 0.9, 0, 7);
  expect_span(&out[1], B_ENT, 0.9, 8, 11);
  expect_span(&out[2], B_NAME, 0.9, 12, 15);
}

static void what_is_outside_parts_spans_and_is_left_out(void **state) {
  (void)state;
  sentence s = {.count = 0};
  add(&s, I_ENT, 0.9f, false);
  add(&s, O, 0.9f, false);
  add(&s, O, 0.9f, false);
  add(&s, I_ENT, 0.9f, false);
  rh_tagged_span out[TOKENS_MAX];
  assert_int_equal(aggregate(&s, RH_AGGREGATION_SIMPLE, out), 2);
  expect_span(&out[1], I_ENT, 0.9, 12, 15);
  s.count = 0;
  add(&s, O, 0.9f, false);
  assert_int_equal(aggregate(&s, RH_AGGREGATION_MAX, out), 0);
  s.count = 0;
  assert_int_equal(aggregate(&s, RH_AGGREGATION_FIRST, out), 0);
}

static void labels_without_prefix_go_on(void **state) {
  (void)state;
  sentence s = {.count = 0};
  add(&s, PLAIN, 0.9f, false);
  add(&s, PLAIN, 0.7f, false);
  rh_tagged_span out[TOKENS_MAX];
  assert_int_equal(aggregate(&s, RH_AGGREGATION_SIMPLE, out), 1);
  expect_span(&out[0], PLAIN, 0.8, 0, 7);
}

// --- through a model -----------------------------------------------------------------------------------------------

// Capital letters are names; padding is one too, and must not be seen.
static void answer(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  for (size_t i = 0; i < length; i++) {
    for (size_t l = 0; l < width; l++) out[i * width + l] = 0;
    bool capital = mask[i] == 0 || (ids[i] >= 'A' && ids[i] <= 'Z');
    out[i * width + (capital ? 1 : 0)] = 5;
  }
}

static void a_model_gives_spans_of_its_texts(void **state) {
  (void)state;
  stub *s =
      stub_open("{\"architectures\":[\"XForTokenClassification\"],\"id2label\":{\"0\":\"O\",\"1\":\"I-FIRST-NAME\"}}",
                "logits", 3, 2);
  s->engine.answer = answer;
  stub_start(s);
  assert_string_equal(s->info.task, "token-classify");
  static const rh_item items[2] = {STUB_ITEM("ABcD"), STUB_ITEM("abcdefg")};
  rh_infer infer = {.items = items, .item_count = 2};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_int_equal(s->results[0].count, 2);
  assert_string_equal(s->results[0].labels[0], "FIRST-NAME");
  assert_int_equal(s->results[0].starts[0], 0);
  assert_int_equal(s->results[0].ends[0], 2);
  assert_int_equal(s->results[0].starts[1], 3);
  expect_near(s->results[0].values[0], 0.99330715);
  assert_int_equal(s->results[1].count, 0);
  stub_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(none_gives_every_token),
      cmocka_unit_test(simple_joins_tokens_of_one_tag),
      cmocka_unit_test(words_agree_with_their_first_or_surest_token),
      cmocka_unit_test(a_beginning_ends_the_span_before),
      cmocka_unit_test(what_is_outside_parts_spans_and_is_left_out),
      cmocka_unit_test(labels_without_prefix_go_on),
      cmocka_unit_test(a_model_gives_spans_of_its_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
