// SPDX-License-Identifier: Apache-2.0
//
// The gateway's configuration: what roundhouse.json says of providers, routing, prices, keys and experiments, checked and compiled
// before the daemon starts. Flat values (cache_ttl, redis, ...) are rows of the daemon's table and land in rh_gateway_values.
// Made once; constant afterwards but for the policy's rotation.
#ifndef RH_GATEWAY_CONFIG_H
#define RH_GATEWAY_CONFIG_H

#include <jansson.h>

#include "base/status.h"
#include "ledger/prices.h"
#include "provider/provider.h"
#include "route/route.h"

#define RH_PROVIDERS_MAX 64

// Filled by the daemon's settings. Strings are owned there; "" or NULL = not set.
typedef struct rh_gateway_values {
  // cache
  int cache;                                           // rh_cache_mode
  uint64_t cache_bytes, cache_entry_bytes, cache_ttl;  // ttl in ns
  int cache_scope;                                     // rh_cache_scope
  char *semantic_cache;                                // the embedding model's name; "" = off
  double semantic_threshold;
  int64_t semantic_entries;
  char *redis;  // its URL
  uint64_t redis_timeout;
  char *redis_prefix;
  // limits of who has none of its own; a minute's
  int64_t limit_requests, limit_tokens;        // of each key
  int64_t limit_ip_requests, limit_ip_tokens;  // of each client address
  int require_key;                             // rh_require_key
  bool allow_anonymous;                        // listen beyond this machine without any key
  bool trust_proxy;                            // the client's address is X-Forwarded-For's last one
  // fallback
  int64_t attempts_max;  // members tried for one request
  double retry_budget;   // retries and fallbacks as a share of requests, over the last minute; a few are always free
  uint64_t
      hold_timeout;  // the first token must come from a member within, when another could follow; 0 = its own timeout
  int64_t cascade_tokens;  // tokens that are held back until an answer's confidence is known
  int64_t breaker_failures;
  uint64_t breaker_open, breaker_open_max;
  double outlier_factor;
  // account
  char *reference_model;  // "provider/model": savings are told against it
  uint64_t ledger_keep;   // ns
  char *decision_log;
  uint64_t decision_log_bytes;
  int64_t decision_log_files;
} rh_gateway_values;

typedef enum rh_cache_mode { RH_CACHE_MODE_OFF, RH_CACHE_MODE_ON } rh_cache_mode;
typedef enum rh_cache_scope { RH_CACHE_SCOPE_KEY, RH_CACHE_SCOPE_ALL } rh_cache_scope;
typedef enum rh_require_key { RH_REQUIRE_KEY_AUTO, RH_REQUIRE_KEY_ALWAYS, RH_REQUIRE_KEY_NEVER } rh_require_key;

typedef struct rh_gateway_config {
  const rh_gateway_values *values;  // borrowed
  rh_provider_spec *providers;
  size_t provider_count;
  rh_policy *policy;
  rh_prices *prices;
  json_t *keys;            // "keys"; NULL = none
  json_t *experiments;     // "experiments"; NULL = none
  char *default_provider;  // NULL = none
} rh_gateway_config;

// From the whole roundhouse.json (`root` may be NULL: no file). Unknown words are errors that name path and nearest.
rh_status rh_gateway_config_parse(const json_t *root, const rh_gateway_values *values, char *const *environment,
                                  const char *folder, rh_gateway_config **out, rh_error *error) RH_MUST_CHECK;
void rh_gateway_config_free(rh_gateway_config *config);
// A rh_route_resolver over the configuration alone; `ctx` is the rh_gateway_config.
bool rh_gateway_config_resolve(void *ctx, const char *provider, const char *word, const char **member_provider,
                               const char **member_model);
// The in_process provider that a model of this machine belongs to: the one that lists it (`aliases`: {"other": "name"}, may be NULL),
// else one of the model's engine (NULL = unknown). NULL = none.
const rh_provider_spec *rh_gateway_config_home(const rh_gateway_config *config, const json_t *aliases,
                                               const char *model, const char *engine);
// The keys of roundhouse.json that are the gateway's, NULL-terminated; and their part of the JSON Schema (properties, new ref).
extern const char *const rh_gateway_config_keys[];
json_t *rh_gateway_config_schema(void);

#endif
