// SPDX-License-Identifier: Apache-2.0
//
// Which kernels run where: the best that a processor has, what the user wants instead, and a reason in every case.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/choose.h"

enum { ALL = RK_CAN_AVX2 | RK_CAN_AVXVNNI | RK_CAN_AVX512 | RK_CAN_AVX512BF16 };

static char reason[256];

static void check(unsigned abilities, const char *wish, const char *name, const char *words) {
  memset(reason, 'x', sizeof reason);
  const rk_set *set = rk_choose_for(abilities, wish, reason, sizeof reason);
  assert_string_equal(reason, words);
  assert_true((set == NULL) == (name == NULL));
  if (set) assert_string_equal(set->name, name);
}

#ifdef __x86_64__

static void test_the_best_a_processor_has(void **state) {
  (void)state;
  check(ALL, NULL, "avx512bf16", "avx512bf16 (the best there is)");
  check(ALL & ~RK_CAN_AVXVNNI, "", "avx512bf16", "avx512bf16 (the best there is)");
  check(RK_CAN_AVX2 | RK_CAN_AVX512, "", "avx512", "avx512 (no AVX-512 BF16)");
  check(ALL & ~RK_CAN_AVX512BF16, NULL, "avx512", "avx512 (no AVX-512 BF16)");
  check(RK_CAN_AVX2 | RK_CAN_AVXVNNI, NULL, "avxvnni", "avxvnni (no AVX-512 BF16, no AVX-512 VNNI)");
  check(RK_CAN_AVX2, NULL, "avx2", "avx2 (no AVX-512 BF16, no AVX-512 VNNI, no AVX-VNNI)");
  // The dot product alone is not enough.
  check(RK_CAN_AVX2 | RK_CAN_AVX512BF16, NULL, "avx2", "avx2 (no AVX-512 BF16, no AVX-512 VNNI, no AVX-VNNI)");
}

static void test_a_wish_is_granted_where_it_can(void **state) {
  (void)state;
  check(ALL, "avx512bf16", "avx512bf16", "avx512bf16 (forced by ROUNDHOUSE_KERNELS)");
  check(ALL, "avx512", "avx512", "avx512 (forced by ROUNDHOUSE_KERNELS)");
  check(ALL, "avxvnni", "avxvnni", "avxvnni (forced by ROUNDHOUSE_KERNELS)");
  check(ALL, "avx2", "avx2", "avx2 (forced by ROUNDHOUSE_KERNELS)");
  check(RK_CAN_AVX2, "avxvnni", NULL,
        "stock (ROUNDHOUSE_KERNELS=avxvnni needs AVX-VNNI; this processor runs: stock, portable, avx2)");
  check(RK_CAN_AVX2 | RK_CAN_AVXVNNI, "avx512", NULL,
        "stock (ROUNDHOUSE_KERNELS=avx512 needs AVX-512 VNNI; this processor runs: stock, portable, avx2, avxvnni)");
  check(RK_CAN_AVX2 | RK_CAN_AVX512, "avx512bf16", NULL,
        "stock (ROUNDHOUSE_KERNELS=avx512bf16 needs AVX-512 BF16; this processor runs: stock, portable, avx2, avx512)");
}

#endif

static void test_without_vectors_of_ours_upstream_runs(void **state) {
  (void)state;
  check(0, NULL, NULL, "stock (no AVX2: portable is slower than llama.cpp's own here)");
  check(0, "", NULL, "stock (no AVX2: portable is slower than llama.cpp's own here)");
  check(0, "avx2", NULL, "stock (ROUNDHOUSE_KERNELS=avx2 needs AVX2; this processor runs: stock, portable)");
}

static void test_stock_and_portable_run_everywhere(void **state) {
  (void)state;
  for (unsigned abilities = 0; abilities <= ALL; abilities++) {
    check(abilities, "stock", NULL, "stock (forced by ROUNDHOUSE_KERNELS)");
    check(abilities, "portable", "portable", "portable (forced by ROUNDHOUSE_KERNELS)");
  }
}

static void test_unknown_words(void **state) {
  (void)state;
  check(0, "sse9", NULL, "stock (ROUNDHOUSE_KERNELS=sse9 is unknown; this processor runs: stock, portable)");
  check(0, "AVX2", NULL, "stock (ROUNDHOUSE_KERNELS=AVX2 is unknown; this processor runs: stock, portable)");
  check(0, "0123456789012345678901234567890123456789", NULL,
        "stock (ROUNDHOUSE_KERNELS=01234567890123456789012345678901 is unknown; this processor runs: stock, portable)");
}

// A reason that does not fit ends early, with its zero, and nothing is written behind it.
static void test_short_reasons(void **state) {
  (void)state;
  static const char *const wishes[] = {NULL, "stock", "portable", "avx2", "avx512", "avx512bf16", "no such set"};
  for (size_t w = 0; w < sizeof wishes / sizeof wishes[0]; w++) {
    char whole[256];
    const rk_set *set = rk_choose_for(0, wishes[w], whole, sizeof whole);
    for (size_t size = 0; size <= sizeof whole; size++) {
      char *text = malloc(size + 1);
      assert_non_null(text);
      memset(text, '#', size + 1);
      assert_ptr_equal(rk_choose_for(0, wishes[w], text, size), set);
      assert_int_equal(text[size], '#');
      if (size > 0) {
        assert_true(strlen(text) < size);
        assert_memory_equal(text, whole, strlen(text));
        assert_int_equal(strlen(text), strlen(whole) < size ? strlen(whole) : size - 1);
      }
      free(text);
    }
  }
}

// The line of flags in /proc/cpuinfo may lack what a processor can, but does not promise what it cannot.
static void test_abilities_of_this_processor(void **state) {
  (void)state;
  unsigned abilities = rk_abilities();
  if (abilities != 0) assert_true((abilities & RK_CAN_AVX2) != 0);
  FILE *file = fopen("/proc/cpuinfo", "r");
  if (!file) skip();
  static char line[65536];
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, "flags", 5) != 0) continue;
    line[strcspn(line, "\n")] = ' ';
    if (strstr(line, " avx2 ") && strstr(line, " fma ") && strstr(line, " f16c ")) {
      assert_true((abilities & RK_CAN_AVX2) != 0);
      if (strstr(line, " avx_vnni ")) assert_true((abilities & RK_CAN_AVXVNNI) != 0);
    }
    break;
  }
  (void)fclose(file);
}

#ifdef __x86_64__

// What the compiler's own question answers, for the names that every compiler knows.
static void test_abilities_as_the_compiler_sees_them(void **state) {
  (void)state;
  unsigned abilities = rk_abilities();
  bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vnni");
  assert_int_equal((abilities & RK_CAN_AVX512) != 0, wide);
  assert_int_equal((abilities & RK_CAN_AVX512BF16) != 0, wide && __builtin_cpu_supports("avx512bf16"));
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!avx2) assert_int_equal(abilities, 0);
}

#endif

static void test_this_processor(void **state) {
  (void)state;
  const rk_set *chosen = rk_choose(NULL, reason, sizeof reason);
  assert_ptr_equal(chosen, rk_choose_for(rk_abilities(), NULL, reason, sizeof reason));
  assert_true(strlen(reason) > 0);
  if (chosen) assert_ptr_equal(rk_choose(chosen->name, reason, sizeof reason), chosen);
  assert_null(rk_choose("stock", reason, sizeof reason));
}

int main(void) {
  const struct CMUnitTest tests[] = {
#ifdef __x86_64__
      cmocka_unit_test(test_the_best_a_processor_has),
      cmocka_unit_test(test_a_wish_is_granted_where_it_can),
      cmocka_unit_test(test_abilities_as_the_compiler_sees_them),
#endif
      cmocka_unit_test(test_without_vectors_of_ours_upstream_runs),
      cmocka_unit_test(test_stock_and_portable_run_everywhere),
      cmocka_unit_test(test_unknown_words),
      cmocka_unit_test(test_short_reasons),
      cmocka_unit_test(test_abilities_of_this_processor),
      cmocka_unit_test(test_this_processor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
