// SPDX-License-Identifier: Apache-2.0
//
// The transfer engine: several files at once, several ranges of each at once, over one libcurl multi handle. One thread,
// one loop; each turn gives idle connections work, moves bytes, hashes what has come, notes what is on the disk, and
// tells the listener. Owns jobs and slots. What an answer means is transfer_slot.c, what happens to a file transfer_file.c.
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "pull/backends.h"
#include "pull/retry.h"
#include "pull/transfer_private.h"

#define TURN_MS 100
#define BALLAST_BYTES (256 * 1024)

rh_status rh_engine_fail(rh_engine *engine, rh_status status, const char *format, ...) {
  if (engine->status != RH_OK) return engine->status;
  char text[sizeof engine->error->message];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  engine->status = rh_fail(engine->error, status, "%s", text);
  return engine->status;
}

// Keep a failure that has already been described in engine->error.
static rh_status note(rh_engine *engine, rh_status status) {
  if (status != RH_OK && engine->status == RH_OK) engine->status = status;
  return engine->status;
}

// --- giving work ---------------------------------------------------------------------------------------------------

static int64_t segment_bytes(const rh_job *job) {
  int64_t share = job->state.total < 0 ? RH_SEGMENT_MIN : job->state.total / 32;
  return share < RH_SEGMENT_MIN ? RH_SEGMENT_MIN : share > RH_SEGMENT_MAX ? RH_SEGMENT_MAX : share;
}

// An empty file promised as such needs no request; a whole one needs no more.
static bool is_whole(const rh_job *job) {
  return job->state.total >= 0 && rh_ranges_bytes(&job->state.done) == job->state.total;
}

// Connections at work on it, and those that wait after a failure: they keep their place, else another one would take the
// range at once and there would be no back-off.
static int attached(const rh_engine *engine, const rh_job *job, uint64_t now) {
  int count = 0;
  for (size_t i = 0; i < engine->slot_count; i++) {
    const rh_slot *slot = &engine->slots[i];
    if (slot->job == job && (slot->running || slot->not_before_ns > now)) count++;
  }
  return count;
}

// What this job lacks and nobody is fetching. False: nothing now.
static bool next_range(rh_engine *engine, rh_job *job, uint64_t now, rh_range *out) {
  int64_t total = job->state.total;
  if (job->step != RH_JOB_FETCHING || job->local_fd >= 0 || is_whole(job)) return false;
  int busy_slots = attached(engine, job, now);
  if (busy_slots > 0 && (job->single || !job->probed)) return false;
  if (busy_slots >= engine->ranges_at_once) return false;
  if (job->single) {
    *out = (rh_range){0, total < 0 ? INT64_MAX : total};
    return true;
  }
  // The first answer tells how long it is.
  if (total < 0) {
    *out = (rh_range){0, RH_SEGMENT_MIN};
    return true;
  }
  rh_range busy[RH_TRANSFER_SLOTS_MAX];
  size_t count = 0;
  for (size_t i = 0; i < engine->slot_count; i++) {
    const rh_slot *slot = &engine->slots[i];
    if (slot->running && slot->job == job) busy[count++] = (rh_range){slot->at, slot->range.end};
  }
  return rh_ranges_gap(&job->state.done, busy, count, total, segment_bytes(job), out);
}

static rh_status open_more(rh_engine *engine) {
  int active = 0;
  for (size_t i = 0; i < engine->count; i++) {
    rh_job *job = &engine->jobs[i];
    if (job->step == RH_JOB_WAITING && active < engine->files_at_once && rh_job_open(engine, job) != RH_OK)
      return engine->status;
    if (job->step == RH_JOB_FETCHING || job->step == RH_JOB_HASHING) active++;
  }
  return RH_OK;
}

static rh_job *choose_job(rh_engine *engine, const rh_slot *slot, uint64_t now, rh_range *out) {
  // After a failure the same job again: its failures are counted here.
  if (slot->failures > 0 && slot->job != NULL && next_range(engine, slot->job, now, out)) return slot->job;
  // The job with the fewest connections, so that all that are open go on.
  rh_job *best = NULL;
  rh_range range;
  for (size_t i = 0; i < engine->count; i++) {
    rh_job *job = &engine->jobs[i];
    if ((best != NULL && best->running <= job->running) || !next_range(engine, job, now, &range)) continue;
    best = job;
    *out = range;
  }
  return best;
}

static rh_status give_work(rh_engine *engine) {
  uint64_t now = rh_clock_now_ns();
  if (now < engine->hold_until_ns) return RH_OK;
  for (size_t s = 0; s < engine->slot_count; s++) {
    rh_slot *slot = &engine->slots[s];
    rh_range range;
    if (slot->running || now < slot->not_before_ns) continue;
    rh_job *job = choose_job(engine, slot, now, &range);
    if (job == NULL) return RH_OK;
    if (rh_slot_start(slot, job, range) != RH_OK) return engine->status;
  }
  return RH_OK;
}

// --- when a connection has ended -----------------------------------------------------------------------------------

static void stop_job(rh_engine *engine, const rh_job *job) {
  for (size_t i = 0; i < engine->slot_count; i++) {
    if (engine->slots[i].job == job) rh_slot_stop(&engine->slots[i]);
  }
}

static rh_status begin_again(rh_engine *engine, rh_slot *slot, bool single) {
  rh_job *job = slot->job;
  stop_job(engine, job);
  if (job->restarts++ >= RH_RESTARTS_MAX)
    return rh_engine_fail(engine, RH_UNAVAILABLE, "%s could not be fetched: %s, again and again", job->file->path,
                          slot->reason);
  job->single = job->single || single;
  job->probed = job->single;
  rh_status status = rh_job_restart(engine, job);
  if (status != RH_OK) return status;
  return note(engine,
              rh_pull_report_retry(engine->pull, job->file->path, job->restarts, 0, slot->reason, engine->error));
}

static rh_status wait_and_retry(rh_engine *engine, rh_slot *slot) {
  rh_job *job = slot->job;
  if (slot->came >= RH_PROGRESS_WORTH && !job->single) slot->failures = 0;
  slot->came = 0;
  slot->failures++;
  if (slot->failures >= engine->pull->options->tries_max) {
    char here[32];
    rh_text_format_bytes(here, sizeof here, (uint64_t)rh_ranges_bytes(&job->state.done));
    return rh_engine_fail(engine, RH_UNAVAILABLE,
                          "%s could not be fetched: %s (%d tries, %s of it are here and kept). Pull again to go on",
                          job->file->path, slot->reason, slot->failures, here);
  }
  int64_t asked_s = rh_retry_after_s(slot->fetch.head.retry_after, rh_clock_wall_s());
  uint64_t wait_ns = rh_retry_delay_ns(slot->failures, rh_pull_report_chance(), asked_s);
  slot->not_before_ns = rh_clock_now_ns() + wait_ns;
  // What one connection is told holds for all: they go to the same server.
  if (asked_s > 0) engine->hold_until_ns = slot->not_before_ns;
  // A stream that cannot be taken up in the middle begins anew.
  if (job->single && rh_job_restart(engine, job) != RH_OK) return engine->status;
  return note(engine, rh_pull_report_retry(engine->pull, job->file->path, slot->failures, wait_ns, slot->reason,
                                           engine->error));
}

static rh_status act_on_verdict(rh_engine *engine, rh_slot *slot) {
  rh_job *job = slot->job;
  switch (slot->verdict) {
    case RH_VERDICT_NONE: slot->failures = slot->came >= RH_PROGRESS_WORTH ? 0 : slot->failures; return RH_OK;
    case RH_VERDICT_RETRY: return wait_and_retry(engine, slot);
    case RH_VERDICT_RESTART:
      // Nobody vouched for the version that was seen first: take the new one, with its own length.
      job->file->bytes = -1;
      job->file->validator[0] = '\0';
      return begin_again(engine, slot, false);
    case RH_VERDICT_SINGLE: return begin_again(engine, slot, true);
    case RH_VERDICT_MISMATCH:
      if (job->mismatches++ == 0) return begin_again(engine, slot, false);
      stop_job(engine, job);
      (void)rh_job_restart(engine, job);
      (void)unlink(job->part_path);
      return rh_engine_fail(engine, RH_INVALID, "%s is not what was promised: %s. Nothing of it is kept",
                            job->file->path, slot->reason);
    case RH_VERDICT_FATAL:
      if (engine->status != RH_OK) return engine->status;
      return note(engine, rh_pull_explain(engine->pull, &slot->fetch, job->file->path, slot->reason, engine->error));
  }
  return RH_OK;
}

static rh_slot *slot_of(rh_engine *engine, const CURL *easy) {
  for (size_t i = 0; i < engine->slot_count; i++) {
    if (engine->slots[i].fetch.easy == easy) return &engine->slots[i];
  }
  return NULL;
}

static rh_status end_connection(rh_engine *engine, rh_slot *slot, CURLcode code) {
  rh_slot_stop(slot);
  bool again = false;
  rh_error refused = {0};
  if (code == CURLE_OK && rh_fetch_follow(&slot->fetch, &again, &refused) != RH_OK)
    return rh_engine_fail(engine, refused.status, "%s could not be fetched: %s", slot->job->file->path,
                          refused.message);
  if (again) {
    slot->last_byte_ns = rh_clock_now_ns();
    if (curl_multi_add_handle(engine->multi, slot->fetch.easy) != CURLM_OK)
      return rh_engine_fail(engine, RH_NO_MEMORY, "no memory for a connection");
    slot->running = true;
    slot->job->running++;
    return RH_OK;
  }
  rh_slot_judge(slot, code);
  return act_on_verdict(engine, slot);
}

static rh_status take_ends(rh_engine *engine) {
  int left = 0;
  CURLMsg *message;
  while (engine->status == RH_OK && (message = curl_multi_info_read(engine->multi, &left)) != NULL) {
    if (message->msg != CURLMSG_DONE) continue;
    rh_slot *slot = slot_of(engine, message->easy_handle);
    assert(slot != NULL);
    (void)end_connection(engine, slot, message->data.result);
  }
  return engine->status;
}

static rh_status drop_stalled(rh_engine *engine) {
  uint64_t now = rh_clock_now_ns(), limit = engine->pull->options->stall_timeout_ns;
  for (size_t i = 0; engine->status == RH_OK && i < engine->slot_count; i++) {
    rh_slot *slot = &engine->slots[i];
    if (!slot->running || now - slot->last_byte_ns < limit) continue;
    rh_slot_stop(slot);
    slot->fetch.head.retry_after[0] = '\0';
    (void)snprintf(slot->reason, sizeof slot->reason, "no byte came for %.1f s", rh_ns_to_s(limit));
    (void)wait_and_retry(engine, slot);
  }
  return engine->status;
}

// --- files ---------------------------------------------------------------------------------------------------------

static rh_status tell_verifying(rh_engine *engine, const rh_job *job) {
  uint64_t now = rh_clock_now_ns();
  if (now - engine->verifying_ns < RH_NS_PER_S / 10) return RH_OK;
  engine->verifying_ns = now;
  return note(engine,
              rh_pull_report_verifying(engine->pull, job->file->path, job->hashed, job->state.total, engine->error));
}

static rh_status advance_job(rh_engine *engine, rh_job *job, bool *busy) {
  if (job->step != RH_JOB_FETCHING && job->step != RH_JOB_HASHING) return RH_OK;
  if (job->local_fd >= 0 && !is_whole(job)) {
    *busy = true;
    if (note(engine, rh_job_copy(engine, job)) != RH_OK) return engine->status;
  }
  job->report->completed = rh_ranges_bytes(&job->state.done);
  if (job->step == RH_JOB_FETCHING && is_whole(job) && job->running == 0) job->step = RH_JOB_HASHING;
  rh_status status = rh_job_hash(engine, job, busy);
  if (status == RH_OK) status = rh_job_save(engine, job, false);
  if (status != RH_OK || job->step != RH_JOB_HASHING) return status;
  if (job->hashed < job->state.total) return tell_verifying(engine, job);
  *busy = true;
  return rh_job_finish(engine, job);
}

static rh_status advance(rh_engine *engine, bool *busy, bool *done) {
  *done = true;
  for (size_t i = 0; i < engine->count; i++) {
    rh_job *job = &engine->jobs[i];
    if (advance_job(engine, job, busy) != RH_OK) return engine->status;
    if (job->step != RH_JOB_DONE) *done = false;
  }
  return RH_OK;
}

static rh_status turn(rh_engine *engine, bool *done) {
  int running = 0;
  bool busy = false;
  if (open_more(engine) != RH_OK || give_work(engine) != RH_OK) return engine->status;
  if (curl_multi_perform(engine->multi, &running) != CURLM_OK)
    return rh_engine_fail(engine, RH_INTERNAL, "libcurl failed");
  if (engine->status != RH_OK || take_ends(engine) != RH_OK || drop_stalled(engine) != RH_OK) return engine->status;
  if (advance(engine, &busy, done) != RH_OK) return engine->status;
  rh_status status =
      rh_pull_report_progress(engine->pull, &engine->report, engine->reports, engine->count, *done, engine->error);
  if (status != RH_OK || *done) return note(engine, status);
  (void)curl_multi_poll(engine->multi, NULL, 0, busy ? 0 : TURN_MS, NULL);
  return RH_OK;
}

// --- beginning and end ---------------------------------------------------------------------------------------------

static int within(int wanted, int usual, int most) { return wanted <= 0 ? usual : wanted > most ? most : wanted; }

// A few blocks that are given back when the disk is full, so that the notes of what has come can still be written.
static void make_ballast(rh_engine *engine) {
  char *work = NULL;
  if (asprintf(&work, "%s/" RH_PULL_WORK, engine->folder) < 0) return;
  bool fine = rh_file_make_folders(work, 0755, NULL) == RH_OK && asprintf(&engine->ballast_path, "%s/.room", work) > 0;
  free(work);
  if (!fine) return;
  int fd = open(engine->ballast_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return;
  (void)posix_fallocate(fd, 0, BALLAST_BYTES);
  close(fd);
}

static rh_status set_up(rh_engine *engine) {
  const rh_pull_options *options = engine->pull->options;
  engine->files_at_once = within(options->files_at_once, 3, RH_TRANSFER_FILES_MAX);
  engine->ranges_at_once = within(options->ranges_at_once, 4, RH_TRANSFER_RANGES_MAX);
  engine->slot_count = (size_t)(engine->files_at_once * engine->ranges_at_once);
  if (engine->slot_count > RH_TRANSFER_SLOTS_MAX) engine->slot_count = RH_TRANSFER_SLOTS_MAX;
  engine->multi = curl_multi_init();
  engine->jobs = calloc(engine->count + 1, sizeof *engine->jobs);
  engine->reports = calloc(engine->count + 1, sizeof *engine->reports);
  if (engine->multi == NULL || engine->jobs == NULL || engine->reports == NULL)
    return rh_engine_fail(engine, RH_NO_MEMORY, "no memory for a transfer");
  for (size_t i = 0; i < engine->count; i++) {
    if (rh_job_prepare(engine, &engine->jobs[i], i) != RH_OK) return engine->status;
  }
  for (size_t i = 0; i < engine->slot_count; i++) {
    engine->slots[i].engine = engine;
    if (note(engine, rh_fetch_init(&engine->slots[i].fetch, engine->error)) != RH_OK) return engine->status;
  }
  make_ballast(engine);
  return RH_OK;
}

static void tear_down(rh_engine *engine) {
  for (size_t i = 0; i < engine->slot_count; i++) {
    rh_slot_stop(&engine->slots[i]);
    rh_fetch_release(&engine->slots[i].fetch);
  }
  if (engine->ballast_path != NULL) (void)unlink(engine->ballast_path);
  free(engine->ballast_path);
  // Whatever ended it: what is on the disk is noted, so that the next pull goes on from here.
  for (size_t i = 0; engine->jobs != NULL && i < engine->count; i++) {
    if (engine->jobs[i].file == NULL) continue;
    (void)rh_job_save(engine, &engine->jobs[i], true);
    rh_job_release(&engine->jobs[i]);
  }
  if (engine->multi != NULL) (void)curl_multi_cleanup(engine->multi);
  free(engine->jobs);
  free(engine->reports);
}

rh_status rh_transfer_run(rh_pulling *pull, const char *folder, rh_error *error) {
  assert(pull != NULL && folder != NULL);
  rh_error own = {0};
  rh_engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a transfer");
  engine->pull = pull;
  engine->folder = folder;
  engine->count = pull->plan.count;
  engine->error = error == NULL ? &own : error;
  bool done = false;
  if (set_up(engine) == RH_OK) {
    while (!done && turn(engine, &done) == RH_OK) {
    }
  }
  tear_down(engine);
  rh_status status = engine->status;
  free(engine);
  return status;
}

static int64_t missing_of(const rh_pull_file *file, const char *folder) {
  char path[4096];
  struct stat info;
  rh_pull_state state;
  int64_t missing = file->bytes < 0 ? 0 : file->bytes;
  (void)snprintf(path, sizeof path, "%s/" RH_PULL_WORK "/%s.state", folder, file->path);
  if (rh_pull_state_load(path, &state, NULL) != RH_OK) return missing;
  if (rh_pull_state_matches(&state, file->bytes, file->sha256, file->validator)) {
    if (file->bytes < 0 && state.total > 0) missing = state.total;
    (void)snprintf(path, sizeof path, state.complete ? "%s/%s" : "%s/" RH_PULL_WORK "/%s.part", folder, file->path);
    if (stat(path, &info) == 0) missing -= state.complete ? missing : rh_ranges_bytes(&state.done);
  }
  rh_pull_state_release(&state);
  return missing > 0 ? missing : 0;
}

int64_t rh_transfer_missing(const rh_plan *plan, const char *folder) {
  int64_t sum = 0;
  for (size_t i = 0; i < plan->count; i++) sum += missing_of(&plan->files[i], folder);
  return sum;
}
