// SPDX-License-Identifier: Apache-2.0
//
// render_template: one JSON object a line in, one a line out, for tests that compare with another implementation.
//   {"template": T, "variables": {...}, "now": seconds} -> {"text": ...} or {"error": ..., "status": ...}
//   {"key": N, ...}: a template given before is kept under its number; without "template" it is taken again
//   {"folder": F, "messages": [{"role":, "content":}], "tokens": {"bos":, "eos":}} -> the same, by the chat functions
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "template/template.h"

#define TEXT_MAX ((size_t)1 << 27)
#define KEPT_MAX 512
#define MESSAGES_MAX 64

static rh_template *kept[KEPT_MAX];

static rh_status find_template(const json_t *request, rh_template **out, bool *mine, rh_error *error) {
  const json_t *source = json_object_get(request, "template"), *key = json_object_get(request, "key");
  size_t place = (size_t)json_integer_value(key);
  const char *folder = json_string_value(json_object_get(request, "folder"));
  *out = NULL;
  *mine = key == NULL || place >= KEPT_MAX;
  if (folder != NULL) return rh_chat_template_open(folder, out, error);
  if (!*mine && source == NULL) {
    *out = kept[place];
    return *out != NULL ? RH_OK : rh_fail(error, RH_NOT_FOUND, "no template with that key");
  }
  rh_status status = rh_template_new(json_string_value(source), json_string_length(source), out, error);
  if (!*mine && status == RH_OK) {
    rh_template_free(kept[place]);
    kept[place] = *out;
  }
  return status;
}

static rh_status render_chat(const rh_template *tmpl, const json_t *request, rh_dynbuf *text, rh_error *error) {
  rh_message messages[MESSAGES_MAX];
  const json_t *list = json_object_get(request, "messages"), *tokens = json_object_get(request, "tokens");
  size_t count = json_array_size(list) < MESSAGES_MAX ? json_array_size(list) : MESSAGES_MAX;
  for (size_t i = 0; i < count; i++) {
    messages[i].role = json_string_value(json_object_get(json_array_get(list, i), "role"));
    messages[i].content = json_string_value(json_object_get(json_array_get(list, i), "content"));
  }
  rh_chat_tokens words = {.bos = json_string_value(json_object_get(tokens, "bos")),
                          .eos = json_string_value(json_object_get(tokens, "eos"))};
  return rh_chat_render(tmpl, messages, count, &words, text, error);
}

static void answer(const json_t *request) {
  rh_error error = {0};
  rh_dynbuf text, line;
  rh_template *tmpl;
  bool mine;
  rh_dynbuf_init(&text, TEXT_MAX);
  rh_dynbuf_init(&line, 6 * TEXT_MAX);
  rh_status status = find_template(request, &tmpl, &mine, &error);
  if (status == RH_OK && json_object_get(request, "folder") != NULL) {
    status = render_chat(tmpl, request, &text, &error);
  } else if (status == RH_OK) {
    status = rh_template_render(tmpl, json_object_get(request, "variables"),
                                json_integer_value(json_object_get(request, "now")), &text, &error);
  }
  if (mine) rh_template_free(tmpl);
  (void)rh_dynbuf_append_text(&line, status == RH_OK ? "{\"text\":" : "{\"error\":");
  const char *said = status == RH_OK ? rh_dynbuf_data(&text) : error.message;
  (void)rh_json_append_string(&line, said, status == RH_OK ? text.length : strlen(said));
  if (status != RH_OK) (void)rh_dynbuf_printf(&line, ",\"status\":\"%s\"", rh_status_name(status));
  (void)rh_dynbuf_append_char(&line, '}');
  puts(rh_dynbuf_data(&line));
  rh_dynbuf_free(&line);
  rh_dynbuf_free(&text);
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, stdin)) > 0) {
    json_error_t error;
    json_t *request = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, &error);
    if (request == NULL) {
      fprintf(stderr, "render_template: %s\n", error.text);
      return 2;
    }
    answer(request);
    json_decref(request);
  }
  for (size_t i = 0; i < KEPT_MAX; i++) rh_template_free(kept[i]);
  free(line);
  return 0;
}
