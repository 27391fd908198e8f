// SPDX-License-Identifier: Apache-2.0
//
// The Redis client against a real server: answers, scripts, order, time limits, loss and return.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "redis_world.h"

static void test_every_kind_of_answer(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  assert_int_equal(ASK(w, "GET", "nothing").kind, RH_REDIS_NIL);
  assert_int_equal(ASK(w, "INCR", "n").integer, 1);
  assert_string_equal(ASK(w, "SET", "t", "text").text, "OK");
  assert_string_equal(ASK(w, "GET", "t").text, "text");
  seen list = ASK(w, "MGET", "t", "n", "nothing");
  assert_int_equal(list.kind, RH_REDIS_LIST);
  assert_int_equal(list.count, 3);
  assert_string_equal(list.items[0], "text");
  assert_string_equal(list.items[1], "1");
  assert_int_equal(ASK(w, "MGET2").kind, RH_REDIS_ERROR);
  seen nested = ASK(w, "EVAL", "return {1,{2,{3,{}}},'x'}", "0");
  assert_int_equal(nested.count, 3);
  assert_string_equal(nested.items[2], "x");

  const char *args[] = {"SET", "b", "a\0b\r\n"};
  const size_t lengths[] = {3, 1, 5};
  seen into = {0};
  assert_int_equal(rh_redis_command(w->redis, 3, args, lengths, note, &into, NULL), RH_OK);
  assert_true(rh_run_until(w->loop, any, &into));
  assert_int_equal(ASK(w, "STRLEN", "b").integer, 5);
  const rh_redis_counts *counts = rh_redis_get_counts(w->redis);
  assert_int_equal(counts->failed, 0);
  assert_int_equal(counts->reconnects, 0);
  close_world(w);
}

static void test_database_and_password(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "p@ss");  // unescaped in the URL: the last '@' divides
  (void)ASK(w, "SET", "where", "three");
  char answer[512];
  assert_true(rh_redis_fixture_says(&w->server, "AUTH p@ss\r\nSELECT 3\r\nGET where\r\n", answer, sizeof answer));
  for (int i = 0; i < 200 && strstr(answer, "three") == NULL; i++)
    assert_true(rh_redis_fixture_says(&w->server, "AUTH p@ss\r\nSELECT 3\r\nGET where\r\n", answer, sizeof answer));
  assert_non_null(strstr(answer, "three"));
  assert_null(strstr(rh_redis_label(w->redis), "p@ss"));
  close_world(w);
}

typedef struct pipeline {
  unsigned next, wrong, lost;
  unsigned total;
} pipeline;

static void count_up(void *ctx, rh_status status, const rh_redis_reply *reply) {
  pipeline *p = ctx;
  if (status != RH_OK)
    p->lost++;
  else if (reply->kind != RH_REDIS_INTEGER || reply->integer != (int64_t)++p->next)
    p->wrong++;
}

static bool all_back(void *ctx) {
  const pipeline *p = ctx;
  return p->next + p->wrong + p->lost >= p->total;
}

static void test_ten_thousand_in_order(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  pipeline p = {.total = 10000};
  const char *args[] = {"INCR", "n"};
  for (unsigned i = 0; i < p.total; i++)
    assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, count_up, &p, NULL), RH_OK);
  assert_int_equal(p.next, 0);  // never from inside
  assert_true(rh_run_until(w->loop, all_back, &p));
  assert_int_equal(p.next, 10000);
  assert_int_equal(p.wrong + p.lost, 0);
  close_world(w);
}

static void test_a_large_value_comes_back_whole(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  size_t length = (size_t)3 * 1024 * 1024;
  char *value = malloc(length + 1);
  memset(value, 'v', length);
  value[length] = '\0';
  assert_string_equal(ASK(w, "SET", "large", value).text, "OK");
  assert_int_equal(ASK(w, "STRLEN", "large").integer, (int64_t)length);
  seen back = ASK(w, "GET", "large");
  assert_int_equal(back.kind, RH_REDIS_BYTES);
  assert_int_equal(strspn(back.text, "v"), sizeof back.text - 1);
  free(value);
  close_world(w);
}

static void test_pending_is_bounded(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  const char *args[] = {"PING"};
  seen into = {0};
  unsigned taken = 0;
  while (rh_redis_command(w->redis, 1, args, NULL, note, &into, NULL) == RH_OK) taken++;
  assert_int_equal(taken, 20000);
  assert_int_equal(rh_redis_get_counts(w->redis)->failed, 1);
  close_world(w);  // with all of them pending
  assert_int_equal(into.answers + into.lost, 0);
}

static void test_forget(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  const char *args[] = {"INCR", "n"};
  seen forgotten = {0}, kept = {0};
  rh_redis_request *request = NULL;
  assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &forgotten, &request), RH_OK);
  assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &kept, NULL), RH_OK);
  rh_redis_forget(request);
  assert_true(rh_run_until(w->loop, any, &kept));
  assert_int_equal(kept.integer, 2);  // the first one was done, and its answer is not taken for the second's
  assert_int_equal(forgotten.answers + forgotten.lost, 0);
  close_world(w);
}

// Scripts.

static seen call(world *w, const char *lua, const char *key, const char *arg) {
  seen into = {0};
  assert_int_equal(rh_redis_script(w->redis, lua, 1, &key, 1, &arg, note, &into, NULL), RH_OK);
  assert_true(rh_run_until(w->loop, any, &into));
  return into;
}

static const char add[] = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

static int64_t calls_of(world *w, const char *command) {
  char pattern[64];
  (void)snprintf(pattern, sizeof pattern, "cmdstat_%s:calls=(%%d+)", command);
  const char *lua = "return tonumber(string.match(redis.call('INFO', 'commandstats'), ARGV[1]) or 0)";
  return ASK(w, "EVAL", lua, "0", pattern).integer;
}

static void test_scripts_by_hash(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  for (int i = 1; i <= 5; i++) assert_int_equal(call(w, add, "n", "2").integer, 2 * i);
  assert_int_equal(calls_of(w, "evalsha"), 4);  // the first said the text
  (void)ASK(w, "SCRIPT", "FLUSH");
  assert_int_equal(call(w, add, "n", "2").integer, 12);  // NOSCRIPT is not the caller's concern
  assert_int_equal(call(w, add, "n", "2").integer, 14);
  assert_int_equal(calls_of(w, "evalsha"), 6);
  assert_int_equal(call(w, "return redis.error_reply('NOSCRIPT of my own')", "n", "1").kind, RH_REDIS_ERROR);
  assert_int_equal(call(w, "this is no lua", "n", "1").kind, RH_REDIS_ERROR);
  close_world(w);
}

static void test_pipelined_scripts_survive_a_flush(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  assert_int_equal(call(w, add, "n", "1").integer, 1);
  const char *flush[] = {"SCRIPT", "FLUSH"};
  assert_int_equal(rh_redis_command(w->redis, 2, flush, NULL, NULL, NULL, NULL), RH_OK);
  seen into = {0};
  const char *key = "n", *one = "1";
  for (int i = 0; i < 100; i++)
    assert_int_equal(rh_redis_script(w->redis, add, 1, &key, 1, &one, note, &into, NULL), RH_OK);
  while (into.answers + into.lost < 100) {
    seen step = ASK(w, "PING");
    assert_int_equal(step.answers, 1);
  }
  assert_int_equal(into.lost, 0);
  assert_int_equal(call(w, add, "n", "0").integer, 101);
  close_world(w);
}

// Trouble.

static void test_killed_with_commands_on_their_way(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  assert_int_equal(call(w, add, "n", "1").integer, 1);
  rh_redis_fixture_pause(&w->server);
  seen into = {0};
  const char *args[] = {"INCR", "n"};
  for (int i = 0; i < 50; i++) assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &into, NULL), RH_OK);
  rh_redis_fixture_kill(&w->server);
  assert_true(rh_redis_fixture_wait_down(w->loop, w->redis));
  assert_int_equal(into.lost, 50);
  assert_int_equal(into.answers, 0);
  assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &into, NULL), RH_UNAVAILABLE);
  assert_int_equal(into.lost, 50);

  rh_redis_fixture_start(&w->server);  // which knows no script
  assert_true(rh_redis_fixture_wait_up(w->loop, w->redis));
  assert_int_equal(rh_redis_get_counts(w->redis)->reconnects, 1);
  assert_int_equal(call(w, add, "n", "1").integer, 1);
  assert_int_equal(ASK(w, "INCR", "n").integer, 2);
  close_world(w);
}

static void test_a_stalled_server_costs_little_and_then_nothing(void **state) {
  (void)state;
  uint64_t limit_ns = rh_scaled_ns(20 * RH_NS_PER_MS);
  world *w = open_world(limit_ns, "");
  const char *args[] = {"INCR", "n"};
  rh_redis_fixture_pause(&w->server);
  unsigned waited = 0;
  while (rh_redis_connected(w->redis)) {
    seen into = {0};
    uint64_t begin_ns = rh_clock_now_ns();
    assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &into, NULL), RH_OK);
    assert_true(rh_run_until(w->loop, any, &into));
    assert_int_equal(into.lost, 1);
    assert_true(into.at_ns - begin_ns >= limit_ns);
    assert_true(++waited <= 3);
  }
  assert_int_equal(waited, 3);
  assert_int_equal(rh_redis_get_counts(w->redis)->timeouts, 3);
  // From here on nobody waits, although the stopped server still takes connections.
  seen into = {0};
  for (int i = 0; i < 1000; i++)
    assert_int_equal(rh_redis_command(w->redis, 2, args, NULL, note, &into, NULL), RH_UNAVAILABLE);
  rh_redis_fixture_resume(&w->server);
  assert_true(rh_redis_fixture_wait_up(w->loop, w->redis));
  assert_int_equal(ASK(w, "GET", "n").answers, 1);
  close_world(w);
}

static void test_a_late_answer_is_nobody_elses(void **state) {
  (void)state;
  uint64_t limit_ns = rh_scaled_ns(30 * RH_NS_PER_MS);
  world *w = open_world(limit_ns, "");
  const char *late[] = {"SET", "k", "late"};
  seen into = {0};
  rh_redis_fixture_pause(&w->server);
  assert_int_equal(rh_redis_command(w->redis, 3, late, NULL, note, &into, NULL), RH_OK);
  assert_true(rh_run_until(w->loop, any, &into));
  assert_int_equal(into.lost, 1);
  assert_true(rh_redis_connected(w->redis));
  rh_redis_fixture_resume(&w->server);
  // The connection is the same; "OK" of the first belongs to nobody.
  assert_string_equal(ASK(w, "GET", "k").text, "late");
  assert_int_equal(into.answers, 0);
  assert_int_equal(rh_redis_get_counts(w->redis)->reconnects, 0);
  close_world(w);
}

static void test_silence_ends_a_connection_nobody_waits_on(void **state) {
  (void)state;
  world *w = open_world(PATIENT_NS, "");
  const char *args[] = {"SET", "k", "v"};
  rh_redis_fixture_pause(&w->server);
  assert_int_equal(rh_redis_command(w->redis, 3, args, NULL, NULL, NULL, NULL), RH_OK);
  assert_true(rh_redis_fixture_wait_down(w->loop, w->redis));
  rh_redis_fixture_resume(&w->server);
  assert_true(rh_redis_fixture_wait_up(w->loop, w->redis));
  close_world(w);
}

typedef struct ending {
  world *w;
  rh_redis_request *other;
  unsigned calls;
} ending;

static void free_inside(void *ctx, rh_status status, const rh_redis_reply *reply) {
  (void)status;
  (void)reply;
  ending *e = ctx;
  e->calls++;
  rh_redis_free(e->w->redis);
  e->w->redis = NULL;
  rh_loop_stop(e->w->loop);
}

static void test_freed_inside_a_callback(void **state) {
  (void)state;
  for (int lost = 0; lost < 2; lost++) {
    world *w = open_world(PATIENT_NS, "");
    ending e = {.w = w};
    const char *args[] = {"PING"};
    for (int i = 0; i < 10; i++)
      assert_int_equal(rh_redis_command(w->redis, 1, args, NULL, free_inside, &e, NULL), RH_OK);
    if (lost) rh_redis_fixture_kill(&w->server);
    assert_int_equal(rh_loop_run(w->loop), RH_OK);
    assert_int_equal(e.calls, 1);
    close_world(w);
  }
}

static void forget_other(void *ctx, rh_status status, const rh_redis_reply *reply) {
  (void)status;
  (void)reply;
  ending *e = ctx;
  if (e->calls++ == 0) rh_redis_forget(e->other);
}

static void test_forgotten_inside_a_callback(void **state) {
  (void)state;
  for (int lost = 0; lost < 2; lost++) {
    world *w = open_world(PATIENT_NS, "");
    ending e = {.w = w};
    const char *args[] = {"PING"};
    rh_redis_fixture_pause(&w->server);
    assert_int_equal(rh_redis_command(w->redis, 1, args, NULL, forget_other, &e, NULL), RH_OK);
    assert_int_equal(rh_redis_command(w->redis, 1, args, NULL, forget_other, &e, &e.other), RH_OK);
    if (lost) {
      rh_redis_fixture_kill(&w->server);
      assert_true(rh_redis_fixture_wait_down(w->loop, w->redis));
    } else {
      rh_redis_fixture_resume(&w->server);
      (void)ASK(w, "PING");
    }
    assert_int_equal(e.calls, 1);
    close_world(w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_kind_of_answer),
      cmocka_unit_test(test_database_and_password),
      cmocka_unit_test(test_ten_thousand_in_order),
      cmocka_unit_test(test_a_large_value_comes_back_whole),
      cmocka_unit_test(test_pending_is_bounded),
      cmocka_unit_test(test_forget),
      cmocka_unit_test(test_scripts_by_hash),
      cmocka_unit_test(test_pipelined_scripts_survive_a_flush),
      cmocka_unit_test(test_killed_with_commands_on_their_way),
      cmocka_unit_test(test_a_stalled_server_costs_little_and_then_nothing),
      cmocka_unit_test(test_a_late_answer_is_nobody_elses),
      cmocka_unit_test(test_silence_ends_a_connection_nobody_waits_on),
      cmocka_unit_test(test_freed_inside_a_callback),
      cmocka_unit_test(test_forgotten_inside_a_callback),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
