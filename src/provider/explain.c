// SPDX-License-Identifier: Apache-2.0
//
// Errors of providers: OpenAI's {"error":{"message","type","code","param"}}, Anthropic's {"type":"error","error":{...}}, Google's in an
// array, OpenRouter's with metadata, Ollama's {"error":"..."}, FastAPI's {"detail":...}, and pages of proxies. Pure; any thread.
// It does not decide what is tried next.
#include "provider/explain.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"

#define JSON_BYTES_MAX (256u * 1024u)
#define WORDS_MAX 480

typedef struct account {
  const char *message;  // NULL = none
  const char *type, *code, *param;
  const char *more;  // OpenRouter: what the provider behind it said
  json_int_t number;
} account;

// Whether `text` holds `word`, in any case.
static bool holds(const char *text, const char *word) { return text != NULL && strcasestr(text, word) != NULL; }

static void read_detail(const json_t *detail, account *out) {
  if (json_is_array(detail)) detail = json_array_get(detail, 0);
  if (out->message == NULL) out->message = json_string_value(detail);
  if (out->message == NULL) out->message = json_string_value(json_object_get(detail, "msg"));
}

static void read_account(const json_t *root, account *out) {
  if (json_is_array(root)) root = json_array_get(root, 0);
  const json_t *error = json_object_get(root, "error");
  if (json_is_string(error)) out->message = json_string_value(error);
  const json_t *from = json_is_object(error) ? error : root;
  if (out->message == NULL) out->message = json_string_value(json_object_get(from, "message"));
  out->type = json_string_value(json_object_get(from, "type"));
  const json_t *code = json_object_get(from, "code");
  out->code = json_string_value(code);
  if (json_is_integer(code)) out->number = json_integer_value(code);
  if (out->code == NULL) out->code = json_string_value(json_object_get(from, "status"));
  out->param = json_string_value(json_object_get(from, "param"));
  const json_t *metadata = json_object_get(from, "metadata");
  out->more = json_string_value(json_object_get(metadata, "raw"));
  if (out->message == NULL) read_detail(json_object_get(root, "detail"), out);
}

static bool is_overflow(const account *said) {
  static const char *const words[] = {"context_length", "exceed_context", "model_max_prompt_tokens"};
  static const char *const phrases[] = {"maximum context length",
                                        "context length",
                                        "prompt is too long",
                                        "context window",
                                        "exceeds the available context",
                                        "too many tokens",
                                        "input is too long",
                                        "maximum number of tokens",
                                        "context size"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (holds(said->code, words[i]) || holds(said->type, words[i])) return true;
  }
  for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++) {
    if (holds(said->message, phrases[i]) || holds(said->more, phrases[i])) return true;
  }
  return false;
}

// The words of OpenAI, Anthropic and Google. They are the same for all, so that a stream's error has a status without HTTP's.
static const struct {
  const char *word;
  unsigned http_status;
} types[] = {
    {"invalid_request", 400}, {"invalid_argument", 400},  {"invalid_prompt", 400},
    {"authentication", 401},  {"invalid_api_key", 401},   {"unauthenticated", 401},
    {"billing", 402},         {"insufficient", 402},      {"permission", 403},
    {"model_not_found", 404}, {"not_found", 404},         {"request_too_large", 413},
    {"rate_limit", 429},      {"too_many_requests", 429}, {"resource_exhausted", 429},
    {"overloaded", 529},      {"timeout", 504},           {"unavailable", 503},
};

static unsigned status_from_words(const account *said) {
  if (said->number >= 400 && said->number <= 599) return (unsigned)said->number;
  const char *words[] = {said->code, said->type};
  for (size_t w = 0; w < 2; w++) {
    for (size_t i = 0; words[w] != NULL && i < sizeof types / sizeof *types; i++) {
      if (strcasestr(words[w], types[i].word) != NULL) return types[i].http_status;
    }
  }
  return 0;
}

static rh_status status_of(unsigned http_status, const account *said) {
  bool fault = http_status == 400 || http_status == 413 || http_status == 422;
  if ((fault || http_status == 0 || http_status == 500) && is_overflow(said)) return RH_CONTEXT_OVERFLOW;
  // Ours to pay, not the request's fault; and a model's own call that its server could not read.
  if (fault && (holds(said->message, "credit balance") || holds(said->code, "tool_use_failed"))) return RH_UPSTREAM;
  switch (http_status) {
    case 400:
    case 405:
    case 406:
    case 411:
    case 413:
    case 414:
    case 415:
    case 422:
    case 431: return RH_INVALID;
    case 404:
    case 410: return RH_NOT_FOUND;
    case 429: return RH_LIMITED;
    default: return RH_UPSTREAM;  // ours to pay or to be let in, theirs to mend, or nothing known
  }
}

static const char *what_it_means(unsigned http_status) {
  switch (http_status) {
    case 401: return " (it refuses our key: check apiKey)";
    case 402: return " (its account has no money left)";
    case 403: return " (our key may not do this)";
    default: return "";
  }
}

static void say(const rh_provider_spec *spec, unsigned http_status, unsigned meant, const account *said,
                rh_error *error) {
  char words[WORDS_MAX] = "", more[WORDS_MAX / 2] = "", status_words[32] = "";
  if (said->message != NULL) rh_provider_clean_text(spec, said->message, strlen(said->message), words, sizeof words);
  if (said->more != NULL) rh_provider_clean_text(spec, said->more, strlen(said->more), more, sizeof more);
  if (http_status != 0) (void)snprintf(status_words, sizeof status_words, " with HTTP %u", http_status);
  rh_status status = status_of(meant, said);
  const char *name = spec->name != NULL ? spec->name : "the provider";
  char param[48] = "";
  if (said->param != NULL) rh_provider_clean_text(spec, said->param, strlen(said->param), param, sizeof param);
  if (words[0] == '\0' && more[0] == '\0') {
    (void)rh_fail_param(error, status, param, "%s refused%s%s, without saying why", name, status_words,
                        what_it_means(meant));
    return;
  }
  (void)rh_fail_param(error, status, param, "%s refused%s%s: %s%s%s", name, status_words, what_it_means(meant), words,
                      words[0] != '\0' && more[0] != '\0' ? "; " : "", more);
}

void rh_provider_explain_json(const rh_provider_spec *spec, unsigned http_status, const json_t *root, rh_error *error) {
  account said = {0};
  read_account(root, &said);
  unsigned meant = http_status >= 400 ? http_status : status_from_words(&said);
  say(spec, http_status >= 400 ? http_status : 0, meant, &said, error);
}

void rh_provider_explain(const rh_provider_spec *spec, unsigned http_status, const char *body, size_t length,
                         rh_error *error) {
  assert(spec != NULL && error != NULL && (body != NULL || length == 0));
  json_t *root = length > 0 && length <= JSON_BYTES_MAX ? rh_json_parse(body, length, NULL) : NULL;
  if (root != NULL) {
    rh_provider_explain_json(spec, http_status, root, error);
    json_decref(root);
    return;
  }
  // Plain words are passed on; a page of HTML says nothing that its status does not.
  char text[WORDS_MAX] = "";
  rh_provider_clean_text(spec, body, length, text, sizeof text);
  account said = {.message = text[0] != '\0' && text[0] != '<' ? text : NULL};
  say(spec, http_status, http_status, &said, error);
}
