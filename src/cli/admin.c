// SPDX-License-Identifier: Apache-2.0
//
// The frame of the commands that change a running server. Owns the client for as long as the command runs. One thread.
// It never starts a server: a private one would end with the command, and the change with it.
#include "cli/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/connect.h"
#include "cli/interrupt.h"
#include "cli/output.h"

typedef struct common_options {
  RH_CLI_COMMON_FIELDS;
} common_options;

static int with_server(const common_options *common, const void *options, const rh_cli_args *args,
                       int (*fn)(rh_client *client, const void *options, const rh_cli_args *args)) {
  bool chosen;
  rh_client *client;
  rh_error error = {0};
  if (!rh_interrupt_install()) return rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  char *server = rh_connect_address(common->server, &chosen);
  if (server == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory for the server's address");
  rh_status status = rh_client_new(server, &client, &error);
  free(server);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  int code = fn(client, options, args);
  rh_client_free(client);
  return code;
}

int rh_admin_run(const rh_cli_command *self, int argc, char **argv, void *options, const char *usage,
                 int (*fn)(rh_client *client, const void *options, const rh_cli_args *args)) {
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, options, NULL, &args);
  if (code >= 0) return code;
  const common_options *common = options;
  rh_cli_use_color(common->color);
  if (args.count == 0 && usage != NULL)
    code = rh_cli_fail(RH_EXIT_USAGE, "%s", usage);
  else
    code = with_server(common, options, &args, fn);
  rh_cli_args_free(&args);
  rh_config_release(self->flags, self->flag_count, options);
  return code;
}

int rh_admin_post(rh_client *client, const char *path, json_t *body, long timeout_ms, bool json, const char *sentence) {
  rh_error error = {0};
  json_t *answer = NULL;
  rh_status status = body == NULL ? rh_fail(&error, RH_NO_MEMORY, "no memory for a request")
                                  : rh_client_call(client, "POST", path, body, timeout_ms, &answer, &error);
  json_decref(body);
  int code = RH_EXIT_OK;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else if (json)
    code = rh_cli_print_json(answer != NULL ? json_incref(answer) : json_object());
  else
    printf("%s\n", sentence);
  json_decref(answer);
  return code;
}
