// SPDX-License-Identifier: Apache-2.0
//
// The keys of `roundhouse keys`, asked of a server or read and written in the state database of this machine; both give the same
// JSON. Owns the client or the database until the place is closed. One thread. A server on the same folder sees a change within a
// second.
#include <stdlib.h>
#include <string.h>

#include "admit/keys.h"
#include "base/clock.h"
#include "cli/connect.h"
#include "cli/keys.h"

#define TIMEOUT_MS 10000L
#define PATH_BYTES_MAX 1024
#define ROOT "/api/keys"

struct rh_key_store {
  rh_database *database;
  rh_keys *keys;
};

// --- opening -------------------------------------------------------------------------------------------------------

// The keys of the configuration belong to the list, but one whose secret is not to be had here must not stop the others.
static rh_status open_keys(struct rh_key_store *store, const rh_configuration *conf, rh_error *error) {
  rh_error ignored = {0};
  const json_t *configured = conf != NULL ? conf->gateway->keys : NULL;
  if (configured != NULL && rh_keys_new(store->database, configured, &store->keys, &ignored) == RH_OK) return RH_OK;
  return rh_keys_new(store->database, NULL, &store->keys, error);
}

rh_status rh_key_store_open(const char *state_dir, rh_key_place *out, rh_error *error) {
  *out = (rh_key_place){.client = NULL};
  rh_error inner = {0};
  rh_configuration *conf = rh_connect_configuration(&inner);
  bool named = state_dir != NULL && state_dir[0] != '\0';
  if (conf == NULL && !named) return rh_fail(error, inner.status, "%s", inner.message);
  out->store = calloc(1, sizeof *out->store);
  rh_status status = out->store != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the keys");
  if (status == RH_OK) {
    status = rh_database_open(named ? state_dir : conf->settings.state_dir, &out->store->database, error);
  }
  if (status == RH_OK) status = open_keys(out->store, conf, error);
  rh_configuration_free(conf);
  if (status != RH_OK) rh_key_place_close(out);
  return status;
}

const char *rh_key_store_path(const rh_key_place *place) { return rh_database_path(place->store->database); }

void rh_key_place_close(rh_key_place *place) {
  rh_client_free(place->client);
  if (place->store != NULL) {
    rh_keys_free(place->store->keys);
    rh_database_close(place->store->database);
    free(place->store);
  }
  *place = (rh_key_place){.client = NULL};
}

// --- asking --------------------------------------------------------------------------------------------------------

static rh_status ask(rh_key_place *place, const char *method, const char *id, const json_t *body, json_t **out,
                     rh_error *error) {
  rh_dynbuf path;
  rh_dynbuf_init(&path, PATH_BYTES_MAX);
  rh_status status = rh_dynbuf_append_text(&path, ROOT);
  if (status == RH_OK && id != NULL) status = rh_client_append_part(&path, id);
  if (status != RH_OK)
    (void)rh_fail(error, status, "the key's name is too long");
  else
    status = rh_client_call(place->client, method, rh_dynbuf_data(&path), body, TIMEOUT_MS, out, error);
  rh_dynbuf_free(&path);
  if (status != RH_OK || *out != NULL) return status;
  return rh_fail(error, RH_PROTOCOL, "the server's answer is empty; is it a roundhouse server?");
}

static rh_status given(json_t *value, json_t **out, rh_error *error) {
  *out = value;
  return value != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the keys");
}

static rh_status find(rh_key_place *place, const char *id, json_t **out, rh_error *error) {
  const rh_key *key = rh_keys_find(place->store->keys, id);
  if (key != NULL) return given(rh_key_json(key, rh_clock_wall_s()), out, error);
  return rh_fail(error, RH_NOT_FOUND, "there is no key \"%.80s\"; roundhouse keys list shows them", id);
}

rh_status rh_key_place_list(rh_key_place *place, json_t **out, rh_error *error) {
  *out = NULL;
  if (place->store != NULL) return given(rh_keys_json(place->store->keys, rh_clock_wall_s()), out, error);
  json_t *answer = NULL;
  rh_status status = ask(place, "GET", NULL, NULL, &answer, error);
  if (status != RH_OK) return status;
  json_t *list = json_incref(json_object_get(answer, "keys"));
  json_decref(answer);
  return list != NULL ? given(list, out, error) : rh_fail(error, RH_PROTOCOL, "the server does not tell its keys");
}

rh_status rh_key_place_create(rh_key_place *place, const json_t *definition, json_t **out, rh_error *error) {
  char secret[RH_KEY_TEXT_SIZE];
  rh_key *key = NULL;
  *out = NULL;
  if (place->client != NULL) return ask(place, "POST", NULL, definition, out, error);
  int64_t now = rh_clock_wall_s();
  rh_status status = rh_keys_create(place->store->keys, definition, now, secret, &key, error);
  if (status != RH_OK) return status;
  json_t *value = rh_key_json(key, now);
  if (value != NULL) json_object_set_new(value, "key", json_string(secret));
  explicit_bzero(secret, sizeof secret);
  return given(value, out, error);
}

rh_status rh_key_place_show(rh_key_place *place, const char *id, json_t **out, rh_error *error) {
  *out = NULL;
  return place->client != NULL ? ask(place, "GET", id, NULL, out, error) : find(place, id, out, error);
}

rh_status rh_key_place_update(rh_key_place *place, const char *id, const json_t *changes, json_t **out,
                              rh_error *error) {
  *out = NULL;
  if (place->client != NULL) return ask(place, "POST", id, changes, out, error);
  rh_status status = rh_keys_update(place->store->keys, id, changes, rh_clock_wall_s(), error);
  if (status != RH_OK) return status;
  const char *renamed = json_string_value(json_object_get(changes, "name"));
  return find(place, renamed != NULL ? renamed : id, out, error);
}

rh_status rh_key_place_revoke(rh_key_place *place, const char *id, json_t **out, rh_error *error) {
  *out = NULL;
  if (place->client != NULL) return ask(place, "DELETE", id, NULL, out, error);
  rh_status status = rh_keys_revoke(place->store->keys, id, rh_clock_wall_s(), error);
  return status == RH_OK ? find(place, id, out, error) : status;
}
