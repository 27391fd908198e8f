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

// --- long texts ----------------------------------------------------------------------------------------------------

// Six characters of a text, with the special tokens around them.
#define LONG_CONFIG                                                                 \
  "{\"architectures\":[\"XForTokenClassification\"],\"max_position_embeddings\":8," \
  "\"id2label\":{\"0\":\"O\",\"1\":\"I-NAME\"}}"

static stub *open_long(void) {
  stub *s = stub_open(LONG_CONFIG, "logits", 3, 2);
  s->engine.answer = answer;
  s->engine.framed = true;
  stub_start(s);
  assert_int_equal(s->info.context, 8);
  return s;
}

static void expect_names(const stub_result *r, const uint32_t (*places)[2], size_t count) {
  assert_int_equal(r->kind, RH_RESULT_SPANS);
  assert_int_equal(r->count, count);
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(r->starts[i], places[i][0]);
    assert_int_equal(r->ends[i], places[i][1]);
  }
}

static void a_long_text_is_read_to_its_end(void **state) {
  (void)state;
  stub *s = open_long();
  //                                          0123456789012345678901234
  static const rh_item items[] = {STUB_ITEM("ABcdeFGhijKLMnopQrstuvwXY"), STUB_ITEM("abCdef"), STUB_ITEM("abcdefG")};
  rh_infer infer = {.items = items, .item_count = 3, .has_stride = true, .stride = 3};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  static const uint32_t names[][2] = {{0, 2}, {5, 7}, {10, 13}, {16, 17}, {23, 25}};
  expect_names(&s->results[0], names, 5);
  // 0-6, 3-9, 6-12, 9-15, 12-18, 15-21, 18-24, 21-25: what two windows share counts twice.
  assert_int_equal(s->results[0].windows, 8);
  assert_int_equal(s->results[0].tokens, 7 * 8 + 6);
  assert_false(s->results[0].truncated);
  expect_names(&s->results[1], (const uint32_t[][2]){{2, 3}}, 1);
  assert_int_equal(s->results[1].windows, 0);
  assert_int_equal(s->results[1].tokens, 8);
  expect_names(&s->results[2], (const uint32_t[][2]){{6, 7}}, 1);
  assert_int_equal(s->results[2].windows, 2);
  // Without a stride a quarter of a window is shared, or 64 tokens: here one.
  infer.has_stride = false;
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_int_equal(s->results[0].windows, 5);
  assert_int_equal(s->results[0].starts[4], 23);
  // None shared: names are cut where windows meet.
  infer.has_stride = true;
  infer.stride = 0;
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_int_equal(s->results[0].windows, 5);
  expect_names(&s->results[0],
               (const uint32_t[][2]){{0, 2}, {5, 6}, {6, 7}, {10, 12}, {12, 13}, {16, 17}, {23, 24}, {24, 25}}, 8);
  stub_close(s);
}

static void each_token_of_a_long_text_is_told_once(void **state) {
  (void)state;
  stub *s = open_long();
  static const rh_item item = STUB_ITEM("ABcdeFGhijKLMnop");
  rh_infer infer = {
      .items = &item, .item_count = 1, .has_stride = true, .stride = 5, .aggregation = RH_AGGREGATION_NONE};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  static const uint32_t places[] = {0, 1, 5, 6, 10, 11, 12};
  assert_int_equal(s->results[0].windows, 11);
  assert_int_equal(s->results[0].count, 7);
  for (size_t i = 0; i < 7; i++) {
    assert_int_equal(s->results[0].starts[i], places[i]);
    assert_int_equal(s->results[0].indices[i], places[i] + 1);  // behind the special token
    assert_string_equal(s->results[0].labels[i], "I-NAME");
  }
  stub_close(s);
}

static void a_long_text_can_be_cut_or_refused(void **state) {
  (void)state;
  stub *s = open_long();
  static const rh_item items[] = {STUB_ITEM("ABcdefgHI"), STUB_ITEM("abCdef")};
  rh_infer infer = {.items = items, .item_count = 2, .cut_long = true};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_true(s->results[0].truncated);
  assert_int_equal(s->results[0].windows, 0);
  expect_names(&s->results[0], (const uint32_t[][2]){{0, 2}}, 1);
  assert_false(s->results[1].truncated);
  infer.cut_long = false;
  infer.refuse_long = true;
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_int_equal(s->results[0].kind, RH_RESULT_FAILED);
  assert_int_equal(s->results[0].error.status, RH_CONTEXT_OVERFLOW);
  expect_names(&s->results[1], (const uint32_t[][2]){{2, 3}}, 1);
  stub_close(s);
}

// The last label, which only the first of the windows has.
static void answer_last(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out) {
  (void)ids;
  (void)mask;
  for (size_t i = 0; i < length; i++) {
    for (size_t l = 0; l < width; l++) out[i * width + l] = l + 1 == width ? 5 : 0;
  }
}

static void windows_of_unlike_labels_are_refused(void **state) {
  (void)state;
  for (int turn = 0; turn < 2; turn++) {
    stub *s = stub_open(LONG_CONFIG, "logits", 3, 2);
    s->engine.answer = answer_last;
    s->engine.framed = true;
    s->engine.outputs[0].shape[2] = -1;
    s->engine.inputs[0].shape[0] = 1;  // each window is a batch of its own
    s->engine.width = turn == 0 ? STUB_WIDTH_MAX : 2;
    s->engine.later_width = turn == 0 ? 2 : STUB_WIDTH_MAX;
    stub_start(s);
    static const rh_item item = STUB_ITEM("abcdefgh");
    rh_infer infer = {.items = &item, .item_count = 1, .has_stride = true, .stride = 0};
    rh_error error = {0};
    assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
    assert_int_equal(s->results[0].kind, RH_RESULT_FAILED);
    assert_int_equal(s->results[0].error.status, RH_UNSUPPORTED);
    assert_non_null(strstr(s->results[0].error.message, "label scores"));
    assert_non_null(strstr(s->results[0].error.message, "in another"));
    stub_close(s);
  }
}

static void strides_that_cannot_be(void **state) {
  (void)state;
  stub *s = open_long();
  static const rh_item item = STUB_ITEM("ABcdefgHI");
  rh_infer infer = {.items = &item, .item_count = 1, .has_stride = true, .stride = 6};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_INVALID);
  assert_string_equal(error.param, "stride");
  assert_non_null(strstr(error.message, "0 to 5"));
  infer.stride = 2;
  infer.cut_long = true;
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "truncate"));
  stub_close(s);
}

static void a_window_that_fails_fails_its_text_alone(void **state) {
  (void)state;
  stub *s = open_long();
  s->engine.fails_on = '!';
  static const rh_item items[] = {STUB_ITEM("abcdefghijklmnopq!stuvwxyzabcdefghijklmnop"), STUB_ITEM("abCdefghiJKlm"),
                                  STUB_ITEM("!bcdefghijklmnop"), STUB_ITEM("Abc")};
  rh_infer infer = {.items = items, .item_count = 4};
  rh_error error = {0};
  assert_int_equal(stub_compute(s, RH_TASK_OWN, &infer, &error), RH_OK);
  assert_int_equal(s->result_count, 4);
  assert_int_equal(s->results[0].kind, RH_RESULT_FAILED);
  assert_string_equal(s->results[0].error.message, "not this one");
  expect_names(&s->results[1], (const uint32_t[][2]){{2, 3}, {9, 11}}, 2);
  assert_int_equal(s->results[2].kind, RH_RESULT_FAILED);
  expect_names(&s->results[3], (const uint32_t[][2]){{0, 1}}, 1);
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
      cmocka_unit_test(a_long_text_is_read_to_its_end),
      cmocka_unit_test(each_token_of_a_long_text_is_told_once),
      cmocka_unit_test(a_long_text_can_be_cut_or_refused),
      cmocka_unit_test(windows_of_unlike_labels_are_refused),
      cmocka_unit_test(strides_that_cannot_be),
      cmocka_unit_test(a_window_that_fails_fails_its_text_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
