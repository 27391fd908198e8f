// SPDX-License-Identifier: Apache-2.0
//
// Ollama's POST /api/embed and the older POST /api/embeddings, which takes one text and is not told to normalize. Durations
// are nanoseconds. "options" of the runtime are taken and have no effect: a model is loaded as the server's configuration
// says. Other fields that its clients do not send are errors. The answer has no place for one input's error, so one that
// fails ends the request and is named.
#include <math.h>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/infer.h"
#include "base/clock.h"

static rh_status read_options(rh_decoding *decoding, const rh_field *field) {
  json_t *options = NULL;
  return rh_json_get_object(decoding->body, "", field->name, &options, decoding->error);
}

static const rh_field EMBED[] = {
    {.name = "input", .read = rh_field_ignore},  // read on its own, before the other fields
    {.name = "truncate", .read = rh_field_truncate},
    {.name = "dimensions", .read = rh_field_int64, RH_FIELD_INFER(dimensions), .min = 0, .max = RH_API_DIMENSIONS_MAX},
    {.name = "options", .read = read_options},
    {.name = NULL},
};

static const rh_field EMBEDDINGS[] = {
    {.name = "prompt", .read = rh_field_ignore},
    {.name = "options", .read = read_options},
    {.name = NULL},
};

static const rh_field *const EMBED_TABLES[] = {rh_fields_request, rh_fields_hints, EMBED, NULL};
static const rh_field *const EMBEDDINGS_TABLES[] = {rh_fields_request, rh_fields_hints, EMBEDDINGS, NULL};

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error, bool older) {
  rh_decoding decoding;
  const char *input = older ? "prompt" : "input";
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  out->stream = false;
  status = rh_infer_begin(&decoding, RH_TASK_EMBED);
  if (status == RH_OK) decoding.infer->normalize = older ? RH_CHOICE_MODEL : RH_CHOICE_YES;
  const json_t *value = json_object_get(decoding.body, input);
  if (status == RH_OK && older && value != NULL && !json_is_string(value)) {
    status = rh_fail_param(error, RH_INVALID, input, "\"prompt\" must be a string, not %s", rh_json_type_name(value));
  }
  if (status == RH_OK) status = rh_infer_read_inputs(&decoding, value, input, false);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, older ? EMBEDDINGS_TABLES : EMBED_TABLES, true);
  rh_api_decode_end(&decoding);
  return status;
}

static rh_status decode_embed(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                              rh_error *error) {
  return decode(body, length, arena, out, warnings, error, false);
}

static rh_status decode_embeddings(const char *body, size_t length, rh_arena *arena, rh_request *out,
                                   rh_dynbuf *warnings, rh_error *error) {
  return decode(body, length, arena, out, warnings, error, true);
}

static rh_status add_vector(rh_encoder *encoder, const rh_result *result, const char *field) {
  rh_dynbuf *data = &encoder->choices[0].text;
  if (result->kind == RH_RESULT_FAILED) return rh_encoder_fail_item(encoder, result, field);
  if (result->item > 0) rh_put(data, ",");
  rh_put_vector(data, result, false);
  return RH_OK;
}

static void write_embed(const rh_encoder *encoder, rh_dynbuf *out) {
  const rh_answer_meta *meta = encoder->meta;
  rh_usage usage = rh_encoder_usage(encoder);
  uint64_t finished_ns = meta->finished_ns != 0 ? meta->finished_ns : rh_clock_now_ns();
  rh_put(out, "{\"model\":");
  rh_put_string(out, meta->model == NULL ? "" : meta->model);
  rh_put(out, ",\"embeddings\":[");
  rh_put_buf(out, &encoder->choices[0].text);
  rh_put(out, "],\"total_duration\":");
  rh_put_int(out, finished_ns > meta->received_ns ? (int64_t)(finished_ns - meta->received_ns) : 0);
  rh_put(out, ",\"load_duration\":");  // all the waiting: for the model, and for its turn
  rh_put_int(out, isfinite(usage.queue_ms) && usage.queue_ms > 0 ? (int64_t)(usage.queue_ms * 1e6) : 0);
  rh_put(out, ",\"prompt_eval_count\":");
  rh_put_int(out, usage.prompt_tokens);
  rh_put(out, "}");
}

static rh_status encode_embed(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  if (event->kind == RH_EVENT_RESULT) return add_vector(encoder, &event->as.result, "input");
  if (event->kind == RH_EVENT_END) write_embed(encoder, out);
  *finished = rh_encoder_complete(encoder);
  return rh_put_status(out);
}

static rh_status encode_embeddings(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  if (event->kind == RH_EVENT_RESULT) return add_vector(encoder, &event->as.result, "prompt");
  if (event->kind == RH_EVENT_END) {
    rh_put(out, "{\"embedding\":");
    rh_put_buf(out, &encoder->choices[0].text);
    rh_put(out, "}");
  }
  *finished = rh_encoder_complete(encoder);
  return rh_put_status(out);
}

static rh_status encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out) {
  (void)request_id;
  (void)in_stream;
  return rh_ollama_put_error(out, error);
}

const rh_api_endpoint rh_endpoint_ollama_embed = {
    .name = "ollama.embed",
    .operation = "embeddings",
    .path = "/api/embed",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .decode = decode_embed,
    .encode = encode_embed,
    .encode_error = encode_error,
    .ping = ": ping\n\n",
};

const rh_api_endpoint rh_endpoint_ollama_embeddings = {
    .name = "ollama.embeddings",
    .operation = "embeddings",
    .path = "/api/embeddings",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .decode = decode_embeddings,
    .encode = encode_embeddings,
    .encode_error = encode_error,
    .ping = ": ping\n\n",
};
