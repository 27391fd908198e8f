// SPDX-License-Identifier: Apache-2.0
//
// The endpoints of tasks that do not generate: bodies to requests, results to exact bytes, and all that must be refused.
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "api/base64.h"
#include "api/half.h"
#include "api/infer.h"
#include "test_api_support.h"

#define EMBEDDINGS "/v1/embeddings"
#define RERANK "/v1/rerank"
#define EMBED "/api/embed"
#define OLDER "/api/embeddings"
#define INFERENCE "/api/inference"
#define STREAM "/api/inference/stream"

static rh_model_info embedder(void) {
  rh_model_info info = test_info();
  (void)snprintf(info.task, sizeof info.task, "embed");
  info.dimensions = 2;
  return info;
}

#define ACCELERATION                                                                                 \
  "\"acceleration\":{\"engine\":\"fake\",\"execution_provider\":\"avx2\",\"quantization\":\"none\"," \
  "\"batch_size\":2,\"padding\":0.25}"

static void push_vector(test_case *test, uint32_t item, float first, float second) {
  const float vector[] = {first, second};
  push(test,
       &(rh_event){.kind = RH_EVENT_RESULT, .as.result = {.item = item, .tokens = 3, .vector = vector, .count = 2}});
}

static rh_event failed(uint32_t item) {
  rh_event event = {.kind = RH_EVENT_RESULT, .as.result = {.kind = RH_RESULT_FAILED, .item = item}};
  (void)rh_fail(&event.as.result.error, RH_CONTEXT_OVERFLOW, "it is too long");
  return event;
}

static void finish(test_case *test) {
  push_usage(test, 0, (rh_usage){.prompt_tokens = 6, .queue_ms = 1.5, .work = {.batch_items = 2, .padding = 0.25}});
  assert_false(test->finished);
  push_end(test, 0, RH_FINISH_STOP);
  assert_true(test->finished);
}

static void expect_json(test_case *test) {
  json_t *value = rh_json_parse(rh_dynbuf_data(&test->out), test->out.length, NULL);
  assert_non_null(value);
  json_decref(value);
}

// --- numbers -------------------------------------------------------------------------------------------------------

static void float_to_text(float value, char out[40]) {
  rh_dynbuf buffer;
  rh_dynbuf_init(&buffer, 64);
  rh_put_float(&buffer, value);
  (void)snprintf(out, 40, "%s", rh_dynbuf_data(&buffer));
  rh_dynbuf_free(&buffer);
}

static void floats_are_short(void **state) {
  (void)state;
  static const struct {
    float value;
    const char *text;
  } ROWS[] = {{0, "0"},
              {1, "1"},
              {-1, "-1"},
              {0.5f, "0.5"},
              {0.1f, "0.1"},
              {-0.05f, "-0.05"},
              {100, "100"},
              {1234567, "1234567"},
              {12345678, "12345678"},
              {0.3f, "0.3"},
              {0.7f, "0.7"},
              {9999999, "9999999"},
              {2e-5f, "0.00002"},
              {1e-5f, "9.99999975e-06"},
              {0.333333333f, "0.33333334"},
              {16777216, "16777216"},
              {NAN, "\"NaN\""},
              {-INFINITY, "\"-Infinity\""}};
  char text[40];
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    float_to_text(ROWS[i].value, text);
    assert_string_equal(text, ROWS[i].text);
  }
}

// Every float comes back as it was, also by way of a double, which is how most parsers read.
static void floats_come_back(void **state) {
  (void)state;
  uint32_t bits = 1;
  char text[40];
  for (int i = 0; i < 300000; i++) {
    bits = bits * 1664525u + 1013904223u;
    // Every second one is of a vector's size.
    uint32_t kept = i % 2 == 0 ? bits : (bits & 0x83ffffffu) | 0x3c000000u;
    float value;
    memcpy(&value, &kept, sizeof value);
    if (!isfinite(value)) continue;
    float_to_text(value, text);
    float direct = strtof(text, NULL), by_double = (float)strtod(text, NULL);
    if (memcmp(&direct, &value, sizeof value) != 0 || memcmp(&by_double, &value, sizeof value) != 0) {
      fail_msg("%.9g became %s", (double)value, text);
    }
  }
}

static void halves(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits < 65536; bits++) {
    double value = rh_half_to_number((uint16_t)bits);
    if (!isnan(value)) assert_int_equal(rh_half_from_number(value), bits);
    double brain = rh_bfloat_to_number((uint16_t)bits);
    if (!isnan(brain)) assert_int_equal(rh_bfloat_from_number(brain), bits);
  }
  assert_int_equal(rh_half_from_number(65519), 0x7bff);
  assert_int_equal(rh_half_from_number(65520), 0x7c00);
  assert_int_equal(rh_half_from_number(1 + 1.0 / 2048), 0x3c00);  // a tie goes to the even one
  assert_int_equal(rh_half_from_number(1 + 3.0 / 2048), 0x3c02);
  assert_int_equal(rh_half_from_number(ldexp(1, -25)), 0);
  assert_int_equal(rh_half_from_number(ldexp(1.5, -25)), 1);
  assert_true(isnan(rh_half_to_number(rh_half_from_number((double)NAN))));
}

static void base64_both_ways(void **state) {
  (void)state;
  static const char *const TEXTS[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
  static const char *const CODES[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (size_t i = 0; i < COUNT(TEXTS); i++) {
    rh_dynbuf out;
    unsigned char back[16];
    size_t length = 99;
    char quoted[32];
    rh_dynbuf_init(&out, 64);
    rh_put_base64(&out, TEXTS[i], i);
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", CODES[i]);
    assert_string_equal(rh_dynbuf_data(&out), quoted);
    assert_true(rh_base64_decode(CODES[i], strlen(CODES[i]), back, &length));
    assert_int_equal(length, i);
    assert_memory_equal(back, TEXTS[i], i);
    assert_true(rh_base64_decode(CODES[i], strcspn(CODES[i], "="), back, &length));
    assert_int_equal(length, i);
    rh_dynbuf_free(&out);
  }
  unsigned char back[16];
  size_t length;
  static const char *const BAD[] = {"A", "Zg=", "Zg===", "Z g=", "Zm9v=", "=", "====", "Zm-_", "AAAAA"};
  for (size_t i = 0; i < COUNT(BAD); i++) assert_false(rh_base64_decode(BAD[i], strlen(BAD[i]), back, &length));
  rh_dynbuf out;
  rh_dynbuf_init(&out, 5);
  rh_put_base64(&out, "foo", 3);
  assert_true(out.failed);
  rh_dynbuf_free(&out);
}

// --- bodies --------------------------------------------------------------------------------------------------------

static const bad_body BAD_EMBEDDINGS[] = {
    {"{}", RH_INVALID, "input", "missing"},
    {"{\"input\":null}", RH_INVALID, "input", "missing"},
    {"{\"input\":[]}", RH_INVALID, "input", "empty"},
    {"{\"input\":5}", RH_INVALID, "input", "must be a string"},
    {"{\"input\":{\"text\":\"a\"}}", RH_INVALID, "input", "must be a string"},
    {"{\"input\":[\"a\",7]}", RH_INVALID, "input[1]", "must be a string"},
    {"{\"input\":[\"a\",null]}", RH_INVALID, "input[1]", "must be a string"},
    {"{\"input\":[[\"a\",\"b\"]]}", RH_INVALID, "input[0]", "must be a string"},
    {"{\"input\":[1,\"a\"]}", RH_INVALID, "input[1]", "token id"},
    {"{\"input\":[1,-2]}", RH_INVALID, "input[1]", "token id"},
    {"{\"input\":[[1],[]]}", RH_INVALID, "input[1]", "empty"},
    {"{\"input\":[[1],[2.5]]}", RH_INVALID, "input[1][0]", "token id"},
    {"{\"input\":[[[1]]]}", RH_INVALID, "input[0][0]", "token id"},
    {"{\"input\":\"a\",\"dimensions\":0}", RH_INVALID, "dimensions", "1"},
    {"{\"input\":\"a\",\"dimensions\":\"2\"}", RH_INVALID, "dimensions", "whole number"},
    {"{\"input\":\"a\",\"encoding_format\":\"int8\"}", RH_INVALID, "encoding_format", "base64"},
    {"{\"input\":\"a\",\"encoding_format\":1}", RH_INVALID, "encoding_format", "string"},
    {"{\"input\":\"a\",\"truncate\":1}", RH_INVALID, "truncate", "true or false"},
    {"{\"input\":\"a\",\"normalize\":\"l2\"}", RH_INVALID, "normalize", "true or false"},
    {"{\"input\":\"a\",\"model\":7}", RH_INVALID, "model", "string"},
};

static const bad_body BAD_RERANK[] = {
    {"{}", RH_INVALID, "query", "missing"},
    {"{\"query\":1,\"documents\":[\"a\"]}", RH_INVALID, "query", "string"},
    {"{\"query\":\"q\"}", RH_INVALID, "documents", "missing"},
    {"{\"query\":\"q\",\"documents\":\"d\"}", RH_INVALID, "documents", "array"},
    {"{\"query\":\"q\",\"documents\":[]}", RH_INVALID, "documents", "empty"},
    {"{\"query\":\"q\",\"documents\":[\"a\",{\"title\":\"t\"}]}", RH_INVALID, "documents[1]", "\"text\""},
    {"{\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":0}", RH_INVALID, "top_n", "1"},
    {"{\"query\":\"q\",\"documents\":[\"a\"],\"return_documents\":\"yes\"}", RH_INVALID, "return_documents", "true"},
};

static const bad_body BAD_OLLAMA[] = {
    {"{}", RH_INVALID, "input", "missing"},
    {"{\"input\":\"a\",\"options\":3}", RH_INVALID, "options", "object"},
    {"{\"input\":\"a\",\"prompt\":\"b\"}", RH_INVALID, "prompt", "unknown field"},
    {"{\"input\":\"a\",\"keep_alive\":[]}", RH_INVALID, "keep_alive", "5m"},
};

static const bad_body BAD_INFERENCE[] = {
    {"{}", RH_INVALID, "inputs", "missing"},
    {"{\"inputs\":\"a\",\"task\":\"dance\"}", RH_INVALID, "task", "\"dance\""},
    {"{\"inputs\":\"a\",\"task\":\"text-generation\"}", RH_UNSUPPORTED, "task", "/v1/chat/completions"},
    {"{\"inputs\":\"a\",\"option\":{}}", RH_INVALID, "option", "did you mean \"options\""},
    {"{\"inputs\":\"a\",\"options\":{\"topk\":1}}", RH_INVALID, "options.topk", "did you mean \"top_k\""},
    {"{\"inputs\":\"a\",\"options\":[]}", RH_INVALID, "options", "object"},
    {"{\"inputs\":\"a\",\"options\":{\"top_k\":0}}", RH_INVALID, "options.top_k", "1"},
    {"{\"inputs\":\"a\",\"options\":{\"aggregation\":\"mean\"}}", RH_INVALID, "aggregation", "average"},
    {"{\"inputs\":\"a\",\"options\":{\"stride\":-1}}", RH_INVALID, "options.stride", "from 0"},
    {"{\"inputs\":\"a\",\"options\":{\"stride\":1.5}}", RH_INVALID, "options.stride", "whole number"},
    {"{\"inputs\":\"a\",\"options\":{\"function_to_apply\":\"relu\"}}", RH_INVALID, "function_to_apply", "sigmoid"},
    {"{\"inputs\":\"a\",\"task\":\"zero-shot\"}", RH_INVALID, "options.labels", "labels"},
    {"{\"inputs\":\"a\",\"task\":\"zero-shot\",\"options\":{\"labels\":[]}}", RH_INVALID, "labels", "1 to 1024"},
    {"{\"inputs\":\"a\",\"task\":\"zero-shot\",\"options\":{\"labels\":[\"x\",\"\"]}}", RH_INVALID, "labels[1]",
     "1 to 4096"},
    {"{\"inputs\":\"a\",\"task\":\"zero-shot\",\"options\":{\"labels\":[\"x\"],\"hypothesis\":\"so\"}}", RH_INVALID,
     "options.hypothesis", "{}"},
    {"{\"inputs\":[\"a\"],\"task\":\"rerank\"}", RH_INVALID, "inputs[0]", "pair"},
    {"{\"inputs\":[[\"a\",\"b\"]],\"task\":\"embed\"}", RH_INVALID, "inputs[0]", "single texts"},
    {"{\"inputs\":[[\"a\",\"b\",\"c\"]]}", RH_INVALID, "inputs[0]", "must be"},
    {"{\"inputs\":{\"text\":5}}", RH_INVALID, "inputs", "text_pair"},
    {"{\"inputs\":{\"query\":5,\"documents\":[]}}", RH_INVALID, "inputs.query", "string"},
    {"{\"inputs\":{\"query\":\"q\",\"documents\":[]}}", RH_INVALID, "inputs.documents", "empty"},
};

#define TENSOR(members) "{\"task\":\"tensor\",\"inputs\":{\"x\":{" members "}}}"
static const bad_body BAD_TENSORS[] = {
    {"{\"task\":\"tensor\",\"inputs\":\"a\"}", RH_INVALID, "inputs", "tensors by name"},
    {"{\"task\":\"tensor\",\"inputs\":{}}", RH_INVALID, "inputs", "1 to 256"},
    {"{\"task\":\"tensor\",\"inputs\":{\"x\":[1]}}", RH_INVALID, "inputs", "an object with"},
    {TENSOR("\"data\":[1]"), RH_INVALID, "inputs", "dtype"},
    {TENSOR("\"dtype\":\"float31\",\"data\":[1]"), RH_INVALID, "inputs", "dtype"},
    {TENSOR("\"dtype\":\"float32\""), RH_INVALID, "inputs", "no \"data\""},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"size\":1"), RH_INVALID, "inputs", "a field besides"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":3"), RH_INVALID, "inputs", "shape"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":[-1]"), RH_INVALID, "inputs", "not negative"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":[1.5]"), RH_INVALID, "inputs", "whole"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":[2]"), RH_INVALID, "inputs", "1 elements in its data"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":[1099511627776,1099511627776]"), RH_INVALID, "inputs",
     "impossible"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1],\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"), RH_INVALID, "inputs",
     "16"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]"), RH_INVALID, "inputs", "16 dim"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[[1,2],[3]]"), RH_INVALID, "inputs", "3 elements"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[[1,2],[3],[4]],\"shape\":[2,2]"), RH_INVALID, "inputs", "nested"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[[1,2],3,[4]],\"shape\":[2,2]"), RH_INVALID, "inputs", "nested"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1,[2]],\"shape\":[2]"), RH_INVALID, "inputs", "nested"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[true]"), RH_INVALID, "inputs", "no float32"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[\"nan\"]"), RH_INVALID, "inputs", "no float32"},
    {TENSOR("\"dtype\":\"float32\",\"data\":[1e39]"), RH_INVALID, "inputs", "no float32"},
    {TENSOR("\"dtype\":\"int8\",\"data\":[128]"), RH_INVALID, "inputs", "no int8"},
    {TENSOR("\"dtype\":\"uint8\",\"data\":[-1]"), RH_INVALID, "inputs", "no uint8"},
    {TENSOR("\"dtype\":\"int64\",\"data\":[1.5]"), RH_INVALID, "inputs", "no int64"},
    {TENSOR("\"dtype\":\"int64\",\"data\":[true]"), RH_INVALID, "inputs", "no int64"},
    {TENSOR("\"dtype\":\"bool\",\"data\":[2]"), RH_INVALID, "inputs", "no bool"},
    {TENSOR("\"dtype\":\"string\",\"data\":[\"a\",1]"), RH_INVALID, "inputs", "no string"},
    {TENSOR("\"dtype\":\"float32\",\"data\":\"AAA\",\"shape\":[1]"), RH_INVALID, "x", "2 bytes"},
    {TENSOR("\"dtype\":\"float32\",\"data\":\"A!AA\",\"shape\":[1]"), RH_INVALID, "inputs", "not base64"},
};

static void refused(void **state) {
  (void)state;
  expect_refused(EMBEDDINGS, BAD_EMBEDDINGS, COUNT(BAD_EMBEDDINGS));
  expect_refused(RERANK, BAD_RERANK, COUNT(BAD_RERANK));
  expect_refused(EMBED, BAD_OLLAMA, COUNT(BAD_OLLAMA));
  expect_refused(OLDER, &(bad_body){"{\"prompt\":[\"a\"]}", RH_INVALID, "prompt", "a string"}, 1);
  expect_refused(OLDER, &(bad_body){"{\"prompt\":\"a\",\"dimensions\":2}", RH_INVALID, "dimensions", "unknown"}, 1);
  expect_refused(INFERENCE, BAD_INFERENCE, COUNT(BAD_INFERENCE));
  expect_refused(STREAM, BAD_INFERENCE, COUNT(BAD_INFERENCE));
  expect_refused(INFERENCE, BAD_TENSORS, COUNT(BAD_TENSORS));
}

static void too_many_inputs(void **state) {
  (void)state;
  static char body[16384];
  char *at = body + sprintf(body, "{\"input\":[");
  for (int i = 0; i <= RH_ITEMS_MAX; i++) at += sprintf(at, "%s\"x\"", i ? "," : "");
  (void)sprintf(at, "]}");
  expect_refused(EMBEDDINGS, &(bad_body){body, RH_INVALID, "input", "2049 inputs; one request may have 2048"}, 1);
}

static void input_shapes(void **state) {
  (void)state;
  static const struct {
    const char *body;
    size_t items, length, tokens;
  } ROWS[] = {
      {"{\"input\":\"hello\"}", 1, 5, 0},
      {"{\"input\":\"\"}", 1, 0, 0},
      {"{\"input\":[\"a\",\"bcd\"]}", 2, 3, 0},
      {"{\"input\":[1,2,3]}", 1, 0, 3},
      {"{\"input\":[[9],[7,2147483647]]}", 2, 0, 2},
  };
  for (size_t i = 0; i < COUNT(ROWS); i++) {
    test_case test;
    assert_int_equal(test_decode(&test, EMBEDDINGS, ROWS[i].body), RH_OK);
    const rh_infer *infer = test.request.infer;
    assert_int_equal(test.request.task, RH_TASK_EMBED);
    assert_int_equal(infer->item_count, ROWS[i].items);
    const rh_item *last = &infer->items[infer->item_count - 1];
    assert_int_equal(last->length, ROWS[i].length);
    assert_int_equal(last->token_count, ROWS[i].tokens);
    assert_true((last->text == NULL) == (ROWS[i].tokens > 0));
    assert_null(last->pair);
    assert_false(test.request.stream);
    assert_int_equal(rh_request_runs(&test.request), 1);
    test_end(&test);
  }
}

static void fields(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(test_decode(&test, EMBEDDINGS,
                               "{\"input\":\"a\",\"model\":\"m\",\"dimensions\":64,\"encoding_format\":\"base64\","
                               "\"user\":\"u\",\"truncate\":false,\"normalize\":false,\"prompt_name\":\"query\","
                               "\"prompt\":\"q: \",\"timeout\":2,\"priority\":3,\"frob\":1}"),
                   RH_OK);
  const rh_infer *infer = test.request.infer;
  assert_int_equal(infer->dimensions, 64);
  assert_true(infer->refuse_long);
  assert_int_equal(infer->normalize, RH_CHOICE_NO);
  assert_string_equal(infer->prompt_name, "query");
  assert_string_equal(infer->prompt, "q: ");
  assert_int_equal(test.request.priority, 3);
  assert_string_equal(rh_dynbuf_data(&test.warnings), "frob");
  test_end(&test);

  assert_int_equal(test_decode(&test, INFERENCE,
                               "{\"model_id\":\"m\",\"task\":\"zero-shot-classification\",\"inputs\":[\"a\"],"
                               "\"parameters\":{\"candidate_labels\":[\"x\",\"y\"],\"multi_label\":true,"
                               "\"hypothesis_template\":\"It is {}.\",\"top_k\":1}}"),
                   RH_OK);
  infer = test.request.infer;
  assert_int_equal(test.request.task, RH_TASK_ZERO_SHOT);
  assert_string_equal(test.request.model, "m");
  assert_int_equal(infer->label_count, 2);
  assert_string_equal(infer->labels[1], "y");
  assert_int_equal(infer->multi_label, RH_CHOICE_YES);
  assert_string_equal(infer->hypothesis, "It is {}.");
  assert_int_equal(infer->top_k, 1);
  test_end(&test);

  assert_int_equal(test_decode(&test, INFERENCE,
                               "{\"inputs\":[{\"text\":\"a\",\"text_pair\":\"b\"},[\"c\",\"d\"],{\"text\":\"e\"}],"
                               "\"options\":{\"function_to_apply\":\"none\",\"aggregation_strategy\":\"max\"}}"),
                   RH_OK);
  infer = test.request.infer;
  assert_int_equal(test.request.task, RH_TASK_OWN);
  assert_string_equal(infer->items[0].pair, "b");
  assert_string_equal(infer->items[1].text, "c");
  assert_string_equal(infer->items[1].pair, "d");
  assert_null(infer->items[2].pair);
  assert_true(infer->raw_scores);
  assert_int_equal(infer->aggregation, RH_AGGREGATION_MAX);
  assert_false(infer->has_stride || infer->cut_long || infer->refuse_long);
  test_end(&test);

  assert_int_equal(test_decode(&test, INFERENCE, "{\"inputs\":\"a\",\"parameters\":{\"stride\":0,\"truncate\":true}}"),
                   RH_OK);
  infer = test.request.infer;
  assert_true(infer->has_stride && infer->stride == 0 && infer->cut_long);
  assert_false(infer->refuse_long);
  test_end(&test);
  assert_int_equal(test_decode(&test, INFERENCE, "{\"inputs\":\"a\",\"parameters\":{\"stride\":null}}"), RH_OK);
  assert_false(test.request.infer->has_stride);
  test_end(&test);

  assert_int_equal(test_decode(&test, INFERENCE, "{\"inputs\":{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}}"), RH_OK);
  infer = test.request.infer;
  assert_int_equal(test.request.task, RH_TASK_RERANK);
  assert_ptr_equal(infer->items[0].text, infer->items[1].text);
  assert_string_equal(infer->items[1].pair, "b");
  test_end(&test);

  assert_int_equal(test_decode(&test, EMBED, "{\"input\":\"a\",\"options\":{\"num_ctx\":1},\"truncate\":true}"), RH_OK);
  assert_int_equal(test.request.infer->normalize, RH_CHOICE_YES);
  assert_false(test.request.infer->refuse_long);
  test_end(&test);
}

static void tensors_in(void **state) {
  (void)state;
  test_case test;
  assert_int_equal(test_decode(&test, INFERENCE,
                               "{\"inputs\":{"
                               "\"f\":{\"dtype\":\"float32\",\"data\":[[1,2.5,\"NaN\"],[-1,0,\"-Infinity\"]]},"
                               "\"i\":{\"dtype\":\"int64\",\"shape\":[2,1],\"data\":[-9223372036854775807,3]},"
                               "\"s\":{\"dtype\":\"string\",\"shape\":[2],\"data\":[\"\",\"\xc3\xa9\"]},"
                               "\"b\":{\"dtype\":\"bool\",\"data\":[true,0,1,false]},"
                               "\"h\":{\"dtype\":\"float16\",\"data\":[1,0.5]},"
                               "\"x\":{\"dtype\":\"uint8\",\"data\":\"AQID\"},"
                               "\"e\":{\"dtype\":\"float32\",\"shape\":[0,3],\"data\":[]},"
                               "\"scalar\":{\"dtype\":\"int32\",\"shape\":[],\"data\":7}},"
                               "\"options\":{\"outputs\":[\"y\"],\"encoding_format\":\"base64\"}}"),
                   RH_OK);
  const rh_infer *infer = test.request.infer;
  assert_int_equal(test.request.task, RH_TASK_TENSOR);
  assert_int_equal(infer->tensor_count, 8);
  assert_int_equal(infer->item_count, 0);
  assert_string_equal(infer->outputs[0], "y");
  const rh_tensor *t = infer->tensors;
  assert_string_equal(t[0].name, "f");
  assert_int_equal(t[0].rank, 2);
  assert_int_equal(t[0].shape[1], 3);
  const float *floats = t[0].data;
  assert_true(floats[1] == 2.5f && isnan(floats[2]) && floats[5] == -INFINITY);
  assert_true(((const int64_t *)t[1].data)[0] == -INT64_MAX);
  assert_memory_equal(t[2].data, "\0\0\0\0\2\0\0\0\xc3\xa9", 10);
  assert_memory_equal(t[3].data, "\1\0\1\0", 4);
  assert_memory_equal(t[4].data, "\0\x3c\0\x38", 4);
  assert_memory_equal(t[5].data, "\1\2\3", 3);
  assert_int_equal(t[5].shape[0], 3);
  assert_int_equal(t[6].bytes, 0);
  assert_int_equal(t[7].rank, 0);
  assert_int_equal(*(const int32_t *)t[7].data, 7);
  for (size_t i = 0; i < infer->tensor_count; i++) assert_int_equal(rh_tensor_check(&t[i], NULL), RH_OK);
  test_end(&test);
}

static void memory_is_bounded(void **state) {
  (void)state;
  expect_bounded_memory(EMBEDDINGS, "{\"input\":[\"a\",[1,2]],\"prompt\":\"p\",\"user\":\"u\"}");
  expect_bounded_memory(RERANK, "{\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}]}");
  expect_bounded_memory(INFERENCE, "{\"inputs\":[\"a\"],\"options\":{\"labels\":[\"x\"]},\"task\":\"zero-shot\"}");
  expect_bounded_memory(INFERENCE, TENSOR("\"dtype\":\"string\",\"data\":[\"abc\"]"));
  expect_bounded_memory(INFERENCE, TENSOR("\"dtype\":\"float64\",\"data\":\"AAAAAAAAAAA=\""));
}

// --- answers -------------------------------------------------------------------------------------------------------

#define ORIGIN ",\"roundhouse\":{" TEST_ORIGIN("null") "}"

static void embeddings_whole(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  test_begin(&test, EMBEDDINGS, "{\"input\":[\"a\",\"b\"],\"zzz\":1}", &info);
  push_start(&test, 0, 0, 0);
  push_vector(&test, 0, 1, -0.5f);
  push(&test, &(rh_event){.kind = RH_EVENT_PROGRESS, .as.progress.fraction = 0.5});
  push_vector(&test, 1, 0.1f, 0);
  expect_out(&test, "");
  finish(&test);
  expect_json(&test);
  expect_out(&test,
             "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1,-0.5]},"
             "{\"object\":\"embedding\",\"index\":1,\"embedding\":[0.1,0]}],\"model\":\"tiny\","
             "\"usage\":{\"prompt_tokens\":6,\"total_tokens\":6}," ACCELERATION ORIGIN ",\"warnings\":[\"zzz\"]}");
  test_end(&test);
  test_begin(&test, EMBEDDINGS, "{\"input\":\"a\",\"encoding_format\":\"base64\"}", &info);
  push_vector(&test, 0, 1, -0.5f);
  push_end(&test, 0, RH_FINISH_STOP);
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"embedding\":\"AACAPwAAAL8=\""));
  // Without the engine's own count the items' are added up.
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "{\"prompt_tokens\":3,\"total_tokens\":3}"));
  expect_json(&test);
  test_end(&test);
}

// A whole answer begins again on a new worker: nothing of the first try is left.
static void begins_again(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  test_begin(&test, EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}", &info);
  push_start(&test, 0, 0, 0);
  push_vector(&test, 0, 7, 7);
  push_start(&test, 0, 0, 0);
  push_vector(&test, 0, 1, 2);
  push_vector(&test, 1, 3, 4);
  finish(&test);
  assert_non_null(strstr(rh_dynbuf_data(&test.out),
                         "\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1,2]},"
                         "{\"object\":\"embedding\",\"index\":1,\"embedding\":[3,4]}],"));
  test_end(&test);
  test_begin(&test, "/v1/completions", "{\"prompt\":\"x\"}", &info);
  push_start(&test, 0, 1, 0);
  push_text(&test, 0, "lost");
  push_start(&test, 0, 1, 0);
  push_text(&test, 0, "kept");
  push_end(&test, 0, RH_FINISH_STOP);
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"text\":\"kept\""));
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"completion_tokens\":1,"));
  test_end(&test);
}

static void expect_failure(test_case *test, const rh_event *event, rh_status status, const char *param,
                           const char *words) {
  assert_int_equal(rh_encoder_push(test->encoder, event, &test->out, &test->finished), status);
  assert_true(test->finished);
  const rh_error *error = rh_encoder_error(test->encoder);
  assert_non_null(error);
  assert_int_equal(error->status, status);
  assert_string_equal(error->param, param);
  if (strstr(error->message, words) == NULL) fail_msg("%s", error->message);
  test_end(test);
}

// Dialects without a place for an item's error: the whole request, and which input it was.
static void failed_item_is_named(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  rh_event second = failed(1), only = failed(0);
  test_begin(&test, EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}", &info);
  push_vector(&test, 0, 1, 2);
  expect_failure(&test, &second, RH_CONTEXT_OVERFLOW, "input[1]", "\"input[1]\": it is too long");
  test_begin(&test, EMBED, "{\"input\":\"a\"}", &info);
  expect_failure(&test, &only, RH_CONTEXT_OVERFLOW, "input", "\"input\": it is too long");
  test_begin(&test, OLDER, "{\"prompt\":\"a\"}", &info);
  expect_failure(&test, &only, RH_CONTEXT_OVERFLOW, "prompt", "too long");
  test_begin(&test, RERANK, "{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}", &info);
  expect_failure(&test, &only, RH_CONTEXT_OVERFLOW, "documents[0]", "too long");
  test_begin(&test, INFERENCE, TENSOR("\"dtype\":\"int8\",\"data\":[1]"), &info);
  expect_failure(&test, &only, RH_CONTEXT_OVERFLOW, "inputs", "too long");
}

static void workers_that_make_it_up(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  const float nonsense[] = {NAN, 1};
  const float two[] = {1, 2};
  const rh_score score = {NULL, 0.5f};
  rh_event vector = {.kind = RH_EVENT_RESULT, .as.result = {.item = 1, .vector = two, .count = 2}};
  rh_event scores = {.kind = RH_EVENT_RESULT, .as.result = {.kind = RH_RESULT_SCORES, .scores = &score, .count = 1}};
  rh_event bad = {.kind = RH_EVENT_RESULT, .as.result = {.item = 0, .vector = nonsense, .count = 2}};
  rh_event end = {.kind = RH_EVENT_END};
  test_begin(&test, EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}", &info);
  expect_failure(&test, &vector, RH_PROTOCOL, "", "input 1 where input 0 was next");
  test_begin(&test, EMBEDDINGS, "{\"input\":[\"a\",\"b\"]}", &info);
  push_vector(&test, 0, 1, 2);
  expect_failure(&test, &end, RH_PROTOCOL, "", "1 results for 2 inputs");
  test_begin(&test, EMBEDDINGS, "{\"input\":\"a\"}", &info);
  push_vector(&test, 0, 1, 2);
  expect_failure(&test, &vector, RH_PROTOCOL, "", "was next");
  test_begin(&test, EMBEDDINGS, "{\"input\":\"a\"}", &info);
  expect_failure(&test, &scores, RH_PROTOCOL, "", "not asked for");
  test_begin(&test, EMBEDDINGS, "{\"input\":\"a\"}", &info);
  expect_failure(&test, &bad, RH_INTERNAL, "input", "not finite");
  test_begin(&test, "/v1/completions", "{\"prompt\":\"a\"}", &info);
  expect_failure(&test, &scores, RH_PROTOCOL, "", "was next");
}

static void push_score(test_case *test, uint32_t item, float value) {
  const rh_score score = {NULL, value};
  push(test, &(rh_event){.kind = RH_EVENT_RESULT,
                         .as.result = {.kind = RH_RESULT_SCORES,
                                       .item = item,
                                       .tokens = 2,
                                       .scores = &score,
                                       .count = 1,
                                       .truncated = item == 2}});
}

static void rerank_whole(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, RERANK,
             "{\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\\n\"},\"c\"],\"top_n\":2,\"return_documents\":true}",
             &info);
  push_score(&test, 0, 0.25f);
  push_score(&test, 1, 0.75f);
  push_score(&test, 2, 0.5f);
  finish(&test);
  expect_out(&test, "{\"id\":\"rerank-" TEST_ID_DIGITS
                    "\",\"object\":\"list\",\"model\":\"tiny\",\"results\":["
                    "{\"index\":1,\"relevance_score\":0.75,\"document\":{\"text\":\"b\\n\"}},"
                    "{\"index\":2,\"relevance_score\":0.5,\"document\":{\"text\":\"c\"}}],"
                    "\"usage\":{\"prompt_tokens\":6,\"total_tokens\":6}," ACCELERATION ",\"truncated\":[2]" ORIGIN "}");
  test_end(&test);
}

static void ranks(void **state) {
  (void)state;
  const float scores[] = {0.5f, NAN, 2, 0.5f, -1, NAN};
  const size_t expected[] = {2, 0, 3, 4, 1, 5};
  size_t *order = rh_api_rank(scores, COUNT(scores));
  assert_non_null(order);
  assert_memory_equal(order, expected, sizeof expected);
  free(order);
}

static void ollama_whole(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  test_begin(&test, EMBED, "{\"input\":[\"a\",\"b\"]}", &info);
  push_vector(&test, 0, 1, 2);
  push_vector(&test, 1, 3, 4);
  finish(&test);
  expect_out(&test,
             "{\"model\":\"tiny\",\"embeddings\":[[1,2],[3,4]],\"total_duration\":12000000,"
             "\"load_duration\":1500000,\"prompt_eval_count\":6}");
  test_end(&test);
  test_begin(&test, OLDER, "{\"prompt\":\"a\"}", &info);
  push_vector(&test, 0, 1, 2);
  finish(&test);
  expect_out(&test, "{\"embedding\":[1,2]}");
  test_end(&test);
}

#define META(items, failed_items, more)                                                                        \
  "\"meta\":{\"engine\":\"fake\",\"device\":\"cpu\",\"version\":null,\"provider\":\"local\",\"host\":\"box\"," \
  "\"route_reason\":\"asked for by name\",\"cache\":\"off\",\"cost_usd\":0," ACCELERATION                      \
  ",\"latency_ms\":12.000,"                                                                                    \
  "\"queue_ms\":1.500,\"compute_ms\":0.000,\"tokens\":6,\"items\":" items ",\"failed\":" failed_items more "}"
#define ANSWER(task) "{\"request_id\":\"" TEST_ID "\",\"task\":\"" task "\",\"model\":\"tiny\""
#define TOO_LONG                                                                                 \
  "\"error\":{\"message\":\"it is too long\",\"type\":\"invalid_request_error\",\"param\":null," \
  "\"code\":\"context_length_exceeded\"}"

// The task is the model's own; one bad item stands among its neighbours.
static void inference_embed(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  rh_event bad = failed(1);
  test_begin(&test, INFERENCE, "{\"inputs\":[\"a\",\"b\",\"c\"]}", &info);
  push_vector(&test, 0, 1, 2);
  push(&test, &bad);
  push_vector(&test, 2, 3, 4);
  finish(&test);
  expect_out(&test, ANSWER("embed") ",\"result\":{\"items\":[{\"embedding\":[1,2],\"tokens\":3},{" TOO_LONG
                                    ",\"tokens\":0},{\"embedding\":[3,4],\"tokens\":3}]}," META("3", "1", "") "}");
  test_end(&test);
}

static void inference_rerank(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  rh_event bad = failed(1);
  test_begin(&test, INFERENCE, "{\"inputs\":{\"query\":\"q\",\"documents\":[\"a\",\"b\",\"c\"]}}", &info);
  push_score(&test, 0, 0.25f);
  push(&test, &bad);
  push_score(&test, 2, 0.5f);
  finish(&test);
  expect_out(&test, ANSWER("rerank") ",\"result\":{\"results\":[{\"index\":2,\"relevance_score\":0.5},"
                                     "{\"index\":0,\"relevance_score\":0.25},{\"index\":1," TOO_LONG
                                     ",\"tokens\":0}]}," META("3", "1", ",\"truncated\":[2]") "}");
  test_end(&test);
}

static const rh_score LABELS[] = {{"POS\"", 0.75f}, {"NEG", 0.25f}};
static const rh_span SPANS[] = {{"PER", 0.5f, "Ada", 0, 3, -1}, {"B-LOC", 1, "Rom", 8, 11, 4}};

static void inference_labels(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, INFERENCE, "{\"task\":\"text-classification\",\"inputs\":\"a\"}", &info);
  push(&test, &(rh_event){.kind = RH_EVENT_RESULT,
                          .as.result = {
                              .kind = RH_RESULT_SCORES, .tokens = 4, .scores = LABELS, .count = 2, .truncated = true}});
  finish(&test);
  expect_out(&test, ANSWER("classify") ",\"result\":{\"items\":[{\"labels\":[{\"label\":\"POS\\\"\",\"score\":0.75},"
                                       "{\"label\":\"NEG\",\"score\":0.25}],\"tokens\":4,\"truncated\":true}]}," META(
                                           "1", "0", ",\"truncated\":[0]") "}");
  test_end(&test);
  test_begin(&test, INFERENCE, "{\"task\":\"ner\",\"inputs\":\"a\"}", &info);
  push(&test,
       &(rh_event){.kind = RH_EVENT_RESULT,
                   .as.result = {.kind = RH_RESULT_SPANS, .tokens = 4, .windows = 3, .spans = SPANS, .count = 2}});
  finish(&test);
  expect_out(&test, ANSWER("token-classify") ",\"result\":{\"items\":[{\"entities\":[{\"entity_group\":\"PER\","
                                             "\"score\":0.5,\"word\":\"Ada\",\"start\":0,\"end\":3},"
                                             "{\"entity\":\"B-LOC\",\"score\":1,\"index\":4,\"word\":\"Rom\","
                                             "\"start\":8,\"end\":11}],\"tokens\":4,\"windows\":3}]}," META("1", "0", "") "}");
  test_end(&test);
}

static void push_tensors(test_case *test) {
  static const float floats[] = {1, 2.5f, NAN, 0};
  static const int64_t whole[] = {INT64_MIN};
  static const uint16_t half[] = {0x3c00};
  const rh_tensor tensors[] = {
      {"f", RH_DTYPE_F32, {2, 2}, 2, floats, sizeof floats},
      {"i", RH_DTYPE_I64, {0}, 0, whole, sizeof whole},
      {"h", RH_DTYPE_F16, {1}, 1, half, sizeof half},
      {"u", RH_DTYPE_U8, {2}, 1, "\xff\x01", 2},
      {"n", RH_DTYPE_I8, {2}, 1, "\xff\x01", 2},
      {"b", RH_DTYPE_BOOL, {2}, 1, "\1\0", 2},
      {"s", RH_DTYPE_STRING, {2}, 1, "\1\0\0\0x\0\0\0\0", 9},
      {"e", RH_DTYPE_F32, {0, 2}, 2, "", 0},
  };
  push(test, &(rh_event){.kind = RH_EVENT_RESULT,
                         .as.result = {.kind = RH_RESULT_TENSORS, .tensors = tensors, .count = COUNT(tensors)}});
}

static void inference_tensors(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  test_begin(&test, INFERENCE, TENSOR("\"dtype\":\"int8\",\"data\":[1]"), &info);
  push_tensors(&test);
  finish(&test);
  expect_out(&test,
             ANSWER("tensor") ",\"result\":{\"outputs\":{"
                              "\"f\":{\"dtype\":\"float32\",\"shape\":[2,2],\"data\":[[1,2.5],[\"NaN\",0]]},"
                              "\"i\":{\"dtype\":\"int64\",\"shape\":[],\"data\":-9223372036854775808},"
                              "\"h\":{\"dtype\":\"float16\",\"shape\":[1],\"data\":[1]},"
                              "\"u\":{\"dtype\":\"uint8\",\"shape\":[2],\"data\":[255,1]},"
                              "\"n\":{\"dtype\":\"int8\",\"shape\":[2],\"data\":[-1,1]},"
                              "\"b\":{\"dtype\":\"bool\",\"shape\":[2],\"data\":[true,false]},"
                              "\"s\":{\"dtype\":\"string\",\"shape\":[2],\"data\":[\"x\",\"\"]},"
                              "\"e\":{\"dtype\":\"float32\",\"shape\":[0,2],\"data\":[]}}}," META("1", "0", "") "}");
  test_end(&test);
  test_begin(&test, INFERENCE,
             "{\"inputs\":{\"x\":{\"dtype\":\"int8\",\"data\":[1]}},\"options\":{\"encoding_format\":\"base64\"}}",
             &info);
  push_tensors(&test);
  finish(&test);
  assert_non_null(strstr(rh_dynbuf_data(&test.out), "\"u\":{\"dtype\":\"uint8\",\"shape\":[2],\"data\":\"/wE=\"}"));
  assert_non_null(
      strstr(rh_dynbuf_data(&test.out), "\"s\":{\"dtype\":\"string\",\"shape\":[2],\"data\":[\"x\",\"\"]}"));
  expect_json(&test);
  test_end(&test);
}

#define EVENT(name) "event: " name "\ndata: {\"request_id\":\"" TEST_ID "\""

static void inference_stream(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  rh_event bad = failed(1);
  test_begin(&test, STREAM, "{\"inputs\":[\"a\",\"b\"]}", &info);
  assert_true(test.request.stream);
  push_start(&test, 0, 6, 0);
  expect_out(&test, EVENT("progress") ",\"fraction\":0,\"done\":0,\"items\":2}\n\n");
  push_vector(&test, 0, 1, 2);
  expect_out(&test, EVENT("result") ",\"index\":0,\"embedding\":[1,2],\"tokens\":3}\n\n");
  push(&test, &(rh_event){.kind = RH_EVENT_PROGRESS, .as.progress.fraction = 0.5});
  expect_out(&test, EVENT("progress") ",\"fraction\":0.5,\"done\":1,\"items\":2}\n\n");
  push(&test, &bad);
  expect_out(&test, EVENT("result") ",\"index\":1," TOO_LONG ",\"tokens\":0}\n\n");
  finish(&test);
  expect_out(&test, "event: done\ndata: " ANSWER("embed") "," META("2", "1", "") "}\n\n");
  test_end(&test);
}

// 2048 vectors of 4096 floats do not fit as numbers; the error says what helps.
static void too_large(void **state) {
  (void)state;
  rh_model_info info = embedder();
  test_case test;
  static float vector[65536];
  for (size_t i = 0; i < COUNT(vector); i++) vector[i] = 0.12345678f;
  static char body[16384];
  char *at = body + sprintf(body, "{\"input\":[");
  for (int i = 0; i < 1024; i++) at += sprintf(at, "%s\"x\"", i ? "," : "");
  (void)sprintf(at, "]}");
  test_begin(&test, EMBEDDINGS, body, &info);
  rh_status status = RH_OK;
  for (uint32_t i = 0; status == RH_OK && i < 1024; i++) {
    const rh_event event = {.kind = RH_EVENT_RESULT,
                            .as.result = {.item = i, .vector = vector, .count = COUNT(vector)}};
    status = rh_encoder_push(test.encoder, &event, &test.out, &test.finished);
  }
  assert_int_equal(status, RH_TOO_LARGE);
  assert_non_null(strstr(rh_encoder_error(test.encoder)->message, "base64"));
  test_end(&test);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(floats_are_short),
      cmocka_unit_test(floats_come_back),
      cmocka_unit_test(halves),
      cmocka_unit_test(base64_both_ways),
      cmocka_unit_test(refused),
      cmocka_unit_test(too_many_inputs),
      cmocka_unit_test(input_shapes),
      cmocka_unit_test(fields),
      cmocka_unit_test(tensors_in),
      cmocka_unit_test(memory_is_bounded),
      cmocka_unit_test(embeddings_whole),
      cmocka_unit_test(begins_again),
      cmocka_unit_test(failed_item_is_named),
      cmocka_unit_test(workers_that_make_it_up),
      cmocka_unit_test(rerank_whole),
      cmocka_unit_test(ranks),
      cmocka_unit_test(ollama_whole),
      cmocka_unit_test(inference_embed),
      cmocka_unit_test(inference_rerank),
      cmocka_unit_test(inference_labels),
      cmocka_unit_test(inference_tensors),
      cmocka_unit_test(inference_stream),
      cmocka_unit_test(too_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
