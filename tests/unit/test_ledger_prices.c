// SPDX-License-Identifier: Apache-2.0
//
// The price table: what ships, what the configuration says over it, names, and sums of money.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ledger/prices.h"

static rh_prices *make(const char *overrides) {
  json_t *json = overrides == NULL ? NULL : json_loads(overrides, 0, NULL);
  rh_prices *prices = NULL;
  rh_error error = {0};
  if (rh_prices_new(json, &prices, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(json);
  return prices;
}

static double input_of(const rh_prices *prices, const char *provider, const char *model) {
  rh_price price;
  return rh_prices_find(prices, provider, model, &price) ? price.input : -1;
}

static void near(double value, double expected) {
  if (fabs(value - expected) > 1e-9) fail_msg("%.12f is not %.12f", value, expected);
}

static void test_shipped_names(void **state) {
  (void)state;
  rh_prices *prices = make(NULL);
  near(input_of(prices, "openai", "gpt-4o"), 2.5);
  near(input_of(prices, "my-azure", "gpt-4o-mini"), 0.15);
  near(input_of(prices, "openai", "gpt-4o-2024-08-06"), 2.5);  // without its date
  near(input_of(prices, "openai", "gpt-4o-2024-05-13"), 5);    // this date has a price of its own
  near(input_of(prices, "anthropic", "claude-sonnet-4-5-20250929"), 3);
  near(input_of(prices, "vertex", "claude-3-5-haiku@20241022"), 0.8);
  near(input_of(prices, "openrouter", "anthropic/claude-sonnet-4.5"), 3);
  near(input_of(prices, "openrouter", "OpenAI/GPT-4o"), 2.5);
  near(input_of(prices, "openrouter", "meta-llama/llama-3.1-8b-instruct:free"), 0);
  near(input_of(prices, "", "gpt-5"), 1.25);
  near(input_of(prices, "openai", "gpt-4o-unheard-of"), -1);
  near(input_of(prices, NULL, "some-local-model"), -1);
  rh_prices_free(prices);
}

static void test_configuration_wins(void **state) {
  (void)state;
  rh_prices *prices = make(
      "{\"openai/gpt-4o\": {\"input\": 9, \"output\": 8}, \"house-*\": {\"input\": 1, \"output\": 2},"
      " \"house-big*\": {\"input\": 3}, \"house-big\": {\"input\": 4}, \"*-nightly\": {\"request\": 0.01}}");
  near(input_of(prices, "openai", "gpt-4o"), 9);
  near(input_of(prices, "azure", "gpt-4o"), 2.5);
  near(input_of(prices, "x", "house-small"), 1);
  near(input_of(prices, "x", "house-bigger"), 3);
  near(input_of(prices, "x", "house-big"), 4);
  near(input_of(prices, "x", "gpt-4o-nightly"), 0);
  rh_prices_free(prices);
  prices = make("{\"gpt-*\": {\"input\": 7, \"output\": 7}}");
  near(input_of(prices, "openai", "gpt-4o"), 7);  // a pattern of the configuration is before any shipped name
  rh_prices_free(prices);
}

static void test_mistakes_are_named(void **state) {
  (void)state;
  static const struct {
    const char *json, *words;
  } cases[] = {
      {"{\"m\": {\"imput\": 1}}", "did you mean \"input\""},
      {"{\"m\": {\"input\": -1}}", "input"},
      {"{\"m\": {\"input\": \"1\"}}", "input"},
      {"{\"m\": {}}", "no price"},
      {"{\"m\": 3}", "must be an object"},
      {"{\"a*b\": {\"input\": 1}}", "'*' only at an end"},
      {"[]", "must be an object"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *json = json_loads(cases[i].json, 0, NULL);
    rh_prices *prices = NULL;
    rh_error error = {0};
    assert_int_equal(rh_prices_new(json, &prices, &error), RH_INVALID);
    if (strstr(error.message, cases[i].words) == NULL) fail_msg("%s: %s", cases[i].json, error.message);
    json_decref(json);
  }
}

static void test_cost(void **state) {
  (void)state;
  const rh_price price = {.input = 3, .output = 15, .cached = 0.3, .written = 3.75, .request = 0.01};
  rh_usage usage = {.prompt_tokens = 1000000,
                    .completion_tokens = 100000,
                    .cached_tokens = 500000,
                    .written_tokens = 100000,
                    .reasoning_tokens = 90000};
  near(rh_price_cost(&price, &usage), 0.4 * 3 + 0.1 * 15 + 0.5 * 0.3 + 0.1 * 3.75 + 0.01);
  const rh_price plain = {.input = 2, .output = 8, .cached = NAN, .written = NAN};
  near(rh_price_cost(&plain, &usage), 1.0 * 2 + 0.1 * 8);
  usage.prompt_tokens = 10;  // a provider that counts the cached ones apart: never money back
  near(rh_price_cost(&price, &usage), 0.1 * 15 + 0.5 * 0.3 + 0.1 * 3.75 + 0.01);
  usage = (rh_usage){.prompt_tokens = -5};
  near(rh_price_cost(&plain, &usage), 0);
}

static void test_json(void **state) {
  (void)state;
  rh_prices *prices = make("{\"gpt-4o\": {\"input\": 9, \"output\": 8}}");
  json_t *json = rh_prices_json(prices);
  assert_non_null(json);
  assert_true(strlen(json_string_value(json_object_get(json, "as_of"))) >= 7);
  json_t *models = json_object_get(json, "models"), *own = json_object_get(models, "gpt-4o");
  assert_string_equal(json_string_value(json_object_get(own, "source")), "configuration");
  near(json_number_value(json_object_get(own, "input")), 9);
  // Everything that ships is sane: an output is dearer than an input, a cached token cheaper.
  const char *name;
  json_t *value;
  json_object_foreach(models, name, value) {
    double input = json_number_value(json_object_get(value, "input"));
    json_t *cached = json_object_get(value, "cached_input"), *written = json_object_get(value, "cache_write");
    if (cached != NULL && json_number_value(cached) > input) fail_msg("%s: cached", name);
    if (written != NULL && json_number_value(written) < input) fail_msg("%s: written", name);
    if (input > 200) fail_msg("%s: $%f for a million tokens", name, input);
  }
  json_decref(json);
  rh_prices_free(prices);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shipped_names),
      cmocka_unit_test(test_configuration_wins),
      cmocka_unit_test(test_mistakes_are_named),
      cmocka_unit_test(test_cost),
      cmocka_unit_test(test_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
