// SPDX-License-Identifier: Apache-2.0
//
// Purpose: chat messages through a model's template, and the template in a model's folder.
// Data owned: none that lasts. Threads: any.
// Not here: tools and documents; templates see none.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "template/template.h"

#define PATH_BYTES 4096
#define CONFIG_BYTES_MAX ((size_t)64 << 20)

static json_t *messages_json(const rh_message *messages, size_t count) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < count; i++) {
    json_t *message = json_pack("{s:s, s:s}", "role", messages[i].role, "content", messages[i].content);
    if (message == NULL || json_array_append_new(list, message) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

static json_t *variables_json(const rh_message *messages, size_t count, const rh_chat_tokens *tokens) {
  json_t *list = messages_json(messages, count);
  // transformers passes tools and documents always: defined, and none.
  json_t *all = list == NULL ? NULL
                             : json_pack("{s:o, s:b, s:n, s:n}", "messages", list, "add_generation_prompt", 1, "tools",
                                         "documents");
  if (all == NULL || tokens == NULL) return all;
  const struct {
    const char *name, *text;
  } rows[] = {
      {"bos_token", tokens->bos}, {"eos_token", tokens->eos}, {"pad_token", tokens->pad}, {"unk_token", tokens->unk}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (rows[i].text != NULL && json_object_set_new(all, rows[i].name, json_string(rows[i].text)) != 0) {
      json_decref(all);
      return NULL;
    }
  }
  return all;
}

rh_status rh_chat_render(const rh_template *tmpl, const rh_message *messages, size_t count,
                         const rh_chat_tokens *tokens, rh_dynbuf *out, rh_error *error) {
  assert(tmpl != NULL && (messages != NULL || count == 0) && out != NULL);
  json_t *variables = variables_json(messages, count, tokens);
  if (variables == NULL) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the messages");
  rh_status status = rh_template_render(tmpl, variables, (int64_t)time(NULL), out, error);
  json_decref(variables);
  return status;
}

// --- the template in a folder ---------------------------------------------------------------------------------------

static rh_status make_path(const char *folder, const char *name, char *out, size_t size, rh_error *error) {
  if (snprintf(out, size, "%s/%s", folder, name) < (int)size) return RH_OK;
  return rh_fail(error, RH_INVALID, "the path of %s is too long", name);
}

// A text, or the one named "default" of a list of {name, template}.
static const json_t *pick(const json_t *found) {
  if (json_is_string(found)) return found;
  for (size_t i = 0; i < json_array_size(found); i++) {
    const json_t *entry = json_array_get(found, i);
    const char *name = json_string_value(json_object_get(entry, "name"));
    const json_t *text = json_object_get(entry, "template");
    if (name != NULL && strcmp(name, "default") == 0 && json_is_string(text)) return text;
  }
  return NULL;
}

static rh_status open_json(const char *folder, const char *name, rh_template **out, rh_error *error) {
  char path[PATH_BYTES];
  json_t *json = NULL;
  rh_status status = make_path(folder, name, path, sizeof path, error);
  if (status == RH_OK) status = rh_json_read_file(path, CONFIG_BYTES_MAX, &json, error);
  if (status == RH_OK) {
    const json_t *found = pick(json_object_get(json, "chat_template"));
    status = found != NULL ? rh_template_new(json_string_value(found), json_string_length(found), out, error)
                           : rh_fail(error, RH_NOT_FOUND, "%s/%s has no chat template", folder, name);
  }
  json_decref(json);
  return status;
}

rh_status rh_chat_template_open(const char *folder, rh_template **out, rh_error *error) {
  assert(folder != NULL && out != NULL);
  *out = NULL;
  char path[PATH_BYTES];
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_TEMPLATE_SOURCE_MAX);
  rh_status status = make_path(folder, "chat_template.jinja", path, sizeof path, error);
  if (status == RH_OK) status = rh_file_read(path, &text, error);
  if (status == RH_OK) status = rh_template_new(rh_dynbuf_data(&text), text.length, out, error);
  rh_dynbuf_free(&text);
  if (status == RH_NOT_FOUND) status = open_json(folder, "tokenizer_config.json", out, error);
  if (status == RH_NOT_FOUND) status = open_json(folder, "chat_template.json", out, error);
  if (status == RH_NOT_FOUND) return rh_fail(error, RH_NOT_FOUND, "there is no chat template in %s", folder);
  return status;
}
