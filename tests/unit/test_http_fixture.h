// SPDX-License-Identifier: Apache-2.0
//
// A server with a small scripted application, and blocking clients that run in a second thread while the main thread
// runs the loop. Clients only record what they saw: cmocka's assertions belong to the main thread, after the loop has
// stopped.
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "http/http.h"

#define BODY_MAX 65536u
#define STREAM_HIGH 65536u
#define STREAM_MAX 262144u
#define SAW_SIZE 65536u

typedef struct app app;

typedef struct job {
  app *owner;
  rh_http_exchange *exchange;
  rh_timer timer;
  unsigned step;
  size_t sent;
} job;

struct app {
  rh_loop *loop;
  rh_http_server *server;
  unsigned port;
  rh_watch finished;
  rh_timer guard;
  bool timed_out;
  void (*client)(app *self);
  // what the handlers saw
  unsigned heads, requests, drains, gones, done_complete;
  atomic_uint waits, done_cut;  // clients look at these while the loop runs
  size_t body_length;
  bool body_ok;
  size_t flood_bytes;               // how much /flood sends
  rh_status late_status;            // of an answer after the client had left
  rh_http_exchange *open_exchange;  // of /open
  // what the client saw
  char saw[SAW_SIZE];
  size_t saw_length;
  size_t bytes_read;
  double gaps_ms[16];
  unsigned gap_count;
  char query[64], header[64], path[64];
};

static inline void on_later(void *ctx) {
  job *self = ctx;
  assert_true(rh_http_respond(self->exchange, 200, "text/plain", "later\n", 6) == RH_OK);
}

static inline void on_chunk(void *ctx) {
  job *self = ctx;
  char text[32];
  int length = snprintf(text, sizeof text, "chunk %u\n", self->step++);
  assert_true(rh_http_stream_write(self->exchange, text, (size_t)length) == RH_HTTP_GO);
  if (self->step < 5) {
    rh_loop_timer_set(self->owner->loop, &self->timer, 20 * RH_NS_PER_MS);
  } else {
    rh_http_stream_end(self->exchange);
  }
}

static inline void flood(job *self) {
  static const char page[4096] = {'x'};
  for (;;) {
    if (self->sent == self->owner->flood_bytes) {
      rh_http_stream_end(self->exchange);
      return;
    }
    rh_http_room room = rh_http_stream_write(self->exchange, page, sizeof page);
    if (room == RH_HTTP_GONE) return;
    self->sent += sizeof page;
    if (room == RH_HTTP_WAIT) {
      self->owner->waits++;
      return;
    }
  }
}

static inline job *job_new(app *self, rh_http_exchange *exchange, void (*fn)(void *ctx)) {
  job *made = calloc(1, sizeof *made);
  assert_true(made != NULL);
  made->owner = self;
  made->exchange = exchange;
  made->timer.fn = fn;
  made->timer.ctx = made;
  rh_http_set_user(exchange, made);
  return made;
}

static inline void answer_text(rh_http_exchange *exchange, unsigned status, const char *text) {
  assert_true(rh_http_respond(exchange, status, "text/plain", text, strlen(text)) == RH_OK);
}

static inline void app_on_head(void *ctx, rh_http_exchange *exchange) {
  app *self = ctx;
  self->heads++;
  assert_true(!rh_http_answered(exchange) && rh_http_received_ns(exchange) > 0);
  if (strcmp(rh_http_path(exchange), "/nowhere") == 0) answer_text(exchange, 404, "nothing here\n");
}

static inline void begin_stream(rh_http_exchange *exchange) {
  assert_true(rh_http_set_header(exchange, "Cache-Control", "public") == RH_OK);
  assert_true(rh_http_set_header(exchange, "cache-control", "no-cache") == RH_OK);
  assert_true(rh_http_stream_begin(exchange, 200, "text/event-stream") == RH_OK);
  assert_true(rh_http_answered(exchange) && rh_http_set_header(exchange, "X-Late", "1") == RH_INVALID);
}

static inline void app_echo(app *self, rh_http_exchange *exchange) {
  if (rh_http_body_too_large(exchange)) {
    answer_text(exchange, 413, "too large\n");
    return;
  }
  const char *body = rh_http_body(exchange, &self->body_length);
  self->body_ok = true;
  for (size_t i = 0; i < self->body_length; i++) self->body_ok = self->body_ok && body[i] == (char)('a' + i % 23);
  char text[32];
  (void)snprintf(text, sizeof text, "got %zu\n", self->body_length);
  answer_text(exchange, 200, text);
}

static inline void app_facts(app *self, rh_http_exchange *exchange) {
  const char *query = rh_http_query(exchange, "a");
  const char *header = rh_http_header(exchange, "x-test");
  (void)snprintf(self->query, sizeof self->query, "%s", query != NULL ? query : "(none)");
  (void)snprintf(self->header, sizeof self->header, "%s", header != NULL ? header : "(none)");
  (void)snprintf(self->path, sizeof self->path, "%s", rh_http_path(exchange));
  assert_true(rh_http_query(exchange, "absent") == NULL && rh_http_header(exchange, "absent") == NULL);
  assert_true(rh_http_set_header(exchange, "Bad Name", "1") == RH_INVALID);
  assert_true(rh_http_set_header(exchange, "X-Bad", "a\r\nX-Smuggled: 1") == RH_INVALID);
  assert_true(rh_http_set_header(exchange, "content-length", "3") == RH_INVALID);
  answer_text(exchange, 200, rh_http_method(exchange));
}

static inline void app_on_request(void *ctx, rh_http_exchange *exchange) {
  app *self = ctx;
  self->requests++;
  const char *path = rh_http_path(exchange);
  if (strcmp(path, "/echo") == 0) {
    app_echo(self, exchange);
  } else if (strcmp(path, "/later") == 0) {
    rh_loop_timer_set(self->loop, &job_new(self, exchange, on_later)->timer, 30 * RH_NS_PER_MS);
  } else if (strcmp(path, "/stream") == 0) {
    begin_stream(exchange);
    rh_loop_timer_set(self->loop, &job_new(self, exchange, on_chunk)->timer, 20 * RH_NS_PER_MS);
  } else if (strcmp(path, "/open") == 0) {  // a stream that says one thing and then nothing
    begin_stream(exchange);
    self->open_exchange = exchange;
    assert_true(rh_http_stream_write(exchange, "first\n", 6) == RH_HTTP_GO);
    assert_true(rh_http_stream_last_write_ns(exchange) >= rh_http_received_ns(exchange));
  } else if (strcmp(path, "/flood") == 0) {
    begin_stream(exchange);
    flood(job_new(self, exchange, NULL));
  } else if (strcmp(path, "/overflow") == 0) {  // a writer that does not listen to WAIT
    begin_stream(exchange);
    static const char page[4096] = {'x'};
    for (unsigned i = 0; i < 1000 && rh_http_stream_write(exchange, page, sizeof page) != RH_HTTP_GONE; i++) continue;
    self->gones++;
  } else if (strcmp(path, "/never") != 0) {
    app_facts(self, exchange);
  }
}

static inline void app_on_drain(void *ctx, rh_http_exchange *exchange) {
  app *self = ctx;
  self->drains++;
  flood(rh_http_user(exchange));
}

static inline void app_on_done(void *ctx, rh_http_exchange *exchange, bool complete) {
  app *self = ctx;
  if (complete) {
    self->done_complete++;
  } else {
    self->done_cut++;
    self->late_status = rh_http_respond(exchange, 200, "text/plain", "x", 1);
  }
  job *work = rh_http_user(exchange);
  if (work != NULL) rh_loop_timer_cancel(self->loop, &work->timer);
  free(work);
}

static inline rh_http_handlers app_handlers(app *self) {
  return (rh_http_handlers){.on_head = app_on_head,
                            .on_request = app_on_request,
                            .on_drain = app_on_drain,
                            .on_done = app_on_done,
                            .ctx = self};
}

static inline rh_http_options app_options(void) {
  return (rh_http_options){.address = "127.0.0.1:0",
                           .body_bytes_max = BODY_MAX,
                           .connections_max = 100,
                           .stream_bytes_high = STREAM_HIGH,
                           .stream_bytes_max = STREAM_MAX,
                           .idle_timeout_ns = 30 * RH_NS_PER_S};
}

static inline void app_open(app *self, const rh_http_options *options) {
  *self = (app){.flood_bytes = 8 * 1024 * 1024, .late_status = RH_OK};
  self->loop = rh_loop_new();
  assert_non_null(self->loop);
  rh_http_handlers handlers = app_handlers(self);
  rh_error error = {0};
  assert_int_equal(rh_http_server_new(self->loop, options, &handlers, &self->server, &error), RH_OK);
  const char *port = strrchr(rh_http_server_address(self->server), ':');
  assert_non_null(port);
  self->port = (unsigned)atoi(port + 1);
  assert_true(self->port > 0);
}

static inline void app_close(app *self) {
  rh_http_server_free(self->server);
  rh_loop_free(self->loop);
}

static inline void app_stop(void *ctx) { rh_loop_stop(((app *)ctx)->loop); }

// The client is done; what it caused may need a moment.
static inline void on_client_finished(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  app *self = ctx;
  rh_loop_unwatch(self->loop, &self->finished);
  self->guard.fn = app_stop;
  rh_loop_timer_set(self->loop, &self->guard, 50 * RH_NS_PER_MS);
}

static inline void on_guard(void *ctx) {
  app *self = ctx;
  self->timed_out = true;
  rh_loop_stop(self->loop);
}

static inline void *client_main(void *ctx) {
  app *self = ctx;
  self->client(self);
  uint64_t one = 1;
  if (write(self->finished.fd, &one, sizeof one) < 0) abort();
  return NULL;
}

// Run `client` in a thread and the loop here, until the client returns.
static inline void app_run(app *self, void (*client)(app *self)) {
  self->client = client;
  self->finished = (rh_watch){.fd = eventfd(0, EFD_CLOEXEC), .fn = on_client_finished, .ctx = self};
  assert_true(self->finished.fd >= 0);
  assert_int_equal(rh_loop_watch(self->loop, &self->finished, EPOLLIN), RH_OK);
  self->guard = (rh_timer){.fn = on_guard, .ctx = self};
  rh_loop_timer_set(self->loop, &self->guard, 20 * RH_NS_PER_S);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, client_main, self), 0);
  assert_int_equal(rh_loop_run(self->loop), RH_OK);
  assert_false(self->timed_out);
  assert_int_equal(pthread_join(thread, NULL), 0);
  rh_loop_timer_cancel(self->loop, &self->guard);
  (void)close(self->finished.fd);
}

// Blocking client calls.

static inline int dial_with(const app *self, int receive_buffer) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer > 0) (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  struct timeval limit = {.tv_sec = 10};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)self->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
    (void)close(fd);
    return -1;
  }
  return fd;
}

static inline int dial(const app *self) { return dial_with(self, 0); }

static inline void say_bytes(int fd, const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t count = send(fd, at, length, MSG_NOSIGNAL);
    if (count <= 0) return;
    at += count;
    length -= (size_t)count;
  }
}

static inline void say(int fd, const char *text) { say_bytes(fd, text, strlen(text)); }

// Read until `mark` is in what was seen, or to the end when it is NULL. False at an end or error before the mark;
// reading to a clean end is true.
static inline bool hear(app *self, int fd, const char *mark) {
  for (;;) {
    if (mark != NULL && strstr(self->saw, mark) != NULL) return true;
    if (self->saw_length + 1 >= SAW_SIZE) return false;
    ssize_t count = recv(fd, self->saw + self->saw_length, SAW_SIZE - 1 - self->saw_length, 0);
    if (count <= 0) return count == 0 && mark == NULL;
    self->saw_length += (size_t)count;
    self->saw[self->saw_length] = '\0';
  }
}

static inline void forget(app *self) {
  self->saw_length = 0;
  self->saw[0] = '\0';
}

static inline unsigned times_seen(const app *self, const char *text) {
  unsigned count = 0;
  for (const char *at = strstr(self->saw, text); at != NULL; at = strstr(at + 1, text)) count++;
  return count;
}

#endif
