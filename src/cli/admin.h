// SPDX-License-Identifier: Apache-2.0
//
// What the commands that change a running server share: load, stop, pin, alias.
#ifndef RH_CLI_ADMIN_H
#define RH_CLI_ADMIN_H

#include "cli/cli.h"
#include "cli/client.h"

// Reads the flags of `self` into `options` (which begins with RH_CLI_COMMON_FIELDS), finds the server and calls `fn`.
// `usage` (may be NULL) is what to say when there are no arguments. Returns the exit status.
int rh_admin_run(const rh_cli_command *self, int argc, char **argv, void *options, const char *usage,
                 int (*fn)(rh_client *client, const void *options, const rh_cli_args *args));

// POST `body` (taken over; NULL = no memory) and print `sentence`, or the answer with `json`. Exit status.
int rh_admin_post(rh_client *client, const char *path, json_t *body, long timeout_ms, bool json, const char *sentence);

#endif
