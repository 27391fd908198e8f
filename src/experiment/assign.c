// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which arm a request gets. The same name, key and session give the same arm in every process and after every
// restart: nothing of it is remembered, all of it is computed.
// Data owned: none. Threads: the caller's. Not here: the figures.
#include <string.h>

#include "experiment/internal.h"

// Questions about one client that must not have the same answer, or a change of the traffic share would shift the arms.
enum { ASK_TRAFFIC = 1, ASK_ARM = 2 };

// A bijection in which each bit of the result depends on all bits of the input (the finisher of MurmurHash3).
static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= UINT64_C(0xff51afd7ed558ccd);
  x ^= x >> 33;
  x *= UINT64_C(0xc4ceb9fe1a85ec53);
  return x ^ x >> 33;
}

// FNV-1a, the terminating zero included, so that no two rows of texts are one text.
static uint64_t hash_text(uint64_t hash, const char *text) {
  size_t length = strlen(text) + 1;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
  return hash;
}

// Uniform in [0, 1).
static double draw(uint64_t client, uint64_t question) {
  return (double)(mix(client + question * UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

static uint64_t client_of(const rh_experiment *experiment, const char *key, const char *session, uint64_t chance) {
  if (experiment->sticky == RH_STICKY_NONE) return chance;
  const char *first = experiment->sticky == RH_STICKY_KEY ? key : session;
  const char *second = experiment->sticky == RH_STICKY_KEY ? session : key;
  const char *id = first != NULL && first[0] != '\0' ? first : second;
  if (id == NULL || id[0] == '\0') return chance;
  uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), experiment->name);
  return mix(hash_text(hash_text(hash, id == key ? "key" : "session"), id));
}

static size_t arm_of(const rh_experiment *experiment, double at) {
  double sum = 0;
  for (size_t i = 0; i < experiment->arm_count; i++) sum += experiment->arms[i].weight;
  double reached = 0;
  size_t arm = 0;
  for (; arm + 1 < experiment->arm_count; arm++) {
    reached += experiment->arms[arm].weight / sum;
    if (at < reached) break;
  }
  return experiment->arms[arm].stopped ? 0 : arm;
}

static void fill(const rh_experiment *experiment, uint64_t client, rh_assignment *out) {
  out->experiment = experiment;
  out->arm = experiment->shadow ? 0 : arm_of(experiment, draw(client, ASK_ARM));
  out->arm_name = experiment->arms[out->arm].name;
  out->model = experiment->arms[out->arm].model;
  for (size_t i = 1; experiment->shadow && i < experiment->arm_count; i++) {
    if (!experiment->arms[i].stopped) out->shadows[out->shadow_count++] = i;
  }
}

void rh_experiment_assign(const rh_experiments *experiments, const char *model, const char *key, const char *session,
                          uint64_t chance, rh_assignment *out) {
  memset(out, 0, sizeof *out);
  for (size_t i = 0; i < experiments->count; i++) {
    const rh_experiment *experiment = experiments->list[i];
    if (experiment->state != RH_EXPERIMENT_RUNNING) continue;
    if (strcmp(experiment->model, "*") != 0 && (model == NULL || strcmp(experiment->model, model) != 0)) continue;
    uint64_t client = client_of(experiment, key, session, chance);
    if (!(draw(client, ASK_TRAFFIC) < experiment->traffic)) continue;
    fill(experiment, client, out);
    return;
  }
}
