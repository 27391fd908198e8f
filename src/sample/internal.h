// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share. Nobody outside includes this, except the folder's own tests.
//
// Two ideas carry the speed. Logits are looked at in blocks of 64 whose greatest values are found in one pass, so that
// later passes open only the few blocks that matter. And every filter keeps a beginning of one ranking (greater logit
// first, equal ones by lower token), so that all filters together are one number: the key of the last token they keep.
#ifndef RH_SAMPLE_INTERNAL_H
#define RH_SAMPLE_INTERNAL_H

#include <float.h>
#include <string.h>

#include "sample/sampler.h"

#define RH_BLOCK 64

// ---- weights.c: the two loops over all logits, written so that compilers make vector code of them ----

// The greatest of RH_BLOCK logits; NaN counts as -infinity.
float rh_block_max(const float *logits);
// weights[i] = exp((logits[i] - best) / temperature), or 0 where the logit is below `least`, NaN, or so far below `best`
// that the weight is under 1e-37. `best` is finite and no logit that counts exceeds it. Returns the sum.
double rh_block_weigh(const float *logits, float least, float best, float temperature, float weights[RH_BLOCK]);
float rh_weight(float depth);  // one of the same weights: exp(depth), depth <= 0

// ---- keys: a token's place in the ranking as one number ----

// Greater for greater logits, and for equal ones for lower tokens. Not for NaN.
static inline uint64_t rh_key(float logit, int32_t token) {
  float canonical = logit + 0.0f;  // -0 and 0 are equal
  uint32_t bits;
  memcpy(&bits, &canonical, sizeof bits);
  bits = bits >> 31 ? ~bits : bits | 0x80000000u;
  return (uint64_t)bits << 32 | (uint32_t)(INT32_MAX - token);
}

static inline float rh_key_logit(uint64_t key) {
  uint32_t bits = (uint32_t)(key >> 32);
  bits = bits >> 31 ? bits & 0x7fffffffu : ~bits;
  float logit;
  memcpy(&logit, &bits, sizeof logit);
  return logit;
}

static inline int32_t rh_key_token(uint64_t key) { return INT32_MAX - (int32_t)(uint32_t)key; }

// ---- blocks.c: one token's logits, with the changes that bias and penalties made ----

typedef struct rh_blocks {
  const float *logits;
  int32_t vocabulary;
  int32_t count;
  float *maxima;    // of each block
  int32_t *active;  // blocks with tokens that may still be chosen, ascending
  int32_t active_count;
  // Changed blocks are copies; so is the last one where the vocabulary does not fill it (the rest is -infinity).
  int32_t *copy_of;  // for each block: 0, or 1 + its place in `copies`
  float *copies;
  int32_t *copied;  // which blocks `copies` holds
  int32_t copy_count, copy_room;
} rh_blocks;

rh_status rh_blocks_init(rh_blocks *blocks, int32_t vocabulary, size_t changes_max) RH_MUST_CHECK;
void rh_blocks_free(rh_blocks *blocks);
// Begin with another token's logits, which stay where they are. Then make all changes, then scan.
void rh_blocks_begin(rh_blocks *blocks, const float *logits);
float *rh_blocks_change(rh_blocks *blocks, int32_t token);  // the place of its logit; at most changes_max tokens
// Find the maxima and the active blocks. Returns the token with the greatest logit, the first of equal ones; 0 where all
// are NaN or -infinity.
int32_t rh_blocks_scan(rh_blocks *blocks);
void rh_blocks_narrow(rh_blocks *blocks, float least);  // blocks without a logit of at least this are active no more

static inline const float *rh_blocks_get(const rh_blocks *blocks, int32_t block) {
  int32_t copy = blocks->copy_of[block];
  return copy > 0 ? blocks->copies + (size_t)(copy - 1) * RH_BLOCK : blocks->logits + (size_t)block * RH_BLOCK;
}

// ---- candidates.c: which tokens may be chosen ----

typedef struct rh_candidates {
  rh_blocks *blocks;  // the caller's
  float best;         // the greatest logit
  uint64_t cut;       // the key of the last token that is kept
  uint64_t *keys;     // scratch for a whole vocabulary; NULL where neither top_k nor top_p is used
  double *masses;     // scratch: the weights of each depth below the best; NULL without top_p
} rh_candidates;

rh_status rh_candidates_init(rh_candidates *candidates, rh_blocks *blocks, const rh_generate *generate) RH_MUST_CHECK;
void rh_candidates_free(rh_candidates *candidates);
// After a scan that found the token `best`, whose logit is finite. Leaves the tokens with keys of at least `cut`, and
// their blocks active.
void rh_candidates_choose(rh_candidates *candidates, const rh_generate *generate, int32_t best);
// The weights of a block's tokens after all filters, at this temperature. Returns their sum.
double rh_candidates_weigh(const rh_candidates *candidates, int32_t block, float temperature, float weights[RH_BLOCK]);

// ---- draw.c ----

typedef struct rh_random {
  uint64_t state;
} rh_random;

double rh_random_next(rh_random *random);  // in [0, 1), all of 53 bits
// A token by its weight. `sums` is scratch: a number for each block.
int32_t rh_draw(const rh_candidates *candidates, float temperature, double *sums, rh_random *random);

// ---- penalties.c: how often each token was seen among the last so many ----

typedef struct rh_seen_token {
  int32_t token;
  int32_t count;
} rh_seen_token;

typedef struct rh_penalties {
  float repeat, frequency, presence;
  int32_t vocabulary;
  int32_t *ring;  // the last tokens
  size_t ring_room, ring_count, ring_at;
  rh_seen_token *seen;  // without gaps, in no order
  size_t seen_count;
  uint32_t *table;  // open addressing: 0, or 1 + a place in `seen`
  size_t table_mask;
} rh_penalties;

bool rh_penalties_wanted(const rh_generate *generate);
rh_status rh_penalties_init(rh_penalties *penalties, const rh_generate *generate, size_t back,
                            int32_t vocabulary) RH_MUST_CHECK;
void rh_penalties_free(rh_penalties *penalties);
void rh_penalties_note(rh_penalties *penalties, int32_t token);
void rh_penalties_apply(const rh_penalties *penalties, rh_blocks *blocks);

#endif
