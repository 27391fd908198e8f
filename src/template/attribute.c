// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a.b, a["b"], a[1:2], and the paths that filters take ("a.b.0").
// Data owned: none. Threads: the render's.
// Not here: what methods do; and attributes that begin with two underscores, which the sandbox hides.
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

static bool unsafe(tpl_render *render, tpl_value of, tpl_value name, tpl_value *out) {
  const char *text = rh_arena_printf(render->arena, "access to attribute '%.*s' of '%s' object is unsafe.",
                                     (int)(name.length < 64 ? name.length : 64), name.as.text, rh_tpl_type(of));
  if (text == NULL) return rh_tpl_fail_memory(render);
  *out = rh_tpl_undefined_hint(text);
  return true;
}

// A method or property. Not found: V_MISSING.
static bool member(tpl_render *render, tpl_value of, tpl_value name, tpl_value *out) {
  *out = tpl_missing();
  if (of.kind == V_NAMESPACE) {
    tpl_value *found;
    if (!rh_tpl_dict_find(render, of.as.dict, name, &found)) return false;
    if (found != NULL) *out = *found;
    return true;
  }
  if (of.kind == V_LOOP && !rh_tpl_loop_member(render, of.as.loop, name, out)) return false;
  if (of.kind == V_CYCLER && tpl_text_is(name, "current")) *out = of.as.list->items[of.as.list->taken];
  if (of.kind == V_MACRO && tpl_text_is(name, "name")) *out = of.as.macro->node->value;
  if (out->kind != V_MISSING) return true;
  bool forbidden = false;
  const tpl_function *function = rh_tpl_method_find(of, name, &forbidden);
  if (forbidden) return unsafe(render, of, name, out);
  if (function == NULL) return true;
  tpl_method *method = rh_tpl_alloc(render, 1, sizeof *method);
  if (method == NULL) return false;
  *method = (tpl_method){.self = of, .function = function};
  *out = (tpl_value){.kind = V_METHOD, .as.method = method};
  return true;
}

bool rh_tpl_attribute(tpl_render *render, tpl_value of, tpl_value name, tpl_value *out) {
  if (of.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, of);
  if (!member(render, of, name, out)) return false;
  if (out->kind != V_MISSING) return true;
  if (of.kind == V_DICT) {
    tpl_value *found;
    if (!rh_tpl_dict_find(render, of.as.dict, name, &found)) return false;
    if (found != NULL) {
      *out = *found;
      return true;
    }
  }
  *out = rh_tpl_undefined(name, of.kind);
  return true;
}

static bool no_element(tpl_render *render, tpl_value of, tpl_value key, tpl_value *out) {
  rh_dynbuf text;
  tpl_value repr;
  rh_tpl_buffer(&text);
  (void)rh_dynbuf_printf(&text, "'%s object' has no element ", rh_tpl_type(of));
  if (!rh_tpl_write_repr(render, key, &text)) {
    rh_dynbuf_free(&text);
    return false;
  }
  if (!rh_tpl_text_take(render, &text, &repr)) return false;
  *out = (tpl_value){.kind = V_UNDEFINED, .detail = TPL_HINT, .as.text = repr.as.text, .length = repr.length};
  return true;
}

// Python's meaning of a negative index.
static bool place(int64_t index, size_t count, size_t *out) {
  if (index < 0) index += (int64_t)count;
  *out = (size_t)index;
  return index >= 0 && (size_t)index < count;
}

static bool char_at(tpl_render *render, tpl_value text, int64_t index, tpl_value *out, bool *there) {
  size_t at = 0, used;
  bool near = index >= 0 && (size_t)index < text.length;
  *there = false;
  if (!rh_tpl_spend_text(render, near ? (size_t)index : text.length)) return false;
  // From the front without counting all; most ask for the first.
  size_t count = index >= 0 ? (size_t)index + 1 : rh_tpl_count_chars(text.as.text, text.length);
  if (!place(index, count, &at)) return true;
  size_t from = rh_tpl_char_offset(text.as.text, text.length, at);
  *there = from < text.length;
  if (!*there) return true;
  (void)rh_tpl_decode_utf8(text.as.text + from, text.length - from, &used);
  *out = tpl_text(text.as.text + from, used);
  out->markup = text.markup;
  return true;
}

static bool element(tpl_render *render, tpl_value of, tpl_value key, tpl_value *out, bool *there) {
  *there = false;
  if (of.kind == V_DICT) {
    tpl_value *found;
    if (key.kind == V_LIST || key.kind == V_DICT) return true;
    if (!rh_tpl_dict_find(render, of.as.dict, key, &found)) return false;
    *there = found != NULL;
    if (*there) *out = *found;
    return true;
  }
  if (!tpl_is_whole(key)) return true;
  if (of.kind == V_STRING) return char_at(render, of, tpl_whole(key), out, there);
  if (of.kind != V_LIST && of.kind != V_TUPLE && of.kind != V_RANGE) return true;
  size_t at;
  *there = place(tpl_whole(key), of.as.list->count, &at);
  if (*there) *out = of.as.list->items[at];
  return true;
}

bool rh_tpl_item(tpl_render *render, tpl_value of, tpl_value key, tpl_value *out) {
  bool there;
  if (of.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, of);
  if (!element(render, of, key, out, &there)) return false;
  if (there) return true;
  if (key.kind != V_STRING) return no_element(render, of, key, out);
  if (!member(render, of, key, out)) return false;
  if (out->kind == V_MISSING) *out = rh_tpl_undefined(key, of.kind);
  return true;
}

bool rh_tpl_path(tpl_render *render, tpl_value of, tpl_value path, tpl_value fallback, tpl_value *out) {
  *out = of;
  if (path.kind != V_STRING) return path.kind == V_NONE || path.kind == V_MISSING || rh_tpl_item(render, of, path, out);
  for (size_t at = 0; at <= path.length;) {
    const char *dot = at < path.length ? memchr(path.as.text + at, '.', path.length - at) : NULL;
    size_t end = dot != NULL ? (size_t)(dot - path.as.text) : path.length;
    tpl_value part = tpl_text(path.as.text + at, end - at);
    if (!rh_tpl_spend(render, 1 + part.length / 64)) return false;
    int64_t number = 0;
    size_t digits = 0;
    while (digits < part.length && digits < 18 && part.as.text[digits] >= '0' && part.as.text[digits] <= '9')
      number = number * 10 + (part.as.text[digits++] - '0');
    if (digits > 0 && digits == part.length) part = tpl_int(number);
    if (!rh_tpl_item(render, *out, part, out)) return false;
    if (out->kind == V_UNDEFINED && fallback.kind != V_MISSING && fallback.kind != V_NONE) *out = fallback;
    at = end + 1;
  }
  return true;
}

static bool bound(tpl_render *render, tpl_value value, int64_t otherwise, int64_t *out) {
  *out = otherwise;
  if (value.kind == V_NONE || value.kind == V_MISSING) return true;
  if (!tpl_is_whole(value))
    return rh_tpl_fail(render, "slice indices must be integers or None or have an __index__ method");
  *out = tpl_whole(value);
  return true;
}

// Into [least, most], counted from the end when negative.
static int64_t clamp(int64_t value, int64_t count, int64_t least, int64_t most) {
  if (value < 0) value = value < -count ? least : value + count;
  return value < least ? least : value > most ? most : value;
}

static bool slice_text(tpl_render *render, tpl_value text, int64_t from, int64_t to, int64_t step, tpl_value *out) {
  if (step == 1) {
    size_t begin = rh_tpl_char_offset(text.as.text, text.length, (size_t)from);
    size_t length = to > from ? rh_tpl_char_offset(text.as.text + begin, text.length - begin, (size_t)(to - from)) : 0;
    *out = tpl_text(text.as.text + begin, length);
    out->markup = text.markup;
    return rh_tpl_spend_text(render, text.length);
  }
  tpl_list *chars;
  rh_dynbuf buffer;
  if (!rh_tpl_items(render, text, &chars)) return false;
  rh_tpl_buffer(&buffer);
  for (int64_t at = from; step > 0 ? at < to : at > to; at += step) {
    (void)rh_dynbuf_append(&buffer, chars->items[at].as.text, chars->items[at].length);
    if (step > to - at && step > 0) break;  // the next could overflow
    if (step < 0 && step < to - at) break;
  }
  if (!rh_tpl_text_take(render, &buffer, out)) return false;
  out->markup = text.markup;
  return true;
}

// What stands at a place of a range, or would stand behind its ends.
static bool range_at(const tpl_list *range, int64_t at, int64_t *out) {
  return !__builtin_mul_overflow(at, range->step, out) && !__builtin_add_overflow(*out, range->start, out);
}

bool rh_tpl_slice(tpl_render *render, tpl_value of, const tpl_value bounds[3], tpl_value *out) {
  size_t length;
  int64_t from, to, step;
  if (of.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, of);
  if (of.kind == V_DICT) return rh_tpl_fail(render, "unhashable type: 'slice'");
  if (of.kind != V_STRING && of.kind != V_LIST && of.kind != V_TUPLE && of.kind != V_RANGE) {
    return rh_tpl_fail(render, "'%s' object is not subscriptable", rh_tpl_type(of));
  }
  if (!rh_tpl_length(render, of, &length) || !bound(render, bounds[2], 1, &step)) return false;
  if (step == 0) return rh_tpl_fail(render, "slice step cannot be zero");
  int64_t count = (int64_t)length, least = step > 0 ? 0 : -1, most = step > 0 ? count : count - 1;
  if (!bound(render, bounds[0], INT64_MAX, &from) || !bound(render, bounds[1], INT64_MAX, &to)) return false;
  bool no_from = bounds[0].kind == V_NONE || bounds[0].kind == V_MISSING;
  bool no_to = bounds[1].kind == V_NONE || bounds[1].kind == V_MISSING;
  from = no_from ? (step > 0 ? 0 : count - 1) : clamp(from, count, least, most);
  to = no_to ? (step > 0 ? count : -1) : clamp(to, count, least, most);
  if (of.kind == V_STRING) return slice_text(render, of, from, to, step, out);
  tpl_list *list = rh_tpl_list_new(render, 0);
  if (list == NULL) return false;
  for (int64_t at = from; step > 0 ? at < to : at > to; at += step) {
    if (!rh_tpl_list_push(render, list, of.as.list->items[at])) return false;
    if (step > 0 ? step > to - at : step < to - at) break;  // the next could overflow
  }
  if (of.kind == V_RANGE) {
    const tpl_list *range = of.as.list;
    if (!range_at(range, from, &list->start) || !range_at(range, to, &list->stop) ||
        __builtin_mul_overflow(range->step, step, &list->step))
      return rh_tpl_fail(render, "a whole number of more than 64 bits");
  }
  *out = tpl_of_list((tpl_kind)of.kind, list);
  return true;
}
