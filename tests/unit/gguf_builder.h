// SPDX-License-Identifier: Apache-2.0
//
// GGUF headers made in memory, for the tests of the parser and of what is concluded from it. Counts are filled in by
// gguf_finish, so a header may be written in any order of calls: pairs first, then tensors.
#ifndef RH_TESTS_GGUF_BUILDER_H
#define RH_TESTS_GGUF_BUILDER_H

#include <string.h>

#include "base/dynbuf.h"

typedef struct gguf_builder {
  rh_dynbuf out;
  uint64_t pairs, tensors;
} gguf_builder;

static inline void gguf_put(rh_dynbuf *out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) (void)rh_dynbuf_append_char(out, (char)(value >> (8 * i) & 0xff));
}

static inline void gguf_put_text(rh_dynbuf *out, const char *text) {
  gguf_put(out, strlen(text), 8);
  (void)rh_dynbuf_append_text(out, text);
}

static inline void gguf_begin(gguf_builder *b, const char *architecture) {
  *b = (gguf_builder){0};
  rh_dynbuf_init(&b->out, (size_t)16 << 20);
  (void)rh_dynbuf_append_text(&b->out, "GGUF");
  gguf_put(&b->out, 3, 4);
  gguf_put(&b->out, 0, 8);
  gguf_put(&b->out, 0, 8);
  gguf_put_text(&b->out, "general.architecture");
  gguf_put(&b->out, 8, 4);
  gguf_put_text(&b->out, architecture);
  b->pairs = 1;
}

static inline void gguf_number(gguf_builder *b, const char *key, uint32_t value) {
  gguf_put_text(&b->out, key);
  gguf_put(&b->out, 4, 4);
  gguf_put(&b->out, value, 4);
  b->pairs++;
}

// `type`: 4 = unsigned 32, 5 = signed 32, 7 = boolean.
static inline void gguf_list(gguf_builder *b, const char *key, unsigned type, const int *values, size_t count) {
  gguf_put_text(&b->out, key);
  gguf_put(&b->out, 9, 4);
  gguf_put(&b->out, type, 4);
  gguf_put(&b->out, count, 8);
  for (size_t i = 0; i < count; i++) gguf_put(&b->out, (uint64_t)values[i], type == 7 ? 1 : 4);
  b->pairs++;
}

static inline void gguf_texts(gguf_builder *b, const char *key, size_t count) {
  gguf_put_text(&b->out, key);
  gguf_put(&b->out, 9, 4);
  gguf_put(&b->out, 8, 4);
  gguf_put(&b->out, count, 8);
  for (size_t i = 0; i < count; i++) gguf_put_text(&b->out, "t");
  b->pairs++;
}

// rows 0: a vector.
static inline void gguf_tensor(gguf_builder *b, const char *name, uint64_t columns, uint64_t rows, uint32_t type) {
  gguf_put_text(&b->out, name);
  gguf_put(&b->out, rows > 0 ? 2 : 1, 4);
  gguf_put(&b->out, columns, 8);
  if (rows > 0) gguf_put(&b->out, rows, 8);
  gguf_put(&b->out, type, 4);
  gguf_put(&b->out, 0, 8);
  b->tensors++;
}

static inline void gguf_finish(gguf_builder *b) {
  for (unsigned i = 0; i < 8; i++) {
    b->out.data[8 + i] = (char)(b->tensors >> (8 * i) & 0xff);
    b->out.data[16 + i] = (char)(b->pairs >> (8 * i) & 0xff);
  }
}

#endif
