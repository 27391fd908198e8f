// SPDX-License-Identifier: Apache-2.0
//
// The last published numbers under a mutex, and the running step's start in an atomic. The I/O thread answers pings
// from here, so a long step does not make the worker look dead, and a stuck one shows by its age. Decides nothing.
#include "worker/vitals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

struct rh_vitals {
  pthread_mutex_t mutex;
  rh_worker_stats stats;
  _Atomic uint64_t step_started_ns;  // 0 = no step runs
};

rh_vitals *rh_vitals_new(void) {
  rh_vitals *vitals = calloc(1, sizeof *vitals);
  if (vitals == NULL) return NULL;
  if (pthread_mutex_init(&vitals->mutex, NULL) != 0) {
    free(vitals);
    return NULL;
  }
  return vitals;
}

void rh_vitals_free(rh_vitals *vitals) {
  if (vitals == NULL) return;
  pthread_mutex_destroy(&vitals->mutex);
  free(vitals);
}

void rh_vitals_publish(rh_vitals *vitals, const rh_worker_stats *stats) {
  pthread_mutex_lock(&vitals->mutex);
  vitals->stats = *stats;
  pthread_mutex_unlock(&vitals->mutex);
}

void rh_vitals_step_begin(rh_vitals *vitals) {
  atomic_store_explicit(&vitals->step_started_ns, rh_clock_now_ns(), memory_order_relaxed);
}

void rh_vitals_step_end(rh_vitals *vitals) { atomic_store_explicit(&vitals->step_started_ns, 0, memory_order_relaxed); }

// The second field of /proc/self/statm counts resident pages (proc(5)). 0 when it cannot be read.
static int64_t resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL) return 0;
  long long total = 0;
  long long resident = 0;
  int fields = fscanf(file, "%lld %lld", &total, &resident);
  fclose(file);
  return fields == 2 ? resident * (int64_t)sysconf(_SC_PAGESIZE) : 0;
}

void rh_vitals_read(rh_vitals *vitals, rh_worker_stats *stats) {
  pthread_mutex_lock(&vitals->mutex);
  *stats = vitals->stats;
  pthread_mutex_unlock(&vitals->mutex);
  uint64_t started = atomic_load_explicit(&vitals->step_started_ns, memory_order_relaxed);
  uint64_t now = rh_clock_now_ns();
  stats->step_age_ms = started != 0 && now > started ? rh_ns_to_ms(now - started) : 0;
  stats->rss_bytes = resident_bytes();
}
