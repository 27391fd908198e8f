// SPDX-License-Identifier: Apache-2.0
//
// The parser of server-sent events. Owns two bounded buffers. One owner thread. Ids and retry times are read over: nobody here asks
// for a stream again from its middle.
#include "base/sse.h"

#include <assert.h>
#include <string.h>

void rh_sse_init(rh_sse *sse, size_t event_bytes_max) {
  memset(sse, 0, sizeof *sse);
  rh_dynbuf_init(&sse->line, event_bytes_max);
  rh_dynbuf_init(&sse->data, event_bytes_max);
}

void rh_sse_free(rh_sse *sse) {
  rh_dynbuf_free(&sse->line);
  rh_dynbuf_free(&sse->data);
}

static rh_status dispatch(rh_sse *sse, rh_sse_fn fn, void *ctx) {
  rh_status status = RH_OK;
  // An event without data is no event.
  if (sse->has_data) {
    rh_sse_event event = {
        .event = sse->event[0] != '\0' ? sse->event : "message",
        .data = rh_dynbuf_data(&sse->data),
        .length = sse->data.length,
    };
    status = fn(ctx, &event);
  }
  rh_dynbuf_clear(&sse->data);
  sse->event[0] = '\0';
  sse->has_data = false;
  return status;
}

static rh_status take_field(rh_sse *sse, const char *line, size_t length) {
  const char *colon = memchr(line, ':', length);
  size_t name_length = colon == NULL ? length : (size_t)(colon - line);
  const char *value = colon == NULL ? line + length : colon + 1;
  size_t value_length = colon == NULL ? 0 : length - name_length - 1;
  if (value_length > 0 && value[0] == ' ') {
    value++;
    value_length--;
  }
  if (name_length == 4 && memcmp(line, "data", 4) == 0) {
    if (sse->has_data && rh_dynbuf_append_char(&sse->data, '\n') != RH_OK) return RH_TOO_LARGE;
    sse->has_data = true;
    return rh_dynbuf_append(&sse->data, value, value_length);
  }
  if (name_length == 5 && memcmp(line, "event", 5) == 0) {
    size_t kept = value_length < sizeof sse->event ? value_length : sizeof sse->event - 1;
    memcpy(sse->event, value, kept);
    sse->event[kept] = '\0';
  }
  return RH_OK;
}

static rh_status take_line(rh_sse *sse, const char *line, size_t length, rh_sse_fn fn, void *ctx) {
  if (!sse->begun && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
    line += 3;
    length -= 3;
  }
  sse->begun = true;
  if (length == 0) return dispatch(sse, fn, ctx);
  return line[0] == ':' ? RH_OK : take_field(sse, line, length);  // ':' begins a comment
}

// The rest of a line, whose end is here. One that came in one piece is read where it lies.
static rh_status end_line(rh_sse *sse, const char *rest, size_t length, rh_sse_fn fn, void *ctx) {
  if (sse->line.length == 0) {
    return length <= sse->line.max ? take_line(sse, rest, length, fn, ctx) : RH_TOO_LARGE;
  }
  rh_status status = rh_dynbuf_append(&sse->line, rest, length);
  if (status == RH_OK) status = take_line(sse, rh_dynbuf_data(&sse->line), sse->line.length, fn, ctx);
  rh_dynbuf_clear(&sse->line);
  return status;
}

rh_status rh_sse_feed(rh_sse *sse, const char *bytes, size_t length, rh_sse_fn fn, void *ctx) {
  assert(sse != NULL && fn != NULL && (bytes != NULL || length == 0));
  for (size_t i = 0; i < length;) {
    if (sse->after_cr) {
      sse->after_cr = false;
      if (bytes[i] == '\n') {
        i++;
        continue;
      }
    }
    size_t end = i;
    while (end < length && bytes[end] != '\n' && bytes[end] != '\r') end++;
    rh_status status;
    if (end == length) {
      status = rh_dynbuf_append(&sse->line, bytes + i, end - i);
    } else {
      sse->after_cr = bytes[end] == '\r';
      status = end_line(sse, bytes + i, end - i, fn, ctx);
    }
    if (status != RH_OK) return status;
    i = end + 1;
  }
  return RH_OK;
}

rh_status rh_sse_end(rh_sse *sse, rh_sse_fn fn, void *ctx) {
  rh_status status = sse->line.length > 0 ? end_line(sse, "", 0, fn, ctx) : RH_OK;
  return status == RH_OK ? dispatch(sse, fn, ctx) : status;
}
