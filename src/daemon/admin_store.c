// SPDX-License-Identifier: Apache-2.0
//
// Admin calls that change the store: delete and copy. A model first leaves memory, then a child changes the disk; the
// loop never waits for either. When the client leaves, what was begun goes on. Loop thread only.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/admin.h"
#include "daemon/chores.h"
#include "model/ref.h"

// One change: "rm NAME" or "cp FROM TO".
typedef struct change {
  rh_operation *operation;  // NULL = the client has left
  rh_daemon *daemon;
  rh_served *served;  // held; NULL = the store has it, but it is not served
  rh_manager_waiter *waiter;
  rh_chore *chore;
  rh_admin_then then;
  bool force;
  char name[2 * RH_MODEL_NAME_MAX + 2];
  char target[2 * RH_MODEL_NAME_MAX + 2];  // "" = it is deleted
} change;

static void free_change(change *self) {
  if (self->served != NULL) rh_served_release(self->served);
  free(self);
}

// Nobody hears of the end any more. A deletion that waits for the model to leave memory still follows.
static void on_gone(rh_operation *operation) {
  change *self = operation->state;
  self->operation = NULL;
  if (self->waiter != NULL && self->daemon->stopping) {
    rh_manager_forget(self->waiter);
    self->waiter = NULL;
  }
  if (self->waiter == NULL && self->chore == NULL) free_change(self);
}

static void fail(change *self, const rh_error *error) {
  if (self->operation != NULL)
    rh_operation_fail(self->operation, error);
  else if (self->chore == NULL)
    free_change(self);
}

// Somebody else was faster: another client, another daemon, a person.
static bool is_no_more(const change *self) {
  rh_model_ref ref;
  rh_stored stored = {0};
  rh_error inner = {0};
  if (self->daemon->store == NULL || rh_model_ref_parse(self->name, &ref, &inner) != RH_OK) return false;
  rh_status status = rh_store_find(self->daemon->store, &ref, &stored, &inner);
  rh_stored_release(&stored);
  return status == RH_NOT_FOUND;
}

static void fail_change(change *self, const rh_error *error) {
  rh_error gone = {0};
  if (is_no_more(self)) {
    (void)rh_fail_param(&gone, RH_NOT_FOUND, "model", "the model %.150s is not in the store any more", self->name);
    error = &gone;
  }
  rh_operation_fail(self->operation, error);
}

static void on_changed(void *ctx, rh_status status, const rh_error *error) {
  change *self = ctx;
  self->chore = NULL;
  if (self->operation == NULL)
    free_change(self);
  else if (status != RH_OK)
    fail_change(self, error);
  else
    self->then(self->operation, self->served);
}

static void start_chore(change *self) {
  const char *folder = self->daemon->settings->store_dir;
  bool copy = self->target[0] != '\0';
  // Whether it may go was asked above, with what the manager knows.
  const char *remove_words[] = {"rm", "--json", "--force", "--store-dir", folder, self->name, NULL};
  const char *copy_words[] = {"cp", "--json", "--store-dir", folder, self->name, self->target, NULL};
  rh_error error = {0};
  if (rh_chore_start(self->daemon, copy ? copy_words : remove_words, on_changed, self, &self->chore, &error) == RH_OK)
    return;
  rh_error ignored = {0};
  // A model that was to go serves again when it cannot.
  if (!copy) (void)!rh_manager_refresh(self->daemon->manager, &ignored);
  fail(self, &error);
}

static change *change_new(rh_operation *operation, rh_served *served, rh_admin_then then) {
  change *self = calloc(1, sizeof *self);
  if (self == NULL) {
    rh_operation_fail_memory(operation);
    return NULL;
  }
  *self = (change){.operation = operation, .daemon = operation->daemon, .served = served, .then = then};
  if (served != NULL) rh_served_guard(served);
  operation->state = self;
  operation->gone = on_gone;
  return self;
}

// --- which model ---------------------------------------------------------------------------------------------------

static const char *where_of(const rh_model_spec *spec) {
  switch (spec->origin) {
    case RH_ORIGIN_FOLDER: return "lies in the models folder; delete its file";
    case RH_ORIGIN_HUB_CACHE: return "lies in a Hugging Face cache and is only used in place; delete it there";
    case RH_ORIGIN_CONFIG: return "comes from the configuration; remove it there";
    case RH_ORIGIN_STORE: break;
  }
  return "is not in the store";
}

// How many versions of `name` the store has; the first few go into `list`.
static size_t count_versions(rh_daemon *daemon, const char *name, char *list, size_t size) {
  rh_stored_list stored = {0};
  rh_error ignored = {0};
  size_t count = 0, used = 0;
  if (daemon->store == NULL || rh_store_list(daemon->store, &stored, &ignored) != RH_OK) return 0;
  for (size_t i = 0; i < stored.count; i++) {
    if (strcmp(stored.items[i].ref.name, name) != 0) continue;
    if (used < size) {
      int written =
          snprintf(list + used, size - used, "%s%s:%s", count > 0 ? ", " : "", name, stored.items[i].ref.version);
      if (written > 0) used += (size_t)written;
    }
    count++;
  }
  rh_stored_list_release(&stored);
  return count;
}

static bool is_alias(const rh_daemon *daemon, const char *name, char *target, size_t size) {
  json_t *all = rh_manager_aliases(daemon->manager);
  size_t index;
  json_t *entry;
  bool found = false;
  json_array_foreach(all, index, entry) {
    const char *alias = json_string_value(json_object_get(entry, "alias"));
    if (alias == NULL || strcmp(alias, name) != 0) continue;
    found = true;
    (void)rh_text_copy(target, size, json_string_value(json_object_get(entry, "model")));
  }
  json_decref(all);
  return found;
}

// The stored model that `name` means, and whether it is served. Deleting needs more care than asking: an alias or a name
// with several versions is no answer.
static rh_status find_stored(rh_operation *operation, const char *name, bool exact, rh_stored *out, rh_served **served,
                             rh_error *error) {
  rh_daemon *daemon = operation->daemon;
  rh_model_ref ref;
  rh_resolution found = {0};
  char words[512] = "";
  *served = NULL;
  rh_status status = rh_manager_resolve(daemon->manager, name, &found, error);
  if (status == RH_OK && exact && is_alias(daemon, name, words, sizeof words)) {
    return rh_fail_param(error, RH_CONFLICT, "model",
                         "%.100s is an alias of %.150s; name the model itself, or remove the alias with POST "
                         "/api/models/alias",
                         name, words);
  }
  if (status == RH_OK && rh_served_spec(found.served)->origin != RH_ORIGIN_STORE) {
    const rh_model_spec *spec = rh_served_spec(found.served);
    return rh_fail_param(error, RH_CONFLICT, "model", "%.128s %s", spec->name, where_of(spec));
  }
  if (status != RH_OK && daemon->store == NULL) return status;
  rh_error inner = {0};
  const char *full = status == RH_OK ? rh_served_spec(found.served)->name : name;
  if (rh_model_ref_parse(full, &ref, &inner) != RH_OK)
    return rh_fail_param(error, RH_INVALID, "model", "%s", inner.message);
  if (exact && strcmp(full, name) != 0 && count_versions(daemon, name, words, sizeof words) > 1) {
    return rh_fail_param(error, RH_CONFLICT, "model", "%.100s has several versions: %.400s; name one of them", name,
                         words);
  }
  if (rh_store_find(daemon->store, &ref, out, &inner) != RH_OK) {
    // The manager's words name the nearest of all models, not only of stored ones.
    return status != RH_OK ? status : rh_fail_param(error, RH_NOT_FOUND, "model", "%s", inner.message);
  }
  *served = found.served;
  return RH_OK;
}

// --- delete --------------------------------------------------------------------------------------------------------

static void on_retired(void *ctx, rh_status status, const rh_error *error) {
  change *self = ctx;
  self->waiter = NULL;
  if (status != RH_OK)
    fail(self, error);
  else
    start_chore(self);
}

void rh_admin_delete(rh_operation *operation, const char *name, bool force, rh_admin_then then) {
  rh_stored stored = {0};
  rh_served *served = NULL;
  rh_error error = {0};
  rh_status status = find_stored(operation, name, true, &stored, &served, &error);
  if (status != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  change *self = change_new(operation, served, then);
  if (self == NULL) {
    rh_stored_release(&stored);
    return;
  }
  self->force = force;
  status = rh_model_ref_format(&stored.ref, self->name, sizeof self->name);
  rh_stored_release(&stored);
  if (status != RH_OK) {
    (void)rh_fail(&error, status, "the model's name is too long");
    rh_operation_fail(operation, &error);
  } else if (served == NULL) {
    start_chore(self);
  } else {
    rh_manager_callback callback = {.done = on_retired, .ctx = self};
    status = rh_manager_retire(operation->daemon->manager, served, force, &callback, &self->waiter, &error);
    if (status != RH_OK) rh_operation_fail(operation, &error);
  }
}

static void answer_deleted(rh_operation *operation, rh_served *served) {
  (void)served;
  const change *self = operation->state;
  rh_operation_answer(operation, 200, json_pack("{ss}", "deleted", self->name));
}

static rh_status read_force(const rh_operation *operation, bool *force, rh_error *error) {
  const char *query = rh_http_query(operation->exchange, "force");
  *force = query != NULL && strcmp(query, "false") != 0 && strcmp(query, "0") != 0;
  return rh_json_get_bool(operation->body, "", "force", force, error);
}

void rh_admin_begin_delete(rh_operation *operation) {
  static const char *const fields[] = {"model", "force", NULL};
  const char *model = NULL;
  bool force = false;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "model", true, &model, &error);
  if (status == RH_OK) status = read_force(operation, &force, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    rh_admin_delete(operation, model, force, answer_deleted);
}

void rh_admin_begin_delete_path(rh_operation *operation) {
  static const char *const fields[] = {"force", NULL};
  bool force = false;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = read_force(operation, &force, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    rh_admin_delete(operation, operation->rest, force, answer_deleted);
}

// --- copy ----------------------------------------------------------------------------------------------------------

// A copy is of the same version unless it is given another.
static rh_status check_target(const rh_daemon *daemon, const rh_stored *from, const char *to, char *out, size_t size,
                              rh_error *error) {
  rh_model_ref ref;
  rh_stored there = {0};
  rh_error inner = {0};
  rh_status status = rh_model_ref_parse(to, &ref, error);
  if (status != RH_OK) return status;
  if (ref.version[0] == '\0') memcpy(ref.version, from->ref.version, sizeof ref.version);
  if (rh_model_ref_format(&ref, out, size) != RH_OK) {
    return rh_fail_param(error, RH_INVALID, "to", "the new name is too long");
  }
  if (rh_store_find(daemon->store, &ref, &there, &inner) != RH_OK) return RH_OK;
  rh_stored_release(&there);
  return rh_fail_param(error, RH_CONFLICT, "to", "there is a model %.200s already; delete it first", out);
}

void rh_admin_copy(rh_operation *operation, const char *from, const char *to, rh_admin_then then) {
  rh_stored stored = {0};
  rh_served *served = NULL;
  rh_error error = {0};
  char name[2 * RH_MODEL_NAME_MAX + 2], target[2 * RH_MODEL_NAME_MAX + 2];
  rh_status status = find_stored(operation, from, false, &stored, &served, &error);
  if (status == RH_OK) status = check_target(operation->daemon, &stored, to, target, sizeof target, &error);
  if (status == RH_OK && rh_model_ref_format(&stored.ref, name, sizeof name) != RH_OK) {
    status = rh_fail_param(&error, RH_INVALID, "from", "the model's name is too long");
  }
  rh_stored_release(&stored);
  if (status != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  change *self = change_new(operation, served, then);
  if (self == NULL) return;
  memcpy(self->name, name, sizeof name);
  memcpy(self->target, target, sizeof target);
  start_chore(self);
}

static void answer_copied(rh_operation *operation, rh_served *served) {
  (void)served;
  const change *self = operation->state;
  rh_operation_answer(operation, 200, json_pack("{ssss}", "from", self->name, "to", self->target));
}

void rh_admin_begin_copy(rh_operation *operation) {
  static const char *const fields[] = {"from", "to", NULL};
  const char *from = NULL, *to = NULL;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "from", true, &from, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "to", true, &to, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    rh_admin_copy(operation, from, to, answer_copied);
}
