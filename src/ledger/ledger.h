// SPDX-License-Identifier: Apache-2.0
//
// The ledger: what every request used and cost, in SQLite, written by a thread of its own. The hot path copies one record into a
// bounded ring and goes on. At SIGTERM everything is written; a SIGKILL loses at most the last second (one transaction a
// second, or every so many records). When the disk is full or slow the ring fills: then the oldest kind of loss is never
// silent, it is counted and logged.
//
// All functions: the loop's thread. Answers to questions come back through the loop.
#ifndef RH_LEDGER_LEDGER_H
#define RH_LEDGER_LEDGER_H

#include <jansson.h>

#include "base/loop.h"
#include "base/status.h"
#include "flow/limits.h"
#include "flow/request.h"

typedef struct rh_ledger rh_ledger;

typedef struct rh_ledger_record {
  char request_id[RH_ID_SIZE];
  int64_t time_ms;  // since 1970, when the request came
  char key[32];     // the key's id; "" = none
  char provider[64];
  char model[RH_MODEL_NAME_MAX + 1];  // that answered
  char asked[RH_MODEL_NAME_MAX + 1];
  char operation[24];  // "chat", "embeddings", ...
  char outcome[24];    // "ok" or a status' name
  char cache[8];       // "hit", "miss", "off"
  char experiment[48], arm[48];
  bool shadow;  // a copy of a request that nobody waits for
  int64_t prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens;
  double cost_usd;
  double reference_usd;  // what the reference model would have cost; 0 = none is set
  double latency_ms, first_token_ms;
  unsigned attempts;
} rh_ledger_record;

typedef struct rh_ledger_options {
  const char *folder;        // of state.db
  uint64_t flush_ns;         // at most this long between two transactions; 1 s at most
  size_t ring_max;           // records that may wait
  uint64_t keep_ns;          // older rows are summed up by day and removed; 0 = never
  const char *decision_log;  // path of the decision log, JSON lines; NULL or "" = none
  uint64_t decision_bytes;   // then it is rotated: path.1, path.2, ...
  int64_t decision_files;    // so many old ones are kept
} rh_ledger_options;

rh_status rh_ledger_new(rh_loop *loop, const rh_ledger_options *options, rh_ledger **out,
                        rh_error *error) RH_MUST_CHECK;
// Writes what waits (bounded by a few seconds), then ends the thread.
void rh_ledger_free(rh_ledger *ledger);

void rh_ledger_add(rh_ledger *ledger, const rh_ledger_record *record);  // copies
// One line of the decision log; `line` is one JSON object without a newline; copied. Dropped and counted when too much waits.
void rh_ledger_decision(rh_ledger *ledger, const char *line, size_t length);
bool rh_ledger_logs_decisions(const rh_ledger *ledger);

// POST /api/feedback: rating -1..1 for a request (its model, arm and cost are looked up by its id). `key`: only a request of the key
// with this id ("" = of none); NULL = anybody's. RH_NOT_FOUND later, through `done`, when there is no such request.
typedef void (*rh_ledger_done)(void *ctx, rh_status status, json_t *answer, const rh_error *error);  // borrows answer
typedef struct rh_ledger_question rh_ledger_question;
rh_status rh_ledger_feedback(rh_ledger *ledger, const char *request_id, const char *key, double rating,
                             const char *comment, rh_ledger_done done, void *ctx, rh_ledger_question **out,
                             rh_error *error) RH_MUST_CHECK;

// GET /api/usage. Sums over [from_ms, to_ms), grouped; includes what still waits in the ring. Answer: {"from","to","groups":
// [{"day"?,"key"?,"provider"?,"model"?,"requests","errors","cache_hits","prompt_tokens","completion_tokens","cost_usd",
// "reference_usd","saved_usd","latency_ms_mean"}],"total":{...},"dropped"}.
typedef struct rh_usage_question {
  int64_t from_ms, to_ms;  // 0 = from the beginning / until now
  bool by_day, by_key, by_provider, by_model;
  const char *key, *provider, *model;  // only these; NULL = all
  int64_t limit;                       // groups; the dearest first. 0 = 100
} rh_usage_question;
rh_status rh_ledger_usage(rh_ledger *ledger, const rh_usage_question *question, rh_ledger_done done, void *ctx,
                          rh_ledger_question **out, rh_error *error) RH_MUST_CHECK;
// Feedback by model: {"provider/model": {"count","mean"}}, for quality scores.
rh_status rh_ledger_quality(rh_ledger *ledger, rh_ledger_done done, void *ctx, rh_ledger_question **out,
                            rh_error *error) RH_MUST_CHECK;
void rh_ledger_forget(rh_ledger_question *question);  // its `done` is not called any more

typedef struct rh_ledger_counts {
  uint64_t written, dropped, decisions, decisions_dropped, failures;
  size_t waiting;
} rh_ledger_counts;
void rh_ledger_get_counts(const rh_ledger *ledger, rh_ledger_counts *out);

#endif
