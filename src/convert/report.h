// SPDX-License-Identifier: Apache-2.0
//
// What the program says while it works: one JSON object a line for other programs, or words and a bar for people.
#ifndef RH_CONVERT_REPORT_H
#define RH_CONVERT_REPORT_H

#include <stdint.h>

#include "base/status.h"

typedef struct rh_report {
  bool json;         // NDJSON on standard output; otherwise words on standard error, the result on standard output
  bool bar;          // standard error is a terminal: one line that is written over
  bool bar_shown;    // that line is not ended yet
  int64_t shown_ns;  // when progress was last shown
  int64_t shown_tenths;
} rh_report;

void rh_report_init(rh_report *self, bool json);
// `fraction` from 0 to 1; `what` is what is being worked on. Shown at most ten times a second.
void rh_report_progress(rh_report *self, double fraction, const char *what);
void rh_report_warning(rh_report *self, const char *format, ...) RH_PRINTF(2, 3);
void rh_report_done(rh_report *self, const char *path, int64_t bytes, const char *architecture, const char *type);
void rh_report_error(rh_report *self, const rh_error *error);

#endif
