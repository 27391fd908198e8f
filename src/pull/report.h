// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: the events of pull.h, made in one place.
#ifndef RH_PULL_REPORT_H
#define RH_PULL_REPORT_H

#include "pull/internal.h"

// What is fetched and how fast, for one file.
typedef struct rh_pull_report_file {
  const rh_pull_file *file;
  int64_t completed, total;  // total -1 = unknown
  int64_t told;              // `completed` of the last event; -1 = none yet
} rh_pull_report_file;

typedef struct rh_pull_report {
  uint64_t told_ns;    // when the last progress event was
  int64_t told_bytes;  // completed bytes then
  double bytes_per_s;  // smoothed; < 0 = not known yet
} rh_pull_report;

rh_status rh_pull_report_resolved(rh_pulling *pull, int64_t missing_bytes, bool already, rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_report_waiting(rh_pulling *pull, const char *what, rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_report_retry(rh_pulling *pull, const char *file, int attempt, uint64_t wait_ns, const char *reason,
                               rh_error *error) RH_MUST_CHECK;
// At most ten a second unless `last`; files whose figure has not changed are left out unless `last`.
rh_status rh_pull_report_progress(rh_pulling *pull, rh_pull_report *report, rh_pull_report_file *files, size_t count,
                                  bool last, rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_report_verifying(rh_pulling *pull, const char *file, int64_t completed, int64_t total,
                                   rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_report_converting(rh_pulling *pull, double fraction, rh_error *error) RH_MUST_CHECK;
rh_status rh_pull_report_done(rh_pulling *pull, const rh_stored *stored, bool already, rh_error *error) RH_MUST_CHECK;
void rh_pull_report_error(rh_pulling *pull, rh_status status, const rh_error *error);  // cannot be given up any more

double rh_pull_report_chance(void);  // 0..1, for back-off

#endif
