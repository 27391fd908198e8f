// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the methods of str that look for texts in a text.
// Data owned: none. Threads: the render's.
// Not here: patterns.
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

// The part between the characters `start` and `end` of Python's arguments; `before` bytes lie before it. False in *there
// when it begins behind the end.
static bool part_of(tpl_render *render, tpl_value text, tpl_value start, tpl_value end, tpl_value *out, size_t *before,
                    bool *there) {
  int64_t from, to;
  *out = text;
  *before = 0;
  *there = true;
  bool no_start = start.kind == V_MISSING || start.kind == V_NONE, no_end = end.kind == V_MISSING || end.kind == V_NONE;
  if (no_start && no_end) return true;
  if (!rh_tpl_spend_text(render, text.length)) return false;
  int64_t count = (int64_t)rh_tpl_count_chars(text.as.text, text.length);
  if (!rh_tpl_want_int(render, "the start", no_start ? tpl_missing() : start, 0, &from)) return false;
  if (!rh_tpl_want_int(render, "the end", no_end ? tpl_missing() : end, count, &to)) return false;
  if (from < 0) from = from < -count ? 0 : from + count;
  if (to < 0) to = to < -count ? 0 : to + count;
  if (to > count) to = count;
  *there = from <= to;
  if (!*there) return true;
  *before = rh_tpl_char_offset(text.as.text, text.length, (size_t)from);
  *out = tpl_text(text.as.text + *before,
                  rh_tpl_char_offset(text.as.text + *before, text.length - *before, (size_t)(to - from)));
  return true;
}

static bool ends_with(tpl_value text, tpl_value what, bool at_end) {
  if (what.length > text.length) return false;
  const char *at = at_end ? text.as.text + text.length - what.length : text.as.text;
  return what.length == 0 || memcmp(at, what.as.text, what.length) == 0;
}

static bool has_end(tpl_render *render, tpl_value self, const tpl_value *args, bool at_end, tpl_value *out) {
  tpl_value part;
  size_t before;
  bool there, found = false;
  if (!part_of(render, self, args[1], args[2], &part, &before, &there)) return false;
  if (args[0].kind != V_TUPLE) {
    if (!rh_tpl_want_text(render, at_end ? "endswith first arg" : "startswith first arg", args[0])) return false;
    if (!rh_tpl_spend(render, args[0].length / 256)) return false;
    found = there && ends_with(part, args[0], at_end);
  }
  for (size_t i = 0; args[0].kind == V_TUPLE && !found && i < args[0].as.list->count; i++) {
    tpl_value what = args[0].as.list->items[i];
    if (!rh_tpl_want_text(render, "an item of the tuple", what) || !rh_tpl_spend(render, 1 + what.length / 256))
      return false;
    found = there && ends_with(part, what, at_end);
  }
  *out = tpl_bool(found);
  return true;
}

static bool startswith(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return has_end(render, self, args, false, out);
}

static bool endswith(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return has_end(render, self, args, true, out);
}

static const char *find_last(tpl_value text, tpl_value what) {
  for (size_t at = text.length - what.length + 1; at > 0; at--) {
    if (memcmp(text.as.text + at - 1, what.as.text, what.length) == 0) return text.as.text + at - 1;
  }
  return NULL;
}

static bool find_text(tpl_render *render, tpl_value self, const tpl_value *args, bool last, int64_t *out) {
  tpl_value part;
  size_t before;
  bool there;
  *out = -1;
  if (!rh_tpl_want_text(render, "the text to find", args[0])) return false;
  if (!part_of(render, self, args[1], args[2], &part, &before, &there)) return false;
  if (!there || args[0].length > part.length || !rh_tpl_spend_search(render, part.length, last ? args[0].length : 0))
    return render->status == RH_OK;
  const char *found =
      last ? find_last(part, args[0]) : memmem(part.as.text, part.length, args[0].as.text, args[0].length);
  if (found != NULL) *out = (int64_t)rh_tpl_count_chars(self.as.text, (size_t)(found - self.as.text));
  return true;
}

static bool find_or_fail(tpl_render *render, tpl_value self, const tpl_value *args, bool last, bool fails,
                         tpl_value *out) {
  int64_t at;
  if (!find_text(render, self, args, last, &at)) return false;
  *out = tpl_int(at);
  return at >= 0 || !fails || rh_tpl_fail(render, "substring not found");
}

static bool find(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return find_or_fail(render, self, args, false, false, out);
}
static bool rfind(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return find_or_fail(render, self, args, true, false, out);
}
static bool index_of(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return find_or_fail(render, self, args, false, true, out);
}
static bool rindex_of(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return find_or_fail(render, self, args, true, true, out);
}

static bool count(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_value part;
  size_t before, at = 0;
  bool there;
  int64_t found = 0;
  if (!rh_tpl_want_text(render, "the text to count", args[0])) return false;
  if (!part_of(render, self, args[1], args[2], &part, &before, &there) || !rh_tpl_spend(render, part.length / 64))
    return false;
  if (args[0].length == 0) {
    *out = tpl_int(there ? (int64_t)rh_tpl_count_chars(part.as.text, part.length) + 1 : 0);
    return true;
  }
  for (const char *next;
       there && (next = memmem(part.as.text + at, part.length - at, args[0].as.text, args[0].length)) != NULL;
       found++) {
    if (!rh_tpl_spend(render, 1)) return false;
    at = (size_t)(next - part.as.text) + args[0].length;
  }
  *out = tpl_int(found);
  return true;
}

static bool removeprefix(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  if (!rh_tpl_want_text(render, "the prefix", args[0]) || !rh_tpl_spend(render, args[0].length / 256)) return false;
  *out = ends_with(self, args[0], false) ? tpl_text(self.as.text + args[0].length, self.length - args[0].length) : self;
  return true;
}

static bool removesuffix(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  if (!rh_tpl_want_text(render, "the suffix", args[0]) || !rh_tpl_spend(render, args[0].length / 256)) return false;
  *out = ends_with(self, args[0], true) ? tpl_text(self.as.text, self.length - args[0].length) : self;
  return true;
}

#define IN_PART .required = 1, .parameters = {"sub", "start", "end"}

const tpl_function rh_tpl_search_methods[] = {
    {.name = "startswith", .call = startswith, IN_PART},
    {.name = "endswith", .call = endswith, IN_PART},
    {.name = "find", .call = find, IN_PART},
    {.name = "rfind", .call = rfind, IN_PART},
    {.name = "index", .call = index_of, IN_PART},
    {.name = "rindex", .call = rindex_of, IN_PART},
    {.name = "count", .call = count, IN_PART},
    {.name = "removeprefix", .call = removeprefix, .required = 1, .parameters = {"prefix"}},
    {.name = "removesuffix", .call = removesuffix, .required = 1, .parameters = {"suffix"}},
    {.name = NULL},
};
