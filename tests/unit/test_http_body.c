// SPDX-License-Identifier: Apache-2.0
//
// Bodies and heads of requests over real sockets: how they come, how large they may be, and what is refused unseen.
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
  say(fd,
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 50000\r\nExpect: 100-continue\r\n"
      "Connection: close\r\n\r\n");
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

static void client_long_heads(app *at) {
  static char request[100000];
  static const struct {
    const char *begin, *wanted;
    size_t filler;
  } heads[] = {
      {"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Long: ", "HTTP/1.1 200", 20000},
      {"GET /x HTTP/1.1\r\nHost: t\r\nX-Long: ", "HTTP/1.1 431", 30000},  // ours
      {"GET /x HTTP/1.1\r\nHost: t\r\nX-Long: ", "HTTP/1.1 431", 80000},  // the library's
      {"GET /", "HTTP/1.1 431", 30000},
      {"GET /", "HTTP/1.1 414", 80000},
  };
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
    (void)snprintf(request, sizeof request, "%s%0*d%s", heads[i].begin, (int)heads[i].filler, 0,
                   heads[i].begin[5] == '\0' ? " HTTP/1.1\r\nHost: t\r\n\r\n" : "\r\n\r\n");
    ask_once(at, request);
    if (strstr(at->saw, heads[i].wanted) != NULL) at->gap_count++;
  }
}

static void test_long_heads(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_long_heads);
  assert_int_equal(self.gap_count, 5);
  assert_int_equal(self.heads, 1);
  app_close(&self);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bodies),
      cmocka_unit_test(test_answer_at_the_head_drops_the_body),
      cmocka_unit_test(test_too_large_bodies_are_dropped),
      cmocka_unit_test(test_far_too_large_bodies_are_refused_at_once),
      cmocka_unit_test(test_endless_chunks_are_cut),
      cmocka_unit_test(test_bad_requests_reach_no_handler),
      cmocka_unit_test(test_long_heads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
