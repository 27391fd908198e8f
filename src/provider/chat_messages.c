// SPDX-License-Identifier: Apache-2.0
//
// Messages as OpenAI's chat completions write them. Owns nothing; pure; any thread.
//
// Two things have no field there. An earlier thought goes only to servers that take it back: it is the model's own and no part of
// what was said. A tool that failed says so in the words of its result.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "provider/body.h"

static rh_status write_parts(const rh_body *body, const rh_message *message, const char *where) {
  rh_body_put(body, "[");
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    rh_status status = RH_OK;
    if (piece->kind == RH_PIECE_TEXT) {
      rh_body_next(body);
      rh_body_put(body, "{\"type\":\"text\"");
      rh_body_string(body, "text", piece->text);
      rh_body_put(body, "}");
    } else if (piece->kind == RH_PIECE_IMAGE) {
      rh_body_next(body);
      rh_body_put(body, "{\"type\":\"image_url\",\"image_url\":{\"url\":");
      status = rh_body_image_url(body, piece, where);
      if (piece->detail != NULL) rh_body_string(body, "detail", piece->detail);
      rh_body_put(body, "}}");
    } else {
      return rh_body_refuse(body, where, "a message of the %s holds a piece that only others may", message->role);
    }
    if (status != RH_OK) return status;
  }
  rh_body_put(body, "]");
  return RH_OK;
}

static bool has_image(const rh_message *message) {
  for (size_t i = 0; i < message->piece_count; i++) {
    if (message->pieces[i].kind == RH_PIECE_IMAGE) return true;
  }
  return false;
}

static rh_status write_results(const rh_body *body, const rh_message *message, const char *where) {
  if (message->piece_count == 0)
    return rh_fail_param(body->error, RH_INVALID, where, "\"%s\" is of no tool's call", where);
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind != RH_PIECE_TOOL_RESULT) return rh_body_refuse(body, where, "a tool's result must be text there");
    rh_body_next(body);
    rh_body_put(body, "{\"role\":\"tool\"");
    rh_body_string(body, "tool_call_id", piece->id != NULL ? piece->id : "");
    const char *text = piece->text != NULL ? piece->text : "";
    rh_body_key(body, "content");
    if (piece->failed && strncasecmp(text, "error", 5) != 0) {
      rh_dynbuf whole;
      rh_dynbuf_init(&whole, body->out->max);
      (void)rh_dynbuf_append_text(&whole, "Error: ");
      rh_status status = rh_dynbuf_append_text(&whole, text);
      if (status == RH_OK) rh_body_text(body, rh_dynbuf_data(&whole));
      rh_dynbuf_free(&whole);
      if (status != RH_OK) return rh_fail(body->error, status, "a tool's result is too large");
    } else {
      rh_body_text(body, text);
    }
    rh_body_put(body, "}");
  }
  return RH_OK;
}

static void write_calls(const rh_body *body, const rh_message *message) {
  rh_body_key(body, "tool_calls");
  rh_body_put(body, "[");
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind != RH_PIECE_TOOL_CALL) continue;
    rh_body_next(body);
    rh_body_put(body, "{\"type\":\"function\"");
    rh_body_string(body, "id", piece->id != NULL ? piece->id : "");
    rh_body_key(body, "function");
    rh_body_put(body, "{");
    rh_body_string(body, "name", piece->name);
    rh_body_string(body, "arguments", piece->arguments != NULL ? piece->arguments : "{}");
    rh_body_put(body, "}}");
  }
  rh_body_put(body, "]");
}

// The content, with the answer's beginning after it when this is the message that goes on.
static void write_text(const rh_body *body, const char *content, const char *prefix) {
  rh_dynbuf whole;
  rh_dynbuf_init(&whole, body->out->max);
  (void)rh_dynbuf_append_text(&whole, content);
  (void)rh_dynbuf_append_text(&whole, prefix);
  if (whole.failed)
    body->out->failed = true;
  else
    rh_body_text(body, rh_dynbuf_data(&whole));
  rh_dynbuf_free(&whole);
}

static rh_status write_assistant(const rh_body *body, const rh_message *message, const char *prefix,
                                 const char *where) {
  size_t calls = 0;
  const char *thought_key = (body->spec->quirks & RH_QUIRK_REASONING) != 0  ? "reasoning"
                            : (body->spec->quirks & RH_QUIRK_THOUGHTS) != 0 ? "reasoning_content"
                                                                            : NULL;
  rh_body_put(body, "{\"role\":\"assistant\"");
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind == RH_PIECE_IMAGE || piece->kind == RH_PIECE_TOOL_RESULT)
      return rh_body_refuse(body, where, "a message of the assistant holds an image or a tool's result");
    if (piece->kind == RH_PIECE_TOOL_CALL) calls++;
    if (piece->kind == RH_PIECE_REASONING && thought_key != NULL && piece->text != NULL && piece->text[0] != '\0') {
      rh_body_string(body, thought_key, piece->text);
      thought_key = NULL;  // one field, so the first thought only
    }
  }
  rh_body_key(body, "content");
  if (message->content[0] == '\0' && prefix[0] == '\0' && calls > 0)
    rh_body_put(body, "null");
  else
    write_text(body, message->content, prefix);
  if (calls > 0) write_calls(body, message);
  if (prefix[0] != '\0' && (body->spec->quirks & RH_QUIRK_PREFIX) != 0) rh_body_bool(body, "prefix", true);
  rh_body_put(body, "}");
  return RH_OK;
}

static rh_status write_message(const rh_body *body, const rh_message *message, const char *prefix, const char *where) {
  if (strcmp(message->role, "tool") == 0) return write_results(body, message, where);
  rh_body_next(body);
  if (strcmp(message->role, "assistant") == 0) return write_assistant(body, message, prefix, where);
  rh_body_put(body, "{");
  rh_body_string(body, "role", message->role);
  rh_body_key(body, "content");
  rh_status status = RH_OK;
  if (has_image(message) && strcmp(message->role, "user") != 0)
    return rh_body_refuse(body, where, "only a message of the user may hold an image");
  if (!rh_message_is_text(message) && strcmp(message->role, "user") == 0)
    status = write_parts(body, message, where);
  else
    rh_body_text(body, message->content);
  rh_body_put(body, "}");
  return status;
}

rh_status rh_chat_write_messages(const rh_body *body) {
  const rh_prompt *prompt = &body->run->prompt;
  const char *prefix = body->run->prefix != NULL ? body->run->prefix : "";
  bool continued = false;
  rh_body_key(body, "messages");
  rh_body_put(body, "[");
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    char where[48];
    (void)snprintf(where, sizeof where, "messages[%zu]", i);
    bool goes_on = i + 1 == prompt->count && strcmp(message->role, "assistant") == 0;
    continued = continued || goes_on;
    rh_status status = write_message(body, message, goes_on ? prefix : "", where);
    if (status != RH_OK) return status;
  }
  if (prefix[0] != '\0' && !continued) {
    const rh_message message = {.role = "assistant", .content = ""};
    rh_body_next(body);
    rh_status status = write_assistant(body, &message, prefix, "messages");
    if (status != RH_OK) return status;
  }
  rh_body_put(body, "]");
  return RH_OK;
}
