// SPDX-License-Identifier: Apache-2.0
//
// Buckets in memory: a hash table with chains whose size never changes, and a list in the order of use. A bucket that is
// full again is as good as none; each write looks at two places of the table and forgets such buckets, so that what a flood
// of addresses left goes away with the next requests. At the bound the least recently used bucket is used anew.
//
// Owns the buckets. Thread: the event loop's. It does not know why anybody takes.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "admit/limits_private.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/text.h"

#define COUNT_MIN 16
#define COUNT_MAX ((size_t)1 << 24)
#define SWEPT_PER_WRITE 2

typedef struct bucket {
  struct bucket *next;  // in the chain
  rh_list_node used;
  uint64_t hash;
  uint64_t at_ns;    // when `levels` were right
  uint64_t full_ns;  // when it is as if it had never been
  rh_levels levels;
  char subject[RH_LIMIT_SUBJECT_MAX];
} bucket;

struct rh_buckets {
  bucket **table;
  size_t mask;
  size_t count_max;
  size_t hand;   // the next place to sweep
  rh_list used;  // the most recent first
  uint64_t seed;
};

rh_buckets *rh_buckets_new(size_t count_max) {
  rh_buckets *buckets = calloc(1, sizeof *buckets);
  if (buckets == NULL) return NULL;
  buckets->count_max = count_max < COUNT_MIN ? COUNT_MIN : count_max > COUNT_MAX ? COUNT_MAX : count_max;
  size_t size = COUNT_MIN;
  while (size < buckets->count_max) size *= 2;
  buckets->mask = size - 1;
  buckets->table = calloc(size, sizeof *buckets->table);
  rh_list_init(&buckets->used);
  // Without random bytes somebody could choose addresses that share a chain; slower, not wrong.
  if (getrandom(&buckets->seed, sizeof buckets->seed, GRND_NONBLOCK) < 0) buckets->seed = rh_clock_now_ns();
  if (buckets->table != NULL) return buckets;
  free(buckets);
  return NULL;
}

void rh_buckets_free(rh_buckets *buckets) {
  if (buckets == NULL) return;
  while (buckets->used.count > 0) {
    bucket *last = rh_list_entry(rh_list_first(&buckets->used), bucket, used);
    rh_list_remove(&buckets->used, &last->used);
    free(last);
  }
  free(buckets->table);
  free(buckets);
}

size_t rh_buckets_count(const rh_buckets *buckets) { return buckets->used.count; }

static uint64_t hash_of(const rh_buckets *buckets, const char *subject) {
  return rh_hash_bytes(buckets->seed, subject, strlen(subject));
}

static bucket *find(const rh_buckets *buckets, uint64_t hash, const char *subject) {
  for (bucket *at = buckets->table[hash & buckets->mask]; at != NULL; at = at->next) {
    if (at->hash == hash && strcmp(at->subject, subject) == 0) return at;
  }
  return NULL;
}

static void take_out(rh_buckets *buckets, bucket *gone) {
  bucket **link = &buckets->table[gone->hash & buckets->mask];
  while (*link != gone) link = &(*link)->next;
  *link = gone->next;
  rh_list_remove(&buckets->used, &gone->used);
}

static void sweep(rh_buckets *buckets, uint64_t now_ns) {
  for (int i = 0; i < SWEPT_PER_WRITE; i++) {
    bucket *at = buckets->table[buckets->hand];
    buckets->hand = (buckets->hand + 1) & buckets->mask;
    while (at != NULL) {
      bucket *next = at->next;
      if (at->full_ns <= now_ns) {
        take_out(buckets, at);
        free(at);
      }
      at = next;
    }
  }
}

rh_levels rh_buckets_read(rh_buckets *buckets, const rh_limit *limit, uint64_t now_ns) {
  const bucket *at = find(buckets, hash_of(buckets, limit->subject), limit->subject);
  rh_levels levels;
  for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
    double rate = rh_limit_rate(limit, kind);
    levels.of[kind] = rate;
    // A bucket from before there was this limit has nothing to say about it.
    if (at == NULL || rate <= 0 || at->full_ns <= now_ns || isnan(at->levels.of[kind])) continue;
    double passed_s = now_ns > at->at_ns ? rh_ns_to_s(now_ns - at->at_ns) : 0;
    double level = at->levels.of[kind] + passed_s * rate / 60;
    levels.of[kind] = level < rate ? level : rate;
  }
  return levels;
}

static uint64_t time_until_full(const rh_limit *limit, const rh_levels *levels) {
  double longest_s = 0;
  for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
    double rate = rh_limit_rate(limit, kind);
    double missing_s = rate > 0 ? (rate - levels->of[kind]) * 60 / rate : 0;
    if (missing_s > longest_s) longest_s = missing_s;
  }
  return (uint64_t)(longest_s * 1e9);
}

void rh_buckets_write(rh_buckets *buckets, const rh_limit *limit, uint64_t now_ns, const rh_levels *levels) {
  sweep(buckets, now_ns);
  uint64_t full_in_ns = time_until_full(limit, levels);
  uint64_t hash = hash_of(buckets, limit->subject);
  bucket *at = find(buckets, hash, limit->subject);
  if (at != NULL) {
    take_out(buckets, at);
  } else if (full_in_ns > 0 && buckets->used.count < buckets->count_max) {
    at = calloc(1, sizeof *at);
  }
  if (at == NULL && full_in_ns > 0 && buckets->used.count > 0) {
    at = rh_list_entry(buckets->used.head.prev, bucket, used);
    take_out(buckets, at);
  }
  if (full_in_ns == 0 || at == NULL) {
    free(at);
    return;
  }
  (void)rh_text_copy(at->subject, sizeof at->subject, limit->subject);
  at->hash = hash;
  at->at_ns = now_ns;
  at->full_ns = now_ns + full_in_ns;
  for (int kind = 0; kind < RH_LIMIT_KINDS; kind++)
    at->levels.of[kind] = rh_limit_rate(limit, kind) > 0 ? levels->of[kind] : NAN;
  at->next = buckets->table[hash & buckets->mask];
  buckets->table[hash & buckets->mask] = at;
  rh_list_push_front(&buckets->used, &at->used);
}
