// SPDX-License-Identifier: Apache-2.0
//
// One connection of a transfer: what it asks for, whether the answer is what was asked for, its bytes to the disk.
// Owns its libcurl handle; the pull's thread. Decides nothing about what follows: that is transfer.c.
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "pull/retry.h"
#include "pull/transfer_private.h"

static void say(rh_slot *slot, rh_verdict verdict, const char *format, ...) RH_PRINTF(3, 4);
static void say(rh_slot *slot, rh_verdict verdict, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(slot->reason, sizeof slot->reason, format, arguments);
  va_end(arguments);
  slot->verdict = verdict;
}

// Does the server speak of the same version as before? Asked only where no digest will tell in the end.
static bool same_version(rh_slot *slot) {
  rh_job *job = slot->job;
  const char *now = rh_fetch_validator(&slot->fetch.head);
  if (job->file->sha256[0] != '\0' || now[0] == '\0') return true;
  if (job->validator[0] == '\0') (void)rh_text_copy(job->validator, sizeof job->validator, now);
  return strcmp(job->validator, now) == 0;
}

static void learn_total(rh_slot *slot, int64_t total) {
  rh_job *job = slot->job;
  if (total < 0) return;
  if (job->state.total < 0) {
    job->state.total = total;
    job->report->total = total;
  } else if (job->state.total != total) {
    say(slot, RH_VERDICT_MISMATCH, "%" PRId64 " bytes were promised, the server has %" PRId64, job->state.total, total);
  }
}

static void check_partial(rh_slot *slot) {
  const rh_fetch_head *head = &slot->fetch.head;
  if (!same_version(slot)) {
    say(slot, RH_VERDICT_RESTART, "the file changed on the server while it was fetched");
  } else if (head->first != slot->range.first || head->last < head->first || head->last >= slot->range.end) {
    say(slot, RH_VERDICT_RETRY,
        "the server sent other bytes (%" PRId64 "-%" PRId64 ") than were asked for (%" PRId64 "-%" PRId64 ")",
        head->first, head->last, slot->range.first, slot->range.end - 1);
  } else {
    learn_total(slot, head->total);
    // Less than was asked for is a server's right; the rest stays a gap.
    slot->range.end = head->last + 1;
  }
}

static void check_whole(rh_slot *slot) {
  rh_job *job = slot->job;
  const rh_fetch_head *head = &slot->fetch.head;
  bool asked_part = slot->range.first != 0 || slot->fetch.range_end >= 0;
  if (!same_version(slot)) {
    say(slot, RH_VERDICT_RESTART, "the file changed on the server while it was fetched");
    return;
  }
  learn_total(slot, head->length);
  if (slot->verdict != RH_VERDICT_NONE) return;
  if (asked_part && (slot->range.first != 0 || job->running > 1 || rh_ranges_bytes(&job->state.done) > 0)) {
    say(slot, RH_VERDICT_SINGLE, "the server cannot send parts of a file");
    return;
  }
  if (asked_part) job->single = true;
  slot->range.end = job->state.total < 0 ? INT64_MAX : job->state.total;
}

static void check_answer(rh_slot *slot) {
  slot->checked = true;
  slot->job->probed = true;
  if (slot->fetch.head.status == 206)
    check_partial(slot);
  else
    check_whole(slot);
  if (slot->fetch.hops > 0 && slot->verdict == RH_VERDICT_NONE)
    (void)rh_text_copy(slot->job->direct_url, sizeof slot->job->direct_url, slot->fetch.url);
}

static bool write_all(rh_slot *slot, const char *bytes, size_t length) {
  rh_job *job = slot->job;
  for (size_t done = 0; done < length;) {
    ssize_t wrote = pwrite(job->fd, bytes + done, length - done, (off_t)slot->at);
    if (wrote < 0 && errno == EINTR) continue;
    rh_status status = wrote > 0 ? rh_ranges_add(&job->state.done, slot->at, slot->at + wrote) : RH_OK;
    if (wrote <= 0 || status != RH_OK) {
      if (wrote <= 0) (void)rh_job_fail_write(slot->engine, job, wrote < 0 ? errno : EIO);
      if (wrote > 0) (void)rh_engine_fail(slot->engine, status, "%s came in too many pieces", job->file->path);
      slot->verdict = RH_VERDICT_FATAL;
      return false;
    }
    done += (size_t)wrote;
    slot->at += wrote;
    slot->came += wrote;
  }
  return true;
}

static size_t on_bytes(void *ctx, const char *bytes, size_t length) {
  rh_slot *slot = ctx;
  if (!slot->checked) check_answer(slot);
  if (slot->verdict != RH_VERDICT_NONE) return 0;
  if ((int64_t)length > slot->range.end - slot->at) {
    say(slot, RH_VERDICT_MISMATCH, "the server sends more than the %" PRId64 " bytes that belong there",
        slot->range.end - slot->range.first);
    return 0;
  }
  slot->last_byte_ns = rh_clock_now_ns();
  return write_all(slot, bytes, length) ? length : 0;
}

rh_status rh_slot_start(rh_slot *slot, rh_job *job, rh_range range) {
  assert(!slot->running && range.end > range.first);
  rh_engine *engine = slot->engine;
  if (slot->job != job) slot->failures = 0;
  slot->job = job;
  slot->range = range;
  slot->at = range.first;
  slot->checked = false;
  slot->verdict = RH_VERDICT_NONE;
  slot->reason[0] = '\0';
  slot->last_byte_ns = rh_clock_now_ns();
  slot->direct = job->direct_url[0] != '\0';
  slot->fetch.body = on_bytes;
  slot->fetch.ctx = slot;
  slot->fetch.connect_timeout_ns = engine->pull->options->stall_timeout_ns;
  // The whole file in one go needs no range, and some servers answer such requests faster.
  bool whole = job->single || (range.first == 0 && range.end == job->state.total);
  const char *if_range = job->file->sha256[0] == '\0' ? job->validator : "";
  rh_status status =
      rh_fetch_begin(&slot->fetch, slot->direct ? job->direct_url : job->file->url, &engine->pull->plan.auth,
                     range.first, whole ? -1 : range.end, if_range, engine->error);
  if (status == RH_OK && curl_multi_add_handle(engine->multi, slot->fetch.easy) != CURLM_OK)
    status = rh_fail(engine->error, RH_NO_MEMORY, "no memory for a connection");
  if (status != RH_OK) {
    if (engine->status == RH_OK) engine->status = status;
    return status;
  }
  slot->running = true;
  job->running++;
  return RH_OK;
}

void rh_slot_stop(rh_slot *slot) {
  if (!slot->running) return;
  (void)curl_multi_remove_handle(slot->engine->multi, slot->fetch.easy);
  slot->running = false;
  slot->job->running--;
}

// 416: there is no such part. Right for an empty file; otherwise the file is not what was promised.
static void judge_unsatisfiable(rh_slot *slot) {
  int64_t total = slot->fetch.head.total;
  if (total == 0 && slot->job->state.total <= 0) {
    learn_total(slot, 0);
    return;
  }
  learn_total(slot, total);
  if (slot->verdict == RH_VERDICT_NONE)
    say(slot, RH_VERDICT_SINGLE, "the server refuses to send a part of the file (HTTP 416)");
}

static void judge_good(rh_slot *slot) {
  if (!slot->checked) check_answer(slot);  // an empty body
  if (slot->verdict != RH_VERDICT_NONE) return;
  if (slot->range.end == INT64_MAX) {
    learn_total(slot, slot->at);  // the end of a stream without a length is all we are told
  } else if (slot->at < slot->range.end) {
    say(slot, RH_VERDICT_RETRY, "the answer ended after %" PRId64 " of %" PRId64 " bytes", slot->at - slot->range.first,
        slot->range.end - slot->range.first);
  }
}

void rh_slot_judge(rh_slot *slot, CURLcode code) {
  if (slot->verdict != RH_VERDICT_NONE) return;  // the body's reader has spoken
  long status = slot->fetch.head.status;
  char text[sizeof slot->reason];
  rh_fetch_describe(&slot->fetch, code, text, sizeof text);
  if (code != CURLE_OK) {
    say(slot, rh_retry_transport(code) ? RH_VERDICT_RETRY : RH_VERDICT_FATAL, "%s", text);
  } else if (status == 200 || status == 206) {
    judge_good(slot);
  } else if (status == 416) {
    judge_unsatisfiable(slot);
  } else if (rh_retry_answer(status)) {
    say(slot, RH_VERDICT_RETRY, "%s", text);
  } else if (slot->direct) {
    // Signed addresses run out; the way through the front door makes a new one.
    slot->job->direct_url[0] = '\0';
    say(slot, RH_VERDICT_RETRY, "%s", text);
  } else {
    say(slot, RH_VERDICT_FATAL, "%s", text);
  }
}
