// SPDX-License-Identifier: Apache-2.0
//
// The HTTP/1.1 server: listener, connections, bodies, streamed answers. It knows no dialect and no model.
//
// Thread: the event loop's thread, always. libmicrohttpd runs inside our loop (external epoll), so nothing here locks.
// An exchange is one request and its answer. It is owned by the server and lives until on_done was called for it.
#ifndef RH_HTTP_HTTP_H
#define RH_HTTP_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/status.h"

typedef struct rh_http_server rh_http_server;
typedef struct rh_http_exchange rh_http_exchange;

typedef struct rh_http_options {
  const char *address;       // "127.0.0.1:8080", "[::1]:0" (0 = any free port), "0.0.0.0:80"
  size_t body_bytes_max;     // larger bodies get 413
  size_t connections_max;    // further ones wait in the backlog
  size_t stream_bytes_high;  // bytes buffered for a slow reader before WAIT (64 KiB)
  size_t stream_bytes_max;   // hard bound; passing it closes the connection
  uint64_t idle_timeout_ns;  // keep-alive without a request, or a reader that takes nothing
} rh_http_options;

typedef struct rh_http_handlers {
  // Headers are complete, the body is not read yet. The handler may answer already here (404, 405, 415...); then the
  // body is read and dropped and on_request is not called.
  void (*on_head)(void *ctx, rh_http_exchange *exchange);
  // The whole request is here. The handler answers now or later.
  void (*on_request)(void *ctx, rh_http_exchange *exchange);
  // A streamed answer was at WAIT and has room again.
  void (*on_drain)(void *ctx, rh_http_exchange *exchange);
  // The exchange is over: answered in full (`complete`) or the client has gone. Called exactly once for each exchange
  // that on_head saw, always from the loop, never from inside another rh_http_ call of the handler. The exchange is
  // freed after it returns.
  void (*on_done)(void *ctx, rh_http_exchange *exchange, bool complete);
  void *ctx;
} rh_http_handlers;

rh_status rh_http_server_new(rh_loop *loop, const rh_http_options *options, const rh_http_handlers *handlers,
                             rh_http_server **out, rh_error *error) RH_MUST_CHECK;
void rh_http_server_free(rh_http_server *server);            // closes all connections
void rh_http_server_stop_listening(rh_http_server *server);  // running exchanges go on; new connections are refused
const char *rh_http_server_address(const rh_http_server *server);  // "127.0.0.1:8080" with the real port
size_t rh_http_server_connections(const rh_http_server *server);   // open now
size_t rh_http_server_exchanges(const rh_http_server *server);     // begun and not done

// The request. Strings live as long as the exchange.
const char *rh_http_method(const rh_http_exchange *exchange);
const char *rh_http_path(const rh_http_exchange *exchange);                      // decoded, without the query
const char *rh_http_query(const rh_http_exchange *exchange, const char *name);   // NULL when absent
const char *rh_http_header(const rh_http_exchange *exchange, const char *name);  // NULL when absent; any case
void rh_http_each_header(const rh_http_exchange *exchange, void (*take)(void *ctx, const char *name, const char *value),
                         void *ctx);
const char *rh_http_last_header(const rh_http_exchange *exchange, const char *name);  // of several lines of that name
const char *rh_http_body(const rh_http_exchange *exchange, size_t *length);
uint64_t rh_http_received_ns(const rh_http_exchange *exchange);  // when the headers were complete
// The client's numeric address ("127.0.0.1", "::1"); "" when the system does not say.
const char *rh_http_client_address(const rh_http_exchange *exchange);
// In on_request: the body passed the limit and was dropped.
bool rh_http_body_too_large(const rh_http_exchange *exchange);

// A slot for the handler's own pointer.
void rh_http_set_user(rh_http_exchange *exchange, void *user);
void *rh_http_user(const rh_http_exchange *exchange);

// The answer. A header set before the answer begins is copied. HEAD requests send the headers only, by themselves.
rh_status rh_http_set_header(rh_http_exchange *exchange, const char *name, const char *value);
rh_status rh_http_respond(rh_http_exchange *exchange, unsigned status, const char *content_type, const void *body,
                          size_t length);  // copies the body; Content-Length is set

typedef enum rh_http_room { RH_HTTP_GO, RH_HTTP_WAIT, RH_HTTP_GONE } rh_http_room;

rh_status rh_http_stream_begin(rh_http_exchange *exchange, unsigned status, const char *content_type);
rh_http_room rh_http_stream_write(rh_http_exchange *exchange, const void *bytes, size_t length);
void rh_http_stream_end(rh_http_exchange *exchange);
uint64_t rh_http_stream_last_write_ns(const rh_http_exchange *exchange);  // for comment pings

bool rh_http_answered(const rh_http_exchange *exchange);  // respond or stream_begin was called

#endif
