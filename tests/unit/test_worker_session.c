// SPDX-License-Identifier: Apache-2.0
//
// A whole worker session over a socket pair, spoken to in frames as the daemon does. Where the process itself must end
// (crash, stuck engine) the session runs in a child process, otherwise in a thread, so that sanitizers see both
// threads.
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "wire/message.h"
#include "worker/session.h"

#define TIMEOUT_MS 20000

typedef struct peer {
  int fd;  // the daemon's end
  int worker_fd;
  pthread_t thread;
  rh_session *session;
  pid_t pid;  // 0 = in a thread
  rh_worker_exit code;
  rh_dynbuf in;
  size_t consumed;  // of `in` by the frame handed out last
  rh_arena *arena;
} peer;

static void *serve(void *argument) {
  peer *p = argument;
  p->code = rh_session_loop(p->session);
  return NULL;
}

static void open_peer(peer *p, bool process) {
  *p = (peer){0};
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  p->fd = pair[0];
  p->worker_fd = pair[1];
  rh_dynbuf_init(&p->in, 1 << 24);
  p->arena = rh_arena_new(1 << 24);
  rh_error error = {0};
  if (!process) {
    assert_int_equal(rh_session_new(p->worker_fd, &p->session, &error), RH_OK);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
    return;
  }
  fflush(NULL);
  p->pid = fork();
  assert_true(p->pid >= 0);
  if (p->pid == 0) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGABRT, SIG_DFL);
    close(p->fd);
    if (rh_session_new(p->worker_fd, &p->session, &error) != RH_OK) _exit(99);
    _exit((int)rh_session_loop(p->session));
  }
  close(p->worker_fd);
}

static void close_daemon_end(peer *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
}

// Waits for the worker's end; its exit code, or 128 + the signal.
static int join(peer *p) {
  int code = 0;
  if (p->pid > 0) {
    int status = 0;
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  } else {
    pthread_join(p->thread, NULL);
    rh_session_free(p->session);
    close(p->worker_fd);
    code = (int)p->code;
  }
  close_daemon_end(p);
  rh_dynbuf_free(&p->in);
  rh_arena_free(p->arena);
  return code;
}

static void send_bytes(peer *p, rh_dynbuf *out) {
  while (out->length > 0) {
    ssize_t sent = send(p->fd, rh_dynbuf_data(out), out->length, MSG_NOSIGNAL);
    assert_true(sent > 0);
    rh_dynbuf_consume(out, (size_t)sent);
  }
  rh_dynbuf_free(out);
}

static rh_dynbuf new_out(void) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, 1 << 24);
  return out;
}

static void send_plain(peer *p, rh_frame_type type, uint32_t stream) {
  rh_dynbuf out = new_out();
  assert_int_equal(rh_plain_write(&out, type, stream), RH_OK);
  send_bytes(p, &out);
}

static void send_load(peer *p, const char *engine, const char *path) {
  rh_dynbuf out = new_out();
  rh_load load = {.engine = engine, .path = path};
  assert_int_equal(rh_load_write(&out, &load), RH_OK);
  send_bytes(p, &out);
}

static void send_run(peer *p, uint32_t stream, const char *text, uint32_t credit) {
  rh_dynbuf out = new_out();
  rh_run run = {.task = RH_TASK_COMPLETE, .request_id = "req_test"};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = text, .count = strlen(text)};
  rh_generate_defaults(&run.generate);
  assert_int_equal(rh_run_write(&out, stream, &run, credit), RH_OK);
  send_bytes(p, &out);
}

static void send_credit(peer *p, uint32_t stream, uint32_t credit) {
  rh_dynbuf out = new_out();
  assert_int_equal(rh_credit_write(&out, stream, credit), RH_OK);
  send_bytes(p, &out);
}

// The next frame, valid until the next call. False at the end of the stream or when nothing comes in time.
static bool try_next(peer *p, rh_frame *frame, int timeout_ms) {
  rh_dynbuf_consume(&p->in, p->consumed);
  p->consumed = 0;
  for (;;) {
    rh_error error = {0};
    rh_status status = rh_frame_decode(rh_dynbuf_data(&p->in), p->in.length, frame, &p->consumed, &error);
    if (status == RH_OK) return true;
    if (status != RH_AGAIN) fail_msg("the worker sent a bad frame: %s", error.message);
    struct pollfd watch = {.fd = p->fd, .events = POLLIN};
    if (poll(&watch, 1, timeout_ms) <= 0) return false;
    char *room = rh_dynbuf_reserve(&p->in, 65536);
    assert_non_null(room);
    ssize_t got = recv(p->fd, room, 65536, 0);
    if (got <= 0) return false;
    rh_dynbuf_grow(&p->in, (size_t)got);
  }
}

// The next frame but STATS, which come when they like.
static void expect_frame(peer *p, rh_frame *frame, rh_frame_type type) {
  do {
    if (!try_next(p, frame, TIMEOUT_MS)) fail_msg("no %s frame came", rh_frame_type_name((uint8_t)type));
  } while (frame->type == RH_FRAME_STATS && type != RH_FRAME_STATS);
  if (frame->type != type) {
    fail_msg("%s came, %s was expected: %.*s", rh_frame_type_name(frame->type), rh_frame_type_name((uint8_t)type),
             (int)frame->json_length, frame->json);
  }
}

static rh_event expect_event(peer *p, uint32_t *stream) {
  rh_frame frame;
  expect_frame(p, &frame, RH_FRAME_EVENT);
  rh_event event;
  rh_error error = {0};
  assert_int_equal(rh_event_read(&frame, p->arena, &event, &error), RH_OK);
  *stream = frame.stream;
  return event;
}

static rh_event expect_kind(peer *p, uint32_t stream, rh_event_kind kind) {
  uint32_t got = 0;
  rh_event event = expect_event(p, &got);
  assert_int_equal(got, stream);
  assert_int_equal(event.kind, kind);
  return event;
}

// Nothing but STATS within `ms`.
static void expect_silence(peer *p, int ms) {
  rh_frame frame;
  uint64_t until = rh_clock_now_ns() + (uint64_t)ms * RH_NS_PER_MS;
  while (rh_clock_now_ns() < until && try_next(p, &frame, ms)) {
    if (frame.type != RH_FRAME_STATS) fail_msg("%s came unexpectedly", rh_frame_type_name(frame.type));
  }
}

static void expect_end_of_stream(peer *p) {
  rh_frame frame;
  while (try_next(p, &frame, TIMEOUT_MS)) assert_int_equal(frame.type, RH_FRAME_STATS);
}

static rh_model_info open_loaded(peer *p, const char *path, bool process) {
  open_peer(p, process);
  rh_frame frame;
  expect_frame(p, &frame, RH_FRAME_HELLO);
  rh_hello hello;
  rh_error error = {0};
  assert_int_equal(rh_hello_read(&frame, &hello, &error), RH_OK);
  assert_int_equal(hello.version, RH_WIRE_VERSION);
  assert_non_null(strstr(hello.engines, "fake"));
  assert_int_equal(hello.pid, process ? p->pid : getpid());
  send_load(p, "fake", path);
  do assert_true(try_next(p, &frame, TIMEOUT_MS));
  while (frame.type == RH_FRAME_LOAD_PROGRESS);
  assert_int_equal(frame.type, RH_FRAME_LOADED);
  rh_model_info info;
  assert_int_equal(rh_loaded_read(&frame, &info, &error), RH_OK);
  return info;
}

static void unload_and_join(peer *p) {
  send_plain(p, RH_FRAME_UNLOAD, 0);
  rh_frame frame;
  expect_frame(p, &frame, RH_FRAME_GOODBYE);
  assert_int_equal(join(p), RH_EXIT_OK);
}

static void test_one_run(void **state) {
  (void)state;
  peer p;
  rh_model_info info = open_loaded(&p, "fake:slots=3,context=77", false);
  assert_int_equal(info.slots, 3);
  assert_int_equal(info.context, 77);
  send_run(&p, 5, "one two", 64);
  rh_event start = expect_kind(&p, 5, RH_EVENT_START);
  assert_int_equal(start.as.start.prompt_tokens, 2);
  char text[256] = "";
  for (int i = 0; i < 8; i++) strcat(text, expect_kind(&p, 5, RH_EVENT_DELTA).as.delta.text);
  assert_string_equal(text, "This is the fake engine speaking; it repeats");
  assert_int_equal(expect_kind(&p, 5, RH_EVENT_USAGE).as.usage.completion_tokens, 8);
  assert_int_equal(expect_kind(&p, 5, RH_EVENT_END).as.end.finish, RH_FINISH_STOP);
  send_run(&p, 5, "the stream is free again", 64);
  (void)expect_kind(&p, 5, RH_EVENT_START);
  for (int i = 0; i < 8; i++) (void)expect_kind(&p, 5, RH_EVENT_DELTA);
  (void)expect_kind(&p, 5, RH_EVENT_USAGE);
  (void)expect_kind(&p, 5, RH_EVENT_END);
  unload_and_join(&p);
}

static void test_refused_runs_get_a_final_event(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:context=3", false);
  send_run(&p, 1, "a b c d", 64);
  rh_event event = expect_kind(&p, 1, RH_EVENT_ERROR);
  assert_int_equal(event.as.error.status, RH_CONTEXT_OVERFLOW);
  send_run(&p, 2, "[[nonsense=1]]", 64);
  assert_int_equal(expect_kind(&p, 2, RH_EVENT_ERROR).as.error.status, RH_INVALID);
  unload_and_join(&p);
}

static void test_failing_run_leaves_the_others(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", false);
  send_run(&p, 1, "[[fail_at=2]]", 64);
  send_run(&p, 2, "[[tokens=3 delay_ms=5]]", 64);
  int failed = 0, ended = 0;
  while (ended == 0) {
    uint32_t stream = 0;
    rh_event event = expect_event(&p, &stream);
    if (event.kind == RH_EVENT_ERROR) {
      assert_int_equal(stream, 1);
      assert_int_equal(event.as.error.status, RH_INTERNAL);
      failed++;
    }
    if (event.kind == RH_EVENT_END) {
      assert_int_equal(stream, 2);
      ended++;
    }
  }
  assert_int_equal(failed, 1);
  unload_and_join(&p);
}

static void test_credit_starves_and_resumes(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", false);
  send_run(&p, 9, "[[tokens=6]]", 2);
  (void)expect_kind(&p, 9, RH_EVENT_START);
  (void)expect_kind(&p, 9, RH_EVENT_DELTA);
  (void)expect_kind(&p, 9, RH_EVENT_DELTA);
  expect_silence(&p, 100);
  send_plain(&p, RH_FRAME_PING, 0);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_PONG);
  rh_worker_stats stats = {0};
  rh_error error = {0};
  assert_int_equal(rh_stats_read(&frame, &stats, &error), RH_OK);
  assert_int_equal(stats.active_runs, 1);
  assert_int_equal(stats.paused_runs, 1);
  assert_int_equal(stats.generated_tokens, 2);
  assert_true(stats.rss_bytes > 0);
  send_credit(&p, 9, 1);
  (void)expect_kind(&p, 9, RH_EVENT_DELTA);
  expect_silence(&p, 50);
  send_credit(&p, 1234, 5);  // an unknown stream is no error: it may have ended just now
  send_credit(&p, 9, 64);
  for (int i = 0; i < 3; i++) (void)expect_kind(&p, 9, RH_EVENT_DELTA);
  (void)expect_kind(&p, 9, RH_EVENT_USAGE);
  (void)expect_kind(&p, 9, RH_EVENT_END);
  unload_and_join(&p);
}

static void test_cancel_is_confirmed(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:slots=1", false);
  send_run(&p, 1, "[[end=0 delay_ms=2]]", 1000);
  send_run(&p, 2, "[[tokens=1]]", 10);  // no slot: waits
  send_run(&p, 3, "[[tokens=1]]", 10);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  (void)expect_kind(&p, 1, RH_EVENT_DELTA);
  send_plain(&p, RH_FRAME_CANCEL, 77);  // unknown: ignored
  send_plain(&p, RH_FRAME_CANCEL, 2);   // waiting
  for (uint32_t stream = 0; stream != 2;) {
    rh_event event = expect_event(&p, &stream);
    if (stream == 2) {
      assert_int_equal(event.kind, RH_EVENT_ERROR);
      assert_int_equal(event.as.error.status, RH_CANCELLED);
    }
  }
  send_plain(&p, RH_FRAME_CANCEL, 1);
  rh_event event;
  do {
    uint32_t stream = 0;
    event = expect_event(&p, &stream);
    assert_int_equal(stream, 1);
  } while (event.kind == RH_EVENT_DELTA);
  assert_int_equal(event.kind, RH_EVENT_ERROR);
  assert_int_equal(event.as.error.status, RH_CANCELLED);
  // The slot goes to the one that still waits.
  (void)expect_kind(&p, 3, RH_EVENT_START);
  (void)expect_kind(&p, 3, RH_EVENT_DELTA);
  (void)expect_kind(&p, 3, RH_EVENT_USAGE);
  (void)expect_kind(&p, 3, RH_EVENT_END);
  unload_and_join(&p);
}

static void test_cancel_of_a_paused_run(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:slots=1", false);
  send_run(&p, 1, "[[end=0]]", 1);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  (void)expect_kind(&p, 1, RH_EVENT_DELTA);
  send_plain(&p, RH_FRAME_CANCEL, 1);
  assert_int_equal(expect_kind(&p, 1, RH_EVENT_ERROR).as.error.status, RH_CANCELLED);
  unload_and_join(&p);
}

static void test_waiting_line_is_bounded(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:slots=1", false);
  send_run(&p, 1, "[[end=0]]", 1);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  (void)expect_kind(&p, 1, RH_EVENT_DELTA);
  for (uint32_t i = 0; i < 257; i++) send_run(&p, 2 + i, "x", 1);
  assert_int_equal(expect_kind(&p, 258, RH_EVENT_ERROR).as.error.status, RH_QUEUE_FULL);
  send_plain(&p, RH_FRAME_UNLOAD, 0);
  for (uint32_t i = 0; i < 257; i++) {
    assert_int_equal(expect_kind(&p, 1 + i, RH_EVENT_ERROR).as.error.status, RH_UNAVAILABLE);
  }
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_GOODBYE);
  assert_int_equal(join(&p), RH_EXIT_OK);
}

static void test_many_runs_at_once(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:slots=8", false);
  enum { RUNS = 40 };
  int deltas[RUNS + 1] = {0};
  for (uint32_t i = 1; i <= RUNS; i++) send_run(&p, i, "[[tokens=30]]", 10);
  for (int ended = 0; ended < RUNS;) {
    uint32_t stream = 0;
    rh_event event = expect_event(&p, &stream);
    assert_in_range(stream, 1, RUNS);
    if (event.kind == RH_EVENT_DELTA && ++deltas[stream] % 5 == 0) send_credit(&p, stream, 5);
    if (event.kind == RH_EVENT_END) {
      assert_int_equal(deltas[stream], 30);
      ended++;
    }
  }
  unload_and_join(&p);
}

static void test_load_failure(void **state) {
  (void)state;
  static const char *const loads[][2] = {{"fake", "fake:load_fail=1"}, {"fake", "fake:wrong=1"}, {"none", "x.gguf"}};
  for (size_t i = 0; i < 3; i++) {
    peer p;
    open_peer(&p, false);
    rh_frame frame;
    expect_frame(&p, &frame, RH_FRAME_HELLO);
    send_load(&p, loads[i][0], loads[i][1]);
    rh_event event = expect_kind(&p, 0, RH_EVENT_ERROR);
    assert_int_equal(event.as.error.status, RH_LOAD_FAILED);
    assert_true(strlen(event.as.error.message) > 0);
    assert_int_equal(join(&p), RH_EXIT_LOAD);
  }
}

static void test_load_progress_and_ping_meanwhile(void **state) {
  (void)state;
  peer p;
  open_peer(&p, false);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_HELLO);
  send_load(&p, "fake", "fake:load_delay_ms=350");
  send_plain(&p, RH_FRAME_PING, 0);
  int progress = 0, pongs = 0;
  double last = -1;
  do {
    assert_true(try_next(&p, &frame, TIMEOUT_MS));
    if (frame.type == RH_FRAME_PONG) pongs++;
    if (frame.type == RH_FRAME_LOAD_PROGRESS) {
      double fraction = 0;
      rh_error error = {0};
      assert_int_equal(rh_load_progress_read(&frame, &fraction, &error), RH_OK);
      assert_true(fraction > last);
      last = fraction;
      progress++;
    }
  } while (frame.type != RH_FRAME_LOADED);
  assert_int_equal(pongs, 1);
  assert_in_range(progress, 2, 5);  // every 100 ms at most
  unload_and_join(&p);
}

static void test_unload_gives_a_load_up(void **state) {
  (void)state;
  peer p;
  open_peer(&p, false);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_HELLO);
  send_load(&p, "fake", "fake:load_delay_ms=60000");
  expect_frame(&p, &frame, RH_FRAME_LOAD_PROGRESS);
  send_plain(&p, RH_FRAME_UNLOAD, 0);
  do assert_true(try_next(&p, &frame, TIMEOUT_MS));
  while (frame.type == RH_FRAME_LOAD_PROGRESS);
  assert_int_equal(frame.type, RH_FRAME_GOODBYE);
  assert_int_equal(join(&p), RH_EXIT_OK);
}

static void test_unload_before_any_load(void **state) {
  (void)state;
  peer p;
  open_peer(&p, false);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_HELLO);
  unload_and_join(&p);
}

static void test_stats_come_while_things_change(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", false);
  send_run(&p, 1, "[[tokens=260 delay_ms=5]]", 1000);
  int stats_frames = 0;
  rh_frame frame;
  uint64_t begun = rh_clock_now_ns();
  for (bool ended = false; !ended;) {
    assert_true(try_next(&p, &frame, TIMEOUT_MS));
    if (frame.type == RH_FRAME_STATS) stats_frames++;
    if (frame.type != RH_FRAME_EVENT) continue;
    rh_event event;
    rh_error error = {0};
    assert_int_equal(rh_event_read(&frame, p.arena, &event, &error), RH_OK);
    ended = event.kind == RH_EVENT_END;
  }
  int seconds = (int)((rh_clock_now_ns() - begun) / RH_NS_PER_S);
  assert_in_range(stats_frames, seconds, seconds + 2);
  // The last change is reported too, though the engine thread has nothing to do any more; then there is quiet.
  rh_worker_stats stats = {0};
  rh_error error = {0};
  do {
    expect_frame(&p, &frame, RH_FRAME_STATS);
    assert_int_equal(rh_stats_read(&frame, &stats, &error), RH_OK);
  } while (stats.active_runs != 0);
  assert_int_equal(stats.generated_tokens, 260);
  assert_false(try_next(&p, &frame, 1200));
  unload_and_join(&p);
}

typedef void (*spoil)(peer *p);
static void spoil_length(peer *p) {
  rh_dynbuf out = new_out();
  assert_int_equal(rh_dynbuf_append(&out, "\xFF\xFF\xFF\xFF....", 8), RH_OK);
  send_bytes(p, &out);
}
static void spoil_direction(peer *p) { send_plain(p, RH_FRAME_GOODBYE, 0); }
static void spoil_load_twice(peer *p) { send_load(p, "fake", "fake:"); }
static void spoil_stream_zero(peer *p) { send_run(p, 0, "x", 1); }
static void spoil_stream_twice(peer *p) {
  send_run(p, 1, "[[end=0]]", 1);
  send_run(p, 1, "x", 1);
}
static void spoil_json(peer *p) {
  rh_dynbuf out = new_out();
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_RUN, 1, "{", 1, NULL, 0), RH_OK);
  send_bytes(p, &out);
}
static void spoil_credit(peer *p) {
  rh_dynbuf out = new_out();
  assert_int_equal(rh_frame_encode(&out, RH_FRAME_CREDIT, 1, "{\"credit\":-1}", 13, NULL, 0), RH_OK);
  send_bytes(p, &out);
}

static void test_bad_frames_end_the_worker(void **state) {
  (void)state;
  static const spoil spoils[] = {spoil_length,       spoil_direction, spoil_load_twice, spoil_stream_zero,
                                 spoil_stream_twice, spoil_json,      spoil_credit};
  for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
    peer p;
    (void)open_loaded(&p, "fake:", false);
    spoils[i](&p);
    assert_int_equal(join(&p), RH_EXIT_PROTOCOL);
  }
  peer p;
  open_peer(&p, false);
  send_run(&p, 1, "no model yet", 1);
  assert_int_equal(join(&p), RH_EXIT_PROTOCOL);
}

static void test_frames_cut_into_bytes(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", false);
  rh_dynbuf out = new_out();
  assert_int_equal(rh_plain_write(&out, RH_FRAME_PING, 0), RH_OK);
  assert_int_equal(rh_plain_write(&out, RH_FRAME_PING, 0), RH_OK);
  while (out.length > 0) {
    assert_int_equal(send(p.fd, rh_dynbuf_data(&out), 1, MSG_NOSIGNAL), 1);
    rh_dynbuf_consume(&out, 1);
    usleep(200);
  }
  rh_dynbuf_free(&out);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_PONG);
  expect_frame(&p, &frame, RH_FRAME_PONG);
  unload_and_join(&p);
}

static void test_daemon_gone(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", false);
  send_run(&p, 1, "[[end=0 delay_ms=1]]", 1000);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  close_daemon_end(&p);
  assert_int_equal(join(&p), RH_EXIT_OK);
}

// A daemon that stops reading for a while loses nothing and gets everything in order.
static void test_slow_reader_gets_all_in_order(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:context=100000", false);
  int small = 4096;
  assert_int_equal(setsockopt(p.worker_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  send_run(&p, 1, "[[tokens=5000]]", 1000000);
  usleep(200000);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  static const char *const words[] = {" This",      " is", " the",     " fake",   " engine",
                                      " speaking;", " it", " repeats", " itself."};
  for (int i = 0; i < 5000; i++) {
    rh_event event = expect_kind(&p, 1, RH_EVENT_DELTA);
    assert_string_equal(event.as.delta.text, i == 0 ? "This" : words[i % 9]);
  }
  (void)expect_kind(&p, 1, RH_EVENT_USAGE);
  (void)expect_kind(&p, 1, RH_EVENT_END);
  unload_and_join(&p);
}

// --- where the process must end ------------------------------------------------------------------------------------

static void test_stuck_engine_answers_pings_and_leaves_with_the_daemon(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", true);
  send_run(&p, 1, "[[hang_at=1]]", 64);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  usleep(60000);
  send_plain(&p, RH_FRAME_PING, 0);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_EVENT);  // the first token, sent at the end of its step
  expect_frame(&p, &frame, RH_FRAME_PONG);
  rh_worker_stats stats = {0};
  rh_error error = {0};
  assert_int_equal(rh_stats_read(&frame, &stats, &error), RH_OK);
  assert_true(stats.step_age_ms > 30);
  // Far more commands than the mailbox takes: the worker stops reading and still notices that the daemon leaves.
  rh_dynbuf out = new_out();
  for (int i = 0; i < 6000; i++) assert_int_equal(rh_credit_write(&out, 1, 1), RH_OK);
  while (out.length > 0) {
    ssize_t sent = send(p.fd, rh_dynbuf_data(&out), out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) break;
    rh_dynbuf_consume(&out, (size_t)sent);
  }
  rh_dynbuf_free(&out);
  usleep(50000);
  close_daemon_end(&p);
  assert_int_equal(join(&p), RH_EXIT_OK);
}

// While a model loads nobody empties the mailbox: it fills, the worker stops reading, and goes on where it stopped.
static void test_full_mailbox_loses_nothing(void **state) {
  (void)state;
  peer p;
  open_peer(&p, false);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_HELLO);
  rh_dynbuf out = new_out();
  rh_load load = {.engine = "fake", .path = "fake:load_delay_ms=300"};
  assert_int_equal(rh_load_write(&out, &load), RH_OK);
  for (int i = 0; i < 9000; i++) assert_int_equal(rh_credit_write(&out, 1, 1), RH_OK);
  assert_int_equal(rh_plain_write(&out, RH_FRAME_PING, 0), RH_OK);
  send_bytes(&p, &out);
  do assert_true(try_next(&p, &frame, TIMEOUT_MS));
  while (frame.type == RH_FRAME_LOAD_PROGRESS);
  assert_int_equal(frame.type, RH_FRAME_LOADED);  // the ping stands behind more than the mailbox holds
  expect_frame(&p, &frame, RH_FRAME_PONG);
  unload_and_join(&p);
}

static void test_crash_ends_the_process(void **state) {
  (void)state;
  peer p;
  (void)open_loaded(&p, "fake:", true);
  send_run(&p, 1, "[[crash_at=2]]", 64);
  (void)expect_kind(&p, 1, RH_EVENT_START);
  (void)expect_kind(&p, 1, RH_EVENT_DELTA);
  (void)expect_kind(&p, 1, RH_EVENT_DELTA);
  expect_end_of_stream(&p);
  assert_int_equal(join(&p), 128 + SIGABRT);
}

// --- the program itself --------------------------------------------------------------------------------------------

static int run_program(const char *arguments, char *output, size_t size) {
  const char *worker = getenv("RH_WORKER");
  if (worker == NULL || worker[0] == '\0') skip();
  char command[1024];
  snprintf(command, sizeof command, "3</dev/null 2>&1 '%s' %s", worker, arguments);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  size_t length = fread(output, 1, size - 1, pipe);
  output[length] = '\0';
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_program(void **state) {
  (void)state;
  char output[65536];
  assert_int_equal(run_program("", output, sizeof output), RH_EXIT_USAGE);
  assert_non_null(strstr(output, "file descriptor 3 is not a socket"));
  assert_int_equal(run_program("--fd 3x", output, sizeof output), RH_EXIT_USAGE);
  assert_int_equal(run_program("--nonsense", output, sizeof output), RH_EXIT_USAGE);
  assert_int_equal(run_program("surplus", output, sizeof output), RH_EXIT_USAGE);
  assert_int_equal(run_program("--version", output, sizeof output), 0);
  assert_non_null(strstr(output, "roundhouse-worker "));
  assert_int_equal(run_program("--help", output, sizeof output), 0);
  assert_int_equal(run_program("--probe 2>/dev/null", output, sizeof output), 0);
  rh_error error = {0};
  json_t *root = rh_json_parse(output, strlen(output), &error);
  assert_non_null(root);
  json_t *first = json_array_get(json_object_get(root, "engines"), 0);
  assert_string_equal(json_string_value(json_object_get(first, "engine")), "fake");
  json_decref(root);
}

static int quiet(void **state) {
  (void)state;
  rh_log_setup(STDERR_FILENO, RH_LOG_OFF, RH_LOG_JSON);
  return 0;
}

// --- models that do not generate -----------------------------------------------------------------------------------

static void send_infer(peer *p, uint32_t stream, rh_task task, const char *const *texts, size_t count,
                       uint32_t credit) {
  rh_dynbuf out = new_out();
  rh_item items[16] = {{0}};
  for (size_t i = 0; i < count; i++) items[i] = (rh_item){.text = texts[i], .length = strlen(texts[i])};
  rh_infer infer = {.items = items, .item_count = count};
  rh_run run = {.task = task, .request_id = "req_test", .infer = &infer};
  assert_int_equal(rh_run_write(&out, stream, &run, credit), RH_OK);
  send_bytes(p, &out);
}

static void test_results_cost_credit(void **state) {
  (void)state;
  peer p;
  rh_model_info info = open_loaded(&p, "fake:task=embed,dims=4", false);
  assert_string_equal(info.task, "embed");
  assert_int_equal(info.dimensions, 4);
  static const char *const texts[] = {"one", "two words", "three", "four [[fail_at=0]]", "five"};
  send_infer(&p, 3, RH_TASK_OWN, texts, 5, 2);
  assert_int_equal(expect_kind(&p, 3, RH_EVENT_START).as.start.prompt_tokens, 3 + 4 + 3 + 4 + 3);
  for (uint32_t i = 0; i < 2; i++) assert_int_equal(expect_kind(&p, 3, RH_EVENT_RESULT).as.result.item, i);
  expect_silence(&p, 100);
  send_credit(&p, 3, 1);
  assert_int_equal(expect_kind(&p, 3, RH_EVENT_RESULT).as.result.count, 4);
  expect_silence(&p, 50);
  send_credit(&p, 3, 9);
  assert_int_equal(expect_kind(&p, 3, RH_EVENT_RESULT).as.result.kind, RH_RESULT_FAILED);
  assert_int_equal(expect_kind(&p, 3, RH_EVENT_RESULT).as.result.kind, RH_RESULT_VECTOR);
  assert_int_equal(expect_kind(&p, 3, RH_EVENT_USAGE).as.usage.prompt_tokens, 17);
  (void)expect_kind(&p, 3, RH_EVENT_END);
  unload_and_join(&p);
}

static void test_a_task_that_does_not_fit_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {"one"};
  peer p;
  (void)open_loaded(&p, "fake:task=classify", false);
  send_run(&p, 1, "hello", 8);
  rh_event event = expect_kind(&p, 1, RH_EVENT_ERROR);
  assert_int_equal(event.as.error.status, RH_UNSUPPORTED);
  assert_non_null(strstr(event.as.error.message, "classify"));
  send_infer(&p, 2, RH_TASK_EMBED, texts, 1, 8);
  assert_int_equal(expect_kind(&p, 2, RH_EVENT_ERROR).as.error.status, RH_UNSUPPORTED);
  unload_and_join(&p);
  (void)open_loaded(&p, "fake:", false);
  send_infer(&p, 2, RH_TASK_EMBED, texts, 1, 8);
  assert_int_equal(expect_kind(&p, 2, RH_EVENT_ERROR).as.error.status, RH_UNSUPPORTED);
  unload_and_join(&p);
}

static void test_an_inference_is_cancelled_and_unloaded(void **state) {
  (void)state;
  static const char *const texts[] = {"a [[delay_ms=20]]",
                                      "a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7 8"};
  peer p;
  (void)open_loaded(&p, "fake:task=embed,slots=1", false);
  send_infer(&p, 1, RH_TASK_EMBED, texts, 2, 1);  // its second result has no credit
  (void)expect_kind(&p, 1, RH_EVENT_START);
  (void)expect_kind(&p, 1, RH_EVENT_RESULT);
  send_infer(&p, 2, RH_TASK_EMBED, texts, 2, 1);  // waits for the slot
  send_plain(&p, RH_FRAME_CANCEL, 1);
  assert_int_equal(expect_kind(&p, 1, RH_EVENT_ERROR).as.error.status, RH_CANCELLED);
  (void)expect_kind(&p, 2, RH_EVENT_START);
  (void)expect_kind(&p, 2, RH_EVENT_RESULT);
  send_plain(&p, RH_FRAME_UNLOAD, 0);
  assert_int_equal(expect_kind(&p, 2, RH_EVENT_ERROR).as.error.status, RH_UNAVAILABLE);
  rh_frame frame;
  expect_frame(&p, &frame, RH_FRAME_GOODBYE);
  assert_int_equal(join(&p), RH_EXIT_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_run),
      cmocka_unit_test(test_refused_runs_get_a_final_event),
      cmocka_unit_test(test_failing_run_leaves_the_others),
      cmocka_unit_test(test_credit_starves_and_resumes),
      cmocka_unit_test(test_cancel_is_confirmed),
      cmocka_unit_test(test_cancel_of_a_paused_run),
      cmocka_unit_test(test_waiting_line_is_bounded),
      cmocka_unit_test(test_many_runs_at_once),
      cmocka_unit_test(test_load_failure),
      cmocka_unit_test(test_load_progress_and_ping_meanwhile),
      cmocka_unit_test(test_unload_gives_a_load_up),
      cmocka_unit_test(test_unload_before_any_load),
      cmocka_unit_test(test_stats_come_while_things_change),
      cmocka_unit_test(test_bad_frames_end_the_worker),
      cmocka_unit_test(test_frames_cut_into_bytes),
      cmocka_unit_test(test_daemon_gone),
      cmocka_unit_test(test_slow_reader_gets_all_in_order),
      cmocka_unit_test(test_full_mailbox_loses_nothing),
      cmocka_unit_test(test_stuck_engine_answers_pings_and_leaves_with_the_daemon),
      cmocka_unit_test(test_crash_ends_the_process),
      cmocka_unit_test(test_results_cost_credit),
      cmocka_unit_test(test_a_task_that_does_not_fit_is_refused),
      cmocka_unit_test(test_an_inference_is_cancelled_and_unloaded),
      cmocka_unit_test(test_program),
  };
  return cmocka_run_group_tests(tests, quiet, NULL);
}
