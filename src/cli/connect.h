// SPDX-License-Identifier: Apache-2.0
//
// Which server a command talks to: the one that was named, the usual one, or a private one.
#ifndef RH_CLI_CONNECT_H
#define RH_CLI_CONNECT_H

#include "cli/client.h"
#include "cli/private.h"
#include "daemon/settings.h"

// The address to ask. `asked` is --server or NULL. *chosen tells whether a person named it (flag or ROUNDHOUSE_SERVER).
// The caller frees the result; NULL when memory is short.
char *rh_connect_address(const char *asked, bool *chosen);
// "host:port", ":port" or an URL to "http://host:port"; a wildcard address becomes the loopback. Caller frees.
char *rh_connect_url(const char *address);

// The configuration as `serve` would read it without flags; NULL when it is wrong (*error says why).
rh_configuration *rh_connect_configuration(rh_error *error);

// True when a roundhouse server answers there.
bool rh_connect_answers(const char *server);

typedef struct rh_session {
  rh_client *client;
  rh_private *own;  // NULL when the server is not ours
  char model[160];  // the name to ask for
} rh_session;

// A server that knows `model` (a name or a file): see the rules in connect.c. `slots` > 0 asks a private server for so
// many. Messages about waiting go to standard error when it is a terminal.
rh_status rh_session_open(const char *asked, const char *model, int64_t slots, rh_session *out,
                          rh_error *error) RH_MUST_CHECK;
void rh_session_close(rh_session *session);

#endif
