// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse providers`: where models are besides this machine, and how each of them does. Owns nothing. One thread.
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct providers_options {
  RH_CLI_COMMON_FIELDS;
} providers_options;

static const rh_setting providers_flags[] = {RH_CLI_COMMON_FLAGS(providers_options)};
#define PROVIDERS_FLAG_COUNT (sizeof providers_flags / sizeof *providers_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

static int print_providers(const json_t *providers) {
  static const char *const headings[] = {"PROVIDER", "ADDRESS", "KEY", "STATE", ">RUNNING", ">QUEUED", NULL};
  if (json_array_size(providers) == 0) {
    fputs("no providers are configured; name them under \"providers\" in roundhouse.json\n", stderr);
    return RH_EXIT_OK;
  }
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *entry;
  json_array_foreach(providers, i, entry) {
    char state[64] = "on", running[24], queued[24];
    const char *address = text_of(entry, "base_url");
    if (!is_true(entry, "enabled"))
      snprintf(state, sizeof state, "off");
    else if (number_of(entry, "resting_s") > 0)
      snprintf(state, sizeof state, "resting for %.0fs", number_of(entry, "resting_s"));
    else if (text_of(entry, "key_error") != NULL)
      snprintf(state, sizeof state, "has no key");
    snprintf(running, sizeof running, "%.0f", number_of(entry, "running"));
    snprintf(queued, sizeof queued, "%.0f", number_of(entry, "queued"));
    rh_table_add(table, (const char *const[]){text_of(entry, "name"), address != NULL ? address : "this machine",
                                              text_of(entry, "key"), state, running, queued});
  }
  return rh_table_print_free(table, stdout);
}

static void add_member(rh_table *table, const json_t *entry) {
  char first[32] = "", speed[32] = "", errors[32] = "", price[64] = "", attempts[24], breaker[48];
  const char *why = text_of(entry, "why_not");
  const json_t *costs = json_object_get(entry, "price");
  double count = number_of(entry, "attempts");
  if (number_of(entry, "first_token_ms") > 0)
    snprintf(first, sizeof first, "%.0f ms", number_of(entry, "first_token_ms"));
  if (number_of(entry, "token_ms") > 0) snprintf(speed, sizeof speed, "%.1f/s", 1000 / number_of(entry, "token_ms"));
  if (count > 0) snprintf(errors, sizeof errors, "%.1f %%", 100 * number_of(entry, "error_rate"));
  if (json_is_object(costs)) {
    double in = number_of(costs, "input_usd_per_million"), out = number_of(costs, "output_usd_per_million");
    snprintf(price, sizeof price, in > 0 || out > 0 ? "$%.2f / $%.2f" : "free", in, out);
  }
  snprintf(attempts, sizeof attempts, "%.0f", count);
  snprintf(breaker, sizeof breaker, "%s", text_of(entry, "breaker") != NULL ? text_of(entry, "breaker") : "-");
  rh_table_add(table, (const char *const[]){text_of(entry, "provider"), text_of(entry, "model"),
                                            is_true(entry, "available") ? "available" : why, breaker, attempts, errors,
                                            first, speed, price});
}

static int print_members(const json_t *members) {
  static const char *const headings[] = {"PROVIDER", "MODEL",        "STATE",   "BREAKER",       ">TRIES",
                                         ">ERRORS",  ">FIRST TOKEN", ">TOKENS", ">$/M IN / OUT", NULL};
  if (json_array_size(members) == 0) return RH_EXIT_OK;
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *entry;
  json_array_foreach(members, i, entry) add_member(table, entry);
  fputc('\n', stdout);
  return rh_table_print_free(table, stdout);
}

static void print_reasons(const json_t *providers) {
  size_t i;
  json_t *entry;
  json_array_foreach(providers, i, entry) {
    const char *reason = text_of(entry, "key_error");
    if (reason == NULL) continue;
    fprintf(stderr, "%s: ", text_of(entry, "name"));
    rh_cli_write_text(stderr, reason, strlen(reason));
    fputc('\n', stderr);
  }
}

static int show(rh_client *client, const void *given, const rh_cli_args *args) {
  const providers_options *options = given;
  rh_error error = {0};
  json_t *answer = NULL;
  if (args->count > 0)
    return rh_cli_fail(RH_EXIT_USAGE, "providers takes no arguments, but \"%.100s\" was given", args->words[0]);
  if (rh_client_get_json(client, "/api/providers", TIMEOUT_MS, &answer, &error) != RH_OK)
    return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  int code = print_providers(json_object_get(answer, "providers"));
  if (code == RH_EXIT_OK) code = print_members(json_object_get(answer, "members"));
  fflush(stdout);
  print_reasons(json_object_get(answer, "providers"));
  json_decref(answer);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  providers_options options = {0};
  return rh_admin_run(self, argc, argv, &options, NULL, show);
}

const rh_cli_command rh_cli_providers = {
    .name = "providers",
    .arguments = "",
    .help = "Show the providers of the running server, and how their models do",
    .details =
        "Speeds and errors are moving averages since the server's start. A breaker that is open lets nothing through\n"
        "for a while after failures.\n",
    .flags = providers_flags,
    .flag_count = PROVIDERS_FLAG_COUNT,
    .run = run,
};
