// SPDX-License-Identifier: Apache-2.0
//
// The metrics of the daemon, as ids into the table of metrics.c. Names and labels follow OpenTelemetry's GenAI words.
#ifndef RH_DAEMON_METRICS_H
#define RH_DAEMON_METRICS_H

#include "base/metrics.h"

typedef enum rh_metric_id {
  RH_M_REQUESTS,  // operation, request model, response model, provider, route, status, error
  RH_M_IN_FLIGHT,
  RH_M_LATENCY,           // route, response model
  RH_M_FIRST_TOKEN,       // response model
  RH_M_PER_OUTPUT_TOKEN,  // response model
  RH_M_GEN_LATENCY,       // response model
  RH_M_TOKENS_GENERATED,  // response model
  RH_M_PROMPT_TOKENS,     // response model
  RH_M_CACHED_TOKENS,     // response model
  RH_M_ITEMS,             // response model, operation
  RH_M_ITEMS_FAILED,      // response model, operation
  RH_M_MODEL_SELECTED,    // response model, reason
  RH_M_CACHE_HITS,
  RH_M_RATE_LIMITED,
  RH_M_RETRIES,             // response model
  RH_M_RUNS_CANCELLED,      // response model
  RH_M_RUNS_ACTIVE,         // response model
  RH_M_RUNS_PAUSED,         // response model
  RH_M_QUEUE_DEPTH,         // response model
  RH_M_ENGINE_STEPS,        // response model, engine, device
  RH_M_ENGINE_TOKENS,       // response model, kind
  RH_M_WORKER_UP,           // response model, engine, device
  RH_M_WORKER_RESTARTS,     // response model
  RH_M_WORKER_RSS,          // response model
  RH_M_MODEL_LOAD_SECONDS,  // response model
  RH_M_MODELS_LOADED,
  RH_M_MODELS_WAITING,
  RH_M_MODEL_MEMORY,   // response model, kind
  RH_M_MEMORY_BUDGET,  // device
  RH_M_MEMORY_RESERVED,
  RH_M_MODEL_LOADS,      // response model, result
  RH_M_MODEL_LOAD_WAIT,  // response model
  RH_M_MODEL_EVICTIONS,  // response model, reason
  RH_M_MODEL_HOLDS,
  RH_M_MODEL_REFUSALS,
  RH_M_SWAPS,  // result
  RH_M_PULLS,  // result
  RH_M_PULLS_RUNNING,
  RH_M_COST,                // provider, model
  RH_M_FALLBACKS,           // provider, model, error
  RH_M_BREAKER,             // provider, model
  RH_M_MEMBER_FIRST_TOKEN,  // provider, model
  RH_M_CACHE_ENTRIES,
  RH_M_CACHE_BYTES,
  RH_M_CACHE_MISSES,
  RH_M_CACHE_STORED,
  RH_M_CACHE_EVICTED,
  RH_M_CACHE_EXPIRED,
  RH_M_CACHE_SEMANTIC_HITS,
  RH_M_CACHE_REDIS_HITS,
  RH_M_CACHE_REDIS_FAILED,
  RH_M_LIMITS_TAKEN,
  RH_M_LIMITS_REFUSED,
  RH_M_LIMITS_BY_MEMORY,
  RH_M_LIMIT_BUCKETS,
  RH_M_LEDGER_WRITTEN,
  RH_M_LEDGER_DROPPED,
  RH_M_LEDGER_FAILURES,
  RH_M_LEDGER_WAITING,
  RH_M_DECISIONS,
  RH_M_DECISIONS_DROPPED,
  RH_M_REDIS_CONNECTED,
  RH_M_REDIS_COMMANDS,
  RH_M_REDIS_FAILED,
  RH_M_REDIS_TIMEOUTS,
  RH_M_REDIS_RECONNECTS,
  RH_M_KEYS,
  RH_M_HTTP_CONNECTIONS,
  RH_M_UPTIME,
  RH_M_BUILD_INFO,  // version
  RH_M_PROCESS_RSS,
  RH_M_PROCESS_FDS,
  RH_M_PROCESS_CPU,
  RH_M_COUNT
} rh_metric_id;

extern const rh_metric_def rh_daemon_metrics[RH_M_COUNT];

#endif
