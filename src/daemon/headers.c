// SPDX-License-Identifier: Apache-2.0
//
// Headers that every answer carries, and those that tell a client whether and when to try again.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/internal.h"

static bool is_anthropic(const rh_http_exchange *exchange) {
  return strncmp(rh_http_path(exchange), "/v1/messages", 12) == 0;
}

void rh_headers_common(rh_daemon *daemon, rh_http_exchange *exchange, const char *id) {
  (void)rh_http_set_header(exchange, "x-request-id", id);
  // Anthropic's clients look for it under this name.
  if (is_anthropic(exchange)) (void)rh_http_set_header(exchange, "request-id", id);
  rh_cors_headers(daemon, exchange);
  // While shutting down, clients should come back on a new connection (to whoever serves then).
  if (daemon->stopping) (void)rh_http_set_header(exchange, "Connection", "close");
}

void rh_headers_error(rh_http_exchange *exchange, const rh_error *error, unsigned retry_after_s) {
  bool retry = rh_api_should_retry(error->status);
  (void)rh_http_set_header(exchange, "x-should-retry", retry ? "true" : "false");
  if (!retry) return;
  char text[16];
  snprintf(text, sizeof text, "%u", retry_after_s > 0 ? retry_after_s : 1);
  (void)rh_http_set_header(exchange, "Retry-After", text);
}

// --- limits --------------------------------------------------------------------------------------------------------

enum { LIMIT, LEFT, RESET, PARTS };

// The names that clients' libraries know, of requests and of tokens.
void rh_headers_limits(rh_http_exchange *exchange, const rh_limit_state *state) {
  static const char *const openai[2][PARTS] = {
      {"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
      {"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
  };
  static const char *const anthropic[2][PARTS] = {
      {"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining",
       "anthropic-ratelimit-requests-reset"},
      {"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"},
  };
  bool theirs = is_anthropic(exchange);
  char text[32];
  for (size_t i = 0; i < 2; i++) {
    if (!state->limited[i]) continue;
    const char *const *names = theirs ? anthropic[i] : openai[i];
    (void)snprintf(text, sizeof text, "%lld", (long long)state->limit[i]);
    (void)rh_http_set_header(exchange, names[LIMIT], text);
    (void)snprintf(text, sizeof text, "%lld", (long long)(state->left[i] > 0 ? state->left[i] : 0));
    (void)rh_http_set_header(exchange, names[LEFT], text);
    double reset_s = ceil(state->reset_s[i]);
    if (theirs)  // want the moment, others how long it takes
      (void)rh_clock_format_utc(text, sizeof text, rh_clock_wall_s() + (int64_t)reset_s);
    else
      (void)snprintf(text, sizeof text, "%.0fs", reset_s);
    (void)rh_http_set_header(exchange, names[RESET], text);
  }
}
