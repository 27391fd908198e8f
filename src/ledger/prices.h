// SPDX-License-Identifier: Apache-2.0
//
// What a token costs: a table of models and their prices in US dollars for a million tokens. The table that ships is a data file
// (prices.json, embedded; it says from when its figures are); the configuration's "prices" win over it.
//
// Constant after it was made; any thread.
#ifndef RH_LEDGER_PRICES_H
#define RH_LEDGER_PRICES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "flow/event.h"

typedef struct rh_prices rh_prices;

// US dollars for one million tokens; NaN = not known apart: as `input` (cached, written) or `output` (reasoning).
typedef struct rh_price {
  double input, output, cached, written;
  double request;  // for each request on top
} rh_price;

// `overrides`: {"openai/gpt-x": {"input": 1.25, "output": 10, "cached_input": 0.1, "cache_write": 2}, "my-model*": {...}};
// NULL = none. The longest matching name wins; '*' at an end matches any rest.
rh_status rh_prices_new(const json_t *overrides, rh_prices **out, rh_error *error) RH_MUST_CHECK;
void rh_prices_free(rh_prices *prices);
// By "provider/model", then "model", then the model without its date ("gpt-x-2026-01-02"). False: unknown, *out is all 0.
bool rh_prices_find(const rh_prices *prices, const char *provider, const char *model, rh_price *out);
double rh_price_cost(const rh_price *price, const rh_usage *usage);  // US dollars
json_t *rh_prices_json(const rh_prices *prices);                     // new reference

#endif
