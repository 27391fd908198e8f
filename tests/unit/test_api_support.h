// SPDX-License-Identifier: Apache-2.0
//
// What the tests of src/api share: decode a body, push events, compare bytes. Header only, so that each test is one
// file.
#ifndef RH_TEST_API_SUPPORT_H
#define RH_TEST_API_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/json.h"
#include "base/version.h"

#define TEST_ID "req_0123456789abcdef0123456789abcdef"
#define TEST_ID_DIGITS "0123456789abcdef0123456789abcdef"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// One request and its answer. Made by `decode_ok`, freed by `test_end`.
typedef struct test_case {
  const rh_api_endpoint *endpoint;
  rh_arena *arena;
  rh_request request;
  rh_dynbuf warnings;
  rh_error error;
  rh_answer_meta meta;
  rh_encoder *encoder;
  rh_dynbuf out;
  bool finished;
} test_case;

static inline rh_model_info test_info(void) {
  return (rh_model_info){.engine = "fake",
                         .engine_version = "1",
                         .quantization = "none",
                         .device = "cpu",
                         .acceleration = "avx2",
                         .context = 4096,
                         .slots = 4};
}

// 12 ms in all, 5 ms to the first token; the engine's time makes the tokens per second.
static inline rh_answer_meta test_meta(const rh_model_info *info) {
  return (rh_answer_meta){.model = "tiny",
                          .version = "",
                          .host = "box",
                          .provider = "local",
                          .info = info,
                          .route_reason = "asked for by name",
                          .cache = "off",
                          .created = 1700000000,
                          .received_ns = 1000000,
                          .first_token_ns = 6000000,
                          .finished_ns = 13000000};
}

// The roundhouse object of that meta; the rate is left to the test.
#define TEST_ORIGIN(rate)                                                                                         \
  "\"version\":null,\"provider\":\"local\",\"host\":\"box\",\"engine\":\"fake\",\"device\":\"cpu\","              \
  "\"quantization\":\"none\",\"acceleration\":\"avx2\",\"route_reason\":\"asked for by name\",\"cache\":\"off\"," \
  "\"cost_usd\":0,\"latency_ms\":12.000,\"first_token_latency_ms\":5.000,\"tokens_per_second\":" rate

static inline rh_status test_decode(test_case *test, const char *path, const char *body) {
  *test = (test_case){.endpoint = rh_api_find(path)};
  assert_non_null(test->endpoint);
  test->arena = rh_arena_new(1024 * 1024);
  assert_non_null(test->arena);
  rh_dynbuf_init(&test->warnings, 1024);
  rh_dynbuf_init(&test->out, 64u * 1024 * 1024);
  (void)snprintf(test->request.id, sizeof test->request.id, "%s", TEST_ID);
  return test->endpoint->decode(body, strlen(body), test->arena, &test->request, &test->warnings, &test->error);
}

static inline void test_end(test_case *test) {
  rh_encoder_free(test->encoder);
  rh_dynbuf_free(&test->warnings);
  rh_dynbuf_free(&test->out);
  rh_arena_free(test->arena);
}

// Decode what must be right and be ready to encode.
static inline void test_begin(test_case *test, const char *path, const char *body, const rh_model_info *info) {
  rh_status status = test_decode(test, path, body);
  if (status != RH_OK) fail_msg("%s: %s", body, test->error.message);
  assert_string_equal(test->request.id, TEST_ID);
  test->meta = test_meta(info);
  test->encoder = rh_encoder_new(test->endpoint, &test->request, &test->meta, rh_dynbuf_data(&test->warnings));
  assert_non_null(test->encoder);
}

static inline void push(test_case *test, const rh_event *event) {
  assert_int_equal(rh_encoder_push(test->encoder, event, &test->out, &test->finished), RH_OK);
}

static inline void push_start(test_case *test, uint32_t choice, int64_t prompt_tokens, int64_t cached_tokens) {
  push(test, &(rh_event){.kind = RH_EVENT_START,
                         .choice = choice,
                         .as.start = {.prompt_tokens = prompt_tokens, .cached_tokens = cached_tokens}});
}

static inline void push_text(test_case *test, uint32_t choice, const char *text) {
  push(test, &(rh_event){.kind = RH_EVENT_DELTA,
                         .choice = choice,
                         .as.delta = {.text = text, .length = strlen(text), .token_count = 1}});
}

static inline void push_usage(test_case *test, uint32_t choice, rh_usage usage) {
  push(test, &(rh_event){.kind = RH_EVENT_USAGE, .choice = choice, .as.usage = usage});
}

static inline void push_end(test_case *test, uint32_t choice, rh_finish finish) {
  push(test, &(rh_event){.kind = RH_EVENT_END, .choice = choice, .as.end = {.finish = finish}});
}

// The bytes written since the last look.
static inline void expect_out(test_case *test, const char *expected) {
  assert_string_equal(rh_dynbuf_data(&test->out), expected);
  rh_dynbuf_clear(&test->out);
}

// One row of a table of bodies that must be refused.
typedef struct bad_body {
  const char *body;
  rh_status status;
  const char *param;
  const char *words;  // part of the message
} bad_body;

static inline void expect_refused(const char *path, const bad_body *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    test_case test;
    rh_status status = test_decode(&test, path, rows[i].body);
    bool right = status == rows[i].status && test.error.status == rows[i].status &&
                 strcmp(test.error.param, rows[i].param) == 0 && strstr(test.error.message, rows[i].words) != NULL;
    if (!right) {
      fail_msg("%.200s\n gave %s, param \"%s\", message \"%s\"", rows[i].body, rh_status_name(status), test.error.param,
               test.error.message);
    }
    test_end(&test);
  }
}

// Decode with every size of the request's memory from nothing upwards: each must end in RH_TOO_LARGE or RH_OK.
static inline void expect_bounded_memory(const char *path, const char *body) {
  const rh_api_endpoint *endpoint = rh_api_find(path);
  rh_status status = RH_TOO_LARGE;
  for (size_t bytes = 0; status != RH_OK; bytes += 8) {
    assert_true(bytes < 65536);
    rh_arena *arena = rh_arena_new(bytes);
    rh_request request = {0};
    rh_dynbuf warnings;
    rh_error error = {0};
    assert_non_null(arena);
    rh_dynbuf_init(&warnings, bytes / 16);
    status = endpoint->decode(body, strlen(body), arena, &request, &warnings, &error);
    if (status != RH_OK) {
      assert_int_equal(status, RH_TOO_LARGE);
      assert_int_equal(error.status, RH_TOO_LARGE);
      assert_true(error.message[0] != '\0');
    }
    rh_dynbuf_free(&warnings);
    rh_arena_free(arena);
  }
}

#endif
