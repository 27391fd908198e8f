// SPDX-License-Identifier: Apache-2.0
//
// A client, its loop and its server in one, and one question at a time. Included after <cmocka.h>.
#ifndef RH_TESTS_REDIS_WORLD_H
#define RH_TESTS_REDIS_WORLD_H

#include "redis_fixture.h"

#define PATIENT_NS (20 * RH_NS_PER_S)  // no time limit in the way of what is tested

typedef struct seen {
  unsigned answers, lost;
  rh_redis_kind kind;
  int64_t integer;
  char text[256];
  size_t count;
  char items[4][64];
  uint64_t at_ns;
} seen;

static inline void note(void *ctx, rh_status status, const rh_redis_reply *reply) {
  seen *into = ctx;
  into->at_ns = rh_clock_now_ns();
  if (status != RH_OK) {
    assert_int_equal(status, RH_UNAVAILABLE);
    assert_null(reply);
    into->lost++;
    return;
  }
  into->answers++;
  into->kind = reply->kind;
  into->integer = reply->integer;
  into->count = reply->count;
  if (reply->bytes != NULL) (void)snprintf(into->text, sizeof into->text, "%.*s", (int)reply->length, reply->bytes);
  for (size_t i = 0; i < reply->count && i < 4; i++) {
    if (reply->items[i].bytes != NULL)
      (void)snprintf(into->items[i], sizeof into->items[i], "%.*s", (int)reply->items[i].length, reply->items[i].bytes);
  }
}

static inline bool any(void *ctx) {
  const seen *into = ctx;
  return into->answers + into->lost > 0;
}

typedef struct world {
  rh_redis_fixture server;
  rh_loop *loop;
  rh_redis *redis;
} world;

static inline world *open_world(uint64_t timeout_ns, const char *password) {
  world *w = calloc(1, sizeof *w);
  rh_redis_fixture_init(&w->server, password);
  w->loop = rh_loop_new();
  char url[256];
  const char *at = password[0] != '\0' ? "@" : "";
  (void)snprintf(url, sizeof url, "unix://%s%s%s%s?db=3", password[0] != '\0' ? ":" : "", password, at, w->server.path);
  w->redis = rh_redis_fixture_client(w->loop, url, timeout_ns);
  assert_true(rh_redis_fixture_wait_up(w->loop, w->redis));
  return w;
}

static inline void close_world(world *w) {
  rh_redis_free(w->redis);
  rh_loop_free(w->loop);
  rh_redis_fixture_end(&w->server);
  free(w);
}

static inline seen ask(world *w, size_t count, const char *const *args) {
  seen into = {0};
  assert_int_equal(rh_redis_command(w->redis, count, args, NULL, note, &into, NULL), RH_OK);
  assert_true(rh_run_until(w->loop, any, &into));
  return into;
}

#define ASK(w, ...) ask(w, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

#endif
