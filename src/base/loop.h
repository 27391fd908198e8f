// SPDX-License-Identifier: Apache-2.0
//
// A single-threaded event loop over epoll: file descriptors, timers and work to do at the end of a turn.
//
// Everything here is called on the loop's own thread. Watches, timers and deferred calls
// are embedded in their owners and zero-initialised there; the owner removes them before it goes away.
#ifndef RH_BASE_LOOP_H
#define RH_BASE_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"
#include "base/status.h"

typedef struct rh_loop rh_loop;

typedef struct rh_watch {
  int fd;
  void (*fn)(void *ctx, uint32_t epoll_events);
  void *ctx;
  bool active;
} rh_watch;

typedef struct rh_timer {
  void (*fn)(void *ctx);
  void *ctx;
  uint64_t due_ns;   // absolute, rh_clock_now_ns
  size_t heap_slot;  // 0 = not armed; else its place in the heap
} rh_timer;

typedef struct rh_deferred {
  void (*fn)(void *ctx);
  void *ctx;
  rh_list_node node;
} rh_deferred;

rh_loop *rh_loop_new(void);  // NULL when the kernel refuses
void rh_loop_free(rh_loop *loop);

rh_status rh_loop_watch(rh_loop *loop, rh_watch *watch, uint32_t epoll_events) RH_MUST_CHECK;
rh_status rh_loop_modify(rh_loop *loop, rh_watch *watch, uint32_t epoll_events) RH_MUST_CHECK;
void rh_loop_unwatch(rh_loop *loop, rh_watch *watch);  // fine when not watched; its events of this turn are dropped

void rh_loop_timer_set(rh_loop *loop, rh_timer *timer, uint64_t delay_ns);  // arms or re-arms
void rh_loop_timer_cancel(rh_loop *loop, rh_timer *timer);                  // fine when not armed

// Run `deferred->fn` once, later in this turn of the loop and never from inside the caller. Asking twice is one call.
void rh_loop_defer(rh_loop *loop, rh_deferred *deferred);
void rh_loop_undefer(rh_loop *loop, rh_deferred *deferred);

// Called at the end of each turn, after deferred work and before sleeping. It may shorten the sleep by returning a
// number of nanoseconds (UINT64_MAX for "no wish"). Used for libraries that have a loop of their own.
void rh_loop_set_idle(rh_loop *loop, uint64_t (*fn)(void *ctx), void *ctx);

rh_status rh_loop_run(rh_loop *loop) RH_MUST_CHECK;  // until rh_loop_stop
void rh_loop_stop(rh_loop *loop);

#endif
