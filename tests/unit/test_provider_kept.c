// SPDX-License-Identifier: Apache-2.0
#include "provider_fixture.h"

#include <poll.h>

#define LARGE_BYTES ((size_t)16 << 20)  // more than a connection's buffers hold: its sending is cut in the middle

// Kept connections: servers drop them as they like, and the news may come before, while or after the next request is sent. That is
// nobody's failure, even where no retry is allowed.

static void expect_end(bench *b, const char *model) {
  watcher w = {.options.stream = true};
  watcher_begin(b, &w, model);
  run_to_end(&w);
  if (w.errors != 0) fail_msg("%s", w.error.message);
  assert_int_equal(w.ends, 1);
}

static bool closes_unsaid(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return false;
}

static void test_a_kept_connection_was_closed(void **state) {
  (void)state;
  bench b;
  bench_start(&b, closes_unsaid, NULL);
  for (int i = 0; i < 50; i++) expect_end(&b, "m");
  assert_int_equal(b.server.requests, 50);
  bench_stop(&b);
}

// Closes as soon as something of the next request is there, and has read nothing of it.
static bool closes_when_asked(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "200 OK", "", "one\nEND\n");
  (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
  return false;
}

static void test_it_closes_while_it_is_asked(void **state) {
  (void)state;
  bench b;
  bench_start(&b, closes_when_asked, NULL);
  for (unsigned i = 1; i <= 50; i++) {
    expect_end(&b, "m");
    assert_int_equal(b.server.requests, i);
  }
  assert_int_equal(b.server.connections, 50);
  bench_stop(&b);
}

static void test_it_closes_in_the_middle_of_a_large_request(void **state) {
  (void)state;
  char *large = malloc(LARGE_BYTES + 1);
  assert_non_null(large);
  memset(large, 'x', LARGE_BYTES);
  large[LARGE_BYTES] = '\0';
  bench b;
  bench_start(&b, closes_when_asked, NULL);
  for (unsigned i = 1; i <= 8; i++) {
    expect_end(&b, large);
    assert_int_equal(b.server.requests, i);
  }
  bench_stop(&b);
  free(large);
}

// Reads every request and answers the first on a connection only.
static bool answers_once(server *self, int fd, unsigned number) {
  (void)self;
  if (number != 1) return false;
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return true;
}

// Once more on a new connection, and no oftener.
static void test_the_new_connection_is_closed_too(void **state) {
  (void)state;
  bench b;
  bench_start(&b, answers_once, NULL);
  expect_end(&b, "m");
  watcher w = {0};
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.errors, 1);
  assert_int_equal(w.error.status, RH_UPSTREAM);
  assert_non_null(strstr(w.error.message, "without an answer"));
  assert_int_equal(b.server.requests, 3);
  assert_int_equal(b.server.connections, 2);
  bench_stop(&b);
}

// Something of an answer came: the request was heard, and whatever follows is a failure.
static bool begins_an_answer(server *self, int fd, unsigned number) {
  (void)self;
  if (number != 1) {
    send_text(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
    return false;
  }
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return true;
}

static void test_an_answer_had_begun(void **state) {
  (void)state;
  bench b;
  bench_start(&b, begins_an_answer, NULL);
  expect_end(&b, "m");
  watcher w = {0};
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.errors, 1);
  assert_int_equal(w.error.status, RH_UPSTREAM);
  assert_int_equal(b.server.requests, 2);
  bench_stop(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_kept_connection_was_closed),
      cmocka_unit_test(test_it_closes_while_it_is_asked),
      cmocka_unit_test(test_it_closes_in_the_middle_of_a_large_request),
      cmocka_unit_test(test_the_new_connection_is_closed_too),
      cmocka_unit_test(test_an_answer_had_begun),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
