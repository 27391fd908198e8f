// SPDX-License-Identifier: Apache-2.0
//
// Ollama's model calls, in the shapes that its clients want: their routes, those that list, and those that are refused.
// Owns nothing. Loop thread only. Looking starts no worker and loads no model.
#include "daemon/ollama.h"

#include <string.h>

#include "base/clock.h"
#include "base/version.h"

// Headers of files that nobody has looked at are read for so long in one answer; the rest is told the next time.
#define HEADERS_TIME_NS (50 * RH_NS_PER_MS)
// What Ollama says for "it stays": as far away as its own clock can tell.
#define FOREVER_S (INT64_C(292) * 365 * 24 * 3600)

static void begin_version(rh_operation *operation) {
  rh_operation_answer(operation, 200, json_pack("{ss}", "version", RH_VERSION));
}

// --- lists ---------------------------------------------------------------------------------------------------------

// What tags and ps have in common.
static json_t *describe(rh_daemon *daemon, const rh_served *served, uint64_t deadline_ns) {
  char name[RH_OLLAMA_NAME_SIZE], digest[65];
  rh_ollama_facts facts = rh_ollama_facts_of(daemon, served, deadline_ns);
  rh_ollama_name(rh_served_spec(served)->name, name, sizeof name);
  rh_ollama_digest(served, digest);
  return json_pack("{sssssssIso}", "name", name, "model", name, "digest", digest, "size",
                   (json_int_t)rh_served_spec(served)->file_bytes, "details", rh_ollama_details(served, &facts));
}

static void begin_tags(rh_operation *operation) {
  rh_daemon *daemon = operation->daemon;
  uint64_t deadline = rh_clock_now_ns() + HEADERS_TIME_NS;
  json_t *models = json_array();
  for (size_t i = 0; models != NULL && i < rh_manager_count(daemon->manager); i++) {
    const rh_served *served = rh_manager_at(daemon->manager, i);
    json_t *model = describe(daemon, served, deadline);
    char modified[32];
    rh_ollama_time(rh_served_spec(served)->modified_s, modified, sizeof modified);
    if (model != NULL) json_object_set_new(model, "modified_at", json_string(modified));
    json_array_append_new(models, model);
  }
  rh_operation_answer(operation, 200, models != NULL ? json_pack("{so}", "models", models) : NULL);
}

static bool in_memory(const rh_served *served) {
  rh_member_state state = rh_member_get_state(rh_served_member(served));
  return state == RH_MEMBER_READY || state == RH_MEMBER_DRAINING;
}

// When it leaves, if nobody asks for it again from now on.
static int64_t expires_s(const json_t *state) {
  const json_t *left = json_object_get(state, "expires_in_s");
  double seconds = json_number_value(left != NULL ? left : json_object_get(state, "keep_alive_s"));
  return rh_clock_wall_s() + (seconds < 0 || seconds > (double)FOREVER_S ? FOREVER_S : (int64_t)seconds);
}

// Its worker's memory as measured; what was reckoned for it as long as nothing has been measured.
static void put_memory(json_t *model, const rh_served *served, const json_t *state) {
  const json_t *memory = json_object_get(state, "memory");
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  int64_t vram = rh_member_stats(rh_served_member(served))->vram_bytes;
  if (vram == 0 && info != NULL) vram = info->vram_bytes;
  int64_t ram = json_integer_value(json_object_get(memory, "resident_bytes"));
  if (ram == 0) ram = json_integer_value(json_object_get(memory, "ram_bytes"));
  json_object_set_new(model, "size", json_integer(ram + vram));
  json_object_set_new(model, "size_vram", json_integer(vram));
  if (info != NULL) json_object_set_new(model, "context_length", json_integer(info->context));
}

static json_t *describe_loaded(rh_daemon *daemon, const rh_served *served) {
  char expires[32];
  json_t *model = describe(daemon, served, rh_clock_now_ns() + HEADERS_TIME_NS);
  json_t *state = rh_served_describe(served);
  if (model != NULL && state != NULL) {
    rh_ollama_time(expires_s(state), expires, sizeof expires);
    json_object_set_new(model, "expires_at", json_string(expires));
    put_memory(model, served, state);
  }
  json_decref(state);
  return model;
}

static void begin_ps(rh_operation *operation) {
  rh_daemon *daemon = operation->daemon;
  json_t *models = json_array();
  for (size_t i = 0; models != NULL && i < rh_manager_count(daemon->manager); i++) {
    const rh_served *served = rh_manager_at(daemon->manager, i);
    if (in_memory(served)) json_array_append_new(models, describe_loaded(daemon, served));
  }
  rh_operation_answer(operation, 200, models != NULL ? json_pack("{so}", "models", models) : NULL);
}

// --- what there is not ---------------------------------------------------------------------------------------------

static void begin_create(rh_operation *operation) {
  rh_error error;
  (void)rh_fail(&error, RH_UNSUPPORTED,
                "models are not made from Modelfiles here: take files of the server's machine with POST /api/pull "
                "{\"model\": \"file:/PATH\"}, quantize them with `roundhouse quantize`, and set a model's options in "
                "the configuration");
  rh_operation_fail(operation, &error);
}

static void begin_push(rh_operation *operation) {
  rh_error error;
  (void)rh_fail(&error, RH_UNSUPPORTED,
                "models are not pushed from here: upload the file that `roundhouse show` names with the hub's own "
                "tools");
  rh_operation_fail(operation, &error);
}

const rh_operation_route rh_routes_ollama[] = {
    {"GET", "/api/version", "ollama.version", RH_SCOPE_READ, begin_version},
    {"GET", "/api/tags", "ollama.tags", RH_SCOPE_READ, begin_tags},
    {"GET", "/api/ps", "ollama.ps", RH_SCOPE_READ, begin_ps},
    {"POST", "/api/show", "ollama.show", RH_SCOPE_READ, rh_ollama_begin_show},
    {"POST", "/api/pull", "ollama.pull", RH_SCOPE_ADMIN, rh_ollama_begin_pull},
    {"POST", "/api/copy", "ollama.copy", RH_SCOPE_ADMIN, rh_ollama_begin_copy},
    {"DELETE", "/api/delete", "ollama.delete", RH_SCOPE_ADMIN, rh_ollama_begin_delete},
    {"POST", "/api/create", "ollama.create", RH_SCOPE_ADMIN, begin_create},
    {"POST", "/api/push", "ollama.push", RH_SCOPE_ADMIN, begin_push},
    {.path = NULL},
};
