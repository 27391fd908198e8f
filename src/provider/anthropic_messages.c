// SPDX-License-Identifier: Apache-2.0
//
// Messages as Anthropic's API writes them: what the system says stands apart, roles alternate (neighbours of one role become one
// message), and results of tools are blocks of the user's messages, before its words. Owns nothing; pure; any thread.
//
// A thought goes back only with its signature: the API proves them, and another model's have none. An image's "detail" is OpenAI's
// wish about its price and is left out.
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "provider/body.h"

// Ids of calls have a narrow alphabet there. The same id is always rewritten alike, so call and result still meet.
static void write_id(const rh_body *body, const char *key, const char *id) {
  char out[256];
  size_t used = 0;
  for (; id != NULL && id[used] != '\0' && used + 1 < sizeof out; used++) {
    char c = id[used];
    bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    out[used] = fits ? c : '_';
  }
  if (used == 0) out[used++] = '_';
  out[used] = '\0';
  rh_body_string(body, key, out);
}

static void write_mark(const rh_body *body, bool marked) {
  if (marked) rh_body_json(body, "cache_control", RH_ANTHROPIC_MARK);
}

static void write_text(const rh_body *body, const char *text, size_t length, bool marked) {
  if (length == 0) return;  // empty blocks are refused
  rh_body_next(body);
  rh_body_put(body, "{\"type\":\"text\"");
  rh_body_key(body, "text");
  (void)rh_json_append_string(body->out, text, length);
  write_mark(body, marked);
  rh_body_put(body, "}");
}

static rh_status write_image(const rh_body *body, const rh_piece *piece, const char *where) {
  rh_status status = rh_body_check_image(body, piece, where);
  if (status != RH_OK) return status;
  rh_body_next(body);
  rh_body_put(body, "{\"type\":\"image\",\"source\":{");
  if (piece->url != NULL) {
    rh_body_string(body, "type", "url");
    rh_body_string(body, "url", piece->url);
  } else {
    rh_body_string(body, "type", "base64");
    rh_body_string(body, "media_type", piece->media_type);
    rh_body_key(body, "data");
    rh_body_put(body, "\"");
    rh_body_put(body, piece->data);
    rh_body_put(body, "\"");
  }
  rh_body_put(body, "}");
  write_mark(body, piece->cache_mark);
  rh_body_put(body, "}");
  return RH_OK;
}

static rh_status write_call(const rh_body *body, const rh_piece *piece, const char *where) {
  const char *arguments = piece->arguments != NULL && piece->arguments[0] != '\0' ? piece->arguments : "{}";
  // Models write these, and there they stand as JSON, not as text.
  json_t *value = rh_json_parse(arguments, strlen(arguments), NULL);
  if (!json_is_object(value)) {
    json_decref(value);
    return rh_fail_param(body->error, RH_INVALID, where, "\"%s\" has a tool's call whose arguments are no JSON object",
                         where);
  }
  rh_body_next(body);
  rh_body_put(body, "{\"type\":\"tool_use\"");
  write_id(body, "id", piece->id);
  rh_body_string(body, "name", piece->name);
  rh_body_key(body, "input");
  (void)rh_json_append_value(body->out, value);
  write_mark(body, piece->cache_mark);
  rh_body_put(body, "}");
  json_decref(value);
  return RH_OK;
}

static void write_result(const rh_body *body, const rh_piece *piece) {
  rh_body_next(body);
  rh_body_put(body, "{\"type\":\"tool_result\"");
  write_id(body, "tool_use_id", piece->id);
  if (piece->text != NULL && piece->text[0] != '\0') rh_body_string(body, "content", piece->text);
  if (piece->failed) rh_body_bool(body, "is_error", true);
  write_mark(body, piece->cache_mark);
  rh_body_put(body, "}");
}

static void write_thought(const rh_body *body, const rh_piece *piece) {
  if (piece->signature == NULL || piece->signature[0] == '\0') return;
  rh_body_next(body);
  rh_body_put(body, "{");
  if (strncmp(piece->signature, RH_REDACTED_THOUGHT, sizeof RH_REDACTED_THOUGHT - 1) == 0) {
    rh_body_string(body, "type", "redacted_thinking");
    rh_body_string(body, "data", piece->signature + sizeof RH_REDACTED_THOUGHT - 1);
  } else {
    rh_body_string(body, "type", "thinking");
    rh_body_string(body, "thinking", piece->text != NULL ? piece->text : "");
    rh_body_string(body, "signature", piece->signature);
  }
  rh_body_put(body, "}");
}

static rh_status write_blocks(const rh_body *body, const rh_message *message, const char *where) {
  bool assistant = strcmp(message->role, "assistant") == 0;
  if (message->piece_count == 0) write_text(body, message->content, strlen(message->content), false);
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    bool wrong = piece->kind == RH_PIECE_IMAGE || piece->kind == RH_PIECE_TOOL_RESULT ? assistant
                 : piece->kind == RH_PIECE_TEXT                                       ? false
                                                                                      : !assistant;
    if (wrong)
      return rh_body_refuse(body, where, "a message of the %s holds a piece that only others may", message->role);
    rh_status status = RH_OK;
    switch (piece->kind) {
      case RH_PIECE_TEXT: write_text(body, piece->text, strlen(piece->text), piece->cache_mark); break;
      case RH_PIECE_IMAGE: status = write_image(body, piece, where); break;
      case RH_PIECE_TOOL_CALL: status = write_call(body, piece, where); break;
      case RH_PIECE_TOOL_RESULT: write_result(body, piece); break;
      case RH_PIECE_REASONING: write_thought(body, piece); break;
    }
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// As blocks, of which some are marked.
static void write_system_blocks(const rh_body *body, const rh_prompt *prompt) {
  rh_body_key(body, "system");
  rh_body_put(body, "[");
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    if (strcmp(message->role, "system") != 0) continue;
    if (message->piece_count == 0) write_text(body, message->content, strlen(message->content), false);
    for (size_t k = 0; k < message->piece_count; k++) {
      const rh_piece *piece = &message->pieces[k];
      write_text(body, piece->text, strlen(piece->text), piece->cache_mark);
    }
  }
  rh_body_put(body, "]");
}

static rh_status write_system(const rh_body *body, const rh_prompt *prompt) {
  bool marked = false;
  rh_dynbuf whole;
  rh_dynbuf_init(&whole, body->out->max);
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    if (strcmp(message->role, "system") != 0) continue;
    for (size_t k = 0; k < message->piece_count; k++) {
      marked = marked || message->pieces[k].cache_mark;
      if (message->pieces[k].kind == RH_PIECE_TEXT) continue;
      rh_dynbuf_free(&whole);
      return rh_body_refuse(body, "messages", "what the system says can only be text");
    }
    if (whole.length > 0 && message->content[0] != '\0') (void)rh_dynbuf_append_text(&whole, "\n\n");
    (void)rh_dynbuf_append_text(&whole, message->content);
  }
  if (whole.length > 0 && marked)
    write_system_blocks(body, prompt);
  else if (whole.length > 0)
    rh_body_string(body, "system", rh_dynbuf_data(&whole));
  bool failed = whole.failed;
  rh_dynbuf_free(&whole);
  return failed ? rh_fail(body->error, RH_TOO_LARGE, "what the system says is too large") : RH_OK;
}

// The answer's beginning as the assistant's own words. A message may not end with a blank; the reader leaves the answer's first
// blanks out instead.
static size_t prefix_length(const char *prefix) {
  size_t length = strlen(prefix);
  while (length > 0 && strchr(" \t\r\n", prefix[length - 1]) != NULL) length--;
  return length;
}

// The role it has there; NULL: it is the system's.
static const char *role_of(const rh_message *message) {
  if (strcmp(message->role, "system") == 0) return NULL;
  return strcmp(message->role, "assistant") == 0 ? "assistant" : "user";
}

static void open_message(const rh_body *body, const char *role) {
  rh_body_next(body);
  rh_body_put(body, "{");
  rh_body_string(body, "role", role);
  rh_body_key(body, "content");
  rh_body_put(body, "[");
}

rh_status rh_anthropic_write_messages(const rh_body *body) {
  const rh_prompt *prompt = &body->run->prompt;
  rh_status status = write_system(body, prompt);
  if (status != RH_OK) return status;
  const char *open = NULL;
  rh_body_key(body, "messages");
  rh_body_put(body, "[");
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    const char *role = role_of(message);
    char where[48];
    if (role == NULL) continue;
    if (open != NULL && strcmp(open, role) != 0) rh_body_put(body, "]}");
    if (open == NULL || strcmp(open, role) != 0) open_message(body, role);
    open = role;
    (void)snprintf(where, sizeof where, "messages[%zu]", i);
    status = write_blocks(body, message, where);
    if (status != RH_OK) return status;
  }
  size_t prefix = body->run->prefix != NULL ? prefix_length(body->run->prefix) : 0;
  if (open == NULL) return rh_body_refuse(body, "messages", "a conversation needs a message of the user");
  if (prefix > 0) {
    if (strcmp(open, "assistant") != 0) {
      rh_body_put(body, "]}");
      open_message(body, "assistant");
    }
    write_text(body, body->run->prefix, prefix, false);
  }
  rh_body_put(body, "]}]");
  return RH_OK;
}
