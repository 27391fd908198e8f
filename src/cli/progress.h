// SPDX-License-Identifier: Apache-2.0
//
// Progress of work on files: bars on a terminal, a plain line now and then otherwise.
#ifndef RH_CLI_PROGRESS_H
#define RH_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// One line of at most `width` columns:
//   "model.gguf    ▕██████████          ▏  50%   46.5/93.1 MiB   12.3 MiB/s  4s"
// `total` < 1: unknown, so no bar and no share. `rate` and `eta_s` < 0: not shown. Pure; `out` is always terminated.
void rh_progress_format(char *out, size_t size, const char *label, int64_t done, int64_t total, double rate,
                        double eta_s, size_t width);
// "46.5/93.1 MiB", both in the unit of `total`; "46.5 MiB" when the total is unknown.
void rh_progress_format_sizes(char *out, size_t size, int64_t done, int64_t total);

typedef struct rh_progress rh_progress;

// `stream` decides between bars (a terminal) and lines. NULL when memory is short; all functions take NULL.
rh_progress *rh_progress_new(FILE *stream);
void rh_progress_free(rh_progress *progress);  // leaves the last picture on the screen
bool rh_progress_has_bars(const rh_progress *progress);
// Show an event "progress" as pull/pull.h describes it; `label` names the whole.
void rh_progress_show(rh_progress *progress, const char *label, const json_t *event);
// One bar alone.
void rh_progress_show_one(rh_progress *progress, const char *label, int64_t done, int64_t total);
// Words in the place of a bar; without a terminal only when they differ by more than digits from the last.
void rh_progress_status(rh_progress *progress, const char *text);
// A message above the bars (or a line); `text` may come from elsewhere.
void rh_progress_note(rh_progress *progress, const char *text);
// The last picture stays (`keep`) or goes; what follows begins below it.
void rh_progress_end(rh_progress *progress, bool keep);

#endif
