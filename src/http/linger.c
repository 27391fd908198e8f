// SPDX-License-Identifier: Apache-2.0
//
// Lingering close. When an answer goes out before the request's body was read, closing the socket at once makes the
// kernel send a reset, and the client may lose the answer (a 413, say) while it is still sending. So a duplicate of the
// socket is kept for a moment: our side says "no more", what still comes is dropped, and the end is the client's close
// or a limit.
//
// Data owned: the duplicates, in server->lingering; bounded in number, time and bytes. Loop's thread only. It does not
// touch the connection itself, which is the library's.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/internal.h"

#define LINGER_NS (2 * RH_NS_PER_S)
#define LINGER_BYTES_MAX (UINT64_C(256) * 1024 * 1024)
#define READS_PER_TURN 16u  // so that one fast sender does not hold the loop

typedef struct lingerer {
  rh_http_server *server;
  rh_watch watch;
  rh_timer timer;
  uint64_t dropped;
  rh_list_node node;
} lingerer;

static void finish(lingerer *self) {
  rh_http_server *server = self->server;
  rh_loop_unwatch(server->loop, &self->watch);
  rh_loop_timer_cancel(server->loop, &self->timer);
  (void)close(self->watch.fd);
  rh_list_remove(&server->lingering, &self->node);
  free(self);
}

static void on_timer(void *ctx) { finish(ctx); }

static void on_readable(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  lingerer *self = ctx;
  char junk[16384];
  for (unsigned i = 0; i < READS_PER_TURN; i++) {
    ssize_t count = recv(self->watch.fd, junk, sizeof junk, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count > 0) self->dropped += (uint64_t)count;
    if (count <= 0 || self->dropped > LINGER_BYTES_MAX) {
      finish(self);
      return;
    }
  }
}

void rh_http_linger_start(rh_http_server *server, int fd) {
  if (server->closing || server->lingering.count >= RH_HTTP_LINGER_MAX) return;
  lingerer *self = calloc(1, sizeof *self);
  if (self == NULL) return;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) {
    free(self);
    return;
  }
  (void)shutdown(copy, SHUT_WR);
  self->server = server;
  self->watch = (rh_watch){.fd = copy, .fn = on_readable, .ctx = self};
  self->timer = (rh_timer){.fn = on_timer, .ctx = self};
  if (rh_loop_watch(server->loop, &self->watch, EPOLLIN) != RH_OK) {
    (void)close(copy);
    free(self);
    return;
  }
  rh_loop_timer_set(server->loop, &self->timer, LINGER_NS);
  rh_list_push_back(&server->lingering, &self->node);
}

void rh_http_linger_free_all(rh_http_server *server) {
  rh_list_each(&server->lingering, node) finish(rh_list_entry(node, lingerer, node));
}
