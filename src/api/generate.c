// SPDX-License-Identifier: Apache-2.0
//
// The project's own POST /generate: a prompt, a few knobs, and a stream of token, done and error events, each with the
// request's id. People talk to instruct models, so the prompt goes through the chat template as one user message unless
// "raw" is true. Unknown fields are errors here: no client sends them by habit. Keeps nothing; pure.
#include <assert.h>

#include "api/encoder.h"
#include "api/endpoints.h"
#include "api/errors.h"

#define MAX_TOKENS_DEFAULT 256

static rh_status read_backend(rh_decoding *decoding, const rh_field *field) {
  static const char *const WORDS[] = {"cpu", "gpu", "auto"};
  const char *word = "";
  rh_status status = rh_json_get_string(decoding->body, "", field->name, &word, decoding->error);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
    if (strcmp(word, WORDS[i]) == 0) {
      decoding->request->prefer_backend = WORDS[i];
      return RH_OK;
    }
  }
  return rh_fail_param(decoding->error, RH_INVALID, field->name,
                       "\"prefer_backend\" must be \"cpu\", \"gpu\" or \"auto\", not \"%.32s\"", word);
}

static const rh_field FIELDS[] = {
    {.name = "prompt", .read = rh_field_ignore},  // read on its own, when "raw" is known
    {.name = "temp",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.temperature),
     .min = 0,
     .max = 2,
     .given = RH_GIVEN_TEMPERATURE},
    {.name = "prefer_backend", .read = read_backend},
    {.name = "raw", .read = rh_field_bool, RH_FIELD_NOTES(raw)},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_hints, rh_fields_common, FIELDS, NULL};

static rh_status read_prompt(rh_decoding *decoding) {
  rh_request *request = decoding->request;
  const char *text = NULL;
  rh_status status = rh_json_get_string(decoding->body, "", "prompt", &text, decoding->error);
  if (status != RH_OK) return status;
  if (text == NULL) return rh_fail_param(decoding->error, RH_INVALID, "prompt", "\"prompt\" is missing");
  if (text[0] == '\0') return rh_fail_param(decoding->error, RH_INVALID, "prompt", "\"prompt\" is empty");
  rh_prompt *prompt = rh_api_alloc_array(decoding, 1, sizeof *prompt);
  rh_message *message = rh_api_alloc_array(decoding, 1, sizeof *message);
  if (prompt == NULL || message == NULL) return RH_TOO_LARGE;
  message->role = "user";
  status = rh_api_copy_string(decoding, text, &message->content);
  if (status != RH_OK) return status;
  if (decoding->notes->raw) {
    *prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = message->content, .count = strlen(text)};
  } else {
    *prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = message, .count = 1};
  }
  request->task = decoding->notes->raw ? RH_TASK_COMPLETE : RH_TASK_CHAT;
  request->prompts = prompt;
  request->prompt_count = 1;
  return RH_OK;
}

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  out->stream = true;
  // Part of what this endpoint promises, so remote models are held to it too.
  out->generate.max_tokens = MAX_TOKENS_DEFAULT;
  out->generate.given = RH_GIVEN_MAX_TOKENS;
  status = rh_api_decode_fields(&decoding, TABLES, true);
  if (status == RH_OK) status = read_prompt(&decoding);
  if (status == RH_OK) status = rh_api_decode_finish(&decoding);
  rh_api_decode_end(&decoding);
  return status;
}

// The end of an answer. `confidence` and `features` are the learned router's; null where no such router chose.
static void put_done_members(rh_dynbuf *out, rh_encoder *encoder) {
  const rh_answer_meta *meta = encoder->meta;
  const rh_encoder_choice *choice = &encoder->choices[0];
  rh_usage usage = rh_encoder_usage(encoder);
  rh_put(out, ",\"model\":");
  rh_put_string_or_null(out, meta->model);
  rh_put(out, ",");
  rh_api_put_origin(out, encoder);
  rh_put(out, ",\"confidence\":");
  rh_api_put_confidence(out, meta);
  rh_put(out, ",\"features\":null,\"finish_reason\":");
  rh_put_string(out, rh_api_finish_word(choice));
  rh_put(out, ",\"stop\":");
  rh_put_string_or_null(out, choice->stop);
  rh_put(out, ",\"prompt_tokens\":");
  rh_put_int(out, usage.prompt_tokens);
  rh_put(out, ",\"cached_tokens\":");
  rh_put_int(out, usage.cached_tokens);
  rh_put(out, ",\"tokens\":");
  rh_put_int(out, usage.completion_tokens);
  rh_api_put_warnings(out, encoder);
  rh_put(out, "}");
}

static void stream_delta(const rh_encoder *encoder, const rh_event *event, rh_dynbuf *out) {
  if (event->as.delta.length == 0 || event->as.delta.reasoning) return;
  rh_put_buf(out, &encoder->prefix);
  rh_put_int(out, encoder->choices[0].tokens_before);
  rh_put(out, ",\"text\":");
  (void)rh_json_append_string(out, event->as.delta.text, event->as.delta.length);
  rh_put(out, "}\n\n");
}

static void build_prefix(rh_encoder *encoder) {
  rh_put(&encoder->prefix, "event: token\ndata: {\"request_id\":");
  rh_put_string(&encoder->prefix, encoder->request->id);
  rh_put(&encoder->prefix, ",\"index\":");
}

static void stream_end(rh_encoder *encoder, rh_dynbuf *out) {
  rh_put(out, "event: done\ndata: {\"request_id\":");
  rh_put_string(out, encoder->request->id);
  put_done_members(out, encoder);
  rh_put(out, "\n\n");
}

static void write_whole(rh_encoder *encoder, rh_dynbuf *out) {
  const rh_dynbuf *text = &encoder->choices[0].text;
  rh_put(out, "{\"request_id\":");
  rh_put_string(out, encoder->request->id);
  rh_put(out, ",\"text\":");
  (void)rh_json_append_string(out, rh_dynbuf_data(text), text->length);
  put_done_members(out, encoder);
}

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  assert(event->kind != RH_EVENT_ERROR && encoder->choice_count == 1);
  bool stream = encoder->request->stream;
  if (encoder->prefix.length == 0) build_prefix(encoder);
  if (event->kind == RH_EVENT_DELTA) {
    if (stream)
      stream_delta(encoder, event, out);
    else if (event->as.delta.length > 0 && !event->as.delta.reasoning) {
      (void)rh_dynbuf_append(&encoder->choices[0].text, event->as.delta.text, event->as.delta.length);
    }
  }
  if (event->kind == RH_EVENT_END) {
    if (stream)
      stream_end(encoder, out);
    else
      write_whole(encoder, out);
  }
  *finished = rh_encoder_complete(encoder);
  return encoder->prefix.failed ? RH_TOO_LARGE : rh_put_status(out);
}

static rh_status encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out) {
  if (!in_stream) return rh_openai_encode_error(request_id, error, false, out);
  rh_put(out, "event: error\ndata: {\"request_id\":");
  rh_put_string_or_null(out, request_id);
  rh_put(out, ",\"error\":");
  rh_api_put_error(out, error);
  rh_put(out, "}\n\n");
  return rh_put_status(out);
}

const rh_api_endpoint rh_endpoint_generate = {
    .name = "generate",
    .operation = "chat",
    .path = "/generate",
    .stream_type = "text/event-stream",
    .streams_by_default = true,
    .repeats = true,
    .decode = decode,
    .encode = encode,
    .encode_error = encode_error,
    .ping = ": ping\n\n",
};
