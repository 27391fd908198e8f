// SPDX-License-Identifier: Apache-2.0
//
// Purpose: dicts: keys of any hashable value, in the order of insertion; and values from JSON.
// Data owned: none; all in the render's arena. Threads: the render's.
// Not here: taking keys away; nothing in the language does.
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "template/render.h"

#define INDEX_FROM 9  // with fewer entries a walk is quicker

static uint64_t hash_bytes(const void *bytes, size_t length) { return rh_hash_bytes(0, bytes, length); }

// Numbers that are equal have one hash, whatever their type.
static uint64_t hash_number(tpl_value value) {
  double number = tpl_real(value);
  if (value.kind == V_FLOAT && number >= -9.0e18 && number <= 9.0e18 && number == trunc(number)) {
    value = tpl_int((int64_t)number);
  }
  if (value.kind == V_FLOAT) return hash_bytes(&number, sizeof number);
  int64_t whole = tpl_whole(value);
  return hash_bytes(&whole, sizeof whole);
}

static bool hash_tuple(tpl_render *render, const tpl_list *list, uint64_t *out) {
  *out = 1;
  if (!rh_tpl_enter(render)) return false;
  for (size_t i = 0; i < list->count; i++) {
    uint64_t item;
    if (!rh_tpl_hash(render, list->items[i], &item)) return false;
    *out = hash_bytes((uint64_t[2]){*out, item}, 2 * sizeof item);
  }
  rh_tpl_leave(render);
  return true;
}

bool rh_tpl_hash(tpl_render *render, tpl_value value, uint64_t *out) {
  if (!rh_tpl_spend(render, 1 + value.length / 256)) return false;
  switch ((tpl_kind)value.kind) {
    case V_STRING: *out = hash_bytes(value.as.text, value.length); return true;
    case V_BOOL:
    case V_INT:
    case V_FLOAT: *out = hash_number(value); return true;
    case V_NONE:
    case V_UNDEFINED: *out = value.kind; return true;
    case V_TUPLE: return hash_tuple(render, value.as.list, out);
    case V_LIST:
    case V_DICT: return rh_tpl_fail(render, "unhashable type: '%s'", rh_tpl_type(value));
    default: *out = hash_bytes(&value.as.list, sizeof value.as.list); return true;
  }
}

tpl_dict *rh_tpl_dict_new(tpl_render *render) { return rh_tpl_alloc(render, 1, sizeof(tpl_dict)); }

static bool same_key(tpl_render *render, const tpl_entry *entry, tpl_value key, uint64_t hash, bool *out) {
  *out = false;
  if (entry->hash != hash) return true;
  if (entry->key.kind == V_STRING && key.kind == V_STRING) {
    *out = entry->key.length == key.length && memcmp(entry->key.as.text, key.as.text, key.length) == 0;
    return true;
  }
  return rh_tpl_equal(render, entry->key, key, out);
}

static bool find(tpl_render *render, const tpl_dict *dict, tpl_value key, uint64_t hash, tpl_entry **out) {
  bool same = false;
  *out = NULL;
  if (dict->index == NULL) {
    for (size_t i = 0; i < dict->count; i++) {
      if (!same_key(render, &dict->entries[i], key, hash, &same)) return false;
      if (!same) continue;
      *out = &dict->entries[i];
      return true;
    }
    return true;
  }
  for (size_t at = (size_t)hash & (dict->index_size - 1); dict->index[at] != 0;
       at = (at + 1) & (dict->index_size - 1)) {
    tpl_entry *entry = &dict->entries[dict->index[at] - 1];
    if (!rh_tpl_spend(render, 1) || !same_key(render, entry, key, hash, &same)) return false;
    if (!same) continue;
    *out = entry;
    return true;
  }
  return true;
}

bool rh_tpl_dict_find(tpl_render *render, const tpl_dict *dict, tpl_value key, tpl_value **out) {
  uint64_t hash;
  tpl_entry *entry;
  *out = NULL;
  if (!rh_tpl_hash(render, key, &hash) || !find(render, dict, key, hash, &entry)) return false;
  if (entry != NULL) *out = &entry->value;
  return true;
}

static void put_index(tpl_dict *dict, size_t entry) {
  size_t at = (size_t)dict->entries[entry].hash & (dict->index_size - 1);
  while (dict->index[at] != 0) at = (at + 1) & (dict->index_size - 1);
  dict->index[at] = (uint32_t)(entry + 1);
}

static bool grow(tpl_render *render, tpl_dict *dict) {
  size_t room = dict->room == 0 ? 4 : dict->room * 2;
  tpl_entry *grown = rh_tpl_alloc(render, room, sizeof *grown);
  if (grown == NULL) return false;
  if (dict->count > 0) memcpy(grown, dict->entries, dict->count * sizeof *grown);
  dict->entries = grown;
  dict->room = room;
  if (room < INDEX_FROM) return true;
  dict->index_size = room * 2;
  dict->index = rh_tpl_alloc(render, dict->index_size, sizeof *dict->index);
  if (dict->index == NULL) return false;
  for (size_t i = 0; i < dict->count; i++) put_index(dict, i);
  return true;
}

bool rh_tpl_dict_set(tpl_render *render, tpl_dict *dict, tpl_value key, tpl_value value) {
  uint64_t hash;
  tpl_entry *entry;
  if (!rh_tpl_hash(render, key, &hash) || !find(render, dict, key, hash, &entry)) return false;
  if (entry != NULL) {
    entry->value = value;
    return true;
  }
  if (dict->count == dict->room && !grow(render, dict)) return false;
  dict->entries[dict->count++] = (tpl_entry){.key = key, .value = value, .hash = hash};
  if (dict->index != NULL) put_index(dict, dict->count - 1);
  return rh_tpl_spend(render, 1);
}

static bool from_array(tpl_render *render, const json_t *json, tpl_value *out) {
  tpl_list *list = rh_tpl_list_new(render, json_array_size(json));
  for (size_t i = 0; list != NULL && i < json_array_size(json); i++) {
    tpl_value item;
    if (!rh_tpl_from_json(render, json_array_get(json, i), &item) || !rh_tpl_list_push(render, list, item))
      return false;
  }
  *out = tpl_of_list(V_LIST, list);
  return list != NULL;
}

static bool from_object(tpl_render *render, const json_t *json, tpl_value *out) {
  tpl_dict *dict = rh_tpl_dict_new(render);
  const char *key;
  json_t *member;
  if (dict == NULL) return false;
  json_object_foreach((json_t *)(uintptr_t)json, key, member) {
    tpl_value value, name;
    if (!rh_tpl_from_json(render, member, &value) || !rh_tpl_text_copy(render, key, strlen(key), &name)) return false;
    if (!rh_tpl_dict_set(render, dict, name, value)) return false;
  }
  *out = tpl_of_dict(dict);
  return true;
}

bool rh_tpl_from_json(tpl_render *render, const json_t *json, tpl_value *out) {
  bool ok = true;
  if (!rh_tpl_enter(render)) return false;
  switch (json_typeof(json)) {
    case JSON_NULL: *out = tpl_none(); break;
    case JSON_TRUE: *out = tpl_bool(true); break;
    case JSON_FALSE: *out = tpl_bool(false); break;
    case JSON_INTEGER: *out = tpl_int(json_integer_value(json)); break;
    case JSON_REAL: *out = tpl_float(json_real_value(json)); break;
    case JSON_STRING: *out = tpl_text(json_string_value(json), json_string_length(json)); break;  // outlives the render
    case JSON_ARRAY: ok = from_array(render, json, out); break;
    case JSON_OBJECT: ok = from_object(render, json, out); break;
  }
  rh_tpl_leave(render);
  return ok;
}
