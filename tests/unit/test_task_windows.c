// SPDX-License-Identifier: Apache-2.0
//
// Long texts to windows, and what the windows gave back to one list. Expected windows follow from what the `tokenizers`
// package does with a stride, expected spans from transformers' rule for those that overlap.
#include "task/internal.h"
#include "test_task_fixture.h"

// So many tokens numbered from 0, each of one character, between two special ones in front and one behind.
static rh_row *row_of(size_t tokens) {
  rh_row *row = rh_row_new(tokens + 3, true);
  assert_non_null(row);
  for (size_t i = 0; i < row->count; i++) {
    bool special = i < 2 || i + 1 == row->count;
    row->ids[i] = special ? -(int32_t)i - 1 : (int32_t)i - 2;
    row->types[i] = 7;
    row->starts[i] = special ? 0 : (uint32_t)i - 2;
    row->ends[i] = special ? 0 : (uint32_t)i - 1;
    row->special[i] = special ? 1 : 0;
    row->subword[i] = (uint8_t)(i % 3 == 0);
  }
  return row;
}

// Windows of `room` tokens of the text.
static void expect_windows(size_t tokens, size_t room, int64_t stride, const size_t (*ends)[2], size_t expected) {
  rh_windows windows = {0};
  rh_error error = {0};
  size_t count = 0;
  assert_int_equal(rh_windows_begin(&windows, row_of(tokens), room + 3, stride, &count, &error), RH_OK);
  assert_int_equal(count, expected);
  for (size_t i = 0; i < count; i++) {
    rh_row *row = NULL;
    assert_int_equal(rh_windows_cut(&windows, i, &row, &error), RH_OK);
    size_t begin = ends[i][0], end = ends[i][1];
    assert_int_equal(row->count, end - begin + 3);
    assert_int_equal(row->skipped, begin);
    assert_int_equal(row->ids[0], -1);
    assert_int_equal(row->ids[1], -2);
    assert_int_equal(row->ids[row->count - 1], -(int32_t)(tokens + 2) - 1);
    for (size_t k = 0; k < end - begin; k++) {
      assert_int_equal(row->ids[k + 2], begin + k);
      assert_int_equal(row->types[k + 2], 7);
      assert_int_equal(row->starts[k + 2], begin + k);
      assert_int_equal(row->ends[k + 2], begin + k + 1);
      assert_int_equal(row->special[k + 2], 0);
      assert_int_equal(row->subword[k + 2], (begin + k + 2) % 3 == 0);
    }
    free(row);
  }
  rh_windows_end(&windows);
  rh_windows_end(&windows);
}

static void windows_share_a_stride(void **state) {
  (void)state;
  expect_windows(11, 10, 0, (const size_t[][2]){{0, 10}, {10, 11}}, 2);
  expect_windows(20, 10, 0, (const size_t[][2]){{0, 10}, {10, 20}}, 2);
  expect_windows(21, 10, 0, (const size_t[][2]){{0, 10}, {10, 20}, {20, 21}}, 3);
  // The first one that reaches the end is the last.
  expect_windows(16, 10, 4, (const size_t[][2]){{0, 10}, {6, 16}}, 2);
  expect_windows(17, 10, 4, (const size_t[][2]){{0, 10}, {6, 16}, {12, 17}}, 3);
  expect_windows(12, 10, 9, (const size_t[][2]){{0, 10}, {1, 11}, {2, 12}}, 3);
  expect_windows(3, 1, 0, (const size_t[][2]){{0, 1}, {1, 2}, {2, 3}}, 3);
  // Nothing said: a quarter, at most 64.
  expect_windows(18, 10, -1, (const size_t[][2]){{0, 10}, {8, 18}}, 2);
  expect_windows(1000, 510, -1, (const size_t[][2]){{0, 510}, {446, 956}, {892, 1000}}, 3);
}

static void expect_none(size_t tokens, size_t length_max, int64_t stride, rh_status expected, const char *message) {
  rh_windows windows = {0};
  rh_error error = {0};
  size_t count = 0;
  assert_int_equal(rh_windows_begin(&windows, row_of(tokens), length_max, stride, &count, &error), expected);
  if (strstr(error.message, message) == NULL) fail_msg("\"%s\" is not in: %s", message, error.message);
  assert_null(windows.whole);
}

static void windows_have_limits(void **state) {
  (void)state;
  expect_none(5, 3, -1, RH_UNSUPPORTED, "no room");
  expect_none(20, 13, 10, RH_INVALID, "holds 10 tokens");
  expect_none(20, 13, INT64_MAX, RH_INVALID, "holds 10 tokens");
  expect_none(RH_WINDOWS_MAX * 10 + 1, 13, 0, RH_TOO_LARGE, "in parts");
  expect_none(RH_WINDOWS_MAX + 10, 13, 9, RH_TOO_LARGE, "smaller stride");
  rh_windows windows = {0};
  size_t count = 0;
  assert_int_equal(rh_windows_begin(&windows, row_of(RH_WINDOWS_MAX + 9), 13, 9, &count, NULL), RH_OK);
  assert_int_equal(count, RH_WINDOWS_MAX);
  rh_windows_end(&windows);
}

// --- together again ------------------------------------------------------------------------------------------------

static rh_window_span span(uint32_t window, uint32_t place, uint32_t start, uint32_t end, float score) {
  return (rh_window_span){.window = window,
                          .place = place,
                          .span = {.start = start, .end = end, .score = score, .index = -1, .group = true}};
}

static void expect_merged(const rh_window_span *spans, size_t count, const float *scores, size_t expected) {
  rh_window_span copy[8];
  rh_tagged_span out[8];
  // In the order given, and the other way round: windows are done in any order.
  for (int turn = 0; turn < 2; turn++) {
    for (size_t i = 0; i < count; i++) copy[i] = spans[turn == 0 ? i : count - 1 - i];
    assert_int_equal(rh_windows_merge(copy, count, out), expected);
    for (size_t i = 0; i < expected; i++) expect_near(out[i].score, (double)scores[i]);
  }
}

static void of_spans_that_overlap_the_longest_stays(void **state) {
  (void)state;
  assert_int_equal(rh_windows_merge(NULL, 0, NULL), 0);
  const rh_window_span cut[] = {span(0, 0, 2, 5, 0.9f), span(0, 1, 20, 24, 0.8f), span(1, 0, 20, 30, 0.6f),
                                span(1, 1, 31, 33, 0.5f)};
  expect_merged(cut, 4, (const float[]){0.9f, 0.6f, 0.5f}, 3);
  // Equally long: the surer one; equally sure: that of the earlier window.
  const rh_window_span alike[] = {span(0, 0, 2, 5, 0.7f), span(1, 0, 2, 5, 0.8f), span(2, 0, 2, 5, 0.6f)};
  expect_merged(alike, 3, (const float[]){0.8f}, 1);
  rh_window_span same[] = {span(1, 0, 2, 5, 0.5f), span(0, 0, 2, 5, 0.5f)};
  same[0].span.label = 1;
  rh_tagged_span out[2];
  assert_int_equal(rh_windows_merge(same, 2, out), 1);
  assert_int_equal(out[0].label, 0);
  // Spans that only touch are two.
  const rh_window_span touch[] = {span(0, 0, 0, 5, 0.7f), span(1, 0, 5, 9, 0.8f)};
  expect_merged(touch, 2, (const float[]){0.7f, 0.8f}, 2);
  // Each is held against the one that stands, not against the one that lost.
  const rh_window_span chain[] = {span(0, 0, 0, 6, 0.1f), span(1, 0, 4, 7, 0.2f), span(2, 0, 6, 9, 0.3f)};
  expect_merged(chain, 3, (const float[]){0.1f, 0.3f}, 2);
}

static void single_tokens_are_known_by_their_numbers(void **state) {
  (void)state;
  // Two tokens of one character, as bytes are, in both windows.
  rh_window_span tokens[] = {span(0, 0, 4, 5, 0.5f), span(0, 1, 4, 5, 0.6f), span(1, 0, 4, 5, 0.7f),
                             span(1, 1, 4, 5, 0.4f)};
  const int32_t indices[] = {9, 10, 9, 10};
  for (size_t i = 0; i < 4; i++) tokens[i].span.index = indices[i];
  expect_merged(tokens, 4, (const float[]){0.7f, 0.6f}, 2);
}

static void walks_go_by_code_points(void **state) {
  (void)state;
  static const char text[] = "aé€🚂z";
  static const size_t bytes[] = {0, 1, 3, 6, 10, 11, 11};
  rh_text_walker walker = {.text = text, .length = sizeof text - 1};
  for (uint32_t i = 0; i < 7; i++) {
    rh_text_walk(&walker, i);
    assert_int_equal(walker.byte, bytes[i]);
  }
  rh_text_walk(&walker, 2);
  assert_int_equal(walker.byte, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(windows_share_a_stride),
      cmocka_unit_test(windows_have_limits),
      cmocka_unit_test(of_spans_that_overlap_the_longest_stays),
      cmocka_unit_test(single_tokens_are_known_by_their_numbers),
      cmocka_unit_test(walks_go_by_code_points),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
