// SPDX-License-Identifier: Apache-2.0
//
// The event loop. It owns the epoll descriptor and the heap of armed timers; the watches, timers and deferred calls
// themselves belong to their owners. One thread: the one that runs the loop. It has no signals and no threads of its
// own; a signalfd or an eventfd is a watch like any other.
//
// One turn: deferred calls, the idle function, sleep, file descriptors, timers.
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENTS_PER_TURN 64
// A deferred call may defer again; this many rounds run before the loop looks at its file descriptors once more.
#define DEFERRED_ROUNDS_MAX 16

struct rh_loop {
  int epoll_fd;
  bool stopping;
  pthread_t owner;
  struct epoll_event events[EVENTS_PER_TURN];
  int event_count;  // of this turn
  int event_next;   // the first one not given out yet
  rh_timer **heap;  // slots 1..timer_count; the parent of slot i is i / 2; the earliest is in slot 1
  size_t timer_count;
  size_t timer_capacity;
  rh_list deferred;
  uint64_t (*idle)(void *ctx);
  void *idle_ctx;
};

rh_loop *rh_loop_new(void) {
  rh_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return NULL;
  loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (loop->epoll_fd < 0) {
    free(loop);
    return NULL;
  }
  rh_list_init(&loop->deferred);
  loop->owner = pthread_self();
  return loop;
}

void rh_loop_free(rh_loop *loop) {
  if (loop == NULL) return;
  (void)close(loop->epoll_fd);
  free(loop->heap);
  free(loop);
}

static void assert_owner(const rh_loop *loop) {
  assert(pthread_equal(loop->owner, pthread_self()));
  (void)loop;
}

// File descriptors.

static rh_status control(rh_loop *loop, int operation, rh_watch *watch, uint32_t epoll_events) {
  struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
  if (epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) == 0) return RH_OK;
  return errno == ENOMEM || errno == ENOSPC ? RH_NO_MEMORY : RH_IO;
}

rh_status rh_loop_watch(rh_loop *loop, rh_watch *watch, uint32_t epoll_events) {
  assert_owner(loop);
  assert(!watch->active && watch->fn != NULL);
  rh_status status = control(loop, EPOLL_CTL_ADD, watch, epoll_events);
  watch->active = status == RH_OK;
  return status;
}

rh_status rh_loop_modify(rh_loop *loop, rh_watch *watch, uint32_t epoll_events) {
  assert_owner(loop);
  assert(watch->active);
  return control(loop, EPOLL_CTL_MOD, watch, epoll_events);
}

void rh_loop_unwatch(rh_loop *loop, rh_watch *watch) {
  assert_owner(loop);
  if (!watch->active) return;
  watch->active = false;
  // This fails when the owner has closed the descriptor already, which took it out of epoll as well.
  (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
  // The owner may free the watch now, so this turn's events must not lead to it any more.
  for (int i = loop->event_next; i < loop->event_count; i++) {
    if (loop->events[i].data.ptr == watch) loop->events[i].data.ptr = NULL;
  }
}

static void dispatch_events(rh_loop *loop, int count) {
  loop->event_count = count;
  loop->event_next = 0;
  while (loop->event_next < loop->event_count) {
    const struct epoll_event *event = &loop->events[loop->event_next++];
    rh_watch *watch = event->data.ptr;
    if (watch != NULL) watch->fn(watch->ctx, event->events);
  }
  loop->event_count = 0;
  loop->event_next = 0;
}

// Timers.

static void heap_put(rh_loop *loop, size_t slot, rh_timer *timer) {
  loop->heap[slot] = timer;
  timer->heap_slot = slot;
}

static void sift_up(rh_loop *loop, size_t slot, rh_timer *timer) {
  while (slot > 1 && loop->heap[slot / 2]->due_ns > timer->due_ns) {
    heap_put(loop, slot, loop->heap[slot / 2]);
    slot /= 2;
  }
  heap_put(loop, slot, timer);
}

static void sift_down(rh_loop *loop, size_t slot, rh_timer *timer) {
  for (;;) {
    size_t child = 2 * slot;
    if (child > loop->timer_count) break;
    if (child < loop->timer_count && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns) child++;
    if (loop->heap[child]->due_ns >= timer->due_ns) break;
    heap_put(loop, slot, loop->heap[child]);
    slot = child;
  }
  heap_put(loop, slot, timer);
}

// Put `timer` into `slot`, whatever was there, and let it find its place.
static void settle(rh_loop *loop, size_t slot, rh_timer *timer) {
  if (slot > 1 && loop->heap[slot / 2]->due_ns > timer->due_ns)
    sift_up(loop, slot, timer);
  else
    sift_down(loop, slot, timer);
}

static void grow_heap(rh_loop *loop) {
  size_t capacity = loop->timer_capacity == 0 ? 64 : loop->timer_capacity * 2;
  rh_timer **heap = realloc(loop->heap, (capacity + 1) * sizeof(rh_timer *));
  if (heap == NULL) {
    // A timer that is silently not armed would be a request without a deadline. Stopping is the honest answer.
    (void)fputs("roundhouse: no memory for a timer\n", stderr);
    abort();
  }
  loop->heap = heap;
  loop->timer_capacity = capacity;
}

void rh_loop_timer_set(rh_loop *loop, rh_timer *timer, uint64_t delay_ns) {
  assert_owner(loop);
  assert(timer->fn != NULL);
  uint64_t now = rh_clock_now_ns();
  timer->due_ns = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
  if (timer->heap_slot == 0) {
    if (loop->timer_count == loop->timer_capacity) grow_heap(loop);
    loop->timer_count++;
    sift_up(loop, loop->timer_count, timer);
  } else {
    assert(timer->heap_slot <= loop->timer_count && loop->heap[timer->heap_slot] == timer);
    settle(loop, timer->heap_slot, timer);
  }
}

void rh_loop_timer_cancel(rh_loop *loop, rh_timer *timer) {
  assert_owner(loop);
  size_t slot = timer->heap_slot;
  if (slot == 0) return;
  assert(slot <= loop->timer_count && loop->heap[slot] == timer);
  rh_timer *last = loop->heap[loop->timer_count--];
  timer->heap_slot = 0;
  if (last != timer) settle(loop, slot, last);
}

static void run_timers(rh_loop *loop) {
  // Only what was due when the round began: a timer that re-arms itself with no delay waits for the next turn.
  uint64_t now = rh_clock_now_ns();
  while (loop->timer_count > 0 && loop->heap[1]->due_ns <= now) {
    rh_timer *timer = loop->heap[1];
    rh_loop_timer_cancel(loop, timer);
    timer->fn(timer->ctx);
  }
}

// Deferred calls.

void rh_loop_defer(rh_loop *loop, rh_deferred *deferred) {
  assert_owner(loop);
  assert(deferred->fn != NULL);
  if (!rh_list_linked(&deferred->node)) rh_list_push_back(&loop->deferred, &deferred->node);
}

void rh_loop_undefer(rh_loop *loop, rh_deferred *deferred) {
  assert_owner(loop);
  if (rh_list_linked(&deferred->node)) rh_list_remove(&loop->deferred, &deferred->node);
}

static void run_deferred(rh_loop *loop) {
  for (int round = 0; round < DEFERRED_ROUNDS_MAX && loop->deferred.count > 0; round++) {
    // A marker divides this round from what is deferred while it runs. It stays right when calls are undeferred.
    rh_list_node marker = {NULL, NULL};
    rh_list_push_back(&loop->deferred, &marker);
    for (;;) {
      rh_list_node *node = rh_list_first(&loop->deferred);
      rh_list_remove(&loop->deferred, node);
      if (node == &marker) break;
      rh_deferred *deferred = rh_list_entry(node, rh_deferred, node);
      deferred->fn(deferred->ctx);
    }
  }
}

// Turns.

void rh_loop_set_idle(rh_loop *loop, uint64_t (*fn)(void *ctx), void *ctx) {
  assert_owner(loop);
  loop->idle = fn;
  loop->idle_ctx = ctx;
}

// Milliseconds for epoll_wait. Rounded up: waking early would only mean going round once more.
static int sleep_ms(const rh_loop *loop, uint64_t wish_ns) {
  if (loop->deferred.count > 0) return 0;
  uint64_t wait_ns = wish_ns;
  if (loop->timer_count > 0) {
    uint64_t now = rh_clock_now_ns();
    uint64_t due = loop->heap[1]->due_ns;
    uint64_t until = due > now ? due - now : 0;
    if (until < wait_ns) wait_ns = until;
  }
  if (wait_ns == UINT64_MAX) return -1;
  uint64_t ms = wait_ns / RH_NS_PER_MS + (wait_ns % RH_NS_PER_MS != 0 ? 1 : 0);
  return ms > INT_MAX ? INT_MAX : (int)ms;
}

rh_status rh_loop_run(rh_loop *loop) {
  loop->owner = pthread_self();
  rh_status status = RH_OK;
  for (;;) {
    run_deferred(loop);
    uint64_t wish_ns = loop->idle == NULL ? UINT64_MAX : loop->idle(loop->idle_ctx);
    if (loop->stopping) break;
    rh_log_release();
    int count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, sleep_ms(loop, wish_ns));
    rh_log_hold();  // the lines of one turn are written together
    if (count < 0 && errno != EINTR) {
      status = RH_IO;
      break;
    }
    dispatch_events(loop, count < 0 ? 0 : count);
    run_timers(loop);
  }
  rh_log_release();
  loop->stopping = false;
  return status;
}

void rh_loop_stop(rh_loop *loop) {
  assert_owner(loop);
  loop->stopping = true;
}
