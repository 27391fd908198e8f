// SPDX-License-Identifier: Apache-2.0
//
// From what a request says to the members that may answer it, in order: names, experiments, the router, the key's rights.
//
// A request that names a model of this machine, while nothing is configured that could change that, takes the short way: no
// snapshot, no decision. Loop thread only; keeps nothing.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "flow/fit.h"
#include "gateway/internal.h"

uint32_t rh_way_needs(const rh_request *request) {
  uint32_t ability = RH_ABILITY_OTHER;
  if (request->task == RH_TASK_CHAT) ability = RH_ABILITY_CHAT;
  if (request->task == RH_TASK_COMPLETE) ability = RH_ABILITY_COMPLETE;
  if (request->task == RH_TASK_EMBED) ability = RH_ABILITY_EMBED;
  return request->needs | ability;
}

uint32_t rh_gateway_chance(rh_gateway *gateway) {
  // xorshift64*: G. Marsaglia, "Xorshift RNGs" (2003), with S. Vigna's multiplier. Chance for spreading load, not for secrets.
  gateway->chance ^= gateway->chance >> 12;
  gateway->chance ^= gateway->chance << 25;
  gateway->chance ^= gateway->chance >> 27;
  return (uint32_t)((gateway->chance * UINT64_C(2685821657736338717)) >> 32);
}

// --- abilities of this machine's models ----------------------------------------------------------------------------

static rh_status check_abilities(const rh_request *request, const char *model, rh_error *error) {
  if (request->needs & RH_NEEDS_TOOLS) {
    return rh_fail_param(error, RH_UNSUPPORTED, "tools", "the model \"%s\" cannot use tools", model);
  }
  if (request->needs & RH_NEEDS_IMAGES) {
    return rh_fail_param(error, RH_UNSUPPORTED, "messages", "the model \"%s\" cannot see images", model);
  }
  if (request->needs & RH_NEEDS_JSON) {
    return rh_fail_param(error, RH_UNSUPPORTED, "response_format", "the model \"%s\" cannot promise JSON answers",
                         model);
  }
  return RH_OK;
}

// --- the key's rights ----------------------------------------------------------------------------------------------

static bool may_name(const rh_caller *caller, const char *provider, const char *model) {
  if (caller->key == NULL || rh_key_may_use(caller->key, model)) return true;
  char label[RH_PROVIDER_NAME_MAX + RH_MODEL_NAME_MAX + 2];
  (void)snprintf(label, sizeof label, "%s/%s", provider, model);
  return rh_key_may_use(caller->key, label);
}

static bool may_use(const rh_caller *caller, const rh_seat *seat) {
  return may_name(caller, seat->provider, seat->model);
}

static rh_status forbid_model(const rh_caller *caller, const char *model, rh_error *error) {
  return rh_fail_param(error, RH_FORBIDDEN, "model", "the key %s may not use the model \"%.100s\"", caller->key->id,
                       model);
}

// --- what a name means ---------------------------------------------------------------------------------------------

typedef enum name_kind { NAME_ROUTED, NAME_GROUP, NAME_SEAT, NAME_LOCAL } name_kind;

typedef struct meaning {
  name_kind kind;
  rh_seat *seat;        // SEAT, LOCAL
  rh_resolution local;  // LOCAL
} meaning;

static bool is_open_name(const char *name) {
  return name == NULL || name[0] == '\0' || strcmp(name, "auto") == 0 || strcmp(name, "default") == 0;
}

static rh_status no_seat(const char *name, rh_error *error) {
  return rh_fail_param(error, RH_UNAVAILABLE, "model",
                       "no room to remember one more model name (\"%.100s\"); there are %d", name, RH_SEATS_MAX);
}

static rh_status find_local(rh_gateway *gateway, const char *name, meaning *out, rh_error *error) {
  rh_status status = rh_manager_resolve(gateway->manager, name, &out->local, error);
  if (status != RH_OK) return status;
  const char *model = rh_served_spec(out->local.served)->name;
  out->kind = NAME_LOCAL;
  out->seat = rh_seat_find(gateway, "local", model);
  return out->seat != NULL ? RH_OK : no_seat(model, error);
}

// "provider/model", where the first part is a provider of the configuration.
static rh_status find_prefixed(rh_gateway *gateway, const rh_caller *caller, const char *name, meaning *out,
                               rh_error *error) {
  char provider[RH_PROVIDER_NAME_MAX + 1];
  const char *slash = strchr(name, '/');
  size_t length = slash != NULL ? (size_t)(slash - name) : 0;
  if (length == 0 || length >= sizeof provider || slash[1] == '\0') return RH_NOT_FOUND;
  memcpy(provider, name, length);
  provider[length] = '\0';
  const rh_provider_spec *spec = rh_gateway_find_spec(gateway, provider);
  bool ours = spec != NULL ? spec->in_process : strcmp(provider, "local") == 0;
  if (spec == NULL && !ours) return RH_NOT_FOUND;
  if (spec != NULL && !spec->enabled) {
    return rh_fail_param(error, RH_UNAVAILABLE, "model", "the provider \"%s\" is switched off (\"enabled\": false)",
                         provider);
  }
  const char *model = spec != NULL ? rh_provider_spec_model(spec, slash + 1) : slash + 1;
  if (ours) return find_local(gateway, model, out, error);
  // Asked before a seat is made: who may not use a model need not be remembered to have named it.
  if (!may_name(caller, provider, model)) return forbid_model(caller, model, error);
  out->kind = NAME_SEAT;
  out->seat = rh_seat_find(gateway, provider, model);
  return out->seat != NULL ? RH_OK : no_seat(name, error);
}

// A provider's own name for a model, listed in its configuration.
static rh_seat *find_listed(const rh_gateway *gateway, const char *name) {
  for (size_t i = 0; i < gateway->seat_count; i++) {
    rh_seat *seat = gateway->seats[i];
    if (seat->listed && strcmp(seat->model, name) == 0) return seat;
  }
  return NULL;
}

static rh_status find_meaning(rh_gateway *gateway, const rh_caller *caller, const char *name, meaning *out,
                              rh_error *error) {
  *out = (meaning){.kind = NAME_ROUTED};
  rh_policy *policy = gateway->config->policy;
  bool remote = gateway->config->provider_count > 0;
  if (is_open_name(name) && (rh_policy_is_set(policy) || (remote && name != NULL && strcmp(name, "auto") == 0))) {
    return RH_OK;
  }
  if (name != NULL && rh_policy_has_group(policy, name)) {
    out->kind = NAME_GROUP;
    return RH_OK;
  }
  rh_error local = {0};
  // Ours come first. A name that is none of ours is mostly somebody else's; the folders are looked at again only when it is not.
  bool theirs = !is_open_name(name) && remote;
  bool known = !theirs || rh_manager_knows(gateway->manager, name);
  if (known && find_local(gateway, name, out, &local) == RH_OK) return RH_OK;
  if (theirs) {
    rh_status status = find_prefixed(gateway, caller, name, out, error);
    if (status == RH_OK) return RH_OK;
    out->seat = status == RH_NOT_FOUND ? find_listed(gateway, name) : NULL;
    out->kind = NAME_SEAT;
    if (out->seat != NULL) return RH_OK;
    if (!known && find_local(gateway, name, out, &local) == RH_OK) return RH_OK;
    if (status != RH_NOT_FOUND) return status;
  }
  // A machine without models of its own, but with providers: what names nothing is routed to them.
  if (is_open_name(name) && remote) {
    out->kind = NAME_ROUTED;
    return RH_OK;
  }
  if (error != NULL) *error = local;
  return local.status;
}

// --- the way -------------------------------------------------------------------------------------------------------

// What takes reading is read when it is needed: by a decision, the decision log, or a bill that has to be reckoned.
static void fill_features(const rh_request *request, const rh_caller *caller, rh_features *out) {
  const char *key = caller->key != NULL ? caller->key->id : NULL;
  rh_features_begin(request, key, rh_clock_wall_s(), out);
  if (caller->key != NULL && caller->key->local_only) out->local_only = true;
}

static rh_status short_way(const rh_request *request, const rh_caller *caller, const meaning *means, rh_way *out,
                           rh_error *error) {
  rh_served *served = means->local.served;
  const char *model = rh_served_spec(served)->name;
  // A model that was loaded once need not be loaded again to say that it is for something else.
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  rh_status status = check_abilities(request, model, error);
  if (status == RH_OK && info != NULL) status = rh_task_check(request->task, info, model, error);
  if (status != RH_OK) return status;
  if (!may_use(caller, means->seat)) return forbid_model(caller, model, error);
  out->seats[0] = means->seat;
  out->count = 1;
  out->rule = -1;
  out->confidence = 1;
  rh_text_copy(out->reason, sizeof out->reason, means->local.reason);
  return RH_OK;
}

static void fill_question(rh_gateway *gateway, const rh_request *request, const rh_caller *caller,
                          rh_features *features, rh_route_question *out) {
  *out = (rh_route_question){
      .features = features,
      .request = request,
      .members = gateway->members,
      .member_count = gateway->member_count,
      .prefer_backend = request->prefer_backend,
      .strategy = request->hints.strategy,
      .needs = rh_way_needs(request),
      .now_ns = rh_clock_now_ns(),
      .chance = rh_gateway_chance(gateway),
      .header = caller->header,
      .header_ctx = caller->header_ctx,
  };
}

// What the question says of a name; `label` holds a pinned one.
static void pin(const meaning *means, const char *name, char *label, size_t size, rh_route_question *question) {
  if (means->kind == NAME_GROUP) question->group = name;
  if (means->seat == NULL || (means->kind != NAME_SEAT && means->kind != NAME_LOCAL)) return;
  (void)snprintf(label, size, "%s/%s", means->seat->provider, means->seat->model);
  question->pinned = label;
}

// Two seats may be one model ("local" and an in-process provider's): it need not be tried twice.
static bool is_twin(const rh_gateway *gateway, const rh_seat *a, const rh_seat *b) {
  if (a == b) return true;
  if (!rh_seat_in_process(a) || !rh_seat_in_process(b)) return false;
  const rh_served *first = rh_manager_peek(gateway->manager, a->model);
  return first != NULL && first == rh_manager_peek(gateway->manager, b->model);
}

// False: it is left out.
static bool add_seat(const rh_gateway *gateway, const rh_caller *caller, rh_seat *seat, rh_way *out) {
  for (size_t i = 0; i < out->count; i++) {
    if (is_twin(gateway, out->seats[i], seat)) return false;
  }
  if (!may_use(caller, seat)) return false;
  out->seats[out->count++] = seat;
  return true;
}

static void add_plan(const rh_gateway *gateway, const rh_caller *caller, const rh_plan *plan, rh_way *out) {
  out->cascade_count = plan->cascade_count;
  for (size_t i = 0; i < plan->count; i++) {
    bool added = add_seat(gateway, caller, gateway->member_seats[plan->entries[i].member], out);
    if (!added && i < plan->cascade_count) out->cascade_count--;
  }
}

// A provider that asked to be left alone is no fault of ours: who named it hears for how long.
static rh_status tell_rest(const meaning *means, rh_status status, rh_error *error) {
  const rh_seat *seat = means->kind == NAME_SEAT ? means->seat : NULL;
  uint64_t until = seat != NULL && seat->remote != NULL ? rh_provider_resting_until_ns(seat->remote) : 0;
  uint64_t now = rh_clock_now_ns();
  if (status != RH_UNAVAILABLE || until <= now) return status;
  status = rh_fail(error, RH_LIMITED, "the provider \"%s\" asked to be left alone for %.0f more seconds",
                   seat->provider, ceil(rh_ns_to_s(until - now)));
  if (error != NULL) error->retry_after_ms = (uint32_t)((until - now) / RH_NS_PER_MS + 1);
  return status;
}

static rh_status long_way(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, const meaning *means,
                          const char *name, rh_way *out, rh_error *error) {
  char label[RH_PROVIDER_NAME_MAX + RH_MODEL_NAME_MAX + 2];
  rh_route_question question;
  rh_plan plan;
  rh_status status = rh_seats_snapshot(gateway, means->seat, rh_clock_now_ns(), error);
  if (status != RH_OK) return status;
  fill_question(gateway, request, caller, &out->features, &question);
  pin(means, name, label, sizeof label, &question);
  status = rh_route_decide(gateway->config->policy, &question, &plan, error);
  if (status == RH_NOT_FOUND) {
    // A model may have come, or an alias moved, since names were looked up.
    rh_gateway_resolve_names(gateway);
    status = rh_route_decide(gateway->config->policy, &question, &plan, error);
  }
  if (status != RH_OK) return tell_rest(means, status, error);
  add_plan(gateway, caller, &plan, out);
  if (out->count == 0)
    return forbid_model(caller, plan.count > 0 ? gateway->members[plan.entries[0].member].model : "", error);
  out->routed = means->kind == NAME_ROUTED || means->kind == NAME_GROUP;
  out->rule = plan.rule;
  out->strategy = plan.strategy;
  out->confidence = plan.confidence;
  out->cascade_min = plan.cascade_min;
  rh_text_copy(out->reason, sizeof out->reason, means->kind == NAME_LOCAL ? means->local.reason : plan.reason);
  return RH_OK;
}

static void take_part(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_assignment *out) {
  *out = (rh_assignment){0};
  if (rh_experiments_count(gateway->experiments) == 0) return;
  const char *name = is_open_name(request->model) ? "auto" : request->model;
  uint64_t chance = (uint64_t)rh_gateway_chance(gateway) << 32 | rh_gateway_chance(gateway);
  rh_experiment_assign(gateway->experiments, name, caller->key != NULL ? caller->key->id : NULL, request->session,
                       chance, out);
}

rh_status rh_way_for_arm(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_way *out,
                         rh_error *error) {
  meaning means;
  memset(out, 0, sizeof *out);
  rh_status status = find_meaning(gateway, caller, request->model, &means, error);
  if (status != RH_OK) return status;
  fill_features(request, caller, &out->features);
  return long_way(gateway, request, caller, &means, request->model, out, error);
}

// Where the arm's model fails, the control's answers: an experiment must not cost a request. The arm has failed all the same.
static void add_control(rh_gateway *gateway, const rh_request *request, const rh_caller *caller,
                        const rh_assignment *part, rh_way *out) {
  rh_way control;
  rh_request wanted = *request;
  rh_error ignored = {0};
  wanted.model = rh_experiment_arm_model(part->experiment, 0);
  if (part->arm == 0 || rh_way_for_arm(gateway, &wanted, caller, &control, &ignored) != RH_OK) return;
  for (size_t i = 0; i < control.count && out->count < RH_PLAN_MAX; i++) {
    (void)add_seat(gateway, caller, control.seats[i], out);
  }
}

// The arm's model in place of the asked one; the reason says so.
static rh_status experiment_way(rh_gateway *gateway, const rh_request *request, const rh_caller *caller,
                                const rh_assignment *part, rh_way *out) {
  rh_request wanted = *request;
  wanted.model = part->model;
  rh_error ignored = {0};
  rh_status status = rh_way_for_arm(gateway, &wanted, caller, out, &ignored);
  if (status != RH_OK) return status;
  add_control(gateway, request, caller, part, out);
  out->features.model = request->model;  // the arm's name goes with the experiment
  (void)rh_text_copy(out->experiment, sizeof out->experiment, rh_experiment_name(part->experiment));
  (void)rh_text_copy(out->arm, sizeof out->arm, part->arm_name);
  memcpy(out->shadows, part->shadows, sizeof out->shadows);
  out->shadow_count = part->shadow_count;
  (void)snprintf(out->reason, sizeof out->reason, "experiment %s, arm %s", out->experiment, out->arm);
  return RH_OK;
}

rh_status rh_gateway_find_way(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_way *out,
                              rh_error *error) {
  meaning means;
  rh_assignment part;
  gateway->decisions++;
  take_part(gateway, request, caller, &part);
  // An arm that cannot serve must not cost the request: it takes part no longer.
  if (part.experiment != NULL && experiment_way(gateway, request, caller, &part, out) == RH_OK) return RH_OK;
  memset(out, 0, sizeof *out);
  rh_status status = find_meaning(gateway, caller, request->model, &means, error);
  if (status != RH_OK) return status;
  bool plain = means.kind == NAME_LOCAL && !rh_policy_is_set(gateway->config->policy);
  fill_features(request, caller, &out->features);
  return plain ? short_way(request, caller, &means, out, error)
               : long_way(gateway, request, caller, &means, request->model, out, error);
}

rh_status rh_way_ask(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, const char *name,
                     rh_features *features, rh_route_question *out, rh_error *error) {
  static char label[RH_PROVIDER_NAME_MAX + RH_MODEL_NAME_MAX + 2];  // one decision at a time, as the snapshot
  meaning means;
  rh_status status = find_meaning(gateway, caller, name, &means, error);
  if (status == RH_OK) status = rh_seats_snapshot(gateway, means.seat, rh_clock_now_ns(), error);
  if (status != RH_OK) return status;
  fill_features(request, caller, features);
  fill_question(gateway, request, caller, features, out);
  pin(&means, name, label, sizeof label, out);
  return RH_OK;
}

void rh_way_describe_first(rh_gateway *gateway, const rh_way *way, rh_work_facts *out) {
  const rh_seat *seat = way->seats[0];
  *out = (rh_work_facts){
      .provider = seat->remote != NULL ? seat->spec->name : "local", .model = seat->model, .fallback = ""};
  rh_served *served = seat->remote == NULL ? rh_manager_peek(gateway->manager, seat->model) : NULL;
  if (served == NULL) return;
  out->served = served;
  out->model = rh_served_spec(served)->name;
  out->info = rh_member_info(rh_served_member(served));
}

rh_status rh_way_identity(rh_gateway *gateway, const rh_way *way, char *out, size_t size) {
  const rh_seat *seat = way->seats[0];
  int length;
  if (seat->remote != NULL) {
    length = snprintf(out, size, "%s\n%s\n%s", seat->provider, seat->spec->base_url, seat->model);
  } else {
    const rh_served *served = rh_manager_peek(gateway->manager, seat->model);
    if (served == NULL) return RH_NOT_FOUND;
    const rh_model_spec *spec = rh_served_spec(served);
    length = snprintf(out, size, "local\n%s\n%s\n%lld", spec->name, spec->path, (long long)spec->modified_s);
  }
  return length > 0 && (size_t)length < size ? RH_OK : RH_TOO_LARGE;
}
