// SPDX-License-Identifier: Apache-2.0
//
// Runs that wait for a place at their provider: a binary heap, the highest priority first, among equals the earliest. It
// borrows the runs, which know their place in it, so that any of them can be taken out. Loop's thread. It has a limit
// (queue_max); deadlines are the runs' own timers.
#include <assert.h>
#include <stdlib.h>

#include "provider/transport.h"

#define FIRST_CAPACITY 16

static bool before(const rh_provider_run *one, const rh_provider_run *other) {
  if (one->options.priority != other->options.priority) return one->options.priority > other->options.priority;
  return one->arrival < other->arrival;
}

// Places count from 1; the parent of place i is i / 2.
static void put(rh_provider *provider, size_t place, rh_provider_run *run) {
  provider->queue[place] = run;
  run->queue_place = place;
}

static void settle(rh_provider *provider, size_t place, rh_provider_run *run) {
  for (; place > 1 && before(run, provider->queue[place / 2]); place /= 2) {
    put(provider, place, provider->queue[place / 2]);
  }
  for (;;) {
    size_t child = 2 * place;
    if (child > provider->queued) break;
    if (child < provider->queued && before(provider->queue[child + 1], provider->queue[child])) child++;
    if (before(run, provider->queue[child])) break;
    put(provider, place, provider->queue[child]);
    place = child;
  }
  put(provider, place, run);
}

static bool grow(rh_provider *provider) {
  size_t capacity = provider->queue_capacity == 0 ? FIRST_CAPACITY : 2 * provider->queue_capacity;
  rh_provider_run **queue = realloc(provider->queue, (capacity + 1) * sizeof(rh_provider_run *));
  if (queue == NULL) return false;
  provider->queue = queue;
  provider->queue_capacity = capacity;
  return true;
}

rh_status rh_provider_queue_push(rh_provider *provider, rh_provider_run *run) {
  assert(run->queue_place == 0);
  if (provider->queued >= provider->queue_max) return RH_QUEUE_FULL;
  if (provider->queued == provider->queue_capacity && !grow(provider)) return RH_NO_MEMORY;
  run->arrival = provider->queue_next++;
  provider->queued++;
  settle(provider, provider->queued, run);
  return RH_OK;
}

void rh_provider_queue_remove(rh_provider *provider, rh_provider_run *run) {
  size_t place = run->queue_place;
  assert(place >= 1 && place <= provider->queued && provider->queue[place] == run);
  rh_provider_run *last = provider->queue[provider->queued--];
  run->queue_place = 0;
  if (last != run) settle(provider, place, last);
}

rh_provider_run *rh_provider_queue_pop(rh_provider *provider) {
  if (provider->queued == 0) return NULL;
  rh_provider_run *run = provider->queue[1];
  rh_provider_queue_remove(provider, run);
  return run;
}
