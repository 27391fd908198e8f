// SPDX-License-Identifier: Apache-2.0
//
// One entry of "providers" into a spec: defaults by its kind, then its fields, then its address and key, then what must hold
// between them. Owns what the spec points at. Runs once at the start, on one thread. It opens no connection and knows no
// model's name.
#include "provider/spec.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define SECOND_NS ((uint64_t)1000000000)

rh_status rh_spec_refuse(const rh_spec_parse *parse, const char *key, const char *format, ...) {
  char param[128], words[512];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(words, sizeof words, format, args);
  va_end(args);
  if (key == NULL)
    (void)snprintf(param, sizeof param, "%s", parse->path);
  else
    rh_json_join_path(param, sizeof param, parse->path, key);
  return rh_fail_param(parse->error, RH_INVALID, param, "\"%s\" %s", param, words);
}

static void set_defaults(rh_provider_spec *spec, const rh_known_provider *known, bool loopback) {
  spec->type = known->name;
  spec->quirks = known->quirks;
  spec->protocol = known->protocol;
  spec->in_process = (known->quirks & RH_QUIRK_IN_PROCESS) != 0;
  spec->prefill = (known->quirks & RH_QUIRK_PREFILL) != 0;
  spec->stream_usage = (known->quirks & RH_QUIRK_NO_STREAM_USAGE) == 0;
  spec->new_token_field = (known->quirks & RH_QUIRK_NEW_TOKEN_FIELD) != 0;
  spec->enabled = true;
  spec->connect_timeout_ns = 10 * SECOND_NS;
  // A server on this machine may have to load the model first.
  spec->first_timeout_ns = (loopback ? 300 : 60) * SECOND_NS;
  spec->idle_timeout_ns = 60 * SECOND_NS;
  // Our own workers have the request's time, unless the entry says otherwise.
  spec->total_timeout_ns = spec->in_process ? 0 : 600 * SECOND_NS;
  spec->concurrency_max = 64;
  spec->queue_max = 256;
  spec->retries_max = 2;
  spec->retry_delay_ns = SECOND_NS / 2;
  spec->weight = 1;
  spec->health_interval_ns = 30 * SECOND_NS;
}

// What the entry is: its "type", or its own name where that is a known one.
static rh_status find_known(rh_spec_parse *parse, const json_t *entry) {
  const char *type = NULL;
  rh_status status = rh_json_get_string(entry, parse->path, "type", &type, parse->error);
  if (status != RH_OK) return status;
  const char *word = type != NULL ? type : parse->spec->name;
  parse->known = rh_known_provider_find(word);
  if (parse->known != NULL) return RH_OK;
  const char *const *names = rh_known_provider_names();
  size_t count = 0;
  while (names[count] != NULL) count++;
  const char *nearest = rh_text_nearest(word, names, count);
  if (type != NULL) {
    return rh_spec_refuse(parse, "type",
                          "is \"%.40s\", which is no known kind of provider%s%s%s; write a known name or "
                          "\"openai-compatible\"",
                          type, nearest != NULL ? " (did you mean \"" : "", nearest != NULL ? nearest : "",
                          nearest != NULL ? "\"?)" : "");
  }
  bool addressed =
      json_is_string(json_object_get(entry, "baseUrl")) || json_is_string(json_object_get(entry, "base_url"));
  if (addressed) {
    parse->known = rh_known_provider_find("openai-compatible");
    return RH_OK;
  }
  return rh_spec_refuse(parse, NULL, "is no provider known by name%s%s%s; give it a \"type\" and a \"baseUrl\"",
                        nearest != NULL ? " (did you mean \"" : "", nearest != NULL ? nearest : "",
                        nearest != NULL ? "\"?)" : "");
}

static rh_status take_fields(rh_spec_parse *parse, const json_t *entry) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)entry, key, value) {
    if (json_is_null(value)) continue;
    rh_status status = rh_spec_take_field(parse, key, value);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status check_whole(rh_spec_parse *parse) {
  rh_provider_spec *spec = parse->spec;
  if (spec->in_process) {
    spec->local = true;
    return RH_OK;
  }
  if (spec->base_url == NULL) {
    if (parse->known->base_url == NULL) {
      return rh_spec_refuse(parse, "baseUrl",
                            "is missing; write the server's address, such as \"http://127.0.0.1:8000/v1\"");
    }
    rh_status status = rh_spec_set_address(parse, parse->known->base_url);
    if (status != RH_OK) return status;
  }
  if (spec->first_timeout_ns > spec->total_timeout_ns) spec->first_timeout_ns = spec->total_timeout_ns;
  if (spec->idle_timeout_ns > spec->total_timeout_ns) spec->idle_timeout_ns = spec->total_timeout_ns;
  if (spec->connect_timeout_ns > spec->total_timeout_ns) spec->connect_timeout_ns = spec->total_timeout_ns;
  return rh_spec_find_key(parse);
}

static bool address_is_local(const json_t *entry, const rh_known_provider *known) {
  const char *url = json_string_value(json_object_get(entry, "baseUrl"));
  if (url == NULL) url = json_string_value(json_object_get(entry, "base_url"));
  if (url == NULL) url = known->base_url;
  return url != NULL && rh_spec_address_is_loopback(url);
}

rh_status rh_provider_spec_parse(const char *name, const json_t *entry, char *const *environment, const char *folder,
                                 rh_provider_spec *out, rh_error *error) {
  assert(name != NULL && out != NULL);
  memset(out, 0, sizeof *out);
  rh_spec_parse parse = {.spec = out, .environment = environment, .folder = folder, .error = error};
  (void)snprintf(parse.path, sizeof parse.path, "providers.%.64s", name);
  size_t length = strlen(name);
  if (length == 0 || length > RH_PROVIDER_NAME_MAX || strpbrk(name, "/\r\n\t \"") != NULL) {
    return rh_spec_refuse(&parse, NULL,
                          "is no name for a provider: 1 to %d characters, without blanks, slashes and quotes",
                          RH_PROVIDER_NAME_MAX);
  }
  if (!json_is_object(entry)) {
    return rh_spec_refuse(&parse, NULL, "must be an object, not %s", rh_json_type_name(entry));
  }
  out->name = strdup(name);
  rh_status status =
      out->name == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for the provider \"%s\"", name) : RH_OK;
  if (status == RH_OK) status = find_known(&parse, entry);
  if (status == RH_OK) {
    set_defaults(out, parse.known, address_is_local(entry, parse.known));
    status = take_fields(&parse, entry);
  }
  if (status == RH_OK) status = check_whole(&parse);
  if (status != RH_OK) rh_provider_spec_release(out);
  return status;
}

// Overwritten before it is given back, so that no later reader of the heap finds it.
static void free_secret(char *text) {
  if (text != NULL) explicit_bzero(text, strlen(text));
  free(text);
}

void rh_provider_spec_release(rh_provider_spec *spec) {
  if (spec == NULL) return;
  free(spec->name);
  free(spec->base_url);
  free_secret(spec->key);
  free(spec->key_error);
  for (size_t i = 0; spec->headers != NULL && spec->headers[i] != NULL; i++) free_secret(spec->headers[i]);
  free((void *)spec->headers);
  free(spec->ca_file);
  free(spec->health_path);
  json_decref(spec->preferences);
  json_decref(spec->engine_options);
  for (size_t i = 0; i < spec->model_count; i++) {
    free(spec->models[i].word);
    free(spec->models[i].model);
  }
  free(spec->models);
  memset(spec, 0, sizeof *spec);
}

const char *rh_provider_spec_model(const rh_provider_spec *spec, const char *word) {
  assert(spec != NULL);
  const char *wanted = word != NULL ? word : "default";
  for (size_t i = 0; i < spec->model_count; i++) {
    if (strcmp(spec->models[i].word, wanted) == 0) return spec->models[i].model;
  }
  return word;
}
