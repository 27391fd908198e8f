// SPDX-License-Identifier: Apache-2.0
//
// A name to addresses, in a thread: getaddrinfo may wait for name servers for half a minute, and the event loop may not.
// One lookup is shared by the loop and its thread and freed by the last of the two; who loses interest just leaves. The
// thread touches nothing but its lookup and its eventfd.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/text.h"
#include "redis/redis_private.h"

struct rh_redis_lookup {
  atomic_int holders;
  char host[RH_REDIS_HOST_SIZE];
  char port[8];
  int ready_fd;       // readable: the lookup is over
  atomic_bool final;  // the two below do not change any more
  int resolved;
  struct addrinfo *addresses;
  // the loop's side
  rh_loop *loop;
  rh_watch watch;
  rh_redis_found found;
  void *ctx;
};

static void release(rh_redis_lookup *lookup) {
  if (atomic_fetch_sub(&lookup->holders, 1) > 1) return;
  if (lookup->addresses != NULL) freeaddrinfo(lookup->addresses);
  (void)close(lookup->ready_fd);
  free(lookup);
}

static void *work(void *ctx) {
  rh_redis_lookup *lookup = ctx;
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  lookup->resolved = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->addresses);
  if (lookup->resolved != 0) lookup->addresses = NULL;
  atomic_store(&lookup->final, true);
  (void)eventfd_write(lookup->ready_fd, 1);  // a fresh eventfd takes it
  release(lookup);
  return NULL;
}

static void on_ready(void *ctx, uint32_t events) {
  (void)events;
  rh_redis_lookup *lookup = ctx;
  if (!atomic_load(&lookup->final)) return;
  rh_loop_unwatch(lookup->loop, &lookup->watch);
  lookup->found(lookup->ctx, lookup->resolved, lookup->addresses);
}

static bool start_thread(rh_redis_lookup *lookup) {
  // Signals are the main thread's.
  sigset_t all, before;
  (void)sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
  pthread_attr_t attributes;
  bool started = pthread_attr_init(&attributes) == 0;
  if (started) {
    pthread_t thread;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    started = pthread_create(&thread, &attributes, work, lookup) == 0;
    (void)pthread_attr_destroy(&attributes);
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}

rh_redis_lookup *rh_redis_lookup_start(rh_loop *loop, const char *host, const char *port, rh_redis_found found,
                                       void *ctx) {
  rh_redis_lookup *lookup = calloc(1, sizeof *lookup);
  if (lookup == NULL) return NULL;
  lookup->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (lookup->ready_fd < 0) {
    free(lookup);
    return NULL;
  }
  atomic_init(&lookup->holders, 2);
  atomic_init(&lookup->final, false);
  (void)rh_text_copy(lookup->host, sizeof lookup->host, host);
  (void)rh_text_copy(lookup->port, sizeof lookup->port, port);
  lookup->loop = loop;
  lookup->found = found;
  lookup->ctx = ctx;
  lookup->watch = (rh_watch){.fd = lookup->ready_fd, .fn = on_ready, .ctx = lookup};
  if (rh_loop_watch(loop, &lookup->watch, EPOLLIN) == RH_OK && start_thread(lookup)) return lookup;
  rh_loop_unwatch(loop, &lookup->watch);
  atomic_store(&lookup->holders, 1);
  release(lookup);
  return NULL;
}

void rh_redis_lookup_leave(rh_redis_lookup *lookup) {
  if (lookup == NULL) return;
  rh_loop_unwatch(lookup->loop, &lookup->watch);
  release(lookup);
}
