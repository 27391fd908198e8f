// SPDX-License-Identifier: Apache-2.0
//
// The HTTP client against a server in a thread that sends fixed bytes, whatever it is asked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/answer.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/interrupt.h"

typedef struct server {
  int fd;
  char address[64];
  const char *answer;
  bool hold;         // keep the connection open after the answer
  bool client_left;  // while it was held
  int requests;      // to serve
  char request[8192];
  pthread_t thread;
} server;

// Reads the head and the body that its Content-Length tells.
static void read_request(server *self, int fd) {
  size_t used = 0;
  for (;;) {
    ssize_t n = read(fd, self->request + used, sizeof self->request - 1 - used);
    if (n <= 0) return;
    used += (size_t)n;
    self->request[used] = '\0';
    const char *body = strstr(self->request, "\r\n\r\n");
    const char *length = strstr(self->request, "Content-Length: ");
    if (body == NULL) continue;
    size_t wanted = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
    if (used >= (size_t)(body + 4 - self->request) + wanted) return;
  }
}

static void *serve(void *ctx) {
  server *self = ctx;
  for (int i = 0; i < self->requests; i++) {
    int fd = accept(self->fd, NULL, NULL);
    if (fd < 0) return NULL;
    read_request(self, fd);
    ssize_t sent = send(fd, self->answer, strlen(self->answer), MSG_NOSIGNAL);
    char byte;
    if (self->hold && sent > 0) self->client_left = read(fd, &byte, 1) == 0;
    close(fd);
  }
  return NULL;
}

static void begin(server *self, const char *answer, int requests) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  self->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(self->fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(self->fd, 16), 0);
  assert_int_equal(getsockname(self->fd, (struct sockaddr *)&address, &length), 0);
  snprintf(self->address, sizeof self->address, "http://127.0.0.1:%d", ntohs(address.sin_port));
  self->answer = answer;
  self->requests = requests;
  assert_int_equal(pthread_create(&self->thread, NULL, serve, self), 0);
}

static void end(server *self) {
  pthread_join(self->thread, NULL);
  close(self->fd);
}

static void test_json_answer(void **state) {
  (void)state;
  server own = {.fd = -1};
  begin(&own, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 12}", 1);
  rh_client *client;
  rh_error error = {0};
  json_t *root = NULL;
  assert_int_equal(rh_client_new(own.address, &client, &error), RH_OK);
  assert_int_equal(rh_client_get_json(client, "/x", 5000, &root, &error), RH_OK);
  assert_int_equal(json_integer_value(json_object_get(root, "a")), 12);
  assert_int_equal(strncmp(own.request, "GET /x HTTP/1.1\r\n", 17), 0);
  json_decref(root);
  rh_client_free(client);
  end(&own);
}

static rh_status get(const char *answer, rh_error *error) {
  server own = {.fd = -1};
  begin(&own, answer, 1);
  rh_client *client;
  json_t *root = NULL;
  assert_int_equal(rh_client_new(own.address, &client, error), RH_OK);
  rh_status status = rh_client_get_json(client, "/x", 5000, &root, error);
  assert_true(status == RH_OK || root == NULL);
  json_decref(root);
  rh_client_free(client);
  end(&own);
  return status;
}

static void test_error_answers(void **state) {
  (void)state;
  rh_error error = {0};
  assert_int_equal(
      get("HTTP/1.1 404 X\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"no such model\"}}", &error),
      RH_NOT_FOUND);
  assert_string_equal(error.message, "no such model");
  assert_int_equal(get("HTTP/1.1 429 X\r\nConnection: close\r\n\r\n{\"error\":\"full\"}", &error), RH_QUEUE_FULL);
  assert_string_equal(error.message, "full");
  assert_int_equal(get("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", &error), RH_INTERNAL);
  assert_non_null(strstr(error.message, "500"));
  assert_int_equal(get("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>", &error), RH_PROTOCOL);
  assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", &error), RH_UNAVAILABLE);
}

static void test_no_server(void **state) {
  (void)state;
  server own = {.fd = -1};
  begin(&own, "", 0);
  end(&own);  // its port is free again, so nobody listens there
  rh_client *client;
  rh_error error = {0};
  json_t *root = NULL;
  assert_int_equal(rh_client_new(own.address, &client, &error), RH_OK);
  assert_int_equal(rh_client_get_json(client, "/x", 5000, &root, &error), RH_IO);
  assert_non_null(strstr(error.message, "roundhouse serve"));
  rh_client_free(client);
}

static rh_status collect(void *ctx, const char *words, rh_error *error) {
  (void)error;
  strcat(ctx, words);
  return RH_OK;
}

static rh_status stream(server *own, char *words, rh_answer *answer, rh_error *error) {
  rh_client *client;
  json_t *body = json_pack("{ss}", "model", "m");
  words[0] = '\0';
  assert_int_equal(rh_client_new(own->address, &client, error), RH_OK);
  rh_answer_init(answer);
  rh_status status = rh_answer_stream(client, "/v1/completions", body, collect, words, answer, error);
  json_decref(body);
  rh_client_free(client);
  return status;
}

static void test_streamed_answer(void **state) {
  (void)state;
  server own = {.fd = -1};
  char words[64];
  rh_answer answer;
  rh_error error = {0};
  begin(&own,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n: ping\n\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\n"
        "data: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n",
        1);
  assert_int_equal(stream(&own, words, &answer, &error), RH_OK);
  assert_string_equal(words, "ab");
  assert_non_null(strstr(own.request, "\"stream\":true"));
  assert_non_null(strstr(own.request, "\"include_usage\":true"));
  assert_null(strstr(own.request, "Expect:"));
  rh_answer_free(&answer);
  end(&own);
}

static void test_stream_without_its_end(void **state) {
  (void)state;
  server own = {.fd = -1};
  char words[64];
  rh_answer answer;
  rh_error error = {0};
  begin(&own, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\n", 1);
  assert_int_equal(stream(&own, words, &answer, &error), RH_UNAVAILABLE);
  assert_string_equal(rh_dynbuf_data(&answer.text), "a");
  rh_answer_free(&answer);
  end(&own);
}

static rh_status interrupt_at_first_words(void *ctx, const char *words, rh_error *error) {
  (void)ctx;
  (void)words;
  (void)error;
  raise(SIGINT);
  return RH_OK;
}

// Ctrl-C must close the connection at once: that is what tells the server to stop.
static void test_interrupt_closes_the_connection(void **state) {
  (void)state;
  server own = {.fd = -1, .hold = true};
  rh_answer answer;
  rh_error error = {0};
  rh_client *client;
  assert_true(rh_interrupt_install());
  rh_interrupt_clear();
  begin(&own, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\n", 1);
  json_t *body = json_pack("{ss}", "model", "m");
  assert_int_equal(rh_client_new(own.address, &client, &error), RH_OK);
  rh_answer_init(&answer);
  assert_int_equal(rh_answer_stream(client, "/x", body, interrupt_at_first_words, NULL, &answer, &error), RH_CANCELLED);
  end(&own);
  assert_true(own.client_left);
  assert_string_equal(rh_dynbuf_data(&answer.text), "a");
  rh_interrupt_clear();
  assert_int_equal(rh_interrupt_count(), 0);
  rh_answer_free(&answer);
  json_decref(body);
  rh_client_free(client);
}

static void test_bench_level(void **state) {
  (void)state;
  server own = {.fd = -1};
  begin(&own,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\n"
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
        5);
  rh_bench_sample samples[5];
  rh_bench_level level = {.concurrency = 2, .requests = 5, .samples = samples};
  rh_bench_plan plan = {.server = own.address, .model = "m", .prompt_words = 3, .max_tokens = 2};
  rh_error error = {0};
  assert_int_equal(rh_bench_run_level(&plan, &level, &error), RH_OK);
  assert_int_equal(level.sample_count, 5);
  assert_int_equal(level.errors, 0);
  assert_int_equal(samples[4].tokens, 2);
  assert_true(samples[0].first_s <= samples[0].total_s);
  assert_non_null(strstr(own.request, "\"ignore_eos\":true"));
  end(&own);
}

static void test_bench_counts_errors(void **state) {
  (void)state;
  server own = {.fd = -1};
  begin(&own, "HTTP/1.1 503 X\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"busy\"}}", 3);
  rh_bench_sample samples[3];
  rh_bench_level level = {.concurrency = 3, .requests = 3, .samples = samples};
  rh_bench_plan plan = {.server = own.address, .model = "m", .prompt_words = 3, .max_tokens = 2};
  rh_error error = {0};
  assert_int_equal(rh_bench_run_level(&plan, &level, &error), RH_OK);
  assert_int_equal(level.sample_count, 0);
  assert_int_equal(level.errors, 3);
  assert_string_equal(level.first_error, "busy");
  end(&own);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_json_answer),
      cmocka_unit_test(test_error_answers),
      cmocka_unit_test(test_no_server),
      cmocka_unit_test(test_streamed_answer),
      cmocka_unit_test(test_stream_without_its_end),
      cmocka_unit_test(test_interrupt_closes_the_connection),
      cmocka_unit_test(test_bench_level),
      cmocka_unit_test(test_bench_counts_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
