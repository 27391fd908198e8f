// SPDX-License-Identifier: Apache-2.0
//
// Clients that leave. Each connection's socket is watched for a hang-up from its first to its last moment, in our own epoll
// set; the library watches the same socket for data in its set, and the two never meet.
//
// A client that closes only its sending side looks the same as one that left. What it has sent whole is still served when
// the answer is at hand; while it waits for a model it counts as gone, as HTTP clients do not do that.
//
// Data owned: the peers. Loop's thread only.
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "http/internal.h"

int rh_http_socket_of(struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info != NULL ? info->connect_fd : -1;
}

rh_http_peer *rh_http_peer_of(struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  return info != NULL ? info->socket_context : NULL;
}

// Asked once for each connection, and only when somebody wants to know.
const char *rh_http_client_address(const rh_http_exchange *exchange) {
  rh_http_peer *peer = rh_http_peer_of(exchange->connection);
  if (peer == NULL) return "";
  if (peer->address[0] != '\0') return peer->address;
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
  if (address == NULL) return "";
  const void *raw = NULL;
  if (address->sa_family == AF_INET) raw = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
  if (address->sa_family == AF_INET6) raw = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
  if (raw == NULL || inet_ntop(address->sa_family, raw, peer->address, sizeof peer->address) == NULL) return "";
  return peer->address;
}

// Not decided here: the library may have the client's last bytes still before it, and a request in them that is whole.
static void on_hang_up(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  rh_http_peer *peer = ctx;
  rh_loop_unwatch(peer->server->loop, &peer->watch);
  rh_list_push_back(&peer->server->hung_up, &peer->node);
  peer->server->dirty = true;
}

static void settle(rh_http_peer *peer) {
  rh_http_exchange *exchange = peer->exchange;
  if (exchange != NULL) {
    exchange->gone = true;
    if (exchange->phase != EXCHANGE_READING) {
      rh_http_exchange_wake(exchange);
      return;
    }
  }
  // The rest of this request will never come, and the library would wait for it.
  (void)shutdown(peer->watch.fd, SHUT_RDWR);
}

void rh_http_peer_settle_all(rh_http_server *server) {
  for (rh_list_node *node; (node = rh_list_first(&server->hung_up)) != NULL;) {
    rh_list_remove(&server->hung_up, node);
    settle(rh_list_entry(node, rh_http_peer, node));
  }
}

static void open_peer(rh_http_server *server, struct MHD_Connection *connection, void **slot) {
  rh_http_peer *peer = calloc(1, sizeof *peer);
  *slot = peer;
  if (peer == NULL) return;
  peer->server = server;
  peer->watch = (rh_watch){.fd = rh_http_socket_of(connection), .fn = on_hang_up, .ctx = peer};
  // Without the watch a leaving client is noticed at the next write, which is worse but not wrong.
  if (rh_loop_watch(server->loop, &peer->watch, EPOLLRDHUP) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "cannot watch a client", rh_log_int("fd", peer->watch.fd));
  }
}

static void close_peer(rh_http_server *server, void **slot) {
  rh_http_peer *peer = *slot;
  *slot = NULL;
  if (peer == NULL) return;
  if (peer->exchange != NULL) peer->exchange->peer = NULL;
  rh_loop_unwatch(server->loop, &peer->watch);
  if (rh_list_linked(&peer->node)) rh_list_remove(&server->hung_up, &peer->node);
  free(peer);
}

void rh_http_peer_notify(void *ctx, struct MHD_Connection *connection, void **slot,
                         enum MHD_ConnectionNotificationCode code) {
  rh_http_server *server = ctx;
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    server->connections++;
    open_peer(server, connection, slot);
    return;
  }
  assert(server->connections > 0);
  server->connections--;
  // At its limit of connections (or of descriptors) the library stops accepting, and it looks whether it may accept again
  // only when it runs.
  server->dirty = true;
  close_peer(server, slot);
}
