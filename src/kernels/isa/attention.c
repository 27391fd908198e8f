// SPDX-License-Identifier: Apache-2.0
//
// Purpose: attention of a tile of queries (attention_kernel.h), as two matrix products with the queries in the lanes of the
// vectors: logits[key][query] = keys . queries^T and out[dim][query] += values^T . weights. So keys and values need no
// transposition, and maximum, total and scaling of each query are plain vector operations. Queries are transposed once.
// Data owned: none. Threads: pure functions.
#include <math.h>

#include "kernels/attention_isa.h"

// A tile's rows (query by query, each with all heads) stand in panels of 3 vectors, the last few in panels of 1. A product
// keeps HIGH x 3 sums in registers, or LOW x 1.
#define WIDE 3
#define HIGH (RK_V_REGISTERS > 16 ? 8 : 4)
#define LOW 8
#define PAD \
  16  // floats after a row of keys or values, so that equal columns do not fall on the same lines of the cache

#define AHEAD 4  // rows

typedef struct panel {
  int first;  // row
  int rows;   // in use
  int vectors;
  float *q;    // [dk][lane]
  float *out;  // [dv][lane]
  float *most;
  float *total;
  // What the panel sees of the current step's keys.
  int from, to;
  bool plain;  // no mask to be added
} panel;

typedef struct tile {
  const rk_attend *a;
  int64_t first;
  int panel_count;
  panel panels[RK_ATTEND_ROWS / RK_LANES];
  float *k;       // [key][dk + PAD]
  float *v;       // [key][dv + PAD]
  float *logits;  // [key][lane] of one panel
} tile;

static size_t tile_floats(int dk, int dv) {
  size_t wide = (size_t)dk + (size_t)dv + 2 * PAD;
  return RK_ATTEND_KEYS * wide + RK_ATTEND_ROWS * wide + (size_t)RK_ATTEND_KEYS * WIDE * RK_LANES;
}

static float *lay_panels(tile *t, int rows, float *scratch) {
  const rk_attend *a = t->a;
  for (int row = 0; row < rows; t->panel_count++) {
    panel *p = &t->panels[t->panel_count];
    int vectors = rows - row > 2 * RK_LANES ? WIDE : 1;
    int lanes = vectors * RK_LANES;
    *p = (panel){.first = row, .rows = rows - row < lanes ? rows - row : lanes, .vectors = vectors};
    p->q = scratch;
    p->out = p->q + (ptrdiff_t)a->dk * lanes;
    p->most = p->out + (ptrdiff_t)a->dv * lanes;
    p->total = p->most + lanes;
    scratch = p->total + lanes;
    row += lanes;
  }
  return scratch;
}

static const float *query_of(const tile *t, int row) {
  return rk_query_at(t->a, t->first + row / t->a->heads, row % t->a->heads);
}

static float *out_of(const tile *t, int row) {
  return rk_out_at(t->a, t->first + row / t->a->heads, row % t->a->heads);
}

// Rows of queries and of the output lie far apart: has a later one brought nearer.
static void prefetch_row(const void *row, int dims) {
  for (int d = 0; d < dims; d += 16) __builtin_prefetch((const float *)row + d);
}

static void load_queries(const tile *t, const panel *p) {
  const rk_attend *a = t->a;
  const float scale = rk_query_scale(a);
  const int lanes = p->vectors * RK_LANES;
  memset(p->out, 0, (size_t)a->dv * (size_t)lanes * sizeof(float));
  for (int l = 0; l < lanes; l++) {
    p->most[l] = RK_LOGIT_LEAST;
    p->total[l] = 0.0F;
    if (l >= p->rows) {
      for (int d = 0; d < a->dk; d++) p->q[d * lanes + l] = 0.0F;
      continue;
    }
    const float *q = query_of(t, p->first + l);
    if (l + AHEAD < p->rows) prefetch_row(query_of(t, p->first + l + AHEAD), a->dk);
    for (int d = 0; d < a->dk; d++) p->q[d * lanes + l] = q[d] * scale;
  }
}

// Keys or values of one step as floats; what is missing to a multiple of LOW is zero.
static void widen(const uint8_t *base, size_t distance, int dims, int keys, float *out) {
  int padded = (keys + LOW - 1) / LOW * LOW;
  for (int i = 0; i < padded; i++, out += dims + PAD) {
    if (i >= keys) {
      memset(out, 0, (size_t)dims * sizeof(float));
      continue;
    }
    const uint16_t *in = rk_halves_at(base, i, distance);
    for (int d = 0; d < dims; d += RK_LANES) rk_v_store(out + d, rk_v_halves(in + d));
  }
}

// The first factor of a product: element (row r, step i) is at[(r) * row + i * step].
typedef struct factor {
  const float *at;
  ptrdiff_t row, step;
} factor;

// sums[r][c] += sum over i of factor(r, i) * b[i][c]
RK_INLINE void multiply(const factor f, const float *b, int depth, const int high, const int wide,
                        rk_vec (*sums)[WIDE]) {
  for (int i = 0; i < depth; i++) {
    rk_vec column[WIDE];
    for (int c = 0; c < wide; c++) column[c] = rk_v_load(b + (i * wide + c) * RK_LANES);
    for (int r = 0; r < high; r++) {
      rk_vec x = rk_v_set(f.at[r * f.row + i * f.step]);
      for (int c = 0; c < wide; c++) sums[r][c] = rk_v_fma(x, column[c], sums[r][c]);
    }
  }
}

RK_INLINE void compute_logits(const tile *t, const panel *p, const int high, const int wide) {
  const int stride = t->a->dk + PAD;
  for (int key = p->from; key < p->to; key += high) {
    rk_vec sums[LOW][WIDE];
    for (int r = 0; r < high; r++) {
      for (int c = 0; c < wide; c++) sums[r][c] = rk_v_set(0.0F);
    }
    multiply((factor){t->k + key * stride, stride, 1}, p->q, t->a->dk, high, wide, sums);
    for (int r = 0; r < high; r++) {
      for (int c = 0; c < wide; c++) rk_v_store(t->logits + ((key + r) * wide + c) * RK_LANES, sums[r][c]);
    }
  }
}

// out = out * factor + values^T . weights
RK_INLINE void add_values(const tile *t, const panel *p, const rk_vec *scale, const int high, const int wide) {
  const int stride = t->a->dv + PAD;
  for (int d = 0; d < t->a->dv; d += high) {
    rk_vec sums[LOW][WIDE];
    float *out = p->out + d * wide * RK_LANES;
    for (int r = 0; r < high; r++) {
      for (int c = 0; c < wide; c++) sums[r][c] = rk_v_mul(rk_v_load(out + (r * wide + c) * RK_LANES), scale[c]);
    }
    multiply((factor){t->v + p->from * stride + d, 1, stride}, t->logits + p->from * wide * RK_LANES, p->to - p->from,
             high, wide, sums);
    for (int r = 0; r < high; r++) {
      for (int c = 0; c < wide; c++) rk_v_store(out + (r * wide + c) * RK_LANES, sums[r][c]);
    }
  }
}

// Logits to weights; the new highest logit and total of each row. `scale`: what all sums so far are to be multiplied by.
RK_INLINE void weigh(const tile *t, const panel *p, const int wide, rk_vec *scale) {
  rk_vec most[WIDE];
  rk_vec total[WIDE];
  for (int c = 0; c < wide; c++) most[c] = rk_v_load(p->most + c * RK_LANES);
  for (int key = p->from; key < p->to; key++) {
    for (int c = 0; c < wide; c++) most[c] = rk_v_max(most[c], rk_v_load(t->logits + (key * wide + c) * RK_LANES));
  }
  for (int c = 0; c < wide; c++) {
    scale[c] = rk_v_two_to(rk_v_sub(rk_v_load(p->most + c * RK_LANES), most[c]));
    total[c] = rk_v_set(0.0F);
    rk_v_store(p->most + c * RK_LANES, most[c]);
  }
  for (int key = p->from; key < p->to; key++) {
    for (int c = 0; c < wide; c++) {
      float *at = t->logits + (key * wide + c) * RK_LANES;
      rk_vec weight = rk_v_two_to(rk_v_sub(rk_v_load(at), most[c]));
      total[c] = rk_v_add(total[c], weight);
      rk_v_store(at, weight);
    }
  }
  // A sum of this step's weights first: thousands of small numbers added to a large one would lose more.
  for (int c = 0; c < wide; c++) {
    rk_v_store(p->total + c * RK_LANES, rk_v_fma(rk_v_load(p->total + c * RK_LANES), scale[c], total[c]));
  }
}

static const uint16_t *mask_row(const tile *t, int row) {
  const rk_attend *a = t->a;
  size_t query = (size_t)t->first + (size_t)(row / a->heads);
  return rk_halves_at(a->mask + (size_t)(row % a->heads) * a->mask_head, (int64_t)query, a->mask_query);
}

// A mask of one row per query serves all its heads.
static bool has_own_mask(const tile *t, const panel *p, int lane) {
  return lane == 0 || t->a->mask_head != 0 || (p->first + lane) % t->a->heads == 0;
}

// Four keys of a mask at a time, as one number.
#define HIDDEN4 0xfc00fc00fc00fc00U

// Widens from..to so that it covers the keys (in steps of 4) that this row of the mask shows.
static void look_at_row(const uint16_t *row, int keys, panel *p) {
  for (int i = 0; i < keys; i += 4) {
    uint64_t four = HIDDEN4;
    memcpy(&four, row + i, (size_t)(keys - i < 4 ? keys - i : 4) * sizeof *row);
    if (four == HIDDEN4) continue;
    if (p->from > i) p->from = i;
    if (p->to < i + 4) p->to = i + 4;
  }
}

// Most steps are shown or hidden as a whole: which? (Neither: *any and *shown are not 0.)
static void sum_up_mask(const tile *t, const panel *p, int64_t key, uint64_t *any, uint64_t *shown) {
  uint64_t bits[4] = {0};
  uint64_t differ[4] = {0};
  for (int l = 0; l < p->rows; l++) {
    if (!has_own_mask(t, p, l)) continue;
    uint64_t words[RK_ATTEND_KEYS / 4];
    memcpy(words, mask_row(t, p->first + l) + key, sizeof words);
    for (int i = 0; i < RK_ATTEND_KEYS / 4; i++) {
      bits[i % 4] |= words[i];
      differ[i % 4] |= words[i] ^ HIDDEN4;
    }
  }
  *any = bits[0] | bits[1] | bits[2] | bits[3];
  *shown = differ[0] | differ[1] | differ[2] | differ[3];
}

// What of these keys the panel sees. Returns whether there is any.
static bool look(const tile *t, panel *p, int64_t key, int keys) {
  p->from = 0;
  p->to = (keys + LOW - 1) / LOW * LOW;
  p->plain = true;
  if (!t->a->mask) return true;
  if (keys == RK_ATTEND_KEYS) {
    uint64_t any;
    uint64_t shown;
    sum_up_mask(t, p, key, &any, &shown);
    if (any == 0) return true;
    if (shown == 0) return false;
  }
  p->plain = false;
  p->from = RK_ATTEND_KEYS;
  p->to = 0;
  for (int l = 0; l < p->rows; l++) {
    if (has_own_mask(t, p, l)) look_at_row(mask_row(t, p->first + l) + key, keys, p);
  }
  p->from = p->from / LOW * LOW;
  p->to = (p->to + LOW - 1) / LOW * LOW;
  return p->from < p->to;
}

static void add_mask(const tile *t, const panel *p, int64_t key, int keys) {
  const int lanes = p->vectors * RK_LANES;
  const int to = p->to < keys ? p->to : keys;
  float bias[RK_ATTEND_KEYS];
  for (int l = 0; l < p->rows; l++) {
    if (has_own_mask(t, p, l)) {
      const uint16_t *row = mask_row(t, p->first + l) + key;
      for (int i = p->from; i < to; i++) bias[i] = rk_v_half(row[i]) * RK_LOG2E;
    }
    float slope = t->a->slopes ? t->a->slopes[(p->first + l) % t->a->heads] : 1.0F;
    for (int i = p->from; i < to; i++) t->logits[i * lanes + l] += slope * bias[i];
  }
}

RK_INLINE void step_panel(const tile *t, const panel *p, int64_t key, int keys, const int high, const int wide) {
  rk_vec scale[WIDE];
  const int lanes = wide * RK_LANES;
  compute_logits(t, p, high, wide);
  if (t->a->softcap != 0.0F) {
    for (int i = p->from * lanes; i < p->to * lanes; i += RK_LANES) {
      rk_v_store(t->logits + i, rk_cap(t->a, rk_v_load(t->logits + i)));
    }
  }
  if (!p->plain) add_mask(t, p, key, keys);
  for (int i = (keys > p->from ? keys : p->from) * lanes; i < p->to * lanes; i++) t->logits[i] = -INFINITY;
  weigh(t, p, wide, scale);
  add_values(t, p, scale, high, wide);
}

static void step_wide(const tile *t, const panel *p, int64_t key, int keys) { step_panel(t, p, key, keys, HIGH, WIDE); }
static void step_narrow(const tile *t, const panel *p, int64_t key, int keys) { step_panel(t, p, key, keys, LOW, 1); }

// Has the i-th part of `parts` of the keys and values from `key` on brought nearer. They lie too far apart for the processor to
// see what comes next.
static void prefetch(const rk_attend *a, int64_t key, int i, int parts) {
  int64_t left = a->keys - key < RK_ATTEND_KEYS ? a->keys - key : RK_ATTEND_KEYS;
  for (int64_t j = left * i / parts; j < left * (i + 1) / parts; j++) {
    const uint8_t *k = a->k + (size_t)(key + j) * a->k_key;
    const uint8_t *v = a->v + (size_t)(key + j) * a->v_key;
    for (int d = 0; d < a->dk * 2; d += 64) __builtin_prefetch(k + d, 0, 2);
    for (int d = 0; d < a->dv * 2; d += 64) __builtin_prefetch(v + d, 0, 2);
  }
}

static void step(tile *t, int64_t key, int keys) {
  const rk_attend *a = t->a;
  bool loaded = false;
  for (int i = 0; i < t->panel_count; i++) {
    panel *p = &t->panels[i];
    if (!look(t, p, key, keys)) continue;
    prefetch(a, key + keys, i, t->panel_count);
    if (!loaded) {
      widen(a->k + (size_t)key * a->k_key, a->k_key, a->dk, keys, t->k);
      widen(a->v + (size_t)key * a->v_key, a->v_key, a->dv, keys, t->v);
      loaded = true;
    }
    if (p->vectors == WIDE) {
      step_wide(t, p, key, keys);
    } else {
      step_narrow(t, p, key, keys);
    }
  }
}

static void store_results(const tile *t, const panel *p) {
  const rk_attend *a = t->a;
  const int lanes = p->vectors * RK_LANES;
  for (int l = 0; l < p->rows; l++) {
    int head = (p->first + l) % a->heads;
    float *out = out_of(t, p->first + l);
    if (l + AHEAD < p->rows) prefetch_row(out_of(t, p->first + l + AHEAD), a->dv);
    float total = p->total[l];
    float scale = 1.0F;
    if (a->sinks) {
      float sink = a->sinks[head] * RK_LOG2E;
      float most = sink > p->most[l] ? sink : p->most[l];
      scale = exp2f(p->most[l] - most);
      total = total * scale + exp2f(sink - most);
    }
    // A row that sees no key gives zeros.
    scale = total == 0.0F ? 0.0F : scale / total;
    for (int d = 0; d < a->dv; d++) out[d] = p->out[d * lanes + l] * scale;
  }
}

static void attend_tile(const rk_attend *a, int64_t first, int queries, float *scratch) {
  tile t = {.a = a, .first = first};
  t.k = scratch;
  t.v = t.k + (ptrdiff_t)RK_ATTEND_KEYS * (a->dk + PAD);
  t.logits = t.v + (ptrdiff_t)RK_ATTEND_KEYS * (a->dv + PAD);
  (void)lay_panels(&t, queries * a->heads, t.logits + (ptrdiff_t)RK_ATTEND_KEYS * WIDE * RK_LANES);
  for (int i = 0; i < t.panel_count; i++) load_queries(&t, &t.panels[i]);
  for (int64_t key = 0; key < a->keys; key += RK_ATTEND_KEYS) {
    step(&t, key, a->keys - key < RK_ATTEND_KEYS ? (int)(a->keys - key) : RK_ATTEND_KEYS);
  }
  for (int i = 0; i < t.panel_count; i++) store_results(&t, &t.panels[i]);
}

const rk_attention RK_NAME(rk_attention_kernels) = {
    .tile = attend_tile,
    .tile_floats = tile_floats,
    .count_keys = RK_NAME(rk_attend_count_keys),
    .list_keys = RK_NAME(rk_attend_list_keys),
    .begin = RK_NAME(rk_attend_begin),
    .add = RK_NAME(rk_attend_add),
    .merge = RK_NAME(rk_attend_merge),
    .finish = RK_NAME(rk_attend_finish),
};
