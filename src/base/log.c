// SPDX-License-Identifier: Apache-2.0
//
// The log. The settings are written once, before other threads start, and only read afterwards; a line is built on the
// heap and leaves with one write(), so no lock is needed. It does not rotate files and does not retry: a log that
// cannot be written must not stop the daemon.
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dynbuf.h"
#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"

#define LINE_MAX_BYTES (64u * 1024)
#define LINE_USUAL_BYTES 1024u
#define VALUE_MAX_BYTES 2048u  // of one string; the rest is cut, marked with an ellipsis

static struct {
  int fd;
  rh_log_level least;
  rh_log_format format;
} setup = {.fd = STDERR_FILENO, .least = RH_LOG_INFO, .format = RH_LOG_JSON};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void rh_log_setup(int fd, rh_log_level least, rh_log_format format) {
  setup.fd = fd;
  setup.least = least;
  setup.format = format;
}

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

// As a JSON string, cut to what one value may take.
static void append_quoted(rh_dynbuf *line, const char *text) {
  size_t length = strnlen(text, VALUE_MAX_BYTES + 1);
  if (length <= VALUE_MAX_BYTES) {
    (void)rh_json_append_string(line, text, length);
    return;
  }
  char cut[VALUE_MAX_BYTES + 4];
  length = rh_utf8_complete_prefix(text, VALUE_MAX_BYTES);
  memcpy(cut, text, length);
  memcpy(cut + length, "\xE2\x80\xA6", 3);  // an ellipsis
  (void)rh_json_append_string(line, cut, length + 3);
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

static void append_field_value(rh_dynbuf *line, const rh_log_field *field, bool bare) {
  switch (field->type) {
    case RH_FIELD_STRING:
      if (field->value.string == NULL)
        (void)rh_dynbuf_append_text(line, "null");
      else if (bare && !needs_quotes(field->value.string))
        (void)rh_dynbuf_append_text(line, field->value.string);
      else
        append_quoted(line, field->value.string);
      break;
    case RH_FIELD_INT: {
      char number[RH_INT_TEXT_SIZE];
      (void)rh_dynbuf_append(line, number, rh_text_format_int(number, field->value.integer));
      break;
    }
    case RH_FIELD_DOUBLE: {
      char number[40];
      rh_text_format_number(number, sizeof number, field->value.number);
      (void)rh_dynbuf_append_text(line, isfinite(field->value.number) ? number : "null");
      break;
    }
    case RH_FIELD_BOOL: (void)rh_dynbuf_append_text(line, field->value.boolean ? "true" : "false"); break;
    case RH_FIELD_END: break;
  }
}

static void build_json(rh_dynbuf *line, rh_log_level level, const char *message, const rh_log_field *fields) {
  char now[32];
  rh_clock_format_iso(now, sizeof now);
  (void)rh_dynbuf_append_text(line, "{\"time\":\"");
  (void)rh_dynbuf_append_text(line, now);
  (void)rh_dynbuf_append_text(line, "\",\"level\":\"");
  (void)rh_dynbuf_append_text(line, level_names[level]);
  (void)rh_dynbuf_append_text(line, "\",\"message\":");
  append_quoted(line, message);
  for (; fields != NULL && fields->type != RH_FIELD_END; fields++) {
    (void)rh_dynbuf_append_char(line, ',');
    append_quoted(line, fields->key);
    (void)rh_dynbuf_append_char(line, ':');
    append_field_value(line, fields, false);
  }
  (void)rh_dynbuf_append(line, "}\n", 2);
}

static void build_plain(rh_dynbuf *line, rh_log_level level, const char *message, const rh_log_field *fields) {
  char now[16] = "--:--:--";
  time_t seconds = time(NULL);
  struct tm parts;
  if (localtime_r(&seconds, &parts) != NULL) (void)strftime(now, sizeof now, "%H:%M:%S", &parts);
  (void)rh_dynbuf_printf(line, "%s %-5s ", now, level_names[level]);
  // A message with a line break would forge a second line, one with an escape could repaint the terminal; quoted, it
  // cannot.
  if (is_printable_line(message))
    (void)rh_dynbuf_append_text(line, message);
  else
    append_quoted(line, message);
  (void)rh_dynbuf_append_char(line, fields != NULL && fields->type != RH_FIELD_END ? ' ' : '\n');
  for (; fields != NULL && fields->type != RH_FIELD_END; fields++) {
    (void)rh_dynbuf_printf(line, " %s=", fields->key);
    append_field_value(line, fields, true);
    if (fields[1].type == RH_FIELD_END) (void)rh_dynbuf_append_char(line, '\n');
  }
}

static void build(rh_dynbuf *line, rh_log_level level, const char *message, const rh_log_field *fields) {
  if (setup.format == RH_LOG_JSON)
    build_json(line, level, message, fields);
  else
    build_plain(line, level, message, fields);
}

void rh_log_write(rh_log_level level, const char *message, const rh_log_field *fields) {
  assert(message != NULL);
  if (!rh_log_enabled(level)) return;
  int errno_before = errno;  // callers log between a failing call and looking at errno
  rh_dynbuf line;
  rh_dynbuf_init(&line, LINE_MAX_BYTES);
  (void)rh_dynbuf_reserve(&line, LINE_USUAL_BYTES);
  build(&line, level, message, fields);
  if (line.failed) {  // too long, or no memory: the message without its fields is better than nothing
    rh_dynbuf_clear(&line);
    build(&line, level, message, NULL);
  }
  if (!line.failed) {
    ssize_t written;
    do {
      written = write(setup.fd, rh_dynbuf_data(&line), line.length);
    } while (written < 0 && errno == EINTR);
  }
  rh_dynbuf_free(&line);
  errno = errno_before;
}
