// SPDX-License-Identifier: Apache-2.0
//
// Purpose: making, walking and asking values.
// Data owned: none; all in the render's arena. Threads: the render's.
// Not here: dicts (dict.c), comparing, text.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

bool tpl_text_is(tpl_value value, const char *text) {
  return value.kind == V_STRING && value.length == strlen(text) && memcmp(value.as.text, text, value.length) == 0;
}

tpl_list *rh_tpl_list_new(tpl_render *render, size_t room) {
  tpl_list *list = rh_tpl_alloc(render, 1, sizeof *list);
  if (list == NULL || room == 0) return list;
  list->items = rh_tpl_alloc(render, room, sizeof *list->items);
  if (list->items == NULL) return NULL;
  list->room = room;
  return list;
}

bool rh_tpl_list_push(tpl_render *render, tpl_list *list, tpl_value value) {
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 8 : list->room * 2;
    tpl_value *grown = rh_tpl_alloc(render, room, sizeof *grown);
    if (grown == NULL) return false;
    if (list->count > 0) memcpy(grown, list->items, list->count * sizeof *grown);
    list->items = grown;
    list->room = room;
  }
  list->items[list->count++] = value;
  return rh_tpl_spend(render, 1);
}

bool rh_tpl_text_copy(tpl_render *render, const char *text, size_t length, tpl_value *out) {
  if (!rh_tpl_spend_text(render, length)) return false;
  char *copy = rh_arena_strndup(render->arena, text, length);
  if (copy == NULL) return rh_tpl_fail_memory(render);
  *out = tpl_text(copy, length);
  return true;
}

void rh_tpl_buffer(rh_dynbuf *buffer) { rh_dynbuf_init(buffer, TPL_OUTPUT_MAX); }

bool rh_tpl_text_take(tpl_render *render, rh_dynbuf *buffer, tpl_value *out) {
  bool ok = !buffer->failed ? rh_tpl_text_copy(render, rh_dynbuf_data(buffer), buffer->length, out)
                            : rh_tpl_fail_memory(render);
  rh_dynbuf_free(buffer);
  return ok;
}

bool rh_tpl_truth(tpl_value value) {
  switch ((tpl_kind)value.kind) {
    case V_MISSING:
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return value.as.boolean;
    case V_INT: return value.as.integer != 0;
    case V_FLOAT: return value.as.number < 0 || value.as.number > 0 || isnan(value.as.number);
    case V_STRING: return value.length > 0;
    case V_LIST:
    case V_TUPLE:
    case V_VIEW:
    case V_RANGE: return value.as.list->count > 0;
    case V_DICT: return value.as.dict->count > 0;
    default: return true;
  }
}

const char *rh_tpl_type(tpl_value value) {
  switch ((tpl_kind)value.kind) {
    case V_MISSING:
    case V_UNDEFINED: return "Undefined";
    case V_NONE: return "NoneType";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_FLOAT: return "float";
    case V_STRING: return value.markup ? "Markup" : "str";
    case V_LIST: return "list";
    case V_TUPLE: return "tuple";
    case V_DICT: return "dict";
    case V_VIEW: return value.as.list->name;
    case V_RANGE: return "range";
    case V_GENERATOR: return "generator";
    case V_NAMESPACE: return "Namespace";
    case V_MACRO: return "Macro";
    case V_FUNCTION: return "function";
    case V_METHOD: return "builtin_function_or_method";
    case V_LOOP: return "LoopContext";
    case V_CYCLER: return "Cycler";
    case V_JOINER: return "Joiner";
  }
  return "object";
}

static bool characters(tpl_render *render, tpl_value text, tpl_list **out) {
  *out = rh_tpl_list_new(render, rh_tpl_count_chars(text.as.text, text.length));
  for (size_t at = 0, used; *out != NULL && at < text.length; at += used) {
    (void)rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
    if (!rh_tpl_list_push(render, *out, tpl_text(text.as.text + at, used))) return false;
  }
  return *out != NULL;
}

static bool keys(tpl_render *render, const tpl_dict *dict, tpl_list **out) {
  *out = rh_tpl_list_new(render, dict->count);
  for (size_t i = 0; *out != NULL && i < dict->count; i++) {
    if (!rh_tpl_list_push(render, *out, dict->entries[i].key)) return false;
  }
  return *out != NULL;
}

// What is left of a generator; nothing is left then.
static bool drain(tpl_render *render, tpl_list *generator, tpl_list **out) {
  *out = rh_tpl_list_new(render, 0);
  if (*out == NULL) return false;
  if (generator->taken < generator->count) (*out)->items = generator->items + generator->taken;
  (*out)->count = (*out)->room = generator->count - generator->taken;
  generator->taken = generator->count;
  return true;
}

bool rh_tpl_items(tpl_render *render, tpl_value value, tpl_list **out) {
  switch ((tpl_kind)value.kind) {
    case V_UNDEFINED: return (*out = rh_tpl_list_new(render, 0)) != NULL;
    case V_STRING: return characters(render, value, out);
    case V_LIST:
    case V_TUPLE:
    case V_VIEW:
    case V_RANGE: *out = value.as.list; return true;
    case V_GENERATOR: return drain(render, value.as.list, out);
    case V_DICT: return keys(render, value.as.dict, out);
    case V_LOOP: return rh_tpl_fail(render, "a loop cannot be walked over by another");
    default: return rh_tpl_fail(render, "'%s' object is not iterable", rh_tpl_type(value));
  }
}

bool rh_tpl_length(tpl_render *render, tpl_value value, size_t *out) {
  switch ((tpl_kind)value.kind) {
    case V_UNDEFINED: *out = 0; return true;
    case V_STRING:
      *out = rh_tpl_count_chars(value.as.text, value.length);
      return rh_tpl_spend(render, value.length / 1024);
    case V_LIST:
    case V_TUPLE:
    case V_VIEW:
    case V_RANGE: *out = value.as.list->count; return true;
    case V_DICT: *out = value.as.dict->count; return true;
    case V_LOOP: {
      int64_t length;
      if (!rh_tpl_loop_length(render, value.as.loop, &length)) return false;
      *out = (size_t)length;
      return true;
    }
    default: return rh_tpl_fail(render, "object of type '%s' has no len()", rh_tpl_type(value));
  }
}

tpl_value rh_tpl_undefined(tpl_value name, uint8_t of) {
  return (tpl_value){.kind = V_UNDEFINED, .detail = of, .as.text = name.as.text, .length = name.length};
}

tpl_value rh_tpl_undefined_hint(const char *hint) {
  return (tpl_value){.kind = V_UNDEFINED, .detail = TPL_HINT, .as.text = hint, .length = strlen(hint)};
}

void rh_tpl_undefined_message(tpl_value value, char *out, size_t size) {
  int length = value.length < 200 ? (int)value.length : 200;
  const char *text = value.as.text != NULL ? value.as.text : "";
  if (value.detail == TPL_HINT) {
    (void)snprintf(out, size, "%.*s", length, text);
  } else if (value.detail == V_MISSING) {
    (void)snprintf(out, size, "'%.*s' is undefined", length, text);
  } else if (value.detail == V_NONE) {
    (void)snprintf(out, size, "'None' has no attribute '%.*s'", length, text);
  } else {
    tpl_value of = {.kind = value.detail};
    const char *type = value.detail == V_VIEW ? "view" : rh_tpl_type(of);
    (void)snprintf(out, size, "'%s object' has no attribute '%.*s'", type, length, text);
  }
}

bool rh_tpl_want_int(tpl_render *render, const char *what, tpl_value value, int64_t otherwise, int64_t *out) {
  *out = otherwise;
  if (value.kind == V_MISSING) return true;
  if (value.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, value);
  if (!tpl_is_whole(value)) return rh_tpl_fail(render, "%s must be a whole number, not '%s'", what, rh_tpl_type(value));
  *out = tpl_whole(value);
  return true;
}

bool rh_tpl_want_text(tpl_render *render, const char *what, tpl_value value) {
  if (value.kind == V_STRING) return true;
  if (value.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, value);
  return rh_tpl_fail(render, "%s must be a string, not '%s'", what, rh_tpl_type(value));
}
