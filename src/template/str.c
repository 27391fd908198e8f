// SPDX-License-Identifier: Apache-2.0
//
// Purpose: values as Python's str() and repr() write them.
// Data owned: none. Threads: the render's.
// Not here: JSON (json.c), format codes (format.c).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

// The shortest digits that read back as the same number, in Python's form: 1.0, 1e+16, 0.0001, 1e-05.
void rh_tpl_write_float(double number, rh_dynbuf *out) {
  char text[40];
  if (isnan(number) || isinf(number)) {
    (void)rh_dynbuf_append_text(out, isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
    return;
  }
  int precision = 0;
  do (void)snprintf(text, sizeof text, "%.*e", precision, number);
  while (strtod(text, NULL) != number && ++precision < 17);  // NOLINT: equal is what is asked for
  char *e = strchr(text, 'e');
  int exponent = atoi(e + 1);
  *e = '\0';
  if (exponent < -4 || exponent >= 16) {
    (void)rh_dynbuf_printf(out, "%se%c%02d", text, exponent < 0 ? '-' : '+', abs(exponent));
    return;
  }
  int decimals = precision - exponent;
  (void)rh_dynbuf_printf(out, "%.*f", decimals > 0 ? decimals : 1, number);
}

static void write_escape(uint32_t code, rh_dynbuf *out) {
  if (code == '\n' || code == '\r' || code == '\t') {
    (void)rh_dynbuf_printf(out, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
  } else {
    (void)rh_dynbuf_printf(out, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
  }
}

static void write_quoted(tpl_value text, rh_dynbuf *out) {
  bool single = memchr(text.as.text, '\'', text.length) != NULL,
       twofold = memchr(text.as.text, '"', text.length) != NULL;
  char quote = single && !twofold ? '"' : '\'';
  (void)rh_dynbuf_append_char(out, quote);
  size_t plain = 0;  // from where nothing was written yet
  for (size_t at = 0, used; at < text.length; at += used) {
    uint32_t code = rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
    bool marked = code == (uint32_t)quote || code == '\\';
    if (!marked && rh_tpl_char_is(code, TPL_PRINTABLE)) continue;
    (void)rh_dynbuf_append(out, text.as.text + plain, at - plain);
    plain = marked ? at : at + used;
    if (marked) {
      (void)rh_dynbuf_append_char(out, '\\');
    } else {
      write_escape(code, out);
    }
  }
  (void)rh_dynbuf_append(out, text.as.text + plain, text.length - plain);
  (void)rh_dynbuf_append_char(out, quote);
}

static bool write_items(tpl_render *render, const tpl_list *list, const char *open, const char *close, rh_dynbuf *out) {
  (void)rh_dynbuf_append_text(out, open);
  for (size_t i = 0; i < list->count; i++) {
    if (i > 0) (void)rh_dynbuf_append_text(out, ", ");
    if (!rh_tpl_write_repr(render, list->items[i], out)) return false;
  }
  (void)rh_dynbuf_append_text(out, close);
  return true;
}

static bool write_dict(tpl_render *render, const tpl_dict *dict, rh_dynbuf *out) {
  (void)rh_dynbuf_append_char(out, '{');
  for (size_t i = 0; i < dict->count; i++) {
    if (i > 0) (void)rh_dynbuf_append_text(out, ", ");
    if (!rh_tpl_write_repr(render, dict->entries[i].key, out)) return false;
    (void)rh_dynbuf_append_text(out, ": ");
    if (!rh_tpl_write_repr(render, dict->entries[i].value, out)) return false;
  }
  (void)rh_dynbuf_append_char(out, '}');
  return true;
}

static void write_range(const tpl_list *range, rh_dynbuf *out) {
  (void)rh_dynbuf_printf(out, "range(%" PRId64 ", %" PRId64, range->start, range->stop);
  if (range->step != 1) (void)rh_dynbuf_printf(out, ", %" PRId64, range->step);
  (void)rh_dynbuf_append_char(out, ')');
}

static bool write_object(tpl_render *render, tpl_value value, rh_dynbuf *out) {
  int64_t length;
  switch ((tpl_kind)value.kind) {
    case V_LIST: return write_items(render, value.as.list, "[", "]", out);
    case V_TUPLE: return write_items(render, value.as.list, "(", value.as.list->count == 1 ? ",)" : ")", out);
    case V_DICT: return write_dict(render, value.as.dict, out);
    case V_VIEW:
      (void)rh_dynbuf_append_text(out, value.as.list->name);
      return write_items(render, value.as.list, "([", "])", out);
    case V_RANGE: write_range(value.as.list, out); return true;
    case V_NAMESPACE:
      (void)rh_dynbuf_append_text(out, "<Namespace ");
      if (!write_dict(render, value.as.dict, out)) return false;
      (void)rh_dynbuf_append_char(out, '>');
      return true;
    case V_MACRO: {
      tpl_value name = value.as.macro->node->value;
      (void)rh_dynbuf_printf(out, "<Macro '%.*s'>", name.length < 256 ? (int)name.length : 256, name.as.text);
      return true;
    }
    case V_LOOP:
      if (!rh_tpl_loop_length(render, value.as.loop, &length)) return false;
      (void)rh_dynbuf_printf(out, "<LoopContext %" PRId64 "/%" PRId64 ">", value.as.loop->index0 + 1, length);
      return true;
    case V_FUNCTION: (void)rh_dynbuf_printf(out, "<function %s>", value.as.function->name); return true;
    default: (void)rh_dynbuf_printf(out, "<%s object>", rh_tpl_type(value)); return true;
  }
}

bool rh_tpl_write_repr(tpl_render *render, tpl_value value, rh_dynbuf *out) {
  if (value.kind == V_STRING) {
    if (value.markup) (void)rh_dynbuf_append_text(out, "Markup(");
    write_quoted(value, out);
    if (value.markup) (void)rh_dynbuf_append_char(out, ')');
    return rh_tpl_spend(render, 1 + value.length / 16);
  }
  if (value.kind == V_UNDEFINED) return rh_dynbuf_append_text(out, "Undefined") == RH_OK || rh_tpl_fail_memory(render);
  return rh_tpl_write(render, value, out);
}

bool rh_tpl_write(tpl_render *render, tpl_value value, rh_dynbuf *out) {
  bool ok = true;
  switch ((tpl_kind)value.kind) {
    case V_MISSING:
    case V_UNDEFINED: return true;
    case V_NONE: (void)rh_dynbuf_append_text(out, "None"); break;
    case V_BOOL: (void)rh_dynbuf_append_text(out, value.as.boolean ? "True" : "False"); break;
    case V_INT: (void)rh_dynbuf_printf(out, "%" PRId64, value.as.integer); break;
    case V_FLOAT:
      rh_tpl_write_float(value.as.number, out);
      ok = rh_tpl_spend(render, TPL_STEPS_FLOAT);
      break;
    case V_STRING: (void)rh_dynbuf_append(out, value.as.text, value.length); break;
    default:
      if (!rh_tpl_enter(render)) return false;
      ok = write_object(render, value, out);
      rh_tpl_leave(render);
  }
  if (ok && out->failed) return rh_tpl_fail_memory(render);
  return ok && rh_tpl_spend(render, value.kind == V_STRING ? value.length / 16 : 1);
}

bool rh_tpl_str(tpl_render *render, tpl_value value, tpl_value *out) {
  if (value.kind == V_STRING) {
    *out = value;
    return true;
  }
  rh_dynbuf text;
  rh_tpl_buffer(&text);
  if (rh_tpl_write(render, value, &text)) return rh_tpl_text_take(render, &text, out);
  rh_dynbuf_free(&text);
  return false;
}
