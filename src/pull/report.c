// SPDX-License-Identifier: Apache-2.0
//
// Events for whoever watches a pull: their shape, how often they come, the smoothed rate. Owns nothing; the pull's
// thread. What is in an event may be shown to anybody: no URL with a query, no token.
#include "pull/report.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/text.h"
#include "pull/source.h"

#define PROGRESS_GAP_NS (RH_NS_PER_S / 10)
#define RATE_MEMORY_S 3.0  // the rate shown forgets the past with this time constant

double rh_pull_report_chance(void) {
  uint32_t bits = 0;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) bits = (uint32_t)rh_clock_now_ns();
  return (double)bits / (double)UINT32_MAX;
}

rh_status rh_pull_tell(rh_pulling *pull, json_t *event, rh_error *error) {
  if (event == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for an event");
  bool go_on = true;
  if (pull->listener != NULL && pull->listener->event != NULL && !pull->cancelled)
    go_on = pull->listener->event(pull->listener->ctx, event);
  json_decref(event);
  if (go_on && !pull->cancelled) return RH_OK;
  pull->cancelled = true;
  return rh_fail(error, RH_CANCELLED,
                 "the pull was stopped; what has come is kept, and the next pull goes on from there");
}

static json_t *text_or_null(const char *text) { return text[0] == '\0' ? json_null() : json_string(text); }

static json_t *file_list(const rh_plan *plan) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < plan->count; i++) {
    const rh_pull_file *file = &plan->files[i];
    json_t *one =
        json_pack("{s:s,s:o,s:o}", "path", file->path, "bytes",
                  file->bytes < 0 ? json_null() : json_integer(file->bytes), "sha256", text_or_null(file->sha256));
    if (one == NULL || json_array_append_new(list, one) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

rh_status rh_pull_report_resolved(rh_pulling *pull, int64_t missing_bytes, bool already, rh_error *error) {
  const rh_plan *plan = &pull->plan;
  bool unknown = false;
  int64_t bytes = rh_plan_bytes(plan, &unknown);
  char source[512];
  rh_source_public(&pull->source, source, sizeof source);
  json_t *event = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:b}", "event", "resolved",
                            "source", source, "name", pull->ref.name, "version", pull->ref.version, "format",
                            text_or_null(plan->format == RH_FORMAT_UNKNOWN ? "" : rh_format_name(plan->format)),
                            "quantization", text_or_null(plan->quantization), "licence", text_or_null(plan->licence),
                            "licence_note", text_or_null(plan->licence_note), "revision", text_or_null(plan->revision),
                            "choice", text_or_null(plan->choice), "bytes", unknown ? json_null() : json_integer(bytes),
                            "missing_bytes", unknown && !already ? json_null() : json_integer(missing_bytes), "gated",
                            (int)plan->gated, "files", file_list(plan), "already", (int)already);
  return rh_pull_tell(pull, event, error);
}

rh_status rh_pull_report_waiting(rh_pulling *pull, const char *what, rh_error *error) {
  return rh_pull_tell(pull, json_pack("{s:s,s:s}", "event", "waiting", "for", what), error);
}

rh_status rh_pull_report_retry(rh_pulling *pull, const char *file, int attempt, uint64_t wait_ns, const char *reason,
                               rh_error *error) {
  double wait_s = round(rh_ns_to_s(wait_ns) * 1000) / 1000;
  return rh_pull_tell(pull,
                      json_pack("{s:s,s:s,s:i,s:f,s:s}", "event", "retry", "file", file, "attempt", attempt, "wait_s",
                                wait_s, "reason", reason),
                      error);
}

static void update_rate(rh_pull_report *report, int64_t completed, uint64_t now) {
  double seconds = rh_ns_to_s(now - report->told_ns);
  if (report->told_ns != 0 && seconds > 0) {
    double rate = (double)(completed - report->told_bytes) / seconds;
    if (rate < 0) rate = 0;  // a file was begun again
    double share = 1 - exp(-seconds / RATE_MEMORY_S);
    report->bytes_per_s = report->bytes_per_s < 0 ? rate : report->bytes_per_s + share * (rate - report->bytes_per_s);
  }
  report->told_ns = now;
  report->told_bytes = completed;
}

static json_t *changed_files(rh_pull_report_file *files, size_t count, bool all) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < count; i++) {
    rh_pull_report_file *one = &files[i];
    if (!all && one->completed == one->told) continue;
    one->told = one->completed;
    json_t *entry =
        json_pack("{s:s,s:o,s:I,s:o}", "path", one->file->path, "sha256", text_or_null(one->file->sha256), "completed",
                  (json_int_t)one->completed, "total", one->total < 0 ? json_null() : json_integer(one->total));
    if (entry == NULL || json_array_append_new(list, entry) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

rh_status rh_pull_report_progress(rh_pulling *pull, rh_pull_report *report, rh_pull_report_file *files, size_t count,
                                  bool last, rh_error *error) {
  uint64_t now = rh_clock_now_ns();
  if (!last && report->told_ns != 0 && now - report->told_ns < PROGRESS_GAP_NS) return RH_OK;
  int64_t completed = 0, total = 0;
  bool unknown = false;
  for (size_t i = 0; i < count; i++) {
    completed += files[i].completed;
    if (files[i].total < 0) unknown = true;
    total += files[i].total < 0 ? files[i].completed : files[i].total;
  }
  if (report->told_ns == 0) report->bytes_per_s = -1;
  update_rate(report, completed, now);
  json_t *rate = report->bytes_per_s < 0 ? json_null() : json_integer((json_int_t)report->bytes_per_s);
  bool can_tell = !unknown && report->bytes_per_s >= 1;
  json_t *eta = can_tell ? json_real(round((double)(total - completed) / report->bytes_per_s * 10) / 10) : json_null();
  return rh_pull_tell(pull,
                      json_pack("{s:s,s:I,s:o,s:o,s:o,s:o}", "event", "progress", "completed", (json_int_t)completed,
                                "total", unknown ? json_null() : json_integer(total), "bytes_per_s", rate, "eta_s", eta,
                                "files", changed_files(files, count, last)),
                      error);
}

rh_status rh_pull_report_verifying(rh_pulling *pull, const char *file, int64_t completed, int64_t total,
                                   rh_error *error) {
  return rh_pull_tell(pull,
                      json_pack("{s:s,s:s,s:I,s:I}", "event", "verifying", "file", file, "completed",
                                (json_int_t)completed, "total", (json_int_t)total),
                      error);
}

rh_status rh_pull_report_converting(rh_pulling *pull, double fraction, rh_error *error) {
  return rh_pull_tell(pull, json_pack("{s:s,s:f}", "event", "converting", "fraction", fraction), error);
}

rh_status rh_pull_report_done(rh_pulling *pull, const rh_stored *stored, bool already, rh_error *error) {
  char *path = rh_stored_entry_path(stored);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for an event");
  double seconds = rh_ns_to_s(rh_clock_now_ns() - pull->began_ns);
  json_t *event =
      json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:f}", "event", "done", "name", stored->ref.name, "version",
                stored->ref.version, "format", rh_format_name(stored->format), "path", path, "bytes",
                (json_int_t)stored->bytes, "already", (int)already, "seconds", round(seconds * 1000) / 1000);
  free(path);
  return rh_pull_tell(pull, event, error);
}

void rh_pull_report_error(rh_pulling *pull, rh_status status, const rh_error *error) {
  json_t *event = json_pack("{s:s,s:s,s:s,s:o}", "event", "error", "status", rh_status_name(status), "message",
                            error->message, "param", text_or_null(error->param));
  if (event == NULL) return;
  // The last word is told even to a listener that gave up.
  if (pull->listener != NULL && pull->listener->event != NULL) (void)pull->listener->event(pull->listener->ctx, event);
  json_decref(event);
}
