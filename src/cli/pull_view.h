// SPDX-License-Identifier: Apache-2.0
//
// What a pull tells (pull/pull.h), shown to a person or printed as lines of JSON.
#ifndef RH_CLI_PULL_VIEW_H
#define RH_CLI_PULL_VIEW_H

#include "cli/progress.h"

typedef struct rh_pull_view {
  bool json;     // print each event as a line on standard output
  bool dry_run;  // "resolved" is the result
  rh_progress *progress;
  char label[300];  // name:version, once it is known
} rh_pull_view;

void rh_pull_view_init(rh_pull_view *view, bool json, bool dry_run);
void rh_pull_view_free(rh_pull_view *view);
void rh_pull_view_event(rh_pull_view *view, const json_t *event);
// The sentence for an event that is no progress, or "" when a person need not know it. Pure.
void rh_pull_view_sentence(const json_t *event, char *out, size_t size);

#endif
