// SPDX-License-Identifier: Apache-2.0
//
// The front of a GGUF file to the header parser: a read window that begins small and grows as the header needs.
// Owns the window, which is freed before return. Any thread; blocking. It deliberately neither maps nor reads weights.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "model/gguf.h"

// A header holds the vocabulary, so it may be several MiB; the largest public ones are below 20 MiB.
#define WINDOW_BYTES_MIN ((size_t)256 * 1024)
#define WINDOW_BYTES_MAX ((size_t)64 * 1024 * 1024)

// Reads the first `length` bytes of `fd`; fewer when the file ends before.
static rh_status read_front(int fd, const char *path, uint8_t *bytes, size_t from, size_t length, size_t *got,
                            rh_error *error) {
  *got = from;
  while (*got < length) {
    ssize_t n = pread(fd, bytes + *got, length - *got, (off_t)*got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return rh_fail(error, RH_IO, "cannot read %s: %s", path, strerror(errno));
    if (n == 0) break;
    *got += (size_t)n;
  }
  return RH_OK;
}

// What is wanted of a header, asked again with more of the file while it answers RH_AGAIN.
typedef struct question {
  rh_status (*ask)(struct question *self, const uint8_t *bytes, size_t length, bool complete, rh_error *error);
  rh_gguf_summary *summary;
  rh_gguf_shape *shape;
  const char *key;
  char *text;
} question;

static rh_status ask_summary(question *self, const uint8_t *bytes, size_t length, bool complete, rh_error *error) {
  return rh_gguf_parse(bytes, length, complete, self->summary, self->shape, error);
}

static rh_status ask_text(question *self, const uint8_t *bytes, size_t length, bool complete, rh_error *error) {
  const char *text = NULL;
  size_t size = 0;
  rh_status status = rh_gguf_parse_text(bytes, length, complete, self->key, &text, &size, error);
  if (status != RH_OK) return status;
  if (!rh_utf8_valid(text, size) || memchr(text, '\0', size) != NULL)
    return rh_fail(error, RH_INVALID, "the GGUF header's %.64s is no text", self->key);
  self->text = strndup(text, size);
  return self->text != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the header's %.64s", self->key);
}

// Most headers are small, some hold a large vocabulary: begin with a small window and grow it on demand.
static rh_status read_window(int fd, const char *path, question *what, rh_error *error) {
  uint8_t *bytes = NULL;
  size_t got = 0;
  rh_status status = RH_AGAIN;
  for (size_t window = WINDOW_BYTES_MIN; status == RH_AGAIN && window <= WINDOW_BYTES_MAX; window *= 4) {
    uint8_t *larger = realloc(bytes, window);
    if (larger == NULL) {
      status = rh_fail(error, RH_NO_MEMORY, "no memory to read the header of %s", path);
      break;
    }
    bytes = larger;
    status = read_front(fd, path, bytes, got, window, &got, error);
    rh_error inner = {0};
    if (status == RH_OK) {
      status = what->ask(what, bytes, got, got < window, &inner);
      if (status != RH_OK && status != RH_AGAIN) rh_fail(error, status, "%s: %s", path, inner.message);
    }
  }
  free(bytes);
  if (status == RH_AGAIN) {
    return rh_fail(error, RH_TOO_LARGE, "%s: the GGUF header is larger than %zu MiB", path, WINDOW_BYTES_MAX >> 20);
  }
  return status;
}

static rh_status read_file(const char *path, question *what, rh_error *error) {
  // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return rh_fail(error, errno == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot open %s: %s", path, strerror(errno));
  struct stat info;
  rh_status status = RH_OK;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is not a regular file", path);
  } else {
    status = read_window(fd, path, what, error);
  }
  close(fd);
  return status;
}

rh_status rh_gguf_read(const char *path, rh_gguf_summary *out, rh_gguf_shape *shape, rh_error *error) {
  assert(path != NULL && out != NULL);
  memset(out, 0, sizeof *out);
  if (shape != NULL) memset(shape, 0, sizeof *shape);
  return read_file(path, &(question){.ask = ask_summary, .summary = out, .shape = shape}, error);
}

rh_status rh_gguf_read_text(const char *path, const char *key, char **out, rh_error *error) {
  assert(path != NULL && key != NULL && out != NULL);
  question what = {.ask = ask_text, .key = key};
  rh_status status = read_file(path, &what, error);
  *out = what.text;
  return status;
}
