// SPDX-License-Identifier: Apache-2.0
//
// Requests and plain answers over real sockets: methods, keep-alive, answers that come later, clients that leave before
// their answer, and limits on connections.
#include <time.h>

#include "test_http_fixture.h"

static app self;

static void open_app(void) {
  rh_http_options options = app_options();
  app_open(&self, &options);
}

// Send one request on a new connection and read the answer to the end of the connection.
static void ask_once(app *at, const char *request) {
  forget(at);
  int fd = dial(at);
  say(fd, request);
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void client_get(app *at) {
  ask_once(at,
           "GET /some%20place?a=1%202&a=second&b HTTP/1.1\r\nHost: t\r\nX-TEST: one\r\nX-Test: two\r\n"
           "Connection: close\r\n\r\n");
}

static void test_get(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_get);
  assert_non_null(strstr(self.saw, "HTTP/1.1 200 OK\r\n"));
  assert_non_null(strstr(self.saw, "Content-Type: text/plain\r\n"));
  assert_non_null(strstr(self.saw, "Content-Length: 3\r\n"));
  assert_non_null(strstr(self.saw, "\r\n\r\nGET"));
  assert_string_equal(self.path, "/some place");
  assert_string_equal(self.query, "1 2");   // the first one wins
  assert_string_equal(self.header, "one");  // here too
  assert_int_equal(self.heads, 1);
  assert_int_equal(self.requests, 1);
  assert_int_equal(self.done_complete, 1);
  assert_int_equal(self.done_cut, 0);
  assert_int_equal(rh_http_server_connections(self.server), 0);
  app_close(&self);
}

static void client_head(app *at) {
  int fd = dial(at);
  say(fd, "HEAD /x HTTP/1.1\r\nHost: t\r\n\r\nGET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_head_keeps_the_length_and_drops_the_body(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_head);
  assert_non_null(strstr(self.saw, "Content-Length: 4\r\n"));  // "HEAD"
  assert_null(strstr(self.saw, "\r\n\r\nHEAD"));
  assert_non_null(strstr(self.saw, "\r\n\r\nHTTP/1.1 200 OK"));  // the next answer follows at once
  assert_non_null(strstr(self.saw, "\r\n\r\nGET"));
  assert_int_equal(self.done_complete, 2);
  app_close(&self);
}

static void client_keep_alive(app *at) {
  int fd = dial(at);
  for (int i = 0; i < 3; i++) {
    forget(at);
    say(fd, i == 1 ? "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
                   : "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
    if (hear(at, fd, i == 1 ? "got 3\n" : "\r\n\r\nGET")) at->gap_count++;
  }
  (void)close(fd);
}

static void test_keep_alive(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_keep_alive);
  assert_int_equal(self.gap_count, 3);
  assert_int_equal(self.requests, 3);
  assert_int_equal(self.done_complete, 3);
  assert_int_equal(self.body_length, 3);
  app_close(&self);
}

static void client_later(app *at) {
  int fd = dial(at);
  say(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
  (void)hear(at, fd, "later\n");
  // The second of these arrives while the first waits.
  say(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\nGET /later HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_answer_later(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_later);
  assert_int_equal(times_seen(&self, "\r\n\r\nlater\n"), 3);
  assert_int_equal(self.done_complete, 3);
  app_close(&self);
}

static void client_leaves(app *at) {
  int fd = dial(at);
  say(fd, "GET /never HTTP/1.1\r\nHost: t\r\n\r\n");
  usleep(50000);
  (void)close(fd);
}

static void client_leaves_in_body(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc");
  usleep(50000);
  (void)close(fd);
}

static void client_waits(app *at) {
  int fd = dial(at);
  say(fd, "GET /never HTTP/1.1\r\nHost: t\r\n\r\n");
  int idle = dial(at);
  usleep(500000);
  (void)close(idle);
  (void)close(fd);
}

static void test_waiting_costs_no_time(void **state) {
  (void)state;
  open_app();
  struct timespec before, after;
  (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  app_run(&self, client_waits);
  (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
  assert_true(seconds < 0.1);  // a loop that spins would take half a second
  assert_int_equal(self.done_cut, 1);
  app_close(&self);
}

static void client_resets(app *at) {
  int fd = dial(at);
  say(fd, "GET /never HTTP/1.1\r\nHost: t\r\n\r\n");
  usleep(50000);
  struct linger hard = {.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  (void)close(fd);
}

static void test_client_gone(void **state) {
  (void)state;
  void (*const clients[])(app *) = {client_leaves, client_resets, client_leaves_in_body};
  for (size_t i = 0; i < 3; i++) {
    open_app();
    app_run(&self, clients[i]);
    assert_int_equal(self.heads, 1);
    assert_int_equal(self.requests, i == 2 ? 0 : 1);
    assert_int_equal(self.done_complete, 0);
    assert_int_equal(self.done_cut, 1);
    assert_int_equal(self.late_status, RH_CANCELLED);
    assert_int_equal(rh_http_server_exchanges(self.server), 0);
    assert_int_equal(rh_http_server_connections(self.server), 0);
    app_close(&self);
  }
}

static void client_idle(app *at) {
  int fd = dial(at);
  say(fd, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
  at->body_ok = hear(at, fd, "\r\n\r\nGET") && hear(at, fd, NULL);
  (void)close(fd);
}

static void test_idle_connections_are_closed(void **state) {
  (void)state;
  rh_http_options options = app_options();
  options.idle_timeout_ns = RH_NS_PER_S;
  app_open(&self, &options);
  uint64_t before = rh_clock_now_ns();
  app_run(&self, client_idle);
  double seconds = rh_ns_to_s(rh_clock_now_ns() - before);
  assert_true(self.body_ok);
  assert_true(seconds > 0.9 && seconds < 5);
  app_close(&self);
}

static void client_many(app *at) {  // more connections than allowed: the rest wait in the backlog
  int fds[8];
  for (size_t i = 0; i < 8; i++) {
    fds[i] = dial(at);
    say(fds[i], "GET /later HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  }
  for (size_t i = 0; i < 8; i++) {
    (void)hear(at, fds[i], NULL);
    (void)close(fds[i]);
  }
}

static void test_connections_over_the_limit_wait(void **state) {
  (void)state;
  rh_http_options options = app_options();
  options.connections_max = 3;
  app_open(&self, &options);
  app_run(&self, client_many);
  assert_int_equal(times_seen(&self, "later\n"), 8);
  assert_int_equal(self.done_complete, 8);
  app_close(&self);
}

static void client_refused(app *at) {
  int fd = dial(at);
  if (fd < 0)
    at->gap_count = 1;
  else
    (void)close(fd);
}

static void test_stop_listening(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_get);
  rh_http_server_stop_listening(self.server);
  app_run(&self, client_refused);
  assert_int_equal(self.gap_count, 1);
  assert_int_equal(self.done_complete, 1);
  app_close(&self);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_get),
      cmocka_unit_test(test_head_keeps_the_length_and_drops_the_body),
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_answer_later),
      cmocka_unit_test(test_client_gone),
      cmocka_unit_test(test_waiting_costs_no_time),
      cmocka_unit_test(test_idle_connections_are_closed),
      cmocka_unit_test(test_connections_over_the_limit_wait),
      cmocka_unit_test(test_stop_listening),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
