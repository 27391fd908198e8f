// SPDX-License-Identifier: Apache-2.0
//
// Forms: what is written again for another request is, byte for byte, what an encoder writes for it.
#include "test_api_support.h"

#define OTHER_ID "req-fedcba9876543210fedcba9876543210"
#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

typedef struct row {
  const char *path, *body;
  bool calls;  // a tool without an id of its own: one is made of the request's
  bool vector;
} row;

static const row rows[] = {
    {"/v1/chat/completions", CHAT, false, false},
    {"/v1/chat/completions", CHAT, true, false},
    {"/v1/completions", "{\"model\":\"m\",\"prompt\":\"hi\",\"echo\":true}", false, false},
    {"/v1/messages", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", true,
     false},
    {"/generate", "{\"model\":\"m\",\"prompt\":\"hi\",\"stream\":false}", false, false},
    {"/v1/embeddings", "{\"model\":\"m\",\"input\":\"hi\"}", false, true},
};

static void answer(test_case *test, const row *from) {
  push_start(test, 0, 9, 0);
  if (from->vector) {
    const float vector[] = {0.5f, 1};
    push(test, &(rh_event){.kind = RH_EVENT_RESULT, .as.result = {.tokens = 3, .vector = vector, .count = 2}});
  } else {
    push_text(test, 0, "12.000 \"words\" 1700000000");
    push_text(test, 0, " and more");
  }
  if (from->calls) {
    push(test, &(rh_event){.kind = RH_EVENT_TOOL, .as.tool = {.name = "look", .arguments = "{}", .length = 2}});
  }
  push_usage(test, 0, (rh_usage){.prompt_tokens = 9, .completion_tokens = 2});
  push_end(test, 0, RH_FINISH_STOP);
  assert_true(test->finished);
}

// The same request an hour later.
static void change(test_case *test) {
  (void)snprintf(test->request.id, sizeof test->request.id, "%s", OTHER_ID);
  test->meta.created += 3600;
  test->meta.received_ns += 77;
  test->meta.first_token_ns += 1234567;
  test->meta.finished_ns += 987654321;
  test->meta.cache_age_s = 3600.25;
  test->meta.attempts = 0;
}

static void written_again(void **state) {
  (void)state;
  rh_model_info info = test_info();
  for (size_t i = 0; i < COUNT(rows); i++) {
    if (rows[i].vector) (void)snprintf(info.task, sizeof info.task, "embed");
    test_case first, second;
    test_begin(&first, rows[i].path, rows[i].body, &info);
    answer(&first, &rows[i]);
    rh_form *form = rh_form_new(first.encoder, rh_dynbuf_data(&first.out), first.out.length);
    assert_non_null(form);
    test_begin(&second, rows[i].path, rows[i].body, &info);
    change(&second);
    answer(&second, &rows[i]);
    assert_string_not_equal(rh_dynbuf_data(&first.out), rh_dynbuf_data(&second.out));
    test_end(&first);  // nothing of it is needed any more
    assert_true(rh_form_fits(form, &second.meta));
    rh_dynbuf again;
    rh_dynbuf_init(&again, 65536);
    assert_int_equal(rh_form_write(form, OTHER_ID, &second.meta, &again), RH_OK);
    assert_string_equal(rh_dynbuf_data(&again), rh_dynbuf_data(&second.out));
    rh_dynbuf_free(&again);
    rh_form_free(form);
    test_end(&second);
  }
}

static rh_form *form_of(test_case *test, const rh_model_info *info, const row *from) {
  test_begin(test, from->path, from->body, info);
  answer(test, from);
  return rh_form_new(test->encoder, rh_dynbuf_data(&test->out), test->out.length);
}

static void another_origin_does_not_fit(void **state) {
  (void)state;
  rh_model_info info = test_info(), elsewhere = test_info();
  (void)snprintf(elsewhere.device, sizeof elsewhere.device, "cuda:0");
  test_case test;
  rh_form *form = form_of(&test, &info, &rows[0]);
  assert_non_null(form);
  const rh_answer_meta same = test.meta;
  assert_true(rh_form_fits(form, &same));
  rh_answer_meta other = same;
  other.model = "large";
  assert_false(rh_form_fits(form, &other));
  other = same;
  other.route_reason = "by rule 3";
  assert_false(rh_form_fits(form, &other));
  other = same;
  other.info = &elsewhere;
  assert_false(rh_form_fits(form, &other));
  other.info = NULL;
  assert_false(rh_form_fits(form, &other));
  other = same;
  other.cost_usd = 0.25;
  assert_false(rh_form_fits(form, &other));
  other = same;
  other.experiment = "trial";
  assert_false(rh_form_fits(form, &other));
  rh_form_free(form);
  test_end(&test);
}

static void what_cannot_be_one(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  // A stream.
  const row stream = {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}",
                      false, false};
  assert_null(form_of(&test, &info, &stream));
  test_end(&test);
  // A client's own name may be any word of the answer.
  test_begin(&test, rows[0].path, rows[0].body, &info);
  (void)snprintf(test.request.id, sizeof test.request.id, "words");
  answer(&test, &rows[0]);
  assert_null(rh_form_new(test.encoder, rh_dynbuf_data(&test.out), test.out.length));
  test_end(&test);
  // More ids than there are holes.
  test_begin(&test, rows[0].path, rows[0].body, &info);
  push_start(&test, 0, 9, 0);
  for (uint32_t i = 0; i < 9; i++) {
    push(&test,
         &(rh_event){.kind = RH_EVENT_TOOL, .as.tool = {.index = i, .name = "look", .arguments = "{}", .length = 2}});
  }
  push_end(&test, 0, RH_FINISH_STOP);
  assert_null(rh_form_new(test.encoder, rh_dynbuf_data(&test.out), test.out.length));
  test_end(&test);
  rh_form_free(NULL);
}

static void too_large(void **state) {
  (void)state;
  rh_model_info info = test_info();
  test_case test;
  rh_form *form = form_of(&test, &info, &rows[0]);
  rh_dynbuf small;
  rh_dynbuf_init(&small, 100);
  assert_int_equal(rh_form_write(form, OTHER_ID, &test.meta, &small), RH_TOO_LARGE);
  rh_dynbuf_free(&small);
  rh_form_free(form);
  test_end(&test);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(written_again),
      cmocka_unit_test(another_origin_does_not_fit),
      cmocka_unit_test(what_cannot_be_one),
      cmocka_unit_test(too_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
