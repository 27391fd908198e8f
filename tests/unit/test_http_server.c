// SPDX-License-Identifier: Apache-2.0
//
// Requests and plain answers over real sockets: methods, bodies, limits, keep-alive, answers that come later, and clients
// that leave before their answer.
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
  ask_once(at, "GET /some%20place?a=1%202&a=second&b HTTP/1.1\r\nHost: t\r\nX-TEST: one\r\nX-Test: two\r\n"
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

static void say_body(int fd, size_t length, size_t piece, bool chunked) {
  char *bytes = malloc(length);
  if (bytes == NULL) abort();
  for (size_t i = 0; i < length; i++) bytes[i] = (char)('a' + i % 23);
  for (size_t at = 0; at < length; at += piece) {
    size_t count = length - at < piece ? length - at : piece;
    char line[32];
    int line_length = snprintf(line, sizeof line, "%zx\r\n", count);
    if (chunked) say_bytes(fd, line, (size_t)line_length);
    say_bytes(fd, bytes + at, count);
    if (chunked) say(fd, "\r\n");
  }
  if (chunked) say(fd, "0\r\n\r\n");
  free(bytes);
}

static void client_post_length(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 50000\r\nConnection: close\r\n\r\n");
  say_body(fd, 50000, 7000, false);
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void client_post_chunked(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
  say_body(fd, 50000, 1234, true);
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void client_post_expect(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 50000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  if (hear(at, fd, "100 Continue\r\n\r\n")) say_body(fd, 50000, 50000, false);
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_bodies(void **state) {
  (void)state;
  void (*const clients[])(app *) = {client_post_length, client_post_chunked, client_post_expect};
  for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
    open_app();
    app_run(&self, clients[i]);
    assert_non_null(strstr(self.saw, "\r\n\r\ngot 50000\n"));
    assert_int_equal(self.body_length, 50000);
    assert_true(self.body_ok);
    assert_int_equal(self.done_complete, 1);
    app_close(&self);
  }
}

static void client_keep_alive(app *at) {
  int fd = dial(at);
  for (int i = 0; i < 3; i++) {
    forget(at);
    say(fd, i == 1 ? "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" : "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
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

static void client_head_answer(app *at) {
  int fd = dial(at);
  say(fd, "POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 20000\r\n\r\n");
  say_body(fd, 20000, 20000, false);
  (void)hear(at, fd, "nothing here\n");
  say(fd, "GET /nowhere HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_answer_at_the_head_drops_the_body(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_head_answer);
  assert_int_equal(times_seen(&self, "HTTP/1.1 404"), 2);  // the connection was kept
  assert_int_equal(self.heads, 2);
  assert_int_equal(self.requests, 0);
  assert_int_equal(self.done_complete, 2);
  app_close(&self);
}

static void client_too_large(app *at) {  // up to four times the limit: dropped, and the connection goes on
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n");
  say_body(fd, 200000, 200000, false);
  (void)hear(at, fd, "too large\n");
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  say_body(fd, 100000, 10000, true);
  say(fd, "GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_too_large_bodies_are_dropped(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_too_large);
  assert_int_equal(times_seen(&self, "HTTP/1.1 413"), 2);
  assert_non_null(strstr(self.saw, "\r\n\r\nGET"));
  assert_int_equal(self.done_complete, 3);
  app_close(&self);
}

static void client_far_too_large(app *at) {  // the answer comes before the body, and is not lost to a reset
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n");
  say_body(fd, 8000000, 100000, false);
  at->body_ok = hear(at, fd, NULL);
  (void)close(fd);
}

static void client_too_large_expect(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
  at->body_ok = hear(at, fd, NULL);
  (void)close(fd);
}

static void test_far_too_large_bodies_are_refused_at_once(void **state) {
  (void)state;
  void (*const clients[])(app *) = {client_far_too_large, client_too_large_expect};
  for (size_t i = 0; i < 2; i++) {
    open_app();
    app_run(&self, clients[i]);
    assert_true(self.body_ok);  // a clean end
    assert_non_null(strstr(self.saw, "HTTP/1.1 413"));
    assert_null(strstr(self.saw, "100 Continue"));
    assert_non_null(strstr(self.saw, "Connection: close\r\n"));
    assert_non_null(strstr(self.saw, "\r\n\r\ntoo large\n"));
    assert_int_equal(self.requests, 1);
    assert_int_equal(self.done_complete, 1);
    app_close(&self);
  }
}

static void client_endless_chunks(app *at) {
  int fd = dial(at);
  say(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  say_body(fd, 2000000, 10000, true);
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_endless_chunks_are_cut(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_endless_chunks);
  assert_int_equal(self.saw_length, 0);
  assert_int_equal(self.heads, 1);
  assert_int_equal(self.requests, 0);
  assert_int_equal(self.done_cut, 1);
  assert_int_equal(self.late_status, RH_CANCELLED);
  app_close(&self);
}

static void client_later(app *at) {
  int fd = dial(at);
  say(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
  (void)hear(at, fd, "later\n");
  say(fd, "GET /later HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  (void)hear(at, fd, NULL);
  (void)close(fd);
}

static void test_answer_later(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_later);
  assert_int_equal(times_seen(&self, "\r\n\r\nlater\n"), 2);
  assert_int_equal(self.done_complete, 2);
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

static void client_bad_requests(app *at) {
  static const char *const requests[] = {
      "GET /a%00b HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
      "GET /a?b=%00 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\nConnection: close\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n",
      "nonsense\r\n\r\n",
  };
  for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
    ask_once(at, requests[i]);
    if (strstr(at->saw, "HTTP/1.1 400") != NULL) at->gap_count++;
    if (strstr(at->saw, "HTTP/1.1 501") != NULL) at->gap_count += 100;
  }
}

static void test_bad_requests_reach_no_handler(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_bad_requests);
  assert_int_equal(self.gap_count, 104);  // the nonsense is dropped without a word
  assert_int_equal(self.heads, 0);
  assert_int_equal(self.done_cut + self.done_complete, 0);
  app_close(&self);
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
  if (fd < 0) at->gap_count = 1;
  else (void)close(fd);
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
      cmocka_unit_test(test_bodies),
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_answer_at_the_head_drops_the_body),
      cmocka_unit_test(test_too_large_bodies_are_dropped),
      cmocka_unit_test(test_far_too_large_bodies_are_refused_at_once),
      cmocka_unit_test(test_endless_chunks_are_cut),
      cmocka_unit_test(test_answer_later),
      cmocka_unit_test(test_client_gone),
      cmocka_unit_test(test_bad_requests_reach_no_handler),
      cmocka_unit_test(test_idle_connections_are_closed),
      cmocka_unit_test(test_connections_over_the_limit_wait),
      cmocka_unit_test(test_stop_listening),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
