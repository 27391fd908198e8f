// SPDX-License-Identifier: Apache-2.0
//
// What the files of the keys share. Nobody outside src/admit and its tests includes this.
#ifndef RH_ADMIT_KEYS_PRIVATE_H
#define RH_ADMIT_KEYS_PRIVATE_H

#include <openssl/evp.h>
#include <sqlite3.h>

#include "admit/keys.h"

#define RH_KEY_HASH_BYTES 32
#define RH_KEY_MODELS_MAX 256
#define RH_KEY_NAME_MAX 64
#define RH_KEY_SECRET_MIN 8  // of a key of the configuration
#define RH_KEY_SECRET_MAX 256

typedef struct rh_key_entry {
  rh_key key;  // first: an rh_key that we handed out is its entry
  unsigned char hash[RH_KEY_HASH_BYTES];
  unsigned holds;
  bool configured;
  bool gone;  // no longer in the list; freed with its last hold
  bool used;  // last_used_s is newer than the database's
  bool seen;  // in a full reading
} rh_key_entry;

// Open addressing; nothing is ever taken out but by building it anew.
typedef struct rh_key_index {
  struct rh_key_slot {
    uint64_t hash;
    rh_key_entry *entry;
  } * slots;
  size_t size, count;  // size: a power of two, or 0
} rh_key_index;

struct rh_keys {
  rh_database *database;  // may be NULL
  rh_key_entry **items;
  size_t count, capacity;
  rh_key_index by_hash, by_id;
  EVP_MD_CTX *digest;
  sqlite3_stmt *versions, *load, *load_spent, *touch;
  int64_t generation, epoch;  // of the table, as read last
  int64_t spent_seen_ms;      // the newest change of `spent` that was read
  int64_t valid_until_s;      // some key is valid until then; 0 = none, INT64_MAX = for ever
  int64_t touched_s;          // when last_used was last written
  size_t touch_from;          // where the writing of last_used goes on
  bool touching, stale, budgets, failing;
};

// keys.c
void rh_keys_hash(rh_keys *keys, const char *secret, size_t length, unsigned char out[RH_KEY_HASH_BYTES]);
rh_key_entry *rh_keys_by_hash(const rh_keys *keys, const unsigned char hash[RH_KEY_HASH_BYTES]);
rh_key_entry *rh_keys_by_id(const rh_keys *keys, const char *id);
// Takes the entry over on RH_OK.
rh_status rh_keys_put(rh_keys *keys, rh_key_entry *entry, rh_error *error) RH_MUST_CHECK;
void rh_keys_sweep(rh_keys *keys);  // what was not `seen` leaves the list
void rh_keys_summarize(rh_keys *keys);
void rh_key_entry_free(rh_key_entry *entry);

// keys_definition.c. `key` holds what it was (all zero but the scopes for a new one) and gets what `definition` says; on failure
// it may be half changed. `also_known` (NULL-terminated) are fields that others read. Strings of `key` are owned by it.
rh_status rh_key_read(rh_key *key, const json_t *definition, const char *path, const char *const *also_known,
                      int64_t now_s, rh_error *error) RH_MUST_CHECK;
void rh_key_clear(rh_key *key);  // frees its strings
// Between the list of models and its text in the database: one a line; NULL = all.
char *rh_key_models_text(const rh_key *key);
rh_status rh_key_models_read(rh_key *key, const char *text) RH_MUST_CHECK;
const char *rh_key_period_name(rh_budget_period period);

// keys_configured.c
rh_status rh_keys_add_configured(rh_keys *keys, const json_t *configured, int64_t now_s, rh_error *error) RH_MUST_CHECK;

// keys_store.c
rh_status rh_keys_store_open(rh_keys *keys, rh_error *error) RH_MUST_CHECK;
void rh_keys_store_close(rh_keys *keys);
rh_status rh_keys_store_load(rh_keys *keys, rh_error *error) RH_MUST_CHECK;  // what is new since the last time
rh_status rh_keys_store_load_spent(rh_keys *keys, int64_t since_ms, int64_t now_s, rh_error *error) RH_MUST_CHECK;
rh_status rh_keys_store_touch(rh_keys *keys, size_t max) RH_MUST_CHECK;  // RH_AGAIN: there are more
// keys_write.c
rh_status rh_keys_write_new(rh_keys *keys, const rh_key *key, const unsigned char hash[RH_KEY_HASH_BYTES],
                            int64_t now_s, rh_error *error) RH_MUST_CHECK;
rh_status rh_keys_write_change(rh_keys *keys, const char *id, const json_t *changes, bool revoke, int64_t now_s,
                               rh_error *error) RH_MUST_CHECK;

// keys_budget.c
int64_t rh_key_period_begin(rh_budget_period period, int64_t now_s);
// What the database says of a key's spending: its newest day, month, and ever. Never lowers what is known here.
typedef struct rh_key_spent {
  int64_t day, month;
  double day_usd, month_usd, total_usd;
} rh_key_spent;
void rh_key_merge_spent(rh_key *key, const rh_key_spent *spent, int64_t now_s);

#endif
