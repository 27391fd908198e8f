// SPDX-License-Identifier: Apache-2.0
//
// Private to src/daemon: the daemon's one state and the life of one request.
//
//   daemon.c   wiring, signals, shutdown
//   request.c  the spine: the table of steps a request goes through
//   answer.c   events to bytes to the client, back-pressure
//   account.c  what is counted, logged and remembered of a request
//   routes.c   endpoints that run no model
//   cors.c     which web pages may call us
//   headers.c  headers that every answer carries
#ifndef RH_DAEMON_INTERNAL_H
#define RH_DAEMON_INTERNAL_H

#include "api/api.h"
#include "base/arena.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "daemon/daemon.h"
#include "daemon/metrics.h"
#include "fleet/fleet.h"
#include "http/http.h"
#include "sched/sched.h"

typedef struct rh_daemon rh_daemon;
typedef struct rh_call rh_call;

// One model that this daemon serves: its place in the catalogue, its worker, its queue.
typedef struct rh_served {
  rh_daemon *daemon;
  const rh_model_spec *spec;
  rh_member *member;
  rh_sched_model *queue;
} rh_served;

// The last finished request, as plain values: they become JSON only when somebody asks for them.
typedef struct rh_last_request {
  char id[RH_ID_SIZE];  // empty = there was none yet
  char model[RH_MODEL_NAME_MAX + 1];
  char route_reason[256];
  char prompt_hash[17];
  rh_error error;
  const rh_api_endpoint *endpoint;
  const char *cache;  // one of the fixed words of rh_answer_meta
  unsigned status;
  bool stream;
  int64_t created;
  rh_usage usage;
  int64_t tokens;
  double latency_ms, first_token_ms, tokens_per_second, cost_usd;
  char engine[32], device[64], acceleration[128];
} rh_last_request;

struct rh_daemon {
  rh_configuration *configuration;
  const rh_settings *settings;
  rh_loop *loop;
  rh_http_server *http;
  rh_sched *sched;
  rh_served *served;
  size_t served_count;
  rh_metrics *metrics;
  rh_list calls;  // requests that are not done
  char host[256];
  uint64_t started_ns;
  rh_watch signals;
  rh_timer grace;
  rh_timer leave;  // after the workers were told to unload
  bool stopping;
  bool leaving;  // requests are over, workers are being unloaded
  rh_last_request last;
};

// The steps of a request, in order. Each has one function in request.c; the table there is the way of a request.
typedef enum rh_step {
  RH_STEP_READ,      // the head is here, the body is being read. Moved on by http
  RH_STEP_DECODE,    // the codec turns the body into a request
  RH_STEP_ADMIT,     // may it run at all? (shutting down; later: keys, limits, cache)
  RH_STEP_ROUTE,     // which model serves it
  RH_STEP_SCHEDULE,  // its runs enter the model's queue
  RH_STEP_RUN,       // events flow. Moved on by the last final event, or by the client leaving
  RH_STEP_ACCOUNT,   // answered. Moved on by http when the last byte is out: count it, log it, remember it
  RH_STEP_DONE,      // about to be freed
  RH_STEP_COUNT,
  RH_STEP_PARK  // not a state: a step's answer "wait here until something happens"
} rh_step;

// One job of a call: which run, and whether it still is the scheduler's.
typedef struct rh_part {
  rh_call *call;
  rh_run run;
  rh_job *job;  // NULL when not submitted or over
  bool held;    // its sink said WAIT
} rh_part;

struct rh_call {
  rh_daemon *daemon;
  rh_http_exchange *exchange;
  rh_list_node node;
  rh_step step;
  char id[RH_ID_SIZE];
  const rh_api_endpoint *endpoint;
  rh_arena *arena;
  rh_request request;
  rh_dynbuf warnings;
  rh_served *served;
  rh_part *parts;
  size_t part_count;
  rh_encoder *encoder;
  rh_answer_meta meta;
  rh_timer ping;
  bool started;    // an engine has accepted a part
  bool streaming;  // the head of a streamed answer has gone out
  bool answered;   // the whole answer was handed to http
  bool gone;       // the client has left
  bool over;       // http is done with the exchange
  bool accounted;
  rh_error error;  // status RH_OK = none
  // for the account
  uint64_t queue_ns;
  rh_usage usage;         // summed over the parts
  int64_t deltas_tokens;  // tokens seen in deltas, for answers that were cut short
  uint64_t last_token_ns;
  uint64_t answered_ns;  // when the whole answer was handed to http
  unsigned http_status;
};

// request.c
void rh_call_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_api_endpoint *endpoint);
void rh_call_advance(rh_call *call);                      // run steps until one parks
void rh_call_gone(rh_call *call);                         // the client left or the answer is complete: free
void rh_call_fail(rh_call *call, const rh_error *error);  // stop its work, answer with the error
void rh_call_stop_work(rh_call *call);                    // cancel every job that is not over

// answer.c
rh_verdict rh_answer_event(void *part, const rh_event *event);
void rh_answer_begin_stream(rh_call *call);
void rh_answer_error(rh_call *call);
void rh_answer_drain(rh_call *call);
void rh_answer_plain_error(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, const rh_error *error);

// account.c
void rh_account_call(rh_call *call);
json_t *rh_account_last(const rh_daemon *daemon);  // the last finished request; a new reference
void rh_account_plain(rh_daemon *daemon, const char *route, unsigned status);
rh_status rh_account_render(rh_daemon *daemon, rh_dynbuf *out) RH_MUST_CHECK;

// headers.c
void rh_headers_common(rh_daemon *daemon, rh_http_exchange *exchange, const char *id);
void rh_headers_error(rh_http_exchange *exchange, const rh_error *error, unsigned retry_after_s);

// cors.c
bool rh_cors_allows(const rh_daemon *daemon, const rh_http_exchange *exchange);
void rh_cors_headers(const rh_daemon *daemon, rh_http_exchange *exchange);

// routes.c: on_head and on_request of the http layer
void rh_routes_head(void *ctx, rh_http_exchange *exchange);
void rh_routes_request(void *ctx, rh_http_exchange *exchange);
void rh_routes_drain(void *ctx, rh_http_exchange *exchange);
void rh_routes_done(void *ctx, rh_http_exchange *exchange, bool complete);

// daemon.c
rh_served *rh_daemon_find_model(rh_daemon *daemon, const char *name, const char **reason);
void rh_daemon_call_done(rh_daemon *daemon);  // a call has ended; a shutdown may be waiting for it

#endif
