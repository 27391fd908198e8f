// SPDX-License-Identifier: Apache-2.0
//
// admit/cache with a real redis-server: an answer goes from one cache to another with its age and its time to live, dropping removes the
// cache's names and no others, and a server that is killed costs misses and nothing else.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache_fixture.h"
#include "loop_fixture.h"

#define S RH_NS_PER_S
#define NAMES_MAX 1300

typedef struct fixture {
  rh_loop *loop;
  char folder[64], url[128];
  pid_t server;
  rh_redis *redis;
  rh_cache *first, *second;
} fixture;

static bool is_connected(void *ctx) { return rh_redis_connected(ctx); }

static pid_t start_server(const char *folder) {
  char path[96];
  (void)snprintf(path, sizeof path, "%s/redis.sock", folder);
  pid_t pid = fork();
  if (pid == 0) {
    if (freopen("/dev/null", "w", stdout) == NULL) _exit(126);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
           "--dir", folder, (char *)NULL);
    _exit(127);
  }
  assert_true(pid > 0);
  return pid;
}

static void stop_server(fixture *f) {
  if (f->server <= 0) return;
  int status;
  assert_int_equal(kill(f->server, SIGKILL), 0);
  assert_int_equal(waitpid(f->server, &status, 0), f->server);
  assert_true(WIFSIGNALED(status));
  f->server = 0;
}

static rh_cache *make_cache(fixture *f) {
  rh_cache *cache = rh_cache_new(
      f->loop, &(rh_cache_options){.bytes_max = 4 << 20, .ttl_ns = 60 * S, .redis = f->redis, .prefix = "a*b:"});
  assert_non_null(cache);
  return cache;
}

static int open_all(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  f->loop = rh_loop_new();
  (void)snprintf(f->folder, sizeof f->folder, "/tmp/rh-cache-redis-XXXXXX");
  assert_non_null(mkdtemp(f->folder));
  (void)snprintf(f->url, sizeof f->url, "unix://%s/redis.sock", f->folder);
  f->server = start_server(f->folder);
  rh_error error = {0};
  const rh_redis_options options = {.url = f->url,
                                    .timeout_ns = rh_scaled_ns(S),
                                    .backoff_min_ns = 10 * RH_NS_PER_MS,
                                    .backoff_max_ns = 50 * RH_NS_PER_MS,
                                    .pending_max = 10000};
  assert_int_equal(rh_redis_new(f->loop, &options, &f->redis, &error), RH_OK);
  assert_true(rh_run_until(f->loop, is_connected, f->redis));
  f->first = make_cache(f);
  f->second = make_cache(f);
  *state = f;
  return 0;
}

static int close_all(void **state) {
  fixture *f = *state;
  char path[96];
  rh_cache_free(f->first);
  rh_cache_free(f->second);
  rh_redis_free(f->redis);
  stop_server(f);
  (void)snprintf(path, sizeof path, "%s/redis.sock", f->folder);
  (void)unlink(path);
  (void)rmdir(f->folder);
  rh_loop_free(f->loop);
  free(f);
  return 0;
}

// NULL = nothing was found.
static void expect(fixture *f, rh_cache *cache, int number, const char *text) {
  asked found;
  rh_status status = ask(cache, number, false, -1, 1000 * S, &found);
  if (status == RH_AGAIN) assert_true(rh_run_until(f->loop, is_answered, &found));
  if (text == NULL)
    assert_null(found.recording);
  else
    assert_answer(found.recording, text);
  rh_recording_release(found.recording);
}

typedef struct number {
  int64_t value;
  bool known;
} number;

static void note_number(void *ctx, rh_status status, const rh_redis_reply *reply) {
  number *out = ctx;
  assert_int_equal(status, RH_OK);
  *out = (number){.value = reply->kind == RH_REDIS_INTEGER ? reply->integer : -1000, .known = true};
}

static bool is_known(void *ctx) { return ((number *)ctx)->known; }

static int64_t ask_number(fixture *f, const char *word, const char *name) {
  number out = {0};
  const char *args[] = {word, name};
  const size_t lengths[] = {strlen(word), name == NULL ? 0 : strlen(name)};
  assert_int_equal(rh_redis_command(f->redis, name == NULL ? 1 : 2, args, lengths, note_number, &out, NULL), RH_OK);
  assert_true(rh_run_until(f->loop, is_known, &out));
  return out.value;
}

static void test_from_one_to_another(void **state) {
  fixture *f = *state;
  expect(f, f->second, 1, NULL);
  keep(f->first, 1, false, "one", 5 * S);
  keep(f->first, 2, true, "local", 5 * S);
  expect(f, f->second, 1, "one");
  expect(f, f->second, 2, NULL);
  int64_t ttl_ms = ask_number(f, "PTTL", "a*b:cache:0100000000000000000000000000000000000000000000000000000000000007");
  assert_in_range(ttl_ms, 30000, 60000);
  assert_int_equal(ask_number(f, "DBSIZE", NULL), 1);
  assert_int_equal(rh_cache_get_counts(f->second)->redis_hits, 1);
}

static void test_dropping_removes_its_own_names(void **state) {
  fixture *f = *state;
  static const char *const others[] = {"axb:cache:1", "a*b:limit:1", "cache:1"};
  for (int i = 0; i < NAMES_MAX; i++) keep(f->first, i, false, "x", 5 * S);
  for (size_t i = 0; i < 3; i++) {
    const char *const args[] = {"SET", others[i], "1"};
    const size_t lengths[] = {3, strlen(others[i]), 1};
    assert_int_equal(rh_redis_command(f->redis, 3, args, lengths, NULL, NULL, NULL), RH_OK);
  }
  assert_int_equal(ask_number(f, "DBSIZE", NULL), NAMES_MAX + 3);
  rh_cache_drop(f->first, NULL);
  expect(f, f->first, 1, NULL);
  int64_t left = NAMES_MAX;
  for (int i = 0; i < 1000 && left > 3; i++) left = ask_number(f, "DBSIZE", NULL);
  assert_int_equal(left, 3);
  assert_int_equal(rh_cache_get_counts(f->first)->redis_failed, 0);
  expect(f, f->second, 1, NULL);
}

static void test_a_killed_server_costs_misses_only(void **state) {
  fixture *f = *state;
  keep(f->first, 1, false, "one", 5 * S);
  expect(f, f->second, 1, "one");
  stop_server(f);
  for (int i = 0; i < 50; i++) {
    expect(f, f->second, 1, "one");
    expect(f, f->second, 100 + i, NULL);
    keep(f->second, 200 + i, false, "kept", 1000 * S);
    expect(f, f->second, 200 + i, "kept");
  }
  assert_true(rh_cache_get_counts(f->second)->redis_failed > 0);
  f->server = start_server(f->folder);
  assert_true(rh_run_until(f->loop, is_connected, f->redis));
  keep(f->first, 3, false, "three", 5 * S);
  expect(f, f->second, 3, "three");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_from_one_to_another, open_all, close_all),
      cmocka_unit_test_setup_teardown(test_dropping_removes_its_own_names, open_all, close_all),
      cmocka_unit_test_setup_teardown(test_a_killed_server_costs_misses_only, open_all, close_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
