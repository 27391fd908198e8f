// SPDX-License-Identifier: Apache-2.0
//
// Answers of POST /api/inference, whole and as events (progress, result, done, error). A whole answer holds the finished JSON
// of each item in the choice's text; a stream holds nothing. An item that failed has its error in its place. The state is the
// encoder's; nothing is kept here.
#include <assert.h>
#include <math.h>

#include "api/errors.h"
#include "api/inference.h"
#include "base/clock.h"

// --- one item ------------------------------------------------------------------------------------------------------

// The members of an item, without braces.
static void put_item(rh_dynbuf *out, const rh_encoder *encoder, const rh_result *result) {
  switch (result->kind) {
    case RH_RESULT_VECTOR:
      rh_put(out, "\"embedding\":");
      rh_put_vector(out, result, encoder->notes->base64);
      break;
    case RH_RESULT_SCORES:
      rh_put(out, "\"labels\":");
      rh_put_labels(out, result);
      break;
    case RH_RESULT_SPANS:
      rh_put(out, "\"entities\":");
      rh_put_entities(out, result);
      break;
    case RH_RESULT_TENSORS:
      rh_put(out, "\"outputs\":");
      rh_put_tensor_map(out, result, encoder->notes->base64);
      return;
    case RH_RESULT_FAILED:
      rh_put(out, "\"error\":");
      rh_api_put_error(out, &result->error);
      break;
  }
  rh_put(out, ",\"tokens\":");
  rh_put_int(out, result->tokens);
  if (result->truncated) rh_put(out, ",\"truncated\":true");
  if (result->windows == 0) return;
  rh_put(out, ",\"windows\":");
  rh_put_int(out, result->windows);
}

static void put_score(rh_dynbuf *out, const rh_result *result) {
  rh_put(out, "\"relevance_score\":");
  rh_put_float(out, result->scores[0].score);
  rh_put(out, ",\"tokens\":");
  rh_put_int(out, result->tokens);
  if (result->truncated) rh_put(out, ",\"truncated\":true");
}

static bool is_ranking(const rh_encoder *encoder, const rh_result *result) {
  return rh_encoder_task(encoder) == RH_TASK_RERANK && result->kind == RH_RESULT_SCORES && result->count > 0;
}

// A whole ranking waits in the encoder's scores; only what has no score is held as text.
static void hold_item(rh_encoder *encoder, const rh_result *result) {
  rh_dynbuf *held = &encoder->choices[0].text;
  bool ranked = rh_encoder_task(encoder) == RH_TASK_RERANK;
  if (result->truncated) rh_infer_note_truncated(encoder, result);
  if (is_ranking(encoder, result)) return;
  if (result->kind == RH_RESULT_TENSORS) {
    put_item(held, encoder, result);
    return;
  }
  rh_put(held, held->length > 0 ? ",{" : "{");
  if (ranked) {
    rh_put(held, "\"index\":");
    rh_put_int(held, result->item);
    rh_put(held, ",");
  }
  put_item(held, encoder, result);
  rh_put(held, "}");
}

// --- the end -------------------------------------------------------------------------------------------------------

static void put_ms(rh_dynbuf *out, const char *name, double ms) {
  rh_put(out, name);
  (void)rh_dynbuf_printf(out, "%.3f", isfinite(ms) && ms > 0 ? ms : 0.0);
}

static void put_text(rh_dynbuf *out, const char *name, const char *text) {
  rh_put(out, name);
  rh_put_string_or_null(out, text);
}

static void put_meta(rh_dynbuf *out, const rh_encoder *encoder) {
  const rh_answer_meta *meta = encoder->meta;
  const rh_model_info *info = meta->info;
  rh_usage usage = rh_encoder_usage(encoder);
  uint64_t finished_ns = meta->finished_ns != 0 ? meta->finished_ns : rh_clock_now_ns();
  put_text(out, "\"meta\":{\"engine\":", info == NULL ? NULL : info->engine);
  put_text(out, ",\"device\":", info == NULL ? NULL : info->device);
  put_text(out, ",\"version\":", meta->version);
  put_text(out, ",\"provider\":", meta->provider);
  put_text(out, ",\"host\":", meta->host);
  put_text(out, ",\"route_reason\":", meta->route_reason);
  put_text(out, ",\"cache\":", meta->cache);
  rh_put(out, ",\"cost_usd\":");
  rh_put_number(out, meta->cost_usd);
  rh_put(out, ",");
  rh_api_put_acceleration(out, encoder);
  put_ms(out, ",\"latency_ms\":", finished_ns > meta->received_ns ? rh_ns_to_ms(finished_ns - meta->received_ns) : 0);
  put_ms(out, ",\"queue_ms\":", usage.queue_ms);
  put_ms(out, ",\"compute_ms\":", usage.prompt_ms + usage.decode_ms);
  rh_put(out, ",\"tokens\":");
  rh_put_int(out, usage.prompt_tokens);
  rh_put(out, ",\"items\":");
  rh_put_int(out, (int64_t)encoder->item_count);
  rh_put(out, ",\"failed\":");
  rh_put_int(out, (int64_t)encoder->item_failed);
  rh_infer_put_truncated(out, encoder);
  rh_put(out, "}");
}

static void put_head(rh_dynbuf *out, const rh_encoder *encoder) {
  rh_put(out, "{\"request_id\":");
  rh_put_string(out, encoder->request->id);
  rh_put(out, ",\"task\":");
  rh_put_string(out, rh_task_name(rh_encoder_task(encoder)));
  put_text(out, ",\"model\":", encoder->meta->model);
}

static rh_status put_result(rh_dynbuf *out, const rh_encoder *encoder) {
  const rh_dynbuf *held = &encoder->choices[0].text;
  rh_task task = rh_encoder_task(encoder);
  rh_status status = RH_OK;
  bool tensors = encoder->request->infer->tensor_count > 0;
  rh_put(out, task == RH_TASK_RERANK ? "{\"results\":[" : tensors ? "{" : "{\"items\":[");
  if (task == RH_TASK_RERANK) {
    status = rh_rerank_put_ranking(out, encoder);
    if (held->length > 0 && encoder->item_failed < encoder->item_count) rh_put(out, ",");
  }
  rh_put_buf(out, held);
  rh_put(out, tensors ? "}" : "]}");
  return status;
}

static rh_status write_whole(const rh_encoder *encoder, rh_dynbuf *out) {
  put_head(out, encoder);
  rh_put(out, ",\"result\":");
  rh_status status = put_result(out, encoder);
  rh_put(out, ",");
  put_meta(out, encoder);
  rh_api_put_warnings(out, encoder);
  rh_put(out, "}");
  return status;
}

// --- events --------------------------------------------------------------------------------------------------------

static void begin_event(rh_dynbuf *out, const rh_encoder *encoder, const char *name) {
  rh_put(out, "event: ");
  rh_put(out, name);
  rh_put(out, "\ndata: {\"request_id\":");
  rh_put_string(out, encoder->request->id);
}

static void stream_progress(const rh_encoder *encoder, double fraction, rh_dynbuf *out) {
  begin_event(out, encoder, "progress");
  rh_put(out, ",\"fraction\":");
  rh_put_number(out, fraction >= 0 && fraction <= 1 ? fraction : 0);
  rh_put(out, ",\"done\":");
  rh_put_int(out, (int64_t)encoder->item_done);
  rh_put(out, ",\"items\":");
  rh_put_int(out, (int64_t)encoder->item_count);
  rh_put(out, "}\n\n");
}

static void stream_result(rh_encoder *encoder, const rh_result *result, rh_dynbuf *out) {
  if (result->truncated) rh_infer_note_truncated(encoder, result);
  begin_event(out, encoder, "result");
  rh_put(out, ",\"index\":");
  rh_put_int(out, result->item);
  rh_put(out, ",");
  if (is_ranking(encoder, result))
    put_score(out, result);
  else
    put_item(out, encoder, result);
  rh_put(out, "}\n\n");
}

static void stream_end(const rh_encoder *encoder, rh_dynbuf *out) {
  rh_put(out, "event: done\ndata: ");
  put_head(out, encoder);
  rh_put(out, ",");
  put_meta(out, encoder);
  rh_api_put_warnings(out, encoder);
  rh_put(out, "}\n\n");
}

// The first event comes before any work is done, so that a client knows what to cancel.
static void stream(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out) {
  if (event->kind == RH_EVENT_START) stream_progress(encoder, 0, out);
  if (event->kind == RH_EVENT_PROGRESS) stream_progress(encoder, event->as.progress.fraction, out);
  if (event->kind == RH_EVENT_RESULT) stream_result(encoder, &event->as.result, out);
  if (event->kind == RH_EVENT_END) stream_end(encoder, out);
}

rh_status rh_inference_encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  assert(event->kind != RH_EVENT_ERROR && encoder->choice_count == 1);
  rh_status status = RH_OK;
  bool result = event->kind == RH_EVENT_RESULT;
  // Tensors are one piece of work: when it fails there is nothing else to tell.
  if (result && event->as.result.kind == RH_RESULT_FAILED && encoder->request->infer->tensor_count > 0) {
    return rh_encoder_fail_item(encoder, &event->as.result, "inputs");
  }
  if (encoder->request->stream)
    stream(encoder, event, out);
  else if (result)
    hold_item(encoder, &event->as.result);
  else if (event->kind == RH_EVENT_END)
    status = write_whole(encoder, out);
  *finished = rh_encoder_complete(encoder);
  return status == RH_OK ? rh_put_status(out) : status;
}

rh_status rh_inference_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out) {
  if (!in_stream) return rh_openai_encode_error(request_id, error, false, out);
  rh_put(out, "event: error\ndata: {\"request_id\":");
  rh_put_string_or_null(out, request_id);
  rh_put(out, ",\"error\":");
  rh_api_put_error(out, error);
  rh_put(out, "}\n\n");
  return rh_put_status(out);
}
