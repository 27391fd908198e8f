// SPDX-License-Identifier: Apache-2.0
//
// Errors as clients see them: one table from our status to HTTP status, OpenAI's words and whether trying again makes
// sense; and the error bodies in OpenAI's, Anthropic's and Ollama's shapes. Pure, any thread.
#include "api/errors.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "api/encoder.h"

// Clients' libraries try again by themselves on 408, 409, 429 and 5xx unless x-should-retry says false. So `retry` is
// true only where a moment may change the outcome: a queue drains, a worker comes back, memory is freed. A deadline
// that has passed would pass again, with the same work done twice; a model that cannot be loaded stays so until
// somebody acts; and what broke for a reason of our own is likely to break again.
static const rh_api_error_row ROWS[RH_STATUS_COUNT] = {
    [RH_OK] = {200, "server_error", "internal_error", false, "api_error"},  // never sent: there is no error to tell
    [RH_AGAIN] = {500, "server_error", "internal_error", false,
                  "api_error"},  // never sent: an answer to callers, not to clients
    [RH_INVALID] = {400, "invalid_request_error", "invalid_value", false, "invalid_request_error"},
    [RH_TOO_LARGE] = {413, "invalid_request_error", "too_large", false, "request_too_large"},
    [RH_NOT_FOUND] = {404, "invalid_request_error", "not_found", false, "not_found_error"},
    [RH_UNSUPPORTED] = {400, "invalid_request_error", "unsupported_parameter", false, "invalid_request_error"},
    [RH_CONTEXT_OVERFLOW] = {400, "invalid_request_error", "context_length_exceeded", false, "invalid_request_error"},
    [RH_QUEUE_FULL] = {429, "rate_limit_error", "rate_limit_exceeded", true, "rate_limit_error"},
    [RH_DEADLINE] = {504, "server_error", "deadline_exceeded", false, "timeout_error"},
    [RH_CANCELLED] = {499, "invalid_request_error", "request_cancelled", false, "invalid_request_error"},
    [RH_UNAVAILABLE] = {503, "server_error", "service_unavailable", true, "overloaded_error"},
    [RH_LOAD_FAILED] = {500, "server_error", "model_load_failed", false, "api_error"},
    [RH_PROTOCOL] = {500, "server_error", "worker_protocol_error", true, "api_error"},  // that worker is replaced
    [RH_NO_MEMORY] = {503, "server_error", "out_of_memory", true, "overloaded_error"},
    [RH_IO] = {500, "server_error", "io_error", false, "api_error"},
    [RH_NO_SPACE] = {507, "server_error", "disk_full", false, "api_error"},
    [RH_CONFLICT] = {409, "invalid_request_error", "conflict", false, "conflict_error"},
    [RH_OFFLINE] = {503, "server_error", "offline", false, "api_error"},
    [RH_NO_ROOM] = {503, "server_error", "no_memory_for_model", true, "overloaded_error"},
    [RH_HARDWARE] = {400, "invalid_request_error", "insufficient_hardware", false, "invalid_request_error"},
    [RH_UNAUTHENTICATED] = {401, "authentication_error", "invalid_api_key", false, "authentication_error"},
    [RH_FORBIDDEN] = {403, "permission_error", "forbidden", false, "permission_error"},
    [RH_LIMITED] = {429, "rate_limit_error", "rate_limit_exceeded", true, "rate_limit_error"},
    [RH_BUDGET] = {429, "insufficient_quota", "insufficient_quota", false, "billing_error"},
    [RH_UPSTREAM] = {502, "server_error", "upstream_error", true, "api_error"},
    [RH_INTERNAL] = {500, "server_error", "internal_error", false, "api_error"},
};

const rh_api_error_row *rh_api_error_find(rh_status status) {
  bool known = (int)status >= 0 && status < RH_STATUS_COUNT;
  assert(known);
  return known ? &ROWS[status] : &ROWS[RH_INTERNAL];
}

unsigned rh_api_http_status(rh_status status) { return rh_api_error_find(status)->http; }

bool rh_api_should_retry(rh_status status) { return rh_api_error_find(status)->retry; }

static const char *code_of(const rh_error *error) {
  if (error->status == RH_NOT_FOUND && strcmp(error->param, "model") == 0) return "model_not_found";
  return rh_api_error_find(error->status)->code;
}

void rh_api_put_error(rh_dynbuf *out, const rh_error *error) {
  const char *message = error->message[0] != '\0' ? error->message : rh_status_name(error->status);
  rh_put(out, "{\"message\":");
  rh_put_string(out, message);
  rh_put(out, ",\"type\":");
  rh_put_string(out, rh_api_error_find(error->status)->type);
  rh_put(out, ",\"param\":");
  rh_put_string_or_null(out, error->param);
  rh_put(out, ",\"code\":");
  rh_put_string(out, code_of(error));
  rh_put(out, "}");
}

static void put_body(rh_dynbuf *out, const char *request_id, const rh_error *error) {
  rh_put(out, "{\"error\":");
  rh_api_put_error(out, error);
  if (request_id != NULL && request_id[0] != '\0') {
    rh_put(out, ",\"request_id\":");
    rh_put_string(out, request_id);
  }
  rh_put(out, "}");
}

rh_status rh_openai_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out) {
  if (in_stream) rh_put(out, "data: ");
  put_body(out, request_id, error);
  if (in_stream) rh_put(out, "\n\ndata: [DONE]\n\n");
  return rh_put_status(out);
}

bool rh_api_is_ollama_path(const char *path) {
  static const char *const PATHS[] = {"/api/tags",    "/api/show",   "/api/ps",        "/api/pull",
                                      "/api/copy",    "/api/delete", "/api/push",      "/api/create",
                                      "/api/version", "/api/embed",  "/api/embeddings"};
  for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
    if (strcmp(path, PATHS[i]) == 0) return true;
  }
  return strncmp(path, "/api/blobs/", 11) == 0;
}

// Clients that make room by themselves know this one by its first words.
static const char *anthropic_opening(rh_status status) {
  return status == RH_CONTEXT_OVERFLOW ? "prompt is too long: " : "";
}

rh_status rh_anthropic_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out) {
  char message[sizeof error->message + 32];
  const char *text = error->message[0] != '\0' ? error->message : rh_status_name(error->status);
  (void)snprintf(message, sizeof message, "%s%s", anthropic_opening(error->status), text);
  if (in_stream) rh_put(out, "event: error\ndata: ");
  rh_put(out, "{\"type\":\"error\",\"error\":{\"type\":");
  rh_put_string(out, rh_api_error_find(error->status)->anthropic);
  rh_put(out, ",\"message\":");
  rh_put_string(out, message);
  rh_put(out, "},\"request_id\":");
  rh_put_string_or_null(out, request_id);
  rh_put(out, in_stream ? "}\n\n" : "}");
  return rh_put_status(out);
}

rh_status rh_ollama_put_error(rh_dynbuf *out, const rh_error *error) {
  rh_put(out, "{\"error\":");
  rh_put_string(out, error->message[0] != '\0' ? error->message : rh_status_name(error->status));
  rh_put(out, "}");
  return rh_put_status(out);
}

rh_status rh_api_error_body(const char *path, const char *request_id, const rh_error *error, rh_dynbuf *out) {
  const rh_api_endpoint *endpoint = path == NULL ? NULL : rh_api_find(path);
  if (endpoint != NULL) return endpoint->encode_error(request_id, error, false, out);
  if (path != NULL && strncmp(path, "/v1/messages/", 13) == 0) {
    return rh_anthropic_encode_error(request_id, error, false, out);
  }
  if (path != NULL && rh_api_is_ollama_path(path)) return rh_ollama_put_error(out, error);
  return rh_openai_encode_error(request_id, error, false, out);
}
