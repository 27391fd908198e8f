// SPDX-License-Identifier: Apache-2.0
//
// Reads the fake engine's two little languages from tables of keys. Owns nothing and keeps no state; any thread.
// It refuses unknown keys, because a misspelt key in a test would otherwise make the test pass for the wrong reason.
#include "engine/fake/script.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define VALUE_MAX INT64_C(1000000000)
#define BYTES_MAX (INT64_C(1) << 40)

typedef enum key_type { KEY_INT, KEY_BOOL, KEY_FILE, KEY_BYTES, KEY_TASK, KEY_LABELS, KEY_SHARE } key_type;

typedef struct key {
  const char *name;
  key_type type;
  size_t offset;
} key;

typedef struct span {
  const char *at;
  size_t length;
} span;

static const key model_keys[] = {
    {"slots", KEY_INT, offsetof(rh_fake_model, slots)},
    {"context", KEY_INT, offsetof(rh_fake_model, context)},
    {"vocabulary", KEY_INT, offsetof(rh_fake_model, vocabulary)},
    {"load_delay_ms", KEY_INT, offsetof(rh_fake_model, load_delay_ms)},
    {"memory", KEY_BYTES, offsetof(rh_fake_model, memory_bytes)},
    {"load_fail", KEY_BOOL, offsetof(rh_fake_model, load_fail)},
    {"load_crash", KEY_BOOL, offsetof(rh_fake_model, load_crash)},
    {"load_hang", KEY_BOOL, offsetof(rh_fake_model, load_hang)},
    {"task", KEY_TASK, offsetof(rh_fake_model, task)},
    {"dims", KEY_INT, offsetof(rh_fake_model, dims)},
    {"step_ms", KEY_INT, offsetof(rh_fake_model, step_ms)},
    {"normalize", KEY_BOOL, offsetof(rh_fake_model, normalize)},
    {"multi_label", KEY_BOOL, offsetof(rh_fake_model, multi_label)},
    {"labels", KEY_LABELS, offsetof(rh_fake_model, labels)},
    {"template", KEY_BOOL, offsetof(rh_fake_model, has_template)},
    {"load_crash_once", KEY_FILE, offsetof(rh_fake_model, load_crash_once)},
    {"load_fail_once", KEY_FILE, offsetof(rh_fake_model, load_fail_once)},
    {"delay_ms", KEY_INT, offsetof(rh_fake_model, usual.delay_ms)},
    {"first_delay_ms", KEY_INT, offsetof(rh_fake_model, usual.first_delay_ms)},
    {"fail_at", KEY_INT, offsetof(rh_fake_model, usual.fail_at)},
    {"crash_at", KEY_INT, offsetof(rh_fake_model, usual.crash_at)},
    {"hang_at", KEY_INT, offsetof(rh_fake_model, usual.hang_at)},
    {"confidence", KEY_SHARE, offsetof(rh_fake_model, usual.confidence)},
    {NULL, KEY_INT, 0},
};

static const key script_keys[] = {
    {"tokens", KEY_INT, offsetof(rh_fake_script, tokens)},
    {"delay_ms", KEY_INT, offsetof(rh_fake_script, delay_ms)},
    {"first_delay_ms", KEY_INT, offsetof(rh_fake_script, first_delay_ms)},
    {"fail_at", KEY_INT, offsetof(rh_fake_script, fail_at)},
    {"crash_at", KEY_INT, offsetof(rh_fake_script, crash_at)},
    {"hang_at", KEY_INT, offsetof(rh_fake_script, hang_at)},
    {"confidence", KEY_SHARE, offsetof(rh_fake_script, confidence)},
    {"end", KEY_BOOL, offsetof(rh_fake_script, end)},
    {"bytewise", KEY_BOOL, offsetof(rh_fake_script, bytewise)},
    {"crash_once", KEY_FILE, offsetof(rh_fake_script, crash_once)},
    {NULL, KEY_INT, 0},
};

static bool span_is(span text, const char *word) {
  return strlen(word) == text.length && memcmp(text.at, word, text.length) == 0;
}

static bool read_number(span text, int64_t max, int64_t *out) {
  char digits[24];
  if (text.length == 0 || text.length >= sizeof digits || !isdigit((unsigned char)text.at[0])) return false;
  memcpy(digits, text.at, text.length);
  digits[text.length] = '\0';
  char *end = NULL;
  errno = 0;
  long long value = strtoll(digits, &end, 10);
  if (errno != 0 || *end != '\0' || value > max) return false;
  *out = value;
  return true;
}

static bool read_bytes(span text, int64_t *out) {
  static const struct {
    const char *name;
    int64_t factor;
  } units[] = {{"GiB", INT64_C(1) << 30}, {"MiB", INT64_C(1) << 20}, {"KiB", INT64_C(1) << 10}, {"", 1}};
  size_t digits = 0;
  while (digits < text.length && isdigit((unsigned char)text.at[digits])) digits++;
  span unit = {text.at + digits, text.length - digits};
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
    if (!span_is(unit, units[i].name)) continue;
    if (!read_number((span){text.at, digits}, BYTES_MAX / units[i].factor, out)) return false;
    *out *= units[i].factor;
    return true;
  }
  return false;
}

static bool read_text(span text, char *out, size_t size) {
  if (text.length == 0 || text.length >= size) return false;
  memcpy(out, text.at, text.length);
  out[text.length] = '\0';
  return true;
}

// Over 0 up to 1.
static bool read_share(span text, double *out) {
  char digits[24];
  if (!read_text(text, digits, sizeof digits) || strspn(digits, "0123456789.") != text.length) return false;
  char *end = NULL;
  double value = strtod(digits, &end);
  if (*end != '\0' || !(value > 0 && value <= 1)) return false;
  *out = value;
  return true;
}

static bool read_task(span text, rh_task *out) {
  char name[32];
  if (!read_text(text, name, sizeof name)) return false;
  rh_task task = rh_task_from_name(name);
  if (task == RH_TASK_COUNT || task == RH_TASK_OWN) return false;
  *out = rh_task_generates(task) ? RH_TASK_COMPLETE : task;
  return true;
}

static bool read_value(key_type type, span text, char *target) {
  int64_t number = 0;
  switch (type) {
    case KEY_INT: return read_number(text, VALUE_MAX, (int64_t *)(void *)target);
    case KEY_BOOL:
      if (!read_number(text, 1, &number)) return false;
      *(bool *)(void *)target = number == 1;
      return true;
    case KEY_FILE: return read_text(text, target, RH_FAKE_FILE_MAX);
    case KEY_TASK: return read_task(text, (rh_task *)(void *)target);
    case KEY_LABELS: return read_text(text, target, sizeof((rh_fake_model *)NULL)->labels);
    case KEY_BYTES: return read_bytes(text, (int64_t *)(void *)target);
    case KEY_SHARE: return read_share(text, (double *)(void *)target);
  }
  return false;
}

// One "key=value" into the struct that the table describes. A wrong one is reported with the caller's status.
static rh_status read_pair(const key *keys, span pair, void *target, rh_status wrong, rh_error *error) {
  const char *equals = memchr(pair.at, '=', pair.length);
  span name = {pair.at, equals != NULL ? (size_t)(equals - pair.at) : pair.length};
  span value = {NULL, 0};
  if (equals != NULL) value = (span){equals + 1, pair.length - name.length - 1};
  for (const key *k = keys; k->name != NULL; k++) {
    if (!span_is(name, k->name)) continue;
    if (equals != NULL && read_value(k->type, value, (char *)target + k->offset)) return RH_OK;
    return rh_fail(error, wrong, "The fake engine's \"%s\" needs another value than \"%.*s\".", k->name,
                   (int)(value.length < 64 ? value.length : 64), value.at != NULL ? value.at : "");
  }
  return rh_fail(error, wrong, "The fake engine has no key \"%.*s\".", (int)(name.length < 64 ? name.length : 64),
                 name.at);
}

static const rh_fake_script plain = {
    .tokens = -1,
    .first_delay_ms = -1,
    .fail_at = -1,
    .crash_at = -1,
    .hang_at = -1,
    .end = true,
};

rh_status rh_fake_model_parse(const char *path, const rh_load_options *options, rh_fake_model *out, rh_error *error) {
  *out = (rh_fake_model){
      .slots = options->slots > 0 ? options->slots : -1,
      .vocabulary = -1,
      .context = options->context > 0 ? options->context : 4096,
      .has_template = true,
      .task = RH_TASK_COMPLETE,
      .dims = 8,
      .normalize = true,
      .usual = plain,
  };
  if (path == NULL || !rh_text_starts_with(path, "fake:")) {
    return rh_fail(error, RH_LOAD_FAILED, "The fake engine loads only paths that begin with \"fake:\".");
  }
  for (const char *at = path + strlen("fake:"); *at != '\0';) {
    span pair = {at, strcspn(at, ",")};
    at += pair.length + (at[pair.length] == ',' ? 1 : 0);
    if (pair.length == 0) continue;
    rh_status status = read_pair(model_keys, pair, out, RH_LOAD_FAILED, error);
    if (status != RH_OK) return status;
  }
  // Words are hashed into it: two of a test must not meet.
  if (out->vocabulary < 0) out->vocabulary = rh_task_generates(out->task) ? 32000 : 1 << 22;
  if (out->slots < 0) out->slots = rh_task_generates(out->task) ? 4 : 64;
  if (out->slots < 1 || out->slots > 4096 || out->context < 1 || out->vocabulary < 1) {
    return rh_fail(error, RH_LOAD_FAILED,
                   "The fake engine needs 1 to 4096 slots, and a context and a vocabulary of at least 1.");
  }
  return RH_OK;
}

// The inside of one pair of brackets.
static rh_status read_directive(span inside, rh_fake_script *out, rh_error *error) {
  while (inside.length > 0) {
    if (isspace((unsigned char)inside.at[0])) {
      inside = (span){inside.at + 1, inside.length - 1};
      continue;
    }
    if (inside.length >= 5 && memcmp(inside.at, "text=", 5) == 0) {
      out->text = inside.at + 5;
      out->text_length = inside.length - 5;
      return RH_OK;
    }
    span pair = {inside.at, 0};
    while (pair.length < inside.length && !isspace((unsigned char)pair.at[pair.length])) pair.length++;
    rh_status status = read_pair(script_keys, pair, out, RH_INVALID, error);
    if (status != RH_OK) return status;
    inside = (span){inside.at + pair.length, inside.length - pair.length};
  }
  return RH_OK;
}

rh_status rh_fake_script_parse(const char *prompt, const rh_fake_script *usual, rh_fake_script *out, rh_error *error) {
  *out = usual != NULL ? *usual : plain;
  const char *at = prompt;
  while (at != NULL && (at = strstr(at, "[[")) != NULL) {
    const char *close = strstr(at + 2, "]]");
    if (close == NULL) break;
    rh_status status = read_directive((span){at + 2, (size_t)(close - at - 2)}, out, error);
    if (status != RH_OK) return status;
    at = close + 2;
  }
  if (out->text == NULL) {
    out->text = RH_FAKE_TEXT_DEFAULT;
    out->text_length = strlen(RH_FAKE_TEXT_DEFAULT);
    if (out->tokens < 0) out->tokens = RH_FAKE_TOKENS_DEFAULT;
  }
  if (out->first_delay_ms < 0) out->first_delay_ms = out->delay_ms;
  return RH_OK;
}
