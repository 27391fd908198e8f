// SPDX-License-Identifier: Apache-2.0
//
// The fields that dialects share, as tables, and the readers of single rows. Values go into the request and its arena;
// nothing is kept. Pure, any thread. Fields that only one dialect has stand in that dialect's own file.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "base/clock.h"

static void *target(const rh_decoding *decoding, const rh_field *field) {
  char *base = field->in_notes ? (char *)decoding->notes : (char *)decoding->request;
  if (field->in_infer) base = (char *)decoding->infer;
  return base + field->offset;
}

rh_status rh_field_float(rh_decoding *decoding, const rh_field *field) {
  double value = 0;
  rh_status status =
      rh_json_get_number(decoding->body, decoding->path, field->name, field->min, field->max, &value, decoding->error);
  if (status == RH_OK) *(float *)target(decoding, field) = (float)value;
  return status;
}

rh_status rh_field_int64(rh_decoding *decoding, const rh_field *field) {
  return rh_json_get_int(decoding->body, decoding->path, field->name, (int64_t)field->min, (int64_t)field->max,
                         (int64_t *)target(decoding, field), decoding->error);
}

rh_status rh_field_int32(rh_decoding *decoding, const rh_field *field) {
  assert(field->min >= INT32_MIN && field->max <= INT32_MAX);
  int64_t value = 0;
  rh_status status = rh_json_get_int(decoding->body, decoding->path, field->name, (int64_t)field->min,
                                     (int64_t)field->max, &value, decoding->error);
  if (status == RH_OK) *(int32_t *)target(decoding, field) = (int32_t)value;
  return status;
}

rh_status rh_field_bool(rh_decoding *decoding, const rh_field *field) {
  return rh_json_get_bool(decoding->body, decoding->path, field->name, (bool *)target(decoding, field),
                          decoding->error);
}

rh_status rh_field_string(rh_decoding *decoding, const rh_field *field) {
  const char *text = "";
  rh_status status = rh_json_get_string(decoding->body, decoding->path, field->name, &text, decoding->error);
  if (status != RH_OK) return status;
  if (field->max > 0 && (double)strlen(text) > field->max) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name, "\"%s\" is longer than the limit of %.0f bytes",
                         field->name, field->max);
  }
  return rh_api_copy_string(decoding, text, (const char **)target(decoding, field));
}

rh_status rh_field_ignore(rh_decoding *decoding, const rh_field *field) {
  (void)decoding;
  (void)field;
  return RH_OK;
}

rh_status rh_field_warn(rh_decoding *decoding, const rh_field *field) {
  rh_api_warn(decoding, "", field->name, NULL);
  return RH_OK;
}

rh_status rh_field_refuse(rh_decoding *decoding, const rh_field *field) {
  return rh_fail_param(decoding->error, RH_UNSUPPORTED, field->name, "%s", field->text);
}

rh_status rh_field_refuse_list(rh_decoding *decoding, const rh_field *field) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, decoding->path, field->name, &list, decoding->error);
  if (status != RH_OK) return status;
  return json_array_size(list) == 0 ? RH_OK : rh_field_refuse(decoding, field);
}

rh_status rh_field_refuse_word(rh_decoding *decoding, const rh_field *field) {
  const char *word = json_string_value(json_object_get(decoding->body, field->name));
  if (word != NULL && (strcmp(word, "none") == 0 || strcmp(word, "auto") == 0)) return RH_OK;
  return rh_field_refuse(decoding, field);
}

// Any whole number is a seed for OpenAI's clients; samplers take 32 bits. Seeds that fit stay what they are.
static rh_status read_seed(rh_decoding *decoding, const rh_field *field) {
  int64_t value = 0;
  rh_status status =
      rh_json_get_int(decoding->body, decoding->path, field->name, INT64_MIN, INT64_MAX, &value, decoding->error);
  if (status != RH_OK) return status;
  uint64_t bits = (uint64_t)value;
  decoding->request->generate.seed = (uint32_t)(bits ^ (bits >> 32));
  decoding->request->generate.has_seed = true;
  return RH_OK;
}

static rh_status read_timeout(rh_decoding *decoding, const rh_field *field) {
  double seconds = 0;
  rh_status status = rh_json_get_number(decoding->body, decoding->path, field->name, 0.001, RH_API_TIMEOUT_S_MAX,
                                        &seconds, decoding->error);
  if (status == RH_OK) decoding->request->timeout_ns = (uint64_t)(seconds * (double)RH_NS_PER_S);
  return status;
}

// "5m", "forever", or a number of seconds; negative = for ever, 0 = leave when idle. Ollama's clients write it so.
static rh_status read_keep_alive(rh_decoding *decoding, const rh_field *field) {
  const json_t *value = json_object_get(decoding->body, field->name);
  int64_t *out = &decoding->request->keep_alive;
  if (json_is_string(value)) return rh_keep_alive_parse(json_string_value(value), out, decoding->error);
  if (json_is_number(value) && rh_keep_alive_from_seconds(json_number_value(value), out) == RH_OK) return RH_OK;
  return rh_fail_param(decoding->error, RH_INVALID, field->name,
                       "\"keep_alive\" must be a time such as \"5m\" or a number of seconds, not %s",
                       rh_json_type_name(value));
}

// Other servers' clients say -1 for "off", where we say 0.
rh_status rh_field_top_k(rh_decoding *decoding, const rh_field *field) {
  rh_status status = rh_field_int32(decoding, field);
  int32_t *top_k = &decoding->request->generate.top_k;
  if (status == RH_OK && *top_k < 0) *top_k = 0;
  return status;
}

static rh_status copy_stop(rh_decoding *decoding, const json_t *value, const char *where, const char **out) {
  if (!json_is_string(value)) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string, not %s", where,
                         rh_json_type_name(value));
  }
  size_t length = json_string_length(value);
  if (length == 0) return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is an empty string", where);
  if (length > RH_STOP_BYTES_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" has %zu bytes; a stop string may have %d", where,
                         length, RH_STOP_BYTES_MAX);
  }
  return rh_api_copy_string(decoding, json_string_value(value), out);
}

rh_status rh_field_stop(rh_decoding *decoding, const rh_field *field) {
  const json_t *value = json_object_get(decoding->body, field->name);
  bool single = json_is_string(value);
  if (!single && !json_is_array(value)) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name,
                         "\"%s\" must be a string or an array of strings, not %s", field->name,
                         rh_json_type_name(value));
  }
  size_t count = single ? 1 : json_array_size(value);
  if (count == 0) return RH_OK;
  if (count > RH_STOPS_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name, "%zu stop strings; at most %d are allowed", count,
                         RH_STOPS_MAX);
  }
  const char **stops = rh_api_alloc_array(decoding, count, sizeof *stops);
  if (stops == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < count; i++) {
    char where[40];
    if (single)
      (void)snprintf(where, sizeof where, "%s", field->name);
    else
      (void)snprintf(where, sizeof where, "%s[%zu]", field->name, i);
    rh_status status = copy_stop(decoding, single ? value : json_array_get(value, i), where, &stops[i]);
    if (status != RH_OK) return status;
  }
  decoding->request->generate.stops = stops;
  decoding->request->generate.stop_count = count;
  return RH_OK;
}

static rh_status read_bias(rh_decoding *decoding, const char *key, const json_t *value, rh_logit_bias *out) {
  char *end = NULL;
  errno = 0;
  long token = strtol(key, &end, 10);
  bool digits_only = key[0] >= '0' && key[0] <= '9' && *end == '\0' && errno == 0;
  if (!digits_only || token > INT32_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, "logit_bias",
                         "the keys of \"logit_bias\" must be token ids (whole numbers), not \"%.32s\"", key);
  }
  double bias = json_number_value(value);
  if (!json_is_number(value) || !(bias >= -100 && bias <= 100)) {
    return rh_fail_param(decoding->error, RH_INVALID, "logit_bias",
                         "the bias of token %ld must be a number from -100 to 100", token);
  }
  *out = (rh_logit_bias){.token = (int32_t)token, .bias = (float)bias};
  return RH_OK;
}

rh_status rh_field_logit_bias(rh_decoding *decoding, const rh_field *field) {
  json_t *object = NULL;
  rh_status status = rh_json_get_object(decoding->body, decoding->path, field->name, &object, decoding->error);
  if (status != RH_OK) return status;
  size_t count = json_object_size(object);
  if (count == 0) return RH_OK;
  if (count > RH_LOGIT_BIAS_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name,
                         "\"logit_bias\" has %zu entries; at most %d are allowed", count, RH_LOGIT_BIAS_MAX);
  }
  rh_logit_bias *list = rh_api_alloc_array(decoding, count, sizeof *list);
  if (list == NULL) return RH_TOO_LARGE;
  size_t at = 0;
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    status = read_bias(decoding, key, value, &list[at++]);
    if (status != RH_OK) return status;
  }
  decoding->request->generate.logit_bias = list;
  decoding->request->generate.logit_bias_count = count;
  return RH_OK;
}

rh_status rh_field_stream_options(rh_decoding *decoding, const rh_field *field) {
  json_t *options = NULL;
  rh_status status = rh_json_get_object(decoding->body, decoding->path, field->name, &options, decoding->error);
  if (status == RH_OK) {
    status = rh_json_get_bool(options, field->name, "include_usage", &decoding->notes->include_usage, decoding->error);
  }
  if (status != RH_OK) return status;
  const char *key;
  json_t *value;
  json_object_foreach(options, key, value) {
    // Padding against traffic analysis does not change the answer, only its size.
    bool known = strcmp(key, "include_usage") == 0 || strcmp(key, "include_obfuscation") == 0;
    if (!known) rh_api_warn(decoding, "stream_options.", key, NULL);
  }
  return RH_OK;
}

const rh_field rh_fields_request[] = {
    {.name = "model", .read = rh_field_string, RH_FIELD_REQUEST(model), .max = RH_MODEL_NAME_MAX},
    {.name = "timeout", .read = read_timeout},
    {.name = "keep_alive", .read = read_keep_alive},
    {.name = "priority", .read = rh_field_int32, RH_FIELD_REQUEST(priority), .min = -100, .max = 100},
    {.name = "session", .read = rh_field_string, RH_FIELD_REQUEST(session), .max = RH_API_WORD_BYTES_MAX},
    {.name = NULL},
};

// Bounds of the penalties: past them sampling breaks down (llama.cpp multiplies or divides logits by repeat_penalty).
const rh_field rh_fields_common[] = {
    {.name = "max_tokens",
     .read = rh_field_int64,
     RH_FIELD_REQUEST(generate.max_tokens),
     .min = 1,
     .max = INT32_MAX,
     .given = RH_GIVEN_MAX_TOKENS},
    {.name = "temperature",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.temperature),
     .min = 0,
     .max = 2,
     .given = RH_GIVEN_TEMPERATURE},
    {.name = "top_p",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.top_p),
     .min = 0,
     .max = 1,
     .given = RH_GIVEN_TOP_P},
    {.name = "min_p",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.min_p),
     .min = 0,
     .max = 1,
     .given = RH_GIVEN_MIN_P},
    {.name = "top_k",
     .read = rh_field_top_k,
     RH_FIELD_REQUEST(generate.top_k),
     .min = -1,
     .max = INT32_MAX,
     .given = RH_GIVEN_TOP_K},
    {.name = "repetition_penalty",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.repeat_penalty),
     .given = RH_GIVEN_REPEAT_PENALTY,
     .min = 0.1,
     .max = 10},
    {.name = "repeat_penalty",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.repeat_penalty),
     .given = RH_GIVEN_REPEAT_PENALTY,
     .min = 0.1,
     .max = 10},
    {.name = "seed", .read = read_seed},
    {.name = "stop", .read = rh_field_stop},
    {.name = "ignore_eos", .read = rh_field_bool, RH_FIELD_REQUEST(generate.ignore_eos)},
    {.name = "stream", .read = rh_field_bool, RH_FIELD_REQUEST(stream)},
    {.name = NULL},
};

const rh_field rh_fields_openai[] = {
    {.name = "presence_penalty",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.presence_penalty),
     .given = RH_GIVEN_PRESENCE_PENALTY,
     .min = -2,
     .max = 2},
    {.name = "frequency_penalty",
     .read = rh_field_float,
     RH_FIELD_REQUEST(generate.frequency_penalty),
     .given = RH_GIVEN_FREQUENCY_PENALTY,
     .min = -2,
     .max = 2},
    {.name = "logit_bias", .read = rh_field_logit_bias},
    {.name = "n", .read = rh_field_int64, RH_FIELD_REQUEST(choices), .min = 1, .max = RH_CHOICES_MAX},
    {.name = "stream_options", .read = rh_field_stream_options},
    {.name = "user", .read = rh_field_string, RH_FIELD_REQUEST(user), .max = RH_API_WORD_BYTES_MAX},
    {.name = "store", .read = rh_field_ignore},
    {.name = "service_tier", .read = rh_field_ignore},
    {.name = "safety_identifier", .read = rh_field_ignore},
    {.name = "prompt_cache_key", .read = rh_field_ignore},
    {.name = "prompt_cache_retention", .read = rh_field_ignore},
    {.name = NULL},
};
