// SPDX-License-Identifier: Apache-2.0
//
// The Redis client against servers that are wrong, away or slow, and what the log says about it. A real server for
// passwords; a socket that says what it is told for what no real one does.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "redis_fixture.h"

#define PATIENT_NS (20 * RH_NS_PER_S)

static int log_fd;

static int in_log(const char *text) {
  static char content[256 * 1024];
  ssize_t got = pread(log_fd, content, sizeof content - 1, 0);
  content[got > 0 ? got : 0] = '\0';
  int count = 0;
  for (const char *at = content; (at = strstr(at, text)) != NULL; at++) count++;
  return count;
}

static int open_log(void **state) {
  (void)state;
  log_fd = memfd_create("log", MFD_CLOEXEC);
  rh_log_setup(log_fd, RH_LOG_DEBUG, RH_LOG_JSON);
  return log_fd < 0;
}

static int close_log(void **state) {
  (void)state;
  return close(log_fd);
}

static const char *wanted_text;
static bool is_logged(void *ctx) {
  (void)ctx;
  return in_log(wanted_text) > 0;
}
static bool wait_log(rh_loop *loop, const char *text) {
  wanted_text = text;
  return rh_run_until(loop, is_logged, NULL);
}

// A server on loopback that answers each read with the next of its lines; the last one again and again.
typedef struct parrot {
  rh_loop *loop;
  rh_watch door, guest;
  const char *const *lines;  // NULL ends; "" = hang up
  size_t at;
  rh_timer slow;
  uint64_t delay_ns;
  unsigned guests;
  char url[96];
} parrot;

static void hang_up(parrot *p) {
  rh_loop_unwatch(p->loop, &p->guest);
  if (p->guest.fd >= 0) (void)close(p->guest.fd);
  p->guest.fd = -1;
}

static void speak(void *ctx) {
  parrot *p = ctx;
  const char *line = p->lines[p->at];
  if (p->lines[p->at + 1] != NULL) p->at++;
  if (line[0] == '\0')
    hang_up(p);
  else if (p->guest.fd >= 0)
    (void)send(p->guest.fd, line, strlen(line), MSG_NOSIGNAL);
  if (rh_text_ends_with(line, "\r")) hang_up(p);  // in the middle of an answer
}

static void on_guest(void *ctx, uint32_t events) {
  (void)events;
  parrot *p = ctx;
  char bytes[4096];
  if (recv(p->guest.fd, bytes, sizeof bytes, 0) <= 0)
    hang_up(p);
  else if (p->delay_ns > 0)
    rh_loop_timer_set(p->loop, &p->slow, p->delay_ns);
  else
    speak(p);
}

static void on_door(void *ctx, uint32_t events) {
  (void)events;
  parrot *p = ctx;
  hang_up(p);
  p->guest = (rh_watch){.fd = accept4(p->door.fd, NULL, NULL, SOCK_CLOEXEC), .fn = on_guest, .ctx = p};
  assert_true(p->guest.fd >= 0);
  p->guests++;
  assert_int_equal(rh_loop_watch(p->loop, &p->guest, EPOLLIN), RH_OK);
}

static void open_parrot(parrot *p, rh_loop *loop, const char *host, const char *const *lines) {
  *p = (parrot){.loop = loop, .lines = lines, .guest.fd = -1};
  p->slow = (rh_timer){.fn = speak, .ctx = p};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(fd, 8), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
  (void)snprintf(p->url, sizeof p->url, "redis://me:hunter2@%s:%d", host, ntohs(address.sin_port));
  p->door = (rh_watch){.fd = fd, .fn = on_door, .ctx = p};
  assert_int_equal(rh_loop_watch(loop, &p->door, EPOLLIN), RH_OK);
}

static void close_parrot(parrot *p) {
  hang_up(p);
  rh_loop_timer_cancel(p->loop, &p->slow);
  rh_loop_unwatch(p->loop, &p->door);
  (void)close(p->door.fd);
}

static bool came_often(void *ctx) { return ((const parrot *)ctx)->guests >= 4; }

static void nobody(void *ctx, rh_status status, const rh_redis_reply *reply) {
  (void)status;
  (void)reply;
  (*(unsigned *)ctx)++;
}

// What a wrong server says, and a word of what the log then says, once.
static void wrong_server(const char *const *lines, const char *reason) {
  rh_loop *loop = rh_loop_new();
  parrot p;
  open_parrot(&p, loop, "127.0.0.1", lines);
  rh_redis *redis = rh_redis_fixture_client(loop, p.url, PATIENT_NS);
  assert_true(rh_run_until(loop, came_often, &p));
  assert_false(rh_redis_connected(redis));
  const char *args[] = {"PING"};
  unsigned calls = 0;
  assert_int_equal(rh_redis_command(redis, 1, args, NULL, nobody, &calls, NULL), RH_UNAVAILABLE);
  assert_int_equal(calls, 0);
  if (in_log("Redis is not used") != 1 || in_log(reason) != 1) fail_msg("the log does not say '%s' once", reason);
  assert_int_equal(in_log("hunter2"), 0);
  assert_int_equal(in_log("Redis is used"), 0);
  rh_redis_free(redis);
  close_parrot(&p);
  rh_loop_free(loop);
}

#define WRONG(name, reason, ...)                     \
  static void name(void **state) {                   \
    (void)state;                                     \
    const char *const lines[] = {__VA_ARGS__, NULL}; \
    wrong_server(lines, reason);                     \
  }

WRONG(test_http_server, "does not speak Redis' protocol", "HTTP/1.1 400 Bad Request\r\n\r\n")
WRONG(test_binary_garbage, "does not speak Redis' protocol", "\x15\x03\x01\x02\x02\xff\xfe")
WRONG(test_impossible_length, "does not speak Redis' protocol", "$-7\r\n")
WRONG(test_hang_up, "closed the connection", "")
WRONG(test_half_an_answer, "closed the connection", "+OK\r")
WRONG(test_too_many_clients, "max number of clients", "-ERR max number of clients reached\r\n")
WRONG(test_loading, "LOADING", "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n")
// Redis repeats the words of a command it does not know.
WRONG(test_password_is_repeated, "may repeat the password",
      "-ERR unknown command 'AUTH', with args beginning with: 'me' 'hunter2'\r\n")
WRONG(test_wrong_password_by_parrot, "WRONGPASS", "-WRONGPASS invalid username-password pair or user is disabled.\r\n")

static void test_said_without_being_asked(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  const char *const lines[] = {"+OK\r\n+PONG\r\n", "+one\r\n+two\r\n", NULL};
  parrot p;
  open_parrot(&p, loop, "127.0.0.1", lines);
  rh_redis *redis = rh_redis_fixture_client(loop, p.url, PATIENT_NS);
  assert_true(rh_redis_fixture_wait_up(loop, redis));
  unsigned calls = 0;
  const char *args[] = {"GET", "x"};
  assert_int_equal(rh_redis_command(redis, 2, args, NULL, nobody, &calls, NULL), RH_OK);
  assert_true(rh_redis_fixture_wait_down(loop, redis));
  assert_int_equal(calls, 1);
  assert_int_equal(in_log("nobody asked for"), 1);
  rh_redis_free(redis);
  close_parrot(&p);
  rh_loop_free(loop);
}

static void test_slow_server_is_not_used_until_it_is_fast(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  const char *const lines[] = {"+OK\r\n+PONG\r\n", "+PONG\r\n", NULL};
  parrot p;
  open_parrot(&p, loop, "127.0.0.1", lines);
  uint64_t limit_ns = rh_scaled_ns(10 * RH_NS_PER_MS);
  p.delay_ns = 3 * limit_ns;
  rh_redis *redis = rh_redis_fixture_client(loop, p.url, limit_ns);
  assert_true(wait_log(loop, "it answered PING after"));
  assert_false(rh_redis_connected(redis));
  p.delay_ns = 0;
  assert_true(rh_redis_fixture_wait_up(loop, redis));
  assert_int_equal(p.guests, 1);  // over the same connection
  assert_int_equal(in_log("Redis is not used"), 1);
  assert_int_equal(in_log("Redis is used"), 1);
  rh_redis_free(redis);
  close_parrot(&p);
  rh_loop_free(loop);
}

static void test_names_are_resolved_beside_the_loop(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  const char *const lines[] = {"+OK\r\n+PONG\r\n", NULL};
  parrot p;
  open_parrot(&p, loop, "localhost", lines);
  rh_redis *redis = rh_redis_fixture_client(loop, p.url, PATIENT_NS);
  assert_true(rh_redis_fixture_wait_up(loop, redis));
  rh_redis_free(redis);
  close_parrot(&p);
  // Gone while the thread still works.
  for (int i = 0; i < 20; i++) rh_redis_free(rh_redis_fixture_client(loop, "redis://localhost:1", PATIENT_NS));
  rh_loop_free(loop);
}

static void test_unknown_name(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  // No name server has to be asked about this one.
  rh_redis *redis = rh_redis_fixture_client(loop, "redis://:hunter2@no..such..host:6379", PATIENT_NS);
  assert_true(wait_log(loop, "cannot be resolved"));
  assert_int_equal(in_log("no..such..host:6379"), 1);
  assert_int_equal(in_log("hunter2"), 0);
  rh_redis_free(redis);
  rh_loop_free(loop);
}

static void test_nobody_listens(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  rh_redis *tcp = rh_redis_fixture_client(loop, "redis://127.0.0.1:1", PATIENT_NS);
  assert_true(wait_log(loop, "Connection refused"));
  rh_redis_free(tcp);
  rh_redis *path = rh_redis_fixture_client(loop, "unix:///nowhere/at/all", PATIENT_NS);
  assert_true(wait_log(loop, "No such file"));
  rh_redis_free(path);
  rh_loop_free(loop);
}

static void test_an_address_that_swallows_packets_does_not_block(void **state) {
  (void)state;
  rh_loop *loop = rh_loop_new();
  uint64_t begin_ns = rh_clock_now_ns();
  rh_redis *redis = rh_redis_fixture_client(loop, "redis://192.0.2.1:6379", PATIENT_NS);  // for documentation only
  const char *args[] = {"PING"};
  assert_int_equal(rh_redis_command(redis, 1, args, NULL, NULL, NULL, NULL), RH_UNAVAILABLE);
  assert_true(rh_clock_now_ns() - begin_ns < rh_scaled_ns(500 * RH_NS_PER_MS));
  rh_redis_free(redis);
  rh_loop_free(loop);
}

// Passwords of a real server.

static void refused_by_real_server(const char *userinfo, const char *reason) {
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "right");
  rh_loop *loop = rh_loop_new();
  char url[256];
  (void)snprintf(url, sizeof url, "unix://%s%s", userinfo, server.path);
  rh_redis *redis = rh_redis_fixture_client(loop, url, PATIENT_NS);
  assert_true(wait_log(loop, reason));
  assert_false(rh_redis_connected(redis));
  assert_int_equal(in_log("hunter2"), 0);
  rh_redis_free(redis);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_wrong_password(void **state) {
  (void)state;
  refused_by_real_server(":hunter2@", "WRONGPASS");
}

static void test_no_password(void **state) {
  (void)state;
  refused_by_real_server("", "NOAUTH");
}

static void test_wrong_user(void **state) {
  (void)state;
  refused_by_real_server("me:hunter2@", "WRONGPASS");
}

static void test_a_database_that_does_not_exist(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  char url[256];
  (void)snprintf(url, sizeof url, "%s?db=99", server.url);
  rh_redis *redis = rh_redis_fixture_client(loop, url, PATIENT_NS);
  assert_true(wait_log(loop, "the database of the URL"));
  rh_redis_free(redis);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

static void test_one_line_when_it_goes_and_one_when_it_is_back(void **state) {
  (void)state;
  rh_redis_fixture server;
  rh_redis_fixture_init(&server, "");
  rh_loop *loop = rh_loop_new();
  rh_redis *redis = rh_redis_fixture_client(loop, server.url, PATIENT_NS);
  assert_true(rh_redis_fixture_wait_up(loop, redis));
  for (int i = 1; i <= 3; i++) {
    unsigned calls = 0;
    const char *args[] = {"PING"};
    rh_redis_fixture_kill(&server);
    for (int n = 0; n < 100; n++) {
      rh_status status = rh_redis_command(redis, 1, args, NULL, nobody, &calls, NULL);
      assert_true(status == RH_OK || status == RH_UNAVAILABLE);
    }
    assert_true(rh_redis_fixture_wait_down(loop, redis));
    rh_redis_fixture_start(&server);
    assert_true(rh_redis_fixture_wait_up(loop, redis));
    assert_int_equal(in_log("Redis is not used"), i);
    assert_int_equal(in_log("Redis is used"), i + 1);
    assert_int_equal(rh_redis_get_counts(redis)->reconnects, i);
  }
  rh_redis_free(redis);
  rh_loop_free(loop);
  rh_redis_fixture_end(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_log, close_log)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_http_server),
      TEST(test_binary_garbage),
      TEST(test_impossible_length),
      TEST(test_hang_up),
      TEST(test_half_an_answer),
      TEST(test_too_many_clients),
      TEST(test_loading),
      TEST(test_password_is_repeated),
      TEST(test_wrong_password_by_parrot),
      TEST(test_said_without_being_asked),
      TEST(test_slow_server_is_not_used_until_it_is_fast),
      TEST(test_names_are_resolved_beside_the_loop),
      TEST(test_unknown_name),
      TEST(test_nobody_listens),
      TEST(test_an_address_that_swallows_packets_does_not_block),
      TEST(test_wrong_password),
      TEST(test_no_password),
      TEST(test_wrong_user),
      TEST(test_a_database_that_does_not_exist),
      TEST(test_one_line_when_it_goes_and_one_when_it_is_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
