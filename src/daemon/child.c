// SPDX-License-Identifier: Apache-2.0
//
// A child process of this very program: its start, its two pipes, its end. It owns the pipes and the process until that
// is reaped (through a pidfd: nobody else's children are touched). Loop thread only. What the lines mean is its user's.
#include "daemon/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/subprocess.h"

#define LINE_BYTES_MAX ((size_t)1024 * 1024)
#define COMPLAINT_BYTES_MAX ((size_t)2048)
#define ARGUMENTS_MAX 32
#define TERM_GRACE_NS (5 * RH_NS_PER_S)
#define END_GRACE_MS 1000
#define END_STEP_MS 10
#define READS_PER_TURN 4
#define READS_AT_END 1024

extern char **environ;

struct rh_child {
  rh_loop *loop;
  const rh_child_ops *ops;
  void *ctx;
  pid_t pid;                            // 0 = reaped
  rh_watch exited, output, complaints;  // fd -1 = closed
  rh_dynbuf line, complaint;
  bool cut;  // of a line that is too long, the rest is dropped
  rh_timer kill;
};

pid_t rh_child_pid(const rh_child *child) { return child != NULL ? child->pid : 0; }

// --- the pipes -----------------------------------------------------------------------------------------------------

static void take_bytes(rh_child *child, const char *bytes, size_t length) {
  while (length > 0) {
    const char *end = memchr(bytes, '\n', length);
    size_t piece = end != NULL ? (size_t)(end - bytes) : length;
    if (!child->cut && rh_dynbuf_append(&child->line, bytes, piece) != RH_OK) child->cut = true;
    if (end != NULL) {
      if (!child->cut) child->ops->line(child->ctx, rh_dynbuf_data(&child->line), child->line.length);
      rh_dynbuf_clear(&child->line);
      child->cut = false;
      piece++;
    }
    bytes += piece;
    length -= piece;
  }
}

static void take_complaint(rh_child *child, const char *bytes, size_t length) {
  if (length > COMPLAINT_BYTES_MAX) {
    bytes += length - COMPLAINT_BYTES_MAX;
    length = COMPLAINT_BYTES_MAX;
  }
  // The end is what matters.
  size_t together = child->complaint.length + length;
  if (together > COMPLAINT_BYTES_MAX) rh_dynbuf_consume(&child->complaint, together - COMPLAINT_BYTES_MAX);
  (void)rh_dynbuf_append(&child->complaint, bytes, length);
}

static void close_watch(rh_child *child, rh_watch *watch) {
  if (watch->fd < 0) return;
  rh_loop_unwatch(child->loop, watch);
  close(watch->fd);
  watch->fd = -1;
}

// Reads what is there, `turns` times at most, so that a chatty child cannot hold the loop.
static void read_pipe(rh_child *child, rh_watch *watch, unsigned turns,
                      void (*take)(rh_child *, const char *, size_t)) {
  char bytes[16384];
  while (watch->fd >= 0 && turns-- > 0) {
    ssize_t got = read(watch->fd, bytes, sizeof bytes);
    if (got > 0) {
      take(child, bytes, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      close_watch(child, watch);
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

static void on_output(void *ctx, uint32_t events) {
  (void)events;
  rh_child *child = ctx;
  read_pipe(child, &child->output, READS_PER_TURN, take_bytes);
}

static void on_complaints(void *ctx, uint32_t events) {
  (void)events;
  rh_child *child = ctx;
  read_pipe(child, &child->complaints, READS_PER_TURN, take_complaint);
}

// --- the end -------------------------------------------------------------------------------------------------------

static void on_exited(void *ctx, uint32_t events) {
  (void)events;
  rh_child *child = ctx;
  int wait_status = 0;
  if (waitpid(child->pid, &wait_status, WNOHANG) != child->pid) return;
  child->pid = 0;
  close_watch(child, &child->exited);
  rh_loop_timer_cancel(child->loop, &child->kill);
  // All that it wrote is in the pipes by now; a grandchild that still holds them is not waited for.
  read_pipe(child, &child->output, READS_AT_END, take_bytes);
  read_pipe(child, &child->complaints, READS_AT_END, take_complaint);
  child->ops->ended(child->ctx, wait_status, rh_dynbuf_data(&child->complaint));
}

// To its whole group: pip and npm are children of it.
static void signal_group(const rh_child *child, int number) {
  if (child->pid > 0 && kill(-child->pid, number) != 0) (void)kill(child->pid, number);
}

static void on_kill(void *ctx) { signal_group(ctx, SIGKILL); }

void rh_child_stop(rh_child *child) {
  signal_group(child, SIGTERM);
  rh_loop_timer_set(child->loop, &child->kill, TERM_GRACE_NS);
}

void rh_child_end(rh_child *child) {
  const struct timespec pause = {.tv_nsec = END_STEP_MS * 1000 * 1000};
  for (int waited_ms = 0; child->pid > 0; waited_ms += END_STEP_MS) {
    if (waited_ms >= END_GRACE_MS) signal_group(child, SIGKILL);
    if (waitpid(child->pid, NULL, waited_ms < END_GRACE_MS ? WNOHANG : 0) != 0) child->pid = 0;
    if (child->pid > 0) (void)nanosleep(&pause, NULL);
  }
}

void rh_child_free(rh_child *child) {
  if (child == NULL) return;
  rh_loop_timer_cancel(child->loop, &child->kill);
  close_watch(child, &child->exited);
  close_watch(child, &child->output);
  close_watch(child, &child->complaints);
  rh_dynbuf_free(&child->line);
  rh_dynbuf_free(&child->complaint);
  free(child);
}

// --- the beginning -------------------------------------------------------------------------------------------------

static bool begins_with_any(const char *variable, const char *const *names) {
  for (; *names != NULL; names++) {
    if (rh_text_starts_with(variable, *names)) return true;
  }
  return false;
}

// Ours, with what flags and the file say put into words that the child reads. The first `*own` entries are the caller's
// to free, as is the array.
static char **child_environment(const rh_daemon *daemon, size_t *own) {
  static const char *const replaced[] = {"ROUNDHOUSE_CONFIG=", "ROUNDHOUSE_OFFLINE=", "ROUNDHOUSE_STORE_LIMIT=", NULL};
  const rh_settings *s = daemon->settings;
  const char *file = daemon->configuration->file;
  size_t count = 0, used = 0;
  while (environ[count] != NULL) count++;
  char **out = calloc(count + 4, sizeof *out);
  if (out == NULL) return NULL;
  if (file != NULL && asprintf(&out[used], "ROUNDHOUSE_CONFIG=%s", file) > 0) used++;
  if (s->offline && asprintf(&out[used], "ROUNDHOUSE_OFFLINE=1") > 0) used++;
  if (asprintf(&out[used], "ROUNDHOUSE_STORE_LIMIT=%llu", (unsigned long long)s->store_limit) > 0) used++;
  *own = used;
  for (size_t i = 0; i < count; i++) {
    if (!begins_with_any(environ[i], replaced)) out[used++] = environ[i];
  }
  out[used] = NULL;
  return out;
}

static rh_status spawn(rh_child *child, const rh_daemon *daemon, const char *const *arguments, int output,
                       int complaints, rh_error *error) {
  const char *argv[ARGUMENTS_MAX + 2] = {"/proc/self/exe"};
  for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i] != NULL; i++) argv[i + 1] = arguments[i];
  size_t own = 0;
  char **environment = child_environment(daemon, &own);
  if (environment == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to start a process; try again later");
  rh_subprocess_options options = {
      .argv = argv,
      .argv0 = "roundhouse",
      .environment = environment,
      .input = -1,
      .output = output,
      .error_output = complaints,
      .extra = -1,
      .own_group = true,
      .ends_with_us = true,  // when we are killed nobody wants what it does, and its locks must not stay
  };
  rh_status status = rh_subprocess_spawn(&options, &child->pid, error);
  for (size_t i = 0; i < own; i++) free(environment[i]);
  free(environment);
  return status;
}

static rh_status watch_fd(rh_child *child, rh_watch *watch, int fd, void (*fn)(void *, uint32_t)) {
  *watch = (rh_watch){.fd = fd, .fn = fn, .ctx = child};
  if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return RH_IO;
  return rh_loop_watch(child->loop, watch, EPOLLIN);
}

// Takes the pipes over in any case.
static rh_status listen_to(rh_child *child, int output, int complaints, rh_error *error) {
  rh_status first = watch_fd(child, &child->output, output, on_output);
  rh_status second = watch_fd(child, &child->complaints, complaints, on_complaints);
  child->exited = (rh_watch){.fd = pidfd_open(child->pid, 0), .fn = on_exited, .ctx = child};
  rh_status third = child->exited.fd < 0 ? RH_IO : rh_loop_watch(child->loop, &child->exited, EPOLLIN);
  if (first == RH_OK && second == RH_OK && third == RH_OK) return RH_OK;
  int reason = errno;
  signal_group(child, SIGKILL);
  (void)waitpid(child->pid, NULL, 0);
  return rh_fail(error, RH_IO, "cannot listen to a process: %s", strerror(reason));
}

static rh_status open_pipes(int output[2], int complaints[2], rh_error *error) {
  if (pipe2(output, O_CLOEXEC) != 0) return rh_fail(error, RH_IO, "cannot start a process: %s", strerror(errno));
  if (pipe2(complaints, O_CLOEXEC) == 0) return RH_OK;
  int reason = errno;
  close(output[0]);
  close(output[1]);
  return rh_fail(error, RH_IO, "cannot start a process: %s", strerror(reason));
}

rh_status rh_child_start(rh_daemon *daemon, const char *const *arguments, const rh_child_ops *ops, void *ctx,
                         rh_child **out, rh_error *error) {
  int output[2], complaints[2];
  *out = NULL;
  rh_child *child = calloc(1, sizeof *child);
  if (child == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to start a process; try again later");
  *child = (rh_child){.loop = daemon->loop, .ops = ops, .ctx = ctx};
  child->exited.fd = child->output.fd = child->complaints.fd = -1;
  child->kill = (rh_timer){.fn = on_kill, .ctx = child};
  rh_dynbuf_init(&child->line, LINE_BYTES_MAX);
  rh_dynbuf_init(&child->complaint, COMPLAINT_BYTES_MAX);
  rh_status status = open_pipes(output, complaints, error);
  if (status == RH_OK) {
    status = spawn(child, daemon, arguments, output[1], complaints[1], error);
    close(output[1]);
    close(complaints[1]);
    if (status == RH_OK) {
      status = listen_to(child, output[0], complaints[0], error);
    } else {
      close(output[0]);
      close(complaints[0]);
    }
  }
  if (status == RH_OK) {
    *out = child;
  } else {
    rh_child_free(child);
  }
  return status;
}
