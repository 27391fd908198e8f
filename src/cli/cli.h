// SPDX-License-Identifier: Apache-2.0
//
// The commands of `roundhouse` as a table, and what they share: flags, exit codes, errors.
#ifndef RH_CLI_CLI_H
#define RH_CLI_CLI_H

#include <stddef.h>

#include "base/config.h"
#include "base/status.h"

enum {
  RH_EXIT_OK = 0,
  RH_EXIT_ERROR = 1,        // the answer was an error
  RH_EXIT_USAGE = 2,        // the command line is wrong
  RH_EXIT_UNREACHABLE = 3,  // no server answers
  RH_EXIT_INTERRUPTED = 130,
};

typedef struct rh_cli_command rh_cli_command;
struct rh_cli_command {
  const char *name;
  const char *arguments;  // as help shows them: "MODEL [TEXT...]"
  const char *help;       // one line
  const char *details;    // further lines, each ending with a newline; may be ""
  const rh_setting *flags;
  size_t flag_count;
  // argv[0] is the command's name. Returns the process's exit status.
  int (*run)(const rh_cli_command *self, int argc, char **argv);
  // Appends to the help what is not in `flags`; may be NULL.
  rh_status (*more_help)(rh_dynbuf *out);
};

// All commands in the order of the help, NULL-terminated (commands.c).
extern const rh_cli_command *const rh_cli_commands[];

int rh_cli_main(int argc, char **argv);
const rh_cli_command *rh_cli_find(const char *name);   // NULL when unknown
int rh_cli_print_help(const rh_cli_command *command);  // NULL: the overview

// Flags that every command which talks to a server has. Put RH_CLI_COMMON_FIELDS first in the options' struct and
// RH_CLI_COMMON_FLAGS(owner) first in the table.
#define RH_CLI_COMMON_FIELDS \
  char *server;              \
  char *key;                 \
  bool json;                 \
  bool color

#define RH_CLI_FLAG(kind, owner, name, initial, low, high, about)                                                  \
  {                                                                                                                \
    .key = #name, .type = kind, .offset = offsetof(owner, name), .default_text = initial, .min = low, .max = high, \
    .help = about                                                                                                  \
  }
#define RH_CLI_COMMON_FLAGS(owner)                                                           \
  RH_CLI_FLAG(RH_SETTING_STRING, owner, server, NULL, 0, 0, "address of the server to ask"), \
      RH_CLI_FLAG(RH_SETTING_STRING, owner, key, NULL, 0, 0,                                 \
                  "API key; others may see it here, so better in ROUNDHOUSE_API_KEY"),       \
      RH_CLI_FLAG(RH_SETTING_BOOL, owner, json, "false", 0, 0, "print JSON"),                \
      RH_CLI_FLAG(RH_SETTING_BOOL, owner, color, "true", 0, 0, "colours on a terminal; also NO_COLOR")

// What is left of a command line without its flags. Borrowed from argv; `words` is freed by rh_cli_args_free.
typedef struct rh_cli_args {
  const char **words;
  size_t count;
} rh_cli_args;

// Fills `options` (defaults first) and `args`. -1: go on. Otherwise the exit status to return at once (help was
// printed, or an error); everything is released then. After -1 the caller calls rh_cli_args_free and rh_config_release.
int rh_cli_parse(const rh_cli_command *command, int argc, char **argv, void *options, rh_setting_origin *origins,
                 rh_cli_args *args);
void rh_cli_args_free(rh_cli_args *args);

// "roundhouse: MESSAGE" on standard error; returns `code`.
int rh_cli_fail(int code, const char *format, ...) RH_PRINTF(2, 3);
// The same for a status: RH_IO is "no server", RH_CANCELLED "interrupted", anything else an error.
int rh_cli_fail_status(const rh_error *error);

#endif
