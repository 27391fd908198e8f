// SPDX-License-Identifier: Apache-2.0
//
// A server of our own for the length of one command: this program started as `serve` on a free port.
#ifndef RH_CLI_PRIVATE_H
#define RH_CLI_PRIVATE_H

#include "base/status.h"

typedef struct rh_private rh_private;

// `flags` (NULL-terminated) follow "serve --listen 127.0.0.1:0". Returns when the server listens; the model may still
// be loading. It ends with us, whatever happens to us. Call before other threads exist.
rh_status rh_private_start(const char *const *flags, rh_private **out, rh_error *error) RH_MUST_CHECK;
const char *rh_private_server(const rh_private *server);  // "http://127.0.0.1:PORT"
// The last warning or error that it logged, for messages; "" when there was none. Valid until the next call.
const char *rh_private_complaint(rh_private *server);
void rh_private_stop(rh_private *server);  // NULL is fine

#endif
