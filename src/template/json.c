// SPDX-License-Identifier: Apache-2.0
//
// Purpose: values as Python's json.dumps writes them, without escapes for HTML: the filter tojson of chat templates.
// Data owned: none. Threads: the render's.
// Not here: reading JSON (dict.c).
#include <math.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

typedef struct json_style {
  bool ascii, sorted, indented;
  tpl_value indent, between, colon;
  size_t level;
  rh_dynbuf *out;
} json_style;

static bool write_value(tpl_render *render, tpl_value value, json_style *style);

static void write_unit(uint32_t unit, rh_dynbuf *out) { (void)rh_dynbuf_printf(out, "\\u%04x", unit); }

static void write_char(uint32_t code, const char *bytes, size_t length, const json_style *style) {
  static const char plain[] = "\"\\\n\r\t\f\b", after[] = "\"\\nrtfb";
  const char *found = code > 0 && code < 0x80 ? strchr(plain, (int)code) : NULL;
  if (found != NULL) {
    (void)rh_dynbuf_append_char(style->out, '\\');
    (void)rh_dynbuf_append_char(style->out, after[found - plain]);
  } else if (code < 0x20 || (style->ascii && code > 0x7E && code < 0x10000)) {
    write_unit(code, style->out);
  } else if (style->ascii && code >= 0x10000) {
    write_unit(0xD800 + ((code - 0x10000) >> 10), style->out);
    write_unit(0xDC00 + ((code - 0x10000) & 0x3FF), style->out);
  } else {
    (void)rh_dynbuf_append(style->out, bytes, length);
  }
}

static bool write_text(tpl_render *render, tpl_value text, const json_style *style) {
  size_t plain = 0;
  (void)rh_dynbuf_append_char(style->out, '"');
  for (size_t at = 0, used; at < text.length; at += used) {
    unsigned char first = (unsigned char)text.as.text[at];
    used = 1;
    if (first >= 0x20 && first < 0x7F && first != '"' && first != '\\') continue;
    (void)rh_dynbuf_append(style->out, text.as.text + plain, at - plain);
    uint32_t code = rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
    write_char(code, text.as.text + at, used, style);
    plain = at + used;
  }
  (void)rh_dynbuf_append(style->out, text.as.text + plain, text.length - plain);
  (void)rh_dynbuf_append_char(style->out, '"');
  return rh_tpl_spend_text(render, text.length);
}

static bool write_line(tpl_render *render, const json_style *style) {
  if (!style->indented) return true;
  (void)rh_dynbuf_append_char(style->out, '\n');
  for (size_t i = 0; i < style->level; i++)
    (void)rh_dynbuf_append(style->out, style->indent.as.text, style->indent.length);
  return rh_tpl_spend(render, style->level / 8 + style->level * style->indent.length / 16);
}

static bool write_between(tpl_render *render, const json_style *style, size_t number) {
  if (number > 0) (void)rh_dynbuf_append(style->out, style->between.as.text, style->between.length);
  return write_line(render, style);
}

static bool write_list(tpl_render *render, const tpl_list *list, json_style *style) {
  if (list->count == 0) return rh_dynbuf_append_text(style->out, "[]") == RH_OK || rh_tpl_fail_memory(render);
  (void)rh_dynbuf_append_char(style->out, '[');
  style->level++;
  for (size_t i = 0; i < list->count; i++) {
    if (!write_between(render, style, i) || !write_value(render, list->items[i], style)) return false;
  }
  style->level--;
  bool ok = write_line(render, style);
  (void)rh_dynbuf_append_char(style->out, ']');
  return ok;
}

static bool write_key(tpl_render *render, tpl_value key, json_style *style) {
  if (key.kind == V_STRING) return write_text(render, key, style);
  if (key.kind != V_NONE && !tpl_is_number(key)) {
    return rh_tpl_fail(render, "keys must be str, int, float, bool or None, not %s", rh_tpl_type(key));
  }
  (void)rh_dynbuf_append_char(style->out, '"');
  bool ok = write_value(render, key, style);
  (void)rh_dynbuf_append_char(style->out, '"');
  return ok;
}

static bool sort_entries(tpl_render *render, const tpl_dict *dict, tpl_value **order) {
  tpl_value *keys = rh_tpl_alloc(render, dict->count, sizeof *keys);
  *order = rh_tpl_alloc(render, dict->count, sizeof **order);
  if (keys == NULL || *order == NULL) return false;
  for (size_t i = 0; i < dict->count; i++) {
    keys[i] = dict->entries[i].key;
    (*order)[i] = tpl_int((int64_t)i);
  }
  return rh_tpl_sort(render, keys, *order, dict->count, false);
}

static bool write_dict(tpl_render *render, const tpl_dict *dict, json_style *style) {
  tpl_value *order = NULL;
  if (dict->count == 0) return rh_dynbuf_append_text(style->out, "{}") == RH_OK || rh_tpl_fail_memory(render);
  if (style->sorted && !sort_entries(render, dict, &order)) return false;
  (void)rh_dynbuf_append_char(style->out, '{');
  style->level++;
  for (size_t i = 0; i < dict->count; i++) {
    const tpl_entry *entry = &dict->entries[order != NULL ? (size_t)order[i].as.integer : i];
    if (!write_between(render, style, i) || !write_key(render, entry->key, style)) return false;
    (void)rh_dynbuf_append(style->out, style->colon.as.text, style->colon.length);
    if (!write_value(render, entry->value, style)) return false;
  }
  style->level--;
  bool ok = write_line(render, style);
  (void)rh_dynbuf_append_char(style->out, '}');
  return ok;
}

static bool write_value(tpl_render *render, tpl_value value, json_style *style) {
  bool ok = true;
  if (!rh_tpl_enter(render)) return false;
  switch ((tpl_kind)value.kind) {
    case V_NONE: (void)rh_dynbuf_append_text(style->out, "null"); break;
    case V_BOOL: (void)rh_dynbuf_append_text(style->out, value.as.boolean ? "true" : "false"); break;
    case V_INT: ok = rh_tpl_write(render, value, style->out); break;
    case V_FLOAT:
      if (isnan(value.as.number) || isinf(value.as.number)) {
        (void)rh_dynbuf_append_text(style->out, isnan(value.as.number) ? "NaN"
                                                : value.as.number < 0  ? "-Infinity"
                                                                       : "Infinity");
      } else {
        rh_tpl_write_float(value.as.number, style->out);
        ok = rh_tpl_spend(render, TPL_STEPS_FLOAT);
      }
      break;
    case V_STRING: ok = write_text(render, value, style); break;
    case V_LIST:
    case V_TUPLE: ok = write_list(render, value.as.list, style); break;
    case V_DICT: ok = write_dict(render, value.as.dict, style); break;
    default: return rh_tpl_fail(render, "Object of type %s is not JSON serializable", rh_tpl_type(value));
  }
  rh_tpl_leave(render);
  return ok && (!style->out->failed || rh_tpl_fail_memory(render));
}

// args: ensure_ascii, indent, separators, sort_keys
bool rh_tpl_write_json(tpl_render *render, tpl_value value, const tpl_value *args, rh_dynbuf *out) {
  json_style style = {.ascii = rh_tpl_truth(args[0]), .sorted = rh_tpl_truth(args[3]), .out = out};
  style.between = TPL_LITERAL(", ");
  style.colon = TPL_LITERAL(": ");
  if (args[1].kind != V_MISSING && args[1].kind != V_NONE) {
    int64_t width = 0;
    style.indented = true;
    style.indent = args[1];
    if (args[1].kind != V_STRING) {
      if (!rh_tpl_want_int(render, "indent", args[1], 0, &width)) return false;
      static const char spaces[] = "                                                                ";
      if (width > (int64_t)sizeof spaces - 1)
        return rh_tpl_fail(render, "an indent of more than %zu", sizeof spaces - 1);
      style.indent = tpl_text(spaces, width > 0 ? (size_t)width : 0);
    }
    style.between = TPL_LITERAL(",");
  }
  if (args[2].kind != V_MISSING && args[2].kind != V_NONE) {
    tpl_list *pair;
    if (!rh_tpl_items(render, args[2], &pair)) return false;
    if (pair->count != 2) return rh_tpl_fail(render, "separators must be two strings");
    if (!rh_tpl_want_text(render, "a separator", pair->items[0]) ||
        !rh_tpl_want_text(render, "a separator", pair->items[1]))
      return false;
    style.between = pair->items[0];
    style.colon = pair->items[1];
  }
  return write_value(render, value, &style);
}
