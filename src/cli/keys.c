// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse keys`: API keys made, listed, shown, changed and revoked; at the server when one answers, otherwise in the state
// database, so that the first key can be made before the server listens to anybody. Owns the place of the keys while it runs. One
// thread. A key's secret is printed once, alone on standard output, and kept nowhere.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/interrupt.h"
#include "cli/keys.h"
#include "cli/local.h"
#include "cli/output.h"

typedef struct keys_options {
  RH_CLI_COMMON_FIELDS;
  char *name, *scope, *models, *period, *expires, *state_dir;
  int64_t rpm, tpm, concurrency, priority;
  double budget;
  bool local_only, offline;
} keys_options;

#define FLAG(kind, name, initial, low, high, about) RH_CLI_FLAG(kind, keys_options, name, initial, low, high, about)
#define MANY 1000000000.0

static const rh_setting keys_flags[] = {
    RH_CLI_COMMON_FLAGS(keys_options),
    FLAG(RH_SETTING_STRING, name, NULL, 0, 0, "of update: the key's new name"),
    FLAG(RH_SETTING_STRING, scope, NULL, 0, 0, "what it may do: inference, admin, metrics, with commas"),
    FLAG(RH_SETTING_STRING, models, NULL, 0, 0, "models it may use, with commas, * at an end; \"\" = all"),
    FLAG(RH_SETTING_INT, rpm, "0", -1, MANY, "requests a minute; 0 = as the server's setting, -1 = no limit"),
    FLAG(RH_SETTING_INT, tpm, "0", -1, MANY, "tokens a minute; likewise"),
    FLAG(RH_SETTING_INT, concurrency, "0", 0, MANY, "requests at once; 0 = no limit"),
    FLAG(RH_SETTING_INT, priority, "0", -100, 100, "its requests' priority; higher runs first"),
    FLAG(RH_SETTING_NUMBER, budget, "0", 0, MANY, "US dollars it may spend; 0 = no limit"),
    FLAG(RH_SETTING_STRING, period, NULL, 0, 0, "when the budget is renewed: day, month or never"),
    FLAG(RH_SETTING_STRING, expires, NULL, 0, 0, "after this time it is worth nothing: 12h, 30d, 4w; never"),
    FLAG(RH_SETTING_BOOL, local_only, "false", 0, 0, "its requests never leave the server's machine"),
    FLAG(RH_SETTING_BOOL, offline, "false", 0, 0, "use the state database of this machine, and ask no server"),
    FLAG(RH_SETTING_STRING, state_dir, NULL, 0, 0, "folder of the state database; default: as configured"),
};
#define KEYS_FLAG_COUNT (sizeof keys_flags / sizeof *keys_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key) {
  return (long long)json_number_value(json_object_get(object, key));
}

// --- what the flags say --------------------------------------------------------------------------------------------

static json_t *words_of(const char *text) {
  json_t *list = json_array();
  for (const char *at = text; *at != '\0';) {
    size_t length = strcspn(at, ",");
    if (length > 0) json_array_append_new(list, json_stringn(at, length));
    at += length + (at[length] == ',');
  }
  return list;
}

static bool was_given(const rh_setting_origin *origins, const char *key) {
  for (size_t i = 0; i < KEYS_FLAG_COUNT; i++) {
    if (strcmp(keys_flags[i].key, key) == 0) return origins[i] == RH_FROM_FLAG;
  }
  return false;
}

// Only what was said: the rest stays as it is, or gets the server's defaults.
static json_t *definition_of(const keys_options *options, const rh_setting_origin *origins, const char *name) {
  const struct {
    const char *flag, *field;
    json_t *value;
  } fields[] = {
      {"scope", "scopes", words_of(options->scope != NULL ? options->scope : "")},
      {"models", "models",
       options->models != NULL && options->models[0] != '\0' ? words_of(options->models) : json_null()},
      {"rpm", "requests_per_minute", json_integer(options->rpm)},
      {"tpm", "tokens_per_minute", json_integer(options->tpm)},
      {"concurrency", "concurrency", json_integer(options->concurrency)},
      {"priority", "priority", json_integer(options->priority)},
      {"budget", "budget_usd", json_real(options->budget)},
      {"period", "budget_period", json_string(options->period != NULL ? options->period : "")},
      {"expires", "expires_in",
       options->expires != NULL && strcmp(options->expires, "never") != 0 ? json_string(options->expires)
                                                                          : json_null()},
      {"local_only", "local_only", json_boolean(options->local_only)},
  };
  json_t *out = json_pack("{s:s*}", "name", name);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (was_given(origins, fields[i].flag)) json_object_set(out, fields[i].field, fields[i].value);
    json_decref(fields[i].value);
  }
  return out;
}

// --- what people see -----------------------------------------------------------------------------------------------

static void format_day(char *out, size_t size, long long seconds) {
  time_t when = (time_t)seconds;
  struct tm date;
  out[0] = '\0';
  if (seconds > 0 && localtime_r(&when, &date) != NULL) (void)strftime(out, size, "%Y-%m-%d %H:%M", &date);
}

static void format_words(char *out, size_t size, const json_t *list, const char *none) {
  size_t i, used = 0;
  json_t *word;
  snprintf(out, size, "%s", none);
  json_array_foreach(list, i, word) {
    int length = snprintf(out + used, size - used, "%s%s", i > 0 ? "," : "", json_string_value(word));
    if (length < 0 || (size_t)length >= size - used) return;
    used += (size_t)length;
  }
}

static void format_limit(char *out, size_t size, long long limit) {
  if (limit == 0)
    snprintf(out, size, "usual");
  else if (limit < 0)
    snprintf(out, size, "none");
  else
    snprintf(out, size, "%lld", limit);
}

static void format_budget(char *out, size_t size, const json_t *key) {
  double budget = json_number_value(json_object_get(key, "budget_usd"));
  double spent = json_number_value(json_object_get(key, "spent_usd"));
  const char *period = text_of(key, "budget_period");
  bool renewed = period != NULL && strcmp(period, "never") != 0;
  if (budget > 0)
    snprintf(out, size, "$%.2f of $%.2f%s%s", spent, budget, renewed ? " a " : "", renewed ? period : "");
  else
    snprintf(out, size, "none");
}

static int print_list(const json_t *keys) {
  static const char *const headings[] = {"ID",        "NAME",   "STATUS",  "SCOPES",    "MODELS", ">REQUESTS/M",
                                         ">TOKENS/M", "BUDGET", "EXPIRES", "LAST USED", NULL};
  if (json_array_size(keys) == 0) {
    fputs("there are no keys; make one with: roundhouse keys create NAME\n", stderr);
    return RH_EXIT_OK;
  }
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *key;
  json_array_foreach(keys, i, key) {
    char scopes[64], models[256], requests[32], tokens[32], budget[96], expires[32], used[32];
    format_words(scopes, sizeof scopes, json_object_get(key, "scopes"), "none");
    format_words(models, sizeof models, json_object_get(key, "models"), "all");
    format_limit(requests, sizeof requests, number_of(key, "requests_per_minute"));
    format_limit(tokens, sizeof tokens, number_of(key, "tokens_per_minute"));
    format_budget(budget, sizeof budget, key);
    format_day(expires, sizeof expires, number_of(key, "expires_at"));
    format_day(used, sizeof used, number_of(key, "last_used_at"));
    rh_table_add(table, (const char *const[]){text_of(key, "id"), text_of(key, "name"), text_of(key, "status"), scopes,
                                              models, requests, tokens, budget, expires, used});
  }
  return rh_table_print_free(table, stdout);
}

static int print_one(const json_t *key) {
  static const char *const headings[] = {"FIELD", "VALUE", NULL};
  rh_table *table = rh_table_new(headings);
  const char *field;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)key, field, value) {  // jansson lacks the const
    char text[256] = "";
    size_t length = strlen(field);
    bool is_time = length > 3 && strcmp(field + length - 3, "_at") == 0;
    if (is_time)
      format_day(text, sizeof text, number_of(key, field));
    else if (json_is_string(value))
      snprintf(text, sizeof text, "%s", json_string_value(value));
    else if (json_is_number(value))
      snprintf(text, sizeof text, "%.10g", json_number_value(value));
    else if (json_is_boolean(value))
      snprintf(text, sizeof text, "%s", json_is_true(value) ? "yes" : "no");
    else
      format_words(text, sizeof text, value, strcmp(field, "models") == 0 ? "all" : "");
    rh_table_add(table, (const char *const[]){field, text});
  }
  return rh_table_print_free(table, stdout);
}

// The secret alone on standard output: KEY=$(roundhouse keys create ci) must work.
static int print_created(const json_t *key) {
  fprintf(stderr, "made the key %s (%s). Its secret is shown this once and kept nowhere:\n", text_of(key, "id"),
          text_of(key, "name"));
  printf("%s\n", text_of(key, "key"));
  return RH_EXIT_OK;
}

// --- the words -----------------------------------------------------------------------------------------------------

static int finish(rh_status status, const rh_error *error, const rh_key_place *place, json_t *value, bool json,
                  int (*print)(const json_t *value)) {
  int code;
  if (status != RH_OK) {
    code = place->client != NULL ? rh_cli_fail_status(error) : rh_local_fail(error);
    if (place->client != NULL && (status == RH_UNAUTHENTICATED || status == RH_FORBIDDEN)) {
      fputs("On the server's own machine --offline needs no key: it uses the state database.\n", stderr);
    }
  } else if (json) {
    return rh_cli_print_json(value);
  } else {
    code = print(value);
  }
  json_decref(value);
  return code;
}

static int print_revoked(const json_t *key) {
  printf("revoked the key %s (%s)\n", text_of(key, "id"), text_of(key, "name"));
  return RH_EXIT_OK;
}

static int act(rh_key_place *place, const keys_options *options, const rh_setting_origin *origins,
               const rh_cli_args *args) {
  const char *word = args->words[0], *name = args->count > 1 ? args->words[1] : NULL;
  rh_error error = {0};
  json_t *value = NULL;
  rh_status status;
  if (strcmp(word, "list") == 0) {
    status = rh_key_place_list(place, &value, &error);
    return finish(status, &error, place, value, options->json, print_list);
  }
  if (strcmp(word, "create") == 0 || strcmp(word, "update") == 0) {
    bool create = word[0] == 'c';
    json_t *definition = definition_of(options, origins, create ? name : options->name);
    status = create ? rh_key_place_create(place, definition, &value, &error)
                    : rh_key_place_update(place, name, definition, &value, &error);
    json_decref(definition);
    return finish(status, &error, place, value, options->json, create ? print_created : print_one);
  }
  if (strcmp(word, "show") == 0) {
    status = rh_key_place_show(place, name, &value, &error);
    return finish(status, &error, place, value, options->json, print_one);
  }
  status = rh_key_place_revoke(place, name, &value, &error);
  return finish(status, &error, place, value, options->json, print_revoked);
}

// A server that was named is asked, and nothing else; otherwise the usual one when it answers.
static rh_status open_place(const keys_options *options, rh_key_place *out, rh_error *error) {
  *out = (rh_key_place){.client = NULL};
  bool chosen = false;
  bool offline = options->offline || (options->state_dir != NULL && options->state_dir[0] != '\0');
  char *server = offline ? NULL : rh_connect_address(options->server, &chosen);
  if (!offline && server == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the server's address");
  bool online = !offline && (chosen || rh_connect_answers(server));
  rh_status status =
      online ? rh_client_new(server, &out->client, error) : rh_key_store_open(options->state_dir, out, error);
  if (status == RH_OK && !online && !offline) {
    fprintf(stderr, "no server answers at %s; using %s\n", server, rh_key_store_path(out));
  }
  free(server);
  return status;
}

static bool is_word(const rh_cli_args *args) {
  static const char *const words[] = {"create", "show", "update", "revoke"};
  if (args->count == 1) return strcmp(args->words[0], "list") == 0;
  for (size_t i = 0; args->count == 2 && i < sizeof words / sizeof *words; i++) {
    if (strcmp(args->words[0], words[i]) == 0) return true;
  }
  return false;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  keys_options options = {0};
  rh_setting_origin origins[KEYS_FLAG_COUNT];
  rh_cli_args args;
  rh_key_place place;
  rh_error error = {0};
  int code = rh_cli_parse(self, argc, argv, &options, origins, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (!is_word(&args)) {
    code = rh_cli_fail(RH_EXIT_USAGE,
                       "keys takes list, or create, show, update or revoke and a name; see roundhouse "
                       "help keys");
  } else if (!rh_interrupt_install()) {
    code = rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  } else if (open_place(&options, &place, &error) != RH_OK) {
    code = rh_local_fail(&error);
  } else {
    code = act(&place, &options, origins, &args);
    rh_key_place_close(&place);
  }
  rh_cli_args_free(&args);
  rh_config_release(keys_flags, KEYS_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_keys = {
    .name = "keys",
    .arguments = "list|create NAME|show KEY|update KEY|revoke KEY",
    .help = "Make, list, change and revoke API keys",
    .details =
        "KEY is a key's id or name. As soon as there is a key, requests need one; calls that change something need "
        "one\n"
        "with the scope admin, so make such a key first:\n"
        "  roundhouse keys create me --scope inference,admin,metrics\n"
        "create prints the secret once, alone on standard output. Without a server the state database is used, which\n"
        "a server on this machine reads too.\n",
    .flags = keys_flags,
    .flag_count = KEYS_FLAG_COUNT,
    .run = run,
};
