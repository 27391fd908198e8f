// SPDX-License-Identifier: Apache-2.0
//
// Who makes room for whom. Owns nothing, knows no clock and calls nobody: the answer depends on the arguments alone, so
// that every rule can be tested in a line.
//
// The choice of victims is greedy by cost for each byte, then thinned out (who turned out not to be needed stays), and
// compared with the cheapest single one that would do. An exact answer would be a knapsack for a gain nobody could see:
// the costs are guesses about the future.
#include "sched/broker_policy.h"

#include <assert.h>
#include <math.h>

#include "base/clock.h"

#define GIB 1073741824.0
// How far ahead the likelihood of use looks, and after how long unused a model counts as half forgotten.
#define HORIZON_S 600.0
// An unknown model is asked for this often, so that two of them still differ by their last use and their size.
#define REQUESTS_HOUR_MIN 0.1

// In the order in which they are asked to go.
typedef enum item_class {
  CLASS_IDLE,
  CLASS_DRAINED,  // held, nothing runs, but requests wait for it
  CLASS_HELD,     // held and still running: the next to be drained
  CLASS_BUSY,
  CLASS_SOON,   // loading, young, or kept for a moment
  CLASS_STAYS,  // pinned, or gone already
} item_class;

// --- amounts -------------------------------------------------------------------------------------------------------

static int64_t limited(int64_t value) { return value < 0 ? 0 : value > RH_UNLIMITED ? RH_UNLIMITED : value; }

rh_amount rh_amount_of_limits(const rh_broker_limits *limits) {
  rh_amount out;
  for (size_t i = 0; i < RH_RESOURCES; i++) out.at[i] = RH_UNLIMITED;
  if (limits->ram_bytes > 0) out.at[RH_RAM] = limited(limits->ram_bytes);
  if (limits->max_loaded > 0) out.at[RH_PLACES] = limits->max_loaded;
  for (size_t i = 0; i < limits->gpu_count; i++) out.at[RH_GPU + i] = limited(limits->gpu_bytes[i]);
  return out;
}

rh_amount rh_amount_of(const rh_broker_limits *limits, int64_t ram_bytes, int64_t gpu_bytes) {
  rh_amount out = {.at = {[RH_RAM] = limited(ram_bytes), [RH_PLACES] = 1}};
  gpu_bytes = limited(gpu_bytes);
  if (gpu_bytes == 0) return out;
  double sum = 0;
  for (size_t i = 0; i < limits->gpu_count; i++) sum += (double)limited(limits->gpu_bytes[i]);
  if (sum <= 0) {
    out.at[RH_RAM] = limited(out.at[RH_RAM] + gpu_bytes);
    return out;
  }
  int64_t left = gpu_bytes;
  for (size_t i = 0; i < limits->gpu_count; i++) {
    double share = ceil((double)gpu_bytes * ((double)limited(limits->gpu_bytes[i]) / sum));
    int64_t part = i + 1 == limits->gpu_count || share > (double)left ? left : (int64_t)share;
    out.at[RH_GPU + i] = part;
    left -= part;
  }
  return out;
}

void rh_amount_add(rh_amount *sum, const rh_amount *part) {
  for (size_t i = 0; i < RH_RESOURCES; i++) sum->at[i] = limited(sum->at[i] + part->at[i]);
}

void rh_amount_subtract(rh_amount *sum, const rh_amount *part) {
  for (size_t i = 0; i < RH_RESOURCES; i++) sum->at[i] = limited(sum->at[i] - part->at[i]);
}

void rh_amount_raise(rh_amount *to, const rh_amount *other) {
  for (size_t i = 0; i < RH_RESOURCES; i++) {
    if (other->at[i] > to->at[i]) to->at[i] = other->at[i];
  }
}

int64_t rh_amount_gpu(const rh_amount *amount) {
  int64_t sum = 0;
  for (size_t i = RH_GPU; i < RH_RESOURCES; i++) sum = limited(sum + amount->at[i]);
  return sum;
}

bool rh_amount_fits(const rh_amount *amount, const rh_amount *budget) {
  for (size_t i = 0; i < RH_RESOURCES; i++) {
    if (amount->at[i] > budget->at[i]) return false;
  }
  return true;
}

// --- cost ----------------------------------------------------------------------------------------------------------

double rh_policy_cost(const rh_tenant_view *view, uint64_t now_ns) {
  double per_second = (view->frequency > REQUESTS_HOUR_MIN ? view->frequency : REQUESTS_HOUR_MIN) / 3600.0;
  double often = -expm1(-per_second * HORIZON_S);
  uint64_t unused_ns = view->last_used_ns < now_ns ? now_ns - view->last_used_ns : 0;
  double lately = 1.0 / (1.0 + rh_ns_to_s(unused_ns) / HORIZON_S);
  return often * lately * (view->reload_ms > 1 ? view->reload_ms : 1);
}

double rh_policy_eviction_score(const rh_tenant_view *view, const rh_amount *reserved, uint64_t now_ns) {
  double bytes = (double)reserved->at[RH_RAM] + (double)rh_amount_gpu(reserved);
  return rh_policy_cost(view, now_ns) / ((bytes > 1 ? bytes : 1) / GIB);
}

bool rh_policy_is_idle(const rh_tenant_view *view, bool held) {
  return view->running == 0 && (view->queued == 0 || held);
}

static item_class class_of(const rh_policy_item *item) {
  if (item->gone || item->view.pinned) return CLASS_STAYS;
  if (item->state == RH_TENANT_LOADING || item->view.kept) return CLASS_SOON;
  if (item->view.running == 0 && item->view.queued == 0) return CLASS_IDLE;
  if (item->held) return item->view.running == 0 ? CLASS_DRAINED : CLASS_HELD;
  return item->young ? CLASS_SOON : CLASS_BUSY;
}

// Busy ones cost more the more requests they would keep waiting.
static double price(const rh_policy_item *item, bool by_bytes, uint64_t now_ns) {
  double cost =
      by_bytes ? rh_policy_eviction_score(&item->view, &item->reserved, now_ns) : rh_policy_cost(&item->view, now_ns);
  return cost * (double)(1 + item->view.running + item->view.queued);
}

rh_policy_item *rh_policy_cheapest_idle(rh_policy_item *items, size_t count, uint64_t now_ns) {
  rh_policy_item *best = NULL;
  for (size_t i = 0; i < count; i++) {
    if (class_of(&items[i]) != CLASS_IDLE) continue;
    items[i].score = price(&items[i], true, now_ns);
    if (best == NULL || items[i].score < best->score) best = &items[i];
  }
  return best;
}

// --- the choice ----------------------------------------------------------------------------------------------------

typedef struct choice {
  rh_policy_item *items;
  size_t count;
  uint64_t now_ns;
  rh_amount limit;  // the budget, with what the machine allows
  rh_amount sum;    // what would be taken, the need included, without all that are chosen
  unsigned chosen;
  item_class last;  // the class of the last one chosen
} choice;

// Its leaving brings something that is short.
static bool helps(const choice *self, const rh_policy_item *item) {
  for (size_t i = 0; i < RH_RESOURCES; i++) {
    if (self->sum.at[i] > self->limit.at[i] && item->reserved.at[i] > 0) return true;
  }
  return false;
}

// Only places are short: then bytes do not matter.
static bool bytes_are_short(const choice *self) {
  for (size_t i = 0; i < RH_RESOURCES; i++) {
    if (i != RH_PLACES && self->sum.at[i] > self->limit.at[i]) return true;
  }
  return false;
}

static rh_policy_item *next_of_class(choice *self, item_class wanted) {
  rh_policy_item *best = NULL;
  bool by_bytes = bytes_are_short(self);
  for (size_t i = 0; i < self->count; i++) {
    rh_policy_item *item = &self->items[i];
    if (item->order != 0 || class_of(item) != wanted || !helps(self, item)) continue;
    item->score = price(item, by_bytes, self->now_ns);
    if (best == NULL || item->score < best->score) best = item;
  }
  return best;
}

static void choose(choice *self, rh_policy_item *item) {
  item->order = ++self->chosen;
  self->last = class_of(item);
  rh_amount_subtract(&self->sum, &item->reserved);
}

// True when it fits in the end.
static bool choose_enough(choice *self) {
  for (item_class wanted = CLASS_IDLE; wanted < CLASS_STAYS;) {
    if (rh_amount_fits(&self->sum, &self->limit)) return true;
    rh_policy_item *item = next_of_class(self, wanted);
    if (item != NULL)
      choose(self, item);
    else
      wanted++;
  }
  return rh_amount_fits(&self->sum, &self->limit);
}

static rh_policy_item *chosen_as(const choice *self, unsigned order) {
  for (size_t i = 0; i < self->count; i++) {
    if (self->items[i].order == order) return &self->items[i];
  }
  return NULL;
}

// Who was taken early may not be needed since a larger one was taken later. The dearest are spared first.
static void thin_out(choice *self) {
  for (unsigned order = self->chosen; order > 0; order--) {
    rh_policy_item *item = chosen_as(self, order);
    assert(item != NULL);
    rh_amount with = self->sum;
    rh_amount_add(&with, &item->reserved);
    if (!rh_amount_fits(&with, &self->limit)) continue;
    self->sum = with;
    item->order = 0;
  }
  self->last = CLASS_IDLE;
  for (size_t i = 0; i < self->count; i++) {
    if (self->items[i].order != 0 && class_of(&self->items[i]) > self->last) self->last = class_of(&self->items[i]);
  }
}

// Where several idle ones would go, one alone may be cheaper than all of them.
static void prefer_one(choice *self) {
  double together = 0;
  rh_amount all = self->sum;
  for (size_t i = 0; i < self->count; i++) {
    if (self->items[i].order == 0) continue;
    together += rh_policy_cost(&self->items[i].view, self->now_ns);
    rh_amount_add(&all, &self->items[i].reserved);
  }
  rh_policy_item *best = NULL;
  for (size_t i = 0; i < self->count; i++) {
    rh_policy_item *item = &self->items[i];
    double cost = rh_policy_cost(&item->view, self->now_ns);
    if (class_of(item) != CLASS_IDLE || cost >= together) continue;
    rh_amount without = all;
    rh_amount_subtract(&without, &item->reserved);
    if (!rh_amount_fits(&without, &self->limit)) continue;
    best = item;
    together = cost;
  }
  if (best == NULL) return;
  for (size_t i = 0; i < self->count; i++) self->items[i].order = 0;
  self->sum = all;
  self->chosen = 0;
  choose(self, best);
}

static rh_fit choose_who_goes(choice *self) {
  if (rh_amount_fits(&self->sum, &self->limit)) return RH_FIT_LEAVING;
  if (!choose_enough(self)) {
    for (size_t i = 0; i < self->count; i++) self->items[i].order = 0;
    return RH_FIT_BLOCKED;
  }
  thin_out(self);
  if (self->last == CLASS_IDLE) prefer_one(self);
  for (size_t i = 0; i < self->count; i++) {
    rh_policy_item *item = &self->items[i];
    if (item->order == 0) continue;
    item->evict = class_of(item) <= CLASS_DRAINED;
    item->hold = !item->evict;
  }
  if (self->last <= CLASS_DRAINED) return RH_FIT_EVICTING;
  return self->last == CLASS_SOON ? RH_FIT_LATER : RH_FIT_HOLDING;
}

rh_fit rh_policy_fit(rh_policy_item *items, size_t count, const rh_policy_room *room, const rh_amount *need) {
  rh_amount now = *need, then = *need, pinned = *need;
  for (size_t i = 0; i < count; i++) {
    rh_policy_item *item = &items[i];
    item->evict = item->hold = false;
    item->order = 0;
    rh_amount_add(&now, &item->reserved);
    if (!item->gone) rh_amount_add(&then, &item->reserved);
    if (!item->gone && item->view.pinned) rh_amount_add(&pinned, &item->reserved);
  }
  if (!rh_amount_fits(need, &room->budget)) return RH_FIT_NEVER;
  if (!rh_amount_fits(&pinned, &room->budget)) return RH_FIT_PINNED;
  rh_amount_add(&then, &room->promised);
  rh_amount limit_now = room->budget, limit_then = room->budget;
  if (room->ram_now < limit_now.at[RH_RAM]) limit_now.at[RH_RAM] = room->ram_now;
  if (room->ram_then < limit_then.at[RH_RAM]) limit_then.at[RH_RAM] = room->ram_then;
  if (rh_amount_fits(&now, &limit_now) && rh_amount_fits(&then, &limit_then)) return RH_FIT_NOW;
  choice self = {.items = items, .count = count, .now_ns = room->now_ns, .limit = limit_then, .sum = then};
  return choose_who_goes(&self);
}
