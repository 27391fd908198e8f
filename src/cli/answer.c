// SPDX-License-Identifier: Apache-2.0
//
// From chunks of the OpenAI dialects to words and numbers. Owns the text of one answer. One thread.
#include "cli/answer.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

void rh_answer_init(rh_answer *answer) {
  memset(answer, 0, sizeof *answer);
  rh_dynbuf_init(&answer->text, RH_ANSWER_BYTES_MAX);
  answer->prompt_tokens = answer->completion_tokens = -1;
}

void rh_answer_free(rh_answer *answer) { rh_dynbuf_free(&answer->text); }

static rh_status error_event(const json_t *inner, rh_error *error) {
  const char *message = json_string_value(json_is_string(inner) ? inner : json_object_get(inner, "message"));
  return rh_fail(error, RH_INTERNAL, "%s",
                 message != NULL ? message : "the server stopped the answer without a reason");
}

static void take_usage(rh_answer *answer, const json_t *usage) {
  json_t *prompt = json_object_get(usage, "prompt_tokens");
  json_t *completion = json_object_get(usage, "completion_tokens");
  if (json_is_integer(prompt)) answer->prompt_tokens = json_integer_value(prompt);
  if (json_is_integer(completion)) answer->completion_tokens = json_integer_value(completion);
}

// The words of a chunk: "delta.content" when chatting, "text" when completing. NULL when it has none.
static const char *words_of(const json_t *choice) {
  const char *words = json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
  if (words == NULL) words = json_string_value(json_object_get(choice, "text"));
  return words != NULL && words[0] != '\0' ? words : NULL;
}

static rh_status take_chunk(rh_answer *answer, const json_t *chunk, uint64_t now_ns, const char **words,
                            rh_error *error) {
  json_t *inner = json_object_get(chunk, "error");
  if (inner != NULL && !json_is_null(inner)) return error_event(inner, error);
  const char *model = json_string_value(json_object_get(chunk, "model"));
  if (model != NULL) (void)rh_text_copy(answer->model, sizeof answer->model, model);
  take_usage(answer, json_object_get(chunk, "usage"));
  json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
  const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
  if (finish != NULL) (void)rh_text_copy(answer->finish, sizeof answer->finish, finish);
  *words = words_of(choice);
  if (*words == NULL) return RH_OK;
  if (answer->first_ns == 0) answer->first_ns = now_ns;
  answer->last_ns = now_ns;
  if (rh_dynbuf_append_text(&answer->text, *words) == RH_OK) return RH_OK;
  return rh_fail(error, RH_TOO_LARGE, "the answer is longer than %zu MiB", RH_ANSWER_BYTES_MAX >> 20);
}

rh_status rh_answer_take(rh_answer *answer, const char *data, size_t length, uint64_t now_ns, json_t **chunk,
                         const char **words, rh_error *error) {
  *chunk = NULL;
  *words = NULL;
  if (length == 6 && memcmp(data, "[DONE]", 6) == 0) {
    answer->done = true;
    return RH_OK;
  }
  rh_error inner = {0};
  *chunk = rh_json_parse(data, length, &inner);
  if (*chunk == NULL)
    return rh_fail(error, RH_PROTOCOL, "the server sent an event that is not JSON: %s", inner.message);
  return take_chunk(answer, *chunk, now_ns, words, error);
}

typedef struct stream {
  rh_answer *answer;
  rh_sse sse;
  rh_status (*show)(void *ctx, const char *words, rh_error *error);
  void *ctx;
  rh_error *error;
} stream;

static rh_status on_event(void *ctx, const rh_sse_event *event) {
  stream *self = ctx;
  json_t *chunk;
  const char *words;
  rh_status status =
      rh_answer_take(self->answer, event->data, event->length, rh_clock_now_ns(), &chunk, &words, self->error);
  if (status == RH_OK && words != NULL && self->show != NULL) status = self->show(self->ctx, words, self->error);
  json_decref(chunk);
  return status;
}

static rh_status on_bytes(void *ctx, const char *bytes, size_t length) {
  stream *self = ctx;
  // What follows the end mark is of no interest, nor is a server that goes on after it worth an error.
  if (self->answer->done) return RH_OK;
  rh_status status = rh_sse_feed(&self->sse, bytes, length, on_event, self);
  if (status == RH_TOO_LARGE && self->error->message[0] == '\0') {
    rh_fail(self->error, status, "the server sent an event that is too large");
  }
  return status;
}

rh_status rh_answer_stream(rh_client *client, const char *path, json_t *body,
                           rh_status (*show)(void *ctx, const char *words, rh_error *error), void *ctx,
                           rh_answer *answer, rh_error *error) {
  stream self = {.answer = answer, .show = show, .ctx = ctx, .error = error};
  json_t *options = json_pack("{sb}", "include_usage", 1);
  if (json_object_set_new(body, "stream", json_true()) != 0 ||
      json_object_set_new(body, "stream_options", options) != 0) {
    return rh_fail(error, RH_NO_MEMORY, "no memory for the request");
  }
  rh_sse_init(&self.sse, RH_SSE_EVENT_BYTES_MAX);
  answer->begun_ns = rh_clock_now_ns();
  rh_status status = rh_client_post_stream(client, path, body, on_bytes, &self, error);
  answer->ended_ns = rh_clock_now_ns();
  rh_sse_free(&self.sse);
  if (status == RH_OK && !answer->done) {
    status = rh_fail(error, RH_UNAVAILABLE, "the server ended the answer before it was complete");
  }
  return status;
}

double rh_answer_tokens_per_s(const rh_answer *answer) {
  if (answer->completion_tokens < 2 || answer->last_ns <= answer->first_ns) return 0;
  return (double)(answer->completion_tokens - 1) / rh_ns_to_s(answer->last_ns - answer->first_ns);
}
