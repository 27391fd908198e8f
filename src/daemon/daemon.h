// SPDX-License-Identifier: Apache-2.0
//
// The daemon as the command line sees it.
#ifndef RH_DAEMON_DAEMON_H
#define RH_DAEMON_DAEMON_H

#include "daemon/settings.h"

// Serve until SIGTERM or SIGINT. Prints "listening on http://ADDRESS" to the log once it answers. Returns the process's
// exit status: 0 after a clean shutdown. Takes over the configuration.
int rh_daemon_main(rh_configuration *configuration);

#endif
