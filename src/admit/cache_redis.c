// SPDX-License-Identifier: Apache-2.0
//
// The response cache's share in Redis: one value for each answer, "<prefix>cache:<key in hexadecimal>":
//
//   "RHC" version | 16 bytes of SHA-256 over key, stamp and recording | i64 stamp (wall clock, ms) | the recording
//
// Read after a miss in memory, written beside it, with the cache's time to live. A failure, a timeout and a value that is damaged, too large
// or of another version are each a miss. Owns the questions under way. What must not leave this machine never comes here: cache.c
// sees to that. Thread: the event loop's.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admit/cache_private.h"
#include "base/clock.h"
#include "base/log.h"

#define VALUE_VERSION 1
#define DIGEST_BYTES 16
#define DIGEST_AT 4
#define STAMP_AT (DIGEST_AT + DIGEST_BYTES)
#define STAMP_BYTES 8
#define HEADER_BYTES (STAMP_AT + STAMP_BYTES)
#define NAME_WORD "cache:"
#define SCAN_COUNT "500"

struct rh_cache_question {
  rh_cache *cache;
  rh_list_node node;
  rh_redis_request *request;
  rh_cache_key key;
  double age_max_s;
  uint64_t now_ns;
  bool dropped;  // while it was under way: what comes is not wanted any more
  rh_cache_done done;
  void *ctx;
};

static int64_t wall_ms(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// malloc'ed; NULL when memory is short.
static char *make_name(const rh_cache *cache, const rh_cache_key *key) {
  static const char digits[] = "0123456789abcdef";
  size_t prefix = strlen(cache->prefix), word = strlen(NAME_WORD);
  char *name = malloc(prefix + word + 2 * sizeof key->bytes + 1);
  if (name == NULL) return NULL;
  memcpy(name, cache->prefix, prefix);
  memcpy(name + prefix, NAME_WORD, word);
  char *at = name + prefix + word;
  for (size_t i = 0; i < sizeof key->bytes; i++) {
    *at++ = digits[key->bytes[i] >> 4];
    *at++ = digits[key->bytes[i] & 15];
  }
  *at = '\0';
  return name;
}

static rh_status command(const rh_cache *cache, size_t count, const char *const *args, rh_redis_done done, void *ctx,
                         rh_redis_request **out) {
  size_t lengths[5];
  assert(count <= sizeof lengths / sizeof *lengths);
  for (size_t i = 0; i < count; i++) lengths[i] = strlen(args[i]);
  return rh_redis_command(cache->options.redis, count, args, lengths, done, ctx, out);
}

static void digest_value(const rh_cache_key *key, const char *value, size_t length, unsigned char out[DIGEST_BYTES]) {
  unsigned char whole[RH_CACHE_KEY_BYTES];
  const cache_span spans[] = {{key->bytes, sizeof key->bytes}, {value + STAMP_AT, length - STAMP_AT}};
  cache_digest(spans, 2, whole);
  memcpy(out, whole, DIGEST_BYTES);
}

// --- reading -----------------------------------------------------------------------------------------------------------------

// What is wrong with a value, or NULL.
static const char *open_value(const rh_cache *cache, const rh_cache_key *key, const rh_redis_reply *reply,
                              rh_recording **out, int64_t *age_ms) {
  unsigned char digest[DIGEST_BYTES];
  int64_t stamp;
  uint64_t bytes_max = cache->options.entry_bytes_max;
  if (reply->length < HEADER_BYTES || memcmp(reply->bytes, "RHC", 3) != 0) return "it is no recorded answer";
  if (reply->bytes[3] != VALUE_VERSION) return "it is of another version";
  if (bytes_max > 0 && reply->length - HEADER_BYTES > bytes_max) return "it is too large";
  digest_value(key, reply->bytes, reply->length, digest);
  if (memcmp(digest, reply->bytes + DIGEST_AT, DIGEST_BYTES) != 0) return "it is damaged";
  memcpy(&stamp, reply->bytes + STAMP_AT, sizeof stamp);
  if (rh_recording_read(reply->bytes + HEADER_BYTES, reply->length - HEADER_BYTES, out, NULL) != RH_OK) {
    return "it cannot be read";
  }
  if (!rh_recording_complete(*out)) {
    rh_recording_release(*out);
    *out = NULL;
    return "it is not complete";
  }
  int64_t now = wall_ms();
  *age_ms = stamp > now ? 0 : now - stamp;  // another machine's clock may be ahead
  return NULL;
}

// The recording for the question, with a reference, or NULL.
static rh_recording *take_value(const rh_cache_question *question, const rh_redis_reply *reply, double *age_s) {
  rh_cache *cache = question->cache;
  rh_recording *recording = NULL;
  int64_t age_ms = 0;
  const char *fault = open_value(cache, &question->key, reply, &recording, &age_ms);
  if (fault != NULL) {
    RH_LOG(RH_LOG_DEBUG, "a cached answer in Redis is not used", rh_log_str("reason", fault));
    return NULL;
  }
  // Other daemons may keep answers longer than this one.
  bool stale = (uint64_t)age_ms >= cache->options.ttl_ns / RH_NS_PER_MS;
  *age_s = (double)age_ms / 1e3;
  if (!stale) {
    cache_remember(cache, &question->key, recording, question->now_ns, age_ms * (int64_t)RH_NS_PER_MS);
    cache->counts.redis_hits++;
  }
  if (!stale && cache_young_enough(*age_s, question->age_max_s)) return recording;
  rh_recording_release(recording);
  return NULL;
}

static void answered(void *ctx, rh_status status, const rh_redis_reply *reply) {
  rh_cache_question *question = ctx;
  rh_cache *cache = question->cache;
  rh_recording *recording = NULL;
  double age_s = 0;
  if (status != RH_OK || reply->kind == RH_REDIS_ERROR) {
    cache->counts.redis_failed++;
  } else if (reply->kind == RH_REDIS_BYTES && !question->dropped) {
    recording = take_value(question, reply, &age_s);
  }
  if (recording != NULL) {
    cache->counts.hits++;
  } else {
    cache->counts.misses++;
  }
  rh_cache_done done = question->done;
  void *done_ctx = question->ctx;
  rh_list_remove(&cache->questions, &question->node);
  free(question);
  done(done_ctx, recording, recording == NULL ? 0 : age_s);
}

rh_status cache_redis_ask(rh_cache *cache, const rh_cache_key *key, double age_max_s, uint64_t now_ns,
                          rh_cache_done done, void *ctx, rh_cache_question **out) {
  if (cache->cleaning.request != NULL) return RH_NOT_FOUND;  // it may still hold what was dropped
  rh_cache_question *question = calloc(1, sizeof *question);
  char *name = make_name(cache, key);
  rh_status status = RH_NO_MEMORY;
  if (question != NULL && name != NULL) {
    *question = (rh_cache_question){
        .cache = cache, .key = *key, .age_max_s = age_max_s, .now_ns = now_ns, .done = done, .ctx = ctx};
    const char *const args[] = {"GET", name};
    status = command(cache, 2, args, answered, question, &question->request);
  }
  free(name);
  if (status != RH_OK) {
    cache->counts.redis_failed++;
    free(question);
    return RH_NOT_FOUND;
  }
  rh_list_push_back(&cache->questions, &question->node);
  *out = question;
  return RH_AGAIN;
}

void rh_cache_forget(rh_cache_question *question) {
  if (question == NULL) return;
  rh_redis_forget(question->request);
  rh_list_remove(&question->cache->questions, &question->node);
  free(question);
}

// --- writing -----------------------------------------------------------------------------------------------------------------

void cache_redis_keep(rh_cache *cache, const rh_cache_key *key, const rh_recording *recording) {
  size_t length;
  const char *data = rh_recording_data(recording, &length);
  char *name = make_name(cache, key), *value = malloc(HEADER_BYTES + length);
  rh_status status = RH_NO_MEMORY;
  if (name != NULL && value != NULL) {
    int64_t stamp = wall_ms();
    unsigned char digest[DIGEST_BYTES];
    memcpy(value, "RHC", 3);
    value[3] = VALUE_VERSION;
    memcpy(value + STAMP_AT, &stamp, sizeof stamp);
    memcpy(value + HEADER_BYTES, data, length);
    digest_value(key, value, HEADER_BYTES + length, digest);
    memcpy(value + DIGEST_AT, digest, DIGEST_BYTES);
    char ttl[24];
    uint64_t ttl_ms = cache->options.ttl_ns / RH_NS_PER_MS;
    (void)snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)(ttl_ms > 0 ? ttl_ms : 1));
    const char *const args[] = {"SET", name, value, "PX", ttl};
    const size_t lengths[] = {3, strlen(name), HEADER_BYTES + length, 2, strlen(ttl)};
    status = rh_redis_command(cache->options.redis, 5, args, lengths, NULL, NULL, NULL);
  }
  if (status != RH_OK) cache->counts.redis_failed++;
  free(name);
  free(value);
}

// --- dropping ----------------------------------------------------------------------------------------------------------------

static void scanned(void *ctx, rh_status status, const rh_redis_reply *reply);

static void cleaning_failed(rh_cache *cache) {
  cache->counts.redis_failed++;
  RH_LOG(RH_LOG_WARN, "not all cached answers could be removed from Redis: they stay there until their time is over",
         rh_log_str("prefix", cache->prefix));
}

static void scan_on(rh_cache *cache) {
  size_t length = strlen(cache->prefix);
  char *pattern = malloc(2 * length + sizeof NAME_WORD "*");
  rh_status status = RH_NO_MEMORY;
  if (pattern != NULL) {
    char *at = pattern;
    for (size_t i = 0; i < length; i++) {
      if (strchr("*?[]\\", cache->prefix[i]) != NULL) *at++ = '\\';
      *at++ = cache->prefix[i];
    }
    memcpy(at, NAME_WORD "*", sizeof NAME_WORD "*");
    const char *const args[] = {"SCAN", cache->cleaning.cursor, "MATCH", pattern, "COUNT", SCAN_COUNT};
    const size_t lengths[] = {4, strlen(args[1]), 5, strlen(pattern), 5, strlen(SCAN_COUNT)};
    status = rh_redis_command(cache->options.redis, 6, args, lengths, scanned, cache, &cache->cleaning.request);
  }
  free(pattern);
  if (status == RH_OK) return;
  cache->cleaning.request = NULL;
  cleaning_failed(cache);
}

static void unlink_found(rh_cache *cache, const rh_redis_reply *found) {
  if (found->kind != RH_REDIS_LIST || found->count == 0) return;
  const char **args = malloc((found->count + 1) * sizeof *args);
  size_t *lengths = malloc((found->count + 1) * sizeof *lengths);
  size_t count = 1;
  if (args != NULL && lengths != NULL) {
    args[0] = "UNLINK";
    lengths[0] = 6;
    for (size_t i = 0; i < found->count; i++) {
      if (found->items[i].kind != RH_REDIS_BYTES) continue;
      args[count] = found->items[i].bytes;
      lengths[count++] = found->items[i].length;
    }
  }
  if (count > 1 && rh_redis_command(cache->options.redis, count, args, lengths, NULL, NULL, NULL) != RH_OK) {
    cache->counts.redis_failed++;
  }
  free(args);
  free(lengths);
}

static void scanned(void *ctx, rh_status status, const rh_redis_reply *reply) {
  rh_cache *cache = ctx;
  cache->cleaning.request = NULL;
  if (status != RH_OK || reply->kind != RH_REDIS_LIST || reply->count != 2 || reply->items[0].kind != RH_REDIS_BYTES ||
      reply->items[0].length >= sizeof cache->cleaning.cursor) {
    cleaning_failed(cache);
    return;
  }
  unlink_found(cache, &reply->items[1]);
  memcpy(cache->cleaning.cursor, reply->items[0].bytes, reply->items[0].length);
  cache->cleaning.cursor[reply->items[0].length] = '\0';
  if (strcmp(cache->cleaning.cursor, "0") != 0) scan_on(cache);
}

static void stop_cleaning(rh_cache *cache) {
  if (cache->cleaning.request != NULL) rh_redis_forget(cache->cleaning.request);
  cache->cleaning.request = NULL;
}

void cache_redis_drop(rh_cache *cache, const rh_cache_key *key) {
  rh_list_each(&cache->questions, node) {
    rh_cache_question *question = rh_list_entry(node, rh_cache_question, node);
    if (key == NULL || memcmp(&question->key, key, sizeof *key) == 0) question->dropped = true;
  }
  if (key == NULL) {
    stop_cleaning(cache);
    memcpy(cache->cleaning.cursor, "0", 2);
    scan_on(cache);
    return;
  }
  char *name = make_name(cache, key);
  const char *const args[] = {"UNLINK", name};
  if (name == NULL || command(cache, 2, args, NULL, NULL, NULL) != RH_OK) cache->counts.redis_failed++;
  free(name);
}

void cache_redis_close(rh_cache *cache) {
  stop_cleaning(cache);
  while (cache->questions.count > 0) {
    rh_cache_forget(rh_list_entry(rh_list_first(&cache->questions), rh_cache_question, node));
  }
}
