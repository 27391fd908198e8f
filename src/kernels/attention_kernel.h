// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what an instruction set offers for attention: softmax(q . k * scale + mask) . v for the query heads that share one
// KV head, with keys and values in half precision.
// Data owned: none; types only.
// Threads: pure functions: they read the tensors and write their own rows of the output and the scratch they are given.
// Not here: ggml, and the division of an operation among threads (attention.h).
//
// There are two ways. Tiles of many queries: a matrix product with the queries in the lanes. Few queries: dot products with the
// keys that they see, one by one; keys that a query does not see are not even read.
#ifndef RH_KERNELS_ATTENTION_KERNEL_H
#define RH_KERNELS_ATTENTION_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RK_ATTEND_ROWS 192   // most rows (queries x heads) of a tile
#define RK_ATTEND_KEYS 64    // keys of one step
#define RK_ATTEND_DIMS 1024  // most numbers of a key or a value; always a multiple of RK_ATTEND_ALIGN
#define RK_ATTEND_ALIGN 16
// What stands before the sums in the state of a row of few queries: its highest logit and its weights' total.
#define RK_ATTEND_HEAD 16

// The queries of one stream for one KV head. All distances are in bytes; mask, slopes and sinks may be NULL.
typedef struct rk_attend {
  const uint8_t *q;  // floats
  size_t q_query, q_head;
  const uint8_t *k;  // halves
  size_t k_key;
  const uint8_t *v;  // halves
  size_t v_key;
  const uint8_t *mask;  // halves: added to the logits; minus infinity hides a key
  size_t mask_query, mask_head;
  uint8_t *out;  // floats
  size_t out_query, out_head;
  const float *slopes;  // what each head multiplies the mask by
  const float *sinks;   // a logit of each head that has no value
  int64_t keys;
  int heads;  // that share the KV head
  int dk;     // numbers of a key
  int dv;     // numbers of a value
  float scale;
  float softcap;  // 0: none
} rk_attend;

// Some of the keys that a query sees.
typedef struct rk_keys {
  int count;
  bool masked;  // is any bias not 0?
  int32_t index[RK_ATTEND_KEYS];
  float bias[RK_ATTEND_KEYS];
} rk_keys;

typedef struct rk_attention {
  // Attention of `queries` queries from `first` (queries * heads <= RK_ATTEND_ROWS). Scratch as tile_floats says.
  void (*tile)(const rk_attend *a, int64_t first, int queries, float *scratch);
  size_t (*tile_floats)(int dk, int dv);

  // Few queries: the rows of one query are its heads. `rows` has heads * dk floats, a state heads * (RK_ATTEND_HEAD + dv).
  int64_t (*count_keys)(const uint16_t *mask, int64_t keys);
  // Lists the keys a query sees from key `first` on, as many as fit (mask NULL: all); returns the first one not looked at.
  int64_t (*list_keys)(const uint16_t *mask, int64_t first, int64_t keys, rk_keys *list);
  void (*begin)(const rk_attend *a, int64_t query, float *rows, float *state);
  void (*add)(const rk_attend *a, const float *rows, const rk_keys *list, float *state);
  // Adds the state `other`, of other keys, to `state`.
  void (*merge)(const rk_attend *a, float *state, const float *other);
  void (*finish)(const rk_attend *a, int64_t query, float *state);
} rk_attention;

#endif
