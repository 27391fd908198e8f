// SPDX-License-Identifier: Apache-2.0
//
// Purpose: who may be asked at all, and what is said when nobody may.
// Data owned: none. Threads: any.
//
// The first check is whether a member may see the request. Everything after works on what is left: there is no way into a plan but
// through rh_work_filter.
#include <stdio.h>
#include <string.h>

#include "route/internal.h"

#define NAMED_MAX 6  // members that an error names
// A prompt is only said to be too long when an estimate that is so much too high would still be.
#define ESTIMATE_SLACK 0.7

void rh_work_begin(rh_route_work *work, rh_policy *policy, const rh_route_question *question) {
  size_t count = question->member_count < RH_ROUTE_MEMBERS_MAX ? question->member_count : RH_ROUTE_MEMBERS_MAX;
  work->policy = policy;
  work->question = question;
  work->count = count;
  work->dry = false;
  work->asked = RH_STRATEGY_COUNT;
  work->candidates = 0;
  memset(work->out, 0, count * sizeof *work->out);
  memset(work->planned, 0, count * sizeof *work->planned);
  memset(work->considered, 0, count * sizeof *work->considered);
  memset(work->scores, 0, count * sizeof *work->scores);
}

static bool is_too_long(const rh_route_question *question, const rh_route_member *member) {
  if (member->context <= 0) return false;
  const rh_features *features = rh_question_features(question, RH_FEATURES_TEXT);
  return (double)features->prompt_tokens * ESTIMATE_SLACK > (double)member->context;
}

static rh_out check(const rh_route_question *question, const rh_route_member *member, bool stays) {
  if (stays && !member->local) return RH_OUT_REMOTE;
  if ((question->needs & ~member->abilities) != 0) return RH_OUT_ABILITY;
  if (question->pinned == NULL && is_too_long(question, member)) return RH_OUT_CONTEXT;
  return member->available ? RH_OUT_NOT : RH_OUT_UNAVAILABLE;
}

void rh_work_filter(rh_route_work *work) {
  const rh_route_question *question = work->question;
  bool stays = question->features->local_only || question->features->privacy == RH_PRIVACY_HIGH;
  size_t permitted = 0;
  for (size_t i = 0; i < work->count; i++) {
    work->out[i] = (uint8_t)check(question, &question->members[i], stays);
    permitted += work->out[i] == RH_OUT_NOT || work->out[i] == RH_OUT_UNAVAILABLE;
  }
  if (permitted > 0) return;
  // The length is an estimate: when nobody is left, those it excluded are asked, and the model itself says what is too long.
  for (size_t i = 0; i < work->count; i++) {
    if (work->out[i] == RH_OUT_CONTEXT) work->out[i] = question->members[i].available ? RH_OUT_NOT : RH_OUT_UNAVAILABLE;
  }
}

bool rh_work_is_permitted(const rh_route_work *work, size_t member) {
  return work->out[member] == RH_OUT_NOT || work->out[member] == RH_OUT_UNAVAILABLE;
}

void rh_abilities_text(uint32_t abilities, char *text, size_t size) {
  static const struct {
    uint32_t bit;
    const char *name;
  } bits[] = {{RH_NEEDS_TOOLS, "tools"},
              {RH_NEEDS_IMAGES, "images"},
              {RH_NEEDS_JSON, "JSON answers"},
              {RH_ABILITY_CHAT, "chat"},
              {RH_ABILITY_COMPLETE, "completion"},
              {RH_ABILITY_EMBED, "embeddings"},
              {RH_ABILITY_OTHER, "this machine's own tasks"}};
  size_t used = 0;
  text[0] = '\0';
  for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
    if ((abilities & bits[i].bit) == 0 || used >= size) continue;
    used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", bits[i].name);
  }
}

void rh_work_why_not(const rh_route_work *work, size_t member, char *text, size_t size) {
  const rh_route_member *one = &work->question->members[member];
  char lacks[128];
  switch ((rh_out)work->out[member]) {
    case RH_OUT_NOT: text[0] = '\0'; return;
    case RH_OUT_REMOTE: snprintf(text, size, "the request must stay on this machine"); return;
    case RH_OUT_ABILITY:
      rh_abilities_text(work->question->needs & ~one->abilities, lacks, sizeof lacks);
      snprintf(text, size, "lacks %s", lacks);
      return;
    case RH_OUT_CONTEXT:
      snprintf(text, size, "about %lld tokens do not fit its %lld", (long long)work->question->features->prompt_tokens,
               (long long)one->context);
      return;
    case RH_OUT_UNAVAILABLE:
      (void)rh_text_copy(text, size,
                         one->why_not != NULL && one->why_not[0] != '\0' ? one->why_not : "not available now");
      return;
  }
}

// "local/a: lacks tools; b/c: ..." of the considered members that are out for `reason`.
static void list_out(const rh_route_work *work, rh_out reason, char *text, size_t size) {
  size_t named = 0;
  size_t used = 0;
  text[0] = '\0';
  for (size_t i = 0; i < work->count; i++) {
    char why[160];
    if (!work->considered[i] || work->out[i] != reason || used + 1 >= size) continue;
    if (named++ == NAMED_MAX) {
      (void)snprintf(text + used, size - used, "; ...");
      return;
    }
    rh_work_why_not(work, i, why, sizeof why);
    const rh_route_member *member = &work->question->members[i];
    int wrote = snprintf(text + used, size - used, "%s%.60s/%.80s%s%s", used > 0 ? "; " : "", member->provider,
                         member->model, reason == RH_OUT_REMOTE ? "" : ": ", reason == RH_OUT_REMOTE ? "" : why);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
}

static uint64_t back_at(const rh_route_member *member) {
  const rh_route_stats *stats = member->stats;
  uint64_t open = stats != NULL && stats->state == RH_BREAKER_OPEN ? stats->open_until_ns : 0;
  return open > member->back_ns ? open : member->back_ns;
}

// When the first of those that are out comes back, as far as is known.
static unsigned retry_after(const rh_route_work *work) {
  uint64_t now = work->question->now_ns, soonest = UINT64_MAX;
  for (size_t i = 0; i < work->count; i++) {
    if (!work->considered[i] || work->out[i] != RH_OUT_UNAVAILABLE) continue;
    uint64_t back = back_at(&work->question->members[i]);
    if (back > now && back - now < soonest) soonest = back - now;
  }
  return soonest == UINT64_MAX ? 0 : (unsigned)(soonest / 1000000 < 3600000 ? soonest / 1000000 + 1 : 3600000);
}

rh_status rh_work_fail(const rh_route_work *work, rh_error *error) {
  size_t counts[RH_OUT_UNAVAILABLE + 1] = {0};
  size_t considered = 0;
  size_t able = 0;  // remote ones that could
  char list[480];
  char needs[128];
  for (size_t i = 0; i < work->count; i++) {
    if (!work->considered[i]) continue;
    considered++;
    counts[work->out[i]]++;
    able += work->out[i] == RH_OUT_REMOTE && (work->question->needs & ~work->question->members[i].abilities) == 0;
  }
  if (considered == 0)
    return rh_fail(error, RH_NOT_FOUND,
                   "no model can be asked: %s; `roundhouse list` shows this machine's models, \"providers\" in "
                   "roundhouse.json names others",
                   work->count == 0 ? "there is none" : "none of those there are is meant here");
  if (counts[RH_OUT_UNAVAILABLE] > 0) {
    list_out(work, RH_OUT_UNAVAILABLE, list, sizeof list);
    rh_status status = rh_fail(error, RH_UNAVAILABLE, "all who could answer are out just now: %s", list);
    if (error != NULL) error->retry_after_ms = retry_after(work);
    return status;
  }
  if (able > 0) {
    list_out(work, RH_OUT_REMOTE, list, sizeof list);
    return rh_fail(error, RH_FORBIDDEN,
                   "the request must stay on this machine (local_only or privacy high), and only remote models could "
                   "answer it: %s; pull a model that can, or send it without that wish",
                   list);
  }
  list_out(work, RH_OUT_ABILITY, list, sizeof list);
  if (list[0] == '\0') (void)rh_text_copy(list, sizeof list, "those there are stand on other machines");
  rh_abilities_text(work->question->needs, needs, sizeof needs);
  return rh_fail(error, RH_UNSUPPORTED, "no model here has all that this request needs (%s): %s", needs, list);
}
