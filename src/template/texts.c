// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what filters and methods of texts share: case, white space, replacing, joining, lines, padding, HTML.
// Data owned: none. Threads: the render's.
// Not here: capital letters that are several characters, but for ß; and Turkish or Greek rules, but for the final sigma.
#include <string.h>
#include <utf8proc.h>

#include "template/render.h"
#include "template/unicode.h"

static void put(uint32_t code, rh_dynbuf *out) {
  char bytes[4];
  (void)rh_dynbuf_append(out, bytes, rh_tpl_encode_utf8(code, bytes));
}

static bool is_letter_at(tpl_value text, size_t at) {
  size_t used;
  return at < text.length && rh_tpl_char_is(rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used), TPL_ALPHA);
}

// A sigma at the end of a word has a form of its own.
static void put_lower(uint32_t code, tpl_value text, size_t next, bool after_letter, rh_dynbuf *out) {
  if (code == 0x130) {
    put('i', out);
    put(0x307, out);
  } else if (code == 0x3A3 && after_letter && !is_letter_at(text, next)) {
    put(0x3C2, out);
  } else {
    put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), out);
  }
}

size_t rh_tpl_write_case_at(tpl_value text, size_t at, bool upper, bool after_letter, rh_dynbuf *out) {
  size_t used;
  uint32_t code = rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
  if (code < 0x80) {
    bool other = upper ? code >= 'a' && code <= 'z' : code >= 'A' && code <= 'Z';
    (void)rh_dynbuf_append_char(out, (char)(other ? code ^ 0x20 : code));
  } else if (!upper) {
    put_lower(code, text, at + used, after_letter, out);
  } else if (code == 0xDF) {
    (void)rh_dynbuf_append_text(out, "SS");
  } else {
    put((uint32_t)utf8proc_toupper((utf8proc_int32_t)code), out);
  }
  return used;
}

void rh_tpl_write_case(tpl_value text, bool upper, rh_dynbuf *out) {
  for (size_t at = 0, before = 0; at < text.length;) {
    // Only a sigma asks what stands before it.
    bool after_letter = at > 0 && (unsigned char)text.as.text[at] >= 0x80 && is_letter_at(text, before);
    before = at;
    at += rh_tpl_write_case_at(text, at, upper, after_letter, out);
  }
}

bool rh_tpl_change_case(tpl_render *render, tpl_value text, bool upper, tpl_value *out) {
  rh_dynbuf buffer;
  if (!rh_tpl_spend_text(render, text.length)) return false;
  rh_tpl_buffer(&buffer);
  rh_tpl_write_case(text, upper, &buffer);
  return rh_tpl_text_take(render, &buffer, out);
}

// The bytes of the first character when it is one of `chars` (NULL: white space), else 0.
static size_t stripped_length(const char *text, size_t length, const tpl_value *chars) {
  size_t used;
  if (chars == NULL) return rh_tpl_space_length(text, length);
  (void)rh_tpl_decode_utf8(text, length, &used);
  return chars->length >= used && memmem(chars->as.text, chars->length, text, used) != NULL ? used : 0;
}

tpl_value rh_tpl_strip(tpl_value text, const tpl_value *chars, bool left, bool right) {
  size_t from = 0, to = text.length, used;
  while (left && from < to) {
    used = stripped_length(text.as.text + from, to - from, chars);
    if (used == 0) break;
    from += used;
  }
  while (right && to > from) {
    size_t at = to - 1;
    while (at > from && ((unsigned char)text.as.text[at] & 0xC0) == 0x80) at--;
    if (stripped_length(text.as.text + at, to - at, chars) == 0) break;
    to = at;
  }
  tpl_value out = tpl_text(text.as.text + from, to - from);
  out.markup = text.markup;
  return out;
}

bool rh_tpl_strip_given(tpl_render *render, tpl_value text, tpl_value chars, bool left, bool right, tpl_value *out) {
  bool given = chars.kind != V_MISSING && chars.kind != V_NONE;
  if (given && !rh_tpl_want_text(render, "strip arg", chars)) return false;
  // Each character is looked for among those given.
  if (given && chars.length > 4096) return rh_tpl_fail(render, "strip() with more than 4096 bytes of characters");
  if (given && chars.length > 16 && !rh_tpl_spend(render, text.length / 16 * (chars.length / 8))) return false;
  *out = rh_tpl_strip(text, given ? &chars : NULL, left, right);
  return rh_tpl_spend(render, (text.length - out->length) / 64);
}

static bool replace_nothing(tpl_render *render, tpl_value text, tpl_value to, int64_t most, tpl_value *out) {
  rh_dynbuf buffer;
  if (!rh_tpl_spend(render, text.length)) return false;
  rh_tpl_buffer(&buffer);
  int64_t done = 0;
  for (size_t at = 0, used = 0; at <= text.length; at += used) {
    if (most < 0 || done++ < most) (void)rh_dynbuf_append(&buffer, to.as.text, to.length);
    if (at == text.length) break;
    (void)rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
    (void)rh_dynbuf_append(&buffer, text.as.text + at, used);
  }
  return rh_tpl_text_take(render, &buffer, out);
}

bool rh_tpl_replace(tpl_render *render, tpl_value text, tpl_value from, tpl_value to, int64_t most, tpl_value *out) {
  if (from.length == 0) return replace_nothing(render, text, to, most, out);
  rh_dynbuf buffer;
  if (!rh_tpl_spend(render, text.length / 64)) return false;
  rh_tpl_buffer(&buffer);
  size_t at = 0;
  bool ok = true;
  for (int64_t done = 0; (most < 0 || done < most) && !buffer.failed && ok; done++) {
    const char *found = memmem(text.as.text + at, text.length - at, from.as.text, from.length);
    if (found == NULL) break;
    size_t place = (size_t)(found - text.as.text);
    (void)rh_dynbuf_append(&buffer, text.as.text + at, place - at);
    (void)rh_dynbuf_append(&buffer, to.as.text, to.length);
    at = place + from.length;
    ok = rh_tpl_spend(render, 1);
  }
  (void)rh_dynbuf_append(&buffer, text.as.text + at, text.length - at);
  return rh_tpl_text_take(render, &buffer, out);
}

bool rh_tpl_join(tpl_render *render, tpl_value separator, const tpl_list *items, bool strings, tpl_value *out) {
  rh_dynbuf buffer;
  rh_tpl_buffer(&buffer);
  bool ok = true;
  for (size_t i = 0; ok && i < items->count; i++) {
    if (i > 0) (void)rh_dynbuf_append(&buffer, separator.as.text, separator.length);
    if (strings && items->items[i].kind != V_STRING) {
      ok = rh_tpl_fail(render, "sequence item %zu: expected str instance, %s found", i, rh_tpl_type(items->items[i]));
    } else {
      ok = rh_tpl_write(render, items->items[i], &buffer) && rh_tpl_spend(render, 1);
    }
  }
  if (ok) return rh_tpl_text_take(render, &buffer, out);
  rh_dynbuf_free(&buffer);
  return false;
}

bool rh_tpl_split_lines(tpl_render *render, tpl_value text, bool keep, tpl_list **out) {
  *out = rh_tpl_list_new(render, 0);
  size_t from = 0;
  if (*out == NULL || !rh_tpl_spend_text(render, text.length)) return false;
  for (size_t at = 0; at < text.length;) {
    size_t used, line_break = rh_tpl_line_break(text.as.text + at, text.length - at);
    if (line_break == 0) {
      (void)rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
      at += used;
      continue;
    }
    size_t end = keep ? at + line_break : at;
    if (!rh_tpl_list_push(render, *out, tpl_text(text.as.text + from, end - from))) return false;
    from = at += line_break;
  }
  return from == text.length || rh_tpl_list_push(render, *out, tpl_text(text.as.text + from, text.length - from));
}

static void pad(rh_dynbuf *buffer, tpl_value fill, size_t count) {
  for (size_t i = 0; i < count && !buffer->failed; i++) (void)rh_dynbuf_append(buffer, fill.as.text, fill.length);
}

// side: 'c', or 'l' and 'r' for where the text goes. An odd space of a centred text is where Python has it.
bool rh_tpl_center(tpl_render *render, tpl_value text, int64_t width, char side, tpl_value fill, tpl_value *out) {
  if (!rh_tpl_spend(render, text.length / 64)) return false;
  int64_t length = (int64_t)rh_tpl_count_chars(text.as.text, text.length);
  *out = text;
  if (width <= length) return true;
  size_t more = (size_t)(width - length);
  size_t left = side == 'l' ? 0 : side == 'r' ? more : more / 2 + (more & (size_t)width & 1);
  rh_dynbuf buffer;
  rh_tpl_buffer(&buffer);
  pad(&buffer, fill, left);
  (void)rh_dynbuf_append(&buffer, text.as.text, text.length);
  pad(&buffer, fill, more - left);
  return rh_tpl_text_take(render, &buffer, out);
}

bool rh_tpl_escape(tpl_render *render, tpl_value text, tpl_value *out) {
  rh_dynbuf buffer;
  if (!rh_tpl_spend_text(render, text.length)) return false;
  rh_tpl_buffer(&buffer);
  for (size_t i = 0; i < text.length; i++) {
    char c = text.as.text[i];
    const char *instead = c == '&'    ? "&amp;"
                          : c == '<'  ? "&lt;"
                          : c == '>'  ? "&gt;"
                          : c == '"'  ? "&#34;"
                          : c == '\'' ? "&#39;"
                                      : NULL;
    if (instead != NULL) {
      (void)rh_dynbuf_append_text(&buffer, instead);
    } else {
      (void)rh_dynbuf_append_char(&buffer, c);
    }
  }
  if (!rh_tpl_text_take(render, &buffer, out)) return false;
  out->markup = true;
  return true;
}
