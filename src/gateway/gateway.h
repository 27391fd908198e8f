// SPDX-License-Identifier: Apache-2.0
//
// The turntable: everything between "this request is understood" and "this model is computing it", and the way back. It owns the
// providers, the routing policy, what was learned of each member, keys, limits, cache, ledger and experiments, and runs a request
// over its plan of members until one answers.
//
// Thread: the event loop's.
#ifndef RH_GATEWAY_GATEWAY_H
#define RH_GATEWAY_GATEWAY_H

#include <jansson.h>

#include "admit/cache.h"
#include "admit/keys.h"
#include "admit/limits.h"
#include "base/loop.h"
#include "experiment/experiment.h"
#include "flow/request.h"
#include "gateway/config.h"
#include "ledger/ledger.h"
#include "ledger/prices.h"
#include "manager/manager.h"
#include "provider/provider.h"
#include "redis/redis.h"
#include "route/route.h"

typedef struct rh_gateway rh_gateway;

typedef struct rh_gateway_options {
  rh_loop *loop;
  rh_manager *manager;              // borrowed
  const rh_gateway_config *config;  // borrowed
  const char *state_dir;            // of state.db; made when it is not there
} rh_gateway_options;

rh_status rh_gateway_new(const rh_gateway_options *options, rh_gateway **out, rh_error *error) RH_MUST_CHECK;
void rh_gateway_free(rh_gateway *gateway);

// The parts, for pages and admin calls. Borrowed; NULL where the state database cannot be used (its warning is in the log).
rh_keys *rh_gateway_keys(const rh_gateway *gateway);
rh_limits *rh_gateway_limits(const rh_gateway *gateway);
rh_cache *rh_gateway_cache(const rh_gateway *gateway);
rh_semantic *rh_gateway_semantic(const rh_gateway *gateway);  // NULL = off
rh_ledger *rh_gateway_ledger(const rh_gateway *gateway);
rh_prices *rh_gateway_prices(const rh_gateway *gateway);
rh_experiments *rh_gateway_experiments(const rh_gateway *gateway);
void rh_gateway_keep_experiments(rh_gateway *gateway);  // after a change: writes them to the state database
rh_redis *rh_gateway_redis(const rh_gateway *gateway);  // NULL = none is configured
// There is a state database, but it cannot be used: nobody knows whether it holds keys.
bool rh_gateway_lost_state(const rh_gateway *gateway);

// Who asks: for routing, limits and the account.
typedef struct rh_caller {
  rh_key *key;          // NULL = none was needed
  const char *address;  // "127.0.0.1"
  rh_header_lookup header;
  void *header_ctx;
} rh_caller;

// POST /api/route/explain: what would happen to this request. New reference.
json_t *rh_gateway_explain(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_error *error);
// GET /api/providers: each with its state (breaker, speeds, running, queued), without secrets. New reference.
json_t *rh_gateway_providers(const rh_gateway *gateway);
// What was counted of one (provider, model) since the start, for metrics. Strings live until the next request.
typedef struct rh_member_figures {
  const char *provider, *model;
  rh_breaker_state breaker;
  double first_token_ms;      // a moving average; 0 = unknown
  double cost_usd;            // of all requests that it answered
  const uint64_t *fallbacks;  // by rh_status: how often a request went from it to the next
  bool used;                  // configured or asked at some time; others were only named
} rh_member_figures;
// Members in no special order; one may come to stand elsewhere between two calls. False: there are no more.
bool rh_gateway_member_at(const rh_gateway *gateway, size_t index, rh_member_figures *out);
// Feedback on a finished request: into the ledger, its experiment and its member's quality. `key` as of rh_ledger_feedback. `done` is always called when this
// returns RH_OK, and may find its asker gone: `ctx` must outlive that or be counted.
rh_status rh_gateway_feedback(rh_gateway *gateway, const char *request_id, const char *key, double rating,
                              const char *comment, rh_ledger_done done, void *ctx, rh_error *error) RH_MUST_CHECK;

#endif
