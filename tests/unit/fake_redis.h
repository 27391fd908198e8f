// SPDX-License-Identifier: Apache-2.0
//
// A Redis for tests of who uses the client: the functions of redis/redis.h over a small table in memory. Answers come from the loop, as from
// the real client, and a test can make it fail, be silent, or answer with what it likes. Include it in one file of a program only.
#ifndef RH_TEST_FAKE_REDIS_H
#define RH_TEST_FAKE_REDIS_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "redis/redis.h"

#define FAKE_VALUES_MAX 64
#define FAKE_REQUESTS_MAX 64

typedef struct fake_value {
  char name[160];
  char *bytes;
  size_t length;
  long long ttl_ms;
} fake_value;

struct rh_redis {
  rh_loop *loop;
  rh_deferred turn;
  bool away;      // commands are refused at once
  bool failing;   // commands are taken and end with RH_UNAVAILABLE
  bool refusing;  // answers are errors
  bool silent;    // nothing is answered until this is over
  fake_value values[FAKE_VALUES_MAX];
  rh_redis_request *requests[FAKE_REQUESTS_MAX];
  size_t value_count, request_count;
  size_t gets, sets, unlinks, scans;
  rh_redis_counts counts;
};

struct rh_redis_request {
  rh_redis *redis;
  char word[16], name[160], pattern[160];
  size_t cursor;
  rh_redis_done done;
  void *ctx;
};

static void fake_redis_turn(void *ctx);

static inline void fake_redis_open(rh_redis *redis, rh_loop *loop) {
  memset(redis, 0, sizeof *redis);
  redis->loop = loop;
  redis->turn = (rh_deferred){.fn = fake_redis_turn, .ctx = redis};
}

static inline void fake_redis_close(rh_redis *redis) {
  rh_loop_undefer(redis->loop, &redis->turn);
  for (size_t i = 0; i < redis->value_count; i++) free(redis->values[i].bytes);
  for (size_t i = 0; i < redis->request_count; i++) free(redis->requests[i]);
}

static inline fake_value *fake_redis_value(rh_redis *redis, const char *name) {
  for (size_t i = 0; i < redis->value_count; i++) {
    if (strcmp(redis->values[i].name, name) == 0) return &redis->values[i];
  }
  return NULL;
}

static inline void fake_redis_remove(rh_redis *redis, const char *name) {
  fake_value *value = fake_redis_value(redis, name);
  if (value == NULL) return;
  free(value->bytes);
  *value = redis->values[--redis->value_count];
}

static inline void fake_redis_set(rh_redis *redis, const char *name, const char *bytes, size_t length, long long ttl) {
  fake_redis_remove(redis, name);
  assert(redis->value_count < FAKE_VALUES_MAX && strlen(name) < sizeof redis->values[0].name);
  fake_value *value = &redis->values[redis->value_count++];
  strcpy(value->name, name);
  value->bytes = malloc(length + 1);
  assert(value->bytes != NULL);
  memcpy(value->bytes, bytes, length);
  value->length = length;
  value->ttl_ms = ttl;
}

// One name at each step, so that a scan takes several.
static inline void fake_redis_scan(rh_redis *redis, const rh_redis_request *request) {
  char next[16];
  rh_redis_reply name = {.kind = RH_REDIS_BYTES};
  size_t found = 0, at = request->cursor > 0 ? request->cursor - 1000 : 0, prefix = strlen(request->pattern) - 1;
  if (at < redis->value_count) {
    const fake_value *value = &redis->values[redis->value_count - 1 - at];
    name.bytes = value->name;
    name.length = strlen(value->name);
    found = strncmp(value->name, request->pattern, prefix) == 0;
  }
  (void)snprintf(next, sizeof next, "%zu", at + 1 >= redis->value_count ? 0 : 1000 + at + 1 - found);
  const rh_redis_reply items[] = {{.kind = RH_REDIS_BYTES, .bytes = next, .length = strlen(next)},
                                  {.kind = RH_REDIS_LIST, .items = &name, .count = found}};
  const rh_redis_reply reply = {.kind = RH_REDIS_LIST, .items = items, .count = 2};
  request->done(request->ctx, RH_OK, &reply);
}

static inline void fake_redis_answer(rh_redis *redis, const rh_redis_request *request) {
  const rh_redis_reply error = {.kind = RH_REDIS_ERROR, .bytes = "LOADING", .length = 7};
  if (redis->failing) {
    request->done(request->ctx, RH_UNAVAILABLE, NULL);
  } else if (redis->refusing) {
    request->done(request->ctx, RH_OK, &error);
  } else if (strcmp(request->word, "SCAN") == 0) {
    fake_redis_scan(redis, request);
  } else {
    const fake_value *value = fake_redis_value(redis, request->name);
    rh_redis_reply reply = {.kind = RH_REDIS_NIL};
    if (value != NULL) reply = (rh_redis_reply){.kind = RH_REDIS_BYTES, .bytes = value->bytes, .length = value->length};
    request->done(request->ctx, RH_OK, &reply);
  }
}

static void fake_redis_turn(void *ctx) {
  rh_redis *redis = ctx;
  while (!redis->silent && redis->request_count > 0) {
    rh_redis_request *request = redis->requests[0];
    memmove(redis->requests, redis->requests + 1, --redis->request_count * sizeof request);
    fake_redis_answer(redis, request);
    free(request);
  }
}

rh_status rh_redis_command(rh_redis *redis, size_t count, const char *const *args, const size_t *lengths,
                           rh_redis_done done, void *ctx, rh_redis_request **out) {
  redis->counts.commands++;
  if (redis->away) return RH_UNAVAILABLE;
  for (size_t i = 0; i < count; i++) assert(strlen(args[i]) == lengths[i] || strcmp(args[0], "SET") == 0);
  if (strcmp(args[0], "SET") == 0) {
    redis->sets++;
    if (!redis->failing) fake_redis_set(redis, args[1], args[2], lengths[2], atoll(args[4]));
  } else if (strcmp(args[0], "UNLINK") == 0) {
    redis->unlinks++;
    for (size_t i = 1; i < count; i++) fake_redis_remove(redis, args[i]);
  }
  redis->gets += strcmp(args[0], "GET") == 0;
  redis->scans += strcmp(args[0], "SCAN") == 0;
  if (done == NULL) return RH_OK;
  assert(redis->request_count < FAKE_REQUESTS_MAX);
  rh_redis_request *request = calloc(1, sizeof *request);
  assert(request != NULL);
  *request = (rh_redis_request){.redis = redis, .done = done, .ctx = ctx};
  strcpy(request->word, args[0]);
  if (strcmp(args[0], "SCAN") == 0) {
    request->cursor = (size_t)atoi(args[1]);
    char *to = request->pattern;
    for (const char *from = args[3]; *from != '\0'; from++) {
      if (*from == '\\') from++;
      *to++ = *from;
    }
  } else {
    strcpy(request->name, args[1]);
  }
  redis->requests[redis->request_count++] = request;
  if (out != NULL) *out = request;
  rh_loop_defer(redis->loop, &redis->turn);
  return RH_OK;
}

void rh_redis_forget(rh_redis_request *request) {
  rh_redis *redis = request->redis;
  for (size_t i = 0; i < redis->request_count; i++) {
    if (redis->requests[i] != request) continue;
    memmove(redis->requests + i, redis->requests + i + 1, (--redis->request_count - i) * sizeof request);
    free(request);
    return;
  }
  assert(false);  // forgotten twice, or after its answer
}

#endif
