// SPDX-License-Identifier: Apache-2.0
//
// POST /v1/rerank, also as /rerank and /v2/rerank: documents by their relevance to a query, the best first, in the shape
// that Cohere's and Jina's clients share. It has no place for one document's error, so one that fails ends the request and
// is named. The scores wait in the encoder until all are there; the documents are the request's own.
#include <stdlib.h>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/infer.h"

static const rh_field FIELDS[] = {
    {.name = "query", .read = rh_field_ignore},  // both read on their own, before the other fields
    {.name = "documents", .read = rh_field_ignore},
    {.name = "top_n", .read = rh_field_int64, RH_FIELD_NOTES(top_n), .min = 1, .max = INT32_MAX},
    {.name = "return_documents", .read = rh_field_bool, RH_FIELD_NOTES(return_documents)},
    {.name = "user", .read = rh_field_string, RH_FIELD_REQUEST(user), .max = RH_API_WORD_BYTES_MAX},
    {.name = "max_tokens_per_doc", .read = rh_field_warn},
    {.name = "max_chunks_per_doc", .read = rh_field_warn},
    {.name = "rank_fields", .read = rh_field_warn},
    // our own
    {.name = "truncate", .read = rh_field_truncate},
    {.name = "raw_scores", .read = rh_field_bool, RH_FIELD_INFER(raw_scores)},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_hints, FIELDS, NULL};

static rh_status read_pairs(rh_decoding *decoding) {
  const char *query = NULL;
  rh_status status = rh_json_get_string(decoding->body, "", "query", &query, decoding->error);
  if (status != RH_OK) return status;
  if (query == NULL) return rh_fail_param(decoding->error, RH_INVALID, "query", "\"query\" is missing");
  status = rh_api_copy_string(decoding, query, &query);
  if (status != RH_OK) return status;
  return rh_infer_read_documents(decoding, query, json_object_get(decoding->body, "documents"), "documents");
}

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  out->stream = false;
  status = rh_infer_begin(&decoding, RH_TASK_RERANK);
  if (status == RH_OK) status = read_pairs(&decoding);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, false);
  rh_api_decode_end(&decoding);
  return status;
}

rh_status rh_rerank_put_ranking(rh_dynbuf *out, const rh_encoder *encoder) {
  const rh_item *items = encoder->request->infer->items;
  int64_t top = encoder->notes->top_n;
  size_t *order = rh_api_rank(encoder->scores, encoder->item_count);
  if (order == NULL) return RH_NO_MEMORY;
  size_t count = encoder->item_count - encoder->item_failed;
  if (top > 0 && (uint64_t)top < count) count = (size_t)top;
  for (size_t i = 0; i < count; i++) {
    rh_put(out, i == 0 ? "{\"index\":" : ",{\"index\":");
    rh_put_int(out, (int64_t)order[i]);
    rh_put(out, ",\"relevance_score\":");
    rh_put_float(out, encoder->scores[order[i]]);
    if (encoder->notes->return_documents) {
      rh_put(out, ",\"document\":{\"text\":");
      (void)rh_json_append_string(out, items[order[i]].pair, items[order[i]].pair_length);
      rh_put(out, "}");
    }
    rh_put(out, "}");
  }
  free(order);
  return RH_OK;
}

static rh_status write_whole(rh_encoder *encoder, rh_dynbuf *out) {
  rh_put(out, "{\"id\":");
  rh_api_put_id(out, "rerank-", encoder->request->id);
  rh_put(out, ",\"object\":\"list\",\"model\":");
  rh_put_string(out, encoder->meta->model == NULL ? "" : encoder->meta->model);
  rh_put(out, ",\"results\":[");
  rh_status status = rh_rerank_put_ranking(out, encoder);
  rh_put(out, "],\"usage\":");
  rh_infer_put_usage(out, encoder);
  rh_put(out, ",");
  rh_api_put_acceleration(out, encoder);
  rh_infer_put_truncated(out, encoder);
  rh_api_put_extras(out, encoder);
  rh_put(out, "}");
  return status;
}

static rh_status encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  rh_status status = RH_OK;
  if (event->kind == RH_EVENT_RESULT) {
    const rh_result *result = &event->as.result;
    if (result->kind == RH_RESULT_FAILED) return rh_encoder_fail_item(encoder, result, "documents");
    if (result->truncated) rh_infer_note_truncated(encoder, result);
  }
  if (event->kind == RH_EVENT_END) status = write_whole(encoder, out);
  *finished = rh_encoder_complete(encoder);
  return status == RH_OK ? rh_put_status(out) : status;
}

static const char *const OTHER_PATHS[] = {"/rerank", "/v2/rerank", NULL};

const rh_api_endpoint rh_endpoint_rerank = {
    .name = "rerank",
    .operation = "rerank",
    .path = "/v1/rerank",
    .other_paths = OTHER_PATHS,
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .decode = decode,
    .encode = encode,
    .encode_error = rh_openai_encode_error,
    .ping = ": ping\n\n",
};
