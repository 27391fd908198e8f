// SPDX-License-Identifier: Apache-2.0
//
// The benchmark's load: N requests under way at once over one libcurl multi handle, each replaced when it ends.
// Owns the handles and buffers of the requests under way. One thread, so the client itself must stay cheap: it parses
// each event once and keeps nothing but numbers.
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/interrupt.h"

typedef struct slot {
  CURL *easy;
  char *body;
  rh_sse sse;
  rh_answer answer;
  rh_error error;
  rh_dynbuf error_body;
} slot;

typedef struct load {
  const rh_bench_plan *plan;
  rh_bench_level *level;
  struct curl_slist *headers;
  CURLM *multi;
  slot *slots;
  int64_t begun;
  int64_t ended;
} load;

static rh_status on_event(void *ctx, const rh_sse_event *event) {
  slot *self = ctx;
  json_t *chunk;
  const char *words;
  rh_status status =
      rh_answer_take(&self->answer, event->data, event->length, rh_clock_now_ns(), &chunk, &words, &self->error);
  json_decref(chunk);
  return status;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx) {
  slot *self = ctx;
  long http_status = 0;
  curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &http_status);
  if (http_status != 200) {
    (void)rh_dynbuf_append(&self->error_body, bytes, size * count);
    return size * count;
  }
  return rh_sse_feed(&self->sse, bytes, size * count, on_event, self) == RH_OK ? size * count : 0;
}

static char *make_body(const rh_bench_plan *plan, uint64_t number) {
  char *prompt = rh_bench_prompt(number, plan->prompt_words);
  json_t *body = prompt == NULL ? NULL
                                : json_pack("{sssssIsfsbsbs{sb}}", "model", plan->model, "prompt", prompt, "max_tokens",
                                            (json_int_t)plan->max_tokens, "temperature", 0.0, "ignore_eos", 1, "stream",
                                            1, "stream_options", "include_usage", 1);
  char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
  json_decref(body);
  free(prompt);
  return text;
}

static void release(load *self, slot *used) {
  if (used->easy != NULL) {
    curl_multi_remove_handle(self->multi, used->easy);
    curl_easy_cleanup(used->easy);
  }
  free(used->body);
  rh_sse_free(&used->sse);
  rh_answer_free(&used->answer);
  rh_dynbuf_free(&used->error_body);
  memset(used, 0, sizeof *used);
}

static bool begin(load *self, slot *free_slot) {
  rh_sse_init(&free_slot->sse, RH_SSE_EVENT_BYTES_MAX);
  rh_dynbuf_init(&free_slot->error_body, RH_CLIENT_ERROR_BYTES_MAX);
  rh_answer_init(&free_slot->answer);
  free_slot->body = make_body(self->plan, self->plan->first_number + (uint64_t)self->begun);
  if (free_slot->body == NULL) return false;
  free_slot->easy = rh_client_post_handle(self->plan->server, "/v1/completions", free_slot->body, self->headers);
  if (free_slot->easy == NULL) return false;
  curl_easy_setopt(free_slot->easy, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(free_slot->easy, CURLOPT_WRITEDATA, free_slot);
  curl_easy_setopt(free_slot->easy, CURLOPT_PRIVATE, free_slot);
  free_slot->answer.begun_ns = rh_clock_now_ns();
  self->begun++;
  return curl_multi_add_handle(self->multi, free_slot->easy) == CURLM_OK;
}

static void note_error(rh_bench_level *level, const char *message) {
  level->errors++;
  if (level->first_error[0] == '\0') (void)rh_text_copy(level->first_error, sizeof level->first_error, message);
}

static void note_end(load *self, slot *ended, CURLcode code) {
  rh_bench_level *level = self->level;
  rh_answer *answer = &ended->answer;
  long http_status = 0;
  curl_easy_getinfo(ended->easy, CURLINFO_RESPONSE_CODE, &http_status);
  answer->ended_ns = rh_clock_now_ns();
  if (ended->error.message[0] != '\0') {
    note_error(level, ended->error.message);
  } else if (code != CURLE_OK) {
    note_error(level, curl_easy_strerror(code));
  } else if (http_status != 200) {
    (void)rh_client_error_answer(http_status, rh_dynbuf_data(&ended->error_body), ended->error_body.length,
                                 &ended->error);
    note_error(level, ended->error.message);
  } else if (!answer->done || answer->first_ns == 0) {
    note_error(level, "the server ended an answer before it was complete");
  } else {
    level->samples[level->sample_count++] = (rh_bench_sample){
        .first_s = rh_ns_to_s(answer->first_ns - answer->begun_ns),
        .total_s = rh_ns_to_s(answer->ended_ns - answer->begun_ns),
        .tokens_per_s = rh_answer_tokens_per_s(answer),
        .prompt_tokens = answer->prompt_tokens > 0 ? answer->prompt_tokens : 0,
        .tokens = answer->completion_tokens > 0 ? answer->completion_tokens : 0,
    };
  }
}

// Takes what has ended and puts new requests in its place.
static rh_status turn_over(load *self, rh_error *error) {
  int left = 0;
  for (CURLMsg *message = curl_multi_info_read(self->multi, &left); message != NULL;
       message = curl_multi_info_read(self->multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    void *owner = NULL;
    CURLcode code = message->data.result;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
    note_end(self, owner, code);
    release(self, owner);
    self->ended++;
    if (self->begun < self->level->requests && !begin(self, owner)) {
      return rh_fail(error, RH_NO_MEMORY, "no memory for another request");
    }
  }
  return RH_OK;
}

static rh_status drive(load *self, rh_error *error) {
  struct curl_waitfd interrupt = {.fd = rh_interrupt_fd(), .events = CURL_WAIT_POLLIN};
  for (int64_t i = 0; i < self->level->concurrency && self->begun < self->level->requests; i++) {
    if (!begin(self, &self->slots[i])) return rh_fail(error, RH_NO_MEMORY, "no memory for the requests");
  }
  while (self->ended < self->level->requests) {
    int running = 0;
    if (rh_interrupt_count() > 0) return rh_fail(error, RH_CANCELLED, "interrupted");
    if (curl_multi_perform(self->multi, &running) != CURLM_OK) return rh_fail(error, RH_INTERNAL, "libcurl failed");
    int64_t before = self->ended;
    rh_status status = turn_over(self, error);
    if (status != RH_OK) return status;
    if (self->ended > before) continue;  // new requests wait to be sent
    curl_multi_poll(self->multi, &interrupt, interrupt.fd >= 0 ? 1 : 0, 1000, NULL);
  }
  return RH_OK;
}

rh_status rh_bench_run_level(const rh_bench_plan *plan, rh_bench_level *level, rh_error *error) {
  load self = {.plan = plan, .level = level};
  self.headers = rh_client_post_headers();
  self.multi = curl_multi_init();
  self.slots = calloc((size_t)level->concurrency, sizeof *self.slots);
  rh_status status;
  uint64_t begun_ns = rh_clock_now_ns();
  if (self.headers == NULL || self.multi == NULL || self.slots == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for the benchmark");
  } else {
    status = drive(&self, error);
  }
  level->wall_s = rh_ns_to_s(rh_clock_now_ns() - begun_ns);
  for (int64_t i = 0; self.slots != NULL && i < level->concurrency; i++) release(&self, &self.slots[i]);
  free(self.slots);
  if (self.multi != NULL) curl_multi_cleanup(self.multi);
  curl_slist_free_all(self.headers);
  return status;
}
