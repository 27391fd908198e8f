// SPDX-License-Identifier: Apache-2.0
//
// Runs of a model that does not generate, over the fake engine: results in order, batches across runs, a failing item
// and its neighbours, pauses, the end of a run in every way.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "task/inference.h"

#define ITEMS_MAX 600
#define WIDTH_MAX 16

// What a sink saw.
typedef struct record {
  int starts, results, progresses, usages, errors, ends;
  uint32_t items[ITEMS_MAX];  // in the order they came
  rh_result_kind kinds[ITEMS_MAX];
  float values[ITEMS_MAX][WIDTH_MAX];
  char labels[ITEMS_MAX][WIDTH_MAX][16];
  char texts[ITEMS_MAX][WIDTH_MAX][32];
  uint32_t starts_at[ITEMS_MAX][WIDTH_MAX], ends_at[ITEMS_MAX][WIDTH_MAX];
  size_t counts[ITEMS_MAX];
  int64_t tokens[ITEMS_MAX];
  bool truncated[ITEMS_MAX];
  rh_error failures[ITEMS_MAX];
  rh_usage usage;
  rh_error error;
  int wait_at;  // says RH_WAIT at this result, counting from 1; 0 = never
} record;

static void note_result(record *r, const rh_result *result) {
  int at = r->results++;
  assert_true(at < ITEMS_MAX);
  r->items[at] = result->item;
  r->kinds[at] = result->kind;
  r->counts[at] = result->count;
  r->tokens[at] = result->tokens;
  r->truncated[at] = result->truncated;
  r->failures[at] = result->error;
  for (size_t i = 0; i < result->count && i < WIDTH_MAX; i++) {
    if (result->kind == RH_RESULT_VECTOR) r->values[at][i] = result->vector[i];
    if (result->kind == RH_RESULT_SCORES) {
      r->values[at][i] = result->scores[i].score;
      if (result->scores[i].label != NULL) snprintf(r->labels[at][i], 16, "%s", result->scores[i].label);
    }
    if (result->kind == RH_RESULT_SPANS) {
      const rh_span *span = &result->spans[i];
      r->values[at][i] = span->score;
      r->starts_at[at][i] = span->start;
      r->ends_at[at][i] = span->end;
      snprintf(r->labels[at][i], 16, "%s", span->label);
      snprintf(r->texts[at][i], 32, "%s", span->text);
    }
    if (result->kind == RH_RESULT_TENSORS) snprintf(r->labels[at][i], 16, "%s", result->tensors[i].name);
  }
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  record *r = ctx;
  assert_int_equal(r->errors + r->ends, 0);  // nothing follows the final event
  switch (event->kind) {
    case RH_EVENT_START: r->starts++; break;
    case RH_EVENT_RESULT: note_result(r, &event->as.result); return r->results == r->wait_at ? RH_WAIT : RH_GO;
    case RH_EVENT_PROGRESS:
      r->progresses++;
      assert_true(event->as.progress.fraction >= 0 && event->as.progress.fraction <= 1);
      break;
    case RH_EVENT_USAGE:
      r->usages++;
      r->usage = event->as.usage;
      break;
    case RH_EVENT_ERROR:
      r->errors++;
      r->error = event->as.error;
      break;
    case RH_EVENT_END: r->ends++; break;
    case RH_EVENT_TOOL:
    case RH_EVENT_DELTA: fail_msg("a delta of a task that does not generate"); break;
  }
  return RH_GO;
}

typedef struct fixture {
  const rh_engine_ops *ops;
  rh_engine *engine;
  rh_inference *inference;
  rh_model_info info;
} fixture;

static void open_with(fixture *f, const char *path, const rh_inference_options *options) {
  *f = (fixture){.ops = rh_engine_find("fake")};
  rh_load load = {.engine = "fake", .path = path};
  rh_error error = {0};
  assert_int_equal(f->ops->load(&load, NULL, NULL, &f->engine, &error), RH_OK);
  f->ops->describe(f->engine, &f->info);
  assert_int_equal(rh_inference_new(f->ops, f->engine, &f->info, options, &f->inference, &error), RH_OK);
  assert_non_null(f->inference);
}

static void open_model(fixture *f, const char *path) {
  rh_inference_options options = {.wait_us = -1};
  open_with(f, path, &options);
}

static void close_model(fixture *f) {
  rh_inference_free(f->inference);
  f->ops->unload(f->engine);
}

typedef struct job {
  record *record;
  rh_item items[ITEMS_MAX];
  rh_infer infer;
  rh_run run;
  rh_inference_run *begun;
} job;

static job *job_new(rh_task task) {
  job *j = calloc(1, sizeof *j);
  assert_non_null(j);
  j->record = calloc(1, sizeof *j->record);
  assert_non_null(j->record);
  j->infer.items = j->items;
  j->run = (rh_run){.task = task, .infer = &j->infer, .request_id = "req_test"};
  return j;
}

static void add_text(job *j, const char *text, const char *pair) {
  rh_item *item = &j->items[j->infer.item_count++];
  *item = (rh_item){.text = text, .length = strlen(text), .pair = pair};
  if (pair != NULL) item->pair_length = strlen(pair);
}

static rh_status begin(fixture *f, job *j, rh_error *error) {
  rh_sink sink = {.push = on_event, .ctx = j->record};
  return rh_inference_begin(f->inference, &j->run, &sink, &j->begun, error);
}

static void must_begin(fixture *f, job *j) {
  rh_error error = {0};
  rh_status status = begin(f, j, &error);
  if (status != RH_OK) fail_msg("%s", error.message);
  assert_int_equal(j->record->starts, 1);
}

// Steps until nothing more is computed.
static int run_all(fixture *f) {
  bool worked = true;
  uint64_t until = 0;
  int steps = 0;
  for (; steps < 10000; steps++) {
    rh_inference_step(f->inference, &worked, &until);
    if (!worked && until == 0) break;
  }
  return steps;
}

static void job_free(job *j) {
  rh_inference_run_free(j->begun);
  free(j->record);
  free(j);
}

static void expect_refused(fixture *f, job *j, rh_status status, const char *words) {
  rh_error error = {0};
  assert_int_equal(begin(f, j, &error), status);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" is not in \"%s\"", words, error.message);
  assert_int_equal(j->record->starts, 0);
  job_free(j);
}

// --- embed ---------------------------------------------------------------------------------------------------------

static void vectors_come_in_order_and_normalized(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed,dims=8");
  assert_string_equal(f.info.task, "embed");
  assert_int_equal(f.info.dimensions, 8);
  assert_int_equal(f.info.slots, 64);
  job *j = job_new(RH_TASK_EMBED);
  add_text(j, "one", NULL);
  add_text(j, "a much longer text with many more words in it than the first one has", NULL);
  add_text(j, "one", NULL);
  must_begin(&f, j);
  run_all(&f);
  const record *r = j->record;
  assert_int_equal(r->results, 3);
  assert_int_equal(r->ends, 1);
  assert_int_equal(r->usages, 1);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(r->items[i], i);
    assert_int_equal(r->counts[i], 8);
    double sum = 0;
    for (size_t d = 0; d < 8; d++) sum += (double)r->values[i][d] * (double)r->values[i][d];
    assert_true(fabs(sum - 1) < 1e-5);
  }
  assert_memory_equal(r->values[0], r->values[2], 8 * sizeof(float));
  assert_memory_not_equal(r->values[0], r->values[1], 8 * sizeof(float));
  assert_int_equal(r->tokens[0], 3);
  assert_int_equal(r->usage.prompt_tokens, 3 + 17 + 3);
  job_free(j);
  close_model(&f);
}

static void dimensions_are_cut_and_normalized_again(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed,dims=8");
  job *whole = job_new(RH_TASK_EMBED), *cut = job_new(RH_TASK_OWN);
  add_text(whole, "some words", NULL);
  add_text(cut, "some words", NULL);
  whole->infer.normalize = RH_CHOICE_NO;
  cut->infer.dimensions = 3;
  must_begin(&f, whole);
  must_begin(&f, cut);
  run_all(&f);
  assert_int_equal(cut->record->counts[0], 3);
  double sum = 0;
  for (size_t d = 0; d < 3; d++) sum += (double)whole->record->values[0][d] * (double)whole->record->values[0][d];
  for (size_t d = 0; d < 3; d++) {
    assert_true(fabs((double)whole->record->values[0][d] / sqrt(sum) - (double)cut->record->values[0][d]) < 1e-6);
  }
  job_free(whole);
  job_free(cut);
  job *wrong = job_new(RH_TASK_EMBED);
  add_text(wrong, "x", NULL);
  wrong->infer.dimensions = 9;
  expect_refused(&f, wrong, RH_INVALID, "8 dimensions");
  close_model(&f);
}

static void prompts_stand_before_the_text(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed");
  job *named = job_new(RH_TASK_EMBED), *own = job_new(RH_TASK_EMBED), *plain = job_new(RH_TASK_EMBED);
  add_text(named, "words", NULL);
  named->infer.prompt_name = "query";
  add_text(own, "words", NULL);
  own->infer.prompt = "query: ";
  add_text(plain, "query: words", NULL);
  must_begin(&f, named);
  must_begin(&f, own);
  must_begin(&f, plain);
  run_all(&f);
  assert_memory_equal(named->record->values[0], plain->record->values[0], 8 * sizeof(float));
  assert_memory_equal(own->record->values[0], plain->record->values[0], 8 * sizeof(float));
  assert_int_equal(named->record->tokens[0], 5);
  job_free(named);
  job_free(own);
  job_free(plain);
  job *wrong = job_new(RH_TASK_EMBED);
  add_text(wrong, "x", NULL);
  wrong->infer.prompt_name = "no such";
  expect_refused(&f, wrong, RH_INVALID, "it has query, passage");
  close_model(&f);
}

static void long_texts_are_cut_or_refused(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed,context=5");
  job *cut = job_new(RH_TASK_EMBED), *refused = job_new(RH_TASK_EMBED);
  add_text(cut, "a b c d e f g", NULL);
  add_text(cut, "a b c", NULL);
  add_text(refused, "a b c d e f g", NULL);
  add_text(refused, "a b c", NULL);
  refused->infer.refuse_long = true;
  must_begin(&f, cut);
  must_begin(&f, refused);
  run_all(&f);
  assert_true(cut->record->truncated[0]);
  assert_false(cut->record->truncated[1]);
  assert_int_equal(cut->record->tokens[0], 5);
  // [CLS] a b c [SEP]: the end of the text goes, not the special token behind it.
  assert_memory_equal(cut->record->values[0], cut->record->values[1], 8 * sizeof(float));
  assert_int_equal(refused->record->kinds[0], RH_RESULT_FAILED);
  assert_int_equal(refused->record->failures[0].status, RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(refused->record->failures[0].message, "9 tokens"));
  assert_int_equal(refused->record->kinds[1], RH_RESULT_VECTOR);
  job_free(cut);
  job_free(refused);
  close_model(&f);
}

static void token_ids_are_taken_as_they_are(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed,vocabulary=1000");
  job *j = job_new(RH_TASK_EMBED);
  static const int32_t good[] = {1, 20, 2}, bad[] = {1, 1000};
  j->items[0] = (rh_item){.tokens = good, .token_count = 3};
  j->items[1] = (rh_item){.tokens = bad, .token_count = 2};
  j->items[2] = (rh_item){.tokens = good};
  j->infer.item_count = 3;
  must_begin(&f, j);
  run_all(&f);
  assert_int_equal(j->record->kinds[0], RH_RESULT_VECTOR);
  assert_int_equal(j->record->tokens[0], 3);
  assert_int_equal(j->record->failures[1].status, RH_INVALID);
  assert_int_equal(j->record->failures[2].status, RH_INVALID);
  job_free(j);
  close_model(&f);
}

// --- the other tasks -----------------------------------------------------------------------------------------------

static void labels_come_best_first(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=classify,labels=cat/dog/cow");
  assert_string_equal(f.info.task, "classify");
  job *all = job_new(RH_TASK_OWN), *raw = job_new(RH_TASK_CLASSIFY), *alone = job_new(RH_TASK_CLASSIFY);
  add_text(all, "a dog", NULL);
  add_text(raw, "a dog", NULL);
  add_text(alone, "a dog and a cow", NULL);
  raw->infer.raw_scores = true;
  raw->infer.top_k = 1;
  alone->infer.multi_label = RH_CHOICE_YES;
  must_begin(&f, all);
  must_begin(&f, raw);
  must_begin(&f, alone);
  run_all(&f);
  assert_int_equal(all->record->counts[0], 3);
  assert_string_equal(all->record->labels[0][0], "dog");
  assert_string_equal(all->record->labels[0][1], "cat");  // among equals the smaller id
  double best = exp(4) / (exp(4) + 2);
  assert_true(fabs((double)all->record->values[0][0] - best) < 1e-6);
  assert_int_equal(raw->record->counts[0], 1);
  assert_true(fabs((double)raw->record->values[0][0] - 4) < 1e-6);
  double sigmoid = 1 / (1 + exp(-4));
  assert_true(fabs((double)alone->record->values[0][0] - sigmoid) < 1e-6);
  assert_true(fabs((double)alone->record->values[0][1] - sigmoid) < 1e-6);
  assert_true(fabs((double)alone->record->values[0][2] - 0.5) < 1e-6);
  job_free(all);
  job_free(raw);
  job_free(alone);
  job *wrong = job_new(RH_TASK_EMBED);
  add_text(wrong, "x", NULL);
  expect_refused(&f, wrong, RH_UNSUPPORTED, "classifying");
  close_model(&f);
}

static void pairs_get_one_score(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=rerank");
  assert_string_equal(f.info.task, "rerank");
  job *j = job_new(RH_TASK_RERANK), *raw = job_new(RH_TASK_RERANK);
  add_text(j, "red apples", "apples are red");
  add_text(j, "red apples", "the sky");
  add_text(j, "no pair", NULL);
  add_text(raw, "red apples", "apples are red");
  raw->infer.raw_scores = true;
  must_begin(&f, j);
  must_begin(&f, raw);
  run_all(&f);
  assert_int_equal(j->record->counts[0], 1);
  assert_true(fabs((double)j->record->values[0][0] - 1 / (1 + exp(-3))) < 1e-6);
  assert_true(fabs((double)j->record->values[1][0] - 1 / (1 + exp(1))) < 1e-6);
  assert_int_equal(j->record->failures[2].status, RH_INVALID);
  assert_true(fabs((double)raw->record->values[0][0] - 3) < 1e-6);
  job_free(j);
  job_free(raw);
  close_model(&f);
}

static void spans_say_where_they_stand(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=token-classify");
  job *j = job_new(RH_TASK_TOKEN_CLASSIFY), *none = job_new(RH_TASK_TOKEN_CLASSIFY);
  add_text(j, "\xC3\xA9t\xC3\xA9: Ada Lovelace wrote in 1843.", NULL);
  add_text(none, "by Ada Lovelace", NULL);
  none->infer.aggregation = RH_AGGREGATION_NONE;
  must_begin(&f, j);
  must_begin(&f, none);
  run_all(&f);
  const record *r = j->record;
  assert_int_equal(r->counts[0], 2);
  assert_string_equal(r->labels[0][0], "PER");
  assert_string_equal(r->texts[0][0], "Ada Lovelace");
  assert_int_equal(r->starts_at[0][0], 5);
  assert_int_equal(r->ends_at[0][0], 17);
  assert_string_equal(r->labels[0][1], "NUM");
  assert_string_equal(r->texts[0][1], "1843");
  assert_int_equal(none->record->counts[0], 2);
  assert_string_equal(none->record->labels[0][0], "B-PER");
  assert_string_equal(none->record->labels[0][1], "I-PER");
  job_free(j);
  job_free(none);
  close_model(&f);
}

static void the_clients_labels_are_ranked(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=zero-shot");
  static const char *const labels[] = {"cooking", "sport", "travel"};
  job *j = job_new(RH_TASK_ZERO_SHOT), *multi = job_new(RH_TASK_OWN);
  add_text(j, "sport is on tonight", NULL);
  add_text(j, "cooking with gas", NULL);
  add_text(multi, "travel and sport", NULL);
  j->infer.labels = multi->infer.labels = labels;
  j->infer.label_count = multi->infer.label_count = 3;
  multi->infer.multi_label = RH_CHOICE_YES;
  multi->infer.hypothesis = "about {}";
  must_begin(&f, j);
  must_begin(&f, multi);
  run_all(&f);
  assert_int_equal(j->record->counts[0], 3);
  assert_string_equal(j->record->labels[0][0], "sport");
  assert_string_equal(j->record->labels[1][0], "cooking");
  // "is" is in the first text and the hypothesis too: entailment 3 against 1, 1.
  assert_true(fabs((double)j->record->values[0][0] - exp(3) / (exp(3) + 2 * exp(1))) < 1e-5);
  assert_string_equal(multi->record->labels[0][0], "sport");
  assert_true(fabs((double)multi->record->values[0][0] - 1 / (1 + exp(-2))) < 1e-5);
  assert_true(fabs((double)multi->record->values[0][2] - 1 / (1 + exp(2))) < 1e-5);
  job_free(j);
  job_free(multi);
  job *wrong = job_new(RH_TASK_ZERO_SHOT);
  add_text(wrong, "x", NULL);
  expect_refused(&f, wrong, RH_INVALID, "labels");
  close_model(&f);
  open_model(&f, "fake:task=classify");
  wrong = job_new(RH_TASK_ZERO_SHOT);
  add_text(wrong, "x", NULL);
  wrong->infer.labels = labels;
  wrong->infer.label_count = 3;
  expect_refused(&f, wrong, RH_UNSUPPORTED, "entailment");
  close_model(&f);
}

static void tensors_go_through_raw(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=tensor");
  assert_string_equal(f.info.task, "tensor");
  static const float numbers[] = {1, 2, 3};
  rh_tensor tensors[2] = {
      {.name = "x", .type = RH_DTYPE_F32, .shape = {3}, .rank = 1, .data = numbers, .bytes = sizeof numbers},
      {.name = "y", .type = RH_DTYPE_F32, .shape = {1, 3}, .rank = 2, .data = numbers, .bytes = sizeof numbers},
  };
  static const char *const wanted[] = {"y"}, *const unknown[] = {"z"};
  job *all = job_new(RH_TASK_TENSOR), *one = job_new(RH_TASK_OWN), *wrong = job_new(RH_TASK_TENSOR);
  all->infer.tensors = one->infer.tensors = wrong->infer.tensors = tensors;
  all->infer.tensor_count = one->infer.tensor_count = wrong->infer.tensor_count = 2;
  one->infer.outputs = wanted;
  wrong->infer.outputs = unknown;
  one->infer.output_count = wrong->infer.output_count = 1;
  must_begin(&f, all);
  must_begin(&f, one);
  must_begin(&f, wrong);
  run_all(&f);
  assert_int_equal(all->record->counts[0], 2);
  assert_int_equal(all->record->ends, 1);
  assert_int_equal(one->record->counts[0], 1);
  assert_string_equal(one->record->labels[0][0], "y");
  assert_int_equal(wrong->record->errors, 1);
  assert_int_equal(wrong->record->error.status, RH_INVALID);
  job_free(all);
  job_free(one);
  job_free(wrong);
  close_model(&f);
}

// --- runs together -------------------------------------------------------------------------------------------------

static void a_bad_item_does_not_harm_its_neighbours(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed");
  job *j = job_new(RH_TASK_EMBED), *other = job_new(RH_TASK_EMBED);
  add_text(j, "good one", NULL);
  add_text(j, "bad [[fail_at=0]]", NULL);
  add_text(j, "good two", NULL);
  add_text(other, "good too", NULL);
  must_begin(&f, j);
  must_begin(&f, other);
  run_all(&f);
  assert_int_equal(j->record->kinds[0], RH_RESULT_VECTOR);
  assert_int_equal(j->record->kinds[1], RH_RESULT_FAILED);
  assert_non_null(strstr(j->record->failures[1].message, "told to fail"));
  assert_int_equal(j->record->kinds[2], RH_RESULT_VECTOR);
  assert_int_equal(j->record->ends, 1);
  assert_int_equal(other->record->kinds[0], RH_RESULT_VECTOR);
  job_free(j);
  job_free(other);
  close_model(&f);
}

// A zero-shot item has several rows; when one fails the others must not be taken for another item's.
static void a_part_that_fails_takes_its_item_along(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=zero-shot");
  static const char *const labels[] = {"a", "[[fail_at=0]]", "c", "d"};
  job *j = job_new(RH_TASK_ZERO_SHOT);
  add_text(j, "a text", NULL);
  add_text(j, "another", NULL);
  j->infer.labels = labels;
  j->infer.label_count = 4;
  must_begin(&f, j);
  run_all(&f);
  assert_int_equal(j->record->results, 2);
  assert_int_equal(j->record->kinds[0], RH_RESULT_FAILED);
  assert_int_equal(j->record->kinds[1], RH_RESULT_FAILED);
  assert_int_equal(j->record->ends, 1);
  job_free(j);
  close_model(&f);
}

static void runs_share_batches_and_none_waits_for_another(void **state) {
  (void)state;
  fixture f;
  rh_inference_options options = {.batch_rows = 8, .wait_us = -1};
  open_with(&f, "fake:task=embed", &options);
  job *large = job_new(RH_TASK_EMBED), *small = job_new(RH_TASK_EMBED);
  for (int i = 0; i < 500; i++) add_text(large, "as long as the other", NULL);
  add_text(small, "as long as the other", NULL);
  must_begin(&f, large);
  bool worked = false;
  uint64_t until = 0;
  for (int i = 0; i < 3; i++) rh_inference_step(f.inference, &worked, &until);
  must_begin(&f, small);
  for (int i = 0; i < 2; i++) rh_inference_step(f.inference, &worked, &until);
  assert_int_equal(small->record->ends, 1);
  assert_int_equal(large->record->ends, 0);
  assert_true(large->record->results > 0);
  run_all(&f);
  assert_int_equal(large->record->results, 500);
  for (uint32_t i = 0; i < 500; i++) assert_int_equal(large->record->items[i], i);
  assert_int_equal(large->record->usage.work.batch_items, 8);
  rh_engine_counts counts;
  rh_inference_counts(f.inference, &counts);
  assert_int_equal(counts.prompt_tokens, 501 * 7);
  assert_in_range(counts.steps, 63, 64);
  job_free(large);
  job_free(small);
  close_model(&f);
}

static void a_paused_run_is_not_computed(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed");
  job *j = job_new(RH_TASK_EMBED);
  for (int i = 0; i < 10; i++) add_text(j, "text", NULL);
  j->record->wait_at = 4;
  must_begin(&f, j);
  run_all(&f);
  assert_int_equal(j->record->results, 4);
  assert_int_equal(j->record->ends, 0);
  j->record->wait_at = 9;
  rh_inference_run_pause(j->begun, false);
  assert_int_equal(j->record->results, 9);
  rh_inference_run_pause(j->begun, false);
  assert_int_equal(j->record->results, 10);
  assert_int_equal(j->record->ends, 1);
  assert_true(rh_inference_run_finished(j->begun));
  job_free(j);
  close_model(&f);
}

static void a_run_may_be_freed_at_any_time(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed,slots=2");
  job *j = job_new(RH_TASK_EMBED), *k = job_new(RH_TASK_EMBED), *l = job_new(RH_TASK_EMBED);
  for (int i = 0; i < 300; i++) add_text(j, "text and more of it", NULL);
  add_text(k, "x", NULL);
  add_text(l, "x", NULL);
  must_begin(&f, j);
  must_begin(&f, k);
  rh_error error = {0};
  assert_int_equal(begin(&f, l, &error), RH_AGAIN);  // two slots
  bool worked = false;
  uint64_t until = 0;
  rh_inference_step(f.inference, &worked, &until);
  job_free(j);
  must_begin(&f, l);
  run_all(&f);
  assert_int_equal(k->record->ends, 1);
  assert_int_equal(l->record->ends, 1);
  job_free(k);
  job_free(l);
  close_model(&f);
}

static void a_run_without_items_ends_at_once(void **state) {
  (void)state;
  fixture f;
  open_model(&f, "fake:task=embed");
  job *j = job_new(RH_TASK_EMBED);
  must_begin(&f, j);
  assert_int_equal(j->record->ends, 1);
  job_free(j);
  close_model(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors_come_in_order_and_normalized),
      cmocka_unit_test(dimensions_are_cut_and_normalized_again),
      cmocka_unit_test(prompts_stand_before_the_text),
      cmocka_unit_test(long_texts_are_cut_or_refused),
      cmocka_unit_test(token_ids_are_taken_as_they_are),
      cmocka_unit_test(labels_come_best_first),
      cmocka_unit_test(pairs_get_one_score),
      cmocka_unit_test(spans_say_where_they_stand),
      cmocka_unit_test(the_clients_labels_are_ranked),
      cmocka_unit_test(tensors_go_through_raw),
      cmocka_unit_test(a_bad_item_does_not_harm_its_neighbours),
      cmocka_unit_test(a_part_that_fails_takes_its_item_along),
      cmocka_unit_test(runs_share_batches_and_none_waits_for_another),
      cmocka_unit_test(a_paused_run_is_not_computed),
      cmocka_unit_test(a_run_may_be_freed_at_any_time),
      cmocka_unit_test(a_run_without_items_ends_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
