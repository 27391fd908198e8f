// SPDX-License-Identifier: Apache-2.0
//
// Writing requests: JSON into a bounded buffer, and the refusals that all protocols share. Owns nothing; pure; any thread.
#include "provider/body.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"

void rh_body_put(const rh_body *body, const char *json) { (void)rh_dynbuf_append_text(body->out, json); }

void rh_body_next(const rh_body *body) {
  size_t length = body->out->length;
  char last = length > 0 ? rh_dynbuf_data(body->out)[length - 1] : '{';
  if (last != '{' && last != '[') (void)rh_dynbuf_append_char(body->out, ',');
}

void rh_body_key(const rh_body *body, const char *key) {
  rh_body_next(body);
  (void)rh_dynbuf_printf(body->out, "\"%s\":", key);
}

void rh_body_text(const rh_body *body, const char *text) { (void)rh_json_append_string(body->out, text, strlen(text)); }

void rh_body_string(const rh_body *body, const char *key, const char *text) {
  rh_body_key(body, key);
  rh_body_text(body, text);
}

void rh_body_integer(const rh_body *body, const char *key, int64_t value) {
  rh_body_key(body, key);
  (void)rh_dynbuf_printf(body->out, "%" PRId64, value);
}

void rh_body_real(const rh_body *body, const char *key, float value) {
  char text[32];
  for (int digits = 1; digits <= 9; digits++) {
    (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
    if (strtof(text, NULL) == value) break;
  }
  rh_body_key(body, key);
  rh_body_put(body, text);
}

void rh_body_bool(const rh_body *body, const char *key, bool value) {
  rh_body_key(body, key);
  rh_body_put(body, value ? "true" : "false");
}

void rh_body_json(const rh_body *body, const char *key, const char *json) {
  rh_body_key(body, key);
  rh_body_put(body, json);
}

rh_status rh_body_end(const rh_body *body) {
  if (!body->out->failed) return RH_OK;
  return rh_fail(body->error, RH_TOO_LARGE, "the request for %s is larger than %zu bytes", body->spec->name,
                 body->out->max);
}

rh_status rh_body_refuse(const rh_body *body, const char *param, const char *format, ...) {
  char words[400];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(words, sizeof words, format, args);
  va_end(args);
  return rh_fail_param(body->error, RH_UNSUPPORTED, param, "%s cannot take \"%s\": %s", body->spec->name, param, words);
}

rh_status rh_body_check_image(const rh_body *body, const rh_piece *piece, const char *param) {
  static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_";
  static const char type[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/.-";
  if (piece->url != NULL) return RH_OK;
  bool sound = piece->data != NULL && piece->media_type != NULL && piece->data[0] != '\0' &&
               strspn(piece->data, base64) == strlen(piece->data) &&
               strspn(piece->media_type, type) == strlen(piece->media_type);
  if (sound) return RH_OK;
  return rh_fail_param(body->error, RH_INVALID, param, "\"%s\" has an image whose base64 or media type is not sound",
                       param);
}

rh_status rh_body_image_url(const rh_body *body, const rh_piece *piece, const char *param) {
  rh_status status = rh_body_check_image(body, piece, param);
  if (status != RH_OK) return status;
  if (piece->url != NULL) {
    rh_body_text(body, piece->url);
    return RH_OK;
  }
  rh_body_put(body, "\"data:");
  rh_body_put(body, piece->media_type);
  rh_body_put(body, ";base64,");
  rh_body_put(body, piece->data);
  rh_body_put(body, "\"");
  return RH_OK;
}

void rh_body_stops(const rh_body *body, const char *key) {
  const rh_generate *generate = &body->run->generate;
  if (generate->stop_count == 0) return;
  rh_body_key(body, key);
  rh_body_put(body, "[");
  for (size_t i = 0; i < generate->stop_count; i++) {
    rh_body_next(body);
    rh_body_text(body, generate->stops[i]);
  }
  rh_body_put(body, "]");
}

bool rh_body_has_header(const rh_provider_spec *spec, const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; spec->headers != NULL && spec->headers[i] != NULL; i++) {
    if (strncasecmp(spec->headers[i], name, length) == 0 && spec->headers[i][length] == ':') return true;
  }
  return false;
}

bool rh_body_wants(const rh_run *run, uint32_t given_bit) {
  const rh_generate *generate = &run->generate;
  if ((generate->given & given_bit) == 0) return false;
  switch (given_bit) {
    case RH_GIVEN_TOP_K: return generate->top_k > 0;
    case RH_GIVEN_MIN_P: return generate->min_p > 0;
    case RH_GIVEN_REPEAT_PENALTY: return generate->repeat_penalty != 1;
    case RH_GIVEN_PRESENCE_PENALTY: return generate->presence_penalty != 0;
    case RH_GIVEN_FREQUENCY_PENALTY: return generate->frequency_penalty != 0;
    default: return true;  // a remote model's own default may be another
  }
}

rh_status rh_body_refuse_given(const rh_body *body, uint32_t bits, const char *why) {
  static const struct {
    uint32_t bit;
    const char *name;
  } names[] = {
      {RH_GIVEN_TEMPERATURE, "temperature"},
      {RH_GIVEN_TOP_P, "top_p"},
      {RH_GIVEN_TOP_K, "top_k"},
      {RH_GIVEN_MIN_P, "min_p"},
      {RH_GIVEN_REPEAT_PENALTY, "repeat_penalty"},
      {RH_GIVEN_PRESENCE_PENALTY, "presence_penalty"},
      {RH_GIVEN_FREQUENCY_PENALTY, "frequency_penalty"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if ((bits & names[i].bit) != 0 && rh_body_wants(body->run, names[i].bit)) {
      return rh_body_refuse(body, names[i].name, "%s", why);
    }
  }
  return RH_OK;
}

// The steps are our own: a budget of Anthropic's is any number from 1024 up, OpenAI's effort is one of a few words.
const char *rh_body_effort_of(int64_t tokens) {
  if (tokens < 4096) return "low";
  return tokens < 16384 ? "medium" : "high";
}

int64_t rh_body_budget_of(const char *effort) {
  static const struct {
    const char *word;
    int64_t tokens;
  } steps[] = {{"none", 0},     {"minimal", 1024}, {"low", 1024}, {"medium", 4096},
               {"high", 16384}, {"xhigh", 32000},  {"max", 32000}};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    if (strcmp(steps[i].word, effort) == 0) return steps[i].tokens;
  }
  return -1;
}
