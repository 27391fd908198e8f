// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's chat completions and plain completions, as requests: what OpenAI's API reference says, with the differences of the
// servers that speak it (known.h). Owns nothing; pure; any thread. Answers are chat_read.c's.
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "provider/body.h"
#include "provider/explain.h"
#include "provider/reader.h"

static rh_status write_samplers(const rh_body *body) {
  const rh_generate *generate = &body->run->generate;
  unsigned quirks = body->spec->quirks;
  if (rh_body_wants(body->run, RH_GIVEN_TEMPERATURE)) rh_body_real(body, "temperature", generate->temperature);
  if (rh_body_wants(body->run, RH_GIVEN_TOP_P)) rh_body_real(body, "top_p", generate->top_p);
  if (rh_body_wants(body->run, RH_GIVEN_PRESENCE_PENALTY))
    rh_body_real(body, "presence_penalty", generate->presence_penalty);
  if (rh_body_wants(body->run, RH_GIVEN_FREQUENCY_PENALTY))
    rh_body_real(body, "frequency_penalty", generate->frequency_penalty);
  if ((quirks & RH_QUIRK_SAMPLERS) == 0) {
    return rh_body_refuse_given(body, RH_GIVEN_TOP_K | RH_GIVEN_MIN_P | RH_GIVEN_REPEAT_PENALTY,
                                "its API has no such field; leave it out");
  }
  if (rh_body_wants(body->run, RH_GIVEN_TOP_K)) rh_body_integer(body, "top_k", generate->top_k);
  if (rh_body_wants(body->run, RH_GIVEN_MIN_P)) rh_body_real(body, "min_p", generate->min_p);
  if (rh_body_wants(body->run, RH_GIVEN_REPEAT_PENALTY)) {
    rh_body_real(body, (quirks & RH_QUIRK_REPEAT_PENALTY) != 0 ? "repeat_penalty" : "repetition_penalty",
                 generate->repeat_penalty);
  }
  return RH_OK;
}

static rh_status write_generate(const rh_body *body) {
  const rh_generate *generate = &body->run->generate;
  unsigned quirks = body->spec->quirks;
  bool chat = body->run->task == RH_TASK_CHAT;
  if (generate->max_tokens > 0) {
    rh_body_integer(body, chat && body->spec->new_token_field ? "max_completion_tokens" : "max_tokens",
                    generate->max_tokens);
  }
  rh_status status = write_samplers(body);
  if (status != RH_OK) return status;
  if (generate->has_seed)
    rh_body_integer(body, (quirks & RH_QUIRK_RANDOM_SEED) != 0 ? "random_seed" : "seed", generate->seed);
  if (generate->stop_count > 4 && (quirks & RH_QUIRK_FOUR_STOPS) != 0)
    return rh_body_refuse(body, "stop", "it takes at most 4 stop strings");
  rh_body_stops(body, "stop");
  if (generate->logit_bias_count > 0) {
    rh_body_key(body, "logit_bias");
    rh_body_put(body, "{");
    for (size_t i = 0; i < generate->logit_bias_count; i++) {
      char token[16];
      (void)snprintf(token, sizeof token, "%" PRId32, generate->logit_bias[i].token);
      rh_body_real(body, token, generate->logit_bias[i].bias);
    }
    rh_body_put(body, "}");
  }
  if (generate->top_logprobs >= 0 && chat) {
    rh_body_bool(body, "logprobs", true);
    if (generate->top_logprobs > 0) rh_body_integer(body, "top_logprobs", generate->top_logprobs);
  } else if (generate->top_logprobs >= 0) {
    rh_body_integer(body, "logprobs", generate->top_logprobs);
  }
  if (!generate->ignore_eos) return RH_OK;
  if ((quirks & RH_QUIRK_IGNORE_EOS) == 0) return rh_body_refuse(body, "ignore_eos", "its API has no such field");
  rh_body_bool(body, "ignore_eos", true);
  return RH_OK;
}

static void write_tools(const rh_body *body, const rh_extras *extras) {
  if (extras->tool_count == 0) return;
  rh_body_key(body, "tools");
  rh_body_put(body, "[");
  for (size_t i = 0; i < extras->tool_count; i++) {
    const rh_tool *tool = &extras->tools[i];
    rh_body_next(body);
    rh_body_put(body, "{\"type\":\"function\",\"function\":{");
    rh_body_string(body, "name", tool->name);
    if (tool->description != NULL) rh_body_string(body, "description", tool->description);
    if (tool->schema != NULL) rh_body_json(body, "parameters", tool->schema);
    if (tool->strict) rh_body_bool(body, "strict", true);
    rh_body_put(body, "}}");
  }
  rh_body_put(body, "]");
  switch (extras->tool_choice) {
    case RH_TOOLS_AUTO: break;  // what everybody does without a word
    case RH_TOOLS_NONE: rh_body_string(body, "tool_choice", "none"); break;
    case RH_TOOLS_REQUIRED: rh_body_string(body, "tool_choice", "required"); break;
    case RH_TOOLS_NAMED:
      rh_body_key(body, "tool_choice");
      rh_body_put(body, "{\"type\":\"function\",\"function\":{");
      rh_body_string(body, "name", extras->tool_name);
      rh_body_put(body, "}}");
      break;
  }
  if (extras->parallel_tools >= 0) rh_body_bool(body, "parallel_tool_calls", extras->parallel_tools != 0);
}

static void write_format(const rh_body *body, const rh_extras *extras) {
  if (extras->format == RH_ANSWER_JSON) rh_body_json(body, "response_format", "{\"type\":\"json_object\"}");
  if (extras->format != RH_ANSWER_SCHEMA) return;
  rh_body_key(body, "response_format");
  rh_body_put(body, "{\"type\":\"json_schema\",\"json_schema\":{");
  rh_body_string(body, "name", extras->schema_name != NULL ? extras->schema_name : "answer");
  rh_body_json(body, "schema", extras->schema != NULL ? extras->schema : "{}");
  if (extras->schema_strict) rh_body_bool(body, "strict", true);
  rh_body_put(body, "}}");
}

// OpenAI has words for how long to think, Anthropic numbers; OpenRouter takes either.
static void write_reasoning(const rh_body *body, const rh_extras *extras) {
  if (extras->reasoning_effort == NULL && extras->reasoning_tokens <= 0) return;
  if ((body->spec->quirks & RH_QUIRK_REASONING) == 0) {
    rh_body_string(
        body, "reasoning_effort",
        extras->reasoning_effort != NULL ? extras->reasoning_effort : rh_body_effort_of(extras->reasoning_tokens));
    return;
  }
  rh_body_key(body, "reasoning");
  rh_body_put(body, "{");
  if (extras->reasoning_tokens > 0)
    rh_body_integer(body, "max_tokens", extras->reasoning_tokens);
  else if (strcmp(extras->reasoning_effort, "none") == 0)
    rh_body_bool(body, "enabled", false);
  else
    rh_body_string(body, "effort", extras->reasoning_effort);
  rh_body_put(body, "}");
}

static rh_status write_prompt(const rh_body *body) {
  const rh_prompt *prompt = &body->run->prompt;
  const char *prefix = body->run->prefix;
  rh_body_key(body, "prompt");
  if (prompt->kind == RH_PROMPT_TEXT && prefix == NULL) {
    (void)rh_json_append_string(body->out, prompt->text, prompt->count);
    return RH_OK;
  }
  if (prompt->kind == RH_PROMPT_TEXT) {
    // What the client has already is more of the prompt.
    rh_dynbuf whole;
    rh_dynbuf_init(&whole, body->out->max);
    (void)rh_dynbuf_append(&whole, prompt->text, prompt->count);
    rh_status status = rh_dynbuf_append_text(&whole, prefix);
    if (status == RH_OK) (void)rh_json_append_string(body->out, rh_dynbuf_data(&whole), whole.length);
    rh_dynbuf_free(&whole);
    return status == RH_OK ? RH_OK : rh_fail(body->error, status, "the prompt is too large");
  }
  if (prompt->kind != RH_PROMPT_TOKENS)
    return rh_fail_param(body->error, RH_INVALID, "prompt", "plain completions take text, not messages");
  if (prefix != NULL)
    return rh_body_refuse(body, "prompt", "an answer cannot be continued after a prompt of token ids");
  rh_body_put(body, "[");
  for (size_t i = 0; i < prompt->count; i++) {
    (void)rh_dynbuf_printf(body->out, "%s%" PRId32, i > 0 ? "," : "", prompt->tokens[i]);
  }
  rh_body_put(body, "]");
  return RH_OK;
}

static rh_status write_chat(const rh_body *body) {
  const rh_extras *extras = body->run->extras;
  if (body->run->prompt.kind != RH_PROMPT_MESSAGES)
    return rh_fail_param(body->error, RH_INVALID, "messages", "a chat takes messages");
  if (body->run->prefix != NULL && !body->spec->prefill)
    return rh_body_refuse(body, "messages", "it does not continue an answer that has begun (see \"prefill\")");
  rh_status status = rh_chat_write_messages(body);
  if (status != RH_OK) return status;
  if (body->run->prefix != NULL && (body->spec->quirks & RH_QUIRK_CONTINUE) != 0) {
    rh_body_bool(body, "continue_final_message", true);
    rh_body_bool(body, "add_generation_prompt", false);
  }
  if (extras != NULL) {
    write_tools(body, extras);
    write_format(body, extras);
    write_reasoning(body, extras);
  }
  return RH_OK;
}

static rh_status write_complete(const rh_body *body) {
  const rh_extras *extras = body->run->extras;
  if (extras != NULL && extras->tool_count > 0)
    return rh_body_refuse(body, "tools", "plain completions know no tools; send messages");
  if (extras != NULL && extras->format != RH_ANSWER_TEXT)
    return rh_body_refuse(body, "response_format", "plain completions know no format; send messages");
  return write_prompt(body);
}

static rh_status write(const rh_provider_spec *spec, const char *model, const rh_run *run, bool stream, rh_dynbuf *out,
                       const char **path, rh_error *error) {
  assert(spec != NULL && model != NULL && run != NULL && out != NULL && path != NULL);
  const rh_body body = {.out = out, .spec = spec, .run = run, .error = error};
  rh_body_put(&body, "{");
  rh_body_string(&body, "model", model);
  rh_status status;
  if (!rh_task_generates(run->task)) {
    status = rh_body_write_infer(&body, path);
  } else {
    bool chat = run->task == RH_TASK_CHAT;
    *path = chat ? "/chat/completions" : "/completions";
    status = chat ? write_chat(&body) : write_complete(&body);
    if (status == RH_OK) status = write_generate(&body);
    if (stream) rh_body_bool(&body, "stream", true);
    if (stream && spec->stream_usage) rh_body_json(&body, "stream_options", "{\"include_usage\":true}");
  }
  if (status == RH_OK && spec->preferences != NULL) {
    rh_body_key(&body, "provider");
    (void)rh_json_append_value(out, spec->preferences);
  }
  rh_body_put(&body, "}");
  return status == RH_OK ? rh_body_end(&body) : status;
}

static rh_status headers(const rh_provider_spec *spec, const rh_run *run, rh_dynbuf *lines) {
  (void)run;
  if (spec->key != NULL && !rh_body_has_header(spec, "Authorization")) {
    (void)rh_dynbuf_append_text(lines, "Authorization: Bearer ");
    (void)rh_dynbuf_append_text(lines, spec->key);
    (void)rh_dynbuf_append_char(lines, '\n');
  }
  return lines->failed ? RH_NO_MEMORY : RH_OK;
}

const rh_protocol_ops rh_protocol_chat = {
    .write = write,
    .headers = headers,
    .reader_new = rh_chat_reader_new,
    .reader_free = rh_reader_free,
    .read = rh_reader_read,
    .finish = rh_reader_finish,
    .explain = rh_provider_explain,
};
