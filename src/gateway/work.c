// SPDX-License-Identifier: Apache-2.0
//
// A request under way: its subscribers, its recording, and its end.
//
// Recorded work (what the cache may keep) has any number of followers, each at its own place; a slow one lags behind in the recording
// and holds up nobody until the recording is full. Work that is not recorded has one follower, whose pace is the producers'.
// Loop thread only. Which member works, and what follows when it fails, is in attempt.c.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/internal.h"

// Beyond the size that is kept: what producers may still send after they were told to wait.
#define RECORDING_SLACK ((size_t)4 * 1024 * 1024)
#define KEPT_DELTA_BYTES 256  // of one event in the cache: a hit still streams

// --- the request ---------------------------------------------------------------------------------------------------

rh_asked *rh_asked_new(void) {
  rh_asked *asked = calloc(1, sizeof *asked);
  if (asked != NULL) asked->holders = 1;
  return asked;
}

rh_asked *rh_asked_hold(rh_asked *asked) {
  asked->holders++;
  return asked;
}

void rh_asked_release(rh_asked *asked) {
  if (asked == NULL) return;
  assert(asked->holders > 0);
  if (--asked->holders > 0) return;
  rh_arena_free(asked->arena);
  rh_asked_release(asked->base);
  free(asked);
}

// --- events to followers -------------------------------------------------------------------------------------------

static bool is_said(const rh_event *event) {
  return event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL || event->kind == RH_EVENT_RESULT;
}

// A follower may leave from inside its sink; it is freed when nothing uses it any more.
static void let_go(rh_follower *follower) {
  assert(follower->busy > 0);
  if (--follower->busy == 0 && follower->work == NULL) free(follower);
}

static void give(rh_follower *follower, const rh_event *event) {
  rh_event again = {.kind = RH_EVENT_ERROR, .choice = event->choice};
  follower->busy++;
  assert(event->choice < follower->work->part_count);
  // The end of one of several answers is not taken back any more than its words.
  bool shown = is_said(event) || event->kind == RH_EVENT_END;
  if (shown && follower->stream) follower->work->passed = follower->seen[event->choice] = true;
  if (event->kind == RH_EVENT_START && follower->seen[event->choice]) {
    // It joined work whose own client sees nothing before the end, so its beginning may be taken back.
    (void)rh_fail(&again.as.error, RH_UNAVAILABLE, "the model was lost in the middle of this answer; ask again");
    event = &again;
  }
  if (rh_sink_push(&follower->sink, event) == RH_WAIT) follower->waiting = true;
  let_go(follower);
}

static bool somebody_lags(const rh_work *work) {
  rh_list_each(&work->followers, node) {
    const rh_follower *follower = rh_list_entry(node, rh_follower, node);
    if (!follower->live || follower->waiting) return true;
  }
  return false;
}

static void stop_sharing(rh_work *work) {
  if (rh_list_linked(&work->share)) rh_list_remove(&work->gateway->sharing, &work->share);
}

static bool recording_is_full(const rh_work *work) {
  return rh_recording_bytes(work->recording) > work->recording_soft;
}

// An answer that is too large to keep goes on without a recording as soon as nobody needs it any more.
static void drop_full_recording(rh_work *work) {
  if (work->recording == NULL || !recording_is_full(work)) return;
  stop_sharing(work);
  if (somebody_lags(work)) return;
  rh_recording_release(work->recording);
  work->recording = NULL;
}

bool rh_work_may_flow(const rh_work *work) {
  if (work->recording == NULL || recording_is_full(work)) return !somebody_lags(work);
  return true;
}

static void record(rh_work *work, const rh_event *event) {
  if (work->recording == NULL || event->kind == RH_EVENT_PROGRESS) return;
  if (rh_recording_append(work->recording, event) == RH_OK) return;
  // Larger than what a recording may hold at all. Those who have had everything go on; others cannot be served any more.
  rh_event failed = {.kind = RH_EVENT_ERROR, .choice = event->choice};
  (void)rh_fail(&failed.as.error, RH_TOO_LARGE,
                "the answer does not fit in what is held for a client that reads too slowly");
  stop_sharing(work);
  rh_list_each(&work->followers, node) {
    rh_follower *follower = rh_list_entry(node, rh_follower, node);
    if (!follower->live) give(follower, &failed);
  }
  rh_recording_release(work->recording);
  work->recording = NULL;
}

void rh_work_pass(rh_work *work, const rh_event *event) {
  record(work, event);
  size_t end = work->recording != NULL ? rh_recording_bytes(work->recording) : 0;
  rh_list_each(&work->followers, node) {
    rh_follower *follower = rh_list_entry(node, rh_follower, node);
    if (!follower->live) continue;
    // With a recording, one that waits reads this later.
    if (follower->waiting && work->recording != NULL && event->kind != RH_EVENT_PROGRESS) {
      follower->live = false;
      continue;
    }
    follower->place.place = end;
    give(follower, event);
  }
  drop_full_recording(work);
}

static rh_verdict on_replayed(void *ctx, const rh_event *event) {
  rh_follower *follower = ctx;
  if (follower->work == NULL) return RH_WAIT;  // it left meanwhile
  give(follower, event);
  return follower->work == NULL || follower->waiting ? RH_WAIT : RH_GO;
}

// Reads on from its place until it has everything or its client is slow.
static void catch_up(rh_follower *follower) {
  rh_work *work = follower->work;
  rh_recording *recording = work->recording;
  if (follower->live || follower->waiting || recording == NULL) return;
  (void)rh_recording_hold(recording);
  work->inside++;
  follower->busy++;
  rh_sink sink = {.push = on_replayed, .ctx = follower};
  bool waiting = false;
  if (rh_recording_replay(recording, &follower->place, &sink, &waiting) != RH_OK) {
    rh_event failed = {.kind = RH_EVENT_ERROR};
    (void)rh_fail(&failed.as.error, RH_INTERNAL, "the recording of this answer cannot be read");
    if (follower->work != NULL) give(follower, &failed);
  }
  if (follower->work != NULL) follower->live = rh_recording_at_end(recording, &follower->place);
  let_go(follower);
  rh_recording_release(recording);
  drop_full_recording(work);
  if (!work->over && rh_work_may_flow(work)) rh_work_resume_parts(work);
  rh_work_leave_inside(work);
}

static void on_catch_up(void *ctx) { catch_up(ctx); }

void rh_work_resume_parts(rh_work *work) {
  for (size_t i = 0; i < work->part_count; i++) {
    rh_work_part *part = &work->parts[i];
    if (!part->held) continue;
    part->held = false;
    if (part->job != NULL) rh_sched_resume(part->job);
    if (part->remote != NULL) rh_provider_run_resume(part->remote);
  }
}

void rh_follower_resume(rh_follower *follower) {
  rh_work *work = follower->work;
  follower->waiting = false;
  if (!follower->live) {
    catch_up(follower);
  } else if (!work->over && rh_work_may_flow(work)) {
    rh_work_resume_parts(work);
  }
}

const rh_work_facts *rh_follower_facts(const rh_follower *follower) { return &follower->work->facts; }

bool rh_follower_leads(const rh_follower *follower) { return follower->leads; }

bool rh_follower_pass_lead(rh_follower *follower) {
  rh_work *work = follower->work;
  if (!follower->leads || work->over) return false;
  rh_list_each(&work->followers, node) {
    rh_follower *other = rh_list_entry(node, rh_follower, node);
    if (other == follower) continue;
    follower->leads = false;
    other->leads = true;
    return true;
  }
  rh_try_count_unfinished(work);
  return false;
}

// --- the end -------------------------------------------------------------------------------------------------------

static void free_work(rh_work *work) {
  rh_gateway *gateway = work->gateway;
  rh_try_stop(work);
  rh_loop_undefer(gateway->loop, &work->reap);
  rh_loop_timer_cancel(gateway->loop, &work->hold);
  rh_loop_undefer(gateway->loop, &work->next);
  for (size_t i = 0; i < work->part_count; i++) {
    rh_judge_drop(&work->parts[i]);
    rh_dynbuf_free(&work->parts[i].said);
  }
  stop_sharing(work);
  rh_list_remove(&gateway->works, &work->node);
  rh_recording_release(work->recording);
  rh_way_release(&work->way);
  rh_asked_release(work->asked);
  free(work);
}

void rh_work_leave_inside(rh_work *work) {
  assert(work->inside > 0);
  if (--work->inside > 0 || !work->unwanted) return;
  // A producer may still be inside a push and read its run: what that points at goes when the producer has returned.
  rh_try_stop(work);
  rh_loop_defer(work->gateway->loop, &work->reap);
}

static void on_reap(void *ctx) { free_work(ctx); }

void rh_works_free(rh_gateway *gateway) {
  rh_list_each(&gateway->works, node) {
    rh_work *work = rh_list_entry(node, rh_work, node);
    if (work->unwanted) free_work(work);
  }
}

void rh_follower_leave(rh_follower *follower) {
  rh_work *work = follower->work;
  rh_loop_undefer(work->gateway->loop, &follower->catch_up);
  rh_list_remove(&work->followers, &follower->node);
  follower->work = NULL;
  if (follower->busy == 0) free(follower);
  if (work->followers.count == 0) {
    work->unwanted = true;
    if (work->inside == 0) free_work(work);
  } else if (!work->over) {
    drop_full_recording(work);
    if (rh_work_may_flow(work)) rh_work_resume_parts(work);
  }
}

static void keep_answer(rh_work *work) {
  rh_gateway *gateway = work->gateway;
  if (gateway->cache == NULL || work->recording == NULL || recording_is_full(work)) return;
  if (!rh_recording_complete(work->recording)) return;
  // The key says whose answer this is, the first member's. Another's, and one that another went on with, is not that.
  if (work->at != 0) return;
  rh_recording *kept = NULL;
  if (rh_recording_compact(work->recording, KEPT_DELTA_BYTES, &kept) != RH_OK) return;
  rh_cache_put(gateway->cache, &work->key, work->options.local_only, kept, rh_clock_now_ns());
  rh_recording_release(kept);
}

void rh_work_finish(rh_work *work) {
  work->over = true;
  rh_loop_timer_cancel(work->gateway->loop, &work->hold);
  stop_sharing(work);
  if (work->options.key != NULL) keep_answer(work);
}

// --- the beginning -------------------------------------------------------------------------------------------------

static void fill_run(rh_work *work, size_t index) {
  const rh_request *request = &work->asked->request;
  size_t choices = (size_t)request->choices;
  rh_work_part *part = &work->parts[index];
  part->work = work;
  part->index = (uint32_t)index;
  rh_dynbuf_init(&part->said, (size_t)16 * 1024 * 1024);
  part->run = (rh_run){
      .task = request->task,
      .generate = request->generate,
      .infer = request->infer,
      .extras = request->extras,
      .request_id = request->id,
      .local_only = work->options.local_only,
  };
  if (request->infer == NULL) part->run.prompt = request->prompts[index / choices];
  // Several answers to one prompt under one seed would all be the same text.
  if (request->generate.has_seed) part->run.generate.seed += (uint32_t)(index % choices);
}

static rh_follower *new_follower(rh_work *work, const rh_sink *sink, bool stream) {
  rh_follower *follower = calloc(1, sizeof *follower + work->part_count * sizeof *follower->seen);
  if (follower == NULL) return NULL;
  follower->work = work;
  follower->sink = *sink;
  follower->stream = stream;
  follower->catch_up = (rh_deferred){.fn = on_catch_up, .ctx = follower};
  work->stream = work->stream || stream;
  rh_list_push_back(&work->followers, &follower->node);
  return follower;
}

static rh_work *new_work(rh_gateway *gateway, rh_asked *asked, const rh_way *way, const rh_work_options *options) {
  rh_work *work = calloc(1, sizeof *work);
  size_t count = rh_request_runs(&asked->request);
  rh_work_part *parts = rh_arena_alloc_array(asked->arena, count, sizeof *parts);
  if (work == NULL || parts == NULL) {
    free(work);
    return NULL;
  }
  memset(parts, 0, count * sizeof *parts);
  work->gateway = gateway;
  work->asked = rh_asked_hold(asked);
  work->way = *way;
  rh_way_hold(&work->way);
  work->options = *options;
  work->parts = parts;
  work->part_count = count;
  work->facts.fallback = work->fallback;
  rh_list_init(&work->followers);
  work->hold = (rh_timer){.fn = rh_try_on_late, .ctx = work};
  work->reap = (rh_deferred){.fn = on_reap, .ctx = work};
  work->next = (rh_deferred){.fn = rh_try_on_next, .ctx = work};
  for (size_t i = 0; i < count; i++) fill_run(work, i);
  if (options->key != NULL) {
    work->key = *options->key;
    work->options.key = &work->key;
    work->recording_soft = (size_t)gateway->values->cache_entry_bytes;
    work->recording = rh_recording_new(work->recording_soft + RECORDING_SLACK);
    if (work->recording != NULL) rh_list_push_back(&gateway->sharing, &work->share);
  }
  rh_list_push_back(&gateway->works, &work->node);
  return work;
}

rh_status rh_work_start(rh_gateway *gateway, rh_asked *asked, const rh_way *way, const rh_work_options *options,
                        const rh_sink *sink, bool stream, rh_follower **out, rh_error *error) {
  *out = NULL;
  assert(way->count > 0);
  rh_work *work = new_work(gateway, asked, way, options);
  rh_follower *follower = work != NULL ? new_follower(work, sink, stream) : NULL;
  if (follower == NULL) {
    if (work != NULL) free_work(work);
    return rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
  }
  follower->live = true;
  follower->leads = true;
  if (!options->shadow) rh_retry_budget_earn(&gateway->budget, gateway->values->retry_budget);
  rh_status status = rh_try_begin(work, error);
  if (status != RH_OK) {
    rh_follower_leave(follower);
    return status;
  }
  *out = follower;
  return RH_OK;
}

// A request that joins lives by the work's time: it must neither get much less than its own nor more than it asked for.
static bool times_fit(uint64_t works_ns, uint64_t own_ns) {
  uint64_t now = rh_clock_now_ns();
  if (works_ns <= now || own_ns <= now) return false;
  uint64_t works = works_ns - now, own = own_ns - now;
  return works >= own / 2 && works <= own + RH_NS_PER_S;
}

rh_follower *rh_work_join(rh_gateway *gateway, const rh_cache_key *key, const rh_request *request, uint64_t deadline_ns,
                          const rh_sink *sink) {
  rh_list_each(&gateway->sharing, node) {
    rh_work *work = rh_list_entry(node, rh_work, share);
    if (memcmp(work->key.bytes, key->bytes, sizeof key->bytes) != 0) continue;
    if (work->over || work->recording == NULL || !times_fit(work->options.deadline_ns, deadline_ns)) continue;
    rh_follower *follower = new_follower(work, sink, request->stream);
    if (follower == NULL) return NULL;
    rh_loop_defer(gateway->loop, &follower->catch_up);
    return follower;
  }
  return NULL;
}
