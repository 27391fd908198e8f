// SPDX-License-Identifier: Apache-2.0
//
// What is known of a model by using it: the memory it takes, how long a load takes, how often it is asked for.
//
// Owns the facts inside rh_served. Loop thread only. They are written to the store by the background work, never by a
// request.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/internal.h"
#include "model/need.h"

// Over how many hours requests are averaged; the store averages in the same way (src/store/usage.c).
#define FREQUENCY_HOURS 24.0
// A first guess of how fast weights come from disk and into place, until a load was timed.
#define LOAD_BYTES_PER_MS 500000.0
#define LOAD_MS_MIN 100.0

// A process still grows a little after it was measured: this much at least, and this part of what it has.
#define GROWTH_BYTES ((int64_t)4 << 20)
#define GROWTH_PART 32

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// --- memory --------------------------------------------------------------------------------------------------------

static void options_key(const rh_model_spec *spec, char *out, size_t size) {
  const rh_load_options *options = &spec->options;
  snprintf(out, size, "c%lld s%lld g%lld b%lld", (long long)options->context, (long long)options->slots,
           (long long)options->gpu_layers, (long long)spec->file_bytes);
}

static int64_t gpu_budget(const rh_manager *manager) {
  int64_t sum = 0;
  for (size_t i = 0; i < manager->options.limits.gpu_count; i++) sum += manager->options.limits.gpu_bytes[i];
  return sum;
}

// What a process that was measured may come to. The estimate is an upper one: where it is above what was measured, room
// to grow goes no further than that.
static int64_t grown(int64_t measured, int64_t estimate) {
  int64_t most = measured + measured / GROWTH_PART + GROWTH_BYTES;
  return measured <= estimate && estimate < most ? estimate : most;
}

// What was measured wins over the estimate, except that keys and values which no request has filled yet are in no
// measurement: weights and the whole cache are certain, buffers and the process are what measuring corrects.
static void correct(rh_need *need, const rh_usage_facts *facts) {
  int64_t certain = need->ram_bytes - need->compute_bytes - need->process_bytes;
  if (need->gpu_bytes > 0 || certain < 0) certain = 0;
  need->ram_bytes = larger(grown(facts->ram_bytes, need->ram_bytes), certain);
  if (facts->gpu_bytes > 0) need->gpu_bytes = facts->gpu_bytes;
  need->measured = true;
}

static void estimate(rh_served *served) {
  const rh_model_spec *spec = served->spec;
  rh_error error = {0};
  served->estimated = true;
  served->estimate = (rh_need){0};
  rh_status status = rh_need_estimate(spec->engine, spec->path, &spec->options, gpu_budget(served->manager),
                                      &served->estimate, &error);
  if (status == RH_OK) return;
  // The load will say what is wrong with the file; until then its size is all there is.
  RH_LOG(RH_LOG_DEBUG, "memory need not estimated", rh_log_str("model", spec->name),
         rh_log_str("error", error.message));
  if (served->estimate.ram_bytes == 0) served->estimate.ram_bytes = served->estimate.weights_bytes = spec->file_bytes;
}

const rh_need *rh_served_learn_need(rh_served *served) {
  if (served->need_known) return &served->need;
  const rh_model_spec *spec = served->spec;
  if (!served->estimated) estimate(served);
  served->need = served->estimate;
  served->need_known = true;
  char key[sizeof served->facts.options_key];
  options_key(spec, key, sizeof key);
  if (spec->memory_bytes > 0) {
    // A person knows better.
    int64_t *part = served->need.gpu_bytes > 0 ? &served->need.gpu_bytes : &served->need.ram_bytes;
    *part = (int64_t)spec->memory_bytes;
  } else if (served->facts.ram_bytes > 0 && strcmp(key, served->facts.options_key) == 0) {
    correct(&served->need, &served->facts);
  }
  return &served->need;
}

void rh_served_note_memory(rh_served *served) {
  const rh_worker_stats *stats = rh_member_stats(served->member);
  // While it loads its memory grows anyway; what counts is what it comes to.
  if (rh_member_get_state(served->member) == RH_MEMBER_LOADING) return;
  // Before its first answer it has not touched all that it needs: that may correct the estimate upwards, not downwards.
  if (!served->warmed && stats->rss_bytes <= served->need.ram_bytes) {
    if (rh_broker_state(served->tenant) != RH_TENANT_OUT) rh_broker_measured(served->tenant);
    return;
  }
  if (stats->rss_bytes <= served->peak_rss && stats->vram_bytes <= served->peak_vram) return;
  rh_usage_facts *facts = &served->facts;
  char key[sizeof facts->options_key];
  options_key(served->spec, key, sizeof key);
  if (strcmp(key, facts->options_key) != 0) {
    memcpy(facts->options_key, key, sizeof key);
    facts->ram_bytes = facts->gpu_bytes = 0;
  }
  served->peak_rss = larger(served->peak_rss, stats->rss_bytes);
  served->peak_vram = larger(served->peak_vram, stats->vram_bytes);
  facts->ram_bytes = larger(facts->ram_bytes, served->peak_rss);
  facts->gpu_bytes = larger(facts->gpu_bytes, served->peak_vram);
  served->facts_dirty = true;
  // The next load reserves what this one has shown.
  served->need_known = false;
  if (rh_broker_state(served->tenant) != RH_TENANT_OUT) rh_broker_measured(served->tenant);
}

// --- time ----------------------------------------------------------------------------------------------------------

double rh_served_reload_ms(const rh_served *served) {
  if (served->facts.load_ms > 0) return served->facts.load_ms;
  double guess = (double)served->spec->file_bytes / LOAD_BYTES_PER_MS;
  return guess > LOAD_MS_MIN ? guess : LOAD_MS_MIN;
}

void rh_served_note_load(rh_served *served) {
  const rh_model_info *info = rh_member_info(served->member);
  if (info == NULL) return;
  double ms = info->load_ms;
  served->load_ms = ms;
  served->facts.load_ms = served->facts.load_ms > 0 ? (served->facts.load_ms + ms) / 2 : ms;
  served->facts_dirty = true;
}

double rh_served_frequency(const rh_served *served) {
  double hours = rh_ns_to_s(rh_clock_now_ns() - served->frequency_ns) / 3600;
  return served->frequency * exp(-hours / FREQUENCY_HOURS);
}

void rh_served_count_use(rh_served *served) {
  served->frequency = rh_served_frequency(served) + 1 / FREQUENCY_HOURS;
  served->frequency_ns = rh_clock_now_ns();
  served->facts.last_used_s = rh_clock_wall_s();
  served->facts.requests++;
  served->facts_dirty = true;
}

// --- remembering ---------------------------------------------------------------------------------------------------

// The name clients say: "NAME:VERSION" for stored models. That the bytes are still the same is part of options_key.
static const char *facts_key(const rh_served *served) { return served->spec->name; }

void rh_served_read_facts(rh_served *served) {
  rh_store *store = served->manager->options.store;
  served->frequency_ns = rh_clock_now_ns();
  if (store == NULL || rh_store_facts(store, facts_key(served), &served->facts) != RH_OK) {
    served->facts = (rh_usage_facts){0};
  }
  served->facts.requests = 0;
  served->frequency = served->facts.frequency;
}

void rh_manager_remember(rh_manager *manager) {
  if (manager->options.store == NULL || manager->count == 0) return;
  const char **keys = calloc(manager->count, sizeof *keys);
  rh_usage_facts *facts = calloc(manager->count, sizeof *facts);
  size_t count = 0;
  for (size_t i = 0; keys != NULL && facts != NULL && i < manager->count; i++) {
    rh_served *served = manager->served[i];
    if (!served->facts_dirty) continue;
    keys[count] = facts_key(served);
    facts[count++] = served->facts;
    served->facts.requests = 0;  // the store has added them up
    served->facts_dirty = false;
  }
  if (count > 0) rh_store_note(manager->options.store, keys, facts, count);
  free(facts);
  free(keys);
}
