// SPDX-License-Identifier: Apache-2.0
//
// Which web pages may call the daemon. A model on somebody's own machine must not be a service to every page they visit,
// so by default only pages served from this machine may; "cors_origin" opens it to one other origin or to all.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/internal.h"

static bool is_local(const char *origin) {
  static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
  const char *host = strstr(origin, "://");
  if (host == NULL) return false;
  host += 3;
  for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
    size_t length = strlen(hosts[i]);
    if (strncasecmp(host, hosts[i], length) == 0 && (host[length] == '\0' || host[length] == ':')) return true;
  }
  return false;
}

// The page was served by this very daemon, under whatever name the browser knows it.
static bool is_same(const char *origin, const char *host) {
  const char *at = strstr(origin, "://");
  return at != NULL && host != NULL && strcasecmp(at + 3, host) == 0;
}

static bool allows(const rh_daemon *daemon, const rh_http_exchange *exchange, const char *origin) {
  const char *rule = daemon->settings->cors_origin;
  if (rule == NULL) rule = "";
  if (strcmp(rule, "*") == 0 || strcasecmp(rule, origin) == 0) return true;
  if (is_same(origin, rh_http_header(exchange, "Host")) && is_local(origin)) return true;
  return strcmp(rule, "local") == 0 && is_local(origin);
}

bool rh_cors_allows(const rh_daemon *daemon, const rh_http_exchange *exchange) {
  const char *origin = rh_http_header(exchange, "Origin");
  return origin == NULL || allows(daemon, exchange, origin);
}

void rh_cors_headers(const rh_daemon *daemon, rh_http_exchange *exchange) {
  const char *origin = rh_http_header(exchange, "Origin");
  if (origin == NULL || !allows(daemon, exchange, origin)) return;
  bool any = daemon->settings->cors_origin != NULL && strcmp(daemon->settings->cors_origin, "*") == 0;
  (void)rh_http_set_header(exchange, "Access-Control-Allow-Origin", any ? "*" : origin);
  if (!any) (void)rh_http_set_header(exchange, "Vary", "Origin");
  (void)rh_http_set_header(
      exchange, "Access-Control-Expose-Headers",
      "x-request-id, retry-after, x-roundhouse-model, x-roundhouse-provider, x-roundhouse-route, x-roundhouse-cache, "
      "x-roundhouse-cost-usd, x-roundhouse-attempts, age");
}
