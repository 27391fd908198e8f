// SPDX-License-Identifier: Apache-2.0
//
// What `roundhouse config check` says of providers and of who may use the server. Private to config*.c.
#ifndef RH_CLI_CONFIG_GATEWAY_H
#define RH_CLI_CONFIG_GATEWAY_H

#include "daemon/settings.h"

void rh_config_print_providers(const rh_configuration *conf);
// Returns the exit status: an error when `serve` would refuse to listen.
int rh_config_print_access(const rh_configuration *conf);

#endif
