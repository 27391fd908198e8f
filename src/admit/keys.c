// SPDX-License-Identifier: Apache-2.0
//
// The keys in memory: looking one up by its secret, holding it, what it may do; and the calls that change keys. Owns all entries
// and two indexes over them (by hash, by id). One thread. The tables are keys_store.c's and keys_write.c's.
//
// A secret is looked up by its hash, whose first bytes choose the place in the index. Who does not know a secret cannot choose its
// SHA-256, so where the search ends tells nothing; the whole hash is then compared in constant time.
#include "admit/keys.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "admit/keys_private.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#define INDEX_MIN 64
#define SECRET_CHARACTERS 43  // of 62: 256.03 bits
#define ID_CHARACTERS 12
#define TOUCH_S 60  // last_used is written so often
#define TOUCH_MAX 500
#define SPENT_OVERLAP_MS 5000  // commits of several daemons may become visible out of order

static uint64_t hash_id(const char *id) { return rh_hash_bytes(0, id, strlen(id)); }

static uint64_t hash_start(const unsigned char hash[RH_KEY_HASH_BYTES]) {
  uint64_t start;
  memcpy(&start, hash, sizeof start);
  return start;
}

static void index_insert(rh_key_index *index, uint64_t hash, rh_key_entry *entry) {
  size_t place = hash & (index->size - 1);
  while (index->slots[place].entry != NULL) place = (place + 1) & (index->size - 1);
  index->slots[place].hash = hash;
  index->slots[place].entry = entry;
  index->count++;
}

static rh_status index_put(rh_key_index *index, uint64_t hash, rh_key_entry *entry) {
  if (2 * (index->count + 1) > index->size) {
    rh_key_index larger = {.size = index->size == 0 ? INDEX_MIN : 2 * index->size};
    larger.slots = calloc(larger.size, sizeof *larger.slots);
    if (larger.slots == NULL) return RH_NO_MEMORY;
    for (size_t i = 0; i < index->size; i++) {
      if (index->slots[i].entry != NULL) index_insert(&larger, index->slots[i].hash, index->slots[i].entry);
    }
    free(index->slots);
    *index = larger;
  }
  index_insert(index, hash, entry);
  return RH_OK;
}

static void index_clear(rh_key_index *index) {
  if (index->size > 0) memset(index->slots, 0, index->size * sizeof *index->slots);
  index->count = 0;
}

rh_key_entry *rh_keys_by_hash(const rh_keys *keys, const unsigned char hash[RH_KEY_HASH_BYTES]) {
  const rh_key_index *index = &keys->by_hash;
  uint64_t start = hash_start(hash);
  for (size_t i = start & (index->size - 1); index->size > 0 && index->slots[i].entry != NULL;
       i = (i + 1) & (index->size - 1)) {
    rh_key_entry *entry = index->slots[i].entry;
    if (CRYPTO_memcmp(entry->hash, hash, RH_KEY_HASH_BYTES) == 0) return entry;
  }
  return NULL;
}

rh_key_entry *rh_keys_by_id(const rh_keys *keys, const char *id) {
  const rh_key_index *index = &keys->by_id;
  uint64_t hash = hash_id(id);
  for (size_t i = hash & (index->size - 1); index->size > 0 && index->slots[i].entry != NULL;
       i = (i + 1) & (index->size - 1)) {
    if (index->slots[i].hash == hash && strcmp(index->slots[i].entry->key.id, id) == 0) return index->slots[i].entry;
  }
  return NULL;
}

void rh_key_entry_free(rh_key_entry *entry) {
  if (entry == NULL) return;
  rh_key_clear(&entry->key);
  free(entry);
}

rh_status rh_keys_put(rh_keys *keys, rh_key_entry *entry, rh_error *error) {
  if (keys->count == keys->capacity) {
    size_t capacity = keys->capacity == 0 ? INDEX_MIN : 2 * keys->capacity;
    rh_key_entry **items = realloc(keys->items, capacity * sizeof(*items));
    if (items == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for %zu keys", capacity);
    keys->items = items;
    keys->capacity = capacity;
  }
  // An entry in one index alone is found or not, but never lost: without memory here nothing will go on for long.
  if (index_put(&keys->by_hash, hash_start(entry->hash), entry) != RH_OK) {
    return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  }
  if (index_put(&keys->by_id, hash_id(entry->key.id), entry) != RH_OK) {
    (void)fputs("roundhouse: no memory for the keys\n", stderr);
    abort();
  }
  keys->items[keys->count++] = entry;
  return RH_OK;
}

static void leave(rh_key_entry *entry) {
  entry->gone = true;
  if (entry->holds == 0) rh_key_entry_free(entry);
}

void rh_keys_sweep(rh_keys *keys) {
  size_t kept = 0;
  index_clear(&keys->by_hash);
  index_clear(&keys->by_id);
  for (size_t i = 0; i < keys->count; i++) {
    rh_key_entry *entry = keys->items[i];
    if (!entry->seen && !entry->configured) {
      leave(entry);
      continue;
    }
    keys->items[kept++] = entry;
    index_insert(&keys->by_hash, hash_start(entry->hash), entry);
    index_insert(&keys->by_id, hash_id(entry->key.id), entry);
  }
  keys->count = kept;
}

void rh_keys_summarize(rh_keys *keys) {
  keys->valid_until_s = 0;
  keys->budgets = false;
  for (size_t i = 0; i < keys->count; i++) {
    const rh_key *key = &keys->items[i]->key;
    if (key->budget_usd > 0) keys->budgets = true;
    if (key->revoked_s != 0) continue;
    int64_t until = key->expires_s == 0 ? INT64_MAX : key->expires_s;
    if (until > keys->valid_until_s) keys->valid_until_s = until;
  }
}

// Making and refreshing.

rh_status rh_keys_new(rh_database *database, const json_t *configured, rh_keys **out, rh_error *error) {
  assert(out != NULL);
  rh_keys *keys = calloc(1, sizeof *keys);
  if (keys == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the keys");
  keys->database = database;
  keys->generation = keys->epoch = -1;
  keys->digest = EVP_MD_CTX_new();
  int64_t now_s = rh_clock_wall_s();
  rh_status status = RH_OK;
  if (keys->digest == NULL || EVP_DigestInit_ex(keys->digest, EVP_sha256(), NULL) != 1) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for the keys");
  }
  if (status == RH_OK && database != NULL) status = rh_keys_store_open(keys, error);
  if (status == RH_OK && database != NULL) status = rh_keys_store_load(keys, error);
  if (status == RH_OK && configured != NULL && !json_is_null(configured)) {
    status = rh_keys_add_configured(keys, configured, now_s, error);
  }
  if (status == RH_OK && database != NULL) status = rh_keys_store_load_spent(keys, 0, now_s, error);
  if (status != RH_OK) {
    rh_keys_free(keys);
    return status;
  }
  rh_keys_summarize(keys);
  keys->touched_s = now_s;
  *out = keys;
  return RH_OK;
}

void rh_keys_free(rh_keys *keys) {
  if (keys == NULL) return;
  if (keys->database != NULL && keys->touch != NULL) {
    rh_status status = rh_keys_store_touch(keys, SIZE_MAX);
    if (status != RH_OK)
      RH_LOG(RH_LOG_WARN, "when keys were used last is lost", rh_log_str("reason", rh_status_name(status)));
  }
  rh_keys_store_close(keys);
  for (size_t i = 0; i < keys->count; i++) leave(keys->items[i]);
  free(keys->items);
  free(keys->by_hash.slots);
  free(keys->by_id.slots);
  EVP_MD_CTX_free(keys->digest);
  free(keys);
}

static void tell_refresh(rh_keys *keys, rh_status status, const rh_error *error) {
  if (status != RH_OK && !keys->failing) {
    RH_LOG(RH_LOG_WARN, "changes of keys cannot be read; the known ones stay in force",
           rh_log_str("reason", error->message));
  }
  keys->failing = status != RH_OK;
  keys->stale = status != RH_OK;
}

static void write_last_used(rh_keys *keys, int64_t now_s) {
  if (!keys->touching && now_s - keys->touched_s < TOUCH_S && now_s >= keys->touched_s) return;
  keys->touching = true;
  keys->touched_s = now_s;
  // What others' locks hold up is tried again a second later; it must not stop the loop.
  rh_database_set_patience(keys->database, 10);
  if (rh_keys_store_touch(keys, TOUCH_MAX) == RH_OK) keys->touching = false;
  rh_database_set_patience(keys->database, RH_DATABASE_PATIENCE_MS);
}

size_t rh_keys_count(const rh_keys *keys) { return keys->count; }

void rh_keys_refresh(rh_keys *keys, int64_t now_s) {
  assert(keys != NULL);
  if (keys->database == NULL) return;
  bool changed = rh_database_changed(keys->database);
  if (changed || keys->stale) {
    rh_error error = {0};
    rh_status status = rh_keys_store_load(keys, &error);
    if (status == RH_OK && keys->budgets) {
      status = rh_keys_store_load_spent(keys, keys->spent_seen_ms - SPENT_OVERLAP_MS, now_s, &error);
    }
    tell_refresh(keys, status, &error);
  }
  write_last_used(keys, now_s);
}

bool rh_keys_any(const rh_keys *keys) { return keys->valid_until_s > rh_clock_wall_s(); }

bool rh_keys_exist(const rh_keys *keys) { return keys->count > 0; }

// Checking.

void rh_keys_hash(rh_keys *keys, const char *secret, size_t length, unsigned char out[RH_KEY_HASH_BYTES]) {
  // Without a type the context begins again with the one it has, which spares looking the algorithm up.
  bool good = EVP_DigestInit_ex(keys->digest, NULL, NULL) == 1 && EVP_DigestUpdate(keys->digest, secret, length) == 1 &&
              EVP_DigestFinal_ex(keys->digest, out, NULL) == 1;
  assert(good);
  (void)good;
}

rh_status rh_keys_check(rh_keys *keys, const char *secret, int64_t now_s, rh_key **out, rh_error *error) {
  assert(keys != NULL && out != NULL);
  size_t length = secret == NULL ? 0 : strnlen(secret, RH_KEY_SECRET_MAX + 1);
  if (length == 0) {
    return rh_fail(error, RH_UNAUTHENTICATED,
                   "no API key was given; send \"Authorization: Bearer <key>\" or \"x-api-key: <key>\"");
  }
  unsigned char hash[RH_KEY_HASH_BYTES];
  rh_key_entry *entry = NULL;
  if (length <= RH_KEY_SECRET_MAX) {
    rh_keys_hash(keys, secret, length, hash);
    entry = rh_keys_by_hash(keys, hash);
  }
  if (entry == NULL) return rh_fail(error, RH_UNAUTHENTICATED, "the API key is not known");
  rh_key *key = &entry->key;
  if (key->revoked_s != 0) return rh_fail(error, RH_UNAUTHENTICATED, "the API key \"%s\" was revoked", key->name);
  if (key->expires_s != 0 && key->expires_s <= now_s) {
    return rh_fail(error, RH_UNAUTHENTICATED, "the API key \"%s\" has expired", key->name);
  }
  if (key->last_used_s < now_s) {
    key->last_used_s = now_s;
    entry->used = !entry->configured;
  }
  *out = key;
  return RH_OK;
}

void rh_key_hold(rh_key *key) { ((rh_key_entry *)(void *)key)->holds++; }

void rh_key_release(rh_key *key) {
  rh_key_entry *entry = (rh_key_entry *)(void *)key;
  assert(entry->holds > 0);
  if (--entry->holds == 0 && entry->gone) rh_key_entry_free(entry);
}

bool rh_key_may_use(const rh_key *key, const char *model) {
  if (key->models == NULL) return true;
  for (size_t i = 0; key->models[i] != NULL; i++) {
    size_t length = strlen(key->models[i]);
    bool star = key->models[i][length - 1] == '*';
    if (star ? strncmp(key->models[i], model, length - 1) == 0 : strcmp(key->models[i], model) == 0) return true;
  }
  return false;
}

rh_key *rh_keys_find(rh_keys *keys, const char *id_or_name) {
  rh_key_entry *entry = rh_keys_by_id(keys, id_or_name);
  if (entry != NULL) return &entry->key;
  rh_key *revoked = NULL;
  for (size_t i = 0; i < keys->count; i++) {
    rh_key *key = &keys->items[i]->key;
    if (strcmp(key->name, id_or_name) != 0) continue;
    if (key->revoked_s == 0) return key;
    revoked = key;
  }
  return revoked;
}

json_t *rh_keys_json(const rh_keys *keys, int64_t now_s) {
  json_t *list = json_array();
  for (size_t i = 0; i < keys->count; i++) (void)json_array_append_new(list, rh_key_json(&keys->items[i]->key, now_s));
  return list;
}

// Changing.

static void random_text(char *out, size_t count) {
  static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  unsigned char bytes[64];
  size_t left = 0;
  for (size_t i = 0; i < count;) {
    if (left == 0) {
      if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) continue;
      left = sizeof bytes;
    }
    unsigned byte = bytes[--left] & 63u;
    if (byte < 62) out[i++] = digits[byte];  // others would favour the first digits
  }
  out[count] = '\0';
  explicit_bzero(bytes, sizeof bytes);
}

rh_status rh_keys_create(rh_keys *keys, const json_t *definition, int64_t now_s, char secret[RH_KEY_TEXT_SIZE],
                         rh_key **out, rh_error *error) {
  if (keys->database == NULL) {
    return rh_fail(error, RH_UNAVAILABLE, "there is no state database, so no key can be made");
  }
  rh_key fresh = {.scopes = RH_KEY_INFERENCE, .created_s = now_s};
  rh_status status = rh_key_read(&fresh, definition, "", NULL, now_s, error);
  if (status != RH_OK) {
    rh_key_clear(&fresh);
    return status;
  }
  unsigned char hash[RH_KEY_HASH_BYTES];
  memcpy(secret, "rh-", 3);
  random_text(secret + 3, SECRET_CHARACTERS);
  memcpy(fresh.id, "key_", 4);
  random_text(fresh.id + 4, ID_CHARACTERS);
  rh_keys_hash(keys, secret, strlen(secret), hash);
  status = rh_keys_write_new(keys, &fresh, hash, now_s, error);
  rh_key_clear(&fresh);
  if (status == RH_OK) status = rh_keys_store_load(keys, error);
  rh_key_entry *entry = status == RH_OK ? rh_keys_by_hash(keys, hash) : NULL;
  if (status == RH_OK && entry == NULL) status = rh_fail(error, RH_CONFLICT, "the new key was removed at once");
  if (status != RH_OK) {
    explicit_bzero(secret, RH_KEY_TEXT_SIZE);
    return status;
  }
  if (out != NULL) *out = &entry->key;
  return RH_OK;
}

static rh_status change(rh_keys *keys, const char *id, const json_t *changes, bool revoke, int64_t now_s,
                        rh_error *error) {
  if (keys->database != NULL) {
    rh_status status = rh_keys_store_load(keys, error);
    if (status != RH_OK) return status;
  }
  const rh_key *key = rh_keys_find(keys, id);
  if (key == NULL) return rh_fail(error, RH_NOT_FOUND, "there is no key \"%.64s\"", id);
  if (((const rh_key_entry *)(const void *)key)->configured) {
    return rh_fail(error, RH_CONFLICT, "the key \"%s\" is in the configuration file; change it there", key->name);
  }
  if (revoke && key->revoked_s != 0) return RH_OK;
  if (key->revoked_s != 0) return rh_fail(error, RH_CONFLICT, "the key \"%s\" was revoked; make a new one", key->name);
  return rh_keys_write_change(keys, key->id, changes, revoke, now_s, error);
}

rh_status rh_keys_update(rh_keys *keys, const char *id, const json_t *changes, int64_t now_s, rh_error *error) {
  assert(keys != NULL && id != NULL);
  return change(keys, id, changes, false, now_s, error);
}

rh_status rh_keys_revoke(rh_keys *keys, const char *id, int64_t now_s, rh_error *error) {
  assert(keys != NULL && id != NULL);
  return change(keys, id, NULL, true, now_s, error);
}
