// SPDX-License-Identifier: Apache-2.0
//
// Cuts a stream into lines and parses each. Owns the beginning of a line whose end has not come. One thread. It does not
// know what the lines mean, except that a line with an "error" is the last one.
#include "cli/lines.h"

#include <assert.h>
#include <string.h>

#include "base/json.h"

void rh_lines_init(rh_lines *lines, rh_status (*line)(void *ctx, const json_t *value, rh_error *error), void *ctx) {
  assert(line != NULL);
  *lines = (rh_lines){.line = line, .ctx = ctx};
  rh_dynbuf_init(&lines->rest, RH_LINE_BYTES_MAX);
}

void rh_lines_free(rh_lines *lines) { rh_dynbuf_free(&lines->rest); }

// A status that the server names is kept, so that "not found" stays "not found" in a stream.
static rh_status error_line(const json_t *value, rh_error *error) {
  const json_t *inner = json_object_get(value, "error");
  const char *message = json_string_value(json_is_string(inner) ? inner : json_object_get(inner, "message"));
  if (message == NULL) message = json_string_value(json_object_get(value, "message"));
  const char *word = json_string_value(json_object_get(inner, "status"));
  rh_status status = word != NULL ? rh_status_from_name(word) : RH_LOAD_FAILED;
  if (status == RH_OK || status == RH_IO || status == RH_CANCELLED) status = RH_LOAD_FAILED;
  return rh_fail(error, status, "%s", message != NULL ? message : "the server reported an error without a reason");
}

static rh_status one_line(rh_lines *lines, const char *bytes, size_t length, rh_error *error) {
  if (length > 0 && bytes[length - 1] == '\r') length--;
  if (length == 0) return RH_OK;
  rh_error inner = {0};
  json_t *value = rh_json_parse(bytes, length, &inner);
  if (value == NULL) return rh_fail(error, RH_PROTOCOL, "the server sent a line that is no JSON: %s", inner.message);
  const json_t *failure = json_object_get(value, "error");
  rh_status status =
      failure != NULL && !json_is_null(failure) ? error_line(value, error) : lines->line(lines->ctx, value, error);
  json_decref(value);
  return status;
}

rh_status rh_lines_feed(rh_lines *lines, const char *bytes, size_t length, rh_error *error) {
  const char *end = bytes + length;
  while (bytes < end) {
    const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
    size_t piece = (size_t)((newline != NULL ? newline : end) - bytes);
    if (rh_dynbuf_append(&lines->rest, bytes, piece) != RH_OK) {
      return rh_fail(error, RH_TOO_LARGE, "the server sent a line longer than %zu MiB", RH_LINE_BYTES_MAX >> 20);
    }
    if (newline == NULL) return RH_OK;
    rh_status status = one_line(lines, rh_dynbuf_data(&lines->rest), lines->rest.length, error);
    rh_dynbuf_clear(&lines->rest);
    if (status != RH_OK) return status;
    bytes = newline + 1;
  }
  return RH_OK;
}

rh_status rh_lines_end(rh_lines *lines, rh_error *error) {
  rh_status status = one_line(lines, rh_dynbuf_data(&lines->rest), lines->rest.length, error);
  rh_dynbuf_clear(&lines->rest);
  return status;
}
