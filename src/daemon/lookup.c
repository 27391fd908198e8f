// SPDX-License-Identifier: Apache-2.0
//
// The CACHE step: is this answer there already, or is it being made for somebody else at this moment? A hit is replayed through the
// same encoder as a fresh answer, so it looks and streams like one. Loop thread only.
#include <string.h>

#include "base/clock.h"
#include "daemon/internal.h"

#define IDENTITY_BYTES_MAX 8192
#define PING_NS (15 * RH_NS_PER_S)

// --- a hit ---------------------------------------------------------------------------------------------------------

void rh_lookup_replay(rh_call *call) {
  rh_recording *recording = call->cached;
  if (recording == NULL || call->answered || call->gone) return;
  (void)rh_recording_hold(recording);
  rh_sink sink = {.push = rh_answer_event, .ctx = call};
  bool waiting = false;
  if (rh_recording_replay(recording, &call->replay, &sink, &waiting) != RH_OK) {
    rh_error error;
    (void)rh_fail(&error, RH_INTERNAL, "the cached answer cannot be read; ask again with Cache-Control: no-cache");
    rh_call_fail(call, &error);
  }
  rh_recording_release(recording);
}

void rh_lookup_hit(rh_call *call, rh_recording *recording, double age_s, const char *how) {
  call->cached = recording;
  call->replay = (rh_replay){0};
  call->meta.cache = "hit";
  call->meta.cache_age_s = age_s;
  call->meta.route_reason = rh_arena_printf(call->asked->arena, "%s; %s", call->way->reason, how);
  if (call->meta.route_reason == NULL) call->meta.route_reason = call->way->reason;
  rh_memo_keep(call);
}

bool rh_lookup_fits(const rh_call *call, const rh_recording *recording) {
  return rh_recording_choices(recording) == rh_request_runs(&call->asked->request);
}

// --- a miss --------------------------------------------------------------------------------------------------------

static bool join_other(rh_call *call) {
  rh_sink sink = {.push = rh_answer_event, .ctx = call};
  call->follower =
      rh_work_join(call->daemon->gateway, &call->cache_key, &call->asked->request, rh_call_deadline(call), &sink);
  if (call->follower == NULL) return false;
  call->ran = true;
  call->meta.cache = "hit";
  if (call->asked->request.stream) rh_loop_timer_set(call->daemon->loop, &call->ping, PING_NS);
  return true;
}

// One that wants a new answer, or none but a finished one, waits for nobody else's.
static bool may_join(const rh_call *call) {
  rh_cache_wish wish = call->asked->request.hints.cache;
  return wish != RH_CACHE_FRESH && wish != RH_CACHE_ONLY;
}

rh_step rh_lookup_miss(rh_call *call) {
  if (call->asked->request.hints.cache == RH_CACHE_ONLY) {
    (void)rh_fail(&call->error, RH_DEADLINE,
                  "there is no cached answer to this request, and it asked for no other one");
    return RH_STEP_COUNT;
  }
  // Somebody else may have begun while it was looked for.
  return may_join(call) && join_other(call) ? RH_STEP_RUN : RH_STEP_SCHEDULE;
}

static void on_found(void *ctx, rh_recording *recording, double age_s) {
  rh_call *call = ctx;
  call->cache_question = NULL;
  if (recording != NULL && !rh_lookup_fits(call, recording)) {
    rh_recording_release(recording);
    recording = NULL;
  }
  if (recording != NULL) {
    rh_lookup_hit(call, recording, age_s, "answered from the cache");
    rh_call_move_on(call, RH_STEP_RUN);
  } else if (may_join(call) && join_other(call)) {
    rh_call_move_on(call, RH_STEP_RUN);
  } else if (!rh_semantic_begin(call)) {
    rh_call_move_on(call, rh_lookup_miss(call));
  }
}

// --- may it be cached? ---------------------------------------------------------------------------------------------

static bool make_key(rh_call *call) {
  const rh_request *request = &call->asked->request;
  char identity[IDENTITY_BYTES_MAX];
  if (rh_way_identity(call->daemon->gateway, call->way, identity, sizeof identity) != RH_OK) return false;
  bool shared = call->daemon->settings->gateway.cache_scope == RH_CACHE_SCOPE_ALL;
  const char *scope = shared || call->caller.key == NULL ? "" : call->caller.key->id;
  bool local = call->way->features.local_only;
  rh_memo *memo = call->memo;
  if (memo != NULL && memo->key_known && memo->key_local == local && strcmp(memo->key_scope, scope) == 0 &&
      strcmp(memo->key_identity, identity) == 0) {
    call->cache_key = memo->key;
    return true;
  }
  rh_cache_key_make(request, identity, scope, local, &call->cache_key);
  if (memo == NULL) return true;
  // For its equals; names that do not fit are looked at each time.
  memo->key = call->cache_key;
  memo->key_local = local;
  memo->key_known = rh_text_copy(memo->key_scope, sizeof memo->key_scope, scope) &&
                    rh_text_copy(memo->key_identity, sizeof memo->key_identity, identity);
  return true;
}

static bool may_be_cached(const rh_call *call) {
  const rh_request *request = &call->asked->request;
  if (rh_gateway_cache(call->daemon->gateway) == NULL || request->hints.cache == RH_CACHE_NEVER) return false;
  if (request->generate.ignore_eos) return false;  // a benchmark wants work done
  // The arms of an experiment are to be measured.
  if (call->way->experiment[0] != '\0') return false;
  bool asked = request->hints.cache == RH_CACHE_ASKED || request->hints.cache == RH_CACHE_ONLY;
  return asked || rh_request_is_deterministic(request);
}

rh_step rh_lookup_step(rh_call *call) {
  const rh_request *request = &call->asked->request;
  call->cacheable = may_be_cached(call) && make_key(call);
  if (!call->cacheable) {
    if (request->hints.cache != RH_CACHE_ONLY) return RH_STEP_SCHEDULE;
    (void)rh_fail(&call->error, RH_DEADLINE, "answers to this request are not cached, and it asked for no other one");
    return RH_STEP_COUNT;
  }
  call->meta.cache = "miss";
  if (request->hints.cache == RH_CACHE_FRESH) return rh_lookup_miss(call);
  rh_recording *recording = NULL;
  double age_s = 0;
  double age_max = request->hints.cache_age_max_s;
  rh_status status =
      rh_cache_find(rh_gateway_cache(call->daemon->gateway), &call->cache_key, call->way->features.local_only, age_max,
                    rh_clock_now_ns(), &recording, &age_s, on_found, call, &call->cache_question);
  if (status == RH_AGAIN) return RH_STEP_PARK;
  if (status == RH_OK && rh_lookup_fits(call, recording)) {
    rh_lookup_hit(call, recording, age_s, "answered from the cache");
    return RH_STEP_RUN;
  }
  if (status == RH_OK) rh_recording_release(recording);
  // Before anything is embedded: a hundred equal questions need no hundred vectors.
  if (may_join(call) && join_other(call)) return RH_STEP_RUN;
  if (rh_semantic_begin(call)) return RH_STEP_PARK;
  return rh_lookup_miss(call);
}
