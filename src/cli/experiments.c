// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse experiments`: tests of models against each other on the running server. Owns nothing that outlives a call. One thread.
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L
#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define REPORT_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define PATH_BYTES_MAX 1024
#define ROOT "/api/experiments"

typedef struct experiments_options {
  RH_CLI_COMMON_FIELDS;
  char *why;
} experiments_options;

static const rh_setting experiments_flags[] = {
    RH_CLI_COMMON_FLAGS(experiments_options),
    RH_CLI_FLAG(RH_SETTING_STRING, experiments_options, why, NULL, 0, 0,
                "of pause, resume and stop: kept for the report"),
};
#define EXPERIMENTS_FLAG_COUNT (sizeof experiments_flags / sizeof *experiments_flags)

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

// "/api/experiments/NAME[/word]" and more; NULL word = none.
static rh_status make_path(rh_dynbuf *path, const char *name, const char *word, rh_error *error) {
  rh_dynbuf_init(path, PATH_BYTES_MAX);
  rh_status status = rh_dynbuf_append_text(path, ROOT);
  if (status == RH_OK) status = rh_client_append_part(path, name);
  if (status == RH_OK && word != NULL) status = rh_client_append_part(path, word);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "the experiment's name is too long");
}

// --- what each word does -------------------------------------------------------------------------------------------

static void add_row(rh_table *table, const json_t *entry) {
  char arms[512] = "", minimum[24];
  size_t i, used = 0;
  json_t *arm;
  json_array_foreach(json_object_get(entry, "arms"), i, arm) {
    int length = snprintf(arms + used, sizeof arms - used, "%s%s=%s", i > 0 ? ", " : "", text_of(arm, "name"),
                          text_of(arm, "model"));
    if (length < 0 || (size_t)length >= sizeof arms - used) break;
    used += (size_t)length;
  }
  snprintf(minimum, sizeof minimum, "%lld", (long long)json_integer_value(json_object_get(entry, "minimum")));
  rh_table_add(table, (const char *const[]){text_of(entry, "name"), text_of(entry, "kind"), text_of(entry, "state"),
                                            text_of(entry, "model"), text_of(entry, "metric"), minimum, arms});
}

static int list(rh_client *client, const experiments_options *options) {
  static const char *const headings[] = {"NAME", "KIND", "STATE", "MODEL", "METRIC", ">MINIMUM", "ARMS", NULL};
  rh_error error = {0};
  json_t *answer = NULL, *entry;
  if (rh_client_get_json(client, ROOT, TIMEOUT_MS, &answer, &error) != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  const json_t *all = json_object_get(answer, "experiments");
  int code = RH_EXIT_OK;
  size_t i;
  if (json_array_size(all) == 0) {
    fputs("there are no experiments; make one with: roundhouse experiments create FILE\n", stderr);
  } else {
    rh_table *table = rh_table_new(headings);
    json_array_foreach(all, i, entry) add_row(table, entry);
    code = rh_table_print_free(table, stdout);
  }
  json_decref(answer);
  return code;
}

static int create(rh_client *client, const experiments_options *options, const char *file) {
  rh_error error = {0};
  json_t *definition = NULL;
  const char *path = strcmp(file, "-") == 0 ? "/dev/stdin" : file;
  rh_status status = rh_json_read_file(path, FILE_BYTES_MAX, &definition, &error);
  if (status != RH_OK) return rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  char sentence[256];
  const char *name = text_of(definition, "name");
  snprintf(sentence, sizeof sentence, "the experiment %.100s runs", name != NULL ? name : "");
  return rh_admin_post(client, ROOT, definition, TIMEOUT_MS, options->json, sentence);
}

static int report(rh_client *client, const experiments_options *options, const char *name) {
  rh_error error = {0};
  rh_dynbuf path, text;
  json_t *answer = NULL;
  rh_status status = make_path(&path, name, NULL, &error);
  rh_dynbuf_init(&text, REPORT_BYTES_MAX);
  if (status == RH_OK && options->json) {
    status = rh_client_get_json(client, rh_dynbuf_data(&path), TIMEOUT_MS, &answer, &error);
  } else if (status == RH_OK) {
    status = rh_client_append_query(&path, "format", "markdown");
    if (status == RH_OK) status = rh_client_get_text(client, rh_dynbuf_data(&path), TIMEOUT_MS, &text, &error);
  }
  int code = RH_EXIT_OK;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else if (options->json)
    code = rh_cli_print_json(json_incref(answer));
  else
    rh_cli_write_text(stdout, rh_dynbuf_data(&text), text.length);
  json_decref(answer);
  rh_dynbuf_free(&text);
  rh_dynbuf_free(&path);
  return code;
}

static int change(rh_client *client, const experiments_options *options, const char *word, const char *name) {
  rh_error error = {0};
  rh_dynbuf path;
  char sentence[256];
  int code;
  snprintf(sentence, sizeof sentence, "the experiment %.100s is %s", name,
           strcmp(word, "pause") == 0  ? "paused"
           : strcmp(word, "stop") == 0 ? "stopped"
                                       : "running");
  json_t *body = json_pack("{s:s*}", "why", options->why);
  if (make_path(&path, name, word, &error) == RH_OK) {
    code = rh_admin_post(client, rh_dynbuf_data(&path), body, TIMEOUT_MS, options->json, sentence);
  } else {
    json_decref(body);
    code = rh_cli_fail_status(&error);
  }
  rh_dynbuf_free(&path);
  return code;
}

static int drop(rh_client *client, const experiments_options *options, const char *name) {
  rh_error error = {0};
  rh_dynbuf path;
  json_t *answer = NULL;
  rh_status status = make_path(&path, name, NULL, &error);
  if (status == RH_OK) {
    status = rh_client_call(client, "DELETE", rh_dynbuf_data(&path), NULL, TIMEOUT_MS, &answer, &error);
  }
  rh_dynbuf_free(&path);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  json_decref(answer);
  printf("removed the experiment %s\n", name);
  return RH_EXIT_OK;
}

static int act(rh_client *client, const void *given, const rh_cli_args *args) {
  static const char *const words[] = {"list", "create", "report", "pause", "resume", "stop", "rm", NULL};
  const experiments_options *options = given;
  const char *word = args->words[0], *name = args->count > 1 ? args->words[1] : NULL;
  size_t i = 0;
  while (words[i] != NULL && strcmp(words[i], word) != 0) i++;
  bool known = words[i] != NULL;
  if (!known || args->count != (i == 0 ? 1u : 2u)) {
    return rh_cli_fail(RH_EXIT_USAGE,
                       "experiments takes list, create FILE, or report, pause, resume, stop or rm and a "
                       "name; see roundhouse help experiments");
  }
  if (i == 0) return list(client, options);
  if (i == 1) return create(client, options, name);
  if (i == 2) return report(client, options, name);
  return i == 6 ? drop(client, options, name) : change(client, options, word, name);
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  experiments_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "experiments needs a word; see roundhouse help experiments", act);
}

const rh_cli_command rh_cli_experiments = {
    .name = "experiments",
    .arguments = "list|create FILE|report NAME|pause NAME|resume NAME|stop NAME|rm NAME",
    .help = "Test models against each other on real requests",
    .details =
        "FILE is JSON (\"-\" is standard input): name, model, kind, arms with their models, and more; see\n"
        "docs/gateway.md. report says which arm does better, and how sure that is. A stopped experiment cannot run\n"
        "again.\n",
    .flags = experiments_flags,
    .flag_count = EXPERIMENTS_FLAG_COUNT,
    .run = run,
};
