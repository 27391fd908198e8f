// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse alias`: names that mean another model, listed, set and removed. Owns nothing that outlives a call. One
// thread. A running server does it, because it may have to load the new model first; without one the store's own list is
// read and changed, which the next server finds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/local.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct alias_options {
  RH_CLI_COMMON_FIELDS;
  char *store_dir;
  bool remove;
  bool replace;
} alias_options;

static const rh_setting alias_flags[] = {
    RH_CLI_COMMON_FLAGS(alias_options),
    RH_CLI_STORE_FLAG(alias_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, alias_options, remove, "false", 0, 0, "remove the alias NAME"),
    RH_CLI_FLAG(RH_SETTING_BOOL, alias_options, replace, "false", 0, 0,
                "when both models do not fit in memory, unload the old one first; requests wait meanwhile"),
};
#define ALIAS_FLAG_COUNT (sizeof alias_flags / sizeof *alias_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

// `aliases`: [{"alias","model","swapping_to"?,"error"?}]; taken over.
static int print_aliases(json_t *aliases, bool json) {
  static const char *const headings[] = {"ALIAS", "MODEL", "STATE", NULL};
  if (json) return rh_cli_print_json(json_pack("{so}", "aliases", aliases));
  if (json_array_size(aliases) == 0) {
    fputs("there are no aliases; make one with: roundhouse alias NAME MODEL\n", stderr);
    json_decref(aliases);
    return RH_EXIT_OK;
  }
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *entry;
  json_array_foreach(aliases, i, entry) {
    char state[512] = "";
    const char *next = text_of(entry, "swapping_to"), *reason = text_of(entry, "error");
    if (next != NULL)
      snprintf(state, sizeof state, "moving to %.200s", next);
    else if (reason != NULL)
      snprintf(state, sizeof state, "not moved: %.400s", reason);
    rh_table_add(table, (const char *const[]){text_of(entry, "alias"), text_of(entry, "model"), state});
  }
  json_decref(aliases);
  return rh_table_print_free(table, stdout);
}

static int list_server(rh_client *client, bool json) {
  rh_error error = {0};
  json_t *answer = NULL;
  if (rh_client_get_json(client, "/api/models", TIMEOUT_MS, &answer, &error) != RH_OK)
    return rh_cli_fail_status(&error);
  const json_t *aliases = json_object_get(answer, "aliases");
  int code = print_aliases(json_is_array(aliases) ? json_deep_copy(aliases) : json_array(), json);
  json_decref(answer);
  return code;
}

static int list_store(rh_local *local, bool json) {
  rh_error error = {0};
  json_t *stored = NULL, *target, *aliases = json_array();
  const char *alias;
  rh_status status = rh_store_aliases(local->store, &stored, &error);
  if (status != RH_OK) {
    json_decref(aliases);
    return rh_local_fail(&error);
  }
  json_object_foreach(stored, alias, target) {
    if (strncmp(alias, "pin:", 4) == 0 || !json_is_string(target)) continue;
    json_array_append_new(aliases, json_pack("{sssO}", "alias", alias, "model", target));
  }
  json_decref(stored);
  return print_aliases(aliases, json);
}

static int set_at_server(rh_client *client, const alias_options *options, const char *alias, const char *model) {
  char sentence[512];
  json_t *body =
      json_pack("{sssssb}", "alias", alias, "model", model != NULL ? model : "", "replace", (int)options->replace);
  if (body != NULL && model == NULL) json_object_set_new(body, "model", json_null());
  if (model != NULL)
    snprintf(sentence, sizeof sentence, "%.200s now means %.200s", alias, model);
  else
    snprintf(sentence, sizeof sentence, "removed the alias %.200s", alias);
  // The new model is loaded first, which takes as long as it takes.
  return rh_admin_post(client, "/api/models/alias", body, 0, options->json, sentence);
}

static rh_status remove_from_store(rh_local *local, const char *alias, rh_error *error) {
  json_t *aliases = NULL;
  rh_status status = rh_store_aliases(local->store, &aliases, error);
  bool there = json_object_get(aliases, alias) != NULL;
  json_decref(aliases);
  if (status != RH_OK) return status;
  if (!there) return rh_fail(error, RH_NOT_FOUND, "there is no alias \"%s\"; roundhouse alias lists them", alias);
  return rh_store_alias_set(local->store, alias, NULL, error);
}

static rh_status set_in_store(rh_local *local, const char *alias, const char *model, rh_error *error) {
  rh_model_ref ref;
  rh_status status = rh_model_ref_parse(alias, &ref, error);
  if (status != RH_OK) return status;
  if (model == NULL) return remove_from_store(local, alias, error);
  rh_stored stored;
  rh_error inner = {0};
  char name[2 * RH_MODEL_NAME_MAX + 2];
  status = rh_local_find(local, model, true, &stored, &inner);
  bool configured = local->conf != NULL && rh_catalogue_find(local->conf->catalogue, model) != NULL;
  if (status != RH_OK && !configured) return rh_fail(error, status, "%s", inner.message);
  (void)snprintf(name, sizeof name, "%s", model);
  if (status == RH_OK && strchr(model, ':') != NULL) rh_local_name(&stored, name, sizeof name);
  rh_stored_release(&stored);
  return rh_store_alias_set(local->store, alias, name, error);
}

static int change_store(rh_local *local, const alias_options *options, const char *alias, const char *model) {
  rh_error error = {0};
  if (set_in_store(local, alias, model, &error) != RH_OK) return rh_local_fail(&error);
  if (options->json) return rh_cli_print_json(json_pack("{ssss*}", "alias", alias, "model", model));
  if (model != NULL)
    printf("%s means %s, for the next server\n", alias, model);
  else
    printf("removed the alias %s\n", alias);
  return RH_EXIT_OK;
}

static int without_server(const alias_options *options, const char *alias, const char *model) {
  rh_local local;
  rh_error error = {0};
  bool change = alias != NULL;
  if (rh_local_open(options->store_dir, change, &local, &error) != RH_OK) return rh_local_fail(&error);
  int code = change ? change_store(&local, options, alias, model) : list_store(&local, options->json);
  rh_local_close(&local);
  return code;
}

static int with_server(const alias_options *options, const char *server, const char *alias, const char *model) {
  rh_client *client;
  rh_error error = {0};
  if (rh_client_new(server, &client, &error) != RH_OK) return rh_cli_fail_status(&error);
  int code = alias == NULL ? list_server(client, options->json) : set_at_server(client, options, alias, model);
  rh_client_free(client);
  return code;
}

static int alias(const alias_options *options, const rh_cli_args *args) {
  const char *name = args->count > 0 ? args->words[0] : NULL;
  const char *model = args->count > 1 ? args->words[1] : NULL;
  size_t wanted = name == NULL && !options->remove ? 0 : options->remove ? 1 : 2;
  if (args->count != wanted) {
    return rh_cli_fail(RH_EXIT_USAGE,
                       "alias takes a name and a model, or a name with --remove, or nothing; "
                       "see roundhouse help alias");
  }
  bool chosen;
  char *server = rh_connect_address(options->server, &chosen);
  if (server == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory for the server's address");
  bool own_store = options->store_dir != NULL && options->server == NULL;
  int code = !own_store && (chosen || rh_connect_answers(server)) ? with_server(options, server, name, model)
                                                                  : without_server(options, name, model);
  free(server);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  alias_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  code = alias(&options, &args);
  rh_cli_args_free(&args);
  rh_config_release(alias_flags, ALIAS_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_alias = {
    .name = "alias",
    .arguments = "[NAME [MODEL]]",
    .help = "Let a name mean a model; without arguments, list such names",
    .details =
        "Under load no request fails: new ones go to MODEL once it is loaded, and the old model leaves after its "
        "last.\n"
        "If MODEL cannot be loaded, the alias stays where it was. \"default\" is what requests without a model mean.\n",
    .flags = alias_flags,
    .flag_count = ALIAS_FLAG_COUNT,
    .run = run,
};
