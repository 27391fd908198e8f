// SPDX-License-Identifier: Apache-2.0
//
// Reads the gateway's part of roundhouse.json: providers, the routing policy, prices; keys and experiments are kept as they are for
// those who own them. The result is constant but for the policy's rotation. Called once, before the daemon has threads.
#include "gateway/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

const char *const rh_gateway_config_keys[] = {
    "version", "providers", "defaultProvider", "fallbackChain", "routing", "prices", "keys", "experiments", NULL};

static rh_status no_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "no memory for the configuration of the gateway");
}

static rh_status parse_providers(rh_gateway_config *config, const json_t *root, char *const *environment,
                                 const char *folder, rh_error *error) {
  json_t *providers = NULL;
  rh_status status = rh_json_get_object(root, "", "providers", &providers, error);
  size_t count = json_object_size(providers);
  if (status != RH_OK || count == 0) return status;
  if (count > RH_PROVIDERS_MAX) {
    return rh_fail_param(error, RH_TOO_LARGE, "providers", "more than %d providers", RH_PROVIDERS_MAX);
  }
  config->providers = calloc(count, sizeof *config->providers);
  if (config->providers == NULL) return no_memory(error);
  const char *name;
  json_t *entry;
  json_object_foreach(providers, name, entry) {
    rh_provider_spec *spec = &config->providers[config->provider_count];
    status = rh_provider_spec_parse(name, entry, environment, folder, spec, error);
    if (status != RH_OK) return status;
    config->provider_count++;
  }
  return RH_OK;
}

// A rule names a provider and maybe a word of its "models"; the router compares real names.
bool rh_gateway_config_resolve(void *ctx, const char *provider, const char *word, const char **member_provider,
                               const char **member_model) {
  const rh_gateway_config *config = ctx;
  *member_provider = provider;
  *member_model = word;
  for (size_t i = 0; provider != NULL && i < config->provider_count; i++) {
    const rh_provider_spec *spec = &config->providers[i];
    if (strcmp(spec->name, provider) != 0) continue;
    if (spec->in_process) *member_provider = "local";
    *member_model = rh_provider_spec_model(spec, word);
    return true;
  }
  return provider != NULL && strcmp(provider, "local") == 0;
}

// "phi" means "phi:latest" too.
static bool means_model(const char *word, const char *model) {
  size_t length = strlen(word);
  return strncmp(word, model, length) == 0 && (model[length] == '\0' || strcmp(model + length, ":latest") == 0);
}

static bool lists_model(const rh_provider_spec *spec, const json_t *aliases, const char *model) {
  for (size_t i = 0; i < spec->model_count; i++) {
    const char *target = json_string_value(json_object_get(aliases, spec->models[i].model));
    if (means_model(spec->models[i].model, model) || (target != NULL && means_model(target, model))) return true;
  }
  return false;
}

static bool runs_engine(const rh_provider_spec *spec, const char *engine) {
  const char *wanted = strcmp(spec->type, "gguf") == 0 ? "llama" : spec->type;
  return engine != NULL && (strcmp(wanted, "local") == 0 || strcmp(wanted, engine) == 0);
}

const rh_provider_spec *rh_gateway_config_home(const rh_gateway_config *config, const json_t *aliases,
                                               const char *model, const char *engine) {
  const rh_provider_spec *home = NULL;
  for (size_t i = 0; i < config->provider_count; i++) {
    const rh_provider_spec *spec = &config->providers[i];
    if (!spec->in_process) continue;
    if (lists_model(spec, aliases, model)) return spec;
    if (home == NULL && runs_engine(spec, engine)) home = spec;
  }
  return home;
}

static rh_status parse_policy(rh_gateway_config *config, const json_t *root, rh_error *error) {
  const char *names[RH_PROVIDERS_MAX + 2];
  size_t count = 0;
  for (size_t i = 0; i < config->provider_count; i++) names[count++] = config->providers[i].name;
  names[count++] = "local";
  names[count] = NULL;
  const char *chosen = NULL;
  rh_status status = rh_json_get_string(root, "", "defaultProvider", &chosen, error);
  if (status != RH_OK) return status;
  if (chosen != NULL && (config->default_provider = strdup(chosen)) == NULL) return no_memory(error);
  status = rh_policy_parse(json_object_get(root, "routing"), json_object_get(root, "fallbackChain"), chosen, names,
                           &config->policy, error);
  if (status == RH_OK) status = rh_policy_resolve(config->policy, rh_gateway_config_resolve, config, error);
  return status;
}

static rh_status parse_lists(rh_gateway_config *config, const json_t *root, rh_error *error) {
  json_t *prices = NULL, *keys = NULL, *experiments = NULL;
  rh_status status = rh_json_get_object(root, "", "prices", &prices, error);
  if (status == RH_OK) status = rh_json_get_array(root, "", "keys", &keys, error);
  if (status == RH_OK) status = rh_json_get_array(root, "", "experiments", &experiments, error);
  if (status != RH_OK) return status;
  config->keys = json_incref(keys);
  config->experiments = json_incref(experiments);
  rh_error inner = {0};
  status = rh_prices_new(prices, &config->prices, &inner);
  return status == RH_OK ? RH_OK : rh_fail_param(error, status, inner.param, "prices: %s", inner.message);
}

rh_status rh_gateway_config_parse(const json_t *root, const rh_gateway_values *values, char *const *environment,
                                  const char *folder, rh_gateway_config **out, rh_error *error) {
  *out = NULL;
  rh_gateway_config *config = calloc(1, sizeof *config);
  if (config == NULL) return no_memory(error);
  config->values = values;
  rh_status status = parse_providers(config, root, environment, folder, error);
  if (status == RH_OK) status = parse_policy(config, root, error);
  if (status == RH_OK) status = parse_lists(config, root, error);
  if (status == RH_OK && values->breaker_open > values->breaker_open_max) {
    status =
        rh_fail_param(error, RH_INVALID, "breaker_open", "breaker_open is longer than breaker_open_max; swap them");
  }
  if (status == RH_OK)
    *out = config;
  else
    rh_gateway_config_free(config);
  return status;
}

void rh_gateway_config_free(rh_gateway_config *config) {
  if (config == NULL) return;
  for (size_t i = 0; i < config->provider_count; i++) rh_provider_spec_release(&config->providers[i]);
  free(config->providers);
  rh_policy_free(config->policy);
  rh_prices_free(config->prices);
  json_decref(config->keys);
  json_decref(config->experiments);
  free(config->default_provider);
  free(config);
}

// The finer shape of these is checked by the program (roundhouse config check), with words.
json_t *rh_gateway_config_schema(void) {
  return json_pack("{s{ss}s{ss s{ss} ss}s{ssss}s{ss s{ss} ss}s{ssss}s{ss s{ss} ss}s{ss s{ss} ss}s{ss s{ss} ss}}",  //
                   "version", "description", "of the configuration's shape; has no effect",                        //
                   "providers", "type", "object", "additionalProperties", "type", "object", "description",
                   "where models are besides this machine, by name: docs/gateway.md",  //
                   "defaultProvider", "type", "string", "description", "provider of requests that nothing else decides",
                   "fallbackChain", "type", "array", "items", "type", "string", "description",
                   "providers that are asked in turn when the choice fails",  //
                   "routing", "type", "object", "description", "rules and strategies by which models are chosen",
                   "prices", "type", "object", "additionalProperties", "type", "object", "description",
                   "US dollars for a million tokens, by model: wins over the built-in table",  //
                   "keys", "type", "array", "items", "type", "object", "description",
                   "keys that are given here instead of with roundhouse keys create",  //
                   "experiments", "type", "array", "items", "type", "object", "description",
                   "tests of models against each other that run from the start");
}
