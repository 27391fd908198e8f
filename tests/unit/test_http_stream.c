// SPDX-License-Identifier: Apache-2.0
//
// Streamed answers over real sockets: pieces leave at once, slow readers hold the writer back and never the memory, and
// a stream ends in one way only.
#include "test_http_fixture.h"

static app self;

static void open_app(void) {
  rh_http_options options = app_options();
  app_open(&self, &options);
}

static void listen_to_chunks(app *at, const char *request) {
  int fd = dial(at);
  say(fd, request);
  uint64_t last = rh_clock_now_ns();
  static const char *const marks[] = {"\r\n\r\n", "chunk 0\n", "chunk 1\n", "chunk 2\n", "chunk 3\n", "chunk 4\n"};
  for (size_t i = 0; i < 6 && hear(at, fd, marks[i]); i++) {
    uint64_t now = rh_clock_now_ns();
    at->gaps_ms[at->gap_count++] = rh_ns_to_ms(now - last);
    last = now;
  }
  at->body_ok = hear(at, fd, NULL);
  (void)close(fd);
}

static void client_chunks(app *at) {
  listen_to_chunks(at, "GET /stream HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
}

static void client_plain(app *at) { listen_to_chunks(at, "GET /stream HTTP/1.0\r\n\r\n"); }

static void test_stream(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_chunks);
  assert_true(self.body_ok);
  assert_non_null(strstr(self.saw, "Transfer-Encoding: chunked\r\n"));
  assert_non_null(strstr(self.saw, "Content-Type: text/event-stream\r\n"));
  assert_non_null(strstr(self.saw, "cache-control: no-cache\r\n"));  // set twice: the last one counts
  assert_null(strstr(self.saw, "public"));
  assert_int_equal(times_seen(&self, "\r\n8\r\nchunk "), 5);  // one HTTP chunk for each write
  assert_non_null(strstr(self.saw, "\r\n0\r\n\r\n"));
  assert_int_equal(self.done_complete, 1);
  app_close(&self);
}

// Pieces are written 20 ms apart. A delay of the Nagle kind would join some and show as gaps of 40 ms and more, every
// time; the head must not wait for the first piece. A busy machine may be late, so one punctual run of several is asked
// for.
static void test_pieces_leave_at_once(void **state) {
  (void)state;
  bool punctual = false;
  for (int attempt = 0; attempt < 10 && !punctual; attempt++) {
    open_app();
    app_run(&self, client_chunks);
    assert_int_equal(self.gap_count, 6);
    punctual = self.gaps_ms[0] < 15;
    for (unsigned i = 1; i < 6; i++) punctual = punctual && self.gaps_ms[i] > 5 && self.gaps_ms[i] < 35;
    app_close(&self);
  }
  assert_true(punctual);
}

static void test_stream_for_http_1_0(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_plain);
  assert_true(self.body_ok);
  assert_int_equal(self.gap_count, 6);
  assert_null(strstr(self.saw, "chunked"));
  assert_non_null(strstr(self.saw, "\r\n\r\nchunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\n"));
  assert_int_equal(self.done_complete, 1);
  app_close(&self);
}

static void client_chunks_kept(app *at) {
  int fd = dial(at);
  for (int i = 0; i < 2; i++) {
    forget(at);
    say(fd, "GET /stream HTTP/1.1\r\nHost: t\r\n\r\n");
    if (hear(at, fd, "\r\n0\r\n\r\n")) at->gap_count++;
  }
  (void)close(fd);
}

static void test_stream_keeps_the_connection(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_chunks_kept);
  assert_int_equal(self.gap_count, 2);
  assert_int_equal(self.done_complete, 2);
  app_close(&self);
}

static void client_head(app *at) {
  int fd = dial(at);
  say(fd, "HEAD /stream HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  at->body_ok = hear(at, fd, NULL);
  (void)close(fd);
}

static void test_head_of_a_stream(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_head);
  assert_true(self.body_ok);
  assert_non_null(strstr(self.saw, "200 OK"));
  assert_null(strstr(self.saw, "chunk 0"));
  assert_int_equal(self.done_complete, 1);
  app_close(&self);
}

static void client_leaves(app *at) {
  int fd = dial(at);
  say(fd, "GET /open HTTP/1.1\r\nHost: t\r\n\r\n");
  at->body_ok = hear(at, fd, "first\n");
  (void)close(fd);
}

static void test_client_leaves_a_quiet_stream(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_leaves);
  assert_true(self.body_ok);
  assert_int_equal(self.done_cut, 1);
  assert_int_equal(self.done_complete, 0);
  assert_int_equal(self.late_status, RH_CANCELLED);
  assert_int_equal(rh_http_server_connections(self.server), 0);
  app_close(&self);
}

static void client_slow(app *at) {  // reads nothing for a while, then all
  int fd = dial_with(at, 8192);
  say(fd, "GET /flood HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  usleep(300000);
  at->gones = at->waits;  // written by the other thread, but it stands still by now
  char junk[65536];
  for (ssize_t count = 1; count > 0;) {
    count = recv(fd, junk, sizeof junk, 0);
    if (count > 0) at->bytes_read += (size_t)count;
  }
  (void)close(fd);
}

static void test_slow_reader_holds_the_writer(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_slow);
  assert_true(self.gones < 200);         // the kernel's buffers were filled, then nothing more was written
  assert_true(self.waits > self.gones);  // reading let it go on
  assert_true(self.drains >= self.waits - 1 && self.drains <= self.waits);
  assert_true(self.bytes_read > self.flood_bytes);  // the rest is HTTP's own
  assert_true(self.bytes_read < self.flood_bytes + self.flood_bytes / 8);
  assert_int_equal(self.done_complete, 1);
  app_close(&self);
}

static void client_never_reads(app *at) {
  int fd = dial_with(at, 8192);
  say(fd, "GET /flood HTTP/1.1\r\nHost: t\r\n\r\n");
  for (int i = 0; i < 100 && at->done_cut == 0; i++) usleep(50000);
  (void)close(fd);
}

static void test_reader_that_takes_nothing_is_cut(void **state) {
  (void)state;
  rh_http_options options = app_options();
  options.idle_timeout_ns = RH_NS_PER_S;
  app_open(&self, &options);
  app_run(&self, client_never_reads);
  assert_true(self.waits > 0);
  assert_int_equal(self.done_cut, 1);
  assert_int_equal(self.done_complete, 0);
  app_close(&self);
}

static void client_overflow(app *at) {
  int fd = dial_with(at, 8192);
  say(fd, "GET /overflow HTTP/1.1\r\nHost: t\r\n\r\n");
  at->body_ok = hear(at, fd, "\r\n0\r\n\r\n");  // must not come: the answer is not whole
  (void)close(fd);
}

static void test_writer_that_ignores_wait_is_cut(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_overflow);
  assert_false(self.body_ok);
  assert_int_equal(self.gones, 1);
  assert_int_equal(self.done_cut, 1);
  assert_int_equal(rh_http_server_connections(self.server), 0);
  app_close(&self);
}

static int held[3];

static void client_holds(app *at) {
  static const char *const requests[] = {"GET /open HTTP/1.1\r\nHost: t\r\n\r\n",
                                         "GET /never HTTP/1.1\r\nHost: t\r\n\r\n",
                                         "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc"};
  for (size_t i = 0; i < 3; i++) {
    held[i] = dial(at);
    say(held[i], requests[i]);
  }
  (void)hear(at, held[0], "first\n");
}

static void test_free_ends_everything_once(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_holds);
  assert_int_equal(rh_http_server_exchanges(self.server), 3);
  assert_int_equal(rh_http_server_connections(self.server), 3);
  rh_http_server_free(self.server);
  assert_int_equal(self.done_cut, 3);
  assert_int_equal(self.done_complete, 0);
  assert_int_equal(self.late_status, RH_CANCELLED);
  assert_true(hear(&self, held[0], NULL) || true);  // whatever kind of end, it is an end
  assert_null(strstr(self.saw, "\r\n0\r\n\r\n"));   // and never one that looks whole
  for (size_t i = 0; i < 3; i++) (void)close(held[i]);
  rh_loop_free(self.loop);
}

static void client_waits(app *at) {
  held[0] = dial(at);
  say(held[0], "GET /open HTTP/1.1\r\nHost: t\r\n\r\n");
  (void)hear(at, held[0], "first\n");
}

// A finished answer that the library has not sent yet still leaves.
static void test_free_sends_what_is_finished(void **state) {
  (void)state;
  open_app();
  app_run(&self, client_waits);
  assert_int_equal(rh_http_server_exchanges(self.server), 1);
  rh_http_exchange *exchange = self.open_exchange;
  assert_int_equal(rh_http_stream_write(exchange, "last\n", 5), RH_HTTP_GO);
  rh_http_stream_end(exchange);
  rh_http_server_free(self.server);
  assert_int_equal(self.done_complete, 1);
  assert_true(hear(&self, held[0], NULL));
  assert_non_null(strstr(self.saw, "last\n\r\n0\r\n\r\n"));
  (void)close(held[0]);
  rh_loop_free(self.loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_stream),
      cmocka_unit_test(test_pieces_leave_at_once),
      cmocka_unit_test(test_stream_for_http_1_0),
      cmocka_unit_test(test_stream_keeps_the_connection),
      cmocka_unit_test(test_head_of_a_stream),
      cmocka_unit_test(test_client_leaves_a_quiet_stream),
      cmocka_unit_test(test_slow_reader_holds_the_writer),
      cmocka_unit_test(test_reader_that_takes_nothing_is_cut),
      cmocka_unit_test(test_writer_that_ignores_wait_is_cut),
      cmocka_unit_test(test_free_ends_everything_once),
      cmocka_unit_test(test_free_sends_what_is_finished),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
