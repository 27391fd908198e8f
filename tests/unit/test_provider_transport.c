// SPDX-License-Identifier: Apache-2.0
#include "provider_fixture.h"

#include <fcntl.h>

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define MANY_LINES 20000

static bool answers(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "200 OK", "Content-Type: text/event-stream\r\n", "one \ntwo \nthree\nEND\n");
  return true;
}

static bool never_answers(server *self, int fd, unsigned number) {
  (void)number;
  wait_left(self, fd);
  return false;
}

// Connections of this process to that port which an exec would hand on.
static unsigned inheritable(unsigned port) {
  unsigned found = 0;
  for (int fd = 3; fd < 256; fd++) {
    struct sockaddr_in peer = {0};
    socklen_t size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || ntohs(peer.sin_port) != port) continue;
    if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) found++;
  }
  return found;
}

static void test_run(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, NULL);
  for (unsigned i = 0; i < 3; i++) {
    watcher w = {.options = {.choice = i, .stream = true}};
    watcher_begin(&b, &w, "m");
    assert_int_equal(rh_provider_running(b.provider), 1);
    run_to_end(&w);
    assert_int_equal(rh_provider_running(b.provider), 0);
    assert_string_equal(w.text, "one two three");
    assert_true(w.starts == 1 && w.ends == 1 && w.errors == 0 && w.choice == i);
  }
  assert_int_equal(b.server.connections, 1);  // kept alive
  assert_int_equal(inheritable(b.server.port), 0);
  assert_non_null(strstr(b.server.head, "POST /v1/lines HTTP/1.1\r\n"));
  assert_non_null(strstr(b.server.head, "Authorization: Bearer sk-very-secret\r\n"));
  assert_non_null(strstr(b.server.head, "Content-Type: application/json\r\n"));
  assert_null(strstr(b.server.head, "Expect:"));
  bench_stop(&b);
}

static void add_headers(rh_provider_spec *spec) {
  static char replaced[] = "X-Replaced: yes", more[] = "X-More: 1";
  static char *headers[] = {replaced, more, NULL};
  spec->headers = headers;
}

static void test_configured_headers_win(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, add_headers);
  watcher w = {.options.stream = true};
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_non_null(strstr(b.server.head, "X-Replaced: yes\r\n"));
  assert_non_null(strstr(b.server.head, "X-More: 1\r\n"));
  assert_null(strstr(b.server.head, "X-Replaced: no"));
  bench_stop(&b);
}

static void test_proxies_of_the_environment_see_nothing_local(void **state) {
  (void)state;
  assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
  assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
  bench b;
  bench_start(&b, answers, NULL);
  watcher w = {0};
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.ends, 1);
  bench_stop(&b);
  (void)unsetenv("http_proxy");
  (void)unsetenv("all_proxy");
}

static void test_what_cannot_be_said(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, NULL);
  watcher w = {0};
  assert_int_equal(watcher_try(&b, &w, "impossible"), RH_UNSUPPORTED);
  assert_int_equal(rh_provider_running(b.provider), 0);
  b.spec.key_error = b.name;
  assert_int_equal(watcher_try(&b, &w, "m"), RH_UPSTREAM);
  bench_stop(&b);
}

// --- back-pressure ---------------------------------------------------------------------------------------------------------

static bool sends_many(server *self, int fd, unsigned number) {
  (void)number;
  char line[64];
  send_text(fd, STREAM);
  for (unsigned i = 0; i < MANY_LINES; i++) {
    char text[128];
    (void)snprintf(line, sizeof line, "%05u%s\n", i, " and so on and so forth, to the end");
    (void)snprintf(text, sizeof text, "%zx\r\n%s\r\n", strlen(line), line);
    send_text(fd, text);
    self->sent += strlen(text);
  }
  send_text(fd, "4\r\nEND\n\r\n0\r\n\r\n");
  return true;
}

typedef struct feeder {
  watcher *watcher;
  rh_timer timer;
  unsigned next, resumes;
  bool waiting, ok;
} feeder;

static void feed(void *ctx) {
  feeder *self = ctx;
  self->waiting = false;
  self->resumes++;
  rh_provider_run_resume(self->watcher->handle);
}

static void count_lines(watcher *w, const rh_event *event) {
  feeder *self = w->hook_ctx;
  if (event->kind == RH_EVENT_DELTA && strtoul(event->as.delta.text, NULL, 10) != self->next++) self->ok = false;
  // Sometimes at once, from inside the push; sometimes in a while.
  if (self->waiting || w->over) return;
  if (self->resumes % 2 == 0) {
    self->resumes++;
    rh_provider_run_resume(w->handle);
  } else {
    self->waiting = true;
    rh_loop_timer_set(w->owner->loop, &self->timer, self->resumes % 8 == 1 ? RH_NS_PER_MS : 0);
  }
}

static void test_a_slow_sink_loses_nothing(void **state) {
  (void)state;
  bench b;
  bench_start(&b, sends_many, NULL);
  watcher w = {.options.stream = true, .verdict = RH_WAIT, .hook = count_lines};
  feeder f = {.watcher = &w, .ok = true};
  f.timer = (rh_timer){.fn = feed, .ctx = &f};
  w.hook_ctx = &f;
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  rh_loop_timer_cancel(b.loop, &f.timer);
  assert_true(f.ok && w.ends == 1 && w.errors == 0);
  assert_int_equal(w.deltas, MANY_LINES);
  assert_true(f.resumes > 10);
  bench_stop(&b);
}

static bool sends_without_end(server *self, int fd, unsigned number) {
  (void)number;
  send_text(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
  char page[4096];
  memset(page, 'x', sizeof page);
  page[sizeof page - 1] = '\n';
  for (ssize_t sent; (sent = send(fd, page, sizeof page, MSG_NOSIGNAL)) > 0;) self->sent += (size_t)sent;
  self->left++;
  return false;
}

static bool server_is_stuck(void *ctx) {
  static size_t last;
  static uint64_t since;
  server *self = ctx;
  size_t sent = self->sent;
  if (sent != last || since == 0) since = rh_clock_now_ns();
  last = sent;
  return sent > 0 && rh_clock_now_ns() - since > 200 * RH_NS_PER_MS;
}

static void test_a_sink_that_waits_stops_the_server(void **state) {
  (void)state;
  bench b;
  bench_start(&b, sends_without_end, NULL);
  watcher w = {.options.stream = true, .verdict = RH_WAIT};
  watcher_begin(&b, &w, "m");
  assert_true(rh_run_until(b.loop, server_is_stuck, &b.server));
  assert_true(w.bytes < 64 * 1024);  // what libcurl had read in one piece
  rh_provider_run_cancel(w.handle);
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));
  assert_false(w.over);
  bench_stop(&b);
}

// --- cancelling --------------------------------------------------------------------------------------------------------------

static bool one_line(server *self, int fd, unsigned number) {
  (void)number;
  send_text(fd, STREAM "2\r\na\n\r\n");
  wait_left(self, fd);
  return false;
}

static void test_cancelling_reaches_the_server(void **state) {
  (void)state;
  bench b;
  bench_start(&b, never_answers, NULL);
  watcher w = {0};
  watcher_begin(&b, &w, "m");
  assert_true(rh_run_until(b.loop, count_reached, &b.server.requests));
  rh_provider_run_cancel(w.handle);
  assert_int_equal(rh_provider_running(b.provider), 0);
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));
  watcher early = {0};
  watcher_begin(&b, &early, "m");
  rh_provider_run_cancel(early.handle);  // before the loop came by
  assert_false(w.over || early.over);
  bench_stop(&b);
}

static void cancel_another(watcher *w, const rh_event *event) {
  watcher *other = w->hook_ctx;
  if (event->kind != RH_EVENT_DELTA) return;
  w->hook = NULL;
  rh_provider_run_cancel(other->handle);
}

static void test_a_sink_cancels_its_own_run(void **state) {
  (void)state;
  bench b;
  bench_start(&b, one_line, NULL);
  watcher w = {.options.stream = true, .hook = cancel_another};
  w.hook_ctx = &w;
  watcher_begin(&b, &w, "m");
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));
  assert_int_equal(w.deltas, 1);
  assert_false(w.over);
  bench_stop(&b);
}

static void test_a_sink_cancels_another_run(void **state) {
  (void)state;
  bench b;
  bench_start(&b, one_line, NULL);
  watcher victim = {0}, w = {.options.stream = true, .hook = cancel_another, .hook_ctx = &victim};
  watcher_begin(&b, &victim, "m");
  watcher_begin(&b, &w, "m");
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));
  assert_false(victim.over);
  assert_int_equal(rh_provider_running(b.provider), 1);
  bench_stop(&b);  // with one that runs
}

static void begin_another(watcher *w, const rh_event *event) {
  watcher *other = w->hook_ctx;
  if (rh_event_is_final(event)) {
    assert_int_equal(rh_provider_running(w->owner->provider), 0);
    watcher_begin(w->owner, other, "m");
    rh_provider_run_cancel(w->handle);  // is over: does nothing
  }
}

static void test_a_sink_begins_another_run(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, NULL);
  watcher second = {.options.stream = true};
  watcher first = {.options.stream = true, .hook = begin_another, .hook_ctx = &second};
  watcher_begin(&b, &first, "m");
  run_to_end(&first);
  run_to_end(&second);
  assert_string_equal(second.text, "one two three");
  assert_int_equal(b.server.connections, 1);  // the first one's connection was free in time
  bench_stop(&b);
}

static void test_names_are_not_waited_for(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers, NULL);
  rh_providers_free(b.providers);
  (void)strcpy(b.url, "http://no-such-host.invalid/v1");
  bench_open(&b);
  watcher w = {0}, gone = {0};
  watcher_begin(&b, &gone, "m");
  watcher_begin(&b, &w, "m");
  uint64_t begin = rh_clock_now_ns();
  rh_provider_run_cancel(gone.handle);
  assert_true(rh_clock_now_ns() - begin < rh_scaled_ns(200 * RH_NS_PER_MS));
  run_to_end(&w);
  assert_int_equal(w.error.status, RH_UPSTREAM);
  watcher left = {0};
  watcher_begin(&b, &left, "m");
  bench_stop(&b);
}

// Many at once, cancelled at random moments.
static bool slow_lines(server *self, int fd, unsigned number) {
  (void)self;
  send_text(fd, STREAM);
  for (unsigned i = 0; i < number % 7; i++) {
    send_text(fd, "2\r\na\n\r\n");
    (void)usleep(200 * (number % 5));
  }
  send_text(fd, "4\r\nEND\n\r\n0\r\n\r\n");
  return number % 3 != 0;
}

typedef struct storm {
  bench bench;
  watcher watchers[24];
  unsigned begun, ended;
  bool busy[24];
  rh_timer timer;
} storm;

static void blow(void *ctx) {
  storm *self = ctx;
  for (unsigned i = 0; i < 24; i++) {
    if (self->busy[i] && self->watchers[i].over) {
      self->busy[i] = false;
      self->ended++;
    }
    if (self->busy[i] && (self->begun + i) % 11 == 3) {
      rh_provider_run_cancel(self->watchers[i].handle);
      self->busy[i] = false;
      self->ended++;
    }
    if (!self->busy[i] && self->begun < 1500) {
      memset(&self->watchers[i], 0, sizeof self->watchers[i]);
      self->watchers[i].options.stream = true;
      watcher_begin(&self->bench, &self->watchers[i], "m");
      self->busy[i] = true;
      self->begun++;
    }
  }
  if (self->ended < 1500) rh_loop_timer_set(self->bench.loop, &self->timer, 300 * RH_NS_PER_US);
}

static bool storm_over(void *ctx) { return ((storm *)ctx)->ended == 1500; }

static void widen(rh_provider_spec *spec) {
  spec->concurrency_max = 8;
  spec->queue_max = 16;
}

static void test_storm(void **state) {
  (void)state;
  static storm s;
  bench_start(&s.bench, slow_lines, widen);
  s.timer = (rh_timer){.fn = blow, .ctx = &s};
  rh_loop_timer_set(s.bench.loop, &s.timer, 0);
  assert_true(rh_run_until(s.bench.loop, storm_over, &s));
  rh_loop_timer_cancel(s.bench.loop, &s.timer);
  assert_int_equal(rh_provider_running(s.bench.provider), 0);
  assert_int_equal(rh_provider_queued(s.bench.provider), 0);
  bench_stop(&s.bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_run),
      cmocka_unit_test(test_configured_headers_win),
      cmocka_unit_test(test_proxies_of_the_environment_see_nothing_local),
      cmocka_unit_test(test_what_cannot_be_said),
      cmocka_unit_test(test_a_slow_sink_loses_nothing),
      cmocka_unit_test(test_a_sink_that_waits_stops_the_server),
      cmocka_unit_test(test_cancelling_reaches_the_server),
      cmocka_unit_test(test_a_sink_cancels_its_own_run),
      cmocka_unit_test(test_a_sink_cancels_another_run),
      cmocka_unit_test(test_a_sink_begins_another_run),
      cmocka_unit_test(test_names_are_not_waited_for),
      cmocka_unit_test(test_storm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
