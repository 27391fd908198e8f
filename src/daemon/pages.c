// SPDX-License-Identifier: Apache-2.0
//
// The endpoints that run no model, as JSON or Prometheus text. They read the daemon's state and change nothing; none of
// them starts a worker.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "daemon/pages.h"

static json_t *model_health(const rh_served *served) {
  const rh_member *member = rh_served_member(served);
  const rh_model_spec *spec = rh_served_spec(served);
  const rh_sched_model *queue = rh_served_queue(served);
  const rh_model_info *info = rh_member_info(member);
  uint64_t since = rh_member_ready_since_ns(member);
  // The last figures of a process that has gone say nothing about now.
  int64_t rss = rh_member_pid(member) > 0 ? rh_member_stats(member)->rss_bytes : 0;
  json_t *object = json_pack(
      "{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:f,s:f}", "name", spec->name, "state",
      rh_member_state_name(rh_member_get_state(member)), "engine", info != NULL ? info->engine : spec->engine, "pid",
      (json_int_t)rh_member_pid(member), "slots", (json_int_t)(info != NULL ? info->slots : 0), "active",
      (json_int_t)rh_sched_running(queue), "queued", (json_int_t)rh_sched_queued(queue), "rss_bytes", (json_int_t)rss,
      "restarts", (json_int_t)rh_member_restarts(member), "context", (json_int_t)(info != NULL ? info->context : 0),
      "device", info != NULL ? info->device : "", "acceleration", info != NULL ? info->acceleration : "",
      "quantization", info != NULL ? info->quantization : "", "load_fraction", rh_member_load_fraction(member),
      "ready_for_s", since != 0 ? rh_ns_to_s(rh_clock_now_ns() - since) : 0.0);
  const rh_error *failure = rh_member_failure(member);
  if (object != NULL && failure->message[0] != '\0') {
    json_object_set_new(object, "error", json_string(failure->message));
  }
  return object;
}

void rh_page_health(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)id;
  json_t *models = json_array();
  bool failed = false, trusted = rh_gate_trusts(daemon, exchange);
  for (size_t i = 0; i < rh_manager_count(daemon->manager); i++) {
    const rh_served *served = rh_manager_at(daemon->manager, i);
    if (trusted) json_array_append_new(models, model_health(served));
    failed = failed || rh_member_get_state(rh_served_member(served)) == RH_MEMBER_FAILED;
  }
  size_t in_flight = daemon->calls.count + daemon->operations.count;
  const char *status = daemon->stopping ? "stopping" : failed ? "degraded" : "ok";
  json_t *root = json_pack("{s:s,s:s,s:f,s:I,s:o}", "status", status, "version", RH_VERSION, "uptime_s",
                           rh_ns_to_s(rh_clock_now_ns() - daemon->started_ns), "requests_in_flight",
                           (json_int_t)in_flight, "models", models);
  if (root == NULL || rh_json_append_value(&answer->body, root) != RH_OK) answer->body.failed = true;
  json_decref(root);
  // A load balancer should stop sending work here; a failed model alone does not make the others useless.
  if (daemon->stopping) answer->status = 503;
}

void rh_page_metrics(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (rh_gauges_render(daemon, &answer->body) != RH_OK) answer->body.failed = true;
}

// The aliases of all models: one text each, of which `names` of a model points at some.
typedef struct alias_list {
  json_t *all;         // as rh_manager_aliases gives them
  const char **names;  // room for all of them and an end for each model
  size_t used;
} alias_list;

static bool alias_list_open(alias_list *list, const rh_daemon *daemon, size_t models) {
  *list = (alias_list){.all = rh_manager_aliases(daemon->manager)};
  list->names = calloc(json_array_size(list->all) + models + 1, sizeof *list->names);
  return list->all != NULL && list->names != NULL;
}

static void alias_list_close(alias_list *list) {
  json_decref(list->all);
  free(list->names);
}

static const char *const *aliases_of(alias_list *list, const char *model) {
  const char **begin = &list->names[list->used];
  size_t index;
  json_t *entry;
  json_array_foreach(list->all, index, entry) {
    const char *target = json_string_value(json_object_get(entry, "model"));
    if (target == NULL || strcmp(target, model) != 0) continue;
    list->names[list->used++] = json_string_value(json_object_get(entry, "alias"));
  }
  list->names[list->used++] = NULL;
  return begin;
}

static rh_api_model describe(const rh_served *served, alias_list *aliases) {
  const rh_model_spec *spec = rh_served_spec(served);
  const char *colon = strrchr(spec->name, ':');
  return (rh_api_model){
      .name = spec->name,
      .created = spec->modified_s,
      .state = rh_member_state_name(rh_member_get_state(rh_served_member(served))),
      .engine = spec->engine,
      .version = colon != NULL ? colon + 1 : "",
      .aliases = aliases_of(aliases, spec->name),
      .task = spec->task != NULL && spec->task[0] != '\0' ? spec->task : NULL,
      .info = rh_member_info(rh_served_member(served)),
  };
}

// What is not of this machine but can be asked for here: groups of the routing, and the models that providers list.
typedef struct other_models {
  rh_api_model *items;
  char **names;
  size_t count;
} other_models;

static void other_models_close(other_models *others) {
  for (size_t i = 0; i < others->count; i++) free(others->names[i]);
  free(others->names);
  free(others->items);
}

static bool add_other(other_models *others, const char *provider, const char *model, const char *state) {
  char *name = NULL;
  int length = provider != NULL ? asprintf(&name, "%s/%s", provider, model) : asprintf(&name, "%s", model);
  if (length < 0) return false;
  for (size_t i = 0; i < others->count; i++) {
    if (strcmp(others->names[i], name) != 0) continue;
    free(name);  // several words may mean one model
    return true;
  }
  others->names[others->count] = name;
  others->items[others->count++] =
      (rh_api_model){.name = name, .state = state, .engine = provider != NULL ? provider : "route", .version = ""};
  return true;
}

static bool other_models_open(other_models *others, const rh_daemon *daemon) {
  const rh_gateway_config *config = daemon->configuration->gateway;
  size_t room = rh_policy_groups(config->policy, NULL, 0), groups = room;
  for (size_t i = 0; i < config->provider_count; i++) room += config->providers[i].model_count;
  const char **names = calloc(groups + 1, sizeof *names);
  *others = (other_models){.items = calloc(room + 1, sizeof *others->items), .names = calloc(room + 1, sizeof(char *))};
  bool ok = names != NULL && others->items != NULL && others->names != NULL;
  if (ok) (void)rh_policy_groups(config->policy, names, groups);
  for (size_t i = 0; ok && i < groups; i++) ok = add_other(others, NULL, names[i], "group");
  for (size_t i = 0; ok && i < config->provider_count; i++) {
    const rh_provider_spec *spec = &config->providers[i];
    if (spec->in_process || !spec->enabled) continue;
    for (size_t j = 0; ok && j < spec->model_count; j++) {
      ok = add_other(others, spec->name, spec->models[j].model, "remote");
    }
  }
  free(names);
  return ok;
}

void rh_page_models(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  alias_list aliases;
  other_models others;
  bool ready = other_models_open(&others, daemon);
  size_t own = rh_manager_count(daemon->manager), count = own + others.count;
  rh_api_model *models = calloc(count + 1, sizeof *models);
  ready = alias_list_open(&aliases, daemon, own) && ready && models != NULL;
  for (size_t i = 0; ready && i < own; i++) models[i] = describe(rh_manager_at(daemon->manager, i), &aliases);
  for (size_t i = own; ready && i < count; i++) models[i] = others.items[i - own];
  if (!ready || rh_api_model_list(models, count, &answer->body) != RH_OK) answer->body.failed = true;
  alias_list_close(&aliases);
  other_models_close(&others);
  free(models);
}

// Writes nothing and says false when there is none of this name.
static bool put_other(const rh_daemon *daemon, const char *name, rh_dynbuf *out) {
  other_models others;
  bool ready = other_models_open(&others, daemon), found = false;
  for (size_t i = 0; ready && !found && i < others.count; i++) {
    found = strcmp(others.names[i], name) == 0;
    if (found && rh_api_model_one(&others.items[i], out) != RH_OK) out->failed = true;
  }
  other_models_close(&others);
  return found;
}

void rh_page_model(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  const char *path = rh_http_path(exchange);
  rh_resolution found;
  rh_error error = {0};
  rh_status status = rh_manager_resolve(daemon->manager, path + strlen("/v1/models/"), &found, &error);
  if (status != RH_OK && put_other(daemon, path + strlen("/v1/models/"), &answer->body)) return;
  if (status != RH_OK) {
    answer->status = rh_api_http_status(status);
    if (rh_api_error_body(path, id, &error, &answer->body) != RH_OK) answer->body.failed = true;
    return;
  }
  alias_list aliases;
  bool ready = alias_list_open(&aliases, daemon, 1);
  rh_api_model model = ready ? describe(found.served, &aliases) : (rh_api_model){.name = ""};
  if (!ready || rh_api_model_one(&model, &answer->body) != RH_OK) answer->body.failed = true;
  alias_list_close(&aliases);
}

void rh_page_providers(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  json_t *providers = rh_gateway_providers(daemon->gateway);
  if (providers == NULL || rh_json_append_value(&answer->body, providers) != RH_OK) answer->body.failed = true;
  json_decref(providers);
}

void rh_page_last_request(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  json_t *last = rh_account_last(daemon);
  if (last == NULL || rh_json_append_value(&answer->body, last) != RH_OK) answer->body.failed = true;
  json_decref(last);
}
