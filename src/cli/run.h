// SPDX-License-Identifier: Apache-2.0
//
// Shared by run.c (one answer) and chat.c (a conversation).
#ifndef RH_CLI_RUN_H
#define RH_CLI_RUN_H

#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/connect.h"

typedef struct rh_run_options {
  RH_CLI_COMMON_FIELDS;
  char *system;
  int64_t max_tokens;
  double temperature;
  double top_p;
  int64_t seed;
  bool stats;
  bool raw;
} rh_run_options;

extern const rh_setting rh_run_flags[];
extern const size_t rh_run_flags_count;
#define RH_RUN_FLAGS_MAX 16

// What a run needs; owned by run.c.
typedef struct rh_run_state {
  rh_run_options options;
  rh_setting_origin origins[RH_RUN_FLAGS_MAX];
  rh_session session;
} rh_run_state;

// {"model","temperature",...} with what was set; the caller adds messages or prompt. NULL when memory is short.
json_t *rh_run_new_body(const rh_run_state *state);
// Streams one answer to standard output (unless --json). On RH_OK or RH_CANCELLED `answer` holds what came.
rh_status rh_run_answer(rh_run_state *state, json_t *body, rh_answer *answer, rh_error *error) RH_MUST_CHECK;
void rh_run_print_stats(const rh_answer *answer);  // to standard error

// The conversation. Returns the exit status.
int rh_chat_run(rh_run_state *state);

#endif
