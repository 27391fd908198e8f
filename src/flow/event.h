// SPDX-License-Identifier: Apache-2.0
//
// What comes back for one run, as a stream of typed events, and the sink they are pushed into.
//
// Order: START, then any number of DELTA, TOOL, RESULT and PROGRESS, then at most one USAGE, then exactly one final event: END or
// ERROR. An ERROR may come at any point, also first. Nothing follows the final event. Tasks that generate give DELTAs, the
// others one RESULT for each item, in the items' order. Between worker and daemon a DELTA and a RESULT cost one credit each.
#ifndef RH_FLOW_EVENT_H
#define RH_FLOW_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "flow/infer.h"
#include "flow/limits.h"

typedef enum rh_event_kind {
  RH_EVENT_START,     // the engine has accepted the run: the prompt is counted, work begins
  RH_EVENT_DELTA,     // more text
  RH_EVENT_TOOL,      // more of a call of a tool
  RH_EVENT_RESULT,    // one item is done
  RH_EVENT_PROGRESS,  // part of the prompt, or some of the items, were read
  RH_EVENT_USAGE,     // counts and times of the whole run
  RH_EVENT_ERROR,     // final
  RH_EVENT_END,       // final
} rh_event_kind;

typedef enum rh_finish {
  RH_FINISH_STOP,    // the model ended, or a stop string was met
  RH_FINISH_LENGTH,  // max_tokens or the context's end
  RH_FINISH_TOOLS,   // the model waits for the results of its calls
  RH_FINISH_FILTER,  // the provider stopped it for what it says
} rh_finish;

typedef struct rh_top_logprob {
  int32_t token;
  float logprob;
  const char *bytes;  // the token's own bytes; may be part of a character
  size_t length;
} rh_top_logprob;

// One token of a delta; present only when the run asked for logprobs.
typedef struct rh_token_logprob {
  int32_t token;
  float logprob;
  const char *bytes;
  size_t length;
  const rh_top_logprob *top;
  size_t top_count;
} rh_token_logprob;

typedef struct rh_usage {
  int64_t prompt_tokens;
  int64_t completion_tokens;
  int64_t cached_tokens;     // of the prompt: taken from the KV cache instead of computed
  int64_t written_tokens;    // of the prompt: a provider wrote them to its cache, at a price of their own
  int64_t reasoning_tokens;  // of the completion: thoughts
  double queue_ms;           // filled in by the scheduler
  double prompt_ms;          // engine time from start to the first token
  double decode_ms;          // engine time from the first token to the last
  rh_work_done work;         // tasks that do not generate
} rh_usage;

typedef struct rh_event {
  rh_event_kind kind;
  uint32_t choice;  // which run of the request; set by the scheduler
  union {
    struct {
      int64_t prompt_tokens;
      int64_t cached_tokens;
    } start;
    struct {
      const char *text;  // valid UTF-8, whole characters; may be empty when only logprobs come
      size_t length;
      int32_t token_count;  // generated tokens this delta stands for
      const rh_token_logprob *tokens;
      size_t logprob_count;
      bool reasoning;         // a thought before the answer, not the answer
      const char *signature;  // with the last piece of a thought: Anthropic's proof of it; else NULL
    } delta;
    struct {
      uint32_t index;         // which call of the answer: 0, 1, ...; the pieces of one stand together
      const char *id;         // with the first piece of a call, then NULL
      const char *name;       // likewise
      const char *arguments;  // a piece of the arguments' JSON; may be empty
      size_t length;
      int32_t token_count;  // generated tokens this piece stands for; 0 = unknown
    } tool;
    rh_result result;
    struct {
      double fraction;  // 0..1
    } progress;
    rh_usage usage;
    rh_error error;
    struct {
      rh_finish finish;
      const char *stop;  // the stop string that was met, or NULL
    } end;
  } as;
} rh_event;

static inline bool rh_event_is_final(const rh_event *event) {
  return event->kind == RH_EVENT_ERROR || event->kind == RH_EVENT_END;
}

typedef enum rh_verdict {
  RH_GO,    // more is welcome
  RH_WAIT,  // this one was taken, but hold the next until told to go on
} rh_verdict;

// A place events go to. The event and all it points at are valid only during the call. The owner of the sink keeps it
// alive until it has seen a final event or has cancelled the run.
typedef struct rh_sink {
  rh_verdict (*push)(void *ctx, const rh_event *event);
  void *ctx;
} rh_sink;

static inline rh_verdict rh_sink_push(const rh_sink *sink, const rh_event *event) {
  return sink->push(sink->ctx, event);
}

#endif
