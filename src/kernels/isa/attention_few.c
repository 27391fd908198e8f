// SPDX-License-Identifier: Apache-2.0
//
// Purpose: attention of few queries (attention_kernel.h): what a decoding step needs. Reading keys and values is the cost: they
// are read once for up to four of the query's heads, straight from half precision.
// Data owned: none. Threads: pure functions.
#include <math.h>

#include "kernels/attention_isa.h"

#define MOST_ROWS 4  // heads that share a pass over the keys

static float *state_of(const rk_attend *a, float *state, int head) {
  return state + (ptrdiff_t)head * (RK_ATTEND_HEAD + a->dv);
}

int64_t RK_NAME(rk_attend_count_keys)(const uint16_t *mask, int64_t keys) {
  int64_t count = 0;
  for (int64_t i = 0; i < keys;) {
    // 16-bit counters, as wide as what is counted, make this vector code.
    uint16_t seen = 0;
    int64_t end = keys - i < 4096 ? keys : i + 4096;
    for (; i < end; i++) seen = (uint16_t)(seen + (mask[i] != RK_HIDDEN_HALF));
    count += seen;
  }
  return count;
}

static void list_key(rk_keys *list, int64_t key, uint16_t bias) {
  if (bias == RK_HIDDEN_HALF) return;
  list->index[list->count] = (int32_t)key;
  list->bias[list->count] = bias == 0 ? 0.0F : rk_v_half(bias);
  list->masked = list->masked || bias != 0;
  list->count++;
}

int64_t RK_NAME(rk_attend_list_keys)(const uint16_t *mask, int64_t first, int64_t keys, rk_keys *list) {
  int64_t i = first;
  list->count = 0;
  list->masked = false;
  while (i < keys && list->count <= RK_ATTEND_KEYS - 4) {
    if (keys - i < 4) {
      list_key(list, i, mask ? mask[i] : 0);
      i++;
      continue;
    }
    uint64_t four = 0;
    if (mask) memcpy(&four, mask + i, sizeof four);
    if (four == 0) {
      for (int j = 0; j < 4; j++, list->count++) {
        list->index[list->count] = (int32_t)(i + j);
        list->bias[list->count] = 0.0F;
      }
    } else if (four != 0xfc00fc00fc00fc00) {
      for (int j = 0; j < 4; j++) list_key(list, i + j, mask[i + j]);
    }
    i += 4;
  }
  // Readers take whole vectors.
  for (int j = list->count; j % RK_LANES != 0; j++) list->bias[j] = 0.0F;
  return i;
}

void RK_NAME(rk_attend_begin)(const rk_attend *a, int64_t query, float *rows, float *state) {
  const float scale = rk_query_scale(a);
  for (int h = 0; h < a->heads; h++) {
    const float *q = rk_query_at(a, query, h);
    for (int d = 0; d < a->dk; d++) rows[h * a->dk + d] = q[d] * scale;
    float *s = state_of(a, state, h);
    memset(s, 0, (size_t)(RK_ATTEND_HEAD + a->dv) * sizeof *s);
    s[0] = RK_LOGIT_LEAST;
  }
}

// The products of `count` rows with `high` keys: dots[r * high + key].
RK_INLINE void dots(const rk_attend *a, const float *rows, const uint16_t *const *keys, const int count, const int high,
                    float *out) {
  rk_vec sums[16];
  for (int i = 0; i < count * high; i++) sums[i] = rk_v_set(0.0F);
  for (int d = 0; d < a->dk; d += RK_LANES) {
    rk_vec row[MOST_ROWS];
    for (int r = 0; r < count; r++) row[r] = rk_v_load(rows + r * a->dk + d);
    for (int u = 0; u < high; u++) {
      rk_vec key = rk_v_halves(keys[u] + d);
      for (int r = 0; r < count; r++) sums[r * high + u] = rk_v_fma(row[r], key, sums[r * high + u]);
    }
  }
  for (int i = 0; i < count * high; i += 4) rk_v_sums(sums[i], sums[i + 1], sums[i + 2], sums[i + 3], out + i);
}

// Has the row that will be read some time later brought nearer: many streams do not fit into the cache, and rows lie too far
// apart for the processor to see what comes next.
RK_INLINE void prefetch(const uint8_t *row, int dims) {
  for (int d = 0; d < dims * 2; d += 64) __builtin_prefetch(row + d);
}

typedef float logits[MOST_ROWS][RK_ATTEND_KEYS];

RK_INLINE void compute_logits(const rk_attend *a, const float *rows, const rk_keys *list, const int count, logits out) {
  const int high = count == 4 && RK_V_REGISTERS == 16 ? 2 : 4;
  for (int i = 0; i < list->count; i += high) {
    const uint16_t *keys[4];
    float part[4 * MOST_ROWS];
    for (int u = 0; u < high; u++) {
      // The last key may stand for those that are missing.
      int at = i + u < list->count ? i + u : list->count - 1;
      keys[u] = rk_halves_at(a->k, list->index[at], a->k_key);
      prefetch(a->v + (size_t)list->index[at] * a->v_key, a->dv);
    }
    dots(a, rows, keys, count, high, part);
    for (int r = 0; r < count; r++) memcpy(out[r] + i, part + r * high, (size_t)high * sizeof(float));
  }
}

// Logits of one row to weights. Returns what the sums so far are to be multiplied by.
static float weigh(const rk_attend *a, int head, const rk_keys *list, float *logit, float *state) {
  const int padded = (list->count + RK_LANES - 1) / RK_LANES * RK_LANES;
  const float slope = (a->slopes ? a->slopes[head] : 1.0F) * RK_LOG2E;
  for (int i = list->count; i < padded; i++) logit[i] = 0.0F;
  for (int i = 0; a->softcap != 0.0F && i < padded; i += RK_LANES)
    rk_v_store(logit + i, rk_cap(a, rk_v_load(logit + i)));
  for (int i = 0; list->masked && i < padded; i += RK_LANES) {
    rk_v_store(logit + i, rk_v_fma(rk_v_load(list->bias + i), rk_v_set(slope), rk_v_load(logit + i)));
  }
  for (int i = list->count; i < padded; i++) logit[i] = -INFINITY;
  rk_vec highest = rk_v_set(state[0]);
  for (int i = 0; i < padded; i += RK_LANES) highest = rk_v_max(highest, rk_v_load(logit + i));
  float most = rk_v_most(highest);
  rk_vec total = rk_v_set(0.0F);
  for (int i = 0; i < padded; i += RK_LANES) {
    rk_vec weight = rk_v_two_to(rk_v_sub(rk_v_load(logit + i), rk_v_set(most)));
    total = rk_v_add(total, weight);
    rk_v_store(logit + i, weight);
  }
  float scale = exp2f(state[0] - most);
  state[0] = most;
  state[1] = state[1] * scale + rk_v_total(total);
  return scale;
}

// sums = sums * scale + weights . values, for `wide` vectors of dimensions from d on
RK_INLINE void add_values(const rk_attend *a, const rk_keys *list, logits weights, const float *scale, float *state,
                          int d, const int count, const int wide) {
  rk_vec sums[MOST_ROWS][8];
  const int distance = RK_ATTEND_HEAD + a->dv;
  float *out = state + RK_ATTEND_HEAD + d;
  for (int r = 0; r < count; r++) {
    for (int c = 0; c < wide; c++) {
      sums[r][c] = rk_v_mul(rk_v_load(out + r * distance + c * RK_LANES), rk_v_set(scale[r]));
    }
  }
  for (int i = 0; i < list->count; i++) {
    const uint16_t *value = rk_halves_at(a->v, list->index[i], a->v_key) + d;
    // The next list's keys are most likely the next ones.
    int64_t next = list->index[i] + RK_ATTEND_KEYS;
    if (d == 0 && next < a->keys) prefetch(a->k + (size_t)next * a->k_key, a->dk);
    rk_vec weight[MOST_ROWS];
    for (int r = 0; r < count; r++) weight[r] = rk_v_set(weights[r][i]);
    for (int c = 0; c < wide; c++) {
      rk_vec v = rk_v_halves(value + c * RK_LANES);
      for (int r = 0; r < count; r++) sums[r][c] = rk_v_fma(v, weight[r], sums[r][c]);
    }
  }
  for (int r = 0; r < count; r++) {
    for (int c = 0; c < wide; c++) rk_v_store(out + r * distance + c * RK_LANES, sums[r][c]);
  }
}

RK_INLINE void add_rows(const rk_attend *a, const float *rows, const rk_keys *list, float *state, int head,
                        const int count) {
  const int wide = count == 1 ? 8 : count == 4 ? 2 : 4;  // as many sums as there are registers
  logits weights;
  float scale[MOST_ROWS];
  rows += (ptrdiff_t)head * a->dk;
  state = state_of(a, state, head);
  compute_logits(a, rows, list, count, weights);
  for (int r = 0; r < count; r++) scale[r] = weigh(a, head + r, list, weights[r], state_of(a, state, r));
  int d = 0;
  for (; d + wide * RK_LANES <= a->dv; d += wide * RK_LANES) add_values(a, list, weights, scale, state, d, count, wide);
  for (; d + 2 * RK_LANES <= a->dv; d += 2 * RK_LANES) add_values(a, list, weights, scale, state, d, count, 2);
  for (; d < a->dv; d += RK_LANES) add_values(a, list, weights, scale, state, d, count, 1);
}

void RK_NAME(rk_attend_add)(const rk_attend *a, const float *rows, const rk_keys *list, float *state) {
  if (list->count == 0) return;
  int head = 0;
  // Five to eight heads: two passes of like size.
  int most = a->heads > MOST_ROWS && a->heads < 2 * MOST_ROWS - 1 ? 3 : MOST_ROWS;
  while (head < a->heads) {
    int count = a->heads - head < most ? a->heads - head : most;
    switch (count) {
      case 1: add_rows(a, rows, list, state, head, 1); break;
      case 2: add_rows(a, rows, list, state, head, 2); break;
      case 3: add_rows(a, rows, list, state, head, 3); break;
      default: add_rows(a, rows, list, state, head, 4); break;
    }
    head += count;
  }
}

void RK_NAME(rk_attend_merge)(const rk_attend *a, float *state, const float *other) {
  for (int h = 0; h < a->heads; h++, other += RK_ATTEND_HEAD + a->dv) {
    float *s = state_of(a, state, h);
    float most = s[0] > other[0] ? s[0] : other[0];
    float mine = exp2f(s[0] - most);
    float theirs = exp2f(other[0] - most);
    s[0] = most;
    s[1] = s[1] * mine + other[1] * theirs;
    for (int d = RK_ATTEND_HEAD; d < RK_ATTEND_HEAD + a->dv; d++) s[d] = s[d] * mine + other[d] * theirs;
  }
}

void RK_NAME(rk_attend_finish)(const rk_attend *a, int64_t query, float *state) {
  for (int h = 0; h < a->heads; h++) {
    const float *s = state_of(a, state, h);
    float *out = rk_out_at(a, query, h);
    float scale = 1.0F;
    float total = s[1];
    if (a->sinks) {
      float sink = a->sinks[h] * RK_LOG2E;
      float most = sink > s[0] ? sink : s[0];
      scale = exp2f(s[0] - most);
      total = total * scale + exp2f(sink - most);
    }
    // A row that sees no key gives zeros.
    scale = total == 0.0F ? 0.0F : scale / total;
    for (int d = 0; d < a->dv; d++) out[d] = s[RK_ATTEND_HEAD + d] * scale;
  }
}
