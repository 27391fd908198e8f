// SPDX-License-Identifier: Apache-2.0
//
// base/arena: alignment, zeroed memory, the maximum, texts. The poisoning shows itself when this runs under a
// sanitizer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdalign.h>
#include <string.h>

#include "base/arena.h"

static void test_memory_is_aligned_zeroed_and_separate(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(64u << 20);
  assert_non_null(arena);
  unsigned char *blocks[600];
  size_t sizes[600];
  unsigned random = 7;
  for (size_t i = 0; i < 600; i++) {
    random = random * 1103515245u + 12345u;
    sizes[i] = (random >> 16) % (i % 50 == 0 ? 30000 : 400);
    if (i % 3 == 0) assert_non_null(rh_arena_strdup(arena, "odd"));  // shifts the next one off its alignment
    blocks[i] = rh_arena_alloc(arena, sizes[i]);
    assert_non_null(blocks[i]);
    assert_int_equal((uintptr_t)blocks[i] % alignof(max_align_t), 0);
    for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(blocks[i][j], 0);
    memset(blocks[i], (int)(i & 0xFF), sizes[i]);
  }
  for (size_t i = 0; i < 600; i++) {
    for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(blocks[i][j], i & 0xFF);
  }
  rh_arena_free(arena);
}

static void test_the_maximum_holds(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(100);
  assert_non_null(rh_arena_alloc(arena, 60));
  assert_null(rh_arena_alloc(arena, 60));
  assert_null(rh_arena_alloc(arena, SIZE_MAX));
  assert_null(rh_arena_alloc(arena, SIZE_MAX - 8));
  assert_non_null(rh_arena_alloc(arena, 36));  // 60 is padded to 64
  assert_null(rh_arena_alloc(arena, 1));
  assert_int_equal(rh_arena_bytes(arena), 100);
  rh_arena_free(arena);

  arena = rh_arena_new(0);
  assert_null(rh_arena_alloc(arena, 0));
  rh_arena_free(arena);
  rh_arena_free(NULL);
}

static void test_a_flood_of_empty_requests_ends(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(10000);
  size_t count = 0;
  while (rh_arena_alloc(arena, 0) != NULL) count++;
  assert_in_range(count, 600, 10000);
  assert_true(rh_arena_bytes(arena) <= 10000);
  rh_arena_free(arena);
}

static void test_arrays_check_their_product(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(1 << 20);
  assert_null(rh_arena_alloc_array(arena, SIZE_MAX / 2, 3));
  assert_null(rh_arena_alloc_array(arena, 3, SIZE_MAX / 2));
  assert_non_null(rh_arena_alloc_array(arena, 0, 8));
  assert_non_null(rh_arena_alloc_array(arena, 8, 0));
  uint64_t *numbers = rh_arena_alloc_array(arena, 1000, sizeof *numbers);
  assert_non_null(numbers);
  numbers[999] = 1;
  rh_arena_free(arena);
}

static void test_texts(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(1 << 20);
  assert_null(rh_arena_strdup(arena, NULL));
  assert_null(rh_arena_strndup(arena, NULL, 3));
  assert_string_equal(rh_arena_strdup(arena, ""), "");
  assert_string_equal(rh_arena_strdup(arena, "hello"), "hello");
  const char raw[3] = {'a', 'b', 'c'};  // no NUL behind it
  assert_string_equal(rh_arena_strndup(arena, raw, 3), "abc");
  assert_null(rh_arena_strndup(arena, raw, SIZE_MAX));
  assert_string_equal(rh_arena_printf(arena, "%d %s", 7, "x"), "7 x");
  const char *long_text = rh_arena_printf(arena, "%*s", 9000, "y");
  assert_int_equal(strlen(long_text), 9000);
  rh_arena_free(arena);

  arena = rh_arena_new(5);
  assert_null(rh_arena_strdup(arena, "12345"));
  assert_string_equal(rh_arena_strdup(arena, "1234"), "1234");
  assert_null(rh_arena_printf(arena, "%d", 1));
  rh_arena_free(arena);
}

static void test_reset_makes_it_new_again(void **state) {
  (void)state;
  rh_arena *arena = rh_arena_new(1 << 20);
  rh_arena_reset(arena);  // nothing to forget
  for (int round = 0; round < 5; round++) {
    for (size_t size = 1; size < 3000; size += 7) {
      unsigned char *bytes = rh_arena_alloc(arena, size % 400);
      assert_non_null(bytes);
      for (size_t i = 0; i < size % 400; i++) assert_int_equal(bytes[i], 0);
      memset(bytes, 0xCC, size % 400);
    }
    assert_non_null(rh_arena_alloc(arena, 200000));
    rh_arena_reset(arena);
    assert_int_equal(rh_arena_bytes(arena), 0);
  }
  // A single large block is not kept, and the whole maximum is there again.
  assert_non_null(rh_arena_alloc(arena, 1 << 20));
  assert_null(rh_arena_alloc(arena, 1));
  rh_arena_reset(arena);
  assert_non_null(rh_arena_alloc(arena, 1 << 20));
  rh_arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_memory_is_aligned_zeroed_and_separate),
      cmocka_unit_test(test_the_maximum_holds),
      cmocka_unit_test(test_a_flood_of_empty_requests_ends),
      cmocka_unit_test(test_arrays_check_their_product),
      cmocka_unit_test(test_texts),
      cmocka_unit_test(test_reset_makes_it_new_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
