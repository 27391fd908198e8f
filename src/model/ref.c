// SPDX-License-Identifier: Apache-2.0
//
// Model names as people type them, and as folders. Pure functions; any thread. It deliberately does not know which
// models there are: "latest" is settled where the versions are listed.
#include "model/ref.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static bool is_separator(char c) { return c == '/' || c == ':'; }

static bool is_allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-' || is_separator(c);
}

// NULL when `text` can be a name, else what is wrong with it. Parts that begin with a dot would be hidden folders, or
// lead out of the store.
static const char *complaint(const char *text) {
  size_t length = strlen(text);
  if (length == 0) return "it is empty";
  if (length > RH_MODEL_NAME_MAX) return "it is too long";
  for (size_t i = 0; i < length; i++) {
    bool begins = i == 0 || is_separator(text[i - 1]);
    if (!is_allowed(text[i])) return "it has other characters";
    if (begins && is_separator(text[i])) return "a part of it is empty";
    if (begins && text[i] == '.') return "a part of it begins with a dot";
  }
  return is_separator(text[length - 1]) ? "a part of it is empty" : NULL;
}

rh_status rh_model_ref_parse(const char *text, rh_model_ref *out, rh_error *error) {
  assert(text != NULL && out != NULL);
  *out = (rh_model_ref){.name = ""};
  const char *reason = complaint(text);
  if (reason != NULL) {
    return rh_fail_param(error, RH_INVALID, "model",
                         "\"%.*s\" cannot be a model's name: %s; names are name or name:version, 1 to %d of "
                         "A-Z a-z 0-9 . _ : / -",
                         RH_MODEL_NAME_MAX, text, reason, RH_MODEL_NAME_MAX);
  }
  const char *colon = strrchr(text, ':');
  size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
  memcpy(out->name, text, length);
  out->name[length] = '\0';
  if (colon != NULL) (void)rh_text_copy(out->version, sizeof out->version, colon + 1);
  return RH_OK;
}

rh_status rh_model_ref_format(const rh_model_ref *ref, char *out, size_t size) {
  assert(ref != NULL && out != NULL && size > RH_MODEL_NAME_MAX);
  bool has_version = ref->version[0] != '\0';
  size_t length = strlen(ref->name) + (has_version ? 1 + strlen(ref->version) : 0);
  out[0] = '\0';
  if (length > RH_MODEL_NAME_MAX) return RH_TOO_LARGE;
  (void)snprintf(out, size, "%s%s%s", ref->name, has_version ? ":" : "", ref->version);
  return RH_OK;
}

static char clean_char(char c) {
  if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
  return is_allowed(c) ? c : '-';
}

void rh_model_ref_clean(const char *text, char *out, size_t size) {
  assert(text != NULL && out != NULL && size > sizeof "model");
  size_t max = size - 1 < RH_MODEL_NAME_MAX ? size - 1 : RH_MODEL_NAME_MAX;
  size_t length = 0;
  for (; *text != '\0' && length < max; text++) {
    char c = clean_char(*text);
    bool begins = length == 0 || is_separator(out[length - 1]);
    if (begins && is_separator(c)) continue;  // an empty part
    out[length++] = begins && c == '.' ? '-' : c;
  }
  while (length > 0 && is_separator(out[length - 1])) length--;
  out[length] = '\0';
  if (length == 0) (void)rh_text_copy(out, size, "model");
}

static void swap_chars(const char *text, const char *from, const char *to, char *out, size_t size) {
  assert(text != NULL && out != NULL && size > RH_MODEL_NAME_MAX);
  (void)rh_text_copy(out, size, text);
  for (char *at = out; *at != '\0'; at++) {
    const char *found = strchr(from, *at);
    if (found != NULL) *at = to[found - from];
  }
}

void rh_model_ref_to_folder(const char *text, char *out, size_t size) { swap_chars(text, "/:", "@+", out, size); }

void rh_model_ref_from_folder(const char *folder, char *out, size_t size) { swap_chars(folder, "@+", "/:", out, size); }
