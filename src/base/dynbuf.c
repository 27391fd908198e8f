// SPDX-License-Identifier: Apache-2.0
//
// The growing byte buffer. It owns one allocation per buffer and belongs to one thread at a time. It never shrinks by
// itself and never calls anyone back. Appending bytes that lie inside the same buffer is a programmer's error.
#include "base/dynbuf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 128u

void rh_dynbuf_init(rh_dynbuf *buf, size_t max) {
  // A quarter of the address space leaves room for the final NUL and for doubling without overflow.
  *buf = (rh_dynbuf){.max = max < SIZE_MAX / 4 ? max : SIZE_MAX / 4};
}

void rh_dynbuf_free(rh_dynbuf *buf) {
  size_t max = buf->max;
  free(buf->data);
  *buf = (rh_dynbuf){.max = max};
}

void rh_dynbuf_clear(rh_dynbuf *buf) {
  buf->start = 0;
  buf->length = 0;
  buf->failed = false;
  if (buf->data != NULL) buf->data[0] = '\0';
}

static void move_to_front(rh_dynbuf *buf) {
  if (buf->start == 0) return;
  memmove(buf->data, buf->data + buf->start, buf->length + 1);
  buf->start = 0;
}

// Give the buffer at least `need` bytes of allocation, with the content at its front.
static bool enlarge(rh_dynbuf *buf, size_t need) {
  size_t capacity = buf->capacity < CAPACITY_FIRST ? CAPACITY_FIRST : buf->capacity * 2;
  if (capacity > buf->max + 1) capacity = buf->max + 1;
  if (capacity < need) capacity = need;
  if (buf->start > 0) move_to_front(buf);
  char *data = realloc(buf->data, capacity);
  if (data == NULL) return false;
  buf->data = data;
  buf->capacity = capacity;
  buf->data[buf->length] = '\0';
  return true;
}

// Room for `extra` bytes and the NUL behind the content.
static rh_status make_room(rh_dynbuf *buf, size_t extra) {
  assert(buf->length <= buf->max);
  if (extra > buf->max - buf->length) return RH_TOO_LARGE;
  size_t need = buf->length + extra + 1;
  if (buf->data != NULL && need <= buf->capacity - buf->start) return RH_OK;
  // Moving is cheap enough only when it frees at least half of the allocation; else a queue that is nearly full would
  // be moved for every append. At the largest allowed capacity there is no choice.
  bool may_move = buf->start >= buf->capacity / 2 || buf->capacity > buf->max;
  if (buf->data != NULL && need <= buf->capacity && may_move) {
    move_to_front(buf);
    return RH_OK;
  }
  return enlarge(buf, need) ? RH_OK : RH_NO_MEMORY;
}

// make_room for the appends: notes the failure, and refuses after one, so that the last status of a chain tells of a
// hole.
static rh_status room_or_fail(rh_dynbuf *buf, size_t extra) {
  rh_status status = buf->failed ? RH_TOO_LARGE : make_room(buf, extra);
  if (status != RH_OK) buf->failed = true;
  return status;
}

// Whether that many bytes and the NUL go behind the content as it stands: nearly always.
static inline bool has_room(const rh_dynbuf *buf, size_t extra) {
  return buf->data != NULL && !buf->failed && extra < buf->capacity - buf->start - buf->length &&
         extra <= buf->max - buf->length;
}

rh_status rh_dynbuf_append(rh_dynbuf *buf, const void *bytes, size_t length) {
  if (has_room(buf, length)) {
    char *end = buf->data + buf->start + buf->length;
    if (length > 0) memcpy(end, bytes, length);
    end[length] = '\0';
    buf->length += length;
    return RH_OK;
  }
  rh_status status = room_or_fail(buf, length);
  if (status != RH_OK || length == 0) return status;
  memcpy(buf->data + buf->start + buf->length, bytes, length);
  rh_dynbuf_grow(buf, length);
  return RH_OK;
}

rh_status rh_dynbuf_append_text(rh_dynbuf *buf, const char *text) { return rh_dynbuf_append(buf, text, strlen(text)); }

rh_status rh_dynbuf_append_char(rh_dynbuf *buf, char c) {
  if (!has_room(buf, 1)) return rh_dynbuf_append(buf, &c, 1);
  char *end = buf->data + buf->start + buf->length++;
  end[0] = c;
  end[1] = '\0';
  return RH_OK;
}

RH_PRINTF(2, 0)
static rh_status append_formatted(rh_dynbuf *buf, const char *format, va_list arguments) {
  rh_status status = room_or_fail(buf, 0);
  if (status != RH_OK) return status;
  size_t room = buf->capacity - buf->start - buf->length;
  if (room > buf->max - buf->length + 1) room = buf->max - buf->length + 1;
  va_list again;
  va_copy(again, arguments);
  int wanted = vsnprintf(buf->data + buf->start + buf->length, room, format, arguments);
  if (wanted < 0) {
    status = RH_INTERNAL;
  } else if ((size_t)wanted >= room) {
    buf->data[buf->start + buf->length] = '\0';
    status = make_room(buf, (size_t)wanted);
    if (status == RH_OK) (void)vsnprintf(buf->data + buf->start + buf->length, (size_t)wanted + 1, format, again);
  }
  va_end(again);
  if (status == RH_OK) {
    rh_dynbuf_grow(buf, (size_t)wanted);
  } else {
    buf->data[buf->start + buf->length] = '\0';
    buf->failed = true;
  }
  return status;
}

rh_status rh_dynbuf_printf(rh_dynbuf *buf, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  rh_status status = append_formatted(buf, format, arguments);
  va_end(arguments);
  return status;
}

char *rh_dynbuf_reserve(rh_dynbuf *buf, size_t length) {
  if (!has_room(buf, length) && (buf->failed || make_room(buf, length) != RH_OK)) return NULL;
  return buf->data + buf->start + buf->length;
}

void rh_dynbuf_grow(rh_dynbuf *buf, size_t length) {
  assert(buf->data != NULL && length < buf->capacity - buf->start - buf->length);
  assert(length <= buf->max - buf->length);
  buf->length += length;
  buf->data[buf->start + buf->length] = '\0';
}

void rh_dynbuf_consume(rh_dynbuf *buf, size_t length) {
  assert(length <= buf->length);
  if (length == 0) return;
  buf->start += length;
  buf->length -= length;
  if (buf->length == 0) {
    buf->start = 0;
    buf->data[0] = '\0';
  }
}

const char *rh_dynbuf_data(const rh_dynbuf *buf) { return buf->data == NULL ? "" : buf->data + buf->start; }

char *rh_dynbuf_take(rh_dynbuf *buf, size_t *length) {
  char *data = NULL;
  size_t taken = 0;
  if (!buf->failed && make_room(buf, 0) == RH_OK) {
    move_to_front(buf);
    data = buf->data;
    taken = buf->length;
    buf->data = NULL;
  }
  if (length != NULL) *length = taken;
  rh_dynbuf_free(buf);
  return data;
}
