// SPDX-License-Identifier: Apache-2.0
//
// Seats: every (provider, model) that a request can go to, with what was learned of it; and the router's snapshot of them.
//
// A seat outlasts its model's reloads, with breaker and speeds. Those of the configuration are there from the start and stay; others
// come with the requests that name them, up to a bound, at which mere words that nothing was learned of go again. Loop thread only.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/internal.h"

#define LOCAL_ABILITIES (RH_ABILITY_CHAT | RH_ABILITY_COMPLETE | RH_ABILITY_EMBED | RH_ABILITY_OTHER)
#define REMOTE_ABILITIES \
  (RH_NEEDS_TOOLS | RH_NEEDS_IMAGES | RH_NEEDS_JSON | RH_ABILITY_CHAT | RH_ABILITY_COMPLETE | RH_ABILITY_EMBED)

static int compare(const rh_seat *seat, const char *provider, const char *model) {
  int order = strcmp(seat->provider, provider);
  return order != 0 ? order : strcmp(seat->model, model);
}

// The place of a name among the sorted seats; *found says whether it is there.
static size_t place_of(const rh_gateway *gateway, const char *provider, const char *model, bool *found) {
  size_t low = 0, high = gateway->seat_count;
  *found = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = compare(gateway->seats[middle], provider, model);
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

const rh_provider_spec *rh_gateway_find_spec(const rh_gateway *gateway, const char *name) {
  for (size_t i = 0; i < gateway->config->provider_count; i++) {
    const rh_provider_spec *spec = &gateway->config->providers[i];
    if (strcmp(spec->name, name) == 0) return spec;
  }
  return NULL;
}

static void free_seat(rh_seat *seat) {
  if (seat == NULL) return;
  free(seat->provider);
  free(seat->model);
  free(seat);
}

static rh_seat *new_seat(const rh_gateway *gateway, const char *provider, const char *model) {
  rh_seat *seat = calloc(1, sizeof *seat);
  if (seat == NULL) return NULL;
  seat->provider = strdup(provider);
  seat->model = strdup(model);
  if (seat->provider == NULL || seat->model == NULL) {
    free_seat(seat);
    return NULL;
  }
  if (gateway->providers != NULL) seat->remote = rh_providers_find(gateway->providers, provider);
  if (seat->remote != NULL) seat->spec = rh_provider_get_spec(seat->remote);
  if (seat->remote == NULL) {
    const rh_served *served = rh_manager_peek(gateway->manager, model);
    const rh_provider_spec *home =
        rh_gateway_config_home(gateway->config, NULL, model, served != NULL ? rh_served_spec(served)->engine : NULL);
    seat->timeout_ns = home != NULL ? home->total_timeout_ns : 0;
  }
  // What runs on this machine costs nothing that we could count.
  seat->priced = seat->remote == NULL || rh_prices_find(gateway->config->prices, provider, model, &seat->price);
  rh_route_stats_init(&seat->stats);
  seat->decision = gateway->decisions;
  return seat;
}

void rh_way_hold(const rh_way *way) {
  for (size_t i = 0; i < way->count; i++) way->seats[i]->holders++;
}

void rh_way_release(const rh_way *way) {
  for (size_t i = 0; i < way->count; i++) way->seats[i]->holders--;
}

// Any word behind a provider's name makes a seat, so there must be a way back. What the decision at hand has seen stays.
static bool evict_one(rh_gateway *gateway) {
  for (size_t i = 0; i < gateway->seat_count; i++) {
    rh_seat *seat = gateway->seats[i];
    bool plain = seat->remote != NULL && !seat->listed && seat->stats.samples == 0 && seat->cost_usd <= 0;
    if (!plain || seat->holders > 0 || seat->decision == gateway->decisions) continue;
    free_seat(seat);
    gateway->seat_count--;
    memmove(&gateway->seats[i], &gateway->seats[i + 1], (gateway->seat_count - i) * sizeof(rh_seat *));
    return true;
  }
  return false;
}

rh_seat *rh_seat_find(rh_gateway *gateway, const char *provider, const char *model) {
  bool found;
  size_t place = place_of(gateway, provider, model, &found);
  if (found) {
    gateway->seats[place]->decision = gateway->decisions;
    return gateway->seats[place];
  }
  if (gateway->seat_count >= RH_SEATS_MAX) {
    if (!evict_one(gateway)) return NULL;
    place = place_of(gateway, provider, model, &found);
  }
  rh_seat *seat = new_seat(gateway, provider, model);
  rh_seat **room = seat != NULL ? reallocarray(gateway->seats, gateway->seat_count + 1, sizeof *room) : NULL;
  if (room == NULL) {
    free_seat(seat);
    return NULL;
  }
  gateway->seats = room;
  memmove(&room[place + 1], &room[place], (gateway->seat_count - place) * sizeof *room);
  room[place] = seat;
  gateway->seat_count++;
  return seat;
}

rh_status rh_seats_open(rh_gateway *gateway, rh_error *error) {
  for (size_t i = 0; i < gateway->config->provider_count; i++) {
    const rh_provider_spec *spec = &gateway->config->providers[i];
    // One that is switched off is as if it were not there. (A seat without a provider would be a model of ours.)
    for (size_t j = 0; spec->enabled && j < spec->model_count; j++) {
      rh_seat *seat = rh_seat_find(gateway, spec->in_process ? "local" : spec->name, spec->models[j].model);
      if (seat == NULL) return rh_fail(error, RH_NO_MEMORY, "no room for the models of provider \"%s\"", spec->name);
      seat->listed = true;
    }
  }
  return RH_OK;
}

void rh_seats_close(rh_gateway *gateway) {
  for (size_t i = 0; i < gateway->seat_count; i++) free_seat(gateway->seats[i]);
  free(gateway->seats);
  free(gateway->members);
  free(gateway->member_seats);
}

// --- the snapshot --------------------------------------------------------------------------------------------------

static uint32_t abilities_of(const rh_served *served) {
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  const rh_model_spec *spec = rh_served_spec(served);
  const char *word = info != NULL ? info->task : spec->task != NULL ? spec->task : "";
  if (word[0] == '\0') return info != NULL ? RH_ABILITY_CHAT | RH_ABILITY_COMPLETE : LOCAL_ABILITIES;
  rh_task task = rh_task_from_name(word);
  if (task == RH_TASK_EMBED) return RH_ABILITY_EMBED | RH_ABILITY_OTHER;
  if (task != RH_TASK_COUNT && rh_task_generates(task)) return RH_ABILITY_CHAT | RH_ABILITY_COMPLETE;
  return RH_ABILITY_OTHER;
}

static void describe_served(const rh_served *served, rh_route_member *out) {
  const rh_member *member = rh_served_member(served);
  const rh_model_info *info = rh_member_info(member);
  rh_member_state state = rh_member_get_state(member);
  const rh_sched_model *queue = rh_served_queue(served);
  out->abilities = abilities_of(served);
  out->on_gpu = info != NULL && strncmp(info->device, "cpu", 3) != 0;
  out->ready = state == RH_MEMBER_READY;
  out->running = (int64_t)rh_sched_running(queue);
  out->queued = (int64_t)rh_sched_queued(queue);
  out->slots = info != NULL ? info->slots : 0;
  out->context = info != NULL ? info->context : 0;
  if (state == RH_MEMBER_FAILED && !rh_member_may_start(member)) {
    out->available = false;
    out->why_not = rh_member_failure(member)->message;
  }
}

static void describe_remote(const rh_gateway *gateway, const rh_seat *seat, uint64_t now_ns, rh_route_member *out) {
  const char *complaint = rh_health_complaint(gateway, seat->remote);
  out->abilities = REMOTE_ABILITIES;
  out->ready = true;
  out->running = (int64_t)rh_provider_running(seat->remote);
  out->queued = (int64_t)rh_provider_queued(seat->remote);
  out->slots = seat->spec->concurrency_max;
  out->weight = seat->spec->weight;
  if (seat->spec->key == NULL && seat->spec->key_error != NULL) {
    out->available = false;
    out->why_not = seat->spec->key_error;
  } else if (complaint != NULL) {
    out->available = false;
    out->why_not = complaint;
  } else if (rh_provider_resting_until_ns(seat->remote) > now_ns) {
    out->available = false;
    out->why_not = "its provider asked to be left alone for a while";
    out->back_ns = rh_provider_resting_until_ns(seat->remote);
  }
}

static void describe(const rh_gateway *gateway, rh_seat *seat, const rh_served *served, uint64_t now_ns,
                     rh_route_member *out) {
  *out = (rh_route_member){
      .provider = seat->provider,
      .model = seat->model,
      .local = rh_seat_local(seat),
      .available = true,
      .price_in = seat->price.input,
      .price_out = seat->price.output,
      .quality = NAN,
      .weight = 1,
      .stats = &seat->stats,
  };
  if (seat->remote != NULL) {
    describe_remote(gateway, seat, now_ns, out);
  } else if (served != NULL) {
    describe_served(served, out);
  } else {
    out->available = false;
    out->why_not = "this machine does not have the model; roundhouse pull gets it";
  }
  if (out->available && !rh_breaker_would_admit(&seat->stats, now_ns)) {
    out->available = false;
    out->why_not = "it failed lately (its breaker is open)";
  }
}

static const rh_served *find_served(const rh_gateway *gateway, const rh_seat *seat) {
  return seat->remote == NULL ? rh_manager_peek(gateway->manager, seat->model) : NULL;
}

void rh_seat_describe(rh_gateway *gateway, rh_seat *seat, uint64_t now_ns, rh_route_member *out) {
  describe(gateway, seat, find_served(gateway, seat), now_ns, out);
}

static rh_status make_room(rh_gateway *gateway, size_t count, rh_error *error) {
  if (count <= gateway->member_room) return RH_OK;
  rh_route_member *members = reallocarray(gateway->members, count, sizeof *members);
  if (members != NULL) gateway->members = members;
  rh_seat **seats = members != NULL ? reallocarray(gateway->member_seats, count, sizeof *seats) : NULL;
  if (seats == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to choose a model; try again later");
  gateway->member_seats = seats;
  gateway->member_room = count;
  return RH_OK;
}

static void add_member(rh_gateway *gateway, rh_seat *seat, const rh_served *served, uint64_t now_ns) {
  describe(gateway, seat, served, now_ns, &gateway->members[gateway->member_count]);
  gateway->member_seats[gateway->member_count++] = seat;
}

// Where nothing else decides, the first member is taken: default_model, or the "default" of a provider of this machine's models.
static const rh_served *find_first(const rh_gateway *gateway) {
  rh_resolution usual;
  if (rh_manager_count(gateway->manager) == 0) return NULL;
  // Without a choice of a person's, the first of all names is the default model.
  bool chosen = rh_manager_resolve(gateway->manager, "", &usual, NULL) == RH_OK &&
                usual.served != rh_manager_at(gateway->manager, 0);
  if (chosen) return usual.served;
  for (size_t i = 0; i < gateway->config->provider_count; i++) {
    const rh_provider_spec *spec = &gateway->config->providers[i];
    const char *model = spec->in_process && spec->enabled ? rh_provider_spec_model(spec, NULL) : NULL;
    const rh_served *served = model != NULL ? rh_manager_peek(gateway->manager, model) : NULL;
    if (served != NULL) return served;
  }
  return NULL;
}

static void add_local(rh_gateway *gateway, const rh_served *served, const rh_seat *also, uint64_t now_ns) {
  rh_seat *seat = rh_seat_find(gateway, "local", rh_served_spec(served)->name);
  if (seat != NULL && seat != also) add_member(gateway, seat, served, now_ns);
}

rh_status rh_seats_snapshot(rh_gateway *gateway, rh_seat *also, uint64_t now_ns, rh_error *error) {
  size_t local = rh_manager_count(gateway->manager);
  rh_status status = make_room(gateway, gateway->seat_count + 2 * local + 1, error);
  if (status != RH_OK) return status;
  gateway->member_count = 0;
  if (also != NULL) add_member(gateway, also, find_served(gateway, also), now_ns);
  const rh_served *first = find_first(gateway);
  if (first != NULL) add_local(gateway, first, also, now_ns);
  for (size_t i = 0; i < local; i++) {
    const rh_served *served = rh_manager_at(gateway->manager, i);
    if (served != first) add_local(gateway, served, also, now_ns);
  }
  for (size_t i = 0; i < gateway->seat_count; i++) {
    rh_seat *seat = gateway->seats[i];
    if (!seat->listed || seat == also) continue;
    const rh_served *served = find_served(gateway, seat);
    // A model of ours under another name than its own was added above.
    if (served == NULL) add_member(gateway, seat, NULL, now_ns);
  }
  return RH_OK;
}
