// SPDX-License-Identifier: Apache-2.0
//
// Where `roundhouse keys` finds the keys: a running server, or the state database of this machine. Private to keys*.c.
#ifndef RH_CLI_KEYS_H
#define RH_CLI_KEYS_H

#include <jansson.h>

#include "base/status.h"
#include "cli/client.h"

// Exactly one of both is set.
typedef struct rh_key_place {
  rh_client *client;
  struct rh_key_store *store;
} rh_key_place;

// keys_store.c. `state_dir` NULL: as configured.
rh_status rh_key_store_open(const char *state_dir, rh_key_place *out, rh_error *error) RH_MUST_CHECK;
const char *rh_key_store_path(const rh_key_place *place);  // of the database
void rh_key_place_close(rh_key_place *place);

// What the server answers in either case: new references. `id` is an id or a name.
rh_status rh_key_place_list(rh_key_place *place, json_t **out, rh_error *error) RH_MUST_CHECK;  // an array
rh_status rh_key_place_create(rh_key_place *place, const json_t *definition, json_t **out,
                              rh_error *error) RH_MUST_CHECK;  // with the secret as "key"
rh_status rh_key_place_show(rh_key_place *place, const char *id, json_t **out, rh_error *error) RH_MUST_CHECK;
rh_status rh_key_place_update(rh_key_place *place, const char *id, const json_t *changes, json_t **out,
                              rh_error *error) RH_MUST_CHECK;
rh_status rh_key_place_revoke(rh_key_place *place, const char *id, json_t **out, rh_error *error) RH_MUST_CHECK;

#endif
