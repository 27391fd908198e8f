// SPDX-License-Identifier: Apache-2.0
//
// The gate: who may call at all. A key comes as "Authorization: Bearer ..." or "x-api-key"; what it may do is its scopes'. Decided
// at a request's head, before its body is read. Loop thread only; keeps nothing.
//
// Keys are needed as soon as there is or was one ("require_key": "auto": the last one's end must not open the door), and always where
// other machines can reach us. Admin calls need the
// admin scope once there is any key, whatever else is configured: a key that could make others would be worth nothing otherwise.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "daemon/internal.h"

bool rh_gate_needs_key(const rh_daemon *daemon) {
  const rh_gateway_values *values = &daemon->settings->gateway;
  if (values->require_key != RH_REQUIRE_KEY_AUTO) return values->require_key == RH_REQUIRE_KEY_ALWAYS;
  const rh_keys *keys = rh_gateway_keys(daemon->gateway);
  return (keys != NULL && rh_keys_exist(keys)) || (daemon->open_beyond && !values->allow_anonymous);
}

static const char *presented(const rh_http_exchange *exchange) {
  const char *bearer = rh_http_header(exchange, "Authorization");
  if (bearer != NULL && strncasecmp(bearer, "Bearer ", 7) == 0) return bearer + 7 + strspn(bearer + 7, " ");
  return rh_http_header(exchange, "x-api-key");
}

static const char *scope_name(unsigned scope) {
  if (scope == RH_KEY_ADMIN) return "admin";
  return scope == RH_KEY_METRICS ? "metrics" : "inference";
}

static rh_status check_scope(const rh_key *key, unsigned scope, rh_error *error) {
  if (scope == 0 || (key->scopes & (scope | RH_KEY_ADMIN)) != 0) return RH_OK;
  return rh_fail(error, RH_FORBIDDEN, "the key %s lacks the scope \"%s\" that this call needs", key->id,
                 scope_name(scope));
}

rh_status rh_gate_check(const rh_daemon *daemon, const rh_http_exchange *exchange, unsigned scope, rh_key **key,
                        rh_error *error) {
  *key = NULL;
  rh_keys *keys = rh_gateway_keys(daemon->gateway);
  bool admin = scope == RH_KEY_ADMIN && keys != NULL && rh_keys_exist(keys);
  bool needed = admin || rh_gate_needs_key(daemon);
  const char *secret = presented(exchange);
  rh_error inner = {0};
  rh_status status = RH_UNAUTHENTICATED;
  if (secret != NULL && keys != NULL) status = rh_keys_check(keys, secret, rh_clock_wall_s(), key, &inner);
  if (status == RH_OK) return check_scope(*key, scope, error);
  *key = NULL;
  bool guarded = daemon->settings->gateway.require_key != RH_REQUIRE_KEY_NEVER;
  if (scope == RH_KEY_ADMIN && guarded && rh_gateway_lost_state(daemon->gateway)) {
    return rh_fail(error, RH_UNAVAILABLE,
                   "the state database cannot be read, so nobody can show the right to this call; the log says why");
  }
  // Clients' libraries demand some key of their users; where none is needed, any will do.
  if (!needed) return RH_OK;
  if (secret == NULL || keys == NULL) {
    return rh_fail(error, RH_UNAUTHENTICATED,
                   "this server needs a key: send \"Authorization: Bearer KEY\"; roundhouse keys create makes one");
  }
  if (error != NULL) *error = inner;
  return status;
}

bool rh_gate_trusts(const rh_daemon *daemon, const rh_http_exchange *exchange) {
  rh_key *key = NULL;
  return rh_gate_check(daemon, exchange, 0, &key, NULL) == RH_OK;
}

const char *rh_gate_address(const rh_daemon *daemon, const rh_http_exchange *exchange) {
  const char *forwarded = NULL;
  if (daemon->settings->gateway.trust_proxy) forwarded = rh_http_last_header(exchange, "X-Forwarded-For");
  if (forwarded == NULL) return rh_http_client_address(exchange);
  // The last one was written by the proxy that stands before us, some add a line for it; those before are anybody's words.
  const char *comma = strrchr(forwarded, ',');
  const char *last = comma != NULL ? comma + 1 : forwarded;
  return last + strspn(last, " \t");
}

// --- the listener --------------------------------------------------------------------------------------------------

rh_status rh_gate_check_listener(rh_daemon *daemon, rh_error *error) {
  const rh_settings *settings = daemon->settings;
  const rh_keys *keys = rh_gateway_keys(daemon->gateway);
  daemon->open_beyond = !rh_settings_listens_here(settings);
  if (!daemon->open_beyond || settings->gateway.allow_anonymous) return RH_OK;
  bool guarded = settings->gateway.require_key != RH_REQUIRE_KEY_NEVER && keys != NULL && rh_keys_any(keys);
  if (guarded) return RH_OK;
  return rh_fail_param(
      error, RH_INVALID, "listen",
      "listening on %s would let anybody who reaches it use this server: make a key first (roundhouse keys "
      "create NAME), or say that it is meant with --allow-anonymous",
      settings->listen);
}
