// SPDX-License-Identifier: Apache-2.0
//
// The HTTP client of the commands, over libcurl. One thread.
//
// Every request carries the key of rh_client_use_key, or else of the variable ROUNDHOUSE_API_KEY.
//
// Statuses: RH_IO no server answers; RH_CANCELLED Ctrl-C (see interrupt.h); RH_UNAVAILABLE the connection broke or the
// server is busy; others as the server's error says. error->message is the server's own sentence where it sent one.
#ifndef RH_CLI_CLIENT_H
#define RH_CLI_CLIENT_H

#include <curl/curl.h>
#include <jansson.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_CLIENT_ERROR_BYTES_MAX ((size_t)64 * 1024)

typedef struct rh_client rh_client;

rh_status rh_client_new(const char *server, rh_client **out, rh_error *error) RH_MUST_CHECK;  // "http://host:port"
void rh_client_free(rh_client *client);
const char *rh_client_server(const rh_client *client);

// The key of all requests of this process from now on. RH_INVALID: it cannot stand in a header.
rh_status rh_client_use_key(const char *key, rh_error *error) RH_MUST_CHECK;
// One more header ("Name: value") of all requests of this client.
rh_status rh_client_add_header(rh_client *client, const char *header, rh_error *error) RH_MUST_CHECK;
// Appends "?name=value" or "&name=value", escaped; nothing when `value` is NULL or "".
rh_status rh_client_append_query(rh_dynbuf *path, const char *name, const char *value) RH_MUST_CHECK;
// The same for one more part of a path: "/value", with nothing in it that could be taken for another part.
rh_status rh_client_append_part(rh_dynbuf *path, const char *value) RH_MUST_CHECK;

// GET `path`; *out is a new reference. `timeout_ms` 0 = none.
rh_status rh_client_get_json(rh_client *client, const char *path, long timeout_ms, json_t **out,
                             rh_error *error) RH_MUST_CHECK;

// GET `path`, whatever it is; `out` gets the bytes.
rh_status rh_client_get_text(rh_client *client, const char *path, long timeout_ms, rh_dynbuf *out,
                             rh_error *error) RH_MUST_CHECK;

// POST `body`. The bytes of a 2xx answer go to `sink` as they come; a status that is not RH_OK ends the request.
rh_status rh_client_post_stream(rh_client *client, const char *path, const json_t *body,
                                rh_status (*sink)(void *ctx, const char *bytes, size_t length), void *ctx,
                                rh_error *error) RH_MUST_CHECK;

// Any request: `method` is GET, POST or DELETE, `body` may be NULL. *out (may be NULL) is a new reference, or NULL when the
// answer has no body.
rh_status rh_client_call(rh_client *client, const char *method, const char *path, const json_t *body, long timeout_ms,
                         json_t **out, rh_error *error) RH_MUST_CHECK;

// POST `body`; `line` gets each line of an NDJSON answer as it comes (borrowed). A line with an "error" ends the call with
// what it says, and so does a status of `line` that is not RH_OK (it fills the error). Lines are at most 4 MiB.
rh_status rh_client_post_lines(rh_client *client, const char *path, const json_t *body,
                               rh_status (*line)(void *ctx, const json_t *value, rh_error *error), void *ctx,
                               rh_error *error) RH_MUST_CHECK;

// Shared with the benchmark, which drives many requests at once.
// A handle for a POST of `body` (borrowed until the request is over), or NULL when memory is short.
CURL *rh_client_post_handle(const char *server, const char *path, const char *body, struct curl_slist *headers);
struct curl_slist *rh_client_post_headers(void);  // NULL when memory is short
// The status and sentence of an error answer.
rh_status rh_client_error_answer(long http_status, const char *body, size_t length, rh_error *error);

#endif
