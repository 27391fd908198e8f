// SPDX-License-Identifier: Apache-2.0
//
// The table of aliases and pins: from the configuration and the store, to models, and back to the store.
//
// Owns the rh_alias objects. Loop thread only. An alias that moves is written to the store at once, unless one was
// written a moment ago: then the last of a burst is, a second later. A store that cannot be written is a warning; the
// alias moves all the same.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "manager/internal.h"
#include "model/ref.h"

#define SAVE_INTERVAL_NS RH_NS_PER_S
#define PIN_PREFIX "pin:"

static size_t place_of(const rh_manager *manager, const char *name, bool *found) {
  size_t low = 0, high = manager->alias_count;
  *found = false;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(manager->aliases[middle]->name, name);
    if (order == 0) {
      *found = true;
      return middle;
    }
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

rh_alias *rh_alias_find(const rh_manager *manager, const char *name) {
  bool found;
  size_t place = place_of(manager, name, &found);
  return found ? manager->aliases[place] : NULL;
}

static rh_status check_name(const rh_manager *manager, const char *name, rh_error *error) {
  rh_model_ref ref;
  rh_error inner = {0};
  if (rh_model_ref_parse(name, &ref, &inner) != RH_OK) {
    return rh_fail_param(error, RH_INVALID, "alias", "'%.100s' cannot be an alias: %.300s", name, inner.message);
  }
  if (strcmp(name, "auto") == 0 || rh_text_starts_with(name, PIN_PREFIX)) {
    return rh_fail_param(error, RH_INVALID, "alias", "'%.100s' cannot be an alias: the word has a meaning of its own",
                         name);
  }
  if (rh_manager_find(manager, name, NULL) != NULL) {
    return rh_fail_param(error, RH_CONFLICT, "alias", "a model is named '%.100s'; take another word for the alias",
                         name);
  }
  return RH_OK;
}

rh_status rh_alias_add(rh_manager *manager, const char *name, rh_alias **out, rh_error *error) {
  rh_status status = check_name(manager, name, error);
  if (status != RH_OK) return status;
  if (manager->alias_count >= RH_ALIASES_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "there are %d aliases already; remove some first", RH_ALIASES_MAX);
  }
  rh_alias *alias = calloc(1, sizeof *alias);
  rh_alias **larger = realloc(manager->aliases, (manager->alias_count + 1) * sizeof *larger);
  if (larger != NULL) manager->aliases = larger;
  if (alias == NULL || larger == NULL) {
    free(alias);
    return rh_fail(error, RH_NO_MEMORY, "no memory for an alias");
  }
  (void)rh_text_copy(alias->name, sizeof alias->name, name);
  bool found;
  size_t place = place_of(manager, name, &found);
  memmove(larger + place + 1, larger + place, (manager->alias_count - place) * sizeof *larger);
  larger[place] = alias;
  manager->alias_count++;
  *out = alias;
  return RH_OK;
}

void rh_alias_remove(rh_manager *manager, rh_alias *alias) {
  bool found;
  size_t place = place_of(manager, alias->name, &found);
  if (alias->swap != NULL) rh_swap_cancel(alias->swap, RH_CANCELLED, "the alias was removed");
  manager->alias_count--;
  memmove(manager->aliases + place, manager->aliases + place + 1,
          (manager->alias_count - place) * sizeof *manager->aliases);
  free(alias);
}

bool rh_served_has_alias(const rh_served *served, const rh_alias *except) {
  const rh_manager *manager = served->manager;
  for (size_t i = 0; i < manager->alias_count; i++) {
    if (manager->aliases[i] != except && manager->aliases[i]->served == served) return true;
  }
  return false;
}

// --- keeping -------------------------------------------------------------------------------------------------------

void rh_alias_keep(rh_manager *manager, const char *name, const char *target) {
  rh_error error = {0};
  if (manager->options.store == NULL) return;
  if (rh_store_alias_set(manager->options.store, name, target, &error) == RH_OK) return;
  if (!manager->store_warned) {
    RH_LOG(RH_LOG_WARN, "aliases and pins are not remembered", rh_log_str("error", error.message));
  }
  manager->store_warned = true;
}

void rh_aliases_save(rh_manager *manager) {
  rh_loop_timer_cancel(manager->loop, &manager->save);
  for (size_t i = 0; i < manager->alias_count; i++) {
    rh_alias *alias = manager->aliases[i];
    if (!alias->dirty) continue;
    alias->dirty = false;
    alias->in_store = true;
    rh_alias_keep(manager, alias->name, alias->target);
  }
  manager->saved_ns = rh_clock_now_ns();
}

void rh_alias_point(rh_manager *manager, rh_alias *alias, rh_served *served) {
  alias->served = served;
  alias->error[0] = '\0';
  (void)rh_text_copy(alias->target, sizeof alias->target, served->spec->name);
  if (alias->following) {
    // The store has it already, or by now something newer: written once more, old news would undo that.
    alias->in_store = true;
    return;
  }
  alias->dirty = true;
  uint64_t now = rh_clock_now_ns();
  if (manager->saved_ns == 0 || now - manager->saved_ns >= SAVE_INTERVAL_NS) {
    rh_aliases_save(manager);
  } else if (manager->save.heap_slot == 0) {
    rh_loop_timer_set(manager->loop, &manager->save, SAVE_INTERVAL_NS);
  }
}

// --- names to models -----------------------------------------------------------------------------------------------

void rh_aliases_bind(rh_manager *manager) {
  for (size_t i = 0; i < manager->alias_count; i++) {
    rh_alias *alias = manager->aliases[i];
    rh_served *served = rh_manager_match(manager, alias->target);
    if (served == NULL && alias->served != NULL) {
      RH_LOG(RH_LOG_WARN, "an alias leads nowhere", rh_log_str("alias", alias->name),
             rh_log_str("model", alias->target));
    }
    alias->served = served;
  }
}

static void set_from_text(rh_manager *manager, const char *name, const char *target, bool in_store) {
  rh_error error = {0};
  rh_alias *alias = rh_alias_find(manager, name);
  if (alias == NULL && rh_alias_add(manager, name, &alias, &error) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "an alias was skipped", rh_log_str("alias", name), rh_log_str("error", error.message));
    return;
  }
  (void)rh_text_copy(alias->target, sizeof alias->target, target);
  alias->in_store = in_store;
}

static void set_pin(rh_manager *manager, const char *name, const char *word) {
  rh_served *served = rh_manager_find(manager, name, NULL);
  bool pinned = strcmp(word, "true") == 0;
  if (served == NULL || served->pinned == pinned) return;
  served->pinned = pinned;
  if (pinned) served->leave_when_idle = false;
  rh_served_arm_idle(served);
}

rh_status rh_aliases_load(rh_manager *manager, rh_error *error) {
  const char *name;
  json_t *target, *stored = NULL;
  json_object_foreach(manager->alias_config, name, target) {
    if (!json_is_string(target)) {
      return rh_fail_param(error, RH_INVALID, "aliases", "aliases.%.64s must be the name of a model", name);
    }
    set_from_text(manager, name, json_string_value(target), false);
  }
  rh_error inner = {0};
  if (manager->options.store != NULL && rh_store_aliases(manager->options.store, &stored, &inner) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "the store's aliases were not read", rh_log_str("error", inner.message));
    stored = NULL;
  }
  json_object_foreach(stored, name, target) {
    if (!json_is_string(target)) continue;
    if (rh_text_starts_with(name, PIN_PREFIX))
      set_pin(manager, name + strlen(PIN_PREFIX), json_string_value(target));
    else
      set_from_text(manager, name, json_string_value(target), true);
  }
  json_decref(stored);
  rh_aliases_bind(manager);
  return RH_OK;
}

// --- other processes -----------------------------------------------------------------------------------------------

// A move that was asked for here comes after what the store says, and one to the same model goes on.
static bool moves_already(const rh_alias *alias, const char *target) {
  if (alias->dirty) return true;
  if (alias->swap == NULL) return false;
  return !alias->following || strcmp(rh_swap_target(alias->swap)->spec->name, target) == 0;
}

static void follow_one(rh_manager *manager, const char *name, const char *target) {
  rh_alias *alias = rh_alias_find(manager, name);
  if (alias != NULL && moves_already(alias, target)) return;
  if (alias != NULL && alias->swap == NULL && strcmp(alias->target, target) == 0) {
    alias->in_store = true;
    return;
  }
  rh_served *served = rh_manager_match(manager, target);
  rh_error error = {0};
  if (alias != NULL && served != NULL) {
    // As if it had been asked for here: what runs is not disturbed.
    if (rh_swap_follow(manager, alias, served, &error) == RH_OK) return;
    RH_LOG(RH_LOG_WARN, "an alias of the store was not followed", rh_log_str("alias", name),
           rh_log_str("error", error.message));
    return;
  }
  if (alias != NULL && alias->swap != NULL) rh_swap_cancel(alias->swap, RH_CANCELLED, "it was moved elsewhere");
  set_from_text(manager, name, target, true);
  alias = rh_alias_find(manager, name);
  if (alias != NULL) alias->served = served;
}

// Those that the store forgot: back to the configuration, or gone.
static void forget_others(rh_manager *manager, const json_t *stored) {
  for (size_t i = manager->alias_count; i > 0; i--) {
    rh_alias *alias = manager->aliases[i - 1];
    if (!alias->in_store || alias->dirty || (alias->swap != NULL && !alias->following)) continue;
    if (json_object_get(stored, alias->name) != NULL) continue;
    const char *configured = json_string_value(json_object_get(manager->alias_config, alias->name));
    if (configured == NULL) {
      rh_alias_remove(manager, alias);
      continue;
    }
    if (alias->swap != NULL) rh_swap_cancel(alias->swap, RH_CANCELLED, "the alias was removed");
    (void)rh_text_copy(alias->target, sizeof alias->target, configured);
    alias->in_store = false;
    alias->served = rh_manager_match(manager, configured);
  }
}

void rh_aliases_follow(rh_manager *manager) {
  json_t *stored = NULL;
  if (manager->options.store == NULL || rh_store_aliases(manager->options.store, &stored, NULL) != RH_OK) return;
  const char *name;
  json_t *target;
  json_object_foreach(stored, name, target) {
    if (!json_is_string(target)) continue;
    if (rh_text_starts_with(name, PIN_PREFIX))
      set_pin(manager, name + strlen(PIN_PREFIX), json_string_value(target));
    else
      follow_one(manager, name, json_string_value(target));
  }
  forget_others(manager, stored);
  json_decref(stored);
}

void rh_aliases_free(rh_manager *manager) {
  for (size_t i = 0; i < manager->alias_count; i++) free(manager->aliases[i]);
  free(manager->aliases);
  manager->aliases = NULL;
  manager->alias_count = 0;
}

// --- what admin calls do -------------------------------------------------------------------------------------------

rh_status rh_manager_pin(rh_manager *manager, rh_served *served, bool pinned, rh_error *error) {
  char key[sizeof PIN_PREFIX + RH_MODEL_NAME_MAX];
  int length = snprintf(key, sizeof key, PIN_PREFIX "%s", served->spec->name);
  if (length < 0 || (size_t)length >= sizeof key) return rh_fail(error, RH_INTERNAL, "the model's name is too long");
  if (served->pinned == pinned) return RH_OK;
  served->pinned = pinned;
  RH_LOG(RH_LOG_INFO, pinned ? "model is pinned" : "model is no longer pinned",
         rh_log_str("model", served->spec->name));
  if (pinned) served->leave_when_idle = false;
  rh_served_arm_idle(served);
  rh_alias_keep(manager, key, pinned ? "true" : "false");
  return RH_OK;
}

json_t *rh_manager_aliases(const rh_manager *manager) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < manager->alias_count; i++) {
    const rh_alias *alias = manager->aliases[i];
    const rh_served *target = alias->swap != NULL ? rh_swap_target(alias->swap) : NULL;
    char gone[RH_MODEL_NAME_MAX + 64];
    json_t *item = json_pack("{s:s, s:s}", "alias", alias->name, "model",
                             alias->served != NULL ? alias->served->spec->name : alias->target);
    if (target != NULL) json_object_set_new(item, "swapping_to", json_string(target->spec->name));
    if (alias->error[0] != '\0') {
      json_object_set_new(item, "error", json_string(alias->error));
    } else if (alias->served == NULL) {
      snprintf(gone, sizeof gone, "there is no model %s any more", alias->target);
      json_object_set_new(item, "error", json_string(gone));
    }
    json_array_append_new(list, item);
  }
  return list;
}
