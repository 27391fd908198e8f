// SPDX-License-Identifier: Apache-2.0
//
// Running a program to its end: reads its output line by line and the end of its complaints. Owns the child and the
// pipes for the length of one call; any thread that may block. No timeout: the caller's `line` ends it when it must.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/subprocess.h"

#define LINE_BYTES_MAX (64u * 1024u)
#define READ_BYTES 16384

typedef struct reading {
  rh_status (*line)(void *ctx, const char *line);
  void *ctx;
  rh_dynbuf *complaints;
  rh_dynbuf text;      // the line that is not whole yet
  int output, errors;  // read ends; -1 = at its end, or not wanted
  char bytes[READ_BYTES];
} reading;

static rh_status end_line(reading *self) {
  rh_status status = self->line(self->ctx, rh_dynbuf_data(&self->text));
  rh_dynbuf_clear(&self->text);
  return status;
}

static rh_status take_output(reading *self, const char *bytes, size_t length) {
  while (length > 0) {
    const char *newline = memchr(bytes, '\n', length);
    size_t part = newline != NULL ? (size_t)(newline - bytes) : length;
    size_t room = LINE_BYTES_MAX - self->text.length;
    rh_status status = rh_dynbuf_append(&self->text, bytes, part < room ? part : room);
    if (status == RH_OK && newline != NULL) status = end_line(self);
    if (status != RH_OK) return status;
    part += newline != NULL ? 1 : 0;
    bytes += part;
    length -= part;
  }
  return RH_OK;
}

// The end is what matters: programs say last what went wrong.
static void keep_complaint(rh_dynbuf *complaints, const char *bytes, size_t length) {
  if (complaints == NULL) return;
  if (length > complaints->max) {
    bytes += length - complaints->max;
    length = complaints->max;
  }
  size_t room = complaints->max - complaints->length;
  if (length > room) rh_dynbuf_consume(complaints, length - room);
  (void)rh_dynbuf_append(complaints, bytes, length);
}

// Read once. RH_AGAIN: nothing there now. The descriptor becomes -1 at its end.
static rh_status read_some(reading *self, int *fd) {
  ssize_t got = read(*fd, self->bytes, sizeof self->bytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return RH_AGAIN;
  if (got <= 0) {
    close(*fd);
    *fd = -1;
    return RH_OK;
  }
  if (fd == &self->output) return take_output(self, self->bytes, (size_t)got);
  keep_complaint(self->complaints, self->bytes, (size_t)got);
  return RH_OK;
}

// What lies in the pipes when the program has ended. Not until their end: a process it left behind may hold them.
static rh_status read_rest(reading *self) {
  rh_status status = RH_OK;
  while (self->output >= 0 && status == RH_OK) status = read_some(self, &self->output);
  if (status == RH_AGAIN) status = RH_OK;
  rh_status other = RH_OK;
  while (self->errors >= 0 && other == RH_OK) other = read_some(self, &self->errors);
  if (status == RH_OK && self->text.length > 0) status = end_line(self);
  return status;
}

static rh_status read_all(reading *self, int pidfd) {
  for (;;) {
    struct pollfd waits[] = {{.fd = pidfd, .events = POLLIN},
                             {.fd = self->output, .events = POLLIN},
                             {.fd = self->errors, .events = POLLIN}};
    if (poll(waits, 3, -1) < 0) {
      if (errno == EINTR) continue;
      return RH_IO;
    }
    rh_status status = RH_OK;
    if (waits[1].revents != 0) status = read_some(self, &self->output);
    if (waits[2].revents != 0 && (status == RH_OK || status == RH_AGAIN)) {
      rh_status ignored = read_some(self, &self->errors);
      (void)ignored;
    }
    if (status != RH_OK && status != RH_AGAIN) return status;
    if (waits[0].revents != 0) return read_rest(self);
  }
}

static int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static rh_status follow(reading *self, pid_t pid, bool own_group, int *exit_status, rh_error *error) {
  int pidfd = pidfd_open(pid, 0);
  rh_status status = RH_IO;
  if (pidfd >= 0) {
    status = read_all(self, pidfd);
    close(pidfd);
  } else {
    (void)rh_fail(error, RH_IO, "cannot watch a process: %s", strerror(errno));
  }
  // Harmless when it has ended: it is not waited for yet, so the number is still its own.
  if (status != RH_OK) kill(own_group ? -pid : pid, SIGKILL);
  *exit_status = wait_for(pid);
  return status;
}

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

// A pipe whose read end does not block. `wanted` false: both -1, which means /dev/null to the child.
static bool open_pipe(bool wanted, int ends[2]) {
  ends[0] = ends[1] = -1;
  if (!wanted) return true;
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

rh_status rh_subprocess_run(const rh_subprocess_options *options, rh_status (*line)(void *ctx, const char *line),
                            void *ctx, rh_dynbuf *complaints, int *exit_status, rh_error *error) {
  *exit_status = -1;
  reading *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to run %s", options->argv[0]);
  *self = (reading){.line = line, .ctx = ctx, .complaints = complaints, .output = -1, .errors = -1};
  rh_dynbuf_init(&self->text, LINE_BYTES_MAX);
  int output[2] = {-1, -1}, errors[2] = {-1, -1};
  rh_status status = RH_OK;
  if (!open_pipe(line != NULL, output) || !open_pipe(complaints != NULL, errors)) {
    status = rh_fail(error, RH_IO, "cannot make a pipe: %s", strerror(errno));
  }
  rh_subprocess_options with_pipes = *options;
  with_pipes.output = output[1];
  with_pipes.error_output = errors[1];
  pid_t pid = 0;
  if (status == RH_OK) status = rh_subprocess_spawn(&with_pipes, &pid, error);
  close_fd(output[1]);
  close_fd(errors[1]);
  self->output = output[0];
  self->errors = errors[0];
  if (status == RH_OK) status = follow(self, pid, options->own_group, exit_status, error);
  close_fd(self->output);
  close_fd(self->errors);
  rh_dynbuf_free(&self->text);
  free(self);
  return status;
}
