// SPDX-License-Identifier: Apache-2.0
//
// admit/cache_key: what is alike gives one key, whatever else differs gives another one (a property over random requests), and what is
// deterministic.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_key_fixture.h"

static void assert_alike(const sample *a, const sample *b) {
  rh_cache_key x = key_of(a), y = key_of(b);
  assert_true(same(&x, &y));
}

// --- what is alike ---------------------------------------------------------------------------------------------------------

static void test_a_text_is_a_piece(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  assert_alike(&a, &b);
  b.pieces[0] = (rh_piece){.kind = RH_PIECE_TEXT, .text = "Hello"};
  b.messages[1].pieces = b.pieces;
  b.messages[1].piece_count = 1;
  assert_alike(&a, &b);
  b.pieces[1] = (rh_piece){.kind = RH_PIECE_TEXT, .text = ""};
  b.messages[1].piece_count = 2;
  assert_alike(&a, &b);
  a.messages[1].content = "";
  b.pieces[0].text = "";
  assert_alike(&a, &b);
}

// They say what is worth keeping at the provider, and change no answer.
static void test_marks_do_not_count(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  a.messages[1].content = b.messages[1].content = "Hello\nagain";
  b.pieces[0] = (rh_piece){.kind = RH_PIECE_TEXT, .text = "Hello", .cache_mark = true};
  b.pieces[1] = (rh_piece){.kind = RH_PIECE_TEXT, .text = "again"};
  b.messages[1].pieces = b.pieces;
  b.messages[1].piece_count = 2;
  assert_alike(&a, &b);
  a.request.extras = &a.extras;
  b.request.extras = &b.extras;
  a.extras = b.extras = (rh_extras){.tool_count = 1, .parallel_tools = -1};
  a.extras.tools = a.tools;
  b.extras.tools = b.tools;
  a.tools[0] = (rh_tool){.name = "f", .schema = "{}"};
  b.tools[0] = (rh_tool){.name = "f", .schema = "{}", .cache_mark = true};
  assert_alike(&a, &b);
}

static void test_empty_extras_are_none(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  b.request.extras = &b.extras;
  b.extras.parallel_tools = -1;
  assert_alike(&a, &b);
  b.extras.parallel_tools = 0;
  b.extras.tool_choice = RH_TOOLS_NONE;
  b.extras.schema = "{}";
  b.extras.reasoning_effort = "";
  assert_alike(&a, &b);
  // The same tool, its schema from an object and from a text.
  a.request.extras = &a.extras;
  a.extras = b.extras = (rh_extras){.tool_count = 1, .parallel_tools = -1};
  a.extras.tools = a.tools;
  b.extras.tools = b.tools;
  a.tools[0] = (rh_tool){.name = "f", .schema = "{\"type\":\"object\",\"a b\":[1,2]}"};
  b.tools[0] = (rh_tool){.name = "f", .description = "", .schema = " { \"type\" : \"object\",\n \"a b\":[1, 2]}\n"};
  assert_alike(&a, &b);
}

static void test_results_of_tools_are_one_message_or_several(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  for (sample *s = &a; s != NULL; s = s == &a ? &b : NULL) {
    s->pieces[0] = (rh_piece){.kind = RH_PIECE_TOOL_RESULT, .id = "1", .text = "x"};
    s->pieces[1] = (rh_piece){.kind = RH_PIECE_TOOL_RESULT, .id = "2", .text = "y"};
    s->messages[2] = (rh_message){.role = "tool", .content = "", .pieces = s->pieces, .piece_count = 1};
    s->messages[3] = (rh_message){.role = "tool", .content = "", .pieces = s->pieces + 1, .piece_count = 1};
    s->prompts[0].count = 4;
  }
  b.messages[2].piece_count = 2;
  b.prompts[0].count = 3;
  assert_alike(&a, &b);
  // But two messages of a user are two.
  make_chat(&a);
  make_chat(&b);
  b.messages[1].content = "Hel";
  b.messages[2] = (rh_message){.role = "user", .content = "lo"};
  b.prompts[0].count = 3;
  rh_cache_key x = key_of(&a), y = key_of(&b);
  assert_false(same(&x, &y));
}

static void test_what_does_not_shape_the_answer(void **state) {
  (void)state;
  sample a, b;
  make_chat(&a);
  make_chat(&b);
  memcpy(b.request.id, "other", 6);
  b.request.stream = true;
  b.request.user = "somebody";
  b.request.session = "s";
  b.request.priority = 5;
  b.request.timeout_ns = 1;
  b.request.hints.cache = RH_CACHE_ASKED;
  b.request.model = "an alias";
  b.request.generate.seed = 7;  // without has_seed
  b.request.generate.presence_penalty = -0.0f;
  assert_alike(&a, &b);
  a.pieces[0] = b.pieces[0] = (rh_piece){.kind = RH_PIECE_IMAGE, .url = "http://x/y"};
  a.messages[1].pieces = a.pieces;
  b.messages[1].pieces = b.pieces;
  a.messages[1].piece_count = b.messages[1].piece_count = 1;
  b.pieces[0].detail = "auto";
  assert_alike(&a, &b);
  make_tensors(&a);
  make_tensors(&b);
  a.infer.prompt = b.infer.prompt = "query: ";
  b.infer.prompt_name = "query";
  b.infer.stride = 3;  // without has_stride
  assert_alike(&a, &b);
}

// --- a property: two requests have one key exactly when they are spelled alike -----------------------------------------------------

static uint32_t seed = 1;
static uint32_t draw(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 16) % below;
}

// Few letters and short texts, so that the same bytes meet in many divisions.
static const char *draw_text(char *out, size_t most) {
  size_t length = draw((uint32_t)most + 1);
  for (size_t i = 0; i < length; i++) out[i] = "ab"[draw(2)];
  out[length] = '\0';
  return out;
}

typedef struct drawn {
  rh_cache_key key;
  char spelling[160];
} drawn;

static void draw_request(drawn *out) {
  static char texts[12][8];
  sample s;
  size_t at = 0, used = 0;
  make_chat(&s);
  s.scope = draw_text(texts[at++], 2);
  s.identity = draw_text(texts[at++], 2);
  used += (size_t)snprintf(out->spelling + used, sizeof out->spelling - used, "%s|%s", s.scope, s.identity);
  s.prompts[0].count = draw(3);
  for (size_t i = 0; i < s.prompts[0].count; i++) {
    s.messages[i].role = draw(2) == 0 ? "user" : "assistant";
    s.messages[i].content = draw_text(texts[at++], 3);
    used += (size_t)snprintf(out->spelling + used, sizeof out->spelling - used, "|%s:%s", s.messages[i].role,
                             s.messages[i].content);
  }
  s.request.generate.stops = s.stops;
  s.request.generate.stop_count = draw(3);
  for (size_t i = 0; i < s.request.generate.stop_count; i++) {
    s.stops[i] = draw_text(texts[at++], 2);
    used += (size_t)snprintf(out->spelling + used, sizeof out->spelling - used, "|stop:%s", s.stops[i]);
  }
  out->key = key_of(&s);
}

static int by_key(const void *a, const void *b) {
  return memcmp(&((const drawn *)a)->key, &((const drawn *)b)->key, sizeof(rh_cache_key));
}
static int by_spelling(const void *a, const void *b) {
  return strcmp(((const drawn *)a)->spelling, ((const drawn *)b)->spelling);
}

static void test_keys_meet_only_where_requests_do(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  drawn *all = calloc(COUNT, sizeof *all);
  assert_non_null(all);
  for (size_t i = 0; i < COUNT; i++) draw_request(&all[i]);
  size_t keys = 1, spellings = 1;
  qsort(all, COUNT, sizeof *all, by_key);
  for (size_t i = 1; i < COUNT; i++) {
    bool one_key = same(&all[i - 1].key, &all[i].key);
    if (!one_key)
      keys++;
    else
      assert_string_equal(all[i - 1].spelling, all[i].spelling);
  }
  qsort(all, COUNT, sizeof *all, by_spelling);
  for (size_t i = 1; i < COUNT; i++) spellings += strcmp(all[i - 1].spelling, all[i].spelling) != 0;
  assert_int_equal(keys, spellings);
  assert_true(spellings > 1000 && spellings < COUNT);  // both kinds were seen
  free(all);
}

static void test_long_texts_count_to_their_end(void **state) {
  (void)state;
  char *text = malloc(100001);
  assert_non_null(text);
  rh_cache_key before = {{0}};
  for (size_t length = 1; length <= 100000; length = length * 3 / 2 + 1) {
    memset(text, 'x', length);
    text[length] = '\0';
    sample s;
    make_chat(&s);
    s.messages[1].content = text;
    rh_cache_key whole = key_of(&s);
    text[length - 1] = 'y';
    rh_cache_key other = key_of(&s);
    assert_false(same(&whole, &other));
    assert_false(same(&whole, &before));
    before = whole;
  }
  free(text);
}

static void test_what_is_deterministic(void **state) {
  (void)state;
  sample s;
  make_chat(&s);
  assert_false(rh_request_is_deterministic(&s.request));
  s.request.generate.temperature = 0;
  assert_true(rh_request_is_deterministic(&s.request));
  s.request.generate.temperature = 0.7f;
  s.request.generate.has_seed = true;
  assert_true(rh_request_is_deterministic(&s.request));
  s.request.generate.has_seed = false;
  s.request.generate.top_k = 1;
  assert_true(rh_request_is_deterministic(&s.request));
  make_tensors(&s);
  assert_true(rh_request_is_deterministic(&s.request));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_text_is_a_piece),
      cmocka_unit_test(test_marks_do_not_count),
      cmocka_unit_test(test_empty_extras_are_none),
      cmocka_unit_test(test_results_of_tools_are_one_message_or_several),
      cmocka_unit_test(test_what_does_not_shape_the_answer),
      cmocka_unit_test(test_keys_meet_only_where_requests_do),
      cmocka_unit_test(test_long_texts_count_to_their_end),
      cmocka_unit_test(test_what_is_deterministic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
