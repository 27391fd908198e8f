// SPDX-License-Identifier: Apache-2.0
//
// The semantic cache: a question that was not asked word for word, but nearly so. Its last user message becomes a vector by the
// configured embedding model; the nearest earlier question with the same everything else lends its answer, if it is near enough.
//
// The embedding is work like any other, so it obeys the same rules: a request that must stay on this machine is embedded here or not
// at all. Whatever goes wrong on this way is a miss, never an error. Loop thread only; a lookup is owned by its call.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/internal.h"

#define LOOKUP_NS (10 * RH_NS_PER_S)  // an embedding that takes longer is not waited for
#define ARENA_BYTES (1024 * 1024)

struct rh_semantic_lookup {
  rh_call *call;
  rh_follower *follower;
  rh_cache_key shape, found;
  float *vector;  // NULL = none came
  size_t dimensions;
  rh_deferred end;  // outside of its own sink
  bool near;        // `found` is a neighbour
  bool over;
};

static rh_verdict on_event(void *ctx, const rh_event *event) {
  rh_semantic_lookup *lookup = ctx;
  if (lookup->over) return RH_GO;
  if (event->kind == RH_EVENT_RESULT && event->as.result.kind == RH_RESULT_VECTOR && lookup->vector == NULL) {
    lookup->vector = calloc(event->as.result.count, sizeof *lookup->vector);
    lookup->dimensions = lookup->vector != NULL ? event->as.result.count : 0;
    if (lookup->vector != NULL) memcpy(lookup->vector, event->as.result.vector, lookup->dimensions * sizeof(float));
  }
  lookup->over = rh_event_is_final(event);
  if (lookup->over) rh_loop_defer(lookup->call->daemon->loop, &lookup->end);
  return RH_GO;
}

static void on_answer(void *ctx, rh_recording *recording, double age_s) {
  rh_call *call = ctx;
  rh_gateway *gateway = call->daemon->gateway;
  call->cache_question = NULL;
  if (recording == NULL || !rh_lookup_fits(call, recording)) {
    rh_recording_release(recording);
    // A neighbour without an answer would hide those that have one.
    if (call->semantic->near) rh_semantic_drop(rh_gateway_semantic(gateway), &call->semantic->found);
    rh_call_move_on(call, rh_lookup_miss(call));
    return;
  }
  rh_cache_note_semantic_hit(rh_gateway_cache(gateway));
  rh_lookup_hit(call, recording, age_s, "answered from the cache, by a like question");
  rh_call_move_on(call, RH_STEP_RUN);
}

// The vector is here, or it is known that none comes.
static void on_end(void *ctx) {
  rh_semantic_lookup *lookup = ctx;
  rh_call *call = lookup->call;
  rh_gateway *gateway = call->daemon->gateway;
  uint64_t now = rh_clock_now_ns();
  double cosine = 0, age_s = 0;
  rh_follower_leave(lookup->follower);
  lookup->follower = NULL;
  lookup->near = lookup->vector != NULL &&
                 rh_semantic_find(rh_gateway_semantic(gateway), &lookup->shape, lookup->vector, lookup->dimensions,
                                  call->daemon->settings->gateway.semantic_threshold, now, &lookup->found, &cosine);
  rh_recording *recording = NULL;
  rh_status status = RH_NOT_FOUND;
  if (lookup->near) {
    status = rh_cache_find(rh_gateway_cache(gateway), &lookup->found, call->way->features.local_only,
                           call->asked->request.hints.cache_age_max_s, now, &recording, &age_s, on_answer, call,
                           &call->cache_question);
  }
  if (status == RH_AGAIN) return;
  on_answer(call, status == RH_OK ? recording : NULL, age_s);
}

// A request of its own, for the embedding model.
static rh_asked *make_question(const rh_call *call, const char *text) {
  rh_asked *asked = rh_asked_new();
  if (asked == NULL) return NULL;
  asked->arena = rh_arena_new(ARENA_BYTES + 2 * strlen(text));
  rh_infer *infer = asked->arena != NULL ? rh_arena_alloc(asked->arena, sizeof *infer) : NULL;
  rh_item *item = infer != NULL ? rh_arena_alloc(asked->arena, sizeof *item) : NULL;
  char *copy = item != NULL ? rh_arena_strdup(asked->arena, text) : NULL;
  if (copy == NULL) {
    rh_asked_release(asked);
    return NULL;
  }
  *item = (rh_item){.text = copy, .length = strlen(copy)};
  *infer = (rh_infer){0};  // nothing that a remote model could not be told; the vector's length does not matter here
  infer->items = item;
  infer->item_count = 1;
  rh_request *request = &asked->request;
  request->task = RH_TASK_EMBED;
  request->model = call->daemon->settings->gateway.semantic_cache;
  request->infer = infer;
  request->choices = 1;
  request->keep_alive = RH_KEEP_ALIVE_UNSET;
  request->hints = call->asked->request.hints;
  rh_generate_defaults(&request->generate);
  rh_text_copy(request->id, sizeof request->id, call->id);
  return asked;
}

static bool begin_embedding(rh_semantic_lookup *lookup, const char *text) {
  rh_call *call = lookup->call;
  rh_gateway *gateway = call->daemon->gateway;
  rh_caller nobody = {.address = "", .header = call->caller.header, .header_ctx = call->caller.header_ctx};
  rh_error error = {0};
  rh_way way;
  rh_asked *asked = make_question(call, text);
  if (asked == NULL) return false;
  asked->request.hints.local_only = call->way->features.local_only;
  rh_work_options options = {.deadline_ns = rh_clock_now_ns() + LOOKUP_NS,
                             .local_only = call->way->features.local_only};
  rh_sink sink = {.push = on_event, .ctx = lookup};
  rh_status status = rh_gateway_find_way(gateway, &asked->request, &nobody, &way, &error);
  if (status == RH_OK) status = rh_work_start(gateway, asked, &way, &options, &sink, false, &lookup->follower, &error);
  rh_asked_release(asked);
  if (status == RH_OK) return true;
  RH_LOG(RH_LOG_DEBUG, "no semantic lookup", rh_log_str("request_id", call->id), rh_log_str("error", error.message));
  return false;
}

bool rh_semantic_begin(rh_call *call) {
  rh_gateway *gateway = call->daemon->gateway;
  const char *text = rh_gateway_semantic(gateway) != NULL ? rh_semantic_text(&call->asked->request) : NULL;
  char identity[8192];
  if (text == NULL || call->semantic != NULL) return false;
  if (rh_way_identity(gateway, call->way, identity, sizeof identity) != RH_OK) return false;
  rh_semantic_lookup *lookup = calloc(1, sizeof *lookup);
  if (lookup == NULL) return false;
  lookup->call = call;
  lookup->end = (rh_deferred){.fn = on_end, .ctx = lookup};
  bool shared = call->daemon->settings->gateway.cache_scope == RH_CACHE_SCOPE_ALL;
  const char *scope = shared || call->caller.key == NULL ? "" : call->caller.key->id;
  rh_cache_shape_make(&call->asked->request, identity, scope, call->way->features.local_only, &lookup->shape);
  call->semantic = lookup;
  return begin_embedding(lookup, text);
}

void rh_semantic_stop(rh_call *call) {
  rh_semantic_lookup *lookup = call->semantic;
  if (lookup == NULL || lookup->follower == NULL) return;
  rh_loop_undefer(call->daemon->loop, &lookup->end);
  rh_follower_leave(lookup->follower);
  lookup->follower = NULL;
}

void rh_semantic_learn(rh_call *call) {
  rh_semantic_lookup *lookup = call->semantic;
  if (lookup == NULL) return;
  rh_semantic_stop(call);
  bool made = call->error.status == RH_OK && strcmp(call->meta.cache, "miss") == 0 && call->http_status == 200;
  // The answer of another member than the first was not kept.
  made = made && (call->facts.fallback == NULL || call->facts.fallback[0] == '\0');
  if (made && lookup->vector != NULL) {
    rh_semantic_put(rh_gateway_semantic(call->daemon->gateway), &lookup->shape, lookup->vector, lookup->dimensions,
                    &call->cache_key, rh_clock_now_ns() + call->daemon->settings->gateway.cache_ttl);
  }
  free(lookup->vector);
  free(lookup);
  call->semantic = NULL;
}
