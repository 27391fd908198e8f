// SPDX-License-Identifier: Apache-2.0
//
// The commands that have a file of their own.
#ifndef RH_CLI_COMMANDS_H
#define RH_CLI_COMMANDS_H

#include "cli/cli.h"

extern const rh_cli_command rh_cli_serve;
extern const rh_cli_command rh_cli_run;
extern const rh_cli_command rh_cli_list;
extern const rh_cli_command rh_cli_ps;
extern const rh_cli_command rh_cli_info;
extern const rh_cli_command rh_cli_bench;
extern const rh_cli_command rh_cli_config;

#endif
