// SPDX-License-Identifier: Apache-2.0
//
// The response cache in memory: a hash table, a list by use for the bound and a list by age for the time to live. Owns the entries, each of
// which holds one reference of a recording: an answer that is being replayed outlives its entry. Redis behind it is cache_redis.c, keys
// are cache_key.c. It decides nothing about who may have what: the key does. Thread: the event loop's.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/cache_private.h"
#include "base/clock.h"

#define BUCKETS_MIN 64
#define BUCKETS_MAX ((size_t)1 << 20)
#define BYTES_PER_BUCKET 1024  // a small answer and its entry
#define MALLOC_OVERHEAD 16
#define SWEEP_MIN_NS RH_NS_PER_S
#define SWEEP_MAX_NS (60 * RH_NS_PER_S)
#define SWEEP_AGAIN_NS (10 * RH_NS_PER_MS)
#define SWEEP_ENTRIES 256  // in one go, so that nobody waits for it

static void sweep(void *ctx);

static bool make_buckets(rh_cache *cache) {
  if (cache->options.bytes_max == 0) return true;
  size_t count = BUCKETS_MIN;
  while (count < BUCKETS_MAX && count < cache->options.bytes_max / BYTES_PER_BUCKET) count *= 2;
  cache->buckets = calloc(count, sizeof *cache->buckets);
  cache->bucket_mask = count - 1;
  cache->counts.bytes = count * sizeof *cache->buckets;
  return cache->buckets != NULL;
}

rh_cache *rh_cache_new(rh_loop *loop, const rh_cache_options *options) {
  assert(loop != NULL && options != NULL);
  rh_cache *cache = calloc(1, sizeof *cache);
  if (cache == NULL) return NULL;
  cache->loop = loop;
  cache->options = *options;
  cache->sweep = (rh_timer){.fn = sweep, .ctx = cache};
  rh_list_init(&cache->used);
  rh_list_init(&cache->made);
  rh_list_init(&cache->questions);
  cache->prefix = strdup(options->prefix == NULL ? "" : options->prefix);
  if (cache->prefix == NULL || !make_buckets(cache)) {
    free(cache->prefix);
    free(cache);
    return NULL;
  }
  cache->options.prefix = cache->prefix;
  return cache;
}

// --- entries ---------------------------------------------------------------------------------------------------------------

static cache_entry **bucket_of(const rh_cache *cache, const rh_cache_key *key) {
  size_t hash;
  memcpy(&hash, key->bytes, sizeof hash);  // as good as random already
  return &cache->buckets[hash & cache->bucket_mask];
}

static cache_entry *lookup(const rh_cache *cache, const rh_cache_key *key) {
  if (cache->buckets == NULL) return NULL;
  for (cache_entry *entry = *bucket_of(cache, key); entry != NULL; entry = entry->next) {
    if (memcmp(&entry->key, key, sizeof *key) == 0) return entry;
  }
  return NULL;
}

static void discard(rh_cache *cache, cache_entry *entry) {
  cache_entry **link = bucket_of(cache, &entry->key);
  while (*link != entry) link = &(*link)->next;
  *link = entry->next;
  rh_list_remove(&cache->used, &entry->used);
  rh_list_remove(&cache->made, &entry->made);
  cache->counts.bytes -= entry->bytes;
  cache->counts.entries--;
  rh_recording_release(entry->recording);
  free(entry);
}

static void discard_all(rh_cache *cache) {
  while (cache->made.count > 0) {
    discard(cache, rh_list_entry(rh_list_first(&cache->made), cache_entry, made));
  }
}

void rh_cache_free(rh_cache *cache) {
  if (cache == NULL) return;
  cache_redis_close(cache);
  discard_all(cache);
  rh_loop_timer_cancel(cache->loop, &cache->sweep);
  free(cache->buckets);
  free(cache->prefix);
  free(cache);
}

static int64_t age_of(const cache_entry *entry, uint64_t now_ns) {
  int64_t age = (int64_t)now_ns - entry->created_ns;
  return age < 0 ? 0 : age;
}

static bool expired(const rh_cache *cache, const cache_entry *entry, uint64_t now_ns) {
  return (uint64_t)age_of(entry, now_ns) >= cache->options.ttl_ns;
}

static void expire(rh_cache *cache, cache_entry *entry) {
  cache->counts.expired++;
  discard(cache, entry);
}

// What nobody asks for again leaves too. The oldest stand first, but for those that came from Redis at some age: they wait for their
// turn, or for somebody who asks.
static void sweep(void *ctx) {
  rh_cache *cache = ctx;
  uint64_t now_ns = cache->last_now_ns + (rh_clock_now_ns() - cache->last_clock_ns);
  size_t looked_at = 0;
  while (cache->made.count > 0 && looked_at < SWEEP_ENTRIES) {
    cache_entry *entry = rh_list_entry(rh_list_first(&cache->made), cache_entry, made);
    if (!expired(cache, entry, now_ns)) break;
    expire(cache, entry);
    looked_at++;
  }
  if (cache->made.count == 0) return;
  uint64_t pause = cache->options.ttl_ns / 4;
  if (pause < SWEEP_MIN_NS) pause = SWEEP_MIN_NS;
  if (pause > SWEEP_MAX_NS) pause = SWEEP_MAX_NS;
  rh_loop_timer_set(cache->loop, &cache->sweep, looked_at == SWEEP_ENTRIES ? SWEEP_AGAIN_NS : pause);
}

static void note_time(rh_cache *cache, uint64_t now_ns) {
  cache->last_now_ns = now_ns;
  cache->last_clock_ns = rh_clock_now_ns();
}

static uint64_t entry_bytes(const rh_recording *recording) {
  return sizeof(cache_entry) + rh_recording_memory(recording) + 3 * MALLOC_OVERHEAD;  // entry, recording, its buffer
}

void cache_remember(rh_cache *cache, const rh_cache_key *key, rh_recording *recording, uint64_t now_ns,
                    int64_t age_ns) {
  if (cache->buckets == NULL) return;
  cache_entry *entry = lookup(cache, key);
  if (entry != NULL) discard(cache, entry);
  uint64_t bytes = entry_bytes(recording);
  if (bytes > cache->options.bytes_max) return;
  while (cache->used.count > 0 && cache->counts.bytes + bytes > cache->options.bytes_max) {
    discard(cache, rh_list_entry(cache->used.head.prev, cache_entry, used));
    cache->counts.evicted++;
  }
  if (cache->counts.bytes + bytes > cache->options.bytes_max) return;
  entry = calloc(1, sizeof *entry);
  if (entry == NULL) return;  // one answer less in the cache
  *entry = (cache_entry){.key = *key, .created_ns = (int64_t)now_ns - age_ns, .bytes = bytes};
  entry->recording = rh_recording_hold(recording);
  cache_entry **bucket = bucket_of(cache, key);
  entry->next = *bucket;
  *bucket = entry;
  rh_list_push_front(&cache->used, &entry->used);
  rh_list_push_back(&cache->made, &entry->made);
  cache->counts.bytes += bytes;
  cache->counts.entries++;
  if (cache->sweep.heap_slot == 0) rh_loop_timer_set(cache->loop, &cache->sweep, SWEEP_MIN_NS);
}

// --- the calls ---------------------------------------------------------------------------------------------------------------

rh_status rh_cache_find(rh_cache *cache, const rh_cache_key *key, bool local_only, double age_max_s, uint64_t now_ns,
                        rh_recording **out, double *age_s, rh_cache_done done, void *ctx,
                        rh_cache_question **question) {
  assert(cache != NULL && key != NULL && out != NULL && age_s != NULL);
  *out = NULL;
  *age_s = 0;
  if (question != NULL) *question = NULL;
  note_time(cache, now_ns);
  cache_entry *entry = lookup(cache, key);
  if (entry != NULL && expired(cache, entry, now_ns)) {
    expire(cache, entry);
    entry = NULL;
  }
  if (entry != NULL) {
    double age = (double)age_of(entry, now_ns) / 1e9;
    if (cache_young_enough(age, age_max_s)) {
      rh_list_remove(&cache->used, &entry->used);
      rh_list_push_front(&cache->used, &entry->used);
      cache->counts.hits++;
      *out = rh_recording_hold(entry->recording);
      *age_s = age;
      return RH_OK;
    }
  }
  // One that is too old for this client may have a younger brother in Redis.
  bool ask = cache->options.redis != NULL && !local_only && done != NULL && question != NULL && age_max_s != 0;
  rh_status status = ask ? cache_redis_ask(cache, key, age_max_s, now_ns, done, ctx, question) : RH_NOT_FOUND;
  if (status == RH_NOT_FOUND) cache->counts.misses++;
  return status;
}

void rh_cache_put(rh_cache *cache, const rh_cache_key *key, bool local_only, rh_recording *recording, uint64_t now_ns) {
  assert(cache != NULL && key != NULL && recording != NULL);
  uint64_t bytes_max = cache->options.entry_bytes_max;
  note_time(cache, now_ns);
  if (!rh_recording_complete(recording) || cache->options.ttl_ns == 0) return;
  if (bytes_max > 0 && rh_recording_bytes(recording) > bytes_max) return;
  cache->counts.stored++;
  cache_remember(cache, key, recording, now_ns, 0);
  if (cache->options.redis != NULL && !local_only) cache_redis_keep(cache, key, recording);
}

void rh_cache_drop(rh_cache *cache, const rh_cache_key *key) {
  assert(cache != NULL);
  if (key == NULL) {
    discard_all(cache);
  } else {
    cache_entry *entry = lookup(cache, key);
    if (entry != NULL) discard(cache, entry);
  }
  if (cache->options.redis != NULL) cache_redis_drop(cache, key);
}

const rh_cache_counts *rh_cache_get_counts(const rh_cache *cache) { return &cache->counts; }

void rh_cache_note_semantic_hit(rh_cache *cache) { cache->counts.semantic_hits++; }
