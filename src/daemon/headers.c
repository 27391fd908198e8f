// SPDX-License-Identifier: Apache-2.0
//
// Headers that every answer carries, and those that tell a client whether and when to try again.
#include <stdio.h>
#include <string.h>

#include "daemon/internal.h"

void rh_headers_common(rh_daemon *daemon, rh_http_exchange *exchange, const char *id) {
  (void)rh_http_set_header(exchange, "x-request-id", id);
  // Anthropic's clients look for it under this name.
  if (strncmp(rh_http_path(exchange), "/v1/messages", 12) == 0) (void)rh_http_set_header(exchange, "request-id", id);
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
