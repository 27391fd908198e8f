// SPDX-License-Identifier: Apache-2.0
//
// Private to cache*.c: the table in memory, and Redis behind it.
#ifndef RH_ADMIT_CACHE_PRIVATE_H
#define RH_ADMIT_CACHE_PRIVATE_H

#include "admit/cache.h"
#include "base/list.h"

typedef struct cache_entry {
  struct cache_entry *next;  // in its bucket
  rh_list_node used;         // the most recently used first
  rh_list_node made;         // the oldest first
  rh_cache_key key;
  rh_recording *recording;
  int64_t created_ns;
  uint64_t bytes;
} cache_entry;

// One at a time: names are looked for and removed step by step, so that a large database is not held up.
typedef struct cache_cleaning {
  rh_redis_request *request;  // NULL = none runs
  char cursor[24];
} cache_cleaning;

struct rh_cache {
  rh_loop *loop;
  rh_cache_options options;
  char *prefix;
  cache_entry **buckets;  // NULL = no memory cache
  size_t bucket_mask;
  rh_list used, made, questions;
  rh_timer sweep;
  uint64_t last_now_ns, last_clock_ns;  // what the caller's clock said, and ours at that time
  cache_cleaning cleaning;
  rh_cache_counts counts;
};

// In memory. `age_ns`: how old it is already.
void cache_remember(rh_cache *cache, const rh_cache_key *key, rh_recording *recording, uint64_t now_ns, int64_t age_ns);

// Redis. RH_AGAIN, or RH_NOT_FOUND when it cannot be asked.
rh_status cache_redis_ask(rh_cache *cache, const rh_cache_key *key, double age_max_s, uint64_t now_ns,
                          rh_cache_done done, void *ctx, rh_cache_question **out);
void cache_redis_keep(rh_cache *cache, const rh_cache_key *key, const rh_recording *recording);
void cache_redis_drop(rh_cache *cache, const rh_cache_key *key);  // questions under way find nothing
void cache_redis_close(rh_cache *cache);

static inline bool cache_young_enough(double age_s, double age_max_s) {
  return age_max_s < 0 || (age_max_s > 0 && age_s <= age_max_s);
}

// SHA-256 over pieces, with the key's own digest context.
typedef struct cache_span {
  const void *bytes;
  size_t length;
} cache_span;
void cache_digest(const cache_span *spans, size_t count, unsigned char out[RH_CACHE_KEY_BYTES]);

#endif
