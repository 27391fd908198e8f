// SPDX-License-Identifier: Apache-2.0
//
// POST /api/route/explain: which model would answer a request, and why, without running it. The body is a chat request's, or
// "prompt" in place of its messages; headers count as on a real request. Owns the request while it is looked at. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "daemon/operation.h"

#define ENDPOINT "/v1/chat/completions"
#define WARNINGS_BYTES_MAX 4096

// The body with "prompt" turned into one message of the user. New reference; NULL: *error says why.
static json_t *chat_body(const rh_operation *operation, rh_error *error) {
  const char *prompt = NULL;
  json_t *body = json_copy(operation->body);
  rh_status status = body != NULL ? rh_json_get_string(body, "", "prompt", &prompt, error)
                                  : rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  if (status == RH_OK && prompt != NULL && json_object_get(body, "messages") != NULL) {
    status = rh_fail_param(error, RH_INVALID, "prompt", "give \"prompt\" or \"messages\", not both");
  }
  if (status == RH_OK && prompt != NULL) {
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", prompt);
    bool good = messages != NULL && json_object_set_new(body, "messages", messages) == 0;
    if (good) (void)json_object_del(body, "prompt");
    if (!good) status = rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  } else if (status == RH_OK && json_object_get(body, "messages") == NULL) {
    status = rh_fail_param(error, RH_INVALID, "prompt", "give a \"prompt\", or \"messages\" as in a chat request");
  }
  if (status == RH_OK) return body;
  json_decref(body);
  return NULL;
}

static const char *find_header(void *ctx, const char *name) { return rh_http_header(ctx, name); }

static json_t *explain(rh_operation *operation, rh_asked *asked, rh_dynbuf *warnings, rh_error *error) {
  json_t *body = chat_body(operation, error);
  char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
  size_t length = text != NULL ? strlen(text) : 0;
  rh_status status = body != NULL ? RH_OK : error->status;
  json_decref(body);
  if (status == RH_OK && text != NULL) asked->arena = rh_arena_new(1024 * 1024 + 8 * length);
  if (status == RH_OK && asked->arena == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  }
  rh_request *request = &asked->request;
  rh_text_copy(request->id, sizeof request->id, operation->id);
  const rh_api_endpoint *endpoint = rh_api_find(ENDPOINT);
  if (status == RH_OK) status = endpoint->decode(text, length, asked->arena, request, warnings, error);
  if (status == RH_OK) status = rh_hints_read(operation->exchange, asked, error);
  free(text);
  if (status != RH_OK) return NULL;
  const rh_caller caller = {
      .key = operation->key,
      .address = rh_gate_address(operation->daemon, operation->exchange),
      .header = find_header,
      .header_ctx = operation->exchange,
  };
  return rh_gateway_explain(operation->daemon->gateway, request, &caller, error);
}

static void begin_explain(rh_operation *operation) {
  rh_error error = {0};
  rh_asked *asked = rh_asked_new();
  if (asked == NULL) {
    rh_operation_fail_memory(operation);
    return;
  }
  rh_dynbuf warnings;
  rh_dynbuf_init(&warnings, WARNINGS_BYTES_MAX);
  json_t *answer = explain(operation, asked, &warnings, &error);
  if (answer != NULL && warnings.length > 0) {
    json_object_set_new(answer, "warnings", json_string(rh_dynbuf_data(&warnings)));
  }
  if (answer != NULL)
    rh_operation_answer(operation, 200, answer);
  else
    rh_operation_fail(operation, &error);
  rh_dynbuf_free(&warnings);
  rh_asked_release(asked);
}

const rh_operation_route rh_routes_explain[] = {
    {"POST", "/api/route/explain", "route.explain", RH_SCOPE_INFERENCE, begin_explain},
    {.path = NULL},
};
