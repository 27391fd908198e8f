// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse route explain`: which model the running server would choose for a prompt, and why; nothing is run. Owns the list of
// headers while it runs. One thread.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 30000L
#define HEADERS_MAX 32
#define HEADER_BYTES_MAX 1024
#define PROMPT_BYTES_MAX ((size_t)16 * 1024 * 1024)

typedef struct route_options {
  RH_CLI_COMMON_FIELDS;
  char *model;
  char *header;  // for the help; taken out of the command line beforehand, because it may stand there several times
  const char *headers[HEADERS_MAX];
  size_t header_count;
} route_options;

static const rh_setting route_flags[] = {
    RH_CLI_COMMON_FLAGS(route_options),
    RH_CLI_FLAG(RH_SETTING_STRING, route_options, model, NULL, 0, 0, "the model that the request would name"),
    RH_CLI_FLAG(RH_SETTING_STRING, route_options, header, NULL, 0, 0,
                "NAME=VALUE, a header of the request (x-roundhouse-privacy=high); may be repeated"),
};
#define ROUTE_FLAG_COUNT (sizeof route_flags / sizeof *route_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

// A value in a table's cell; "" for what says nothing.
static void format_value(char *out, size_t size, const json_t *value) {
  out[0] = '\0';
  if (json_is_string(value))
    snprintf(out, size, "%s", json_string_value(value));
  else if (json_is_integer(value))
    snprintf(out, size, "%lld", (long long)json_integer_value(value));
  else if (json_is_real(value))
    snprintf(out, size, "%.6g", json_real_value(value));
  else if (json_is_true(value))
    snprintf(out, size, "yes");
}

// --- the answer ----------------------------------------------------------------------------------------------------

static int print_features(const json_t *features) {
  static const char *const headings[] = {"FEATURE", "VALUE", NULL};
  rh_table *table = rh_table_new(headings);
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)features, name, value) {  // jansson lacks the const
    char text[256];
    format_value(text, sizeof text, value);
    if (text[0] != '\0' && strcmp(text, "0") != 0) rh_table_add(table, (const char *const[]){name, text});
  }
  return rh_table_print_free(table, stdout);
}

static void add_rule(rh_table *table, const json_t *rule) {
  char index[24], verdict[512];
  const char *name = text_of(rule, "name"), *passed = text_of(rule, "passed_over");
  snprintf(index, sizeof index, "%lld", (long long)json_integer_value(json_object_get(rule, "index")));
  if (is_true(rule, "decided"))
    snprintf(verdict, sizeof verdict, "decides");
  else if (passed != NULL)
    snprintf(verdict, sizeof verdict, "matches, but %.400s", passed);
  else if (is_true(rule, "matched"))
    snprintf(verdict, sizeof verdict, "matches, after the one that decides");
  else
    snprintf(verdict, sizeof verdict, "no: %.400s", text_of(rule, "failed") != NULL ? text_of(rule, "failed") : "");
  rh_table_add(table, (const char *const[]){index, name != NULL ? name : text_of(rule, "reason"), verdict});
}

static int print_rules(const json_t *rules) {
  static const char *const headings[] = {">RULE", "NAME", "VERDICT", NULL};
  if (json_array_size(rules) == 0) return RH_EXIT_OK;
  rh_table *table = rh_table_new(headings);
  size_t i;
  json_t *rule;
  json_array_foreach(rules, i, rule) add_rule(table, rule);
  fputc('\n', stdout);
  return rh_table_print_free(table, stdout);
}

static void add_member(rh_table *table, const json_t *member) {
  static const char *const parts[] = {"expected_ms", "cost_usd", "quality", "load"};
  char cells[6][64];
  const json_t *known = json_object_get(member, "parts");
  format_value(cells[0], sizeof cells[0], json_object_get(member, "place"));
  format_value(cells[1], sizeof cells[1], json_object_get(member, "score"));
  for (size_t i = 0; i < 4; i++) format_value(cells[i + 2], sizeof cells[i + 2], json_object_get(known, parts[i]));
  rh_table_add(table, (const char *const[]){cells[0], text_of(member, "provider"), text_of(member, "model"), cells[1],
                                            cells[2], cells[3], cells[4], cells[5], text_of(member, "out")});
}

// Those that were chosen in their order, then the others.
static int print_members(const json_t *members) {
  static const char *const headings[] = {">PLACE", "PROVIDER", "MODEL", ">SCORE",      ">EXPECTED MS",
                                         ">COST",  ">QUALITY", ">LOAD", "OUT BECAUSE", NULL};
  if (json_array_size(members) == 0) return RH_EXIT_OK;
  rh_table *table = rh_table_new(headings);
  size_t i, count = json_array_size(members);
  json_t *member;
  for (size_t place = 1; place <= count; place++) {
    json_array_foreach(members, i, member) {
      if ((size_t)json_integer_value(json_object_get(member, "place")) == place) add_member(table, member);
    }
  }
  json_array_foreach(members, i, member) {
    if (!json_is_integer(json_object_get(member, "place"))) add_member(table, member);
  }
  fputc('\n', stdout);
  return rh_table_print_free(table, stdout);
}

static int print_choice(const json_t *answer) {
  const json_t *choice = json_object_get(answer, "choice"), *failure = json_object_get(answer, "error");
  if (!json_is_object(choice)) {
    const char *why = text_of(failure, "message");
    return rh_cli_fail(RH_EXIT_ERROR, "no model would answer: %s", why != NULL ? why : "there is none");
  }
  const char *reason = text_of(answer, "reason"), *strategy = text_of(answer, "strategy");
  printf("\nchoice: %s%s/%s%s\n", rh_cli_style(stdout, RH_STYLE_BOLD), text_of(choice, "provider"),
         text_of(choice, "model"), rh_cli_style(stdout, RH_STYLE_OFF));
  printf("reason: %s\n", reason != NULL ? reason : "-");
  if (strategy != NULL) printf("strategy: %s\n", strategy);
  return RH_EXIT_OK;
}

static int print_explanation(const json_t *answer) {
  int code = print_features(json_object_get(answer, "features"));
  if (code == RH_EXIT_OK) code = print_rules(json_object_get(answer, "rules"));
  if (code == RH_EXIT_OK) code = print_members(json_object_get(answer, "members"));
  return code == RH_EXIT_OK ? print_choice(answer) : code;
}

// --- the question --------------------------------------------------------------------------------------------------

static rh_status add_headers(rh_client *client, const route_options *options, rh_error *error) {
  for (size_t i = 0; i < options->header_count; i++) {
    char line[HEADER_BYTES_MAX];
    const char *given = options->headers[i];
    size_t name = strcspn(given, "=:");
    const char *value = given[name] != '\0' ? given + name + 1 : "";
    while (*value == ' ') value++;
    int length = snprintf(line, sizeof line, "%.*s: %s", (int)name, given, value);
    bool good = name > 0 && given[name] != '\0' && *value != '\0' && length < (int)sizeof line;
    if (!good || strpbrk(line, "\r\n") != NULL) {
      return rh_fail(error, RH_INVALID, "--header takes NAME=VALUE, not \"%.80s\"", given);
    }
    rh_status status = rh_client_add_header(client, line, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// The words from the second on, as one prompt; "-" is standard input.
static rh_status read_prompt(const rh_cli_args *args, rh_dynbuf *out, rh_error *error) {
  rh_status status = RH_OK;
  if (args->count == 2 && strcmp(args->words[1], "-") == 0) {
    char bytes[65536];
    size_t got;
    while (status == RH_OK && (got = fread(bytes, 1, sizeof bytes, stdin)) > 0) {
      status = rh_dynbuf_append(out, bytes, got);
    }
  } else {
    for (size_t i = 1; status == RH_OK && i < args->count; i++) {
      status = rh_dynbuf_printf(out, "%s%s", i > 1 ? " " : "", args->words[i]);
    }
  }
  return status == RH_OK ? RH_OK : rh_fail(error, status, "the prompt is longer than 16 MiB");
}

static int explain(rh_client *client, const void *given, const rh_cli_args *args) {
  const route_options *options = given;
  rh_error error = {0};
  json_t *answer = NULL;
  if (strcmp(args->words[0], "explain") != 0 || args->count < 2) {
    return rh_cli_fail(RH_EXIT_USAGE, "route needs explain and a prompt; see roundhouse help route");
  }
  if (add_headers(client, options, &error) != RH_OK) return rh_cli_fail(RH_EXIT_USAGE, "%s", error.message);
  rh_dynbuf prompt;
  rh_dynbuf_init(&prompt, PROMPT_BYTES_MAX);
  rh_status status = read_prompt(args, &prompt, &error);
  json_t *body =
      status == RH_OK ? json_pack("{s:s,s:s*}", "prompt", rh_dynbuf_data(&prompt), "model", options->model) : NULL;
  if (status == RH_OK && body == NULL) status = rh_fail(&error, RH_INVALID, "the prompt must be UTF-8 text");
  if (status == RH_OK) {
    status = rh_client_call(client, "POST", "/api/route/explain", body, TIMEOUT_MS, &answer, &error);
  }
  json_decref(body);
  rh_dynbuf_free(&prompt);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  int code = print_explanation(answer);
  json_decref(answer);
  return code;
}

// Moves the headers from argv[..] into options; returns the new argc, or -1: too many, or one without a value.
static int take_headers(int argc, char **argv, route_options *options) {
  int kept = 0;
  bool words = false;  // after "--" nothing is a flag
  for (int i = 0; i < argc; i++) {
    const char *value = NULL;
    words = words || strcmp(argv[i], "--") == 0;
    if (!words && strncmp(argv[i], "--header=", 9) == 0)
      value = argv[i] + 9;
    else if (!words && strcmp(argv[i], "--header") == 0)
      value = i + 1 < argc ? argv[++i] : NULL;
    else {
      argv[kept++] = argv[i];
      continue;
    }
    if (value == NULL || options->header_count == HEADERS_MAX) return -1;
    options->headers[options->header_count++] = value;
  }
  argv[kept] = NULL;
  return kept;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  route_options options = {0};
  argc = take_headers(argc, argv, &options);
  if (argc < 0) return rh_cli_fail(RH_EXIT_USAGE, "--header takes NAME=VALUE, at most %d times", HEADERS_MAX);
  return rh_admin_run(self, argc, argv, &options, "route needs explain and a prompt; see roundhouse help route",
                      explain);
}

const rh_cli_command rh_cli_route = {
    .name = "route",
    .arguments = "explain PROMPT...",
    .help = "Show which model would answer a prompt, and why; nothing is run",
    .details =
        "Asks the running server. A prompt \"-\" is read from standard input. What is shown: what the router sees in "
        "the\n"
        "prompt, what each rule says (with the condition that fails), what each model is worth, and the choice.\n",
    .flags = route_flags,
    .flag_count = ROUTE_FLAG_COUNT,
    .run = run,
};
