// SPDX-License-Identifier: Apache-2.0
//
// The hash of tables: every byte and the length count, whatever lies around them, and the low bits choose slots evenly.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"

static void every_byte_counts(void **state) {
  (void)state;
  for (size_t length = 0; length <= 40; length++) {
    // Of their exact size, so that a read past the end is found, and once at an odd address.
    char *bytes = malloc(length + 1), *moved = malloc(length + 1);
    for (size_t i = 0; i < length; i++) bytes[i] = moved[i + 1] = (char)('a' + i);
    uint64_t hash = rh_hash_bytes(7, bytes, length);
    assert_true(hash == rh_hash_bytes(7, moved + 1, length));
    assert_true(hash != rh_hash_bytes(8, bytes, length));
    for (size_t i = 0; i < length; i++) {
      bytes[i] ^= 1;
      assert_true(hash != rh_hash_bytes(7, bytes, length));
      bytes[i] ^= 1;
    }
    bytes[length] = '\0';  // a zero behind is a byte more
    assert_true(hash != rh_hash_bytes(7, bytes, length + 1));
    free(bytes);
    free(moved);
  }
}

static void low_bits_are_spread(void **state) {
  (void)state;
  enum { SLOTS = 256, KEYS = 64 * SLOTS };
  static const char *const shapes[] = {"key-%d", "%d", "a rather long name that many others have too %08d",
                                       "%d000000000"};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    unsigned counts[SLOTS] = {0};
    char text[80];
    for (int k = 0; k < KEYS; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
      int length = snprintf(text, sizeof text, shapes[i], k);
#pragma GCC diagnostic pop
      counts[rh_hash_bytes(0, text, (size_t)length) & (SLOTS - 1)]++;
    }
    // Of chance 64 each with a deviation of 8.
    for (size_t slot = 0; slot < SLOTS; slot++) assert_in_range(counts[slot], 24, 112);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_counts),
      cmocka_unit_test(low_bits_are_spread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
