// SPDX-License-Identifier: Apache-2.0
//
// The admin calls: their routes, and those that only look. Owns nothing. Loop thread only. Looking starts no worker and
// loads no model.
#include "daemon/admin.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/known.h"

rh_served *rh_admin_find(rh_operation *operation, const char *name) {
  rh_resolution found;
  rh_error error = {0};
  if (rh_manager_resolve(operation->daemon->manager, name, &found, &error) == RH_OK) return found.served;
  rh_operation_fail(operation, &error);
  return NULL;
}

static json_t *describe_all(const rh_daemon *daemon) {
  json_t *models = json_array();
  for (size_t i = 0; models != NULL && i < rh_manager_count(daemon->manager); i++) {
    json_array_append_new(models, rh_served_describe(rh_manager_at(daemon->manager, i)));
  }
  return models;
}

// Disk use, or null without a store. A walk over the store's files: their metadata, no content.
static json_t *describe_store(const rh_daemon *daemon) {
  rh_store_usage usage;
  rh_error ignored = {0};
  if (daemon->store == NULL || rh_store_disk_usage(daemon->store, &usage, &ignored) != RH_OK) return json_null();
  return json_pack("{sssIsIsIsIsIsI}", "folder", rh_store_folder(daemon->store), "models",
                   (json_int_t)usage.model_count, "model_bytes", (json_int_t)usage.model_bytes, "partial",
                   (json_int_t)usage.partial_count, "partial_bytes", (json_int_t)usage.partial_bytes, "free_bytes",
                   (json_int_t)usage.free_bytes, "limit_bytes", (json_int_t)daemon->settings->store_limit);
}

static void begin_list(rh_operation *operation) {
  const rh_daemon *daemon = operation->daemon;
  rh_resolution found;
  rh_error ignored = {0};
  bool has = rh_manager_resolve(daemon->manager, "", &found, &ignored) == RH_OK;
  json_t *value =
      json_pack("{so*ss*so*so*sO*so*}", "models", describe_all(daemon), "default",
                has ? rh_served_spec(found.served)->name : NULL, "aliases", rh_manager_aliases(daemon->manager),
                "memory", rh_broker_describe(rh_manager_broker(daemon->manager)), "stored", daemon->unserved, "store",
                describe_store(daemon));
  rh_operation_answer(operation, 200, value);
}

static void begin_status(rh_operation *operation) {
  rh_resolution found;
  rh_error error = {0};
  if (rh_manager_resolve(operation->daemon->manager, operation->rest, &found, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  json_t *value = rh_served_describe(found.served);
  if (value != NULL) json_object_set_new(value, "route_reason", json_string(found.reason));
  rh_operation_answer(operation, 200, value);
}

// --- the catalogue -------------------------------------------------------------------------------------------------

static bool is_here(const rh_daemon *daemon, const rh_known *known) {
  char name[2 * RH_MODEL_NAME_MAX + 2];
  size_t index;
  json_t *entry;
  if ((size_t)snprintf(name, sizeof name, "%s:%s", known->name, known->version) >= sizeof name) return false;
  for (size_t i = 0; i < rh_manager_count(daemon->manager); i++) {
    if (strcmp(rh_served_spec(rh_manager_at(daemon->manager, i))->name, name) == 0) return true;
  }
  json_array_foreach(daemon->unserved, index, entry) {
    const char *stored = json_string_value(json_object_get(entry, "name"));
    if (stored != NULL && strcmp(stored, name) == 0) return true;
  }
  return false;
}

static json_t *describe_known(const rh_daemon *daemon, const rh_known *known, const rh_hardware *hardware) {
  json_t *value = rh_known_to_json(known);
  rh_error error = {0};
  bool fits = rh_known_fits(known, hardware, &error) == RH_OK;
  if (value == NULL) return NULL;
  json_object_set_new(value, "fits", json_boolean(fits));
  if (!fits) json_object_set_new(value, "reason", json_string(error.message));
  json_object_set_new(
      value, "served_by",
      rh_format_engine(known->format) != NULL ? json_string(rh_format_engine(known->format)) : json_null());
  json_object_set_new(value, "here", json_boolean(is_here(daemon, known)));
  return value;
}

static void begin_catalogue(rh_operation *operation) {
  rh_hardware *hardware = calloc(1, sizeof *hardware);
  json_t *models = hardware != NULL ? json_array() : NULL;
  if (models != NULL) rh_hardware_probe(hardware);
  for (size_t i = 0; models != NULL && i < rh_known_count(); i++) {
    json_array_append_new(models, describe_known(operation->daemon, rh_known_at(i), hardware));
  }
  free(hardware);
  rh_operation_answer(operation, 200, models != NULL ? json_pack("{so}", "models", models) : NULL);
}

const rh_operation_route rh_routes_admin[] = {
    {"GET", "/api/models", "admin.list", RH_SCOPE_READ, begin_list},
    {"GET", "/api/models/status/", "admin.status", RH_SCOPE_READ, begin_status},
    {"GET", "/api/models/catalogue", "admin.catalogue", RH_SCOPE_READ, begin_catalogue},
    {"POST", "/api/models/load", "admin.load", RH_SCOPE_ADMIN, rh_admin_begin_load},
    {"POST", "/api/models/unload", "admin.unload", RH_SCOPE_ADMIN, rh_admin_begin_unload},
    {"POST", "/api/models/unload/", "admin.unload", RH_SCOPE_ADMIN, rh_admin_begin_unload_path},
    {"POST", "/api/models/pin", "admin.pin", RH_SCOPE_ADMIN, rh_admin_begin_pin},
    {"POST", "/api/models/alias", "admin.alias", RH_SCOPE_ADMIN, rh_admin_begin_alias},
    {"POST", "/api/models/pull", "admin.pull", RH_SCOPE_ADMIN, rh_admin_begin_pull},
    {"POST", "/api/models/copy", "admin.copy", RH_SCOPE_ADMIN, rh_admin_begin_copy},
    {"DELETE", "/api/models", "admin.delete", RH_SCOPE_ADMIN, rh_admin_begin_delete},
    {"DELETE", "/api/models/", "admin.delete", RH_SCOPE_ADMIN, rh_admin_begin_delete_path},
    {.path = NULL},
};
