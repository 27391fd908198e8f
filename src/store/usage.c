// SPDX-License-Identifier: Apache-2.0
//
// What was learned about models by using them: when, how often, how much memory. One file, merged under a lock. Owns the
// handle's cached copy of it. These facts are advice: a store that cannot be written costs one warning and nothing else.
//
// How often: a rate in requests an hour that forgets with a time constant of TAU_H hours. With n new requests after t
// hours without a note,  rate = rate * exp(-t / TAU_H) + n / TAU_H.  A steady r requests an hour come to rest at r, half
// of a habit is forgotten after ln 2 * TAU_H (about 17 hours), and notes of several processes add up in any order.
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "store/internal.h"

#define TAU_H 24.0
#define KEYS_MAX 4096

static double decayed(double rate, int64_t then_s, int64_t now_s) {
  double hours = then_s > 0 && now_s > then_s ? (double)(now_s - then_s) / 3600.0 : 0.0;
  return rate * exp(-hours / TAU_H);
}

// A number of the file; 0 where it is absent or nonsense, since facts are only advice.
static double number_at(const json_t *item, const char *key) {
  double value = json_number_value(json_object_get(item, key));
  return isfinite(value) && value > 0.0 && value < 9e18 ? value : 0.0;
}

static void read_item(const json_t *item, int64_t now_s, rh_usage_facts *out) {
  *out = (rh_usage_facts){
      .last_used_s = (int64_t)number_at(item, "last_used_s"),
      .ram_bytes = (int64_t)number_at(item, "ram_bytes"),
      .gpu_bytes = (int64_t)number_at(item, "gpu_bytes"),
      .load_ms = number_at(item, "load_ms"),
  };
  out->frequency = decayed(number_at(item, "frequency"), (int64_t)number_at(item, "noted_s"), now_s);
  const char *key = json_string_value(json_object_get(item, "options"));
  if (key != NULL) (void)rh_text_copy(out->options_key, sizeof out->options_key, key);
}

// The file again, unless it is the one that was read last.
static json_t *current(rh_store *store, const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) {
    json_decref(store->usage);
    store->usage = NULL;
    return NULL;
  }
  int64_t modified_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
  bool same = (int64_t)info.st_ino == store->usage_inode && modified_ns == store->usage_modified_ns;
  if (store->usage != NULL && same) return store->usage;
  json_decref(store->usage);
  store->usage = NULL;
  rh_error reason = {0};
  if (rh_store_read_json(path, &store->usage, &reason) != RH_OK) {
    if (!store->usage_warned) {
      RH_LOG(RH_LOG_WARN, "what was learned about models cannot be read", rh_log_str("reason", reason.message));
    }
    store->usage_warned = true;
    return NULL;
  }
  store->usage_inode = (int64_t)info.st_ino;
  store->usage_modified_ns = modified_ns;
  return store->usage;
}

rh_status rh_store_facts(rh_store *store, const char *key, rh_usage_facts *out) {
  assert(store != NULL && key != NULL && out != NULL);
  *out = (rh_usage_facts){.last_used_s = 0};
  char *path = rh_store_path(store, "usage.json");
  if (path == NULL) return RH_NO_MEMORY;
  const json_t *item = json_object_get(json_object_get(current(store, path), "models"), key);
  free(path);
  if (!json_is_object(item)) return RH_NOT_FOUND;
  read_item(item, rh_clock_wall_s(), out);
  return RH_OK;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static void merge(rh_usage_facts *known, const rh_usage_facts *news) {
  known->last_used_s = larger(known->last_used_s, news->last_used_s);
  if (news->requests > 0) known->frequency += (double)news->requests / TAU_H;
  if (news->load_ms > 0.0) known->load_ms = news->load_ms;
  bool other_options = news->options_key[0] != '\0' && strcmp(news->options_key, known->options_key) != 0;
  if (other_options) {
    known->ram_bytes = known->gpu_bytes = 0;
    (void)rh_text_copy(known->options_key, sizeof known->options_key, news->options_key);
  }
  known->ram_bytes = larger(known->ram_bytes, news->ram_bytes);
  known->gpu_bytes = larger(known->gpu_bytes, news->gpu_bytes);
}

static json_t *write_item(const rh_usage_facts *facts, int64_t now_s) {
  return json_pack("{s:I, s:I, s:f, s:I, s:I, s:f, s:s}", "last_used_s", (json_int_t)facts->last_used_s, "noted_s",
                   (json_int_t)now_s, "frequency", facts->frequency, "ram_bytes", (json_int_t)facts->ram_bytes,
                   "gpu_bytes", (json_int_t)facts->gpu_bytes, "load_ms", facts->load_ms, "options", facts->options_key);
}

// The one used longest ago makes room.
static void forget_oldest(json_t *models) {
  const char *key, *oldest = NULL;
  json_t *item;
  double least = INFINITY;
  json_object_foreach(models, key, item) {
    double used = number_at(item, "last_used_s");
    if (used < least) {
      least = used;
      oldest = key;
    }
  }
  char *copy = oldest == NULL ? NULL : strdup(oldest);  // jansson may free the key while it deletes it
  if (copy != NULL) (void)json_object_del(models, copy);
  free(copy);
}

static rh_status merge_all(const char *path, const char *const *keys, const rh_usage_facts *facts, size_t count,
                           rh_error *error) {
  json_t *file = NULL;
  rh_status status = rh_store_read_json(path, &file, error);
  if (status == RH_INVALID) {  // damaged, and nothing but advice is lost
    file = json_object();
    status = RH_OK;
  }
  if (status != RH_OK) return status;
  json_t *models = json_object_get(file, "models");
  bool failed = false;
  if (!json_is_object(models)) {
    failed = json_object_set_new(file, "models", json_object()) != 0;
    models = json_object_get(file, "models");
  }
  int64_t now_s = rh_clock_wall_s();
  for (size_t i = 0; i < count && !failed; i++) {
    rh_usage_facts known;
    read_item(json_object_get(models, keys[i]), now_s, &known);
    merge(&known, &facts[i]);
    failed = json_object_set_new(models, keys[i], write_item(&known, now_s)) != 0;
    if (json_object_size(models) > KEYS_MAX) forget_oldest(models);
  }
  status = failed ? rh_fail(error, RH_NO_MEMORY, "no memory to note what was learned")
                  : rh_store_write_json(path, file, error);
  json_decref(file);
  return status;
}

void rh_store_note(rh_store *store, const char *const *keys, const rh_usage_facts *facts, size_t count) {
  assert(store != NULL && (count == 0 || (keys != NULL && facts != NULL)));
  if (count == 0) return;
  rh_error reason = {0};
  rh_lock lock;
  char *path = rh_store_path(store, "usage.json");
  rh_status status = rh_lock_wait(rh_store_path(store, "locks/.usage"), &lock, &reason);
  if (status == RH_OK) {
    status = path == NULL ? rh_fail(&reason, RH_NO_MEMORY, "no memory to note what was learned")
                          : merge_all(path, keys, facts, count, &reason);
    rh_lock_release(&lock);
  }
  free(path);
  if (status != RH_OK && !store->usage_warned) {
    store->usage_warned = true;
    RH_LOG(RH_LOG_WARN, "what was learned about models cannot be written; this is said once",
           rh_log_str("reason", reason.message));
  }
}
