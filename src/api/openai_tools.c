// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's words for what only some models can do: tools and the choice among them, answers bound to JSON, and how much to
// think. They become rh_extras and the request's needs; no schema is looked into. Pure, any thread.
#include <stdio.h>
#include <string.h>

#include "api/codec.h"

#define NO_SCHEMA "{\"type\":\"object\",\"properties\":{}}"

rh_status rh_api_copy_tool_name(rh_decoding *decoding, const char *name, const char *path, const char **out) {
  if (name[0] == '\0') return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is empty", path);
  if (strlen(name) > RH_API_TOOL_NAME_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is longer than the limit of %d bytes", path,
                         RH_API_TOOL_NAME_MAX);
  }
  return rh_api_copy_string(decoding, name, out);
}

rh_status rh_api_check_tools(rh_decoding *decoding) {
  const rh_extras *extras = decoding->extras;
  if (extras == NULL) return RH_OK;
  if (extras->tool_count > 0 && extras->tool_choice != RH_TOOLS_NONE) decoding->request->needs |= RH_NEEDS_TOOLS;
  bool forced = extras->tool_choice == RH_TOOLS_REQUIRED || extras->tool_choice == RH_TOOLS_NAMED;
  if (forced && extras->tool_count == 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "tool_choice",
                         "\"tool_choice\" asks for a tool, but there is none");
  }
  if (extras->tool_choice != RH_TOOLS_NAMED) return RH_OK;
  for (size_t i = 0; i < extras->tool_count; i++) {
    if (strcmp(extras->tools[i].name, extras->tool_name) == 0) return RH_OK;
  }
  return rh_fail_param(decoding->error, RH_INVALID, "tool_choice",
                       "\"tool_choice\" names \"%.48s\", which is not in \"tools\"", extras->tool_name);
}

static rh_status read_tool(rh_decoding *decoding, const json_t *tool, const char *path, rh_tool *out) {
  char where[RH_API_PATH_BYTES];
  const char *type = NULL;
  const char *name = NULL;
  const char *description = NULL;
  rh_status status = rh_api_need_object(decoding, tool, path);
  if (status == RH_OK) status = rh_api_need_string(decoding, tool, path, "type", &type);
  if (status != RH_OK) return status;
  if (strcmp(type, "function") != 0) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, path,
                         "\"%s\" is a tool of the type \"%.32s\"; only \"function\" is supported", path, type);
  }
  const json_t *function = json_object_get(tool, "function");
  rh_json_join_path(where, sizeof where, path, "function");
  status = rh_api_need_object(decoding, function, where);
  if (status == RH_OK) status = rh_api_need_string(decoding, function, where, "name", &name);
  if (status == RH_OK) status = rh_json_get_string(function, where, "description", &description, decoding->error);
  if (status == RH_OK) status = rh_json_get_bool(function, where, "strict", &out->strict, decoding->error);
  json_t *schema = NULL;
  if (status == RH_OK) status = rh_json_get_object(function, where, "parameters", &schema, decoding->error);
  if (status != RH_OK) return status;
  rh_json_join_path(where, sizeof where, path, "function.name");
  status = rh_api_copy_tool_name(decoding, name, where, &out->name);
  if (status == RH_OK && description != NULL) status = rh_api_copy_string(decoding, description, &out->description);
  out->schema = NO_SCHEMA;
  if (status == RH_OK && schema != NULL) status = rh_api_copy_json(decoding, schema, &out->schema);
  return status;
}

rh_status rh_field_openai_tools(rh_decoding *decoding, const rh_field *field) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, "", field->name, &list, decoding->error);
  if (status != RH_OK) return status;
  return rh_api_read_tools(decoding, list, read_tool);
}

rh_status rh_api_read_tools(rh_decoding *decoding, const json_t *list, rh_read_tool read) {
  size_t count = json_array_size(list);
  if (count == 0) return RH_OK;
  if (count > RH_TOOLS_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "tools", "%zu tools; one request may have %d", count,
                         RH_TOOLS_MAX);
  }
  rh_extras *extras = rh_api_extras(decoding);
  rh_tool *tools = extras == NULL ? NULL : rh_api_alloc_array(decoding, count, sizeof *tools);
  if (tools == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < count; i++) {
    char path[RH_API_PATH_BYTES];
    (void)snprintf(path, sizeof path, "tools[%zu]", i);
    rh_status status = read(decoding, json_array_get(list, i), path, &tools[i]);
    if (status != RH_OK) return status;
  }
  extras->tools = tools;
  extras->tool_count = count;
  return RH_OK;
}

static rh_status choose_word(rh_decoding *decoding, const char *word) {
  static const struct {
    const char *word;
    rh_tool_choice choice;
  } WORDS[] = {{"auto", RH_TOOLS_AUTO}, {"none", RH_TOOLS_NONE}, {"required", RH_TOOLS_REQUIRED}};
  for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
    if (strcmp(WORDS[i].word, word) != 0) continue;
    // Clients send it by habit; without tools it says nothing.
    if (WORDS[i].choice != RH_TOOLS_REQUIRED && decoding->extras == NULL) return RH_OK;
    rh_extras *extras = rh_api_extras(decoding);
    if (extras == NULL) return RH_TOO_LARGE;
    extras->tool_choice = WORDS[i].choice;
    return RH_OK;
  }
  return rh_fail_param(
      decoding->error, RH_INVALID, "tool_choice",
      "\"tool_choice\" must be \"none\", \"auto\", \"required\" or the name of a function, not \"%.32s\"", word);
}

rh_status rh_field_openai_tool_choice(rh_decoding *decoding, const rh_field *field) {
  const json_t *value = json_object_get(decoding->body, field->name);
  const char *type = NULL;
  const char *name = NULL;
  if (json_is_string(value)) return choose_word(decoding, json_string_value(value));
  rh_status status = rh_api_need_object(decoding, value, field->name);
  if (status == RH_OK) status = rh_api_need_string(decoding, value, field->name, "type", &type);
  if (status != RH_OK) return status;
  if (strcmp(type, "function") != 0) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, field->name,
                         "\"tool_choice\" of the type \"%.32s\" is not supported; \"function\" is", type);
  }
  const json_t *function = json_object_get(value, "function");
  status = rh_api_need_object(decoding, function, "tool_choice.function");
  if (status == RH_OK) status = rh_api_need_string(decoding, function, "tool_choice.function", "name", &name);
  if (status != RH_OK) return status;
  rh_extras *extras = rh_api_extras(decoding);
  if (extras == NULL) return RH_TOO_LARGE;
  extras->tool_choice = RH_TOOLS_NAMED;
  return rh_api_copy_tool_name(decoding, name, "tool_choice.function.name", &extras->tool_name);
}

// Read after the tools; without them it says nothing.
rh_status rh_field_openai_parallel(rh_decoding *decoding, const rh_field *field) {
  bool parallel = true;
  rh_status status = rh_json_get_bool(decoding->body, "", field->name, &parallel, decoding->error);
  if (status == RH_OK && decoding->extras != NULL) decoding->extras->parallel_tools = parallel ? 1 : 0;
  return status;
}

static rh_status read_schema(rh_decoding *decoding, const json_t *format, rh_extras *extras) {
  static const char path[] = "response_format.json_schema";
  const char *name = NULL;
  const json_t *schema = json_object_get(format, "json_schema");
  rh_status status = rh_api_need_object(decoding, schema, path);
  if (status == RH_OK) status = rh_api_need_string(decoding, schema, path, "name", &name);
  if (status == RH_OK) status = rh_json_get_bool(schema, path, "strict", &extras->schema_strict, decoding->error);
  if (status == RH_OK) {
    status = rh_api_copy_tool_name(decoding, name, "response_format.json_schema.name", &extras->schema_name);
  }
  if (status != RH_OK) return status;
  const json_t *body = json_object_get(schema, "schema");
  extras->format = RH_ANSWER_SCHEMA;
  extras->schema = NO_SCHEMA;
  if (body == NULL || json_is_null(body)) return RH_OK;  // OpenAI's own clients may leave it out
  status = rh_api_need_object(decoding, body, "response_format.json_schema.schema");
  return status == RH_OK ? rh_api_copy_json(decoding, body, &extras->schema) : status;
}

rh_status rh_field_openai_format(rh_decoding *decoding, const rh_field *field) {
  json_t *format = NULL;
  const char *type = NULL;
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &format, decoding->error);
  if (status == RH_OK) status = rh_api_need_string(decoding, format, field->name, "type", &type);
  if (status != RH_OK || strcmp(type, "text") == 0) return status;
  bool object = strcmp(type, "json_object") == 0;
  if (!object && strcmp(type, "json_schema") != 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "response_format.type",
                         "\"response_format.type\" must be \"text\", \"json_object\" or \"json_schema\", not \"%.32s\"",
                         type);
  }
  rh_extras *extras = rh_api_extras(decoding);
  if (extras == NULL) return RH_TOO_LARGE;
  decoding->request->needs |= RH_NEEDS_JSON;
  if (!object) return read_schema(decoding, format, extras);
  extras->format = RH_ANSWER_JSON;
  return RH_OK;
}

// Any word: each model family has its own.
rh_status rh_field_openai_effort(rh_decoding *decoding, const rh_field *field) {
  const char *word = "";
  rh_status status = rh_json_get_string(decoding->body, "", field->name, &word, decoding->error);
  if (status != RH_OK || word[0] == '\0') return status;
  if (strlen(word) > 32) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name, "\"%s\" is longer than any known word for it",
                         field->name);
  }
  rh_extras *extras = rh_api_extras(decoding);
  return extras == NULL ? RH_TOO_LARGE : rh_api_copy_string(decoding, word, &extras->reasoning_effort);
}
