// SPDX-License-Identifier: Apache-2.0
//
// The gateway's part of `roundhouse config check`: providers and what is missing of them, and who could use the server as it is
// configured. Looks at the state database when there is one; changes nothing. One thread.
#include "cli/config_gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admit/keys.h"
#include "cli/cli.h"
#include "cli/output.h"

void rh_config_print_providers(const rh_configuration *conf) {
  static const char *const headings[] = {"PROVIDER", "ADDRESS", "KEY", "MODELS", NULL};
  const rh_gateway_config *gateway = conf->gateway;
  if (gateway->provider_count == 0) return;
  rh_table *table = rh_table_new(headings);
  for (size_t i = 0; i < gateway->provider_count; i++) {
    const rh_provider_spec *spec = &gateway->providers[i];
    char models[256] = "";
    size_t used = 0;
    for (size_t j = 0; j < spec->model_count; j++) {
      int length = snprintf(models + used, sizeof models - used, "%s%s", j > 0 ? ", " : "", spec->models[j].model);
      if (length < 0 || (size_t)length >= sizeof models - used) break;
      used += (size_t)length;
    }
    const char *key = spec->key != NULL ? "set" : spec->key_error != NULL ? "missing" : "none";
    rh_table_add(table, (const char *const[]){spec->name, spec->in_process ? "this machine" : spec->base_url,
                                              spec->in_process ? "none" : key, models});
  }
  (void)rh_table_print_free(table, stdout);
  for (size_t i = 0; i < gateway->provider_count; i++) {
    const rh_provider_spec *spec = &gateway->providers[i];
    if (!spec->enabled)
      printf("note: the provider %s is switched off\n", spec->name);
    else if (spec->key == NULL && spec->key_error != NULL)
      printf("warning: the provider %s cannot be used: %s\n", spec->name, spec->key_error);
  }
  fputc('\n', stdout);
}

// Opens the keys as the server would. *any: there is a valid one.
static rh_status look_for_keys(const rh_configuration *conf, bool *any, rh_error *error) {
  rh_database *database = NULL;
  rh_keys *keys = NULL;
  char *path = NULL;
  *any = false;
  if (asprintf(&path, "%s/" RH_DATABASE_FILE, conf->settings.state_dir) < 0) {
    return rh_fail(error, RH_NO_MEMORY, "no memory for a path");
  }
  // Opening would make one.
  rh_status status = access(path, F_OK) == 0 ? rh_database_open(conf->settings.state_dir, &database, error) : RH_OK;
  if (status == RH_OK) status = rh_keys_new(database, conf->gateway->keys, &keys, error);
  if (status == RH_OK) *any = rh_keys_any(keys);
  rh_keys_free(keys);
  rh_database_close(database);
  free(path);
  return status;
}

int rh_config_print_access(const rh_configuration *conf) {
  const rh_settings *settings = &conf->settings;
  const rh_gateway_values *values = &settings->gateway;
  rh_error error = {0};
  bool any = false, own = rh_settings_listens_here(settings);
  if (look_for_keys(conf, &any, &error) != RH_OK) return rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  bool never = values->require_key == RH_REQUIRE_KEY_NEVER;
  bool needed = !never && (any || values->require_key == RH_REQUIRE_KEY_ALWAYS);
  printf("listens on %s: %s\n", settings->listen,
         own ? "only programs of this machine can reach it" : "other machines can reach it");
  if (!own && (never || !any) && !values->allow_anonymous) {
    return rh_cli_fail(RH_EXIT_ERROR,
                       "serve would refuse to listen on %s, because anybody could use the server: make a key "
                       "(roundhouse keys create NAME), or say that it is meant with \"allow_anonymous\"",
                       settings->listen);
  }
  if (needed)
    puts(any ? "requests need an API key"
             : "requests need an API key, and there is none yet: roundhouse keys create NAME");
  else
    printf("%srequests need no API key%s\n", own ? "" : "warning: anybody who reaches it can use it; ",
           never && any ? " (require_key), but calls that change something do" : "");
  return RH_EXIT_OK;
}
