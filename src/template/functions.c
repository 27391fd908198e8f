// SPDX-License-Identifier: Apache-2.0
//
// Purpose: finding filters and methods by name, and the functions that every template has.
// Data owned: none. Threads: the render's.
// Not here: lipsum (random text), which no chat needs.
#include "template/functions.h"

#include <string.h>
#include <time.h>

#include "template/render.h"

// --- functions ------------------------------------------------------------------------------------------------------

static bool make_range(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)self;
  int64_t start = 0, stop, step, count = 0;
  if (!rh_tpl_want_int(render, "range()'s argument", args[0], 0, &stop)) return false;
  if (args[1].kind != V_MISSING) {
    start = stop;
    if (!rh_tpl_want_int(render, "range()'s argument", args[1], 0, &stop)) return false;
  }
  if (!rh_tpl_want_int(render, "range()'s argument", args[2], 1, &step)) return false;
  if (step == 0) return rh_tpl_fail(render, "range() arg 3 must not be zero");
  if (step > 0 ? start < stop : start > stop) {
    long double span = (long double)stop - (long double)start;
    long double items = span / (long double)step;
    if (items > (long double)TPL_RANGE_MAX) {
      return rh_tpl_fail(render, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", TPL_RANGE_MAX);
    }
    count = (int64_t)items + ((long double)(int64_t)items < items ? 1 : 0);
  }
  tpl_list *list = rh_tpl_list_new(render, (size_t)count);
  for (int64_t i = 0; list != NULL && i < count; i++) {
    // Every item fits, though i * step may not.
    int64_t item = (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)step);
    if (!rh_tpl_list_push(render, list, tpl_int(item))) return false;
  }
  if (list == NULL) return false;
  list->start = start;
  list->stop = stop;
  list->step = step;
  *out = tpl_of_list(V_RANGE, list);
  return true;
}

// dict(), namespace(): from a dict, from pairs, and from keywords.
static bool make_dict(tpl_render *render, const tpl_args *args, const char *name, tpl_value *out) {
  tpl_dict *dict = rh_tpl_dict_new(render);
  if (dict == NULL) return false;
  if (args->count > 1) return rh_tpl_fail(render, "%s expected at most 1 argument, got %zu", name, args->count);
  if (args->count == 1 && args->items[0].kind == V_DICT) {
    const tpl_dict *from = args->items[0].as.dict;
    for (size_t i = 0; i < from->count; i++) {
      if (!rh_tpl_dict_set(render, dict, from->entries[i].key, from->entries[i].value)) return false;
    }
  } else if (args->count == 1) {
    tpl_list *pairs, *pair;
    if (!rh_tpl_items(render, args->items[0], &pairs)) return false;
    for (size_t i = 0; i < pairs->count; i++) {
      if (!rh_tpl_items(render, pairs->items[i], &pair)) return false;
      if (pair->count != 2)
        return rh_tpl_fail(render, "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                           pair->count);
      if (!rh_tpl_dict_set(render, dict, pair->items[0], pair->items[1])) return false;
    }
  }
  for (size_t i = 0; i < args->keyword_count; i++) {
    if (!rh_tpl_dict_set(render, dict, args->keywords[i].name, args->keywords[i].value)) return false;
  }
  *out = tpl_of_dict(dict);
  return true;
}

static bool call_dict(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  (void)self;
  return make_dict(render, args, "dict", out);
}

static bool call_namespace(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  (void)self;
  if (!make_dict(render, args, "namespace", out)) return false;
  out->kind = V_NAMESPACE;
  return true;
}

static bool raise_exception(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)self;
  tpl_value text;
  if (!rh_tpl_str(render, args[0], &text)) return false;
  *out = text;
  return rh_tpl_fail_as(render, RH_INVALID, "%.*s", text.length < 1000 ? (int)text.length : 1000, text.as.text);
}

static bool strftime_now(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)self;
  char format[256], text[1024];
  struct tm when;
  time_t now = (time_t)render->now_s;
  if (!rh_tpl_want_text(render, "strftime_now()'s format", args[0])) return false;
  if (args[0].length >= sizeof format)
    return rh_tpl_fail(render, "strftime_now() with a format of more than 255 bytes");
  memcpy(format, args[0].as.text, args[0].length);
  format[args[0].length] = '\0';
  if (localtime_r(&now, &when) == NULL) return rh_tpl_fail(render, "strftime_now() does not know the time");
  size_t length = strftime(text, sizeof text, format, &when);
  return rh_tpl_text_copy(render, text, length, out);
}

static bool make_cycler(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  (void)self;
  if (args->count == 0) return rh_tpl_fail(render, "at least one item has to be provided");
  tpl_list *list = rh_tpl_list_new(render, args->count);
  for (size_t i = 0; list != NULL && i < args->count; i++) {
    if (!rh_tpl_list_push(render, list, args->items[i])) return false;
  }
  *out = tpl_of_list(V_CYCLER, list);
  return list != NULL;
}

static bool make_joiner(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)self;
  tpl_list *list = rh_tpl_list_new(render, 1);
  if (list == NULL || !rh_tpl_list_push(render, list, args[0].kind == V_MISSING ? TPL_LITERAL(", ") : args[0]))
    return false;
  *out = tpl_of_list(V_JOINER, list);
  return true;
}

static const tpl_function globals[] = {
    {.name = "range", .call = make_range, .required = 1, .parameters = {"start", "stop", "step"}},
    {.name = "dict", .raw = call_dict},
    {.name = "namespace", .raw = call_namespace},
    {.name = "cycler", .raw = make_cycler},
    {.name = "joiner", .call = make_joiner, .parameters = {"sep"}},
    {.name = "raise_exception", .call = raise_exception, .required = 1, .parameters = {"message"}},
    {.name = "strftime_now", .call = strftime_now, .required = 1, .parameters = {"format"}},
    {.name = NULL},
};

// --- methods of loops and cyclers -----------------------------------------------------------------------------------

static bool loop_cycle(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  if (args->count == 0) return rh_tpl_fail(render, "no items for cycling given");
  *out = args->items[(size_t)self.as.loop->index0 % args->count];
  return true;
}

static bool loop_changed(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  tpl_loop *loop = self.as.loop;
  bool same = false;
  tpl_list *list = rh_tpl_list_new(render, args->count);
  for (size_t i = 0; list != NULL && i < args->count; i++) {
    if (!rh_tpl_list_push(render, list, args->items[i])) return false;
  }
  if (list == NULL) return false;
  tpl_value now = tpl_of_list(V_TUPLE, list);
  if (!rh_tpl_equal(render, loop->changed, now, &same)) return false;
  loop->changed = now;
  *out = tpl_bool(!same);
  return true;
}

static bool cycler_next(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)render;
  (void)args;
  tpl_list *list = self.as.list;
  *out = list->items[list->taken];
  list->taken = (list->taken + 1) % list->count;
  return true;
}

static bool cycler_reset(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)render;
  (void)args;
  self.as.list->taken = 0;
  *out = tpl_none();
  return true;
}

static const tpl_function loop_methods[] = {
    {.name = "cycle", .raw = loop_cycle}, {.name = "changed", .raw = loop_changed}, {.name = NULL}};
static const tpl_function cycler_methods[] = {
    {.name = "next", .call = cycler_next}, {.name = "reset", .call = cycler_reset}, {.name = NULL}};

// --- finding --------------------------------------------------------------------------------------------------------

static const tpl_function *find(const tpl_function *table, tpl_value name) {
  for (; table->name != NULL; table++) {
    if (tpl_text_is(name, table->name)) return table;
  }
  return NULL;
}

static bool among(tpl_value name, const char *const *words) {
  for (; *words != NULL; words++) {
    if (tpl_text_is(name, *words)) return true;
  }
  return false;
}

const tpl_function *rh_tpl_global_find(tpl_value name) { return find(globals, name); }

const tpl_function *rh_tpl_filter_find(tpl_value name, bool *elsewhere) {
  static const char *const others[] = {"filesizeformat", "groupby", "pprint",   "random",  "striptags",
                                       "urlencode",      "urlize",  "wordwrap", "xmlattr", NULL};
  const tpl_function *const tables[] = {rh_tpl_text_filters, rh_tpl_list_filters, rh_tpl_select_filters,
                                        rh_tpl_number_filters};
  *elsewhere = among(name, others);
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    const tpl_function *found = find(tables[i], name);
    if (found != NULL) return found;
  }
  return NULL;
}

const tpl_function *rh_tpl_method_find(tpl_value self, tpl_value name, bool *forbidden) {
  static const char *const changes_list[] = {"append", "clear",  "pop",    "reverse", "insert",
                                             "sort",   "extend", "remove", NULL};
  static const char *const changes_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
  const tpl_function *found = NULL;
  *forbidden = (self.kind == V_LIST && among(name, changes_list)) || (self.kind == V_DICT && among(name, changes_dict));
  switch ((tpl_kind)self.kind) {
    case V_STRING:
      found = find(rh_tpl_text_methods, name);
      if (found == NULL) found = find(rh_tpl_search_methods, name);
      return found != NULL ? found : find(rh_tpl_split_methods, name);
    case V_LIST:
    case V_TUPLE:
    case V_RANGE: return find(rh_tpl_list_methods, name);
    case V_DICT: return find(rh_tpl_dict_methods, name);
    case V_LOOP: return find(loop_methods, name);
    case V_CYCLER: return find(cycler_methods, name);
    default: return NULL;
  }
}
