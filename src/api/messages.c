// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's `messages` into rh_message: roles, plain contents, contents made of parts, calls of tools, their results and
// earlier thoughts. What nothing here can take (sound, files) is refused by name; whether a model can see an image or use a
// tool is decided later. All copies are in the request's arena. Pure, any thread.
#include <stdio.h>
#include <string.h>

#include "api/codec.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct word_rule {
  const char *word;
  const char *means;   // our word, or NULL when refused
  const char *reason;  // why
} word_rule;

static const word_rule ROLES[] = {
    {"system", "system", NULL},
    {"developer", "system", NULL},  // OpenAI's newer name for it
    {"user", "user", NULL},
    {"assistant", "assistant", NULL},
    {"tool", "tool", NULL},
    {"function", NULL, "messages with the results of functions are the older form; use the role \"tool\""},
};

static const word_rule PARTS[] = {
    {"text", "text", NULL},
    {"refusal", "refusal", NULL},
    {"image_url", "image_url", NULL},
    {"input_audio", NULL, "sound in messages is not supported"},
    {"file", NULL, "files in messages are not supported"},
};

static const char *const MESSAGE_FIELDS[] = {"role",          "content",    "refusal",      "tool_calls",
                                             "function_call", "audio",      "tool_call_id", "reasoning_content",
                                             "reasoning",     "annotations"};

static const word_rule *find_rule(const word_rule *rules, size_t count, const char *word) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(rules[i].word, word) == 0) return &rules[i];
  }
  return NULL;
}

static rh_status read_role(rh_decoding *decoding, const json_t *message, const char *path, const char **out) {
  char where[RH_API_PATH_BYTES];
  const char *role = NULL;
  rh_status status = rh_api_need_string(decoding, message, path, "role", &role);
  if (status != RH_OK) return status;
  rh_json_join_path(where, sizeof where, path, "role");
  const word_rule *rule = find_rule(ROLES, COUNT(ROLES), role);
  if (rule == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, where,
                         "\"%s\" must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\", not \"%.32s\"",
                         where, role);
  }
  if (rule->means == NULL) return rh_fail_param(decoding->error, RH_UNSUPPORTED, where, "%s", rule->reason);
  *out = rule->means;
  return RH_OK;
}

// {"url","detail"}; some clients send the URL itself.
static rh_status read_image(rh_decoding *decoding, const json_t *part, const char *role, const char *path,
                            rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const json_t *image = json_object_get(part, "image_url");
  const char *url = json_string_value(image);
  const char *detail = NULL;
  rh_status status = RH_OK;
  if (strcmp(role, "user") != 0) {
    return rh_fail_param(decoding->error, RH_INVALID, path,
                         "\"%s\" is an image; only messages of the user may have one", path);
  }
  rh_json_join_path(where, sizeof where, path, "image_url");
  if (url == NULL) {
    status = rh_api_need_object(decoding, image, where);
    if (status == RH_OK) status = rh_api_need_string(decoding, image, where, "url", &url);
    if (status == RH_OK) status = rh_json_get_string(image, where, "detail", &detail, decoding->error);
    if (status != RH_OK) return status;
    rh_json_join_path(where, sizeof where, path, "image_url.url");
  }
  status = rh_pieces_add_url(decoding, pieces, url, where);
  if (status != RH_OK || detail == NULL) return status;
  return rh_api_copy_string(decoding, detail, &pieces->list[pieces->count - 1].detail);
}

static rh_status read_part(rh_decoding *decoding, const json_t *part, const char *role, const char *path,
                           rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const char *type = NULL;
  const char *text = NULL;
  rh_status status = rh_api_need_object(decoding, part, path);
  if (status == RH_OK) status = rh_api_need_string(decoding, part, path, "type", &type);
  if (status != RH_OK) return status;
  rh_json_join_path(where, sizeof where, path, "type");
  const word_rule *rule = find_rule(PARTS, COUNT(PARTS), type);
  if (rule == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be \"text\" or \"image_url\", not \"%.32s\"",
                         where, type);
  }
  if (rule->means == NULL) return rh_fail_param(decoding->error, RH_UNSUPPORTED, path, "%s", rule->reason);
  if (strcmp(rule->means, "image_url") == 0) return read_image(decoding, part, role, path, pieces);
  status = rh_api_need_string(decoding, part, path, rule->means, &text);
  return status == RH_OK ? rh_pieces_add_text(decoding, pieces, text) : status;
}

static rh_status read_parts(rh_decoding *decoding, const json_t *parts, const char *role, const char *path,
                            rh_pieces *pieces) {
  size_t count = json_array_size(parts);
  if (count == 0) return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is an empty array", path);
  for (size_t i = 0; i < count; i++) {
    char where[RH_API_PATH_BYTES];
    (void)snprintf(where, sizeof where, "%.70s[%zu]", path, i);
    rh_status status = read_part(decoding, json_array_get(parts, i), role, where, pieces);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status read_content(rh_decoding *decoding, const json_t *message, const char *role, const char *path,
                              bool may_lack, rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const json_t *content = json_object_get(message, "content");
  const json_t *refusal = json_object_get(message, "refusal");
  rh_json_join_path(where, sizeof where, path, "content");
  if (json_is_array(content) && may_lack && json_array_size(content) == 0) return RH_OK;
  if (json_is_string(content)) return rh_pieces_add_text(decoding, pieces, json_string_value(content));
  if (json_is_array(content)) return read_parts(decoding, content, role, where, pieces);
  bool absent = content == NULL || json_is_null(content);
  // An earlier answer of the assistant may have been a refusal, which has a text but no content.
  if (absent && json_is_string(refusal)) return rh_pieces_add_text(decoding, pieces, json_string_value(refusal));
  if (absent && may_lack) return RH_OK;
  if (absent) return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string or an array of parts, not %s",
                       where, rh_json_type_name(content));
}

// The text of a JSON object. What a model once wrote may be no object, and an answer must still be possible: the model
// sees then what it wrote.
static rh_status copy_arguments(rh_decoding *decoding, const char *text, const char **out) {
  size_t blank = strspn(text, " \t\r\n");
  if (text[blank] == '\0') return rh_api_copy_string(decoding, "{}", out);
  json_t *value = rh_json_parse(text, strlen(text), NULL);
  bool object = json_is_object(value);
  json_decref(value);
  if (object) return rh_api_copy_string(decoding, text, out);
  json_t *wrapped = json_pack("{s:s}", "invalid_arguments", text);
  if (wrapped == NULL) return rh_fail(decoding->error, RH_NO_MEMORY, "no memory for the request");
  rh_status status = rh_api_copy_json(decoding, wrapped, out);
  json_decref(wrapped);
  return status;
}

static rh_status read_call(rh_decoding *decoding, const json_t *call, const char *path, rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const char *id = NULL;
  const char *name = NULL;
  const char *type = "function";
  rh_status status = rh_api_need_object(decoding, call, path);
  if (status == RH_OK) status = rh_json_get_string(call, path, "type", &type, decoding->error);
  if (status != RH_OK) return status;
  if (strcmp(type, "function") != 0) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, path,
                         "\"%s\" is a call of the type \"%.32s\"; only \"function\" is supported", path, type);
  }
  status = rh_api_need_string(decoding, call, path, "id", &id);
  if (status != RH_OK) return status;
  const json_t *function = json_object_get(call, "function");
  rh_json_join_path(where, sizeof where, path, "function");
  status = rh_api_need_object(decoding, function, where);
  if (status == RH_OK) status = rh_api_need_string(decoding, function, where, "name", &name);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(pieces, RH_PIECE_TOOL_CALL);
  rh_json_join_path(where, sizeof where, path, "function.name");
  status = rh_api_copy_tool_name(decoding, name, where, &piece->name);
  if (status == RH_OK) status = rh_api_copy_string(decoding, id, &piece->id);
  if (status != RH_OK) return status;
  const json_t *arguments = json_object_get(function, "arguments");
  if (json_is_object(arguments)) return rh_api_copy_json(decoding, arguments, &piece->arguments);
  const char *text = "";
  rh_json_join_path(where, sizeof where, path, "function");
  status = rh_json_get_string(function, where, "arguments", &text, decoding->error);
  return status == RH_OK ? copy_arguments(decoding, text, &piece->arguments) : status;
}

static rh_status read_calls(rh_decoding *decoding, const json_t *calls, const char *path, rh_pieces *pieces) {
  for (size_t i = 0; i < json_array_size(calls); i++) {
    char where[RH_API_PATH_BYTES];
    (void)snprintf(where, sizeof where, "%.60s.tool_calls[%zu]", path, i);
    rh_status status = read_call(decoding, json_array_get(calls, i), where, pieces);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static bool is_empty(const json_t *value) {
  return value == NULL || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

// What a message may carry that nothing here can take.
static rh_status refuse_extras(rh_decoding *decoding, const json_t *message, const char *role, const char *path) {
  static const struct {
    const char *name;
    const char *role;  // where it is fine
    const char *reason;
  } EXTRAS[] = {
      {"function_call", "", "messages with function calls are the older form; use \"tool_calls\""},
      {"audio", "", "messages that refer to sound are not supported"},
      {"tool_calls", "assistant", "only messages of the assistant have \"tool_calls\""},
      {"tool_call_id", "tool", "only messages of the role \"tool\" have a \"tool_call_id\""},
  };
  for (size_t i = 0; i < COUNT(EXTRAS); i++) {
    const json_t *value = json_object_get(message, EXTRAS[i].name);
    if (is_empty(value) || strcmp(role, EXTRAS[i].role) == 0) continue;
    char where[RH_API_PATH_BYTES];
    rh_json_join_path(where, sizeof where, path, EXTRAS[i].name);
    rh_status status = EXTRAS[i].role[0] == '\0' ? RH_UNSUPPORTED : RH_INVALID;
    return rh_fail_param(decoding->error, status, where, "%s", EXTRAS[i].reason);
  }
  return RH_OK;
}

// Other fields do not reach the model; the client is told once for each.
static void warn_unknown(rh_decoding *decoding, json_t *message, const char *role) {
  const char *key;
  json_t *value;
  json_object_foreach(message, key, value) {
    bool known = strcmp(role, "tool") == 0 && strcmp(key, "name") == 0;  // the call's id says it already
    for (size_t i = 0; i < COUNT(MESSAGE_FIELDS) && !known; i++) known = strcmp(MESSAGE_FIELDS[i], key) == 0;
    if (known || json_is_null(value)) continue;
    if (decoding->unknown_count++ >= RH_API_UNKNOWN_MAX) return;
    rh_api_warn(decoding, "messages.", key, NULL);
  }
}

static rh_status read_result(rh_decoding *decoding, const json_t *message, const char *path, rh_message *out) {
  rh_pieces texts, result;
  rh_message said;
  const char *id = NULL;
  size_t room = json_array_size(json_object_get(message, "content")) + 1;
  rh_status status = rh_api_need_string(decoding, message, path, "tool_call_id", &id);
  if (status == RH_OK) status = rh_pieces_begin(decoding, &texts, room);
  if (status == RH_OK) status = read_content(decoding, message, "tool", path, true, &texts);
  if (status == RH_OK) status = rh_pieces_end(decoding, &texts, "tool", &said);
  if (status == RH_OK) status = rh_pieces_begin(decoding, &result, 1);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(&result, RH_PIECE_TOOL_RESULT);
  piece->text = said.content;
  status = rh_api_copy_string(decoding, id, &piece->id);
  return status == RH_OK ? rh_pieces_end(decoding, &result, "tool", out) : status;
}

// Thoughts of an earlier answer, under either of the names that servers give them.
static rh_status read_thoughts(rh_decoding *decoding, const json_t *message, rh_pieces *pieces) {
  const char *text = json_string_value(json_object_get(message, "reasoning_content"));
  if (text == NULL) text = json_string_value(json_object_get(message, "reasoning"));
  if (text == NULL || text[0] == '\0') return RH_OK;
  return rh_api_copy_string(decoding, text, &rh_pieces_add(pieces, RH_PIECE_REASONING)->text);
}

static rh_status read_spoken(rh_decoding *decoding, const json_t *message, const char *role, const char *path,
                             rh_message *out) {
  rh_pieces pieces;
  const json_t *calls = json_object_get(message, "tool_calls");
  bool assistant = strcmp(role, "assistant") == 0;
  if (!is_empty(calls) && !json_is_array(calls)) {
    char where[RH_API_PATH_BYTES];
    rh_json_join_path(where, sizeof where, path, "tool_calls");
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be an array, not %s", where,
                         rh_json_type_name(calls));
  }
  size_t room = json_array_size(json_object_get(message, "content")) + json_array_size(calls) + 2;
  if (room > RH_API_PIECES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" has more than %d parts", path, RH_API_PIECES_MAX);
  }
  rh_status status = rh_pieces_begin(decoding, &pieces, room);
  if (status == RH_OK && assistant) status = read_thoughts(decoding, message, &pieces);
  if (status == RH_OK) status = read_content(decoding, message, role, path, !is_empty(calls), &pieces);
  if (status == RH_OK) status = read_calls(decoding, calls, path, &pieces);
  return status == RH_OK ? rh_pieces_end(decoding, &pieces, role, out) : status;
}

static rh_status read_message(rh_decoding *decoding, json_t *message, const char *path, rh_message *out) {
  const char *role = NULL;
  rh_status status = rh_api_need_object(decoding, message, path);
  if (status == RH_OK) status = read_role(decoding, message, path, &role);
  if (status == RH_OK) status = refuse_extras(decoding, message, role, path);
  if (status != RH_OK) return status;
  bool tool = strcmp(role, "tool") == 0;
  status = tool ? read_result(decoding, message, path, out) : read_spoken(decoding, message, role, path, out);
  if (status == RH_OK) warn_unknown(decoding, message, role);
  return status;
}

rh_status rh_api_decode_messages(rh_decoding *decoding) {
  json_t *list = NULL;
  rh_status status = rh_api_get_messages(decoding, &list);
  if (status != RH_OK) return status;
  size_t count = json_array_size(list);
  rh_message *messages = rh_api_alloc_array(decoding, count, sizeof *messages);
  if (messages == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < count; i++) {
    char path[RH_API_PATH_BYTES];
    (void)snprintf(path, sizeof path, "messages[%zu]", i);
    status = read_message(decoding, json_array_get(list, i), path, &messages[i]);
    if (status != RH_OK) return status;
  }
  return rh_api_set_messages(decoding, messages, count);
}
