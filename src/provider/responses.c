// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's responses, as requests: what OpenAI's API reference says. Nothing is stored there ("store": false): a conversation is
// always sent whole. What is no conversation goes the way of chat completions. Owns nothing; pure; any thread. Answers are
// responses_read.c's.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "provider/body.h"
#include "provider/explain.h"
#include "provider/reader.h"

// --- input ---------------------------------------------------------------------------------------------------------

static rh_status write_user(const rh_body *body, const rh_message *message, const char *where) {
  rh_body_next(body);
  rh_body_put(body, "{");
  rh_body_string(body, "role", message->role);
  if (rh_message_is_text(message)) {
    rh_body_string(body, "content", message->content);
    rh_body_put(body, "}");
    return RH_OK;
  }
  rh_body_key(body, "content");
  rh_body_put(body, "[");
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    rh_status status = RH_OK;
    if (piece->kind != RH_PIECE_TEXT && piece->kind != RH_PIECE_IMAGE)
      return rh_body_refuse(body, where, "a message of the %s holds a piece that only others may", message->role);
    rh_body_next(body);
    if (piece->kind == RH_PIECE_TEXT) {
      rh_body_put(body, "{\"type\":\"input_text\"");
      rh_body_string(body, "text", piece->text);
    } else {
      rh_body_put(body, "{\"type\":\"input_image\",\"image_url\":");
      status = rh_body_image_url(body, piece, where);
      rh_body_string(body, "detail", piece->detail != NULL ? piece->detail : "auto");
    }
    rh_body_put(body, "}");
    if (status != RH_OK) return status;
  }
  rh_body_put(body, "]}");
  return RH_OK;
}

static void write_said(const rh_body *body, const char *text) {
  if (text[0] == '\0') return;
  rh_body_next(body);
  rh_body_put(body, "{\"role\":\"assistant\"");
  rh_body_string(body, "content", text);
  rh_body_put(body, "}");
}

// Words and calls are items of their own, in their order. Thoughts are left out: they are tied to ids that only the maker knows.
static rh_status write_assistant(const rh_body *body, const rh_message *message, const char *where) {
  bool only_text = rh_message_is_text(message);
  if (only_text) write_said(body, message->content);
  for (size_t i = 0; !only_text && i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind == RH_PIECE_TEXT) write_said(body, piece->text);
    if (piece->kind == RH_PIECE_IMAGE || piece->kind == RH_PIECE_TOOL_RESULT)
      return rh_body_refuse(body, where, "a message of the assistant holds an image or a tool's result");
    if (piece->kind != RH_PIECE_TOOL_CALL) continue;
    rh_body_next(body);
    rh_body_put(body, "{\"type\":\"function_call\"");
    rh_body_string(body, "call_id", piece->id != NULL ? piece->id : "");
    rh_body_string(body, "name", piece->name);
    rh_body_string(body, "arguments", piece->arguments != NULL ? piece->arguments : "{}");
    rh_body_put(body, "}");
  }
  return RH_OK;
}

static rh_status write_results(const rh_body *body, const rh_message *message, const char *where) {
  if (message->piece_count == 0)
    return rh_fail_param(body->error, RH_INVALID, where, "\"%s\" is of no tool's call", where);
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind != RH_PIECE_TOOL_RESULT) return rh_body_refuse(body, where, "a tool's result must be text there");
    rh_body_next(body);
    rh_body_put(body, "{\"type\":\"function_call_output\"");
    rh_body_string(body, "call_id", piece->id != NULL ? piece->id : "");
    rh_body_string(body, "output", piece->text != NULL ? piece->text : "");
    if (piece->failed) rh_body_string(body, "status", "incomplete");
    rh_body_put(body, "}");
  }
  return RH_OK;
}

static rh_status write_instructions(const rh_body *body, const rh_prompt *prompt, size_t *first) {
  rh_dynbuf whole;
  rh_dynbuf_init(&whole, body->out->max);
  for (*first = 0; *first < prompt->count; ++*first) {
    const rh_message *message = &prompt->messages[*first];
    if (strcmp(message->role, "system") != 0) break;
    if (whole.length > 0) (void)rh_dynbuf_append_text(&whole, "\n\n");
    (void)rh_dynbuf_append_text(&whole, message->content);
  }
  if (whole.length > 0) rh_body_string(body, "instructions", rh_dynbuf_data(&whole));
  bool failed = whole.failed;
  rh_dynbuf_free(&whole);
  return failed ? rh_fail(body->error, RH_TOO_LARGE, "what the system says is too large") : RH_OK;
}

static rh_status write_input(const rh_body *body) {
  const rh_prompt *prompt = &body->run->prompt;
  size_t first = 0;
  rh_status status = write_instructions(body, prompt, &first);
  rh_body_key(body, "input");
  rh_body_put(body, "[");
  for (size_t i = first; status == RH_OK && i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    char where[48];
    (void)snprintf(where, sizeof where, "messages[%zu]", i);
    if (strcmp(message->role, "assistant") == 0)
      status = write_assistant(body, message, where);
    else if (strcmp(message->role, "tool") == 0)
      status = write_results(body, message, where);
    else
      status = write_user(body, message, where);
  }
  if (body->run->prefix != NULL) write_said(body, body->run->prefix);
  rh_body_put(body, "]");
  return status;
}

// --- the rest ------------------------------------------------------------------------------------------------------

static void write_tools(const rh_body *body, const rh_extras *extras) {
  static const char *const words[] = {
      [RH_TOOLS_AUTO] = "auto", [RH_TOOLS_NONE] = "none", [RH_TOOLS_REQUIRED] = "required", [RH_TOOLS_NAMED] = NULL};
  if (extras->tool_count == 0) return;
  rh_body_key(body, "tools");
  rh_body_put(body, "[");
  for (size_t i = 0; i < extras->tool_count; i++) {
    const rh_tool *tool = &extras->tools[i];
    rh_body_next(body);
    rh_body_put(body, "{\"type\":\"function\"");
    rh_body_string(body, "name", tool->name);
    if (tool->description != NULL) rh_body_string(body, "description", tool->description);
    rh_body_json(body, "parameters", tool->schema != NULL ? tool->schema : "{\"type\":\"object\",\"properties\":{}}");
    rh_body_bool(body, "strict", tool->strict);  // said always: here the default is true
    rh_body_put(body, "}");
  }
  rh_body_put(body, "]");
  if (words[extras->tool_choice] == NULL) {
    rh_body_key(body, "tool_choice");
    rh_body_put(body, "{\"type\":\"function\"");
    rh_body_string(body, "name", extras->tool_name);
    rh_body_put(body, "}");
  } else if (extras->tool_choice != RH_TOOLS_AUTO) {
    rh_body_string(body, "tool_choice", words[extras->tool_choice]);
  }
  if (extras->parallel_tools >= 0) rh_body_bool(body, "parallel_tool_calls", extras->parallel_tools != 0);
}

static void write_format(const rh_body *body, const rh_extras *extras) {
  if (extras->format == RH_ANSWER_TEXT) return;
  rh_body_key(body, "text");
  rh_body_put(body, "{\"format\":{");
  if (extras->format == RH_ANSWER_JSON) {
    rh_body_string(body, "type", "json_object");
  } else {
    rh_body_string(body, "type", "json_schema");
    rh_body_string(body, "name", extras->schema_name != NULL ? extras->schema_name : "answer");
    rh_body_json(body, "schema", extras->schema != NULL ? extras->schema : "{}");
    rh_body_bool(body, "strict", extras->schema_strict);
  }
  rh_body_put(body, "}}");
}

static rh_status write_generate(const rh_body *body) {
  const rh_generate *generate = &body->run->generate;
  rh_status status = rh_body_refuse_given(body,
                                          RH_GIVEN_TOP_K | RH_GIVEN_MIN_P | RH_GIVEN_REPEAT_PENALTY |
                                              RH_GIVEN_PRESENCE_PENALTY | RH_GIVEN_FREQUENCY_PENALTY,
                                          "the responses API has no such field; leave it out");
  if (status != RH_OK) return status;
  if (generate->has_seed) return rh_body_refuse(body, "seed", "the responses API has no such field");
  if (generate->stop_count > 0) return rh_body_refuse(body, "stop", "the responses API has no such field");
  if (generate->logit_bias_count > 0) return rh_body_refuse(body, "logit_bias", "the responses API has no such field");
  if (generate->ignore_eos) return rh_body_refuse(body, "ignore_eos", "the responses API has no such field");
  if (generate->max_tokens > 0) rh_body_integer(body, "max_output_tokens", generate->max_tokens);
  if (rh_body_wants(body->run, RH_GIVEN_TEMPERATURE)) rh_body_real(body, "temperature", generate->temperature);
  if (rh_body_wants(body->run, RH_GIVEN_TOP_P)) rh_body_real(body, "top_p", generate->top_p);
  if (generate->top_logprobs >= 0) {
    rh_body_integer(body, "top_logprobs", generate->top_logprobs);
    rh_body_json(body, "include", "[\"message.output_text.logprobs\"]");
  }
  return RH_OK;
}

static rh_status write(const rh_provider_spec *spec, const char *model, const rh_run *run, bool stream, rh_dynbuf *out,
                       const char **path, rh_error *error) {
  assert(spec != NULL && model != NULL && run != NULL && out != NULL && path != NULL);
  if (run->task != RH_TASK_CHAT) return rh_protocol_chat.write(spec, model, run, stream, out, path, error);
  const rh_body body = {.out = out, .spec = spec, .run = run, .error = error};
  if (run->prompt.kind != RH_PROMPT_MESSAGES)
    return rh_fail_param(error, RH_INVALID, "messages", "a chat takes messages");
  if (run->prefix != NULL && !spec->prefill)
    return rh_body_refuse(&body, "messages", "it does not continue an answer that has begun (see \"prefill\")");
  *path = "/responses";
  rh_body_put(&body, "{");
  rh_body_string(&body, "model", model);
  rh_body_bool(&body, "store", false);
  rh_status status = write_input(&body);
  if (status == RH_OK) status = write_generate(&body);
  const rh_extras *extras = run->extras;
  if (status == RH_OK && extras != NULL) {
    write_tools(&body, extras);
    write_format(&body, extras);
    const char *effort = extras->reasoning_effort;
    if (effort == NULL && extras->reasoning_tokens > 0) effort = rh_body_effort_of(extras->reasoning_tokens);
    if (effort != NULL) {
      rh_body_key(&body, "reasoning");
      rh_body_put(&body, "{");
      rh_body_string(&body, "effort", effort);
      rh_body_put(&body, "}");
    }
  }
  if (stream) rh_body_bool(&body, "stream", true);
  rh_body_put(&body, "}");
  return status == RH_OK ? rh_body_end(&body) : status;
}

static rh_status headers(const rh_provider_spec *spec, const rh_run *run, rh_dynbuf *lines) {
  return rh_protocol_chat.headers(spec, run, lines);
}

const rh_protocol_ops rh_protocol_responses = {
    .write = write,
    .headers = headers,
    .reader_new = rh_responses_reader_new,
    .reader_free = rh_reader_free,
    .read = rh_reader_read,
    .finish = rh_reader_finish,
    .explain = rh_provider_explain,
};
