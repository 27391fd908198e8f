// SPDX-License-Identifier: Apache-2.0
//
// What is summed of usage rows, in one order everywhere: the table of days, the answers to questions. Nobody outside src/ledger
// includes this.
#ifndef RH_LEDGER_SUMS_H
#define RH_LEDGER_SUMS_H

#define RH_SUM_NAMES                                                                                           \
  "requests, shadows, errors, cache_hits, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, " \
  "cost_usd, reference_usd, saved_usd, latency_ms"

// Over usage. A copy that nobody waits for costs money, but is no request. A client that leaves is no error. Saved is only told
// of what has a reference.
#define RH_SUM_OF_USAGE                                                                                               \
  "sum(shadow = 0), sum(shadow), sum(shadow = 0 AND outcome NOT IN ('ok', 'cancelled')), sum(shadow = 0 AND cache = " \
  "'hit'), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(reasoning_tokens), sum(cost_usd), "    \
  "sum(reference_usd), sum(CASE WHEN reference_usd > 0 THEN reference_usd - cost_usd ELSE 0 END), "                   \
  "sum(CASE WHEN shadow = 0 THEN latency_ms ELSE 0 END)"

// Over rows that are sums already.
#define RH_SUM_OF_SUMS                                                                                      \
  "sum(requests), sum(shadows), sum(errors), sum(cache_hits), sum(prompt_tokens), sum(completion_tokens), " \
  "sum(cached_tokens), sum(reasoning_tokens), sum(cost_usd), sum(reference_usd), sum(saved_usd), sum(latency_ms)"

// Behind INSERT INTO <sums>(day, key, provider, model, ...): what was there already is added to.
#define RH_SUM_UPSERT                                                                                                \
  " ON CONFLICT(day, key, provider, model) DO UPDATE SET requests = requests + excluded.requests, shadows = shadows" \
  " + excluded.shadows, errors = errors + excluded.errors, cache_hits = cache_hits + excluded.cache_hits,"           \
  " prompt_tokens = prompt_tokens + excluded.prompt_tokens, completion_tokens = completion_tokens +"                 \
  " excluded.completion_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, reasoning_tokens ="          \
  " reasoning_tokens + excluded.reasoning_tokens, cost_usd = cost_usd + excluded.cost_usd, reference_usd ="          \
  " reference_usd + excluded.reference_usd, saved_usd = saved_usd + excluded.saved_usd, latency_ms = latency_ms +"   \
  " excluded.latency_ms"

#endif
