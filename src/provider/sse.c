// SPDX-License-Identifier: Apache-2.0
//
// The reader of server-sent events. Owns two bounded buffers. One owner thread. Ids and retry times are read over: an answer is
// never asked for again from its middle.
#include "provider/sse.h"

#include <assert.h>
#include <string.h>

void rh_provider_sse_init(rh_provider_sse *sse, size_t event_bytes_max) {
  memset(sse, 0, sizeof *sse);
  rh_dynbuf_init(&sse->line, event_bytes_max);
  rh_dynbuf_init(&sse->data, event_bytes_max);
}

void rh_provider_sse_free(rh_provider_sse *sse) {
  rh_dynbuf_free(&sse->line);
  rh_dynbuf_free(&sse->data);
}

static bool dispatch(rh_provider_sse *sse, rh_provider_sse_fn fn, void *ctx) {
  bool more = true;
  // An event without data is no event.
  if (sse->has_data) more = fn(ctx, sse->event, rh_dynbuf_data(&sse->data), sse->data.length);
  rh_dynbuf_clear(&sse->data);
  sse->event[0] = '\0';
  sse->has_data = false;
  return more;
}

static rh_status take_field(rh_provider_sse *sse, const char *line, size_t length) {
  const char *colon = memchr(line, ':', length);
  size_t name_length = colon == NULL ? length : (size_t)(colon - line);
  const char *value = colon == NULL ? line + length : colon + 1;
  size_t value_length = (size_t)(line + length - value);
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

static rh_status take_line(rh_provider_sse *sse, const char *line, size_t length, rh_provider_sse_fn fn, void *ctx,
                           bool *more) {
  if (!sse->begun && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
    line += 3;
    length -= 3;
  }
  sse->begun = true;
  if (length == 0) {
    *more = dispatch(sse, fn, ctx);
    return RH_OK;
  }
  return line[0] == ':' ? RH_OK : take_field(sse, line, length);  // ':' begins a comment
}

rh_status rh_provider_sse_feed(rh_provider_sse *sse, const char *bytes, size_t length, rh_provider_sse_fn fn,
                               void *ctx) {
  assert(sse != NULL && fn != NULL && (bytes != NULL || length == 0));
  bool more = true;
  for (size_t i = 0; i < length && more;) {
    if (sse->after_cr) {
      sse->after_cr = false;
      if (bytes[i] == '\n') {
        i++;
        continue;
      }
    }
    size_t end = i;
    while (end < length && bytes[end] != '\n' && bytes[end] != '\r') end++;
    bool whole = end < length;
    rh_status status = RH_OK;
    if (!whole || sse->line.length > 0) status = rh_dynbuf_append(&sse->line, bytes + i, end - i);
    if (status == RH_OK && whole) {
      sse->after_cr = bytes[end] == '\r';
      // A line that came in one piece is read where it lies.
      if (sse->line.length > 0)
        status = take_line(sse, rh_dynbuf_data(&sse->line), sse->line.length, fn, ctx, &more);
      else
        status = take_line(sse, bytes + i, end - i, fn, ctx, &more);
      rh_dynbuf_clear(&sse->line);
    }
    if (status != RH_OK) return status;
    i = end + 1;
  }
  return RH_OK;
}

rh_status rh_provider_sse_end(rh_provider_sse *sse, rh_provider_sse_fn fn, void *ctx) {
  bool more = true;
  rh_status status = RH_OK;
  if (sse->line.length > 0) status = take_line(sse, rh_dynbuf_data(&sse->line), sse->line.length, fn, ctx, &more);
  rh_dynbuf_clear(&sse->line);
  if (status == RH_OK && more) (void)dispatch(sse, fn, ctx);
  return status;
}
