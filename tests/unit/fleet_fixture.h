// SPDX-License-Identifier: Apache-2.0
//
// A member with a real worker process (RH_WORKER) and the fake engine.
#ifndef RH_TESTS_FLEET_FIXTURE_H
#define RH_TESTS_FLEET_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "fleet/fleet.h"
#include "loop_fixture.h"

#define RH_WORDS_MAX 4096

// What one run's listener or sink has seen.
typedef struct rh_seen {
  char text[RH_WORDS_MAX];
  size_t text_length;
  unsigned starts, deltas, usages, ends, errors;
  rh_error error;
  bool worker_lost;
  bool say_wait;
} rh_seen;

static inline rh_verdict rh_seen_note(rh_seen *seen, const rh_event *event) {
  switch (event->kind) {
    case RH_EVENT_START: seen->starts++; break;
    case RH_EVENT_DELTA:
      seen->deltas++;
      if (seen->text_length + event->as.delta.length < RH_WORDS_MAX) {
        memcpy(seen->text + seen->text_length, event->as.delta.text, event->as.delta.length);
        seen->text_length += event->as.delta.length;
        seen->text[seen->text_length] = '\0';
      }
      break;
    case RH_EVENT_USAGE: seen->usages++; break;
    case RH_EVENT_END: seen->ends++; break;
    case RH_EVENT_ERROR:
      seen->errors++;
      seen->error = event->as.error;
      break;
    case RH_EVENT_RESULT:
    case RH_EVENT_TOOL:
    case RH_EVENT_PROGRESS: break;
  }
  return seen->say_wait ? RH_WAIT : RH_GO;
}

static inline bool rh_seen_over(void *ctx) {
  const rh_seen *seen = ctx;
  return seen->ends + seen->errors > 0;
}

static inline rh_member_options rh_fake_options(const char *path) {
  const char *worker = getenv("RH_WORKER");
  return (rh_member_options){
      .name = "fake",
      .worker_path = worker != NULL ? worker : "build/roundhouse-worker",
      .load = {.engine = "fake", .path = path},
      .start_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
      .load_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
      .ping_interval_ns = 100 * RH_NS_PER_MS,
      .ping_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
      .step_timeout_ns = rh_scaled_ns(5 * RH_NS_PER_S),
      .cancel_grace_ns = rh_scaled_ns(5 * RH_NS_PER_S),
      .backoff_min_ns = 10 * RH_NS_PER_MS,
      .backoff_max_ns = 100 * RH_NS_PER_MS,
  };
}

static inline rh_run rh_text_run(const char *text) {
  rh_run run = {.task = RH_TASK_COMPLETE,
                .request_id = "req-test",
                .prompt = {.kind = RH_PROMPT_TEXT, .text = text, .count = strlen(text)}};
  rh_generate_defaults(&run.generate);
  return run;
}

#endif
