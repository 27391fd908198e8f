// SPDX-License-Identifier: Apache-2.0
//
// The way every body goes: parse, set defaults, read the rows of the dialect's tables, report what is unknown. It owns
// the parsed body between begin and end; what outlives the call is in the request's arena. It knows no field's name.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "api/codec.h"

#define TOKEN_PATH_BYTES 88  // "input[2047]" and the place in it

// One entry of the warnings with its separator and its NUL.
#define ENTRY_BYTES_MAX 160
#define CLIENT_WORD_BYTES_MAX 48

rh_status rh_api_decode_begin(rh_decoding *decoding, const char *body, size_t length, rh_arena *arena, rh_request *out,
                              rh_dynbuf *warnings, rh_error *error) {
  *decoding = (rh_decoding){.arena = arena, .request = out, .warnings = warnings, .error = error, .path = ""};
  // The id stands first and is the caller's, and so is the choice to stream when the body says nothing; all the rest
  // starts from zero.
  bool stream = out->stream;
  memset((char *)out + offsetof(rh_request, task), 0, sizeof *out - offsetof(rh_request, task));
  out->stream = stream;
  out->choices = 1;
  out->keep_alive = RH_KEEP_ALIVE_UNSET;
  out->hints.cache_age_max_s = -1;
  rh_generate_defaults(&out->generate);
  // What a request does not say. Drawing from the whole distribution of a small, quantized model gives nonsense too
  // often; these are llama-server's values, so that moving from it changes nothing. Each can be set, and 0 (1 for
  // top_p) turns it off.
  out->generate.temperature = 0.8f;
  out->generate.top_k = 40;
  out->generate.top_p = 0.95f;
  out->generate.min_p = 0.05f;
  decoding->notes = rh_api_alloc_array(decoding, 1, sizeof *decoding->notes);
  if (decoding->notes == NULL) return RH_TOO_LARGE;
  decoding->notes->top_logprobs = -1;
  out->dialect = decoding->notes;
  if (length == 0) return rh_fail(error, RH_INVALID, "the request has no body; a JSON object is expected");
  rh_error parse_error = {0};
  decoding->body = rh_json_parse(body, length, &parse_error);
  if (decoding->body == NULL) {
    return rh_fail(error, parse_error.status, "the request's body is %s", parse_error.message);
  }
  if (json_is_object(decoding->body)) return RH_OK;
  rh_status status =
      rh_fail(error, RH_INVALID, "the request's body must be a JSON object, not %s", rh_json_type_name(decoding->body));
  rh_api_decode_end(decoding);
  return status;
}

void rh_api_decode_end(rh_decoding *decoding) {
  json_decref(decoding->body);
  decoding->body = NULL;
}

void *rh_api_alloc_array(rh_decoding *decoding, size_t count, size_t bytes_each) {
  void *memory = rh_arena_alloc_array(decoding->arena, count, bytes_each);
  if (memory == NULL) {
    (void)rh_fail(decoding->error, RH_TOO_LARGE, "the request needs more memory than one request may use");
  }
  return memory;
}

rh_status rh_api_decode_tokens(rh_decoding *decoding, const json_t *list, const char *path, const int32_t **out,
                               size_t *count) {
  size_t length = json_array_size(list);
  if (length == 0) return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is an empty array", path);
  int32_t *tokens = rh_api_alloc_array(decoding, length, sizeof *tokens);
  if (tokens == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < length; i++) {
    const json_t *value = json_array_get(list, i);
    json_int_t token = json_integer_value(value);
    if (!json_is_integer(value) || token < 0 || token > INT32_MAX) {
      char where[TOKEN_PATH_BYTES];
      (void)snprintf(where, sizeof where, "%s[%zu]", path, i);
      return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a token id like the ones before it",
                           where);
    }
    tokens[i] = (int32_t)token;
  }
  *out = tokens;
  *count = length;
  return RH_OK;
}

rh_status rh_api_copy_string(rh_decoding *decoding, const char *text, const char **out) {
  *out = rh_arena_strdup(decoding->arena, text);
  if (*out != NULL) return RH_OK;
  return rh_fail(decoding->error, RH_TOO_LARGE, "the request needs more memory than one request may use");
}

// A client's word in our answer's body, headers and logs: letters, digits and a few signs only, and not much of them.
static void make_harmless(char out[static CLIENT_WORD_BYTES_MAX], const char *word) {
  size_t i = 0;
  for (; word[i] != '\0' && i < CLIENT_WORD_BYTES_MAX - 1; i++) {
    char c = word[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                 c == '.' || c == '[' || c == ']' || c == ' ';
    out[i] = c;
    if (!plain) out[i] = '?';
  }
  out[i] = '\0';
}

static bool has_entry(const char *warnings, const char *entry) {
  size_t length = strlen(entry);
  assert(length > 0);  // an empty one would be found at the same place for ever
  for (const char *at = warnings; (at = strstr(at, entry)) != NULL; at += length) {
    bool starts = at == warnings || at[-1] == ' ';
    if (starts && (at[length] == '\0' || at[length] == ',')) return true;
  }
  return false;
}

void rh_api_warn(rh_decoding *decoding, const char *prefix, const char *name, const char *did_you_mean) {
  char word[CLIENT_WORD_BYTES_MAX];
  char entry[ENTRY_BYTES_MAX];
  rh_dynbuf *warnings = decoding->warnings;
  if (warnings == NULL) return;
  make_harmless(word, name[0] != '\0' ? name : "a field without a name");
  (void)snprintf(entry, sizeof entry, "%s%s%s%s%s", prefix, word, did_you_mean == NULL ? "" : " (did you mean ",
                 did_you_mean == NULL ? "" : did_you_mean, did_you_mean == NULL ? "" : "?)");
  if (has_entry(rh_dynbuf_data(warnings), entry)) return;
  const char *separator = warnings->length == 0 ? "" : ", ";
  // Whole entries only: a warning that does not fit is left out instead of being cut.
  if (strlen(separator) + strlen(entry) > warnings->max - warnings->length) return;
  (void)rh_dynbuf_printf(warnings, "%s%s", separator, entry);
}

static size_t collect_names(const rh_field *const *tables, const char *names[static RH_API_FIELDS_MAX]) {
  size_t count = 0;
  for (; *tables != NULL; tables++) {
    for (const rh_field *field = *tables; field->name != NULL; field++) {
      assert(count < RH_API_FIELDS_MAX);
      names[count++] = field->name;
    }
  }
  return count;
}

static bool is_known(const char *const *names, size_t count, const char *key) {
  for (size_t i = 0; i < count; i++) {
    if (names[i][0] == key[0] && strcmp(names[i], key) == 0) return true;
  }
  return false;
}

static rh_status refuse_unknown(rh_decoding *decoding, const char *key, const char *near) {
  char word[CLIENT_WORD_BYTES_MAX];
  char where[CLIENT_WORD_BYTES_MAX + 16];
  make_harmless(word, key);
  rh_json_join_path(where, sizeof where, decoding->path, word);
  if (near == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, where, "unknown field \"%s\"", where);
  }
  return rh_fail_param(decoding->error, RH_INVALID, where, "unknown field \"%s\"; did you mean \"%s\"?", where, near);
}

static rh_status check_unknown(rh_decoding *decoding, const rh_field *const *tables, bool unknown_is_error) {
  const char *names[RH_API_FIELDS_MAX];
  size_t count = collect_names(tables, names);
  const char *key;
  json_t *value;
  json_object_foreach(decoding->body, key, value) {
    if (is_known(names, count, key)) continue;
    // Looking for the nearest name costs microseconds, and a hostile body may hold very many names.
    if (decoding->unknown_count++ >= RH_API_UNKNOWN_MAX) {
      rh_api_warn(decoding, "", "more unknown fields", NULL);
      break;
    }
    const char *near = rh_text_nearest(key, names, count);
    if (unknown_is_error) return refuse_unknown(decoding, key, near);
    rh_api_warn(decoding, "", key, near);
  }
  return RH_OK;
}

// One of 64 bits, by a name's first two letters.
static uint64_t letters(const char *name) {
  unsigned first = (unsigned char)name[0];
  unsigned second = first != 0 ? (unsigned char)name[1] : 0;
  return UINT64_C(1) << ((first * 31 + second) % 64);
}

// A body has a few of a hundred fields: most are known not to be there without a look.
static uint64_t letters_of_all(json_t *body) {
  uint64_t all = 0;
  const char *key;
  json_t *value;
  json_object_foreach(body, key, value) all |= letters(key);
  return all;
}

rh_status rh_api_decode_fields(rh_decoding *decoding, const rh_field *const *tables, bool unknown_is_error) {
  uint64_t there = letters_of_all(decoding->body);
  for (const rh_field *const *table = tables; *table != NULL; table++) {
    for (const rh_field *field = *table; field->name != NULL; field++) {
      if ((there & letters(field->name)) == 0) continue;
      const json_t *value = json_object_get(decoding->body, field->name);
      if (value == NULL || json_is_null(value)) continue;
      rh_status status = field->read(decoding, field);
      if (status != RH_OK) return status;
      decoding->request->generate.given |= field->given;
    }
  }
  return check_unknown(decoding, tables, unknown_is_error);
}

rh_status rh_api_decode_finish(rh_decoding *decoding) {
  rh_request *request = decoding->request;
  assert(request->prompt_count > 0 && request->choices > 0);
  if (request->generate.top_p <= 0) {
    // Nothing but the most probable token is left, and that is what greedy choice takes.
    request->generate.top_p = 1;
    request->generate.temperature = 0;
    request->generate.given |= RH_GIVEN_TEMPERATURE;
    request->generate.given &= ~(uint32_t)RH_GIVEN_TOP_P;
  }
  uint64_t jobs = (uint64_t)request->prompt_count * (uint64_t)request->choices;
  if (jobs <= RH_JOBS_MAX) return RH_OK;
  return rh_fail_param(decoding->error, RH_INVALID, "n",
                       "%zu prompts with %lld answers each are %llu answers; one request may have %d",
                       request->prompt_count, (long long)request->choices, (unsigned long long)jobs, RH_JOBS_MAX);
}
