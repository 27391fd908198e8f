// SPDX-License-Identifier: Apache-2.0
//
// API keys: who may call, for what, how much. Kept in the state database (ledger/database.h), so that daemons and commands on one
// folder share them; a copy of all of them is in memory and follows changes of others within a second.
//
// A key is shown once, when it is made: "rh-" and 43 characters (256 random bits). Stored is its SHA-256 (a random key needs no
// slow hash), compared in constant time. What each key spent is kept by the ledger (ledger/ledger.h, the table `spent`), so budgets
// hold over restarts and, within a second or two, over several daemons. Keys of the configuration live in memory; they cannot be
// changed here. Thread: one.
#ifndef RH_ADMIT_KEYS_H
#define RH_ADMIT_KEYS_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/database.h"

#define RH_KEY_ID_SIZE 32
#define RH_KEY_TEXT_SIZE 64
#define RH_KEYS_MAX 100000

enum { RH_KEY_INFERENCE = 1, RH_KEY_ADMIN = 2, RH_KEY_METRICS = 4 };  // scopes; admin may do everything

typedef enum rh_budget_period {
  RH_BUDGET_NEVER,
  RH_BUDGET_DAY,
  RH_BUDGET_MONTH
} rh_budget_period;  // when it is renewed

// `name` and `models` may be replaced by a refresh or an update; the rest of a held key stays where it is.
typedef struct rh_key {
  char id[RH_KEY_ID_SIZE];  // "key_" and 12 characters: harmless, in logs and usage
  char *name;
  uint32_t scopes;
  char **models;                                   // allowed: exact names, or with '*' at the end; NULL = all
  int64_t requests_per_minute, tokens_per_minute;  // 0 = the server's default, -1 = no limit
  int64_t concurrency;                             // 0 = no limit
  int32_t priority;                                // added to the request's own and bounding it: -100..100
  double budget_usd;                               // 0 = none
  rh_budget_period period;
  int64_t created_s, expires_s;  // expires 0 = never
  int64_t revoked_s;             // 0 = not
  int64_t last_used_s;           // about
  bool local_only;               // its requests never leave this machine
  // running figures, in memory only
  int64_t running;
  double spent_usd;  // in this period
  int64_t period_begin_s;
} rh_key;

typedef struct rh_keys rh_keys;

// `database` is borrowed; NULL = none: only the configured keys, and nothing can be created. `configured`: "keys" of the configuration ([{"name","key" or "key_env" or "key_file", ...}]); NULL = none.
rh_status rh_keys_new(rh_database *database, const json_t *configured, rh_keys **out, rh_error *error) RH_MUST_CHECK;
void rh_keys_free(rh_keys *keys);
bool rh_keys_any(const rh_keys *keys);  // there is a key that is neither revoked nor expired
// There is or was any key, also a revoked or expired one. To decide whether a key is asked for at all: a server whose last key
// expires must not become open to everybody.
bool rh_keys_exist(const rh_keys *keys);
size_t rh_keys_count(const rh_keys *keys);           // revoked and expired ones too
void rh_keys_refresh(rh_keys *keys, int64_t now_s);  // reads what others changed; cheap when nothing did

// The key of a presented secret. RH_UNAUTHENTICATED: unknown, revoked or expired (the message says which only for a right secret).
// The result is valid until the next refresh or change; hold one over time with rh_key_hold.
rh_status rh_keys_check(rh_keys *keys, const char *secret, int64_t now_s, rh_key **out, rh_error *error) RH_MUST_CHECK;
void rh_key_hold(rh_key *key);
void rh_key_release(rh_key *key);
bool rh_key_may_use(const rh_key *key, const char *model);
// RH_BUDGET with the numbers. rh_key_spend adds what a request cost.
rh_status rh_key_check_budget(rh_key *key, int64_t now_s, rh_error *error) RH_MUST_CHECK;
void rh_key_spend(rh_key *key, double usd, int64_t now_s);

// {"name","scopes":[...],"models":[...],"requests_per_minute","tokens_per_minute","concurrency","priority","budget_usd",
// "budget_period":"never"|"day"|"month","expires_in":"30d"|"expires_at":unix seconds,"local_only"}. `secret`: the only time it is
// seen. Unknown fields are errors that name the nearest.
rh_status rh_keys_create(rh_keys *keys, const json_t *definition, int64_t now_s, char secret[RH_KEY_TEXT_SIZE],
                         rh_key **out, rh_error *error) RH_MUST_CHECK;
// The same fields; null puts one back to its default. By id or name. RH_CONFLICT: revoked, or a key of the configuration.
rh_status rh_keys_update(rh_keys *keys, const char *id, const json_t *changes, int64_t now_s,
                         rh_error *error) RH_MUST_CHECK;
rh_status rh_keys_revoke(rh_keys *keys, const char *id, int64_t now_s, rh_error *error) RH_MUST_CHECK;  // by id or name
rh_key *rh_keys_find(rh_keys *keys, const char *id_or_name);
json_t *rh_key_json(const rh_key *key, int64_t now_s);     // never the secret; new reference
json_t *rh_keys_json(const rh_keys *keys, int64_t now_s);  // an array

#endif
