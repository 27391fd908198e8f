// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse recommend`: the best model of the catalogue for this machine, and why not a bigger one; with --all the
// whole catalogue and what fits. Owns nothing. One thread. Opens no connection.
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/disk.h"
#include "cli/output.h"
#include "model/known.h"

typedef struct recommend_options {
  char *task;
  bool all;
  bool json;
  bool color;
} recommend_options;

#define FLAG(kind, name, initial, about) RH_CLI_FLAG(kind, recommend_options, name, initial, 0, 0, about)

static const rh_setting recommend_flags[] = {
    FLAG(RH_SETTING_STRING, task, NULL, "what it is for: chat (the default), embeddings, ..."),
    FLAG(RH_SETTING_BOOL, all, "false", "list the whole catalogue and what fits this machine"),
    FLAG(RH_SETTING_BOOL, json, "false", "print JSON"),
    FLAG(RH_SETTING_BOOL, color, "true", "colours on a terminal; also NO_COLOR"),
};
#define RECOMMEND_FLAG_COUNT (sizeof recommend_flags / sizeof *recommend_flags)

static json_t *known_or_null(const rh_known *known) { return known != NULL ? rh_known_to_json(known) : json_null(); }

static int print_one(const rh_recommendation *found, bool json) {
  if (json) {
    return rh_cli_print_json(json_pack("{sosssoss}", "best", known_or_null(found->best), "why", found->why, "bigger",
                                       known_or_null(found->bigger), "why_not_bigger", found->why_not_bigger));
  }
  if (found->best == NULL) return rh_cli_fail(RH_EXIT_ERROR, "nothing of the catalogue fits: %s", found->why);
  char size[32];
  rh_cli_format_bytes(size, sizeof size, found->best->bytes);
  printf("%s%s:%s%s  %s (%s, %s)\n", rh_cli_style(stdout, RH_STYLE_BOLD), found->best->name, found->best->version,
         rh_cli_style(stdout, RH_STYLE_OFF), found->best->title, size, found->best->licence);
  printf("%s\n", found->why);
  if (found->bigger != NULL) printf("Why not a bigger one: %s\n", found->why_not_bigger);
  printf("\nTo get it:  roundhouse pull %s:%s\n", found->best->name, found->best->version);
  return RH_EXIT_OK;
}

// Safetensors of these tasks are converted to GGUF when they are pulled.
static const char *engine_of(const rh_known *known) {
  static const char *const converted[] = {"chat", "completion", "embeddings"};
  const char *engine = rh_format_engine(known->format);
  for (size_t i = 0; engine == NULL && known->format == RH_FORMAT_SAFETENSORS && i < 3; i++) {
    if (known->task != NULL && strcmp(known->task, converted[i]) == 0) engine = rh_format_engine(RH_FORMAT_GGUF);
  }
  return engine;
}

static bool wanted(const rh_known *known, const char *task) {
  return task == NULL || (known->task != NULL && strcmp(known->task, task) == 0);
}

// Entries of the configuration belong to the catalogue. A wrong configuration adds none: the built-in ones can be told
// about all the same.
static void read_configuration(void) {
  rh_error ignored = {0};
  rh_configuration_free(rh_connect_configuration(&ignored));
}

int rh_cli_print_known(const char *task, bool json) {
  rh_hardware hardware;
  rh_hardware_probe(&hardware);
  static const char *const headings[] = {"NAME", "TASK",    "FORMAT", "QUANTIZATION", ">SIZE", ">MEMORY",
                                         "FITS", "LICENCE", NULL};
  json_t *list = json ? json_array() : NULL;
  rh_table *table = json ? NULL : rh_table_new(headings);
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *known = rh_known_at(i);
    if (!wanted(known, task)) continue;
    rh_error why = {0};
    bool fits = rh_known_fits(known, &hardware, &why) == RH_OK;
    bool served = engine_of(known) != NULL;
    if (json) {
      json_t *entry = rh_known_to_json(known);
      json_object_set_new(entry, "fits", json_boolean(fits));
      json_object_set_new(entry, "why_not", fits ? json_null() : json_string(why.message));
      json_object_set_new(entry, "served", json_boolean(served));
      json_array_append_new(list, entry);
      continue;
    }
    char name[2 * RH_MODEL_NAME_MAX + 2], size[32], memory[32];
    snprintf(name, sizeof name, "%s:%s", known->name, known->version);
    rh_cli_format_bytes(size, sizeof size, known->bytes);
    rh_cli_format_bytes(memory, sizeof memory, known->memory_bytes);
    rh_table_add(table, (const char *const[]){name, known->task, rh_format_name(known->format), known->quantization,
                                              size, memory,
                                              !fits    ? "no"
                                              : served ? "yes"
                                                       : "no engine here",
                                              known->licence});
  }
  return json ? rh_cli_print_json(list) : rh_table_print_free(table, stdout);
}

static int recommend(const recommend_options *options) {
  rh_hardware hardware;
  rh_recommendation found;
  if (options->all) return rh_cli_print_known(options->task, options->json);
  read_configuration();
  rh_hardware_probe(&hardware);
  rh_known_recommend(&hardware, options->task, &found);
  return print_one(&found, options->json);
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  recommend_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count > 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "recommend takes no arguments, but \"%.100s\" was given", args.words[0]);
  else
    code = recommend(&options);
  rh_cli_args_free(&args);
  rh_config_release(recommend_flags, RECOMMEND_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_recommend = {
    .name = "recommend",
    .arguments = "",
    .help = "Name the best model of the catalogue for this machine",
    .details = "Looks at the memory, the processor and the GPUs; opens no connection. roundhouse pull auto gets it.\n",
    .flags = recommend_flags,
    .flag_count = RECOMMEND_FLAG_COUNT,
    .run = run,
};
