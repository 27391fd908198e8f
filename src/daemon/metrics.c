// SPDX-License-Identifier: Apache-2.0
//
// The table of metrics. A metric's name, help, labels and buckets stand here and nowhere else.
// Buckets: time to first token and time per output token as OpenTelemetry's GenAI conventions recommend; request
// durations double from 10 ms to 81.92 s.
#include "daemon/metrics.h"

static const double first_token_buckets[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10};
static const double per_token_buckets[] = {.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5};
static const double duration_buckets[] = {.01,  .02,  .04,  .08,   .16,   .32,   .64,
                                          1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};

#define COUNTER(metric_name, text, ...)                                                                   \
  {                                                                                                       \
    .name = "roundhouse_" metric_name, .help = text, .type = RH_METRIC_COUNTER, .labels = { __VA_ARGS__ } \
  }
#define GAUGE(metric_name, text, ...)                                                                   \
  {                                                                                                     \
    .name = "roundhouse_" metric_name, .help = text, .type = RH_METRIC_GAUGE, .labels = { __VA_ARGS__ } \
  }
#define HISTOGRAM(metric_name, text, bounds, ...)                                                          \
  {                                                                                                        \
    .name = "roundhouse_" metric_name, .help = text, .type = RH_METRIC_HISTOGRAM, .labels = {__VA_ARGS__}, \
    .buckets = (bounds), .bucket_count = sizeof(bounds) / sizeof(bounds)[0]                                \
  }
#define MODEL "gen_ai_response_model"
#define PROVIDER "gen_ai_provider_name"

const rh_metric_def rh_daemon_metrics[RH_M_COUNT] = {
    [RH_M_REQUESTS] =
        COUNTER("requests_total", "Requests answered, by outcome", "gen_ai_operation_name", "gen_ai_request_model",
                MODEL, "gen_ai_provider_name", "route", "status", "error_type", "cache"),
    [RH_M_IN_FLIGHT] = GAUGE("requests_in_flight", "Requests begun and not yet answered", NULL),
    [RH_M_LATENCY] = HISTOGRAM("request_latency_seconds", "Time from the request's head to its last byte",
                               duration_buckets, "route", MODEL),
    [RH_M_FIRST_TOKEN] = HISTOGRAM("first_token_latency_seconds", "Time from the request's head to its first token",
                                   first_token_buckets, MODEL),
    [RH_M_PER_OUTPUT_TOKEN] =
        HISTOGRAM("time_per_output_token_seconds", "Time between tokens after the first", per_token_buckets, MODEL),
    [RH_M_GEN_LATENCY] =
        HISTOGRAM("gen_latency_seconds", "Engine time of a request: prompt and generation", duration_buckets, MODEL),
    [RH_M_TOKENS_GENERATED] = COUNTER("tokens_generated_total", "Tokens sent to clients", MODEL),
    [RH_M_PROMPT_TOKENS] = COUNTER("prompt_tokens_total", "Prompt tokens of answered requests", MODEL),
    [RH_M_CACHED_TOKENS] = COUNTER("prompt_cached_tokens_total", "Prompt tokens that the KV cache held already", MODEL),
    [RH_M_ITEMS] = COUNTER("items_total", "Inputs of requests that do not generate", MODEL, "gen_ai_operation_name"),
    [RH_M_ITEMS_FAILED] = COUNTER("items_failed_total", "Inputs that could not be done while their neighbours could",
                                  MODEL, "gen_ai_operation_name"),
    [RH_M_MODEL_SELECTED] = COUNTER("model_selected_count_total", "Requests routed to a model", MODEL, "route_reason"),
    [RH_M_CACHE_HITS] = COUNTER("cache_hits_total", "Requests answered from the response cache", NULL),
    [RH_M_RATE_LIMITED] = COUNTER("rate_limited_count_total", "Requests refused with 429", NULL),
    [RH_M_RETRIES] = COUNTER("request_retries_total", "Requests run again because their worker was lost", MODEL),
    [RH_M_RUNS_CANCELLED] =
        COUNTER("runs_cancelled_total", "Runs the engine stopped because nobody wanted them", MODEL),
    [RH_M_RUNS_ACTIVE] = GAUGE("runs_active", "Runs that hold a slot of the engine", MODEL),
    [RH_M_RUNS_PAUSED] = GAUGE("runs_paused", "Runs that wait for a slow client", MODEL),
    [RH_M_QUEUE_DEPTH] = GAUGE("queue_depth", "Requests that wait for a slot", MODEL),
    [RH_M_ENGINE_STEPS] =
        COUNTER("engine_steps_total", "Batches computed since the worker started", MODEL, "engine", "device"),
    [RH_M_ENGINE_TOKENS] =
        COUNTER("engine_tokens_total", "Tokens through the engine since the worker started, by kind", MODEL, "kind"),
    [RH_M_WORKER_UP] = GAUGE("worker_up", "1 when the model's worker is ready", MODEL, "engine", "device"),
    [RH_M_WORKER_RESTARTS] =
        COUNTER("worker_restarts_total", "Times a model's worker was lost and started again", MODEL),
    [RH_M_WORKER_RSS] = GAUGE("worker_resident_memory_bytes", "Resident memory of a model's worker", MODEL),
    [RH_M_MODEL_LOAD_SECONDS] = GAUGE("model_load_seconds", "Time the last load of a model took", MODEL),
    [RH_M_MODELS_LOADED] = GAUGE("models_loaded", "Models that are in memory and ready", NULL),
    [RH_M_MODELS_WAITING] = GAUGE("models_waiting", "Models that wait for memory", NULL),
    [RH_M_MODEL_MEMORY] =
        GAUGE("model_memory_bytes", "Memory of a model: reserved for it, resident, and on GPUs", MODEL, "kind"),
    [RH_M_MEMORY_BUDGET] = GAUGE("memory_budget_bytes", "Memory that all models together may take", "device"),
    [RH_M_MEMORY_RESERVED] = GAUGE("memory_reserved_bytes", "Memory that counts against the budget now", NULL),
    [RH_M_MODEL_LOADS] = COUNTER("model_loads_total", "Loads of a model, by result", MODEL, "result"),
    [RH_M_MODEL_LOAD_WAIT] = HISTOGRAM("model_load_wait_seconds", "Time from the wish for a model until it was ready",
                                       duration_buckets, MODEL),
    [RH_M_MODEL_EVICTIONS] = COUNTER("model_evictions_total", "Times a model left memory, by reason", MODEL, "reason"),
    [RH_M_MODEL_HOLDS] = COUNTER("model_holds_total", "Times a busy model was drained to make room", NULL),
    [RH_M_MODEL_REFUSALS] = COUNTER("model_refusals_total", "Loads refused because there is no room", NULL),
    [RH_M_SWAPS] = COUNTER("swaps_total", "Hot swaps of aliases, by result", "result"),
    [RH_M_PULLS] = COUNTER("pulls_total", "Pulls asked for over HTTP, by result", "result"),
    [RH_M_PULLS_RUNNING] = GAUGE("pulls_running", "Pulls that run now", NULL),
    [RH_M_COST] = COUNTER("cost_usd_total", "US dollars that answers cost, by who gave them", PROVIDER, MODEL),
    [RH_M_FALLBACKS] = COUNTER("fallbacks_total", "Requests that went from a model to the next, by what was wrong",
                               PROVIDER, MODEL, "error_type"),
    [RH_M_BREAKER] =
        GAUGE("breaker_state", "Circuit breaker of a model: 0 closed, 1 open, 2 half-open", PROVIDER, MODEL),
    [RH_M_MEMBER_FIRST_TOKEN] =
        GAUGE("member_first_token_seconds", "Moving average of a model's time to the first token", PROVIDER, MODEL),
    [RH_M_CACHE_ENTRIES] = GAUGE("cache_entries", "Answers in the response cache's memory", NULL),
    [RH_M_CACHE_BYTES] = GAUGE("cache_bytes", "Memory that the response cache takes", NULL),
    [RH_M_CACHE_MISSES] = COUNTER("cache_misses_total", "Look-ups that found no answer in the cache", NULL),
    [RH_M_CACHE_STORED] = COUNTER("cache_stored_total", "Answers kept in the cache", NULL),
    [RH_M_CACHE_EVICTED] = COUNTER("cache_evicted_total", "Answers that left the cache to make room", NULL),
    [RH_M_CACHE_EXPIRED] = COUNTER("cache_expired_total", "Answers that left the cache because of their age", NULL),
    [RH_M_CACHE_SEMANTIC_HITS] =
        COUNTER("cache_semantic_hits_total", "Requests answered with the answer to a question alike", NULL),
    [RH_M_CACHE_REDIS_HITS] = COUNTER("cache_redis_hits_total", "Look-ups that Redis answered", NULL),
    [RH_M_CACHE_REDIS_FAILED] =
        COUNTER("cache_redis_failed_total", "Look-ups and writes of the cache that Redis did not do", NULL),
    [RH_M_LIMITS_TAKEN] = COUNTER("limits_taken_total", "Requests that the rate limits let pass", NULL),
    [RH_M_LIMITS_REFUSED] = COUNTER("limits_refused_total", "Requests that a rate limit refused", NULL),
    [RH_M_LIMITS_BY_MEMORY] =
        COUNTER("limits_by_memory_total", "Rate limits decided in memory because Redis did not answer", NULL),
    [RH_M_LIMIT_BUCKETS] = GAUGE("limit_buckets", "Rate limit buckets in memory", NULL),
    [RH_M_LEDGER_WRITTEN] = COUNTER("ledger_written_total", "Requests written into the ledger", NULL),
    [RH_M_LEDGER_DROPPED] = COUNTER("ledger_dropped_total", "Requests that the ledger lost because it was full", NULL),
    [RH_M_LEDGER_FAILURES] =
        COUNTER("ledger_failures_total", "Writes of the ledger that failed and were tried again", NULL),
    [RH_M_LEDGER_WAITING] = GAUGE("ledger_waiting", "Requests that wait to be written into the ledger", NULL),
    [RH_M_DECISIONS] = COUNTER("decisions_logged_total", "Lines written into the decision log", NULL),
    [RH_M_DECISIONS_DROPPED] = COUNTER("decisions_dropped_total", "Lines that the decision log lost", NULL),
    [RH_M_REDIS_CONNECTED] = GAUGE("redis_connected", "1 while Redis answers", NULL),
    [RH_M_REDIS_COMMANDS] = COUNTER("redis_commands_total", "Commands sent to Redis", NULL),
    [RH_M_REDIS_FAILED] = COUNTER("redis_failed_total", "Commands that Redis did not answer in time or at all", NULL),
    [RH_M_REDIS_TIMEOUTS] = COUNTER("redis_timeouts_total", "Commands that Redis answered too late", NULL),
    [RH_M_REDIS_RECONNECTS] = COUNTER("redis_reconnects_total", "Connections to Redis made again", NULL),
    [RH_M_KEYS] = GAUGE("keys", "API keys that are known, revoked ones included", NULL),
    [RH_M_HTTP_CONNECTIONS] = GAUGE("http_connections", "Open client connections", NULL),
    [RH_M_UPTIME] = GAUGE("uptime_seconds", "Time since the daemon started", NULL),
    [RH_M_BUILD_INFO] = GAUGE("build_info", "Always 1; the labels say what runs", "version"),
    [RH_M_PROCESS_RSS] = {.name = "process_resident_memory_bytes",
                          .help = "Resident memory of the daemon",
                          .type = RH_METRIC_GAUGE},
    [RH_M_PROCESS_FDS] = {.name = "process_open_fds",
                          .help = "Open file descriptors of the daemon",
                          .type = RH_METRIC_GAUGE},
    [RH_M_PROCESS_CPU] = {.name = "process_cpu_seconds_total",
                          .help = "Processor time of the daemon",
                          .type = RH_METRIC_COUNTER},
};
