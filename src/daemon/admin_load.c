// SPDX-License-Identifier: Apache-2.0
//
// Admin calls that bring models in and out of memory or change what names mean. An operation that waits owns a wait: it
// holds the model, and forgets the manager's waiter when the client leaves; what was begun goes on. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "daemon/admin.h"
#include "model/ref.h"

typedef struct admin_wait {
  rh_operation *operation;
  rh_served *served;  // held; NULL = none
  rh_manager_waiter *waiter;
  rh_admin_then then;
  bool stream;
} admin_wait;

// --- waiting -------------------------------------------------------------------------------------------------------

static void on_gone(rh_operation *operation) {
  admin_wait *wait = operation->state;
  if (wait->waiter != NULL) rh_manager_forget(wait->waiter);
  if (wait->served != NULL) rh_served_release(wait->served);
  free(wait);
}

static void on_done(void *ctx, rh_status status, const rh_error *error) {
  admin_wait *wait = ctx;
  wait->waiter = NULL;
  if (status != RH_OK)
    rh_operation_fail(wait->operation, error);
  else
    wait->then(wait->operation, wait->served);
}

static void on_progress(void *ctx, const char *what, double fraction) {
  admin_wait *wait = ctx;
  // Who reads slowly misses some: the next one says more.
  if (!wait->stream || wait->operation->waiting) return;
  const char *model = wait->served != NULL ? rh_served_spec(wait->served)->name : "";
  (void)rh_operation_line(wait->operation, json_pack("{sssssssf}", "event", "loading", "model", model, "what",
                                                     what != NULL ? what : "", "fraction", fraction));
}

static admin_wait *wait_new(rh_operation *operation, rh_served *served, bool stream, rh_admin_then then) {
  admin_wait *wait = calloc(1, sizeof *wait);
  if (wait == NULL) {
    rh_operation_fail_memory(operation);
    return NULL;
  }
  *wait = (admin_wait){.operation = operation, .served = served, .then = then, .stream = stream};
  if (served != NULL) rh_served_guard(served);
  operation->state = wait;
  operation->gone = on_gone;
  return wait;
}

static rh_manager_callback callback_of(admin_wait *wait) {
  return (rh_manager_callback){.done = on_done, .progress = on_progress, .ctx = wait};
}

// --- answers -------------------------------------------------------------------------------------------------------

static void answer_described(rh_operation *operation, rh_served *served) {
  json_t *value = rh_served_describe(served);
  if (!operation->streaming) {
    rh_operation_answer(operation, 200, value);
    return;
  }
  if (value != NULL) json_object_set_new(value, "event", json_string("done"));
  (void)rh_operation_line(operation, value);
  rh_operation_end(operation);
}

static bool failed(rh_operation *operation, rh_status status, const rh_error *error) {
  if (status == RH_OK) return false;
  rh_operation_fail(operation, error);
  return true;
}

// --- load and unload -----------------------------------------------------------------------------------------------

void rh_admin_load(rh_operation *operation, rh_served *served, int64_t keep_alive, bool stream, rh_admin_then then) {
  rh_error error = {0};
  admin_wait *wait = wait_new(operation, served, stream, then);
  if (wait == NULL) return;
  // Whoever loads a model means to use it: its idle time begins anew, with their wish.
  rh_served_hold(served, keep_alive);
  rh_served_release(served);
  rh_manager_callback callback = callback_of(wait);
  (void)failed(operation, rh_manager_load(operation->daemon->manager, served, &callback, &wait->waiter, &error),
               &error);
}

void rh_admin_unload(rh_operation *operation, rh_served *served, bool force, rh_admin_then then) {
  rh_error error = {0};
  admin_wait *wait = wait_new(operation, served, false, then);
  if (wait == NULL) return;
  rh_manager_callback callback = callback_of(wait);
  (void)failed(operation,
               rh_manager_unload(operation->daemon->manager, served, force, &callback, &wait->waiter, &error), &error);
}

void rh_admin_begin_load(rh_operation *operation) {
  static const char *const fields[] = {"model", "plan", "stream", "keep_alive", NULL};
  const char *model = NULL;
  bool plan = false, stream = false;
  int64_t keep_alive = RH_KEEP_ALIVE_UNSET;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "model", true, &model, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "plan", &plan, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "stream", &stream, &error);
  if (status == RH_OK) status = rh_operation_keep_alive(operation, &keep_alive, &error);
  if (failed(operation, status, &error)) return;
  rh_served *served = rh_admin_find(operation, model);
  if (served == NULL) return;
  if (plan)
    rh_operation_answer(operation, 200, rh_manager_plan(operation->daemon->manager, served));
  else
    rh_admin_load(operation, served, keep_alive, stream, answer_described);
}

static void unload(rh_operation *operation, const char *model, bool force) {
  rh_served *served = rh_admin_find(operation, model);
  if (served != NULL) rh_admin_unload(operation, served, force, answer_described);
}

void rh_admin_begin_unload(rh_operation *operation) {
  static const char *const fields[] = {"model", "force", NULL};
  const char *model = NULL;
  bool force = false;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "model", true, &model, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "force", &force, &error);
  if (!failed(operation, status, &error)) unload(operation, model, force);
}

void rh_admin_begin_unload_path(rh_operation *operation) {
  static const char *const fields[] = {"force", NULL};
  bool force = false;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "force", &force, &error);
  if (!failed(operation, status, &error)) unload(operation, operation->rest, force);
}

// --- pin and alias -------------------------------------------------------------------------------------------------

void rh_admin_begin_pin(rh_operation *operation) {
  static const char *const fields[] = {"model", "pinned", NULL};
  const char *model = NULL;
  bool pinned = true;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "model", true, &model, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "pinned", &pinned, &error);
  if (failed(operation, status, &error)) return;
  rh_served *served = rh_admin_find(operation, model);
  if (served == NULL) return;
  status = rh_manager_pin(operation->daemon->manager, served, pinned, &error);
  if (!failed(operation, status, &error)) rh_operation_answer(operation, 200, rh_served_describe(served));
}

// What the alias means now; {"alias","model":null} when it is gone.
static json_t *describe_alias(const rh_daemon *daemon, const char *alias) {
  json_t *all = rh_manager_aliases(daemon->manager);
  json_t *found = NULL;
  size_t index;
  json_t *entry;
  json_array_foreach(all, index, entry) {
    const char *name = json_string_value(json_object_get(entry, "alias"));
    if (name != NULL && strcmp(name, alias) == 0) found = json_incref(entry);
  }
  json_decref(all);
  return found != NULL ? found : json_pack("{sssn}", "alias", alias, "model");
}

static void answer_alias(rh_operation *operation, rh_served *served) {
  (void)served;
  const char *alias = json_string_value(json_object_get(operation->body, "alias"));
  rh_operation_answer(operation, 200, describe_alias(operation->daemon, alias));
}

// The target, or NULL with *status RH_OK when the alias is to be removed.
static rh_served *alias_target(rh_operation *operation, rh_status *status, rh_error *error) {
  const json_t *value = json_object_get(operation->body, "model");
  const char *model = NULL;
  if (json_is_null(value)) {
    *status = RH_OK;
    return NULL;
  }
  *status = rh_operation_text(operation, "model", true, &model, error);
  rh_resolution found = {0};
  if (*status == RH_OK) *status = rh_manager_resolve(operation->daemon->manager, model, &found, error);
  return *status == RH_OK ? found.served : NULL;
}

void rh_admin_begin_alias(rh_operation *operation) {
  static const char *const fields[] = {"alias", "model", "replace", "wait", NULL};
  const char *alias = NULL;
  bool replace = false, wait = true;
  rh_model_ref ref;
  rh_error error = {0};
  rh_served *target = NULL;
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "alias", true, &alias, &error);
  if (status == RH_OK) status = rh_model_ref_parse(alias, &ref, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "replace", &replace, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "wait", &wait, &error);
  if (status == RH_OK) target = alias_target(operation, &status, &error);
  if (failed(operation, status, &error)) return;
  rh_manager *manager = operation->daemon->manager;
  if (!wait) {
    status = rh_manager_alias(manager, alias, target, replace, NULL, NULL, &error);
    if (!failed(operation, status, &error)) {
      rh_operation_answer(operation, 202, describe_alias(operation->daemon, alias));
    }
    return;
  }
  admin_wait *waiting = wait_new(operation, target, false, answer_alias);
  if (waiting == NULL) return;
  rh_manager_callback callback = callback_of(waiting);
  status = rh_manager_alias(manager, alias, target, replace, &callback, &waiting->waiter, &error);
  (void)failed(operation, status, &error);
}
