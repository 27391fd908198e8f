// SPDX-License-Identifier: Apache-2.0
//
// Messages that are more than text, as every dialect makes them: a list of pieces, the text in them joined, and what the
// request needs because of them. Images come as base64 or as a URL; nothing is fetched or decoded here. Everything is in the
// request's arena. Pure, any thread.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/codec.h"

#define MEDIA_TYPE_BYTES_MAX 64

rh_extras *rh_api_extras(rh_decoding *decoding) {
  if (decoding->extras != NULL) return decoding->extras;
  decoding->extras = rh_api_alloc_array(decoding, 1, sizeof *decoding->extras);
  if (decoding->extras == NULL) return NULL;
  decoding->extras->parallel_tools = -1;
  decoding->request->extras = decoding->extras;
  return decoding->extras;
}

rh_status rh_api_copy_json(rh_decoding *decoding, const json_t *value, const char **out) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_FRAME_BYTES_MAX);
  rh_status status = rh_json_append_value(&text, value);
  if (status == RH_OK)
    status = rh_api_copy_string(decoding, rh_dynbuf_data(&text), out);
  else
    (void)rh_fail(decoding->error, RH_TOO_LARGE, "the request needs more memory than one request may use");
  rh_dynbuf_free(&text);
  return status == RH_OK ? RH_OK : RH_TOO_LARGE;
}

rh_status rh_api_need_object(rh_decoding *decoding, const json_t *value, const char *path) {
  if (json_is_object(value)) return RH_OK;
  if (value == NULL) return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is missing", path);
  return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be an object, not %s", path,
                       rh_json_type_name(value));
}

rh_status rh_api_need_string(rh_decoding *decoding, const json_t *object, const char *path, const char *key,
                             const char **out) {
  char where[2 * RH_API_PATH_BYTES];
  *out = NULL;
  rh_status status = rh_json_get_string(object, path, key, out, decoding->error);
  if (status != RH_OK || *out != NULL) return status;
  rh_json_join_path(where, sizeof where, path, key);
  return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is missing", where);
}

rh_status rh_pieces_begin(rh_decoding *decoding, rh_pieces *pieces, size_t room) {
  *pieces = (rh_pieces){.room = room};
  if (room == 0) return RH_OK;
  pieces->list = rh_api_alloc_array(decoding, room, sizeof *pieces->list);
  return pieces->list == NULL ? RH_TOO_LARGE : RH_OK;
}

rh_piece *rh_pieces_add(rh_pieces *pieces, rh_piece_kind kind) {
  assert(pieces->count < pieces->room);
  rh_piece *piece = &pieces->list[pieces->count++];
  *piece = (rh_piece){.kind = kind};
  return piece;
}

rh_status rh_pieces_add_text(rh_decoding *decoding, rh_pieces *pieces, const char *text) {
  return rh_api_copy_string(decoding, text, &rh_pieces_add(pieces, RH_PIECE_TEXT)->text);
}

static bool is_image_type(const char *type, size_t length) {
  if (length <= 6 || length > MEDIA_TYPE_BYTES_MAX || strncasecmp(type, "image/", 6) != 0) return false;
  size_t plain = strspn(type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.+-");
  return plain >= length;
}

static bool is_base64(const char *data) {
  size_t length = strspn(data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
  size_t padding = strspn(data + length, "=");
  return length > 0 && padding <= 2 && data[length + padding] == '\0';
}

rh_status rh_pieces_add_data(rh_decoding *decoding, rh_pieces *pieces, const char *media_type, size_t type_length,
                             const char *data, const char *path) {
  if (!is_image_type(media_type, type_length)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be an image such as image/png, not \"%.*s\"",
                         path, (int)(type_length < 48 ? type_length : 48), media_type);
  }
  if (!is_base64(data)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" holds an image that is not base64", path);
  }
  char *type = rh_arena_strndup(decoding->arena, media_type, type_length);
  if (type == NULL)
    return rh_fail(decoding->error, RH_TOO_LARGE, "the request needs more memory than one request may use");
  for (char *c = type; *c != '\0'; c++) {
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
  }
  rh_piece *piece = rh_pieces_add(pieces, RH_PIECE_IMAGE);
  piece->media_type = type;
  return rh_api_copy_string(decoding, data, &piece->data);
}

rh_status rh_pieces_add_url(rh_decoding *decoding, rh_pieces *pieces, const char *url, const char *path) {
  if (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0) {
    // A line break or a blank in it could become something else on the way to a provider.
    for (const char *c = url; *c != '\0'; c++) {
      if ((unsigned char)*c > ' ' && *c != 0x7f) continue;
      return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is a URL with blanks in it", path);
    }
    return rh_api_copy_string(decoding, url, &rh_pieces_add(pieces, RH_PIECE_IMAGE)->url);
  }
  if (strncasecmp(url, "data:", 5) != 0) {
    return rh_fail_param(decoding->error, RH_INVALID, path,
                         "\"%s\" must be an image as data:image/...;base64,... or a http(s) URL", path);
  }
  const char *comma = strchr(url, ',');
  const char *type = url + 5;
  size_t type_length = strcspn(type, ";,");
  bool base64 = comma != NULL && comma - url >= 7 + 5 && strncasecmp(comma - 7, ";base64", 7) == 0;
  if (!base64) {
    return rh_fail_param(decoding->error, RH_INVALID, path,
                         "\"%s\" is a data: URL without base64; data:image/png;base64,... is expected", path);
  }
  return rh_pieces_add_data(decoding, pieces, type, type_length, comma + 1, path);
}

static bool has_text(const rh_piece *piece) {
  return piece->text != NULL && (piece->kind == RH_PIECE_TEXT || piece->kind == RH_PIECE_TOOL_RESULT);
}

// Texts are joined by line breaks, as other servers do it, so that two of them never run into one word.
static rh_status join_texts(rh_decoding *decoding, const rh_pieces *pieces, const char **out) {
  size_t length = 1;
  size_t texts = 0;
  const char *only = NULL;
  for (size_t i = 0; i < pieces->count; i++) {
    if (!has_text(&pieces->list[i])) continue;
    only = pieces->list[i].text;
    length += strlen(only) + 1;
    texts++;
  }
  *out = texts == 0 ? "" : only;
  if (texts <= 1) return RH_OK;
  char *at = rh_api_alloc_array(decoding, length, 1);
  if (at == NULL) return RH_TOO_LARGE;
  *out = at;
  for (size_t i = 0; i < pieces->count; i++) {
    if (!has_text(&pieces->list[i])) continue;
    size_t bytes = strlen(pieces->list[i].text);
    memcpy(at, pieces->list[i].text, bytes);
    at += bytes;
    *at++ = --texts > 0 ? '\n' : '\0';
  }
  return RH_OK;
}

rh_status rh_pieces_end(rh_decoding *decoding, const rh_pieces *pieces, const char *role, rh_message *out) {
  bool only_text = true, marked = false;
  for (size_t i = 0; i < pieces->count; i++) {
    rh_piece_kind kind = pieces->list[i].kind;
    if (kind == RH_PIECE_IMAGE) decoding->request->needs |= RH_NEEDS_IMAGES;
    if (kind == RH_PIECE_TOOL_CALL || kind == RH_PIECE_TOOL_RESULT) decoding->request->needs |= RH_NEEDS_TOOLS;
    if (kind != RH_PIECE_TEXT) only_text = false;
    if (pieces->list[i].cache_mark) marked = true;
  }
  *out = (rh_message){.role = role};
  if (!only_text || marked) {
    out->pieces = pieces->list;
    out->piece_count = pieces->count;
  }
  return join_texts(decoding, pieces, &out->content);
}

rh_status rh_api_set_messages(rh_decoding *decoding, const rh_message *messages, size_t count) {
  rh_prompt *prompt = rh_api_alloc_array(decoding, 1, sizeof *prompt);
  if (prompt == NULL) return RH_TOO_LARGE;
  *prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
  decoding->request->task = RH_TASK_CHAT;
  decoding->request->prompts = prompt;
  decoding->request->prompt_count = 1;
  return RH_OK;
}

rh_status rh_api_get_messages(rh_decoding *decoding, json_t **out) {
  *out = NULL;
  rh_status status = rh_json_get_array(decoding->body, "", "messages", out, decoding->error);
  if (status != RH_OK) return status;
  if (*out == NULL) return rh_fail_param(decoding->error, RH_INVALID, "messages", "\"messages\" is missing");
  size_t count = json_array_size(*out);
  if (count == 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "messages",
                         "\"messages\" is empty; at least one message is needed");
  }
  if (count <= RH_MESSAGES_MAX) return RH_OK;
  return rh_fail_param(decoding->error, RH_INVALID, "messages", "%zu messages; one request may have %d", count,
                       RH_MESSAGES_MAX);
}
