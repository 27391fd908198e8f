// SPDX-License-Identifier: Apache-2.0
//
// OpenAI's POST /v1/embeddings: texts or token ids to vectors, as numbers or base64 of little-endian floats (what OpenAI's
// own clients ask for). A text that is longer than the model takes is cut, and the answer says which; "truncate": false
// refuses it. The answer has no place for one input's error, so one input that fails ends the request and is named.
#include "api/endpoints.h"
#include "api/errors.h"
#include "api/infer.h"

static const rh_field FIELDS[] = {
    {.name = "input", .read = rh_field_ignore},  // read on its own, before the other fields
    {.name = "dimensions", .read = rh_field_int64, RH_FIELD_INFER(dimensions), .min = 1, .max = RH_API_DIMENSIONS_MAX},
    {.name = "encoding_format", .read = rh_field_encoding},
    {.name = "user", .read = rh_field_string, RH_FIELD_REQUEST(user), .max = RH_API_WORD_BYTES_MAX},
    // our own
    {.name = "truncate", .read = rh_field_truncate},
    {.name = "normalize", .read = rh_field_choice, RH_FIELD_INFER(normalize)},
    {.name = "prompt_name", .read = rh_field_string, RH_FIELD_INFER(prompt_name), .max = RH_API_WORD_BYTES_MAX},
    {.name = "prompt", .read = rh_field_string, RH_FIELD_INFER(prompt), .max = RH_API_PROMPT_BYTES_MAX},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_hints, FIELDS, NULL};

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  out->stream = false;
  status = rh_infer_begin(&decoding, RH_TASK_EMBED);
  if (status == RH_OK) {
    status = rh_infer_read_inputs(&decoding, json_object_get(decoding.body, "input"), "input", false);
  }
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, false);
  rh_api_decode_end(&decoding);
  return status;
}

static rh_status add_vector(rh_encoder *encoder, const rh_result *result) {
  rh_dynbuf *data = &encoder->choices[0].text;
  if (result->kind == RH_RESULT_FAILED) return rh_encoder_fail_item(encoder, result, "input");
  rh_put(data, result->item == 0 ? "{\"object\":\"embedding\",\"index\":" : ",{\"object\":\"embedding\",\"index\":");
  rh_put_int(data, result->item);
  rh_put(data, ",\"embedding\":");
  rh_put_vector(data, result, encoder->notes->base64);
  rh_put(data, "}");
  if (result->truncated) rh_infer_note_truncated(encoder, result);
  return RH_OK;
}

static void write_whole(rh_encoder *encoder, rh_dynbuf *out) {
  rh_put(out, "{\"object\":\"list\",\"data\":[");
  rh_put_buf(out, &encoder->choices[0].text);
  rh_put(out, "],\"model\":");
  rh_put_string(out, encoder->meta->model == NULL ? "" : encoder->meta->model);
  rh_put(out, ",\"usage\":");
  rh_infer_put_usage(out, encoder);
  rh_put(out, ",");
  rh_api_put_acceleration(out, encoder);
  rh_infer_put_truncated(out, encoder);
  rh_api_put_extras(out, encoder);
  rh_put(out, "}");
}

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  if (event->kind == RH_EVENT_RESULT) return add_vector(encoder, &event->as.result);
  if (event->kind == RH_EVENT_END) write_whole(encoder, out);
  *finished = rh_encoder_complete(encoder);
  return rh_put_status(out);
}

const rh_api_endpoint rh_endpoint_openai_embeddings = {
    .name = "embeddings",
    .operation = "embeddings",
    .path = "/v1/embeddings",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .repeats = true,
    .decode = decode,
    .encode = encode,
    .encode_error = rh_openai_encode_error,
    .ping = ": ping\n\n",
};
