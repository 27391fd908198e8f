// SPDX-License-Identifier: Apache-2.0
//
// The cascade: an answer's beginning is held back until its confidence is known, the geometric mean of its tokens' probabilities.
// Below the plan's bound the next member is asked instead, and nobody has seen the first one's words. Loop thread only.
#include <math.h>
#include <stdio.h>

#include "gateway/internal.h"

#define KEPT_BYTES_MAX ((size_t)4 * 1024 * 1024)

bool rh_judge_wanted(const rh_work *work) {
  bool text = work->part_count == 1 && work->asked->request.infer == NULL;
  bool judged = work->way.cascade_min > 0 && work->at + 1 < work->way.cascade_count;
  return text && judged && !work->passed && rh_try_has_next(work);
}

void rh_judge_drop(rh_work_part *part) {
  rh_recording_release(part->kept);
  part->kept = NULL;
  part->logprob_sum = 0;
  part->logprob_count = 0;
}

static rh_verdict on_kept(void *ctx, const rh_event *event) {
  rh_work_pass(ctx, event);
  return RH_GO;
}

static void release_kept(rh_work *work, rh_work_part *part) {
  rh_recording *kept = part->kept;
  part->kept = NULL;
  if (kept == NULL) return;
  rh_sink sink = {.push = on_kept, .ctx = work};
  rh_replay replay = {0};
  bool waiting = false;
  if (rh_recording_replay(kept, &replay, &sink, &waiting) != RH_OK) {
    rh_event failed = {.kind = RH_EVENT_ERROR};
    (void)rh_fail(&failed.as.error, RH_INTERNAL, "what was held back of this answer cannot be read");
    rh_work_pass(work, &failed);
  }
  rh_recording_release(kept);
}

static void judge(rh_work *work, rh_work_part *part) {
  double confidence = exp(part->logprob_sum / (double)part->logprob_count);
  work->facts.confidence = confidence;
  if (confidence >= work->way.cascade_min || !rh_try_may_follow(work, RH_UNAVAILABLE)) {
    work->way.cascade_min = 0;
    release_kept(work, part);
    return;
  }
  // An unsure answer is better than none: when nobody after it can answer, it is asked once more.
  if (!work->last_resort && work->way.count < RH_PLAN_MAX) {
    work->seat->holders++;  // the way is held
    work->way.seats[work->way.count++] = work->seat;
    work->last_resort = true;
  }
  rh_error error;
  (void)rh_fail(&error, RH_UNAVAILABLE, "its answer's confidence was %.2f, below %.2f", confidence,
                work->way.cascade_min);
  rh_judge_drop(part);
  rh_try_give_up(work, &error, false);
}

void rh_judge_take(rh_work *work, rh_work_part *part, const rh_event *event) {
  if (part->kept == NULL) part->kept = rh_recording_new(KEPT_BYTES_MAX);
  bool lost = part->kept == NULL || rh_recording_append(part->kept, event) != RH_OK;
  bool blind = lost;
  if (event->kind == RH_EVENT_DELTA) {
    for (size_t i = 0; i < event->as.delta.logprob_count; i++) part->logprob_sum += event->as.delta.tokens[i].logprob;
    part->logprob_count += (int64_t)event->as.delta.logprob_count;
    // A member that tells no probabilities cannot be judged.
    blind = blind || (event->as.delta.logprob_count == 0 && event->as.delta.token_count > 0);
  }
  bool end = event->kind == RH_EVENT_END;
  if (blind || event->kind == RH_EVENT_TOOL || (end && part->logprob_count == 0)) {
    work->way.cascade_min = 0;
    release_kept(work, part);
    if (lost) rh_work_pass(work, event);
  } else if (end || part->logprob_count >= work->gateway->values->cascade_tokens) {
    judge(work, part);
  }
}
