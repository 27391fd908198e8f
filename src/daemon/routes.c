// SPDX-License-Identifier: Apache-2.0
//
// From a request's head to who answers it: a dialect's endpoint (which becomes a call), an operation, or one of the small
// pages that only look. Also what HTTP itself asks for: OPTIONS, 404, 405, 415, and pages of strangers kept out.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "daemon/internal.h"
#include "daemon/operation.h"
#include "daemon/pages.h"

#define MODELS_PREFIX "/v1/models/"

static const rh_page pages[] = {
    {"/", "home", RH_PAGE_OPEN, rh_page_home},
    {"/health", "health", RH_PAGE_OPEN, rh_page_health},
    {"/api/health", "health", RH_PAGE_OPEN, rh_page_health},
    {"/metrics", "metrics", RH_KEY_METRICS, rh_page_metrics},
    {"/v1/models", "models", 0, rh_page_models},
    {"/api/providers", "providers", 0, rh_page_providers},
    // Of whichever request was last, so of anybody's: for administrators where there are keys.
    {"/last_request_stats", "last_request_stats", RH_KEY_ADMIN, rh_page_last_request},
};

static const rh_page model_page = {MODELS_PREFIX, "model", 0, rh_page_model};

static const rh_page *find_page(const char *path) {
  for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
    if (strcmp(path, pages[i].path) == 0) return &pages[i];
  }
  return rh_text_starts_with(path, MODELS_PREFIX) && path[strlen(MODELS_PREFIX)] != '\0' ? &model_page : NULL;
}

// An answer that HTTP calls for, in the shape of the path's dialect.
static void refuse(rh_daemon *daemon, rh_http_exchange *exchange, unsigned status, const rh_error *error) {
  char id[RH_ID_SIZE];
  rh_id_make(id, "req-");
  rh_dynbuf body;
  rh_dynbuf_init(&body, 16 * 1024);
  rh_headers_common(daemon, exchange, id);
  (void)rh_http_set_header(exchange, "x-should-retry", "false");
  (void)rh_api_error_body(rh_http_path(exchange), id, error, &body);
  (void)rh_http_respond(exchange, status, "application/json", rh_dynbuf_data(&body), body.length);
  rh_dynbuf_free(&body);
  rh_account_plain(daemon, "refused", status);
}

static void refuse_method(rh_daemon *daemon, rh_http_exchange *exchange, const char *allowed) {
  rh_error error;
  (void)rh_fail(&error, RH_INVALID, "%.16s is not possible on %.200s; use %s", rh_http_method(exchange),
                rh_http_path(exchange), allowed);
  (void)rh_http_set_header(exchange, "Allow", allowed);
  refuse(daemon, exchange, 405, &error);
}

static void answer_preflight(rh_daemon *daemon, rh_http_exchange *exchange, const char *allowed) {
  char id[RH_ID_SIZE];
  rh_id_make(id, "req-");
  rh_headers_common(daemon, exchange, id);
  (void)rh_http_set_header(exchange, "Allow", allowed);
  if (rh_cors_allows(daemon, exchange) && rh_http_header(exchange, "Origin") != NULL) {
    const char *wanted = rh_http_header(exchange, "Access-Control-Request-Headers");
    (void)rh_http_set_header(exchange, "Access-Control-Allow-Methods", allowed);
    (void)rh_http_set_header(exchange, "Access-Control-Allow-Headers",
                             wanted != NULL ? wanted : "Authorization, Content-Type");
    (void)rh_http_set_header(exchange, "Access-Control-Max-Age", "600");
  }
  (void)rh_http_respond(exchange, 204, NULL, "", 0);
}

// JSON is asked for. What curl sends by itself with -d is forgiven, but not when a web page sends it: a page may send a
// form anywhere without asking first, while JSON makes the browser ask us (OPTIONS).
static bool content_type_fits(const rh_http_exchange *exchange) {
  static const char *const forgiven[] = {"application/x-www-form-urlencoded", "text/plain"};
  const char *type = rh_http_header(exchange, "Content-Type");
  bool from_page = rh_http_header(exchange, "Origin") != NULL;
  if (type == NULL) return !from_page;
  if (strncasecmp(type, "application/json", 16) == 0) return true;
  for (size_t i = 0; i < sizeof forgiven / sizeof forgiven[0]; i++) {
    if (!from_page && strncasecmp(type, forgiven[i], strlen(forgiven[i])) == 0) return true;
  }
  return false;
}

// Who answers a path: at most one of the first two, and an operation for each method it has.
typedef struct responder {
  const rh_api_endpoint *endpoint;
  const rh_page *page;
  const rh_operation_route *route;  // for the method that was asked
} responder;

static responder find_responder(const char *method, const char *path) {
  responder out = {.endpoint = rh_api_find(path)};
  out.page = out.endpoint == NULL ? find_page(path) : NULL;
  out.route = out.endpoint == NULL ? rh_operation_find(method, path) : NULL;
  return out;
}

// "POST, DELETE, OPTIONS"; "" = there is nothing at the path.
typedef struct methods_text {
  char text[64];
} methods_text;

static methods_text allowed_methods(const responder *who, const char *path) {
  static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
  methods_text out = {.text = ""};
  size_t used = 0;
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    bool get = i == 0;
    bool has = (who->endpoint != NULL && i == 1) || (who->page != NULL && get) ||
               (who->endpoint == NULL && rh_operation_find(methods[i], path) != NULL);
    if (!has) continue;
    used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s%s, ", methods[i], get ? ", HEAD" : "");
  }
  if (used > 0) (void)snprintf(out.text + used, sizeof out.text - used, "OPTIONS");
  return out;
}

static void refuse_type(rh_daemon *daemon, rh_http_exchange *exchange) {
  rh_error error;
  const char *type = rh_http_header(exchange, "Content-Type");
  (void)rh_fail(&error, RH_INVALID, "the body must be JSON: send the header Content-Type: application/json, not %.100s",
                type != NULL ? type : "none");
  refuse(daemon, exchange, 415, &error);
}

// What a key must be allowed to do. A page that answers before its body is read needs no body to be refused.
static unsigned scope_of(const responder *who) {
  if (who->endpoint != NULL) return RH_KEY_INFERENCE;
  if (who->route == NULL) return who->page != NULL && who->page->scope != RH_PAGE_OPEN ? who->page->scope : 0;
  if (who->route->scope == RH_SCOPE_ADMIN) return RH_KEY_ADMIN;
  return who->route->scope == RH_SCOPE_INFERENCE ? RH_KEY_INFERENCE : 0;
}

static bool pass_gate(rh_daemon *daemon, rh_http_exchange *exchange, const responder *who, rh_key **key) {
  rh_error error = {0};
  *key = NULL;
  if (who->endpoint == NULL && who->route == NULL && who->page != NULL && who->page->scope == RH_PAGE_OPEN) return true;
  rh_status status = rh_gate_check(daemon, exchange, scope_of(who), key, &error);
  if (status == RH_OK) return true;
  if (status == RH_UNAUTHENTICATED) (void)rh_http_set_header(exchange, "WWW-Authenticate", "Bearer");
  refuse(daemon, exchange, rh_api_http_status(status), &error);
  return false;
}

static void begin(rh_daemon *daemon, rh_http_exchange *exchange, const responder *who) {
  const char *method = rh_http_method(exchange);
  bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
  rh_key *key = NULL;
  bool posted = who->endpoint != NULL && strcmp(method, "POST") == 0;
  if (!posted && who->route == NULL && (who->page == NULL || !get)) {
    refuse_method(daemon, exchange, allowed_methods(who, rh_http_path(exchange)).text);
  } else if (!pass_gate(daemon, exchange, who, &key)) {
    return;
  } else if (posted) {
    if (content_type_fits(exchange))
      rh_call_begin(daemon, exchange, who->endpoint, key);
    else
      refuse_type(daemon, exchange);
  } else if (who->route != NULL) {
    if (get || !rh_operation_body_expected(exchange) || content_type_fits(exchange))
      rh_operation_begin(daemon, exchange, who->route, key);
    else
      refuse_type(daemon, exchange);
  }
}

void rh_routes_head(void *ctx, rh_http_exchange *exchange) {
  rh_daemon *daemon = ctx;
  const char *path = rh_http_path(exchange);
  const char *method = rh_http_method(exchange);
  responder who = find_responder(method, path);
  rh_error error;
  bool found = who.endpoint != NULL || who.page != NULL || who.route != NULL;
  if (!found && allowed_methods(&who, path).text[0] == '\0') {
    (void)rh_fail(&error, RH_NOT_FOUND, "there is nothing at %.200s; GET / lists what is", path);
    refuse(daemon, exchange, 404, &error);
  } else if (strcmp(method, "OPTIONS") == 0) {
    answer_preflight(daemon, exchange, allowed_methods(&who, path).text);
  } else if (!rh_cors_allows(daemon, exchange)) {
    (void)rh_fail(&error, RH_INVALID,
                  "web pages from %.200s may not use this server; set \"cors_origin\" to allow them",
                  rh_http_header(exchange, "Origin"));
    refuse(daemon, exchange, 403, &error);
  } else {
    begin(daemon, exchange, &who);
  }
}

static void answer_page(rh_daemon *daemon, rh_http_exchange *exchange) {
  const rh_page *page = find_page(rh_http_path(exchange));
  char id[RH_ID_SIZE];
  rh_id_make(id, "req-");
  rh_headers_common(daemon, exchange, id);
  rh_page_answer answer = {.status = 200, .content_type = "application/json"};
  rh_dynbuf_init(&answer.body, RH_PAGE_BYTES_MAX);
  page->render(daemon, exchange, id, &answer);
  if (answer.body.failed) answer.status = 500;
  (void)rh_http_respond(exchange, answer.status, answer.content_type, rh_dynbuf_data(&answer.body), answer.body.length);
  rh_dynbuf_free(&answer.body);
  rh_account_plain(daemon, page->name, answer.status);
}

void rh_routes_request(void *ctx, rh_http_exchange *exchange) {
  rh_handler *handler = rh_http_user(exchange);
  if (handler != NULL)
    handler->ops->request(handler);
  else
    answer_page(ctx, exchange);
}

void rh_routes_drain(void *ctx, rh_http_exchange *exchange) {
  (void)ctx;
  rh_handler *handler = rh_http_user(exchange);
  if (handler != NULL) handler->ops->drain(handler);
}

void rh_routes_done(void *ctx, rh_http_exchange *exchange, bool complete) {
  (void)ctx;
  (void)complete;
  rh_handler *handler = rh_http_user(exchange);
  rh_http_set_user(exchange, NULL);
  if (handler != NULL) handler->ops->done(handler);
}
