// SPDX-License-Identifier: Apache-2.0
//
// The life of an exchange, seen from the library: its access handler is called at the head, for each piece of body, at
// the end of the request and again after every resume; its completion notice ends the exchange.
//
// An answer is only ever queued from inside the access handler: a handler that answers later stores the built response
// and resumes the connection, and the library then calls the access handler again. While a connection is suspended the
// library does not look at its socket, so our loop watches it for the client's leaving.
//
// Data owned: the exchanges (live and spare). Loop's thread only. It builds no answers of its own except the refusals
// of requests that no handler should see.
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/internal.h"

#define BODY_RESERVE_MAX 262144u  // memory taken on a Content-Length's word alone

// What the library remembers for a request whose URI must be refused; compared, never dereferenced.
static char bad_uri_mark;

// How the request says its body comes.
typedef struct framing {
  bool has_length;
  bool chunked;
  bool unknown_coding;
  bool expects_continue;
  uint64_t length;
} framing;

static void reset_buffer(rh_dynbuf *buf) {
  if (buf->capacity > RH_HTTP_SPARE_BYTES_MAX) {
    rh_dynbuf_free(buf);
  } else {
    rh_dynbuf_clear(buf);
  }
}

static rh_http_exchange *exchange_new(rh_http_server *server) {
  rh_http_exchange *exchange = NULL;
  rh_list_node *spare = rh_list_first(&server->spare);
  if (spare != NULL) {
    rh_list_remove(&server->spare, spare);
    exchange = rh_list_entry(spare, rh_http_exchange, node);
    rh_dynbuf body = exchange->body;
    rh_dynbuf headers = exchange->headers;
    rh_dynbuf out = exchange->out;
    *exchange = (rh_http_exchange){.body = body, .headers = headers, .out = out};
  } else {
    exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return NULL;
    rh_dynbuf_init(&exchange->body, server->options.body_bytes_max);
    rh_dynbuf_init(&exchange->headers, RH_HTTP_HEADER_BYTES_MAX);
    rh_dynbuf_init(&exchange->out, server->options.stream_bytes_max);
  }
  exchange->server = server;
  rh_list_push_back(&server->exchanges, &exchange->node);
  return exchange;
}

void rh_http_exchange_free(rh_http_exchange *exchange) {
  rh_dynbuf_free(&exchange->body);
  rh_dynbuf_free(&exchange->headers);
  rh_dynbuf_free(&exchange->out);
  free(exchange);
}

static void exchange_release(rh_http_exchange *exchange) {
  rh_http_server *server = exchange->server;
  if (exchange->response != NULL) MHD_destroy_response(exchange->response);
  exchange->response = NULL;
  rh_list_remove(&server->exchanges, &exchange->node);
  if (server->closing || server->spare.count >= RH_HTTP_SPARE_MAX) {
    rh_http_exchange_free(exchange);
    return;
  }
  reset_buffer(&exchange->body);
  reset_buffer(&exchange->headers);
  reset_buffer(&exchange->out);
  rh_list_push_front(&server->spare, &exchange->node);
}

// Only from inside the library's callbacks. The watch stays until the exchange is over: a stream is suspended after
// every token, and taking the watch off and on would cost two system calls each time.
void rh_http_exchange_suspend(rh_http_exchange *exchange) {
  assert(!exchange->suspended && exchange->server->running);
  exchange->suspended = true;
  MHD_suspend_connection(exchange->connection);
}

void rh_http_exchange_wake(rh_http_exchange *exchange) {
  if (!exchange->suspended) return;
  exchange->suspended = false;
  exchange->server->dirty = true;
  MHD_resume_connection(exchange->connection);
}

void rh_http_exchange_cut(rh_http_exchange *exchange) {
  if (exchange->phase == EXCHANGE_OVER) return;
  exchange->gone = true;
  if (exchange->suspended) {
    rh_http_exchange_wake(exchange);
  } else if (exchange->phase == EXCHANGE_QUEUED) {
    // The library may be waiting for room in the socket, where it would not ask us until the idle timeout.
    (void)shutdown(rh_http_socket_of(exchange->connection), SHUT_RDWR);
  }
}

// An answer to a request that no handler sees. The library closes the connection after it.
static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text) {
  struct MHD_Response *response =
      MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
  if (response == NULL) return MHD_NO;
  enum MHD_Result queued = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain");
  if (queued == MHD_YES) queued = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  if (queued == MHD_YES) queued = MHD_queue_response(connection, status, response);
  MHD_destroy_response(response);
  return queued;
}

static framing read_framing(struct MHD_Connection *connection) {
  framing found = {0};
  const char *coding = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
  const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
  found.has_length = length != NULL;
  if (length != NULL) found.length = strtoull(length, NULL, 10);  // the library has refused anything but digits
  if (coding != NULL) {
    found.chunked = strcasecmp(coding, "chunked") == 0;
    found.unknown_coding = !found.chunked;
  }
  if (found.chunked || found.length > 0) {
    const char *expect = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
    found.expects_continue = expect != NULL && strcasecmp(expect, "100-continue") == 0;
  }
  return found;
}

static uint64_t drain_bytes_max(const rh_http_server *server) {
  uint64_t limit = server->options.body_bytes_max;
  return limit > UINT64_MAX / RH_HTTP_DRAIN_FACTOR ? UINT64_MAX : limit * RH_HTTP_DRAIN_FACTOR;
}

// Give the answer to the library, or leave the connection alone until there is one.
static enum MHD_Result settle(rh_http_exchange *exchange) {
  if (exchange->gone) return MHD_NO;
  if (exchange->response == NULL) {
    rh_http_exchange_suspend(exchange);
    return MHD_YES;
  }
  enum MHD_Result queued = MHD_queue_response(exchange->connection, exchange->status, exchange->response);
  if (queued == MHD_YES) {
    exchange->phase = EXCHANGE_QUEUED;
    MHD_destroy_response(exchange->response);  // the library holds its own reference
    exchange->response = NULL;
  }
  return queued;
}

static void ask_handler(rh_http_exchange *exchange) {
  exchange->phase = EXCHANGE_ASKED;
  if (exchange->response == NULL && !exchange->gone) {
    exchange->server->handlers.on_request(exchange->server->handlers.ctx, exchange);
  }
}

// The head is complete: let the handler look, then decide what happens to the body.
static enum MHD_Result begin(rh_http_server *server, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, void **slot) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  if (info != NULL && info->header_size > RH_HTTP_HEAD_BYTES_MAX) {
    return refuse(connection, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too long\n");
  }
  framing body = read_framing(connection);
  if (body.chunked && body.has_length) {
    // Two statements of the length: an intermediary may have believed the other one.
    return refuse(connection, MHD_HTTP_BAD_REQUEST, "a request has either Content-Length or Transfer-Encoding\n");
  }
  if (body.unknown_coding) return refuse(connection, MHD_HTTP_NOT_IMPLEMENTED, "unknown Transfer-Encoding\n");

  rh_http_exchange *exchange = exchange_new(server);
  if (exchange == NULL) return MHD_NO;
  *slot = exchange;
  exchange->connection = connection;
  exchange->peer = rh_http_peer_of(connection);
  if (exchange->peer != NULL) exchange->peer->exchange = exchange;
  exchange->method = method;
  exchange->path = url;
  exchange->received_ns = rh_clock_now_ns();
  exchange->http_1_1 = strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
  exchange->head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
  exchange->too_large = body.length > server->options.body_bytes_max;
  server->handlers.on_head(server->handlers.ctx, exchange);
  if (exchange->gone) return MHD_NO;

  // Nobody will use the body. A short one is read and dropped, which keeps the connection; for a long one, or one that
  // the client has not begun to send, answering now is better and ends the connection.
  bool unwanted = exchange->too_large || exchange->response != NULL;
  if (unwanted && (body.expects_continue || body.length > drain_bytes_max(server))) {
    exchange->linger = true;
    ask_handler(exchange);
    return settle(exchange);
  }
  if (!unwanted && body.length > 0) {
    size_t wanted = body.length < BODY_RESERVE_MAX ? (size_t)body.length : BODY_RESERVE_MAX;
    if (rh_dynbuf_reserve(&exchange->body, wanted) == NULL) return MHD_NO;
  }
  return MHD_YES;
}

static enum MHD_Result take_body(rh_http_exchange *exchange, const char *bytes, size_t length) {
  if (exchange->gone) return MHD_NO;
  exchange->body_received += length;
  // The library takes no answer in the middle of a body, so a chunked body without end can only be cut off.
  if (exchange->body_received > drain_bytes_max(exchange->server)) return MHD_NO;
  if (exchange->too_large || exchange->response != NULL) return MHD_YES;
  switch (rh_dynbuf_append(&exchange->body, bytes, length)) {
    case RH_OK: return MHD_YES;
    case RH_TOO_LARGE:
      exchange->too_large = true;
      rh_dynbuf_free(&exchange->body);
      return MHD_YES;
    default: return MHD_NO;
  }
}

void *rh_http_exchange_note_uri(void *ctx, const char *uri, struct MHD_Connection *connection) {
  (void)ctx;
  (void)connection;
  // After decoding, a NUL byte would end the path early, and a check of one path would allow another.
  return strstr(uri, "%00") != NULL ? &bad_uri_mark : NULL;
}

enum MHD_Result rh_http_exchange_access(void *ctx, struct MHD_Connection *connection, const char *url,
                                        const char *method, const char *version, const char *upload,
                                        size_t *upload_length, void **slot) {
  rh_http_server *server = ctx;
  if (*slot == &bad_uri_mark) return refuse(connection, MHD_HTTP_BAD_REQUEST, "the URL contains a NUL byte\n");
  rh_http_exchange *exchange = *slot;
  if (exchange == NULL) {
    if (server->closing) return MHD_NO;
    return begin(server, connection, url, method, version, slot);
  }
  if (*upload_length > 0) {
    size_t length = *upload_length;
    *upload_length = 0;
    return take_body(exchange, upload, length);
  }
  if (exchange->phase == EXCHANGE_READING) ask_handler(exchange);
  return settle(exchange);
}

void rh_http_exchange_completed(void *ctx, struct MHD_Connection *connection, void **slot,
                                enum MHD_RequestTerminationCode reason) {
  rh_http_server *server = ctx;
  if (*slot == NULL || *slot == &bad_uri_mark) return;
  rh_http_exchange *exchange = *slot;
  *slot = NULL;
  bool complete = reason == MHD_REQUEST_TERMINATED_COMPLETED_OK && exchange->phase == EXCHANGE_QUEUED;
  if (exchange->peer != NULL) exchange->peer->exchange = NULL;
  if (rh_list_linked(&exchange->drain_node)) rh_list_remove(&server->drained, &exchange->drain_node);
  if (exchange->linger && complete) rh_http_linger_start(server, rh_http_socket_of(connection));
  exchange->phase = EXCHANGE_OVER;
  exchange->gone = true;
  exchange->suspended = false;
  server->handlers.on_done(server->handlers.ctx, exchange, complete);
  exchange_release(exchange);
}
