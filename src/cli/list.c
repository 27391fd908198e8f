// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse list` and `roundhouse ps`: which models there are, and which of them run. One thread; owns nothing that
// outlives a call.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct list_options {
  RH_CLI_COMMON_FIELDS;
} list_options;

static const rh_setting list_flags[] = {RH_CLI_COMMON_FLAGS(list_options)};
#define LIST_FLAG_COUNT (sizeof list_flags / sizeof *list_flags)

static json_t *or_null(json_t *value) { return value != NULL ? json_incref(value) : json_null(); }

// {"name","state","engine","quantization","context","bytes"} of one element of GET /v1/models.
static json_t *model_of_server(json_t *element) {
  json_t *own = json_object_get(element, "roundhouse");
  return json_pack("{so*so*so*so*so*so*}", "name", or_null(json_object_get(element, "id")), "state",
                   or_null(json_object_get(own, "state")), "engine", or_null(json_object_get(own, "engine")),
                   "quantization", or_null(json_object_get(own, "quantization")), "context",
                   or_null(json_object_get(own, "context")), "bytes", or_null(json_object_get(own, "bytes")));
}

static json_t *model_of_disk(const rh_model_spec *spec) {
  rh_gguf_summary summary = {0};
  rh_error ignored = {0};
  bool llama = strcmp(spec->engine, "llama") == 0;
  bool readable = !llama || rh_gguf_read_summary(spec->path, &summary, &ignored) == RH_OK;
  int64_t context = spec->options.context > 0 ? spec->options.context : summary.context_trained;
  return json_pack("{sssssssssIsI}", "name", spec->name, "state", readable ? "on disk" : "damaged", "engine",
                   spec->engine, "quantization", summary.quantization, "context", (json_int_t)context, "bytes",
                   (json_int_t)spec->file_bytes);
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

static rh_status list_disk(json_t *models, rh_error *error) {
  rh_configuration *conf = rh_connect_configuration(error);
  if (conf == NULL) return error->status;
  for (size_t i = 0; i < rh_catalogue_count(conf->catalogue); i++) {
    json_array_append_new(models, model_of_disk(rh_catalogue_at(conf->catalogue, i)));
  }
  if (rh_catalogue_count(conf->catalogue) == 0) {
    fprintf(stderr, "no models found; put .gguf files into %s\n", conf->settings.models_dir);
  }
  rh_configuration_free(conf);
  return RH_OK;
}

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static void format_count(char *out, size_t size, long long count) {
  if (count > 0)
    snprintf(out, size, "%lld", count);
  else
    snprintf(out, size, "-");
}

static int print_models(const json_t *models) {
  static const char *const headings[] = {"NAME", "STATE", "ENGINE", "QUANTIZATION", ">CONTEXT", ">SIZE", NULL};
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *model;
  json_array_foreach(models, i, model) {
    char context[24], size[32];
    format_count(context, sizeof context, number_of(model, "context"));
    rh_cli_format_bytes(size, sizeof size, number_of(model, "bytes"));
    rh_table_add(table, (const char *const[]){text_of(model, "name"), text_of(model, "state"), text_of(model, "engine"),
                                              text_of(model, "quantization"), context, size});
  }
  return rh_table_print_free(table, stdout);
}

static int list(const list_options *options) {
  bool chosen;
  rh_error error = {0};
  char *server = rh_connect_address(options->server, &chosen);
  json_t *models = json_array();
  if (server == NULL || models == NULL) {
    free(server);
    json_decref(models);
    return rh_cli_fail(RH_EXIT_ERROR, "no memory for the list");
  }
  rh_status status = list_server(server, models, &error);
  if (status == RH_IO && !chosen) {
    error = (rh_error){.status = RH_OK};
    status = list_disk(models, &error);
  }
  free(server);
  int code = RH_EXIT_OK;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else if (options->json)
    code = rh_cli_print_json(json_incref(models));
  else if (json_array_size(models) > 0)
    code = print_models(models);
  json_decref(models);
  return code;
}

static int print_running(const json_t *health) {
  static const char *const headings[] = {"NAME",    "STATE",    "ENGINE",  "DEVICE", ">SLOTS",    ">ACTIVE",
                                         ">QUEUED", ">CONTEXT", ">MEMORY", ">READY", ">RESTARTS", NULL};
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *model;
  json_array_foreach(json_object_get(health, "models"), i, model) {
    char slots[24], active[24], queued[24], context[24], memory[32], ready[32], restarts[24];
    double ready_for = json_number_value(json_object_get(model, "ready_for_s"));
    format_count(slots, sizeof slots, number_of(model, "slots"));
    snprintf(active, sizeof active, "%lld", number_of(model, "active"));
    snprintf(queued, sizeof queued, "%lld", number_of(model, "queued"));
    snprintf(restarts, sizeof restarts, "%lld", number_of(model, "restarts"));
    format_count(context, sizeof context, number_of(model, "context"));
    rh_cli_format_bytes(memory, sizeof memory, number_of(model, "rss_bytes"));
    if (ready_for > 0)
      rh_cli_format_seconds(ready, sizeof ready, ready_for);
    else
      snprintf(ready, sizeof ready, "-");
    rh_table_add(table, (const char *const[]){text_of(model, "name"), text_of(model, "state"), text_of(model, "engine"),
                                              text_of(model, "device"), slots, active, queued, context, memory, ready,
                                              restarts});
  }
  return rh_table_print_free(table, stdout);
}

static int ps(const list_options *options) {
  bool chosen;
  rh_error error = {0};
  rh_client *client = NULL;
  json_t *health = NULL;
  char *server = rh_connect_address(options->server, &chosen);
  if (server == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory for the server's address");
  rh_status status = rh_client_new(server, &client, &error);
  if (status == RH_OK) status = rh_client_get_json(client, "/health", TIMEOUT_MS, &health, &error);
  int code;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else
    code = options->json ? rh_cli_print_json(json_incref(health)) : print_running(health);
  json_decref(health);
  rh_client_free(client);
  free(server);
  return code;
}

static int run_with(const rh_cli_command *self, int argc, char **argv, int (*fn)(const list_options *options)) {
  list_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count > 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "%s takes no arguments, but \"%.100s\" was given", self->name, args.words[0]);
  else
    code = fn(&options);
  rh_cli_args_free(&args);
  rh_config_release(list_flags, LIST_FLAG_COUNT, &options);
  return code;
}

static int run_list(const rh_cli_command *self, int argc, char **argv) { return run_with(self, argc, argv, list); }
static int run_ps(const rh_cli_command *self, int argc, char **argv) { return run_with(self, argc, argv, ps); }

const rh_cli_command rh_cli_list = {
    .name = "list",
    .arguments = "",
    .help = "List the models",
    .details = "Asks the server; when none runs, lists what the configuration and the models folder hold.\n",
    .flags = list_flags,
    .flag_count = LIST_FLAG_COUNT,
    .run = run_list,
};

const rh_cli_command rh_cli_ps = {
    .name = "ps",
    .arguments = "",
    .help = "Show the models of the running server: state, memory, requests",
    .details = "",
    .flags = list_flags,
    .flag_count = LIST_FLAG_COUNT,
    .run = run_ps,
};
