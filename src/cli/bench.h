// SPDX-License-Identifier: Apache-2.0
//
// The benchmark: a closed loop of streaming completions at several concurrencies (bench_load.c), its numbers
// (bench_stats.c) and the command (bench.c).
#ifndef RH_CLI_BENCH_H
#define RH_CLI_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_BENCH_CONCURRENCY_MAX 512
#define RH_BENCH_LEVELS_MAX 16

// One request that was answered in full. Times in seconds.
typedef struct rh_bench_sample {
  double first_s;  // until the first words
  double total_s;
  double tokens_per_s;  // after the first token; 0 = too short to tell
  int64_t prompt_tokens;
  int64_t tokens;
} rh_bench_sample;

typedef struct rh_bench_level {
  int64_t concurrency;
  int64_t requests;          // wanted
  double wall_s;             // from the first request's begin to the last one's end
  rh_bench_sample *samples;  // room for `requests`; owned by whoever made the level
  size_t sample_count;
  size_t errors;
  char first_error[256];
} rh_bench_level;

typedef struct rh_bench_spread {
  double p50, p95, p99;
} rh_bench_spread;

typedef struct rh_bench_summary {
  rh_bench_spread first_s, total_s, tokens_per_s;
  double tokens_per_s_total;
  double requests_per_s;
  int64_t prompt_tokens, tokens;  // sums
} rh_bench_summary;

// The smallest value that at least `percent` of all are not above (nearest rank). `sorted` ascending; 0 for no values.
double rh_bench_percentile(const double *sorted, size_t count, double percent);
rh_status rh_bench_summarize(const rh_bench_level *level, rh_bench_summary *out) RH_MUST_CHECK;

// "1,4,16" into `out`; RH_INVALID when it is no such list.
rh_status rh_bench_parse_levels(const char *text, int64_t out[RH_BENCH_LEVELS_MAX], size_t *count,
                                rh_error *error) RH_MUST_CHECK;

// About `words` words, different from the first one on for each `number`, so that no prompt shares a prefix with
// another. The caller frees it; NULL when memory is short.
char *rh_bench_prompt(uint64_t number, int64_t words);

typedef struct rh_bench_plan {
  const char *server;
  const char *model;
  int64_t prompt_words;
  int64_t max_tokens;
  uint64_t first_number;  // of the prompts; runs with other numbers send other prompts
} rh_bench_plan;

// Keeps `level->concurrency` requests under way until `level->requests` are over, and fills the level.
// RH_CANCELLED on Ctrl-C.
rh_status rh_bench_run_level(const rh_bench_plan *plan, rh_bench_level *level, rh_error *error) RH_MUST_CHECK;

#endif
