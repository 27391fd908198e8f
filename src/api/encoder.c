// SPDX-License-Identifier: Apache-2.0
//
// The part of encoding that all dialects share: one state per choice, counting, the bound on what is held for a whole
// answer, and the rule that an error of one choice is the end of the answer. It owns the buffers of the answer and runs
// on the event loop's thread. It writes no bytes; the dialect's encode does.
#include "api/encoder.h"

#include <assert.h>
#include <stdlib.h>

static void init_choice(rh_encoder_choice *choice) {
  rh_dynbuf_init(&choice->text, RH_API_ANSWER_BYTES_MAX);
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) rh_dynbuf_init(&choice->logprobs[i], RH_API_ANSWER_BYTES_MAX);
}

static void free_choice(rh_encoder_choice *choice) {
  rh_dynbuf_free(&choice->text);
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) rh_dynbuf_free(&choice->logprobs[i]);
}

rh_encoder *rh_encoder_new(const rh_api_endpoint *endpoint, const rh_request *request, const rh_answer_meta *meta,
                           const char *warnings) {
  assert(endpoint != NULL && request != NULL && meta != NULL && request->dialect != NULL);
  assert(request->prompt_count > 0 && request->choices > 0);
  size_t count = request->prompt_count * (size_t)request->choices;
  assert(count <= RH_JOBS_MAX);
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
  rh_dynbuf_init(&encoder->prefix, 4096);
  for (size_t i = 0; i < count; i++) init_choice(&choices[i]);
  return encoder;
}

void rh_encoder_free(rh_encoder *encoder) {
  if (encoder == NULL) return;
  for (size_t i = 0; i < encoder->choice_count; i++) free_choice(&encoder->choices[i]);
  rh_dynbuf_free(&encoder->prefix);
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

static void count_event(rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *event) {
  switch (event->kind) {
    case RH_EVENT_START:
      choice->usage.prompt_tokens = event->as.start.prompt_tokens;
      choice->usage.cached_tokens = event->as.start.cached_tokens;
      break;
    case RH_EVENT_DELTA:
      choice->tokens_before = choice->usage.completion_tokens;
      choice->usage.completion_tokens += event->as.delta.token_count;
      break;
    case RH_EVENT_USAGE:
      choice->usage = event->as.usage;
      choice->has_usage = true;
      break;
    case RH_EVENT_END:
      choice->finish = event->as.end.finish;
      choice->stop = find_stop(encoder->request, event->as.end.stop);
      choice->done = true;
      encoder->done_count++;
      break;
    case RH_EVENT_RESULT:
    case RH_EVENT_PROGRESS:
    case RH_EVENT_ERROR: break;
  }
}

static size_t choice_bytes(const rh_encoder_choice *choice) {
  size_t bytes = choice->text.length;
  for (size_t i = 0; i < RH_API_LOGPROB_COLUMNS; i++) bytes += choice->logprobs[i].length;
  return bytes;
}

static rh_status fail(rh_encoder *encoder, rh_status status, bool *finished) {
  encoder->failed = true;
  *finished = true;
  return rh_fail(&encoder->error, status, "the answer is larger than %u bytes or than what could be buffered for it",
                 RH_API_ANSWER_BYTES_MAX);
}

rh_status rh_encoder_push(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  *finished = encoder->failed;
  if (encoder->failed) return RH_OK;
  assert(event->choice < encoder->choice_count);
  rh_encoder_choice *choice = &encoder->choices[event->choice];
  assert(!choice->done);
  if (event->kind == RH_EVENT_ERROR) {
    encoder->error = event->as.error;
    encoder->failed = true;
    *finished = true;
    return RH_OK;
  }
  size_t before = choice_bytes(choice);
  count_event(encoder, choice, event);
  rh_status status = encoder->endpoint->encode(encoder, event, out, finished);
  encoder->held_bytes += choice_bytes(choice) - before;
  bool overfull = encoder->held_bytes > RH_API_ANSWER_BYTES_MAX || choice->text.failed || rh_logprobs_failed(choice);
  if (status == RH_OK && overfull) status = RH_TOO_LARGE;
  return status == RH_OK ? RH_OK : fail(encoder, status, finished);
}

rh_usage rh_encoder_usage(const rh_encoder *encoder) {
  rh_usage sum = {0};
  size_t per_prompt = (size_t)encoder->request->choices;
  for (size_t i = 0; i < encoder->choice_count; i++) {
    const rh_usage *usage = &encoder->choices[i].usage;
    sum.completion_tokens += usage->completion_tokens;
    if (usage->queue_ms > sum.queue_ms) sum.queue_ms = usage->queue_ms;
    if (usage->prompt_ms > sum.prompt_ms) sum.prompt_ms = usage->prompt_ms;
    if (usage->decode_ms > sum.decode_ms) sum.decode_ms = usage->decode_ms;
    if (i % per_prompt != 0) continue;
    sum.prompt_tokens += usage->prompt_tokens;
    sum.cached_tokens += usage->cached_tokens;
  }
  return sum;
}
