// SPDX-License-Identifier: Apache-2.0
//
// The server: libmicrohttpd's daemon inside our loop, and its beginning and end.
//
// The library has an epoll set of its own; its descriptor is one watch of our loop. It runs when that descriptor is
// ready, when something was resumed, and when one of its timeouts is due; it has no thread. Data owned: the library's
// daemon, the counters, the lists of exchanges. It does not look at requests (exchange.c) or build answers (answer.c).
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/internal.h"

#define ROUNDS_PER_TURN 4u  // runs of the library at the end of one turn, so that nobody else starves
#define ROUNDS_AT_END 16u   // runs that let finished answers leave before the connections close

RH_PRINTF(2, 0)
static void log_library(void *ctx, const char *format, va_list arguments) {
  (void)ctx;
  if (!rh_log_enabled(RH_LOG_DEBUG)) return;
  char text[512];
  (void)vsnprintf(text, sizeof text, format, arguments);
  text[strcspn(text, "\n")] = '\0';
  RH_LOG(RH_LOG_DEBUG, "http library", rh_log_str("text", text));
}

// One run of the library, then the news it left for writers of streams. Handlers are called from here only.
static void run_library(rh_http_server *server) {
  assert(!server->running);
  server->dirty = false;
  server->running = true;
  if (MHD_run(server->library) != MHD_YES && !server->closing) {
    RH_LOG(RH_LOG_ERROR, "the http library failed to run", rh_log_str("address", server->address));
  }
  server->running = false;
  rh_http_peer_settle_all(server);
  rh_list_node *node = NULL;
  while ((node = rh_list_first(&server->drained)) != NULL) {
    rh_list_remove(&server->drained, node);
    rh_http_exchange *exchange = rh_list_entry(node, rh_http_exchange, drain_node);
    if (!exchange->gone) server->handlers.on_drain(server->handlers.ctx, exchange);
  }
}

// Nanoseconds until the library wants to run although nothing happens on its sockets.
static uint64_t library_wait_ns(rh_http_server *server) {
  if (server->dirty) return 0;
  MHD_UNSIGNED_LONG_LONG wait_ms = 0;
  if (MHD_get_timeout(server->library, &wait_ms) != MHD_YES) return UINT64_MAX;
  return wait_ms > UINT64_MAX / RH_NS_PER_MS ? UINT64_MAX : wait_ms * RH_NS_PER_MS;
}

static void on_library_ready(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  run_library(ctx);
}

static uint64_t on_idle(void *ctx) {
  rh_http_server *server = ctx;
  uint64_t wait_ns = library_wait_ns(server);
  for (unsigned round = 0; wait_ns == 0 && round < ROUNDS_PER_TURN; round++) {
    run_library(server);
    wait_ns = library_wait_ns(server);
  }
  return wait_ns;
}

static rh_status start_library(rh_http_server *server, rh_error *error) {
  uint64_t seconds = server->options.idle_timeout_ns / RH_NS_PER_S;
  unsigned timeout_s = seconds == 0 ? 1u : seconds > 86400 ? 86400u : (unsigned)seconds;
  size_t wanted = server->options.connections_max;
  unsigned connections = wanted > 1000000 ? 1000000u : (unsigned)wanted;
  unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
  server->library = MHD_start_daemon(
      flags, 0, NULL, NULL, rh_http_exchange_access, server, MHD_OPTION_EXTERNAL_LOGGER, log_library,
      server,  // first, so that it hears of bad options
      MHD_OPTION_LISTEN_SOCKET, server->listen_fd, MHD_OPTION_CONNECTION_LIMIT, connections,
      MHD_OPTION_CONNECTION_TIMEOUT, timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)RH_HTTP_CONNECTION_BYTES,
      MHD_OPTION_URI_LOG_CALLBACK, rh_http_exchange_note_uri, server, MHD_OPTION_NOTIFY_COMPLETED,
      rh_http_exchange_completed, server, MHD_OPTION_NOTIFY_CONNECTION, rh_http_peer_notify, server, MHD_OPTION_END);
  if (server->library == NULL) {
    server->listen_fd = -1;  // closed by the failed start
    return rh_fail(error, RH_IO, "libmicrohttpd does not start; the log at level debug says why.");
  }
  return RH_OK;
}

static rh_status watch_library(rh_http_server *server, rh_error *error) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->library, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == NULL || info->epoll_fd < 0) {
    return rh_fail(error, RH_UNSUPPORTED, "this libmicrohttpd was built without epoll; install one that has it.");
  }
  server->watch = (rh_watch){.fd = info->epoll_fd, .fn = on_library_ready, .ctx = server};
  rh_status status = rh_loop_watch(server->loop, &server->watch, EPOLLIN);
  if (status != RH_OK) return rh_fail(error, status, "cannot watch the http library's descriptor.");
  rh_loop_set_idle(server->loop, on_idle, server);
  server->dirty = true;  // the library puts the listening socket into its set when it first runs
  return RH_OK;
}

rh_status rh_http_server_new(rh_loop *loop, const rh_http_options *options, const rh_http_handlers *handlers,
                             rh_http_server **out, rh_error *error) {
  assert(handlers->on_head != NULL && handlers->on_request != NULL && handlers->on_drain != NULL &&
         handlers->on_done != NULL);
  assert(options->connections_max > 0 && options->stream_bytes_high <= options->stream_bytes_max);
  rh_http_server *server = calloc(1, sizeof *server);
  if (server == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the http server.");
  server->loop = loop;
  server->options = *options;
  server->options.address = NULL;
  server->handlers = *handlers;
  server->listen_fd = -1;
  rh_list_init(&server->exchanges);
  rh_list_init(&server->spare);
  rh_list_init(&server->drained);
  rh_list_init(&server->hung_up);
  rh_list_init(&server->lingering);
  rh_status status =
      rh_http_listen(options->address, &server->listen_fd, server->address, sizeof server->address, error);
  if (status == RH_OK) status = start_library(server, error);
  if (status == RH_OK) status = watch_library(server, error);
  if (status != RH_OK) {
    rh_http_server_free(server);
    return status;
  }
  *out = server;
  return RH_OK;
}

void rh_http_server_stop_listening(rh_http_server *server) {
  if (server->listen_fd < 0) return;
  int fd = MHD_quiesce_daemon(server->library);
  assert(fd == server->listen_fd);
  (void)close(fd);
  server->listen_fd = -1;
}

// End every exchange. A finished answer gets a last chance to leave; all others are cut. The library demands that
// nothing is suspended when it stops.
static void end_exchanges(rh_http_server *server) {
  rh_list_each(&server->exchanges, node) {
    rh_http_exchange *exchange = rh_list_entry(node, rh_http_exchange, node);
    bool finished = rh_http_answered(exchange) && (!exchange->stream || exchange->ended);
    if (!finished) exchange->gone = true;
    rh_http_exchange_wake(exchange);
  }
  for (unsigned round = 0; round < ROUNDS_AT_END && library_wait_ns(server) == 0; round++) run_library(server);
}

void rh_http_server_free(rh_http_server *server) {
  if (server == NULL) return;
  assert(!server->running);
  server->closing = true;
  if (server->library != NULL) {
    rh_http_server_stop_listening(server);
    end_exchanges(server);
    rh_loop_set_idle(server->loop, NULL, NULL);
    rh_loop_unwatch(server->loop, &server->watch);
    // Closes what is left and reports each exchange as ended; a resumed connection that has not run yet is no problem.
    server->running = true;
    MHD_stop_daemon(server->library);
    server->running = false;
  } else if (server->listen_fd >= 0) {
    (void)close(server->listen_fd);
  }
  rh_http_linger_free_all(server);
  assert(server->exchanges.count == 0 && server->connections == 0);
  rh_list_each(&server->spare, node) {
    rh_list_remove(&server->spare, node);
    rh_http_exchange_free(rh_list_entry(node, rh_http_exchange, node));
  }
  free(server);
}

const char *rh_http_server_address(const rh_http_server *server) { return server->address; }
size_t rh_http_server_connections(const rh_http_server *server) { return server->connections; }
size_t rh_http_server_exchanges(const rh_http_server *server) { return server->exchanges.count; }
