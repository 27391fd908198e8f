// SPDX-License-Identifier: Apache-2.0
//
// The part of encoding that all dialects share: one state per choice, counting, the bound on what is held for a whole
// answer, and the rule that an error of one choice is the end of the answer. It owns the buffers of the answer and runs
// on the event loop's thread. It writes no bytes; the dialect's encode does.
#include "api/encoder.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "flow/fit.h"

static void init_choice(rh_encoder_choice *choice, size_t text_max) {
  rh_dynbuf_init(&choice->text, text_max);
  rh_blocks_init(choice, text_max);
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) rh_dynbuf_init(&choice->logprobs[i], RH_API_ANSWER_BYTES_MAX);
}

static void free_choice(rh_encoder_choice *choice) {
  rh_dynbuf_free(&choice->text);
  rh_blocks_free(choice);
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) rh_dynbuf_free(&choice->logprobs[i]);
}

// Tensors are one piece of work and have one result.
static bool prepare_items(rh_encoder *encoder) {
  const rh_infer *infer = encoder->request->infer;
  encoder->item_count = infer->item_count > 0 ? infer->item_count : 1;
  encoder->scores = calloc(encoder->item_count, sizeof *encoder->scores);
  return encoder->scores != NULL;
}

rh_encoder *rh_encoder_new(const rh_api_endpoint *endpoint, const rh_request *request, const rh_answer_meta *meta,
                           const char *warnings) {
  assert(endpoint != NULL && request != NULL && meta != NULL && request->dialect != NULL);
  size_t count = rh_request_runs(request);
  assert(count > 0 && count <= RH_JOBS_MAX && request->choices > 0);
  rh_encoder *encoder = calloc(1, sizeof *encoder);
  rh_encoder_choice *choices = calloc(count, sizeof *choices);
  if (encoder == NULL || choices == NULL) {
    free(encoder);
    free(choices);
    return NULL;
  }
  encoder->endpoint = endpoint;
  encoder->request = request;
  encoder->notes = request->dialect;
  encoder->meta = meta;
  encoder->warnings = warnings == NULL ? "" : warnings;
  encoder->choices = choices;
  encoder->choice_count = count;
  encoder->held_max = request->infer != NULL ? RH_API_RESULTS_BYTES_MAX : RH_API_ANSWER_BYTES_MAX;
  rh_dynbuf_init(&encoder->prefix, 4096);
  rh_dynbuf_init(&encoder->truncated, 8 * RH_ITEMS_MAX);
  for (size_t i = 0; i < count; i++) init_choice(&choices[i], encoder->held_max);
  if (request->infer == NULL || prepare_items(encoder)) return encoder;
  rh_encoder_free(encoder);
  return NULL;
}

void rh_encoder_free(rh_encoder *encoder) {
  if (encoder == NULL) return;
  for (size_t i = 0; i < encoder->choice_count; i++) free_choice(&encoder->choices[i]);
  rh_dynbuf_free(&encoder->prefix);
  rh_dynbuf_free(&encoder->truncated);
  free(encoder->scores);
  free(encoder->choices);
  free(encoder);
}

bool rh_encoder_complete(const rh_encoder *encoder) { return encoder->done_count == encoder->choice_count; }

const rh_error *rh_encoder_error(const rh_encoder *encoder) { return encoder->failed ? &encoder->error : NULL; }

// The event's own string is gone after the call; the request's lives as long as we do.
static const char *find_stop(const rh_request *request, const char *stop) {
  for (size_t i = 0; stop != NULL && i < request->generate.stop_count; i++) {
    if (strcmp(request->generate.stops[i], stop) == 0) return request->generate.stops[i];
  }
  return NULL;
}

// A whole answer begins again when its worker was lost: what came before is void. In a stream it has gone out, and no second
// START comes.
static void begin_again(rh_encoder *encoder, rh_encoder_choice *choice) {
  if (encoder->request->stream) return;
  rh_dynbuf_clear(&choice->text);
  rh_blocks_clear(choice);
  rh_logprobs_clear(choice);
  choice->text_offset = 0;
  choice->tokens_before = 0;
  choice->usage = (rh_usage){0};
  choice->begun = choice->has_usage = choice->has_calls = false;
  // With several answers to one request, all begin again when one of them fails: those that were complete too.
  if (choice->done) encoder->done_count--;
  choice->done = false;
  encoder->item_done = encoder->item_failed = 0;
  encoder->item_tokens = 0;
  rh_dynbuf_clear(&encoder->truncated);
}

static void count_result(rh_encoder *encoder, const rh_result *result) {
  encoder->scores[result->item] =
      result->kind == RH_RESULT_SCORES && result->count > 0 ? result->scores[0].score : (float)NAN;
  encoder->item_done++;
  encoder->item_tokens += result->tokens;
  if (result->kind == RH_RESULT_FAILED) encoder->item_failed++;
}

static void count_event(rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *event) {
  switch (event->kind) {
    case RH_EVENT_START:
      begin_again(encoder, choice);
      choice->usage.prompt_tokens = event->as.start.prompt_tokens;
      choice->usage.cached_tokens = event->as.start.cached_tokens;
      break;
    case RH_EVENT_DELTA:
      choice->tokens_before = choice->usage.completion_tokens;
      choice->usage.completion_tokens += event->as.delta.token_count;
      break;
    case RH_EVENT_TOOL:
      choice->has_calls = true;
      choice->usage.completion_tokens += event->as.tool.token_count;
      break;
    case RH_EVENT_USAGE:
      choice->usage = event->as.usage;
      choice->has_usage = true;
      break;
    case RH_EVENT_RESULT: count_result(encoder, &event->as.result); break;
    case RH_EVENT_END:
      if (encoder->item_count > 0 && !choice->has_usage) choice->usage.prompt_tokens = encoder->item_tokens;
      choice->finish = event->as.end.finish;
      choice->stop = find_stop(encoder->request, event->as.end.stop);
      choice->done = true;
      encoder->done_count++;
      break;
    case RH_EVENT_PROGRESS:
    case RH_EVENT_ERROR: break;
  }
}

static size_t choice_bytes(const rh_encoder_choice *choice) {
  size_t bytes = choice->text.length + rh_blocks_held(choice);
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) bytes += choice->logprobs[i].length;
  return bytes;
}

rh_status rh_encoder_fail(rh_encoder *encoder, rh_status status, const char *param, const char *format, ...) {
  char message[sizeof encoder->error.message];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  encoder->failed = true;
  return rh_fail_param(&encoder->error, status, param, "%s", message);
}

rh_task rh_encoder_task(const rh_encoder *encoder) {
  return rh_task_resolve(encoder->request->task, encoder->meta->info);
}

static bool kind_fits(rh_task task, rh_result_kind kind) {
  switch (task) {
    case RH_TASK_EMBED: return kind == RH_RESULT_VECTOR;
    case RH_TASK_RERANK:
    case RH_TASK_CLASSIFY:
    case RH_TASK_ZERO_SHOT: return kind == RH_RESULT_SCORES;
    case RH_TASK_TOKEN_CLASSIFY: return kind == RH_RESULT_SPANS;
    case RH_TASK_TENSOR: return kind == RH_RESULT_TENSORS;
    default: return false;
  }
}

static bool is_finite(const float *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i])) return false;
  }
  return true;
}

// A worker may be anybody's program: what it sends must fit what was asked.
static rh_status check_order(rh_encoder *encoder, const rh_event *event) {
  if (event->kind == RH_EVENT_END && encoder->item_done < encoder->item_count) {
    return rh_encoder_fail(encoder, RH_PROTOCOL, "", "the worker gave %zu results for %zu inputs", encoder->item_done,
                           encoder->item_count);
  }
  if (event->kind != RH_EVENT_RESULT) return RH_OK;
  const rh_result *result = &event->as.result;
  if (encoder->item_done >= encoder->item_count || result->item != encoder->item_done) {
    return rh_encoder_fail(encoder, RH_PROTOCOL, "", "the worker gave a result for input %u where input %zu was next",
                           result->item, encoder->item_done);
  }
  if (result->kind == RH_RESULT_FAILED || kind_fits(rh_encoder_task(encoder), result->kind)) return RH_OK;
  return rh_encoder_fail(encoder, RH_PROTOCOL, "", "the worker gave a result of a kind that was not asked for");
}

// A vector that is no vector is that item's failure: no client could do anything with it. Otherwise the event as it is.
static const rh_event *without_nonsense(const rh_event *event, rh_event *instead) {
  const rh_result *result = &event->as.result;
  if (event->kind != RH_EVENT_RESULT || result->kind != RH_RESULT_VECTOR) return event;
  if (is_finite(result->vector, result->count)) return event;
  *instead = *event;
  instead->as.result.kind = RH_RESULT_FAILED;
  instead->as.result.count = 0;
  (void)rh_fail(&instead->as.result.error, RH_INTERNAL, "the model gave numbers that are not finite for this input");
  return instead;
}

static rh_status encode(rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *event, rh_dynbuf *out,
                        bool *finished) {
  size_t before = choice_bytes(choice);
  count_event(encoder, choice, event);
  rh_status status = encoder->endpoint->encode(encoder, event, out, finished);
  encoder->held_bytes += choice_bytes(choice) - before;
  bool overfull = encoder->held_bytes > encoder->held_max || choice->text.failed || rh_blocks_failed(choice) ||
                  rh_logprobs_failed(choice);
  return status == RH_OK && overfull ? RH_TOO_LARGE : status;
}

rh_status rh_encoder_push(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  *finished = encoder->failed;
  if (encoder->failed) return RH_OK;
  assert(event->choice < encoder->choice_count);
  rh_encoder_choice *choice = &encoder->choices[event->choice];
  bool again = choice->done && event->kind == RH_EVENT_START;
  assert(!choice->done || again);
  if (event->kind == RH_EVENT_ERROR) {
    encoder->error = event->as.error;
    encoder->failed = true;
    *finished = true;
    return RH_OK;
  }
  if (again && encoder->request->stream) {
    *finished = true;
    return rh_encoder_fail(encoder, RH_UNAVAILABLE, "", "the model was lost in the middle of this answer; ask again");
  }
  rh_event instead;
  event = without_nonsense(event, &instead);
  rh_status status = check_order(encoder, event);
  if (status == RH_OK) status = encode(encoder, choice, event, out, finished);
  if (status == RH_OK) return RH_OK;
  *finished = true;
  if (encoder->failed) return status;
  return rh_encoder_fail(
      encoder, status, "",
      "the answer is larger than %zu bytes or than what could be buffered for it; ask for less in one "
      "request%s",
      encoder->held_max, encoder->item_count > 0 ? ", or for base64" : "");
}

rh_usage rh_encoder_usage(const rh_encoder *encoder) {
  rh_usage sum = {.work = encoder->choices[0].usage.work};
  size_t per_prompt = (size_t)encoder->request->choices;
  for (size_t i = 0; i < encoder->choice_count; i++) {
    const rh_usage *usage = &encoder->choices[i].usage;
    sum.completion_tokens += usage->completion_tokens;
    sum.reasoning_tokens += usage->reasoning_tokens;
    if (usage->queue_ms > sum.queue_ms) sum.queue_ms = usage->queue_ms;
    if (usage->prompt_ms > sum.prompt_ms) sum.prompt_ms = usage->prompt_ms;
    if (usage->decode_ms > sum.decode_ms) sum.decode_ms = usage->decode_ms;
    if (i % per_prompt != 0) continue;
    sum.prompt_tokens += usage->prompt_tokens;
    sum.cached_tokens += usage->cached_tokens;
    sum.written_tokens += usage->written_tokens;
  }
  return sum;
}
