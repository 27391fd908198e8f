// SPDX-License-Identifier: Apache-2.0
//
// The price table: the data file that is compiled in, and the configuration's own prices, which are asked first. Owns both
// lists, sorted by nothing: a few hundred names are compared in microseconds, once a request. Any thread once it is made.
// It deliberately guesses nothing: a model that is in neither has no price, and a local one is not asked for here.
#include "ledger/prices.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"

#define PRICES_MAX 4096
#define NAME_MAX_BYTES 256
#define TOKENS_OF_A_PRICE 1e6
#define PRICE_MAX 1e9

extern const unsigned char rh_prices_table[];
extern const size_t rh_prices_table_length;

typedef struct entry {
  char *name;
  rh_price price;
  size_t length;  // without the stars
  bool head, tail;
} entry;

typedef struct list {
  entry *items;
  size_t count, capacity;
} list;

struct rh_prices {
  list own, shipped;
  char as_of[16];
};

static void list_free(list *prices) {
  for (size_t i = 0; i < prices->count; i++) free(prices->items[i].name);
  free(prices->items);
}

void rh_prices_free(rh_prices *prices) {
  if (prices == NULL) return;
  list_free(&prices->own);
  list_free(&prices->shipped);
  free(prices);
}

static rh_status add(list *prices, const char *name, const rh_price *price, rh_error *error) {
  size_t length = strlen(name);
  const char *inner = length > 2 ? memchr(name + 1, '*', length - 2) : NULL;
  if (length == 0 || length > NAME_MAX_BYTES || inner != NULL) {
    return rh_fail_param(error, RH_INVALID, "prices",
                         "\"%.80s\" in the prices is no name of a model: 1 to %d bytes, with '*' only at an end", name,
                         NAME_MAX_BYTES);
  }
  if (prices->count == PRICES_MAX) return rh_fail(error, RH_TOO_LARGE, "more than %d prices", PRICES_MAX);
  if (prices->count == prices->capacity) {
    size_t capacity = prices->capacity == 0 ? 64 : 2 * prices->capacity;
    entry *items = realloc(prices->items, capacity * sizeof *items);
    if (items == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the prices");
    prices->items = items;
    prices->capacity = capacity;
  }
  entry *item = &prices->items[prices->count];
  *item = (entry){.name = strdup(name), .price = *price};
  if (item->name == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the prices");
  item->tail = name[length - 1] == '*';
  item->head = length > 1 && name[0] == '*';
  item->length = length - (item->tail ? 1 : 0) - (item->head ? 1 : 0);
  prices->count++;
  return RH_OK;
}

static rh_status check_fields(const json_t *value, const char *path, rh_error *error) {
  static const char *const known[] = {"input", "output", "cached_input", "cache_write", "request", "aliases"};
  const char *key;
  json_t *field;
  json_object_foreach((json_t *)(uintptr_t)value, key, field) {  // jansson lacks the const
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) found = found || strcmp(key, known[i]) == 0;
    if (found) continue;
    const char *near = rh_text_nearest(key, known, sizeof known / sizeof *known);
    return rh_fail_param(error, RH_INVALID, path, "unknown field \"%.60s\" in %s%s%s%s", key, path,
                         near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near, near == NULL ? "" : "\"?");
  }
  return RH_OK;
}

static rh_status read_price(const json_t *value, const char *path, rh_price *out, rh_error *error) {
  *out = (rh_price){.input = NAN, .output = NAN, .cached = NAN, .written = NAN};
  if (!json_is_object(value)) {
    return rh_fail_param(
        error, RH_INVALID, path,
        "%s must be an object like {\"input\": 2.5, \"output\": 10}, in US dollars for a million tokens", path);
  }
  rh_status status = check_fields(value, path, error);
  if (status == RH_OK) status = rh_json_get_number(value, path, "input", 0, PRICE_MAX, &out->input, error);
  if (status == RH_OK) status = rh_json_get_number(value, path, "output", 0, PRICE_MAX, &out->output, error);
  if (status == RH_OK) status = rh_json_get_number(value, path, "cached_input", 0, PRICE_MAX, &out->cached, error);
  if (status == RH_OK) status = rh_json_get_number(value, path, "cache_write", 0, PRICE_MAX, &out->written, error);
  if (status == RH_OK) status = rh_json_get_number(value, path, "request", 0, PRICE_MAX, &out->request, error);
  if (status != RH_OK) return status;
  if (isnan(out->input) && isnan(out->output) && out->request <= 0) {
    return rh_fail_param(error, RH_INVALID, path, "%s has no price: set \"input\", \"output\" or \"request\"", path);
  }
  // A model without an output (embeddings) or input (priced by the request) costs nothing there.
  if (isnan(out->input)) out->input = 0;
  if (isnan(out->output)) out->output = 0;
  return RH_OK;
}

static rh_status read_list(const json_t *models, list *out, rh_error *error) {
  if (!json_is_object(models)) {
    return rh_fail_param(error, RH_INVALID, "prices", "prices must be an object of prices by the model's name");
  }
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)models, name, value) {
    char path[64];
    (void)snprintf(path, sizeof path, "prices.%.50s", name);
    rh_price price;
    json_t *aliases = NULL;
    rh_status status = read_price(value, path, &price, error);
    if (status == RH_OK) status = add(out, name, &price, error);
    if (status == RH_OK) status = rh_json_get_array(value, path, "aliases", &aliases, error);
    for (size_t i = 0; status == RH_OK && i < json_array_size(aliases); i++) {
      const char *alias = json_string_value(json_array_get(aliases, i));
      status = alias == NULL ? rh_fail_param(error, RH_INVALID, path, "an alias in %s is not a string", path)
                             : add(out, alias, &price, error);
    }
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status read_shipped(rh_prices *prices, rh_error *error) {
  json_t *file = rh_json_parse((const char *)rh_prices_table, rh_prices_table_length, error);
  if (file == NULL) return RH_INVALID;
  const char *as_of = json_string_value(json_object_get(file, "as_of"));
  assert(as_of != NULL);
  (void)rh_text_copy(prices->as_of, sizeof prices->as_of, as_of);
  rh_status status = read_list(json_object_get(file, "models"), &prices->shipped, error);
  json_decref(file);
  return status;
}

rh_status rh_prices_new(const json_t *overrides, rh_prices **out, rh_error *error) {
  rh_prices *prices = calloc(1, sizeof *prices);
  if (prices == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the prices");
  rh_status status = read_shipped(prices, error);
  if (status == RH_OK && overrides != NULL && !json_is_null(overrides)) {
    status = read_list(overrides, &prices->own, error);
  }
  if (status != RH_OK) {
    rh_prices_free(prices);
    return status;
  }
  *out = prices;
  return RH_OK;
}

static bool matches(const entry *item, const char *name, size_t length) {
  const char *literal = item->name + (item->head ? 1 : 0);
  if (length < item->length) return false;
  if (item->head && item->tail) return memmem(name, length, literal, item->length) != NULL;
  if (item->tail) return strncasecmp(name, literal, item->length) == 0;
  if (item->head) return strncasecmp(name + length - item->length, literal, item->length) == 0;
  return length == item->length && strncasecmp(name, literal, length) == 0;
}

static const entry *find_name(const list *prices, const char *name, size_t length) {
  const entry *best = NULL;
  for (size_t i = 0; i < prices->count; i++) {
    const entry *item = &prices->items[i];
    if (!matches(item, name, length)) continue;
    // An exact name is as long as can be; at equal length it wins over one with stars.
    if (best == NULL || item->length > best->length || (item->length == best->length && !item->head && !item->tail)) {
      best = item;
    }
  }
  return best;
}

static bool digits(const char *text, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!isdigit((unsigned char)text[i])) return false;
  }
  return true;
}

// "x-2026-01-02", "x-20260102", "x@20260102" -> the length of "x"; otherwise `length`.
static size_t without_date(const char *name, size_t length) {
  if (length > 11) {
    const char *date = name + length - 11;
    if (date[0] == '-' && digits(date + 1, 4) && date[5] == '-' && digits(date + 6, 2) && date[8] == '-' &&
        digits(date + 9, 2)) {
      return length - 11;
    }
  }
  if (length > 9) {
    const char *date = name + length - 9;
    if ((date[0] == '-' || date[0] == '@') && digits(date + 1, 8)) return length - 9;
  }
  return length;
}

static const entry *find_in(const list *prices, const char *provider, const char *model) {
  char full[2 * NAME_MAX_BYTES];
  const entry *found = NULL;
  size_t model_length = strlen(model), plain = without_date(model, model_length);
  if (provider != NULL && provider[0] != '\0') {
    int length = snprintf(full, sizeof full, "%s/%s", provider, model);
    if (length > 0 && (size_t)length < sizeof full) found = find_name(prices, full, (size_t)length);
  }
  if (found == NULL) found = find_name(prices, model, model_length);
  if (found == NULL && plain != model_length) found = find_name(prices, model, plain);
  return found;
}

bool rh_prices_find(const rh_prices *prices, const char *provider, const char *model, rh_price *out) {
  assert(prices != NULL && model != NULL && out != NULL);
  const entry *found = find_in(&prices->own, provider, model);
  if (found == NULL) found = find_in(&prices->shipped, provider, model);
  *out = found == NULL ? (rh_price){0} : found->price;
  return found != NULL;
}

double rh_price_cost(const rh_price *price, const rh_usage *usage) {
  double cached = (double)(usage->cached_tokens > 0 ? usage->cached_tokens : 0);
  double written = (double)(usage->written_tokens > 0 ? usage->written_tokens : 0);
  // The prompt's count includes both (flow/event.h). One that does not, a provider's mistake, must not give money back.
  double fresh = fmax((double)usage->prompt_tokens - cached - written, 0);
  double completion = fmax((double)usage->completion_tokens, 0);
  double sum = fresh * price->input + completion * price->output;
  sum += cached * (isnan(price->cached) ? price->input : price->cached);
  sum += written * (isnan(price->written) ? price->input : price->written);
  return sum / TOKENS_OF_A_PRICE + price->request;
}

static json_t *price_json(const entry *item, bool own) {
  const rh_price *price = &item->price;
  json_t *value = json_pack("{s:f, s:f, s:s}", "input", price->input, "output", price->output, "source",
                            own ? "configuration" : "shipped");
  if (value == NULL) return NULL;
  if (!isnan(price->cached)) (void)json_object_set_new(value, "cached_input", json_real(price->cached));
  if (!isnan(price->written)) (void)json_object_set_new(value, "cache_write", json_real(price->written));
  if (price->request > 0) (void)json_object_set_new(value, "request", json_real(price->request));
  return value;
}

// {"as_of": ..., "models": {name: {"input", ...}}}; the configuration's hide the shipped ones of the same name.
json_t *rh_prices_json(const rh_prices *prices) {
  json_t *models = json_object();
  const list *lists[] = {&prices->shipped, &prices->own};
  for (size_t l = 0; l < 2; l++) {
    for (size_t i = 0; i < lists[l]->count; i++) {
      json_t *value = price_json(&lists[l]->items[i], l == 1);
      if (value != NULL) (void)json_object_set_new(models, lists[l]->items[i].name, value);
    }
  }
  return json_pack("{s:s, s:s, s:o}", "as_of", prices->as_of, "currency", "USD", "models", models);
}
