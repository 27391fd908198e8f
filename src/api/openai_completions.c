// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's POST /v1/completions: text or token prompts, one or many, straight to the model without a chat template.
// Answers are written by openai.c. Keeps nothing; pure.
#include <stdio.h>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/openai.h"

#define MAX_TOKENS_DEFAULT 16  // OpenAI's own
#define LOGPROBS_MAX 5         // OpenAI's own

static rh_status read_tokens(rh_decoding *decoding, const json_t *list, const char *path, rh_prompt *out) {
  rh_prompt prompt = {.kind = RH_PROMPT_TOKENS};
  rh_status status = rh_api_decode_tokens(decoding, list, path, &prompt.tokens, &prompt.count);
  if (status == RH_OK) *out = prompt;
  return status;
}

static rh_status read_text(rh_decoding *decoding, const json_t *value, rh_prompt *out) {
  *out = (rh_prompt){.kind = RH_PROMPT_TEXT, .count = json_string_length(value)};
  return rh_api_copy_string(decoding, json_string_value(value), &out->text);
}

static rh_status read_many(rh_decoding *decoding, const json_t *list) {
  size_t count = json_array_size(list);
  if (count > RH_PROMPTS_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "prompt", "%zu prompts; one request may have %d", count,
                         RH_PROMPTS_MAX);
  }
  rh_prompt *prompts = rh_api_alloc_array(decoding, count, sizeof *prompts);
  if (prompts == NULL) return RH_TOO_LARGE;
  json_type type = json_typeof(json_array_get(list, 0));
  for (size_t i = 0; i < count; i++) {
    char path[32];
    const json_t *value = json_array_get(list, i);
    (void)snprintf(path, sizeof path, "prompt[%zu]", i);
    if (json_typeof(value) != type) {
      return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is %s; all prompts must be of one kind", path,
                           rh_json_type_name(value));
    }
    rh_status status =
        type == JSON_STRING ? read_text(decoding, value, &prompts[i]) : read_tokens(decoding, value, path, &prompts[i]);
    if (status != RH_OK) return status;
  }
  decoding->request->prompts = prompts;
  decoding->request->prompt_count = count;
  return RH_OK;
}

static rh_status read_one(rh_decoding *decoding, const json_t *value) {
  rh_prompt *prompt = rh_api_alloc_array(decoding, 1, sizeof *prompt);
  if (prompt == NULL) return RH_TOO_LARGE;
  decoding->request->prompts = prompt;
  decoding->request->prompt_count = 1;
  return json_is_string(value) ? read_text(decoding, value, prompt) : read_tokens(decoding, value, "prompt", prompt);
}

static rh_status read_prompt(rh_decoding *decoding) {
  const json_t *value = json_object_get(decoding->body, "prompt");
  decoding->request->task = RH_TASK_COMPLETE;
  if (value == NULL || json_is_null(value)) {
    return rh_fail_param(decoding->error, RH_INVALID, "prompt", "\"prompt\" is missing");
  }
  if (json_is_string(value)) return read_one(decoding, value);
  const json_t *first = json_array_get(value, 0);  // NULL when it is no array or an empty one
  if (json_is_integer(first)) return read_one(decoding, value);
  if (json_is_string(first) || json_is_array(first)) return read_many(decoding, value);
  if (json_is_array(value) && first == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, "prompt", "\"prompt\" is an empty array");
  }
  return rh_fail_param(decoding->error, RH_INVALID, "prompt",
                       "\"prompt\" must be a string, an array of strings, an array of token ids or an array of those");
}

static rh_status read_suffix(rh_decoding *decoding, const rh_field *field) {
  const char *suffix = "";
  rh_status status = rh_json_get_string(decoding->body, "", field->name, &suffix, decoding->error);
  if (status != RH_OK || suffix[0] == '\0') return status;
  return rh_field_refuse(decoding, field);
}

static const rh_field FIELDS[] = {
    {.name = "prompt", .read = rh_field_ignore},  // read on its own, before the other fields
    {.name = "echo", .read = rh_field_bool, RH_FIELD_NOTES(echo)},
    {.name = "best_of", .read = rh_field_int64, RH_FIELD_NOTES(best_of), .min = 1, .max = RH_CHOICES_MAX},
    {.name = "suffix", .read = read_suffix, .text = "filling in before a \"suffix\" is not supported"},
    {.name = "logprobs",
     .read = rh_field_int32,
     RH_FIELD_REQUEST(generate.top_logprobs),
     .min = 0,
     .max = LOGPROBS_MAX},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_common, rh_fields_openai,
                                         rh_fields_hints,   FIELDS,           NULL};

static rh_status check_combinations(rh_decoding *decoding) {
  const rh_request *request = decoding->request;
  const rh_api_notes *notes = decoding->notes;
  if (notes->best_of != 0 && notes->best_of != request->choices) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, "best_of",
                         "choosing the best of several answers is not supported; \"best_of\" must equal \"n\"");
  }
  if (!notes->echo) return RH_OK;
  if (request->generate.top_logprobs >= 0) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, "echo",
                         "\"echo\" together with \"logprobs\" is not supported");
  }
  if (request->prompts[0].kind != RH_PROMPT_TEXT) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, "echo",
                         "\"echo\" with a prompt of token ids is not supported");
  }
  return RH_OK;
}

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  out->generate.max_tokens = MAX_TOKENS_DEFAULT;
  out->generate.given = RH_GIVEN_MAX_TOKENS;  // part of what this endpoint promises
  status = read_prompt(&decoding);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, false);
  if (status == RH_OK) status = check_combinations(&decoding);
  if (status == RH_OK) status = rh_api_decode_finish(&decoding);
  rh_api_decode_end(&decoding);
  return status;
}

static void add_logprobs(const rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *delta) {
  rh_logprobs_add_classic(choice, delta, encoder->request->generate.top_logprobs);
}

static void put_logprobs(rh_dynbuf *out, const rh_encoder *encoder, const rh_encoder_choice *choice) {
  rh_put(out, "{\"tokens\":[");
  rh_put_buf(out, &choice->logprobs[0]);
  rh_put(out, "],\"token_logprobs\":[");
  rh_put_buf(out, &choice->logprobs[1]);
  if (encoder->request->generate.top_logprobs > 0) {
    rh_put(out, "],\"top_logprobs\":[");
    rh_put_buf(out, &choice->logprobs[2]);
    rh_put(out, "],\"text_offset\":[");
  } else {
    rh_put(out, "],\"top_logprobs\":null,\"text_offset\":[");
  }
  rh_put_buf(out, &choice->logprobs[3]);
  rh_put(out, "]}");
}

static const rh_openai_shape SHAPE = {
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .begin = NULL,
    .text_before = "\"text\":",
    .text_after = "",
    .end = "\"text\":\"\"",
    .message_before = "\"text\":",
    .message_after = "",
    .add_logprobs = add_logprobs,
    .put_logprobs = put_logprobs,
};

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  return rh_openai_encode(encoder, &SHAPE, event, out, finished);
}

const rh_api_endpoint rh_endpoint_openai_completions = {
    .name = "completions",
    .operation = "text_completion",
    .path = "/v1/completions",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .repeats = true,
    .decode = decode,
    .encode = encode,
    .encode_error = rh_openai_encode_error,
    .ping = ": ping\n\n",
};
