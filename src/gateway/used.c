// SPDX-License-Identifier: Apache-2.0
//
// What the runs of a work have used and cost: as their members told it, or reckoned where an answer was broken off before they did.
// Loop thread only; the sums are the work's facts.
#include "gateway/internal.h"

void rh_try_add_usage(rh_work *work, rh_work_part *part, rh_usage *usage) {
  rh_usage *sum = &work->facts.usage;
  part->used = true;
  // Each run is a request of its own there, and members before this one wanted money too.
  if (work->seat->remote != NULL) work->facts.cost_usd += rh_price_cost(&work->seat->price, usage);
  usage->completion_tokens += part->said_tokens;  // by the member before
  sum->work = usage->work;
  sum->prompt_tokens += usage->prompt_tokens;
  sum->completion_tokens += usage->completion_tokens;
  sum->cached_tokens += usage->cached_tokens;
  sum->written_tokens += usage->written_tokens;
  sum->reasoning_tokens += usage->reasoning_tokens;
  sum->queue_ms += usage->queue_ms;
  sum->prompt_ms += usage->prompt_ms;
  sum->decode_ms += usage->decode_ms;
}

// Nobody told, so it is reckoned: from what was said, and from the router's estimate of all prompts together.
void rh_try_count_part(rh_work *work, rh_work_part *part) {
  if (part->used) return;
  int64_t said = rh_tokens_of_bytes(part->attempt_bytes);
  int64_t prompts = (int64_t)work->asked->request.prompt_count;
  rh_usage usage = {.prompt_tokens = part->attempt_prompt};
  if (usage.prompt_tokens == 0) {
    rh_features_read(&work->asked->request, &work->way.features, RH_FEATURES_TEXT);
    usage.prompt_tokens = work->way.features.prompt_tokens / (prompts > 0 ? prompts : 1);
  }
  usage.completion_tokens = said > part->attempt_tokens ? said : part->attempt_tokens;
  rh_try_add_usage(work, part, &usage);
}

void rh_try_count_unfinished(rh_work *work) {
  for (size_t i = 0; i < work->part_count; i++) {
    rh_provider_run *remote = work->parts[i].remote;
    if (remote != NULL && rh_provider_run_was_sent(remote)) rh_try_count_part(work, &work->parts[i]);
  }
}
