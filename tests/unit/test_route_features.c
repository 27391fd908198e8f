// SPDX-License-Identifier: Apache-2.0
//
// route/features: what is seen in a request: tokens, language, code, mathematics, complexity, sessions.
#include <stdio.h>
#include <stdlib.h>

#include "route_fixture.h"

static rh_features of_messages(const rh_message *messages, size_t count) {
  const rh_prompt prompt = {.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
  rh_request request = {.task = RH_TASK_CHAT, .prompts = &prompt, .prompt_count = 1, .choices = 1};
  rh_features features;
  rh_features_extract(&request, NULL, 1700000000, &features);
  return features;
}

static rh_features of(const char *text) {
  const rh_message message = {.role = "user", .content = text};
  return of_messages(&message, 1);
}

static void languages(void **state) {
  (void)state;
  static const char *const texts[][2] = {
      {"en", "What is the capital of France and why is it so large?"},
      {"de", "Was ist die Hauptstadt von Frankreich und warum ist sie so groß?"},
      {"fr", "Quelle est la capitale de la France et pourquoi est-elle si grande ?"},
      {"es", "¿Cuál es la capital de Francia y por qué es tan grande?"},
      {"it", "Qual è la capitale della Francia e perché è così grande?"},
      {"pt", "Qual é a capital da França e por que ela é tão grande para você?"},
      {"nl", "Wat is de hoofdstad van Frankrijk en waarom is het zo groot?"},
      {"sv", "Vad är huvudstaden i Frankrike och varför är den så stor?"},
      {"da", "Hvad er hovedstaden i Frankrig, og hvorfor er den så stor?"},
      {"pl", "Co jest stolicą Francji i dlaczego jest to tak duże miasto?"},
      {"cs", "Co je hlavní město Francie a proč je tak velké, prosím?"},
      {"tr", "Fransa'nın başkenti neresi ve neden bu kadar büyük bir şehir?"},
      {"ru", "Какая столица Франции и почему она такая большая?"},
      {"uk", "Яка столиця Франції і чому вона така велика?"},
      {"zh", "法国的首都是哪里,为什么这么大?"},
      {"ja", "フランスの首都はどこですか?なぜそんなに大きいのですか?"},
      {"ko", "프랑스의 수도는 어디이며 왜 그렇게 큰가요?"},
      {"ar", "ما هي عاصمة فرنسا ولماذا هي كبيرة جدا؟"},
      {"he", "מהי בירת צרפת ולמה היא כל כך גדולה?"},
      {"el", "Ποια είναι η πρωτεύουσα της Γαλλίας;"},
      {"hi", "फ्रांस की राजधानी क्या है?"},
      {"th", "เมืองหลวงของฝรั่งเศสคืออะไร"},
      {"", "qwxz 12345 zzgh"},
      {"", ""},
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    rh_features f = of(texts[i][1]);
    if (strcmp(f.language, texts[i][0]) != 0) fail_msg("%s: %s", f.language, texts[i][1]);
  }
}

static void code_and_mathematics(void **state) {
  (void)state;
  assert_true(of("Fix this:\n```c\nint main(void) { return 0; }\n```").has_code);
  assert_true(of("for (int i = 0; i < n; i++) {\n  sum += a[i];\n}\nreturn sum;").has_code);
  assert_true(of("Write a python function that reverses a list").has_code);
  assert_false(of("Please tell me about your function in this company; I return on Monday.").has_code);
  assert_false(of("What is the capital of France?").has_code);
  assert_true(of("What is 17 * 23 + 4?").has_math);
  assert_true(of("Solve the equation \\frac{x}{2} = 7").has_math);
  assert_true(of("∀ε>0 ∃δ>0: ∑ aₙ ≤ ε").has_math);
  assert_false(of("The meeting is on 2026-11-21 from 9-10, call +49 123 456").has_math);
  assert_false(of("if (x == 5) { y = x * 2; }\nreturn y;\n").has_math);
}

static void complexity_rises_with_the_task(void **state) {
  (void)state;
  rh_features hello = of("Hello, how are you?");
  rh_features look_up = of("What is the capital of France?");
  rh_features proof =
      of("Prove that the square root of 2 is irrational, and explain why the same reasoning fails for 4.");
  rh_features design =
      of("Design a distributed rate limiter in C and compare three algorithms. Explain the tradeoffs and justify your "
         "choice.\n"
         "Requirements:\n- it must never block for more than 1 ms\n- it should work without a central server\n"
         "- each key has exactly one limit\n- prove that it never admits more than 1.1 times the limit\n"
         "- include the code of every function, and analyze its complexity; avoid locks unless required\n");
  assert_int_equal(hello.level, RH_LEVEL_LOW);
  assert_int_equal(look_up.level, RH_LEVEL_LOW);
  assert_int_equal(proof.level, RH_LEVEL_MEDIUM);
  assert_int_equal(design.level, RH_LEVEL_HIGH);
  assert_true(look_up.complexity < proof.complexity && proof.complexity < design.complexity);
}

static void a_clients_word_wins(void **state) {
  (void)state;
  const rh_message message = {.role = "user", .content = "hello"};
  const rh_prompt prompt = {.kind = RH_PROMPT_MESSAGES, .messages = &message, .count = 1};
  rh_request request = {.task = RH_TASK_CHAT, .prompts = &prompt, .prompt_count = 1, .choices = 1};
  request.hints.complexity = "high";
  request.hints.privacy = RH_PRIVACY_HIGH;
  rh_features f;
  rh_features_extract(&request, "k", 1700000000, &f);
  assert_int_equal(f.level, RH_LEVEL_HIGH);
  assert_true(f.complexity >= 0.66);
  assert_true(f.local_only);
  assert_string_equal(f.key, "k");
}

static void long_prompts_are_read_in_part(void **state) {
  (void)state;
  const size_t length = 4000000;
  char *text = malloc(length + 1);
  assert_non_null(text);
  for (size_t i = 0; i < length; i++) text[i] = "many words stand here "[i % 22];
  text[length] = '\0';
  rh_features f = of(text);
  assert_in_range(f.prompt_tokens, length / 22 * 4 * 9 / 10, length / 22 * 4 * 11 / 10);
  memcpy(text, "Bitte", 5);
  memcpy(text + length / 2, "```", 3);  // nobody looks there
  assert_false(of(text).has_code);
  memcpy(text + length - 5, "```\n", 4);
  assert_true(of(text).has_code);
  free(text);
}

static void any_bytes_are_accepted(void **state) {
  (void)state;
  uint32_t chance = 1;
  char text[64];
  for (int i = 0; i < 20000; i++) {
    size_t length = (size_t)i % sizeof text;
    for (size_t k = 0; k < length; k++) {
      chance = chance * 1664525u + 1013904223u;
      text[k] = (char)(chance >> 24 == 0 ? 1 : chance >> 24);
    }
    text[length] = '\0';
    rh_features f = of(text);
    assert_true(f.complexity >= 0 && f.complexity <= 1 && f.code >= 0 && f.code <= 1 && f.math >= 0 && f.math <= 1);
    assert_in_range(f.prompt_tokens, 0, 200);
  }
}

static void sessions_are_known_by_their_beginning(void **state) {
  (void)state;
  const rh_message one[] = {{.role = "system", .content = "Be kind"}, {.role = "user", .content = "Hello"}};
  const rh_message two[] = {{.role = "system", .content = "Be kind"},
                            {.role = "user", .content = "Hello"},
                            {.role = "assistant", .content = "Hi"},
                            {.role = "user", .content = "And now?"}};
  const rh_message other[] = {{.role = "system", .content = "Be kind"}, {.role = "user", .content = "Good day"}};
  rh_features first = of_messages(one, 2);
  rh_features later = of_messages(two, 4);
  assert_true(first.session_hash != 0);
  assert_true(first.session_hash == later.session_hash);
  assert_true(first.session_hash != of_messages(other, 2).session_hash);
  assert_int_equal(later.turns, 2);
  assert_int_equal(later.messages, 4);
}

static void other_tasks_have_features_too(void **state) {
  (void)state;
  const rh_item items[] = {{.text = "one two three", .length = 13},
                           {.text = "four", .length = 4, .pair = "five", .pair_length = 4}};
  const rh_infer infer = {.items = items, .item_count = 2};
  const rh_request request = {.task = RH_TASK_EMBED, .infer = &infer, .choices = 1};
  rh_features f;
  rh_features_extract(&request, NULL, 1700000000, &f);
  assert_int_equal(f.prompt_tokens, 5);
  assert_int_equal(f.answer_tokens, 0);
  json_t *json = rh_features_json(&f);
  assert_string_equal(json_string_value(json_object_get(json, "task")), "embed");
  json_decref(json);
}

// --- parts are read when they are needed ---------------------------------------------------------------------------

// What a decision about the text has read; it must be the one that complete features lead to.
static unsigned parts_read(const char *routing, const char *text, const char *key, rh_level hint) {
  static const char *const words[] = {[RH_LEVEL_LOW] = "low", [RH_LEVEL_HIGH] = "high"};
  const rh_message messages[] = {{.role = "user", .content = text}};
  const rh_prompt prompt = {.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 1};
  const rh_request request = {
      .task = RH_TASK_CHAT, .prompts = &prompt, .prompt_count = 1, .session = "s", .hints.complexity = words[hint]};
  const rh_route_member members[] = {member_of("local", "a"), member_of("vllm", "b"), member_of("anthropic", "c")};
  rh_features whole, lazy;
  rh_plan expected, plan;
  rh_policy *policy = policy_of(routing);
  rh_features_extract(&request, key, 1700000000, &whole);
  rh_features_begin(&request, key, 1700000000, &lazy);
  assert_int_equal(lazy.read, 0);
  rh_route_question question = question_of(&whole, members, 3);
  assert_int_equal(rh_route_decide(policy, &question, &expected, NULL), RH_OK);
  rh_route_question hurried = question_of(&lazy, members, 3);
  hurried.request = &request;
  assert_int_equal(rh_route_decide(policy, &hurried, &plan, NULL), RH_OK);
  assert_string_equal(plan.reason, expected.reason);
  assert_int_equal(plan.count, expected.count);
  for (size_t i = 0; i < plan.count; i++) assert_int_equal(plan.entries[i].member, expected.entries[i].member);
  unsigned read = lazy.read;
  rh_features_read(&request, &lazy, RH_FEATURES_ALL);
  assert_memory_equal(lazy.language, whole.language, sizeof lazy.language);
  assert_true(lazy.prompt_tokens == whole.prompt_tokens && lazy.answer_tokens == whole.answer_tokens);
  assert_true(lazy.session_hash == whole.session_hash && lazy.minute_of_day == whole.minute_of_day);
  assert_true(lazy.turns == 1 && whole.turns == 1);  // read once
  rh_policy_free(policy);
  return read;
}

static void decisions_read_what_they_need(void **state) {
  (void)state;
  static const char *const text = "Why must the function return the matrix?";
  static const struct {
    const char *condition;
    unsigned wants, wants_of_k;  // without a key, and with the key "k"
  } conditions[] = {
      {"{}", 0, 0},
      {"{'key':'k','task':'chat'}", 0, 0},
      {"{'complexity':'high','key':'k'}", 0, RH_FEATURES_TEXT},
      {"{'key':'k','complexity':'high'}", 0, RH_FEATURES_TEXT},
      {"{'any':[{'language':'en'},{'key':'k'}]}", RH_FEATURES_TEXT, 0},
      {"{'any':[{'language':'de'},{'promptTokens':{'min':1}}]}", RH_FEATURES_TEXT, RH_FEATURES_TEXT},
      {"{'not':{'language':'en'}}", RH_FEATURES_TEXT, RH_FEATURES_TEXT},
      {"{'not':{'key':'k','language':'en'}}", 0, RH_FEATURES_TEXT},
      {"{'not':{'any':[{'hasCode':true},{'key':'k'}]}}", RH_FEATURES_TEXT, 0},
      {"{'all':[{'any':[{'hasMath':true},{'stream':false}]},{'not':{'key':'k'}}]}", RH_FEATURES_TEXT, 0},
      {"{'time':{'from':'00:00','to':'12:00'},'key':'k'}", RH_FEATURES_CLOCK, RH_FEATURES_CLOCK},
  };
  for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
    char routing[512];
    snprintf(routing, sizeof routing, "{'routing':{'rules':[{'condition':%s,'action':{'provider':'vllm'}}]}}",
             conditions[i].condition);
    unsigned read = parts_read(routing, text, NULL, RH_LEVEL_UNSET);
    if (read != conditions[i].wants) fail_msg("%u: %s", read, conditions[i].condition);
    read = parts_read(routing, text, "k", RH_LEVEL_UNSET);
    if (read != conditions[i].wants_of_k) fail_msg("%u with a key: %s", read, conditions[i].condition);
    (void)parts_read(routing, "```c\nint x;\n```", "k", RH_LEVEL_HIGH);
    (void)parts_read(routing, "", "k", RH_LEVEL_LOW);
  }
  assert_int_equal(parts_read("{'routing':{'mode':'load-balanced','sticky':false}}", text, NULL, RH_LEVEL_UNSET), 0);
  assert_int_equal(parts_read("{'routing':{'mode':'cost-optimized','sticky':false}}", text, NULL, RH_LEVEL_UNSET),
                   RH_FEATURES_TEXT);
  assert_int_equal(parts_read("{'routing':{'mode':'load-balanced','sticky':true}}", text, NULL, RH_LEVEL_UNSET),
                   RH_FEATURES_SESSION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(languages),
      cmocka_unit_test(code_and_mathematics),
      cmocka_unit_test(complexity_rises_with_the_task),
      cmocka_unit_test(a_clients_word_wins),
      cmocka_unit_test(long_prompts_are_read_in_part),
      cmocka_unit_test(any_bytes_are_accepted),
      cmocka_unit_test(sessions_are_known_by_their_beginning),
      cmocka_unit_test(other_tasks_have_features_too),
      cmocka_unit_test(decisions_read_what_they_need),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
