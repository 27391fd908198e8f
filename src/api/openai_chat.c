// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's POST /v1/chat/completions. The field table says what is honoured, what is accepted without effect and what
// is refused; messages are read in messages.c, tools in openai_tools.c and answers are written by openai.c. Keeps nothing; pure.
#include "api/endpoints.h"
#include "api/errors.h"
#include "api/openai.h"

static rh_status read_modalities(rh_decoding *decoding, const rh_field *field) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, "", field->name, &list, decoding->error);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *word = json_string_value(json_array_get(list, i));
    if (word == NULL) {
      return rh_fail_param(decoding->error, RH_INVALID, field->name, "\"modalities\" must be an array of strings");
    }
    if (strcmp(word, "text") != 0) {
      return rh_fail_param(decoding->error, RH_UNSUPPORTED, field->name,
                           "answers are text only; \"modalities\" may be [\"text\"]");
    }
  }
  return RH_OK;
}

static const rh_field FIELDS[] = {
    {.name = "messages", .read = rh_field_ignore},  // read on its own when the other fields are known
    {.name = "max_completion_tokens",
     .read = rh_field_int64,
     RH_FIELD_REQUEST(generate.max_tokens),
     .min = 1,
     .max = INT32_MAX,
     .given = RH_GIVEN_MAX_TOKENS},
    {.name = "logprobs", .read = rh_field_bool, RH_FIELD_NOTES(logprobs)},
    {.name = "top_logprobs",
     .read = rh_field_int64,
     RH_FIELD_NOTES(top_logprobs),
     .min = 0,
     .max = RH_TOP_LOGPROBS_MAX},
    {.name = "response_format", .read = rh_field_openai_format},
    {.name = "modalities", .read = read_modalities},
    {.name = "tools", .read = rh_field_openai_tools},
    {.name = "tool_choice", .read = rh_field_openai_tool_choice},
    {.name = "parallel_tool_calls", .read = rh_field_openai_parallel},
    {.name = "functions",
     .read = rh_field_refuse_list,
     .text = "\"functions\" are the older form of tools, which is not supported; send \"tools\""},
    {.name = "function_call",
     .read = rh_field_refuse_word,
     .text = "\"function_call\" is the older form of \"tool_choice\"; send \"tools\" and that"},
    {.name = "audio", .read = rh_field_refuse, .text = "spoken answers are not supported; send no \"audio\""},
    {.name = "prediction",
     .read = rh_field_refuse,
     .text = "predicted outputs are not supported; send no \"prediction\""},
    {.name = "web_search_options",
     .read = rh_field_refuse,
     .text = "searching the web is not supported; send no \"web_search_options\""},
    {.name = "reasoning_effort", .read = rh_field_openai_effort},
    {.name = "verbosity", .read = rh_field_warn},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_common, rh_fields_openai,
                                         rh_fields_hints,   FIELDS,           NULL};

static rh_status set_logprobs(rh_decoding *decoding) {
  const rh_api_notes *notes = decoding->notes;
  if (!notes->logprobs && notes->top_logprobs >= 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "top_logprobs", "\"top_logprobs\" needs \"logprobs\": true");
  }
  if (notes->logprobs) {
    decoding->request->generate.top_logprobs = notes->top_logprobs < 0 ? 0 : (int32_t)notes->top_logprobs;
  }
  return RH_OK;
}

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  status = rh_api_decode_messages(&decoding);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, false);
  if (status == RH_OK) status = set_logprobs(&decoding);
  if (status == RH_OK) status = rh_api_check_tools(&decoding);
  if (status == RH_OK) status = rh_api_decode_finish(&decoding);
  rh_api_decode_end(&decoding);
  return status;
}

static void add_logprobs(const rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *delta) {
  (void)encoder;
  rh_logprobs_add_chat(choice, delta);
}

static void put_logprobs(rh_dynbuf *out, const rh_encoder *encoder, const rh_encoder_choice *choice) {
  (void)encoder;
  rh_put(out, "{\"content\":[");
  rh_put_buf(out, &choice->logprobs[0]);
  rh_put(out, "],\"refusal\":null}");
}

static const rh_openai_shape SHAPE = {
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .begin = "\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}",
    .text_before = "\"delta\":{\"content\":",
    .text_after = "}",
    .end = "\"delta\":{}",
    .message_before = "\"message\":{\"role\":\"assistant\",\"content\":",
    .message_after = "}",
    .chat = true,
    .add_logprobs = add_logprobs,
    .put_logprobs = put_logprobs,
};

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  return rh_openai_encode(encoder, &SHAPE, event, out, finished);
}

const rh_api_endpoint rh_endpoint_openai_chat = {
    .name = "chat.completions",
    .operation = "chat",
    .path = "/v1/chat/completions",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .repeats = true,
    .decode = decode,
    .encode = encode,
    .encode_error = rh_openai_encode_error,
    .ping = ": ping\n\n",
};
