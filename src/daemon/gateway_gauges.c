// SPDX-License-Identifier: Apache-2.0
//
// The gateway's metrics that are read when somebody looks: members, cache, limits, ledger, Redis, keys. What a part counts by
// itself is copied, so nothing is counted twice. Labels are providers' and models' names, never a key or a user. Loop thread only.
#include "daemon/internal.h"

static void read_member(rh_metrics *metrics, const rh_member_figures *member) {
  const char *labels[] = {member->provider, member->model, NULL};
  rh_metrics_set(metrics, RH_M_BREAKER, labels, (double)member->breaker);
  rh_metrics_set(metrics, RH_M_COST, labels, member->cost_usd);
  if (member->first_token_ms > 0) {
    rh_metrics_set(metrics, RH_M_MEMBER_FIRST_TOKEN, labels, member->first_token_ms / 1000);
  }
  for (int i = 0; i < RH_STATUS_COUNT; i++) {
    if (member->fallbacks[i] == 0) continue;
    labels[2] = rh_status_name((rh_status)i);
    rh_metrics_set(metrics, RH_M_FALLBACKS, labels, (double)member->fallbacks[i]);
  }
}

static void read_cache(rh_metrics *metrics, const rh_cache *cache) {
  const rh_cache_counts *counts = rh_cache_get_counts(cache);
  rh_metrics_set(metrics, RH_M_CACHE_ENTRIES, NULL, (double)counts->entries);
  rh_metrics_set(metrics, RH_M_CACHE_BYTES, NULL, (double)counts->bytes);
  rh_metrics_set(metrics, RH_M_CACHE_MISSES, NULL, (double)counts->misses);
  rh_metrics_set(metrics, RH_M_CACHE_STORED, NULL, (double)counts->stored);
  rh_metrics_set(metrics, RH_M_CACHE_EVICTED, NULL, (double)counts->evicted);
  rh_metrics_set(metrics, RH_M_CACHE_EXPIRED, NULL, (double)counts->expired);
  rh_metrics_set(metrics, RH_M_CACHE_SEMANTIC_HITS, NULL, (double)counts->semantic_hits);
  rh_metrics_set(metrics, RH_M_CACHE_REDIS_HITS, NULL, (double)counts->redis_hits);
  rh_metrics_set(metrics, RH_M_CACHE_REDIS_FAILED, NULL, (double)counts->redis_failed);
}

static void read_ledger(rh_metrics *metrics, const rh_ledger *ledger) {
  rh_ledger_counts counts;
  rh_ledger_get_counts(ledger, &counts);
  rh_metrics_set(metrics, RH_M_LEDGER_WRITTEN, NULL, (double)counts.written);
  rh_metrics_set(metrics, RH_M_LEDGER_DROPPED, NULL, (double)counts.dropped);
  rh_metrics_set(metrics, RH_M_LEDGER_FAILURES, NULL, (double)counts.failures);
  rh_metrics_set(metrics, RH_M_LEDGER_WAITING, NULL, (double)counts.waiting);
  rh_metrics_set(metrics, RH_M_DECISIONS, NULL, (double)counts.decisions);
  rh_metrics_set(metrics, RH_M_DECISIONS_DROPPED, NULL, (double)counts.decisions_dropped);
}

static void read_redis(rh_metrics *metrics, const rh_redis *redis) {
  const rh_redis_counts *counts = rh_redis_get_counts(redis);
  rh_metrics_set(metrics, RH_M_REDIS_CONNECTED, NULL, rh_redis_connected(redis) ? 1 : 0);
  rh_metrics_set(metrics, RH_M_REDIS_COMMANDS, NULL, (double)counts->commands);
  rh_metrics_set(metrics, RH_M_REDIS_FAILED, NULL, (double)counts->failed);
  rh_metrics_set(metrics, RH_M_REDIS_TIMEOUTS, NULL, (double)counts->timeouts);
  rh_metrics_set(metrics, RH_M_REDIS_RECONNECTS, NULL, (double)counts->reconnects);
}

void rh_gauges_read_gateway(rh_daemon *daemon) {
  rh_metrics *metrics = daemon->metrics;
  const rh_gateway *gateway = daemon->gateway;
  rh_member_figures member;
  for (size_t i = 0; rh_gateway_member_at(gateway, i, &member); i++) {
    if (member.used) read_member(metrics, &member);
  }
  const rh_limits_counts *limits = rh_limits_get_counts(rh_gateway_limits(gateway));
  rh_metrics_set(metrics, RH_M_LIMITS_TAKEN, NULL, (double)limits->taken);
  rh_metrics_set(metrics, RH_M_LIMITS_REFUSED, NULL, (double)limits->refused);
  rh_metrics_set(metrics, RH_M_LIMITS_BY_MEMORY, NULL, (double)limits->by_memory);
  rh_metrics_set(metrics, RH_M_LIMIT_BUCKETS, NULL, (double)limits->buckets);
  // What is switched off has no figures.
  if (rh_gateway_cache(gateway) != NULL) read_cache(metrics, rh_gateway_cache(gateway));
  if (rh_gateway_ledger(gateway) != NULL) read_ledger(metrics, rh_gateway_ledger(gateway));
  if (rh_gateway_redis(gateway) != NULL) read_redis(metrics, rh_gateway_redis(gateway));
  if (rh_gateway_keys(gateway) != NULL) {
    rh_metrics_set(metrics, RH_M_KEYS, NULL, (double)rh_keys_count(rh_gateway_keys(gateway)));
  }
}
