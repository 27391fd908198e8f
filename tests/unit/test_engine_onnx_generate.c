// SPDX-License-Identifier: Apache-2.0
//
// Text from the smallest decoders (tests/tools/make_tiny_decoders.py), of both kinds of cache. What is expected is computed by
// running the graph raw over the whole text for every token.
#include "onnx_fixture.h"

#define BOS 18
#define HEARD_MAX 64

static const char *const kinds[] = {"decoder-grown/model.onnx", "decoder-counted/model.onnx",
                                    "decoder-shared/model.onnx", "decoder-kept/model.onnx"};
#define EACH_KIND(kind) for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)

typedef struct heard {
  int32_t ids[HEARD_MAX];
  size_t count, stop_after;
  char text[512];
  int ends, fulls, failures;
  int64_t progress;
  float first_logprob;
  int32_t first_top;
  rh_sequence *sequence;
} heard;

static rh_next on_token(void *ctx, const rh_token *token) {
  heard *h = ctx;
  assert_true(h->count < HEARD_MAX);
  if (h->count == 0 && token->top_count > 0) {
    h->first_logprob = token->logprob;
    h->first_top = token->top[0].token;
    assert_true(token->top[0].length > 0);
    assert_true(token->top[0].logprob >= token->top[1].logprob);
  }
  if (token->end) {
    h->ends++;
    return RH_NEXT_STOP;
  }
  size_t used = strlen(h->text);
  snprintf(h->text + used, sizeof h->text - used, "%.*s", (int)token->length, token->bytes);
  h->ids[h->count++] = token->id;
  return h->count == h->stop_after ? RH_NEXT_STOP : RH_NEXT_MORE;
}

static void on_progress(void *ctx, int64_t done, int64_t total) {
  (void)total;
  ((heard *)ctx)->progress = done;
}

static void on_full(void *ctx) { ((heard *)ctx)->fulls++; }
static void on_failed(void *ctx, const rh_error *error) {
  (void)error;
  ((heard *)ctx)->failures++;
}

static rh_run run_of(const int32_t *prompt, size_t count) {
  rh_run what = {.task = RH_TASK_COMPLETE};
  rh_generate_defaults(&what.generate);
  what.generate.temperature = 0;
  what.generate.repeat_penalty = 1;
  what.generate.top_logprobs = -1;
  what.generate.ignore_eos = true;
  what.prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = prompt, .count = count};
  return what;
}

static rh_status begin(rh_engine *engine, const rh_run *what, heard *h, int64_t *cached, rh_error *error) {
  rh_sequence_listener listener = {
      .token = on_token, .prompt_progress = on_progress, .context_full = on_full, .failed = on_failed, .ctx = h};
  int64_t prompt = 0;
  *error = (rh_error){.status = RH_OK};
  return OPS->start(engine, what, &listener, &h->sequence, &prompt, cached, error);
}

static int64_t begin_well(rh_engine *engine, const rh_run *what, heard *h) {
  rh_error error;
  int64_t cached = -1;
  if (begin(engine, what, h, &cached, &error) != RH_OK) fail_msg("%s", error.message);
  return cached;
}

static bool step(rh_engine *engine) {
  bool worked = false;
  rh_error error = {0};
  if (OPS->step(engine, &worked, &error) != RH_OK) fail_msg("%s", error.message);
  return worked;
}

static void finish(rh_engine *engine) {
  for (int i = 0; i < 1000 && step(engine); i++) continue;
  assert_false(step(engine));
}

static rh_engine *load_decoder(const char *name, int64_t slots, int64_t context, int64_t batch) {
  return load_with(
      name, &(rh_load_options){.gpu_layers = -1, .threads = 1, .slots = slots, .context = context, .batch = batch});
}

// The likeliest tokens after `prompt`, each from a run of the whole text. 19, the end, is never taken.
static void expect_greedy(rh_engine *engine, const int32_t *prompt, size_t count, const heard *h) {
  int64_t ids[HEARD_MAX], mask[HEARD_MAX], positions[HEARD_MAX];
  size_t inputs = ops_of(engine)->graph(engine)->input_count;
  for (size_t i = 0; i < count; i++) ids[i] = prompt[i];
  for (size_t i = 0; i < HEARD_MAX; i++) {
    mask[i] = 1;
    positions[i] = (int64_t)i;
  }
  for (size_t made = 0; made < h->count; made++, count++) {
    int64_t length = (int64_t)count;
    const rh_tensor in[] = {
        {.name = "input_ids", .type = RH_DTYPE_I64, .shape = {1, length}, .rank = 2, .data = ids, .bytes = count * 8},
        {.name = "attention_mask",
         .type = RH_DTYPE_I64,
         .shape = {1, length},
         .rank = 2,
         .data = mask,
         .bytes = count * 8},
        {.name = "past_key_values.0.key", .type = RH_DTYPE_F32, .shape = {1, 1, 0, 8}, .rank = 4},
        {.name = "past_key_values.0.value", .type = RH_DTYPE_F32, .shape = {1, 1, 0, 8}, .rank = 4},
        {.name = "position_ids",
         .type = RH_DTYPE_I64,
         .shape = {1, length},
         .rank = 2,
         .data = positions,
         .bytes = count * 8}};
    const rh_tensor *out = NULL;
    size_t out_count = 0;
    run_well(engine, in, inputs, &out, &out_count);
    const rh_tensor *logits = find(out, out_count, "logits");
    const float *last = (const float *)logits->data + (count - 1) * 20;
    int32_t best = 0;
    for (int32_t id = 1; id < 19; id++) best = last[id] > last[best] ? id : best;
    assert_int_equal(h->ids[made], best);
    ids[count] = best;
  }
}

static const int32_t first[] = {BOS, 1, 2, 3}, second[] = {BOS, 9, 4, 7, 7, 2, 11, 5}, third[] = {6};

static void a_text_is_what_the_whole_graph_says(void **state) {
  (void)state;
  EACH_KIND(kind) {
    // In one piece, and in pieces of two and of three tokens.
    for (int64_t batch = 0; batch < 4; batch += batch == 0 ? 2 : 1) {
      rh_engine *engine = load_decoder(kinds[kind], 0, 0, batch);
      heard h = {.stop_after = 20};
      rh_run what = run_of(second, 8);
      assert_int_equal(begin_well(engine, &what, &h), 0);
      finish(engine);
      assert_int_equal(h.count, 20);
      assert_int_equal(h.progress, 8);
      expect_greedy(engine, second, 8, &h);
      OPS->unload(engine);
    }
  }
}

static void sequences_do_not_disturb_each_other(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 3, 0, 3);
    heard h[] = {{.stop_after = 25}, {.stop_after = 9}, {.stop_after = 14}, {.stop_after = 12}};
    const rh_run runs[] = {run_of(first, 4), run_of(second, 8), run_of(third, 1), run_of(second, 5)};
    begin_well(engine, &runs[0], &h[0]);
    for (int i = 0; i < 4; i++) step(engine);
    begin_well(engine, &runs[1], &h[1]);
    begin_well(engine, &runs[2], &h[2]);
    // A fourth must wait until one has ended, and then takes its slot while the others go on.
    rh_error error;
    int64_t cached = 0;
    assert_int_equal(begin(engine, &runs[3], &h[3], &cached, &error), RH_AGAIN);
    while (h[1].count < 9) assert_true(step(engine));
    begin_well(engine, &runs[3], &h[3]);
    finish(engine);
    expect_greedy(engine, first, 4, &h[0]);
    expect_greedy(engine, second, 8, &h[1]);
    expect_greedy(engine, third, 1, &h[2]);
    expect_greedy(engine, second, 5, &h[3]);
    assert_int_equal(h[0].count + h[1].count + h[2].count + h[3].count, 25 + 9 + 14 + 12);
    OPS->unload(engine);
  }
}

static void one_may_stop_and_another_wait(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 3, 0, 0);
    heard h[] = {{.stop_after = 18}, {.stop_after = 18}, {.stop_after = 18}};
    const rh_run runs[] = {run_of(first, 4), run_of(second, 8), run_of(third, 1)};
    for (int i = 0; i < 3; i++) begin_well(engine, &runs[i], &h[i]);
    for (int i = 0; i < 6; i++) step(engine);
    OPS->pause(engine, h[1].sequence, true);
    size_t had = h[1].count;
    for (int i = 0; i < 5; i++) step(engine);
    assert_int_equal(h[1].count, had);
    OPS->stop(engine, h[0].sequence);
    for (int i = 0; i < 3; i++) step(engine);
    OPS->pause(engine, h[1].sequence, false);
    finish(engine);
    assert_int_equal(h[1].count, 18);
    assert_int_equal(h[2].count, 18);
    expect_greedy(engine, first, 4, &h[0]);
    expect_greedy(engine, second, 8, &h[1]);
    expect_greedy(engine, third, 1, &h[2]);
    OPS->unload(engine);
  }
}

static void a_known_beginning_is_not_computed_again(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 2, 0, 0);
    rh_run what = run_of(second, 8);
    heard once = {.stop_after = 6}, beside = {.stop_after = 30}, again = {.stop_after = 6}, seeded = {.stop_after = 6};
    begin_well(engine, &what, &once);
    rh_run other = run_of(first, 4);
    begin_well(engine, &other, &beside);
    for (int i = 0; i < 12; i++) step(engine);
    // While the other one still runs.
    assert_int_equal(begin_well(engine, &what, &again), 7);
    finish(engine);
    expect_greedy(engine, second, 8, &again);
    expect_greedy(engine, first, 4, &beside);
    // Half of it, then another way; and not at all for a run that shall repeat.
    const int32_t turned[] = {BOS, 9, 4, 7, 1, 1};
    rh_run half = run_of(turned, 6);
    heard changed = {.stop_after = 6};
    assert_int_equal(begin_well(engine, &half, &changed), 4);
    finish(engine);
    expect_greedy(engine, turned, 6, &changed);
    what.generate.has_seed = true;
    assert_int_equal(begin_well(engine, &what, &seeded), 0);
    finish(engine);
    assert_memory_equal(seeded.ids, once.ids, sizeof once.ids);
    rh_engine_counts counts;
    OPS->counts(engine, &counts);
    assert_int_equal(counts.cached_tokens, 7 + 4);
    assert_int_equal(counts.prompt_tokens, 8 + 4 + 1 + 2 + 8);
    OPS->unload(engine);
  }
}

static void the_context_has_an_end(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 2, 12, 0);
    heard h = {0}, beside = {.stop_after = 3};
    rh_run what = run_of(second, 8), other = run_of(first, 4);
    begin_well(engine, &what, &h);
    finish(engine);
    assert_int_equal(h.fulls, 1);
    assert_int_equal(h.count, 4);
    expect_greedy(engine, second, 8, &h);
    // The full slot rests beside one that works, which must not write behind its end.
    begin_well(engine, &other, &beside);
    finish(engine);
    expect_greedy(engine, first, 4, &beside);
    rh_error error;
    int64_t cached = 0;
    what.generate.max_tokens = 5;
    assert_int_equal(begin(engine, &what, &h, &cached, &error), RH_CONTEXT_OVERFLOW);
    expect_words(&error, "together 13");
    OPS->unload(engine);
  }
}

// The end's token cannot be computed. Whoever is in the same call as it fails; whoever is not goes on, and the slots serve again.
static void a_failed_call_ends_only_its_own(void **state) {
  (void)state;
  const int32_t broken[] = {BOS, 19, 2};
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 2, 0, 0);
    heard good = {.stop_after = 12}, bad = {0}, again = {.stop_after = 7};
    rh_run what = run_of(second, 8), wrong = run_of(broken, 3);
    begin_well(engine, &what, &good);
    for (int i = 0; i < 3; i++) step(engine);
    begin_well(engine, &wrong, &bad);
    finish(engine);
    assert_int_equal(bad.failures, 1);
    assert_int_equal(bad.count, 0);
    assert_int_equal(good.failures, 0);
    assert_int_equal(good.count, 12);
    expect_greedy(engine, second, 8, &good);
    rh_run other = run_of(first, 4);
    begin_well(engine, &other, &again);
    finish(engine);
    expect_greedy(engine, first, 4, &again);
    OPS->unload(engine);
  }
}

// Three tokens are the bytes of one character: it comes out with the third, also when that is the last.
static void a_character_of_several_tokens_is_whole(void **state) {
  (void)state;
  rh_engine *engine = load("decoder-kept/model.onnx");
  const rh_logit_bias order[] = {{.token = 1, .bias = 900}, {.token = 2, .bias = 600}, {.token = 3, .bias = 300}};
  const int32_t prompt[] = {BOS, 5, 6};
  rh_run what = run_of(prompt, 3);
  what.generate.logit_bias = order;
  what.generate.logit_bias_count = 3;
  what.generate.presence_penalty = 2000;
  heard h = {.stop_after = 3}, on = {.stop_after = 4};
  begin_well(engine, &what, &h);
  finish(engine);
  assert_int_equal(h.ids[2], 3);
  assert_string_equal(h.text, "\xe2\x82\xac");
  begin_well(engine, &what, &on);
  finish(engine);
  assert_memory_equal(on.text, "\xe2\x82\xacw", 4);
  // A prompt that ends in such bytes is not said again.
  const int32_t bytes[] = {BOS, 5, 1, 2, 3};
  rh_run after = run_of(bytes, 5);
  heard plain = {.stop_after = 1};
  begin_well(engine, &after, &plain);
  finish(engine);
  assert_null(strchr(plain.text, '\xe2'));
  OPS->unload(engine);
}

static void bad_prompts_are_refused(void **state) {
  (void)state;
  rh_engine *engine = load(kinds[0]);
  const int32_t foreign[] = {3, 20};
  rh_error error;
  heard h = {0};
  int64_t cached = 0;
  rh_run what = run_of(foreign, 2);
  assert_int_equal(begin(engine, &what, &h, &cached, &error), RH_INVALID);
  expect_words(&error, "token 20 at place 1");
  what = run_of(first, 4);
  what.generate.temperature = -1;
  assert_int_equal(begin(engine, &what, &h, &cached, &error), RH_INVALID);
  what.generate.temperature = 0;
  what.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES};
  assert_int_equal(begin(engine, &what, &h, &cached, &error), RH_INVALID);
  // Nothing holds a slot after a refusal.
  OPS->unload(engine);
}

static void texts_and_chats_become_tokens(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 1, 0, 0);
    heard h = {.stop_after = 5}, chat = {.stop_after = 5}, empty = {.stop_after = 5};
    rh_run what = run_of(NULL, 0);
    if (kind == 3) {  // its words are others
      OPS->unload(engine);
      continue;
    }
    what.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = "<s> w1 w2 w3", .count = 12};
    what.generate.top_logprobs = 3;
    begin_well(engine, &what, &h);
    finish(engine);
    expect_greedy(engine, first, 4, &h);
    assert_int_equal(h.first_top, h.ids[0]);
    assert_true(h.first_logprob < 0 && h.first_logprob > -3);
    assert_non_null(strstr(h.text, "w"));
    const rh_message messages[] = {{.role = "user", .content = "w4 w5"}};
    const int32_t written[] = {BOS, 4, 5, 0};
    what.prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 1};
    begin_well(engine, &what, &chat);
    finish(engine);
    expect_greedy(engine, written, 4, &chat);
    const int32_t alone[] = {BOS};
    what.prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = "", .count = 0};
    begin_well(engine, &what, &empty);
    finish(engine);
    expect_greedy(engine, alone, 1, &empty);
    OPS->unload(engine);
  }
}

static void an_answer_is_gone_on_with(void **state) {
  (void)state;
  rh_engine *engine = load_decoder(kinds[0], 1, 0, 0);
  const rh_message messages[] = {{.role = "user", .content = "w4 w5"}};
  const rh_prompt prompts[] = {{.kind = RH_PROMPT_TEXT, .text = "<s> w1", .count = 6},
                               {.kind = RH_PROMPT_TOKENS, .tokens = first, .count = 2},
                               {.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 1}};
  const int32_t chat[] = {BOS, 4, 5, 0, 2, 3};
  rh_run what = run_of(NULL, 0);
  what.prefix = " w2 w3";
  for (size_t i = 0; i < 3; i++) {
    heard h = {.stop_after = 5};
    what.prompt = prompts[i];
    begin_well(engine, &what, &h);
    finish(engine);
    assert_int_equal(h.count, 5);
    if (i < 2) expect_greedy(engine, first, 4, &h);
    if (i == 2) expect_greedy(engine, chat, 6, &h);
  }
  OPS->unload(engine);
}

static void what_is_told_of_a_decoder(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 0, 0, 0);
    rh_model_info info;
    OPS->describe(engine, &info);
    assert_string_equal(info.task, "");
    assert_int_equal(info.context, 64);
    assert_int_equal(info.context_trained, 64);
    assert_int_equal(info.slots, 4);
    assert_int_equal(info.vocabulary, 20);
    assert_true(info.has_chat_template);
    assert_string_equal(info.architecture, "TinyForCausalLM");
    OPS->unload(engine);
    rh_error error;
    assert_int_equal(try_load(kinds[kind], &(rh_load_options){.gpu_layers = -1, .context = 65}, &engine, &error),
                     RH_INVALID);
    expect_words(&error, "context is 65");
  }
}

static void a_graph_that_cannot_be_driven_still_takes_tensors(void **state) {
  (void)state;
  rh_engine *engine = load("decoder-strange/model.onnx");
  rh_model_info info;
  OPS->describe(engine, &info);
  assert_string_equal(info.task, "tensor");
  heard h = {0};
  rh_error error;
  int64_t cached = 0;
  rh_run what = run_of(first, 4);
  assert_int_equal(begin(engine, &what, &h, &cached, &error), RH_UNSUPPORTED);
  expect_words(&error, "past_of_the_moon");
  OPS->unload(engine);
}

static void unloading_ends_what_runs(void **state) {
  (void)state;
  EACH_KIND(kind) {
    rh_engine *engine = load_decoder(kinds[kind], 3, 0, 0);
    heard h[2] = {{.stop_after = 0}, {.stop_after = 0}};
    rh_run what = run_of(first, 4), other = run_of(second, 8);
    begin_well(engine, &what, &h[0]);
    begin_well(engine, &other, &h[1]);
    for (int i = 0; i < 5; i++) step(engine);
    OPS->unload(engine);
    assert_true(h[0].count > 0 && h[1].count > 0);
  }
}

static int set_up(void **state) {
  (void)state;
  return onnx_folder();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_text_is_what_the_whole_graph_says),
      cmocka_unit_test(sequences_do_not_disturb_each_other),
      cmocka_unit_test(one_may_stop_and_another_wait),
      cmocka_unit_test(a_known_beginning_is_not_computed_again),
      cmocka_unit_test(the_context_has_an_end),
      cmocka_unit_test(a_failed_call_ends_only_its_own),
      cmocka_unit_test(a_character_of_several_tokens_is_whole),
      cmocka_unit_test(bad_prompts_are_refused),
      cmocka_unit_test(texts_and_chats_become_tokens),
      cmocka_unit_test(an_answer_is_gone_on_with),
      cmocka_unit_test(what_is_told_of_a_decoder),
      cmocka_unit_test(a_graph_that_cannot_be_driven_still_takes_tensors),
      cmocka_unit_test(unloading_ends_what_runs),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
