// SPDX-License-Identifier: Apache-2.0
//
// Status words and the filling of the caller's error buffer. Owns no data; any thread. It logs nothing: the function
// that gives up for good decides whether a failure is worth a line in the log.
#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

// The index is the status. These words are part of the wire format and of metric labels: add, never rename.
static const char *const names[RH_STATUS_COUNT] = {
    [RH_OK] = "ok",
    [RH_AGAIN] = "again",
    [RH_INVALID] = "invalid",
    [RH_TOO_LARGE] = "too_large",
    [RH_NOT_FOUND] = "not_found",
    [RH_UNSUPPORTED] = "unsupported",
    [RH_CONTEXT_OVERFLOW] = "context_overflow",
    [RH_QUEUE_FULL] = "queue_full",
    [RH_DEADLINE] = "deadline",
    [RH_CANCELLED] = "cancelled",
    [RH_UNAVAILABLE] = "unavailable",
    [RH_LOAD_FAILED] = "load_failed",
    [RH_PROTOCOL] = "protocol",
    [RH_NO_MEMORY] = "no_memory",
    [RH_IO] = "io",
    [RH_NO_SPACE] = "no_space",
    [RH_CONFLICT] = "conflict",
    [RH_OFFLINE] = "offline",
    [RH_NO_ROOM] = "no_room",
    [RH_HARDWARE] = "hardware",
    [RH_UNAUTHENTICATED] = "unauthenticated",
    [RH_FORBIDDEN] = "forbidden",
    [RH_LIMITED] = "limited",
    [RH_BUDGET] = "budget",
    [RH_UPSTREAM] = "upstream",
    [RH_INTERNAL] = "internal",
};

const char *rh_status_name(rh_status status) {
  if ((unsigned)status >= RH_STATUS_COUNT) return names[RH_INTERNAL];
  return names[status];
}

rh_status rh_status_from_name(const char *name) {
  if (name == NULL) return RH_INTERNAL;
  for (unsigned i = 0; i < RH_STATUS_COUNT; i++) {
    if (strcmp(names[i], name) == 0) return (rh_status)i;
  }
  return RH_INTERNAL;
}

// A cut text must not end in half a character, because messages go into JSON.
static void copy_cut(char *out, size_t size, const char *text) {
  size_t length = strlen(text);
  if (length >= size) length = rh_utf8_complete_prefix(text, size - 1);
  memcpy(out, text, length);
  out[length] = '\0';
}

RH_PRINTF(4, 0)
static void fill(rh_error *error, rh_status status, const char *param, const char *format, va_list arguments) {
  // One byte more than the field holds, so that copy_cut sees that the text was cut. The text goes through buffers of
  // our own because callers wrap errors: an argument is often the old error->message or error->param.
  char message[sizeof error->message + 1];
  char at[sizeof error->param + 1];
  int written = vsnprintf(message, sizeof message, format, arguments);
  if (written < 0) message[0] = '\0';
  at[0] = '\0';
  if (param != NULL) (void)snprintf(at, sizeof at, "%s", param);
  error->status = status;
  error->retry_after_ms = 0;
  copy_cut(error->message, sizeof error->message, message);
  copy_cut(error->param, sizeof error->param, at);
}

rh_status rh_fail(rh_error *error, rh_status status, const char *format, ...) {
  if (error == NULL) return status;
  va_list arguments;
  va_start(arguments, format);
  fill(error, status, NULL, format, arguments);
  va_end(arguments);
  return status;
}

rh_status rh_fail_param(rh_error *error, rh_status status, const char *param, const char *format, ...) {
  if (error == NULL) return status;
  va_list arguments;
  va_start(arguments, format);
  fill(error, status, param, format, arguments);
  va_end(arguments);
  return status;
}
