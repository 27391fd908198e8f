// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the filters over texts.
// Data owned: none. Threads: the render's.
// Not here: filters for web pages and for looking at values; the parser names them as unknown.
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

// Filters take anything and work on its text.
static bool upper(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_str(render, self, &self) && rh_tpl_change_case(render, self, true, out);
}

static bool lower(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_str(render, self, &self) && rh_tpl_change_case(render, self, false, out);
}

static tpl_value first_char(tpl_value text) {
  return tpl_text(text.as.text, rh_tpl_char_offset(text.as.text, text.length, 1));
}

static tpl_value after_first(tpl_value text) {
  size_t first = rh_tpl_char_offset(text.as.text, text.length, 1);
  return tpl_text(text.as.text + first, text.length - first);
}

static bool capitalize(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  rh_dynbuf buffer;
  if (!rh_tpl_str(render, self, &self) || !rh_tpl_spend(render, self.length / 8)) return false;
  rh_tpl_buffer(&buffer);
  rh_tpl_write_case(first_char(self), true, &buffer);
  rh_tpl_write_case(after_first(self), false, &buffer);
  return rh_tpl_text_take(render, &buffer, out);
}

static bool splits_title(const char *text, size_t length) {
  return strchr("-({[<", text[0]) != NULL || rh_tpl_space_length(text, length) > 0;
}

static bool title(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  rh_dynbuf buffer;
  if (!rh_tpl_str(render, self, &self) || !rh_tpl_spend(render, self.length / 8)) return false;
  rh_tpl_buffer(&buffer);
  for (size_t at = 0; at < self.length;) {
    size_t end = at, used;
    bool splits = self.as.text[at] != '\0' && splits_title(self.as.text + at, self.length - at);
    while (end < self.length &&
           (self.as.text[end] != '\0' && splits_title(self.as.text + end, self.length - end)) == splits) {
      (void)rh_tpl_decode_utf8(self.as.text + end, self.length - end, &used);
      end += used;
    }
    tpl_value part = tpl_text(self.as.text + at, end - at);
    rh_tpl_write_case(first_char(part), true, &buffer);
    rh_tpl_write_case(after_first(part), false, &buffer);
    at = end;
  }
  return rh_tpl_text_take(render, &buffer, out);
}

static bool trim(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return rh_tpl_str(render, self, &self) && rh_tpl_strip_given(render, self, args[0], true, true, out);
}

static bool replace(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_value from, to;
  int64_t most;
  tpl_value count = args[2].kind == V_NONE ? tpl_missing() : args[2];
  return rh_tpl_str(render, self, &self) && rh_tpl_str(render, args[0], &from) && rh_tpl_str(render, args[1], &to) &&
         rh_tpl_want_int(render, "replace()'s count", count, -1, &most) &&
         rh_tpl_replace(render, self, from, to, most, out);
}

// The characters that a line is indented by: a text, or a number of spaces.
static bool indention(tpl_render *render, tpl_value width, tpl_value *out) {
  static const tpl_value space = {.kind = V_STRING, .as.text = " ", .length = 1};
  int64_t count;
  *out = width;
  if (width.kind == V_STRING) return true;
  return rh_tpl_want_int(render, "indent()'s width", width, 4, &count) &&
         rh_tpl_binary(render, OP_MUL, space, tpl_int(count), out);
}

// args: width, first, blank
static bool indent(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_value by, whole;
  tpl_list *lines;
  rh_dynbuf buffer;
  if (!rh_tpl_want_text(render, "what indent() works on", self) || !indention(render, args[0], &by)) return false;
  if (!rh_tpl_binary(render, OP_ADD, self, TPL_LITERAL("\n"), &whole)) return false;
  if (!rh_tpl_split_lines(render, whole, false, &lines)) return false;
  rh_tpl_buffer(&buffer);
  if (rh_tpl_truth(args[1])) (void)rh_dynbuf_append(&buffer, by.as.text, by.length);
  for (size_t i = 0; i < lines->count; i++) {
    tpl_value line = lines->items[i];
    if (i > 0) (void)rh_dynbuf_append_char(&buffer, '\n');
    if (i > 0 && (line.length > 0 || rh_tpl_truth(args[2]))) (void)rh_dynbuf_append(&buffer, by.as.text, by.length);
    (void)rh_dynbuf_append(&buffer, line.as.text, line.length);
  }
  if (!rh_tpl_text_take(render, &buffer, out)) return false;
  out->markup = self.markup;
  return true;
}

static bool center(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t width;
  return rh_tpl_str(render, self, &self) && rh_tpl_want_int(render, "center()'s width", args[0], 80, &width) &&
         rh_tpl_center(render, self, width, 'c', TPL_LITERAL(" "), out);
}

// args: length, killwords, end, leeway
static bool truncate(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t length, leeway;
  tpl_value end = args[2].kind == V_MISSING ? TPL_LITERAL("...") : args[2];
  tpl_value given = args[3].kind == V_NONE ? tpl_missing() : args[3];
  if (!rh_tpl_want_text(render, "what truncate() works on", self) ||
      !rh_tpl_want_text(render, "truncate()'s end", end) ||
      !rh_tpl_want_int(render, "truncate()'s length", args[0], 255, &length) ||
      !rh_tpl_want_int(render, "truncate()'s leeway", given, 5, &leeway))
    return false;
  if (!rh_tpl_spend(render, self.length / 64 + end.length / 64)) return false;
  int64_t end_chars = (int64_t)rh_tpl_count_chars(end.as.text, end.length);
  if (length < end_chars || leeway < 0)
    return rh_tpl_fail(render, "truncate() with a length shorter than its end, or a leeway below 0");
  *out = self;
  int64_t chars = (int64_t)rh_tpl_count_chars(self.as.text, self.length);
  if (chars <= length || chars - length <= leeway) return true;
  tpl_value kept = tpl_text(self.as.text, rh_tpl_char_offset(self.as.text, self.length, (size_t)(length - end_chars)));
  const char *space = rh_tpl_truth(args[1]) || kept.length == 0 ? NULL : memrchr(kept.as.text, ' ', kept.length);
  if (space != NULL) kept.length = (size_t)(space - kept.as.text);
  return rh_tpl_binary(render, OP_ADD, kept, end, out);
}

static bool wordcount(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  int64_t words = 0;
  bool inside = false;
  if (!rh_tpl_str(render, self, &self) || !rh_tpl_spend_text(render, self.length)) return false;
  for (size_t at = 0, used; at < self.length; at += used) {
    uint32_t code = rh_tpl_decode_utf8(self.as.text + at, self.length - at, &used);
    bool word = code == '_' || rh_tpl_char_is(code, TPL_ALNUM);
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  *out = tpl_int(words);
  return true;
}

static bool format(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  if (args->count > 0 && args->keyword_count > 0) {
    return rh_tpl_fail(render, "can't handle positional and keyword arguments at the same time");
  }
  return rh_tpl_str(render, self, &self) && rh_tpl_percent(render, self, args, out);
}

static bool escape(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  *out = self;
  if (self.kind == V_STRING && self.markup) return true;
  return rh_tpl_str(render, self, &self) && rh_tpl_escape(render, self, out);
}

static bool forceescape(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_str(render, self, &self) && rh_tpl_escape(render, self, out);
}

static bool safe(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  if (!rh_tpl_str(render, self, out)) return false;
  out->markup = true;
  return true;
}

static bool string(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_str(render, self, out);
}

// args: d, attribute
static bool join(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *items, *values;
  tpl_value separator = TPL_LITERAL("");
  if (!rh_tpl_items(render, self, &items)) return false;
  if (args[0].kind != V_MISSING && !rh_tpl_str(render, args[0], &separator)) return false;
  if (args[1].kind == V_MISSING || args[1].kind == V_NONE) return rh_tpl_join(render, separator, items, false, out);
  values = rh_tpl_list_new(render, items->count);
  for (size_t i = 0; values != NULL && i < items->count; i++) {
    tpl_value value;
    if (!rh_tpl_path(render, items->items[i], args[1], tpl_missing(), &value) ||
        !rh_tpl_list_push(render, values, value))
      return false;
  }
  return values != NULL && rh_tpl_join(render, separator, values, false, out);
}

static bool tojson(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  rh_dynbuf buffer;
  rh_tpl_buffer(&buffer);
  if (rh_tpl_write_json(render, self, args, &buffer)) return rh_tpl_text_take(render, &buffer, out);
  rh_dynbuf_free(&buffer);
  return false;
}

const tpl_function rh_tpl_text_filters[] = {
    {.name = "upper", .call = upper},
    {.name = "lower", .call = lower},
    {.name = "capitalize", .call = capitalize},
    {.name = "title", .call = title},
    {.name = "trim", .call = trim, .parameters = {"chars"}},
    {.name = "replace", .call = replace, .required = 2, .parameters = {"old", "new", "count"}},
    {.name = "indent", .call = indent, .parameters = {"width", "first", "blank"}},
    {.name = "center", .call = center, .parameters = {"width"}},
    {.name = "truncate", .call = truncate, .parameters = {"length", "killwords", "end", "leeway"}},
    {.name = "wordcount", .call = wordcount},
    {.name = "format", .raw = format},
    {.name = "escape", .call = escape},
    {.name = "e", .call = escape},
    {.name = "forceescape", .call = forceescape},
    {.name = "safe", .call = safe},
    {.name = "string", .call = string},
    {.name = "join", .call = join, .parameters = {"d", "attribute"}},
    {.name = "tojson", .call = tojson, .parameters = {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {.name = NULL},
};
