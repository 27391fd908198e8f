// SPDX-License-Identifier: Apache-2.0
//
// Hosts as they are written in addresses.
#ifndef RH_BASE_ADDRESS_H
#define RH_BASE_ADDRESS_H

#include <stdbool.h>

// Is "localhost", "127.0.0.1", "::1" (without brackets), ... this machine and nothing else? No name is resolved: one that is not
// known to be this machine's own may be anything.
bool rh_host_is_loopback(const char *host);

#endif
