// SPDX-License-Identifier: Apache-2.0
//
// A growing byte buffer with a maximum. A failed append leaves the content as it was and sets `failed`, and until
// rh_dynbuf_clear every further append is refused, so that a chain of appends may be checked once at its end, by its
// last status or by `failed`. One owner thread.
#ifndef RH_BASE_DYNBUF_H
#define RH_BASE_DYNBUF_H

#include <stddef.h>

#include "base/status.h"

typedef struct rh_dynbuf {
  char *data;    // the allocation; bytes [start, start + length) are content, always followed by a NUL
  size_t start;  // bytes already consumed at the front
  size_t length;
  size_t capacity;
  size_t max;   // length never passes this
  bool failed;  // sticky: some append did not fit
} rh_dynbuf;

void rh_dynbuf_init(rh_dynbuf *buf, size_t max);
void rh_dynbuf_free(rh_dynbuf *buf);   // back to the state after init
void rh_dynbuf_clear(rh_dynbuf *buf);  // length 0, `failed` reset, memory kept

// RH_OK, RH_TOO_LARGE or RH_NO_MEMORY.
rh_status rh_dynbuf_append(rh_dynbuf *buf, const void *bytes, size_t length);
rh_status rh_dynbuf_append_text(rh_dynbuf *buf, const char *text);
rh_status rh_dynbuf_append_char(rh_dynbuf *buf, char c);
rh_status rh_dynbuf_printf(rh_dynbuf *buf, const char *format, ...) RH_PRINTF(2, 3);

// Make room for `length` more bytes and return where to write them (then call _grow), or NULL. Does not set `failed`:
// a reader whose buffer is full may consume and ask again.
char *rh_dynbuf_reserve(rh_dynbuf *buf, size_t length);
void rh_dynbuf_grow(rh_dynbuf *buf, size_t length);  // after writing into the reserved room

void rh_dynbuf_consume(rh_dynbuf *buf, size_t length);  // drop from the front

// First content byte; a valid NUL-terminated (possibly empty) string even before the first append.
const char *rh_dynbuf_data(const rh_dynbuf *buf);

// Hand the content over as a malloc'ed NUL-terminated string (the caller frees it); NULL when memory is short or
// an append had failed. Either way the buffer is back in the state after init. `length` may be NULL.
char *rh_dynbuf_take(rh_dynbuf *buf, size_t *length);

#endif
