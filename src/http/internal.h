// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share. Nothing outside it includes this header.
//
// Thread: the loop's, for everything. A connection belongs to libmicrohttpd; an exchange belongs to the server's list
// from the first call of the access handler to the notice of completion, then to the list of spare ones.
#ifndef RH_HTTP_INTERNAL_H
#define RH_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "base/dynbuf.h"
#include "base/list.h"
#include "http/http.h"

#define RH_HTTP_CONNECTION_BYTES 40960u  // the library's memory per connection, which it wipes after every request
#define RH_HTTP_HEAD_BYTES_MAX 24576u    // of a request; leaves the connection's memory room for body and answer
#define RH_HTTP_HEADER_BYTES_MAX 8192u   // all headers one handler may set
#define RH_HTTP_DRAIN_FACTOR 4u          // an unwanted body is read and dropped up to this many times the limit
#define RH_HTTP_SPARE_MAX 64u            // exchanges kept for reuse
#define RH_HTTP_SPARE_BYTES_MAX 16384u   // a larger buffer is given back instead of kept with a spare exchange
#define RH_HTTP_LINGER_MAX 64u           // connections that are read to their end after an early answer

// Where an exchange is. Only exchange.c moves it, always forward.
typedef enum exchange_phase {
  EXCHANGE_READING,  // on_head was called; the library reads the body
  EXCHANGE_ASKED,    // the handler has the whole request (or has answered at the head); its answer is not queued
  EXCHANGE_QUEUED,   // the library has the answer and sends it
  EXCHANGE_OVER,     // completion was noticed: on_done runs, every call of the handler is refused
} exchange_phase;

// What we keep of a connection, whatever it is doing: a watch of its socket for the client's leaving. The library does not
// look at a suspended connection; and when a client's last bytes and its end arrive as one piece of news, the library
// reads the bytes and waits for more news, which would be its idle timeout.
typedef struct rh_http_peer {
  rh_http_server *server;
  rh_watch watch;
  rh_http_exchange *exchange;  // the request that is running on it, or NULL
  rh_list_node node;           // in server->hung_up
  char address[48];            // of the client; "" = not asked yet
} rh_http_peer;

struct rh_http_exchange {
  rh_http_server *server;
  struct MHD_Connection *connection;
  const char *method;  // these two live in the connection's memory as long as the exchange
  const char *path;
  void *user;
  uint64_t received_ns;
  uint64_t last_write_ns;
  exchange_phase phase;
  bool http_1_1;
  bool head;  // a HEAD request: whatever is streamed is dropped
  bool too_large;
  bool suspended;  // the library leaves the connection alone until we resume it
  bool gone;       // the client left, or we cut it off; never cleared
  bool linger;     // answered before the body was read
  bool stream;
  bool ended;    // the stream has its last byte
  bool waiting;  // the stream's writer was told WAIT and on_drain is owed
  unsigned status;
  struct MHD_Response *response;  // built and not queued yet; NULL before and after
  uint64_t body_received;
  rh_dynbuf body;
  rh_dynbuf headers;        // "name\0value\0" pairs
  rh_dynbuf out;            // streamed bytes that the library has not taken
  rh_http_peer *peer;       // the connection's own; NULL when memory was short
  rh_list_node node;        // in server->exchanges or server->spare
  rh_list_node drain_node;  // in server->drained
};

struct rh_http_server {
  rh_loop *loop;
  rh_http_options options;  // its `address` is not kept
  rh_http_handlers handlers;
  struct MHD_Daemon *library;
  rh_watch watch;  // the library's own epoll descriptor
  int listen_fd;   // -1 once the library or stop_listening has closed it
  bool dirty;      // something was resumed: the library must run before the loop sleeps
  bool running;    // inside MHD_run
  bool closing;
  size_t connections;
  rh_list exchanges;
  rh_list spare;
  rh_list drained;  // exchanges that are owed on_drain
  rh_list hung_up;  // peers that will send no more; looked at after the library has run
  rh_list lingering;
  char address[128];
};

// peer.c: noticing that a client has left.
void rh_http_peer_notify(void *server, struct MHD_Connection *connection, void **slot,
                         enum MHD_ConnectionNotificationCode code);
rh_http_peer *rh_http_peer_of(struct MHD_Connection *connection);
void rh_http_peer_settle_all(rh_http_server *server);  // after the library has run
int rh_http_socket_of(struct MHD_Connection *connection);

// exchange.c: what the library calls, and waking a suspended exchange.
enum MHD_Result rh_http_exchange_access(void *server, struct MHD_Connection *connection, const char *url,
                                        const char *method, const char *version, const char *upload,
                                        size_t *upload_length, void **slot);
void rh_http_exchange_completed(void *server, struct MHD_Connection *connection, void **slot,
                                enum MHD_RequestTerminationCode reason);
void *rh_http_exchange_note_uri(void *server, const char *uri, struct MHD_Connection *connection);
void rh_http_exchange_suspend(rh_http_exchange *exchange);
void rh_http_exchange_wake(rh_http_exchange *exchange);
void rh_http_exchange_cut(rh_http_exchange *exchange);  // marks it gone and lets the library close it
void rh_http_exchange_free(rh_http_exchange *exchange);

// listen.c: a listening socket, and the address it really has.
rh_status rh_http_listen(const char *address, int *fd, char *real_address, size_t size, rh_error *error) RH_MUST_CHECK;

// linger.c: keep a duplicate of a closing connection's socket and drop what still comes, so that the client can read
// its answer before it meets a reset.
void rh_http_linger_start(rh_http_server *server, int fd);
void rh_http_linger_free_all(rh_http_server *server);

#endif
