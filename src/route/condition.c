// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a rule's condition, from JSON to a tree of tests.
// Data owned: none; the tests live in the policy's arena. Threads: any.
// Not here: whether they hold (holds.c).
//
// An object's fields must all hold. "all" and "any" take arrays of conditions, "not" takes one. The empty condition always holds.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "route/internal.h"

typedef struct reader {
  rh_arena *arena;
  const char *rule;  // the condition's own path, for errors
  unsigned depth;
  rh_error *error;
} reader;

#define PATH_MAX_BYTES 256

typedef rh_status (*field_reader)(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out);

static rh_status read_object(reader *in, const char *path, const json_t *object, rh_test *out);

// Errors name the whole path, tests only the part within the condition.
static const char *full_path(const reader *in, const char *path, char out[PATH_MAX_BYTES]) {
  snprintf(out, PATH_MAX_BYTES, "%s%s%s", in->rule, path[0] != '\0' ? "." : "", path);
  return out;
}

static rh_status wants(const reader *in, const char *path, const json_t *value, const char *what) {
  char full[PATH_MAX_BYTES];
  return rh_route_wants(full_path(in, path, full), value, what, in->error);
}

// --- kinds of fields -----------------------------------------------------------------------------------------------

static const char *const levels[] = {"low", "medium", "high"};

// One of the subject's words as a bit of the mask. Also the hub's words for tasks.
static rh_status read_bit(const reader *in, const char *path, const json_t *word, rh_subject subject, uint64_t *mask) {
  const char *tasks[RH_TASK_COUNT];
  int index = 0;
  if (subject == RH_SUBJECT_TASK && json_is_string(word)) {
    rh_task task = rh_task_from_name(json_string_value(word));
    *mask |= task < RH_TASK_COUNT ? UINT64_C(1) << task : 0;
    if (task < RH_TASK_COUNT) return RH_OK;
  }
  for (size_t i = 0; i < RH_TASK_COUNT; i++) tasks[i] = rh_task_name((rh_task)i);
  bool is_task = subject == RH_SUBJECT_TASK;
  rh_status status =
      rh_route_word(is_task ? tasks : levels, is_task ? RH_TASK_COUNT : 3, path, word, &index, in->error);
  if (status == RH_OK) *mask |= UINT64_C(1) << (is_task ? index : index + 1);
  return status;
}

// Bit 0 of privacy and level means "not said", which no word names.
static rh_status read_mask(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  char full[PATH_MAX_BYTES];
  size_t values = json_is_array(value) ? json_array_size(value) : 1;
  if (values == 0) return wants(in, path, value, "a word, or an array of at least one");
  *out = (rh_test){.kind = RH_TEST_MASK, .subject = subject, .path = path};
  (void)full_path(in, path, full);
  rh_status status = RH_OK;
  for (size_t i = 0; status == RH_OK && i < values; i++)
    status = read_bit(in, full, json_is_array(value) ? json_array_get(value, i) : value, subject, &out->mask);
  return status;
}

static rh_status read_bool(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  char full[PATH_MAX_BYTES];
  bool wanted = false;
  rh_status status = rh_route_bool(full_path(in, path, full), value, &wanted, in->error);
  *out = (rh_test){.kind = RH_TEST_MASK, .subject = subject, .path = path, .mask = UINT64_C(1) << wanted};
  return status;
}

// A number, or {"min","max"}, both included.
static rh_status read_range(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  static const char *const names[] = {"min", "max"};
  char full[PATH_MAX_BYTES];
  (void)full_path(in, path, full);
  *out = (rh_test){.kind = RH_TEST_RANGE, .subject = subject, .path = path};
  out->as.range.min = -INFINITY;
  out->as.range.max = INFINITY;
  if (json_is_number(value)) {
    rh_status status = rh_route_number(full, value, 0, 1e15, &out->as.range.min, in->error);
    out->as.range.max = out->as.range.min;
    return status;
  }
  if (!json_is_object(value) || json_object_size(value) == 0)
    return wants(in, path, value, "a number or {\"min\": ..., \"max\": ...}");
  const char *key = NULL;
  json_t *bound = NULL;
  json_object_foreach((json_t *)(uintptr_t)value, key, bound) {
    int field = rh_route_field(names, 2, full, key, in->error);
    if (field < 0) return RH_INVALID;
    rh_status status =
        rh_route_number(full, bound, 0, 1e15, field == 0 ? &out->as.range.min : &out->as.range.max, in->error);
    if (status != RH_OK) return status;
  }
  if (out->as.range.min > out->as.range.max)
    return rh_fail_param(in->error, RH_INVALID, full, "%s: its min is above its max, so it never holds", full);
  return RH_OK;
}

static rh_status read_level(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  if (json_is_object(value) || json_is_number(value)) return read_range(in, path, value, RH_SUBJECT_COMPLEXITY, out);
  return read_mask(in, path, value, subject, out);
}

static rh_status read_tools(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  if (json_is_boolean(value)) return read_bool(in, path, value, RH_SUBJECT_HAS_TOOLS, out);
  return read_range(in, path, value, subject, out);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// Of the facts' bits, those that a text has that is the word, or begins as it.
static uint64_t bits_of_word(const char *word, bool prefix) {
  if (prefix && word[0] == '\0') return ~RH_TEXT_BITS_WHOLE;
  return rh_text_bits(word) & (prefix ? ~RH_TEXT_BITS_WHOLE : RH_TEXT_BITS_WHOLE);
}

// A word or an array of them; '*' at a word's end stands for any ending.
static rh_status read_words(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  size_t count = json_is_array(value) ? json_array_size(value) : 1;
  if (count == 0 || count > RH_CONDITION_WORDS_MAX) return wants(in, path, value, "a word, or an array of 1 to 4096");
  rh_words *words = rh_arena_alloc(in->arena, sizeof *words);
  if (words == NULL) return rh_route_no_memory(in->error);
  *words = (rh_words){.exact = rh_arena_alloc_array(in->arena, count, sizeof(char *)),
                      .prefixes = rh_arena_alloc_array(in->arena, count, sizeof(char *))};
  if (words->exact == NULL || words->prefixes == NULL) return rh_route_no_memory(in->error);
  *out = (rh_test){.kind = RH_TEST_WORDS, .subject = subject, .path = path, .as.words = words};
  for (size_t i = 0; i < count; i++) {
    const json_t *word = json_is_array(value) ? json_array_get(value, i) : value;
    if (!json_is_string(word)) return wants(in, path, word, "a word or an array of words");
    const char *text = json_string_value(word);
    size_t length = strlen(text);
    bool prefix = length > 0 && text[length - 1] == '*';
    char *copy = rh_arena_strndup(in->arena, text, prefix ? length - 1 : length);
    if (copy == NULL) return rh_route_no_memory(in->error);
    if (prefix)
      words->prefixes[words->prefix_count++] = copy;
    else
      words->exact[words->exact_count++] = copy;
    out->mask |= bits_of_word(copy, prefix);
  }
  qsort(words->exact, words->exact_count, sizeof *words->exact, by_text);
  return RH_OK;
}

static rh_status read_one_header(reader *in, const char *path, const char *name, const json_t *value, rh_test *out) {
  static const char *const names[] = {"equals", "prefix", "contains", "exists"};
  char full[PATH_MAX_BYTES];
  (void)full_path(in, path, full);
  rh_header_wish *wish = rh_arena_alloc(in->arena, sizeof *wish);
  if (wish == NULL) return rh_route_no_memory(in->error);
  *wish = (rh_header_wish){.name = rh_arena_strdup(in->arena, name), .test = RH_HEADER_IS};
  *out = (rh_test){.kind = RH_TEST_HEADER, .path = path, .as.header = wish};
  if (json_is_object(value) && json_object_size(value) == 1) {
    const char *key = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)value));
    int field = rh_route_field(names, 4, full, key, in->error);
    if (field < 0) return RH_INVALID;
    wish->test = (rh_header_test)field;
    value = json_object_get(value, key);
  } else if (json_is_object(value)) {
    return wants(in, path, value, "a value, or an object with one of equals, prefix, contains and exists");
  }
  if (wish->test == RH_HEADER_EXISTS) return rh_route_bool(full, value, &wish->exists, in->error);
  if (!json_is_string(value)) return wants(in, path, value, "a text");
  wish->text = rh_arena_strdup(in->arena, json_string_value(value));
  if (wish->name == NULL || wish->text == NULL) return rh_route_no_memory(in->error);
  return RH_OK;
}

static rh_status read_headers(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  size_t count = json_object_size(value);
  if (!json_is_object(value) || count == 0) return wants(in, path, value, "an object of headers and values");
  rh_test *tests = rh_arena_alloc_array(in->arena, count, sizeof *tests);
  if (tests == NULL) return rh_route_no_memory(in->error);
  *out = (rh_test){.kind = RH_TEST_ALL, .subject = subject, .path = path, .as.list = {tests, count}};
  const char *key = NULL;
  json_t *wanted = NULL;
  json_object_foreach((json_t *)(uintptr_t)value, key, wanted) {
    const char *own = rh_arena_printf(in->arena, "%s.%.63s", path, key);
    if (own == NULL) return rh_route_no_memory(in->error);
    rh_status status = read_one_header(in, own, key, wanted, tests++);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status read_minute(const reader *in, const char *path, const json_t *value, int *out) {
  const char *text = json_string_value(value);
  unsigned hour = 0;
  unsigned minute = 0;
  int used = 0;
  if (text == NULL || strlen(text) > 5 || sscanf(text, "%2u:%2u%n", &hour, &minute, &used) != 2 || text[used] != '\0' ||
      hour > 24 || minute > 59 || hour * 60 + minute > 1440)
    return wants(in, path, value, "with from and to as \"HH:MM\", the day's hours 00:00 to 24:00");
  *out = (int)(hour * 60 + minute);
  return RH_OK;
}

// {"from","to","days"}: local time; from is within, to is not. A span over midnight belongs to the day it begins on.
static rh_status read_time(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  static const char *const names[] = {"from", "to", "days"};
  static const char *const days[] = {"sun",    "mon",    "tue",     "wed",       "thu",      "fri",    "sat",
                                     "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};
  char full[PATH_MAX_BYTES];
  (void)full_path(in, path, full);
  if (!json_is_object(value) || json_object_size(value) == 0)
    return wants(in, path, value, "an object with from, to and days");
  *out = (rh_test){.kind = RH_TEST_TIME, .subject = subject, .path = path, .as.time = {.to = 1440, .days = 0x7f}};
  const char *key = NULL;
  json_t *item = NULL;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    int field = rh_route_field(names, 3, full, key, in->error);
    rh_status status = field < 0 ? RH_INVALID : RH_OK;
    if (field == 0 || field == 1)
      status = read_minute(in, path, item, field == 0 ? &out->as.time.from : &out->as.time.to);
    if (field == 2 && (!json_is_array(item) || json_array_size(item) == 0))
      status = wants(in, path, item, "with days as an array of \"mon\", \"tue\", ...");
    if (field == 2) out->as.time.days = 0;
    for (size_t i = 0; status == RH_OK && field == 2 && i < json_array_size(item); i++) {
      int day = 0;
      status = rh_route_word(days, 14, full, json_array_get(item, i), &day, in->error);
      out->as.time.days |= 1u << (day % 7);
    }
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// --- combinators ---------------------------------------------------------------------------------------------------

static rh_status read_inner(reader *in, const char *path, const json_t *value, rh_test *out) {
  char full[PATH_MAX_BYTES];
  if (in->depth >= RH_CONDITION_DEPTH_MAX)
    return rh_fail_param(in->error, RH_INVALID, full_path(in, path, full),
                         "%s: conditions may stand in one another %d deep; make two rules of it",
                         full_path(in, path, full), RH_CONDITION_DEPTH_MAX);
  in->depth++;
  rh_status status = read_object(in, path, value, out);
  in->depth--;
  return status;
}

static rh_status read_list(reader *in, const char *path, const json_t *value, rh_test_kind kind, rh_test *out) {
  size_t count = json_array_size(value);
  if (!json_is_array(value) || count == 0) return wants(in, path, value, "an array of at least one condition");
  rh_test *tests = rh_arena_alloc_array(in->arena, count, sizeof *tests);
  if (tests == NULL) return rh_route_no_memory(in->error);
  *out = (rh_test){.kind = kind, .path = path, .as.list = {tests, count}};
  for (size_t i = 0; i < count; i++) {
    const char *own = rh_arena_printf(in->arena, "%s[%zu]", path, i);
    if (own == NULL) return rh_route_no_memory(in->error);
    rh_status status = read_inner(in, own, json_array_get(value, i), &tests[i]);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status read_all(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  (void)subject;
  return read_list(in, path, value, RH_TEST_ALL, out);
}

static rh_status read_any(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  (void)subject;
  return read_list(in, path, value, RH_TEST_ANY, out);
}

static rh_status read_not(reader *in, const char *path, const json_t *value, rh_subject subject, rh_test *out) {
  rh_test *inner = rh_arena_alloc(in->arena, sizeof *inner);
  if (inner == NULL) return rh_route_no_memory(in->error);
  *out = (rh_test){.kind = RH_TEST_NOT, .subject = subject, .path = path, .as.list = {inner, 1}};
  return read_inner(in, path, value, inner);
}

// --- the table -----------------------------------------------------------------------------------------------------

static const struct {
  const char *name;
  rh_subject subject;
  field_reader read;
} fields[] = {
    {"privacy", RH_SUBJECT_PRIVACY, read_mask},
    {"localOnly", RH_SUBJECT_LOCAL_ONLY, read_bool},
    {"agentType", RH_SUBJECT_AGENT, read_words},
    {"complexity", RH_SUBJECT_LEVEL, read_level},
    {"task", RH_SUBJECT_TASK, read_mask},
    {"promptTokens", RH_SUBJECT_PROMPT_TOKENS, read_range},
    {"answerTokens", RH_SUBJECT_ANSWER_TOKENS, read_range},
    {"turns", RH_SUBJECT_TURNS, read_range},
    {"messages", RH_SUBJECT_MESSAGES, read_range},
    {"tools", RH_SUBJECT_TOOLS, read_tools},
    {"code", RH_SUBJECT_CODE, read_range},
    {"math", RH_SUBJECT_MATH, read_range},
    {"hasTools", RH_SUBJECT_HAS_TOOLS, read_bool},
    {"hasCode", RH_SUBJECT_HAS_CODE, read_bool},
    {"hasMath", RH_SUBJECT_HAS_MATH, read_bool},
    {"hasImages", RH_SUBJECT_HAS_IMAGES, read_bool},
    {"stream", RH_SUBJECT_STREAM, read_bool},
    {"json", RH_SUBJECT_JSON, read_bool},
    {"language", RH_SUBJECT_LANGUAGE, read_words},
    {"key", RH_SUBJECT_KEY, read_words},
    {"model", RH_SUBJECT_MODEL, read_words},
    {"user", RH_SUBJECT_USER, read_words},
    {"session", RH_SUBJECT_SESSION, read_words},
    {"header", RH_SUBJECT_KEY, read_headers},
    {"time", RH_SUBJECT_KEY, read_time},
    {"all", RH_SUBJECT_KEY, read_all},
    {"any", RH_SUBJECT_KEY, read_any},
    {"not", RH_SUBJECT_KEY, read_not},
};
#define FIELDS (sizeof fields / sizeof *fields)

// Those within it have been marked already.
static bool reads_text(const rh_test *test) {
  if (test->kind == RH_TEST_HEADER || test->kind == RH_TEST_TIME) return false;
  if (test->kind > RH_TEST_NOT) return rh_subject_is_text(test->subject);
  for (size_t i = 0; i < test->as.list.count; i++) {
    if (test->as.list.tests[i].reads_text) return true;
  }
  return false;
}

static rh_status read_object(reader *in, const char *path, const json_t *object, rh_test *out) {
  const char *names[FIELDS];
  char full[PATH_MAX_BYTES];
  for (size_t i = 0; i < FIELDS; i++) names[i] = fields[i].name;
  if (!json_is_object(object)) return wants(in, path, object, "an object");
  size_t count = json_object_size(object);
  rh_test *tests = rh_arena_alloc_array(in->arena, count > 0 ? count : 1, sizeof *tests);
  if (tests == NULL) return rh_route_no_memory(in->error);
  *out = (rh_test){.kind = RH_TEST_ALL, .path = path, .as.list = {tests, count}};
  const char *key = NULL;
  json_t *value = NULL;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    int field = rh_route_field(names, FIELDS, full_path(in, path, full), key, in->error);
    if (field < 0) return RH_INVALID;
    const char *own = rh_arena_printf(in->arena, "%s%s%s", path, path[0] != '\0' ? "." : "", fields[field].name);
    if (own == NULL) return rh_route_no_memory(in->error);
    rh_status status = fields[field].read(in, own, value, fields[field].subject, tests);
    if (status != RH_OK) return status;
    tests->reads_text = reads_text(tests);
    tests++;
  }
  out->reads_text = reads_text(out);
  if (count == 1) *out = out->as.list.tests[0];  // one step less for every request
  return RH_OK;
}

rh_status rh_condition_parse(rh_arena *arena, const char *path, const json_t *condition, rh_test *out,
                             rh_error *error) {
  reader in = {.arena = arena, .rule = path, .error = error};
  return read_object(&in, "", condition, out);
}
