// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse usage`: what was used, what it cost and what was saved, from the server's ledger. Owns nothing. One thread.
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 60000L  // years of requests take a while to sum up
#define PATH_BYTES_MAX 8192

typedef struct usage_options {
  RH_CLI_COMMON_FIELDS;
  char *by, *from, *to, *of_key, *provider, *model;
  int64_t limit;
} usage_options;

#define FLAG(kind, name, initial, low, high, about) RH_CLI_FLAG(kind, usage_options, name, initial, low, high, about)

static const rh_setting usage_flags[] = {
    RH_CLI_COMMON_FLAGS(usage_options),
    FLAG(RH_SETTING_STRING, by, "day,model", 0, 0, "how to group: day, key, provider, model, with commas"),
    FLAG(RH_SETTING_STRING, from, NULL, 0, 0, "from this day on (2026-11-21, UTC), or seconds since 1970"),
    FLAG(RH_SETTING_STRING, to, NULL, 0, 0, "until the end of this day, or seconds since 1970"),
    FLAG(RH_SETTING_STRING, of_key, NULL, 0, 0, "only this key's, by its id or name"),
    FLAG(RH_SETTING_STRING, provider, NULL, 0, 0, "only this provider's"),
    FLAG(RH_SETTING_STRING, model, NULL, 0, 0, "only this model's"),
    FLAG(RH_SETTING_INT, limit, "100", 1, 10000, "groups to show; the newest or dearest first"),
};
#define USAGE_FLAG_COUNT (sizeof usage_flags / sizeof *usage_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

// Cents matter little of a hundred dollars, and much of one answer.
static void format_usd(char *out, size_t size, double usd) {
  double amount = usd < 0 ? -usd : usd;
  int digits = amount == 0 || amount >= 1 ? 2 : amount >= 0.01 ? 4 : 6;
  snprintf(out, size, "%s$%.*f", usd < 0 ? "-" : "", digits, amount);
}

// The columns that are shown: those of the grouping, then the sums.
enum { DAY, KEY, PROVIDER, MODEL, GROUPS, SUMS = 8 };
static const char *const group_words[] = {"day", "key", "provider", "model"};
static const char *const group_headings[] = {"DAY", "KEY", "PROVIDER", "MODEL"};
static const char *const sum_headings[] = {">REQUESTS",   ">ERRORS",  ">CACHED", ">TOKENS IN",
                                           ">TOKENS OUT", ">LATENCY", ">COST",   ">SAVED"};

static bool is_by(const char *by, const char *word) {
  size_t length = strlen(word);
  for (const char *at = by; at != NULL; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
    if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
  }
  return false;
}

static void add_row(rh_table *table, const json_t *entry, const bool shown[GROUPS], const char *first) {
  const char *cells[GROUPS + SUMS];
  char numbers[SUMS][32];
  size_t count = 0;
  for (size_t i = 0; i < GROUPS; i++) {
    const char *name = i == KEY ? text_of(entry, "key_name") : NULL;
    if (shown[i]) cells[count++] = first != NULL ? "" : name != NULL ? name : text_of(entry, group_words[i]);
  }
  if (first != NULL && count > 0) cells[0] = first;
  static const char *const fields[] = {"requests", "errors", "cache_hits", "prompt_tokens", "completion_tokens"};
  for (size_t i = 0; i < 5; i++) snprintf(numbers[i], sizeof numbers[i], "%.0f", number_of(entry, fields[i]));
  snprintf(numbers[5], sizeof numbers[5], "%.0f ms", number_of(entry, "latency_ms_mean"));
  format_usd(numbers[6], sizeof numbers[6], number_of(entry, "cost_usd"));
  format_usd(numbers[7], sizeof numbers[7], number_of(entry, "saved_usd"));
  // Without a reference model nothing is known of savings.
  if (number_of(entry, "reference_usd") == 0) numbers[7][0] = '\0';
  for (size_t i = 0; i < SUMS; i++) cells[count++] = numbers[i];
  rh_table_add(table, cells);
}

static int print_usage(const json_t *answer, const char *by) {
  const char *headings[GROUPS + SUMS + 1];
  bool shown[GROUPS];
  size_t count = 0, i;
  for (i = 0; i < GROUPS; i++) {
    shown[i] = is_by(by, group_words[i]);
    if (shown[i]) headings[count++] = group_headings[i];
  }
  for (i = 0; i < SUMS; i++) headings[count++] = sum_headings[i];
  headings[count] = NULL;
  const json_t *groups = json_object_get(answer, "groups"), *total = json_object_get(answer, "total");
  if (number_of(total, "requests") == 0 && json_array_size(groups) == 0) {
    fputs("nothing was used in that time\n", stderr);
    return RH_EXIT_OK;
  }
  rh_table *table = rh_table_new(headings);
  bool grouped = shown[DAY] || shown[KEY] || shown[PROVIDER] || shown[MODEL];
  json_t *entry;
  json_array_foreach(groups, i, entry) {
    if (grouped) add_row(table, entry, shown, NULL);
  }
  add_row(table, total, shown, "total");
  int code = rh_table_print_free(table, stdout);
  double dropped = number_of(answer, "dropped");
  if (dropped > 0) fprintf(stderr, "%.0f requests are not in it: the ledger could not be written\n", dropped);
  return code;
}

static rh_status make_path(const usage_options *options, rh_dynbuf *path) {
  char limit[24];
  snprintf(limit, sizeof limit, "%lld", (long long)options->limit);
  const char *const fields[][2] = {{"by", options->by},      {"from", options->from},         {"to", options->to},
                                   {"key", options->of_key}, {"provider", options->provider}, {"model", options->model},
                                   {"limit", limit}};
  rh_status status = rh_dynbuf_append_text(path, "/api/usage");
  for (size_t i = 0; status == RH_OK && i < sizeof fields / sizeof *fields; i++) {
    status = rh_client_append_query(path, fields[i][0], fields[i][1]);
  }
  return status;
}

static int show(rh_client *client, const void *given, const rh_cli_args *args) {
  const usage_options *options = given;
  rh_error error = {0};
  json_t *answer = NULL;
  if (args->count > 0)
    return rh_cli_fail(RH_EXIT_USAGE, "usage takes no arguments, but \"%.100s\" was given", args->words[0]);
  rh_dynbuf path;
  rh_dynbuf_init(&path, PATH_BYTES_MAX);
  rh_status status = make_path(options, &path);
  if (status != RH_OK)
    (void)rh_fail(&error, status, "what was asked for is too long");
  else
    status = rh_client_get_json(client, rh_dynbuf_data(&path), TIMEOUT_MS, &answer, &error);
  rh_dynbuf_free(&path);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  int code = print_usage(answer, options->by);
  json_decref(answer);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  usage_options options = {0};
  return rh_admin_run(self, argc, argv, &options, NULL, show);
}

const rh_cli_command rh_cli_usage = {
    .name = "usage",
    .arguments = "",
    .help = "Show what was used, what it cost and what was saved",
    .details =
        "Models of this machine cost nothing. SAVED is against the setting reference_model. Days are of UTC. A key\n"
        "without the scope admin sees its own usage only.\n",
    .flags = usage_flags,
    .flag_count = USAGE_FLAG_COUNT,
    .run = run,
};
