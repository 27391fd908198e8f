// SPDX-License-Identifier: Apache-2.0
//
// kernels: attention on each instruction set this machine runs, both ways (tiles and few queries), against double precision.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention_kernel.h"
#include "kernels_here.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define HIDDEN 0xfc00
#define GUARD 8  // floats between rows of the output that nobody may touch
#define HEADS_MOST 96

// What is in the mask. LOTS: keys hidden at random, and all of them for every fifth query.
typedef enum mask_kind { NO_MASK, CAUSAL, WINDOW, LOTS, SLOPES, OWN } mask_kind;

typedef struct shape {
  int dk, dv, queries, heads, keys;
  mask_kind mask;
  float softcap;
  bool sinks;
} shape;

static const shape shapes[] = {
    {64, 64, 1, 1, 1, NO_MASK, 0, false},         {64, 64, 1, 3, 100, NO_MASK, 0, false},
    {64, 64, 70, 3, 200, CAUSAL, 0, false},       {64, 64, 37, 1, 65, CAUSAL, 0, false},
    {80, 80, 13, 4, 131, CAUSAL, 0, true},        {96, 96, 9, 8, 64, LOTS, 0, false},
    {128, 128, 33, 4, 257, WINDOW, 0, false},     {256, 256, 11, 4, 96, CAUSAL, 50.0F, false},
    {64, 64, 5, 12, 190, SLOPES, 0, false},       {128, 64, 6, 7, 77, LOTS, 30.0F, true},
    {192, 128, 3, 5, 63, OWN, 0, false},          {16, 32, 2, 2, 3, LOTS, 0, true},
    {48, 16, 4, 6, 66, SLOPES, 20.0F, true},      {64, 64, 1, 8, 320, CAUSAL, 0, false},
    {112, 112, 2, HEADS_MOST, 70, LOTS, 0, true},
};

typedef struct problem {
  shape s;
  rk_attend a;
  float *q, *out;
  uint16_t *k, *v, *mask;
  float slopes[HEADS_MOST], sinks[HEADS_MOST];
  size_t out_floats;
  double *expected;  // [query][head][dv]
} problem;

static uint64_t seed;

static uint32_t noise(void) {
  seed = seed * 6364136223846793005U + 1442695040888963407U;
  return (uint32_t)(seed >> 33);
}

static float unit(void) { return (float)(int32_t)(noise() << 1) * 0x1p-31F; }

// A number of half precision of middle size, and what it stands for.
static uint16_t any_half(void) { return (uint16_t)((noise() & 0x83ff) | (uint32_t)(9 + noise() % 7) << 10); }

static double half_value(uint16_t h) {
  if (h == HIDDEN) return -INFINITY;
  double m =
      (h & 0x7c00) ? ldexp((double)(h & 0x3ff) + 1024.0, ((h >> 10) & 31) - 25) : ldexp((double)(h & 0x3ff), -24);
  return h & 0x8000 ? -m : m;
}

static void *memory(size_t bytes) {
  void *p = malloc(bytes);
  assert_non_null(p);
  return p;
}

static uint16_t mask_half(const shape *s, int query, int key) {
  bool seen = key <= s->keys - s->queries + query;
  switch (s->mask) {
    case WINDOW: return seen && key > s->keys - s->queries + query - 70 ? 0 : HIDDEN;
    case LOTS: return query % 5 == 1 || noise() % 3 == 0 ? HIDDEN : 0;
    case SLOPES:
    case OWN: return noise() % 4 == 0 ? HIDDEN : (uint16_t)(0x8000 | (noise() & 0x3ff) | 14 << 10);
    default: return seen ? 0 : HIDDEN;
  }
}

static uint16_t mask_at(const problem *p, int query, int head, int key) {
  if (!p->mask) return 0;
  return p
      ->mask[((size_t)(p->s.mask == OWN ? head * p->s.queries : 0) + (size_t)query) * (size_t)p->s.keys + (size_t)key];
}

static void fill_mask(problem *p) {
  const shape *s = &p->s;
  if (s->mask == NO_MASK) return;
  int rows = s->queries * (s->mask == OWN ? s->heads : 1);
  p->mask = memory((size_t)rows * (size_t)s->keys * sizeof *p->mask);
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < s->keys; i++) p->mask[r * s->keys + i] = mask_half(s, r % s->queries, i);
  }
  p->a.mask = (const uint8_t *)p->mask;
  p->a.mask_query = (size_t)s->keys * sizeof *p->mask;
  if (s->mask == OWN) p->a.mask_head = (size_t)s->queries * p->a.mask_query;
}

// Queries and output are [query][head], keys and values [key] with another head's beside them.
static void describe(problem *p) {
  const shape *s = &p->s;
  size_t row = (size_t)s->dv + GUARD;
  p->out_floats = (size_t)(s->queries * s->heads) * row;
  p->out = memory(p->out_floats * sizeof(float));
  p->a.q = (const uint8_t *)p->q;
  p->a.q_head = (size_t)s->dk * sizeof(float);
  p->a.q_query = (size_t)s->heads * p->a.q_head;
  p->a.k = (const uint8_t *)(p->k + s->dk);
  p->a.k_key = 2 * (size_t)s->dk * sizeof *p->k;
  p->a.v = (const uint8_t *)(p->v + s->dv);
  p->a.v_key = 2 * (size_t)s->dv * sizeof *p->v;
  p->a.out = (uint8_t *)p->out;
  p->a.out_head = row * sizeof(float);
  p->a.out_query = (size_t)s->heads * p->a.out_head;
}

static void expect_row(problem *p, int query, int head) {
  const shape *s = &p->s;
  double *logits = memory((size_t)s->keys * sizeof *logits);
  double *out = p->expected + (query * s->heads + head) * s->dv;
  const float *q = p->q + (query * s->heads + head) * s->dk;
  double most = s->sinks ? (double)p->sinks[head] : -INFINITY;
  for (int i = 0; i < s->keys; i++) {
    double x = 0.0;
    for (int d = 0; d < s->dk; d++) x += (double)q[d] * half_value(p->k[(2 * i + 1) * s->dk + d]);
    x *= (double)p->a.scale;
    if (s->softcap != 0.0F) x = (double)s->softcap * tanh(x / (double)s->softcap);
    logits[i] = x + (s->mask == SLOPES ? (double)p->slopes[head] : 1.0) * half_value(mask_at(p, query, head, i));
    most = fmax(most, logits[i]);
  }
  double total = s->sinks ? exp((double)p->sinks[head] - most) : 0.0;
  memset(out, 0, (size_t)s->dv * sizeof *out);
  for (int i = 0; i < s->keys && most > -INFINITY; i++) {
    double weight = exp(logits[i] - most);
    total += weight;
    for (int d = 0; d < s->dv && weight > 0.0; d++) out[d] += weight * half_value(p->v[(2 * i + 1) * s->dv + d]);
  }
  for (int d = 0; d < s->dv && total > 0.0; d++) out[d] /= total;
  free(logits);
}

static problem make(const shape *s) {
  problem p = {.s = *s};
  seed = (uint64_t)(s->dk * 1000 + s->keys);
  p.a = (rk_attend){.keys = s->keys, .heads = s->heads, .dk = s->dk, .dv = s->dv, .softcap = s->softcap};
  p.a.scale = 2.0F / sqrtf((float)s->dk);
  p.q = memory((size_t)(s->queries * s->heads * s->dk) * sizeof *p.q);
  for (int i = 0; i < s->queries * s->heads * s->dk; i++) p.q[i] = 2.0F * unit();
  p.k = memory((size_t)(2 * s->keys * s->dk) * sizeof *p.k);
  p.v = memory((size_t)(2 * s->keys * s->dv) * sizeof *p.v);
  for (int i = 0; i < 2 * s->keys * s->dk; i++) p.k[i] = any_half();
  for (int i = 0; i < 2 * s->keys * s->dv; i++) p.v[i] = any_half();
  describe(&p);
  fill_mask(&p);
  for (int h = 0; h < s->heads; h++) {
    p.slopes[h] = ldexpf(1.0F, -h % 9);
    p.sinks[h] = 3.0F * unit();
  }
  p.expected = memory((size_t)(s->queries * s->heads * s->dv) * sizeof *p.expected);
  for (int i = 0; i < s->queries * s->heads; i++) expect_row(&p, i / s->heads, i % s->heads);
  return p;
}

static void release(problem *p) {
  free(p->q);
  free(p->k);
  free(p->v);
  free(p->mask);
  free(p->out);
  free(p->expected);
}

// A copy, because the problem's own pointers to slopes and sinks would not survive being returned.
static rk_attend attend_of(const problem *p) {
  rk_attend a = p->a;
  if (p->s.mask == SLOPES) a.slopes = p->slopes;
  if (p->s.sinks) a.sinks = p->sinks;
  return a;
}

static void clear(problem *p) { memset(p->out, 0x7e, p->out_floats * sizeof *p->out); }

static void run_tiles(const rk_attention *kernels, problem *p, int rows) {
  rk_attend a = attend_of(p);
  float *scratch = memory(kernels->tile_floats(a.dk, a.dv) * sizeof(float));
  int queries = rows > a.heads ? rows / a.heads : 1;
  clear(p);
  for (int first = 0; first < p->s.queries; first += queries) {
    kernels->tile(&a, first, p->s.queries - first < queries ? p->s.queries - first : queries, scratch);
  }
  free(scratch);
}

static void add_keys(const rk_attention *kernels, const rk_attend *a, const uint16_t *mask, int64_t from, int64_t to,
                     const float *rows, float *state) {
  while (from < to) {
    rk_keys list;
    from = kernels->list_keys(mask, from, to, &list);
    kernels->add(a, rows, &list, state);
  }
}

// In `parts` ranges of keys that are merged at the end.
static void run_few(const rk_attention *kernels, problem *p, int parts) {
  rk_attend a = attend_of(p);
  size_t floats = (size_t)a.heads * (size_t)(RK_ATTEND_HEAD + a.dv);
  float *rows = memory((size_t)(a.heads * a.dk) * sizeof *rows);
  float *state = memory(floats * sizeof *state);
  float *part = memory(floats * sizeof *part);
  clear(p);
  for (int query = 0; query < p->s.queries; query++) {
    const uint16_t *mask = p->mask ? p->mask + query * p->s.keys : NULL;
    kernels->begin(&a, query, rows, state);
    for (int i = 0; i < parts; i++) {
      int64_t from = a.keys * i / parts;
      int64_t to = a.keys * (i + 1) / parts;
      kernels->begin(&a, query, rows, part);
      add_keys(kernels, &a, mask, from, to, rows, parts == 1 ? state : part);
      if (parts > 1) kernels->merge(&a, state, part);
    }
    kernels->finish(&a, query, state);
  }
  free(rows);
  free(state);
  free(part);
}

// The largest difference, in parts of the largest value there can be (just under 2).
static double check(const problem *p, const char *label) {
  const shape *s = &p->s;
  double worst = 0.0;
  for (int i = 0; i < s->queries * s->heads; i++) {
    const float *row = p->out + i * (s->dv + GUARD);
    for (int d = 0; d < s->dv; d++) {
      double difference = fabs((double)row[d] - p->expected[i * s->dv + d]);
      // A row that sees nothing is exactly zero.
      double limit = p->expected[i * s->dv + d] == 0.0 ? 0.0 : 3e-6 * 2.0;
      worst = fmax(worst, difference / 2.0);
      if (difference <= limit) continue;
      fail_msg("%s, D %d/%d, %d queries, %d heads, %d keys, mask %d: row %d, %d is %g, not %g", label, s->dk, s->dv,
               s->queries, s->heads, s->keys, (int)s->mask, i, d, (double)row[d], p->expected[i * s->dv + d]);
    }
    for (int d = s->dv; d < s->dv + GUARD; d++) assert_memory_equal(row + d, "~~~~", sizeof *row);
  }
  return worst;
}

static void check_set(const rk_set *set) {
  double worst = 0.0;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    problem p = make(&shapes[i]);
    char label[64];
    static const int rows[] = {RK_ATTEND_ROWS, 40, 1};
    for (size_t r = 0; r < COUNT_OF(rows); r++) {
      (void)snprintf(label, sizeof label, "%s, tiles of %d", set->name, rows[r]);
      run_tiles(set->attention, &p, rows[r]);
      worst = fmax(worst, check(&p, label));
    }
    for (int parts = 1; parts <= 3 && p.s.mask != OWN; parts++) {
      (void)snprintf(label, sizeof label, "%s, few in %d", set->name, parts);
      run_few(set->attention, &p, parts);
      worst = fmax(worst, check(&p, label));
    }
    release(&p);
  }
  print_message("%s: largest error %.2g\n", set->name, worst);
}

static void test_all_shapes_come_close_to_doubles(void **state) {
  (void)state;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  for (size_t i = 0; i < count; i++) check_set(sets[i]);
}

// Hides every third key from all queries, and gives it a key and a value as said.
static problem make_hidden(uint16_t half) {
  shape s = {64, 64, 20, 3, 150, CAUSAL, 0, false};
  problem p = make(&s);
  for (int key = 0; key < s.keys; key += 3) {
    for (int query = 0; query < s.queries; query++) p.mask[query * s.keys + key] = HIDDEN;
    for (int d = 0; d < s.dk; d++) p.v[(2 * key + 1) * s.dv + d] = p.k[(2 * key + 1) * s.dk + d] = half;
  }
  for (int i = 0; i < s.queries * s.heads; i++) expect_row(&p, i / s.heads, i % s.heads);
  return p;
}

static void test_hidden_keys_weigh_nothing(void **state) {
  (void)state;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  for (size_t i = 0; i < count; i++) {
    problem large = make_hidden(0x7bff);  // 65504
    problem nan = make_hidden(0x7e00);
    problem zero = make_hidden(0);
    run_tiles(sets[i]->attention, &large, RK_ATTEND_ROWS);
    run_tiles(sets[i]->attention, &zero, RK_ATTEND_ROWS);
    assert_memory_equal(large.out, zero.out, zero.out_floats * sizeof(float));
    (void)check(&zero, sets[i]->name);
    // Few queries do not even read them.
    run_few(sets[i]->attention, &nan, 2);
    run_few(sets[i]->attention, &zero, 2);
    assert_memory_equal(nan.out, zero.out, zero.out_floats * sizeof(float));
    release(&large);
    release(&nan);
    release(&zero);
  }
}

// What strangers may put into a cache: nothing but NaN may come of it.
static void test_infinities_and_nan_do_no_harm(void **state) {
  (void)state;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00, 0x0001};
  for (size_t i = 0; i < count * COUNT_OF(bad); i++) {
    const rk_attention *kernels = sets[i / COUNT_OF(bad)]->attention;
    problem p = make(&shapes[i % COUNT_OF(shapes)]);
    for (int j = 0; j < 2 * p.s.keys * p.s.dk; j += 7) p.k[j] = bad[i % COUNT_OF(bad)];
    for (int j = 0; j < 2 * p.s.keys * p.s.dv; j += 5) p.v[j] = bad[i % COUNT_OF(bad)];
    run_tiles(kernels, &p, RK_ATTEND_ROWS);
    run_few(kernels, &p, 2);
    for (int r = 0; r < p.s.queries * p.s.heads; r++)
      assert_memory_equal(p.out + r * (p.s.dv + GUARD) + p.s.dv, "~~~~", 4);
    release(&p);
  }
}

static void test_lists_hold_what_is_seen(void **state) {
  (void)state;
  const rk_set *sets[SETS_MOST];
  size_t count = sets_here(sets);
  uint16_t *mask = memory(301 * sizeof *mask);
  for (size_t i = 0; i < count; i++) {
    seed = i;
    for (int key = 0; key < 301; key++) mask[key] = (key & 32) && noise() % 2 ? HIDDEN : key % 50 == 7 ? 0xbc00 : 0;
    int64_t next = 0;
    int64_t key = 0;
    int64_t total = 0;
    while (next < 301) {
      rk_keys list;
      next = sets[i]->attention->list_keys(mask, next, 301, &list);
      assert_true(list.count <= RK_ATTEND_KEYS);
      total += list.count;
      for (int j = 0; j < list.count; j++, key++) {
        while (mask[key] == HIDDEN) key++;
        assert_int_equal(list.index[j], key);
        assert_true(list.bias[j] == (mask[key] ? -1.0F : 0.0F));
        assert_true(mask[key] == 0 || list.masked);
      }
    }
    assert_int_equal(sets[i]->attention->count_keys(mask, 301), total);
    assert_int_equal(sets[i]->attention->count_keys(mask, 0), 0);
  }
  free(mask);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_shapes_come_close_to_doubles),
      cmocka_unit_test(test_hidden_keys_weigh_nothing),
      cmocka_unit_test(test_infinities_and_nan_do_no_harm),
      cmocka_unit_test(test_lists_hold_what_is_seen),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
