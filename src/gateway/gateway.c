// SPDX-License-Identifier: Apache-2.0
//
// The gateway's parts: opened in the order they need each other, closed in the reverse one, and looked after each second (keys that
// others changed, names that moved, experiments to write down). Loop thread only.
//
// The state database is no condition of answering: where it cannot be used, requests run without ledger and stored keys, with one
// line in the log; only a configuration that demands keys refuses to start.
#include "gateway/gateway.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/internal.h"

#define REDIS_BACKOFF_MIN_NS (50 * 1000 * 1000ull)
#define REDIS_BACKOFF_MAX_NS (5 * RH_NS_PER_S)
#define REDIS_PENDING_MAX 4096
#define BUCKETS_MAX 100000
#define LEDGER_RING_MAX 32768  // a disk that stalls for half a second at 50,000 requests a second
#define LEDGER_FLUSH_NS (RH_NS_PER_S / 2)
#define VECTOR_MAX 8192  // dimensions of an embedding in the semantic cache
#define OUTLIER_TICKS 5
#define EXPERIMENTS_STATE "experiments"
#define EXPERIMENTS_UNREAD "experiments.unread"  // what could not be read, before it is written over
#define KEEP_PATIENCE_MS 10                      // for another process' lock, while requests wait
#define BREAKER_WINDOW 32
#define BREAKER_RATE 0.5

// --- names ---------------------------------------------------------------------------------------------------------

static bool resolve_name(void *ctx, const char *provider, const char *word, const char **member_provider,
                         const char **member_model) {
  const rh_gateway *gateway = ctx;
  rh_resolution found;
  rh_error ignored;
  bool known =
      rh_gateway_config_resolve((void *)(uintptr_t)gateway->config, provider, word, member_provider, member_model);
  bool ours = provider == NULL || strcmp(*member_provider, "local") == 0;
  if (!ours || *member_model == NULL) return known;
  if (rh_manager_resolve(gateway->manager, *member_model, &found, &ignored) != RH_OK) return known;
  *member_provider = "local";
  *member_model = rh_served_spec(found.served)->name;
  return true;
}

void rh_gateway_resolve_names(rh_gateway *gateway) {
  if (!rh_policy_is_set(gateway->config->policy)) return;
  if (rh_policy_resolve(gateway->config->policy, resolve_name, gateway, NULL) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "routing goes on with the names it had", rh_log_str("error", "no memory"));
  }
}

// --- experiments ---------------------------------------------------------------------------------------------------

// The next keeping writes over the state: somebody may still want to look at it.
static void set_aside(rh_gateway *gateway, const char *text, const rh_error *why) {
  rh_error error = {0};
  RH_LOG(RH_LOG_WARN, "the experiments kept from before cannot be read", rh_log_str("error", why->message),
         rh_log_str("kept_as", text != NULL ? EXPERIMENTS_UNREAD : ""));
  if (text == NULL || rh_database_put_text(gateway->database, EXPERIMENTS_UNREAD, text, &error) == RH_OK) return;
  RH_LOG(RH_LOG_WARN, "nor could they be set aside", rh_log_str("error", error.message));
}

static void load_experiments(rh_gateway *gateway) {
  char *text = NULL;
  rh_error error = {0};
  if (gateway->database == NULL) return;
  rh_status status = rh_database_get_text(gateway->database, EXPERIMENTS_STATE, &text, &error);
  json_t *state = status == RH_OK ? rh_json_parse(text, strlen(text), &error) : NULL;
  if (status == RH_OK && state == NULL) status = RH_INVALID;
  if (state != NULL) status = rh_experiments_from_json(gateway->experiments, state, &error);
  if (status != RH_OK && status != RH_NOT_FOUND) set_aside(gateway, text, &error);
  json_decref(state);
  free(text);
}

// Those of the configuration begin at the first start; later starts go on with what was kept of them.
static rh_status add_configured(rh_gateway *gateway, rh_error *error) {
  size_t index;
  json_t *definition;
  json_array_foreach(gateway->config->experiments, index, definition) {
    const char *name = json_string_value(json_object_get(definition, "name"));
    if (name != NULL && rh_experiment_find(gateway->experiments, name) != NULL) continue;
    rh_experiment *added = NULL;
    rh_error inner = {0};
    rh_status status = rh_experiment_add(gateway->experiments, definition, rh_clock_wall_s(), &added, &inner);
    if (status != RH_OK) {
      return rh_fail_param(error, status, "experiments", "experiments[%zu]: %s", index, inner.message);
    }
    gateway->experiments_changed = true;
  }
  return RH_OK;
}

static void keep_experiments(rh_gateway *gateway) {
  rh_error error = {0};
  json_t *state = rh_experiments_to_json(gateway->experiments);
  char *text = state != NULL ? json_dumps(state, JSON_COMPACT) : NULL;
  rh_status status = text != NULL ? rh_database_put_text(gateway->database, EXPERIMENTS_STATE, text, &error)
                                  : rh_fail(&error, RH_NO_MEMORY, "no memory to write experiments down");
  if (status != RH_OK) RH_LOG(RH_LOG_WARN, "experiments are not kept", rh_log_str("error", error.message));
  gateway->experiments_changed = status != RH_OK;
  free(text);
  json_decref(state);
}

// Another process may hold the database; everybody's answers wait while we do, so the next tick tries again instead.
void rh_gateway_keep_experiments(rh_gateway *gateway) {
  if (gateway->database == NULL) {
    gateway->experiments_changed = false;
    return;
  }
  rh_database_set_patience(gateway->database, KEEP_PATIENCE_MS);
  keep_experiments(gateway);
  rh_database_set_patience(gateway->database, RH_DATABASE_PATIENCE_MS);
}

// --- each second ---------------------------------------------------------------------------------------------------

static void eject_outliers(rh_gateway *gateway) {
  rh_route_stats *list[RH_ROUTE_MEMBERS_MAX];
  size_t count = 0;
  if (gateway->breaker.outlier_factor <= 0) return;
  for (size_t i = 0; i < gateway->seat_count && count < RH_ROUTE_MEMBERS_MAX; i++) {
    if (gateway->seats[i]->stats.samples > 0) list[count++] = &gateway->seats[i]->stats;
  }
  rh_breaker_eject_outliers(list, count, &gateway->breaker, rh_clock_now_ns());
}

static void on_tick(void *ctx) {
  rh_gateway *gateway = ctx;
  gateway->ticks++;
  if (gateway->keys != NULL) rh_keys_refresh(gateway->keys, rh_clock_wall_s());
  rh_gateway_resolve_names(gateway);
  if (gateway->ticks % OUTLIER_TICKS == 0) {
    eject_outliers(gateway);
    if (gateway->experiments_changed) rh_gateway_keep_experiments(gateway);
  }
  rh_loop_timer_set(gateway->loop, &gateway->tick, RH_NS_PER_S);
}

// --- opening -------------------------------------------------------------------------------------------------------

static rh_status open_database(rh_gateway *gateway, const char *folder, rh_error *error) {
  rh_error inner = {0};
  rh_status status = rh_database_open(folder, &gateway->database, &inner);
  if (status == RH_OK) return RH_OK;
  gateway->database = NULL;
  char path[PATH_MAX];
  int length = snprintf(path, sizeof path, "%s/%s", folder, RH_DATABASE_FILE);
  gateway->lost_state = length < 0 || (size_t)length >= sizeof path || access(path, F_OK) == 0;
  if (gateway->values->require_key == RH_REQUIRE_KEY_ALWAYS) {
    return rh_fail(error, status, "keys are required, but the state database cannot be used: %s", inner.message);
  }
  RH_LOG(RH_LOG_WARN, "the state database cannot be used; no usage is kept and no stored key is known",
         rh_log_str("folder", folder), rh_log_str("error", inner.message));
  return RH_OK;
}

static void on_quality(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  rh_gateway *gateway = ctx;
  const char *label;
  json_t *entry;
  (void)error;
  if (status != RH_OK) return;
  json_object_foreach(answer, label, entry) {
    const char *slash = strchr(label, '/');
    char provider[RH_PROVIDER_NAME_MAX + 1];
    if (slash == NULL || (size_t)(slash - label) >= sizeof provider) continue;
    memcpy(provider, label, (size_t)(slash - label));
    provider[slash - label] = '\0';
    rh_seat *seat = rh_seat_find(gateway, provider, slash + 1);
    json_int_t count = json_integer_value(json_object_get(entry, "count"));
    double mean = json_number_value(json_object_get(entry, "mean"));
    if (seat == NULL || count <= 0) continue;
    seat->stats.quality = (mean + 1) / 2;
    seat->stats.quality_samples = (uint64_t)count;
  }
}

// Learned qualities outlast a restart. (So do used budgets; the keys read those themselves.)
static void ask_quality(rh_gateway *gateway) {
  rh_error error = {0};
  if (rh_ledger_quality(gateway->ledger, on_quality, gateway, NULL, &error) == RH_OK) return;
  RH_LOG(RH_LOG_WARN, "the ledger cannot be asked", rh_log_str("error", error.message));
}

static rh_status open_ledger(rh_gateway *gateway, const char *folder, rh_error *error) {
  if (gateway->database == NULL) return RH_OK;
  const rh_gateway_values *values = gateway->values;
  rh_ledger_options options = {
      .folder = folder,
      .flush_ns = LEDGER_FLUSH_NS,
      .ring_max = LEDGER_RING_MAX,
      .keep_ns = values->ledger_keep,
      .decision_log = values->decision_log,
      .decision_bytes = values->decision_log_bytes,
      .decision_files = values->decision_log_files,
  };
  rh_status status = rh_ledger_new(gateway->loop, &options, &gateway->ledger, error);
  if (status == RH_OK) ask_quality(gateway);
  return status;
}

static rh_status open_redis(rh_gateway *gateway, rh_error *error) {
  const rh_gateway_values *values = gateway->values;
  if (values->redis == NULL || values->redis[0] == '\0') return RH_OK;
  rh_redis_options options = {
      .url = values->redis,
      .timeout_ns = values->redis_timeout,
      .backoff_min_ns = REDIS_BACKOFF_MIN_NS,
      .backoff_max_ns = REDIS_BACKOFF_MAX_NS,
      .pending_max = REDIS_PENDING_MAX,
  };
  return rh_redis_new(gateway->loop, &options, &gateway->redis, error);
}

static rh_status open_admission(rh_gateway *gateway, rh_error *error) {
  const rh_gateway_values *values = gateway->values;
  rh_limits_options limits = {.buckets_max = BUCKETS_MAX, .prefix = values->redis_prefix, .redis = gateway->redis};
  gateway->limits = rh_limits_new(gateway->loop, &limits);
  if (gateway->limits == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for rate limits");
  if (gateway->database != NULL || gateway->config->keys != NULL) {
    rh_status status = rh_keys_new(gateway->database, gateway->config->keys, &gateway->keys, error);
    if (status != RH_OK) return status;
  }
  if (values->cache == RH_CACHE_MODE_OFF) return RH_OK;
  rh_cache_options cache = {
      .bytes_max = values->cache_bytes,
      .entry_bytes_max = values->cache_entry_bytes,
      .ttl_ns = values->cache_ttl,
      .redis = gateway->redis,
      .prefix = values->redis_prefix,
  };
  gateway->cache = rh_cache_new(gateway->loop, &cache);
  bool semantic = values->semantic_cache != NULL && values->semantic_cache[0] != '\0';
  if (semantic) gateway->semantic = rh_semantic_new((size_t)values->semantic_entries, VECTOR_MAX);
  bool good = gateway->cache != NULL && (!semantic || gateway->semantic != NULL);
  return good ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the cache");
}

static rh_status open_parts(rh_gateway *gateway, const char *folder, rh_error *error) {
  const rh_gateway_config *config = gateway->config;
  rh_status status = RH_OK;
  if (config->provider_count > 0) {
    status = rh_providers_new(gateway->loop, config->providers, config->provider_count, &gateway->providers, error);
  }
  if (status == RH_OK) status = open_database(gateway, folder, error);
  if (status == RH_OK) status = open_redis(gateway, error);
  if (status == RH_OK) status = open_admission(gateway, error);
  if (status == RH_OK) status = open_ledger(gateway, folder, error);
  if (status == RH_OK) status = rh_seats_open(gateway, error);
  if (status == RH_OK) status = rh_healths_open(gateway, error);
  if (status != RH_OK) return status;
  gateway->experiments = rh_experiments_new();
  if (gateway->experiments == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for experiments");
  load_experiments(gateway);
  return add_configured(gateway, error);
}

static rh_breaker_options breaker_options(const rh_gateway_values *values) {
  return (rh_breaker_options){
      .failures = (unsigned)values->breaker_failures,
      .failure_rate = values->breaker_failures > 0 ? BREAKER_RATE : 0,
      .window = BREAKER_WINDOW,
      .open_ns = values->breaker_open,
      .open_max_ns = values->breaker_open_max,
      .outlier_factor = values->outlier_factor,
  };
}

rh_status rh_gateway_new(const rh_gateway_options *options, rh_gateway **out, rh_error *error) {
  *out = NULL;
  rh_gateway *gateway = calloc(1, sizeof *gateway);
  if (gateway == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to start");
  gateway->loop = options->loop;
  gateway->manager = options->manager;
  gateway->config = options->config;
  gateway->values = options->config->values;
  gateway->breaker = breaker_options(gateway->values);
  gateway->chance = rh_clock_now_ns() ^ ((uint64_t)getpid() << 32) ^ UINT64_C(0x9E3779B97F4A7C15);
  gateway->budget.tokens = 10;
  rh_list_init(&gateway->works);
  rh_list_init(&gateway->sharing);
  rh_list_init(&gateway->shadows);
  gateway->tick = (rh_timer){.fn = on_tick, .ctx = gateway};
  rh_status status = open_parts(gateway, options->state_dir, error);
  if (status != RH_OK) {
    rh_gateway_free(gateway);
    return status;
  }
  rh_gateway_resolve_names(gateway);
  rh_loop_timer_set(gateway->loop, &gateway->tick, RH_NS_PER_S);
  *out = gateway;
  return RH_OK;
}

void rh_gateway_free(rh_gateway *gateway) {
  if (gateway == NULL) return;
  rh_loop_timer_cancel(gateway->loop, &gateway->tick);
  rh_shadows_end(gateway);
  rh_works_free(gateway);
  // There is no later time to try again, so this one may take long.
  bool unkept = gateway->experiments != NULL && gateway->experiments_changed && gateway->database != NULL;
  if (unkept) keep_experiments(gateway);
  rh_semantic_free(gateway->semantic);
  rh_cache_free(gateway->cache);
  rh_limits_free(gateway->limits);
  rh_redis_free(gateway->redis);
  rh_ledger_free(gateway->ledger);
  rh_keys_free(gateway->keys);
  rh_database_close(gateway->database);
  rh_experiments_free(gateway->experiments);
  rh_seats_close(gateway);
  rh_providers_free(gateway->providers);
  rh_healths_close(gateway);
  free(gateway);
}

rh_keys *rh_gateway_keys(const rh_gateway *gateway) { return gateway->keys; }
rh_limits *rh_gateway_limits(const rh_gateway *gateway) { return gateway->limits; }
rh_cache *rh_gateway_cache(const rh_gateway *gateway) { return gateway->cache; }
rh_semantic *rh_gateway_semantic(const rh_gateway *gateway) { return gateway->semantic; }
rh_ledger *rh_gateway_ledger(const rh_gateway *gateway) { return gateway->ledger; }
rh_prices *rh_gateway_prices(const rh_gateway *gateway) { return gateway->config->prices; }
rh_experiments *rh_gateway_experiments(const rh_gateway *gateway) { return gateway->experiments; }
rh_redis *rh_gateway_redis(const rh_gateway *gateway) { return gateway->redis; }
bool rh_gateway_lost_state(const rh_gateway *gateway) { return gateway->lost_state; }
