// SPDX-License-Identifier: Apache-2.0
//
// Every set of kernels against the portable one: the same bytes of quantized activations, the same packed weights, the same
// products but for the order of a few roundings. Sets that this processor cannot run take part in simulation (tests/simulated).
#include "kernels_sets_fixture.h"

// The real sets that run here, and the simulated ones.
static tested sets[SETS_MOST + 3];
static size_t set_count;

static void find_sets(void) {
  const rk_set *here[SETS_MOST];
  size_t count = sets_here(here);
  for (size_t s = 0; s < count; s++) sets[set_count++] = (tested){here[s]->name, here[s]};
#ifdef RK_SIMULATED
  sets[set_count++] = (tested){"avxvnni simulated", &rk_set_avxvnnisim};
  sets[set_count++] = (tested){"avx512 simulated", &rk_set_avx512sim};
  sets[set_count++] = (tested){"avx512bf16 simulated", &rk_set_avx512bf16sim};
#endif
  print_message("sets:");
  for (size_t s = 0; s < set_count; s++) print_message(" %s,", sets[s].label);
  print_message(" of %zu formats\n", rk_set_portable.format_count);
}

// Is this, in set `s`, the very format that a set before it has?
static bool is_repeated(size_t s, const rk_format *format) {
  for (size_t i = 0; i < s; i++) {
    if (rk_format_find(sets[i].set, (int)format->type) == format) return true;
  }
  return false;
}

static void test_all_sets_have_the_same_formats(void **state) {
  (void)state;
  assert_true(rk_set_portable.format_count > 0);
  for (size_t s = 0; s < set_count; s++) {
    assert_int_equal(sets[s].set->format_count, rk_set_portable.format_count);
    for (size_t f = 0; f < rk_set_portable.format_count; f++) {
      const rk_format *one = rk_set_portable.formats[f];
      const rk_format *other = sets[s].set->formats[f];
      assert_int_equal(other->type, one->type);
      assert_string_equal(other->name, one->name);
      int blocks = 1;  // of one in the other's
      if (rk_is_own(other)) {
        assert_string_equal(sets[s].set->name, "avx512bf16");
        assert_int_equal(one->type, RK_TYPE_BF16);
        assert_int_equal(other->activation, RK_ABF16);
        blocks = 2;
      }
      assert_non_null(sets[s].set->quantize[other->activation]);
      assert_int_equal(other->block, blocks * one->block);
      assert_int_equal(other->block_bytes, (size_t)blocks * one->block_bytes);
      for (int columns = other->block; columns <= RK_CHUNK; columns += other->block) {
        assert_int_equal(other->chunk_bytes(columns), one->chunk_bytes(columns));
      }
    }
  }
}

// A bias is one number, or two of 16 bits that add up to it: what a set makes of it is its own business.
static bool same_bias(uint32_t one, uint32_t other) {
  return one == other || (int32_t)one == (int16_t)(other & 0xffff) + (int16_t)(other >> 16);
}

static void compare_a32(const rk_a32 *one, const rk_a32 *other, int columns, const char *where) {
  size_t blocks = (size_t)columns / RK_BLOCK;
  if (memcmp(one->q, other->q, (size_t)columns) != 0) fail_msg("%s: bytes differ", where);
  if (memcmp(one->scale, other->scale, blocks * sizeof(float)) != 0) fail_msg("%s: scales differ", where);
  if (memcmp(one->sum, other->sum, blocks * sizeof(float)) != 0) fail_msg("%s: sums differ", where);
  for (size_t b = 0; b < blocks; b++) {
    if (!same_bias(one->bias8[b], other->bias8[b])) fail_msg("%s: bias %zu differs", where, b);
  }
}

static void compare_a256(const rk_a256 *one, const rk_a256 *other, const char *where) {
  if (memcmp(one->q, other->q, sizeof one->q) != 0) fail_msg("%s: bytes differ", where);
  if (memcmp(&one->scale, &other->scale, sizeof one->scale) != 0) fail_msg("%s: scales differ", where);
  if (memcmp(one->sum, other->sum, sizeof one->sum) != 0) fail_msg("%s: sums differ", where);
  for (size_t b = 0; b < RK_CHUNK / 16; b++) {
    if (!same_bias(one->bias32[b], other->bias32[b])) fail_msg("%s: bias %zu differs", where, b);
  }
}

static void compare_quantizers(const float *x, int columns, const tested *other, const char *where) {
  static rk_a32 a32[2];
  static rk_a256 a256[2];
  static rk_af32 af32[2];
  memset(a32, 0x5a, sizeof a32);
  memset(a256, 0x5a, sizeof a256);
  memset(af32, 0x5a, sizeof af32);
  const rk_set *two[2] = {&rk_set_portable, other->set};
  for (int i = 0; i < 2; i++) {
    two[i]->quantize[RK_A32](x, columns, &a32[i]);
    two[i]->quantize[RK_A256](x, columns, &a256[i]);
    two[i]->quantize[RK_AF32](x, columns, &af32[i]);
  }
  compare_a32(&a32[0], &a32[1], columns, where);
  compare_a256(&a256[0], &a256[1], where);
  if (memcmp(&af32[0], &af32[1], sizeof af32[0]) != 0) fail_msg("%s: floats differ", where);
}

// Numbers of all sizes, halves between two integers, zeros, and what is no number.
static void test_quantized_activations_are_the_same(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 2000; seed++) {
    rk_random random = {seed};
    float *x = malloc(RK_CHUNK * sizeof *x);  // exactly so many: reading on is found
    assert_non_null(x);
    int columns = RK_BLOCK * (1 + (int)rk_below(&random, RK_BLOCKS));
    rk_fill_floats(&random, (rk_fill)rk_below(&random, RK_FILLS), x, columns);
    memmove(x + RK_CHUNK - columns, x, (size_t)columns * sizeof *x);
    for (size_t s = 1; s < set_count; s++) {
      char where[96];
      (void)snprintf(where, sizeof where, "%s, seed %d, %d columns", sets[s].label, (int)seed, columns);
      compare_quantizers(x + RK_CHUNK - columns, columns, &sets[s], where);
    }
    free(x);
  }
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The distance from a number to the one that has these upper bits; an infinity stands where the next number would.
static double distance(float x, uint32_t upper) {
  double sign = upper & 0x8000 ? -1.0 : 1.0;
  return fabs((double)x - ((upper & 0x7fff) == 0x7f80 ? sign * 0x1p128 : (double)rk_bfloat((uint16_t)upper)));
}

static void check_bfloat(const tested *one, float x, uint16_t got) {
  uint32_t below = bits_of(x) >> 16;
  bool up = isfinite(x) && (distance(x, below + 1) < distance(x, below) ||
                            (distance(x, below + 1) == distance(x, below) && below % 2 == 1));
  bool right = isnan(x) ? isnan(rk_bfloat(got)) && got >> 15 == below >> 15 : got == below + (up ? 1 : 0);
  if (!right) fail_msg("%s: %a (%08x) is rounded to %04x", one->label, (double)x, bits_of(x), got);
}

// Every bfloat16, and what lies between it and the next.
static void test_rounding_to_bfloats(void **state) {
  (void)state;
  static const uint32_t low[8] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xbfff, 0xffff, 0x4000};
  size_t tested_sets = 0;
  for (size_t s = 0; s < set_count; s++) {
    if (!sets[s].set->quantize[RK_ABF16]) continue;
    tested_sets++;
    for (uint32_t upper = 0; upper < 65536; upper++) {
      float *x = malloc(sizeof low);
      assert_non_null(x);
      int columns = 2 * (1 + (int)(upper % 4));
      for (int i = 0; i < columns; i++) {
        uint32_t bits = upper << 16 | low[(upper / 4 + (uint32_t)i) % 8];
        memcpy(&x[8 - columns + i], &bits, sizeof bits);
      }
      rk_abf16 out;
      memset(&out, 0x5a, sizeof out);
      sets[s].set->quantize[RK_ABF16](x + 8 - columns, columns, &out);
      for (int i = 0; i < columns; i++) check_bfloat(&sets[s], x[8 - columns + i], out.x[i]);
      for (int i = columns; i < RK_CHUNK; i++) assert_int_equal(out.x[i], 0);
      free(x);
    }
  }
  if (tested_sets == 0) skip();  // neither this processor nor a simulation has such a set
}

// Rounds to the nearest integer, the even one of two, and the largest becomes 127.
static void test_portable_rounds_as_it_says(void **state) {
  (void)state;
  float x[RK_BLOCK] = {127.0F,  0.5F,   1.5F,        2.5F,         -0.5F,   -1.5F,
                       -126.5F, 126.5F, 0.49999997F, -0.49999997F, 3.4999F, -0.0F};
  static const int8_t expected[12] = {127, 0, 2, 2, 0, -2, -126, 126, 0, 0, 3, 0};
  rk_a32 out;
  rk_set_portable.quantize[RK_A32](x, RK_BLOCK, &out);
  assert_memory_equal(out.q, expected, sizeof expected);
  assert_true(out.scale[0] == 1.0F);
  assert_true(out.sum[0] == 132.0F);
  assert_int_equal((int32_t)out.bias8[0], -8 * 132);
}

static float exact_half(unsigned half) {
  float sign = half & 0x8000 ? -1.0F : 1.0F;
  int exponent = (int)(half >> 10 & 31);
  float mantissa = (float)(half & 1023);
  if (exponent == 31) return mantissa > 0.0F ? NAN : sign * INFINITY;
  return exponent ? sign * ldexpf(1024.0F + mantissa, exponent - 25) : sign * ldexpf(mantissa, -24);
}

// Numbers of half precision from `first`, one after the other along the rows of a chunk.
static void compare_halves(const tested *one, unsigned first) {
  const rk_format *format = rk_format_find(one->set, RK_TYPE_F16);
  uint16_t halves[RK_ROWS][RK_CHUNK];
  const void *rows[RK_ROWS];
  for (unsigned i = 0; i < RK_ROWS * RK_CHUNK; i++) halves[i / RK_CHUNK][i % RK_CHUNK] = (uint16_t)(first + i);
  for (int r = 0; r < RK_ROWS; r++) rows[r] = halves[r];
  uint8_t *chunk = rk_memory(format->chunk_bytes(RK_CHUNK));
  format->pack(rows, RK_CHUNK, chunk);
  for (unsigned r = 0; r < RK_ROWS; r++) {
    float out[RK_CHUNK];
    format->unpack_row(chunk, RK_CHUNK, (int)r, out);
    for (unsigned i = 0; i < RK_CHUNK; i++) {
      float exact = exact_half(first + r * RK_CHUNK + i);
      if (isnan(exact) ? isnan(out[i]) : memcmp(&exact, &out[i], sizeof exact) == 0) continue;
      fail_msg("%s: half %04x is %a, not %a", one->label, first + r * RK_CHUNK + i, (double)out[i], (double)exact);
    }
  }
  free(chunk);
}

static void test_all_numbers_of_half_precision(void **state) {
  (void)state;
  for (size_t s = 0; s < set_count; s++) {
    if (is_repeated(s, rk_format_find(sets[s].set, RK_TYPE_F16))) continue;
    for (unsigned first = 0; first < 65536; first += RK_ROWS * RK_CHUNK) compare_halves(&sets[s], first);
  }
}

static void test_packed_weights_are_the_same(void **state) {
  (void)state;
  for (size_t f = 0; f < rk_set_portable.format_count; f++) {
    const rk_format *format = rk_set_portable.formats[f];
    for (uint64_t seed = 1; seed <= 6; seed++) {
      for (size_t s = 1; s < set_count; s++) {
        const rk_format *other = sets[s].set->formats[f];
        if (is_repeated(s, other)) continue;
        rk_case one = rk_case_new(other, seed, RK_WEIGHTS_ANY);
        rk_compare_packed(&one, format, other, sets[s].label);
        rk_case_free(&one);
      }
    }
  }
}

// The sets that keep format `f` as portable does, and each that does not for itself.
static double compare_products(size_t f, uint64_t seed, rk_weights weights) {
  double worst = 0.0;
  rk_case one = rk_case_new(rk_set_portable.formats[f], seed, weights);
  rk_case_reference(&one, &rk_set_portable);
  for (size_t s = 0; s < set_count; s++) {
    const rk_format *format = sets[s].set->formats[f];
    if (is_repeated(s, format) || rk_is_own(format)) continue;
    worst = fmax(worst, rk_compare_product(&one, sets[s].set, f, sets[s].label));
  }
  rk_case_free(&one);
  return worst;
}

static double compare_own_products(size_t f, uint64_t seed, rk_weights weights) {
  double worst = 0.0;
  for (size_t s = 0; s < set_count; s++) {
    const rk_format *format = sets[s].set->formats[f];
    if (is_repeated(s, format) || !rk_is_own(format)) continue;
    rk_case one = rk_case_new(format, seed, weights);
    rk_case_reference(&one, sets[s].set);
    worst = fmax(worst, rk_compare_product(&one, sets[s].set, f, sets[s].label));
    rk_case_free(&one);
  }
  return worst;
}

static void products(rk_weights weights, uint64_t seeds) {
  for (size_t f = 0; f < rk_set_portable.format_count; f++) {
    double worst = 0.0;
    double own = 0.0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
      worst = fmax(worst, compare_products(f, seed, weights));
      own = fmax(own, compare_own_products(f, seed, weights));
    }
    print_message("%-5s largest difference: %.2f roundings of the sum of magnitudes\n",
                  rk_set_portable.formats[f]->name, worst);
    if (own > 0.0) print_message("      of sets with activations of their own: %.2f\n", own);
  }
}

static void test_products_are_the_same(void **state) {
  (void)state;
  products(RK_WEIGHTS_ANY, 24);
}

// Where sums are largest, and those of 16 bits closest to their end.
static void test_products_of_the_largest_numbers(void **state) {
  (void)state;
  products(RK_WEIGHTS_EXTREME, 8);
}

// Scales that are no numbers, and any bytes at all: nothing breaks, whatever comes out.
static void test_hostile_weights(void **state) {
  (void)state;
  for (size_t f = 0; f < rk_set_portable.format_count; f++) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
      for (size_t s = 0; s < set_count; s++) {
        if (is_repeated(s, sets[s].set->formats[f])) continue;
        rk_case one = rk_case_new(sets[s].set->formats[f], seed, RK_WEIGHTS_HOSTILE);
        rk_run_product(&one, sets[s].set, f);
        rk_case_free(&one);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_sets_have_the_same_formats),
      cmocka_unit_test(test_portable_rounds_as_it_says),
      cmocka_unit_test(test_quantized_activations_are_the_same),
      cmocka_unit_test(test_all_numbers_of_half_precision),
      cmocka_unit_test(test_packed_weights_are_the_same),
      cmocka_unit_test(test_products_are_the_same),
      cmocka_unit_test(test_products_of_the_largest_numbers),
      cmocka_unit_test(test_hostile_weights),
      cmocka_unit_test(test_rounding_to_bfloats),
  };
  find_sets();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
