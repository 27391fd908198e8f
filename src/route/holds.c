// SPDX-License-Identifier: Apache-2.0
//
// Purpose: whether a condition holds for a request. No allocation; the depth is bounded by the parser.
// Data owned: none. Threads: any.
#include <string.h>
#include <strings.h>

#include "route/internal.h"

static uint32_t bit_of(const rh_features *features, rh_subject subject) {
  switch (subject) {
    case RH_SUBJECT_PRIVACY: return 1u << features->privacy;
    case RH_SUBJECT_LEVEL: return 1u << features->level;
    default: return 1u << features->task;
  }
}

static bool flag_of(const rh_features *features, rh_subject subject) {
  switch (subject) {
    case RH_SUBJECT_LOCAL_ONLY: return features->local_only;
    case RH_SUBJECT_HAS_TOOLS: return features->has_tools;
    case RH_SUBJECT_HAS_CODE: return features->has_code;
    case RH_SUBJECT_HAS_MATH: return features->has_math;
    case RH_SUBJECT_HAS_IMAGES: return features->has_images;
    case RH_SUBJECT_STREAM: return features->stream;
    default: return features->wants_json;
  }
}

static double number_of(const rh_features *features, rh_subject subject) {
  switch (subject) {
    case RH_SUBJECT_COMPLEXITY: return features->complexity;
    case RH_SUBJECT_PROMPT_TOKENS: return (double)features->prompt_tokens;
    case RH_SUBJECT_ANSWER_TOKENS: return (double)features->answer_tokens;
    case RH_SUBJECT_TURNS: return (double)features->turns;
    case RH_SUBJECT_MESSAGES: return (double)features->messages;
    case RH_SUBJECT_TOOLS: return (double)features->tools;
    case RH_SUBJECT_CODE: return features->code;
    default: return features->math;
  }
}

static const char *text_of(const rh_features *features, rh_subject subject) {
  switch (subject) {
    case RH_SUBJECT_AGENT: return features->agent_type;
    case RH_SUBJECT_LANGUAGE: return features->language;
    case RH_SUBJECT_KEY: return features->key;
    case RH_SUBJECT_MODEL: return features->model;
    case RH_SUBJECT_USER: return features->user;
    default: return features->session;
  }
}

// What nobody said is "" and matches "" and "*" alone.
static bool is_one_of(const rh_words *words, const char *text) {
  if (text == NULL) text = "";
  if (words->exact_count == 1 && words->prefix_count == 0)  // the usual rule
    return text[0] == words->exact[0][0] && strcmp(text, words->exact[0]) == 0;
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

static bool header_holds(const rh_test *test, const rh_route_question *question) {
  const char *value = question->header == NULL ? NULL : question->header(question->header_ctx, test->as.header.name);
  if (test->as.header.test == RH_HEADER_EXISTS) return (value != NULL) == test->as.header.exists;
  if (value == NULL) return false;
  const char *text = test->as.header.text;
  switch (test->as.header.test) {
    case RH_HEADER_PREFIX: return strncmp(value, text, strlen(text)) == 0;
    case RH_HEADER_CONTAINS: return strstr(value, text) != NULL;
    default: return strcmp(value, text) == 0;
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

static bool leaf_holds(const rh_test *test, const rh_route_question *question) {
  const rh_features *features = question->features;
  switch (test->kind) {
    case RH_TEST_MASK: return (test->as.mask & bit_of(features, test->subject)) != 0;
    case RH_TEST_BOOL: return flag_of(features, test->subject) == test->as.flag;
    case RH_TEST_RANGE: {
      double number = number_of(features, test->subject);
      return number >= test->as.range.min && number <= test->as.range.max;
    }
    case RH_TEST_WORDS: return is_one_of(&test->as.words, text_of(features, test->subject));
    case RH_TEST_HEADER: return header_holds(test, question);
    default: return time_holds(test, features);
  }
}

bool rh_condition_holds(const rh_test *condition, const rh_route_question *question, const rh_test **failed) {
  bool holds = true;
  switch (condition->kind) {
    case RH_TEST_ALL:
      for (size_t i = 0; i < condition->as.list.count; i++) {
        const rh_test *test = &condition->as.list.tests[i];
        if (test->kind <= RH_TEST_NOT ? rh_condition_holds(test, question, failed) : leaf_holds(test, question))
          continue;
        if (failed != NULL && test->kind > RH_TEST_NOT) *failed = test;
        return false;
      }
      return true;
    case RH_TEST_ANY:
      holds = false;
      for (size_t i = 0; !holds && i < condition->as.list.count; i++) {
        const rh_test *test = &condition->as.list.tests[i];
        holds = test->kind <= RH_TEST_NOT ? rh_condition_holds(test, question, NULL) : leaf_holds(test, question);
      }
      break;
    case RH_TEST_NOT: holds = !rh_condition_holds(condition->as.list.tests, question, NULL); break;
    default: holds = leaf_holds(condition, question); break;
  }
  if (!holds && failed != NULL) *failed = condition;
  return holds;
}
