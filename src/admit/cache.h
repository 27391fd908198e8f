// SPDX-License-Identifier: Apache-2.0
//
// The response cache: from a canonical request to the recording of its answer. In memory (bytes bound, LRU, time to live) and, by
// configuration, in Redis behind it. Redis away or slow never fails a request and delays it by its timeout at most.
//
// `now_ns` may be of any clock that goes forward, the same one in all calls; ages in Redis are told by the wall clock.
//
// Thread: the event loop's.
#ifndef RH_ADMIT_CACHE_H
#define RH_ADMIT_CACHE_H

#include "admit/recording.h"
#include "base/loop.h"
#include "flow/request.h"
#include "redis/redis.h"

#define RH_CACHE_KEY_BYTES 32
typedef struct rh_cache_key {
  unsigned char bytes[RH_CACHE_KEY_BYTES];
} rh_cache_key;

// SHA-256 over everything that shapes the answer: task, model (`identity`: provider, name and version or file identity), prompts with
// all pieces, generate, infer, extras, choices. Not: stream, ids, user, session, priority, hints. Equal requests in two dialects have
// equal keys. `scope` ("" or a key's id) keeps tenants apart; `local_only` is part of it: such an answer is in no share of others.
void rh_cache_key_make(const rh_request *request, const char *identity, const char *scope, bool local_only,
                       rh_cache_key *out);
// The same answer would come again: temperature 0 (or top_k 1) or a seed; tasks that do not generate always.
bool rh_request_is_deterministic(const rh_request *request);

typedef struct rh_cache rh_cache;
typedef struct rh_cache_options {
  uint64_t bytes_max;        // in memory, with all that holds the entries; 0 = no memory cache
  uint64_t entry_bytes_max;  // larger answers are not kept; 0 = no bound of their own
  uint64_t ttl_ns;
  rh_redis *redis;     // NULL = memory alone
  const char *prefix;  // of the names in Redis
} rh_cache_options;

rh_cache *rh_cache_new(rh_loop *loop, const rh_cache_options *options);
void rh_cache_free(rh_cache *cache);

// RH_OK: *out is held for the caller, *age_s says how old it is. RH_NOT_FOUND. RH_AGAIN: `done` follows (recording NULL = not there)
// and *question is set. `age_max_s`: older ones are as good as none; < 0 = any age, 0 = none is young enough.
// `local_only` entries are never asked of Redis nor written to it. Recordings in it are complete and shared: nobody appends.
typedef void (*rh_cache_done)(void *ctx, rh_recording *recording, double age_s);  // holds one reference for the callee
typedef struct rh_cache_question rh_cache_question;
rh_status rh_cache_find(rh_cache *cache, const rh_cache_key *key, bool local_only, double age_max_s, uint64_t now_ns,
                        rh_recording **out, double *age_s, rh_cache_done done, void *ctx, rh_cache_question **question);
void rh_cache_forget(rh_cache_question *question);  // `done` is not called any more; NULL is fine
// Keeps a reference to it. Best compacted first (rh_recording_compact). What is not complete or too large is not kept.
void rh_cache_put(rh_cache *cache, const rh_cache_key *key, bool local_only, rh_recording *recording, uint64_t now_ns);
// Removes one, or everything (NULL). Redis too, there all that begins with the prefix, a part at a time.
void rh_cache_drop(rh_cache *cache, const rh_cache_key *key);

// The semantic cache: nearest earlier prompt of the same model and parameters (`shape`: a key made of all but the last user
// message's text) by cosine of embeddings, at least `threshold`. Bounded by entries; exact search.
typedef struct rh_semantic rh_semantic;
rh_semantic *rh_semantic_new(size_t entries_max, size_t dimensions_max);
void rh_semantic_free(rh_semantic *semantic);
bool rh_semantic_find(rh_semantic *semantic, const rh_cache_key *shape, const float *vector, size_t dimensions,
                      double threshold, uint64_t now_ns, rh_cache_key *out, double *cosine);
void rh_semantic_put(rh_semantic *semantic, const rh_cache_key *shape, const float *vector, size_t dimensions,
                     const rh_cache_key *answer, uint64_t expires_ns);
// An answer that the cache does not have any more, so that it hides no other one; NULL = all.
void rh_semantic_drop(rh_semantic *semantic, const rh_cache_key *answer);
size_t rh_semantic_count(const rh_semantic *semantic);
void rh_cache_shape_make(const rh_request *request, const char *identity, const char *scope, bool local_only,
                         rh_cache_key *out);
// The text that stands for the request: its last user message. NULL = this request has none, or images or tools.
const char *rh_semantic_text(const rh_request *request);

typedef struct rh_cache_counts {
  uint64_t hits, misses, stored, evicted, expired, redis_hits, redis_failed, semantic_hits;
  uint64_t bytes;
  size_t entries;
} rh_cache_counts;
const rh_cache_counts *rh_cache_get_counts(const rh_cache *cache);
void rh_cache_note_semantic_hit(rh_cache *cache);  // a hit by rh_semantic_find whose recording was there

#endif
