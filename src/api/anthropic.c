// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's POST /v1/messages. The field table says what is honoured, what is accepted without effect and what is refused;
// messages are read in anthropic_messages.c, tools in anthropic_tools.c, and answers are written by anthropic_stream.c and
// anthropic_whole.c. Keeps nothing; pure.
#include "api/anthropic.h"

#include <assert.h>

#include "api/endpoints.h"
#include "api/errors.h"

// Clients mark a user by it; the notes may hold hints too.
static rh_status read_metadata(rh_decoding *decoding, const rh_field *field) {
  json_t *notes = NULL;
  const char *user = NULL;
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &notes, decoding->error);
  if (status == RH_OK) status = rh_json_get_string(notes, field->name, "user_id", &user, decoding->error);
  if (status == RH_OK && user != NULL) {
    if (strlen(user) <= RH_API_WORD_BYTES_MAX)
      status = rh_api_copy_string(decoding, user, &decoding->request->user);
    else
      rh_api_warn(decoding, "metadata.", "user_id", NULL);
  }
  return status;
}

static const rh_field FIELDS[] = {
    {.name = "messages", .read = rh_field_ignore},  // read on their own, with the system's text
    {.name = "system", .read = rh_field_ignore},
    {.name = "max_tokens",
     .read = rh_field_int64,
     RH_FIELD_REQUEST(generate.max_tokens),
     .min = 1,
     .max = INT32_MAX,
     .given = RH_GIVEN_MAX_TOKENS},
    {.name = "stop_sequences", .read = rh_field_stop},
    {.name = "temperature",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.temperature),
     .min = 0,
     .max = 1,
     .given = RH_GIVEN_TEMPERATURE},
    {.name = "top_p",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.top_p),
     .min = 0,
     .max = 1,
     .given = RH_GIVEN_TOP_P},
    {.name = "top_k",
     .read = rh_field_top_k,
     RH_FIELD_REQUEST(generate.top_k),
     .min = -1,
     .max = INT32_MAX,
     .given = RH_GIVEN_TOP_K},
    {.name = "stream", .read = rh_field_bool, RH_FIELD_REQUEST(stream)},
    {.name = "metadata", .read = read_metadata},
    {.name = "tools", .read = rh_anthropic_read_tools},
    {.name = "tool_choice", .read = rh_anthropic_read_choice},
    {.name = "thinking", .read = rh_anthropic_read_thinking},
    {.name = "output_config", .read = rh_anthropic_read_output},
    {.name = "output_format", .read = rh_anthropic_read_format},
    {.name = "mcp_servers",
     .read = rh_field_refuse_list,
     .text = "servers of tools that the model's side calls are not supported; send no \"mcp_servers\""},
    {.name = "container", .read = rh_field_warn},
    {.name = "context_management", .read = rh_field_warn},
    {.name = "cache_control", .read = rh_field_ignore},
    {.name = "service_tier", .read = rh_field_ignore},
    {.name = "inference_geo", .read = rh_field_ignore},
    {.name = "speed", .read = rh_field_ignore},
    {.name = "diagnostics", .read = rh_field_ignore},
    {.name = "betas", .read = rh_field_ignore},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {FIELDS, rh_fields_request, rh_fields_hints, NULL};

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  status = rh_anthropic_read_messages(&decoding);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, false);
  if (status == RH_OK && (out->generate.given & RH_GIVEN_MAX_TOKENS) == 0) {
    status = rh_fail_param(error, RH_INVALID, "max_tokens", "\"max_tokens\" is missing");
  }
  if (status == RH_OK) status = rh_api_check_tools(&decoding);
  if (status == RH_OK) status = rh_api_decode_finish(&decoding);
  rh_api_decode_end(&decoding);
  return status;
}

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  assert(event->kind != RH_EVENT_ERROR && encoder->choice_count == 1);
  if (encoder->request->stream) {
    rh_anthropic_stream(encoder, event, out);
  } else {
    rh_blocks_add(&encoder->choices[0], event);
    if (event->kind == RH_EVENT_END) rh_anthropic_put_whole(encoder, out);
  }
  *finished = rh_encoder_complete(encoder);
  return rh_put_status(out);
}

const rh_api_endpoint rh_endpoint_anthropic_messages = {
    .name = "messages",
    .operation = "chat",
    .path = "/v1/messages",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .repeats = true,
    .decode = decode,
    .encode = encode,
    .encode_error = rh_anthropic_encode_error,
    .ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n",
};
