// SPDX-License-Identifier: Apache-2.0
//
// The commands that have a file of their own.
#ifndef RH_CLI_COMMANDS_H
#define RH_CLI_COMMANDS_H

#include "cli/cli.h"

extern const rh_cli_command rh_cli_serve;
extern const rh_cli_command rh_cli_run;
extern const rh_cli_command rh_cli_embed;
extern const rh_cli_command rh_cli_pull;
extern const rh_cli_command rh_cli_recommend;
extern const rh_cli_command rh_cli_list;
extern const rh_cli_command rh_cli_show;
extern const rh_cli_command rh_cli_rm;
extern const rh_cli_command rh_cli_cp;
extern const rh_cli_command rh_cli_verify;
extern const rh_cli_command rh_cli_gc;
extern const rh_cli_command rh_cli_convert;
extern const rh_cli_command rh_cli_quantize;
extern const rh_cli_command rh_cli_ps;
extern const rh_cli_command rh_cli_load;
extern const rh_cli_command rh_cli_stop;
extern const rh_cli_command rh_cli_pin;
extern const rh_cli_command rh_cli_alias;
extern const rh_cli_command rh_cli_route;
extern const rh_cli_command rh_cli_providers;
extern const rh_cli_command rh_cli_usage;
extern const rh_cli_command rh_cli_keys;
extern const rh_cli_command rh_cli_experiments;
extern const rh_cli_command rh_cli_feedback;
extern const rh_cli_command rh_cli_cache;
extern const rh_cli_command rh_cli_info;
extern const rh_cli_command rh_cli_bench;
extern const rh_cli_command rh_cli_config;

#endif
