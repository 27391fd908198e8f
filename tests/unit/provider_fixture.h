// SPDX-License-Identifier: Apache-2.0
//
// For tests of the providers' transport: a server on loopback in threads of its own, which a test scripts in C; a protocol of
// lines ("END" is the end, "BAD" an error, all else a delta); and a sink that keeps what it saw.
#ifndef RH_TESTS_PROVIDER_FIXTURE_H
#define RH_TESTS_PROVIDER_FIXTURE_H

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
#include <sys/socket.h>
#include <unistd.h>

#include "loop_fixture.h"
#include "provider/explain.h"
#include "provider/transport.h"

// --- the server ------------------------------------------------------------------------------------------------------

typedef struct server server;
typedef bool (*script_fn)(server *self, int fd, unsigned number);  // false: close the connection

struct server {
  int fd;
  unsigned port;
  script_fn script;
  pthread_t thread;
  atomic_uint connections, requests, left, threads;
  atomic_bool go;  // what a script may wait for
  atomic_size_t sent;
  char head[8192];  // of the last request
};

typedef struct connection {
  server *owner;
  int fd;
} connection;

static inline void send_text(int fd, const char *text) {
  size_t length = strlen(text);
  for (size_t at = 0; at < length;) {
    ssize_t sent = send(fd, text + at, length - at, MSG_NOSIGNAL);
    if (sent <= 0) return;
    at += (size_t)sent;
  }
}

static inline void send_answer(int fd, const char *status, const char *headers, const char *body) {
  char head[512];
  (void)snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, strlen(body), headers);
  send_text(fd, head);
  send_text(fd, body);
}

// Until the client has closed; what it would say meanwhile is thrown away.
static inline void wait_left(server *self, int fd) {
  char text[256];
  while (recv(fd, text, sizeof text, 0) > 0) continue;
  self->left++;
}

static inline void wait_go(server *self) {
  while (!atomic_load(&self->go)) (void)usleep(1000);
}

static inline bool read_request(server *self, int fd) {
  char text[8192];
  size_t have = 0;
  for (;;) {
    ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
    if (got <= 0) return false;
    have += (size_t)got;
    text[have] = '\0';
    char *end = strstr(text, "\r\n\r\n");
    if (end == NULL) continue;
    const char *length = strcasestr(text, "\ncontent-length:");
    size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - text) + body;
    for (char page[4096]; have < whole; have += (size_t)got) {
      got = recv(fd, page, sizeof page, 0);
      if (got <= 0) return false;
    }
    // Several connections may read at once; whose request is kept then, nobody asks.
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&one);
    memcpy(self->head, text, have < sizeof text ? have + 1 : sizeof self->head);
    (void)pthread_mutex_unlock(&one);
    return true;
  }
}

static inline void *serve_connection(void *ctx) {
  connection own = *(connection *)ctx;
  free(ctx);
  while (read_request(own.owner, own.fd)) {
    unsigned number = ++own.owner->requests;
    if (!own.owner->script(own.owner, own.fd, number)) break;
  }
  (void)close(own.fd);
  own.owner->threads--;
  return NULL;
}

static inline void *serve(void *ctx) {
  server *self = ctx;
  for (int fd; (fd = accept(self->fd, NULL, NULL)) >= 0;) {
    self->connections++;
    self->threads++;
    connection *made = malloc(sizeof *made);
    *made = (connection){self, fd};
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_connection, made) != 0) abort();
    (void)pthread_detach(thread);
  }
  return NULL;
}

static inline int listen_on_loopback(int backlog, unsigned *port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, backlog) == 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
  *port = ntohs(address.sin_port);
  return fd;
}

static inline void server_start(server *self, script_fn script) {
  memset(self, 0, sizeof *self);
  self->script = script;
  self->fd = listen_on_loopback(1024, &self->port);
  assert_int_equal(pthread_create(&self->thread, NULL, serve, self), 0);
}

static inline void server_stop(server *self) {
  self->go = true;
  (void)shutdown(self->fd, SHUT_RDWR);
  (void)pthread_join(self->thread, NULL);
  (void)close(self->fd);
  for (int i = 0; i < 20000 && self->threads > 0; i++) (void)usleep(1000);
  assert_int_equal(self->threads, 0);
}

// --- the protocol of lines ---------------------------------------------------------------------------------------------

typedef struct line_reader {
  char line[256];
  size_t length;
  bool stream, started, ended;
} line_reader;

static inline rh_status lines_write(const rh_provider_spec *spec, const char *model, const rh_run *run, bool stream,
                                    rh_dynbuf *body, const char **path, rh_error *error) {
  (void)spec, (void)run, (void)stream;
  if (strcmp(model, "impossible") == 0) return rh_fail(error, RH_UNSUPPORTED, "cannot be said");
  *path = "/lines";
  return rh_dynbuf_append_text(body, model);
}

static inline rh_status lines_headers(const rh_provider_spec *spec, const rh_run *run, rh_dynbuf *lines) {
  (void)run;
  return spec->key == NULL ? RH_OK : rh_dynbuf_printf(lines, "Authorization: Bearer %s\nX-Replaced: no\n", spec->key);
}

static inline rh_protocol_reader *lines_new(const rh_provider_spec *spec, const rh_run *run, bool stream) {
  (void)spec, (void)run;
  line_reader *made = calloc(1, sizeof *made);
  if (made != NULL) made->stream = stream;
  return (rh_protocol_reader *)(void *)made;
}

static inline void lines_free(rh_protocol_reader *reader) { free(reader); }

static inline rh_verdict lines_line(line_reader *reader, const rh_sink *sink) {
  rh_verdict verdict = RH_GO;
  rh_event event = {.kind = RH_EVENT_START};
  if (!reader->started) verdict = rh_sink_push(sink, &event);
  reader->started = true;
  memset(&event, 0, sizeof event);
  if (strcmp(reader->line, "END") == 0) {
    event.kind = RH_EVENT_END;
  } else if (strcmp(reader->line, "BAD") == 0) {
    event.kind = RH_EVENT_ERROR;
    (void)rh_fail(&event.as.error, RH_UPSTREAM, "bad line, and the key is sk-very-secret");
  } else {
    event.kind = RH_EVENT_DELTA;
    event.as.delta.text = reader->line;
    event.as.delta.length = reader->length;
  }
  reader->ended = rh_event_is_final(&event);
  return rh_sink_push(sink, &event) == RH_WAIT ? RH_WAIT : verdict;
}

static inline rh_verdict lines_read(rh_protocol_reader *opaque, const char *bytes, size_t length, const rh_sink *sink) {
  line_reader *reader = (line_reader *)(void *)opaque;
  rh_verdict verdict = RH_GO;
  for (size_t i = 0; i < length && !reader->ended; i++) {
    if (bytes[i] != '\n') {
      if (reader->length + 1 < sizeof reader->line) reader->line[reader->length++] = bytes[i];
      continue;
    }
    reader->line[reader->length] = '\0';
    if (lines_line(reader, sink) == RH_WAIT) verdict = RH_WAIT;
    reader->length = 0;
  }
  return verdict;
}

static inline rh_verdict lines_finish(rh_protocol_reader *opaque, const rh_sink *sink) {
  line_reader *reader = (line_reader *)(void *)opaque;
  if (reader->ended) return RH_GO;
  rh_event event = {.kind = RH_EVENT_ERROR};
  (void)rh_fail(&event.as.error, RH_UPSTREAM, "cut short");
  return rh_sink_push(sink, &event);
}

static inline void lines_explain(const rh_provider_spec *spec, unsigned status, const char *body, size_t length,
                                 rh_error *error) {
  rh_status what = status == 429 ? RH_LIMITED : status == 400 ? RH_INVALID : RH_UPSTREAM;
  char words[200];
  rh_provider_clean_text(spec, body, length, words, sizeof words);
  (void)rh_fail(error, what, "%s answered %u: %s", spec->name, status, words);
}

static const rh_protocol_ops lines_ops = {.write = lines_write,
                                          .headers = lines_headers,
                                          .reader_new = lines_new,
                                          .reader_free = lines_free,
                                          .read = lines_read,
                                          .finish = lines_finish,
                                          .explain = lines_explain};

static inline const rh_protocol_ops *find_lines(rh_protocol protocol) {
  (void)protocol;
  return &lines_ops;
}

// --- one provider and its runs -------------------------------------------------------------------------------------------

typedef struct bench {
  rh_loop *loop;
  server server;
  rh_provider_spec spec;
  rh_providers *providers;
  rh_provider *provider;
  char url[64], name[16], key[32];
  unsigned finals;  // of all its watchers
} bench;

typedef struct watcher {
  bench *owner;
  rh_run run;
  rh_provider_options options;
  rh_provider_run *handle;
  void (*hook)(struct watcher *self, const rh_event *event);  // called in each push, before it returns
  void *hook_ctx;
  rh_verdict verdict;
  bool inside_begin, over;
  unsigned starts, deltas, ends, errors, order;  // `order`: which final of all it was
  uint32_t choice;
  size_t bytes;
  char text[256];
  rh_error error;
} watcher;

static inline rh_verdict watch_event(void *ctx, const rh_event *event) {
  watcher *self = ctx;
  assert_false(self->inside_begin);
  assert_false(self->over);
  self->choice = event->choice;
  if (event->kind == RH_EVENT_START) self->starts++;
  if (event->kind == RH_EVENT_DELTA) {
    self->deltas++;
    self->bytes += event->as.delta.length;
    if (strlen(self->text) + event->as.delta.length < sizeof self->text) strcat(self->text, event->as.delta.text);
  }
  if (event->kind == RH_EVENT_END) self->ends++;
  if (event->kind == RH_EVENT_ERROR) {
    self->errors++;
    self->error = event->as.error;
  }
  self->over = rh_event_is_final(event);
  if (self->over) self->order = ++self->owner->finals;
  if (self->hook != NULL) self->hook(self, event);
  return self->over ? RH_GO : self->verdict;
}

static inline rh_status watcher_try(bench *owner, watcher *self, const char *model) {
  self->owner = owner;
  self->inside_begin = true;
  rh_sink sink = {.push = watch_event, .ctx = self};
  rh_status status =
      rh_provider_run_begin(owner->provider, model, &self->run, &self->options, &sink, &self->handle, &self->error);
  self->inside_begin = false;
  return status;
}

static inline void watcher_begin(bench *owner, watcher *self, const char *model) {
  assert_int_equal(watcher_try(owner, self, model), RH_OK);
}

static inline bool watcher_over(void *ctx) { return ((watcher *)ctx)->over; }
static inline bool count_reached(void *ctx) {
  const atomic_uint *value = ctx;
  return *value > 0;
}

static inline void run_to_end(watcher *self) { assert_true(rh_run_until(self->owner->loop, watcher_over, self)); }

static inline void bench_open(bench *self) {
  rh_error error;
  self->spec.base_url = self->url;
  assert_int_equal(rh_providers_new_with(self->loop, &self->spec, 1, find_lines, &self->providers, &error), RH_OK);
  self->provider = rh_providers_find(self->providers, "test");
  assert_non_null(self->provider);
}

// `change` may edit the specification before it is used.
static inline void bench_start(bench *self, script_fn script, void (*change)(rh_provider_spec *spec)) {
  memset(self, 0, sizeof *self);
  self->loop = rh_loop_new();
  server_start(&self->server, script);
  (void)snprintf(self->url, sizeof self->url, "http://127.0.0.1:%u/v1", self->server.port);
  (void)strcpy(self->name, "test");
  (void)strcpy(self->key, "sk-very-secret");
  self->spec = (rh_provider_spec){.name = self->name,
                                  .enabled = true,
                                  .local = true,
                                  .key = self->key,
                                  .connect_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
                                  .first_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
                                  .idle_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
                                  .total_timeout_ns = rh_scaled_ns(9 * RH_NS_PER_S),
                                  .concurrency_max = 4,
                                  .queue_max = 4,
                                  .retry_delay_ns = RH_NS_PER_MS};
  if (change != NULL) change(&self->spec);
  bench_open(self);
}

static inline void bench_stop(bench *self) {
  rh_providers_free(self->providers);
  server_stop(&self->server);
  rh_loop_free(self->loop);
}

#endif
