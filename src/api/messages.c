// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's `messages` into rh_message: roles, plain contents, and contents made of parts. What a text model cannot take
// (images, sound, files, tool calls and their results) is refused by name. All copies are in the request's arena.
#include <stdio.h>
#include <string.h>

#include "api/codec.h"

#define PATH_BYTES_MAX 64

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
    {"tool", NULL, "messages with the results of tools are not supported"},
    {"function", NULL, "messages with the results of functions are not supported"},
};

static const word_rule PARTS[] = {
    {"text", "text", NULL},
    {"refusal", "refusal", NULL},
    {"image_url", NULL, "images in messages are not supported"},
    {"input_audio", NULL, "sound in messages is not supported"},
    {"file", NULL, "files in messages are not supported"},
};

static const char *const MESSAGE_FIELDS[] = {"role",          "content", "refusal",     "tool_calls",
                                             "function_call", "audio",   "tool_call_id"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const word_rule *find_rule(const word_rule *rules, size_t count, const char *word) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(rules[i].word, word) == 0) return &rules[i];
  }
  return NULL;
}

static rh_status read_role(rh_decoding *decoding, const json_t *message, const char *path, const char **out) {
  char where[PATH_BYTES_MAX];
  const char *role = NULL;
  rh_json_join_path(where, sizeof where, path, "role");
  rh_status status = rh_json_get_string(message, path, "role", &role, decoding->error);
  if (status != RH_OK) return status;
  if (role == NULL) return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
  const word_rule *rule = find_rule(ROLES, COUNT(ROLES), role);
  if (rule == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, where,
                         "\"%s\" must be \"system\", \"developer\", \"user\" or \"assistant\", not \"%.32s\"", where,
                         role);
  }
  if (rule->means == NULL) return rh_fail_param(decoding->error, RH_UNSUPPORTED, where, "%s", rule->reason);
  *out = rule->means;
  return RH_OK;
}

// The text of one part; borrowed from the body.
static rh_status read_part(rh_decoding *decoding, const json_t *part, const char *path, const char **out) {
  char where[2 * PATH_BYTES_MAX];
  const char *type = NULL;
  if (!json_is_object(part)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be an object, not %s", path,
                         rh_json_type_name(part));
  }
  rh_status status = rh_json_get_string(part, path, "type", &type, decoding->error);
  if (status != RH_OK) return status;
  rh_json_join_path(where, sizeof where, path, "type");
  if (type == NULL) return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
  const word_rule *rule = find_rule(PARTS, COUNT(PARTS), type);
  if (rule == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be \"text\", not \"%.32s\"", where, type);
  }
  if (rule->means == NULL) return rh_fail_param(decoding->error, RH_UNSUPPORTED, path, "%s", rule->reason);
  status = rh_json_get_string(part, path, rule->means, out, decoding->error);
  if (status != RH_OK || *out != NULL) return status;
  rh_json_join_path(where, sizeof where, path, rule->means);
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
}

// Parts are joined by line breaks, as other servers do it, so that two parts never run into one word.
static rh_status join_parts(rh_decoding *decoding, const json_t *parts, const char *path, const char **out) {
  size_t count = json_array_size(parts);
  size_t length = 0;
  if (count == 0) return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is an empty array", path);
  for (size_t i = 0; i < count; i++) {
    char where[2 * PATH_BYTES_MAX];
    const char *text = NULL;
    (void)snprintf(where, sizeof where, "%s[%zu]", path, i);
    rh_status status = read_part(decoding, json_array_get(parts, i), where, &text);
    if (status != RH_OK) return status;
    length += strlen(text) + 1;
  }
  char *joined = rh_api_alloc_array(decoding, length, 1);
  if (joined == NULL) return RH_TOO_LARGE;
  *out = joined;
  for (size_t i = 0; i < count; i++) {
    const json_t *part = json_array_get(parts, i);
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, type);  // both types name their own field; the first loop checked it
    memcpy(joined, json_string_value(text), json_string_length(text));
    joined += json_string_length(text);
    *joined++ = i + 1 < count ? '\n' : '\0';
  }
  return RH_OK;
}

static rh_status read_content(rh_decoding *decoding, const json_t *message, const char *path, const char **out) {
  char where[PATH_BYTES_MAX];
  const json_t *content = json_object_get(message, "content");
  const json_t *refusal = json_object_get(message, "refusal");
  rh_json_join_path(where, sizeof where, path, "content");
  if (json_is_string(content)) return rh_api_copy_string(decoding, json_string_value(content), out);
  if (json_is_array(content)) return join_parts(decoding, content, where, out);
  bool absent = content == NULL || json_is_null(content);
  // An earlier answer of the assistant may have been a refusal, which has a text but no content.
  if (absent && json_is_string(refusal)) return rh_api_copy_string(decoding, json_string_value(refusal), out);
  if (absent) return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string or an array of parts, not %s",
                       where, rh_json_type_name(content));
}

// What a message may carry besides its text and a text model cannot take.
static rh_status refuse_extras(rh_decoding *decoding, const json_t *message, const char *path) {
  static const struct {
    const char *name;
    const char *reason;
  } EXTRAS[] = {
      {"tool_calls", "messages with tool calls are not supported"},
      {"function_call", "messages with function calls are not supported"},
      {"audio", "messages that refer to sound are not supported"},
      {"tool_call_id", "messages with the results of tools are not supported"},
  };
  for (size_t i = 0; i < COUNT(EXTRAS); i++) {
    const json_t *value = json_object_get(message, EXTRAS[i].name);
    if (value == NULL || json_is_null(value)) continue;
    if (json_is_array(value) && json_array_size(value) == 0) continue;
    char where[PATH_BYTES_MAX];
    rh_json_join_path(where, sizeof where, path, EXTRAS[i].name);
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, where, "%s", EXTRAS[i].reason);
  }
  return RH_OK;
}

// Other fields (name, reasoning_content, ...) do not reach the model; the client is told once for each.
static void warn_unknown(rh_decoding *decoding, json_t *message) {
  const char *key;
  json_t *value;
  json_object_foreach(message, key, value) {
    bool known = false;
    for (size_t i = 0; i < COUNT(MESSAGE_FIELDS) && !known; i++) known = strcmp(MESSAGE_FIELDS[i], key) == 0;
    if (known || json_is_null(value)) continue;
    if (decoding->unknown_count++ >= RH_API_UNKNOWN_MAX) return;
    rh_api_warn(decoding, "messages.", key, NULL);
  }
}

static rh_status read_message(rh_decoding *decoding, json_t *message, const char *path, rh_message *out) {
  if (!json_is_object(message)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be an object, not %s", path,
                         rh_json_type_name(message));
  }
  rh_status status = read_role(decoding, message, path, &out->role);
  if (status == RH_OK) status = refuse_extras(decoding, message, path);
  if (status == RH_OK) status = read_content(decoding, message, path, &out->content);
  if (status == RH_OK) warn_unknown(decoding, message);
  return status;
}

rh_status rh_api_decode_messages(rh_decoding *decoding) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, "", "messages", &list, decoding->error);
  if (status != RH_OK) return status;
  if (list == NULL) return rh_fail_param(decoding->error, RH_INVALID, "messages", "\"messages\" is missing");
  size_t count = json_array_size(list);
  if (count == 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "messages",
                         "\"messages\" is empty; at least one message is needed");
  }
  if (count > RH_MESSAGES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "messages", "%zu messages; one request may have %d", count,
                         RH_MESSAGES_MAX);
  }
  rh_message *messages = rh_api_alloc_array(decoding, count, sizeof *messages);
  rh_prompt *prompt = rh_api_alloc_array(decoding, 1, sizeof *prompt);
  if (messages == NULL || prompt == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < count; i++) {
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "messages[%zu]", i);
    status = read_message(decoding, json_array_get(list, i), path, &messages[i]);
    if (status != RH_OK) return status;
  }
  *prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
  decoding->request->task = RH_TASK_CHAT;
  decoding->request->prompts = prompt;
  decoding->request->prompt_count = 1;
  return RH_OK;
}
