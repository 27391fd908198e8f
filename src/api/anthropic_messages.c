// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's `system` and `messages` into rh_message. Results of tools stand in messages of the user there and have a role
// of their own here, so one message may become two: the results, then the rest, with the images that tools gave. What only
// Anthropic's own service can read (documents, its own tools' results) is refused by name. All copies are in the request's
// arena. Pure, any thread.
#include <stdio.h>
#include <string.h>

#include "api/anthropic.h"

// One message while it is read.
typedef struct reading {
  rh_pieces said;     // text, images, thoughts and calls
  rh_pieces results;  // of tools
  bool assistant;
} reading;

bool rh_anthropic_has_mark(const json_t *object) { return json_is_object(json_object_get(object, "cache_control")); }

// The piece that a block has just become.
static void copy_mark(const json_t *block, const rh_pieces *pieces) {
  if (pieces->count > 0 && rh_anthropic_has_mark(block)) pieces->list[pieces->count - 1].cache_mark = true;
}

static rh_status read_image(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const char *type = NULL;
  const char *first = NULL;
  const char *data = NULL;
  const json_t *source = json_object_get(block, "source");
  rh_json_join_path(where, sizeof where, path, "source");
  rh_status status = rh_api_need_object(decoding, source, where);
  if (status == RH_OK) status = rh_api_need_string(decoding, source, where, "type", &type);
  if (status != RH_OK) return status;
  if (strcmp(type, "url") == 0) {
    status = rh_api_need_string(decoding, source, where, "url", &first);
    return status == RH_OK ? rh_pieces_add_url(decoding, pieces, first, where) : status;
  }
  if (strcmp(type, "base64") != 0) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, where,
                         "\"%s\" of the type \"%.32s\" is not supported; \"base64\" and \"url\" are", where, type);
  }
  status = rh_api_need_string(decoding, source, where, "media_type", &first);
  if (status == RH_OK) status = rh_api_need_string(decoding, source, where, "data", &data);
  return status == RH_OK ? rh_pieces_add_data(decoding, pieces, first, strlen(first), data, where) : status;
}

static rh_status read_thought(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces) {
  const char *text = NULL;
  const char *signature = "";
  rh_status status = rh_api_need_string(decoding, block, path, "thinking", &text);
  if (status == RH_OK) status = rh_json_get_string(block, path, "signature", &signature, decoding->error);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(pieces, RH_PIECE_REASONING);
  status = rh_api_copy_string(decoding, text, &piece->text);
  if (status != RH_OK || signature[0] == '\0') return status;
  return rh_api_copy_string(decoding, signature, &piece->signature);
}

// A thought that the client may not see: handed back as it came.
static rh_status read_hidden(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces) {
  const char *data = NULL;
  rh_status status = rh_api_need_string(decoding, block, path, "data", &data);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(pieces, RH_PIECE_REASONING);
  piece->text = "";
  piece->signature = rh_arena_printf(decoding->arena, RH_REDACTED_THOUGHT "%s", data);
  if (piece->signature != NULL) return RH_OK;
  return rh_fail(decoding->error, RH_TOO_LARGE, "the request needs more memory than one request may use");
}

static rh_status read_call(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces) {
  char where[RH_API_PATH_BYTES];
  const char *id = NULL;
  const char *name = NULL;
  const json_t *input = json_object_get(block, "input");
  rh_status status = rh_api_need_string(decoding, block, path, "id", &id);
  if (status == RH_OK) status = rh_api_need_string(decoding, block, path, "name", &name);
  rh_json_join_path(where, sizeof where, path, "input");
  if (status == RH_OK) status = rh_api_need_object(decoding, input, where);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(pieces, RH_PIECE_TOOL_CALL);
  rh_json_join_path(where, sizeof where, path, "name");
  status = rh_api_copy_tool_name(decoding, name, where, &piece->name);
  if (status == RH_OK) status = rh_api_copy_string(decoding, id, &piece->id);
  return status == RH_OK ? rh_api_copy_json(decoding, input, &piece->arguments) : status;
}

static rh_status read_text(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces) {
  const char *text = NULL;
  rh_status status = rh_api_need_string(decoding, block, path, "text", &text);
  return status == RH_OK ? rh_pieces_add_text(decoding, pieces, text) : status;
}

static rh_status read_type(rh_decoding *decoding, const json_t *block, const char *path, const char **type) {
  rh_status status = rh_api_need_object(decoding, block, path);
  return status == RH_OK ? rh_api_need_string(decoding, block, path, "type", type) : status;
}

static rh_status refuse_type(rh_decoding *decoding, const char *path, const char *type) {
  return rh_fail_param(decoding->error, RH_UNSUPPORTED, path,
                       "\"%s\" is a block of the type \"%.40s\", which is not "
                       "supported here",
                       path, type);
}

// What a tool said: its texts, joined; its images go to `images`, because a result holds text alone.
static rh_status read_result_blocks(rh_decoding *decoding, const json_t *list, const char *path, rh_pieces *images,
                                    const char **out) {
  rh_pieces texts;
  rh_message said;
  rh_status status = rh_pieces_begin(decoding, &texts, json_array_size(list));
  for (size_t i = 0; status == RH_OK && i < json_array_size(list); i++) {
    char where[RH_API_PATH_BYTES];
    const char *type = NULL;
    const json_t *block = json_array_get(list, i);
    (void)snprintf(where, sizeof where, "%.64s.content[%zu]", path, i);
    status = read_type(decoding, block, where, &type);
    if (status != RH_OK) return status;
    if (strcmp(type, "text") == 0)
      status = read_text(decoding, block, where, &texts);
    else if (strcmp(type, "image") == 0)
      status = read_image(decoding, block, where, images);
    else
      status = refuse_type(decoding, where, type);
  }
  if (status == RH_OK) status = rh_pieces_end(decoding, &texts, "tool", &said);
  if (status == RH_OK) *out = said.content;
  return status;
}

static rh_status read_result(rh_decoding *decoding, const json_t *block, const char *path, reading *into) {
  char where[RH_API_PATH_BYTES];
  const char *id = NULL;
  bool failed = false;
  rh_status status = rh_api_need_string(decoding, block, path, "tool_use_id", &id);
  if (status == RH_OK) status = rh_json_get_bool(block, path, "is_error", &failed, decoding->error);
  if (status != RH_OK) return status;
  rh_piece *piece = rh_pieces_add(&into->results, RH_PIECE_TOOL_RESULT);
  piece->failed = failed;
  piece->text = "";
  status = rh_api_copy_string(decoding, id, &piece->id);
  const json_t *content = json_object_get(block, "content");
  if (status != RH_OK || content == NULL || json_is_null(content)) return status;
  if (json_is_string(content)) return rh_api_copy_string(decoding, json_string_value(content), &piece->text);
  if (json_is_array(content)) return read_result_blocks(decoding, content, path, &into->said, &piece->text);
  rh_json_join_path(where, sizeof where, path, "content");
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string or an array of blocks, not %s",
                       where, rh_json_type_name(content));
}

static rh_status read_block(rh_decoding *decoding, const json_t *block, const char *path, reading *into) {
  const char *type = NULL;
  rh_status status = read_type(decoding, block, path, &type);
  if (status != RH_OK) return status;
  if (strcmp(type, "text") == 0) return read_text(decoding, block, path, &into->said);
  static const struct {
    const char *type;
    bool assistant;
    rh_status (*read)(rh_decoding *decoding, const json_t *block, const char *path, rh_pieces *pieces);
  } BLOCKS[] = {
      {"image", false, read_image},
      {"tool_result", false, NULL},
      {"tool_use", true, read_call},
      {"thinking", true, read_thought},
      {"redacted_thinking", true, read_hidden},
  };
  for (size_t i = 0; i < sizeof BLOCKS / sizeof BLOCKS[0]; i++) {
    if (strcmp(type, BLOCKS[i].type) != 0) continue;
    if (BLOCKS[i].assistant != into->assistant) {
      return rh_fail_param(decoding->error, RH_INVALID, path,
                           "\"%s\" is a block of the type \"%s\", which stands in "
                           "messages of the %s only",
                           path, type, BLOCKS[i].assistant ? "assistant" : "user");
    }
    if (BLOCKS[i].read == NULL) return read_result(decoding, block, path, into);
    return BLOCKS[i].read(decoding, block, path, &into->said);
  }
  return refuse_type(decoding, path, type);
}

// Blocks of a message, with the blocks inside the results of tools.
static size_t count_blocks(const json_t *list) {
  size_t count = json_array_size(list);
  for (size_t i = 0; i < json_array_size(list); i++) {
    count += json_array_size(json_object_get(json_array_get(list, i), "content"));
  }
  return count;
}

static rh_status read_blocks(rh_decoding *decoding, const json_t *content, const char *path, reading *into) {
  char where[RH_API_PATH_BYTES];
  rh_json_join_path(where, sizeof where, path, "content");
  if (json_is_string(content)) {
    rh_status status = rh_pieces_begin(decoding, &into->said, 1);
    return status == RH_OK ? rh_pieces_add_text(decoding, &into->said, json_string_value(content)) : status;
  }
  if (content == NULL || json_is_null(content)) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
  }
  if (!json_is_array(content)) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string or an array of blocks, not %s",
                         where, rh_json_type_name(content));
  }
  size_t room = count_blocks(content);
  if (room > RH_API_PIECES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" has more than %d blocks", where,
                         RH_API_PIECES_MAX);
  }
  rh_status status = rh_pieces_begin(decoding, &into->said, room);
  if (status == RH_OK) status = rh_pieces_begin(decoding, &into->results, json_array_size(content));
  for (size_t i = 0; status == RH_OK && i < json_array_size(content); i++) {
    const json_t *block = json_array_get(content, i);
    size_t results = into->results.count;
    (void)snprintf(where, sizeof where, "%.64s.content[%zu]", path, i);
    status = read_block(decoding, block, where, into);
    if (status == RH_OK) copy_mark(block, into->results.count > results ? &into->results : &into->said);
  }
  return status;
}

static rh_status read_role(rh_decoding *decoding, const json_t *message, const char *path, const char **out) {
  static const char *const ROLES[] = {"user", "assistant", "system"};
  const char *role = NULL;
  rh_status status = rh_api_need_object(decoding, message, path);
  if (status == RH_OK) status = rh_api_need_string(decoding, message, path, "role", &role);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
    if (strcmp(role, ROLES[i]) != 0) continue;
    *out = ROLES[i];
    return RH_OK;
  }
  char where[RH_API_PATH_BYTES];
  rh_json_join_path(where, sizeof where, path, "role");
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be \"user\" or \"assistant\", not \"%.32s\"",
                       where, role);
}

// One message of the body as one or two of ours, at *count.
static rh_status read_message(rh_decoding *decoding, const json_t *message, const char *path, rh_message *messages,
                              size_t *count) {
  const char *role = NULL;
  reading into = {0};
  rh_status status = read_role(decoding, message, path, &role);
  if (status != RH_OK) return status;
  into.assistant = strcmp(role, "assistant") == 0;
  status = read_blocks(decoding, json_object_get(message, "content"), path, &into);
  if (status == RH_OK && into.results.count > 0) {
    status = rh_pieces_end(decoding, &into.results, "tool", &messages[(*count)++]);
  }
  bool more = into.said.count > 0 || into.results.count == 0;
  if (status == RH_OK && more) status = rh_pieces_end(decoding, &into.said, role, &messages[(*count)++]);
  return status;
}

static rh_status read_system(rh_decoding *decoding, rh_message *messages, size_t *count) {
  const json_t *system = json_object_get(decoding->body, "system");
  rh_pieces pieces;
  if (system == NULL || json_is_null(system)) return RH_OK;
  if (!json_is_string(system) && !json_is_array(system)) {
    return rh_fail_param(decoding->error, RH_INVALID, "system",
                         "\"system\" must be a string or an array of blocks, not %s", rh_json_type_name(system));
  }
  size_t room = json_is_string(system) ? 1 : json_array_size(system);
  if (room > RH_API_PIECES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "system", "\"system\" has more than %d blocks",
                         RH_API_PIECES_MAX);
  }
  rh_status status = rh_pieces_begin(decoding, &pieces, room);
  if (status == RH_OK && json_is_string(system)) {
    status = rh_pieces_add_text(decoding, &pieces, json_string_value(system));
  }
  for (size_t i = 0; status == RH_OK && json_is_array(system) && i < room; i++) {
    char where[RH_API_PATH_BYTES];
    const char *type = NULL;
    const json_t *block = json_array_get(system, i);
    (void)snprintf(where, sizeof where, "system[%zu]", i);
    status = read_type(decoding, block, where, &type);
    if (status == RH_OK && strcmp(type, "text") != 0) status = refuse_type(decoding, where, type);
    if (status == RH_OK) status = read_text(decoding, block, where, &pieces);
    if (status == RH_OK) copy_mark(block, &pieces);
  }
  if (status == RH_OK) status = rh_pieces_end(decoding, &pieces, "system", &messages[*count]);
  if (status == RH_OK && messages[*count].content[0] != '\0') ++*count;
  return status;
}

rh_status rh_anthropic_read_messages(rh_decoding *decoding) {
  json_t *list = NULL;
  size_t count = 0;
  rh_status status = rh_api_get_messages(decoding, &list);
  if (status != RH_OK) return status;
  size_t given = json_array_size(list);
  rh_message *messages = rh_api_alloc_array(decoding, 2 * given + 1, sizeof *messages);
  if (messages == NULL) return RH_TOO_LARGE;
  status = read_system(decoding, messages, &count);
  for (size_t i = 0; status == RH_OK && i < given; i++) {
    char path[RH_API_PATH_BYTES];
    (void)snprintf(path, sizeof path, "messages[%zu]", i);
    status = read_message(decoding, json_array_get(list, i), path, messages, &count);
  }
  if (status != RH_OK) return status;
  if (count > RH_MESSAGES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "messages",
                         "%zu messages with the results of tools; one request may "
                         "have %d",
                         count, RH_MESSAGES_MAX);
  }
  return rh_api_set_messages(decoding, messages, count);
}
