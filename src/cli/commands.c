// SPDX-License-Identifier: Apache-2.0
//
// The table of commands, and the two that are about the table or the build: help and version.
#include <curl/curl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"

static int run_help(const rh_cli_command *self, int argc, char **argv) {
  (void)self;
  if (argc < 2) return rh_cli_print_help(NULL);
  const rh_cli_command *command = rh_cli_find(argv[1]);
  if (command == NULL)
    return rh_cli_fail(RH_EXIT_USAGE, "there is no command \"%.100s\"; see roundhouse help", argv[1]);
  return rh_cli_print_help(command);
}

typedef struct version_options {
  bool json;
} version_options;

static const rh_setting version_flags[] = {
    RH_CLI_FLAG(RH_SETTING_BOOL, version_options, json, "false", 0, 0, "print JSON"),
};

#ifdef RH_HAVE_LIBEDIT
#define LINE_EDITOR "libedit"
#else
#define LINE_EDITOR "none"
#endif

static int run_version(const rh_cli_command *self, int argc, char **argv) {
  version_options options;
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_args_free(&args);
  const char *curl = curl_version_info(CURLVERSION_NOW)->version;
  if (!options.json) {
    printf("roundhouse %s (%s build)\n", RH_VERSION, RH_BUILD_NAME);
    printf("libmicrohttpd %s, jansson %s, libcurl %s, line editor %s\n", MHD_get_version(), jansson_version_str(), curl,
           LINE_EDITOR);
    return RH_EXIT_OK;
  }
  return rh_cli_print_json(json_pack("{sssss{ssssss}}", "version", RH_VERSION, "build", RH_BUILD_NAME, "libraries",
                                     "libmicrohttpd", MHD_get_version(), "jansson", jansson_version_str(), "libcurl",
                                     curl));
}

static const rh_cli_command help_command = {
    .name = "help", .arguments = "[COMMAND]", .help = "Show what a command does", .details = "", .run = run_help};

static const rh_cli_command version_command = {.name = "version",
                                               .arguments = "",
                                               .help = "Show the version of this program and of its libraries",
                                               .details = "",
                                               .flags = version_flags,
                                               .flag_count = sizeof version_flags / sizeof *version_flags,
                                               .run = run_version};

const rh_cli_command *const rh_cli_commands[] = {
    // serving and asking
    &rh_cli_serve,
    &rh_cli_run,
    &rh_cli_embed,
    // models on disk
    &rh_cli_pull,
    &rh_cli_recommend,
    &rh_cli_list,
    &rh_cli_show,
    &rh_cli_rm,
    &rh_cli_cp,
    &rh_cli_verify,
    &rh_cli_gc,
    &rh_cli_convert,
    &rh_cli_quantize,
    // models of the running server
    &rh_cli_ps,
    &rh_cli_load,
    &rh_cli_stop,
    &rh_cli_pin,
    &rh_cli_alias,
    // the gateway of the running server
    &rh_cli_route,
    &rh_cli_providers,
    &rh_cli_usage,
    &rh_cli_keys,
    &rh_cli_experiments,
    &rh_cli_feedback,
    &rh_cli_cache,
    // the rest
    &rh_cli_info,
    &rh_cli_bench,
    &rh_cli_config,
    &help_command,
    &version_command,
    NULL,
};
