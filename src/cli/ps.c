// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse ps`: the models that a running server holds in memory, and until when. One thread; owns nothing that
// outlives a call.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct ps_options {
  RH_CLI_COMMON_FIELDS;
  bool all;
} ps_options;

static const rh_setting ps_flags[] = {
    RH_CLI_COMMON_FLAGS(ps_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, ps_options, all, "false", 0, 0, "also the models that are not in memory"),
};
#define PS_FLAG_COUNT (sizeof ps_flags / sizeof *ps_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key) {
  return (long long)json_number_value(json_object_get(object, key));
}

// "12s", "pinned" or "forever" for what never leaves, "-" for what is not there.
static void format_until(char *out, size_t size, const json_t *model) {
  const json_t *left = json_object_get(model, "expires_in_s");
  const char *state = text_of(model, "state");
  bool there = state != NULL && (strcmp(state, "ready") == 0 || strcmp(state, "loading") == 0);
  if (!there)
    snprintf(out, size, "-");
  else if (json_is_true(json_object_get(model, "pinned")))
    snprintf(out, size, "pinned");
  else if (json_is_number(left))
    rh_cli_format_seconds(out, size, json_number_value(left));
  else if (number_of(model, "active") + number_of(model, "queued") > 0)
    snprintf(out, size, "in use");
  else
    snprintf(out, size, "forever");
}

// What its worker takes; while it loads, what it is expected to take.
static long long memory_of(const json_t *model) {
  const json_t *memory = json_object_get(model, "memory");
  long long resident = number_of(memory, "resident_bytes");
  return resident > 0 ? resident : number_of(memory, "ram_bytes");
}

static void format_state(char *out, size_t size, const json_t *model) {
  const char *state = text_of(model, "state");
  const json_t *fraction = json_object_get(model, "load_fraction");
  if (state != NULL && strcmp(state, "loading") == 0 && json_is_number(fraction))
    snprintf(out, size, "loading %.0f%%", json_number_value(fraction) * 100);
  else
    snprintf(out, size, "%s", state != NULL ? state : "-");
}

// A failed one is worth showing too: it says why.
static bool in_memory(const json_t *model) {
  const char *state = text_of(model, "state");
  return state != NULL && strcmp(state, "cold") != 0;
}

static void add_row(rh_table *table, const json_t *model) {
  char state[32], slots[24], active[24], queued[24], context[24], memory[32], until[32];
  format_state(state, sizeof state, model);
  snprintf(slots, sizeof slots, "%lld", number_of(model, "slots"));
  snprintf(active, sizeof active, "%lld", number_of(model, "active"));
  snprintf(queued, sizeof queued, "%lld", number_of(model, "queued"));
  snprintf(context, sizeof context, "%lld", number_of(model, "context"));
  rh_cli_format_bytes(memory, sizeof memory, memory_of(model));
  format_until(until, sizeof until, model);
  rh_table_add(table, (const char *const[]){text_of(model, "name"), state, text_of(model, "engine"),
                                            text_of(model, "device"), slots, active, queued, context, memory, until});
}

static int print_running(const json_t *models, bool all) {
  static const char *const headings[] = {"NAME",    "STATE",    "ENGINE",  "DEVICE", ">SLOTS", ">ACTIVE",
                                         ">QUEUED", ">CONTEXT", ">MEMORY", "UNTIL",  NULL};
  rh_table *table = rh_table_new(headings);
  size_t i, shown = 0;
  json_t *model;
  json_array_foreach(models, i, model) {
    if (!all && !in_memory(model)) continue;
    add_row(table, model);
    shown++;
  }
  if (shown == 0) {
    rh_table_free(table);
    fprintf(stderr, "no model is in memory%s\n",
            json_array_size(models) > 0 ? "; --all shows those that could be" : "");
    return RH_EXIT_OK;
  }
  return rh_table_print_free(table, stdout);
}

// Where memory ran out, the reason is worth a line: a model that failed to load says why.
static void print_reasons(const json_t *models) {
  size_t i;
  json_t *model;
  json_array_foreach(models, i, model) {
    const char *reason = text_of(model, "error");
    if (reason == NULL || reason[0] == '\0') continue;
    fprintf(stderr, "%s: ", text_of(model, "name"));
    rh_cli_write_text(stderr, reason, strlen(reason));
    fputc('\n', stderr);
  }
}

static int ps(const ps_options *options) {
  bool chosen;
  rh_error error = {0};
  rh_client *client = NULL;
  json_t *answer = NULL;
  char *server = rh_connect_address(options->server, &chosen);
  if (server == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory for the server's address");
  rh_status status = rh_client_new(server, &client, &error);
  if (status == RH_OK) status = rh_client_get_json(client, "/api/models", TIMEOUT_MS, &answer, &error);
  int code;
  if (status != RH_OK) {
    code = rh_cli_fail_status(&error);
  } else if (options->json) {
    code = rh_cli_print_json(json_incref(answer));
  } else {
    const json_t *models = json_object_get(answer, "models");
    code = print_running(models, options->all);
    fflush(stdout);
    print_reasons(models);
  }
  json_decref(answer);
  rh_client_free(client);
  free(server);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  ps_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count > 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "ps takes no arguments, but \"%.100s\" was given", args.words[0]);
  else
    code = ps(&options);
  rh_cli_args_free(&args);
  rh_config_release(ps_flags, PS_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_ps = {
    .name = "ps",
    .arguments = "",
    .help = "Show the models in memory: state, requests, memory, until when they stay",
    .details = "Asks the running server.\n",
    .flags = ps_flags,
    .flag_count = PS_FLAG_COUNT,
    .run = run,
};
