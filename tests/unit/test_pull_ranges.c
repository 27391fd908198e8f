// SPDX-License-Identifier: Apache-2.0
//
// Which bytes are here: checked against a plain array of flags, and the note of it on disk.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "pull/ranges.h"
#include "pull/state.h"

#define SIZE 200

static void check_against(const rh_ranges *ranges, const bool *here) {
  int64_t sum = 0, prefix = 0;
  for (int i = 0; i < SIZE; i++) sum += here[i];
  while (prefix < SIZE && here[prefix]) prefix++;
  assert_int_equal(rh_ranges_bytes(ranges), sum);
  assert_int_equal(rh_ranges_prefix(ranges), prefix);
  for (size_t i = 0; i < ranges->count; i++) {
    assert_true(ranges->items[i].first < ranges->items[i].end);
    // Sorted, and neither touching nor overlapping.
    if (i > 0) assert_true(ranges->items[i - 1].end < ranges->items[i].first);
    for (int64_t k = ranges->items[i].first; k < ranges->items[i].end; k++) assert_true(here[k]);
  }
}

static void test_add_like_flags(void **state) {
  (void)state;
  unsigned seed = 1;
  for (int round = 0; round < 300; round++) {
    rh_ranges ranges = {0};
    bool here[SIZE] = {false};
    for (int i = 0; i < 40; i++) {
      int64_t first = rand_r(&seed) % SIZE, length = rand_r(&seed) % 12;
      int64_t end = first + length > SIZE ? SIZE : first + length;
      assert_int_equal(rh_ranges_add(&ranges, first, end), RH_OK);
      for (int64_t k = first; k < end; k++) here[k] = true;
      check_against(&ranges, here);
    }
    rh_ranges_release(&ranges);
  }
}

// Gaps are handed out until none is left; each byte is handed out exactly once.
static void test_gaps_cover_everything_once(void **state) {
  (void)state;
  unsigned seed = 7;
  for (int round = 0; round < 300; round++) {
    rh_ranges ranges = {0};
    rh_range busy[SIZE];
    int taken[SIZE] = {0};
    size_t busy_count = 0;
    for (int i = 0; i < 5; i++) {
      int64_t first = rand_r(&seed) % (SIZE - 10);
      assert_int_equal(rh_ranges_add(&ranges, first, first + 1 + rand_r(&seed) % 9), RH_OK);
    }
    for (size_t i = 0; i < ranges.count; i++) {
      for (int64_t k = ranges.items[i].first; k < ranges.items[i].end; k++) taken[k]++;
    }
    rh_range gap;
    while (rh_ranges_gap(&ranges, busy, busy_count, SIZE, 1 + rand_r(&seed) % 20, &gap)) {
      assert_true(gap.first < gap.end && gap.end <= SIZE);
      for (int64_t k = gap.first; k < gap.end; k++) taken[k]++;
      busy[busy_count++] = gap;
    }
    for (int i = 0; i < SIZE; i++) assert_int_equal(taken[i], 1);
    rh_ranges_release(&ranges);
  }
}

static void test_limit(void **state) {
  (void)state;
  rh_ranges ranges = {0};
  for (int i = 0; i < RH_RANGES_MAX; i++) assert_int_equal(rh_ranges_add(&ranges, 2 * i, 2 * i + 1), RH_OK);
  assert_int_equal(rh_ranges_add(&ranges, 1000000, 1000001), RH_TOO_LARGE);
  assert_int_equal(ranges.count, RH_RANGES_MAX);
  // Filling a gap makes room.
  assert_int_equal(rh_ranges_add(&ranges, 1, 2), RH_OK);
  assert_int_equal(rh_ranges_add(&ranges, 1000000, 1000001), RH_OK);
  rh_ranges_release(&ranges);
}

// --- the note ---

static char folder[] = "/tmp/rh-pull-state-XXXXXX";
static char path[64];

static int make_folder(void **state) {
  (void)state;
  if (mkdtemp(folder) == NULL) return -1;
  (void)snprintf(path, sizeof path, "%s/x.state", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  return rh_file_remove_tree(folder, NULL) == RH_OK ? 0 : -1;
}

static void test_state_comes_back(void **state) {
  (void)state;
  rh_pull_state saved = {.total = 1000, .validator = "\"etag\"", .complete = false}, got;
  rh_error error = {0};
  memset(saved.sha256, 'a', 64);
  assert_int_equal(rh_ranges_add(&saved.done, 0, 10), RH_OK);
  assert_int_equal(rh_ranges_add(&saved.done, 900, 1000), RH_OK);
  assert_int_equal(rh_pull_state_save(path, &saved, &error), RH_OK);
  assert_int_equal(rh_pull_state_load(path, &got, &error), RH_OK);
  assert_int_equal(got.total, 1000);
  assert_string_equal(got.validator, "\"etag\"");
  assert_string_equal(got.sha256, saved.sha256);
  assert_int_equal(got.done.count, 2);
  assert_int_equal(rh_ranges_bytes(&got.done), 110);
  rh_pull_state_release(&got);
  rh_pull_state_release(&saved);
}

static void test_broken_states(void **state) {
  (void)state;
  static const char *const broken[] = {
      "",
      "{",
      "[]",
      "{}",
      "{\"version\":2,\"total\":1,\"done\":[]}",
      "{\"version\":1,\"total\":10,\"done\":[[0,11]]}",  // beyond the end
      "{\"version\":1,\"total\":10,\"done\":[[5,5]]}",
      "{\"version\":1,\"total\":10,\"done\":[[6,5]]}",
      "{\"version\":1,\"total\":10,\"done\":[[-1,5]]}",
      "{\"version\":1,\"total\":10,\"done\":[[1]]}",
      "{\"version\":1,\"total\":10,\"done\":[1,2]}",
      "{\"version\":1,\"total\":10,\"done\":{}}",
      ("{\"version\":1,\"total\":10,\"sha256\":\"far too long "
       "0123456789012345678901234567890123456789012345678901234567890123456789\",\"done\":[]}"),
  };
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    rh_pull_state got;
    assert_int_equal(rh_file_write_atomic(path, broken[i], strlen(broken[i]), 0644, NULL), RH_OK);
    if (rh_pull_state_load(path, &got, NULL) == RH_OK) fail_msg("taken: %s", broken[i]);
    assert_int_equal(got.done.count, 0);
  }
  (void)unlink(path);
  rh_pull_state none;
  assert_int_equal(rh_pull_state_load(path, &none, NULL), RH_NOT_FOUND);
}

static void test_when_bytes_may_be_used(void **state) {
  (void)state;
  rh_pull_state old = {.total = 100, .sha256 = "aa", .validator = "v1"};
  assert_true(rh_pull_state_matches(&old, 100, "aa", "v2"));  // the digest is the stronger witness
  assert_false(rh_pull_state_matches(&old, 100, "bb", "v1"));
  assert_false(rh_pull_state_matches(&old, 101, "aa", "v1"));
  assert_true(rh_pull_state_matches(&old, -1, "", "v1"));
  assert_false(rh_pull_state_matches(&old, 100, "", "v2"));
  assert_false(rh_pull_state_matches(&old, 100, "", ""));  // nothing proves it
  old.sha256[0] = '\0';
  assert_true(rh_pull_state_matches(&old, 100, "aa", "v1"));
  assert_false(rh_pull_state_matches(&old, 100, "aa", ""));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_add_like_flags), cmocka_unit_test(test_gaps_cover_everything_once),
      cmocka_unit_test(test_limit),          cmocka_unit_test(test_state_comes_back),
      cmocka_unit_test(test_broken_states),  cmocka_unit_test(test_when_bytes_may_be_used),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
