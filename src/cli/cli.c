// SPDX-License-Identifier: Apache-2.0
//
// Finds the command, reads its flags, prints help: all from the tables. Owns nothing that outlives a call. One thread.
// It knows no command by name; commands.c lists them.
#include "cli/cli.h"

#include <assert.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/output.h"

#define HELP_BYTES_MAX (256 * 1024)
#define COMMANDS_MAX 64

int rh_cli_fail(int code, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  fflush(stdout);
  // Messages may quote what a server said.
  fprintf(stderr, "%sroundhouse:%s ", rh_cli_style(stderr, RH_STYLE_ERROR), rh_cli_style(stderr, RH_STYLE_OFF));
  rh_cli_write_text(stderr, message, strlen(message));
  fputc('\n', stderr);
  return code;
}

int rh_cli_fail_status(const rh_error *error) {
  if (error->status == RH_CANCELLED) return RH_EXIT_INTERRUPTED;
  return rh_cli_fail(error->status == RH_IO ? RH_EXIT_UNREACHABLE : RH_EXIT_ERROR, "%s", error->message);
}

const rh_cli_command *rh_cli_find(const char *name) {
  for (size_t i = 0; rh_cli_commands[i] != NULL; i++) {
    if (strcmp(rh_cli_commands[i]->name, name) == 0) return rh_cli_commands[i];
  }
  return NULL;
}

static void append_overview(rh_dynbuf *out) {
  rh_dynbuf_printf(out, "roundhouse %s serves language models on this machine.\n\n", RH_VERSION);
  rh_dynbuf_append_text(out, "Usage: roundhouse COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:\n");
  for (size_t i = 0; rh_cli_commands[i] != NULL; i++) {
    rh_dynbuf_printf(out, "  %-11s  %s\n", rh_cli_commands[i]->name, rh_cli_commands[i]->help);
  }
  rh_dynbuf_append_text(
      out,
      "\nroundhouse help COMMAND shows a command's flags. ROUNDHOUSE_SERVER names the server to ask;\n"
      "without it, it is the address that roundhouse.json listens on, http://127.0.0.1:8080 by default.\n"
      "ROUNDHOUSE_API_KEY is the key for a server that needs one.\n");
}

static rh_status append_command(const rh_cli_command *command, rh_dynbuf *out) {
  bool has_flags = command->flag_count > 0 || command->more_help != NULL;
  rh_dynbuf_printf(out, "Usage: roundhouse %s%s%s%s\n\n%s.\n", command->name, has_flags ? " [FLAGS]" : "",
                   command->arguments[0] != '\0' ? " " : "", command->arguments, command->help);
  if (command->details[0] != '\0') rh_dynbuf_printf(out, "\n%s", command->details);
  if (has_flags) rh_dynbuf_append_text(out, "\nFlags:\n");
  rh_status status = rh_config_help(command->flags, command->flag_count, out);
  if (status != RH_OK) return status;
  return command->more_help != NULL ? command->more_help(out) : RH_OK;
}

int rh_cli_print_help(const rh_cli_command *command) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, HELP_BYTES_MAX);
  rh_status status = RH_OK;
  if (command == NULL)
    append_overview(&text);
  else
    status = append_command(command, &text);
  bool failed = status != RH_OK || text.failed;
  if (!failed) fputs(rh_dynbuf_data(&text), stdout);
  rh_dynbuf_free(&text);
  return failed ? rh_cli_fail(RH_EXIT_ERROR, "no memory to print the help") : RH_EXIT_OK;
}

static int unknown_flag(const rh_cli_command *command, const char *argument) {
  char key[64];
  const char *keys[COMMANDS_MAX];
  size_t count = 0;
  snprintf(key, sizeof key, "%.60s", argument + strspn(argument, "-"));
  key[strcspn(key, "=")] = '\0';
  for (char *c = key; *c != '\0'; c++) *c = *c == '-' ? '_' : *c;
  for (size_t i = 0; i < command->flag_count && count < COMMANDS_MAX; i++) keys[count++] = command->flags[i].key;
  const char *near = rh_text_nearest(key, keys, count);
  char hint[80];
  if (near != NULL)
    snprintf(hint, sizeof hint, "did you mean --%s?", near);
  else
    snprintf(hint, sizeof hint, "see roundhouse help %s", command->name);
  for (char *c = hint; near != NULL && *c != '\0'; c++) *c = *c == '_' ? '-' : *c;
  return rh_cli_fail(RH_EXIT_USAGE, "%s has no flag %.100s; %s", command->name, argument, hint);
}

// One argument. -1: go on.
static int parse_one(const rh_cli_command *command, int argc, char **argv, int *index, void *options,
                     rh_setting_origin *origins, rh_cli_args *args) {
  const char *argument = argv[*index];
  if (argument[0] != '-' || argument[1] == '\0') {
    args->words[args->count++] = argument;
    *index += 1;
    return -1;
  }
  if (strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0) return rh_cli_print_help(command);
  rh_error error = {0};
  rh_status status =
      rh_config_from_flag(command->flags, command->flag_count, argc, argv, index, options, origins, &error);
  if (status == RH_OK) return -1;
  if (status == RH_NOT_FOUND) return unknown_flag(command, argument);
  return rh_cli_fail(RH_EXIT_USAGE, "%s", error.message);
}

// --key is every command's that talks to a server, and the same for all requests of it.
static int take_key(const rh_cli_command *command, const void *options) {
  rh_error error = {0};
  for (size_t i = 0; i < command->flag_count; i++) {
    const rh_setting *flag = &command->flags[i];
    if (flag->type != RH_SETTING_STRING || strcmp(flag->key, "key") != 0) continue;
    const char *key = *(char *const *)(const void *)((const char *)options + flag->offset);
    if (key == NULL || key[0] == '\0') return -1;
    return rh_client_use_key(key, &error) == RH_OK ? -1 : rh_cli_fail(RH_EXIT_USAGE, "%s", error.message);
  }
  return -1;
}

int rh_cli_parse(const rh_cli_command *command, int argc, char **argv, void *options, rh_setting_origin *origins,
                 rh_cli_args *args) {
  assert(argc >= 1);
  rh_error error = {0};
  *args = (rh_cli_args){.words = calloc((size_t)argc, sizeof *args->words)};
  if (args->words == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory to read the command line");
  int code = -1;
  if (rh_config_defaults(command->flags, command->flag_count, options, origins, &error) != RH_OK) {
    code = rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  }
  for (int i = 1; code < 0 && i < argc;) {
    if (strcmp(argv[i], "--") == 0) {
      for (i++; i < argc; i++) args->words[args->count++] = argv[i];
      break;
    }
    code = parse_one(command, argc, argv, &i, options, origins, args);
  }
  if (code < 0) code = take_key(command, options);
  if (code < 0) return -1;
  rh_cli_args_free(args);
  rh_config_release(command->flags, command->flag_count, options);
  return code;
}

void rh_cli_args_free(rh_cli_args *args) {
  free(args->words);
  *args = (rh_cli_args){.words = NULL};
}

static int unknown_command(const char *name) {
  const char *names[COMMANDS_MAX];
  size_t count = 0;
  while (rh_cli_commands[count] != NULL && count < COMMANDS_MAX) {
    names[count] = rh_cli_commands[count]->name;
    count++;
  }
  const char *near = rh_text_nearest(name, names, count);
  if (near == NULL) return rh_cli_fail(RH_EXIT_USAGE, "there is no command \"%.100s\"; see roundhouse help", name);
  return rh_cli_fail(RH_EXIT_USAGE, "there is no command \"%.100s\"; did you mean \"%s\"?", name, near);
}

int rh_cli_main(int argc, char **argv) {
  // Only characters: numbers must keep their point in JSON and tables.
  setlocale(LC_CTYPE, "");
  // A reader of our output that went away (`| head`) shows up as a write error.
  signal(SIGPIPE, SIG_IGN);
  // What is worth a line in a server's log (a file of the models folder that is skipped, say) is noise here; `serve`
  // and `config check` turn the log on.
  rh_log_setup(STDERR_FILENO, RH_LOG_OFF, RH_LOG_PLAIN);
  if (argc < 2) {
    rh_cli_print_help(NULL);
    return RH_EXIT_USAGE;
  }
  const char *name = argv[1];
  if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) return rh_cli_print_help(NULL);
  if (strcmp(name, "--version") == 0) name = "version";
  const rh_cli_command *command = rh_cli_find(name);
  if (command == NULL) return unknown_command(name);
  int code = command->run(command, argc - 1, argv + 1);
  if (fflush(stdout) != 0 && code == RH_EXIT_OK) code = RH_EXIT_ERROR;
  return code;
}
