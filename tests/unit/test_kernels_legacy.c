// SPDX-License-Identifier: Apache-2.0
//
// kernels: the formats with a scale for every 32 columns, on each instruction set this machine runs, against their
// definitions in double precision.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels_rows_fixture.h"

static const rk_type types[] = {RK_TYPE_Q4_0, RK_TYPE_Q4_1, RK_TYPE_Q5_0, RK_TYPE_Q5_1, RK_TYPE_Q8_0};
static const int widths[] = {32, 64, 96, 256, 288, 576, 640, 2048};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define BLOCKS_MOST (COLUMNS_MOST / RK_BLOCK)
#define HALF_ONE 0x3c00
#define HALF_LARGEST 0x7bff
#define HALF_INFINITE 0x7c00
#define HALF_NAN 0x7e01

typedef float sums_of_row[RK_ROWS];
typedef double exact_of_row[MATRIX_ROWS];

static float x[TOKENS_MOST][COLUMNS_MOST];
static float weights[MATRIX_ROWS][COLUMNS_MOST];
static _Alignas(64) float all_sums[TOKENS_MOST][RK_ROWS];
static _Alignas(64) float some_sums[TOKENS_MOST][RK_ROWS];

static void write16(uint8_t *p, unsigned value) {
  p[0] = (uint8_t)value;
  p[1] = (uint8_t)(value >> 8);
}

// A half of a usual size: within 2^-9 and 2^1, either sign.
static unsigned usual_half(void) { return (noise() & 0x83ff) | (6 + noise() % 10) << 10; }

static unsigned odd_half(int row) {
  switch (row % MATRIX_ROWS) {
    case 1: return 0;
    case 2: return 0x8000;            // minus zero
    case 3: return noise() & 0x83ff;  // subnormal
    case 4: return HALF_LARGEST;
    case 5: return HALF_LARGEST | 0x8000;
    default: return usual_half();
  }
}

static void fill_row(const rk_format *format, int row, uint8_t *out, int columns) {
  for (int b = 0; b < columns / RK_BLOCK; b++, out += format->block_bytes) {
    for (size_t i = 0; i < format->block_bytes; i++) out[i] = (uint8_t)noise();
    if (row % 8 == 6) memset(out, 0xff, format->block_bytes);              // all bits; as signed bytes -1
    if (row % 8 == 7) memset(out, b % 2 ? 0x80 : 0, format->block_bytes);  // the lowest, and -128
    write16(out, odd_half(row));
    if (format->type == RK_TYPE_Q4_1 || format->type == RK_TYPE_Q5_1) write16(out + 2, odd_half(row / 2));
  }
}

static void fill_matrix(matrix *m) {
  for (int row = 0; row < MATRIX_ROWS; row++) {
    fill_row(m->format, row, m->file + (size_t)row * row_bytes(m->format, m->columns), m->columns);
  }
  for (int row = 0; row < MATRIX_ROWS; row++) {
    for (int i = 0; i < m->columns; i++) weights[row][i] = matrix_value(m, row, i);
  }
}

static void fill_activations(void) {
  for (int t = 0; t < TOKENS_MOST; t++) {
    for (int i = 0; i < COLUMNS_MOST; i++) x[t][i] = activation_value(t, i);
  }
}

typedef void check(const rk_set *set, const rk_format *format, int columns);

static void for_every_format(check *run, const int *columns, size_t count) {
  const rk_set *sets[SETS_MOST];
  size_t set_count = sets_here(sets);
  for (size_t s = 0; s < set_count; s++) {
    for (size_t f = 0; f < COUNT_OF(types); f++) {
      const rk_format *format = rk_format_find(sets[s], types[f]);
      assert_non_null(format);
      for (size_t i = 0; i < count; i++) run(sets[s], format, columns[i]);
    }
  }
}

// The product of a row with what the activation became, in double precision, and how far floats may be from it.
static double quantized_product(const rk_a32 *a, int columns, int row, double *slack) {
  double sum = 0;
  double size = 0;
  for (int c = 0; c * RK_CHUNK < columns; c++) {
    const rk_a32 *chunk = a + c * TOKENS_MOST;
    for (int i = 0; i < rk_chunk_columns(columns, c); i++) {
      double w = (double)weights[row][c * RK_CHUNK + i];
      sum += w * chunk->q[i] * (double)chunk->scale[i / RK_BLOCK];
      size += (fabs(w) + 1e-8) * 127 * (double)chunk->scale[i / RK_BLOCK];
    }
  }
  *slack = size * 2e-6;
  return sum;
}

// The same with the activation as it was; the slack is what rounding to 8 bits can do.
static double exact_product(const float *in, int columns, int row, double *slack) {
  double sum = 0;
  *slack = 0;
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    double size = 0;
    double largest = 0;
    for (int i = b * RK_BLOCK; i < (b + 1) * RK_BLOCK; i++) {
      sum += (double)weights[row][i] * (double)in[i];
      size += fabs((double)weights[row][i]);
      largest = fmax(largest, fabs((double)in[i]));
    }
    *slack += size * largest / 127 * 0.501 + 1e-30;
  }
  return sum;
}

static void assert_near(const rk_set *set, const matrix *m, const char *of, int row, int t, double sum, double exact,
                        double slack) {
  if (fabs(sum - exact) <= slack) return;
  fail_msg("%s %s, %d columns, row %d, token %d: %g, not %g (%s), off by more than %g", set->name, m->format->name,
           m->columns, row, t, sum, exact, of, slack);
}

// Minima and scales that are large and cancel each other leave more behind than the weights show.
static double cancelled(const matrix *m, const float *in, int row) {
  double size = 0;
  for (int i = 0; i < m->columns; i++) {
    const uint8_t *block = matrix_row(m, row) + (size_t)(i / RK_BLOCK) * m->format->block_bytes;
    double scale = fabs((double)half_value(read16(block)));
    size += 32 * scale * fabs((double)in[i]);
  }
  return size * 1e-6;
}

static void check_sums(const rk_set *set, const matrix *m, const rk_a32 *a, int panel) {
  for (int t = 0; t < TOKENS_MOST; t++) {
    for (int r = 0; r < RK_ROWS; r++) {
      int row = panel * RK_ROWS + r;
      double slack;
      double lost = cancelled(m, x[t], row);
      double exact = quantized_product(a + t, m->columns, row, &slack);
      assert_near(set, m, "activations as quantized", row, t, (double)all_sums[t][r], exact, slack + lost);
      exact = exact_product(x[t], m->columns, row, &slack);
      assert_near(set, m, "activations as given", row, t, (double)all_sums[t][r], exact, slack + lost);
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
    check_sums(set, &m, a, panel);
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

static void products_are_those_of_the_definition(void **state) {
  (void)state;
  for_every_format(check_products, widths, COUNT_OF(widths));
}

static void check_unpacked(const rk_set *set, const rk_format *format, int columns) {
  float row[COLUMNS_MOST];
  matrix m;
  (void)set;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  assert_int_equal(m.panel_bytes, RK_ROWS * row_bytes(format, columns));
  matrix_pack(&m, MATRIX_ROWS);
  for (int r = 0; r < MATRIX_ROWS; r++) {
    rk_unpack_row(m.format, m.packed, m.columns, r, row);
    assert_memory_equal(row, weights[r], (size_t)columns * sizeof row[0]);
  }
  matrix_free(&m);
}

static void unpacked_rows_are_those_of_the_file(void **state) {
  (void)state;
  for_every_format(check_unpacked, widths, COUNT_OF(widths));
}

static void check_missing(const rk_set *set, const rk_format *format, int columns) {
  float row[COLUMNS_MOST];
  matrix m;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  matrix_pack(&m, RK_ROWS + 5);
  for (int r = RK_ROWS; r < MATRIX_ROWS; r++) {
    rk_unpack_row(m.format, m.packed, m.columns, r, row);
    if (r < RK_ROWS + 5) {
      assert_memory_equal(row, weights[r], (size_t)columns * sizeof row[0]);
    } else {
      for (int i = 0; i < columns; i++) assert_true(row[i] == 0.0F);
    }
  }
  void *a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])x, columns);
  for (int tokens = 1; tokens <= TOKENS_MOST; tokens *= 2) {
    format->multiply(m.packed + m.panel_bytes, columns, a, TOKENS_MOST, tokens, all_sums);
    for (int t = 0; t < tokens; t++) {
      for (int r = 5; r < RK_ROWS; r++) assert_true(all_sums[t][r] == 0.0F);
    }
  }
  free(a);
  matrix_free(&m);
}

static void missing_rows_are_zero(void **state) {
  (void)state;
  const int columns[] = {32, 288};
  for_every_format(check_missing, columns, COUNT_OF(columns));
}

// Scales that are no numbers, in two rows of a panel: only these rows have results that are no numbers.
static void check_hostile_scales(const rk_set *set, const rk_format *format, int columns) {
  matrix m;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  matrix_pack(&m, MATRIX_ROWS);
  void *a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])x, columns);
  format->multiply(m.packed, columns, a, TOKENS_MOST, TOKENS_MOST, all_sums);
  for (int row = 8; row < 10; row++) {
    write16(m.file + (size_t)row * row_bytes(format, columns), row == 8 ? HALF_NAN : HALF_INFINITE);
  }
  matrix_pack(&m, MATRIX_ROWS);
  for (int tokens = 1; tokens <= TOKENS_MOST; tokens *= 2) {
    format->multiply(m.packed, columns, a, TOKENS_MOST, tokens, some_sums);
    for (int t = 0; t < tokens; t++) {
      assert_true(isnan(some_sums[t][8]));
      for (int r = 0; r < RK_ROWS; r++) {
        if (r < 8 || r > 9) assert_true(some_sums[t][r] == all_sums[t][r]);
      }
    }
  }
  free(a);
  matrix_free(&m);
}

static void hostile_scales_harm_only_their_row(void **state) {
  (void)state;
  const int columns[] = {64, 288};
  for_every_format(check_hostile_scales, columns, COUNT_OF(columns));
}

// Activations that are no numbers: whatever their token's result, the others keep theirs.
static void check_hostile_activations(const rk_set *set, const rk_format *format, int columns) {
  static float bad[TOKENS_MOST][COLUMNS_MOST];
  matrix m;
  matrix_new(&m, format, columns);
  fill_matrix(&m);
  matrix_pack(&m, MATRIX_ROWS);
  memcpy(bad, x, sizeof bad);
  bad[1][7] = NAN;
  bad[2][31] = INFINITY;
  bad[3][0] = -INFINITY;
  void *good_a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])x, columns);
  void *bad_a = activations_new(set, format->activation, (const float(*)[COLUMNS_MOST])bad, columns);
  format->multiply(m.packed, columns, good_a, TOKENS_MOST, TOKENS_MOST, all_sums);
  for (int tokens = 4; tokens <= TOKENS_MOST; tokens *= 2) {
    format->multiply(m.packed, columns, bad_a, TOKENS_MOST, tokens, some_sums);
    for (int t = 0; t < tokens; t++) {
      if (t < 1 || t > 3) assert_memory_equal(some_sums[t], all_sums[t], sizeof some_sums[t]);
    }
  }
  free(good_a);
  free(bad_a);
  matrix_free(&m);
}

static void hostile_activations_harm_only_their_token(void **state) {
  (void)state;
  const int columns[] = {32, 288};
  for_every_format(check_hostile_activations, columns, COUNT_OF(columns));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_those_of_the_definition),
      cmocka_unit_test(unpacked_rows_are_those_of_the_file),
      cmocka_unit_test(missing_rows_are_zero),
      cmocka_unit_test(hostile_scales_harm_only_their_row),
      cmocka_unit_test(hostile_activations_harm_only_their_token),
  };
  fill_activations();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
