// SPDX-License-Identifier: Apache-2.0
//
// Writing JSON into a buffer. Owns no data; any thread. Strings are on the path of every streamed token, so runs of
// plain bytes are copied whole. It never produces anything but valid UTF-8 and never pretty-prints.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"

// Parsed values are at most RH_JSON_DEPTH_MAX deep; our own wrap them in a few levels.
#define WRITE_DEPTH_MAX (2 * RH_JSON_DEPTH_MAX)

// Bytes that may be copied as they are: printable ASCII (and DEL) without the quote and the backslash.
static inline bool is_plain(unsigned char byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

// True when all eight bytes are plain. The tests for "less than" and "equal" on every byte of a word at once are the
// classic borrow tricks: a byte's high bit comes out set when the byte is less than n, or zero after the exclusive or.
static inline bool word_is_plain(uint64_t word) {
  const uint64_t ones = UINT64_C(0x0101010101010101);
  const uint64_t highs = UINT64_C(0x8080808080808080);
  uint64_t control = word - ones * 0x20;
  uint64_t quote = (word ^ (ones * '"')) - ones;
  uint64_t backslash = (word ^ (ones * '\\')) - ones;
  // False alarms are possible where a borrow runs on into the next byte; they only cost the slower look.
  return ((control | quote | backslash | word) & highs) == 0;
}

// The number of plain bytes and whole valid characters from `at` on.
static size_t plain_run(const char *text, size_t at, size_t length) {
  size_t i = at;
  while (i < length) {
    uint64_t word;
    while (length - i >= sizeof word) {
      memcpy(&word, text + i, sizeof word);
      if (!word_is_plain(word)) break;
      i += sizeof word;
    }
    if (i == length) break;
    unsigned char byte = (unsigned char)text[i];
    if (is_plain(byte)) {
      i++;
      continue;
    }
    size_t step = byte < 0x80 ? 0 : rh_utf8_char_length(text + i, length - i);
    if (step == 0) break;
    i += step;
  }
  return i - at;
}

static rh_status append_escaped(rh_dynbuf *buf, unsigned char byte) {
  static const char digits[] = "0123456789abcdef";
  switch (byte) {
    case '"': return rh_dynbuf_append(buf, "\\\"", 2);
    case '\\': return rh_dynbuf_append(buf, "\\\\", 2);
    case '\n': return rh_dynbuf_append(buf, "\\n", 2);
    case '\r': return rh_dynbuf_append(buf, "\\r", 2);
    case '\t': return rh_dynbuf_append(buf, "\\t", 2);
    case '\b': return rh_dynbuf_append(buf, "\\b", 2);
    case '\f': return rh_dynbuf_append(buf, "\\f", 2);
    default: break;
  }
  if (byte >= 0x80) return rh_dynbuf_append(buf, "\xEF\xBF\xBD", 3);  // U+FFFD for a byte that is no character
  char escape[] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
  return rh_dynbuf_append(buf, escape, sizeof escape);
}

// A failed append leaves the content as it was: take back what was written since `mark`.
static rh_status take_back(rh_dynbuf *buf, size_t mark, rh_status status) {
  if (status == RH_OK) return status;
  if (buf->data != NULL) {
    buf->length = mark;
    buf->data[buf->start + mark] = '\0';
  }
  buf->failed = true;
  return status;
}

// Copies eight bytes; false when they are not all plain.
static inline bool copy_plain_word(char *to, const char *text) {
  uint64_t word;
  memcpy(&word, text, sizeof word);
  memcpy(to, &word, sizeof word);
  return word_is_plain(word);
}

// Copies fewer than eight bytes; false when they are not all plain. Two halves may overlap.
static inline bool copy_plain_short(char *to, const char *text, size_t length) {
  if (length >= 4) {
    uint32_t first, last;
    memcpy(&first, text, 4);
    memcpy(&last, text + length - 4, 4);
    memcpy(to, &first, 4);
    memcpy(to + length - 4, &last, 4);
    return word_is_plain(first | (uint64_t)last << 32);
  }
  bool plain = true;
  for (size_t i = 0; i < length; i++) {
    to[i] = text[i];
    plain = plain && is_plain((unsigned char)text[i]);
  }
  return plain;
}

// Copies the plain words a text begins with; how many bytes that were. The last word may overlap the one before.
static inline size_t copy_plain(char *to, const char *text, size_t length) {
  if (length < 8) return copy_plain_short(to, text, length) ? length : 0;
  size_t i = 0;
  for (; length - i >= 8; i += 8) {
    if (!copy_plain_word(to + i, text + i)) return i;
  }
  return copy_plain_word(to + length - 8, text + length - 8) ? length : i;
}

bool rh_json_quote(char *to, const char *text, size_t length) {
  *to++ = '"';
  to[length] = '"';
  size_t i = copy_plain(to, text, length);
  if (i == length) return true;
  if (plain_run(text, i, length) != length - i) return false;
  memcpy(to + i, text + i, length - i);
  return true;
}

static rh_status append_string(rh_dynbuf *buf, const char *text, size_t length) {
  // One growth for the usual case, where nothing needs an escape. When this fails the first append says so.
  char *to = rh_dynbuf_reserve(buf, length + 2);
  if (to != NULL && rh_json_quote(to, text, length)) {
    rh_dynbuf_grow(buf, length + 2);
    return RH_OK;
  }
  size_t i = 0;
  rh_status status = rh_dynbuf_append_char(buf, '"');
  while (status == RH_OK && i < length) {
    size_t run = plain_run(text, i, length);
    if (run > 0) {
      status = rh_dynbuf_append(buf, text + i, run);
      i += run;
    } else {
      status = append_escaped(buf, (unsigned char)text[i]);
      i++;
    }
  }
  return status == RH_OK ? rh_dynbuf_append_char(buf, '"') : status;
}

rh_status rh_json_append_string(rh_dynbuf *buf, const char *text, size_t length) {
  size_t mark = buf->length;
  return take_back(buf, mark, append_string(buf, text, length));
}

static rh_status append_integer(rh_dynbuf *buf, int64_t value) {
  char text[RH_INT_TEXT_SIZE];
  return rh_dynbuf_append(buf, text, rh_text_format_int(text, value));
}

static rh_status append_real(rh_dynbuf *buf, double value) {
  char text[40];
  if (!isfinite(value)) return rh_dynbuf_append_text(buf, "null");
  size_t length = rh_text_format_number(text, sizeof text, value);
  rh_status status = rh_dynbuf_append(buf, text, length);
  // A real stays a real for whoever reads it back.
  if (status == RH_OK && strpbrk(text, ".e") == NULL) status = rh_dynbuf_append(buf, ".0", 2);
  return status;
}

static rh_status append_value(rh_dynbuf *buf, const json_t *value, int depth);

static rh_status append_object(rh_dynbuf *buf, const json_t *value, int depth) {
  const char *key;
  json_t *member;
  bool first = true;
  rh_status status = rh_dynbuf_append_char(buf, '{');
  // jansson's iterators take a plain pointer, though they change nothing.
  json_t *object = (json_t *)(uintptr_t)value;
  json_object_foreach(object, key, member) {
    if (status == RH_OK && !first) status = rh_dynbuf_append_char(buf, ',');
    if (status == RH_OK) status = append_string(buf, key, strlen(key));
    if (status == RH_OK) status = rh_dynbuf_append_char(buf, ':');
    if (status == RH_OK) status = append_value(buf, member, depth + 1);
    if (status != RH_OK) return status;
    first = false;
  }
  return status == RH_OK ? rh_dynbuf_append_char(buf, '}') : status;
}

static rh_status append_array(rh_dynbuf *buf, const json_t *value, int depth) {
  rh_status status = rh_dynbuf_append_char(buf, '[');
  size_t count = json_array_size(value);
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    if (i > 0) status = rh_dynbuf_append_char(buf, ',');
    if (status == RH_OK) status = append_value(buf, json_array_get(value, i), depth + 1);
  }
  return status == RH_OK ? rh_dynbuf_append_char(buf, ']') : status;
}

static rh_status append_value(rh_dynbuf *buf, const json_t *value, int depth) {
  if (value == NULL) return rh_dynbuf_append_text(buf, "null");
  if (depth > WRITE_DEPTH_MAX) return RH_TOO_LARGE;
  switch (json_typeof(value)) {
    case JSON_OBJECT: return append_object(buf, value, depth);
    case JSON_ARRAY: return append_array(buf, value, depth);
    case JSON_STRING: return append_string(buf, json_string_value(value), json_string_length(value));
    case JSON_INTEGER: return append_integer(buf, json_integer_value(value));
    case JSON_REAL: return append_real(buf, json_real_value(value));
    case JSON_TRUE: return rh_dynbuf_append_text(buf, "true");
    case JSON_FALSE: return rh_dynbuf_append_text(buf, "false");
    case JSON_NULL: return rh_dynbuf_append_text(buf, "null");
  }
  return RH_INTERNAL;
}

rh_status rh_json_append_value(rh_dynbuf *buf, const json_t *value) {
  size_t mark = buf->length;
  return take_back(buf, mark, append_value(buf, value, 1));
}
