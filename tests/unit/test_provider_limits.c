// SPDX-License-Identifier: Apache-2.0
#include "provider_fixture.h"

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

static bool answers(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return true;
}

static bool answers_on_go(server *self, int fd, unsigned number) {
  (void)number;
  wait_go(self);
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return true;
}

static bool silent(server *self, int fd, unsigned number) {
  (void)number;
  wait_left(self, fd);
  return false;
}

static bool head_only(server *self, int fd, unsigned number) {
  send_text(fd, STREAM);
  return silent(self, fd, number);
}

static bool half(server *self, int fd, unsigned number) {
  send_text(fd, STREAM "one\n");
  return silent(self, fd, number);
}

static bool drips(server *self, int fd, unsigned number) {
  (void)number;
  send_text(fd, STREAM);
  while (send(fd, "one\n", 4, MSG_NOSIGNAL) > 0) (void)usleep(5000);
  self->left++;
  return false;
}

// --- the queue -----------------------------------------------------------------------------------------------------------------

static void one_at_once(rh_provider_spec *spec) {
  spec->concurrency_max = 1;
  spec->queue_max = 3;
}

static void test_priorities_and_a_full_queue(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers_on_go, one_at_once);
  watcher running = {0}, low = {.options.priority = -1}, usual = {0}, high = {.options.priority = 5}, refused = {0};
  watcher_begin(&b, &running, "m");
  watcher_begin(&b, &low, "m");
  watcher_begin(&b, &usual, "m");
  watcher_begin(&b, &high, "m");
  assert_int_equal(watcher_try(&b, &refused, "m"), RH_QUEUE_FULL);
  assert_int_equal(rh_provider_running(b.provider), 1);
  assert_int_equal(rh_provider_queued(b.provider), 3);
  b.server.go = true;
  run_to_end(&low);
  assert_true(running.order == 1 && high.order == 2 && usual.order == 3 && low.order == 4);
  assert_int_equal(b.server.connections, 1);
  bench_stop(&b);
}

static void long_queue(rh_provider_spec *spec) {
  spec->concurrency_max = 1;
  spec->queue_max = 200;
}

static void test_any_place_of_the_queue_can_be_left(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers_on_go, long_queue);
  static watcher w[151];
  memset(w, 0, sizeof w);
  for (int i = 0; i < 151; i++) {
    w[i].options.priority = i == 0 ? 100 : i * 7 % 5;
    watcher_begin(&b, &w[i], "m");
  }
  for (int i = 1; i < 151; i += 3) rh_provider_run_cancel(w[i].handle);
  assert_int_equal(rh_provider_queued(b.provider), 100);
  b.server.go = true;
  for (int i = 0; i < 151; i++) {
    if (i % 3 != 1) run_to_end(&w[i]);
  }
  for (int i = 2; i < 151; i++) {
    for (int k = 1; k < i; k++) {
      if (i % 3 == 1 || k % 3 == 1) continue;
      bool first = w[k].options.priority >= w[i].options.priority;  // k came earlier
      assert_true(first == (w[k].order < w[i].order));
    }
  }
  for (int i = 1; i < 151; i += 3) assert_false(w[i].over);
  bench_stop(&b);
}

static void test_the_deadline_passes_in_the_queue(void **state) {
  (void)state;
  bench b;
  bench_start(&b, silent, one_at_once);
  watcher running = {0}, queued = {.options.deadline_ns = rh_clock_now_ns() + 50 * RH_NS_PER_MS};
  watcher_begin(&b, &running, "m");
  watcher_begin(&b, &queued, "m");
  run_to_end(&queued);
  assert_int_equal(queued.error.status, RH_DEADLINE);
  assert_non_null(strstr(queued.error.message, "in the queue"));
  assert_int_equal(rh_provider_queued(b.provider), 0);
  assert_false(running.over);
  watcher late = {.options.deadline_ns = rh_clock_now_ns() - 1};
  assert_int_equal(watcher_try(&b, &late, "m"), RH_DEADLINE);
  bench_stop(&b);
}

// --- times -----------------------------------------------------------------------------------------------------------------------

static void short_first(rh_provider_spec *spec) { spec->first_timeout_ns = 60 * RH_NS_PER_MS; }
static void short_idle(rh_provider_spec *spec) { spec->idle_timeout_ns = 60 * RH_NS_PER_MS; }
static void short_total(rh_provider_spec *spec) { spec->total_timeout_ns = 80 * RH_NS_PER_MS; }
static void short_connect(rh_provider_spec *spec) {
  spec->connect_timeout_ns = 80 * RH_NS_PER_MS;
  spec->retries_max = 1;
}

static void expect_late(script_fn script, void (*change)(rh_provider_spec *spec), uint64_t deadline_ns,
                        const char *words) {
  bench b;
  bench_start(&b, script, change);
  watcher w = {.options.stream = true};
  if (deadline_ns != 0) w.options.deadline_ns = rh_clock_now_ns() + deadline_ns;
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.errors, 1);
  assert_int_equal(w.error.status, RH_DEADLINE);
  if (strstr(w.error.message, words) == NULL) fail_msg("%s", w.error.message);
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));  // and the server sees it
  bench_stop(&b);
}

static void test_times_of_an_attempt(void **state) {
  (void)state;
  expect_late(silent, short_first, 0, "sent nothing within 0.06 s");
  expect_late(head_only, short_first, 0, "sent nothing within 0.06 s");
  expect_late(half, short_idle, 0, "fell silent for 0.06 s");
  expect_late(drips, short_total, 0, "had not finished its answer after 0.08 s");
  expect_late(silent, NULL, 60 * RH_NS_PER_MS, "deadline passed before");
  expect_late(half, NULL, rh_scaled_ns(400 * RH_NS_PER_MS), "deadline passed in the middle");
}

// A queue of connections that nobody accepts: further ones get no answer at all.
static void test_a_connection_takes_too_long(void **state) {
  (void)state;
  bench b;
  bench_start(&b, silent, short_connect);
  rh_providers_free(b.providers);
  unsigned port;
  int listener = listen_on_loopback(0, &port), fillers[4];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  address.sin_port = htons((uint16_t)port);
  for (int i = 0; i < 4; i++) {
    fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
  }
  (void)snprintf(b.url, sizeof b.url, "http://127.0.0.1:%u/v1", port);
  bench_open(&b);
  watcher w = {0};
  watcher_begin(&b, &w, "m");
  uint64_t begin = rh_clock_now_ns();
  run_to_end(&w);
  assert_int_equal(w.error.status, RH_UPSTREAM);
  assert_non_null(strstr(w.error.message, "no connection"));
  assert_true(rh_clock_now_ns() - begin >= 150 * RH_NS_PER_MS);  // two attempts
  for (int i = 0; i < 4; i++) (void)close(fillers[i]);
  (void)close(listener);
  bench_stop(&b);
}

static void resume(void *ctx) { rh_provider_run_resume(((watcher *)ctx)->handle); }

static void let_wait(watcher *w, const rh_event *event) {
  rh_timer *timer = w->hook_ctx;
  if (event->kind == RH_EVENT_DELTA) rh_loop_timer_set(w->owner->loop, timer, 200 * RH_NS_PER_MS);
}

// The silence of somebody whose sink does not want more is no silence of the provider's; nor is its end lost.
static void test_a_waiting_sink_is_not_an_idle_provider(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, short_idle);
  watcher w = {.verdict = RH_WAIT, .hook = let_wait};
  rh_timer timer = {.fn = resume, .ctx = &w};
  w.hook_ctx = &timer;
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_true(w.ends == 1 && w.errors == 0);
  bench_stop(&b);
}

static bool nothing_more(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "200 OK", "", "one\n");
  return true;
}

static void test_the_end_waits_for_the_sink(void **state) {
  (void)state;
  bench b;
  bench_start(&b, nothing_more, short_idle);
  watcher w = {.verdict = RH_WAIT, .hook = let_wait};
  rh_timer timer = {.fn = resume, .ctx = &w};
  w.hook_ctx = &timer;
  watcher_begin(&b, &w, "m");
  uint64_t begin = rh_clock_now_ns();
  run_to_end(&w);
  assert_int_equal(w.error.status, RH_UPSTREAM);  // "cut short", and not before the sink went on
  assert_true(rh_clock_now_ns() - begin >= 190 * RH_NS_PER_MS);
  bench_stop(&b);
}

// --- health ----------------------------------------------------------------------------------------------------------------------

typedef struct verdict {
  bool told, well;
  char why[128];
} verdict;

static void on_told(void *ctx, bool well, const char *why) {
  verdict *self = ctx;
  self->told = true;
  self->well = well;
  (void)snprintf(self->why, sizeof self->why, "%s", why);
}

static bool told(void *ctx) { return ((verdict *)ctx)->told; }

static bool unwell_later(server *self, int fd, unsigned number) {
  (void)self;
  if (number == 4) return silent(self, fd, number);
  send_answer(fd, number == 1 ? "200 OK" : number == 2 ? "503 X" : "404 X", "", "{}");
  return true;
}

static verdict probe(bench *b) {
  verdict v = {0};
  rh_error error;
  assert_int_equal(rh_provider_probe(b->provider, on_told, &v, &error), RH_OK);
  assert_int_equal(rh_provider_probe(b->provider, on_told, &v, &error), RH_CONFLICT);
  assert_true(rh_run_until(b->loop, told, &v));
  return v;
}

static void short_probe(rh_provider_spec *spec) {
  spec->connect_timeout_ns = spec->first_timeout_ns = rh_scaled_ns(250 * RH_NS_PER_MS);
}

static void test_health(void **state) {
  (void)state;
  bench b;
  bench_start(&b, unwell_later, short_probe);
  assert_true(probe(&b).well);
  assert_non_null(strstr(b.server.head, "GET /v1/models HTTP/1.1\r\n"));
  assert_non_null(strstr(b.server.head, "Authorization: Bearer sk-very-secret\r\n"));
  verdict v = probe(&b);
  assert_false(v.well);
  assert_non_null(strstr(v.why, "503"));
  assert_true(probe(&b).well);  // alive, but without a list of models
  assert_false(probe(&b).well);
  char path[] = "/health";
  b.spec.health_path = path;
  assert_false(probe(&b).well);  // 404
  assert_non_null(strstr(b.server.head, "GET /health HTTP/1.1\r\n"));
  assert_int_equal(rh_provider_running(b.provider), 0);
  rh_error error;
  assert_int_equal(rh_provider_probe(b.provider, on_told, &v, &error), RH_OK);
  bench_stop(&b);  // with one under way
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_priorities_and_a_full_queue),
      cmocka_unit_test(test_any_place_of_the_queue_can_be_left),
      cmocka_unit_test(test_the_deadline_passes_in_the_queue),
      cmocka_unit_test(test_times_of_an_attempt),
      cmocka_unit_test(test_a_connection_takes_too_long),
      cmocka_unit_test(test_a_waiting_sink_is_not_an_idle_provider),
      cmocka_unit_test(test_the_end_waits_for_the_sink),
      cmocka_unit_test(test_health),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
