// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse bench`: the command around bench_load.c and bench_stats.c. Owns the levels of one run. One thread.
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/interrupt.h"
#include "cli/output.h"

typedef struct bench_options {
  RH_CLI_COMMON_FIELDS;
  char *concurrency;
  int64_t requests;
  int64_t prompt_tokens;
  int64_t max_tokens;
} bench_options;

#define FLAG(kind, name, initial, low, high, about) RH_CLI_FLAG(kind, bench_options, name, initial, low, high, about)

static const rh_setting bench_flags[] = {
    RH_CLI_COMMON_FLAGS(bench_options),
    FLAG(RH_SETTING_STRING, concurrency, "1,4,16", 0, 0, "requests under way at once; several levels with commas"),
    FLAG(RH_SETTING_INT, requests, "0", 0, 1000000,
         "requests of each level; 0 = four times the concurrency, at least 8"),
    FLAG(RH_SETTING_INT, prompt_tokens, "128", 1, 1000000, "words of each prompt, about as many tokens"),
    FLAG(RH_SETTING_INT, max_tokens, "64", 1, 1000000, "tokens of each answer"),
};
#define BENCH_FLAG_COUNT (sizeof bench_flags / sizeof *bench_flags)

static json_t *spread_json(const rh_bench_spread *spread, double factor) {
  return json_pack("{sfsfsf}", "p50", spread->p50 * factor, "p95", spread->p95 * factor, "p99", spread->p99 * factor);
}

static json_t *level_json(const rh_bench_level *level, const rh_bench_summary *summary) {
  return json_pack("{sIsIsIsssosososfsfsIsIsf}", "concurrency", (json_int_t)level->concurrency, "requests",
                   (json_int_t)level->requests, "errors", (json_int_t)level->errors, "first_error", level->first_error,
                   "first_token_ms", spread_json(&summary->first_s, 1000), "latency_ms",
                   spread_json(&summary->total_s, 1000), "stream_tokens_per_s", spread_json(&summary->tokens_per_s, 1),
                   "tokens_per_s", summary->tokens_per_s_total, "requests_per_s", summary->requests_per_s,
                   "prompt_tokens", (json_int_t)summary->prompt_tokens, "tokens", (json_int_t)summary->tokens, "wall_s",
                   level->wall_s);
}

static const char *const headings[] = {">CLIENTS",    ">REQUESTS",  ">ERRORS",         ">FIRST MS p50", ">p95", ">p99",
                                       ">TOK/S EACH", ">TOK/S ALL", ">LATENCY MS p50", ">p95",          ">p99", NULL};

static void add_row(rh_table *table, const rh_bench_level *level, const rh_bench_summary *s) {
  char cells[11][32];
  const char *row[11];
  const double numbers[11] = {
      (double)level->concurrency, (double)level->requests, (double)level->errors, s->first_s.p50 * 1000,
      s->first_s.p95 * 1000,      s->first_s.p99 * 1000,   s->tokens_per_s.p50,   s->tokens_per_s_total,
      s->total_s.p50 * 1000,      s->total_s.p95 * 1000,   s->total_s.p99 * 1000,
  };
  for (size_t i = 0; i < 11; i++) {
    snprintf(cells[i], sizeof cells[i], "%.*f", i < 3 ? 0 : 1, numbers[i]);
    row[i] = cells[i];
  }
  rh_table_add(table, row);
}

// One level: run, summarize, add to the table and the JSON.
static rh_status run_level(const rh_bench_plan *plan, int64_t concurrency, int64_t requests, rh_table *table,
                           json_t *levels, size_t *errors, rh_error *error) {
  rh_bench_level level = {.concurrency = concurrency, .requests = requests};
  rh_bench_summary summary;
  level.samples = calloc((size_t)requests, sizeof *level.samples);
  if (level.samples == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for %lld samples", (long long)requests);
  rh_status status = rh_bench_run_level(plan, &level, error);
  if (status == RH_OK && (status = rh_bench_summarize(&level, &summary)) != RH_OK)
    rh_fail(error, status, "no memory for the numbers");
  if (status == RH_OK) {
    add_row(table, &level, &summary);
    if (json_array_append_new(levels, level_json(&level, &summary)) != 0) {
      status = rh_fail(error, RH_NO_MEMORY, "no memory for the numbers");
    }
    if (level.errors > 0)
      rh_cli_fail(0, "%zu of %lld requests failed; the first: %s", level.errors, (long long)requests,
                  level.first_error);
    *errors += level.errors;
  }
  free(level.samples);
  return status;
}

// One request that is not counted: it loads the model, and shows at once when nothing works.
static rh_status warm_up(rh_bench_plan plan, rh_error *error) {
  rh_bench_sample sample;
  rh_bench_level level = {.concurrency = 1, .requests = 1, .samples = &sample};
  plan.max_tokens = 1;
  plan.prompt_words = 1;
  rh_status status = rh_bench_run_level(&plan, &level, error);
  if (status == RH_OK && level.errors > 0)
    status = rh_fail(error, RH_UNAVAILABLE, "the server cannot be measured: %s", level.first_error);
  return status;
}

static rh_status run_levels(const rh_bench_plan *plan, const bench_options *options, const int64_t *concurrencies,
                            size_t count, rh_table *table, json_t *levels, size_t *errors, rh_error *error) {
  rh_bench_plan own = *plan;
  rh_status status = warm_up(own, error);
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    int64_t requests = options->requests;
    if (requests == 0) requests = concurrencies[i] * 4 > 8 ? concurrencies[i] * 4 : 8;
    if (isatty(STDERR_FILENO))
      fprintf(stderr, "%lld clients, %lld requests…", (long long)concurrencies[i], (long long)requests);
    own.first_number += 1000000;
    status = run_level(&own, concurrencies[i], requests, table, levels, errors, error);
    if (isatty(STDERR_FILENO)) fputs("\r\x1b[K", stderr);
  }
  return status;
}

static int report(const bench_options *options, const rh_session *session, rh_table *table, json_t *levels) {
  if (!options->json) return rh_table_print(table, stdout);
  return rh_cli_print_json(
      json_pack("{sssssIsIsO}", "model", session->model, "server", rh_client_server(session->client), "prompt_words",
                (json_int_t)options->prompt_tokens, "max_tokens", (json_int_t)options->max_tokens, "levels", levels));
}

static int bench(const bench_options *options, const char *model) {
  int64_t concurrencies[RH_BENCH_LEVELS_MAX], most = 1;
  size_t count, errors = 0;
  rh_error error = {0};
  rh_session session;
  if (rh_bench_parse_levels(options->concurrency, concurrencies, &count, &error) != RH_OK) {
    return rh_cli_fail(RH_EXIT_USAGE, "%s", error.message);
  }
  for (size_t i = 0; i < count; i++) most = concurrencies[i] > most ? concurrencies[i] : most;
  if (!rh_interrupt_install()) return rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  // Slots cost memory, so a private server gets no more than its table allows.
  if (rh_session_open(options->server, model, most < 64 ? most : 64, &session, &error) != RH_OK)
    return rh_cli_fail_status(&error);
  rh_bench_plan plan = {
      .server = rh_client_server(session.client),
      .model = session.model,
      .prompt_words = options->prompt_tokens,
      .max_tokens = options->max_tokens,
      .first_number = rh_clock_now_ns(),
  };
  rh_table *table = rh_table_new(headings);
  json_t *levels = json_array();
  rh_status status = run_levels(&plan, options, concurrencies, count, table, levels, &errors, &error);
  // What was measured before an error or Ctrl-C is worth showing.
  int code = json_array_size(levels) > 0 ? report(options, &session, table, levels) : RH_EXIT_OK;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else if (errors > 0)
    code = RH_EXIT_ERROR;
  json_decref(levels);
  rh_table_free(table);
  rh_session_close(&session);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  bench_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count != 1)
    code = rh_cli_fail(RH_EXIT_USAGE, "bench needs one model: roundhouse bench MODEL; see roundhouse list");
  else
    code = bench(&options, args.words[0]);
  rh_cli_args_free(&args);
  rh_config_release(bench_flags, BENCH_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_bench = {
    .name = "bench",
    .arguments = "MODEL",
    .help = "Measure a model: time to the first token, tokens per second, latency",
    .details =
        "Sends streaming completions in a closed loop, each with a prompt of its own, at temperature 0 and without\n"
        "stopping at the end-of-text token. Times are medians and the slowest 5 and 1 percent.\n",
    .flags = bench_flags,
    .flag_count = BENCH_FLAG_COUNT,
    .run = run,
};
