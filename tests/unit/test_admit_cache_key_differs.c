// SPDX-License-Identifier: Apache-2.0
//
// admit/cache_key: each single thing that shapes an answer gives another key.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache_key_fixture.h"

static const int32_t some_tokens[] = {1, 2};

static void vary_chat(sample *s, int i) {
  rh_generate *generate = &s->request.generate;
  switch (i) {
    case 0: break;
    case 1: s->identity = "local/tiny@2"; break;
    case 2: s->scope = "key_a"; break;
    case 3: s->local_only = true; break;
    case 4: s->request.choices = 2; break;
    case 5: s->messages[1].content = "Hello "; break;
    case 6: s->messages[1].role = "assistant"; break;
    case 7: s->prompts[0].count = 1; break;
    case 8:
      s->request.prompt_count = 2;
      s->prompts[1] = s->prompts[0];
      break;
    case 9: s->prompts[0] = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = "Hello", .count = 5}; break;
    case 10: s->prompts[0] = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = some_tokens, .count = 2}; break;
    case 11: generate->max_tokens = 21; break;
    case 12: generate->temperature = 0; break;
    case 13: generate->top_p = 0.5f; break;
    case 14: generate->min_p = 0.5f; break;
    case 15: generate->top_k = 5; break;
    case 16: generate->repeat_penalty = 1.1f; break;
    case 17: generate->presence_penalty = 0.1f; break;
    case 18: generate->frequency_penalty = 0.1f; break;
    case 19: generate->penalty_last_n = 5; break;
    case 20: generate->has_seed = true; break;
    case 21:
      generate->has_seed = true;
      generate->seed = 1;
      break;
    case 22:
      generate->stops = s->stops;
      generate->stop_count = 1;
      s->stops[0] = "ab";
      break;
    case 23:
      generate->stops = s->stops;
      generate->stop_count = 2;
      s->stops[0] = "a";
      s->stops[1] = "b";
      break;
    case 24:
      generate->logit_bias = s->bias;
      generate->logit_bias_count = 1;
      break;
    case 25: generate->top_logprobs = 0; break;
    case 26: generate->ignore_eos = true; break;
    case 27: generate->given |= RH_GIVEN_TEMPERATURE; break;
    case 28: s->request.task = RH_TASK_COMPLETE; break;
    default: assert_true(false);
  }
}

static void vary_extras(sample *s, int i) {
  s->request.extras = &s->extras;
  s->extras = (rh_extras){.parallel_tools = -1, .tools = s->tools, .tool_count = 1};
  s->tools[0] = (rh_tool){.name = "f", .schema = "{\"a\":\"b c\"}"};
  s->tools[1] = (rh_tool){.name = "g", .schema = "{}"};
  switch (i) {
    case 0: break;
    case 1: s->extras.tool_count = 2; break;
    case 2: s->tools[0].description = "does"; break;
    case 3: s->tools[0].schema = "{\"a\":\"bc\"}"; break;
    case 4: s->tools[0].strict = true; break;
    case 5: s->extras.tool_choice = RH_TOOLS_REQUIRED; break;
    case 6:
      s->extras.tool_choice = RH_TOOLS_NAMED;
      s->extras.tool_name = "f";
      break;
    case 7: s->extras.parallel_tools = 0; break;
    case 8: s->extras.format = RH_ANSWER_JSON; break;
    case 9:
      s->extras.format = RH_ANSWER_SCHEMA;
      s->extras.schema = "{}";
      break;
    case 10:
      s->extras.format = RH_ANSWER_SCHEMA;
      s->extras.schema = "{\"x\":1}";
      break;
    case 11:
      s->extras.format = RH_ANSWER_SCHEMA;
      s->extras.schema = "{}";
      s->extras.schema_strict = true;
      break;
    case 12:
      s->extras.format = RH_ANSWER_SCHEMA;
      s->extras.schema = "{}";
      s->extras.schema_name = "n";
      break;
    case 13: s->extras.reasoning_effort = "low"; break;
    case 14: s->extras.reasoning_tokens = 1024; break;
    case 15: s->tools[0].schema = "{\"a\":\"b  c\"}"; break;
    case 16: s->tools[0].schema = "{\"a\\\" : \":\"b c\"}"; break;
    case 17: s->tools[0].schema = "{\"a\\\": \":\"b c\"}"; break;
    case 18: s->tools[0].schema = "12"; break;
    case 19: s->tools[0].schema = "1 2"; break;
    case 20: s->extras.reasoning_adaptive = true; break;
    default: assert_true(false);
  }
}

static void vary_pieces(sample *s, int i) {
  static const rh_piece pieces[] = {
      {.kind = RH_PIECE_IMAGE, .url = "u"},
      {.kind = RH_PIECE_IMAGE, .url = "v"},
      {.kind = RH_PIECE_IMAGE, .media_type = "image/png", .data = "u"},
      {.kind = RH_PIECE_IMAGE, .media_type = "image/gif", .data = "u"},
      {.kind = RH_PIECE_IMAGE, .url = "u", .detail = "low"},
      {.kind = RH_PIECE_TOOL_CALL, .id = "1", .name = "f", .arguments = "{}"},
      {.kind = RH_PIECE_TOOL_CALL, .id = "2", .name = "f", .arguments = "{}"},
      {.kind = RH_PIECE_TOOL_CALL, .id = "1", .name = "g", .arguments = "{}"},
      {.kind = RH_PIECE_TOOL_CALL, .id = "1", .name = "f", .arguments = "{\"a\":1}"},
      {.kind = RH_PIECE_TOOL_RESULT, .id = "1", .text = "r"},
      {.kind = RH_PIECE_TOOL_RESULT, .id = "1", .text = "r", .failed = true},
      {.kind = RH_PIECE_REASONING, .text = "r"},
      {.kind = RH_PIECE_REASONING, .text = "r", .signature = "s"},
      {.kind = RH_PIECE_TEXT, .text = "r"},
  };
  s->pieces[0] = (rh_piece){.kind = RH_PIECE_TEXT, .text = "Hello"};
  s->pieces[1] = pieces[i];
  s->messages[1].pieces = s->pieces;
  s->messages[1].piece_count = 2;
}

static void vary_infer(sample *s, int i) {
  rh_infer *infer = &s->infer;
  make_tensors(s);
  switch (i) {
    case 0: break;
    case 1: s->request.task = RH_TASK_EMBED; break;
    case 2: s->items[0].length = 1; break;
    case 3: s->items[0].pair = ""; break;
    case 4: s->items[0] = (rh_item){.tokens = some_tokens, .token_count = 1}; break;
    case 5: infer->item_count = 1; break;
    case 6: infer->dimensions = 8; break;
    case 7: infer->prompt_name = "query"; break;
    case 8: infer->prompt = "query"; break;
    case 9: infer->normalize = RH_CHOICE_NO; break;
    case 10: infer->refuse_long = true; break;
    case 11: infer->cut_long = true; break;
    case 12: infer->has_stride = true; break;
    case 13: infer->top_k = 1; break;
    case 14: infer->multi_label = RH_CHOICE_YES; break;
    case 15: infer->raw_scores = true; break;
    case 16: infer->aggregation = RH_AGGREGATION_MAX; break;
    case 17: s->labels[1] = "r"; break;
    case 18: infer->hypothesis = "Is it {}?"; break;
    case 19: s->tensors[0].data = "cd"; break;
    case 20:
      s->tensors[0].shape[0] = 1;
      s->tensors[0].rank = 2;
      s->tensors[0].shape[1] = 2;
      break;
    case 21: s->tensors[0].type = RH_DTYPE_I8; break;
    case 22: s->tensors[0].name = "z"; break;
    case 23: infer->output_count = 0; break;
    case 24:
      s->items[0] = (rh_item){.text = "a", .length = 1};
      s->items[1] = (rh_item){.text = "bc", .length = 2};
      break;
    default: assert_true(false);
  }
}

static void test_every_difference_counts(void **state) {
  (void)state;
  static const struct {
    void (*vary)(sample *s, int i);
    int count;
  } families[] = {{vary_chat, 29}, {vary_extras, 21}, {vary_pieces, 14}, {vary_infer, 25}};
  rh_cache_key keys[100];
  size_t count = 0;
  for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
    for (int i = 0; i < families[f].count; i++) {
      sample s;
      make_chat(&s);
      families[f].vary(&s, i);
      keys[count] = key_of(&s);
      for (size_t k = 0; k < count; k++) assert_false(same(&keys[k], &keys[count]));
      count++;
    }
  }
  assert_int_equal(count, 89);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_difference_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
