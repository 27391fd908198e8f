// SPDX-License-Identifier: Apache-2.0
//
// The log. Owns the lines that wait, in memory that is fixed so that a dying process can still write them. Any thread; the settings
// are written once, before other threads start. Each line is built under the lock behind those that wait, and so keeps
// its place. It does not rotate files and does not retry: a log that cannot be written must not stop the daemon.
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dynbuf.h"
#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"

// Kept out of the way: their buffers would cost every value its checks of the stack.
#define RARE __attribute__((noinline))

#define LINE_MAX_BYTES (64u * 1024)
// What one write() takes of a pipe as a whole: the workers of a daemon write to the same one, and no line may be torn.
#define GATHERED_MAX_BYTES ((size_t)PIPE_BUF)
#define NUMBER_BYTES 40u
#define LEVEL_BYTES 16u
#define VALUE_MAX_BYTES 2048u  // of one string; the rest is cut, marked with an ellipsis

static struct {
  int fd;
  rh_log_level least;
  rh_log_format format;
} setup = {.fd = STDERR_FILENO, .least = RH_LOG_INFO, .format = RH_LOG_JSON};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  char bytes[GATHERED_MAX_BYTES + LINE_MAX_BYTES];
  size_t length;  // whole lines
} lines;
static _Thread_local bool holding;  // this thread's lines may wait

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

rh_status rh_log_level_from_name(const char *name, rh_log_level *out) {
  for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
    if (strcmp(name, level_names[i]) == 0) {
      *out = (rh_log_level)i;
      return RH_OK;
    }
  }
  return RH_INVALID;
}

bool rh_log_enabled(rh_log_level level) { return level >= setup.least && level < RH_LOG_OFF; }

// A line while it is built, in memory that is bounded.
typedef struct builder {
  char *at, *end;
  bool full;
} builder;

// Inline like what is between it and the value: calls would be a tenth of a line's instructions.
static inline char *room(builder *line, size_t length) {
  if ((size_t)(line->end - line->at) >= length) return line->at;
  line->full = true;
  line->end = line->at;  // nothing fits behind a hole
  return NULL;
}

static void put(builder *line, const char *bytes, size_t length) {
  char *to = room(line, length);
  if (to == NULL) return;
  memcpy(to, bytes, length);
  line->at += length;
}

static void put_text(builder *line, const char *text) { put(line, text, strlen(text)); }

RARE static void put_escaped(builder *line, const char *text, size_t length) {
  rh_dynbuf escaped;
  rh_dynbuf_init(&escaped, LINE_MAX_BYTES);
  if (rh_json_append_string(&escaped, text, length) == RH_OK)
    put(line, rh_dynbuf_data(&escaped), escaped.length);
  else
    line->full = true;
  rh_dynbuf_free(&escaped);
}

static inline void put_string(builder *line, const char *text, size_t length) {
  char *to = room(line, length + 2);
  if (to == NULL) return;
  if (rh_json_quote(to, text, length))
    line->at += length + 2;
  else
    put_escaped(line, text, length);
}

RARE static void put_cut(builder *line, const char *text) {
  char cut[VALUE_MAX_BYTES + 4];
  size_t length = rh_utf8_complete_prefix(text, VALUE_MAX_BYTES);
  memcpy(cut, text, length);
  memcpy(cut + length, "\xE2\x80\xA6", 3);  // an ellipsis
  put_string(line, cut, length + 3);
}

// As a JSON string, cut to what one value may take.
static inline void put_quoted(builder *line, const char *text) {
  size_t length = strnlen(text, VALUE_MAX_BYTES + 1);
  if (length <= VALUE_MAX_BYTES)
    put_string(line, text, length);
  else
    put_cut(line, text);
}

static bool needs_quotes(const char *text) {
  if (text[0] == '\0') return true;
  size_t length = strnlen(text, VALUE_MAX_BYTES + 1);
  if (length > VALUE_MAX_BYTES || !rh_utf8_valid(text, length)) return true;
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (byte <= ' ' || byte == '"' || byte == '\\' || byte == '=' || byte == 0x7F) return true;
  }
  return false;
}

static bool is_printable_line(const char *text) {
  size_t length = 0;
  for (; text[length] != '\0'; length++) {
    if (length >= VALUE_MAX_BYTES || (unsigned char)text[length] < ' ' || text[length] == 0x7F) return false;
  }
  return length > 0;
}

static void put_number(builder *line, double value) {
  char *to = room(line, NUMBER_BYTES);
  if (to == NULL) return;
  if (isfinite(value))
    line->at += rh_text_format_number(to, NUMBER_BYTES, value);
  else
    put_text(line, "null");
}

static void put_integer(builder *line, int64_t value) {
  char *to = room(line, RH_INT_TEXT_SIZE);
  if (to != NULL) line->at += rh_text_format_int(to, value);
}

static inline void put_value(builder *line, const rh_log_field *field, bool bare) {
  switch (field->type) {
    case RH_FIELD_STRING:
      if (field->value.string == NULL)
        put_text(line, "null");
      else if (bare && !needs_quotes(field->value.string))
        put_text(line, field->value.string);
      else
        put_quoted(line, field->value.string);
      break;
    case RH_FIELD_INT: put_integer(line, field->value.integer); break;
    case RH_FIELD_DOUBLE: put_number(line, field->value.number); break;
    case RH_FIELD_BOOL: put(line, field->value.boolean ? "true" : "false", field->value.boolean ? 4 : 5); break;
    case RH_FIELD_END: break;
  }
}

static inline void put_key(builder *line, const rh_log_field *field) {
  size_t length = field->key_length;
  char *to = room(line, length + 4);
  if (to == NULL) return;
  memcpy(to, ",\"", 2);
  memcpy(to + 2, field->key, length);
  memcpy(to + 2 + length, "\":", 2);
  line->at += length + 4;
}

static void build_json(builder *line, rh_log_level level, const char *message, const rh_log_field *fields) {
  char now[32];
  size_t length = rh_clock_format_iso(now, sizeof now);
  put_text(line, "{\"time\":\"");
  put(line, now, length);
  put_text(line, "\",\"level\":\"");
  put_text(line, level_names[level]);
  put_text(line, "\",\"message\":");
  put_quoted(line, message);
  for (; fields != NULL && fields->type != RH_FIELD_END; fields++) {
    put_key(line, fields);
    put_value(line, fields, false);
  }
  put(line, "}\n", 2);
}

static void build_plain(builder *line, rh_log_level level, const char *message, const rh_log_field *fields) {
  char now[16] = "--:--:--";
  time_t seconds = time(NULL);
  struct tm parts;
  if (localtime_r(&seconds, &parts) != NULL) (void)strftime(now, sizeof now, "%H:%M:%S", &parts);
  char start[sizeof now + LEVEL_BYTES];
  (void)snprintf(start, sizeof start, "%s %-5s ", now, level_names[level]);
  put_text(line, start);
  // A message with a line break would forge a second line, one with an escape could repaint the terminal; quoted, it
  // cannot.
  if (is_printable_line(message))
    put_text(line, message);
  else
    put_quoted(line, message);
  put_text(line, fields != NULL && fields->type != RH_FIELD_END ? " " : "\n");
  for (; fields != NULL && fields->type != RH_FIELD_END; fields++) {
    put(line, " ", 1);
    put(line, fields->key, fields->key_length);
    put(line, "=", 1);
    put_value(line, fields, true);
    if (fields[1].type == RH_FIELD_END) put(line, "\n", 1);
  }
}

// Behind the lines that wait. Its length; 0 = it cannot be written.
static size_t build(rh_log_level level, const char *message, const rh_log_field *fields) {
  char *start = lines.bytes + lines.length;
  builder line = {.at = start, .end = start + LINE_MAX_BYTES};
  if (setup.format == RH_LOG_JSON)
    build_json(&line, level, message, fields);
  else
    build_plain(&line, level, message, fields);
  return line.full ? 0 : (size_t)(line.at - start);
}

// Writing. The lock is held.

static void write_out(size_t length) {
  ssize_t written;
  do {
    written = write(setup.fd, lines.bytes, length);
  } while (written < 0 && errno == EINTR);
  lines.length -= length;
  memmove(lines.bytes, lines.bytes + length, lines.length);
}

static void take_line(size_t length) {
  size_t before = lines.length;
  lines.length += length;
  if (before > 0 && lines.length > GATHERED_MAX_BYTES) write_out(before);
}

void rh_log_write(rh_log_level level, const char *message, const rh_log_field *fields) {
  assert(message != NULL);
  if (!rh_log_enabled(level)) return;
  int errno_before = errno;  // callers log between a failing call and looking at errno
  (void)pthread_mutex_lock(&lock);
  size_t length = build(level, message, fields);
  if (length == 0) length = build(level, message, NULL);  // the message without its fields is better than nothing
  take_line(length);
  bool waits = holding && level < RH_LOG_WARN && lines.length <= GATHERED_MAX_BYTES;
  if (!waits && lines.length > 0) write_out(lines.length);
  (void)pthread_mutex_unlock(&lock);
  errno = errno_before;
}

// Gathering.

static void flush(void) {
  int errno_before = errno;
  (void)pthread_mutex_lock(&lock);
  if (lines.length > 0) write_out(lines.length);
  (void)pthread_mutex_unlock(&lock);
  errno = errno_before;
}

// A failed assertion or a crash must not swallow the lines that tell how it came to that. The thread that ends the process may be
// the one that has the lock, so it is not waited for: a line that is written twice is better than one that is lost.
static void on_fatal(int number) {
  ssize_t written = write(setup.fd, lines.bytes, lines.length);
  (void)written;
  (void)raise(number);  // what was usual goes on when this handler returns
}

static void before_fork(void) {
  (void)pthread_mutex_lock(&lock);
  if (lines.length > 0) write_out(lines.length);  // or both would write them
}

static void after_fork(void) { (void)pthread_mutex_unlock(&lock); }

// The child may never come to where the lines are let go.
static void after_fork_in_child(void) {
  holding = false;
  (void)pthread_mutex_unlock(&lock);
}

static void watch_process(void) {
  static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction action = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND}, before;
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
    // Whoever has a handler of its own decides.
    if (sigaction(fatal[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
      (void)sigaction(fatal[i], &action, NULL);
  }
  if (atexit(flush) != 0 || pthread_atfork(before_fork, after_fork, after_fork_in_child) != 0) abort();
}

void rh_log_setup(int fd, rh_log_level least, rh_log_format format) {
  flush();  // where it was meant to go
  setup.fd = fd;
  setup.least = least;
  setup.format = format;
}

void rh_log_hold(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, watch_process);
  holding = true;
}

void rh_log_release(void) {
  if (!holding) return;
  holding = false;
  flush();
}
