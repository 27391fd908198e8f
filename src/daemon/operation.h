// SPDX-License-Identifier: Apache-2.0
//
// Operations: requests that run no model but have a body, take time or stream lines: the admin calls, the gateway's and
// Ollama's model calls. Private to src/daemon. A page (pages.h) is read-only and answers at once; a call (internal.h) runs a model.
//
// Each route has a scope: what a key must be allowed to do (routes.c looks before the body is read).
#ifndef RH_DAEMON_OPERATION_H
#define RH_DAEMON_OPERATION_H

#include "daemon/internal.h"

typedef enum rh_scope {
  RH_SCOPE_READ,       // looks at state
  RH_SCOPE_INFERENCE,  // runs a model
  RH_SCOPE_ADMIN,      // loads, unloads, pulls, deletes, renames
} rh_scope;

typedef struct rh_operation rh_operation;

typedef struct rh_operation_route {
  const char *method;  // "POST"
  const char *path;    // "/api/models/load", or a prefix when it ends with '/': "/api/models/status/"
  const char *name;    // metric label
  rh_scope scope;
  // The whole body is here. Answers now or later with one of the functions below.
  void (*begin)(rh_operation *operation);
} rh_operation_route;

struct rh_operation {
  rh_handler handler;  // first: see rh_handler
  rh_daemon *daemon;
  rh_http_exchange *exchange;
  const rh_operation_route *route;
  rh_key *key;        // the caller's, held; NULL = none was needed
  rh_list_node node;  // in daemon->operations
  char id[RH_ID_SIZE];
  json_t *body;      // an object, empty when the request has no body; owned by the operation
  const char *rest;  // of the path, after a prefix; "" otherwise
  void *state;       // the handler's own
  // The client has left, or the answer is out: release `state`, forget waiters. Called once; may be NULL.
  void (*gone)(rh_operation *operation);
  void (*drained)(rh_operation *operation);  // a stream at WAIT has room again; may be NULL
  bool streaming;
  bool answered;
  bool waiting;  // the stream's reader is slow: rh_operation_line said WAIT and `drained` is owed
  // for the account
  unsigned http_status;
  uint64_t received_ns, answered_ns;
  rh_error error;  // what was answered, when it was an error
};

void rh_operation_answer(rh_operation *operation, unsigned status, json_t *value);  // takes `value`; NULL = no memory
void rh_operation_answer_empty(rh_operation *operation, unsigned status);           // no body at all
// Something else than JSON. NULL = no memory.
void rh_operation_answer_text(rh_operation *operation, unsigned status, const char *type, const char *text);
void rh_operation_fail(rh_operation *operation, const rh_error *error);  // the dialect of its path; in a stream a line
void rh_operation_fail_memory(rh_operation *operation);                  // there is no memory for it
// NDJSON: one object a line. The first line begins the stream.
rh_http_room rh_operation_line(rh_operation *operation, json_t *value);  // takes `value`
void rh_operation_end(rh_operation *operation);                          // ends a stream

// Fields of the body. Missing but required, of a wrong type, or unknown ones: *error names the field. `also` are the
// names of all known fields, NULL-terminated; unknown ones are an error that names the nearest.
rh_status rh_operation_text(const rh_operation *operation, const char *field, bool required, const char **out,
                            rh_error *error) RH_MUST_CHECK;
// "keep_alive": a time or a number of seconds; *out stays as it was when the body has none.
rh_status rh_operation_keep_alive(const rh_operation *operation, int64_t *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_operation_check_fields(const rh_operation *operation, const char *const *also,
                                    rh_error *error) RH_MUST_CHECK;

// --- for routes.c --------------------------------------------------------------------------------------------------

// The tables of routes, one a file, each ended by a row without a path.
extern const rh_operation_route rh_routes_admin[];        // admin.c: /api/models...
extern const rh_operation_route rh_routes_cancel[];       // cancel.c: /api/inference/cancel/{request_id}
extern const rh_operation_route rh_routes_explain[];      // gateway_explain.c: /api/route/explain
extern const rh_operation_route rh_routes_usage[];        // gateway_usage.c: /api/usage, /api/prices
extern const rh_operation_route rh_routes_keys[];         // gateway_keys.c: /api/keys...
extern const rh_operation_route rh_routes_experiments[];  // gateway_experiments.c: /api/experiments...
extern const rh_operation_route rh_routes_feedback[];     // gateway_feedback.c: /api/feedback, /api/cache
extern const rh_operation_route rh_routes_ollama[];       // ollama.c: /api/tags, /api/show, /api/ps, /api/pull, ...

// The route of a request: the exact path, else the longest prefix. NULL when there is none.
const rh_operation_route *rh_operation_find(const char *method, const char *path);
bool rh_operation_body_expected(const rh_http_exchange *exchange);
// At the request's head. `key` is the caller's, held for the operation; NULL = none.
void rh_operation_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_operation_route *route, rh_key *key);

#endif
