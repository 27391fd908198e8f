// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see attention.h.
// Data owned: none.
//
// Tiles of many queries are handed out by a counter, the last queries first: with a causal mask those see the most keys.
// Few queries: all that the queries see, laid end to end, is cut into one equal range of keys for each thread. A thread goes
// through its range with all heads, as the KV cache lies in memory. A query that falls into several ranges has its parts put
// together at the end.
#include "kernels/attention.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/attention_kernel.h"

#define LINE 64
#define FEW_QUERIES 64  // more than these of a stream are always taken as tiles
#define FEW_WORK 1024   // most queries (of all streams) that are looked at one by one
#define TILE_ROWS_LEAST 24
#define TILES_PER_THREAD 4
#define LEAST_KEYS 32  // fewer are not worth a thread of their own

typedef struct plan {
  const rk_attention *kernels;
  const struct ggml_tensor *q, *k, *v, *mask, *sinks, *out;
  int64_t queries, streams, kv_heads, keys;
  int heads;  // that share a KV head
  int tile_queries;
  int tiles;                        // of one stream and KV head
  size_t row_floats, state_floats;  // of a query with all heads
  size_t thread_bytes;
  float slope_base, slope_base2;
  uint32_t slope_heads;
  float scale, max_bias, softcap;
} plan;

static bool is_row_type(const struct ggml_tensor *t, enum ggml_type type, size_t bytes) {
  return t->type == type && t->nb[0] == bytes && t->nb[1] % bytes == 0 && t->nb[2] % bytes == 0 &&
         t->nb[3] % bytes == 0;
}

static bool fits_mask(const struct ggml_tensor *q, const struct ggml_tensor *k, const struct ggml_tensor *mask) {
  if (!mask) return true;
  return is_row_type(mask, GGML_TYPE_F16, sizeof(uint16_t)) && mask->ne[0] >= k->ne[1] && mask->ne[1] >= q->ne[1] &&
         (mask->ne[2] == 1 || mask->ne[2] == q->ne[2]) && mask->ne[3] >= 1;
}

bool rk_attention_fits(const rk_set *set, const struct ggml_tensor *op) {
  const struct ggml_tensor *q = op->src[0];
  const struct ggml_tensor *k = op->src[1];
  const struct ggml_tensor *v = op->src[2];
  if (!set->attention || op->op != GGML_OP_FLASH_ATTN_EXT || !q || !k || !v) return false;
  if (!is_row_type(q, GGML_TYPE_F32, sizeof(float)) || !is_row_type(op, GGML_TYPE_F32, sizeof(float))) return false;
  if (!is_row_type(k, GGML_TYPE_F16, sizeof(uint16_t)) || !is_row_type(v, GGML_TYPE_F16, sizeof(uint16_t)))
    return false;
  if (op->src[4] && (op->src[4]->type != GGML_TYPE_F32 || op->src[4]->ne[0] != q->ne[2])) return false;
  if (k->ne[0] != q->ne[0] || k->ne[0] % RK_ATTEND_ALIGN != 0 || k->ne[0] > RK_ATTEND_DIMS) return false;
  if (v->ne[0] % RK_ATTEND_ALIGN != 0 || v->ne[0] > RK_ATTEND_DIMS || v->ne[0] < 1 || k->ne[0] < 1) return false;
  if (k->ne[1] != v->ne[1] || k->ne[1] > INT32_MAX || k->ne[1] < 1) return false;
  if (k->ne[2] != v->ne[2] || k->ne[2] < 1 || q->ne[2] % k->ne[2] != 0 || q->ne[2] / k->ne[2] > RK_ATTEND_ROWS)
    return false;
  if (q->ne[3] != k->ne[3] || q->ne[3] != v->ne[3] || q->ne[1] > INT32_MAX / 2 || ggml_nelements(q) == 0) return false;
  if (op->ne[0] != v->ne[0] || op->ne[1] != q->ne[2] || op->ne[2] != q->ne[1] || op->ne[3] != q->ne[3]) return false;
  return ggml_is_contiguous(op) && fits_mask(q, k, op->src[3]);
}

static size_t round_up(size_t n) { return (n + LINE - 1) / LINE * LINE; }

// The heads' slopes (ALiBi) fall off geometrically, twice as finely for those beyond a power of two.
static void plan_slopes(plan *p) {
  p->slope_heads = 1U << (uint32_t)floor(log2((double)p->q->ne[2]));
  p->slope_base = powf(2.0F, -p->max_bias / (float)p->slope_heads);
  p->slope_base2 = powf(2.0F, -p->max_bias / 2.0F / (float)p->slope_heads);
}

static float slope_of(const plan *p, uint32_t head) {
  if (head < p->slope_heads) return powf(p->slope_base, (float)(head + 1));
  return powf(p->slope_base2, (float)(2 * (head - p->slope_heads) + 1));
}

// Large tiles read keys and values less often, but there must be enough of them for the threads to be done at the same time.
static void plan_tiles(plan *p, int threads) {
  for (int rows = RK_ATTEND_ROWS;; rows /= 2) {
    p->tile_queries = rows > p->heads ? rows / p->heads : 1;
    if (p->tile_queries > p->queries) p->tile_queries = (int)p->queries;
    p->tiles = (int)((p->queries + p->tile_queries - 1) / p->tile_queries);
    if (rows <= TILE_ROWS_LEAST || p->tiles * p->streams * p->kv_heads >= (int64_t)threads * TILES_PER_THREAD) return;
  }
}

static plan make_plan(const rk_set *set, const struct ggml_tensor *op, int threads) {
  plan p = {.kernels = set->attention, .q = op->src[0], .k = op->src[1], .v = op->src[2], .mask = op->src[3]};
  p.sinks = op->src[4];
  p.out = op;
  p.queries = p.q->ne[1];
  p.streams = p.q->ne[3];
  p.kv_heads = p.k->ne[2];
  p.keys = p.k->ne[1];
  p.heads = (int)(p.q->ne[2] / p.kv_heads);
  plan_tiles(&p, threads);
  memcpy(&p.scale, &op->op_params[0], sizeof p.scale);
  memcpy(&p.max_bias, &op->op_params[1], sizeof p.max_bias);
  memcpy(&p.softcap, &op->op_params[2], sizeof p.softcap);
  if (p.max_bias > 0.0F) plan_slopes(&p);
  p.row_floats = (size_t)(p.q->ne[2] * p.k->ne[0]);
  p.state_floats = (size_t)(p.q->ne[2] * (p.v->ne[0] + RK_ATTEND_HEAD));
  size_t tile = p.kernels->tile_floats((int)p.k->ne[0], (int)p.v->ne[0]) * sizeof(float);
  // One state for queries that are this thread's alone, one each for those shared with the thread before and the one after.
  size_t few = (p.row_floats + 3 * p.state_floats) * sizeof(float);
  p.thread_bytes = round_up(tile > few ? tile : few);
  return p;
}

// Before the threads' parts: a line for the counter and one to align what follows.
static size_t work_size_of(const plan *p, int threads) { return 2 * LINE + (size_t)threads * p->thread_bytes; }

size_t rk_attention_work_size(const rk_set *set, const struct ggml_tensor *op, int threads) {
  plan p = make_plan(set, op, threads);
  return work_size_of(&p, threads);
}

static uint8_t *aligned_work(const rk_team *team) { return team->work + (LINE - (uintptr_t)team->work % LINE) % LINE; }

static float *thread_floats(const plan *p, const rk_team *team, int thread) {
  return (float *)(void *)(aligned_work(team) + LINE + (size_t)thread * p->thread_bytes);
}

// The queries of one stream for one KV head. `slopes` is filled where the operation has any.
static rk_attend attend_of(const plan *p, int64_t stream, int64_t kv_head, float *slopes) {
  int64_t head = kv_head * p->heads;
  rk_attend a = {
      .q = (const uint8_t *)p->q->data + (size_t)head * p->q->nb[2] + (size_t)stream * p->q->nb[3],
      .q_query = p->q->nb[1],
      .q_head = p->q->nb[2],
      .k = (const uint8_t *)p->k->data + (size_t)kv_head * p->k->nb[2] + (size_t)stream * p->k->nb[3],
      .k_key = p->k->nb[1],
      .v = (const uint8_t *)p->v->data + (size_t)kv_head * p->v->nb[2] + (size_t)stream * p->v->nb[3],
      .v_key = p->v->nb[1],
      .out = (uint8_t *)p->out->data + (size_t)head * p->out->nb[1] + (size_t)stream * p->out->nb[3],
      .out_query = p->out->nb[2],
      .out_head = p->out->nb[1],
      .keys = p->keys,
      .heads = p->heads,
      .dk = (int)p->k->ne[0],
      .dv = (int)p->v->ne[0],
      .scale = p->scale,
      .softcap = p->softcap,
  };
  if (p->sinks) a.sinks = (const float *)p->sinks->data + head;
  if (p->max_bias > 0.0F) {
    for (int h = 0; h < p->heads; h++) slopes[h] = slope_of(p, (uint32_t)(head + h));
    a.slopes = slopes;
  }
  return a;
}

static void set_mask(const plan *p, int64_t stream, int64_t kv_head, rk_attend *a) {
  if (!p->mask) return;
  a->mask = (const uint8_t *)p->mask->data + (size_t)(stream % p->mask->ne[3]) * p->mask->nb[3];
  a->mask_query = p->mask->nb[1];
  if (p->mask->ne[2] == 1) return;
  a->mask_head = p->mask->nb[2];
  a->mask += (size_t)(kv_head * p->heads) * p->mask->nb[2];
}

static void run_tiles(const plan *p, const rk_team *team) {
  // Nothing is in the work memory yet, so one thread has to set the counter before all others.
  _Atomic int64_t *counter = (_Atomic int64_t *)(void *)aligned_work(team);
  if (team->index == 0) atomic_store(counter, 0);
  rk_team_wait(team);
  float *scratch = thread_floats(p, team, team->index);
  int64_t units = p->streams * p->kv_heads * p->tiles;
  for (int64_t i = atomic_fetch_add(counter, 1); i < units; i = atomic_fetch_add(counter, 1)) {
    float slopes[RK_ATTEND_ROWS];
    // Tile by tile of one head after the other: its keys and values stay in the cache.
    int64_t stream = i / p->tiles / p->kv_heads;
    int64_t kv_head = i / p->tiles % p->kv_heads;
    int64_t first = (p->tiles - 1 - i % p->tiles) * p->tile_queries;
    int64_t left = p->queries - first;
    rk_attend a = attend_of(p, stream, kv_head, slopes);
    set_mask(p, stream, kv_head, &a);
    p->kernels->tile(&a, first, left < p->tile_queries ? (int)left : p->tile_queries, scratch);
  }
}

// Few queries: how many keys each sees.
typedef struct view {
  int64_t total;
  int32_t keys[FEW_WORK];  // of query q of stream s: [s * queries + q]
} view;

// The mask of a query for which all heads have the same, or NULL.
static const uint16_t *mask_of(const plan *p, int64_t index) {
  if (!p->mask) return NULL;
  size_t stream = (size_t)(index / p->queries % p->mask->ne[3]);
  size_t query = (size_t)(index % p->queries);
  return (const uint16_t *)(const void *)((const uint8_t *)p->mask->data + stream * p->mask->nb[3] +
                                          query * p->mask->nb[1]);
}

static void count_seen(const plan *p, view *s) {
  s->total = 0;
  for (int64_t i = 0; i < p->streams * p->queries; i++) {
    const uint16_t *mask = mask_of(p, i);
    s->keys[i] = (int32_t)(mask ? p->kernels->count_keys(mask, p->keys) : p->keys);
    s->total += s->keys[i];
  }
}

// Which way takes less time? In units of one product of a wide panel's lane with a key; the narrow panels of few rows take 1.3
// for each of their lanes, whether in use or not. Measured; docs/kernels.md.
static bool prefers_few(const plan *p, const view *s, int threads) {
  double rows = (double)p->queries * p->heads;
  double lanes = rows <= 8.0 ? 8.0 * 1.3 : rows <= 16.0 ? 16.0 * 1.3 : rows;
  int64_t units = p->streams * p->kv_heads * p->tiles;
  int64_t rounds = (units + threads - 1) / threads;  // of one unit for each thread
  double few = (double)s->total * (double)p->kv_heads * p->heads;
  return few < (double)(p->streams * p->kv_heads * p->keys) * lanes * (double)(rounds * threads) / (double)units;
}

// A thread's range of all keys that are seen, and its memory.
typedef struct share {
  int64_t from, to;
  bool last;
  float *rows;
  float *own;     // the state of a query of this thread alone
  float *before;  // of one that begins in an earlier thread's range
  float *after;   // of one that ends in a later thread's
} share;

static share share_of(const plan *p, const rk_team *team, int thread, int64_t total) {
  int64_t threads = total / LEAST_KEYS;
  threads = threads < 1 ? 1 : threads > team->count ? team->count : threads;
  share s = {.last = thread == threads - 1};
  s.from = thread < threads ? total * thread / threads : total + 1;
  s.to = thread < threads ? total * (thread + 1) / threads : total + 1;
  s.rows = thread_floats(p, team, thread);
  s.own = s.rows + p->row_floats;
  s.before = s.own + p->state_floats;
  s.after = s.before + p->state_floats;
  return s;
}

// The first key of a query after `skip` of those that it sees.
static int64_t skip_keys(const plan *p, const uint16_t *mask, int64_t skip) {
  if (!mask) return skip;
  int64_t key = 0;
  while (skip > 0) {
    int64_t step = p->keys - key < RK_ATTEND_KEYS ? p->keys - key : RK_ATTEND_KEYS;
    int64_t count = p->kernels->count_keys(mask + key, step);
    if (count > skip) step = 1;
    skip -= step == 1 ? p->kernels->count_keys(mask + key, 1) : count;
    key += step;
  }
  return key;
}

static float *head_state(const plan *p, float *state, int64_t kv_head) {
  return state + kv_head * p->heads * (RK_ATTEND_HEAD + p->v->ne[0]);
}

// A query's keys: `count` of those that it sees, after `skip` others.
static void add_part(const plan *p, const share *s, int64_t index, int64_t skip, int64_t count, float *state) {
  float slopes[RK_ATTEND_ROWS];
  const uint16_t *mask = mask_of(p, index);
  int64_t key = skip_keys(p, mask, skip);
  for (int64_t h = 0; h < p->kv_heads; h++) {
    rk_attend a = attend_of(p, index / p->queries, h, slopes);
    p->kernels->begin(&a, index % p->queries, s->rows + h * p->heads * a.dk, head_state(p, state, h));
  }
  while (count > 0) {
    rk_keys list;
    key = p->kernels->list_keys(mask, key, p->keys, &list);
    if (list.count > count) list.count = (int)count;
    count -= list.count;
    for (int64_t h = 0; h < p->kv_heads; h++) {
      rk_attend a = attend_of(p, index / p->queries, h, slopes);
      p->kernels->add(&a, s->rows + h * p->heads * a.dk, &list, head_state(p, state, h));
    }
  }
}

static void finish(const plan *p, int64_t index, float *state) {
  float slopes[RK_ATTEND_ROWS];
  for (int64_t h = 0; h < p->kv_heads; h++) {
    rk_attend a = attend_of(p, index / p->queries, h, slopes);
    p->kernels->finish(&a, index % p->queries, head_state(p, state, h));
  }
}

// Adds what the threads after this one have of the query whose keys are counted up to `end`.
static void merge_rest(const plan *p, const rk_team *team, int64_t total, int64_t end, float *state) {
  float slopes[RK_ATTEND_ROWS];
  for (int thread = team->index + 1; thread < team->count; thread++) {
    share s = share_of(p, team, thread, total);
    if (s.from >= end) return;
    for (int64_t h = 0; h < p->kv_heads; h++) {
      rk_attend a = attend_of(p, 0, h, slopes);
      p->kernels->merge(&a, head_state(p, state, h), head_state(p, s.before, h));
    }
  }
}

static void run_few(const plan *p, const rk_team *team, const view *seen) {
  share s = share_of(p, team, team->index, seen->total);
  int64_t at = 0;
  int64_t shared = -1;  // the query to be put together here
  int64_t shared_end = 0;
  for (int64_t i = 0; i < p->streams * p->queries; at += seen->keys[i++]) {
    int64_t end = at + seen->keys[i];
    bool mine = at >= s.from && (at < s.to || (s.last && seen->keys[i] == 0));
    if (!mine && (end <= s.from || at >= s.to)) continue;
    int64_t from = at > s.from ? at : s.from;
    int64_t to = end < s.to ? end : s.to;
    float *state = !mine ? s.before : end > s.to ? s.after : s.own;
    add_part(p, &s, i, from - at, to - from, state);
    if (mine && end <= s.to) finish(p, i, state);
    if (mine && end > s.to) {
      shared = i;
      shared_end = end;
    }
  }
  rk_team_wait(team);
  if (shared < 0) return;
  merge_rest(p, team, seen->total, shared_end, s.after);
  finish(p, shared, s.after);
}

void rk_attention_run(const rk_set *set, struct ggml_tensor *op, const rk_team *team) {
  plan p = make_plan(set, op, team->count);
  GGML_ASSERT(team->work_size >= work_size_of(&p, team->count));
  bool one_mask = !p.mask || p.mask->ne[2] == 1;
  if (one_mask && p.queries <= FEW_QUERIES && p.queries * p.streams <= FEW_WORK) {
    view seen;
    count_seen(&p, &seen);
    if (prefers_few(&p, &seen, team->count)) {
      run_few(&p, team, &seen);
      return;
    }
  }
  run_tiles(&p, team);
}
