// SPDX-License-Identifier: Apache-2.0
//
// The fields of one entry of "providers", as a table: each has a name (camelCase and snake_case are the same), the place in the
// spec where it goes and the reader for its type. Pure but for the spec it fills; one thread. Keys are spec_key.c's.
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "provider/spec.h"

#define HEADERS_MAX 32
#define HEADER_BYTES_MAX 4096

typedef struct spec_field {
  const char *name;  // snake_case
  rh_status (*take)(rh_spec_parse *parse, const struct spec_field *field, const char *key, const json_t *value);
  size_t offset;
  double min, max;
} spec_field;

static void *place(const rh_spec_parse *parse, const spec_field *field) { return (char *)parse->spec + field->offset; }

static rh_status wrong_type(const rh_spec_parse *parse, const char *key, const char *wanted, const json_t *value) {
  return rh_spec_refuse(parse, key, "must be %s, not %s", wanted, rh_json_type_name(value));
}

static rh_status no_memory(const rh_spec_parse *parse) {
  return rh_fail(parse->error, RH_NO_MEMORY, "no memory for \"%s\"", parse->path);
}

static rh_status take_bool(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  if (!json_is_boolean(value)) return wrong_type(parse, key, "true or false", value);
  *(bool *)place(parse, field) = json_is_true(value);
  if (field->offset == offsetof(rh_provider_spec, local)) parse->local_given = true;
  return RH_OK;
}

static rh_status take_int(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  if (!json_is_integer(value)) return wrong_type(parse, key, "a whole number", value);
  double number = (double)json_integer_value(value);
  if (number < field->min || number > field->max) {
    return rh_spec_refuse(parse, key, "must be from %.0f to %.0f", field->min, field->max);
  }
  *(int64_t *)place(parse, field) = json_integer_value(value);
  return RH_OK;
}

static rh_status take_number(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  if (!json_is_number(value)) return wrong_type(parse, key, "a number", value);
  double number = json_number_value(value);
  if (!(number >= field->min && number <= field->max)) {
    return rh_spec_refuse(parse, key, "must be from %g to %g", field->min, field->max);
  }
  *(double *)place(parse, field) = number;
  return RH_OK;
}

// A number is milliseconds; text has its unit. min and max are seconds.
static rh_status take_time(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  uint64_t *out = place(parse, field);
  double seconds;
  if (json_is_number(value)) {
    seconds = json_number_value(value) / 1000;
  } else if (json_is_string(value)) {
    const rh_setting setting = {.key = "time", .type = RH_SETTING_DURATION};
    uint64_t parsed = 0;
    if (rh_config_set(&setting, json_string_value(value), &parsed, NULL) != RH_OK) {
      return rh_spec_refuse(parse, key,
                            "is \"%.40s\", which is no time; write such as \"30s\", \"5m\" or a number of milliseconds",
                            json_string_value(value));
    }
    seconds = (double)parsed / 1e9;
  } else {
    return wrong_type(parse, key, "a time such as \"30s\", or a number of milliseconds", value);
  }
  if (!(seconds >= field->min && seconds <= field->max)) {
    return rh_spec_refuse(parse, key, "must be from %gs to %gs; a plain number is milliseconds", field->min,
                          field->max);
  }
  *out = (uint64_t)(seconds * 1e9);
  return RH_OK;
}

// Text with ${NAME} replaced.
static rh_status expand(rh_spec_parse *parse, const char *key, const char *text, char **out) {
  char missing[64];
  rh_status status = rh_spec_expand(parse, text, out, missing);
  if (status == RH_NOT_FOUND) return rh_spec_refuse(parse, key, "names the variable %s, which is not set", missing);
  if (status == RH_INVALID)
    return rh_spec_refuse(parse, key, "has a \"${\" without its \"}\", or no name between them");
  return status == RH_OK ? RH_OK : no_memory(parse);
}

static rh_status take_url(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)field;
  if (!json_is_string(value)) return wrong_type(parse, key, "a string", value);
  if (parse->base_url_given) return rh_spec_refuse(parse, key, "is said twice");
  char *text = NULL;
  rh_status status = expand(parse, key, json_string_value(value), &text);
  if (status != RH_OK) return status;
  parse->base_url_given = true;
  status = rh_spec_set_address(parse, text);
  free(text);
  return status;
}

static rh_status take_path(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  if (!json_is_string(value)) return wrong_type(parse, key, "a string", value);
  const char *text = json_string_value(value);
  char **out = place(parse, field), *whole = NULL;
  if (text[0] != '/' && field->offset == offsetof(rh_provider_spec, ca_file) && parse->folder != NULL) {
    if (asprintf(&whole, "%s/%s", parse->folder, text) < 0) whole = NULL;
  } else {
    if (text[0] != '/') return rh_spec_refuse(parse, key, "must begin with a slash");
    whole = strdup(text);
  }
  if (whole == NULL) return no_memory(parse);
  free(*out);
  *out = whole;
  return RH_OK;
}

static rh_status take_key(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  if (!json_is_string(value)) return wrong_type(parse, key, "a string", value);
  const char *text = json_string_value(value);
  if (text[0] == '\0') return rh_spec_refuse(parse, key, "is empty; leave it out where no key is needed");
  if (strcmp(field->name, "api_key") == 0)
    parse->key_text = text;
  else if (strcmp(field->name, "api_key_env") == 0)
    parse->key_variable = text;
  else
    parse->key_file = text;
  return RH_OK;
}

static rh_status take_protocol(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)field;
  static const char *const words[RH_PROTOCOL_COUNT] = {
      [RH_PROTOCOL_CHAT] = "chat", [RH_PROTOCOL_RESPONSES] = "responses", [RH_PROTOCOL_ANTHROPIC] = "anthropic"};
  const char *word = json_string_value(value);
  for (int i = 0; word != NULL && i < RH_PROTOCOL_COUNT; i++) {
    if (strcmp(words[i], word) == 0) {
      parse->spec->protocol = (rh_protocol)i;
      return RH_OK;
    }
  }
  return rh_spec_refuse(parse, key, "must be \"chat\", \"responses\" or \"anthropic\"");
}

// RFC 9110: a name is a token; a value is a line.
static bool header_is_sound(const char *name, const char *value) {
  static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (name[0] == '\0' || strspn(name, token) != strlen(name)) return false;
  for (; *value != '\0'; value++) {
    if ((unsigned char)*value < 0x20 || *value == 0x7f) return false;
  }
  return true;
}

static rh_status take_headers(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)field;
  if (!json_is_object(value)) return wrong_type(parse, key, "an object of names and values", value);
  if (parse->spec->headers != NULL) return rh_spec_refuse(parse, key, "is said twice");
  if (json_object_size(value) > HEADERS_MAX) return rh_spec_refuse(parse, key, "has more than %d members", HEADERS_MAX);
  parse->spec->headers = calloc(json_object_size(value) + 1, sizeof *parse->spec->headers);
  if (parse->spec->headers == NULL) return no_memory(parse);
  size_t count = 0;
  const char *name;
  json_t *member;
  json_object_foreach((json_t *)(uintptr_t)value, name, member) {
    if (!json_is_string(member)) return rh_spec_refuse(parse, key, "must have strings as its values");
    char *text = NULL;
    rh_status status = expand(parse, key, json_string_value(member), &text);
    if (status != RH_OK) return status;
    bool sound = header_is_sound(name, text) && strlen(name) + strlen(text) < HEADER_BYTES_MAX;
    int length = sound ? asprintf(&parse->spec->headers[count], "%s: %s", name, text) : 0;
    explicit_bzero(text, strlen(text));
    free(text);
    if (!sound)
      return rh_spec_refuse(parse, key,
                            "has \"%.40s\", which is no sound header (a name of letters, digits and "
                            "hyphens; a value of one line)",
                            name);
    if (length < 0) {
      parse->spec->headers[count] = NULL;
      return no_memory(parse);
    }
    count++;
  }
  return RH_OK;
}

static rh_status add_model(rh_spec_parse *parse, const char *word, const char *model) {
  rh_provider_spec *spec = parse->spec;
  rh_provider_model *entry = &spec->models[spec->model_count++];
  entry->word = strdup(word);
  entry->model = strdup(model);
  return entry->word != NULL && entry->model != NULL ? RH_OK : no_memory(parse);
}

static rh_status take_models(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)field;
  if (!json_is_object(value) && !json_is_array(value)) {
    return wrong_type(parse, key, "an object of words and model names, or an array of names", value);
  }
  size_t count = json_is_object(value) ? json_object_size(value) : json_array_size(value);
  if (count > RH_PROVIDER_MODELS_MAX) {
    return rh_spec_refuse(parse, key, "has more than %d members", RH_PROVIDER_MODELS_MAX);
  }
  parse->spec->models = calloc(count + 1, sizeof *parse->spec->models);
  if (parse->spec->models == NULL) return no_memory(parse);
  const char *word;
  json_t *member;
  rh_status status = RH_OK;
  if (json_is_object(value)) {
    json_object_foreach((json_t *)(uintptr_t)value, word, member) {
      const char *model = json_string_value(member);
      if (model == NULL || model[0] == '\0')
        return rh_spec_refuse(parse, key, "must have names of models as its values");
      if (status == RH_OK) status = add_model(parse, word, model);
    }
    return status;
  }
  // The first of a list is the default.
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    const char *model = json_string_value(json_array_get(value, i));
    if (model == NULL || model[0] == '\0') return rh_spec_refuse(parse, key, "must be a list of names of models");
    if (i == 0) status = add_model(parse, "default", model);
    if (status == RH_OK) status = add_model(parse, model, model);
  }
  return status;
}

static rh_status take_preferences(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)field;
  if (!json_is_object(value)) return wrong_type(parse, key, "an object", value);
  if ((parse->spec->quirks & RH_QUIRK_REASONING) == 0) {
    return rh_spec_refuse(parse, key, "is OpenRouter's; other providers do not know it");
  }
  parse->spec->preferences = json_incref((json_t *)(uintptr_t)value);
  return RH_OK;
}

static rh_status take_type(rh_spec_parse *parse, const spec_field *field, const char *key, const json_t *value) {
  (void)parse, (void)field, (void)key, (void)value;
  return RH_OK;  // read before the others
}

#define AT(member) offsetof(rh_provider_spec, member)

static const spec_field fields[] = {
    {"type", take_type, 0, 0, 0},
    {"protocol", take_protocol, 0, 0, 0},
    {"base_url", take_url, 0, 0, 0},
    {"api_key", take_key, 0, 0, 0},
    {"api_key_env", take_key, 0, 0, 0},
    {"api_key_file", take_key, 0, 0, 0},
    {"headers", take_headers, 0, 0, 0},
    {"models", take_models, 0, 0, 0},
    {"timeout", take_time, AT(total_timeout_ns), 0.001, 86400},
    {"connect_timeout", take_time, AT(connect_timeout_ns), 0.001, 600},
    {"first_token_timeout", take_time, AT(first_timeout_ns), 0.001, 86400},
    {"idle_timeout", take_time, AT(idle_timeout_ns), 0.001, 86400},
    {"max_retries", take_int, AT(retries_max), 0, 10},
    {"retry_delay", take_time, AT(retry_delay_ns), 0, 60},
    {"concurrency", take_int, AT(concurrency_max), 1, 100000},
    {"queue", take_int, AT(queue_max), 0, 100000},
    {"weight", take_number, AT(weight), 0, 1000000},
    {"local", take_bool, AT(local), 0, 0},
    {"enabled", take_bool, AT(enabled), 0, 0},
    {"ca_file", take_path, AT(ca_file), 0, 0},
    {"insecure_http", take_bool, AT(insecure_http), 0, 0},
    {"prefill", take_bool, AT(prefill), 0, 0},
    {"stream_usage", take_bool, AT(stream_usage), 0, 0},
    {"new_token_field", take_bool, AT(new_token_field), 0, 0},
    {"health_path", take_path, AT(health_path), 0, 0},
    {"health_interval", take_time, AT(health_interval_ns), 1, 86400},
    {"preferences", take_preferences, 0, 0, 0},
};

#define FIELD_COUNT (sizeof fields / sizeof *fields)

// What an entry of our own workers may say of engines. Checked and used elsewhere.
static const char *const engine_words[] = {
    "execution_providers",  "graph_optimization_level", "enable_memory_optimization", "threads",
    "cuda_options",         "intra_op_num_threads",     "inter_op_num_threads",       "execution_mode",
    "enable_cpu_mem_arena", "enable_mem_pattern"};

// "baseURL" and "baseUrl" to "base_url".
static void to_snake(char *out, size_t size, const char *key) {
  size_t used = 0;
  for (size_t i = 0; key[i] != '\0' && used + 2 < size; i++) {
    bool upper = key[i] >= 'A' && key[i] <= 'Z';
    bool after_upper = i > 0 && key[i - 1] >= 'A' && key[i - 1] <= 'Z';
    if (upper && i > 0 && !after_upper) out[used++] = '_';
    out[used++] = (char)(upper ? key[i] - 'A' + 'a' : key[i]);
  }
  out[used] = '\0';
}

static rh_status take_engine_option(rh_spec_parse *parse, const char *key, const json_t *value) {
  rh_provider_spec *spec = parse->spec;
  if (spec->engine_options == NULL) spec->engine_options = json_object();
  if (json_object_set(spec->engine_options, key, (json_t *)(uintptr_t)value) != 0) return no_memory(parse);
  return RH_OK;
}

// With the spelling that the files of this kind use.
static rh_status unknown(const rh_spec_parse *parse, const char *key, const char *snake) {
  const char *words[FIELD_COUNT + sizeof engine_words / sizeof *engine_words];
  size_t count = 0;
  for (size_t i = 0; i < FIELD_COUNT; i++) words[count++] = fields[i].name;
  for (size_t i = 0; parse->spec->in_process && i < sizeof engine_words / sizeof *engine_words; i++)
    words[count++] = engine_words[i];
  const char *nearest = rh_text_nearest(snake, words, count);
  if (nearest == NULL) return rh_spec_refuse(parse, key, "is no field of a provider");
  char camel[64];
  size_t used = 0;
  for (size_t i = 0; nearest[i] != '\0' && used + 1 < sizeof camel; i++) {
    if (nearest[i] == '_' && nearest[i + 1] != '\0') {
      i++;
      camel[used++] = (char)(nearest[i] - 'a' + 'A');
    } else {
      camel[used++] = nearest[i];
    }
  }
  camel[used] = '\0';
  return rh_spec_refuse(parse, key, "is no field of a provider; did you mean \"%s\"?", camel);
}

rh_status rh_spec_take_field(rh_spec_parse *parse, const char *key, const json_t *value) {
  char snake[64];
  to_snake(snake, sizeof snake, key);
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    if (strcmp(fields[i].name, snake) == 0) return fields[i].take(parse, &fields[i], key, value);
  }
  for (size_t i = 0; parse->spec->in_process && i < sizeof engine_words / sizeof *engine_words; i++) {
    if (strcmp(engine_words[i], snake) == 0) return take_engine_option(parse, key, value);
  }
  return unknown(parse, key, snake);
}
