// SPDX-License-Identifier: Apache-2.0
//
// A run's times: the request's deadline, the limits of one attempt (connection, first byte, silence, total), the delay between
// two attempts. Owns nothing; each run has one timer, which is armed for the nearest of them. Loop's thread.
//
// A limit that moves away while bytes come is not re-armed each time: the timer goes off, sees that it is early, and is set anew.
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "provider/transport.h"

#define RETRY_DELAY_NS_MAX (30 * RH_NS_PER_S)
#define DOUBLINGS_MAX 16
#define DRAIN_NS (1 * RH_NS_PER_S)  // for the last bytes of an answer whose final event is out

static uint64_t after(uint64_t from_ns, uint64_t limit_ns) {
  return limit_ns == 0 || limit_ns > UINT64_MAX - from_ns ? UINT64_MAX : from_ns + limit_ns;
}

static uint64_t sooner(uint64_t one, uint64_t other) { return one < other ? one : other; }

// The end of the step an attempt is in. None while the sink does not want more.
static uint64_t step_end(const rh_provider_run *run) {
  const rh_provider_spec *spec = run->provider->spec;
  if (run->waiting) return UINT64_MAX;
  if (run->connected_ns == 0) return after(run->connecting_ns, spec->connect_timeout_ns);
  if (run->byte_ns == 0) return after(run->connected_ns, spec->first_timeout_ns);
  return after(run->byte_ns, spec->idle_timeout_ns);
}

static uint64_t total_end(const rh_provider_run *run) {
  return after(run->began_ns, run->provider->spec->total_timeout_ns);
}

static uint64_t next_limit(const rh_provider_run *run) {
  uint64_t deadline = run->options.deadline_ns == 0 ? UINT64_MAX : run->options.deadline_ns;
  if (run->state == RH_RUN_OVER) return run->again_ns;
  if (run->state == RH_RUN_PAUSING) return sooner(deadline, run->again_ns);
  if (run->state == RH_RUN_ACTIVE) return sooner(deadline, sooner(total_end(run), step_end(run)));
  return deadline;
}

void rh_run_arm(rh_provider_run *run) {
  rh_loop *loop = run->provider->owner->loop;
  uint64_t now = rh_clock_now_ns();
  if (run->state == RH_RUN_OVER && run->again_ns == 0) run->again_ns = now + DRAIN_NS;
  uint64_t due = next_limit(run);
  if (due == UINT64_MAX) {
    rh_loop_timer_cancel(loop, &run->timer);
  } else if (run->timer.heap_slot == 0 || due < run->timer.due_ns) {
    rh_loop_timer_set(loop, &run->timer, due > now ? due - now : 0);
  }
}

// --- what has passed -------------------------------------------------------------------------------------------------------

static void say_deadline(const rh_provider_run *run, rh_error *error) {
  const char *where = run->state == RH_RUN_QUEUED                         ? "while it waited in the queue of provider"
                      : run->byte_ns == 0 || run->state == RH_RUN_PAUSING ? "before an answer came from provider"
                                                                          : "in the middle of the answer of provider";
  (void)rh_fail(error, RH_DEADLINE, "the request's deadline passed %s \"%s\"", where, run->provider->spec->name);
}

static void say_step(const rh_provider_run *run, rh_error *error) {
  const rh_provider_spec *spec = run->provider->spec;
  if (run->connected_ns == 0) {
    (void)rh_fail(error, RH_UPSTREAM, "provider \"%s\": no connection within %g s", spec->name,
                  rh_ns_to_s(spec->connect_timeout_ns));
  } else if (run->byte_ns == 0) {
    (void)rh_fail(error, RH_DEADLINE, "provider \"%s\" sent nothing within %g s of the request", spec->name,
                  rh_ns_to_s(spec->first_timeout_ns));
  } else {
    (void)rh_fail(error, RH_DEADLINE, "provider \"%s\" fell silent for %g s in the middle of its answer", spec->name,
                  rh_ns_to_s(spec->idle_timeout_ns));
  }
}

static void give_up(rh_provider_run *run, const rh_error *error) {
  rh_run_fail(run, error);
  if (run->state == RH_RUN_OVER) rh_run_doom(run);  // nothing to wait for: the connection is closed
}

static void check(rh_provider_run *run, uint64_t now) {
  rh_error error;
  memset(&error, 0, sizeof error);
  if (run->options.deadline_ns != 0 && now >= run->options.deadline_ns) {
    say_deadline(run, &error);
    give_up(run, &error);
  } else if (run->state == RH_RUN_ACTIVE && now >= total_end(run)) {
    (void)rh_fail(&error, RH_DEADLINE, "provider \"%s\" had not finished its answer after %g s",
                  run->provider->spec->name, rh_ns_to_s(run->provider->spec->total_timeout_ns));
    give_up(run, &error);
  } else if (run->state == RH_RUN_ACTIVE && now >= step_end(run)) {
    if (run->connected_ns == 0 && rh_run_retry(run)) return;
    say_step(run, &error);
    give_up(run, &error);
  } else {
    rh_run_arm(run);
  }
}

void rh_run_expire(void *ctx) {
  rh_provider_run *run = ctx;
  rh_providers *owner = run->provider->owner;
  uint64_t now = rh_clock_now_ns();
  rh_providers_enter(owner);
  if (run->state == RH_RUN_OVER && now >= run->again_ns) {
    rh_run_doom(run);
  } else if (run->state == RH_RUN_OVER) {
    rh_run_arm(run);
  } else if (run->state == RH_RUN_PAUSING && now >= run->again_ns) {
    rh_attempt_begin(run);
  } else {
    check(run, now);
  }
  rh_providers_leave(owner);
}

// --- another attempt -------------------------------------------------------------------------------------------------------

// The delay doubles; chance makes it anything from half to one and a half of that, so that those who failed together do not come
// back together.
static uint64_t retry_delay_ns(rh_provider_run *run) {
  unsigned doublings = run->attempts - 1 < DOUBLINGS_MAX ? run->attempts - 1 : DOUBLINGS_MAX;
  uint64_t delay = sooner(run->provider->spec->retry_delay_ns, RETRY_DELAY_NS_MAX) << doublings;
  delay = sooner(delay, RETRY_DELAY_NS_MAX);
  return delay / 2 + rh_providers_chance(run->provider->owner, delay + 1);
}

bool rh_run_retry(rh_provider_run *run) {
  assert(run->state == RH_RUN_ACTIVE || run->state == RH_RUN_HELD);
  if (run->passed || (int64_t)run->attempts > run->provider->spec->retries_max) return false;
  uint64_t now = rh_clock_now_ns();
  uint64_t again = now + retry_delay_ns(run);
  if (run->options.deadline_ns != 0 && again >= run->options.deadline_ns) return false;
  if (run->provider->resting_until_ns > again) return false;
  if (run->options.may_retry != NULL && !run->options.may_retry(run->options.retry_ctx)) return false;
  rh_attempt_end(run);
  run->again_ns = again;
  rh_run_move(run, RH_RUN_PAUSING);
  rh_loop_timer_cancel(run->provider->owner->loop, &run->timer);
  rh_run_arm(run);
  return true;
}
