// SPDX-License-Identifier: Apache-2.0
#include "provider_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

// --- the ways an answer goes wrong -------------------------------------------------------------------------------------------

static bool bad_answers(server *self, int fd, unsigned number) {
  switch (number) {
    case 1: send_answer(fd, "200 OK", "Content-Type: text/html\r\n", "<html>END\n</html>"); return false;
    case 2: send_answer(fd, "302 Found", "Location: http://127.0.0.1:1/\r\n", ""); return true;
    case 3: send_answer(fd, "200 OK", "Content-Type: text/event-stream\r\n", ""); return true;
    case 4: send_text(fd, STREAM_HEAD "Content-Length: 100\r\n\r\none\n"); return false;
    case 5: return false;
    case 6: send_answer(fd, "200 OK", "Content-Type: text/event-stream\r\n", "one\nBAD\n"); return true;
    case 7:
      send_answer(fd, "400 Bad Request", "Content-Type: application/json\r\n",
                  "no such field; your key sk-very-secret is fine");
      return true;
    case 8:
      send_text(fd, "HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n");
      for (unsigned i = 0; i < 1000; i++)
        send_text(fd, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
      wait_left(self, fd);
      return false;
    case 9: send_text(fd, "this is no HTTP at all\r\n\r\n"); return false;
    case 10:
      // Complete in itself, though the connection breaks: nothing is missing.
      send_text(fd, STREAM_HEAD "Content-Length: 100\r\n\r\none\nEND\n");
      return false;
    case 11:
      // The final event is out, and the server goes on and on.
      send_text(fd, STREAM_HEAD "\r\none\nEND\n");
      while (send(fd, "more\n", 5, MSG_NOSIGNAL) > 0) continue;
      self->left++;
      return false;
    default: send_answer(fd, "204 No Content", "", ""); return true;
  }
}

static void expect_error(bench *b, rh_status status, const char *words) {
  watcher w = {.options.stream = true};
  watcher_begin(b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.errors, 1);
  assert_int_equal(w.error.status, status);
  if (strstr(w.error.message, words) == NULL) fail_msg("%s", w.error.message);
  assert_null(strstr(w.error.message, "very-secret"));
}

static void expect_end(bench *b) {
  watcher w = {.options.stream = true};
  watcher_begin(b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.ends, 1);
}

static void test_bad_answers(void **state) {
  (void)state;
  bench b;
  bench_start(&b, bad_answers, NULL);
  expect_error(&b, RH_UPSTREAM, "text/html");
  expect_error(&b, RH_UPSTREAM, "Redirects are not followed");
  expect_error(&b, RH_UPSTREAM, "cut short");
  expect_error(&b, RH_UPSTREAM, "broke in the middle of its answer");
  expect_error(&b, RH_UPSTREAM, "without an answer");
  expect_error(&b, RH_UPSTREAM, "the key is [hidden]");
  expect_error(&b, RH_INVALID, "your key [hidden] is fine");
  expect_error(&b, RH_UPSTREAM, "answered 500: xxxx");
  expect_error(&b, RH_UPSTREAM, "provider \"test\"");
  expect_end(&b);
  expect_end(&b);
  assert_true(rh_run_until(b.loop, count_reached, &b.server.left));
  expect_error(&b, RH_UPSTREAM, "cut short");
  assert_int_equal(rh_provider_running(b.provider), 0);
  bench_stop(&b);
}

static void test_nobody_listens(void **state) {
  (void)state;
  bench b;
  bench_start(&b, bad_answers, NULL);
  rh_providers_free(b.providers);
  unsigned port;
  (void)close(listen_on_loopback(1, &port));
  (void)snprintf(b.url, sizeof b.url, "http://127.0.0.1:%u/v1", port);
  bench_open(&b);
  expect_error(&b, RH_UPSTREAM, "no connection");
  bench_stop(&b);
}

// --- retries -----------------------------------------------------------------------------------------------------------------

static bool fails_twice(server *self, int fd, unsigned number) {
  (void)self;
  if (number % 3 == 1) return false;
  if (number % 3 == 2) {
    send_answer(fd, "502 Bad Gateway", "", "later");
    return true;
  }
  send_answer(fd, "200 OK", "", "one\nEND\n");
  return true;
}

static bool fails_always(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "500 X", "", "never");
  return true;
}

static bool cuts_after_a_line(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_text(fd, STREAM_HEAD "Content-Length: 100\r\n\r\none\n");
  return false;
}

static bool refuses(server *self, int fd, unsigned number) {
  (void)self, (void)number;
  send_answer(fd, "400 X", "", "no");
  return true;
}

static void retry_twice(rh_provider_spec *spec) { spec->retries_max = 2; }

static void retry_slowly(rh_provider_spec *spec) {
  spec->retries_max = 2;
  spec->retry_delay_ns = 20 * RH_NS_PER_S;
}

static void test_retries(void **state) {
  (void)state;
  bench b;
  bench_start(&b, fails_twice, retry_twice);
  expect_end(&b);
  assert_int_equal(b.server.requests, 3);
  expect_end(&b);
  assert_int_equal(b.server.requests, 6);
  bench_stop(&b);
  bench_start(&b, fails_always, retry_twice);
  expect_error(&b, RH_UPSTREAM, "answered 500: never");
  assert_int_equal(b.server.requests, 3);
  bench_stop(&b);
  bench_start(&b, cuts_after_a_line, retry_twice);
  expect_error(&b, RH_UPSTREAM, "broke in the middle");  // something was passed on: no second attempt
  assert_int_equal(b.server.requests, 1);
  bench_stop(&b);
  bench_start(&b, refuses, retry_twice);
  expect_error(&b, RH_INVALID, "answered 400");
  assert_int_equal(b.server.requests, 1);
  bench_stop(&b);
}

static void test_no_retry_beyond_the_deadline(void **state) {
  (void)state;
  bench b;
  bench_start(&b, fails_always, retry_slowly);
  watcher w = {.options.deadline_ns = rh_clock_now_ns() + 5 * RH_NS_PER_S};
  watcher_begin(&b, &w, "m");
  run_to_end(&w);
  assert_int_equal(w.error.status, RH_UPSTREAM);
  assert_int_equal(b.server.requests, 1);
  // One that waits for its second attempt can be cancelled.
  watcher waits = {0};
  watcher_begin(&b, &waits, "m");
  b.server.requests = 0;
  assert_true(rh_run_until(b.loop, count_reached, &b.server.requests));
  rh_provider_run_cancel(waits.handle);
  assert_int_equal(rh_provider_running(b.provider), 0);
  bench_stop(&b);
}

// --- Retry-After ---------------------------------------------------------------------------------------------------------------

static void test_retry_after_is_read(void **state) {
  (void)state;
  assert_int_equal(rh_retry_after_ms("Retry-After", "2", 0), 2000);
  assert_int_equal(rh_retry_after_ms("retry-after", "0.5", 0), 500);
  assert_int_equal(rh_retry_after_ms("Retry-After-Ms", "150", 0), 150);
  assert_int_equal(rh_retry_after_ms("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 3), 3000);
  assert_int_equal(rh_retry_after_ms("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 3), 0);
  assert_int_equal(rh_retry_after_ms("Retry-After", "99999999999", 0), RH_PROVIDER_RETRY_AFTER_MS_MAX);
  assert_int_equal(rh_retry_after_ms("Retry-After", "inf", 0), RH_PROVIDER_RETRY_AFTER_MS_MAX);
  assert_int_equal(rh_retry_after_ms("Retry-After", "nan", 0), 0);
  assert_int_equal(rh_retry_after_ms("Retry-After", "-5", 0), 0);
  assert_int_equal(rh_retry_after_ms("Retry-After", "soon", 0), 0);
  assert_int_equal(rh_retry_after_ms("Retry-After-Ms", "", 0), 0);
  assert_int_equal(rh_retry_after_ms("Retry-Afternoon", "2", 0), 0);
}

static bool limits(server *self, int fd, unsigned number) {
  if (number > 1) {
    send_answer(fd, "200 OK", "", "one\nEND\n");
    return true;
  }
  wait_go(self);
  send_answer(fd, "429 Too Many Requests", "retry-after-ms: 300\r\nRetry-After: 1\r\n", "slow down");
  return true;
}

static void one_at_once(rh_provider_spec *spec) { spec->concurrency_max = 1; }

static bool rested(void *ctx) { return rh_provider_resting_until_ns(ctx) == 0; }

static void begin_refused(watcher *w, const rh_event *event) {
  if (!rh_event_is_final(event)) return;
  watcher *other = w->hook_ctx;
  assert_int_equal(watcher_try(w->owner, other, "m"), RH_LIMITED);
}

static void test_a_provider_rests(void **state) {
  (void)state;
  bench b;
  bench_start(&b, limits, one_at_once);
  watcher next = {0}, queued = {0};
  watcher w = {.hook = begin_refused, .hook_ctx = &next};
  watcher_begin(&b, &w, "m");
  watcher_begin(&b, &queued, "m");
  b.server.go = true;
  run_to_end(&w);
  run_to_end(&queued);
  assert_int_equal(w.error.status, RH_LIMITED);
  assert_int_equal(w.error.retry_after_ms, 300);
  assert_int_equal(queued.error.status, RH_LIMITED);
  assert_true(next.error.retry_after_ms > 0 && next.error.retry_after_ms <= 301);
  assert_true(rh_run_until(b.loop, rested, b.provider));
  expect_end(&b);
  assert_int_equal(b.server.requests, 2);
  bench_stop(&b);
}

// --- TLS -----------------------------------------------------------------------------------------------------------------------

// A server with a self-signed certificate of its own, in Python; it writes its port.
static const char tls_server[] =
    "import http.server, ssl, subprocess, sys\n"
    "subprocess.run(['openssl','req','-x509','-newkey','rsa:2048','-nodes','-days','2','-subj','/"
    "CN=localhost','-addext',\n"
    " 'subjectAltName=IP:127.0.0.1','-keyout','key.pem','-out','crt.pem'], check=True, capture_output=True)\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "  def do_POST(self):\n"
    "    self.rfile.read(int(self.headers['Content-Length']))\n"
    "    self.send_response(200); self.send_header('Content-Length', '4'); self.end_headers()\n"
    "    self.wfile.write(b'END\\n')\n"
    "  def log_message(self, *_): pass\n"
    "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
    "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('crt.pem', 'key.pem')\n"
    "s.socket = c.wrap_socket(s.socket, server_side=True)\n"
    "print(s.server_port, flush=True)\n"
    "s.serve_forever()\n";

static pid_t start_tls_server(const char *folder, unsigned *port) {
  int pipes[2];
  assert_int_equal(pipe(pipes), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    if (chdir(folder) != 0 || dup2(pipes[1], STDOUT_FILENO) < 0) _exit(1);
    execlp("python3", "python3", "-c", tls_server, (char *)NULL);
    _exit(1);
  }
  (void)close(pipes[1]);
  char text[32] = {0};
  assert_true(read(pipes[0], text, sizeof text - 1) > 0);
  (void)close(pipes[0]);
  *port = (unsigned)strtoul(text, NULL, 10);
  return pid;
}

static void test_certificates_are_checked(void **state) {
  (void)state;
  char folder[] = "/tmp/rh-provider-XXXXXX", file[64], key_file[64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(file, sizeof file, "%s/crt.pem", folder);
  (void)snprintf(key_file, sizeof key_file, "%s/key.pem", folder);
  unsigned port;
  pid_t pid = start_tls_server(folder, &port);
  bench b;
  bench_start(&b, refuses, NULL);
  rh_providers_free(b.providers);
  (void)snprintf(b.url, sizeof b.url, "https://127.0.0.1:%u/v1", port);
  bench_open(&b);
  expect_error(&b, RH_UPSTREAM, "certificate is not trusted");
  rh_providers_free(b.providers);
  b.spec.ca_file = file;
  bench_open(&b);
  expect_end(&b);
  rh_providers_free(b.providers);
  (void)snprintf(b.url, sizeof b.url, "https://localhost:%u/v1", port);  // not a name of the certificate
  bench_open(&b);
  expect_error(&b, RH_UPSTREAM, "certificate is not trusted");
  rh_providers_free(b.providers);
  b.spec.ca_file = key_file;
  bench_open(&b);
  expect_error(&b, RH_UPSTREAM, "trusted certificates cannot be read");
  bench_stop(&b);
  assert_int_equal(kill(pid, SIGTERM), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_true(unlink(file) == 0 && unlink(key_file) == 0 && rmdir(folder) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bad_answers),
      cmocka_unit_test(test_nobody_listens),
      cmocka_unit_test(test_retries),
      cmocka_unit_test(test_no_retry_beyond_the_deadline),
      cmocka_unit_test(test_retry_after_is_read),
      cmocka_unit_test(test_a_provider_rests),
      cmocka_unit_test(test_certificates_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
