// SPDX-License-Identifier: Apache-2.0
//
// libcurl's multi interface inside the event loop: sockets become watches, its one timer a timer of ours. Owns the multi
// handle with its connections, the watches and the providers. Loop's thread. Nothing here waits: names are resolved in
// libcurl's own threads, and QUICK_EXIT (options.c) keeps it from joining one of them. It knows nothing of requests.
//
// Every way into libcurl goes through rh_providers_enter and rh_providers_leave. The outermost leave first settles the
// transfers that have ended (which may call sinks), then takes down the runs that were cancelled meanwhile.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "provider/transport.h"

typedef struct socket_watch {
  rh_watch watch;
  rh_providers *owner;
  rh_list_node node;
} socket_watch;

// --- in and out ------------------------------------------------------------------------------------------------------

void rh_providers_enter(rh_providers *providers) { providers->depth++; }

static void settle_transfers(rh_providers *providers) {
  int left;
  for (CURLMsg *message; (message = curl_multi_info_read(providers->multi, &left)) != NULL;) {
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode result = message->data.result;
    rh_transfer *transfer = NULL;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&transfer);
    assert(transfer != NULL && transfer->added);
    rh_transfer_remove(providers, transfer);  // `message` is void from here on
    transfer->done(transfer, result);
  }
}

void rh_providers_leave(rh_providers *providers) {
  assert(providers->depth > 0);
  if (providers->depth == 1) {
    settle_transfers(providers);
    for (rh_list_node *node; (node = rh_list_first(&providers->doomed)) != NULL;) {
      rh_run_reap(rh_list_entry(node, rh_provider_run, node));
    }
  }
  providers->depth--;
}

rh_status rh_transfer_add(rh_providers *providers, rh_transfer *transfer) {
  assert(!transfer->added && transfer->easy != NULL);
  if (curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer) != CURLE_OK) return RH_NO_MEMORY;
  if (curl_multi_add_handle(providers->multi, transfer->easy) != CURLM_OK) return RH_NO_MEMORY;
  transfer->added = true;
  return RH_OK;
}

void rh_transfer_remove(rh_providers *providers, rh_transfer *transfer) {
  if (!transfer->added) return;
  transfer->added = false;
  CURLMcode code = curl_multi_remove_handle(providers->multi, transfer->easy);
  assert(code == CURLM_OK);  // else we were inside a callback of libcurl's, and it still points at the handle
  (void)code;
}

// xorshift64: for jitter only.
uint64_t rh_providers_chance(rh_providers *providers, uint64_t below) {
  uint64_t x = providers->chance;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  providers->chance = x;
  return below == 0 ? 0 : x % below;
}

// --- sockets and time ------------------------------------------------------------------------------------------------

static void act(rh_providers *providers, curl_socket_t fd, int what) {
  int running;
  rh_providers_enter(providers);
  (void)curl_multi_socket_action(providers->multi, fd, what, &running);
  rh_providers_leave(providers);
}

static void on_socket(void *ctx, uint32_t events) {
  socket_watch *socket = ctx;  // may be gone after act()
  int what = 0;
  if ((events & EPOLLIN) != 0) what |= CURL_CSELECT_IN;
  if ((events & EPOLLOUT) != 0) what |= CURL_CSELECT_OUT;
  // A closed connection is read to its end like any other; libcurl sees the error there.
  if ((events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) != 0) what |= CURL_CSELECT_IN | CURL_CSELECT_ERR;
  act(socket->owner, socket->watch.fd, what);
}

static void on_time(void *ctx) { act(ctx, CURL_SOCKET_TIMEOUT, 0); }

static int want_timer(CURLM *multi, long timeout_ms, void *ctx) {
  (void)multi;
  rh_providers *providers = ctx;
  rh_loop_timer_cancel(providers->loop, &providers->timer);
  rh_loop_undefer(providers->loop, &providers->due);
  if (timeout_ms == 0) rh_loop_defer(providers->loop, &providers->due);
  if (timeout_ms > 0) rh_loop_timer_set(providers->loop, &providers->timer, (uint64_t)timeout_ms * RH_NS_PER_MS);
  return 0;
}

static void drop_socket(rh_providers *providers, socket_watch *socket) {
  rh_loop_unwatch(providers->loop, &socket->watch);
  rh_list_remove(&providers->sockets, &socket->node);
  free(socket);
}

static socket_watch *new_socket(rh_providers *providers, curl_socket_t fd) {
  socket_watch *socket = calloc(1, sizeof *socket);
  if (socket == NULL) return NULL;
  socket->watch = (rh_watch){.fd = fd, .fn = on_socket, .ctx = socket};
  socket->owner = providers;
  rh_list_push_back(&providers->sockets, &socket->node);
  return socket;
}

// -1 makes libcurl fail all its transfers, which is right: one that waits for a socket nobody watches would hang.
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known) {
  (void)easy;
  rh_providers *providers = ctx;
  socket_watch *socket = known;
  if (what == CURL_POLL_REMOVE) {
    if (socket != NULL) drop_socket(providers, socket);
    return 0;
  }
  uint32_t events = 0;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) events |= EPOLLIN;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) events |= EPOLLOUT;
  if (socket != NULL) return rh_loop_modify(providers->loop, &socket->watch, events) == RH_OK ? 0 : -1;
  socket = new_socket(providers, fd);
  if (socket == NULL) return -1;
  if (rh_loop_watch(providers->loop, &socket->watch, events) != RH_OK ||
      curl_multi_assign(providers->multi, fd, socket) != CURLM_OK) {
    drop_socket(providers, socket);
    return -1;
  }
  return 0;
}

// --- providers -------------------------------------------------------------------------------------------------------

static void on_pump(void *ctx) {
  rh_providers *providers = ctx;
  rh_providers_enter(providers);
  for (size_t i = 0; i < providers->count; i++) {
    // A run that begins another one from its sink defers the pump again: only those chosen by now are started.
    for (size_t todo = providers->members[i].chosen.count; todo > 0; todo--) {
      rh_list_node *node = rh_list_first(&providers->members[i].chosen);
      if (node == NULL) break;
      rh_attempt_begin(rh_list_entry(node, rh_provider_run, node));
    }
  }
  rh_providers_leave(providers);
}

static size_t bounded(int64_t value, size_t least, size_t most) {
  return value < (int64_t)least ? least : (uint64_t)value > most ? most : (size_t)value;
}

static void open_provider(rh_providers *owner, const rh_provider_spec *spec, const rh_protocol_ops *ops) {
  rh_provider *provider = &owner->members[owner->count++];
  provider->owner = owner;
  provider->spec = spec;
  provider->ops = ops;
  provider->running_max = bounded(spec->concurrency_max, 1, RH_PROVIDER_CONCURRENCY_MAX);
  provider->queue_max = bounded(spec->queue_max, 0, 1u << 20);
  rh_list_init(&provider->chosen);
  rh_list_init(&provider->runs);
  rh_list_init(&provider->spares);
}

// As many kept-alive connections as may be busy at once.
static bool set_up_multi(rh_providers *providers) {
  long connections = 4;
  for (size_t i = 0; i < providers->count; i++) connections += (long)providers->members[i].running_max;
  CURLM *multi = providers->multi = curl_multi_init();
  return multi != NULL && curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, want_socket) == CURLM_OK &&
         curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, providers) == CURLM_OK &&
         curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, want_timer) == CURLM_OK &&
         curl_multi_setopt(multi, CURLMOPT_TIMERDATA, providers) == CURLM_OK &&
         curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections) == CURLM_OK;
}

rh_status rh_providers_new_with(rh_loop *loop, const rh_provider_spec *specs, size_t count,
                                const rh_protocol_ops *(*find)(rh_protocol protocol), rh_providers **out,
                                rh_error *error) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return rh_fail(error, RH_INTERNAL, "libcurl cannot be initialised");
  }
  rh_providers *providers = calloc(1, sizeof *providers);
  rh_provider *members = calloc(count + 1, sizeof *members);
  if (providers == NULL || members == NULL) {
    free(providers);
    free(members);
    curl_global_cleanup();
    return rh_fail(error, RH_NO_MEMORY, "no memory for %zu providers", count);
  }
  providers->loop = loop;
  providers->members = members;
  providers->timer = (rh_timer){.fn = on_time, .ctx = providers};
  providers->due = (rh_deferred){.fn = on_time, .ctx = providers};
  providers->pump = (rh_deferred){.fn = on_pump, .ctx = providers};
  providers->chance = rh_clock_now_ns() | 1;
  rh_list_init(&providers->doomed);
  rh_list_init(&providers->sockets);
  for (size_t i = 0; i < count; i++) {
    if (!specs[i].in_process && specs[i].enabled) open_provider(providers, &specs[i], find(specs[i].protocol));
  }
  if (!set_up_multi(providers)) {
    rh_providers_free(providers);
    return rh_fail(error, RH_NO_MEMORY, "libcurl cannot be set up for %zu providers", count);
  }
  *out = providers;
  return RH_OK;
}

static void close_provider(rh_provider *provider) {
  rh_probe_forget(provider);
  rh_list_each(&provider->runs, node) {
    rh_provider_run *run = rh_list_entry(node, rh_provider_run, all);
    if (run->state != RH_RUN_DOOMED) rh_run_doom(run);
  }
}

static void empty_provider(rh_provider *provider) {
  assert(provider->runs.count == 0);
  for (rh_list_node *node; (node = rh_list_first(&provider->spares)) != NULL;) {
    rh_provider_run *run = rh_list_entry(node, rh_provider_run, node);
    rh_list_remove(&provider->spares, node);
    rh_dynbuf_free(&run->body);
    rh_dynbuf_free(&run->lines);
    rh_dynbuf_free(&run->said);
    free(run);
  }
  while (provider->easy_count > 0) curl_easy_cleanup(provider->easies[--provider->easy_count]);
  free(provider->queue);
}

void rh_providers_free(rh_providers *providers) {
  if (providers == NULL) return;
  assert(providers->depth == 0);  // not from inside a sink
  providers->closing = true;
  rh_providers_enter(providers);
  for (size_t i = 0; i < providers->count; i++) close_provider(&providers->members[i]);
  // Runs of several providers are reaped together here, without settling: nobody is to be called any more.
  for (rh_list_node *node; (node = rh_list_first(&providers->doomed)) != NULL;) {
    rh_run_reap(rh_list_entry(node, rh_provider_run, node));
  }
  providers->depth--;
  for (size_t i = 0; i < providers->count; i++) empty_provider(&providers->members[i]);
  if (providers->multi != NULL) (void)curl_multi_cleanup(providers->multi);
  for (rh_list_node *node; (node = rh_list_first(&providers->sockets)) != NULL;) {
    drop_socket(providers, rh_list_entry(node, socket_watch, node));
  }
  rh_loop_timer_cancel(providers->loop, &providers->timer);
  rh_loop_undefer(providers->loop, &providers->due);
  rh_loop_undefer(providers->loop, &providers->pump);
  free(providers->members);
  free(providers);
  curl_global_cleanup();
}

rh_provider *rh_providers_find(const rh_providers *providers, const char *name) {
  for (size_t i = 0; i < providers->count; i++) {
    if (strcmp(providers->members[i].spec->name, name) == 0) return &providers->members[i];
  }
  return NULL;
}

size_t rh_provider_running(const rh_provider *provider) { return provider->running; }
size_t rh_provider_queued(const rh_provider *provider) { return provider->queued; }
const rh_provider_spec *rh_provider_get_spec(const rh_provider *provider) { return provider->spec; }
