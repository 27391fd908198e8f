// SPDX-License-Identifier: Apache-2.0
//
// What an owner is told when there is no room: the need and what it is made of, the budget, who holds it, what to do.
// Pure; any thread. It does not know of other models that would fit: the owner may add that.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "sched/broker_private.h"

#define NAMES_MAX 6
#define SIZE_TEXT 32

typedef struct words {
  char *at;
  size_t size, length;
} words;

RH_PRINTF(2, 3) static void say(words *out, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int wanted = vsnprintf(out->at + out->length, out->size - out->length, format, arguments);
  va_end(arguments);
  if (wanted < 0) return;
  size_t room = out->size - out->length - 1;
  out->length += (size_t)wanted < room ? (size_t)wanted : room;
}

static const char *size_of(char text[SIZE_TEXT], int64_t bytes) {
  rh_text_format_bytes(text, SIZE_TEXT, bytes > 0 ? (uint64_t)bytes : 0);
  return text;
}

static void say_part(words *out, const char *what, int64_t bytes, bool *first) {
  char text[SIZE_TEXT];
  if (bytes <= 0) return;
  say(out, "%s%s %s", *first ? " (" : ", ", what, size_of(text, bytes));
  *first = false;
}

// "model x needs 9.1 GiB of RAM (weights 8.0 GiB, keys and values 0.8 GiB, ...)"
static void say_need(words *out, const rh_tenant_view *view, bool gpu) {
  char text[SIZE_TEXT];
  const rh_need *need = &view->need;
  say(out, "model %.128s needs %s of %s", view->name, size_of(text, gpu ? need->gpu_bytes : need->ram_bytes),
      gpu ? "GPU memory" : "RAM");
  bool first = true;
  say_part(out, "weights", need->weights_bytes, &first);
  say_part(out, "keys and values", need->kv_bytes, &first);
  say_part(out, "compute buffers", need->compute_bytes, &first);
  if (!gpu) say_part(out, "process", need->process_bytes, &first);
  if (need->measured) say(out, "%smeasured at an earlier load", first ? " (" : "; ");
  if (!first || need->measured) say(out, ")");
}

static const char *state_word(const rh_policy_item *item) {
  if (item->state == RH_TENANT_LEAVING) return ", leaving";
  if (item->state == RH_TENANT_LOADING) return ", loading";
  if (item->view.pinned) return ", pinned";
  return item->view.running > 0 ? ", busy" : "";
}

// "a (2.0 GiB, busy), b (1.0 GiB, pinned) and 3 more"
static void say_holders(words *out, const rh_policy_item *items, size_t count, bool pinned_only, bool gpu) {
  size_t said = 0, more = 0;
  for (size_t i = 0; i < count; i++) {
    const rh_policy_item *item = &items[i];
    char text[SIZE_TEXT];
    if (pinned_only && (!item->view.pinned || item->state == RH_TENANT_LEAVING)) continue;
    if (said == NAMES_MAX) {
      more++;
      continue;
    }
    int64_t bytes = gpu ? rh_amount_gpu(&item->reserved) : item->reserved.at[RH_RAM];
    say(out, "%s%.64s (%s%s)", said == 0 ? "" : ", ", item->view.name, size_of(text, bytes), state_word(item));
    said++;
  }
  if (said == 0) say(out, "no model");
  if (more > 0) say(out, " and %zu more", more);
}

static bool gpu_is_short(const rh_amount *sum, const rh_policy_room *room) {
  for (size_t i = RH_GPU; i < RH_RESOURCES; i++) {
    if (sum->at[i] > room->budget.at[i]) return true;
  }
  return false;
}

static int64_t budget_of(const rh_broker *broker, bool gpu) {
  if (!gpu) return broker->limits.ram_bytes;
  int64_t sum = 0;
  for (size_t i = 0; i < broker->limits.gpu_count; i++) sum += broker->limits.gpu_bytes[i];
  return sum;
}

static void say_never(words *out, const rh_broker *broker, const rh_tenant_view *view, bool gpu) {
  char text[SIZE_TEXT];
  say_need(out, view, gpu);
  say(out, ", the budget is %s; raise \"%s\"", size_of(text, budget_of(broker, gpu)),
      gpu ? "gpu_memory_budget" : "memory_budget");
}

static void say_taken(words *out, const rh_broker *broker, const rh_policy_item *items, size_t count,
                      const rh_policy_room *room, const rh_amount *sum, bool pinned, bool gpu) {
  char text[SIZE_TEXT];
  bool places = sum->at[RH_PLACES] > room->budget.at[RH_PLACES];
  bool bytes = gpu || sum->at[RH_RAM] > room->budget.at[RH_RAM];
  if (places && !bytes)
    say(out, "; at most %lld models are loaded at once (\"max_loaded_models\"), and there %s ",
        (long long)broker->limits.max_loaded, count == 1 ? "is" : "are");
  else if (bytes)
    say(out, "; the budget is %s, and it is held by ", size_of(text, budget_of(broker, gpu)));
  else
    say(out, "; the budget has room, but the machine has too little free memory (models may take %s now); loaded: ",
        size_of(text, room->ram_now));
  say_holders(out, items, count, pinned, gpu);
  if (places && !bytes)
    say(out, "; %s or raise \"max_loaded_models\"", pinned ? "unpin one" : "try again later");
  else if (bytes)
    say(out, "; %s or raise \"%s\"", pinned ? "unpin one" : "try again later",
        gpu ? "gpu_memory_budget" : "memory_budget");
  else
    say(out, "; try again later");
}

void rh_broker_refusal(rh_broker *broker, const rh_tenant_view *view, const rh_policy_item *items, size_t count,
                       const rh_policy_room *room, rh_fit fit, rh_error *out) {
  rh_amount need = rh_amount_of(&broker->limits, view->need.ram_bytes, view->need.gpu_bytes);
  rh_amount sum = need;
  bool never = fit == RH_FIT_NEVER, pinned = fit == RH_FIT_PINNED;
  for (size_t i = 0; i < count && !never; i++) {
    bool leaving = items[i].state == RH_TENANT_LEAVING;
    if (!pinned || (items[i].view.pinned && !leaving)) rh_amount_add(&sum, &items[i].reserved);
  }
  bool gpu = gpu_is_short(&sum, room);
  *out = (rh_error){.status = never ? RH_HARDWARE : RH_NO_ROOM, .param = "model"};
  words text = {.at = out->message, .size = sizeof out->message};
  if (never) {
    say_never(&text, broker, view, gpu);
    return;
  }
  say_need(&text, view, gpu);
  say_taken(&text, broker, items, count, room, &sum, pinned, gpu);
  if (!pinned) say(&text, " (it waited %.3g s)", rh_ns_to_s(broker->limits.wait_max_ns));
}
