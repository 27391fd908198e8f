// SPDX-License-Identifier: Apache-2.0
//
// The benchmark's arithmetic and its prompts. Pure; owns nothing.
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "cli/bench.h"

#define PROMPT_BYTES_MAX ((size_t)8 * 1024 * 1024)

double rh_bench_percentile(const double *sorted, size_t count, double percent) {
  assert(percent > 0 && percent <= 100);
  if (count == 0) return 0;
  size_t rank = (size_t)ceil(percent / 100 * (double)count);
  return sorted[rank > 0 ? rank - 1 : 0];
}

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return a < b ? -1 : a > b;
}

static rh_bench_spread spread_of(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
  return (rh_bench_spread){
      .p50 = rh_bench_percentile(values, count, 50),
      .p95 = rh_bench_percentile(values, count, 95),
      .p99 = rh_bench_percentile(values, count, 99),
  };
}

rh_status rh_bench_summarize(const rh_bench_level *level, rh_bench_summary *out) {
  memset(out, 0, sizeof *out);
  size_t count = level->sample_count, fast = 0;
  if (count == 0) return RH_OK;
  double *values = calloc(count, sizeof *values);
  if (values == NULL) return RH_NO_MEMORY;
  for (size_t i = 0; i < count; i++) values[i] = level->samples[i].first_s;
  out->first_s = spread_of(values, count);
  for (size_t i = 0; i < count; i++) values[i] = level->samples[i].total_s;
  out->total_s = spread_of(values, count);
  for (size_t i = 0; i < count; i++) {
    if (level->samples[i].tokens_per_s > 0) values[fast++] = level->samples[i].tokens_per_s;
    out->prompt_tokens += level->samples[i].prompt_tokens;
    out->tokens += level->samples[i].tokens;
  }
  out->tokens_per_s = spread_of(values, fast);
  free(values);
  if (level->wall_s > 0) {
    out->tokens_per_s_total = (double)out->tokens / level->wall_s;
    out->requests_per_s = (double)count / level->wall_s;
  }
  return RH_OK;
}

rh_status rh_bench_parse_levels(const char *text, int64_t out[RH_BENCH_LEVELS_MAX], size_t *count, rh_error *error) {
  *count = 0;
  for (const char *at = text;;) {
    char *end;
    errno = 0;
    long long value = strtoll(at, &end, 10);
    bool fine =
        end != at && errno == 0 && value >= 1 && value <= RH_BENCH_CONCURRENCY_MAX && (*end == ',' || *end == '\0');
    if (!fine || *count == RH_BENCH_LEVELS_MAX) {
      return rh_fail_param(error, RH_INVALID, "concurrency",
                           "--concurrency \"%.64s\" is wrong; give at most %d numbers from 1 to %d, such as 1,4,16",
                           text, RH_BENCH_LEVELS_MAX, RH_BENCH_CONCURRENCY_MAX);
    }
    out[(*count)++] = value;
    if (*end == '\0') return RH_OK;
    at = end + 1;
  }
}

// splitmix64 (Steele, Lea, Flood 2014): any number gives an unrelated one, which is all that prompts need.
static uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

char *rh_bench_prompt(uint64_t number, int64_t words) {
  // Short everyday words: nearly every tokenizer makes one token of each.
  static const char *const list[] = {"time", "house", "water", "light", "road",  "hand",  "world", "night",
                                     "day",  "year",  "work",  "place", "thing", "point", "group", "city",
                                     "line", "side",  "head",  "story", "book",  "door",  "river", "tree",
                                     "car",  "name",  "home",  "room",  "area",  "money", "order", "field"};
  rh_dynbuf text;
  rh_dynbuf_init(&text, PROMPT_BYTES_MAX);
  for (int64_t i = 0; i < words; i++) {
    uint64_t pick = mix(number * UINT64_C(1000003) + (uint64_t)i);
    (void)rh_dynbuf_printf(&text, "%s%s", i > 0 ? " " : "", list[pick % (sizeof list / sizeof *list)]);
  }
  char *out = text.failed ? NULL : rh_dynbuf_take(&text, NULL);
  rh_dynbuf_free(&text);
  return out;
}
