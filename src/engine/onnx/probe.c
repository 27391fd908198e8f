// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what was found of ONNX Runtime and its execution providers, for `roundhouse info`.
// Data owned: none. Threads: any, before a load.
// Not here: finding it (library.c, providers.c).
#include <string.h>

#include "base/json.h"
#include "engine/onnx/internal.h"

static void append_string(rh_dynbuf *out, const char *key, const char *value) {
  (void)rh_dynbuf_printf(out, "\"%s\":", key);
  if (value && value[0]) {
    (void)rh_json_append_string(out, value, strlen(value));
  } else {
    (void)rh_dynbuf_append_text(out, "null");
  }
}

static void append_providers(rh_dynbuf *out, const rh_ort_providers *all) {
  for (size_t i = 0; i < all->count; i++) {
    const rh_ort_provider *provider = &all->items[i];
    (void)rh_dynbuf_append_text(out, i > 0 ? ",{" : "{");
    append_string(out, "name", provider->word);
    (void)rh_dynbuf_append_char(out, ',');
    append_string(out, "description", provider->name);
    (void)rh_dynbuf_printf(out, ",\"type\":\"%s\",\"available\":%s,",
                           strcmp(provider->word, "cpu") == 0 ? "cpu" : "accelerator",
                           provider->usable ? "true" : "false");
    append_string(out, "reason", provider->reason);
    (void)rh_dynbuf_append_char(out, '}');
  }
}

// The first that can be used, and why those before it cannot.
static void append_chosen(rh_dynbuf *out, const rh_ort_library *library, const rh_ort_providers *all) {
  rh_dynbuf reason;
  rh_dynbuf_init(&reason, 4096);
  size_t chosen = 0;
  for (; chosen < all->count && !all->items[chosen].usable; chosen++) {
    (void)rh_dynbuf_printf(&reason, "%s%s: %s", chosen > 0 ? "; " : "", all->items[chosen].word,
                           all->items[chosen].reason);
  }
  append_string(out, "reason", library->api ? rh_dynbuf_data(&reason) : library->reason);
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "acceleration", chosen < all->count ? all->items[chosen].name : NULL);
  rh_dynbuf_free(&reason);
}

rh_status rh_ort_probe(rh_dynbuf *out) {
  const rh_ort_library *library = rh_ort_library_get();
  const rh_ort_providers *all = rh_ort_providers_get();
  (void)rh_dynbuf_append_char(out, '{');
  append_string(out, "engine", "onnx");
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "version", library->version);
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "library", library->path);
  (void)rh_dynbuf_printf(out, ",\"available\":%s,", library->api ? "true" : "false");
  append_chosen(out, library, all);
  (void)rh_dynbuf_append_text(out, ",\"devices\":[");
  append_providers(out, all);
  (void)rh_dynbuf_append_text(out, "]}");
  return out->failed ? RH_TOO_LARGE : RH_OK;
}
