// SPDX-License-Identifier: Apache-2.0
//
// The fake engine's own languages and promises: keys of its path, directives of a prompt, slots, faults on demand.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "engine/engine.h"

static const rh_engine_ops *ops;

typedef struct heard {
  char text[1024];
  int tokens, ends, fulls, failures;
  int64_t progress_done, progress_total;
  float logprob;   // of the last token
  int stop_after;  // tokens; 0 = never
  rh_error error;
} heard;

static rh_next on_token(void *ctx, const rh_token *token) {
  heard *h = ctx;
  if (token->end) {
    h->ends++;
    return RH_NEXT_STOP;
  }
  assert_int_equal(token->id, h->tokens);
  snprintf(h->text + strlen(h->text), sizeof h->text - strlen(h->text), "%.*s|", (int)token->length, token->bytes);
  h->tokens++;
  h->logprob = token->logprob;
  return h->tokens == h->stop_after ? RH_NEXT_STOP : RH_NEXT_MORE;
}
static void on_progress(void *ctx, int64_t done, int64_t total) {
  heard *h = ctx;
  h->progress_done = done;
  h->progress_total = total;
}
static void on_full(void *ctx) { ((heard *)ctx)->fulls++; }
static void on_failed(void *ctx, const rh_error *error) {
  heard *h = ctx;
  h->failures++;
  h->error = *error;
}

static rh_engine *load(const char *path) {
  rh_load what = {.engine = "fake", .path = path};
  rh_engine *engine = NULL;
  rh_error error = {0};
  if (ops->load(&what, NULL, NULL, &engine, &error) != RH_OK) fail_msg("%s: %s", path, error.message);
  return engine;
}

static rh_status load_status(const char *path, rh_error *error) {
  rh_load what = {.engine = "fake", .path = path};
  rh_engine *engine = NULL;
  rh_status status = ops->load(&what, NULL, NULL, &engine, error);
  if (status == RH_OK) ops->unload(engine);
  return status;
}

static rh_run text_run(const char *text) {
  rh_run run = {.task = RH_TASK_COMPLETE};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = text, .count = strlen(text)};
  rh_generate_defaults(&run.generate);
  return run;
}

static rh_status start(rh_engine *engine, const rh_run *run, heard *h, rh_sequence **sequence, int64_t *prompt,
                       rh_error *error) {
  rh_sequence_listener listener = {
      .token = on_token, .prompt_progress = on_progress, .context_full = on_full, .failed = on_failed, .ctx = h};
  int64_t cached = -1;
  rh_status status = ops->start(engine, run, &listener, sequence, prompt, &cached, error);
  if (status == RH_OK) assert_int_equal(cached, 0);
  return status;
}

static bool step(rh_engine *engine) {
  bool worked = false;
  rh_error error = {0};
  assert_int_equal(ops->step(engine, &worked, &error), RH_OK);
  return worked;
}

static heard say_as(const char *path, const char *prompt, const char *prefix) {
  rh_engine *engine = load(path);
  heard h = {0};
  rh_run run = text_run(prompt);
  run.prefix = prefix;
  run.generate.top_logprobs = 0;
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  for (int i = 0; i < 5000 && h.ends + h.fulls + h.failures == 0; i++) (void)step(engine);
  ops->unload(engine);
  return h;
}

static heard say(const char *prompt) { return say_as("fake:", prompt, NULL); }

static void test_registry(void **state) {
  (void)state;
  assert_ptr_equal(rh_engine_all()[0], ops);
  assert_string_equal(ops->name, "fake");
  assert_null(rh_engine_find("none"));
  assert_null(rh_engine_find(NULL));
}

static void test_probe_is_json(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 65536);
  assert_int_equal(ops->probe(&out), RH_OK);
  rh_error error = {0};
  json_t *root = rh_json_parse(rh_dynbuf_data(&out), out.length, &error);
  assert_non_null(root);
  assert_string_equal(json_string_value(json_object_get(root, "engine")), "fake");
  assert_true(json_is_true(json_object_get(root, "available")));
  assert_true(json_is_array(json_object_get(root, "devices")));
  json_decref(root);
  rh_dynbuf_free(&out);
}

static void test_path_keys(void **state) {
  (void)state;
  rh_engine *engine = load("fake:slots=2,context=64,vocabulary=100,template=0");
  rh_model_info info;
  ops->describe(engine, &info);
  assert_string_equal(info.engine, "fake");
  assert_int_equal(info.slots, 2);
  assert_int_equal(info.context, 64);
  assert_int_equal(info.vocabulary, 100);
  assert_false(info.has_chat_template);
  ops->unload(engine);
}

static void test_options_give_what_the_path_leaves_open(void **state) {
  (void)state;
  rh_load what = {.engine = "fake", .path = "fake:context=7", .options = {.slots = 3, .context = 99}};
  rh_engine *engine = NULL;
  assert_int_equal(ops->load(&what, NULL, NULL, &engine, NULL), RH_OK);
  rh_model_info info;
  ops->describe(engine, &info);
  assert_int_equal(info.slots, 3);
  assert_int_equal(info.context, 7);
  assert_true(info.has_chat_template);
  ops->unload(engine);
}

static void test_bad_paths(void **state) {
  (void)state;
  static const char *const paths[] = {"model.gguf",       "fake:slot=2",           "fake:slots",
                                      "fake:slots=x",     "fake:slots=0",          "fake:slots=-1",
                                      "fake:load_fail=2", "fake:load_fail=1",      "fake:context=99999999999999999999",
                                      "fake:memory=",     "fake:memory=MiB",       "fake:memory=5MB",
                                      "fake:memory=-1",   "fake:memory=9999999GiB"};
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    rh_error error = {0};
    assert_int_equal(load_status(paths[i], &error), RH_LOAD_FAILED);
    assert_true(strlen(error.message) > 0);
  }
}

static bool count_progress(void *ctx, double fraction) {
  int *calls = ctx;
  assert_true(fraction >= 0 && fraction <= 1);
  return ++*calls < 4;
}

static void test_load_can_be_given_up(void **state) {
  (void)state;
  rh_load what = {.engine = "fake", .path = "fake:load_delay_ms=60000"};
  rh_engine *engine = NULL;
  int calls = 0;
  rh_error error = {0};
  assert_int_equal(ops->load(&what, count_progress, &calls, &engine, &error), RH_CANCELLED);
  assert_int_equal(calls, 4);
}

// Resident pages of this process.
static int64_t resident_bytes(void) {
  long long size = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%lld %lld", &size, &resident), 2);
  fclose(file);
  return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static void test_memory_is_really_taken_and_given_back(void **state) {
  (void)state;
  const int64_t wanted = 64 << 20, slack = 8 << 20;
  int64_t before = resident_bytes();
  rh_engine *engine = load("fake:");
  assert_true(resident_bytes() - before < slack);
  ops->unload(engine);
  engine = load("fake:memory=64MiB");
  int64_t with = resident_bytes();
  assert_true(with - before >= wanted);
  assert_true(with - before < wanted + slack);
  rh_model_info info;
  ops->describe(engine, &info);
  assert_int_equal(info.bytes, wanted);
  ops->unload(engine);
  assert_true(resident_bytes() - before < slack);
}

static bool give_up_late(void *ctx, double fraction) {
  *(double *)ctx = fraction;
  return fraction < 0.5;
}

static void test_memory_of_a_load_that_is_given_up(void **state) {
  (void)state;
  int64_t before = resident_bytes();
  double reached = 0;
  rh_load what = {.engine = "fake", .path = "fake:memory=65536KiB"};
  rh_engine *engine = NULL;
  assert_int_equal(ops->load(&what, give_up_late, &reached, &engine, NULL), RH_CANCELLED);
  assert_true(reached >= 0.5 && reached < 1);
  rh_error error = {0};
  assert_int_equal(load_status("fake:memory=67108864,load_fail=1", &error), RH_LOAD_FAILED);
  assert_true(resident_bytes() - before < 8 << 20);
}

static void test_a_load_may_fail_once(void **state) {
  (void)state;
  char file[64], path[128];
  snprintf(file, sizeof file, "/tmp/rh-fake-fail-%d", (int)getpid());
  snprintf(path, sizeof path, "fake:load_fail_once=%s", file);
  unlink(file);
  rh_error error = {0};
  assert_int_equal(load_status(path, &error), RH_LOAD_FAILED);
  assert_string_equal(error.message, "the fake engine was told to fail");
  assert_int_equal(load_status(path, &error), RH_OK);
  unlink(file);
}

static void test_texts(void **state) {
  (void)state;
  static const struct {
    const char *prompt;
    const char *said;
  } rows[] = {
      {"hello", "This| is| the| fake| engine| speaking;| it| repeats|"},
      {"[[tokens=2]]", "This| is|"},
      {"x [[tokens=11]] y", "This| is| the| fake| engine| speaking;| it| repeats| itself.| This| is|"},
      {"[[text=one two  three]]", "one| two| | three|"},
      {"[[tokens=5 text=a b]]", "a| b| a| b| a|"},
      {"[[bytewise=1 text=ab c]]", "a|b| |c|"},
      {"[[text=]]", ""},
      {"[[tokens=1]] [[tokens=3]]", "This| is| the|"},
      {"[[tokens=1", "This| is| the| fake| engine| speaking;| it| repeats|"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    heard h = say(rows[i].prompt);
    assert_string_equal(h.text, rows[i].said);
    assert_int_equal(h.ends, 1);
  }
}

static void test_no_end_goes_on_to_the_context(void **state) {
  (void)state;
  heard h = say("[[end=0 tokens=2]]");
  assert_int_equal(h.ends, 0);
  assert_int_equal(h.fulls, 1);
  assert_int_equal(h.tokens, 4096 - 2);
}

static void test_fail_at(void **state) {
  (void)state;
  heard h = say("[[fail_at=0]]");
  assert_int_equal(h.failures, 1);
  assert_int_equal(h.tokens, 0);
  assert_int_equal(h.error.status, RH_INTERNAL);
}

static void test_goes_on_after_a_prefix(void **state) {
  (void)state;
  static const struct {
    const char *prompt, *prefix, *said;
  } rows[] = {
      {"[[text=one two three]]", "", "one| two| three|"},
      {"[[text=one two three]]", "one", " two| three|"},
      {"[[text=one two three]]", "one two", " three|"},
      {"[[text=one two three]]", "one tw", "o| three|"},
      {"[[text=one two three]]", "one ", "two| three|"},
      {"[[text=one two three]]", "one two three", ""},
      {"[[text=one two three]]", "one two three four", "one| two| three|"},
      {"[[text=one two three]]", "One", "one| two| three|"},
      {"[[tokens=5 text=a b]]", "a b a", " b| a|"},
      {"[[bytewise=1 text=ab c]]", "ab", " |c|"},
      {"[[fail_at=1 text=a b c d]]", "a b", " c|"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    heard h = say_as("fake:", rows[i].prompt, rows[i].prefix);
    assert_string_equal(h.text, rows[i].said);
    assert_int_equal(h.ends + h.failures, 1);
  }
}

static void test_a_prefix_counts_as_prompt(void **state) {
  (void)state;
  rh_engine *engine = load("fake:context=6");
  heard h = {0};
  rh_run run = text_run("x y [[tokens=9]]");
  run.prefix = "This is";
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  assert_int_equal(count, 5);
  for (int i = 0; i < 20 && h.ends + h.fulls == 0; i++) (void)step(engine);
  assert_int_equal(h.fulls, 1);
  assert_string_equal(h.text, " the|");
  ops->unload(engine);
}

static void test_a_model_has_habits(void **state) {
  (void)state;
  heard h = say_as("fake:fail_at=2", "hello", NULL);
  assert_int_equal(h.failures, 1);
  assert_string_equal(h.text, "This| is|");
  h = say_as("fake:fail_at=2", "[[fail_at=1]]", NULL);
  assert_int_equal(h.tokens, 1);
  h = say_as("fake:", "hello", NULL);
  assert_float_equal(h.logprob, -0.5, 1e-6);
  h = say_as("fake:confidence=0.2", "hello", NULL);
  assert_float_equal(h.logprob, -1.6094379, 1e-6);
  h = say_as("fake:confidence=0.2", "[[confidence=1]]", NULL);
  assert_float_equal(h.logprob, 0, 1e-6);
}

static void test_bad_directives(void **state) {
  (void)state;
  rh_engine *engine = load("fake:");
  static const char *const prompts[] = {"[[token=1]]", "[[tokens=]]",      "[[tokens=-1]]",      "[[end=2]]",
                                        "[[tokens]]",  "[[confidence=0]]", "[[confidence=1.1]]", "[[confidence=x]]"};
  for (size_t i = 0; i < sizeof prompts / sizeof prompts[0]; i++) {
    heard h = {0};
    rh_run run = text_run(prompts[i]);
    rh_sequence *sequence = NULL;
    int64_t count = 0;
    rh_error error = {0};
    assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_INVALID);
  }
  ops->unload(engine);
}

static void test_prompts_are_counted(void **state) {
  (void)state;
  rh_engine *engine = load("fake:vocabulary=10");
  heard h = {0};
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  const rh_message messages[] = {{.role = "system", .content = "be brief"},
                                 {.role = "user", .content = " one\ttwo\n three "}};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 2};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  assert_int_equal(count, 5);
  const int32_t ids[] = {1, 2, 9};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = ids, .count = 3};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  assert_int_equal(count, 3);
  const int32_t strange[] = {10};
  run.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = strange, .count = 1};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_INVALID);
  ops->unload(engine);
}

static void test_only_the_last_message_directs(void **state) {
  (void)state;
  rh_engine *engine = load("fake:");
  heard h = {0};
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  const rh_message messages[] = {{.role = "user", .content = "[[tokens=1]]"},
                                 {.role = "user", .content = "[[tokens=2]]"}};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 2};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  while (h.ends == 0) (void)step(engine);
  assert_int_equal(h.tokens, 2);
  ops->unload(engine);
}

static void test_no_template(void **state) {
  (void)state;
  rh_engine *engine = load("fake:template=0");
  heard h = {0};
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  const rh_message messages[] = {{.role = "user", .content = "hi"}};
  rh_run run = text_run("");
  run.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 1};
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_UNSUPPORTED);
  ops->unload(engine);
}

static void test_slots_side_by_side(void **state) {
  (void)state;
  rh_engine *engine = load("fake:slots=2");
  heard slow = {0}, fast = {0}, third = {0};
  rh_sequence *a = NULL, *b = NULL, *c = NULL;
  int64_t count = 0;
  rh_error error = {0};
  rh_run slow_run = text_run("[[tokens=2 delay_ms=40]]");
  rh_run fast_run = text_run("[[tokens=5]]");
  assert_int_equal(start(engine, &slow_run, &slow, &a, &count, &error), RH_OK);
  assert_int_equal(start(engine, &fast_run, &fast, &b, &count, &error), RH_OK);
  assert_int_equal(start(engine, &fast_run, &third, &c, &count, &error), RH_AGAIN);
  for (int i = 0; i < 6; i++) assert_true(step(engine));
  assert_int_equal(fast.ends, 1);
  assert_int_equal(slow.tokens, 0);
  assert_false(step(engine));  // nothing is due, and nobody slept
  assert_int_equal(start(engine, &fast_run, &third, &c, &count, &error), RH_OK);
  ops->pause(engine, c, true);
  uint64_t begun = rh_clock_now_ns();
  while (slow.ends == 0) (void)step(engine);
  assert_true(rh_clock_now_ns() - begun > 50 * RH_NS_PER_MS);
  assert_int_equal(third.tokens, 0);
  ops->pause(engine, c, false);
  assert_true(step(engine));
  assert_int_equal(third.tokens, 1);
  ops->stop(engine, c);
  assert_false(step(engine));
  rh_engine_counts counts;
  ops->counts(engine, &counts);
  assert_int_equal(counts.generated_tokens, 2 + 5 + 1);
  assert_int_equal(counts.cached_tokens, 0);
  ops->unload(engine);
}

static void test_listener_may_stop(void **state) {
  (void)state;
  rh_engine *engine = load("fake:slots=1");
  heard h = {.stop_after = 3};
  rh_sequence *sequence = NULL;
  int64_t count = 0;
  rh_error error = {0};
  rh_run run = text_run("[[end=0]]");
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);
  for (int i = 0; i < 10; i++) (void)step(engine);
  assert_int_equal(h.tokens, 3);
  assert_int_equal(start(engine, &run, &h, &sequence, &count, &error), RH_OK);  // the slot is free
  ops->unload(engine);
}

// True when a process that says `prompt` dies of SIGABRT.
static bool crashes(const char *prompt) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGABRT, SIG_DFL);
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
    (void)say(prompt);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_crashes(void **state) {
  (void)state;
  assert_true(crashes("[[crash_at=2]]"));
  assert_false(crashes("[[crash_at=200]]"));
  char file[] = "/tmp/rh_fake_XXXXXX";
  int fd = mkstemp(file);
  assert_true(fd >= 0);
  close(fd);
  unlink(file);
  char prompt[128];
  snprintf(prompt, sizeof prompt, "[[crash_once=%s]]", file);
  assert_true(crashes(prompt));
  assert_false(crashes(prompt));
  unlink(file);
}

static int find_fake(void **state) {
  (void)state;
  ops = rh_engine_find("fake");
  return ops != NULL ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_registry),
      cmocka_unit_test(test_probe_is_json),
      cmocka_unit_test(test_path_keys),
      cmocka_unit_test(test_options_give_what_the_path_leaves_open),
      cmocka_unit_test(test_bad_paths),
      cmocka_unit_test(test_load_can_be_given_up),
      cmocka_unit_test(test_memory_is_really_taken_and_given_back),
      cmocka_unit_test(test_memory_of_a_load_that_is_given_up),
      cmocka_unit_test(test_a_load_may_fail_once),
      cmocka_unit_test(test_texts),
      cmocka_unit_test(test_no_end_goes_on_to_the_context),
      cmocka_unit_test(test_fail_at),
      cmocka_unit_test(test_goes_on_after_a_prefix),
      cmocka_unit_test(test_a_prefix_counts_as_prompt),
      cmocka_unit_test(test_a_model_has_habits),
      cmocka_unit_test(test_bad_directives),
      cmocka_unit_test(test_prompts_are_counted),
      cmocka_unit_test(test_only_the_last_message_directs),
      cmocka_unit_test(test_no_template),
      cmocka_unit_test(test_slots_side_by_side),
      cmocka_unit_test(test_listener_may_stop),
      cmocka_unit_test(test_crashes),
  };
  return cmocka_run_group_tests(tests, find_fake, NULL);
}
