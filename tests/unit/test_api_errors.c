// SPDX-License-Identifier: Apache-2.0
//
// What each status means to a client, the error bodies of every endpoint, the table of endpoints, and the models list.
#include "test_api_support.h"

static const struct {
  rh_status status;
  unsigned http;
  const char *type, *code;
  bool retry;
} ROWS[] = {
    {RH_INVALID, 400, "invalid_request_error", "invalid_value", false},
    {RH_TOO_LARGE, 413, "invalid_request_error", "too_large", false},
    {RH_NOT_FOUND, 404, "invalid_request_error", "not_found", false},
    {RH_UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter", false},
    {RH_CONTEXT_OVERFLOW, 400, "invalid_request_error", "context_length_exceeded", false},
    {RH_QUEUE_FULL, 429, "rate_limit_error", "rate_limit_exceeded", true},
    {RH_DEADLINE, 504, "server_error", "deadline_exceeded", false},
    {RH_CANCELLED, 499, "invalid_request_error", "request_cancelled", false},
    {RH_UNAVAILABLE, 503, "server_error", "service_unavailable", true},
    {RH_LOAD_FAILED, 500, "server_error", "model_load_failed", false},
    {RH_PROTOCOL, 500, "server_error", "worker_protocol_error", true},
    {RH_NO_MEMORY, 503, "server_error", "out_of_memory", true},
    {RH_IO, 500, "server_error", "io_error", false},
    {RH_NO_SPACE, 507, "server_error", "disk_full", false},
    {RH_CONFLICT, 409, "invalid_request_error", "conflict", false},
    {RH_OFFLINE, 503, "server_error", "offline", false},
    {RH_NO_ROOM, 503, "server_error", "no_memory_for_model", true},
    {RH_HARDWARE, 400, "invalid_request_error", "insufficient_hardware", false},
    {RH_UNAUTHENTICATED, 401, "authentication_error", "invalid_api_key", false},
    {RH_FORBIDDEN, 403, "permission_error", "forbidden", false},
    {RH_LIMITED, 429, "rate_limit_error", "rate_limit_exceeded", true},
    {RH_BUDGET, 429, "insufficient_quota", "insufficient_quota", false},
    {RH_UPSTREAM, 502, "server_error", "upstream_error", true},
    {RH_INTERNAL, 500, "server_error", "internal_error", false},
};

static void every_status(void **state) {
  (void)state;
  assert_int_equal(COUNT(ROWS) + 2, RH_STATUS_COUNT);  // all but OK and AGAIN
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    char expected[512];
    rh_error error = {0};
    rh_dynbuf out;
    rh_dynbuf_init(&out, 4096);
    (void)rh_fail(&error, ROWS[i].status, "it \"broke\"");
    assert_int_equal(rh_api_http_status(ROWS[i].status), ROWS[i].http);
    assert_int_equal(rh_api_should_retry(ROWS[i].status), ROWS[i].retry);
    assert_int_equal(rh_api_error_body("/nowhere", "r1", &error, &out), RH_OK);
    (void)snprintf(expected, sizeof expected,
                   "{\"error\":{\"message\":\"it \\\"broke\\\"\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"},"
                   "\"request_id\":\"r1\"}",
                   ROWS[i].type, ROWS[i].code);
    assert_string_equal(rh_dynbuf_data(&out), expected);
    rh_dynbuf_free(&out);
  }
}

#define NO_MODEL             \
  "{\"message\":\"no model " \
  "\\\"x\\\"\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}"

#define ANTHROPIC_NO_MODEL "{\"type\":\"not_found_error\",\"message\":\"no model \\\"x\\\"\"}"

static void error_shapes(void **state) {
  (void)state;
  static const struct {
    const char *path;
    bool in_stream;
    const char *expected;
  } SHAPES[] = {
      {"/v1/chat/completions", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/v1/chat/completions", true, "data: {\"error\":" NO_MODEL ",\"request_id\":\"r\"}\n\ndata: [DONE]\n\n"},
      {"/v1/completions", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/v1/completions", true, "data: {\"error\":" NO_MODEL ",\"request_id\":\"r\"}\n\ndata: [DONE]\n\n"},
      {"/generate", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/generate", true, "event: error\ndata: {\"request_id\":\"r\",\"error\":" NO_MODEL "}\n\n"},
      {"/v1/embeddings", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/v2/rerank", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/api/embed", false, "{\"error\":\"no model \\\"x\\\"\"}"},
      {"/api/embeddings", false, "{\"error\":\"no model \\\"x\\\"\"}"},
      {"/api/inference", false, "{\"error\":" NO_MODEL ",\"request_id\":\"r\"}"},
      {"/v1/messages", false, "{\"type\":\"error\",\"error\":" ANTHROPIC_NO_MODEL ",\"request_id\":\"r\"}"},
      {"/v1/messages", true,
       "event: error\ndata: {\"type\":\"error\",\"error\":" ANTHROPIC_NO_MODEL ",\"request_id\":\"r\"}\n\n"},
      {"/api/inference/stream", true, "event: error\ndata: {\"request_id\":\"r\",\"error\":" NO_MODEL "}\n\n"},
  };
  rh_error error = {0};
  (void)rh_fail_param(&error, RH_NOT_FOUND, "model", "no model \"x\"");
  for (size_t i = 0; i < COUNT(SHAPES); i++) {
    rh_dynbuf out;
    rh_dynbuf_init(&out, 4096);
    assert_int_equal(rh_api_find(SHAPES[i].path)->encode_error("r", &error, SHAPES[i].in_stream, &out), RH_OK);
    assert_string_equal(rh_dynbuf_data(&out), SHAPES[i].expected);
    rh_dynbuf_clear(&out);
    if (!SHAPES[i].in_stream) {
      assert_int_equal(rh_api_error_body(SHAPES[i].path, "r", &error, &out), RH_OK);
      assert_string_equal(rh_dynbuf_data(&out), SHAPES[i].expected);
    }
    rh_dynbuf_free(&out);
  }
}

static void bare_error(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_error error = {.status = RH_INTERNAL};
  rh_dynbuf_init(&out, 4096);
  assert_int_equal(rh_api_error_body(NULL, NULL, &error, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out),
                      "{\"error\":{\"message\":\"internal\",\"type\":\"server_error\",\"param\":null,"
                      "\"code\":\"internal_error\"}}");
  rh_dynbuf_free(&out);
  rh_dynbuf_init(&out, 10);
  assert_int_equal(rh_api_error_body(NULL, NULL, &error, &out), RH_TOO_LARGE);
  rh_dynbuf_free(&out);
}

// Every status has one of the words that Anthropic's clients know.
static void anthropic_error_types(void **state) {
  (void)state;
  static const struct {
    rh_status status;
    const char *type, *message;
  } SHAPES[] = {
      {RH_INVALID, "invalid_request_error", "it broke"},
      {RH_TOO_LARGE, "request_too_large", "it broke"},
      {RH_CONTEXT_OVERFLOW, "invalid_request_error", "prompt is too long: it broke"},
      {RH_QUEUE_FULL, "rate_limit_error", "it broke"},
      {RH_LIMITED, "rate_limit_error", "it broke"},
      {RH_BUDGET, "billing_error", "it broke"},
      {RH_UNAUTHENTICATED, "authentication_error", "it broke"},
      {RH_FORBIDDEN, "permission_error", "it broke"},
      {RH_DEADLINE, "timeout_error", "it broke"},
      {RH_UNAVAILABLE, "overloaded_error", "it broke"},
      {RH_UPSTREAM, "api_error", "it broke"},
      {RH_INTERNAL, "api_error", "it broke"},
  };
  for (size_t i = 0; i < COUNT(SHAPES); i++) {
    char expected[256];
    rh_error error = {0};
    rh_dynbuf out;
    rh_dynbuf_init(&out, 4096);
    (void)rh_fail(&error, SHAPES[i].status, "it broke");
    // Also for a path of the dialect that is no endpoint.
    assert_int_equal(rh_api_error_body("/v1/messages/batches", NULL, &error, &out), RH_OK);
    (void)snprintf(expected, sizeof expected,
                   "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\"},\"request_id\":null}",
                   SHAPES[i].type, SHAPES[i].message);
    assert_string_equal(rh_dynbuf_data(&out), expected);
    rh_dynbuf_free(&out);
  }
}

// Ollama's clients show the text as it is.
static void ollama_error_shape(void **state) {
  (void)state;
  rh_error error;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 4096);
  (void)rh_fail_param(&error, RH_NOT_FOUND, "model", "the model \"x\" is not here");
  assert_int_equal(rh_api_error_body("/api/show", TEST_ID, &error, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "{\"error\":\"the model \\\"x\\\" is not here\"}");
  rh_dynbuf_free(&out);
  assert_true(rh_api_is_ollama_path("/api/tags") && rh_api_is_ollama_path("/api/blobs/sha256:1"));
  assert_false(rh_api_is_ollama_path("/api/models/pull") || rh_api_is_ollama_path("/api/health"));
}

static void endpoints(void **state) {
  (void)state;
  size_t count = 0;
  for (const rh_api_endpoint *const *at = rh_api_all(); *at != NULL; at++, count++) {
    assert_ptr_equal(rh_api_find((*at)->path), *at);
    assert_non_null((*at)->decode);
    assert_non_null((*at)->encode);
    assert_non_null((*at)->encode_error);
    assert_string_equal((*at)->stream_type, "text/event-stream");
    bool anthropic = strcmp((*at)->path, "/v1/messages") == 0;
    assert_string_equal((*at)->ping, anthropic ? "event: ping\ndata: {\"type\": \"ping\"}\n\n" : ": ping\n\n");
  }
  assert_int_equal(count, 10);
  assert_ptr_equal(rh_api_find("/rerank"), rh_api_find("/v1/rerank"));
  assert_ptr_equal(rh_api_find("/v2/rerank"), rh_api_find("/v1/rerank"));
  assert_null(rh_api_find("/v1/chat/completions/"));
  assert_null(rh_api_find("/"));
}

#define EMBEDDER                                                                                                      \
  "{\"id\":\"c\",\"object\":\"model\",\"created\":6,\"owned_by\":\"roundhouse\",\"roundhouse\":{\"state\":\"ready\"," \
  "\"engine\":\"onnx\",\"version\":null,\"aliases\":[],\"task\":\"embed\",\"engine_version\":null,\"description\":"   \
  "null,"                                                                                                             \
  "\"architecture\":null,\"quantization\":null,\"device\":null,\"acceleration\":null,\"context\":256,"                \
  "\"context_trained\":null,\"slots\":null,\"vocabulary\":null,\"parameters\":null,\"bytes\":null,"                   \
  "\"dimensions\":384,\"fallback\":\"no GPU\",\"chat_template\":false}}"
#define COLD                                                                                                         \
  "{\"id\":\"b\",\"object\":\"model\",\"created\":5,\"owned_by\":\"roundhouse\",\"roundhouse\":{\"state\":\"cold\"," \
  "\"engine\":\"llama\",\"version\":null,\"aliases\":[]}}"
#define READY                                                                                                       \
  "{\"id\":\"a:v1\",\"object\":\"model\",\"created\":4,\"owned_by\":\"roundhouse\",\"roundhouse\":{\"state\":"      \
  "\"ready\","                                                                                                      \
  "\"engine\":\"fake\",\"version\":\"v1\",\"aliases\":[\"fast\",\"gpu\"],\"engine_version\":\"1\",\"description\":" \
  "null,\"architecture\":null,\"quantization\":\"none\","                                                           \
  "\"device\":\"cpu\",\"acceleration\":\"avx2\",\"context\":4096,\"context_trained\":null,\"slots\":4,"             \
  "\"vocabulary\":null,\"parameters\":null,\"bytes\":null,\"chat_template\":false}}"

static void models(void **state) {
  (void)state;
  rh_model_info info = test_info();
  static const char *const aliases[] = {"fast", "gpu", NULL};
  const rh_api_model list[] = {
      {.name = "a:v1",
       .created = 4,
       .state = "ready",
       .engine = "fake",
       .version = "v1",
       .aliases = aliases,
       .info = &info},
      {.name = "b", .created = 5, .state = "cold", .engine = "llama"},
  };
  rh_dynbuf out;
  rh_dynbuf_init(&out, 4096);
  assert_int_equal(rh_api_model_list(list, 2, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "{\"object\":\"list\",\"data\":[" READY "," COLD "]}");
  rh_dynbuf_clear(&out);
  assert_int_equal(rh_api_model_list(NULL, 0, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "{\"object\":\"list\",\"data\":[]}");
  rh_dynbuf_clear(&out);
  assert_int_equal(rh_api_model_one(&list[1], &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), COLD);
  // The worker's word for what a model is for wins over what was known before.
  const rh_model_info embedder = {.task = "embed", .dimensions = 384, .context = 256, .fallback = "no GPU"};
  const rh_api_model third = {
      .name = "c", .created = 6, .state = "ready", .engine = "onnx", .task = "feature-extraction", .info = &embedder};
  rh_dynbuf_clear(&out);
  assert_int_equal(rh_api_model_one(&third, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), EMBEDDER);
  rh_dynbuf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_status),          cmocka_unit_test(error_shapes), cmocka_unit_test(bare_error),
      cmocka_unit_test(ollama_error_shape),    cmocka_unit_test(endpoints),    cmocka_unit_test(models),
      cmocka_unit_test(anthropic_error_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
