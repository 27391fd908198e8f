// SPDX-License-Identifier: Apache-2.0
//
// Whole matrices: packed piece by piece, or by several threads, they are the same bytes as packed at once, and every row is
// where it is looked for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/panel.h"
#include "kernels_here.h"

#define COLUMNS 512

static uint32_t state = 1;

static uint8_t any_byte(void) {
  state = state * 1664525U + 1013904223U;
  return (uint8_t)(state >> 24);
}

// Panels of the last rows of a matrix are not full, so the next matrix begins at a panel of its own.
typedef struct shape {
  int64_t rows, matrices;
} shape;

static const shape shapes[] = {{40, 3}, {16, 2}, {1, 5}, {600, 1}, {33, 4}};

typedef struct packed {
  rk_stored stored;
  uint8_t *data;
  size_t data_bytes;
  size_t bytes;
} packed;

static packed packed_new(const rk_format *format, shape s) {
  packed p = {.stored = {.format = format, .rows = s.rows, .columns = COLUMNS, .matrices = s.matrices}};
  p.data_bytes = (size_t)(s.rows * s.matrices) * (size_t)(COLUMNS / format->block) * format->block_bytes;
  p.data = malloc(p.data_bytes);
  assert_non_null(p.data);
  for (size_t i = 0; i < p.data_bytes; i++) p.data[i] = any_byte();
  p.stored.data = p.data;
  p.bytes = rk_matrix_bytes(format, s.rows, COLUMNS) * (size_t)s.matrices;
  return p;
}

static uint8_t *pack(const packed *p, int64_t at_once, int threads) {
  void *out = NULL;
  assert_int_equal(posix_memalign(&out, 64, p->bytes), 0);
  memset(out, 0x5a, p->bytes);
  int64_t panels = rk_stored_panels(&p->stored);
  for (int64_t first = 0; first < panels; first += at_once) {
    rk_pack(&p->stored, first, first + at_once < panels ? at_once : panels - first, out, threads);
  }
  return out;
}

static void compare_pieces(const packed *p) {
  int64_t panels = rk_stored_panels(&p->stored);
  uint8_t *whole = pack(p, panels, 1);
  static const int64_t pieces[] = {1, 3, 7, 1000};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    uint8_t *other = pack(p, pieces[i], 3);
    assert_memory_equal(whole, other, p->bytes);
    free(other);
  }
  free(whole);
  assert_int_equal(rk_stored_at(&p->stored, 0), 0);
  assert_int_equal(rk_stored_at(&p->stored, panels), p->data_bytes);
}

static void test_pieces(void **unused) {
  (void)unused;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  for (size_t s = 0; s < count; s++) {
    for (size_t f = 0; f < sets[s]->format_count; f++) {
      for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        packed p = packed_new(sets[s]->formats[f], shapes[i]);
        compare_pieces(&p);
        free(p.data);
      }
    }
  }
}

// In floats, whose packed rows are the file's.
static void test_rows_are_found(void **unused) {
  (void)unused;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    const rk_format *format = rk_format_find(&rk_set_portable, RK_TYPE_F32);
    packed p = packed_new(format, shapes[i]);
    uint8_t *out = pack(&p, 2, 2);
    size_t matrix = rk_matrix_bytes(format, shapes[i].rows, COLUMNS);
    for (int64_t r = 0; r < shapes[i].rows * shapes[i].matrices; r++) {
      float row[COLUMNS];
      const uint8_t *at = out + (size_t)(r / shapes[i].rows) * matrix;
      rk_unpack_row(format, at, COLUMNS, r % shapes[i].rows, row);
      assert_memory_equal(row, p.data + (size_t)r * sizeof row, sizeof row);
    }
    free(out);
    free(p.data);
  }
}

// A file may place weights at odd addresses.
static void test_odd_addresses(void **unused) {
  (void)unused;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  for (size_t s = 0; s < count; s++) {
    for (size_t f = 0; f < sets[s]->format_count; f++) {
      packed p = packed_new(sets[s]->formats[f], shapes[0]);
      uint8_t *even = pack(&p, 1000, 1);
      uint8_t *moved = malloc(p.data_bytes + 1);
      assert_non_null(moved);
      memcpy(moved + 1, p.data, p.data_bytes);
      p.stored.data = moved + 1;
      uint8_t *odd = pack(&p, 1000, 1);
      assert_memory_equal(even, odd, p.bytes);
      free(odd);
      free(even);
      free(moved);
      free(p.data);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_rows_are_found),
      cmocka_unit_test(test_odd_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
