// SPDX-License-Identifier: Apache-2.0
//
// Starts, watches and ends a private server.
// Owns the child process, the read end of its log and one thread that reads it; the fields below `lock` are shared with
// that thread. The log is read for two things only: the address it listens on, and what it complained about last.
#include "cli/private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/subprocess.h"
#include "base/text.h"
#include "cli/interrupt.h"

#define START_TIMEOUT_NS (30 * RH_NS_PER_S)
#define STOP_TIMEOUT_NS (3 * RH_NS_PER_S)
#define LINE_BYTES_MAX 16384
#define ARGUMENTS_MAX 64

struct rh_private {
  pid_t pid;
  int log_fd;
  pthread_t reader;
  bool reader_runs;
  char server[128];
  char complaint_copy[512];

  pthread_mutex_t lock;
  pthread_cond_t changed;
  char address[96];  // empty until the server listens
  char complaint[512];
  bool ended;  // the log is closed
};

static void note_line(rh_private *self, const char *line, size_t length) {
  rh_error ignored = {0};
  json_t *root = rh_json_parse(line, length, &ignored);
  const char *level = json_string_value(json_object_get(root, "level"));
  const char *message = json_string_value(json_object_get(root, "message"));
  const char *address = json_string_value(json_object_get(root, "address"));
  const char *reason = json_string_value(json_object_get(root, "reason"));
  if (reason == NULL) reason = json_string_value(json_object_get(root, "error"));
  pthread_mutex_lock(&self->lock);
  if (message != NULL && address != NULL && strcmp(message, "listening") == 0) {
    (void)rh_text_copy(self->address, sizeof self->address, address);
  } else if (root == NULL && length > 0) {
    // Not the log: what the command line itself prints when the configuration is wrong.
    const char *own = strncmp(line, "roundhouse: ", 12) == 0 ? line + 12 : line;
    (void)rh_text_copy(self->complaint, sizeof self->complaint, own);
  } else if (level != NULL && message != NULL && (strcmp(level, "error") == 0 || strcmp(level, "warn") == 0)) {
    snprintf(self->complaint, sizeof self->complaint, "%.160s%s%.320s", message, reason != NULL ? ": " : "",
             reason != NULL ? reason : "");
  }
  pthread_cond_broadcast(&self->changed);
  pthread_mutex_unlock(&self->lock);
  json_decref(root);
}

// Reads until the server closes its log. Without this its writes would block once the pipe is full.
static void *read_log(void *ctx) {
  rh_private *self = ctx;
  FILE *log = fdopen(self->log_fd, "r");
  char *line = malloc(LINE_BYTES_MAX);
  while (log != NULL && line != NULL && fgets(line, LINE_BYTES_MAX, log) != NULL) {
    size_t length = strcspn(line, "\n");
    line[length] = '\0';
    note_line(self, line, length);
  }
  pthread_mutex_lock(&self->lock);
  self->ended = true;
  pthread_cond_broadcast(&self->changed);
  pthread_mutex_unlock(&self->lock);
  free(line);
  if (log != NULL)
    fclose(log);
  else
    close(self->log_fd);
  return NULL;
}

static rh_status spawn(rh_private *self, const char *const *flags, rh_error *error) {
  // A short grace: the person at the terminal is waiting for the prompt.
  static const char *const fixed[] = {"/proc/self/exe", "serve", "--listen",    "127.0.0.1:0", "--shutdown-grace", "1s",
                                      "--log-format",   "json",  "--log-level", "info"};
  const char *arguments[ARGUMENTS_MAX + 1];
  size_t count = sizeof fixed / sizeof *fixed;
  memcpy(arguments, fixed, sizeof fixed);
  for (size_t i = 0; flags[i] != NULL && count < ARGUMENTS_MAX; i++) arguments[count++] = flags[i];
  arguments[count] = NULL;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return rh_fail(error, RH_INTERNAL, "cannot make a pipe: %s", strerror(errno));
  // Ctrl-C on the terminal is for us; we end the server ourselves, and the kernel does when we cannot.
  rh_subprocess_options options = {.argv = arguments,
                                   .argv0 = "roundhouse",
                                   .input = -1,
                                   .output = -1,
                                   .error_output = ends[1],
                                   .extra = -1,
                                   .own_group = true,
                                   .ends_with_us = true};
  rh_error reason = {0};
  rh_status status = rh_subprocess_spawn(&options, &self->pid, &reason);
  close(ends[1]);
  if (status != RH_OK) {
    close(ends[0]);
    return rh_fail(error, RH_INTERNAL, "no private server: %s", reason.message);
  }
  self->log_fd = ends[0];
  if (pthread_create(&self->reader, NULL, read_log, self) != 0) {
    close(self->log_fd);
    return rh_fail(error, RH_INTERNAL, "cannot start a thread for the private server's log");
  }
  self->reader_runs = true;
  return RH_OK;
}

static rh_status wait_for_address(rh_private *self, rh_error *error) {
  uint64_t deadline = rh_clock_now_ns() + START_TIMEOUT_NS;
  rh_status status = RH_OK;
  pthread_mutex_lock(&self->lock);
  while (self->address[0] == '\0' && status == RH_OK) {
    if (self->ended) {
      status = rh_fail(error, RH_UNAVAILABLE, "the private server did not start: %s",
                       self->complaint[0] != '\0' ? self->complaint : "it ended without a word");
    } else if (rh_interrupt_count() > 0) {
      status = rh_fail(error, RH_CANCELLED, "interrupted");
    } else if (rh_clock_now_ns() > deadline) {
      status = rh_fail(error, RH_UNAVAILABLE, "the private server does not start; try roundhouse serve to see why");
    } else {
      struct timespec until;
      clock_gettime(CLOCK_REALTIME, &until);
      until.tv_nsec += 100 * 1000 * 1000;
      until.tv_sec += until.tv_nsec / 1000000000;
      until.tv_nsec %= 1000000000;
      pthread_cond_timedwait(&self->changed, &self->lock, &until);
    }
  }
  if (status == RH_OK) snprintf(self->server, sizeof self->server, "http://%s", self->address);
  pthread_mutex_unlock(&self->lock);
  return status;
}

rh_status rh_private_start(const char *const *flags, rh_private **out, rh_error *error) {
  *out = NULL;
  rh_private *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a private server");
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->changed, NULL);
  rh_status status = spawn(self, flags, error);
  if (status == RH_OK) status = wait_for_address(self, error);
  if (status == RH_OK)
    *out = self;
  else
    rh_private_stop(self);
  return status;
}

const char *rh_private_server(const rh_private *server) { return server->server; }

const char *rh_private_complaint(rh_private *server) {
  pthread_mutex_lock(&server->lock);
  (void)rh_text_copy(server->complaint_copy, sizeof server->complaint_copy, server->complaint);
  pthread_mutex_unlock(&server->lock);
  return server->complaint_copy;
}

static bool ended_within(pid_t pid, uint64_t ns) {
  uint64_t deadline = rh_clock_now_ns() + ns;
  for (;;) {
    pid_t got = waitpid(pid, NULL, WNOHANG);
    if (got == pid || (got < 0 && errno != EINTR)) return true;
    if (rh_clock_now_ns() > deadline) return false;
    usleep(5000);
  }
}

void rh_private_stop(rh_private *server) {
  if (server == NULL) return;
  if (server->pid > 0) {
    kill(server->pid, SIGTERM);
    if (!ended_within(server->pid, STOP_TIMEOUT_NS)) {
      kill(server->pid, SIGKILL);
      (void)ended_within(server->pid, STOP_TIMEOUT_NS);
    }
  }
  // The log ends with the last process that holds it, and a worker that outlives its daemon holds it too. We are about
  // to end, so a reader that still waits is left alone with its memory.
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 2;
  if (server->reader_runs && pthread_timedjoin_np(server->reader, NULL, &until) != 0) return;
  pthread_cond_destroy(&server->changed);
  pthread_mutex_destroy(&server->lock);
  free(server);
}
