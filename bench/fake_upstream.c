// SPDX-License-Identifier: Apache-2.0
//
// A provider of models that answers at once, to measure what stands before it: POST /v1/chat/completions, whole or, where the
// request says "stream": true, as a stream of N events. One thread of libmicrohttpd's (epoll); the texts are made beforehand.
//
//   bench_fake_upstream [--port N] [--chunks N] [--words N]
//
// --port: 0, the default, takes a free one. --chunks: events of a stream that carry text (16). --words: words of a whole answer
// (16). Prints "PORT\n" when it listens and serves until its standard input ends. It believes whatever it is asked and looks at
// no header; GET answers {"data":[]}.
#include <arpa/inet.h>
#include <getopt.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT \
  "data: "    \
  "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"fake\",\"choices\":[{\"index\":0,"
#define STREAM_MARK_BYTES 16  // the longest of the marks looked for, less one, may be cut by two pieces of a body

typedef struct event {
  const char *text;
  size_t length;
} event;

typedef struct upstream {
  struct MHD_Response *whole, *list;
  event *events;
  size_t event_count;
} upstream;

// One request under way. `tail`: the end of the last piece of its body.
typedef struct exchange {
  const upstream *owner;
  bool stream;
  char tail[2 * STREAM_MARK_BYTES];
  size_t tail_length;
  size_t next, at;  // of a stream: the event, and how much of it is out
} exchange;

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static bool has_mark(const char *bytes, size_t length) {
  return memmem(bytes, length, "\"stream\":true", 13) != NULL || memmem(bytes, length, "\"stream\": true", 14) != NULL;
}

static void look_for_stream(exchange *self, const char *bytes, size_t length) {
  if (self->stream) return;
  size_t head = length < STREAM_MARK_BYTES ? length : STREAM_MARK_BYTES;
  memcpy(self->tail + self->tail_length, bytes, head);
  self->stream = has_mark(self->tail, self->tail_length + head) || has_mark(bytes, length);
  self->tail_length = head;
  memmove(self->tail, bytes + length - head, head);
}

// One event a call, so that each is a chunk of its own, as a model's would be.
static ssize_t next_event(void *ctx, uint64_t position, char *out, size_t max) {
  (void)position;
  exchange *self = ctx;
  if (self->next == self->owner->event_count) return MHD_CONTENT_READER_END_OF_STREAM;
  const event *now = &self->owner->events[self->next];
  size_t length = now->length - self->at < max ? now->length - self->at : max;
  memcpy(out, now->text + self->at, length);
  self->at += length;
  if (self->at == now->length) {
    self->next++;
    self->at = 0;
  }
  return (ssize_t)length;
}

static enum MHD_Result answer_stream(struct MHD_Connection *connection, exchange *self) {
  struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, next_event, self, NULL);
  if (response == NULL) return MHD_NO;
  (void)MHD_add_response_header(response, "Content-Type", "text/event-stream");
  enum MHD_Result result = MHD_queue_response(connection, 200, response);
  MHD_destroy_response(response);
  return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *length, void **state) {
  (void)url, (void)version;
  upstream *owner = ctx;
  exchange *self = *state;
  if (self == NULL) {
    self = calloc(1, sizeof *self);
    if (self == NULL) return MHD_NO;
    self->owner = owner;
    *state = self;
    return MHD_YES;
  }
  if (*length > 0) {
    look_for_stream(self, body, *length);
    *length = 0;
    return MHD_YES;
  }
  if (strcmp(method, "POST") != 0) return MHD_queue_response(connection, 200, owner->list);
  return self->stream ? answer_stream(connection, self) : MHD_queue_response(connection, 200, owner->whole);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
  (void)ctx, (void)connection, (void)how;
  free(*state);
  *state = NULL;
}

static struct MHD_Response *fixed(const char *json) {
  char *copy = strdup(json);  // for the life of the program
  struct MHD_Response *response =
      copy == NULL ? NULL : MHD_create_response_from_buffer(strlen(copy), copy, MHD_RESPMEM_MUST_FREE);
  if (response == NULL || MHD_add_response_header(response, "Content-Type", "application/json") != MHD_YES) {
    give_up("a response");
  }
  return response;
}

static void add_event(upstream *self, const char *text) {
  char *copy = strdup(text);
  if (copy == NULL) give_up("an event");
  self->events[self->event_count++] = (event){copy, strlen(copy)};
}

static void make_texts(upstream *self, size_t chunks, size_t words) {
  char *text = malloc(words * 5 + 1), *json = malloc(words * 5 + 1024);
  self->events = calloc(chunks + 4, sizeof *self->events);
  if (text == NULL || json == NULL || self->events == NULL) give_up("memory");
  text[0] = '\0';
  for (size_t i = 0; i < words; i++) memcpy(text + 5 * i, " word", 6);
  (void)snprintf(
      json, words * 5 + 1024,
      "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"fake\",\"choices\":[{\"index\":0,"
      "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
      "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%zu,\"total_tokens\":%zu}}",
      text, words, words + 8);
  self->whole = fixed(json);
  self->list = fixed("{\"object\":\"list\",\"data\":[]}");
  add_event(self, EVENT "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n");
  for (size_t i = 0; i < chunks; i++) {
    add_event(self, EVENT "\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n");
  }
  add_event(self, EVENT "\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
  (void)snprintf(
      json, 1024,
      "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"fake\",\"choices\":[],"
      "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%zu,\"total_tokens\":%zu}}\n\n",
      chunks, chunks + 8);
  add_event(self, json);
  add_event(self, "data: [DONE]\n\n");
  free(text);
  free(json);
}

static size_t to_count(const char *text, size_t most) {
  unsigned long value = strtoul(text, NULL, 10);
  return value < most ? value : most;
}

int main(int count, char **arguments) {
  static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                          {"chunks", required_argument, NULL, 'c'},
                                          {"words", required_argument, NULL, 'w'},
                                          {NULL, 0, NULL, 0}};
  size_t chunks = 16, words = 16;
  uint16_t port = 0;
  for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
    if (option == 'p') port = (uint16_t)to_count(optarg, UINT16_MAX);
    if (option == 'c') chunks = to_count(optarg, 1000000);
    if (option == 'w') words = to_count(optarg, 1000000);
    if (option == '?') return 2;
  }
  static upstream self;
  make_texts(&self, chunks, words);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct MHD_Daemon *daemon = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, port, NULL, NULL, on_request, &self, MHD_OPTION_NOTIFY_COMPLETED,
      on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_THREAD_POOL_SIZE, 1u, MHD_OPTION_SOCK_ADDR,
      &address, MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024u, MHD_OPTION_END);
  if (daemon == NULL) give_up("libmicrohttpd");
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
  (void)printf("%u\n", info != NULL ? (unsigned)info->port : 0u);
  (void)fflush(stdout);
  for (char page[256]; read(STDIN_FILENO, page, sizeof page) > 0;) continue;
  MHD_stop_daemon(daemon);
  return 0;
}
