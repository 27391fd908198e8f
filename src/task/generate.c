// SPDX-License-Identifier: Apache-2.0
//
// One run over an engine's token stream: tokens in through the engine's listener, flow events out into the sink.
//
// Owns the matcher, the logprobs that wait for their text, and the engine's sequence until it ends. Engine thread only;
// all listener calls come from inside the engine's step(). Each listener call pushes at most one DELTA, so a credit
// window that is counted in deltas holds exactly. It does not retry, queue or keep the run: `run` is read at the start.
#include "task/generate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/dynbuf.h"
#include "task/logprobs.h"

#define DELTA_BYTES_MAX ((size_t)4 << 20)

struct rh_generation {
  const rh_engine_ops *ops;
  rh_engine *engine;
  rh_sequence *sequence;  // NULL once the engine has ended it
  rh_sink sink;
  rh_stop_matcher *matcher;
  rh_logprob_queue logprobs;
  bool wants_logprobs;
  rh_dynbuf text;      // of the delta being built
  size_t fed;          // bytes given to the matcher
  int64_t max_tokens;  // 0 = no limit
  int64_t prompt_tokens;
  int64_t cached_tokens;
  int64_t completion_tokens;
  int32_t unreported;  // tokens since the last delta
  uint64_t started_ns;
  uint64_t first_ns;  // 0 = no token yet
  uint64_t last_ns;
  uint64_t paused_ns;  // when the pause began
  bool paused;
  bool context_full;  // told while paused: the end waits for the pause's end
  bool finished;
};

static void push(rh_generation *generation, const rh_event *event) {
  assert(!generation->finished);
  generation->finished = rh_event_is_final(event);
  rh_verdict verdict = rh_sink_push(&generation->sink, event);
  if (verdict == RH_WAIT && generation->sequence != NULL) rh_generation_pause(generation, true);
}

// The text built so far and the logprobs that belong to it. Nothing is pushed when there is neither.
static void push_delta(rh_generation *generation) {
  size_t ready = rh_logprob_queue_ready(&generation->logprobs, rh_stop_matcher_shown(generation->matcher));
  if (generation->text.length == 0 && ready == 0) return;
  rh_event event = {.kind = RH_EVENT_DELTA};
  event.as.delta.text = rh_dynbuf_data(&generation->text);
  event.as.delta.length = generation->text.length;
  event.as.delta.token_count = generation->unreported;
  event.as.delta.tokens = generation->logprobs.tokens;
  event.as.delta.logprob_count = ready;
  generation->unreported = 0;
  push(generation, &event);
  rh_logprob_queue_drop(&generation->logprobs, ready);
}

static void push_usage(rh_generation *generation) {
  rh_event event = {.kind = RH_EVENT_USAGE};
  uint64_t until = generation->first_ns != 0 ? generation->first_ns : rh_clock_now_ns();
  event.as.usage = (rh_usage){
      .prompt_tokens = generation->prompt_tokens,
      .completion_tokens = generation->completion_tokens,
      .cached_tokens = generation->cached_tokens,
      .prompt_ms = rh_ns_to_ms(until - generation->started_ns),
      .decode_ms = rh_ns_to_ms(generation->last_ns - generation->first_ns),
  };
  push(generation, &event);
}

static rh_next fail(rh_generation *generation, const rh_error *error) {
  generation->sequence = NULL;
  rh_event event = {.kind = RH_EVENT_ERROR};
  event.as.error = *error;
  push(generation, &event);
  return RH_NEXT_STOP;
}

static rh_next fail_no_memory(rh_generation *generation) {
  rh_error error;
  (void)rh_fail(&error, RH_NO_MEMORY, "The worker ran out of memory while it generated.");
  return fail(generation, &error);
}

// The regular end: what is still held back, the counts, and END. `stop` is the stop string that was met, or NULL; then
// the tokens behind it are not shown, as their text is not.
static rh_next conclude(rh_generation *generation, rh_finish finish, const char *stop) {
  generation->sequence = NULL;
  if (stop == NULL) {
    const char *text = NULL;
    size_t length = 0;
    rh_stop_matcher_finish(generation->matcher, &text, &length);
    if (rh_stop_matcher_failed(generation->matcher) || rh_dynbuf_append(&generation->text, text, length) != RH_OK) {
      return fail_no_memory(generation);
    }
  }
  push_delta(generation);
  push_usage(generation);
  rh_event event = {.kind = RH_EVENT_END};
  event.as.end.finish = finish;
  event.as.end.stop = stop;
  push(generation, &event);
  return RH_NEXT_STOP;
}

static void conclude_full(rh_generation *generation) {
  rh_dynbuf_clear(&generation->text);
  (void)conclude(generation, RH_FINISH_LENGTH, NULL);
}

// The token's text through the matcher into generation->text.
static rh_status feed(rh_generation *generation, const rh_token *token, const char **stop) {
  if (generation->wants_logprobs) {
    rh_status status = rh_logprob_queue_push(&generation->logprobs, token, generation->fed);
    if (status != RH_OK) return status;
  }
  const char *text = NULL;
  size_t length = 0;
  (void)rh_stop_matcher_feed(generation->matcher, token->bytes, token->length, &text, &length, stop);
  generation->fed += token->length;
  if (rh_stop_matcher_failed(generation->matcher)) return RH_NO_MEMORY;
  return rh_dynbuf_append(&generation->text, text, length);
}

static rh_next on_token(void *ctx, const rh_token *token) {
  rh_generation *generation = ctx;
  assert(!generation->finished && generation->sequence != NULL);
  uint64_t now = rh_clock_now_ns();
  if (generation->first_ns == 0) generation->first_ns = generation->last_ns = now;
  rh_dynbuf_clear(&generation->text);
  // The end token is not counted, as OpenAI does not: it has no text that a client could have been given.
  if (token->end) return conclude(generation, RH_FINISH_STOP, NULL);

  generation->last_ns = now;
  generation->completion_tokens++;
  generation->unreported++;
  const char *stop = NULL;
  if (feed(generation, token, &stop) != RH_OK) return fail_no_memory(generation);
  if (stop != NULL) return conclude(generation, RH_FINISH_STOP, stop);
  if (generation->max_tokens > 0 && generation->completion_tokens >= generation->max_tokens) {
    return conclude(generation, RH_FINISH_LENGTH, NULL);
  }
  push_delta(generation);
  return RH_NEXT_MORE;
}

static void on_prompt_progress(void *ctx, int64_t done, int64_t total) {
  rh_generation *generation = ctx;
  // A prompt that is read in one step needs no report: the first delta is one.
  if (done <= 0 || done >= total) return;
  rh_event event = {.kind = RH_EVENT_PROGRESS};
  event.as.progress.fraction = (double)done / (double)total;
  push(generation, &event);
}

// An engine may say this in the same step as the last token, whose delta may have used up the sink's room. The text
// that is still held back would be one delta too many, so the end waits until the sink has room again.
static void on_context_full(void *ctx) {
  rh_generation *generation = ctx;
  generation->sequence = NULL;
  generation->context_full = true;
  if (!generation->paused) conclude_full(generation);
}

static void on_failed(void *ctx, const rh_error *error) { (void)fail(ctx, error); }

static rh_generation *generation_new(const rh_engine_ops *ops, rh_engine *engine, const rh_run *run,
                                     const rh_sink *sink) {
  rh_generation *generation = calloc(1, sizeof *generation);
  if (generation == NULL) return NULL;
  generation->ops = ops;
  generation->engine = engine;
  generation->sink = *sink;
  generation->max_tokens = run->generate.max_tokens;
  generation->wants_logprobs = run->generate.top_logprobs >= 0;
  rh_dynbuf_init(&generation->text, DELTA_BYTES_MAX);
  generation->matcher = rh_stop_matcher_new(run->generate.stops, run->generate.stop_count);
  if (generation->matcher != NULL) return generation;
  rh_generation_free(generation);
  return NULL;
}

rh_status rh_generation_start(const rh_engine_ops *ops, rh_engine *engine, const rh_run *run, const rh_sink *sink,
                              rh_generation **out, rh_error *error) {
  rh_generation *generation = generation_new(ops, engine, run, sink);
  if (generation == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for one more run.");
  rh_sequence_listener listener = {
      .token = on_token,
      .prompt_progress = on_prompt_progress,
      .context_full = on_context_full,
      .failed = on_failed,
      .ctx = generation,
  };
  generation->started_ns = rh_clock_now_ns();
  rh_status status = ops->start(engine, run, &listener, &generation->sequence, &generation->prompt_tokens,
                                &generation->cached_tokens, error);
  if (status != RH_OK) {
    generation->sequence = NULL;
    rh_generation_free(generation);
    return status;
  }
  rh_event event = {.kind = RH_EVENT_START};
  event.as.start.prompt_tokens = generation->prompt_tokens;
  event.as.start.cached_tokens = generation->cached_tokens;
  push(generation, &event);
  *out = generation;
  return RH_OK;
}

bool rh_generation_finished(const rh_generation *generation) { return generation->finished; }

void rh_generation_pause(rh_generation *generation, bool paused) {
  if (generation->finished || generation->paused == paused) return;
  generation->paused = paused;
  uint64_t now = rh_clock_now_ns();
  if (paused) {
    generation->paused_ns = now;
  } else {
    // A slow reader is not the engine's fault: the clock of the run stands still while it waits.
    uint64_t waited = now - generation->paused_ns;
    generation->started_ns += waited;
    if (generation->first_ns != 0) {
      generation->first_ns += waited;
      generation->last_ns += waited;
    }
  }
  if (generation->sequence != NULL) {
    generation->ops->pause(generation->engine, generation->sequence, paused);
  } else if (!paused && generation->context_full) {
    conclude_full(generation);
  }
}

void rh_generation_free(rh_generation *generation) {
  if (generation == NULL) return;
  if (generation->sequence != NULL) generation->ops->stop(generation->engine, generation->sequence);
  rh_stop_matcher_free(generation->matcher);
  rh_logprob_queue_free(&generation->logprobs);
  rh_dynbuf_free(&generation->text);
  free(generation);
}
