// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's words for what only some models can do: tools and the choice among them, thinking, and answers that follow a
// schema. They become rh_extras and the request's needs; no schema is looked into. Pure, any thread.
#include <string.h>

#include "api/anthropic.h"

#define NO_SCHEMA "{\"type\":\"object\",\"properties\":{}}"
#define EFFORT_BYTES_MAX 32

// Tools with a type of their own run at Anthropic's or have a shape that only its models know.
static rh_status read_tool(rh_decoding *decoding, const json_t *tool, const char *path, rh_tool *out) {
  char where[RH_API_PATH_BYTES];
  const char *type = "custom";
  const char *name = NULL;
  const char *description = NULL;
  json_t *schema = NULL;
  rh_status status = rh_api_need_object(decoding, tool, path);
  if (status == RH_OK) status = rh_json_get_string(tool, path, "type", &type, decoding->error);
  if (status != RH_OK) return status;
  if (strcmp(type, "custom") != 0) {
    return rh_fail_param(
        decoding->error, RH_UNSUPPORTED, path,
        "\"%s\" is a tool of the type \"%.40s\", which only Anthropic's own service has; give a tool with "
        "\"name\", \"description\" and \"input_schema\" instead",
        path, type);
  }
  status = rh_api_need_string(decoding, tool, path, "name", &name);
  if (status == RH_OK) status = rh_json_get_string(tool, path, "description", &description, decoding->error);
  if (status == RH_OK) status = rh_json_get_bool(tool, path, "strict", &out->strict, decoding->error);
  if (status == RH_OK) status = rh_json_get_object(tool, path, "input_schema", &schema, decoding->error);
  if (status != RH_OK) return status;
  rh_json_join_path(where, sizeof where, path, "name");
  status = rh_api_copy_tool_name(decoding, name, where, &out->name);
  if (status == RH_OK && description != NULL) status = rh_api_copy_string(decoding, description, &out->description);
  out->cache_mark = rh_anthropic_has_mark(tool);
  out->schema = NO_SCHEMA;
  if (status == RH_OK && schema != NULL) status = rh_api_copy_json(decoding, schema, &out->schema);
  return status;
}

rh_status rh_anthropic_read_tools(rh_decoding *decoding, const rh_field *field) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, "", field->name, &list, decoding->error);
  return status == RH_OK ? rh_api_read_tools(decoding, list, read_tool) : status;
}

rh_status rh_anthropic_read_choice(rh_decoding *decoding, const rh_field *field) {
  static const struct {
    const char *word;
    rh_tool_choice choice;
  } WORDS[] = {{"auto", RH_TOOLS_AUTO}, {"none", RH_TOOLS_NONE}, {"any", RH_TOOLS_REQUIRED}, {"tool", RH_TOOLS_NAMED}};
  json_t *value = NULL;
  const char *type = NULL;
  const char *name = NULL;
  bool alone = false;
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &value, decoding->error);
  if (status == RH_OK) status = rh_api_need_string(decoding, value, field->name, "type", &type);
  if (status == RH_OK) {
    status = rh_json_get_bool(value, field->name, "disable_parallel_tool_use", &alone, decoding->error);
  }
  if (status != RH_OK) return status;
  size_t at = 0;
  while (at < sizeof WORDS / sizeof WORDS[0] && strcmp(WORDS[at].word, type) != 0) at++;
  if (at == sizeof WORDS / sizeof WORDS[0]) {
    return rh_fail_param(decoding->error, RH_INVALID, "tool_choice.type",
                         "\"tool_choice.type\" must be \"auto\", \"any\", \"tool\" or \"none\", not \"%.32s\"", type);
  }
  rh_extras *extras = rh_api_extras(decoding);
  if (extras == NULL) return RH_TOO_LARGE;
  extras->tool_choice = WORDS[at].choice;
  if (json_object_get(value, "disable_parallel_tool_use") != NULL) extras->parallel_tools = alone ? 0 : 1;
  if (extras->tool_choice != RH_TOOLS_NAMED) return RH_OK;
  status = rh_api_need_string(decoding, value, field->name, "name", &name);
  return status == RH_OK ? rh_api_copy_tool_name(decoding, name, "tool_choice.name", &extras->tool_name) : status;
}

rh_status rh_anthropic_read_thinking(rh_decoding *decoding, const rh_field *field) {
  json_t *value = NULL;
  const char *type = NULL;
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &value, decoding->error);
  if (status == RH_OK) status = rh_api_need_string(decoding, value, field->name, "type", &type);
  if (status != RH_OK || strcmp(type, "disabled") == 0) return status;
  decoding->notes->wants_thoughts = true;
  bool adaptive = strcmp(type, "adaptive") == 0;
  if (!adaptive && strcmp(type, "enabled") != 0) return RH_OK;  // what comes after these
  rh_extras *extras = rh_api_extras(decoding);
  if (extras == NULL) return RH_TOO_LARGE;
  extras->reasoning_adaptive = adaptive;
  if (adaptive) return RH_OK;
  return rh_json_get_int(value, field->name, "budget_tokens", 1, INT32_MAX, &extras->reasoning_tokens, decoding->error);
}

static rh_status read_format(rh_decoding *decoding, const json_t *format, const char *path) {
  char where[RH_API_PATH_BYTES];
  const char *type = NULL;
  rh_status status = rh_api_need_object(decoding, format, path);
  if (status == RH_OK) status = rh_api_need_string(decoding, format, path, "type", &type);
  if (status != RH_OK) return status;
  if (strcmp(type, "json_schema") != 0) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "the type of \"%s\" must be \"json_schema\", not \"%.32s\"",
                         path, type);
  }
  const json_t *schema = json_object_get(format, "schema");
  rh_json_join_path(where, sizeof where, path, "schema");
  status = rh_api_need_object(decoding, schema, where);
  if (status != RH_OK) return status;
  rh_extras *extras = rh_api_extras(decoding);
  if (extras == NULL) return RH_TOO_LARGE;
  decoding->request->needs |= RH_NEEDS_JSON;
  extras->format = RH_ANSWER_SCHEMA;
  extras->schema_name = "answer";  // here it has none
  extras->schema_strict = true;    // here it always is
  return rh_api_copy_json(decoding, schema, &extras->schema);
}

rh_status rh_anthropic_read_format(rh_decoding *decoding, const rh_field *field) {
  return read_format(decoding, json_object_get(decoding->body, field->name), field->name);
}

rh_status rh_anthropic_read_output(rh_decoding *decoding, const rh_field *field) {
  json_t *value = NULL;
  const char *effort = "";
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &value, decoding->error);
  if (status == RH_OK) status = rh_json_get_string(value, field->name, "effort", &effort, decoding->error);
  if (status != RH_OK) return status;
  if (strlen(effort) > EFFORT_BYTES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "output_config.effort",
                         "\"output_config.effort\" is longer than any known word for it");
  }
  if (effort[0] != '\0') {
    rh_extras *extras = rh_api_extras(decoding);
    if (extras == NULL) return RH_TOO_LARGE;
    status = rh_api_copy_string(decoding, effort, &extras->reasoning_effort);
  }
  const json_t *format = json_object_get(value, "format");
  if (status != RH_OK || format == NULL || json_is_null(format)) return status;
  return read_format(decoding, format, "output_config.format");
}
