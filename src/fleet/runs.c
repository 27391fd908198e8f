// SPDX-License-Identifier: Apache-2.0
//
// Runs inside a member: who gets a frame's event, how much more a worker may send, and what cancelling means.
//
// A cancelled run stays in the list, deaf, until the worker confirms with a final event: only then is its slot free.
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fleet/internal.h"
#include "flow/fit.h"

static rh_member_run *find(const rh_member *member, uint32_t stream) {
  rh_list_each(&member->runs, node) {
    rh_member_run *run = rh_list_entry(node, rh_member_run, node);
    if (run->stream == stream) return run;
  }
  return NULL;
}

static void forget(rh_member *member, rh_member_run *run) {
  rh_list_remove(&member->runs, &run->node);
  free(run);
}

static void give_credit(rh_member_run *run) {
  rh_member *member = run->member;
  if (rh_credit_write(&member->out, run->stream, run->owed) != RH_OK) {
    rh_member_kill(member, "no memory is left to talk to it");
    return;
  }
  run->credit += run->owed;
  run->owed = 0;
  rh_channel_flush(member);
}

void rh_runs_event(rh_member *member, uint32_t stream, const rh_event *event) {
  rh_member_run *run = find(member, stream);
  if (run == NULL) return;  // ended on our side already
  bool final = rh_event_is_final(event);
  if (run->cancelled_ns != 0) {
    if (final) {
      forget(member, run);
      member->listener.state(member->listener.ctx, member, member->state);  // a slot is free
    }
    return;
  }
  if (event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL || event->kind == RH_EVENT_RESULT) {
    if (run->credit == 0) {
      rh_member_kill(member, "it sent more than its credit");
      return;
    }
    run->credit--;
    run->owed++;
  }
  if (final) {
    // The slot is free before the listener hears of it, so that it may start the next run at once.
    rh_run_listener listener = run->listener;
    forget(member, run);
    (void)listener.event(listener.ctx, event, false);
    return;
  }
  rh_verdict verdict = run->listener.event(run->listener.ctx, event, false);
  // The listener may have cancelled this very run; it is in the list still.
  if (run->cancelled_ns != 0) return;
  if (verdict == RH_WAIT) run->held = true;
  if (!run->held && run->owed >= RH_CREDIT_WINDOW / 2) give_credit(run);
}

void rh_runs_lost(rh_member *member, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR, .as.error = *error};
  for (rh_list_node *node; (node = rh_list_first(&member->runs)) != NULL;) {
    rh_member_run *run = rh_list_entry(node, rh_member_run, node);
    rh_run_listener listener = run->listener;
    bool cancelled = run->cancelled_ns != 0;
    forget(member, run);
    if (!cancelled) (void)listener.event(listener.ctx, &event, true);
  }
}

void rh_runs_drop(rh_member *member) {
  for (rh_list_node *node; (node = rh_list_first(&member->runs)) != NULL;) {
    forget(member, rh_list_entry(node, rh_member_run, node));
  }
}

uint64_t rh_runs_oldest_cancel_ns(const rh_member *member) {
  uint64_t oldest = 0;
  rh_list_each(&member->runs, node) {
    uint64_t at = rh_list_entry(node, rh_member_run, node)->cancelled_ns;
    if (at != 0 && (oldest == 0 || at < oldest)) oldest = at;
  }
  return oldest;
}

rh_status rh_member_run_begin(rh_member *member, const rh_run *run, const rh_run_listener *listener,
                              rh_member_run **out, rh_error *error) {
  assert(rh_member_free_slots(member) > 0);
  // A worker would say so too; here it costs nothing and holds for workers that do not look.
  rh_status fits = rh_task_check(run->task, &member->info, member->options.name, error);
  if (fits != RH_OK) return fits;
  rh_member_run *made = calloc(1, sizeof *made);
  if (made == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a run");
  made->member = member;
  made->credit = RH_CREDIT_WINDOW;
  made->listener = *listener;
  do made->stream = ++member->next_stream;
  while (made->stream == 0 || find(member, made->stream) != NULL);
  rh_status status = rh_run_write(&member->out, made->stream, run, RH_CREDIT_WINDOW);
  if (status != RH_OK) {
    free(made);
    return rh_fail(error, status == RH_NO_MEMORY ? RH_NO_MEMORY : RH_TOO_LARGE,
                   "the request does not fit in a frame to the worker (%u bytes)", (unsigned)RH_FRAME_BYTES_MAX);
  }
  rh_list_push_back(&member->runs, &made->node);
  *out = made;
  rh_channel_flush(member);
  return RH_OK;
}

void rh_member_run_resume(rh_member_run *run) {
  run->held = false;
  if (run->owed > 0 && run->cancelled_ns == 0) give_credit(run);
}

void rh_member_run_cancel(rh_member_run *run) {
  rh_member *member = run->member;
  assert(run->cancelled_ns == 0);
  run->cancelled_ns = rh_clock_now_ns();
  if (rh_plain_write(&member->out, RH_FRAME_CANCEL, run->stream) != RH_OK) {
    rh_member_kill(member, "no memory is left to talk to it");
    return;
  }
  rh_channel_flush(member);
}
