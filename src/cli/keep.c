// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse rm` and `roundhouse cp`: stored models go, or get another name. Owns nothing that outlives a call. One
// thread. A running daemon is asked to remove a model, because requests may be running on it; without one, or when it
// does not know the model, the store itself is changed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/local.h"
#include "cli/output.h"

#define TIMEOUT_MS 60000L

typedef struct keep_options {
  RH_CLI_COMMON_FIELDS;
  char *store_dir;
  bool force;
} keep_options;

static const rh_setting keep_flags[] = {
    RH_CLI_COMMON_FLAGS(keep_options),
    RH_CLI_STORE_FLAG(keep_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, keep_options, force, "false", 0, 0,
                "rm: also a model in use or with an alias; cp: replace what is there"),
};
#define KEEP_FLAG_COUNT (sizeof keep_flags / sizeof *keep_flags)

// "fast, default" out of a list of names; "" when it is empty.
static void join_names(const json_t *names, char *out, size_t size) {
  size_t i, at = 0;
  json_t *name;
  out[0] = '\0';
  json_array_foreach(names, i, name) {
    int written = snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "", json_string_value(name));
    at = written > 0 && at + (size_t)written < size ? at + (size_t)written : size - 1;
  }
}

static rh_status remove_stored(rh_local *local, const char *name, bool force, rh_error *error) {
  rh_stored stored;
  char aliases[256];
  rh_status status = rh_local_find(local, name, true, &stored, error);
  if (status != RH_OK) return status;
  json_t *names = rh_local_aliases_of(local, &stored);
  join_names(names, aliases, sizeof aliases);
  json_decref(names);
  if (stored.in_place)
    status = rh_fail(error, RH_CONFLICT,
                     "%s lies in %s and is only used in place; remove it with the program that put it there", name,
                     stored.folder);
  else if (aliases[0] != '\0' && !force)
    status = rh_fail(error, RH_CONFLICT, "%s is what the alias %s means; move the alias first, or add --force", name,
                     aliases);
  else
    status = rh_store_remove(local->store, &stored.ref, error);
  rh_stored_release(&stored);
  return status;
}

// RH_NOT_FOUND: the daemon does not know it. RH_IO: there is none.
static rh_status remove_at_server(rh_client *client, const char *name, bool force, rh_error *error) {
  char path[2 * RH_MODEL_NAME_MAX + 64];
  rh_model_ref ref;
  rh_status status = rh_model_ref_parse(name, &ref, error);  // and so it needs no escaping in a path
  if (status != RH_OK) return status;
  snprintf(path, sizeof path, "/api/models/%s%s", name, force ? "?force=true" : "");
  return rh_client_call(client, "DELETE", path, NULL, TIMEOUT_MS, NULL, error);
}

static int remove_one(rh_client *client, bool chosen, rh_local *local, const keep_options *options, const char *name) {
  rh_error error = {0};
  rh_status status = client != NULL ? remove_at_server(client, name, options->force, &error) : RH_IO;
  if (status != RH_OK && !chosen && (status == RH_IO || status == RH_NOT_FOUND)) {
    error = (rh_error){.status = RH_OK};
    status = remove_stored(local, name, options->force, &error);
    if (status != RH_OK) return rh_local_fail(&error);
  }
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (!options->json) printf("removed %s\n", name);
  return RH_EXIT_OK;
}

// A daemon, unless the store was named: that one need not be the daemon's.
static rh_client *client_for(const keep_options *options, bool *chosen) {
  *chosen = false;
  if (options->store_dir != NULL && options->server == NULL) return NULL;
  rh_client *client = NULL;
  rh_error ignored = {0};
  char *server = rh_connect_address(options->server, chosen);
  if (server != NULL && (*chosen || rh_connect_answers(server)) && rh_client_new(server, &client, &ignored) != RH_OK)
    client = NULL;
  free(server);
  return client;
}

static int remove_all(const keep_options *options, const rh_cli_args *args) {
  rh_local local;
  rh_error error = {0};
  if (args->count == 0) return rh_cli_fail(RH_EXIT_USAGE, "rm needs a model: roundhouse rm MODEL; see roundhouse list");
  if (rh_local_open(options->store_dir, false, &local, &error) != RH_OK) return rh_local_fail(&error);
  bool chosen;
  rh_client *client = client_for(options, &chosen);
  int code = RH_EXIT_OK;
  json_t *removed = json_array();
  for (size_t i = 0; i < args->count; i++) {
    int own = remove_one(client, chosen, &local, options, args->words[i]);
    if (own != RH_EXIT_OK)
      code = own;
    else
      json_array_append_new(removed, json_string(args->words[i]));
  }
  rh_client_free(client);
  rh_local_close(&local);
  if (!options->json) {
    json_decref(removed);
    return code;
  }
  int printed = rh_cli_print_json(json_pack("{so}", "removed", removed));
  return code != RH_EXIT_OK ? code : printed;
}

static rh_status copy_stored(rh_local *local, const char *from, const char *to, bool force, rh_error *error) {
  rh_stored stored;
  rh_model_ref target;
  rh_status status = rh_model_ref_parse(to, &target, error);
  if (status != RH_OK) return status;
  status = rh_local_find(local, from, false, &stored, error);
  if (status != RH_OK) return status;
  // A copy is of the same version unless it is given another.
  if (target.version[0] == '\0') memcpy(target.version, stored.ref.version, sizeof target.version);
  bool same = strcmp(target.name, stored.ref.name) == 0 && strcmp(target.version, stored.ref.version) == 0;
  if (same) {
    status = rh_fail(error, RH_CONFLICT, "%s and %s are the same model", from, to);
  } else {
    status = rh_store_copy(local->store, &stored.ref, &target, error);
    if (status == RH_CONFLICT && force && (status = rh_store_remove(local->store, &target, error)) == RH_OK)
      status = rh_store_copy(local->store, &stored.ref, &target, error);
  }
  rh_stored_release(&stored);
  return status;
}

static int copy(const keep_options *options, const rh_cli_args *args) {
  rh_local local;
  rh_error error = {0};
  if (args->count != 2) return rh_cli_fail(RH_EXIT_USAGE, "cp needs two names: roundhouse cp MODEL NEW-NAME");
  if (rh_local_open(options->store_dir, false, &local, &error) != RH_OK) return rh_local_fail(&error);
  rh_status status = copy_stored(&local, args->words[0], args->words[1], options->force, &error);
  rh_local_close(&local);
  if (status != RH_OK) return rh_local_fail(&error);
  if (options->json) return rh_cli_print_json(json_pack("{ssss}", "from", args->words[0], "to", args->words[1]));
  printf("%s is now also called %s; the files are shared\n", args->words[0], args->words[1]);
  return RH_EXIT_OK;
}

static int run_with(const rh_cli_command *self, int argc, char **argv,
                    int (*fn)(const keep_options *options, const rh_cli_args *args)) {
  keep_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  code = fn(&options, &args);
  rh_cli_args_free(&args);
  rh_config_release(keep_flags, KEEP_FLAG_COUNT, &options);
  return code;
}

static int run_rm(const rh_cli_command *self, int argc, char **argv) { return run_with(self, argc, argv, remove_all); }
static int run_cp(const rh_cli_command *self, int argc, char **argv) { return run_with(self, argc, argv, copy); }

const rh_cli_command rh_cli_rm = {
    .name = "rm",
    .arguments = "MODEL...",
    .help = "Remove models from the store",
    .details = "A running server unloads the model first; it refuses while requests run on it or an alias means it.\n",
    .flags = keep_flags,
    .flag_count = KEEP_FLAG_COUNT,
    .run = run_rm,
};

const rh_cli_command rh_cli_cp = {
    .name = "cp",
    .arguments = "MODEL NEW-NAME",
    .help = "Give a stored model another name",
    .details = "The files are shared where the file system can do that, so a copy takes no room.\n",
    .flags = keep_flags,
    .flag_count = KEEP_FLAG_COUNT,
    .run = run_cp,
};
