// SPDX-License-Identifier: Apache-2.0
//
// Work in the background: memory that is short, models worth having in memory, what is to be remembered; and a look at
// the workers' memory once a second while there are any.
//
// Owns two timers of the manager. Loop thread only. It deliberately evicts nobody to preload somebody.
#include <stdlib.h>

#include "manager/internal.h"

#define SAMPLE_INTERVAL_NS RH_NS_PER_S
// Requests an hour below which a model is not worth keeping warm.
#define FREQUENCY_MIN 0.05

static int by_frequency(const void *a, const void *b) {
  double one = rh_served_frequency(*(rh_served *const *)a), two = rh_served_frequency(*(rh_served *const *)b);
  return (one < two) - (one > two);
}

// True when it was begun.
static bool preload_one(rh_manager *manager, rh_served *served) {
  rh_member_state state = rh_member_get_state(served->member);
  // One that failed is tried again when somebody asks for it.
  if (state != RH_MEMBER_COLD || served->loaders.count > 0 || rh_served_busy(served) || served->retiring) return false;
  if (rh_broker_state(served->tenant) != RH_TENANT_OUT || !rh_broker_has_room(manager->broker, served->tenant)) {
    return false;
  }
  rh_error error = {0};
  if (rh_manager_load(manager, served, NULL, NULL, &error) != RH_OK) return false;
  RH_LOG(RH_LOG_INFO, "preloading a model", rh_log_str("model", served->spec->name),
         rh_log_num("requests_an_hour", rh_served_frequency(served)));
  return true;
}

static void preload(rh_manager *manager) {
  size_t most = manager->options.preload_top;
  if (most == 0 || manager->count == 0 || manager->leaving) return;
  rh_served **sorted = calloc(manager->count, sizeof(rh_served *));
  if (sorted == NULL) return;
  for (size_t i = 0; i < manager->count; i++) sorted[i] = manager->served[i];
  qsort(sorted, manager->count, sizeof(rh_served *), by_frequency);
  // One at a time: what has room can only be said when the one before has its place. The next when that one is loaded.
  bool begun = false;
  for (size_t i = 0; i < manager->count; i++) {
    rh_served *served = sorted[i];
    bool was = served->preloaded;
    served->preloaded = i < most && rh_served_frequency(served) >= FREQUENCY_MIN;
    if (served->preloaded && !begun) begun = preload_one(manager, served);
    if (was != served->preloaded) rh_served_arm_idle(served);
  }
  free(sorted);
}

void rh_tidy_soon(rh_manager *manager) {
  if (manager->leaving || manager->options.tidy_interval_ns == 0) return;
  rh_loop_timer_set(manager->loop, &manager->tidy, 0);
}

static void on_tidy(void *ctx) {
  rh_manager *manager = ctx;
  rh_broker_relieve(manager->broker);
  preload(manager);
  rh_manager_remember(manager);
  rh_watch_again(manager);
  rh_loop_timer_set(manager->loop, &manager->tidy, manager->options.tidy_interval_ns);
}

static void on_sample(void *ctx) {
  rh_manager *manager = ctx;
  bool any = false;
  for (size_t i = 0; i < manager->count; i++) {
    rh_served *served = manager->served[i];
    if (!rh_served_in_memory(served)) continue;
    any = true;
    rh_served_note_memory(served);
  }
  if (any) rh_loop_timer_set(manager->loop, &manager->sample, SAMPLE_INTERVAL_NS);
}

void rh_tidy_sample_soon(rh_manager *manager) {
  if (manager->sample.heap_slot == 0) rh_loop_timer_set(manager->loop, &manager->sample, SAMPLE_INTERVAL_NS);
}

void rh_tidy_open(rh_manager *manager) {
  manager->tidy = (rh_timer){.fn = on_tidy, .ctx = manager};
  manager->sample = (rh_timer){.fn = on_sample, .ctx = manager};
  // The first time soon: what is to be preloaded should not wait for a whole interval.
  rh_tidy_soon(manager);
}

void rh_tidy_close(rh_manager *manager) {
  rh_loop_timer_cancel(manager->loop, &manager->tidy);
  rh_loop_timer_cancel(manager->loop, &manager->sample);
}
