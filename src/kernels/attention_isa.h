// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the sources of attention for one instruction set share.
#ifndef RH_KERNELS_ATTENTION_ISA_H
#define RH_KERNELS_ATTENTION_ISA_H

#include "kernels/attention_kernel.h"
#include "kernels/vector.h"

#define RK_LOG2E 1.44269504088896340736F
#define RK_HIDDEN_HALF 0xfc00  // minus infinity
// The highest logit before there is any, and the least that is taken for one: differences to minus infinity stay numbers.
#define RK_LOGIT_LEAST (-1e38F)

// Logits are kept times log2(e), so that weights are powers of two. With a softcap, what a query is multiplied by makes the
// argument of rk_v_tanh_log2.
RK_INLINE float rk_query_scale(const rk_attend *a) {
  return a->softcap != 0.0F ? a->scale / a->softcap * (2.0F * RK_LOG2E) : a->scale * RK_LOG2E;
}

RK_INLINE rk_vec rk_cap(const rk_attend *a, rk_vec dot) {
  return rk_v_mul(rk_v_tanh_log2(dot), rk_v_set(a->softcap * RK_LOG2E));
}

RK_INLINE const uint16_t *rk_halves_at(const uint8_t *base, int64_t index, size_t distance) {
  return (const uint16_t *)(const void *)(base + (size_t)index * distance);
}

RK_INLINE const float *rk_query_at(const rk_attend *a, int64_t query, int head) {
  return (const float *)(const void *)(a->q + (size_t)query * a->q_query + (size_t)head * a->q_head);
}

RK_INLINE float *rk_out_at(const rk_attend *a, int64_t query, int head) {
  return (float *)(void *)(a->out + (size_t)query * a->out_query + (size_t)head * a->out_head);
}

// The functions of rk_attention that stand in isa/attention_few.c.
int64_t RK_NAME(rk_attend_count_keys)(const uint16_t *mask, int64_t keys);
int64_t RK_NAME(rk_attend_list_keys)(const uint16_t *mask, int64_t first, int64_t keys, rk_keys *list);
void RK_NAME(rk_attend_begin)(const rk_attend *a, int64_t query, float *rows, float *state);
void RK_NAME(rk_attend_add)(const rk_attend *a, const float *rows, const rk_keys *list, float *state);
void RK_NAME(rk_attend_merge)(const rk_attend *a, float *state, const float *other);
void RK_NAME(rk_attend_finish)(const rk_attend *a, int64_t query, float *state);

extern const rk_attention RK_NAME(rk_attention_kernels);

#endif
