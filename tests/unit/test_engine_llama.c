// SPDX-License-Identifier: Apache-2.0
//
// The llama engine with the tiny model of scripts/make_tiny_gguf.py; its path comes in RH_TINY_GGUF.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"
#include "engine/llama/llama_engine.h"

#define OPS (&rh_engine_llama)
#define TOKENS_MAX 600

static const char *tiny_path;

// ---- a listener that remembers everything ----

typedef struct answer {
  char text[8192];
  size_t length;
  int32_t ids[TOKENS_MAX];
  float logprobs[TOKENS_MAX];
  int count;
  int stop_after;  // 0 = never
  size_t top_count;
  double top_sum;  // sum of the alternatives' probabilities of the last token
  float top_first;
  int64_t progress_done;
  bool ended, stopped, full;
  rh_error failure;
} answer;

static rh_next on_token(void *ctx, const rh_token *token) {
  answer *a = ctx;
  assert_false(a->ended || a->stopped || a->full);
  assert_true(a->count < TOKENS_MAX);
  assert_true(a->length + token->length < sizeof a->text);
  a->ids[a->count] = token->id;
  a->logprobs[a->count] = token->logprob;
  a->count++;
  if (token->length > 0) memcpy(a->text + a->length, token->bytes, token->length);
  a->length += token->length;
  a->top_count = token->top_count;
  a->top_sum = 0.0;
  for (size_t i = 0; i < token->top_count; i++) {
    a->top_sum += exp((double)token->top[i].logprob);
    assert_non_null(token->top[i].bytes);
    if (i > 0) assert_true(token->top[i].logprob <= token->top[i - 1].logprob);
  }
  if (token->top_count > 0) a->top_first = token->top[0].logprob;
  a->ended = token->end;
  if (token->end) assert_int_equal(token->length, 0);
  a->stopped = a->stop_after > 0 && a->count == a->stop_after;
  return a->stopped ? RH_NEXT_STOP : RH_NEXT_MORE;
}

static void on_progress(void *ctx, int64_t done, int64_t total) {
  answer *a = ctx;
  assert_true(done > a->progress_done && done <= total);
  a->progress_done = done;
}

static void on_full(void *ctx) {
  answer *a = ctx;
  assert_false(a->full);
  a->full = true;
}

static void on_failed(void *ctx, const rh_error *error) {
  answer *a = ctx;
  a->failure = *error;
}

static rh_sequence_listener listen(answer *a) {
  return (rh_sequence_listener){
      .token = on_token, .prompt_progress = on_progress, .context_full = on_full, .failed = on_failed, .ctx = a};
}

// ---- small helpers ----

static rh_run text_run(const char *text) {
  rh_run run = {.task = RH_TASK_COMPLETE, .request_id = "test"};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = text, .count = strlen(text)};
  rh_generate_defaults(&run.generate);
  run.generate.temperature = 0.0f;
  return run;
}

static rh_engine *load_path(const char *path, int64_t slots) {
  rh_load load = {.engine = "llama", .path = path, .options = {.slots = slots, .threads = 1, .gpu_layers = 0}};
  rh_engine *engine = NULL;
  rh_error error = {0};
  rh_status status = OPS->load(&load, NULL, NULL, &engine, &error);
  if (status != RH_OK) fail_msg("load of %s: %s", path, error.message);
  return engine;
}

static rh_engine *load_tiny(void) { return load_path(tiny_path, 3); }

static rh_sequence *begin(rh_engine *engine, const rh_run *run, answer *a, int64_t *cached) {
  rh_sequence_listener listener = listen(a);
  rh_sequence *sequence = NULL;
  rh_error error = {0};
  int64_t prompt = 0;
  int64_t reused = 0;
  rh_status status = OPS->start(engine, run, &listener, &sequence, &prompt, &reused, &error);
  if (status != RH_OK) fail_msg("start: %s", error.message);
  assert_true(prompt > reused && reused >= 0);
  if (cached) *cached = reused;
  return sequence;
}

static void work(rh_engine *engine) {
  bool worked = true;
  while (worked) {
    rh_error error = {0};
    if (OPS->step(engine, &worked, &error) != RH_OK) fail_msg("step: %s", error.message);
  }
}

static rh_status refuse(rh_engine *engine, const rh_run *run, rh_error *error) {
  answer unused = {0};
  rh_sequence_listener listener = listen(&unused);
  rh_sequence *sequence = NULL;
  int64_t prompt = 0;
  int64_t cached = 0;
  *error = (rh_error){0};
  return OPS->start(engine, run, &listener, &sequence, &prompt, &cached, error);
}

static int64_t prompt_count(rh_engine *engine, const rh_run *run) {
  answer a = {0};
  rh_sequence_listener listener = listen(&a);
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  int64_t cached = 0;
  assert_int_equal(OPS->start(engine, run, &listener, &sequence, &count, &cached, NULL), RH_OK);
  OPS->stop(engine, sequence);
  return count;
}

static void generate(rh_engine *engine, const rh_run *run, int tokens, answer *a) {
  *a = (answer){.stop_after = tokens};
  (void)begin(engine, run, a, NULL);
  work(engine);
  assert_int_equal(a->count, tokens);
  assert_true(a->stopped);
}

static void assert_same(const answer *a, const answer *b) {
  assert_int_equal(a->count, b->count);
  assert_memory_equal(a->ids, b->ids, (size_t)a->count * sizeof a->ids[0]);
  assert_int_equal(a->length, b->length);
  assert_memory_equal(a->text, b->text, a->length);
}

// The bytes of the tiny model, to be damaged. The caller frees them.
static char *read_tiny(size_t *size) {
  FILE *file = fopen(tiny_path, "rb");
  assert_non_null(file);
  char *bytes = malloc(1 << 20);
  assert_non_null(bytes);
  *size = fread(bytes, 1, 1 << 20, file);
  assert_true(*size > 1000 && *size < 1 << 20);
  fclose(file);
  return bytes;
}

static void write_file(char path[64], const char *bytes, size_t size) {
  (void)strcpy(path, "/tmp/rh_test_llama_XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, size), (ssize_t)size);
  close(fd);
}

static rh_status load_bytes(const char *bytes, size_t size, rh_error *error) {
  char path[64];
  write_file(path, bytes, size);
  rh_load load = {.engine = "llama", .path = path, .options = {.threads = 1}};
  rh_engine *engine = NULL;
  *error = (rh_error){0};
  rh_status status = OPS->load(&load, NULL, NULL, &engine, error);
  unlink(path);
  if (status == RH_OK) OPS->unload(engine);
  return status;
}

// A model whose chat template was changed by `edit` on the file's bytes.
static rh_engine *load_edited(void (*edit)(char *bytes, size_t size)) {
  size_t size = 0;
  char path[64];
  char *bytes = read_tiny(&size);
  edit(bytes, size);
  write_file(path, bytes, size);
  free(bytes);
  rh_engine *engine = load_path(path, 1);
  unlink(path);
  return engine;
}

static char *find(char *bytes, size_t size, const char *text) {
  char *at = memmem(bytes, size, text, strlen(text));
  assert_non_null(at);
  return at;
}

// ---- loading ----

static void loads_and_describes(void **state) {
  (void)state;
  rh_engine *engine = load_tiny();
  rh_model_info info;
  OPS->describe(engine, &info);
  assert_string_equal(info.engine, "llama");
  assert_true(info.engine_version[0] != '\0');
  assert_string_equal(info.architecture, "llama");
  assert_non_null(strstr(info.description, "llama"));
  assert_non_null(strstr(info.quantization, "F32"));
  assert_string_equal(info.device, "cpu");
  assert_true(info.acceleration[0] != '\0');
  assert_int_equal(info.context, 512);
  assert_int_equal(info.context_trained, 512);
  assert_int_equal(info.slots, 3);
  assert_true(info.vocabulary > 259 && info.vocabulary < 400);
  assert_true(info.parameters > 50000 && info.bytes > 200000);
  assert_true(info.has_chat_template);
  assert_true(info.load_ms > 0.0);
  OPS->unload(engine);
}

static void probe_is_json(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 1 << 16);
  assert_int_equal(OPS->probe(&out), RH_OK);
  json_t *value = json_loads(rh_dynbuf_data(&out), 0, NULL);
  assert_non_null(value);
  assert_string_equal(json_string_value(json_object_get(value, "engine")), "llama");
  assert_true(json_is_true(json_object_get(value, "available")));
  json_t *device = json_array_get(json_object_get(value, "devices"), 0);
  assert_non_null(device);
  assert_true(json_integer_value(json_object_get(device, "memory_bytes")) > 0);
  json_decref(value);
  rh_dynbuf_free(&out);
}

static bool give_up(void *ctx, double fraction) {
  int *calls = ctx;
  assert_true(fraction >= 0.0 && fraction <= 1.0);
  return ++*calls < 2;
}

static void load_can_be_given_up(void **state) {
  (void)state;
  int calls = 0;
  rh_load load = {.engine = "llama", .path = tiny_path};
  rh_engine *engine = NULL;
  rh_error error = {0};
  assert_int_equal(OPS->load(&load, give_up, &calls, &engine, &error), RH_CANCELLED);
  assert_null(engine);
}

static void bad_options_are_named(void **state) {
  (void)state;
  rh_load load = {.engine = "llama", .path = tiny_path, .options = {.slots = 1000000}};
  rh_engine *engine = NULL;
  rh_error error = {0};
  assert_int_equal(OPS->load(&load, NULL, NULL, &engine, &error), RH_INVALID);
  assert_string_equal(error.param, "slots");
}

static void bad_files_are_refused(void **state) {
  (void)state;
  rh_error error;
  rh_load load = {.engine = "llama", .path = "/nonexistent/model.gguf"};
  rh_engine *engine = NULL;
  assert_int_equal(OPS->load(&load, NULL, NULL, &engine, &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "No such file"));
  load.path = "/tmp";
  assert_int_equal(OPS->load(&load, NULL, NULL, &engine, &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "folder"));

  assert_int_equal(load_bytes("", 0, &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "only 0 bytes"));
  const char *page = "<!DOCTYPE html><html><body>Not found</body></html>";
  assert_int_equal(load_bytes(page, strlen(page), &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "no GGUF"));

  size_t size = 0;
  char *bytes = read_tiny(&size);
  // Cut inside the metadata, the tensor list and the data: llama notices each, and its words are passed on.
  const size_t cuts[] = {30, 2000, 12000, size / 2, size - 1};
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    assert_int_equal(load_bytes(bytes, cuts[i], &error), RH_LOAD_FAILED);
    assert_null(strstr(error.message, "gave no reason"));
  }
  assert_non_null(strstr(error.message, "bounds"));  // of the last cut: data beyond the file's end
  free(bytes);
}

static void lying_heads_are_refused(void **state) {
  (void)state;
  rh_error error;
  size_t size = 0;
  char *bytes = read_tiny(&size);
  char *copy = malloc(size);
  assert_non_null(copy);

  memcpy(copy, bytes, size);
  copy[4] = 9;  // version
  assert_int_equal(load_bytes(copy, size, &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "version 9"));
  memcpy(copy, bytes, size);
  memset(copy + 8, 0x7f, 8);  // number of tensors
  assert_int_equal(load_bytes(copy, size, &error), RH_LOAD_FAILED);
  assert_non_null(strstr(error.message, "damaged"));
  memcpy(copy, bytes, size);
  char *name = find(copy, size, "output_norm.weight");  // then: u32 dimensions = 1, u64 length, u32 type, u64 offset
  name[strlen("output_norm.weight") + 4 + 8 + 4 + 3] = 0x40;
  assert_int_equal(load_bytes(copy, size, &error), RH_LOAD_FAILED);
  assert_null(strstr(error.message, "gave no reason"));
  free(copy);
  free(bytes);
}

// ---- generating ----

static void greedy_is_repeatable(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("The horse and the cart");
  answer one;
  answer two;
  generate(engine, &run, 40, &one);
  assert_true(one.length > 20);
  for (size_t i = 0; i < one.length; i++) assert_true(one.text[i] >= 0x20 && one.text[i] < 0x7f);
  generate(engine, &run, 40, &two);
  assert_same(&one, &two);
  // A zero nucleus is greedy as well.
  run.generate.temperature = 1.0f;
  run.generate.top_p = 0.0f;
  generate(engine, &run, 40, &two);
  assert_same(&one, &two);
  // So is the chain of samplers with nothing but a bias that changes nothing.
  const rh_logit_bias bias = {.token = 3, .bias = 0.0f};
  run = text_run("The horse and the cart");
  run.generate.logit_bias = &bias;
  run.generate.logit_bias_count = 1;
  generate(engine, &run, 40, &two);
  assert_same(&one, &two);
}

static void seeds_decide(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("Once upon a time");
  run.generate.temperature = 1.5f;
  run.generate.top_p = 0.95f;
  run.generate.top_k = 50;
  run.generate.has_seed = true;
  run.generate.seed = 7;
  answer one;
  answer two;
  generate(engine, &run, 48, &one);
  generate(engine, &run, 48, &two);
  assert_same(&one, &two);
  run.generate.seed = 8;
  generate(engine, &run, 48, &two);
  assert_memory_not_equal(one.ids, two.ids, 48 * sizeof one.ids[0]);
  // The seed that llama reads as "choose one for me" must be a seed like any other.
  run.generate.seed = UINT32_MAX;
  generate(engine, &run, 48, &one);
  generate(engine, &run, 48, &two);
  assert_same(&one, &two);
  // Without a seed two runs differ.
  run.generate.has_seed = false;
  generate(engine, &run, 48, &one);
  generate(engine, &run, 48, &two);
  assert_memory_not_equal(one.ids, two.ids, 48 * sizeof one.ids[0]);
}

static void together_as_alone(void **state) {
  rh_engine *engine = *state;
  rh_run first = text_run("A red fox ran over the hill and into the wood.");
  rh_run second = text_run("Zwei mal drei macht vier");
  first.generate.has_seed = true;  // no reuse: the prompts are computed in both rounds
  second.generate.has_seed = true;
  answer alone_first;
  answer alone_second;
  generate(engine, &first, 40, &alone_first);
  generate(engine, &second, 30, &alone_second);
  answer a = {.stop_after = 40};
  answer b = {.stop_after = 30};
  (void)begin(engine, &first, &a, NULL);
  bool worked = false;
  for (int i = 0; i < 5; i++) assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  (void)begin(engine, &second, &b, NULL);
  work(engine);
  assert_same(&alone_first, &a);
  assert_same(&alone_second, &b);
}

static void prefix_is_reused(void **state) {
  rh_engine *engine = *state;
  char prompt[300];
  memset(prompt, 'q', sizeof prompt - 1);
  prompt[sizeof prompt - 1] = '\0';
  memcpy(prompt, "A prefix that comes again and again: ", 37);
  rh_run run = text_run(prompt);
  int64_t total = prompt_count(engine, &run);
  int64_t cached = -1;
  answer fresh = {.stop_after = 20};
  answer reused = {.stop_after = 20};
  rh_engine_counts before;
  rh_engine_counts after;
  (void)begin(engine, &run, &fresh, &cached);
  assert_int_equal(cached, 0);
  work(engine);
  // The whole prompt is in the cache, but one token must be computed.
  OPS->counts(engine, &before);
  (void)begin(engine, &run, &reused, &cached);
  work(engine);
  OPS->counts(engine, &after);
  assert_int_equal(cached, total - 1);
  assert_int_equal(after.prompt_tokens - before.prompt_tokens, 1);
  assert_int_equal(after.cached_tokens - before.cached_tokens, total - 1);
  assert_int_equal(after.generated_tokens - before.generated_tokens, 20);
  assert_same(&fresh, &reused);
  // Half of it: the rest of the cache is dropped, and what comes is as if nothing had been there.
  prompt[150] = '#';
  run = text_run(prompt);
  answer half = {.stop_after = 20};
  (void)begin(engine, &run, &half, &cached);
  work(engine);
  assert_int_equal(cached, total - (299 - 150));  // from place 150 on each letter is a token
  run.generate.has_seed = true;
  answer again = {.stop_after = 20};
  (void)begin(engine, &run, &again, &cached);
  work(engine);
  assert_int_equal(cached, 0);  // a seed asks for the whole computation
  assert_same(&half, &again);
}

static void slots_run_out_and_come_back(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("wait for it");
  answer answers[3] = {0};
  rh_sequence *sequences[3];
  for (int i = 0; i < 3; i++) sequences[i] = begin(engine, &run, &answers[i], NULL);
  rh_error error;
  assert_int_equal(refuse(engine, &run, &error), RH_AGAIN);
  bool worked = false;
  for (int i = 0; i < 4; i++) assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  OPS->stop(engine, sequences[1]);
  int count = answers[1].count;
  answer fourth = {.stop_after = 3};
  (void)begin(engine, &run, &fourth, NULL);
  for (int i = 0; i < 6; i++) assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  assert_int_equal(answers[1].count, count);
  assert_int_equal(fourth.count, 3);
  OPS->stop(engine, sequences[0]);
  OPS->stop(engine, sequences[2]);
  assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  assert_false(worked);
}

static void pause_holds_back(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("patience is a virtue");
  answer whole;
  generate(engine, &run, 30, &whole);
  answer held = {.stop_after = 30};
  rh_sequence *sequence = begin(engine, &run, &held, NULL);
  OPS->pause(engine, sequence, true);
  bool worked = true;
  assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  assert_false(worked);
  OPS->pause(engine, sequence, false);
  for (int i = 0; i < 10; i++) assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  OPS->pause(engine, sequence, true);
  int count = held.count;
  assert_true(count > 0 && count < 30);
  answer other;
  rh_run free_run = text_run("another one goes by");
  generate(engine, &free_run, 12, &other);
  assert_int_equal(held.count, count);
  OPS->pause(engine, sequence, false);
  work(engine);
  assert_same(&whole, &held);
}

static void context_fills(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("on and on");
  run.generate.ignore_eos = true;
  answer a = {0};
  int64_t cached = 0;
  (void)begin(engine, &run, &a, &cached);
  rh_engine_counts before;
  OPS->counts(engine, &before);
  work(engine);
  rh_engine_counts after;
  OPS->counts(engine, &after);
  assert_true(a.full);
  int64_t prompt = (int64_t)(after.prompt_tokens - before.prompt_tokens) + cached;
  assert_int_equal(prompt + a.count, 512);
}

static void end_token_ends(void **state) {
  rh_engine *engine = *state;
  rh_model_info info;
  OPS->describe(engine, &info);
  const rh_logit_bias bias = {.token = (int32_t)info.vocabulary - 1, .bias = 1000.0f};  // <|im_end|>
  rh_run run = text_run("say no more");
  run.generate.logit_bias = &bias;
  run.generate.logit_bias_count = 1;
  answer a = {0};
  (void)begin(engine, &run, &a, NULL);
  work(engine);
  assert_int_equal(a.count, 1);
  assert_true(a.ended);
  // ignore_eos is stronger than any wish for it.
  run.generate.ignore_eos = true;
  answer b;
  generate(engine, &run, 25, &b);
  assert_false(b.ended);
}

static void penalties_change_the_text(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("again and again");
  answer plain;
  answer penalized;
  generate(engine, &run, 60, &plain);
  run.generate.frequency_penalty = 50.0f;
  run.generate.penalty_last_n = 60;
  generate(engine, &run, 60, &penalized);
  // With such a penalty no token comes twice within the look-back.
  for (int i = 0; i < 40; i++) {
    for (int j = 0; j < i; j++) assert_int_not_equal(penalized.ids[i], penalized.ids[j]);
  }
  assert_memory_not_equal(plain.ids, penalized.ids, 60 * sizeof plain.ids[0]);
}

static void logprobs_add_up(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("the likeliest word");
  run.generate.top_logprobs = 20;
  answer a;
  generate(engine, &run, 5, &a);
  assert_int_equal(a.top_count, 20);
  assert_true(a.top_sum > 0.0 && a.top_sum <= 1.0001);
  assert_true(fabsf(a.top_first - a.logprobs[4]) < 1e-6f);  // greedy: the chosen is the first
  run.generate.top_logprobs = 0;
  generate(engine, &run, 5, &a);
  assert_int_equal(a.top_count, 0);
  assert_true(a.logprobs[0] < 0.0f);
  // The probabilities of all tokens sum to one: ask for each by its bias.
  rh_model_info info;
  OPS->describe(engine, &info);
  double sum = 0.0;
  for (int32_t token = 0; token < info.vocabulary; token++) {
    const rh_logit_bias bias = {.token = token, .bias = 1e6f};
    run.generate.logit_bias = &bias;
    run.generate.logit_bias_count = 1;
    generate(engine, &run, 1, &a);
    assert_int_equal(a.ids[0], token);
    sum += exp((double)a.logprobs[0]);
  }
  assert_true(fabs(sum - 1.0) < 1e-3);
}

// ---- prompts ----

// The text that these tokens stand for, by forcing the model to say each.
static void says(rh_engine *engine, const int32_t *ids, size_t count, char *out, size_t *length) {
  *length = 0;
  for (size_t i = 0; i < count; i++) {
    const rh_logit_bias bias = {.token = ids[i], .bias = 1e6f};
    rh_run run = text_run("x");
    run.generate.logit_bias = &bias;
    run.generate.logit_bias_count = 1;
    answer a;
    generate(engine, &run, 1, &a);
    assert_int_equal(a.ids[0], ids[i]);
    memcpy(out + *length, a.text, a.length);
    *length += a.length;
  }
}

// Byte tokens have the ids 0 to 255, so a token prompt can spell any text; it must be read like the text itself.
static void every_byte_is_a_token(void **state) {
  rh_engine *engine = *state;
  const char *text = "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80\n\t~";
  int32_t ids[32];
  size_t length = strlen(text);
  for (size_t i = 0; i < length; i++) ids[i] = (uint8_t)text[i];
  char said[64];
  size_t said_length = 0;
  says(engine, ids, length, said, &said_length);
  assert_int_equal(said_length, length);
  assert_memory_equal(said, text, length);

  rh_run by_text = text_run(text);
  rh_run by_ids = text_run("");
  by_ids.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = ids, .count = length};
  assert_int_equal(prompt_count(engine, &by_text), (int64_t)length);
  by_text.generate.has_seed = true;
  by_ids.generate.has_seed = true;
  answer one;
  answer two;
  generate(engine, &by_text, 20, &one);
  generate(engine, &by_ids, 20, &two);
  assert_same(&one, &two);
}

static void chat_is_templated(void **state) {
  rh_engine *engine = *state;
  const rh_message messages[] = {{.role = "system", .content = "Be brief."}, {.role = "user", .content = "Hi"}};
  rh_run chat = text_run("");
  chat.task = RH_TASK_CHAT;
  chat.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 2};
  chat.generate.has_seed = true;
  rh_run plain = text_run(
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
      "<|im_start|>assistant\n");
  plain.generate.has_seed = true;
  assert_int_equal(prompt_count(engine, &chat), prompt_count(engine, &plain));
  answer one;
  answer two;
  generate(engine, &chat, 20, &one);
  generate(engine, &plain, 20, &two);
  assert_same(&one, &two);
}

static void empty_prompt_begins_somewhere(void **state) {
  rh_engine *engine = *state;
  rh_run run = text_run("");
  assert_int_equal(prompt_count(engine, &run), 1);
  answer a;
  generate(engine, &run, 5, &a);
}

static void overflow_has_the_numbers(void **state) {
  rh_engine *engine = *state;
  rh_error error;
  char text[601];
  memset(text, 'z', sizeof text - 1);
  text[600] = '\0';
  rh_run run = text_run(text);
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "600"));
  assert_non_null(strstr(error.message, "512"));
  assert_string_equal(error.param, "prompt");

  text[500] = '\0';
  run = text_run(text);
  run.generate.max_tokens = 30;
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "500"));
  assert_non_null(strstr(error.message, "30"));
  assert_non_null(strstr(error.message, "530"));
  assert_non_null(strstr(error.message, "max_tokens to 12 or less"));
  assert_string_equal(error.param, "max_tokens");
  run.generate.max_tokens = 12;
  assert_int_equal(prompt_count(engine, &run), 500);
  run.generate.max_tokens = INT64_MAX;
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);

  int32_t *ids = calloc(512, sizeof *ids);
  assert_non_null(ids);
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = ids, .count = 512};
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "512"));
  free(ids);
}

static void huge_prompt_is_refused_unread(void **state) {
  rh_engine *engine = *state;
  size_t size = 32u << 20;
  char *text = malloc(size + 1);
  assert_non_null(text);
  memset(text, 'a', size);
  text[size] = '\0';
  rh_error error;
  rh_run run = text_run(text);
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "at least 2581110"));  // 32 MiB by the 13 bytes of <|endoftext|>
  const rh_message message = {.role = "user", .content = text};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = &message, .count = 1};
  assert_int_equal(refuse(engine, &run, &error), RH_CONTEXT_OVERFLOW);
  assert_string_equal(error.param, "messages");
  free(text);
}

static void foreign_tokens_are_refused(void **state) {
  rh_engine *engine = *state;
  rh_error error;
  const int32_t ids[] = {1, 2, 50000};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = ids, .count = 3};
  assert_int_equal(refuse(engine, &run, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "50000"));
  const int32_t negative[] = {-1};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = negative, .count = 1};
  assert_int_equal(refuse(engine, &run, &error), RH_INVALID);

  const rh_logit_bias bias = {.token = 50000, .bias = 1.0f};
  run = text_run("x");
  run.generate.logit_bias = &bias;
  run.generate.logit_bias_count = 1;
  assert_int_equal(refuse(engine, &run, &error), RH_INVALID);
  assert_string_equal(error.param, "logit_bias");
  run = text_run("x");
  run.generate.repeat_penalty = 0.0f;
  assert_int_equal(refuse(engine, &run, &error), RH_INVALID);
  assert_string_equal(error.param, "repeat_penalty");
}

static void remove_template(char *bytes, size_t size) { *find(bytes, size, "tokenizer.chat_template") = 'X'; }

static void spoil_template(char *bytes, size_t size) {
  char *at = find(bytes, size, "{% for message");
  size_t rest = size - (size_t)(at - bytes);
  char *mark = memmem(at, rest, "<|im_", 5);
  while (mark && mark < at + 400) {
    memcpy(mark, "<$un_", 5);
    mark = memmem(mark, 400, "<|im_", 5);
  }
}

// A tag that no template language knows: llama, which looks at the marks only, still knows the model.
static void misspell_template(char *bytes, size_t size) { memcpy(find(bytes, size, "{% for message"), "{% fro", 6); }

static void spoil_both(char *bytes, size_t size) {
  spoil_template(bytes, size);
  misspell_template(bytes, size);
}

static void refuse_in_template(char *bytes, size_t size) {
  static const char text[] = "{{ raise_exception('Only ' + messages[0].role + 's may not speak') }}";
  char *at = find(bytes, size, "{% for message");
  uint64_t length;
  memcpy(&length, at - sizeof length, sizeof length);
  memset(at, ' ', length);
  memcpy(at, text, sizeof text - 1);
}

static void chat_without_template_is_refused(void **state) {
  (void)state;
  const rh_message message = {.role = "user", .content = "Hi"};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = &message, .count = 1};
  rh_error error;
  rh_engine *engine = load_edited(remove_template);
  rh_model_info info;
  OPS->describe(engine, &info);
  assert_false(info.has_chat_template);
  assert_int_equal(refuse(engine, &run, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "no chat template"));
  assert_non_null(strstr(error.message, "/v1/completions"));
  rh_run plain = text_run("still works");
  answer a;
  generate(engine, &plain, 5, &a);
  OPS->unload(engine);

  engine = load_edited(spoil_both);
  assert_int_equal(refuse(engine, &run, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "none that this engine knows"));
  OPS->unload(engine);
}

// Marks that llama does not know are no hindrance: the template is read. One that cannot be read is left to llama.
static void chat_with_odd_templates(void **state) {
  (void)state;
  const rh_message message = {.role = "user", .content = "Hi"};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = &message, .count = 1};
  answer a;
  rh_engine *engine = load_edited(spoil_template);
  generate(engine, &run, 5, &a);
  OPS->unload(engine);
  rh_run plain = text_run("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  engine = load_edited(misspell_template);
  assert_int_equal(prompt_count(engine, &run), prompt_count(engine, &plain));
  OPS->unload(engine);
}

static void template_that_refuses_is_quoted(void **state) {
  (void)state;
  const rh_message message = {.role = "user", .content = "Hi"};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = &message, .count = 1};
  rh_error error;
  rh_engine *engine = load_edited(refuse_in_template);
  assert_int_equal(refuse(engine, &run, &error), RH_INVALID);
  assert_string_equal(error.message, "Only users may not speak");
  assert_string_equal(error.param, "messages");
  OPS->unload(engine);
}

// A long prompt beside a decoding stream is read in chunks, and the stream gets a token in every step.
static void prompts_are_chunked(void **state) {
  (void)state;
  rh_load load = {.path = tiny_path, .options = {.slots = 2, .threads = 1, .batch = 64, .prefill_chunk = 16}};
  rh_engine *engine = NULL;
  assert_int_equal(OPS->load(&load, NULL, NULL, &engine, NULL), RH_OK);
  rh_run stream_run = text_run("stream");
  char text[161];
  memset(text, 'k', 160);
  text[160] = '\0';
  rh_run long_run = text_run(text);
  answer stream = {0};
  answer second = {.stop_after = 1};
  bool worked = false;
  rh_sequence *sequence = begin(engine, &stream_run, &stream, NULL);
  assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  assert_int_equal(stream.count, 1);
  (void)begin(engine, &long_run, &second, NULL);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(second.count, 0);
    assert_int_equal(second.progress_done, i * 16);
    assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
    assert_int_equal(stream.count, i + 2);
  }
  assert_int_equal(second.count, 1);
  OPS->stop(engine, sequence);
  // Alone, it takes whole batches: 160 tokens in three steps.
  long_run.generate.has_seed = true;
  answer third = {.stop_after = 1};
  (void)begin(engine, &long_run, &third, NULL);
  for (int i = 0; i < 3; i++) assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  assert_int_equal(third.count, 1);
  assert_int_equal(third.ids[0], second.ids[0]);
  OPS->unload(engine);
}

static void unload_ends_running_sequences(void **state) {
  (void)state;
  rh_engine *engine = load_tiny();
  rh_run run = text_run("cut off");
  answer a = {0};
  (void)begin(engine, &run, &a, NULL);
  bool worked = false;
  assert_int_equal(OPS->step(engine, &worked, NULL), RH_OK);
  OPS->unload(engine);
  assert_int_equal(a.count, 1);
}

static int setup(void **state) {
  *state = load_tiny();
  return 0;
}

static int teardown(void **state) {
  OPS->unload(*state);
  return 0;
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  tiny_path = getenv("RH_TINY_GGUF");
  if (!tiny_path) {
    (void)fprintf(stderr, "set RH_TINY_GGUF to a file made by scripts/make_tiny_gguf.py\n");
    return 1;
  }
  rh_log_setup(STDERR_FILENO, getenv("RH_TEST_VERBOSE") ? RH_LOG_DEBUG : RH_LOG_OFF, RH_LOG_PLAIN);
  const struct CMUnitTest loading[] = {
      cmocka_unit_test(loads_and_describes),
      cmocka_unit_test(probe_is_json),
      cmocka_unit_test(load_can_be_given_up),
      cmocka_unit_test(bad_options_are_named),
      cmocka_unit_test(bad_files_are_refused),
      cmocka_unit_test(lying_heads_are_refused),
      cmocka_unit_test(chat_without_template_is_refused),
      cmocka_unit_test(chat_with_odd_templates),
      cmocka_unit_test(template_that_refuses_is_quoted),
      cmocka_unit_test(prompts_are_chunked),
      cmocka_unit_test(unload_ends_running_sequences),
  };
  const struct CMUnitTest running[] = {
      WITH_ENGINE(greedy_is_repeatable),
      WITH_ENGINE(seeds_decide),
      WITH_ENGINE(together_as_alone),
      WITH_ENGINE(prefix_is_reused),
      WITH_ENGINE(slots_run_out_and_come_back),
      WITH_ENGINE(pause_holds_back),
      WITH_ENGINE(context_fills),
      WITH_ENGINE(end_token_ends),
      WITH_ENGINE(penalties_change_the_text),
      WITH_ENGINE(logprobs_add_up),
      WITH_ENGINE(every_byte_is_a_token),
      WITH_ENGINE(chat_is_templated),
      WITH_ENGINE(empty_prompt_begins_somewhere),
      WITH_ENGINE(overflow_has_the_numbers),
      WITH_ENGINE(huge_prompt_is_refused_unread),
      WITH_ENGINE(foreign_tokens_are_refused),
  };
  int failed = cmocka_run_group_tests_name("llama: loading", loading, NULL, NULL);
  failed += cmocka_run_group_tests_name("llama: running", running, NULL, NULL);
  return failed;
}
