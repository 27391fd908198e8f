// SPDX-License-Identifier: Apache-2.0
//
// kernels: weights kept as floats of some width, on each instruction set this machine runs, against double precision.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>

#include "kernels_rows_fixture.h"
#ifdef RK_SIMULATED
#include "simulated/sets.h"
#endif

static const rk_type types[] = {RK_TYPE_F16, RK_TYPE_BF16, RK_TYPE_F32};
static const int widths[] = {1, 2, 7, 30, 32, 33, 64, 96, 254, 255, 256, 257, 258, 288, 576, 640, 2048};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static float x[TOKENS_MOST][COLUMNS_MOST];
static float weights[MATRIX_ROWS][COLUMNS_MOST];
static _Alignas(64) float all_sums[TOKENS_MOST][RK_ROWS];
static _Alignas(64) float some_sums[TOKENS_MOST][RK_ROWS];

// A finite weight as a float's bits: usual ones, and rows of large, tiny, subnormal and zero ones.
static uint32_t weight_bits(int row) {
  uint32_t rest = noise() & 0x807fffff;  // sign and mantissa
  switch (row % MATRIX_ROWS) {
    case 1: return rest | (127 + 60) << 23;
    case 2: return rest | (127 - 90) << 23;
    case 3: return rest;  // subnormal
    case 4: return 0;
    case 5: return 0x80000000;
    default: return rest | (127 - 8 + noise() % 8) << 23;
  }
}

static uint16_t weight_half(int row) {
  uint16_t rest = noise() & 0x83ff;
  switch (row % MATRIX_ROWS) {
    case 1: return (uint16_t)(rest | 30 << 10);
    case 2: return (uint16_t)(rest | 1 << 10);
    case 3: return rest;  // subnormal
    case 4: return 0;
    case 5: return 0x8000;
    default: return (uint16_t)(rest | (7 + noise() % 8) << 10);
  }
}

static void fill_weight(rk_type type, int row, uint8_t *out) {
  uint32_t bits = weight_bits(row);
  uint16_t half = type == RK_TYPE_F16 ? weight_half(row) : (uint16_t)(bits >> 16);
  if (type == RK_TYPE_F32) {
    memcpy(out, &bits, sizeof bits);
  } else {
    memcpy(out, &half, sizeof half);
  }
}

static void fill_matrix(matrix *m) {
  uint8_t *out = m->file;
  size_t bytes = m->format->block_bytes / (size_t)m->format->block;
  for (int row = 0; row < MATRIX_ROWS; row++) {
    for (int i = 0; i < m->columns; i++, out += bytes) fill_weight(m->format->type, row, out);
  }
  for (int row = 0; row < MATRIX_ROWS; row++) {
    for (int i = 0; i < m->columns; i++) weights[row][i] = matrix_value(m, row, i);
  }
}

typedef void check(const rk_set *set, const rk_format *format, int columns);

// Those that a block divides.
static void for_every_width(check *run, const rk_set *set, rk_type type) {
  const rk_format *format = rk_format_find(set, (int)type);
  assert_non_null(format);
  for (size_t i = 0; i < COUNT_OF(widths); i++) {
    if (widths[i] % format->block == 0) run(set, format, widths[i]);
  }
}

static void for_every_format(check *run) {
  const rk_set *sets[SETS_MOST];
  size_t set_count = sets_here(sets);
  for (size_t s = 0; s < set_count; s++) {
    for (size_t f = 0; f < COUNT_OF(types); f++) for_every_width(run, sets[s], types[f]);
  }
#ifdef RK_SIMULATED  // its order of sums is its own
  for_every_width(run, &rk_set_avx512bf16sim, RK_TYPE_BF16);
#endif
}

// What a format takes a weight for, and an activation: bf16 dot products have no subnormal numbers, and activations of 8 bits.
static double weight_as_taken(const rk_format *format, float w) {
  return format->activation == RK_ABF16 && fabsf(w) < FLT_MIN ? 0.0 : (double)w;
}

static double activation_as_taken(const rk_format *format, float value) {
  if (format->activation != RK_ABF16) return (double)value;
  int exponent;
  double mantissa = rint(ldexp(frexp((double)value, &exponent), 8));
  double rounded = ldexp(mantissa, exponent - 8);
  return fabs(rounded) < (double)FLT_MIN ? 0.0 : rounded;
}

static void check_sums(const rk_set *set, const matrix *m, int panel) {
  // Sums of 64 columns, then of these; every addition and product may round.
  double part = (64 + m->columns / 64 + 4) * 0x1p-23;
  double lost = m->format->activation == RK_ABF16 ? (double)FLT_MIN * m->columns : 1e-42;  // each sum may be subnormal
  static double taken[COLUMNS_MOST];
  for (int t = 0; t < TOKENS_MOST; t++) {
    for (int i = 0; i < m->columns; i++) taken[i] = activation_as_taken(m->format, x[t][i]);
    for (int r = 0; r < RK_ROWS; r++) {
      double sum = 0;
      double size = 0;
      for (int i = 0; i < m->columns; i++) {
        double product = weight_as_taken(m->format, weights[panel * RK_ROWS + r][i]) * taken[i];
        sum += product;
        size += fabs(product);
      }
      if (fabs((double)all_sums[t][r] - sum) <= size * part + lost) continue;
      fail_msg("%s %s, %d columns, row %d, token %d: %g, not %g", set->name, m->format->name, m->columns,
               panel * RK_ROWS + r, t, (double)all_sums[t][r], sum);
    }
  }
}

static void check_products(const rk_set *set, const rk_format *format, int columns) {
  matrix m;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  matrix_pack(&m, MATRIX_ROWS);
  void *a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])x, columns);
  for (int panel = 0; panel < 2; panel++) {
    const uint8_t *packed = m.packed + (size_t)panel * m.panel_bytes;
    memset(all_sums, 0x55, sizeof all_sums);
    format->multiply(packed, columns, a, TOKENS_MOST, TOKENS_MOST, all_sums);
    check_sums(set, &m, panel);
    // However many tokens there are, each has the same result, and only theirs are written.
    for (int tokens = 1; tokens <= 20; tokens++) {
      memset(some_sums, 0x55, sizeof some_sums);
      format->multiply(packed, columns, a, TOKENS_MOST, tokens, some_sums);
      assert_memory_equal(some_sums, all_sums, (size_t)tokens * sizeof some_sums[0]);
      for (int r = 0; r < RK_ROWS; r++) assert_true(some_sums[tokens][r] > 1e13F);  // 0x55555555
    }
  }
  free(a);
  matrix_free(&m);
}

static void products_are_those_of_double_precision(void **state) {
  (void)state;
  for_every_format(check_products);
}

static void check_unpacked(const rk_set *set, const rk_format *format, int columns) {
  float row[COLUMNS_MOST];
  matrix m;
  (void)set;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  assert_int_equal(m.panel_bytes, RK_ROWS * row_bytes(format, columns));
  for (int rows = RK_ROWS + 5; rows <= MATRIX_ROWS; rows += RK_ROWS - 5) {
    matrix_pack(&m, rows);
    for (int r = 0; r < MATRIX_ROWS; r++) {
      rk_unpack_row(m.format, m.packed, m.columns, r, row);
      if (r < rows) assert_memory_equal(row, weights[r], (size_t)columns * sizeof row[0]);
      for (int i = 0; r >= rows && i < columns; i++) assert_true(row[i] == 0.0F);
    }
  }
  matrix_free(&m);
}

static void unpacked_rows_are_those_of_the_file(void **state) {
  (void)state;
  for_every_format(check_unpacked);
}

// Missing rows have products of zero, and weights and activations that are no numbers harm only their row and token.
static void check_harm(const rk_set *set, const rk_format *format, int columns) {
  static float bad[TOKENS_MOST][COLUMNS_MOST];
  matrix m;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  size_t of_row = row_bytes(format, columns);
  memset(m.file + (RK_ROWS + 3) * of_row, 0xff, of_row);
  matrix_pack(&m, RK_ROWS + 5);
  memcpy(bad, x, sizeof bad);
  bad[2][0] = NAN;
  bad[3][columns - 1] = INFINITY;
  void *good_a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])x, columns);
  void *bad_a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])bad, columns);
  format->multiply(m.packed + m.panel_bytes, columns, good_a, TOKENS_MOST, TOKENS_MOST, all_sums);
  for (int tokens = 1; tokens <= TOKENS_MOST; tokens *= 2) {
    format->multiply(m.packed + m.panel_bytes, columns, bad_a, TOKENS_MOST, tokens, some_sums);
    for (int t = 0; t < tokens; t++) {
      for (int r = 0; r < RK_ROWS; r++) {
        bool harmed = t == 2 || t == 3;
        if (r == 3) assert_true(isnan(some_sums[t][r]));
        if (r >= 5 && !harmed) assert_true(some_sums[t][r] == 0.0F);
        if (r != 3 && !harmed) assert_true(some_sums[t][r] == all_sums[t][r] && isfinite(all_sums[t][r]));
      }
    }
  }
  free(good_a);
  free(bad_a);
  matrix_free(&m);
}

static void what_is_no_number_harms_only_its_row_and_token(void **state) {
  (void)state;
  for_every_format(check_harm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_those_of_double_precision),
      cmocka_unit_test(unpacked_rows_are_those_of_the_file),
      cmocka_unit_test(what_is_no_number_harms_only_its_row_and_token),
  };
  for (int t = 0; t < TOKENS_MOST; t++) {
    for (int i = 0; i < COLUMNS_MOST; i++) x[t][i] = activation_value(t, i);
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
