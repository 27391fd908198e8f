// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse list`: which models there are. On this machine: the store, the configuration, the models folder and a
// Hugging Face cache, with the states that a running server tells; with --server: what that server has. One thread; owns
// nothing that outlives a call.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/disk.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct list_options {
  RH_CLI_COMMON_FIELDS;
  char *store_dir;
  bool known;
} list_options;

static const rh_setting list_flags[] = {
    RH_CLI_COMMON_FLAGS(list_options),
    RH_CLI_STORE_FLAG(list_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, list_options, known, "false", 0, 0, "the catalogue instead: what could be pulled"),
};
#define LIST_FLAG_COUNT (sizeof list_flags / sizeof *list_flags)

static json_t *or_null(json_t *value) { return value != NULL ? json_incref(value) : json_null(); }

// {"name","state","engine","quantization","context","bytes","where"} of one element of GET /v1/models.
static json_t *model_of_server(json_t *element) {
  json_t *own = json_object_get(element, "roundhouse");
  return json_pack("{so*so*so*so*so*so*ss}", "name", or_null(json_object_get(element, "id")), "state",
                   or_null(json_object_get(own, "state")), "engine", or_null(json_object_get(own, "engine")),
                   "quantization", or_null(json_object_get(own, "quantization")), "context",
                   or_null(json_object_get(own, "context")), "bytes", or_null(json_object_get(own, "bytes")), "where",
                   "server");
}

static rh_status list_server(const char *server, json_t *models, rh_error *error) {
  rh_client *client;
  rh_status status = rh_client_new(server, &client, error);
  if (status != RH_OK) return status;
  json_t *root = NULL;
  status = rh_client_get_json(client, "/v1/models", TIMEOUT_MS, &root, error);
  size_t i;
  json_t *element;
  json_array_foreach(json_object_get(root, "data"), i, element) json_array_append_new(models, model_of_server(element));
  json_decref(root);
  rh_client_free(client);
  return status;
}

static json_t *find(const json_t *models, const char *name) {
  size_t i;
  json_t *model;
  json_array_foreach(models, i, model) {
    const char *other = json_string_value(json_object_get(model, "name"));
    if (other != NULL && name != NULL && strcmp(other, name) == 0) return model;
  }
  return NULL;
}

// The states of a server on this machine replace "on disk"; what only it has is added.
static void merge(json_t *models, const json_t *served) {
  size_t i;
  json_t *model;
  json_array_foreach(served, i, model) {
    json_t *own = find(models, json_string_value(json_object_get(model, "name")));
    if (own == NULL)
      json_array_append(models, model);
    else
      json_object_set(own, "state", json_object_get(model, "state"));
  }
  rh_disk_sort(models);
}

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static int print_models(const json_t *models) {
  static const char *const headings[] = {"NAME", "STATE", "ENGINE", "QUANTIZATION", ">CONTEXT", ">SIZE", "WHERE", NULL};
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *model;
  json_array_foreach(models, i, model) {
    char context[24] = "-", size[32], where[64];
    if (number_of(model, "context") > 0) snprintf(context, sizeof context, "%lld", number_of(model, "context"));
    rh_cli_format_bytes(size, sizeof size, number_of(model, "bytes"));
    const char *place = text_of(model, "where");
    snprintf(where, sizeof where, "%s%s", place != NULL ? place : "-",
             json_is_true(json_object_get(model, "in_place")) ? ", in place" : "");
    rh_table_add(table, (const char *const[]){text_of(model, "name"), text_of(model, "state"), text_of(model, "engine"),
                                              text_of(model, "quantization"), context, size, where});
  }
  return rh_table_print_free(table, stdout);
}

static void print_usage(const json_t *usage) {
  char models[32], partial[32], left[32], unfinished[96] = "";
  if (usage == NULL || number_of(usage, "models") + number_of(usage, "partials") == 0) return;
  rh_cli_format_bytes(models, sizeof models, number_of(usage, "model_bytes"));
  rh_cli_format_bytes(partial, sizeof partial, number_of(usage, "partial_bytes"));
  rh_cli_format_bytes(left, sizeof left, number_of(usage, "free_bytes"));
  long long partials = number_of(usage, "partials"), count = number_of(usage, "models");
  if (partials > 0)
    snprintf(unfinished, sizeof unfinished, ", %lld unfinished pull%s of %s", partials, partials == 1 ? "" : "s",
             partial);
  fprintf(stderr, "\nstore: %lld model%s of %s%s; %s free on its disk\n", count, count == 1 ? "" : "s", models,
          unfinished, left);
}

static rh_status list_machine(const list_options *options, const char *server, json_t **models, json_t **usage,
                              rh_error *error) {
  rh_local local;
  rh_status status = rh_local_open(options->store_dir, false, &local, error);
  if (status != RH_OK) return status;
  rh_error ignored = {0};
  json_t *served = json_array();
  *models = rh_disk_models(&local);
  *usage = rh_disk_usage(&local);
  bool asked = options->store_dir == NULL && list_server(server, served, &ignored) == RH_OK;
  if (asked) merge(*models, served);
  json_decref(served);
  if (json_array_size(*models) == 0)
    fprintf(stderr, "no models found; get one with: roundhouse pull auto   (or put .gguf files into %s)\n",
            local.conf != NULL ? local.conf->settings.models_dir : "the models folder");
  rh_local_close(&local);
  return *models != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the list");
}

static int list(const list_options *options) {
  bool chosen;
  rh_error error = {0};
  char *server = rh_connect_address(options->server, &chosen);
  if (server == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory for the server's address");
  json_t *models = NULL, *usage = NULL;
  rh_status status;
  if (chosen) {
    models = json_array();
    status = list_server(server, models, &error);
  } else {
    status = list_machine(options, server, &models, &usage, &error);
  }
  free(server);
  int code = RH_EXIT_OK;
  if (status != RH_OK)
    code = chosen ? rh_cli_fail_status(&error) : rh_local_fail(&error);
  else if (options->json)
    code = rh_cli_print_json(json_pack("{sOsO*}", "models", models, "store", usage));
  else if (json_array_size(models) > 0)
    code = print_models(models);
  if (status == RH_OK && !options->json) {
    fflush(stdout);
    print_usage(usage);
  }
  json_decref(models);
  json_decref(usage);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  list_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count > 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "list takes no arguments, but \"%.100s\" was given", args.words[0]);
  else
    code = options.known ? rh_cli_print_known(NULL, options.json) : list(&options);
  rh_cli_args_free(&args);
  rh_config_release(list_flags, LIST_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_list = {
    .name = "list",
    .arguments = "",
    .help = "List the models and the disk they take",
    .details =
        "Models of the store, of the configuration, of the models folder and of a Hugging Face cache; those that\n"
        "lie elsewhere than in the store are used in place. With --server, what that server has.\n",
    .flags = list_flags,
    .flag_count = LIST_FLAG_COUNT,
    .run = run,
};
