// SPDX-License-Identifier: Apache-2.0
//
// Purpose: whether a condition holds for a request. No allocation; the depth is bounded by the parser.
// Data owned: none. Threads: any.
//
// Tests compare facts, which are made once for a decision: a hundred rules ask the same few things over and over. What only the
// prompt's text tells is read when a condition cannot be answered without it.
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "route/internal.h"

// --- facts ---------------------------------------------------------------------------------------------------------

#define BIT(n) (UINT64_C(1) << (n))
#define TEXT_SUBJECTS                                                                                        \
  (BIT(RH_SUBJECT_LEVEL) | BIT(RH_SUBJECT_COMPLEXITY) | BIT(RH_SUBJECT_PROMPT_TOKENS) |                      \
   BIT(RH_SUBJECT_ANSWER_TOKENS) | BIT(RH_SUBJECT_TURNS) | BIT(RH_SUBJECT_MESSAGES) | BIT(RH_SUBJECT_CODE) | \
   BIT(RH_SUBJECT_MATH) | BIT(RH_SUBJECT_HAS_CODE) | BIT(RH_SUBJECT_HAS_MATH) | BIT(RH_SUBJECT_HAS_IMAGES) | \
   BIT(RH_SUBJECT_LANGUAGE))

bool rh_subject_is_text(rh_subject subject) { return (TEXT_SUBJECTS >> subject & 1) != 0; }

uint64_t rh_text_bits(const char *text) {
  uint64_t hash = rh_hash_bytes(0, text, strlen(text));
  return BIT(hash & 31) | BIT(32 + ((unsigned char)text[0] & 31));
}

// What nobody said is "".
static rh_fact fact_of_text(const char *text) {
  if (text == NULL) text = "";
  return (rh_fact){.bits = rh_text_bits(text), .text = text};
}

static rh_fact fact_of_number(int64_t number) { return (rh_fact){.number = (double)number}; }

static void make_text_facts(rh_facts *facts) {
  const rh_features *features = rh_question_features(facts->question, RH_FEATURES_TEXT);
  rh_fact *of = facts->of;
  of[RH_SUBJECT_LEVEL].bits = BIT(features->level);
  of[RH_SUBJECT_COMPLEXITY].number = features->complexity;
  of[RH_SUBJECT_PROMPT_TOKENS] = fact_of_number(features->prompt_tokens);
  of[RH_SUBJECT_ANSWER_TOKENS] = fact_of_number(features->answer_tokens);
  of[RH_SUBJECT_TURNS] = fact_of_number(features->turns);
  of[RH_SUBJECT_MESSAGES] = fact_of_number(features->messages);
  of[RH_SUBJECT_CODE].number = features->code;
  of[RH_SUBJECT_MATH].number = features->math;
  of[RH_SUBJECT_HAS_CODE].bits = BIT(features->has_code);
  of[RH_SUBJECT_HAS_MATH].bits = BIT(features->has_math);
  of[RH_SUBJECT_HAS_IMAGES].bits = BIT(features->has_images);
  of[RH_SUBJECT_LANGUAGE] = fact_of_text(features->language);
  facts->whole = true;
}

void rh_facts_begin(rh_facts *facts, const rh_route_question *question) {
  const rh_features *features = question->features;
  rh_fact *of = facts->of;
  facts->question = question;
  facts->whole = false;
  of[RH_SUBJECT_PRIVACY].bits = BIT(features->privacy);
  of[RH_SUBJECT_LOCAL_ONLY].bits = BIT(features->local_only);
  of[RH_SUBJECT_TASK].bits = BIT(features->task);
  of[RH_SUBJECT_TOOLS] = fact_of_number(features->tools);
  of[RH_SUBJECT_HAS_TOOLS].bits = BIT(features->has_tools);
  of[RH_SUBJECT_STREAM].bits = BIT(features->stream);
  of[RH_SUBJECT_JSON].bits = BIT(features->wants_json);
  of[RH_SUBJECT_AGENT] = fact_of_text(features->agent_type);
  of[RH_SUBJECT_KEY] = fact_of_text(features->key);
  of[RH_SUBJECT_MODEL] = fact_of_text(features->model);
  of[RH_SUBJECT_USER] = fact_of_text(features->user);
  of[RH_SUBJECT_SESSION] = fact_of_text(features->session);
  bool known = question->request == NULL || (features->read & RH_FEATURES_TEXT) != 0;
  if (known) make_text_facts(facts);
}

// --- tests ---------------------------------------------------------------------------------------------------------

// What nobody said matches "" and "*" alone.
static bool is_one_of(const rh_words *words, const char *text) {
  size_t low = 0;
  for (size_t high = words->exact_count; low < high;) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(text, words->exact[middle]);
    if (order == 0) return true;
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  for (size_t i = 0; i < words->prefix_count; i++) {
    const char *prefix = words->prefixes[i];
    if ((prefix[0] == text[0] || prefix[0] == '\0') && strncmp(text, prefix, strlen(prefix)) == 0) return true;
  }
  return false;
}

static bool header_holds(const rh_header_wish *wish, const rh_route_question *question) {
  const char *value = question->header == NULL ? NULL : question->header(question->header_ctx, wish->name);
  if (wish->test == RH_HEADER_EXISTS) return (value != NULL) == wish->exists;
  if (value == NULL) return false;
  switch (wish->test) {
    case RH_HEADER_PREFIX: return strncmp(value, wish->text, strlen(wish->text)) == 0;
    case RH_HEADER_CONTAINS: return strstr(value, wish->text) != NULL;
    default: return strcmp(value, wish->text) == 0;
  }
}

static bool time_holds(const rh_test *test, const rh_features *features) {
  int from = test->as.time.from;
  int to = test->as.time.to;
  int now = features->minute_of_day;
  unsigned today = (unsigned)features->weekday % 7;
  if (from < to) return now >= from && now < to && (test->as.time.days >> today & 1) != 0;
  // Over midnight, or the same minute of the next day: what is left of it after midnight is yesterday's.
  if (now >= from) return (test->as.time.days >> today & 1) != 0;
  return now < to && (test->as.time.days >> (today + 6) % 7 & 1) != 0;
}

// Those that take more than a comparison.
static bool other_holds(const rh_test *test, rh_facts *facts) {
  switch (test->kind) {
    case RH_TEST_WORDS: return is_one_of(test->as.words, facts->of[test->subject].text);
    case RH_TEST_HEADER: return header_holds(test->as.header, facts->question);
    default: return time_holds(test, rh_question_features(facts->question, RH_FEATURES_CLOCK));
  }
}

static inline bool leaf_holds(const rh_test *test, rh_facts *facts) {
  const rh_fact *fact = &facts->of[test->subject];
  if (test->kind == RH_TEST_RANGE) return fact->number >= test->as.range.min && fact->number <= test->as.range.max;
  if (test->kind == RH_TEST_MASK) return (test->mask & fact->bits) != 0;
  // Nearly all words are refused here.
  if (test->kind == RH_TEST_WORDS && (test->mask & fact->bits) == 0) return false;
  return other_holds(test, facts);
}

static inline bool holds(const rh_test *test, rh_facts *facts, const rh_test **failed) {
  return test->kind <= RH_TEST_NOT ? rh_condition_holds(test, facts, failed) : leaf_holds(test, facts);
}

// Does a test that needs no text answer the condition? If none does, the text is read.
static bool is_answered_without_text(const rh_test *condition, rh_facts *facts, bool *held) {
  if (condition->kind == RH_TEST_NOT && condition->as.list.tests->kind <= RH_TEST_NOT) {
    *held = !rh_condition_holds(condition->as.list.tests, facts, NULL);
    return true;
  }
  bool is_list = condition->kind == RH_TEST_ALL || condition->kind == RH_TEST_ANY;
  for (size_t i = 0; is_list && i < condition->as.list.count; i++) {
    const rh_test *test = &condition->as.list.tests[i];
    *held = condition->kind == RH_TEST_ANY;
    if (!test->reads_text && holds(test, facts, NULL) == *held) return true;
  }
  if (!facts->whole) make_text_facts(facts);
  return false;
}

static bool all_hold(const rh_test *list, rh_facts *facts, const rh_test **failed) {
  for (size_t i = 0; i < list->as.list.count; i++) {
    const rh_test *test = &list->as.list.tests[i];
    if (holds(test, facts, failed)) continue;
    if (failed != NULL && test->kind > RH_TEST_NOT) *failed = test;
    return false;
  }
  return true;
}

static bool any_holds(const rh_test *list, rh_facts *facts) {
  for (size_t i = 0; i < list->as.list.count; i++) {
    if (holds(&list->as.list.tests[i], facts, NULL)) return true;
  }
  return false;
}

bool rh_condition_holds(const rh_test *condition, rh_facts *facts, const rh_test **failed) {
  bool held = false;
  assert(failed == NULL || facts->whole);  // which test fails first must not depend on what was read
  if (!facts->whole && condition->reads_text && is_answered_without_text(condition, facts, &held)) return held;
  switch (condition->kind) {
    case RH_TEST_ALL: return all_hold(condition, facts, failed);
    case RH_TEST_ANY: held = any_holds(condition, facts); break;
    case RH_TEST_NOT: held = !holds(condition->as.list.tests, facts, NULL); break;
    default: held = leaf_holds(condition, facts); break;
  }
  if (!held && failed != NULL) *failed = condition;
  return held;
}
