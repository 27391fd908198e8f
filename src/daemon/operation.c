// SPDX-License-Identifier: Apache-2.0
//
// The life of an operation: found by method and path, begun when its body is whole, answered at once, later, or line by
// line; counted and logged when the exchange is over. Loop thread only; an operation is freed when http is done with it.
// What operations do is in admin*.c, gateway_*.c and ollama*.c.
#include "daemon/operation.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define BODY_BYTES_MAX ((size_t)64 * 1024 * 1024)  // of an answer
#define LINE_TYPE "application/x-ndjson"

static const char *const scope_names[] = {
    [RH_SCOPE_READ] = "read", [RH_SCOPE_INFERENCE] = "inference", [RH_SCOPE_ADMIN] = "admin"};

// --- routes --------------------------------------------------------------------------------------------------------

static bool matches(const rh_operation_route *route, const char *path) {
  size_t length = strlen(route->path);
  if (route->path[length - 1] != '/') return strcmp(route->path, path) == 0;
  return strncmp(route->path, path, length) == 0 && path[length] != '\0';
}

const rh_operation_route *rh_operation_find(const char *method, const char *path) {
  const rh_operation_route *const tables[] = {rh_routes_admin,    rh_routes_cancel, rh_routes_explain,
                                              rh_routes_usage,    rh_routes_keys,   rh_routes_experiments,
                                              rh_routes_feedback, rh_routes_ollama};
  const rh_operation_route *best = NULL;
  if (strcmp(method, "HEAD") == 0) method = "GET";
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    for (const rh_operation_route *at = tables[i]; at->path != NULL; at++) {
      if (strcmp(at->method, method) != 0 || !matches(at, path)) continue;
      // An exact path is longer than any prefix of it.
      if (best == NULL || strlen(at->path) > strlen(best->path)) best = at;
    }
  }
  return best;
}

bool rh_operation_body_expected(const rh_http_exchange *exchange) {
  const char *length = rh_http_header(exchange, "Content-Length");
  if (rh_http_header(exchange, "Transfer-Encoding") != NULL) return true;
  return length != NULL && strcmp(length, "0") != 0;
}

// --- answers -------------------------------------------------------------------------------------------------------

static void mark_answered(rh_operation *operation, unsigned status) {
  operation->answered = true;
  operation->answered_ns = rh_clock_now_ns();
  if (!operation->streaming) operation->http_status = status;
}

static void respond(rh_operation *operation, unsigned status, const rh_dynbuf *body) {
  mark_answered(operation, status);
  (void)rh_http_respond(operation->exchange, status, "application/json", rh_dynbuf_data(body), body->length);
}

void rh_operation_answer(rh_operation *operation, unsigned status, json_t *value) {
  if (operation->answered) {
    json_decref(value);
    return;
  }
  rh_dynbuf body;
  rh_dynbuf_init(&body, BODY_BYTES_MAX);
  bool whole = value != NULL && rh_json_append_value(&body, value) == RH_OK;
  json_decref(value);
  if (whole) {
    respond(operation, status, &body);
  } else {
    rh_error error;
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for this answer; try again later");
    rh_operation_fail(operation, &error);
  }
  rh_dynbuf_free(&body);
}

void rh_operation_answer_empty(rh_operation *operation, unsigned status) {
  if (operation->answered) return;
  mark_answered(operation, status);
  (void)rh_http_respond(operation->exchange, status, NULL, "", 0);
}

void rh_operation_answer_text(rh_operation *operation, unsigned status, const char *type, const char *text) {
  if (operation->answered) return;
  if (text == NULL) {
    rh_operation_fail_memory(operation);
    return;
  }
  mark_answered(operation, status);
  (void)rh_http_respond(operation->exchange, status, type, text, strlen(text));
}

static json_t *error_line(const rh_operation *operation, const rh_error *error) {
  if (rh_api_is_ollama_path(rh_http_path(operation->exchange))) return json_pack("{ss}", "error", error->message);
  const char *word = rh_status_name(error->status);
  return json_pack("{ssssssss*s{ssss}}", "event", "error", "status", word, "message", error->message, "param",
                   error->param[0] != '\0' ? error->param : NULL, "error", "status", word, "message", error->message);
}

void rh_operation_fail(rh_operation *operation, const rh_error *error) {
  if (operation->answered) return;
  operation->error = *error;
  if (operation->streaming) {
    (void)rh_operation_line(operation, error_line(operation, error));
    rh_operation_end(operation);
    return;
  }
  rh_dynbuf body;
  rh_dynbuf_init(&body, BODY_BYTES_MAX);
  (void)rh_api_error_body(rh_http_path(operation->exchange), operation->id, error, &body);
  rh_headers_error(operation->exchange, error, 1);
  respond(operation, rh_api_http_status(error->status), &body);
  rh_dynbuf_free(&body);
}

void rh_operation_fail_memory(rh_operation *operation) {
  rh_error error;
  (void)rh_fail(&error, RH_NO_MEMORY, "no memory for this request; try again later");
  rh_operation_fail(operation, &error);
}

static void begin_stream(rh_operation *operation) {
  operation->streaming = true;
  operation->http_status = 200;
  (void)rh_http_set_header(operation->exchange, "Cache-Control", "no-cache");
  (void)rh_http_set_header(operation->exchange, "X-Accel-Buffering", "no");
  (void)rh_http_stream_begin(operation->exchange, 200, LINE_TYPE);
}

rh_http_room rh_operation_line(rh_operation *operation, json_t *value) {
  if (operation->answered || value == NULL) {
    json_decref(value);
    return RH_HTTP_GONE;
  }
  rh_dynbuf line;
  rh_dynbuf_init(&line, BODY_BYTES_MAX);
  rh_http_room room = RH_HTTP_GONE;
  if (rh_json_append_value(&line, value) == RH_OK && rh_dynbuf_append_char(&line, '\n') == RH_OK) {
    if (!operation->streaming) begin_stream(operation);
    room = rh_http_stream_write(operation->exchange, rh_dynbuf_data(&line), line.length);
  }
  operation->waiting = room == RH_HTTP_WAIT;
  json_decref(value);
  rh_dynbuf_free(&line);
  return room;
}

void rh_operation_end(rh_operation *operation) {
  if (operation->answered) return;
  if (!operation->streaming) begin_stream(operation);
  mark_answered(operation, 200);
  rh_http_stream_end(operation->exchange);
}

// --- the body ------------------------------------------------------------------------------------------------------

rh_status rh_operation_text(const rh_operation *operation, const char *field, bool required, const char **out,
                            rh_error *error) {
  *out = NULL;
  rh_status status = rh_json_get_string(operation->body, "", field, out, error);
  if (status != RH_OK || !required) return status;
  if (*out == NULL) return rh_fail_param(error, RH_INVALID, field, "\"%s\" is missing", field);
  if ((*out)[0] == '\0') return rh_fail_param(error, RH_INVALID, field, "\"%s\" is empty", field);
  return RH_OK;
}

rh_status rh_operation_keep_alive(const rh_operation *operation, int64_t *out, rh_error *error) {
  const json_t *value = json_object_get(operation->body, "keep_alive");
  if (value == NULL || json_is_null(value)) return RH_OK;
  if (json_is_string(value)) return rh_keep_alive_parse(json_string_value(value), out, error);
  if (json_is_number(value) && rh_keep_alive_from_seconds(json_number_value(value), out) == RH_OK) return RH_OK;
  return rh_fail_param(error, RH_INVALID, "keep_alive",
                       "\"keep_alive\" must be a time such as \"5m\" or a number of seconds, not %s",
                       rh_json_type_name(value));
}

static bool is_known(const char *field, const char *const *known, size_t *count) {
  bool found = false;
  for (*count = 0; known[*count] != NULL; (*count)++) found = found || strcmp(field, known[*count]) == 0;
  return found;
}

rh_status rh_operation_check_fields(const rh_operation *operation, const char *const *also, rh_error *error) {
  const char *field;
  json_t *value;
  size_t count = 0;
  json_object_foreach(operation->body, field, value) {
    (void)value;
    if (is_known(field, also, &count)) continue;
    const char *near = rh_text_nearest(field, also, count);
    return rh_fail_param(error, RH_INVALID, field, "unknown field \"%.48s\"%s%s%s", field,
                         near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
  }
  return RH_OK;
}

static rh_status read_body(rh_operation *operation, rh_error *error) {
  size_t length = 0;
  const char *text = rh_http_body(operation->exchange, &length);
  if (rh_http_body_too_large(operation->exchange)) {
    return rh_fail(error, RH_TOO_LARGE, "the request's body is larger than %llu bytes; send less",
                   (unsigned long long)operation->daemon->settings->body_bytes_max);
  }
  if (length == 0 || strcmp(operation->route->method, "GET") == 0) {
    operation->body = json_object();
    return operation->body != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for this request");
  }
  rh_error inner = {0};
  operation->body = rh_json_parse(text, length, &inner);
  if (operation->body == NULL) return rh_fail(error, inner.status, "the request's body is %s", inner.message);
  if (json_is_object(operation->body)) return RH_OK;
  return rh_fail(error, RH_INVALID, "the request's body must be a JSON object, not %s",
                 rh_json_type_name(operation->body));
}

// --- its life ------------------------------------------------------------------------------------------------------

static void on_request(rh_handler *handler) {
  rh_operation *operation = (rh_operation *)(void *)handler;
  rh_error error = {0};
  rh_status status = read_body(operation, &error);
  if (status == RH_OK && operation->daemon->stopping && operation->route->scope != RH_SCOPE_READ) {
    status = rh_fail(&error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
  }
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    operation->route->begin(operation);
}

static void on_drain(rh_handler *handler) {
  rh_operation *operation = (rh_operation *)(void *)handler;
  operation->waiting = false;
  if (operation->drained != NULL && !operation->answered) operation->drained(operation);
}

static void account(const rh_operation *operation) {
  const rh_error *error = &operation->error;
  unsigned status = operation->answered ? operation->http_status : 499;
  const char *outcome = !operation->answered     ? "cancelled"
                        : error->status == RH_OK ? "ok"
                                                 : rh_status_name(error->status);
  uint64_t end = operation->answered_ns != 0 ? operation->answered_ns : rh_clock_now_ns();
  rh_account_plain(operation->daemon, operation->route->name, status);
  RH_LOG(status >= 500                              ? RH_LOG_WARN
         : operation->route->scope == RH_SCOPE_READ ? RH_LOG_DEBUG
                                                    : RH_LOG_INFO,
         "operation", rh_log_str("request_id", operation->id), rh_log_str("route", operation->route->name),
         rh_log_str("scope", scope_names[operation->route->scope]), rh_log_int("status", status),
         rh_log_str("outcome", outcome), rh_log_num("latency_ms", rh_ns_to_ms(end - operation->received_ns)),
         error->status != RH_OK ? rh_log_str("error", error->message) : (rh_log_field){.type = RH_FIELD_END},
         (rh_log_field){.type = RH_FIELD_END});
}

static void on_done(rh_handler *handler) {
  rh_operation *operation = (rh_operation *)(void *)handler;
  rh_daemon *daemon = operation->daemon;
  if (operation->gone != NULL) operation->gone(operation);
  account(operation);
  rh_list_remove(&daemon->operations, &operation->node);
  json_decref(operation->body);
  if (operation->key != NULL) rh_key_release(operation->key);
  free(operation);
  rh_daemon_call_done(daemon);
}

void rh_operation_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_operation_route *route, rh_key *key) {
  static const rh_handler_ops ops = {.request = on_request, .drain = on_drain, .done = on_done};
  rh_operation *operation = calloc(1, sizeof *operation);
  if (operation == NULL) {
    rh_error error;
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for this request; try again later");
    rh_answer_plain_error(daemon, exchange, "", &error);
    return;
  }
  size_t length = strlen(route->path);
  *operation = (rh_operation){
      .handler.ops = &ops,
      .daemon = daemon,
      .exchange = exchange,
      .route = route,
      .key = key,
      .rest = route->path[length - 1] == '/' ? rh_http_path(exchange) + length : "",
      .received_ns = rh_http_received_ns(exchange),
  };
  if (key != NULL) rh_key_hold(key);
  rh_id_make(operation->id, "req-");
  rh_list_push_back(&daemon->operations, &operation->node);
  rh_http_set_user(exchange, operation);
  rh_headers_common(daemon, exchange, operation->id);
}

void rh_operations_stop(rh_daemon *daemon, const rh_error *error) {
  rh_list_each(&daemon->operations, node) {
    rh_operation *operation = rh_list_entry(node, rh_operation, node);
    // One whose body is still on its way is told when it is here.
    if (operation->body != NULL) rh_operation_fail(operation, error);
  }
}
