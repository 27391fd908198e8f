// SPDX-License-Identifier: Apache-2.0
//
// kernels: Q4_K, Q5_K and Q6_K, on each instruction set this machine runs, against their definitions in double precision.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels_rows_fixture.h"

static const rk_type types[] = {RK_TYPE_Q4_K, RK_TYPE_Q5_K, RK_TYPE_Q6_K};
static const int widths[] = {256, 512, 2048};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define HALF_LARGEST 0x7bff
#define HALF_INFINITE 0x7c00
#define HALF_NAN 0x7e01
#define SIX_BIT_SCALES 12

// Where things stand in a block of the file.
typedef struct layout {
  size_t d;
  size_t dmin;  // 0: none
  size_t scales;
  size_t scales_bytes;
  size_t high;
  size_t low;
} layout;

static float x[TOKENS_MOST][COLUMNS_MOST];
static float weights[MATRIX_ROWS][COLUMNS_MOST];
static float sizes[MATRIX_ROWS][COLUMNS_MOST];  // of a weight before its minimum is taken off, and of the minimum
static _Alignas(64) float all_sums[TOKENS_MOST][RK_ROWS];
static _Alignas(64) float some_sums[TOKENS_MOST + 1][RK_ROWS];

static layout layout_of(rk_type type) {
  switch (type) {
    case RK_TYPE_Q4_K: return (layout){.d = 0, .dmin = 2, .scales = 4, .scales_bytes = SIX_BIT_SCALES, .low = 16};
    case RK_TYPE_Q5_K:
      return (layout){.d = 0, .dmin = 2, .scales = 4, .scales_bytes = SIX_BIT_SCALES, .high = 16, .low = 48};
    default: return (layout){.d = 208, .scales = 192, .scales_bytes = 16, .high = 128, .low = 0};
  }
}

static void write16(uint8_t *p, unsigned value) {
  p[0] = (uint8_t)value;
  p[1] = (uint8_t)(value >> 8);
}

static unsigned odd_half(int row) {
  switch (row) {
    case 1: return 0;
    case 2: return 0x8000;            // minus zero
    case 3: return noise() & 0x83ff;  // subnormal
    case 4: return HALF_LARGEST;
    case 5: return HALF_LARGEST | 0x8000;
    default: return (noise() & 0x83ff) | (6 + noise() % 10) << 10;
  }
}

// Rows of noise, and rows whose quants, scales and minima are all at an end of their range.
static void fill_block(const rk_format *format, int row, uint8_t *out) {
  layout at = layout_of(format->type);
  for (size_t i = 0; i < format->block_bytes; i++) out[i] = (uint8_t)noise();
  if (row % 8 == 4 || row % 8 == 5) memset(out, 0, format->block_bytes);
  if (row % 8 == 6 || row % 8 == 7) memset(out, 0xff, format->block_bytes);
  if (format->type == RK_TYPE_Q6_K && row % 8 >= 4) memset(out + at.scales, row % 2 ? 0x80 : 0x7f, at.scales_bytes);
  write16(out + at.d, odd_half(row));
  if (at.dmin) write16(out + at.dmin, odd_half(row / 2));
}

// The 6-bit number of a sub-block: the first four stand alone, the others are put together from two places.
static int six_bits(const uint8_t *scales, int b, bool minimum) {
  int first = minimum ? 4 : 0;
  if (b < 4) return scales[first + b] & 63;
  int low = minimum ? scales[4 + b] >> 4 : scales[4 + b] & 15;
  return low | scales[first + b - 4] >> 6 << 4;
}

// Weight i of a block as llama.cpp computes it, in floats; its size before the minimum is taken off goes to *size.
static float weight_of_block(rk_type type, const uint8_t *block, int i, float *size) {
  layout at = layout_of(type);
  float d = half_value(read16(block + at.d));
  if (type == RK_TYPE_Q6_K) {
    int half = i / 128;
    int low = block[at.low + (size_t)(half * 64 + i % 64)] >> (i % 128 < 64 ? 0 : 4) & 15;
    int high = block[at.high + (size_t)(half * 32 + i % 32)] >> (i % 128 / 32 * 2) & 3;
    float w = d * (float)(int8_t)block[at.scales + (size_t)i / 16] * (float)((low | high << 4) - 32);
    *size = fabsf(w);
    return w;
  }
  int q = block[at.low + (size_t)(i / 64 * 32 + i % 32)] >> (i % 64 < 32 ? 0 : 4) & 15;
  if (type == RK_TYPE_Q5_K) q |= (block[at.high + (size_t)i % 32] >> i / 32 & 1) << 4;
  float minimum = half_value(read16(block + at.dmin)) * (float)six_bits(block + at.scales, i / 32, true);
  float scale = d * (float)six_bits(block + at.scales, i / 32, false);
  *size = fabsf(scale) * (float)q + fabsf(minimum);
  float product = scale * (float)q;
  return product - minimum;
}

static void matrix_fill(matrix *m) {
  size_t block_bytes = m->format->block_bytes;
  for (int row = 0; row < MATRIX_ROWS; row++) {
    uint8_t *blocks = m->file + (size_t)row * row_bytes(m->format, m->columns);
    for (int b = 0; b < m->columns / RK_CHUNK; b++) fill_block(m->format, row, blocks + (size_t)b * block_bytes);
    for (int i = 0; i < m->columns; i++) {
      const uint8_t *block = blocks + (size_t)(i / RK_CHUNK) * block_bytes;
      weights[row][i] = weight_of_block(m->format->type, block, i % RK_CHUNK, &sizes[row][i]);
    }
  }
}

typedef void check(const rk_set *set, const rk_format *format, int columns);

static void for_every_format(check *run) {
  const rk_set *sets[SETS_MOST];
  size_t set_count = sets_here(sets);
  for (size_t s = 0; s < set_count; s++) {
    for (size_t f = 0; f < COUNT_OF(types); f++) {
      const rk_format *format = rk_format_find(sets[s], types[f]);
      assert_non_null(format);
      assert_int_equal(format->activation, RK_A256);
      for (size_t i = 0; i < COUNT_OF(widths); i++) run(sets[s], format, widths[i]);
    }
  }
}

static void *quantize_all(const rk_set *set, int columns) {
  return activations_new(set, RK_A256, (const float(*)[COLUMNS_MOST])x, columns);
}

static void assert_near(const rk_set *set, const matrix *m, const char *of, int row, int t, double exact,
                        double slack) {
  double sum = (double)all_sums[t][row % RK_ROWS];
  if (fabs(sum - exact) <= slack) return;
  fail_msg("%s %s, %d columns, row %d, token %d: %g, not %g (%s), off by more than %g", set->name, m->format->name,
           m->columns, row, t, sum, exact, of, slack);
}

// A sum against double precision: with what the activation became (only floats' rounding between them), and with what it
// was (and what rounding to 8 bits can do).
static void check_sum(const rk_set *set, const matrix *m, const rk_a256 *a, int row, int t) {
  double quantized = 0;
  double given = 0;
  double lost = 1e-30;
  double rounded = 0;
  for (int c = 0; c < m->columns / RK_CHUNK; c++) {
    const rk_a256 *chunk = a + (size_t)c * TOKENS_MOST + t;
    double half_step = (double)chunk->scale * 0.501;
    for (int i = 0; i < RK_CHUNK; i++) {
      double value = (double)chunk->scale * chunk->q[i];
      double w = (double)weights[row][c * RK_CHUNK + i];
      quantized += w * value;
      given += w * (double)x[t][c * RK_CHUNK + i];
      lost += (double)sizes[row][c * RK_CHUNK + i] * fabs(value) * 1e-6;
      rounded += fabs(w) * half_step;
    }
  }
  assert_near(set, m, "activations as quantized", row, t, quantized, lost);
  assert_near(set, m, "activations as given", row, t, given, lost + rounded);
}

static void check_products(const rk_set *set, const rk_format *format, int columns) {
  matrix m;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  matrix_pack(&m, MATRIX_ROWS);
  rk_a256 *a = quantize_all(set, columns);
  for (int panel = 0; panel < 2; panel++) {
    const uint8_t *packed = m.packed + (size_t)panel * m.panel_bytes;
    memset(all_sums, 0x55, sizeof all_sums);
    format->multiply(packed, columns, a, TOKENS_MOST, TOKENS_MOST, all_sums);
    for (int t = 0; t < TOKENS_MOST; t++) {
      for (int r = 0; r < RK_ROWS; r++) check_sum(set, &m, a, panel * RK_ROWS + r, t);
    }
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
  for_every_format(check_products);
}

// A chunk packed by one set is read by another, and activations are the same bytes: sets differ in instructions only.
static void check_against_portable(const rk_set *set, const rk_format *format, int columns) {
  const rk_format *portable = rk_format_find(&rk_set_portable, format->type);
  matrix m;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  matrix_pack(&m, MATRIX_ROWS);
  uint8_t *packed = malloc(m.panel_bytes);
  assert_non_null(packed);
  memcpy(packed, m.packed, m.panel_bytes);
  m.format = portable;
  matrix_pack(&m, MATRIX_ROWS);
  assert_memory_equal(packed, m.packed, m.panel_bytes);
  free(packed);
  rk_a256 *a = quantize_all(set, columns);
  rk_a256 *b = quantize_all(&rk_set_portable, columns);
  for (size_t i = 0; i < (size_t)(columns / RK_CHUNK) * TOKENS_MOST; i++) {
    assert_memory_equal(a[i].q, b[i].q, sizeof a[i].q);
    assert_memory_equal(a[i].sum, b[i].sum, sizeof a[i].sum);
  }
  free(a);
  free(b);
  matrix_free(&m);
}

static void all_sets_pack_and_quantize_alike(void **state) {
  (void)state;
  for_every_format(check_against_portable);
}

static void check_unpacked(const rk_set *set, const rk_format *format, int columns) {
  float row[COLUMNS_MOST];
  matrix m;
  (void)set;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  assert_int_equal(m.panel_bytes, RK_ROWS * row_bytes(format, columns));
  for (int rows = RK_ROWS + 5; rows <= MATRIX_ROWS; rows += RK_ROWS - 5) {
    matrix_pack(&m, rows);
    for (int r = 0; r < MATRIX_ROWS; r++) {
      rk_unpack_row(m.format, m.packed, m.columns, r, row);
      if (r < rows) {
        assert_memory_equal(row, weights[r], (size_t)columns * sizeof row[0]);
      } else {
        for (int i = 0; i < columns; i++) assert_true(row[i] == 0.0F);
      }
    }
  }
  matrix_free(&m);
}

static void unpacked_rows_are_those_of_the_file(void **state) {
  (void)state;
  for_every_format(check_unpacked);
}

static void check_missing(const rk_set *set, const rk_format *format, int columns) {
  matrix m;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  matrix_pack(&m, RK_ROWS + 5);
  void *a = quantize_all(set, columns);
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
  for_every_format(check_missing);
}

// Scales that are no numbers, in two rows of a panel: only these rows' results are no numbers.
static void check_hostile_scales(const rk_set *set, const rk_format *format, int columns) {
  layout at = layout_of(format->type);
  matrix m;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  matrix_pack(&m, MATRIX_ROWS);
  void *a = quantize_all(set, columns);
  format->multiply(m.packed, columns, a, TOKENS_MOST, TOKENS_MOST, all_sums);
  for (int row = 8; row < 10; row++) {
    uint8_t *block = m.file + (size_t)row * row_bytes(format, columns);
    write16(block + at.d, row == 8 ? HALF_NAN : HALF_INFINITE);
    if (at.dmin) write16(block + at.dmin, HALF_INFINITE);
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
  for_every_format(check_hostile_scales);
}

// Activations that are no numbers: whatever their token's result, the others keep theirs.
static void check_hostile_activations(const rk_set *set, const rk_format *format, int columns) {
  static float bad[TOKENS_MOST][COLUMNS_MOST];
  matrix m;
  matrix_new(&m, format, columns);
  matrix_fill(&m);
  matrix_pack(&m, MATRIX_ROWS);
  memcpy(bad, x, sizeof bad);
  bad[1][7] = NAN;
  bad[2][31] = INFINITY;
  bad[3][0] = -INFINITY;
  void *good = quantize_all(set, columns);
  void *hostile = activations_new(set, RK_A256, (const float(*)[COLUMNS_MOST])bad, columns);
  format->multiply(m.packed, columns, good, TOKENS_MOST, TOKENS_MOST, all_sums);
  for (int tokens = 1; tokens <= TOKENS_MOST; tokens *= 2) {
    format->multiply(m.packed, columns, hostile, TOKENS_MOST, tokens, some_sums);
    for (int t = 0; t < tokens; t++) {
      if (t < 1 || t > 3) assert_memory_equal(some_sums[t], all_sums[t], sizeof some_sums[t]);
    }
  }
  free(good);
  free(hostile);
  matrix_free(&m);
}

static void hostile_activations_harm_only_their_token(void **state) {
  (void)state;
  for_every_format(check_hostile_activations);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_those_of_the_definition),
      cmocka_unit_test(all_sets_pack_and_quantize_alike),
      cmocka_unit_test(unpacked_rows_are_those_of_the_file),
      cmocka_unit_test(missing_rows_are_zero),
      cmocka_unit_test(hostile_scales_harm_only_their_row),
      cmocka_unit_test(hostile_activations_harm_only_their_token),
  };
  for (int t = 0; t < TOKENS_MOST; t++) {
    for (int i = 0; i < COLUMNS_MOST; i++) x[t][i] = activation_value(t, i);
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
