// SPDX-License-Identifier: Apache-2.0
//
// The models on this machine, without a server: the store, the aliases in it, a Hugging Face cache, the configuration.
#ifndef RH_CLI_LOCAL_H
#define RH_CLI_LOCAL_H

#include "cli/cli.h"
#include "daemon/settings.h"
#include "store/store.h"

typedef struct rh_local {
  rh_configuration *conf;  // NULL when the configuration is wrong and a person named the store
  rh_store *store;
  const char *hub_cache;  // folder of a Hugging Face cache; NULL = the usual places; "" = none. Lives as conf does
  bool offline;
  int64_t store_limit_bytes;  // 0 = none
} rh_local;

// Opens the store: `store_dir` (of --store-dir; may be NULL), else the configuration's, else the usual folder. Without
// `create` a store that is not there is an empty one.
rh_status rh_local_open(const char *store_dir, bool create, rh_local *out, rh_error *error) RH_MUST_CHECK;
void rh_local_close(rh_local *local);

// A stored model by name, name:version or alias; with `elsewhere` also one in the Hugging Face cache. RH_NOT_FOUND says
// what to do. The caller releases *out.
rh_status rh_local_find(rh_local *local, const char *name, bool elsewhere, rh_stored *out,
                        rh_error *error) RH_MUST_CHECK;
// "name:version" into `out`.
void rh_local_name(const rh_stored *stored, char *out, size_t size);

// The names of the store's aliases that mean this model. New reference; NULL when memory is short.
json_t *rh_local_aliases_of(rh_local *local, const rh_stored *stored);
// Says why; the exit status. An error of this machine is never "no server answers".
int rh_local_fail(const rh_error *error);

// "true", "1", "yes", "on" and anything else that is not one of their opposites, as ROUNDHOUSE_OFFLINE takes it.
bool rh_local_is_true(const char *text);

// The flag of all commands that open the store.
#define RH_CLI_STORE_FLAG(owner) \
  RH_CLI_FLAG(RH_SETTING_STRING, owner, store_dir, NULL, 0, 0, "folder of the store; default: as configured")

#endif
